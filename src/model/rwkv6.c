/* rwkv6.c: RWKV-6 "Finch" (arXiv 2404.05892; BlinkDL/RWKV-LM, RWKV-v5, x060). */
#include "base/num.h"
#include "model/lm.h"
#include "model/pair.h"
#include "model/records.h"
#include "nn/rwkv4.h"

typedef struct rwkv6_layer {
    rk_lm_layer norms;
    rk_rwkv6_time_mix att;
    rk_gated_channel_mix ffn;
    rk_tensor *time_state; /* (H, N value, N key), may be NULL: the state that streams begin with */
    rk_tensor *ts_state;   /* (C), may be NULL: what stands before the first token in the shift */
} rwkv6_layer;

#define LAYER(f) RK_SCOPE_LAYER, offsetof(rwkv6_layer, f)
#define TUNED(f) RK_SCOPE_TUNED, offsetof(rwkv6_layer, f)
#define TUNED_SHIFT(f) RK_SCOPE_TUNED_SHIFT, offsetof(rwkv6_layer, f)

static const rk_param_spec params[] = {
    RK_LM_FIRST_PARAMS,
    RK_LM_BLOCK_PARAMS,
    {"blocks.%d.att.time_maa_x", "11C", RK_ROLE_VECTOR, LAYER(att.maa_x), rk_init_maa, 1, 1},
    {"blocks.%d.att.time_maa_w", "11C", RK_ROLE_VECTOR, LAYER(att.maa_w), rk_init_maa, 1, 1},
    {"blocks.%d.att.time_maa_k", "11C", RK_ROLE_VECTOR, LAYER(att.maa_k), rk_init_maa, 1, 1},
    {"blocks.%d.att.time_maa_v", "11C", RK_ROLE_VECTOR, LAYER(att.maa_v), rk_init_maa_v, 1, 1},
    {"blocks.%d.att.time_maa_r", "11C", RK_ROLE_VECTOR, LAYER(att.maa_r), rk_init_maa, 0.5, 1},
    {"blocks.%d.att.time_maa_g", "11C", RK_ROLE_VECTOR, LAYER(att.maa_g), rk_init_maa, 0.5, 1},
    {"blocks.%d.att.time_maa_w1", "CM", RK_ROLE_LOW_RANK, LAYER(att.maa_w1), rk_init_constant, 0,
     1},
    {"blocks.%d.att.time_maa_w2", "5mC", RK_ROLE_LOW_RANKS, LAYER(att.maa_w2), rk_init_uniform,
     0.01, 1},
    {"blocks.%d.att.time_decay", "11C", RK_ROLE_VECTOR, LAYER(att.decay), rk_init_decay6, 0, 2},
    {"blocks.%d.att.time_decay_w1", "Cw", RK_ROLE_LOW_RANK, LAYER(att.decay_w1), rk_init_constant,
     0, 1},
    {"blocks.%d.att.time_decay_w2", "wC", RK_ROLE_LOW_RANK, LAYER(att.decay_w2), rk_init_uniform,
     0.01, 1},
    {"blocks.%d.att.time_faaaa", "HN", RK_ROLE_VECTOR, LAYER(att.faaaa), rk_init_faaaa, 0, 1},
    {"blocks.%d.att.receptance.weight", "CC", RK_ROLE_ATT_READ, LAYER(att.receptance),
     rk_init_orthogonal, 1, 1},
    {"blocks.%d.att.key.weight", "CC", RK_ROLE_ATT_WRITE, LAYER(att.key), rk_init_orthogonal, 0.1,
     1},
    {"blocks.%d.att.value.weight", "CC", RK_ROLE_ATT_WRITE, LAYER(att.value), rk_init_orthogonal, 1,
     1},
    {"blocks.%d.att.gate.weight", "CC", RK_ROLE_ATT_READ, LAYER(att.gate), rk_init_orthogonal, 0.1,
     1},
    {"blocks.%d.att.output.weight", "CC", RK_ROLE_ATT_OUT, LAYER(att.output), rk_init_constant, 0,
     1},
    {"blocks.%d.att.ln_x.weight", "C", RK_ROLE_VECTOR, LAYER(att.ln_x_w), rk_init_ln_x, 0.7, 1},
    {"blocks.%d.att.ln_x.bias", "C", RK_ROLE_VECTOR, LAYER(att.ln_x_b), rk_init_constant, 0, 1},
    {"blocks.%d.ffn.time_maa_k", "11C", RK_ROLE_VECTOR, LAYER(ffn.mix_k), rk_init_maa_ffn, 3, 1},
    {"blocks.%d.ffn.time_maa_r", "11C", RK_ROLE_VECTOR, LAYER(ffn.mix_r), rk_init_maa_ffn, 3, 1},
    {"blocks.%d.ffn.key.weight", "FC", RK_ROLE_FFN_IN, LAYER(ffn.key), rk_init_orthogonal, 1, 1},
    {"blocks.%d.ffn.receptance.weight", "CC", RK_ROLE_FFN_IN, LAYER(ffn.receptance),
     rk_init_constant, 0, 1},
    {"blocks.%d.ffn.value.weight", "CF", RK_ROLE_FFN_OUT, LAYER(ffn.value), rk_init_constant, 0, 1},
    {"blocks.%d.att.time_state", "HNN", RK_ROLE_STATE, TUNED(time_state), rk_init_constant, 0, 1},
    {"blocks.%d.att.ts_state", "C", RK_ROLE_SHIFT, TUNED_SHIFT(ts_state), rk_init_constant, 0, 1},
    RK_LM_LAST_PARAMS,
};

