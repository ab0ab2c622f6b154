/* rwkv6qwen2.c: QRWKV6 (Recursal's QRWKV6-32B-Instruct-Preview-v0.1), a Qwen2.5 with RWKV-6's recurrence in
 * the place of attention, whose projections it keeps: biases, and fewer heads of keys and values. */
#include "base/num.h"
#include "model/transformer.h"
#include "nn/rwkv4.h"

typedef struct layer {
    rk_tf_layer body;
    rk_tf_attention_layer attention; /* its projections */
    rk_rwkv6_time_mix att;           /* what is added to them */
    rk_tensor *time_state; /* (H, N value, N key), may be NULL: the state that streams begin with */
    rk_tensor *ts_state;   /* (C), may be NULL: what stands before the first token in the shift */
} layer;

enum {
    RANK_M = RK_TF_OWN,
    DIM_M,
    RANK_W
}; /* of each of the five mixes, of all five, of the decay */

#define MIXER RK_TF_NAME "self_attn."
#define LAYER(f) RK_SCOPE_MIXER, offsetof(layer, f)

/* Initial values are RWKV-6's. */
/* clang-format off */
static const rk_param_spec params[] = {
    RK_TF_FIRST_PARAMS,
    RK_TF_BLOCK_PARAMS,
    {MIXER "time_maa_x", "11C", RK_ROLE_VECTOR, LAYER(att.maa_x), rk_init_maa, 1, 1},
    {MIXER "time_maa_r", "11C", RK_ROLE_VECTOR, LAYER(att.maa_r), rk_init_maa, 0.5, 1},
    {MIXER "time_maa_k", "11C", RK_ROLE_VECTOR, LAYER(att.maa_k), rk_init_maa, 1, 1},
    {MIXER "time_maa_v", "11C", RK_ROLE_VECTOR, LAYER(att.maa_v), rk_init_maa_v, 1, 1},
    {MIXER "time_maa_w", "11C", RK_ROLE_VECTOR, LAYER(att.maa_w), rk_init_maa, 1, 1},
    {MIXER "time_maa_g", "11C", RK_ROLE_VECTOR, LAYER(att.maa_g), rk_init_maa, 0.5, 1},
    {MIXER "time_maa_w1", "CM", RK_ROLE_LOW_RANK, LAYER(att.maa_w1), rk_init_constant, 0, 1},
    {MIXER "time_maa_w2", "5mC", RK_ROLE_LOW_RANKS, LAYER(att.maa_w2), rk_init_uniform, 0.01, 1},
    {MIXER "time_decay", "11Q", RK_ROLE_VECTOR, LAYER(att.decay), rk_init_decay6, 0, 1},
    {MIXER "time_decay_w1", "Cw", RK_ROLE_LOW_RANK, LAYER(att.decay_w1), rk_init_constant, 0, 1},
    {MIXER "time_decay_w2", "wQ", RK_ROLE_LOW_RANK, LAYER(att.decay_w2), rk_init_uniform, 0.01, 1},
    {MIXER "gate.weight", "QC", RK_ROLE_ATT_READ, LAYER(att.gate), rk_init_normal, RK_TF_STD, 1},
    RK_TF_ATTENTION_PARAMS(layer),
    RK_TF_BIAS_PARAMS(layer),
    {MIXER "time_state", "HDD", RK_ROLE_STATE, RK_SCOPE_TUNED, offsetof(layer, time_state),
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
             .shape = "HDD",
             .kind = RK_STATE_MATRIX,
             .tuned = offsetof(layer, time_state),
             .key_major = true,
             .in = RK_IN_MIXERS},
    [KEYS] = RK_TF_KEYS(RK_IN_KEPT),
    [VALUES] = RK_TF_VALUES(RK_IN_KEPT),
};

static bool detect(const rk_file *f)
{
    return rk_file_in_any_layer(f, MIXER "time_maa_x");
}

/* arg, and twice as much in wide models. */
static double rank_of(const rk_hparams *hp, double arg)
{
    return hp->n_embd >= 4096 ? 2 * arg : arg;
}

/* Name, place, letter, range, default; where a file shows it; option. */
/* clang-format off */
static const rk_size_spec own[] = {
    {"rank_w", RK_OWN_SIZE(RANK_W), 'w', {1, RK_RANK_MAX}, {rank_of, 64},
     {RK_FROM_TENSOR, MIXER "time_decay_w1", 2, 1},
     {"lora-rank-w", "by n-embd", "rank of the decay's matrices"}},
    {"rank_m", RK_OWN_SIZE(RANK_M), 'm', {1, RK_RANK_MAX}, {rank_of, 32},
     {RK_FROM_TENSOR, MIXER "time_maa_w2", 3, 1}, RK_NO_OPTION},
    {"dim_m", RK_OWN_SIZE(DIM_M), 'M', {5, 5 * RK_RANK_MAX}, {NULL, 0},
     {RK_FROM_OTHERS, NULL, 0, 0}, RK_NO_OPTION},
    RK_TF_RMS_EPS(1e-6),
    RK_TF_KEPT_THETA,
};
/* clang-format on */
static const rk_size_table own_sizes = {own, RK_COUNT(own)};

static rk_status settle(const rk_arch *arch, rk_hparams *hp, const rk_file *file, rk_error *err)
{
    hp->own[DIM_M].n = 5 * hp->own[RANK_M].n;
    return rk_tf_settle(arch, hp, file, err);
}

static rk_tensor *time_mix(rk_ctx *ctx, const rk_model *m, int64_t l, rk_tensor *x,
                           rk_tensor *residual, rk_block_io *io)
{
    const layer *p = rk_model_layer(m, l);
    const rk_tf_heads heads = rk_tf_heads_of(&m->hp);
    rk_rwkv6_time_mix att = p->att;
    if (rk_layer_in(&m->hp.kept, l))
        return rk_tf_attention(ctx, &heads, &p->attention, x, residual, &io->state[KEYS],
                               &io->state[VALUES]);
    att.receptance = p->attention.q;
    att.key = p->attention.k;
    att.value = p->attention.v;
    att.output = p->attention.o;
    const rk_grouped_reads reads = {.n_head = m->hp.n_head,
                                    .n_kv_head = m->hp.own[RK_TF_KV_HEADS].n,
                                    .q_bias = p->attention.q_bias,
                                    .k_bias = p->attention.k_bias,
                                    .v_bias = p->attention.v_bias};
    return rk_rwkv6_grouped_mix_forward(ctx, &att, &reads, x, residual, &io->state[SHIFT],
                                        &io->state[WKV]);
}

const rk_arch rk_arch_rwkv6qwen2 = {
    .name = "rwkv6qwen2",
    .params = params,
    .n_params = RK_COUNT(params),
    .state = state,
    .n_state = N_STATE,
    .layer_bytes = sizeof(layer),
    .detect = detect,
    .sizes = {&rk_tf_sizes_first, &rk_tf_sizes_heads, &own_sizes, &rk_tf_sizes_last},
    .settle = settle,
    RK_TF_PARTS,
    .time_mix = time_mix,
};
