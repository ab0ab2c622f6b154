/* rwkv7.c: RWKV-7 "Goose" (arXiv 2503.14456; BlinkDL/RWKV-LM, RWKV-v7, x070).
 *
 * A block is x += time_mix(LN1(x)); x += channel_mix(LN2(x)), with the mixers of nn/rwkv7.h. */
#include <math.h>

#include "base/num.h"
#include "model/rwkv7.h"

#define LAYER(f) RK_SCOPE_LAYER, offsetof(rk_rwkv7_layer, f)
#define TUNED(f) RK_SCOPE_TUNED, offsetof(rk_rwkv7_layer, f)
#define TUNED_SHIFT(f) RK_SCOPE_TUNED_SHIFT, offsetof(rk_rwkv7_layer, f)
#define LATER(f) RK_SCOPE_LATER, offsetof(rk_rwkv7_layer, f)

/* Name, shape, place, initial value and its argument, factor of the learning rate. The values are
 * those of RWKV-LM's RWKV-v7/train_temp: the constructor's, with the second pass over `.weight`s.
 */
static const rk_param_spec params[] = {
    RK_LM_FIRST_PARAMS,
    RK_LM_BLOCK_PARAMS,
    {"blocks.%d.att.x_r", "11C", RK_ROLE_VECTOR, LAYER(att.x_r), rk_init_maa, 0.2, 1},
    {"blocks.%d.att.x_w", "11C", RK_ROLE_VECTOR, LAYER(att.x_w), rk_init_maa, 0.9, 1},
    {"blocks.%d.att.x_k", "11C", RK_ROLE_VECTOR, LAYER(att.x_k), rk_init_maa, 0.7, 1},
    {"blocks.%d.att.x_v", "11C", RK_ROLE_VECTOR, LAYER(att.x_v), rk_init_maa, 0.7, 1},
    {"blocks.%d.att.x_a", "11C", RK_ROLE_VECTOR, LAYER(att.x_a), rk_init_maa, 0.9, 1},
    {"blocks.%d.att.x_g", "11C", RK_ROLE_VECTOR, LAYER(att.x_g), rk_init_maa, 0.2, 1},
    {"blocks.%d.att.w0", "11C", RK_ROLE_VECTOR, LAYER(att.w0), rk_init_w0, 0, 2},
    {"blocks.%d.att.w1", "Cw", RK_ROLE_LOW_RANK, LAYER(att.w1), rk_init_constant, 0, 1},
    {"blocks.%d.att.w2", "wC", RK_ROLE_LOW_RANK, LAYER(att.w2), rk_init_orthogonal_tall, 0.1, 1},
    {"blocks.%d.att.a0", "11C", RK_ROLE_VECTOR, LAYER(att.a0), rk_init_a0, 0, 1},
    {"blocks.%d.att.a1", "Ca", RK_ROLE_LOW_RANK, LAYER(att.a1), rk_init_constant, 0, 1},
    {"blocks.%d.att.a2", "aC", RK_ROLE_LOW_RANK, LAYER(att.a2), rk_init_orthogonal_tall, 0.1, 1},
    {"blocks.%d.att.v0", "11C", RK_ROLE_VECTOR, LATER(att.v0), rk_init_slope, 0.73, 1},
    {"blocks.%d.att.v1", "Cv", RK_ROLE_LOW_RANK, LATER(att.v1), rk_init_constant, 0, 1},
    {"blocks.%d.att.v2", "vC", RK_ROLE_LOW_RANK, LATER(att.v2), rk_init_orthogonal_tall, 0.1, 1},
    {"blocks.%d.att.g1", "Cg", RK_ROLE_LOW_RANK, LAYER(att.g1), rk_init_constant, 0, 1},
    {"blocks.%d.att.g2", "gC", RK_ROLE_LOW_RANK, LAYER(att.g2), rk_init_orthogonal_tall, 0.1, 1},
    {"blocks.%d.att.k_k", "11C", RK_ROLE_VECTOR, LAYER(att.k_k), rk_init_k_k, 0.71, 1},
    {"blocks.%d.att.k_a", "11C", RK_ROLE_VECTOR, LAYER(att.k_a), rk_init_constant, 1.02, 1},
    {"blocks.%d.att.r_k", "HN", RK_ROLE_VECTOR, LAYER(att.r_k), rk_init_constant, -0.04, 1},
    {"blocks.%d.att.receptance.weight", "CC", RK_ROLE_ATT_READ, LAYER(att.receptance),
     rk_init_orthogonal, 1, 1},
    {"blocks.%d.att.key.weight", "CC", RK_ROLE_ATT_WRITE, LAYER(att.key), rk_init_orthogonal, 0.1,
     1},
    {"blocks.%d.att.value.weight", "CC", RK_ROLE_ATT_WRITE, LAYER(att.value), rk_init_orthogonal, 1,
     1},
    {"blocks.%d.att.output.weight", "CC", RK_ROLE_ATT_OUT, LAYER(att.output), rk_init_constant, 0,
     1},
    {"blocks.%d.att.ln_x.weight", "C", RK_ROLE_VECTOR, LAYER(att.ln_x_w), rk_init_ln_x, 0.7, 1},
    {"blocks.%d.att.ln_x.bias", "C", RK_ROLE_VECTOR, LAYER(att.ln_x_b), rk_init_constant, 0, 1},
    {"blocks.%d.ffn.x_k", "11C", RK_ROLE_VECTOR, LAYER(ffn.x_k), rk_init_maa_ffn, 4, 1},
    {"blocks.%d.ffn.key.weight", "FC", RK_ROLE_FFN_IN, LAYER(ffn.key), rk_init_orthogonal, 1, 1},
    {"blocks.%d.ffn.value.weight", "CF", RK_ROLE_FFN_OUT, LAYER(ffn.value), rk_init_constant, 0, 1},
    {"blocks.%d.att.time_state", "HNN", RK_ROLE_STATE, TUNED(time_state), rk_init_constant, 0, 1},
    {"blocks.%d.att.ts_state", "C", RK_ROLE_SHIFT, TUNED_SHIFT(ts_state), rk_init_constant, 0, 1},
    RK_LM_LAST_PARAMS,
};

