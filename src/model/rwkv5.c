/* rwkv5.c: RWKV-5 "Eagle" (arXiv 2404.05892; BlinkDL/RWKV-LM, RWKV-v5) in its three forms: rwkv5.0
 * has no gate and one decay a head, rwkv5.1 adds the gate, rwkv5 (5.2) has a decay a channel. Of
 * each there are files that hold the logarithm of the bonus, under RWKV-4's name for it: "-first". */
#include "base/num.h"
#include "model/lm.h"
#include "model/pair.h"
#include "model/records.h"
#include "nn/rwkv4.h"

typedef struct rwkv5_layer {
    rk_lm_layer norms;
    rk_rwkv5_time_mix att;
    rk_gated_channel_mix ffn;
    rk_tensor *time_state; /* (H, N value, N key), may be NULL: the state that streams begin with */
    rk_tensor *ts_state;   /* (C), may be NULL: what stands before the first token in the shift */
} rwkv5_layer;

#define LAYER(f) RK_SCOPE_LAYER, offsetof(rwkv5_layer, f)
#define TUNED(f) RK_SCOPE_TUNED, offsetof(rwkv5_layer, f)
#define TUNED_SHIFT(f) RK_SCOPE_TUNED_SHIFT, offsetof(rwkv5_layer, f)

/* clang-format takes the braces of a row in a macro for those of a block. */
/* clang-format off */
#define FIRST_PARAMS \
    RK_LM_FIRST_PARAMS, \
    RK_LM_BLOCK_PARAMS, \
    {"blocks.%d.att.time_mix_k", "11C", RK_ROLE_VECTOR, LAYER(att.time_mix_k), \
     rk_init_share, 1, 1}, \
    {"blocks.%d.att.time_mix_v", "11C", RK_ROLE_VECTOR, LAYER(att.time_mix_v), \
     rk_init_share_v, 1, 1}, \
    {"blocks.%d.att.time_mix_r", "11C", RK_ROLE_VECTOR, LAYER(att.time_mix_r), \
     rk_init_share, 0.5, 1}
#define GATE_MIX \
    {"blocks.%d.att.time_mix_g", "11C", RK_ROLE_VECTOR, LAYER(att.time_mix_g), \
     rk_init_share, 0.5, 1}
#define GATE \
    {"blocks.%d.att.gate.weight", "CC", RK_ROLE_ATT_READ, LAYER(att.gate), \
     rk_init_orthogonal, 0.1, 1}
#define DECAY(shape) \
    {"blocks.%d.att.time_decay", shape, RK_ROLE_VECTOR, LAYER(att.time_decay), \
     rk_init_decay6, 0, 2}
#define BONUS(shape) \
    {"blocks.%d.att.time_faaaa", shape, RK_ROLE_VECTOR, LAYER(att.time_faaaa), \
     rk_init_faaaa, 0, 1}
#define LOG_BONUS(shape) \
    {"blocks.%d.att.time_first", shape, RK_ROLE_VECTOR, LAYER(att.time_first), \
     rk_init_constant, -3, 3}
#define MATRICES \
    {"blocks.%d.att.receptance.weight", "CC", RK_ROLE_ATT_READ, LAYER(att.receptance), \
     rk_init_orthogonal, 1, 1}, \
    {"blocks.%d.att.key.weight", "CC", RK_ROLE_ATT_WRITE, LAYER(att.key), \
     rk_init_orthogonal, 0.1, 1}, \
    {"blocks.%d.att.value.weight", "CC", RK_ROLE_ATT_WRITE, LAYER(att.value), \
     rk_init_orthogonal, 1, 1}
