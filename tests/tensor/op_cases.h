/* op_cases.h: every op as a table row, and one way to run a row: the tests of this layer are
 * questions asked of all rows.
 *
 * A row lists its inputs and builds its outputs from them. run_case makes a context, builds the
 * outputs, reduces them to one number (the sum of each output times constants of its own), goes
 * back and hands over the results, the gradients and the memory that was used. Include it once. */
#ifndef RK_TEST_OP_CASES_H
#define RK_TEST_OP_CASES_H

#include "test_util.h"

#include "tensor/ops.h"

enum { MAX_IN = 12, MAX_OUT = 6 };

typedef struct case_input {
    int64_t dims[RK_MAX_DIMS]; /* up to the first 0 */
    double low, high;          /* reals between them */
    int64_t ids_below;         /* or i32 below this */
    bool negatives;            /* every third of them -1 */
} case_input;

typedef struct op_case {
    const char *name;
    rk_segment_fn *build; /* user is the row */
    case_input in[MAX_IN];
    int n_out;
    rk_unary unary;
    rk_layout layout;
    int64_t groups;
} op_case;

/* ------------------------------------------------------------------------------------ builders */

#define BUILD(name) static void name(rk_ctx *ctx, void *user, rk_tensor *const *in, rk_tensor **out)
#define ROW ((const op_case *)user)

