/* growing.h: an architecture that only the tests have, whose state grows with its tokens.
 *
 * It is RWKV-7 with causal attention beside the recurrence, over the keys and values of all tokens:
 * its state has parts of every kind. */
#ifndef RK_TEST_GROWING_H
#define RK_TEST_GROWING_H

#include "model/rwkv7.h"
#include "tensor/ops.h"

/* ---- the architecture ---- */

typedef struct growing_layer {
    rk_rwkv7_layer rwkv7;
    rk_weight query, key, value, output;
} growing_layer;

#define GROWING(f) RK_SCOPE_LAYER, offsetof(growing_layer, f)
static const rk_param_spec growing_params[] = {
    {"blocks.%d.soft.query.weight", "CC", RK_ROLE_ATT_READ, GROWING(query), rk_init_orthogonal, 1,
     1},
    {"blocks.%d.soft.key.weight", "CC", RK_ROLE_ATT_WRITE, GROWING(key), rk_init_orthogonal, 1, 1},
    {"blocks.%d.soft.value.weight", "CC", RK_ROLE_ATT_WRITE, GROWING(value), rk_init_orthogonal, 1,
     1},
    {"blocks.%d.soft.output.weight", "CC", RK_ROLE_ATT_OUT, GROWING(output), rk_init_orthogonal, 1,
     1},
};
#undef GROWING

enum { SOFT_KEYS = RK_RWKV7_N_STATE, SOFT_VALUES, GROWING_N_STATE };
static const rk_state_spec growing_state[GROWING_N_STATE] = {
    {.name = "att.shift", .shape = "C"},
    {.name = "att.wkv", .shape = "HNN", .kind = RK_STATE_MATRIX},
    {.name = "ffn.shift", .shape = "C"},
    [SOFT_KEYS] = {.name = "soft.keys", .shape = "HN", .kind = RK_STATE_TOKENS},
    [SOFT_VALUES] = {.name = "soft.values", .shape = "HN", .kind = RK_STATE_TOKENS},
};

/* x (B, T, C) times w, as heads. */
static rk_tensor *growing_heads(rk_ctx *ctx, const rk_hparams *hp, rk_tensor *x, rk_weight w)
{
    if (rk_ctx_failed(ctx))
        return NULL;
    const int64_t dims[] = {x->dims[0], x->dims[1], hp->n_head, hp->head_size};
    return rk_view(ctx, rk_linear(ctx, x, w, NULL), 4, dims);
}

/* Attention and the recurrence read the same rows; both are added to the residual stream. */
static rk_tensor *growing_mix(rk_ctx *ctx, const rk_model *m, int64_t layer, rk_tensor *x,
                              rk_tensor *residual, rk_block_io *io)
{
    const growing_layer *p = rk_model_layer(m, layer);
    const rk_hparams *hp = &m->hp;
    const rk_attention_in in = {.q = growing_heads(ctx, hp, x, p->query),
                                .k = growing_heads(ctx, hp, x, p->key),
                                .v = growing_heads(ctx, hp, x, p->value),
                                .keys = io->state[SOFT_KEYS],
                                .values = io->state[SOFT_VALUES],
                                .theta = 1000.0,
                                .scale = 1.0};
    rk_tensor *y = rk_attention(ctx, &in, &io->state[SOFT_KEYS], &io->state[SOFT_VALUES]);
    if (!y)
        return NULL;
    y = rk_view(ctx, y, 3, (const int64_t[]){x->dims[0], x->dims[1], hp->n_embd});
    residual = rk_linear(ctx, y, p->output, residual);
    return rk_rwkv7_att(ctx, m, layer, x, residual, io);
}

static const rk_arch test_arch_growing = {
    .name = "growing",
    .base = &rk_arch_rwkv7,
    .params = growing_params,
    .n_params = RK_COUNT(growing_params),
    .state = growing_state,
    .n_state = GROWING_N_STATE,
    .layer_bytes = sizeof(growing_layer),
    .sizes = {&rk_sizes_first, &rk_rwkv7_sizes, &rk_sizes_last_x},
    .settle = rk_settle_heads,
    .carry = rk_rwkv7_carry,
    .n_carry = RK_RWKV7_N_CARRY,
    RK_LM_PARTS,
    .stem = rk_lm_stem,
    .time_mix = growing_mix,
    .channel_mix = rk_rwkv7_ffn,
};

/* Choose the i-th architecture for models: those there are, this one, and ARWKV-7 with a layer of attention;
 * false behind the last. */
static inline bool test_choose_arch(int i)
{
    int n = 0;
    while (rk_archs[n])
        n++;
    test_arch = i < n ? rk_archs[i] : i == n ? &test_arch_growing : &rk_arch_arwkv7;
    test_kept = i == n + 1 ? 2 : 0;
    return i < n + 2;
}

static inline const char *test_arch_name(void)
{
    return test_kept ? "hybrid" : test_arch->name;
}

#endif
