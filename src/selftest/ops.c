/* ops.c: every op on random inputs, asked three questions.
 *
 * Does the path's f32 give what the reference gives in double, results and gradients? Does the
 * gradient in double point where differences say: (f(x+hd) - f(x-hd)) / 2h = <grad, d>? Do all
 * threads give the bits of one? Ops reach nearly every kernel, so kernels are checked as they are
 * used, cut into pieces. A case is a row: a function and the shapes of its inputs. */
#include <math.h>
#include <string.h>

#include "base/num.h"
#include "base/random.h"
#include "selftest/selftest.h"
#include "tensor/ops.h"

enum { IN_MAX = 12, OUT_MAX = 5 };

typedef struct case_input {
    const char *shape; /* letters of sizes[]; NULL: no more inputs; "-": absent */
    double low, high;
    rk_dtype
        stored; /* 0 (RK_F32): reals; RK_I32: ids in [low, high); 16-bit: weights, no gradient */
} case_input;

typedef struct op_case {
    const char *name;
    void (*build)(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out);
    int arg;
    bool long_class;
    case_input in[IN_MAX];
} op_case;

/* Odd on purpose: every loop has a tail. C = H N. */
static const struct {
    char letter;
    int64_t size;
} sizes[] = {{'B', 2}, {'T', 37}, {'C', 75}, {'F', 130}, {'H', 3}, {'N', 25}, {'V', 61}};

/* ---- the ops ---- */

#define BUILD(name) static void name(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)

BUILD(unary)
{
    out[0] = rk_unary_op(ctx, (rk_unary)arg, in[0]);
}
BUILD(arithmetic)
{
    (void)arg;
    rk_tensor *sum = rk_add(ctx, in[0], in[1]);
    out[0] = rk_lerp(ctx, rk_mul(ctx, sum, in[2]), rk_scale(ctx, in[1], 0.75), in[2]);
}
BUILD(softmax)
{
    (void)arg;
    out[0] = rk_softmax(ctx, in[0]);
}
BUILD(l2norm)
{
    (void)arg;
    out[0] = rk_l2norm(ctx, in[0]);
}
BUILD(norm)
{
    out[0] = rk_norm(ctx, in[0], in[1], in[2], arg, 1e-5);
}
BUILD(embedding)
{
    (void)arg;
    out[0] = rk_embedding(ctx, in[0], in[1]);
}
BUILD(linear)
{
    out[0] = rk_linear(ctx, in[0], in[1], (rk_layout)arg, in[2]);
}
BUILD(matmul)
{
    (void)arg;
    out[0] = rk_matmul(ctx, in[0], rk_transpose(ctx, in[1], 1, 2));
}
BUILD(row_matmul)
{
    (void)arg;
    out[0] = rk_row_matmul(ctx, in[0], in[1]);
}
BUILD(cross_entropy)
{
    (void)arg;
    out[0] = rk_cross_entropy(ctx, in[0], in[1], in[2], 0.0);
}
BUILD(shift_mix)
{
    (void)arg;
    out[0] = rk_shift_mix(ctx, in[0], in[1], in + 2, 6, &out[1]);
}
BUILD(wkv6)
{
    (void)arg;
    const rk_wkv6_in p = {
        .r = in[0], .k = in[1], .v = in[2], .d = in[3], .u = in[4], .state = in[5]};
    out[0] = rk_wkv6(ctx, &p, &out[1]);
}
/* Two pieces: the third vector of a state, the exponents, is a constant of its gradient, so no
 * state but the first can be looked at. */
BUILD(wkv4)
{
    (void)arg;
    const int64_t dims[] = {in[0]->dims[0], 1, in[0]->dims[2]};
    rk_tensor *aa = rk_view(ctx, in[4], 3, dims), *bb = rk_view(ctx, in[5], 3, dims);
    rk_tensor *const parts[] = {aa, bb, rk_scale(ctx, aa, 0.0)};
    rk_wkv4_in p = {.k = in[0], .v = in[1], .w = in[2], .u = in[3]};
    p.state = rk_concat(ctx, parts, 3, 1);
    out[0] = rk_wkv4(ctx, &p, &p.state);
    out[1] = rk_wkv4(ctx, &p, &p.state);
}
BUILD(wkv7)
{
    (void)arg;
    const rk_wkv7_in w = {in[0], in[1], in[2], in[3], in[4], in[5], in[6]};
    out[0] = rk_wkv7(ctx, &w, &out[1]);
}
BUILD(prepare)
{
    (void)arg;
    const rk_rwkv7_prepare_in p = {.w0 = in[0],
                                   .a0 = in[1],
                                   .v0 = in[2],
                                   .k_k = in[3],
                                   .k_a = in[4],
                                   .wl = in[5],
                                   .al = in[6],
                                   .k = in[7],
                                   .v = in[8],
                                   .vl = in[9],
                                   .v_first = in[10]};
    const rk_rwkv7_prepare_out q = rk_rwkv7_prepare_op(ctx, &p);
    rk_tensor *const all[] = {q.w, q.k, q.a, q.b, q.v};
    memcpy(out, all, sizeof all);
}
BUILD(output)
{
    (void)arg;
    const rk_rwkv7_output_in p = {.y = in[0],
                                  .r = in[1],
                                  .k = in[2],
                                  .v = in[3],
                                  .g = in[4],
                                  .r_k = in[5],
                                  .ln_w = in[6],
                                  .ln_b = in[7],
                                  .eps = 64e-5};
    out[0] = rk_rwkv7_output_op(ctx, &p);
}

