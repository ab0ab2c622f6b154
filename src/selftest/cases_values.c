/* cases_values.c: rows of op_cases.h: element by element, along rows, and what moves numbers. */
#include "base/num.h"
#include "selftest/cases.h"

static void unary(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    out[0] = rk_unary_op(ctx, (rk_unary)arg, in[0]);
}

static void add(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    (void)arg;
    out[0] = rk_add(ctx, in[0], in[1]);
}

static void mul(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    (void)arg;
    out[0] = rk_mul(ctx, in[0], in[1]);
}

static void square(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    (void)arg;
    out[0] = rk_mul(ctx, in[0], in[0]);
}

static void lerp(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    (void)arg;
    out[0] = rk_lerp(ctx, in[0], in[1], in[2]);
}

static void scale(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    (void)arg;
    out[0] = rk_scale(ctx, in[0], -0.75);
}

static void dropout(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    (void)arg;
    out[0] = rk_dropout(ctx, in[0], 0.3, 5);
}

/* The input of the dropout is an intermediate result. */
static void dropout_inside(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    (void)arg;
    out[0] = rk_scale(ctx, rk_dropout(ctx, rk_unary_op(ctx, RK_TANH, in[0]), 0.3, 5), 2.0);
}

static void sum(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    (void)arg;
    out[0] = rk_sum(ctx, in[0]);
}

static void copy_transposed(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    (void)arg;
    out[0] = rk_copy(ctx, rk_transpose(ctx, in[0], 0, 2));
}

static void copy_sliced(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    (void)arg;
    rk_tensor *part = rk_slice(ctx, rk_slice(ctx, in[0], 2, 1, 4), 1, 1, 3);
    out[0] = rk_copy(ctx, part);
    out[1] = rk_copy(ctx, rk_transpose(ctx, rk_index(ctx, in[0], 1), 0, 1));
}

/* Views of intermediate results, overlapping. */
static void views(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    const int64_t flat[] = {6, 4};
    (void)arg;
    rk_tensor *y = rk_view(ctx, rk_scale(ctx, in[0], 2.0), 2, flat);
    out[0] = rk_add(ctx, rk_slice(ctx, y, 0, 0, 4), rk_slice(ctx, y, 0, 2, 6));
    out[1] = rk_mul(ctx, rk_index(ctx, y, 3), rk_index(ctx, y, 0));
}

static void concat(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    (void)arg;
    rk_tensor *const x[] = {in[0], rk_transpose(ctx, in[1], 0, 1), rk_slice(ctx, in[0], 1, 1, 3)};
    out[0] = rk_concat(ctx, x, 3, 1);
    out[1] = rk_concat(ctx, (rk_tensor *const[]){in[0], in[0]}, 2, 0);
}

static void fold(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    out[0] = rk_fold(ctx, in[0], arg);
}

static void repeat(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    out[0] = rk_repeat(ctx, in[0], arg);
}

static void softmax(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    (void)arg;
    out[0] = rk_softmax(ctx, in[0]);
}

static void l2norm(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    (void)arg;
    out[0] = rk_l2norm(ctx, in[0]);
}

static void norm(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    out[0] = rk_norm(ctx, in[0], in[1], in[2], arg, 1e-5);
}

static void rms_norm(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    (void)arg;
    out[0] = rk_rms_norm(ctx, in[0], in[1], 1e-5);
}

static void swiglu(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    (void)arg;
    out[0] = rk_swiglu(ctx, in[0], in[1] ? in[1] : in[0]);
}

static void product_of_tanh(rk_ctx *ctx, void *user, rk_tensor *const *in, rk_tensor **out)
{
    (void)user;
    out[0] = rk_mul(ctx, rk_unary_op(ctx, RK_TANH, in[0]), in[1]);
}

static void recompute(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    (void)arg;
    rk_tensor *y = rk_new_like(ctx, in[0]);
    rk_recompute(ctx, product_of_tanh, NULL, in, 2, &y, 1);
    out[0] = y;
}

/* Add, mul, scale and lerp in one expression. */
static void arithmetic(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    (void)arg;
    rk_tensor *both = rk_add(ctx, in[0], in[1]);
    out[0] = rk_lerp(ctx, rk_mul(ctx, both, in[2]), rk_scale(ctx, in[1], 0.75), in[2]);
}