BUILD(build_unary)
{
    out[0] = rk_unary_op(ctx, ROW->unary, in[0]);
}
BUILD(build_add)
{
    (void)user;
    out[0] = rk_add(ctx, in[0], in[1]);
}
BUILD(build_mul)
{
    (void)user;
    out[0] = rk_mul(ctx, in[0], in[1]);
}
BUILD(build_square)
{
    (void)user;
    out[0] = rk_mul(ctx, in[0], in[0]);
}
BUILD(build_lerp)
{
    (void)user;
    out[0] = rk_lerp(ctx, in[0], in[1], in[2]);
}
BUILD(build_scale)
{
    (void)user;
    out[0] = rk_scale(ctx, in[0], -0.75);
}
BUILD(build_dropout)
{
    (void)user;
    out[0] = rk_dropout(ctx, in[0], 0.3, 5);
}
/* The input of the dropout is an intermediate result. */
BUILD(build_dropout_inside)
{
    (void)user;
    out[0] = rk_scale(ctx, rk_dropout(ctx, rk_unary_op(ctx, RK_TANH, in[0]), 0.3, 5), 2.0);
}
BUILD(build_sum)
{
    (void)user;
    out[0] = rk_sum(ctx, in[0]);
}
BUILD(build_copy_transposed)
{
    (void)user;
    out[0] = rk_copy(ctx, rk_transpose(ctx, in[0], 0, 2));
}
BUILD(build_copy_sliced)
{
    (void)user;
    rk_tensor *part = rk_slice(ctx, rk_slice(ctx, in[0], 2, 1, 4), 1, 1, 3);
    out[0] = rk_copy(ctx, part);
    out[1] = rk_copy(ctx, rk_transpose(ctx, rk_index(ctx, in[0], 1), 0, 1));
}
/* Views of intermediate results, overlapping. */
BUILD(build_views)
{
    const int64_t flat[] = {6, 4};
    (void)user;
    rk_tensor *y = rk_view(ctx, rk_scale(ctx, in[0], 2.0), 2, flat);
    out[0] = rk_add(ctx, rk_slice(ctx, y, 0, 0, 4), rk_slice(ctx, y, 0, 2, 6));
    out[1] = rk_mul(ctx, rk_index(ctx, y, 3), rk_index(ctx, y, 0));
}
BUILD(build_concat)
{
    (void)user;
    rk_tensor *const x[] = {in[0], rk_transpose(ctx, in[1], 0, 1), rk_slice(ctx, in[0], 1, 1, 3)};
    out[0] = rk_concat(ctx, x, 3, 1);
    out[1] = rk_concat(ctx, (rk_tensor *const[]){in[0], in[0]}, 2, 0);
}
BUILD(build_softmax)
{
    (void)user;
    out[0] = rk_softmax(ctx, in[0]);
}
BUILD(build_l2norm)
{
    (void)user;
    out[0] = rk_l2norm(ctx, in[0]);
}
BUILD(build_norm)
{
    out[0] = rk_norm(ctx, in[0], in[1], in[2], ROW->groups, 1e-5);
}
BUILD(build_embedding)
{
    (void)user;
    out[0] = rk_embedding(ctx, in[0], in[1]);
}
BUILD(build_linear)
{
    out[0] = rk_linear(ctx, in[0], in[1], ROW->layout, in[2]);
}
BUILD(build_matmul)
{
    (void)user;
    out[0] = rk_matmul(ctx, in[0], in[1]);
}
BUILD(build_matmul_transposed)
{
    (void)user;
    out[0] = rk_matmul(ctx, rk_transpose(ctx, in[0], 1, 2), rk_transpose(ctx, in[1], 1, 2));
}
/* Heads before time as attention has them, and a slice. */
BUILD(build_matmul_views)
{
    (void)user;
    rk_tensor *q = rk_transpose(ctx, in[0], 1, 2), *k = rk_transpose(ctx, in[1], 1, 2);
    rk_tensor *part = rk_slice(ctx, rk_transpose(ctx, k, 2, 3), 3, 1, 4);
    out[0] = rk_matmul(ctx, q, part);
}
BUILD(build_row_matmul)
{
    (void)user;
    out[0] = rk_row_matmul(ctx, in[0], in[1]);
}
BUILD(build_cross_entropy)
{
    (void)user;
    out[0] = rk_cross_entropy(ctx, in[0], in[1], in[2], 0.0);
}
BUILD(build_shift_mix)
{
    int n = 0;
    (void)user;
    while (in[2 + n])
        n++;
    out[0] = rk_shift_mix(ctx, in[0], in[1], in + 2, n, &out[1]);
}
BUILD(build_wkv7)
{
    (void)user;
    const rk_wkv7_in w = {
        .r = in[0], .w = in[1], .k = in[2], .v = in[3], .a = in[4], .b = in[5], .state = in[6]};
    out[0] = rk_wkv7(ctx, &w, &out[1]);
}
/* The state goes on, the outputs are not looked at. */
BUILD(build_wkv7_state)
{
    rk_tensor *both[2];
    build_wkv7(ctx, user, in, both);
    out[0] = rk_scale(ctx, both[1], 1.5);
}
BUILD(build_wkv6)
{
    (void)user;
    const rk_wkv6_in w = {
        .r = in[0], .k = in[1], .v = in[2], .d = in[3], .u = in[4], .state = in[5]};
    out[0] = rk_wkv6(ctx, &w, &out[1]);
}
/* Two pieces; the exponents of the state start at 0 and are constants of its gradient. */
BUILD(build_wkv4)
{
    (void)user;
    rk_tensor *const parts[] = {in[4], in[5], rk_scale(ctx, in[4], 0.0)};
    rk_wkv4_in w = {.k = in[0], .v = in[1], .w = in[2], .u = in[3]};
    w.state = rk_concat(ctx, parts, 3, 1);
    out[0] = rk_wkv4(ctx, &w, &w.state);
    out[1] = rk_wkv4(ctx, &w, &w.state);
}
BUILD(build_prepare)
{
    (void)user;
    const rk_rwkv7_prepare_in p = {.w0 = in[0],
                                   .a0 = in[1],
                                   .k_k = in[2],
                                   .k_a = in[3],
                                   .wl = in[4],
                                   .al = in[5],
                                   .k = in[6],
                                   .v = in[7],
                                   .v0 = in[8],
                                   .vl = in[9],
                                   .v_first = in[10]};
    const rk_rwkv7_prepare_out o = rk_rwkv7_prepare_op(ctx, &p);
    out[0] = o.w;
    out[1] = o.k;
    out[2] = o.a;
    out[3] = o.b;
    out[4] = in[10] ? o.v : rk_scale(ctx, o.v, 1.0);
}
BUILD(build_output)
{
    (void)user;
    const rk_rwkv7_output_in o = {.y = in[0],
                                  .r = in[1],
                                  .k = in[2],
                                  .v = in[3],
                                  .g = in[4],
                                  .r_k = in[5],
                                  .ln_w = in[6],
                                  .ln_b = in[7],
                                  .eps = 64e-5};
    out[0] = rk_rwkv7_output_op(ctx, &o);
}
#undef ROW
#undef BUILD

/* --------------------------------------------------------------------------------------- table */

