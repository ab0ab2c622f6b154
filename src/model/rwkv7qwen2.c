/* rwkv7qwen2.c: RAD-RWKV7 (arXiv 2505.03005), a Qwen2.5 with RWKV-7's recurrence in the place of attention,
 * whose projections it keeps: biases, fewer heads of keys and values, and the rotary embedding of queries
 * and keys. It has no token shift and no bonus, and two forms: what a key writes may be bounded by what
 * its state loses (balance_state), and a group norm or the root of the head size may follow. */
#include <math.h>

#include "base/num.h"
#include "model/transformer.h"
#include "nn/rwkv7.h"

typedef struct layer {
    rk_tf_layer body;
    rk_tf_attention_layer attention; /* its projections */
    rk_rwkv7_time_mix att;           /* what is added to them */
    rk_weight gate;                  /* (Q, C), in the place of g1 and g2 */
    rk_tensor *bonus;                /* (H, D), which files have and nothing reads */
    rk_tensor *time_state; /* (H, N value, N key), may be NULL: the state that streams begin with */
} layer;

/* Places in rk_hparams.own. */
enum { RANK_W = RK_TF_OWN, RANK_A, RANK_V, RANK_G, FULL_GATE, GROUP_NORM, BALANCED, BONUS };

/* ---- parameters ---- */

/* What only some models have. */
static bool has(const rk_hparams *hp, const rk_param_spec *spec, int64_t l)
{
    static const struct {
        size_t field;
        int size;
        int64_t value; /* of it */
    } parts[] = {
        {offsetof(layer, gate), FULL_GATE, 1},        {offsetof(layer, att.g1), FULL_GATE, 0},
        {offsetof(layer, att.g2), FULL_GATE, 0},      {offsetof(layer, att.k_k), BALANCED, 0},
        {offsetof(layer, att.k_a), BALANCED, 0},      {offsetof(layer, bonus), BONUS, 1},
        {offsetof(layer, att.ln_x_w), GROUP_NORM, 1}, {offsetof(layer, att.ln_x_b), GROUP_NORM, 1}};
    if (rk_layer_in(&hp->kept, l))
        return false;
    for (size_t i = 0; i < RK_COUNT(parts); i++)
        if (parts[i].field == spec->field)
            return hp->own[parts[i].size].n == parts[i].value;
    return true;
}

#define MIXER RK_TF_NAME "self_attn."
#define LAYER(f) RK_SCOPE_MIXER, offsetof(layer, f)
#define SOME(f) RK_SCOPE_SOME, offsetof(layer, f)
#define LATER(f) RK_SCOPE_LATER, offsetof(layer, f)

/* Initial values are those of ARWKV-7. */
/* clang-format off */
static const rk_param_spec params[] = {
    RK_TF_FIRST_PARAMS,
    RK_TF_BLOCK_PARAMS,
    RK_TF_ATTENTION_PARAMS(layer),
    RK_TF_BIAS_PARAMS(layer),
    {MIXER "w0", "11Q", RK_ROLE_VECTOR, LAYER(att.w0), rk_init_w0_plain, 0, 1},
    {MIXER "w1", "Cw", RK_ROLE_LOW_RANK, LAYER(att.w1), rk_init_constant, 0, 1},
    {MIXER "w2", "wQ", RK_ROLE_LOW_RANK, LAYER(att.w2), rk_init_orthogonal, 0.1, 1},
    {MIXER "a0", "11Q", RK_ROLE_VECTOR, LAYER(att.a0), rk_init_constant, 0, 1},
    {MIXER "a1", "Ca", RK_ROLE_LOW_RANK, LAYER(att.a1), rk_init_constant, 0, 1},
    {MIXER "a2", "aQ", RK_ROLE_LOW_RANK, LAYER(att.a2), rk_init_orthogonal, 0.1, 1},
    {MIXER "v0", "11Q", RK_ROLE_VECTOR, LATER(att.v0), rk_init_constant, 1, 1},
    {MIXER "v1", "Cv", RK_ROLE_LOW_RANK, LATER(att.v1), rk_init_constant, 0, 1},
    {MIXER "v2", "vQ", RK_ROLE_LOW_RANK, LATER(att.v2), rk_init_orthogonal, 0.1, 1},
    {MIXER "g1", "Cg", RK_ROLE_LOW_RANK, SOME(att.g1), rk_init_constant, 0, 1},
    {MIXER "g2", "gQ", RK_ROLE_LOW_RANK, SOME(att.g2), rk_init_orthogonal, 0.1, 1},
    {MIXER "gate.weight", "QC", RK_ROLE_ATT_READ, SOME(gate), rk_init_normal, RK_TF_STD, 1},
    {MIXER "k_k", "11Q", RK_ROLE_VECTOR, SOME(att.k_k), rk_init_constant, 0.85, 1},
    {MIXER "k_a", "11Q", RK_ROLE_VECTOR, SOME(att.k_a), rk_init_constant, 1, 1},
    {MIXER "r_k", "HD", RK_ROLE_VECTOR, SOME(bonus), rk_init_constant, 0, 1},
    {MIXER "ln_x.weight", "Q", RK_ROLE_VECTOR, SOME(att.ln_x_w), rk_init_constant, 1, 1},
    {MIXER "ln_x.bias", "Q", RK_ROLE_VECTOR, SOME(att.ln_x_b), rk_init_constant, 0, 1},
    {MIXER "time_state", "HDD", RK_ROLE_STATE, RK_SCOPE_TUNED, offsetof(layer, time_state),
     rk_init_constant, 0, 1},
    RK_TF_LAST_PARAMS,
};
/* clang-format on */

