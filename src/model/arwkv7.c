/* arwkv7.c: ARWKV-7 (arXiv 2501.15570), a transformer with RWKV-7's time mix in the place of attention, as
 * distillation makes it of a Qwen2.5. Names are those of the published files
 * (RWKV-Red-Team/ARWKV-7B-Preview-0.1), whose head is not the table of embeddings.
 *
 * The gate has three forms: none, plain, and one plus what the plain one is, which begins as none. Shapes
 * show whether there is one; that it is the third is marked, because who does not know it would compute
 * the second.
 *
 * Layers that are kept have the attention of the transformer under its own names. Its heads are others than
 * those of the recurrence. */
#include <inttypes.h>
#include <math.h>

#include "base/num.h"
#include "model/transformer.h"
#include "nn/rwkv7.h"

typedef struct layer {
    rk_tf_layer body;
    rk_tf_attention_layer attention; /* where it is kept */
    rk_rwkv7_time_mix att;
    rk_tensor *time_state; /* (H, N value, N key), may be NULL: the state that streams begin with */
    rk_tensor *ts_state;   /* (C), may be NULL: what stands before the first token in the shift */
} layer;

/* Places in rk_hparams.own. */
enum {
    RANK_W = RK_TF_OWN,
    RANK_A,
    RANK_V,
    RANK_G,
    GATE,
    GROUP_NORM,
    KEPT_HEADS,
    KEPT_SIZE,
    UNBIASED
};
enum { NO_GATE, PLAIN, ONE_PLUS };

/* ---- parameters ---- */

/* What only some models have: biases of attention that is kept; the gate, the group norm. */
static bool has(const rk_hparams *hp, const rk_param_spec *spec, int64_t l)
{
    if (spec->field < offsetof(layer, att))
        return rk_layer_in(&hp->kept, l) && !hp->own[UNBIASED].n;
    if (rk_layer_in(&hp->kept, l))
        return false;
    return spec->field >= offsetof(layer, att.ln_x_w) ? hp->own[GROUP_NORM].n != 0
                                                      : hp->own[GATE].n != NO_GATE;
}

/* A gate of 1 plus something begins as 1, a plain one as RWKV-7's. */
static rk_status init_g2(const rk_init *p, rk_error *err)
{
    rk_init q = *p;
    q.arg = p->hp->own[GATE].n == ONE_PLUS ? 0.0 : p->arg;
    return q.arg == 0.0 ? rk_init_constant(&q, err) : rk_init_orthogonal(&q, err);
}

#define ATTENTION RK_TF_NAME "self_attn."
#define MIXER ATTENTION "time_mixer."
#define LAYER(f) RK_SCOPE_MIXER, offsetof(layer, f)
#define SOME(f) RK_SCOPE_SOME, offsetof(layer, f)
#define LATER(f) RK_SCOPE_LATER, offsetof(layer, f)

/* Name, shape, role, place, initial value and its argument, factor of the learning rate. The
 * values are those of RWKVInside. */