/* clang-format off */
#define IN(lo, hi, ...) {.dims = {__VA_ARGS__}, .low = (lo), .high = (hi)}
#define IDS(below, neg, ...) {.dims = {__VA_ARGS__}, .ids_below = (below), .negatives = (neg)}
#define UNARY(op) {.name = "unary " #op, .build = build_unary, .n_out = 1, .unary = (op), .in = {IN(-2, 2, 3, 5, 7)}}
#define WKV_IN(t, n)                                                                               \
    {IN(-1, 1, 2, t, 2, n), IN(0.3, 0.99, 2, t, 2, n), IN(-1, 1, 2, t, 2, n), IN(-1, 1, 2, t, 2, n), \
     IN(-0.5, 0.5, 2, t, 2, n), IN(-0.5, 0.5, 2, t, 2, n), IN(-1, 1, 2, 2, n, n)}
#define WKV(t, n) {.name = "wkv7 T " #t " N " #n, .build = build_wkv7, .n_out = 2, .in = WKV_IN(t, n)}
#define WKV6(t, n)                                                                                 \
    {.name = "wkv6 T " #t " N " #n, .build = build_wkv6, .n_out = 2,                               \
     .in = {IN(-1, 1, 2, t, 2, n), IN(-1, 1, 2, t, 2, n), IN(-1, 1, 2, t, 2, n),                   \
            IN(0.1, 0.99, 2, t, 2, n), IN(-1, 1, 2, n), IN(-1, 1, 2, 2, n, n)}}
#define WKV6_ROWS(t, n)                                                                            \
    {.name = "wkv6, one decay, T " #t " N " #n, .build = build_wkv6, .n_out = 2,                   \
     .in = {IN(-1, 1, 2, t, 2, n), IN(-1, 1, 2, t, 2, n), IN(-1, 1, 2, t, 2, n),                   \
            IN(0.1, 0.99, 2, 2, n), IN(-1, 1, 2, 2, n), IN(-1, 1, 2, 2, n, n)}}
#define WKV4(t, a)                                                                                 \
    {.name = "wkv4 T " #t " A " #a, .build = build_wkv4, .n_out = 2,                               \
     .in = {IN(-2, 2, 2, t, a), IN(-1, 1, 2, t, a), IN(-1.5, -0.05, 2, a), IN(-1, 1, a),              \
            IN(-1, 1, 2, 1, a), IN(0.2, 2, 2, 1, a)}}
#define ROWS_OF(...) IN(-1, 1, __VA_ARGS__), IN(-1, 1, __VA_ARGS__), IN(-1, 1, __VA_ARGS__), IN(-1, 1, __VA_ARGS__)
#define LINEAR_IN(w0, w1) IN(-1, 1, 2, 19, 13), IN(-1, 1, w0, w1)