/* Each layer knows how many tokens came before: what a rotary embedding asks for. */
enum { WKV, BEFORE, KEYS, VALUES, N_STATE };
static const rk_state_spec state[N_STATE] = {
    [WKV] = {.name = "att.wkv",
             .shape = "HDD",
             .kind = RK_STATE_MATRIX,
             .tuned = offsetof(layer, time_state),
             .in = RK_IN_MIXERS},
    [BEFORE] = {.name = "att.tokens", .shape = "", .in = RK_IN_MIXERS},
    [KEYS] = RK_TF_KEYS(RK_IN_KEPT),
    [VALUES] = RK_TF_VALUES(RK_IN_KEPT),
};

static bool detect(const rk_file *f)
{
    return rk_file_find(f, "model.layers.0.self_attn.q_proj.weight") &&
           rk_file_in_any_layer(f, MIXER "w0") && rk_file_in_any_layer(f, MIXER "a0");
}

/* ---- sizes ---- */

/* 32 max(1, round(n_embd^power scale / 32)). */
static double rank_of(const rk_hparams *hp, double power, double scale)
{
    return 32 * fmax(1, nearbyint(pow((double)hp->n_embd, power) * scale / 32));
}

static double rank_half(const rk_hparams *hp, double scale)
{
    return rank_of(hp, 0.5, scale);
}

static double rank_gate(const rk_hparams *hp, double scale)
{
    return rank_of(hp, 0.8, scale);
}