/* clang-format off */
#define REALS(shape) {shape, -1, 1, RK_F32}
static const op_case cases[] = {
    {"sigmoid", unary, RK_SIGMOID, true, {{"BTC", -4, 4, RK_F32}}},
    {"tanh", unary, RK_TANH, true, {{"BTC", -4, 4, RK_F32}}},
    {"exp", unary, RK_EXP, true, {{"BTC", -4, 2, RK_F32}}},
    {"relu^2", unary, RK_RELU2, true, {{"BTC", -2, 2, RK_F32}}},
    {"silu", unary, RK_SILU, true, {{"BTC", -4, 4, RK_F32}}},
    {"add, mul, scale, lerp", arithmetic, 0, true, {REALS("BTC"), REALS("BTC"), REALS("C")}},
    {"softmax", softmax, 0, true, {{"BTC", -4, 4, RK_F32}}},
    {"L2 normalise", l2norm, 0, true, {REALS("BTHN")}},
    {"layer norm", norm, 1, true, {REALS("BTC"), REALS("C"), REALS("C")}},
    {"group norm", norm, 3, true, {REALS("BTC"), REALS("C"), REALS("C")}},
    {"embedding", embedding, 0, true, {REALS("VC"), {"BT", 0, 61, RK_I32}}},
    {"linear, long class", linear, RK_OUT_IN, true, {REALS("BTC"), REALS("FC"), REALS("BTF")}},
    {"linear, short class", linear, RK_OUT_IN, false, {REALS("BC"), REALS("FC"), REALS("BF")}},
    {"linear, bf16, long class", linear, RK_OUT_IN, true, {REALS("BTC"), {"FC", -1, 1, RK_BF16}, {"-", 0, 0, RK_F32}}},
    {"linear, bf16, short class", linear, RK_OUT_IN, false, {REALS("BC"), {"FC", -1, 1, RK_BF16}, {"-", 0, 0, RK_F32}}},
    {"linear, f16, short class", linear, RK_OUT_IN, false, {REALS("BC"), {"FC", -1, 1, RK_F16}, {"-", 0, 0, RK_F32}}},
    {"low rank, long class", linear, RK_IN_OUT, true, {REALS("BTC"), REALS("CN"), {"-", 0, 0, RK_F32}}},
    {"low rank, short class", linear, RK_IN_OUT, false, {REALS("BC"), REALS("CN"), {"-", 0, 0, RK_F32}}},
    {"matmul", matmul, 0, true, {REALS("BTC"), REALS("BFC")}},
    {"matmul of a row each", row_matmul, 0, true, {REALS("BTH"), REALS("BTC")}},
    {"cross-entropy", cross_entropy, 0, true, {REALS("BTC"), REALS("VC"), {"BT", -2, 61, RK_I32}}},
    {"token shift and mixes", shift_mix, 0, true,
     {REALS("BTC"), REALS("BC"), REALS("C"), REALS("C"), REALS("C"), REALS("C"), REALS("C"), REALS("C")}},
    {"rwkv7 prepare", prepare, 0, true,
     {REALS("C"), REALS("C"), REALS("C"), REALS("C"), REALS("C"), REALS("BTHN"), REALS("BTHN"),
      REALS("BTHN"), REALS("BTHN"), REALS("BTHN"), REALS("BTHN")}},
    {"rwkv7 recurrence", wkv7, 0, true,
     {REALS("BTHN"), {"BTHN", 0.55, 1, RK_F32}, REALS("BTHN"), REALS("BTHN"),
      {"BTHN", -0.3, 0.3, RK_F32}, {"BTHN", -0.2, 0.2, RK_F32}, REALS("BHNN")}},
    {"rwkv6 recurrence", wkv6, 0, true,
     {REALS("BTHN"), REALS("BTHN"), REALS("BTHN"), {"BTHN", 0, 0.99, RK_F32}, REALS("HN"), REALS("BHNN")}},
    {"rwkv4 recurrence", wkv4, 0, true,
     {{"BTC", -4, 4, RK_F32}, REALS("BTC"), {"BC", -3, -0.05, RK_F32}, REALS("C"), REALS("BC"), {"BC", 0.2, 1, RK_F32}}},
    {"rwkv7 output", output, 0, true,
     {REALS("BTHN"), REALS("BTHN"), REALS("BTHN"), REALS("BTHN"), REALS("BTHN"), REALS("C"),
      REALS("C"), REALS("C")}},
};
/* clang-format on */