static const op_case cases[] = {
    UNARY(RK_SIGMOID), UNARY(RK_TANH), UNARY(RK_EXP), UNARY(RK_RELU2), UNARY(RK_SILU),
    {.name = "unary of 20000", .build = build_unary, .n_out = 1, .unary = RK_TANH, .in = {IN(-2, 2, 20000)}},
    {.name = "add", .build = build_add, .n_out = 1, .in = {IN(-1, 1, 3, 4, 5), IN(-1, 1, 3, 4, 5)}},
    {.name = "add, 20000", .build = build_add, .n_out = 1, .in = {IN(-1, 1, 4, 5000), IN(-1, 1, 4, 5000)}},
    {.name = "add, row", .build = build_add, .n_out = 1, .in = {IN(-1, 1, 3, 4, 5), IN(-1, 1, 5)}},
    {.name = "add, two dimensions", .build = build_add, .n_out = 1, .in = {IN(-1, 1, 3, 4, 5), IN(-1, 1, 4, 5)}},
    {.name = "add, long rows", .build = build_add, .n_out = 1, .in = {IN(-1, 1, 40, 700), IN(-1, 1, 700)}},
    {.name = "add, one element", .build = build_add, .n_out = 1, .in = {IN(-1, 1, 3, 4, 5), IN(-1, 1, 1)}},
    {.name = "mul", .build = build_mul, .n_out = 1, .in = {IN(-1, 1, 3, 4, 5), IN(-1, 1, 3, 4, 5)}},
    {.name = "mul, row", .build = build_mul, .n_out = 1, .in = {IN(-1, 1, 3, 4, 5), IN(-1, 1, 5)}},
    {.name = "mul, two dimensions", .build = build_mul, .n_out = 1, .in = {IN(-1, 1, 3, 4, 5), IN(-1, 1, 4, 5)}},
    {.name = "mul, long rows", .build = build_mul, .n_out = 1, .in = {IN(-1, 1, 40, 700), IN(-1, 1, 700)}},
    {.name = "mul, one element", .build = build_mul, .n_out = 1, .in = {IN(-1, 1, 3, 4, 5), IN(-1, 1, 1)}},
    {.name = "mul with itself", .build = build_square, .n_out = 1, .in = {IN(-1, 1, 3, 4)}},
    {.name = "lerp", .build = build_lerp, .n_out = 1, .in = {IN(-1, 1, 3, 4, 5), IN(-1, 1, 3, 4, 5), IN(0, 1, 3, 4, 5)}},
    {.name = "lerp, row", .build = build_lerp, .n_out = 1, .in = {IN(-1, 1, 3, 4, 5), IN(-1, 1, 3, 4, 5), IN(0, 1, 5)}},
    {.name = "lerp, one element", .build = build_lerp, .n_out = 1, .in = {IN(-1, 1, 3, 4), IN(-1, 1, 3, 4), IN(0, 1, 1)}},
    {.name = "scale", .build = build_scale, .n_out = 1, .in = {IN(-1, 1, 3, 4, 5)}},
    {.name = "dropout", .build = build_dropout, .n_out = 1, .in = {IN(0.5, 1, 30, 40)}},
    {.name = "dropout inside", .build = build_dropout_inside, .n_out = 1, .in = {IN(0.5, 1, 30, 40)}},
    {.name = "sum", .build = build_sum, .n_out = 1, .in = {IN(-1, 1, 3, 4, 5)}},
    {.name = "sum of 20000", .build = build_sum, .n_out = 1, .in = {IN(-1, 1, 20000)}},
    {.name = "copy of a transposed view", .build = build_copy_transposed, .n_out = 1, .in = {IN(-1, 1, 3, 4, 5)}},
    {.name = "copy of sliced views", .build = build_copy_sliced, .n_out = 2, .in = {IN(-1, 1, 3, 4, 5)}},
    {.name = "views", .build = build_views, .n_out = 2, .in = {IN(-1, 1, 2, 3, 4)}},
    {.name = "concat of views", .build = build_concat, .n_out = 2, .in = {IN(-1, 1, 3, 4, 2), IN(-1, 1, 5, 3, 2)}},
    {.name = "softmax", .build = build_softmax, .n_out = 1, .in = {IN(-2, 2, 3, 20, 7)}},
    {.name = "l2norm", .build = build_l2norm, .n_out = 1, .in = {IN(-1, 1, 3, 20, 7)}},
    {.name = "layer norm", .build = build_norm, .groups = 1, .n_out = 1, .in = {IN(-1, 1, 3, 20, 12), IN(-1, 1, 12), IN(-1, 1, 12)}},
    {.name = "group norm", .build = build_norm, .groups = 4, .n_out = 1, .in = {IN(-1, 1, 35, 76), IN(-1, 1, 76), IN(-1, 1, 76)}},
    {.name = "embedding", .build = build_embedding, .n_out = 1, .in = {IN(-1, 1, 11, 70), IDS(11, false, 3, 9)}},
    {.name = "linear", .build = build_linear, .layout = RK_OUT_IN, .n_out = 1, .in = {LINEAR_IN(75, 13)}},
    {.name = "linear (in, out)", .build = build_linear, .layout = RK_IN_OUT, .n_out = 1, .in = {LINEAR_IN(13, 75)}},
    {.name = "linear + residual", .build = build_linear, .layout = RK_OUT_IN, .n_out = 1, .in = {LINEAR_IN(75, 13), IN(-1, 1, 2, 19, 75)}},
    {.name = "linear (in, out) + residual", .build = build_linear, .layout = RK_IN_OUT, .n_out = 1, .in = {LINEAR_IN(13, 75), IN(-1, 1, 2, 19, 75)}},
    {.name = "linear of a vector", .build = build_linear, .layout = RK_OUT_IN, .n_out = 1, .in = {IN(-1, 1, 13), IN(-1, 1, 5, 13)}},
    {.name = "matmul", .build = build_matmul, .n_out = 1, .in = {IN(-1, 1, 5, 7), IN(-1, 1, 7, 9)}},
    {.name = "matmul, batch", .build = build_matmul, .n_out = 1, .in = {IN(-1, 1, 2, 3, 5, 7), IN(-1, 1, 2, 3, 7, 4)}},
    {.name = "matmul, column and row", .build = build_matmul, .n_out = 1, .in = {IN(-1, 1, 5, 1), IN(-1, 1, 1, 4)}},
    {.name = "matmul, transposed", .build = build_matmul_transposed, .n_out = 1, .in = {IN(-1, 1, 2, 7, 5), IN(-1, 1, 2, 4, 7)}},
    {.name = "matmul, heads", .build = build_matmul_views, .n_out = 1, .in = {IN(-1, 1, 2, 5, 3, 4), IN(-1, 1, 2, 6, 3, 4)}},
    {.name = "row_matmul", .build = build_row_matmul, .n_out = 1, .in = {IN(-1, 1, 3, 19, 5), IN(-1, 1, 3, 19, 35)}},
    {.name = "row_matmul, 32 x 32", .build = build_row_matmul, .n_out = 1, .in = {IN(-1, 1, 2, 32), IN(-1, 1, 2, 1024)}},
    {.name = "row_matmul, one number", .build = build_row_matmul, .n_out = 1, .in = {IN(-1, 1, 3, 4, 1), IN(-1, 1, 3, 4, 1)}},
    {.name = "cross-entropy", .build = build_cross_entropy, .n_out = 1, .in = {IN(-1, 1, 2, 9, 6), IN(-1, 1, 13, 6), IDS(13, true, 2, 9)}},
    {.name = "cross-entropy, vocabulary blocks", .build = build_cross_entropy, .n_out = 1, .in = {IN(-1, 1, 2, 10, 3), IN(-1, 1, 2100, 3), IDS(2100, true, 2, 10)}},
    {.name = "cross-entropy, row blocks", .build = build_cross_entropy, .n_out = 1, .in = {IN(-1, 1, 2, 530, 3), IN(-1, 1, 5, 3), IDS(5, true, 2, 530)}},
    {.name = "shift_mix", .build = build_shift_mix, .n_out = 2, .in = {IN(-1, 1, 2, 35, 70), IN(-1, 1, 2, 70), IN(0, 1, 70), IN(0, 1, 70), IN(0, 1, 70)}},
    {.name = "shift_mix, one token", .build = build_shift_mix, .n_out = 2, .in = {IN(-1, 1, 3, 1, 5), IN(-1, 1, 3, 5), IN(0, 1, 5)}},
    {.name = "shift_mix, six", .build = build_shift_mix, .n_out = 2, .in = {IN(-1, 1, 2, 16, 5), IN(-1, 1, 2, 5), IN(0, 1, 5), IN(0, 1, 5), IN(0, 1, 5), IN(0, 1, 5), IN(0, 1, 5), IN(0, 1, 5)}},
    WKV(1, 3), WKV(1, 4), WKV(1, 8), WKV(15, 3), WKV(15, 4), WKV(15, 8), WKV(16, 3), WKV(16, 4),
    WKV(16, 8), WKV(17, 3), WKV(17, 4), WKV(17, 8), WKV(40, 3), WKV(40, 4), WKV(40, 8),
    WKV6(1, 4), WKV6(5, 3), WKV6(37, 8), WKV6(18, 70), WKV6_ROWS(19, 5), WKV4(1, 3), WKV4(7, 5), WKV4(35, 70),
    {.name = "wkv7, last state", .build = build_wkv7_state, .n_out = 1, .in = WKV_IN(20, 4)},
    {.name = "rwkv7_prepare, layer 0", .build = build_prepare, .n_out = 5, .in = {ROWS_OF(8), ROWS_OF(2, 11, 2, 4)}},
    {.name = "rwkv7_prepare", .build = build_prepare, .n_out = 5, .in = {ROWS_OF(8), ROWS_OF(2, 11, 2, 4), IN(-1, 1, 8), IN(-1, 1, 2, 11, 2, 4), IN(-1, 1, 2, 11, 2, 4)}},
    {.name = "rwkv7_prepare, wide", .build = build_prepare, .n_out = 5, .in = {ROWS_OF(72), ROWS_OF(1, 18, 9, 8), IN(-1, 1, 72), IN(-1, 1, 1, 18, 9, 8), IN(-1, 1, 1, 18, 9, 8)}},
    {.name = "rwkv7_output", .build = build_output, .n_out = 1, .in = {ROWS_OF(2, 11, 2, 4), IN(-1, 1, 2, 11, 2, 4), IN(-1, 1, 8), IN(-1, 1, 8), IN(-1, 1, 8)}},
    {.name = "rwkv7_output, wide", .build = build_output, .n_out = 1, .in = {ROWS_OF(1, 18, 9, 8), IN(-1, 1, 1, 18, 9, 8), IN(-1, 1, 72), IN(-1, 1, 72), IN(-1, 1, 72)}},
};
/* clang-format on */