enum { ATT_SHIFT, ATT_WKV, FFN_SHIFT, N_STATE };
static const rk_state_spec state[N_STATE] = {
    [ATT_SHIFT] = {.name = "att.shift", .shape = "C", .tuned = offsetof(rwkv6_layer, ts_state)},
    [ATT_WKV] = {.name = "att.wkv",
                 .shape = "HNN",
                 .kind = RK_STATE_MATRIX,
                 .tuned = offsetof(rwkv6_layer, time_state),
                 .key_major = true},
    [FFN_SHIFT] = {.name = "ffn.shift", .shape = "C"},
};

static bool detect(const rk_file *f)
{
    return rk_file_find(f, "blocks.0.att.time_maa_x") != NULL;
}

enum { RANK_W, RANK_M, DIM_M }; /* of the decay; of each of the five mixes, of all five */

/* arg, and twice as much in wide models. */
static double rank_of(const rk_hparams *hp, double arg)
{
    return hp->n_embd >= 4096 ? 2 * arg : arg;
}

/* Name, place, letter, range, default; where a file shows it; option. */
/* clang-format off */
static const rk_size_spec own[] = {
    {"n_head", RK_SIZE(n_head), 'H', {1, RK_EMBD_MAX}, {NULL, 0},
     {RK_FROM_TENSOR, "blocks.0.att.time_faaaa", 2, 0}, RK_NO_OPTION},
    {"head_size", RK_SIZE(head_size), 'N', {1, RK_HEAD_MAX}, {rk_size_constant, 64},
     {RK_FROM_TENSOR, "blocks.0.att.time_faaaa", 2, 1}, RK_HEAD_SIZE_OPTION},
    {"dim_ffn", RK_SIZE(dim_ffn), 'F', {1, RK_FFN_MAX}, {rk_size_ffn_35, 0},
     {RK_FROM_TENSOR, "blocks.0.ffn.key.weight", 2, 0}, RK_DIM_FFN_OPTION},
    {"rank_w", RK_OWN_SIZE(RANK_W), 'w', {1, RK_RANK_MAX}, {rank_of, 64},
     {RK_FROM_TENSOR, "blocks.0.att.time_decay_w1", 2, 1},
     {"lora-rank-w", "by n-embd", "rank of the decay's matrices"}},
    {"rank_m", RK_OWN_SIZE(RANK_M), 'm', {1, RK_RANK_MAX}, {rank_of, 32},
     {RK_FROM_TENSOR, "blocks.0.att.time_maa_w2", 3, 1}, RK_NO_OPTION},
    {"dim_m", RK_OWN_SIZE(DIM_M), 'M', {5, 5 * RK_RANK_MAX}, {NULL, 0},
     {RK_FROM_OTHERS, NULL, 0, 0}, RK_NO_OPTION},
};
/* clang-format on */
static const rk_size_table own_sizes = {own, RK_COUNT(own)};

static rk_status settle(const rk_arch *arch, rk_hparams *hp, const rk_file *file, rk_error *err)
{
    hp->own[DIM_M].n = 5 * hp->own[RANK_M].n;
    return rk_settle_heads(arch, hp, file, err);
}

static rk_tensor *time_mix(rk_ctx *ctx, const rk_model *m, int64_t layer, rk_tensor *x,
                           rk_tensor *residual, rk_block_io *io)
{
    const rwkv6_layer *p = rk_model_layer(m, layer);
    const rk_rwkv5_sizes sizes = {m->hp.n_head, m->hp.head_size, m->hp.ln_x_eps};
    return rk_rwkv6_time_mix_forward(ctx, &p->att, sizes, x, residual, &io->state[ATT_SHIFT],
                                     &io->state[ATT_WKV]);
}

static rk_tensor *channel_mix(rk_ctx *ctx, const rk_model *m, int64_t layer, rk_tensor *x,
                              rk_tensor *residual, rk_block_io *io)
{
    const rwkv6_layer *p = rk_model_layer(m, layer);
    return rk_gated_channel_mix_forward(ctx, &p->ffn, RK_MIX_PREVIOUS, x, residual,
                                        &io->state[FFN_SHIFT]);
}

const rk_arch rk_arch_rwkv6 = {
    .name = "rwkv6",
    .params = params,
    .n_params = RK_COUNT(params),
    .state = state,
    .n_state = N_STATE,
    .layer_bytes = sizeof(rwkv6_layer),
    .detect = detect,
    .sizes = {&rk_sizes_first, &own_sizes, &rk_sizes_pairs, &rk_sizes_clusters, &rk_sizes_records,
              &rk_sizes_last_x},
    .settle = settle,
    RK_LM_PARTS,
    .stem = rk_lm_stem,
    .time_mix = time_mix,
    .channel_mix = channel_mix,
};