/* clang-format off */
static const rk_param_spec params[] = {
    RK_TF_FIRST_PARAMS,
    RK_TF_BLOCK_PARAMS,
    RK_TF_ATTENTION_PARAMS_IN(RK_SCOPE_KEPT, layer),
    RK_TF_BIAS_PARAMS_IN(RK_SCOPE_SOME, layer),
    {MIXER "x_r", "11C", RK_ROLE_VECTOR, LAYER(att.x_r), rk_init_maa, 0.2, 1},
    {MIXER "x_w", "11C", RK_ROLE_VECTOR, LAYER(att.x_w), rk_init_maa, 0.9, 1},
    {MIXER "x_k", "11C", RK_ROLE_VECTOR, LAYER(att.x_k), rk_init_maa_k, 0.9, 1},
    {MIXER "x_v", "11C", RK_ROLE_VECTOR, LAYER(att.x_v), rk_init_maa_v6, 0.4, 1},
    {MIXER "x_a", "11C", RK_ROLE_VECTOR, LAYER(att.x_a), rk_init_maa, 0.9, 1},
    {MIXER "x_g", "11C", RK_ROLE_VECTOR, SOME(att.x_g), rk_init_constant, 1, 1},
    {MIXER "w0", "11C", RK_ROLE_VECTOR, LAYER(att.w0), rk_init_w0_plain, 0, 1},
    {MIXER "w1", "Cw", RK_ROLE_LOW_RANK, LAYER(att.w1), rk_init_constant, 0, 1},
    {MIXER "w2", "wC", RK_ROLE_LOW_RANK, LAYER(att.w2), rk_init_orthogonal, 0.1, 1},
    {MIXER "a0", "11C", RK_ROLE_VECTOR, LAYER(att.a0), rk_init_constant, 0, 1},
    {MIXER "a1", "Ca", RK_ROLE_LOW_RANK, LAYER(att.a1), rk_init_constant, 0, 1},
    {MIXER "a2", "aC", RK_ROLE_LOW_RANK, LAYER(att.a2), rk_init_orthogonal, 0.1, 1},
    {MIXER "v0", "11C", RK_ROLE_VECTOR, LATER(att.v0), rk_init_constant, 1, 1},
    {MIXER "v1", "Cv", RK_ROLE_LOW_RANK, LATER(att.v1), rk_init_constant, 0, 1},
    {MIXER "v2", "vC", RK_ROLE_LOW_RANK, LATER(att.v2), rk_init_orthogonal, 0.1, 1},
    {MIXER "g1", "Cg", RK_ROLE_LOW_RANK, SOME(att.g1), rk_init_constant, 0, 1},
    {MIXER "g2", "gC", RK_ROLE_LOW_RANK, SOME(att.g2), init_g2, 0.1, 1},
    {MIXER "k_k", "11C", RK_ROLE_VECTOR, LAYER(att.k_k), rk_init_constant, 0.85, 1},
    {MIXER "k_a", "11C", RK_ROLE_VECTOR, LAYER(att.k_a), rk_init_constant, 1, 1},
    {MIXER "r_k", "HN", RK_ROLE_VECTOR, LAYER(att.r_k), rk_init_constant, 0, 1},
    {MIXER "receptance.weight", "CC", RK_ROLE_ATT_READ, LAYER(att.receptance), rk_init_linear, 1, 1},
    {MIXER "key.weight", "CC", RK_ROLE_ATT_WRITE, LAYER(att.key), rk_init_linear, 1, 1},
    {MIXER "value.weight", "CC", RK_ROLE_ATT_WRITE, LAYER(att.value), rk_init_linear, 1, 1},
    {MIXER "output.weight", "CC", RK_ROLE_ATT_OUT, LAYER(att.output), rk_init_linear, 1, 1},
    {MIXER "ln_x.weight", "C", RK_ROLE_VECTOR, SOME(att.ln_x_w), rk_init_constant, 1, 1},
    {MIXER "ln_x.bias", "C", RK_ROLE_VECTOR, SOME(att.ln_x_b), rk_init_constant, 0, 1},
    {MIXER "time_state", "HNN", RK_ROLE_STATE, RK_SCOPE_TUNED, offsetof(layer, time_state),
     rk_init_constant, 0, 1},
    {MIXER "ts_state", "C", RK_ROLE_SHIFT, RK_SCOPE_TUNED_SHIFT, offsetof(layer, ts_state),
     rk_init_constant, 0, 1},
    RK_TF_LAST_PARAMS,
};
/* clang-format on */

enum { SHIFT, WKV, KEYS, VALUES, N_STATE };
static const rk_state_spec state[N_STATE] = {
    [SHIFT] = {.name = "att.shift",
               .shape = "C",
               .tuned = offsetof(layer, ts_state),
               .in = RK_IN_MIXERS},
    [WKV] = {.name = "att.wkv",
             .shape = "HNN",
             .kind = RK_STATE_MATRIX,
             .tuned = offsetof(layer, time_state),
             .in = RK_IN_MIXERS},
    [KEYS] = RK_TF_KEYS(RK_IN_KEPT),
    [VALUES] = RK_TF_VALUES(RK_IN_KEPT),
};

static bool detect(const rk_file *f)
{
    return rk_file_in_any_layer(f, MIXER "r_k");
}

/* ---- sizes ---- */