enum { ATT_SHIFT, ATT_WKV, FFN_SHIFT };
const rk_state_spec rk_rwkv7_state[RK_RWKV7_N_STATE] = {RK_RWKV7_STATE};

/* ---- sizes ---- */

static bool detect(const rk_file *f)
{
    return rk_file_find(f, "blocks.0.att.r_k") && !rk_file_find(f, "blocks.0.ffn.s_emb.weight") &&
           !rk_file_find(f, "blocks.0.att.kernel_u") && !rk_arch_meta7.detect(f);
}

/* max(32, 32 round(x / 32)) of x = arg sqrt(n_embd), halves to even, as the trainer of RWKV-LM
 * computes ranks. */
static double rank_of(const rk_hparams *hp, double arg)
{
    return fmax(32, 32 * nearbyint(arg * sqrt((double)hp->n_embd) / 32));
}

/* Name, place, letter, range, default; where a file shows it; option. */
/* clang-format off */
static const rk_size_spec sizes[] = {
    {"n_head", RK_SIZE(n_head), 'H', {1, RK_EMBD_MAX}, {NULL, 0},
     {RK_FROM_TENSOR, "blocks.0.att.r_k", 2, 0}, RK_NO_OPTION},
    {"head_size", RK_SIZE(head_size), 'N', {1, RK_HEAD_MAX}, {rk_size_constant, 64},
     {RK_FROM_TENSOR, "blocks.0.att.r_k", 2, 1}, RK_HEAD_SIZE_OPTION},
    {"dim_ffn", RK_SIZE(dim_ffn), 'F', {1, RK_FFN_MAX}, {rk_size_of_embd, 4},
     {RK_FROM_TENSOR, "blocks.0.ffn.key.weight", 2, 0}, RK_DIM_FFN_OPTION},
    {"rank_w", RK_OWN_SIZE(RK_RWKV7_RANK_W), 'w', {1, RK_RANK_MAX}, {rank_of, 2.5},
     {RK_FROM_TENSOR, "blocks.0.att.w1", 2, 1},
     {"lora-rank-w", "by n-embd", "rank of the decay's matrices"}},
    {"rank_a", RK_OWN_SIZE(RK_RWKV7_RANK_A), 'a', {1, RK_RANK_MAX}, {rank_of, 2.5},
     {RK_FROM_TENSOR, "blocks.0.att.a1", 2, 1},
     {"lora-rank-a", "by n-embd", "rank of the in-context learning rate's"}},
    {"rank_v", RK_OWN_SIZE(RK_RWKV7_RANK_V), 'v', {1, RK_RANK_MAX}, {rank_of, 1.7},
     {RK_FROM_LATER, "blocks.1.att.v1", 2, 1},
     {"lora-rank-v", "by n-embd", "rank of the value residual's"}},
    {"rank_g", RK_OWN_SIZE(RK_RWKV7_RANK_G), 'g', {1, RK_RANK_MAX}, {rank_of, 5.0},
     {RK_FROM_TENSOR, "blocks.0.att.g1", 2, 1}, {"lora-rank-g", "by n-embd", "rank of the gate's"}},
    {"removal_scale", RK_OWN_REAL(RK_RWKV7_REMOVAL), 0, {0, 2}, {rk_size_constant, 1},
     {RK_FROM_MARK, NULL, 0, 0},
     {"removal-scale", "1", "how much of what a key finds is removed; above 1 states can be swapped"}},
    {"ln0_fused", RK_SIZE(ln0_fused), 0, {0, 1}, {rk_size_constant, 0}, {RK_FROM_META, NULL, 0, 0},
     RK_NO_OPTION},
};
/* clang-format on */
const rk_size_table rk_rwkv7_sizes = {sizes, RK_COUNT(sizes)};