/* -------------------------------------------------------------------------------------- inputs */

static int case_dims(const case_input *in)
{
    int n = 0;
    while (n < RK_MAX_DIMS && in->dims[n])
        n++;
    return n;
}

static int case_inputs(const op_case *c)
{
    int n = 0;
    while (n < MAX_IN && c->in[n].dims[0])
        n++;
    return n;
}

static int64_t input_count(const case_input *in)
{
    const rk_tensor t = rk_tensor_over(RK_F32, case_dims(in), in->dims, NULL);
    return rk_tensor_count(&t);
}

static bool is_real(const case_input *in)
{
    return in->ids_below == 0;
}

/* Reals that f32 holds too, so that both types compute the same function of the same numbers; ids
 * are drawn when a context is made. */
static void draw_inputs(test_ctx *t, const op_case *c, double **x)
{
    for (int i = 0; i < case_inputs(c); i++) {
        const int64_t n = input_count(&c->in[i]);
        x[i] = test_uniform_f64(t, n, c->in[i].low, c->in[i].high);
        for (int64_t e = 0; e < n; e++)
            x[i][e] = (double)(float)x[i][e];
    }
}

static void fill_ids(const case_input *in, int32_t *ids)
{
    const int64_t n = input_count(in);
    for (int64_t i = 0; i < n; i++)
        ids[i] = in->negatives && i % 3 == 1 ? -1
                                             : (int32_t)rk_rng_below(7, RK_RNG_TEST, 0, (uint64_t)i,
                                                                     (uint64_t)in->ids_below);
}