/* Name, place, letter, range, default; where a file shows it; option. */
/* clang-format off */
static const rk_size_spec own[] = {
    {"n_wkv_head", RK_SIZE(n_head), 'H', {1, RK_EMBD_MAX}, {NULL, 0},
     {RK_FROM_TENSOR, MIXER "r_k", 2, 0}, RK_NO_OPTION},
    {"head_size", RK_SIZE(head_size), 'N', {1, RK_HEAD_MAX}, {rk_size_constant, 64},
     {RK_FROM_TENSOR, MIXER "r_k", 2, 1}, RK_HEAD_SIZE_OPTION},
    {"rank_w", RK_OWN_SIZE(RANK_W), 'w', {1, RK_RANK_MAX}, {rk_size_constant, 64},
     {RK_FROM_TENSOR, MIXER "w1", 2, 1},
     {"lora-rank-w", "by n-embd", "rank of the decay's matrices"}},
    {"rank_a", RK_OWN_SIZE(RANK_A), 'a', {1, RK_RANK_MAX}, {rk_size_constant, 64},
     {RK_FROM_TENSOR, MIXER "a1", 2, 1},
     {"lora-rank-a", "by n-embd", "rank of the in-context learning rate's"}},
    {"rank_v", RK_OWN_SIZE(RANK_V), 'v', {1, RK_RANK_MAX}, {rk_size_constant, 32},
     {RK_FROM_LATER, MIXER "v1", 2, 1},
     {"lora-rank-v", "by n-embd", "rank of the value residual's"}},
    {"rank_g", RK_OWN_SIZE(RANK_G), 'g', {1, RK_RANK_MAX}, {rk_size_constant, 128},
     {RK_FROM_OPTIONAL, MIXER "g1", 2, 1}, {"lora-rank-g", "by n-embd", "rank of the gate's"}},
    {"wkv_gate_mode", RK_OWN_SIZE(GATE), 0, {NO_GATE, ONE_PLUS}, {rk_size_constant, ONE_PLUS},
     {RK_FROM_PRESENCE, MIXER "g1", 0, 0},
     {"gate-mode", "2", "0: no gate, 1: plain, 2: 1 plus the plain one, which begins as none"}},
    {"wkv_has_group_norm", RK_OWN_SIZE(GROUP_NORM), 0, {0, 1}, {rk_size_constant, 0},
     {RK_FROM_PRESENCE, MIXER "ln_x.weight", 0, 0},
     {"group-norm", "0", "1: a group norm behind the recurrence"}},
    {"ln_x_eps", RK_REAL(ln_x_eps), 0, {0, 1}, {rk_size_constant, RK_LN_X_EPS},
     {RK_FROM_META, NULL, 0, 0}, RK_NO_OPTION},
    {"n_attention_head", RK_OWN_SIZE(KEPT_HEADS), 0, {0, RK_EMBD_MAX}, {rk_size_constant, 0},
     {RK_FROM_META, NULL, 0, 0}, RK_NO_OPTION},
    {"n_attention_kv_head", RK_OWN_SIZE(RK_TF_KV_HEADS), 'G', {0, RK_EMBD_MAX},
     {rk_size_constant, 0}, {RK_FROM_OTHERS, NULL, 0, 0}, RK_NO_OPTION},
    {"attention_head_size", RK_OWN_SIZE(KEPT_SIZE), 'D', {0, RK_HEAD_MAX}, {rk_size_constant, 0},
     {RK_FROM_OTHERS, NULL, 0, 0}, RK_NO_OPTION},
    {"dim_q", RK_OWN_SIZE(RK_TF_DIM_Q), 'Q', {0, RK_FFN_MAX}, {NULL, 0},
     {RK_FROM_OPTIONAL, ATTENTION "q_proj.weight", 2, 0}, RK_NO_OPTION},
    {"dim_kv", RK_OWN_SIZE(RK_TF_DIM_KV), 'K', {0, RK_FFN_MAX}, {NULL, 0},
     {RK_FROM_OPTIONAL, ATTENTION "k_proj.weight", 2, 0}, RK_NO_OPTION},
    {"unbiased", RK_OWN_SIZE(UNBIASED), 0, {0, 1}, {rk_size_constant, 0},
     {RK_FROM_ABSENCE, ATTENTION "q_proj.bias", 0, 0}, RK_NO_OPTION},
    RK_TF_KEPT_THETA,
    RK_TF_RMS_EPS(1e-6),
};
/* clang-format on */
static const rk_size_table own_sizes = {own, RK_COUNT(own)};

