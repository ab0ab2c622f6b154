/* cases_products.c: rows of op_cases.h: products and tables. */
#include "base/num.h"
#include "selftest/cases.h"

static void gain(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    const rk_dtype real = in[0]->dtype;
    const int64_t n = in[0]->dims[0];
    const rk_gain_in g = {.x = in[0],
                          .squares = rk_case_constants(ctx, real, n, 1, 2),
                          .b = rk_case_constants(ctx, real, n, arg, -0.125),
                          .aw = rk_case_constants(ctx, real, arg, n, -0.25),
                          .aa = rk_case_constants(ctx, real, arg, arg, 0.5),
                          .scale = 0.5};
    out[0] = rk_gain(ctx, &g);
}

static void embedding(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    (void)arg;
    out[0] = rk_embedding(ctx, in[0], in[1]);
}

static void linear(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    out[0] = rk_linear(ctx, in[0], rk_weight_of(in[1], (rk_layout)arg), in[2]);
}

static void matmul(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    (void)arg;
    out[0] = rk_matmul(ctx, in[0], in[1]);
}

static void matmul_transposed(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    (void)arg;
    out[0] = rk_matmul(ctx, rk_transpose(ctx, in[0], 1, 2), rk_transpose(ctx, in[1], 1, 2));
}

static void matmul_of_rows(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    (void)arg;
    out[0] = rk_matmul(ctx, in[0], rk_transpose(ctx, in[1], 1, 2));
}

/* Heads before time as attention has them, and a slice. */
static void matmul_views(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    (void)arg;
    rk_tensor *q = rk_transpose(ctx, in[0], 1, 2), *k = rk_transpose(ctx, in[1], 1, 2);
    rk_tensor *part = rk_slice(ctx, rk_transpose(ctx, k, 2, 3), 3, 1, 4);
    out[0] = rk_matmul(ctx, q, part);
}

static void row_matmul(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    (void)arg;
    out[0] = rk_row_matmul(ctx, in[0], in[1]);
}

/* Products that do not wait for each other; without a tape in the short class, at once. */
static void linears(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    (void)arg;
    const rk_linears_in p[] = {{in[0], rk_weight_of(in[1], RK_OUT_IN), RK_TANH},
                               {in[0], rk_weight_of(in[2], RK_IN_OUT), RK_UNARY_NONE},
                               {in[3], rk_weight_of(in[4], RK_OUT_IN), RK_SIGMOID}};
    rk_linears(ctx, p, RK_COUNT(p), out);
}

/* clang-format off */
#define LINEAR_IN(w0, w1) IN(-1, 1, 2, 19, 13), IN(-1, 1, w0, w1)