static void fill_reals(rk_tensor *t, const double *x)
{
    for (int64_t i = 0; t->data && i < rk_tensor_count(t); i++) {
        if (t->dtype == RK_F64)
            ((double *)t->data)[i] = x[i];
        else
            ((float *)t->data)[i] = (float)x[i];
    }
}

/* ----------------------------------------------------------------------------------------- run */

typedef struct run_options {
    rk_dtype real;
    const rk_kernels *kernels; /* NULL: the reference */
    int threads;               /* 0: 1 */
    bool long_class, checkpoint, forward_only;
    unsigned without; /* bit i: input i needs no gradient */
    rk_arena_kind kind;
    size_t bytes;
} run_options;

typedef struct run_result {
    double loss;
    size_t peak;
    int64_t n[MAX_OUT], n_in[MAX_IN]; /* elements */
    void *out[MAX_OUT];               /* as the run's type */
    void *grad[MAX_IN];               /* NULL where none was asked for or reached it */
} run_result;

static rk_tensor *make_input(rk_ctx *ctx, const case_input *in, const double *x, rk_dtype real,
                             bool needs_grad)
{
    rk_tensor *t = rk_new(ctx, is_real(in) ? real : RK_I32, case_dims(in), in->dims);
    if (!t)
        return NULL;
    if (is_real(in))
        fill_reals(t, x);
    else if (t->data)
        fill_ids(in, t->data);
    t->requires_grad = is_real(in) && needs_grad;
    return t;
}

/* sum over outputs and elements of output * constant. */
static rk_tensor *weigh(rk_ctx *ctx, rk_tensor *const *out, int n_out)
{
    rk_tensor *loss = NULL;
    for (int q = 0; q < n_out; q++) {
        rk_tensor *c = rk_new_like(ctx, out[q]);
        for (int64_t i = 0; c && c->data && i < rk_tensor_count(c); i++) {
            const double u = 0.2 + rk_rng_f64(3, RK_RNG_TEST, (uint64_t)q, (uint64_t)i);
            if (c->dtype == RK_F64)
                ((double *)c->data)[i] = i % 2 ? u : -u;
            else
                ((float *)c->data)[i] = (float)(i % 2 ? u : -u);
        }
        rk_tensor *part = rk_sum(ctx, rk_mul(ctx, out[q], c));
        loss = loss ? rk_add(ctx, loss, part) : part;
    }
    return loss;
}

