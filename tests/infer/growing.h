/* growing.h: an architecture that only the tests have, whose state grows with its tokens.
 *
 * It is RWKV-7 with causal attention beside the recurrence, over the keys and values of all tokens:
 * its state has parts of every kind. Attention goes through the tokens in order with a running
 * maximum, so what is computed does not depend on where a call or a page begins. */
#ifndef RK_TEST_GROWING_H
#define RK_TEST_GROWING_H

#include <math.h>
#include <string.h>

#include "model/rwkv7.h"
#include "tensor/op.h"

/* ---- attention: in q, k, v (B,T,C) and the growing keys and values (B,T,C); out y (B,T,C) ---- */

enum { ATTENTION_Q, ATTENTION_K, ATTENTION_V, ATTENTION_KEYS, ATTENTION_VALUES, ATTENTION_IN };

typedef struct attention_attr {
    int64_t n_head;
} attention_attr;

static void attention_shape(rk_ctx *ctx, rk_node *n)
{
    bool ok = n->in[0]->n_dims == 3;
    for (int i = 1; ok && i < ATTENTION_IN; i++)
        ok = n->in[i] && rk_tensor_same_shape(n->in[i], n->in[0]);
    ok = ok && n->in[ATTENTION_KEYS]->growing && n->in[ATTENTION_VALUES]->growing;
    if (!rk_expect_plain(ctx, n) || !rk_expect(ctx, n, ok, "(B,T,C) and states that grow"))
        return;
    n->n_out = 1;
    n->out[0] = rk_new_like(ctx, n->in[0]);
}

/* Write the rows of x behind those there are. */
static void attention_append(const rk_tensor *x, const rk_tensor *rows)
{
    const int64_t n_tokens = x->dims[1], width = x->dims[2];
    for (int64_t i = 0; i < x->dims[0] * n_tokens; i++) {
        const int64_t b = i / n_tokens, row = rows->growing->n_before[b] + i % n_tokens;
        memcpy(rk_growing_row(rows, b, row), (const float *)x->data + i * width,
               (size_t)width * sizeof(float));
    }
}

/* y (size): the mean of n values, weighted by softmax(keys q). */
static void attend(const rk_node *n, int64_t b, int64_t n_rows, int64_t at, int64_t size,
                   const float *q, float *y)
{
    float top = -INFINITY, sum = 0.0f;
    memset(y, 0, (size_t)size * sizeof *y);
    for (int64_t i = 0; i < n_rows; i++) {
        const float *k = (const float *)rk_growing_row(n->in[ATTENTION_KEYS], b, i) + at;
        const float *v = (const float *)rk_growing_row(n->in[ATTENTION_VALUES], b, i) + at;
        float score = 0.0f;
        for (int64_t c = 0; c < size; c++)
            score += q[c] * k[c];
        const float next = fmaxf(top, score), keep = expf(top - next), weight = expf(score - next);
        for (int64_t c = 0; c < size; c++)
            y[c] = y[c] * keep + weight * v[c];
        sum = sum * keep + weight;
        top = next;
    }
    for (int64_t c = 0; c < size; c++)
        y[c] /= sum;
}

/* Heads of streams. */
static void attention_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const rk_node *n = arg;
    const rk_tensor *q = n->in[ATTENTION_Q], *keys = n->in[ATTENTION_KEYS];
    const int64_t n_head = ((const attention_attr *)n->attr)->n_head;
    const int64_t n_tokens = q->dims[1], width = q->dims[2], size = width / n_head;
    (void)worker;
    for (int64_t i = lo; i < hi; i++)
        for (int64_t t = 0; t < n_tokens; t++) {
            const int64_t b = i / n_head, at = i % n_head * size;
            const int64_t place = (b * n_tokens + t) * width + at;
            attend(n, b, keys->growing->n_before[b] + t + 1, at, size,
                   (const float *)q->data + place, (float *)n->out[0]->data + place);
        }
}

static void attention_forward(rk_ctx *ctx, rk_node *n)
{
    const int64_t n_head = ((const attention_attr *)n->attr)->n_head;
    attention_append(n->in[ATTENTION_K], n->in[ATTENTION_KEYS]);
    attention_append(n->in[ATTENTION_V], n->in[ATTENTION_VALUES]);
    rk_parallel(ctx, n->in[0]->dims[0] * n_head, 1, attention_piece, n);
}

static const rk_op attention_op = {
    .name = "attention",
    .shape = attention_shape,
    .on[RK_CPU] = {attention_forward, NULL},
    .attr_bytes = sizeof(attention_attr),
};

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
    [SOFT_KEYS] = {.name = "soft.keys", .shape = "C", .kind = RK_STATE_TOKENS},
    [SOFT_VALUES] = {.name = "soft.values", .shape = "C", .kind = RK_STATE_TOKENS},
};

/* Attention and the recurrence read the same rows; both are added to the residual stream. */
static rk_tensor *growing_mix(rk_ctx *ctx, const rk_model *m, int64_t layer, rk_tensor *x,
                              rk_tensor *residual, rk_block_io *io)
{
    const growing_layer *p = rk_model_layer(m, layer);
    const attention_attr attr = {m->hp.n_head};
    rk_node n = {.op = &attention_op, .n_in = ATTENTION_IN, .attr = &attr};
    n.in[ATTENTION_Q] = rk_linear(ctx, x, p->query, NULL);
    n.in[ATTENTION_K] = rk_linear(ctx, x, p->key, NULL);
    n.in[ATTENTION_V] = rk_linear(ctx, x, p->value, NULL);
    n.in[ATTENTION_KEYS] = io->state[SOFT_KEYS];
    n.in[ATTENTION_VALUES] = io->state[SOFT_VALUES];
    residual = rk_linear(ctx, rk_apply1(ctx, &n), p->output, residual);
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

/* The architectures there are, and this one; NULL behind the last. */
static inline const rk_arch *test_arch_at(int i)
{
    int n = 0;
    while (rk_archs[n] && n < i)
        n++;
    return n == i && !rk_archs[n] ? &test_arch_growing : n < i ? NULL : rk_archs[i];
}

#endif
