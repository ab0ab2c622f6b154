/* op_cases.c: the rows of op_cases.h. Sizes are odd, so that every loop has a tail, and some are
 * larger than what one task of an op takes. */
#include "selftest/op_cases.h"

#include <string.h>

#include "base/num.h"

/* ---- builders ---- */

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

/* Numbers without a gradient. */
static rk_tensor *constants(rk_ctx *ctx, rk_dtype real, int64_t rows, int64_t cols, double first)
{
    const int64_t dims[2] = {rows, cols};
    rk_tensor *t = rk_new(ctx, real, 2, dims);
    for (int64_t i = 0; t && t->data && i < rows * cols; i++) {
        const double x = first + 0.03125 * (double)(i * 7 % 11);
        if (real == RK_F64)
            ((double *)t->data)[i] = x;
        else
            ((float *)t->data)[i] = (float)x;
    }
    return t;
}

static void gain(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    const rk_dtype real = in[0]->dtype;
    const int64_t n = in[0]->dims[0];
    const rk_gain_in g = {.x = in[0],
                          .squares = constants(ctx, real, n, 1, 2),
                          .b = constants(ctx, real, n, arg, -0.125),
                          .aw = constants(ctx, real, arg, n, -0.25),
                          .aa = constants(ctx, real, arg, arg, 0.5),
                          .scale = 0.5};
    out[0] = rk_gain(ctx, &g);
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

static void cross_entropy(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    (void)arg;
    out[0] = rk_cross_entropy(ctx, in[0], in[1], in[2], 0.0);
}

static void kl(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    (void)arg;
    out[0] = rk_kl(ctx, in[0], in[1]);
}

/* What a builder that is about rows of a batch (B, T, ...) is told. */
enum { ONE_SEQUENCE, SEVERAL };

/* Let some of the rows of x hold several sequences: of one token, of many, one that is all of its row. */
static void rows_of(rk_ctx *ctx, const rk_tensor *x, int how)
{
    static const int every[] = {3, 1 << 20, 17}, after[] = {2, 1, 0};
    if (how == ONE_SEQUENCE || rk_ctx_failed(ctx))
        return;
    ctx->begins = rk_new_zeros(ctx, RK_I32, 2, x->dims);
    for (int64_t i = 0; ctx->begins && ctx->begins->data && i < x->dims[0] * x->dims[1]; i++) {
        const int64_t row = i / x->dims[1] % 3, t = i % x->dims[1];
        ((int32_t *)ctx->begins->data)[i] =
            t % every[row] == after[row] || (row == 0 && t % 7 == 0);
    }
}

/* The second input and what follows from it is the teacher's, which has no gradient. */
static void distance(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    (void)arg;
    out[0] = rk_distance(ctx, in[0], constants(ctx, in[0]->dtype, 38, 7, -1), 0.75);
}

enum { KL, KL_AND_CE, ADAPTIVE };
static void divergence(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    const rk_dtype real = in[0]->dtype;
    const int64_t rows = rk_tensor_rows(in[0]), vocab = in[1]->dims[0];
    const rk_divergence_in d = {.hidden = in[0],
                                .head = in[1],
                                .teacher_hidden = constants(ctx, real, rows, 3, -0.5),
                                .teacher_head = constants(ctx, real, vocab + 2, 3, -1),
                                .targets = in[2],
                                .kl_weight = 1.0,
                                .ce_weight = arg != KL ? 0.25 : 0,
                                .adaptive = arg == ADAPTIVE};
    out[0] = rk_divergence(ctx, &d);
}

enum { LOGISTIC, HINGE };
static void preference(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    const int64_t *dims = in[0]->dims;
    rk_tensor *reference = constants(ctx, in[0]->dtype, dims[0] * dims[1], dims[2], 0.4);
    const rk_preference_how how = {.beta = 0.3, .smoothing = 0.125, .hinge = arg == HINGE};
    out[0] = rk_preference(ctx, in[0], rk_view(ctx, reference, 3, dims), &how);
}

/* Of the rows of x (B, T), which they are multiplied with: they have no gradient. */
static void positions(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    rk_tensor *after, *before = constants(ctx, in[0]->dtype, in[0]->dims[0], 1, 0.5);
    rows_of(ctx, in[0], arg);
    before = rk_view(ctx, before, 1, in[0]->dims);
    rk_tensor *at = rk_positions(ctx, before, in[0]->dims[1], &after);
    out[0] = rk_mul(ctx, in[0], rk_scale(ctx, at, 0.01));
    out[1] = rk_mul(ctx, rk_copy(ctx, rk_slice(ctx, in[0], 1, 0, 1)),
                    rk_view(ctx, after, 2, (int64_t[]){in[0]->dims[0], 1}));
}

/* At fractional positions too; they have no gradient. */
static void rotary(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    rk_tensor *after, *before = constants(ctx, in[0]->dtype, in[0]->dims[0], 1, 2.5);
    rows_of(ctx, in[0], arg);
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
    rows_of(ctx, in[0], arg == PACKED ? SEVERAL : ONE_SEQUENCE);
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
    rows_of(ctx, in[0], arg);
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

static void previous(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    rows_of(ctx, in[0], arg);
    out[0] = rk_previous(ctx, in[0], in[1]);
}

static void shift_mix(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    int n = 0;
    rows_of(ctx, in[0], arg);
    while (in[2 + n])
        n++;
    out[0] = rk_shift_mix(ctx, in[0], in[1], in + 2, n, &out[1]);
}

/* Heads in an order of their own, two of which share a block of channels where C is less than H N. */
enum { SEVERAL_ROWS = SEVERAL, BEFORE = 2, AS_IT_IS = 4 };
static void self_state(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    rows_of(ctx, in[0], arg & SEVERAL_ROWS);
    const rk_wkv7_in w = {.w = in[3], .k = in[4], .v = in[5], .a = in[6], .b = in[7]};
    const rk_self_state_in s = {
        .x = in[0],
        .gamma = in[1],
        .state = in[2],
        .wkv = in[3] ? &w : NULL,
        .form = {.n_heads = 2, .heads = {2, 0}, .norm = !(arg & AS_IT_IS), .before = arg & BEFORE}};
    out[0] = rk_self_state(ctx, &s);
}

enum { GATED = 8 };
static void route(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    const int64_t f = in[0] ? in[0]->dims[in[0]->n_dims - 1] : 0;
    const rk_route_form form = {.block = 8,
                                .best = arg & ~GATED,
                                .n_generations = 2,
                                .ends = {20, f},
                                .gate = (arg & GATED) != 0};
    out[0] = rk_route(ctx, in[0], &form);
}

static void wkv7(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    rows_of(ctx, in[0], arg);
    const rk_wkv7_in w = {.r = in[0],
                          .w = in[1],
                          .k = in[2],
                          .v = in[3],
                          .a = in[4],
                          .b = in[5],
                          .state = in[6],
                          .hop = in[7]};
    out[0] = rk_wkv7(ctx, &w, &out[1]);
}

/* The state goes on, the outputs are not looked at. */
static void wkv7_state(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    rk_tensor *both[2];
    wkv7(ctx, arg, in, both);
    out[0] = rk_scale(ctx, both[1], 1.5);
}

static void wkv6(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    rows_of(ctx, in[0], arg);
    const rk_wkv6_in w = {
        .r = in[0], .k = in[1], .v = in[2], .d = in[3], .u = in[4], .state = in[5]};
    out[0] = rk_wkv6(ctx, &w, &out[1]);
}

/* Two pieces; the exponents of the state start at 0 and are constants of its gradient. */
static void wkv4(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    rows_of(ctx, in[0], arg);
    rk_tensor *const parts[] = {in[4], in[5], rk_scale(ctx, in[4], 0.0)};
    rk_wkv4_in w = {.k = in[0], .v = in[1], .w = in[2], .u = in[3]};
    w.state = rk_concat(ctx, parts, 3, 1);
    out[0] = rk_wkv4(ctx, &w, &w.state);
    out[1] = rk_wkv4(ctx, &w, &w.state);
}

/* Rows of tokens with a medium every three, from places of all kinds: nothing before, a block that the first
 * token ends, finished mediums. x (B, T + M, C). */
enum { INTERVAL = 3 };
static rk_medium_rows mediums_of(rk_ctx *ctx, int how, const rk_tensor *x, rk_dtype real)
{
    rk_tensor tokens = *x, *after;
    while (tokens.dims[1] + (tokens.dims[1] + INTERVAL - 1) / INTERVAL > x->dims[1])
        tokens.dims[1]--;
    rows_of(ctx, &tokens, how);
    rk_tensor *place = rk_new_zeros(ctx, real, 2, (int64_t[]){x->dims[0], 2});
    for (int64_t i = 0; place && place->data && i < 2 * x->dims[0]; i++) {
        const double at = i == 3 ? INTERVAL - 1 : (double)(i / 2);
        if (real == RK_F64)
            ((double *)place->data)[i] = at;
        else
            ((float *)place->data)[i] = (float)at;
    }
    return rk_medium_walk(ctx, place, tokens.dims[1], (rk_medium_places){INTERVAL, false}, &after);
}

/* in x (B,T,C), start, pool (B,C), rows (B,T+M,1), which say how many there are and are added. */
static void medium_insert(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    const rk_medium_rows rows = mediums_of(ctx, arg, in[3], in[0]->dtype);
    out[0] = rk_medium_insert(ctx, &rows, in[0], in[1], in[2], &out[1]);
    out[2] = rk_scale(ctx, in[3], 0.5);
}

static void medium_previous(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    const rk_medium_rows rows = mediums_of(ctx, arg, in[0], in[0]->dtype);
    out[0] = rk_medium_previous(ctx, &rows, in[0], in[1], &out[1]);
}

/* in rows (B,T+M,C), whose mediums count, and sum (B,C). */
static void medium_mean(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    const rk_medium_rows rows = mediums_of(ctx, arg, in[0], in[0]->dtype);
    rk_tensor *e = rk_copy(ctx, rk_slice(ctx, in[0], 1, rows.n_tokens, in[0]->dims[1]));
    out[0] = rk_medium_mean(ctx, &rows, e, in[1], &out[1]);
    out[2] = rk_scale(ctx, in[0], 0.5);
}

static void medium_mix(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    const rk_medium_mix_in m = {in[0], in[1], in[2], in[3], in[4]};
    (void)arg;
    out[0] = rk_medium_mix(ctx, &m);
}

/* The exponents of the state are constants of its gradient, as in wkv4. */
static rk_tensor *wkv4_state(rk_ctx *ctx, rk_tensor *aa, rk_tensor *bb)
{
    rk_tensor *const parts[] = {aa, bb, rk_scale(ctx, aa, 0.0)};
    return rk_concat(ctx, parts, 3, 1);
}

static void medium_wkv(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    const rk_medium_rows rows = mediums_of(ctx, arg, in[0], in[0]->dtype);
    rk_wkv4_in w = {
        .k = in[0], .v = in[1], .w = in[2], .u = in[3], .state = wkv4_state(ctx, in[4], in[5])};
    out[0] = rk_medium_wkv(ctx, &rows, &w, &w.state);
    out[1] = rk_medium_wkv(ctx, &rows, &w, &w.state);
}

/* The state is looked at by RWKV-4's recurrence. */
static void medium_read(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    const rk_medium_rows rows = mediums_of(ctx, arg, in[0], in[0]->dtype);
    const rk_medium_read_in r = {
        .k = in[0], .v = in[1], .w = in[2], .y = in[3], .state = wkv4_state(ctx, in[4], in[5])};
    rk_wkv4_in w = {.w = in[2]};
    out[0] = rk_medium_read(ctx, &rows, &r, &w.state);
    if (rk_ctx_failed(ctx))
        return;
    w.k = rk_copy(ctx, rk_slice(ctx, in[0], 1, 0, rows.n_tokens));
    w.v = rk_copy(ctx, rk_slice(ctx, in[1], 1, 0, rows.n_tokens));
    w.u = constants(ctx, in[0]->dtype, 1, in[0]->dims[2], 0.5);
    out[1] = rk_wkv4(ctx, &w, &w.state);
}

static void prepare(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    (void)arg;
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

/* The same with a balanced state. */
static void balanced(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    (void)arg;
    const rk_rwkv7_prepare_in p = {.w0 = in[0],
                                   .a0 = in[1],
                                   .wl = in[2],
                                   .al = in[3],
                                   .k = in[4],
                                   .v = in[5],
                                   .v0 = in[6],
                                   .vl = in[7],
                                   .v_first = in[8]};
    const rk_rwkv7_prepare_out o = rk_rwkv7_prepare_op(ctx, &p);
    out[0] = o.w;
    out[1] = o.k;
    out[2] = o.a;
    out[3] = o.b;
    out[4] = o.v;
}

/* With parts missing: a sum of these bits says which are there. */
enum { GATE = 1, BONUS = 2, NORM = 4, ONE_PLUS = 8 };

static void output_of(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    int next = 4;
    rk_rwkv7_output_in o = {
        .y = in[0],
        .r = in[1],
        .k = in[2],
        .v = in[3],
        .form = {.eps = 64e-5, .scale = 0.75, .gate_base = arg & ONE_PLUS ? 1 : 0}};
    if (arg & GATE)
        o.g = in[next++];
    if (arg & BONUS)
        o.r_k = in[next++];
    if (arg & NORM) {
        o.ln_w = in[next];
        o.ln_b = in[next + 1];
    }
    out[0] = rk_rwkv7_output_op(ctx, &o);
}

static void output(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    (void)arg;
    const rk_rwkv7_output_in o = {.y = in[0],
                                  .r = in[1],
                                  .k = in[2],
                                  .v = in[3],
                                  .g = in[4],
                                  .r_k = in[5],
                                  .ln_w = in[6],
                                  .ln_b = in[7],
                                  .form = {.eps = 64e-5}};
    out[0] = rk_rwkv7_output_op(ctx, &o);
}

/* Prepare, recurrence and output in one; without a tape in the short class, a head at a time. */
static void heads(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    (void)arg;
    const rk_rwkv7_heads_in h = {.raw = {.w0 = in[0],
                                         .a0 = in[1],
                                         .k_k = in[2],
                                         .k_a = in[3],
                                         .wl = in[4],
                                         .al = in[5],
                                         .k = in[6],
                                         .v = in[7],
                                         .v0 = in[8],
                                         .vl = in[9],
                                         .v_first = in[10]},
                                 .r = in[11],
                                 .g = in[12],
                                 .r_k = in[13],
                                 .ln_w = in[14],
                                 .ln_b = in[15],
                                 .state = in[16],
                                 .form = {.eps = 64e-5}};
    out[0] = rk_rwkv7_heads(ctx, &h, &out[1]);
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

/* A constant of (a, b, c): values within scale of middle. */
static rk_tensor *constant(rk_ctx *ctx, const rk_tensor *like, const int64_t *dims, double middle,
                           double scale)
{
    rk_tensor *t = rk_new(ctx, like->dtype, 3, dims);
    for (int64_t i = 0; t && t->data && i < rk_tensor_count(t); i++) {
        const double x = middle + scale * ((double)(i * 37 % 23) / 11.0 - 1.0);
        if (t->dtype == RK_F64)
            ((double *)t->data)[i] = (double)(float)x;
        else
            ((float *)t->data)[i] = (float)x;
    }
    return t;
}

/* Features of vectors: Gaussian, in a basis, as published, and the vectors themselves. */
enum { GAUSS, BASIS, LITERAL, LINEAR };
static void features(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    static const double gammas[] = {[GAUSS] = 0.5, [BASIS] = 0.5, [LITERAL] = -0.2, [LINEAR] = 0};
    const int64_t h = in[0]->dims[2], n = in[0]->dims[3], m = arg == LINEAR ? n : n + 3;
    const int64_t vectors[] = {h, m, n}, heads[] = {1, 1, h}, scales[] = {1, h, 3};
    const int64_t square[] = {h, m, m};
    const rk_feature_path path = {
        .u = constant(ctx, in[0], vectors, 0, 0.8),
        .uv = constant(ctx, in[0], vectors, 0.1, 0.7),
        .pi = constant(ctx, in[0], vectors, 1.0 / (double)n, 0.5 / (double)n),
        .gamma = constant(ctx, in[0], heads, gammas[arg], 0.1 * gammas[arg]),
        .scale = constant(ctx, in[0], scales, 1, 0.4),
        .basis = arg == BASIS ? constant(ctx, in[0], square, 0.2, 0.6) : NULL};
    const rk_features_in f = {&path, in[0], in[1], in[2], in[3], in[4], in[5], 1.5};
    if (rk_ctx_failed(ctx))
        return;
    const rk_wkv7_in w = rk_features_of(ctx, &f);
    rk_tensor *const all[] = {w.r, w.w, w.k, w.v, w.a, w.b};
    memcpy(out, all, sizeof all);
}

static void features_read(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    (void)arg;
    const int64_t dims[] = {in[0]->dims[2], 5, in[0]->dims[3]};
    const rk_feature_path path = {.read = constant(ctx, in[0], dims, 0, 0.8), .alpha = in[1]};
    out[0] = rk_features_back_op(ctx, &path, in[0]);
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

/* ---- the table ---- */

/* clang-format off */
#define IN(lo, hi, ...) {.dims = {__VA_ARGS__}, .low = (lo), .high = (hi)}
#define IDS(below, neg, ...) {.dims = {__VA_ARGS__}, .ids_below = (below), .negatives = (neg)}
#define STORED(type, ...) {.dims = {__VA_ARGS__}, .low = -1, .high = 1, .stored = (type)}
#define UNARY(fn, lo, hi)                                                                          \
    {"unary " #fn, &rk_op_unary, unary, fn, {IN(-2, 2, 3, 5, 7)}},                                 \
    {"unary " #fn ", wide", &rk_op_unary, unary, fn, {IN(lo, hi, 2, 37, 75)}}
#define ATTENTION_OF(b, t, h, g, n)                                                                \
    IN(-1, 1, b, t, h, n), IN(-1, 1, b, t, g, n), IN(-1, 1, b, t, g, n)
#define WKV7_IN(t, n)                                                                              \
    {IN(-1, 1, 2, t, 2, n), IN(0.3, 0.99, 2, t, 2, n), IN(-1, 1, 2, t, 2, n), IN(-1, 1, 2, t, 2, n), \
     IN(-0.5, 0.5, 2, t, 2, n), IN(-0.5, 0.5, 2, t, 2, n), IN(-1, 1, 2, 2, n, n)}
/* Three heads in two blocks of channels and some more. */
#define SELF_STATE_IN(b, t, n)                                                                     \
    {IN(-1, 1, b, t, 2 * (n) + 1), IN(-1, 1, 2, n), IN(-1, 1, b, 3, n, n), IN(0.3, 0.99, b, t, 3, n), \
     IN(-1, 1, b, t, 3, n), IN(-1, 1, b, t, 3, n), IN(-0.5, 0.5, b, t, 3, n), IN(-0.5, 0.5, b, t, 3, n)}
#define WKV7(t, n) {"wkv7 T " #t " N " #n, &rk_op_wkv7, wkv7, 0, WKV7_IN(t, n)}
#define WKV6(t, n)                                                                                 \
    {"wkv6 T " #t " N " #n, &rk_op_wkv6, wkv6, 0,                                                  \
     {IN(-1, 1, 2, t, 2, n), IN(-1, 1, 2, t, 2, n), IN(-1, 1, 2, t, 2, n),                         \
      IN(0.1, 0.99, 2, t, 2, n), IN(-1, 1, 2, n), IN(-1, 1, 2, 2, n, n)}}
#define WKV6_ROWS(t, n)                                                                            \
    {"wkv6, one decay, T " #t " N " #n, &rk_op_wkv6, wkv6, 0,                                      \
     {IN(-1, 1, 2, t, 2, n), IN(-1, 1, 2, t, 2, n), IN(-1, 1, 2, t, 2, n),                         \
      IN(0.1, 0.99, 2, 2, n), IN(-1, 1, 2, 2, n), IN(-1, 1, 2, 2, n, n)}}
#define WKV4(t, a)                                                                                 \
    {"wkv4 T " #t " A " #a, &rk_op_wkv4, wkv4, 0,                                                  \
     {IN(-2, 2, 2, t, a), IN(-1, 1, 2, t, a), IN(-1.5, -0.05, 2, a), IN(-1, 1, a),                 \
      IN(-1, 1, 2, 1, a), IN(0.2, 2, 2, 1, a)}}
#define ROWS_OF(...) IN(-1, 1, __VA_ARGS__), IN(-1, 1, __VA_ARGS__), IN(-1, 1, __VA_ARGS__), IN(-1, 1, __VA_ARGS__)
#define LINEAR_IN(w0, w1) IN(-1, 1, 2, 19, 13), IN(-1, 1, w0, w1)
#define FEATURES_IN(...)                                                                           \
    IN(-1, 1, __VA_ARGS__), IN(-1, 1, __VA_ARGS__), IN(-1, 1, __VA_ARGS__), IN(-1, 1, __VA_ARGS__), \
    IN(0.1, 0.9, __VA_ARGS__), IN(0.6, 0.99, __VA_ARGS__)
#define MEDIUM_WKV(b, r, a) IN(-2, 2, b, r, a), IN(-1, 1, b, r, a), IN(-1.5, -0.05, b, a)
#define MEDIUM_STATE(b, a) IN(-1, 1, b, 1, a), IN(0.2, 2, b, 1, a)
#define HEADS_IN(t)                                                                                \
    {ROWS_OF(27), ROWS_OF(2, t, 3, 9), IN(-1, 1, 27), IN(-1, 1, 2, t, 3, 9), IN(-1, 1, 2, t, 3, 9), \
     IN(-1, 1, 2, t, 3, 9), IN(-1, 1, 2, t, 3, 9), IN(-1, 1, 27), IN(-1, 1, 27), IN(-1, 1, 27),    \
     IN(-1, 1, 2, 3, 9, 9)}

#define OUTPUT_IN IN(-1, 1, 2, 37, 3, 25), IN(-1, 1, 2, 37, 3, 25), IN(-1, 1, 2, 37, 3, 25), IN(-1, 1, 2, 37, 3, 25)

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
    {"fold", &rk_op_fold, fold, 7, {IN(-1, 1, 2, 19, 75)}},
    {"fold, whole blocks", &rk_op_fold, fold, 8, {IN(-1, 1, 37, 64)}},
    {"fold, wider than its rows", &rk_op_fold, fold, 9, {IN(-1, 1, 3, 5)}},
    {"repeat", &rk_op_repeat, repeat, 75, {IN(-1, 1, 2, 19, 7)}},
    {"repeat, narrower than its rows", &rk_op_repeat, repeat, 5, {IN(-1, 1, 3, 9)}},
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
    {"cross-entropy", &rk_op_cross_entropy, cross_entropy, 0, {IN(-1, 1, 2, 9, 6), IN(-1, 1, 13, 6), IDS(13, true, 2, 9)}},
    {"cross-entropy, wide", &rk_op_cross_entropy, cross_entropy, 0, {IN(-1, 1, 2, 37, 75), IN(-1, 1, 61, 75), IDS(61, true, 2, 37)}},
    {"cross-entropy, vocabulary blocks", &rk_op_cross_entropy, cross_entropy, 0, {IN(-1, 1, 2, 10, 3), IN(-1, 1, 2100, 3), IDS(2100, true, 2, 10)}},
    {"cross-entropy, row blocks", &rk_op_cross_entropy, cross_entropy, 0, {IN(-1, 1, 2, 530, 3), IN(-1, 1, 5, 3), IDS(5, true, 2, 530)}},
    {"distance", &rk_op_distance, distance, 0, {IN(-1, 1, 38, 7)}},
    {"divergence", &rk_op_divergence, divergence, KL, {IN(-1, 1, 2, 9, 6), IN(-1, 1, 13, 6), IDS(13, true, 2, 9)}},
    {"divergence and cross-entropy, several blocks", &rk_op_divergence, divergence, KL_AND_CE, {IN(-1, 1, 2, 530, 3), IN(-1, 1, 9, 3), IDS(9, true, 2, 530)}},
    {"divergence both ways", &rk_op_divergence, divergence, ADAPTIVE, {IN(-1, 1, 2, 9, 6), IN(-1, 1, 13, 6), IDS(13, true, 2, 9)}},
    {"preference", &rk_op_preference, preference, LOGISTIC, {IN(0, 2, 5, 2, 9)}},
    {"preference, hinge", &rk_op_preference, preference, HINGE, {IN(0, 2, 5, 2, 9)}},
    {"kl", &rk_op_kl, kl, 0, {IN(-2, 2, 3, 5, 7), IN(-2, 2, 3, 5, 7)}},
    {"kl, wide", &rk_op_kl, kl, 0, {IN(-4, 4, 37, 75), IN(-4, 4, 37, 75)}},
    {"shift_mix", &rk_op_shift_mix, shift_mix, 0, {IN(-1, 1, 2, 35, 70), IN(-1, 1, 2, 70), IN(0, 1, 70), IN(0, 1, 70), IN(0, 1, 70)}},
    {"shift_mix, one token", &rk_op_shift_mix, shift_mix, 0, {IN(-1, 1, 3, 1, 5), IN(-1, 1, 3, 5), IN(0, 1, 5)}},
    {"shift_mix, six", &rk_op_shift_mix, shift_mix, 0, {IN(-1, 1, 2, 16, 5), IN(-1, 1, 2, 5), IN(0, 1, 5), IN(0, 1, 5), IN(0, 1, 5), IN(0, 1, 5), IN(0, 1, 5), IN(0, 1, 5)}},
    {"shift_mix, six, wide", &rk_op_shift_mix, shift_mix, 0, {IN(-1, 1, 2, 37, 75), IN(-1, 1, 2, 75), IN(-1, 1, 75), IN(-1, 1, 75), IN(-1, 1, 75), IN(-1, 1, 75), IN(-1, 1, 75), IN(-1, 1, 75)}},
    {"shift_mix, several sequences", &rk_op_shift_mix, shift_mix, SEVERAL, {IN(-1, 1, 3, 50, 70), IN(-1, 1, 3, 70), IN(0, 1, 70), IN(0, 1, 70), IN(0, 1, 70)}},
    {"rms_norm", &rk_op_rms_norm, rms_norm, 0, {IN(-1, 1, 2, 5, 3), IN(-1, 1, 3)}},
    {"rms_norm, wide", &rk_op_rms_norm, rms_norm, 0, {IN(-2, 2, 2, 37, 75), IN(-1, 1, 75)}},
    {"swiglu", &rk_op_swiglu, swiglu, 0, {IN(-2, 2, 3, 5, 7), IN(-1, 1, 3, 5, 7)}},
    {"swiglu, wide", &rk_op_swiglu, swiglu, 0, {IN(-9, 9, 2, 137, 75), IN(-1, 1, 2, 137, 75)}},
    {"swiglu of one", &rk_op_swiglu, swiglu, 0, {IN(-2, 2, 3, 7)}},
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
    {"previous", &rk_op_previous, previous, ONE_SEQUENCE, {IN(-1, 1, 2, 35, 70), IN(-1, 1, 2, 70)}},
    {"previous, one token", &rk_op_previous, previous, ONE_SEQUENCE, {IN(-1, 1, 3, 1, 5), IN(-1, 1, 3, 5)}},
    {"previous, several sequences", &rk_op_previous, previous, SEVERAL, {IN(-1, 1, 3, 50, 70), IN(-1, 1, 3, 70)}},
    WKV7(1, 3), WKV7(1, 4), WKV7(1, 8), WKV7(15, 3), WKV7(15, 4), WKV7(15, 8), WKV7(16, 3), WKV7(16, 4),
    WKV7(16, 8), WKV7(17, 3), WKV7(17, 4), WKV7(17, 8), WKV7(40, 3), WKV7(40, 4), WKV7(40, 8),
    WKV6(1, 4), WKV6(5, 3), WKV6(37, 8), WKV6(18, 70), WKV6_ROWS(19, 5), WKV4(1, 3), WKV4(7, 5), WKV4(35, 70),
    {"wkv6, three heads", &rk_op_wkv6, wkv6, 0,
     {IN(-1, 1, 2, 37, 3, 25), IN(-1, 1, 2, 37, 3, 25), IN(-1, 1, 2, 37, 3, 25), IN(0, 0.99, 2, 37, 3, 25),
      IN(-1, 1, 3, 25), IN(-1, 1, 2, 3, 25, 25)}},
    {"wkv4, wide", &rk_op_wkv4, wkv4, 0, {IN(-4, 4, 2, 37, 75), IN(-1, 1, 2, 37, 75), IN(-3, -0.05, 2, 75), IN(-1, 1, 75), IN(-1, 1, 2, 1, 75), IN(0.2, 1, 2, 1, 75)}},
    {"wkv7, three heads", &rk_op_wkv7, wkv7, 0,
     {IN(-1, 1, 2, 37, 3, 25), IN(0.55, 1, 2, 37, 3, 25), IN(-1, 1, 2, 37, 3, 25), IN(-1, 1, 2, 37, 3, 25),
      IN(-0.3, 0.3, 2, 37, 3, 25), IN(-0.2, 0.2, 2, 37, 3, 25), IN(-1, 1, 2, 3, 25, 25)}},
    {"wkv7, several sequences", &rk_op_wkv7, wkv7, SEVERAL,
     {IN(-1, 1, 3, 50, 2, 5), IN(0.55, 1, 3, 50, 2, 5), IN(-1, 1, 3, 50, 2, 5), IN(-1, 1, 3, 50, 2, 5),
      IN(-0.3, 0.3, 3, 50, 2, 5), IN(-0.2, 0.2, 3, 50, 2, 5), IN(-1, 1, 3, 2, 5, 5)}},
    {"wkv6, several sequences", &rk_op_wkv6, wkv6, SEVERAL,
     {IN(-1, 1, 3, 50, 2, 5), IN(-1, 1, 3, 50, 2, 5), IN(-1, 1, 3, 50, 2, 5), IN(0, 0.99, 3, 50, 2, 5),
      IN(-1, 1, 2, 5), IN(-1, 1, 3, 2, 5, 5)}},
    {"wkv6, several sequences, constant decay", &rk_op_wkv6, wkv6, SEVERAL,
     {IN(-1, 1, 3, 50, 2, 5), IN(-1, 1, 3, 50, 2, 5), IN(-1, 1, 3, 50, 2, 5), IN(0, 0.99, 3, 2, 5),
      IN(-1, 1, 3, 2, 5), IN(-1, 1, 3, 2, 5, 5)}},
    {"wkv4, several sequences", &rk_op_wkv4, wkv4, SEVERAL, {IN(-4, 4, 3, 50, 75), IN(-1, 1, 3, 50, 75), IN(-3, -0.05, 3, 75), IN(-1, 1, 75), IN(-1, 1, 3, 1, 75), IN(0.2, 1, 3, 1, 75)}},
    {"wkv7, read twice", &rk_op_wkv7, wkv7, 0,
     {IN(-1, 1, 2, 37, 2, 5), IN(0.55, 1, 2, 37, 2, 5), IN(-1, 1, 2, 37, 2, 5), IN(-1, 1, 2, 37, 2, 5),
      IN(-0.3, 0.3, 2, 37, 2, 5), IN(-0.2, 0.2, 2, 37, 2, 5), IN(-1, 1, 2, 2, 5, 5), IN(-0.5, 0.5, 2, 5, 5)}},
    {"wkv7, read twice, several sequences", &rk_op_wkv7, wkv7, SEVERAL,
     {IN(-1, 1, 3, 50, 2, 5), IN(0.55, 1, 3, 50, 2, 5), IN(-1, 1, 3, 50, 2, 5), IN(-1, 1, 3, 50, 2, 5),
      IN(-0.3, 0.3, 3, 50, 2, 5), IN(-0.2, 0.2, 3, 50, 2, 5), IN(-1, 1, 3, 2, 5, 5), IN(-0.5, 0.5, 2, 5, 5)}},
    {"wkv7, last state", &rk_op_wkv7, wkv7_state, 0, WKV7_IN(20, 4)},
    {"rwkv7_prepare, layer 0", &rk_op_rwkv7_prepare, prepare, 0, {ROWS_OF(8), ROWS_OF(2, 11, 2, 4)}},
    {"rwkv7_prepare", &rk_op_rwkv7_prepare, prepare, 0, {ROWS_OF(8), ROWS_OF(2, 11, 2, 4), IN(-1, 1, 8), IN(-1, 1, 2, 11, 2, 4), IN(-1, 1, 2, 11, 2, 4)}},
    {"rwkv7_prepare, wide", &rk_op_rwkv7_prepare, prepare, 0, {ROWS_OF(72), ROWS_OF(1, 18, 9, 8), IN(-1, 1, 72), IN(-1, 1, 1, 18, 9, 8), IN(-1, 1, 1, 18, 9, 8)}},
    {"rwkv7_prepare, three heads", &rk_op_rwkv7_prepare, prepare, 0, {ROWS_OF(75), ROWS_OF(2, 37, 3, 25), IN(-1, 1, 75), IN(-1, 1, 2, 37, 3, 25), IN(-1, 1, 2, 37, 3, 25)}},
    {"rwkv7_output", &rk_op_rwkv7_output, output, 0, {ROWS_OF(2, 11, 2, 4), IN(-1, 1, 2, 11, 2, 4), IN(-1, 1, 8), IN(-1, 1, 8), IN(-1, 1, 8)}},
    {"rwkv7_output, wide", &rk_op_rwkv7_output, output, 0, {ROWS_OF(1, 18, 9, 8), IN(-1, 1, 1, 18, 9, 8), IN(-1, 1, 72), IN(-1, 1, 72), IN(-1, 1, 72)}},
    {"rwkv7_output, three heads", &rk_op_rwkv7_output, output, 0, {ROWS_OF(2, 37, 3, 25), IN(-1, 1, 2, 37, 3, 25), IN(-1, 1, 75), IN(-1, 1, 75), IN(-1, 1, 75)}},
    {"rwkv7_prepare, balanced", &rk_op_rwkv7_prepare, balanced, 0, {IN(-1, 1, 75), IN(-1, 1, 75), IN(-1, 1, 2, 37, 3, 25), IN(-1, 1, 2, 37, 3, 25), IN(-1, 1, 2, 37, 3, 25), IN(-1, 1, 2, 37, 3, 25), IN(-1, 1, 75), IN(-1, 1, 2, 37, 3, 25), IN(-1, 1, 2, 37, 3, 25)}},
    {"rwkv7_output, nothing more", &rk_op_rwkv7_output, output_of, 0, {OUTPUT_IN}},
    {"rwkv7_output, gate", &rk_op_rwkv7_output, output_of, GATE, {OUTPUT_IN, IN(-1, 1, 2, 37, 3, 25)}},
    {"rwkv7_output, one_plus gate and bonus", &rk_op_rwkv7_output, output_of, GATE | BONUS | ONE_PLUS, {OUTPUT_IN, IN(-1, 1, 2, 37, 3, 25), IN(-1, 1, 75)}},
    {"rwkv7_output, bonus and norm", &rk_op_rwkv7_output, output_of, BONUS | NORM, {OUTPUT_IN, IN(-1, 1, 75), IN(-1, 1, 75), IN(-1, 1, 75)}},
    {"medium_insert", &rk_op_medium_insert, medium_insert, 0, {IN(-1, 1, 3, 7, 5), IN(-1, 1, 3, 5), IN(-1, 1, 3, 5), IN(-1, 1, 3, 10, 1)}},
    {"medium_insert, several sequences", &rk_op_medium_insert, medium_insert, SEVERAL, {IN(-1, 1, 3, 50, 75), IN(-1, 1, 3, 75), IN(-1, 1, 3, 75), IN(-1, 1, 3, 67, 1)}},
    {"medium_previous", &rk_op_medium_previous, medium_previous, 0, {IN(-1, 1, 3, 10, 5), IN(-1, 1, 3, 5)}},
    {"medium_previous, several sequences", &rk_op_medium_previous, medium_previous, SEVERAL, {IN(-1, 1, 3, 67, 75), IN(-1, 1, 3, 75)}},
    {"medium_mean", &rk_op_medium_mean, medium_mean, 0, {IN(-1, 1, 3, 10, 5), IN(-1, 1, 3, 5)}},
    {"medium_mean, several sequences", &rk_op_medium_mean, medium_mean, SEVERAL, {IN(-1, 1, 3, 67, 75), IN(-1, 1, 3, 75)}},
    {"medium_mix", &rk_op_medium_mix, medium_mix, 0, {IN(-1, 1, 2, 3, 5), IN(-1, 1, 2, 3, 5), IN(-1, 1, 5), IN(-1, 1, 2, 3, 5), IN(-1, 1, 5)}},
    {"medium_mix, wide", &rk_op_medium_mix, medium_mix, 0, {IN(-1, 1, 2, 37, 75), IN(-1, 1, 2, 37, 75), IN(-1, 1, 75), IN(-1, 1, 2, 37, 75), IN(-1, 1, 75)}},
    {"medium_wkv", &rk_op_medium_wkv, medium_wkv, 0, {MEDIUM_WKV(3, 10, 5), IN(-1, 1, 5), MEDIUM_STATE(3, 5)}},
    {"medium_wkv, one token", &rk_op_medium_wkv, medium_wkv, 0, {MEDIUM_WKV(3, 2, 5), IN(-1, 1, 5), MEDIUM_STATE(3, 5)}},
    {"medium_wkv, several sequences", &rk_op_medium_wkv, medium_wkv, SEVERAL, {MEDIUM_WKV(3, 67, 75), IN(-1, 1, 75), MEDIUM_STATE(3, 75)}},
    {"medium_read", &rk_op_medium_read, medium_read, 0, {MEDIUM_WKV(3, 10, 5), IN(-1, 1, 3, 10, 5), MEDIUM_STATE(3, 5)}},
    {"medium_read, one token", &rk_op_medium_read, medium_read, 0, {MEDIUM_WKV(3, 2, 5), IN(-1, 1, 3, 2, 5), MEDIUM_STATE(3, 5)}},
    {"medium_read, several sequences", &rk_op_medium_read, medium_read, SEVERAL, {MEDIUM_WKV(3, 67, 75), IN(-1, 1, 3, 67, 75), MEDIUM_STATE(3, 75)}},
    {"self_state", &rk_op_self_state, self_state, 0, SELF_STATE_IN(2, 5, 4)},
    {"self_state, long", &rk_op_self_state, self_state, 0, SELF_STATE_IN(2, 37, 8)},
    {"self_state, before the token", &rk_op_self_state, self_state, BEFORE, SELF_STATE_IN(2, 37, 5)},
    {"self_state, not normalised", &rk_op_self_state, self_state, AS_IT_IS, SELF_STATE_IN(1, 18, 3)},
    {"self_state, several sequences", &rk_op_self_state, self_state, SEVERAL_ROWS, SELF_STATE_IN(3, 50, 4)},
    {"self_state, several sequences, before", &rk_op_self_state, self_state, SEVERAL_ROWS | BEFORE, SELF_STATE_IN(3, 50, 4)},
    {"self_state, one token", &rk_op_self_state, self_state, 0, {IN(-1, 1, 3, 1, 9), IN(-1, 1, 2, 4), IN(-1, 1, 3, 3, 4, 4)}},
    {"route", &rk_op_route, route, 1, {IN(-1, 1, 2, 11, 75)}},
    {"route, two blocks", &rk_op_route, route, 2, {IN(-1, 1, 37, 33)}},
    {"route, gated", &rk_op_route, route, 1 | GATED, {IN(-1, 1, 2, 11, 75)}},
    {"rwkv7_heads, one step", &rk_op_rwkv7_heads, heads, 0, HEADS_IN(1)},
    {"rwkv7_heads, five steps", &rk_op_rwkv7_heads, heads, 0, HEADS_IN(5)},
    {"features", &rk_op_features, features, GAUSS, {FEATURES_IN(2, 7, 2, 5)}},
    {"features, wide", &rk_op_features, features, GAUSS, {FEATURES_IN(1, 3, 1, 19)}},
    {"features in a basis", &rk_op_features, features, BASIS, {FEATURES_IN(2, 7, 2, 5)}},
    {"features as published", &rk_op_features, features, LITERAL, {FEATURES_IN(2, 7, 2, 5)}},
    {"features that are the vectors", &rk_op_features, features, LINEAR, {FEATURES_IN(2, 7, 2, 5)}},
    {"features_read", &rk_op_features_read, features_read, 0, {IN(-1, 1, 2, 19, 3, 7), IN(-1, 1, 3)}},
    {"recompute", &rk_op_recompute, recompute, 0, {IN(-1, 1, 3, 70), IN(-1, 1, 3, 70)}},
};
/* clang-format on */

const rk_op_case *rk_op_case_at(int i)
{
    return i < (int)RK_COUNT(cases) ? &cases[i] : NULL;
}