/* The results of a checkpoint have to be announced: a plan of the segment knows their shapes. */
static void build_checkpointed(rk_ctx *ctx, const op_case *c, rk_tensor *const *in, int n_in,
                               rk_tensor **out)
{
    union {
        const op_case *in;
        void *user;
    } row = {c};
    rk_ctx plan;
    rk_tensor *shape[MAX_OUT];
    const rk_ctx_params p = {
        .kernels = ctx->kernels, .pool = ctx->pool, .data_kind = RK_ARENA_COUNTING};
    assert_int_equal(rk_ctx_init(&plan, &p, NULL), RK_OK);
    c->build(&plan, row.user, in, shape);
    for (int q = 0; q < c->n_out; q++)
        out[q] = rk_new_like(ctx, shape[q]);
    rk_ctx_deinit(&plan);
    rk_recompute(ctx, c->build, row.user, in, n_in, out, c->n_out);
}

static void build_case(rk_ctx *ctx, const op_case *c, bool checkpoint, rk_tensor *const *in,
                       rk_tensor **out)
{
    union {
        const op_case *in;
        void *user;
    } row = {c};
    if (checkpoint)
        build_checkpointed(ctx, c, in, case_inputs(c), out);
    else
        c->build(ctx, row.user, in, out);
}

static void keep_results(test_ctx *t, rk_ctx *ctx, const op_case *c, rk_tensor *const *in,
                         rk_tensor *const *out, const rk_tensor *loss, run_result *r)
{
    r->peak = ctx->data.peak;
    if (ctx->planning)
        return;
    r->loss = loss->dtype == RK_F64 ? *(double *)loss->data : (double)*(float *)loss->data;
    for (int q = 0; q < c->n_out; q++) {
        r->n[q] = rk_tensor_count(out[q]);
        r->out[q] = test_copy(t, out[q]->data, rk_tensor_bytes(out[q]));
    }
    for (int i = 0; i < case_inputs(c); i++) {
        r->n_in[i] = rk_tensor_count(in[i]);
        if (in[i]->grad)
            r->grad[i] = test_copy(t, in[i]->grad, rk_tensor_bytes(in[i]));
    }
}

/* Fails the test when the run fails. */
static run_result run_case(test_ctx *t, const op_case *c, double *const *x, const run_options *o)
{
    run_result r = {0};
    rk_pool *pool = NULL;
    rk_ctx ctx;
    rk_error err = {0};
    rk_tensor *in[MAX_IN + 1] = {0}, *out[MAX_OUT] = {0};
    test_ok(rk_pool_new(&pool, o->threads ? o->threads : 1, NULL, NULL, NULL, &err), &err);
    const rk_ctx_params p = {.kernels = o->kernels ? o->kernels : &rk_kernels_ref_f32,
                             .pool = pool,
                             .data_kind = o->kind,
                             .data_bytes = o->bytes};
    test_ok(rk_ctx_init(&ctx, &p, &err), &err);
    ctx.recording = !o->forward_only;
    ctx.long_class = o->long_class;
    ctx.seed = 11;
    ctx.step = 2;
    for (int i = 0; i < case_inputs(c); i++)
        in[i] = make_input(&ctx, &c->in[i], x[i], o->real, !(o->without >> i & 1));
    build_case(&ctx, c, o->checkpoint, in, out);
    rk_tensor *loss = weigh(&ctx, out, c->n_out);
    if (!o->forward_only)
        rk_backward(&ctx, loss, 1.0);
    test_ok(rk_ctx_status(&ctx, &err), &err);
    keep_results(t, &ctx, c, in, out, loss, &r);
    rk_ctx_deinit(&ctx);
    rk_pool_free(pool);
    return r;
}

/* Outputs and gradients of two runs of one type, bit for bit. */
static void same_results(const test_ctx *t, const op_case *c, const run_result *want,
                         const run_result *got, rk_dtype real)
{
    const size_t bytes = rk_dtype_bytes(real);
    for (int q = 0; q < c->n_out; q++)
        test_same(t, "output", want->out[q], got->out[q], (size_t)want->n[q] * bytes);
    for (int i = 0; i < case_inputs(c); i++) {
        assert_int_equal(!want->grad[i], !got->grad[i]);
        if (want->grad[i])
            test_same(t, "gradient", want->grad[i], got->grad[i], (size_t)want->n_in[i] * bytes);
    }
}

#endif