#define LAST_PARAMS \
    {"blocks.%d.att.output.weight", "CC", RK_ROLE_ATT_OUT, LAYER(att.output), \
     rk_init_constant, 0, 1}, \
    {"blocks.%d.att.ln_x.weight", "C", RK_ROLE_VECTOR, LAYER(att.ln_x_w), rk_init_ln_x, 0.7, 1}, \
    {"blocks.%d.att.ln_x.bias", "C", RK_ROLE_VECTOR, LAYER(att.ln_x_b), rk_init_constant, 0, 1}, \
    {"blocks.%d.ffn.time_mix_k", "11C", RK_ROLE_VECTOR, LAYER(ffn.mix_k), rk_init_share, 1, 1}, \
    {"blocks.%d.ffn.time_mix_r", "11C", RK_ROLE_VECTOR, LAYER(ffn.mix_r), rk_init_share, 1, 1}, \
    {"blocks.%d.ffn.key.weight", "FC", RK_ROLE_FFN_IN, LAYER(ffn.key), rk_init_orthogonal, 1, 1}, \
    {"blocks.%d.ffn.receptance.weight", "CC", RK_ROLE_FFN_IN, LAYER(ffn.receptance), \
     rk_init_constant, 0, 1}, \
    {"blocks.%d.ffn.value.weight", "CF", RK_ROLE_FFN_OUT, LAYER(ffn.value), \
     rk_init_constant, 0, 1}, \
    {"blocks.%d.att.time_state", "HNN", RK_ROLE_STATE, TUNED(time_state), \
     rk_init_constant, 0, 1}, \
    {"blocks.%d.att.ts_state", "C", RK_ROLE_SHIFT, TUNED_SHIFT(ts_state), \
     rk_init_constant, 0, 1}, \
    RK_LM_LAST_PARAMS
/* clang-format on */

static const rk_param_spec params_5_0[] = {FIRST_PARAMS, DECAY("H"), BONUS("H"), MATRICES,
                                           LAST_PARAMS};
static const rk_param_spec params_5_1[] = {FIRST_PARAMS, GATE_MIX, DECAY("H"), BONUS("H"),
                                           MATRICES,     GATE,     LAST_PARAMS};
static const rk_param_spec params_5_2[] = {FIRST_PARAMS, GATE_MIX, DECAY("HN"), BONUS("HN"),
                                           MATRICES,     GATE,     LAST_PARAMS};
static const rk_param_spec params_5_0_first[] = {FIRST_PARAMS, DECAY("H"), LOG_BONUS("H"), MATRICES,
                                                 LAST_PARAMS};
static const rk_param_spec params_5_1_first[] = {FIRST_PARAMS, GATE_MIX, DECAY("H"), LOG_BONUS("H"),
                                                 MATRICES,     GATE,     LAST_PARAMS};
static const rk_param_spec params_5_2_first[] = {
    FIRST_PARAMS, GATE_MIX, DECAY("HN"), LOG_BONUS("HN"), MATRICES, GATE, LAST_PARAMS};

enum { ATT_SHIFT, ATT_WKV, FFN_SHIFT, N_STATE };
static const rk_state_spec state[N_STATE] = {
    [ATT_SHIFT] = {.name = "att.shift", .shape = "C", .tuned = offsetof(rwkv5_layer, ts_state)},
    [ATT_WKV] = {.name = "att.wkv",
                 .shape = "HNN",
                 .kind = RK_STATE_MATRIX,
                 .tuned = offsetof(rwkv5_layer, time_state),
                 .key_major = true},
    [FFN_SHIFT] = {.name = "ffn.shift", .shape = "C"},
};

/* ---- which of them ---- */

static bool is_5(const rk_file *f)
{
    return rk_file_find(f, "blocks.0.att.ln_x.weight") &&
           rk_file_find(f, "blocks.0.att.time_mix_k") &&
           !rk_file_find(f, "blocks.0.att.time_maa_x");
}

static bool has_gate(const rk_file *f)
{
    return rk_file_find(f, "blocks.0.att.gate.weight") ||
           rk_file_find(f, "blocks.0.att.gate1.weight");
}

/* A decay of its own for every channel of a head? */
static bool by_channel(const rk_file *f)
{
    const rk_file_tensor *t = rk_file_find(f, "blocks.0.att.time_decay");
    return t && t->n_dims >= 2 && t->dims[1] > 1;
}

static bool has_first(const rk_file *f)
{
    return rk_file_find(f, "blocks.0.att.time_first") != NULL;
}

static bool is_5_0(const rk_file *f)
{
    return is_5(f) && !has_gate(f);
}
static bool is_5_1(const rk_file *f)
{
    return is_5(f) && has_gate(f) && !by_channel(f);
}
static bool is_5_2(const rk_file *f)
{
    return is_5(f) && has_gate(f) && by_channel(f);
}

