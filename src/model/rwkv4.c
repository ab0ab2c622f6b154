/* rwkv4.c: RWKV-4 "Dove" (arXiv 2305.13048; BlinkDL/RWKV-LM, RWKV-v4neo). */
#include "model/rwkv4.h"

#include "base/num.h"
#include "model/pair.h"
#include "model/records.h"

#define LAYER(f) RK_SCOPE_LAYER, offsetof(rk_rwkv4_layer, f)
#define TUNED(f) RK_SCOPE_TUNED, offsetof(rk_rwkv4_layer, f)
#define TUNED_SHIFT(f) RK_SCOPE_TUNED_SHIFT, offsetof(rk_rwkv4_layer, f)

static const rk_param_spec params[] = {
    RK_LM_FIRST_PARAMS,
    RK_LM_BLOCK_PARAMS,
    {"blocks.%d.att.time_decay", "C", RK_ROLE_VECTOR, LAYER(att.time_decay), rk_init_decay4, 0, 2},
    {"blocks.%d.att.time_first", "C", RK_ROLE_VECTOR, LAYER(att.time_first), rk_init_first4, 0, 3},
    {"blocks.%d.att.time_mix_k", "11C", RK_ROLE_VECTOR, LAYER(att.time_mix_k), rk_init_share, 1, 1},
    {"blocks.%d.att.time_mix_v", "11C", RK_ROLE_VECTOR, LAYER(att.time_mix_v), rk_init_share_v, 1,
     1},
    {"blocks.%d.att.time_mix_r", "11C", RK_ROLE_VECTOR, LAYER(att.time_mix_r), rk_init_share, 0.5,
     1},
    {"blocks.%d.att.receptance.weight", "CC", RK_ROLE_ATT_READ, LAYER(att.receptance),
     rk_init_constant, 0, 1},
    {"blocks.%d.att.key.weight", "CC", RK_ROLE_ATT_WRITE, LAYER(att.key), rk_init_constant, 0, 1},
    {"blocks.%d.att.value.weight", "CC", RK_ROLE_ATT_WRITE, LAYER(att.value),
     rk_init_orthogonal_tall, 1, 1},
    {"blocks.%d.att.output.weight", "CC", RK_ROLE_ATT_OUT, LAYER(att.output), rk_init_constant, 0,
     1},
    {"blocks.%d.ffn.time_mix_k", "11C", RK_ROLE_VECTOR, LAYER(ffn.mix_k), rk_init_share, 1, 1},
    {"blocks.%d.ffn.time_mix_r", "11C", RK_ROLE_VECTOR, LAYER(ffn.mix_r), rk_init_share, 1, 1},
    {"blocks.%d.ffn.key.weight", "FC", RK_ROLE_FFN_IN, LAYER(ffn.key), rk_init_orthogonal_tall, 1,
     1},
    {"blocks.%d.ffn.receptance.weight", "CC", RK_ROLE_FFN_IN, LAYER(ffn.receptance),
     rk_init_constant, 0, 1},
    {"blocks.%d.ffn.value.weight", "CF", RK_ROLE_FFN_OUT, LAYER(ffn.value), rk_init_constant, 0, 1},
    {"blocks.%d.att.time_state", "C", RK_ROLE_STATE, TUNED(time_state), rk_init_constant, 0, 1},
    {"blocks.%d.att.time_state_sum", "C", RK_ROLE_STATE_SUM, TUNED(time_state_sum),
     rk_init_constant, 0, 1},
    {"blocks.%d.att.ts_state", "C", RK_ROLE_SHIFT, TUNED_SHIFT(ts_state), rk_init_constant, 0, 1},
    RK_LM_LAST_PARAMS,
};

static const rk_state_spec state[] = {RK_RWKV4_STATE};

static bool detect(const rk_file *f)
{
    return rk_file_find(f, "blocks.0.att.time_first") &&
           rk_file_find(f, "blocks.0.att.time_decay") &&
           !rk_file_find(f, "blocks.0.att.ln_x.weight");
}

/* Name, place, letter, range, default; where a file shows it; option. */
/* clang-format off */
static const rk_size_spec own[] = {
    {"n_head", RK_SIZE(n_head), 'H', {1, 1}, {NULL, 0}, {RK_FROM_OTHERS, NULL, 0, 0}, RK_NO_OPTION},
    {"head_size", RK_SIZE(head_size), 'N', {1, RK_EMBD_MAX}, {rk_size_constant, 64},
     {RK_FROM_OTHERS, NULL, 0, 0}, RK_HEAD_SIZE_OPTION},
    {"dim_ffn", RK_SIZE(dim_ffn), 'F', {1, RK_FFN_MAX}, {rk_size_of_embd, 4},
     {RK_FROM_TENSOR, "blocks.0.ffn.key.weight", 2, 0}, RK_DIM_FFN_OPTION},
};
/* clang-format on */
const rk_size_table rk_rwkv4_sizes = {own, RK_COUNT(own)};

rk_status rk_rwkv4_settle(const rk_arch *arch, rk_hparams *hp, const rk_file *file, rk_error *err)
{
    hp->n_head = 1;
    hp->head_size = hp->n_embd;
    return rk_settle_heads(arch, hp, file, err);
}

static rk_tensor *time_mix(rk_ctx *ctx, const rk_model *m, int64_t layer, rk_tensor *x,
                           rk_tensor *residual, rk_block_io *io)
{
    const rk_rwkv4_layer *p = rk_model_layer(m, layer);
    rk_tensor **s = io->state;
    rk_rwkv4_state att = {s[RK_RWKV4_ATT_SHIFT], s[RK_RWKV4_AA], s[RK_RWKV4_BB], s[RK_RWKV4_PP]};
    x = rk_rwkv4_time_mix_forward(ctx, &p->att, x, residual, &att);
    s[RK_RWKV4_ATT_SHIFT] = att.shift;
    s[RK_RWKV4_AA] = att.aa;
    s[RK_RWKV4_BB] = att.bb;
    s[RK_RWKV4_PP] = att.pp;
    return x;
}

static rk_tensor *channel_mix(rk_ctx *ctx, const rk_model *m, int64_t layer, rk_tensor *x,
                              rk_tensor *residual, rk_block_io *io)
{
    const rk_rwkv4_layer *p = rk_model_layer(m, layer);
    return rk_gated_channel_mix_forward(ctx, &p->ffn, RK_MIX_CURRENT, x, residual,
                                        &io->state[RK_RWKV4_FFN_SHIFT]);
}

const rk_arch rk_arch_rwkv4 = {
    .name = "rwkv4",
    .params = params,
    .n_params = RK_COUNT(params),
    .state = state,
    .n_state = RK_RWKV4_N_STATE,
    .layer_bytes = sizeof(rk_rwkv4_layer),
    .detect = detect,
    .sizes = {&rk_sizes_first, &rk_rwkv4_sizes, &rk_sizes_pairs, &rk_sizes_clusters,
              &rk_sizes_records, &rk_sizes_last},
    .settle = rk_rwkv4_settle,
    RK_LM_PARTS,
    .stem = rk_lm_stem,
    .time_mix = time_mix,
    .channel_mix = channel_mix,
};