static rk_tf_heads kept_heads(const rk_hparams *hp)
{
    return (rk_tf_heads){hp->own[KEPT_HEADS].n, hp->own[RK_TF_KV_HEADS].n, hp->own[KEPT_SIZE].n,
                         hp->own[RK_TF_THETA].x};
}

static void put_kept_heads(rk_hparams *hp, const rk_tf_heads *h)
{
    hp->own[KEPT_HEADS].n = h->n;
    hp->own[KEPT_SIZE].n = h->size;
    hp->own[RK_TF_KV_HEADS].n = h->n_kv;
    hp->own[RK_TF_DIM_Q].n = h->n * h->size;
    hp->own[RK_TF_DIM_KV].n = h->n_kv * h->size;
    hp->own[RK_TF_THETA].x = h->theta;
}

/* The heads of attention are those of the layers that have it. */
static rk_status settle_kept(rk_hparams *hp, const rk_file *file, rk_error *err)
{
    static const rk_tf_heads none = {.theta = 1000000};
    const char *where = file ? rk_file_name(file) : rk_arch_arwkv7.name;
    const rk_status code = file ? RK_ERR_FORMAT : RK_ERR_ARG;
    int64_t l = 0;
    rk_tf_heads h = kept_heads(hp);
    if (rk_n_kept(hp) == 0) {
        put_kept_heads(hp, &none);
        hp->own[UNBIASED].n = 0;
        return RK_OK;
    }
    while (!rk_layer_in(&hp->kept, l))
        l++;
    if (h.n < 1)
        return rk_fail(err, code,
                       "%s: layer %" PRId64
                       " has attention, and nothing says how many heads: expected metadata "
                       "n_attention_head, or a config.json beside it",
                       where, l);
    rk_status st =
        file ? rk_tf_settle_file(&h, hp->own[RK_TF_DIM_Q].n, hp->own[RK_TF_DIM_KV].n, l, file, err)
             : RK_OK;
    if (st == RK_OK)
        st = rk_tf_check_heads(&h, where, code, err);
    put_kept_heads(hp, &h);
    return st;
}

static rk_status settle(const rk_arch *arch, rk_hparams *hp, const rk_file *file, rk_error *err)
{
    if (hp->own[GATE].n == NO_GATE)
        hp->own[RANK_G].n = 0;
    const rk_status st = settle_kept(hp, file, err);
    return st == RK_OK ? rk_settle_heads(arch, hp, file, err) : st;
}

/* ---- forward ---- */

static rk_tensor *time_mix(rk_ctx *ctx, const rk_model *m, int64_t l, rk_tensor *x,
                           rk_tensor *residual, rk_block_io *io)
{
    const layer *p = rk_model_layer(m, l);
    if (rk_layer_in(&m->hp.kept, l)) {
        const rk_tf_heads heads = kept_heads(&m->hp);
        return rk_tf_attention(ctx, &heads, &p->attention, x, residual, &io->state[KEYS],
                               &io->state[VALUES]);
    }
    const rk_rwkv7_form form = {.eps = m->hp.ln_x_eps,
                                .scale = 1.0,
                                .gate_base = m->hp.own[GATE].n == ONE_PLUS ? 1.0 : 0.0};
    rk_rwkv7_time_mix_io att = {
        .shift = io->state[SHIFT], .wkv = io->state[WKV], .v_first = io->carry[0]};
    x = rk_rwkv7_time_mix_forward(ctx, &p->att, x, residual, &form, &att);
    io->carry[0] = att.v_first;
    io->state[SHIFT] = att.shift;
    io->state[WKV] = att.wkv;
    return x;
}

static const rk_io_spec carry[] = {{"v_first", "BTHN", false}};

const rk_arch rk_arch_arwkv7 = {
    .name = "arwkv7",
    .params = params,
    .n_params = RK_COUNT(params),
    .state = state,
    .n_state = N_STATE,
    .layer_bytes = sizeof(layer),
    .has = has,
    .detect = detect,
    .sizes = {&rk_tf_sizes_first, &own_sizes, &rk_tf_sizes_last},
    .settle = settle,
    .carry = carry,
    .n_carry = RK_COUNT(carry),
    RK_TF_PARTS,
    .time_mix = time_mix,
};
