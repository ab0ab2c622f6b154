/* cases_attention.c: rows of op_cases.h: attention and its positions. */
#include "base/num.h"
#include "selftest/cases.h"

/* Of the rows of x (B, T), which they are multiplied with: they have no gradient. */
static void positions(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    rk_tensor *after, *before = rk_case_constants(ctx, in[0]->dtype, in[0]->dims[0], 1, 0.5);
    rk_case_rows(ctx, in[0], arg);
    before = rk_view(ctx, before, 1, in[0]->dims);
    rk_tensor *at = rk_positions(ctx, before, in[0]->dims[1], &after);
    out[0] = rk_mul(ctx, in[0], rk_scale(ctx, at, 0.01));
    out[1] = rk_mul(ctx, rk_copy(ctx, rk_slice(ctx, in[0], 1, 0, 1)),
                    rk_view(ctx, after, 2, (int64_t[]){in[0]->dims[0], 1}));
}

/* At fractional positions too; they have no gradient. */
static void rotary(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    rk_tensor *after, *before = rk_case_constants(ctx, in[0]->dtype, in[0]->dims[0], 1, 2.5);
    rk_case_rows(ctx, in[0], arg);
    before = rk_view(ctx, before, 1, in[0]->dims);
    out[0] = rk_rotary(ctx, in[0], rk_positions(ctx, before, in[0]->dims[1], &after), 100.0);
}

/* Attention of rows from nothing (q, k, v, biases), from rows given, and of several sequences. */
enum { PLAIN, TURNED, AFTER, PACKED };
static void attention(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    const int64_t none[] = {in[1]->dims[0], 0, in[1]->dims[2], in[1]->dims[3]};
    const bool biased = arg == TURNED || arg == PACKED;
    rk_attention_in a = {.q = in[0], .k = in[1], .v = in[2], .scale = 0.7};
    rk_case_rows(ctx, in[0], arg == PACKED ? SEVERAL : ONE_SEQUENCE);
    a.q_bias = biased ? in[3] : NULL;
    a.k_bias = biased ? in[4] : NULL;
    a.v_bias = biased ? in[5] : NULL;
    a.keys = arg == AFTER ? in[3] : rk_new(ctx, in[1]->dtype, 4, none);
    a.values = arg == AFTER ? in[4] : rk_new(ctx, in[1]->dtype, 4, none);
    a.theta = arg == PLAIN ? 0 : 50.0;
    out[0] = rk_attention(ctx, &a, &out[1], &out[2]);
}

/* Two queries of a token read the same rows; the second ones name their key heads. */
static void attention_twice(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    static const int64_t key_heads[] = {1, 0, 1};
    const int64_t none[] = {in[1]->dims[0], 0, in[1]->dims[2], in[1]->dims[3]};
    rk_attention_in a = {.q = in[0], .k = in[1], .v = in[2], .theta = 50.0, .scale = 0.7};
    rk_case_rows(ctx, in[0], arg);
    a.keys = rk_new(ctx, in[1]->dtype, 4, none);
    a.values = rk_new(ctx, in[1]->dtype, 4, none);
    out[0] = rk_attention(ctx, &a, &a.keys, &a.values);
    const rk_attention_in b = {.q = in[3],
                               .q_bias = in[4],
                               .key_heads = key_heads,
                               .keys = a.keys,
                               .values = a.values,
                               .theta = 50.0,
                               .scale = 0.6};
    if (!rk_ctx_failed(ctx))
        out[1] = rk_attention(ctx, &b, &a.keys, &a.values);
}

/* clang-format off */
#define ATTENTION_OF(b, t, h, g, n)                                                                \
    IN(-1, 1, b, t, h, n), IN(-1, 1, b, t, g, n), IN(-1, 1, b, t, g, n)

static const rk_op_case cases[] = {
    {"positions", &rk_op_positions, positions, ONE_SEQUENCE, {IN(-1, 1, 3, 50)}},
    {"positions, several sequences", &rk_op_positions, positions, SEVERAL, {IN(-1, 1, 3, 50)}},
    {"rotary", &rk_op_rotary, rotary, ONE_SEQUENCE, {IN(-1, 1, 2, 19, 3, 6)}},
    {"rotary, several sequences", &rk_op_rotary, rotary, SEVERAL, {IN(-1, 1, 3, 50, 2, 70)}},
    {"attention, one token", &rk_op_attention, attention, PLAIN, {ATTENTION_OF(3, 1, 2, 1, 3)}},
    {"attention", &rk_op_attention, attention, PLAIN, {ATTENTION_OF(2, 11, 6, 2, 5)}},
    {"attention, blocks of keys", &rk_op_attention, attention, TURNED,
     {ATTENTION_OF(1, 300, 2, 1, 4), IN(-1, 1, 8), IN(-1, 1, 4), IN(-1, 1, 4)}},
    {"attention, wide", &rk_op_attention, attention, TURNED,
     {ATTENTION_OF(2, 70, 3, 3, 38), IN(-1, 1, 114), IN(-1, 1, 114), IN(-1, 1, 114)}},
    {"attention, tokens before", &rk_op_attention, attention, AFTER,
     {ATTENTION_OF(2, 9, 4, 2, 6), IN(-1, 1, 2, 150, 2, 6), IN(-1, 1, 2, 150, 2, 6)}},
    {"attention, rows that are there", &rk_op_attention, attention_twice, ONE_SEQUENCE,
     {ATTENTION_OF(2, 70, 4, 2, 6), IN(-1, 1, 2, 70, 3, 6), IN(-1, 1, 18)}},
    {"attention, rows that are there, several sequences", &rk_op_attention, attention_twice, SEVERAL,
     {ATTENTION_OF(3, 40, 4, 2, 6), IN(-1, 1, 3, 40, 3, 6), IN(-1, 1, 18)}},
    {"attention, several sequences", &rk_op_attention, attention, PACKED,
     {ATTENTION_OF(3, 90, 2, 1, 4), IN(-1, 1, 8), IN(-1, 1, 4), IN(-1, 1, 4)}},
};
/* clang-format on */

const rk_op_cases rk_op_cases_attention = {cases, RK_COUNT(cases)};