static const rk_op_case cases[] = {
    {"embedding", &rk_op_embedding, embedding, 0, {IN(-1, 1, 11, 70), IDS(11, false, 3, 9)}},
    {"embedding, 37 tokens", &rk_op_embedding, embedding, 0, {IN(-1, 1, 61, 75), IDS(61, false, 2, 37)}},
    {"embedding, bf16", &rk_op_embedding, embedding, 0, {STORED(RK_BF16, 11, 70), IDS(11, false, 3, 9)}},
    {"embedding, Q8_0", &rk_op_embedding, embedding, 0, {STORED(RK_Q8_0, 11, 64), IDS(11, false, 3, 9)}},
    {"linear", &rk_op_linear, linear, RK_OUT_IN, {LINEAR_IN(75, 13)}},
    {"linear (in, out)", &rk_op_linear, linear, RK_IN_OUT, {LINEAR_IN(13, 75)}},
    {"linear + residual", &rk_op_linear, linear, RK_OUT_IN, {LINEAR_IN(75, 13), IN(-1, 1, 2, 19, 75)}},
    {"linear (in, out) + residual", &rk_op_linear, linear, RK_IN_OUT, {LINEAR_IN(13, 75), IN(-1, 1, 2, 19, 75)}},
    {"linear of a vector", &rk_op_linear, linear, RK_OUT_IN, {IN(-1, 1, 13), IN(-1, 1, 5, 13)}},
    {"linear + residual, wide", &rk_op_linear, linear, RK_OUT_IN, {IN(-1, 1, 2, 37, 75), IN(-1, 1, 130, 75), IN(-1, 1, 2, 37, 130)}},
    {"linear + residual, two rows", &rk_op_linear, linear, RK_OUT_IN, {IN(-1, 1, 2, 75), IN(-1, 1, 130, 75), IN(-1, 1, 2, 130)}},
    {"linear, bf16", &rk_op_linear, linear, RK_OUT_IN, {IN(-1, 1, 2, 37, 75), STORED(RK_BF16, 130, 75)}},
    {"linear, bf16, two rows", &rk_op_linear, linear, RK_OUT_IN, {IN(-1, 1, 2, 75), STORED(RK_BF16, 130, 75)}},
    {"linear, f16, two rows", &rk_op_linear, linear, RK_OUT_IN, {IN(-1, 1, 2, 75), STORED(RK_F16, 130, 75)}},
    {"linear, Q8_0", &rk_op_linear, linear, RK_OUT_IN, {IN(-1, 1, 2, 37, 96), STORED(RK_Q8_0, 130, 96)}},
    {"linear, Q4_K + residual", &rk_op_linear, linear, RK_OUT_IN, {IN(-1, 1, 2, 5, 256), STORED(RK_Q4_K, 75, 256), IN(-1, 1, 2, 5, 75)}},
    {"linear (in, out), wide", &rk_op_linear, linear, RK_IN_OUT, {IN(-1, 1, 2, 37, 75), IN(-1, 1, 75, 25)}},
    {"linear (in, out), two rows", &rk_op_linear, linear, RK_IN_OUT, {IN(-1, 1, 2, 75), IN(-1, 1, 75, 25)}},
    {"linear, three at once", &rk_op_linear, linears, 0, {IN(-1, 1, 2, 37), IN(-1, 1, 75, 37), IN(-1, 1, 37, 13), IN(-1, 1, 2, 5), IN(-1, 1, 70, 5)}},
    {"gain", &rk_op_gain, gain, 3, {IN(-1, 1, 37)}},
    {"matmul", &rk_op_matmul, matmul, 0, {IN(-1, 1, 5, 7), IN(-1, 1, 7, 9)}},
    {"matmul, batch", &rk_op_matmul, matmul, 0, {IN(-1, 1, 2, 3, 5, 7), IN(-1, 1, 2, 3, 7, 4)}},
    {"matmul, column and row", &rk_op_matmul, matmul, 0, {IN(-1, 1, 5, 1), IN(-1, 1, 1, 4)}},
    {"matmul, transposed", &rk_op_matmul, matmul_transposed, 0, {IN(-1, 1, 2, 7, 5), IN(-1, 1, 2, 4, 7)}},
    {"matmul, transposed, wide", &rk_op_matmul, matmul_of_rows, 0, {IN(-1, 1, 2, 37, 75), IN(-1, 1, 2, 130, 75)}},
    {"matmul, heads", &rk_op_matmul, matmul_views, 0, {IN(-1, 1, 2, 5, 3, 4), IN(-1, 1, 2, 6, 3, 4)}},
    {"row_matmul", &rk_op_row_matmul, row_matmul, 0, {IN(-1, 1, 3, 19, 5), IN(-1, 1, 3, 19, 35)}},
    {"row_matmul, 32 x 32", &rk_op_row_matmul, row_matmul, 0, {IN(-1, 1, 2, 32), IN(-1, 1, 2, 1024)}},
    {"row_matmul, one number", &rk_op_row_matmul, row_matmul, 0, {IN(-1, 1, 3, 4, 1), IN(-1, 1, 3, 4, 1)}},
    {"row_matmul, wide", &rk_op_row_matmul, row_matmul, 0, {IN(-1, 1, 2, 37, 3), IN(-1, 1, 2, 37, 75)}},
};
/* clang-format on */

const rk_op_cases rk_op_cases_products = {cases, RK_COUNT(cases)};