/* Name, place, letter, range, default; where a file shows it; option. */
/* clang-format off */
static const rk_size_spec own[] = {
    {"rank_w", RK_OWN_SIZE(RANK_W), 'w', {1, RK_RANK_MAX}, {rank_half, 1.8},
     {RK_FROM_TENSOR, MIXER "w1", 2, 1},
     {"lora-rank-w", "by n-embd", "rank of the decay's matrices"}},
    {"rank_a", RK_OWN_SIZE(RANK_A), 'a', {1, RK_RANK_MAX}, {rank_half, 1.8},
     {RK_FROM_TENSOR, MIXER "a1", 2, 1},
     {"lora-rank-a", "by n-embd", "rank of the in-context learning rate's"}},
    {"rank_v", RK_OWN_SIZE(RANK_V), 'v', {1, RK_RANK_MAX}, {rank_half, 1.3},
     {RK_FROM_LATER, MIXER "v1", 2, 1},
     {"lora-rank-v", "by n-embd", "rank of the value residual's"}},
    {"rank_g", RK_OWN_SIZE(RANK_G), 'g', {1, RK_RANK_MAX}, {rank_gate, 0.6},
     {RK_FROM_OPTIONAL, MIXER "g1", 2, 1}, {"lora-rank-g", "by n-embd", "rank of the gate's"}},
    {"full_gate", RK_OWN_SIZE(FULL_GATE), 0, {0, 1}, {rk_size_constant, 0},
     {RK_FROM_PRESENCE, MIXER "gate.weight", 0, 0},
     {"full-gate", "0", "1: a whole matrix for the gate"}},
    {"wkv_has_group_norm", RK_OWN_SIZE(GROUP_NORM), 0, {0, 1}, {rk_size_constant, 0},
     {RK_FROM_PRESENCE, MIXER "ln_x.weight", 0, 0},
     {"group-norm", "0", "1: a group norm behind the recurrence"}},
    {"balance_state", RK_OWN_SIZE(BALANCED), 0, {0, 1}, {rk_size_constant, 1},
     {RK_FROM_ABSENCE, MIXER "k_k", 0, 0},
     {"balance-state", "1", "0: keys write and remove as in RWKV-7; 1: as much as is removed"}},
    {"has_bonus", RK_OWN_SIZE(BONUS), 0, {0, 1}, {rk_size_constant, 0},
     {RK_FROM_PRESENCE, MIXER "r_k", 0, 0}, RK_NO_OPTION},
    RK_TF_RMS_EPS(1e-6),
    RK_TF_ROPE_THETA(1000000),
};
/* clang-format on */
static const rk_size_table own_sizes = {own, RK_COUNT(own)};

static rk_status settle(const rk_arch *arch, rk_hparams *hp, const rk_file *file, rk_error *err)
{
    if (hp->own[FULL_GATE].n != 0)
        hp->own[RANK_G].n = 0;
    return rk_tf_settle(arch, hp, file, err);
}

/* ---- forward ---- */

static rk_tensor *time_mix(rk_ctx *ctx, const rk_model *m, int64_t l, rk_tensor *x,
                           rk_tensor *residual, rk_block_io *io)
{
    const layer *p = rk_model_layer(m, l);
    const double size = (double)m->hp.head_size;
    const rk_tf_heads heads = rk_tf_heads_of(&m->hp);
    rk_rwkv7_time_mix att = p->att;
    if (rk_layer_in(&m->hp.kept, l))
        return rk_tf_attention(ctx, &heads, &p->attention, x, residual, &io->state[KEYS],
                               &io->state[VALUES]);
    att.receptance = p->attention.q;
    att.key = p->attention.k;
    att.value = p->attention.v;
    att.output = p->attention.o;
    if (!x)
        return NULL;
    const rk_grouped_reads reads = {
        .n_head = m->hp.n_head,
        .n_kv_head = m->hp.own[RK_TF_KV_HEADS].n,
        .q_bias = p->attention.q_bias,
        .k_bias = p->attention.k_bias,
        .v_bias = p->attention.v_bias,
        .gate = p->gate,
        .positions = rk_positions(ctx, io->state[BEFORE], x->dims[1], &io->state[BEFORE]),
        .theta = m->hp.own[RK_TF_THETA].x};
    const rk_rwkv7_form form = {.eps = size * 1e-5, .scale = 1.0 / sqrt(size)};
    rk_rwkv7_time_mix_io mixed = {.wkv = io->state[WKV], .v_first = io->carry[0]};
    x = rk_rwkv7_grouped_mix_forward(ctx, &att, &reads, x, residual, &form, &mixed);
    io->carry[0] = mixed.v_first;
    io->state[WKV] = mixed.wkv;
    return x;
}

static const rk_io_spec carry[] = {{"v_first", "BTHD", false}};

const rk_arch rk_arch_rwkv7qwen2 = {
    .name = "rwkv7qwen2",
    .params = params,
    .n_params = RK_COUNT(params),
    .state = state,
    .n_state = N_STATE,
    .layer_bytes = sizeof(layer),
    .has = has,
    .detect = detect,
    .sizes = {&rk_tf_sizes_first, &rk_tf_sizes_heads, &own_sizes, &rk_tf_sizes_last},
    .settle = settle,
    .carry = carry,
    .n_carry = RK_COUNT(carry),
    RK_TF_PARTS,
    .time_mix = time_mix,
};