/* ---- forward ---- */

const rk_io_spec rk_rwkv7_carry[RK_RWKV7_N_CARRY] = {{"v_first", "BTHN", false}};

rk_tensor *rk_rwkv7_att(rk_ctx *ctx, const rk_model *m, int64_t layer, rk_tensor *x,
                        rk_tensor *residual, rk_block_io *io)
{
    const rk_rwkv7_layer *p = rk_model_layer(m, layer);
    rk_tensor **s = io->state;
    const bool path = m->arch->n_state > RK_RWKV7_PATH;
    rk_rwkv7_time_mix_io att = {.shift = s[ATT_SHIFT],
                                .wkv = s[ATT_WKV],
                                .path = path ? s[RK_RWKV7_PATH] : NULL,
                                .v_first = io->carry[0]};
    const rk_rwkv7_form form = {.eps = m->hp.ln_x_eps,
                                .extra = m->hp.own[RK_RWKV7_REMOVAL].x - 1.0};
    x = rk_rwkv7_time_mix_forward(ctx, &p->att, x, residual, &form, &att);
    io->carry[0] = att.v_first;
    s[ATT_SHIFT] = att.shift;
    s[ATT_WKV] = att.wkv;
    if (path)
        s[RK_RWKV7_PATH] = att.path;
    return x;
}

rk_tensor *rk_rwkv7_ffn(rk_ctx *ctx, const rk_model *m, int64_t layer, rk_tensor *x,
                        rk_tensor *residual, rk_block_io *io)
{
    const rk_rwkv7_layer *p = rk_model_layer(m, layer);
    return rk_rwkv7_channel_mix_forward(ctx, &p->ffn, io->given[RK_RWKV7_IDS],
                                        io->given[RK_RWKV7_EMB], x, residual,
                                        &io->state[FFN_SHIFT]);
}

const rk_arch rk_arch_rwkv7 = {
    .name = "rwkv7",
    .params = params,
    .n_params = RK_COUNT(params),
    .state = rk_rwkv7_state,
    .n_state = RK_RWKV7_N_STATE,
    .layer_bytes = sizeof(rk_rwkv7_layer),
    .detect = detect,
    .sizes = {&rk_sizes_first, &rk_rwkv7_sizes, &rk_sizes_pairs, &rk_sizes_clusters,
              &rk_sizes_records, &rk_sizes_last_x},
    .settle = rk_settle_heads,
    .carry = rk_rwkv7_carry,
    .n_carry = RK_RWKV7_N_CARRY,
    RK_LM_PARTS,
    .stem = rk_lm_stem,
    .time_mix = rk_rwkv7_att,
    .channel_mix = rk_rwkv7_ffn,
};