static bool detect_5_0(const rk_file *f)
{
    return is_5_0(f) && !has_first(f);
}
static bool detect_5_1(const rk_file *f)
{
    return is_5_1(f) && !has_first(f);
}
static bool detect_5_2(const rk_file *f)
{
    return is_5_2(f) && !has_first(f);
}
static bool detect_5_0_first(const rk_file *f)
{
    return is_5_0(f) && has_first(f);
}
static bool detect_5_1_first(const rk_file *f)
{
    return is_5_1(f) && has_first(f);
}
static bool detect_5_2_first(const rk_file *f)
{
    return is_5_2(f) && has_first(f);
}

/* ---- sizes ---- */

/* No file shows the size of a head by itself.
 * Name, place, letter, range, default; where a file shows it; option. */
/* clang-format off */
static const rk_size_spec own[] = {
    {"n_head", RK_SIZE(n_head), 'H', {1, RK_EMBD_MAX}, {NULL, 0},
     {RK_FROM_TENSOR, "blocks.0.att.time_decay", 0, 0}, RK_NO_OPTION},
    {"head_size", RK_SIZE(head_size), 'N', {1, RK_HEAD_MAX}, {rk_size_constant, 64},
     {RK_FROM_OTHERS, NULL, 0, 0}, RK_HEAD_SIZE_OPTION},
    {"dim_ffn", RK_SIZE(dim_ffn), 'F', {1, RK_FFN_MAX}, {rk_size_ffn_35, 0},
     {RK_FROM_TENSOR, "blocks.0.ffn.key.weight", 2, 0}, RK_DIM_FFN_OPTION},
};
/* clang-format on */
static const rk_size_table own_sizes = {own, RK_COUNT(own)};

/* ---- forward ---- */

static rk_tensor *time_mix(rk_ctx *ctx, const rk_model *m, int64_t layer, rk_tensor *x,
                           rk_tensor *residual, rk_block_io *io)
{
    const rwkv5_layer *p = rk_model_layer(m, layer);
    const rk_rwkv5_sizes sizes = {m->hp.n_head, m->hp.head_size, m->hp.ln_x_eps};
    return rk_rwkv5_time_mix_forward(ctx, &p->att, sizes, x, residual, &io->state[ATT_SHIFT],
                                     &io->state[ATT_WKV]);
}

static rk_tensor *channel_mix(rk_ctx *ctx, const rk_model *m, int64_t layer, rk_tensor *x,
                              rk_tensor *residual, rk_block_io *io)
{
    const rwkv5_layer *p = rk_model_layer(m, layer);
    return rk_gated_channel_mix_forward(ctx, &p->ffn, RK_MIX_CURRENT, x, residual,
                                        &io->state[FFN_SHIFT]);
}

#define ARCH(arch_name, form, is_old)                                                              \
    {                                                                                              \
        .name = (arch_name), .old = (is_old), .params = params_##form,                             \
        .n_params = RK_COUNT(params_##form), .state = state, .n_state = N_STATE,                   \
        .layer_bytes = sizeof(rwkv5_layer), .detect = detect_##form,                               \
        .sizes = {&rk_sizes_first,    &own_sizes,        &rk_sizes_pairs,                          \
                  &rk_sizes_clusters, &rk_sizes_records, &rk_sizes_last_x},                        \
        .settle = rk_settle_heads, RK_LM_PARTS, .stem = rk_lm_stem, .time_mix = time_mix,          \
        .channel_mix = channel_mix,                                                                \
    }

const rk_arch rk_arch_rwkv5_0 = ARCH("rwkv5.0", 5_0, false);
const rk_arch rk_arch_rwkv5_1 = ARCH("rwkv5.1", 5_1, false);
const rk_arch rk_arch_rwkv5 = ARCH("rwkv5", 5_2, false);
const rk_arch rk_arch_rwkv5_0_first = ARCH("rwkv5.0-first", 5_0_first, true);
const rk_arch rk_arch_rwkv5_1_first = ARCH("rwkv5.1-first", 5_1_first, true);
const rk_arch rk_arch_rwkv5_first = ARCH("rwkv5-first", 5_2_first, true);