/* ---- inputs ---- */

static int shape_dims(const char *shape, int64_t *dims)
{
    int n = 0;
    for (; shape[n]; n++)
        for (size_t i = 0; i < RK_COUNT(sizes); i++)
            if (sizes[i].letter == shape[n])
                dims[n] = sizes[i].size;
    return n;
}

/* Element e of input i, in a form that every type of this check holds exactly. */
static double value_at(const case_input *in, uint64_t i, uint64_t e)
{
    const double x = in->low + (in->high - in->low) * rk_rng_f64(1, RK_RNG_TEST, i, e);
    if (in->stored == RK_I32)
        return floor(x);
    return (double)rk_bf16_to_f32(rk_f32_to_bf16((float)x));
}

/* The direction of the differences. */
static double direction_at(uint64_t i, uint64_t e)
{
    return 2.0 * rk_rng_f64(1, RK_RNG_TEST, IN_MAX + i, e) - 1.0;
}

static void store(rk_tensor *t, int64_t e, double x)
{
    switch (t->dtype) {
    case RK_F64:
        ((double *)t->data)[e] = x;
        break;
    case RK_BF16:
        ((uint16_t *)t->data)[e] = rk_f32_to_bf16((float)x);
        break;
    case RK_F16:
        ((uint16_t *)t->data)[e] = rk_f32_to_f16((float)x);
        break;
    case RK_I32:
        ((int32_t *)t->data)[e] = (int32_t)x;
        break;
    default:
        ((float *)t->data)[e] = (float)x;
    }
}

static bool is_real(const case_input *in)
{
    return in->stored == RK_F32;
}

/* Input i, moved by h along its direction. In double all floating inputs are f64. */
static rk_tensor *make_input(rk_ctx *ctx, const case_input *in, int i, rk_dtype real, double h)
{
    int64_t dims[RK_MAX_DIMS] = {0};
    if (!strcmp(in->shape, "-"))
        return NULL;
    const bool is_id = in->stored == RK_I32;
    const rk_dtype dtype = is_id ? RK_I32 : real == RK_F64 || is_real(in) ? real : in->stored;
    rk_tensor *t = rk_new(ctx, dtype, shape_dims(in->shape, dims), dims);
    for (int64_t e = 0; t && e < rk_tensor_count(t); e++) {
        const double move = is_real(in) ? h * direction_at((uint64_t)i, (uint64_t)e) : 0.0;
        store(t, e, value_at(in, (uint64_t)i, (uint64_t)e) + move);
    }
    if (t)
        t->requires_grad = is_real(in);
    return t;
}

/* ---- one run ---- */

typedef struct run {
    rk_ctx ctx;
    rk_tensor *in[IN_MAX], *out[OUT_MAX];
    double total; /* the number whose gradients are taken: sum of silu of all outputs */
} run;

static rk_tensor *total_of(rk_ctx *ctx, rk_tensor *const *out)
{
    rk_tensor *total = NULL;
    for (int i = 0; i < OUT_MAX && out[i]; i++) {
        rk_tensor *sum = rk_sum(ctx, rk_unary_op(ctx, RK_SILU, out[i]));
        total = total ? rk_add(ctx, total, sum) : sum;
    }
    return total;
}

static void run_case(run *r, const op_case *c, rk_dtype real, double h)
{
    memset(r->in, 0, sizeof r->in);
    memset(r->out, 0, sizeof r->out);
    rk_ctx_reset(&r->ctx);
    r->ctx.long_class = c->long_class;
    r->ctx.recording = true;
    for (int i = 0; i < IN_MAX && c->in[i].shape; i++)
        r->in[i] = make_input(&r->ctx, &c->in[i], i, real, h);
    c->build(&r->ctx, c->arg, r->in, r->out);
    rk_tensor *total = total_of(&r->ctx, r->out);
    if (!total)
        return;
    r->total = real == RK_F64 ? *(double *)total->data : (double)*(float *)total->data;
    rk_backward(&r->ctx, total, 1.0);
}

/* ---- comparing ---- */