/* clang-format off */
#define UNARY(fn, lo, hi)                                                                          \
    {"unary " #fn, &rk_op_unary, unary, fn, {IN(-2, 2, 3, 5, 7)}},                                 \
    {"unary " #fn ", wide", &rk_op_unary, unary, fn, {IN(lo, hi, 2, 37, 75)}}

static const rk_op_case cases[] = {
    UNARY(RK_SIGMOID, -4, 4), UNARY(RK_TANH, -4, 4), UNARY(RK_EXP, -4, 2), UNARY(RK_RELU2, -2, 2), UNARY(RK_SILU, -4, 4), UNARY(RK_RELU, -2, 2),
    {"unary of 20000", &rk_op_unary, unary, RK_TANH, {IN(-2, 2, 20000)}},
    {"add", &rk_op_add, add, 0, {IN(-1, 1, 3, 4, 5), IN(-1, 1, 3, 4, 5)}},
    {"add, 20000", &rk_op_add, add, 0, {IN(-1, 1, 4, 5000), IN(-1, 1, 4, 5000)}},
    {"add, row", &rk_op_add, add, 0, {IN(-1, 1, 3, 4, 5), IN(-1, 1, 5)}},
    {"add, two dimensions", &rk_op_add, add, 0, {IN(-1, 1, 3, 4, 5), IN(-1, 1, 4, 5)}},
    {"add, long rows", &rk_op_add, add, 0, {IN(-1, 1, 40, 700), IN(-1, 1, 700)}},
    {"add, one element", &rk_op_add, add, 0, {IN(-1, 1, 3, 4, 5), IN(-1, 1, 1)}},
    {"mul", &rk_op_mul, mul, 0, {IN(-1, 1, 3, 4, 5), IN(-1, 1, 3, 4, 5)}},
    {"mul, row", &rk_op_mul, mul, 0, {IN(-1, 1, 3, 4, 5), IN(-1, 1, 5)}},
    {"mul, two dimensions", &rk_op_mul, mul, 0, {IN(-1, 1, 3, 4, 5), IN(-1, 1, 4, 5)}},
    {"mul, long rows", &rk_op_mul, mul, 0, {IN(-1, 1, 40, 700), IN(-1, 1, 700)}},
    {"mul, one element", &rk_op_mul, mul, 0, {IN(-1, 1, 3, 4, 5), IN(-1, 1, 1)}},
    {"mul with itself", &rk_op_mul, square, 0, {IN(-1, 1, 3, 4)}},
    {"lerp", &rk_op_lerp, lerp, 0, {IN(-1, 1, 3, 4, 5), IN(-1, 1, 3, 4, 5), IN(0, 1, 3, 4, 5)}},
    {"lerp, row", &rk_op_lerp, lerp, 0, {IN(-1, 1, 3, 4, 5), IN(-1, 1, 3, 4, 5), IN(0, 1, 5)}},
    {"lerp, one element", &rk_op_lerp, lerp, 0, {IN(-1, 1, 3, 4), IN(-1, 1, 3, 4), IN(0, 1, 1)}},
    {"add, mul, scale, lerp", &rk_op_lerp, arithmetic, 0, {IN(-1, 1, 2, 37, 75), IN(-1, 1, 2, 37, 75), IN(-1, 1, 75)}},
    {"scale", &rk_op_scale, scale, 0, {IN(-1, 1, 3, 4, 5)}},
    {"dropout", &rk_op_dropout, dropout, 0, {IN(0.5, 1, 30, 40)}},
    {"dropout inside", &rk_op_dropout, dropout_inside, 0, {IN(0.5, 1, 30, 40)}},
    {"sum", &rk_op_sum, sum, 0, {IN(-1, 1, 3, 4, 5)}},
    {"sum of 20000", &rk_op_sum, sum, 0, {IN(-1, 1, 20000)}},
    {"copy of a transposed view", &rk_op_copy, copy_transposed, 0, {IN(-1, 1, 3, 4, 5)}},
    {"copy of sliced views", &rk_op_copy, copy_sliced, 0, {IN(-1, 1, 3, 4, 5)}},
    {"views", &rk_op_add, views, 0, {IN(-1, 1, 2, 3, 4)}},
    {"concat of views", &rk_op_concat, concat, 0, {IN(-1, 1, 3, 4, 2), IN(-1, 1, 5, 3, 2)}},
    {"softmax", &rk_op_softmax, softmax, 0, {IN(-2, 2, 3, 20, 7)}},
    {"softmax, wide", &rk_op_softmax, softmax, 0, {IN(-4, 4, 2, 37, 75)}},
    {"l2norm", &rk_op_l2norm, l2norm, 0, {IN(-1, 1, 3, 20, 7)}},
    {"l2norm, heads", &rk_op_l2norm, l2norm, 0, {IN(-1, 1, 2, 37, 3, 25)}},
    {"layer norm", &rk_op_norm, norm, 1, {IN(-1, 1, 3, 20, 12), IN(-1, 1, 12), IN(-1, 1, 12)}},
    {"group norm", &rk_op_norm, norm, 4, {IN(-1, 1, 35, 76), IN(-1, 1, 76), IN(-1, 1, 76)}},
    {"layer norm, wide", &rk_op_norm, norm, 1, {IN(-1, 1, 2, 37, 75), IN(-1, 1, 75), IN(-1, 1, 75)}},
    {"group norm, three", &rk_op_norm, norm, 3, {IN(-1, 1, 2, 37, 75), IN(-1, 1, 75), IN(-1, 1, 75)}},
    {"fold", &rk_op_fold, fold, 7, {IN(-1, 1, 2, 19, 75)}},
    {"fold, whole blocks", &rk_op_fold, fold, 8, {IN(-1, 1, 37, 64)}},
    {"fold, wider than its rows", &rk_op_fold, fold, 9, {IN(-1, 1, 3, 5)}},
    {"repeat", &rk_op_repeat, repeat, 75, {IN(-1, 1, 2, 19, 7)}},
    {"repeat, narrower than its rows", &rk_op_repeat, repeat, 5, {IN(-1, 1, 3, 9)}},
    {"rms_norm", &rk_op_rms_norm, rms_norm, 0, {IN(-1, 1, 2, 5, 3), IN(-1, 1, 3)}},
    {"rms_norm, wide", &rk_op_rms_norm, rms_norm, 0, {IN(-2, 2, 2, 37, 75), IN(-1, 1, 75)}},
    {"swiglu", &rk_op_swiglu, swiglu, 0, {IN(-2, 2, 3, 5, 7), IN(-1, 1, 3, 5, 7)}},
    {"swiglu, wide", &rk_op_swiglu, swiglu, 0, {IN(-9, 9, 2, 137, 75), IN(-1, 1, 2, 137, 75)}},
    {"swiglu of one", &rk_op_swiglu, swiglu, 0, {IN(-2, 2, 3, 7)}},
    {"recompute", &rk_op_recompute, recompute, 0, {IN(-1, 1, 3, 70), IN(-1, 1, 3, 70)}},
};
/* clang-format on */

const rk_op_cases rk_op_cases_values = {cases, RK_COUNT(cases)};