/* Largest distance of n reals, relative to the largest of the wanted ones or 1. */
static double distance(const double *want, const float *got, int64_t n)
{
    double worst = 0.0, scale = 1.0;
    for (int64_t i = 0; i < n; i++) {
        const double d = fabs((double)got[i] - want[i]);
        scale = fmax(scale, fabs(want[i]));
        if (!(d <= worst))
            worst = isnan(d) ? (double)INFINITY : d;
    }
    return worst / scale;
}

/* Results and gradients of the path against those in double. */
static double path_error(run *path, run *truth)
{
    double worst = 0.0;
    for (int i = 0; i < OUT_MAX && truth->out[i]; i++)
        worst = fmax(worst, distance(truth->out[i]->data, path->out[i]->data,
                                     rk_tensor_count(truth->out[i])));
    for (int i = 0; i < IN_MAX; i++)
        if (truth->in[i] && truth->in[i]->requires_grad && path->in[i]->requires_grad)
            worst = fmax(worst,
                         distance(rk_grad(&truth->ctx, truth->in[i]),
                                  rk_grad(&path->ctx, path->in[i]), rk_tensor_count(truth->in[i])));
    return worst;
}

/* 0 when all bits are the same, else 1. */
static double bit_error(run *a, run *b)
{
    bool same = true;
    for (int i = 0; i < OUT_MAX && a->out[i]; i++)
        same = same && !memcmp(a->out[i]->data, b->out[i]->data, rk_tensor_bytes(a->out[i]));
    for (int i = 0; i < IN_MAX; i++)
        if (a->in[i] && a->in[i]->requires_grad)
            same = same && !memcmp(rk_grad(&a->ctx, a->in[i]), rk_grad(&b->ctx, b->in[i]),
                                   rk_tensor_bytes(a->in[i]));
    return same ? 0.0 : 1.0;
}

static double slope(run *r, const op_case *c)
{
    double sum = 0.0;
    for (int i = 0; i < IN_MAX && c->in[i].shape; i++) {
        const double *grad = rk_grad(&r->ctx, r->in[i]);
        for (int64_t e = 0; grad && e < rk_tensor_count(r->in[i]); e++)
            sum += grad[e] * direction_at((uint64_t)i, (uint64_t)e);
    }
    return sum;
}

/* Difference of the slope by gradient and by two points. */
static double gradient_error(run *truth, const op_case *c)
{
    const double h = 1e-6, by_gradient = slope(truth, c);
    run_case(truth, c, RK_F64, h);
    const double after = truth->total;
    run_case(truth, c, RK_F64, -h);
    const double by_points = (after - truth->total) / (2.0 * h);
    return fabs(by_points - by_gradient) / fmax(1.0, fabs(by_gradient));
}

static const double path_tolerance = 2e-5, gradient_tolerance = 1e-6;

static rk_status check_case(const rk_selftest *t, const op_case *c, run *r, rk_error *err)
{
    run *path = &r[0], *one = &r[1], *truth = &r[2];
    run_case(path, c, RK_F32, 0.0);
    run_case(one, c, RK_F32, 0.0);
    run_case(truth, c, RK_F64, 0.0);
    rk_status st = RK_OK;
    for (int i = 0; i < 3 && st == RK_OK; i++)
        st = rk_ctx_status(&r[i].ctx, err);
    if (st != RK_OK)
        return st;
    t->report(t->user, c->name, "path against reference", path_error(path, truth), path_tolerance);
    t->report(t->user, c->name, "threads against one", bit_error(path, one), 0.0);
    t->report(t->user, c->name, "gradient against differences", gradient_error(truth, c),
              gradient_tolerance);
    return rk_ctx_status(&truth->ctx, err);
}

rk_status rk_selftest_ctx(const rk_selftest *t, bool one_thread, rk_ctx *ctx, rk_error *err)
{
    const rk_ctx_params p = {.kernels = t->kernels,
                             .pool = one_thread ? t->one : t->pool,
                             .abort = t->abort,
                             .data_kind = RK_ARENA_GROWING};
    return rk_ctx_init(ctx, &p, err);
}

rk_status rk_selftest_ops(const rk_selftest *t, rk_error *err)
{
    run r[3] = {0};
    rk_status st = RK_OK;
    int n = 0;
    for (; n < 3 && st == RK_OK; n++)
        st = rk_selftest_ctx(t, n == 1, &r[n].ctx, err);
    const int n_made = st == RK_OK ? n : n - 1;
    for (size_t c = 0; c < RK_COUNT(cases) && st == RK_OK; c++)
        st = check_case(t, &cases[c], r, err);
    for (n = 0; n < n_made; n++)
        rk_ctx_deinit(&r[n].ctx);
    return st;
}
