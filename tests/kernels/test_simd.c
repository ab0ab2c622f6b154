/* Every kernel of every fast path of this build against the reference in double, at odd sizes, and
 * the promises about bits: an element's value does not depend on where work is cut.
 *
 * `both` holds the same numbers as floats for the path and as doubles for the reference. */
#include "test_util.h"

#include <float.h>

#include "kernels/kernels.h"

static const int64_t sizes[] = {1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 128};
static const rk_kernels *const ref = &rk_kernels_ref_f64;

typedef struct both {
    int64_t n;
    float *f;
    double *d;
} both;

static both draw(test_ctx *t, int64_t n, float low, float high)
{
    const both x = {n, test_uniform(t, n, low, high), test_alloc_f64(t, n)};
    for (int64_t i = 0; i < n; i++)
        x.d[i] = (double)x.f[i];
    return x;
}

static both draw_unit(test_ctx *t, int64_t n)
{
    return draw(t, n, -1.0f, 1.0f);
}

/* Relative to max(1, |want|). */
static void check(const test_ctx *t, const char *what, both x, double tol)
{
    for (int64_t i = 0; i < x.n; i++)
        if (!test_is_close(x.d[i], (double)x.f[i], tol))
            fail_msg("%s [%" PRId64 "] of %" PRId64 ": want %.9g, got %.9g, tol %g; seed %" PRIu64
                     ", %s",
                     what, i, x.n, x.d[i], (double)x.f[i], tol, t->seed, t->shape);
}

/* A few roundings, and sums of n terms of order one. */
static const double tol1 = 8 * (double)FLT_EPSILON;
static double tol_sum(int64_t n)
{
    return 8 * (double)FLT_EPSILON * sqrt((double)n + 1);
}

typedef void kernel_test(test_ctx *t, const rk_kernels *k, int64_t n);

/* Run a test at every size on every path but the reference. */
static void on_each_path(kernel_test *test)
{
    const rk_kernels *k;
    for (int i = 1; (k = rk_kernels_at(i)); i++)
        for (size_t s = 0; s < RK_COUNT(sizes); s++) {
            test_ctx t = test_begin(1 + s);
            test_shape(&t, "path %s, n %" PRId64, k->name, sizes[s]);
            test(&t, k, sizes[s]);
            test_end(&t);
        }
}

/* --------------------------------------------------------------------------------- functions */

static const char *const unary_names[RK_UNARY_COUNT] = {"sigmoid", "tanh", "exp",
                                                        "relu2",   "silu", "relu"};

static void check_unary(test_ctx *t, const rk_kernels *k, int64_t n)
{
    for (int op = 0; op < RK_UNARY_COUNT; op++) {
        const both x = draw(t, n, -4, 4), y = draw_unit(t, n), dy = draw_unit(t, n);
        const both dx = draw_unit(t, n);
        k->unary((rk_unary)op, n, x.f, y.f);
        ref->unary((rk_unary)op, n, x.d, y.d);
        check(t, unary_names[op], y, tol1);
        k->unary_bwd((rk_unary)op, n, x.f, y.f, dy.f, dx.f);
        ref->unary_bwd((rk_unary)op, n, x.d, y.d, dy.d, dx.d);
        check(t, unary_names[op], dx, 16 * tol1);

        const int64_t cut = n / 3;
        float *pieces = test_alloc_f32(t, n);
        k->unary((rk_unary)op, cut, x.f, pieces);
        k->unary((rk_unary)op, n - cut, x.f + cut, pieces + cut);
        test_same(t, "in pieces", y.f, pieces, (size_t)n * sizeof *pieces);
    }
}

static void test_unary(void **state)
{
    (void)state;
    on_each_path(check_unary);
}

/* Distance from the true value in units of the last place of a float there. */
static double ulps(double want, float got)
{
    int exponent;
    frexp(want, &exponent);
    return fabs((double)got - want) / ldexp(1.0, (exponent > -125 ? exponent : -125) - 24);
}

/* The largest error of a function over [low, high], at points an odd step apart. */
static double worst_ulps(const rk_kernels *k, rk_unary op, float low, float high, float *at)
{
    enum { POINTS = 1 << 16 };
    static float x[POINTS], y[POINTS];
    double worst = 0;
    for (int i = 0; i < POINTS; i++)
        x[i] = low + (high - low) * ((float)i / POINTS);
    k->unary(op, POINTS, x, y);
    for (int i = 0; i < POINTS; i++) {
        double want;
        ref->unary(op, 1, &(double){(double)x[i]}, &want);
        const double e = ulps(want, y[i]);
        if (!(e <= worst)) {
            worst = e;
            *at = x[i];
        }
    }
    return worst;
}

static void test_accuracy(void **state)
{
    (void)state;
    static const struct {
        rk_unary op;
        float low, high;
        double most;
    } rows[] = {
        {RK_EXP, -87, 88.7f, 1.0},  {RK_EXP, -104, -87, 1.0},      {RK_EXP, -0.01f, 0.01f, 1.0},
        {RK_SIGMOID, -87, 20, 2.5}, {RK_SIGMOID, -1, 1, 2.5},      {RK_TANH, -10, 10, 2.5},
        {RK_TANH, -1, 1, 2.5},      {RK_TANH, -1e-4f, 1e-4f, 1.0}, {RK_SILU, -80, 30, 3.5}};
    const rk_kernels *k;
    for (int i = 1; (k = rk_kernels_at(i)); i++)
        for (size_t r = 0; r < RK_COUNT(rows); r++) {
            float at = 0;
            const double worst = worst_ulps(k, rows[r].op, rows[r].low, rows[r].high, &at);
            print_message("%s: %s in [%g, %g]: %.2f ulp\n", k->name, unary_names[rows[r].op],
                          (double)rows[r].low, (double)rows[r].high, worst);
            if (!(worst <= rows[r].most))
                fail_msg("%s of %s is %.2f ulp off at %a", unary_names[rows[r].op], k->name, worst,
                         (double)at);
        }
}

static void test_special(void **state)
{
    (void)state;
    const float inf = INFINITY, tiny = FLT_TRUE_MIN;
    const struct {
        rk_unary op;
        float x, want;
    } rows[] = {
        {RK_EXP, 0, 1},        {RK_EXP, inf, inf},      {RK_EXP, 88.73f, inf},
        {RK_EXP, 1e30f, inf},  {RK_EXP, -inf, 0},       {RK_EXP, -104, 0},
        {RK_EXP, -1e30f, 0},   {RK_EXP, NAN, NAN},      {RK_EXP, tiny, 1},
        {RK_SIGMOID, 0, 0.5f}, {RK_SIGMOID, inf, 1},    {RK_SIGMOID, -inf, 0},
        {RK_SIGMOID, -200, 0}, {RK_SIGMOID, 200, 1},    {RK_SIGMOID, NAN, NAN},
        {RK_TANH, 0, 0},       {RK_TANH, -0.0f, -0.0f}, {RK_TANH, inf, 1},
        {RK_TANH, -inf, -1},   {RK_TANH, 50, 1},        {RK_TANH, -50, -1},
        {RK_TANH, NAN, NAN},   {RK_TANH, tiny, tiny},   {RK_RELU2, inf, inf},
        {RK_RELU2, -inf, 0},   {RK_RELU2, NAN, NAN},    {RK_RELU2, -3, 0},
        {RK_SILU, inf, inf},   {RK_SILU, -200, -0.0f},  {RK_SILU, NAN, NAN},
        {RK_SILU, 0, 0},
    };
    const rk_kernels *k;
    for (int i = 1; (k = rk_kernels_at(i)); i++)
        for (size_t r = 0; r < RK_COUNT(rows); r++) {
            float x[20], y[20];
            for (int c = 0; c < 20; c++)
                x[c] = rows[r].x;
            k->unary(rows[r].op, 20, x, y);
            for (int c = 0; c < 20; c += 19)
                if (isnan(rows[r].want)
                        ? !isnan(y[c])
                        : y[c] != rows[r].want || signbit(y[c]) != signbit(rows[r].want))
                    fail_msg("%s: %s(%g) [%d]: want %g, got %g", k->name, unary_names[rows[r].op],
                             (double)x[c], c, (double)rows[r].want, (double)y[c]);
        }
}

/* ------------------------------------------------------------------------------ element-wise */

static void check_elementwise(test_ctx *t, const rk_kernels *k, int64_t n)
{
    const both x = draw_unit(t, n), y = draw_unit(t, n), w = draw_unit(t, n), z = draw_unit(t, n);
    const both dx = draw_unit(t, n), dy = draw_unit(t, n), dw = draw_unit(t, n);
    k->add(n, x.f, y.f, z.f);
    ref->add(n, x.d, y.d, z.d);
    check(t, "add", z, tol1);
    k->mul(n, x.f, y.f, z.f);
    ref->mul(n, x.d, y.d, z.d);
    check(t, "mul", z, tol1);
    k->lerp(n, x.f, y.f, w.f, z.f);
    ref->lerp(n, x.d, y.d, w.d, z.d);
    check(t, "lerp", z, tol1);
    k->mul_add(n, x.f, y.f, z.f);
    ref->mul_add(n, x.d, y.d, z.d);
    check(t, "mul_add", z, tol1);
    k->axpy(n, 0.3, x.f, z.f);
    ref->axpy(n, 0.3, x.d, z.d);
    check(t, "axpy", z, tol1);
    k->lerp_bwd(n, x.f, y.f, w.f, z.f, dx.f, dy.f, dw.f);
    ref->lerp_bwd(n, x.d, y.d, w.d, z.d, dx.d, dy.d, dw.d);
    k->lerp_bwd(n, x.f, y.f, w.f, z.f, NULL, NULL, dw.f);
    ref->lerp_bwd(n, x.d, y.d, w.d, z.d, NULL, NULL, dw.d);
    check(t, "lerp dx", dx, tol1);
    check(t, "lerp dy", dy, tol1);
    check(t, "lerp dw", dw, 2 * tol1);
    k->scale(n, -0.7, x.f, z.f);
    ref->scale(n, -0.7, x.d, z.d);
    check(t, "scale", z, tol1);
    k->add(n, z.f, y.f, z.f); /* in place */
    ref->add(n, z.d, y.d, z.d);
    check(t, "add in place", z, tol1);
}

static void test_elementwise(void **state)
{
    (void)state;
    on_each_path(check_elementwise);
}

/* The sums are defined to the bit: eight interleaved doubles, one tree. Numbers of one size would
 * add up without rounding, in any order. */
static void check_sums(test_ctx *t, const rk_kernels *k, int64_t n)
{
    const int64_t rows = 5, ld = n + 3;
    const both x = draw_unit(t, rows * ld - 3), out = draw_unit(t, n);
    float *wide = test_uniform(t, n, -1, 1);
    for (int64_t i = 0; i < n; i++)
        wide[i] = ldexpf(wide[i], (int)(i * 37 % 61) - 30);
    const double sum = rk_kernels_ref_f32.sum(n, wide), got = k->sum(n, wide);
    const double squares = rk_kernels_ref_f32.sum_squares(n, wide), got2 = k->sum_squares(n, wide);
    test_same(t, "sum", &sum, &got, sizeof sum);
    test_same(t, "sum of squares", &squares, &got2, sizeof squares);
    k->add_rows(rows, n, ld, x.f, out.f);
    ref->add_rows(rows, n, ld, x.d, out.d);
    check(t, "add_rows", out, tol1);
}

static void test_sums(void **state)
{
    (void)state;
    on_each_path(check_sums);
}

static void check_optimisers(test_ctx *t, const rk_kernels *k, int64_t n)
{
    const rk_adamw a = {.lr = 1e-2,
                        .beta1 = 0.9,
                        .beta2 = 0.99,
                        .eps = 1e-8,
                        .weight_decay = 0.1,
                        .correct1 = 1 - 0.9 * 0.9,
                        .correct2 = 1 - 0.99 * 0.99,
                        .grad_scale = 0.5};
    const both g = draw_unit(t, n), m = draw_unit(t, n), v = draw(t, n, 0, 1), p = draw_unit(t, n);
    const int64_t cut = n / 3;
    float *m2 = test_copy_f32(t, m.f, n), *v2 = test_copy_f32(t, v.f, n);
    float *p2 = test_copy_f32(t, p.f, n);
    k->adamw(n, &a, g.f, m.f, v.f, p.f);
    ref->adamw(n, &a, g.d, m.d, v.d, p.d);
    check(t, "adamw m", m, tol1);
    check(t, "adamw v", v, tol1);
    check(t, "adamw p", p, 4 * tol1);
    k->adamw(cut, &a, g.f, m2, v2, p2);
    k->adamw(n - cut, &a, g.f + cut, m2 + cut, v2 + cut, p2 + cut);
    test_same(t, "adamw in pieces", p.f, p2, (size_t)n * sizeof *p2);
    k->sgd(n, 1e-2, 0.9, 0.1, 0.5, g.f, v.f, p.f);
    ref->sgd(n, 1e-2, 0.9, 0.1, 0.5, g.d, v.d, p.d);
    check(t, "sgd v", v, tol1);
    check(t, "sgd p", p, 4 * tol1);
}

static void test_optimisers(void **state)
{
    (void)state;
    on_each_path(check_optimisers);
}

/* Conversions are exact: all 16-bit patterns, and floats of every kind, as the reference does. */
static void check_convert(test_ctx *t, const rk_kernels *k, int64_t n)
{
    static const rk_dtype types[] = {RK_BF16, RK_F16, RK_F32, RK_F64};
    static const float odd[] = {0.0f,    -0.0f,       INFINITY,    -INFINITY, FLT_MAX, FLT_MIN,
                                1e-40f,  65504.0f,    65519.9f,    65520.0f,  6e-8f,   2.9e-8f,
                                3.1e-5f, 1.00390625f, 1.01171875f, 3.4e38f};
    float *x = test_uniform(t, n, -100, 100);
    for (int64_t i = 0; i < n; i += 2)
        x[i] = odd[i / 2 % (int64_t)RK_COUNT(odd)];
    for (size_t d = 0; d < RK_COUNT(types); d++) {
        const size_t bytes = (size_t)n * rk_dtype_bytes(types[d]);
        void *want = test_alloc(t, bytes), *got = test_alloc(t, bytes);
        float *back_want = test_alloc_f32(t, n), *back = test_alloc_f32(t, n);
        rk_kernels_ref_f32.narrow(n, x, want, types[d]);
        k->narrow(n, x, got, types[d]);
        test_same(t, rk_dtype_name(types[d]), want, got, bytes);
        rk_kernels_ref_f32.widen(n, want, types[d], back_want);
        k->widen(n, got, types[d], back);
        test_same(t, "and back", back_want, back, (size_t)n * sizeof *back);
    }
}

static void test_convert(void **state)
{
    (void)state;
    on_each_path(check_convert);
    const rk_kernels *k;
    static uint16_t all[65536];
    static float want[65536], got[65536];
    for (int i = 0; i < 65536; i++)
        all[i] = (uint16_t)i;
    for (int i = 1; (k = rk_kernels_at(i)); i++)
        for (int half = 0; half < 2; half++) {
            const rk_dtype type = half ? RK_F16 : RK_BF16;
            rk_kernels_ref_f32.widen(65536, all, type, want);
            k->widen(65536, all, type, got);
            for (int c = 0; c < 65536; c++)
                if (memcmp(&want[c], &got[c], sizeof *got) != 0 &&
                    !(isnan(want[c]) && isnan(got[c])))
                    fail_msg("%s: %s 0x%04x: want %a, got %a", k->name, rk_dtype_name(type),
                             (unsigned)c, (double)want[c], (double)got[c]);
            uint16_t nan;
            k->narrow(1, &(float){NAN}, &nan, type);
            rk_kernels_ref_f32.widen(1, &nan, type, want);
            assert_true(isnan(want[0]));
        }
}

/* -------------------------------------------------------------------------------------- rows */

static void check_norm(test_ctx *t, const rk_kernels *k, int64_t n)
{
    for (int64_t groups = 1; groups <= 3; groups += 2) {
        const int64_t rows = 3, c = groups * n, c0 = c / 4, c1 = c - c / 5;
        const both x = draw(t, rows * c, -2, 3), w = draw_unit(t, c), b = draw_unit(t, c);
        const both y = draw_unit(t, rows * c), stats = draw_unit(t, rows * groups * 2);
        const both dy = draw_unit(t, rows * c), dx = draw_unit(t, rows * c);
        const both dw = draw_unit(t, c), db = draw_unit(t, c);
        const double eps = 1e-2; /* keeps rstd of two nearly equal values small */
        k->norm(rows, groups, n, x.f, w.f, b.f, eps, y.f, stats.f);
        ref->norm(rows, groups, n, x.d, w.d, b.d, eps, y.d, stats.d);
        check(t, "norm", y, 8 * tol1);
        check(t, "norm stats", stats, 8 * tol1);
        k->norm(rows, groups, n, x.f, w.f, b.f, eps, y.f, NULL);
        check(t, "norm without stats", y, 8 * tol1);
        k->norm_bwd_x(rows, groups, n, x.f, w.f, stats.f, dy.f, dx.f);
        ref->norm_bwd_x(rows, groups, n, x.d, w.d, stats.d, dy.d, dx.d);
        check(t, "norm dx", dx, 32 * tol1);
        k->norm_bwd_w(rows, groups, n, c0, c1, x.f, stats.f, dy.f, dw.f, db.f);
        ref->norm_bwd_w(rows, groups, n, c0, c1, x.d, stats.d, dy.d, dw.d, db.d);
        check(t, "norm dw", dw, 8 * tol1);
        check(t, "norm db", db, tol1);
    }
}

static void test_norm(void **state)
{
    (void)state;
    on_each_path(check_norm);
}

static void check_rms_norm(test_ctx *t, const rk_kernels *k, int64_t n)
{
    const int64_t rows = 3;
    const both x = draw(t, rows * n, -2, 3), w = draw_unit(t, n), y = draw_unit(t, rows * n);
    const both stats = draw_unit(t, rows), dy = draw_unit(t, rows * n), dw = draw_unit(t, n);
    const both dx = draw_unit(t, rows * n);
    k->rms_norm(rows, n, x.f, w.f, 1e-2, y.f, stats.f);
    ref->rms_norm(rows, n, x.d, w.d, 1e-2, y.d, stats.d);
    check(t, "rms_norm", y, 8 * tol1);
    check(t, "rms_norm stats", stats, 8 * tol1);
    k->rms_norm(rows, n, x.f, w.f, 1e-2, y.f, NULL);
    check(t, "rms_norm without stats", y, 8 * tol1);
    k->rms_norm_bwd_x(rows, n, x.f, w.f, stats.f, dy.f, dx.f);
    ref->rms_norm_bwd_x(rows, n, x.d, w.d, stats.d, dy.d, dx.d);
    check(t, "rms_norm dx", dx, 32 * tol1);
    k->rms_norm_bwd_w(rows, n, x.f, stats.f, dy.f, dw.f);
    ref->rms_norm_bwd_w(rows, n, x.d, stats.d, dy.d, dw.d);
    check(t, "rms_norm dw", dw, 8 * tol1);
}

static void test_rms_norm(void **state)
{
    (void)state;
    on_each_path(check_rms_norm);
}

static void check_swiglu(test_ctx *t, const rk_kernels *k, int64_t n)
{
    const both gate = draw(t, n, -5, 5), up = draw_unit(t, n), y = draw_unit(t, n);
    const both dy = draw_unit(t, n), dgate = draw_unit(t, n), dup = draw_unit(t, n);
    k->swiglu(n, gate.f, up.f, y.f);
    ref->swiglu(n, gate.d, up.d, y.d);
    check(t, "swiglu", y, 4 * tol1);
    k->swiglu_bwd(n, gate.f, up.f, dy.f, dgate.f, dup.f);
    ref->swiglu_bwd(n, gate.d, up.d, dy.d, dgate.d, dup.d);
    check(t, "swiglu d gate", dgate, 8 * tol1);
    check(t, "swiglu d up", dup, 4 * tol1);
    float *alone = test_copy_f32(t, dup.f, n);
    k->swiglu_bwd(n, gate.f, up.f, dy.f, dgate.f, NULL);
    k->swiglu_bwd(n, gate.f, up.f, dy.f, NULL, alone);
    ref->swiglu_bwd(n, gate.d, up.d, dy.d, dgate.d, dup.d);
    memcpy(dup.f, alone, (size_t)n * sizeof *alone);
    check(t, "swiglu d gate alone", dgate, 8 * tol1);
    check(t, "swiglu d up alone", dup, 4 * tol1);
}

static void test_swiglu(void **state)
{
    (void)state;
    on_each_path(check_swiglu);
}

static void check_rows(test_ctx *t, const rk_kernels *k, int64_t n)
{
    const int64_t rows = 3;
    const both x = draw_unit(t, rows * n), y = draw_unit(t, rows * n), dy = draw_unit(t, rows * n);
    const both dx = draw_unit(t, rows * n);
    k->softmax(rows, n, x.f, y.f);
    ref->softmax(rows, n, x.d, y.d);
    check(t, "softmax", y, tol1);
    k->softmax_bwd(rows, n, y.f, dy.f, dx.f);
    ref->softmax_bwd(rows, n, y.d, dy.d, dx.d);
    check(t, "softmax dx", dx, tol_sum(n));
    k->l2norm(rows, n, x.f, y.f);
    ref->l2norm(rows, n, x.d, y.d);
    check(t, "l2norm", y, tol1);
    for (int64_t i = 0; i < rows * n; i++) /* 1 / |x| of a short row would magnify */
        x.d[i] = (double)(x.f[i] = x.f[i] < 0 ? x.f[i] - 0.5f : x.f[i] + 0.5f);
    k->l2norm_bwd(rows, n, x.f, dy.f, dx.f);
    ref->l2norm_bwd(rows, n, x.d, dy.d, dx.d);
    check(t, "l2norm dx", dx, tol_sum(n));
    memset(x.f, 0, (size_t)n * sizeof *x.f);
    k->l2norm(1, n, x.f, y.f);
    assert_memory_equal(x.f, y.f, (size_t)n * sizeof *x.f);
}

static void test_rows(void **state)
{
    (void)state;
    on_each_path(check_rows);
}

static void check_shift(test_ctx *t, const rk_kernels *k, int64_t c)
{
    enum { MIXES = 3 };
    const int64_t steps = 5, all = steps * c, c0 = c / 4, c1 = c - c / 5;
    const both x = draw_unit(t, all), prev = draw_unit(t, c), dy = draw_unit(t, MIXES * all);
    const both y = draw_unit(t, MIXES * all), dx = draw_unit(t, all), dprev = draw_unit(t, c);
    both m[MIXES], dmu[MIXES];
    const void *mu_f[MIXES], *mu_d[MIXES];
    void *dmu_f[MIXES], *dmu_d[MIXES];
    for (int q = 0; q < MIXES; q++) {
        m[q] = draw(t, c, 0, 1);
        dmu[q] = draw_unit(t, c);
        mu_f[q] = m[q].f;
        mu_d[q] = m[q].d;
        dmu_f[q] = dmu[q].f;
        dmu_d[q] = dmu[q].d;
    }
    for (int64_t t0 = 0; t0 < steps; t0 += 3) {
        const int64_t t1 = rk_min_i64(steps, t0 + 3);
        k->shift_mix(t0, t1, c, x.f, prev.f, MIXES, mu_f, y.f, all);
        ref->shift_mix(t0, t1, c, x.d, prev.d, MIXES, mu_d, y.d, all);
        k->shift_mix_bwd_x(t0, t1, steps, c, MIXES, mu_f, dy.f, all, dx.f);
        ref->shift_mix_bwd_x(t0, t1, steps, c, MIXES, mu_d, dy.d, all, dx.d);
    }
    k->shift_mix_bwd_mu(steps, c, c0, c1, x.f, prev.f, MIXES, mu_f, dy.f, all, dmu_f, dprev.f);
    ref->shift_mix_bwd_mu(steps, c, c0, c1, x.d, prev.d, MIXES, mu_d, dy.d, all, dmu_d, dprev.d);
    k->shift_mix_bwd_mu(steps, c, c0, c1, x.f, prev.f, MIXES, mu_f, dy.f, all, dmu_f, NULL);
    ref->shift_mix_bwd_mu(steps, c, c0, c1, x.d, prev.d, MIXES, mu_d, dy.d, all, dmu_d, NULL);
    check(t, "shift_mix", y, tol1);
    check(t, "shift_mix dx", dx, 4 * tol1);
    check(t, "shift_mix dprev", dprev, 4 * tol1);
    for (int q = 0; q < MIXES; q++)
        check(t, "shift_mix dmu", dmu[q], 4 * tol1);
}

static void test_shift(void **state)
{
    (void)state;
    on_each_path(check_shift);
}

/* -------------------------------------------------------------------------------------- RWKV-7 */

/* The arrays of rk_rwkv7_prepare or rk_rwkv7_output by name: `both` for each, and the pointers that
 * the kernels take of them. */
#define PUT(x, field)                                                                              \
    do {                                                                                           \
        pf.field = (x).f;                                                                          \
        pd.field = (x).d;                                                                          \
    } while (0)
#define PUT_GRAD(x, field)                                                                         \
    do {                                                                                           \
        gf.field = (x).f;                                                                          \
        gd.field = (x).d;                                                                          \
    } while (0)

static void check_prepare_layer(test_ctx *t, const rk_kernels *k, int64_t n, bool first)
{
    enum { W0, A0, V0, K_K, K_A, VECTORS };
    enum { WL, AL, VL, K0, V_IN, V_FIRST, W, K, NA, B, V, ROWS };
    enum { DW, DK, DNA, DB, DV, DWL, DAL, DVL, DK0, DV_IN, DV_FIRST, DK_K, DK_A, GRADS };
    static const char *const names[GRADS] = {"dw",       "dk",   "dna", "db",  "dv",
                                             "dwl",      "dal",  "dvl", "dk0", "dv_in",
                                             "dv_first", "dk_k", "dk_a"};
    const int64_t rows = 2, h = 3, c = h * n;
    both vec[VECTORS], x[ROWS], g[GRADS];
    for (int i = 0; i < VECTORS; i++)
        vec[i] = draw_unit(t, c);
    for (int i = 0; i < ROWS; i++)
        x[i] = draw_unit(t, rows * c);
    for (int i = 0; i < GRADS; i++)
        g[i] = draw_unit(t, rows * c);
    for (int64_t i = 0; i < rows * c; i++) /* no head is short: the gradient has 1 / |k0 k_k| */
        x[K0].d[i] = (double)(x[K0].f[i] += x[K0].f[i] < 0 ? -0.5f : 0.5f);
    for (int64_t i = 0; i < c; i++)
        vec[K_K].d[i] = (double)(vec[K_K].f[i] += vec[K_K].f[i] < 0 ? -0.5f : 0.5f);

    rk_rwkv7_prepare pf = {0}, pd = {0};
    rk_rwkv7_prepare_grads gf = {0}, gd = {0};
    PUT(vec[W0], w0);
    PUT(vec[A0], a0);
    PUT(vec[V0], v0);
    PUT(vec[K_K], k_k);
    PUT(vec[K_A], k_a);
    PUT(x[WL], wl);
    PUT(x[AL], al);
    PUT(x[K0], k0);
    PUT(x[V_IN], v_in);
    PUT(x[W], w);
    PUT(x[K], k);
    PUT(x[NA], na);
    PUT(x[B], b);
    PUT(x[V], v);
    PUT_GRAD(g[DW], dw);
    PUT_GRAD(g[DK], dk);
    PUT_GRAD(g[DNA], dna);
    PUT_GRAD(g[DB], db);
    PUT_GRAD(g[DV], dv);
    PUT_GRAD(g[DWL], dwl);
    PUT_GRAD(g[DAL], dal);
    PUT_GRAD(g[DK0], dk0);
    PUT_GRAD(g[DK_K], dk_k_rows);
    PUT_GRAD(g[DK_A], dk_a_rows);
    if (!first) {
        PUT(x[VL], vl);
        PUT(x[V_FIRST], v_first);
        PUT_GRAD(g[DVL], dvl);
        PUT_GRAD(g[DV_IN], dv_in);
        PUT_GRAD(g[DV_FIRST], dv_first);
    }
    k->rwkv7_prepare(rows, h, n, &pf);
    ref->rwkv7_prepare(rows, h, n, &pd);
    check(t, "w", x[W], tol1);
    check(t, "k", x[K], tol1);
    check(t, "na", x[NA], tol1);
    check(t, "b", x[B], tol1);
    check(t, "v", x[V], tol1);
    k->rwkv7_prepare_bwd(rows, h, n, &pf, &gf);
    ref->rwkv7_prepare_bwd(rows, h, n, &pd, &gd);
    for (int i = DWL; i < GRADS; i++)
        check(t, names[i], g[i], tol_sum(n));
}

static void check_prepare(test_ctx *t, const rk_kernels *k, int64_t n)
{
    check_prepare_layer(t, k, n, true);
    check_prepare_layer(t, k, n, false);
}

static void test_prepare(void **state)
{
    (void)state;
    on_each_path(check_prepare);
}

static void check_output(test_ctx *t, const rk_kernels *k, int64_t n)
{
    enum { R_K, LN_W, LN_B, VECTORS };
    enum { Y, R, K, V, G, Z, ROWS };
    enum { DZ, DY, DR, DK, DV, DG, DR_K, DLN_W, DLN_B, GRADS };
    static const char *const names[GRADS] = {"dz", "dy",   "dr",    "dk",   "dv",
                                             "dg", "dr_k", "dln_w", "dln_b"};
    const int64_t rows = 2, h = 3, c = h * n;
    both vec[VECTORS], x[ROWS], g[GRADS];
    for (int i = 0; i < VECTORS; i++)
        vec[i] = draw_unit(t, c);
    for (int i = 0; i < ROWS; i++)
        x[i] = draw_unit(t, rows * c);
    for (int i = 0; i < GRADS; i++)
        g[i] = draw_unit(t, rows * c);
    const both stats = draw_unit(t, rows * h * 2);
    rk_rwkv7_output pf = {.eps = 1e-2}, pd = {.eps = 1e-2};
    rk_rwkv7_output_grads gf = {0}, gd = {0};
    PUT(vec[R_K], r_k);
    PUT(vec[LN_W], ln_w);
    PUT(vec[LN_B], ln_b);
    PUT(x[Y], y);
    PUT(x[R], r);
    PUT(x[K], k);
    PUT(x[V], v);
    PUT(x[G], g);
    PUT(x[Z], z);
    PUT_GRAD(g[DZ], dz);
    PUT_GRAD(g[DY], dy);
    PUT_GRAD(g[DR], dr);
    PUT_GRAD(g[DK], dk);
    PUT_GRAD(g[DV], dv);
    PUT_GRAD(g[DG], dg);
    PUT_GRAD(g[DR_K], dr_k_rows);
    PUT_GRAD(g[DLN_W], dln_w_rows);
    PUT_GRAD(g[DLN_B], dln_b_rows);
    k->rwkv7_output(rows, h, n, &pf); /* stats may be NULL */
    PUT(stats, stats);
    k->rwkv7_output(rows, h, n, &pf);
    ref->rwkv7_output(rows, h, n, &pd);
    check(t, "z", x[Z], 2 * tol_sum(n));
    check(t, "stats", stats, 8 * tol1);
    k->rwkv7_output_bwd(rows, h, n, &pf, &gf);
    ref->rwkv7_output_bwd(rows, h, n, &pd, &gd);
    for (int i = DY; i < GRADS; i++)
        check(t, names[i], g[i], 4 * tol_sum(n));
}

static void test_output(void **state)
{
    (void)state;
    on_each_path(check_output);
}

/* ----------------------------------------------------------------------------------- recurrence */

static void *aligned(test_ctx *t, size_t bytes)
{
    char *p = test_alloc(t, bytes + 64);
    return p + (64 - (uintptr_t)p % 64) % 64;
}

static void *scratch_for(test_ctx *t, const rk_kernels *k, int64_t n)
{
    return aligned(t, k->wkv7_scratch(n));
}

static void check_wkv7_steps(test_ctx *t, const rk_kernels *k, int64_t n, int64_t steps)
{
    enum { R, W, KEY, V, A, B, DY, INPUTS };
    static const char *const names[] = {"dr", "dw", "dk", "dv", "da", "db"};
    const int64_t stride = n + 5, all = (steps - 1) * stride + n;
    const int64_t segments = rk_ceil_div(steps, RK_WKV_SEGMENT);
    const float u = 1.0f / sqrtf((float)n); /* keeps S a and S r of order one */
    both x[INPUTS], g[6];
    for (int i = 0; i < INPUTS; i++)
        x[i] = draw(t, all, i == W ? 0.55f : -u, i == W ? 1.0f : u);
    for (int i = 0; i < 6; i++)
        g[i] = draw_unit(t, all);
    const both y = draw_unit(t, all), S = draw_unit(t, n * n), dS = draw_unit(t, n * n);
    const both saved = draw_unit(t, segments * n * n);
    float *S_long = test_copy_f32(t, S.f, n * n);

    rk_wkv7_args pf = {steps,  n,      stride, x[R].f, x[W].f, x[KEY].f,
                       x[V].f, x[A].f, x[B].f, y.f,    S.f,    NULL};
    rk_wkv7_args pd = {steps,  n,      stride, x[R].d, x[W].d, x[KEY].d,
                       x[V].d, x[A].d, x[B].d, y.d,    S.d,    saved.d};
    ref->wkv7(&pd, scratch_for(t, ref, n));
    k->wkv7(&pf, scratch_for(t, k, n));
    check(t, "y", y, tol_sum(n));
    check(t, "state", S, tol_sum(n));
    pf.saved = saved.f;
    pf.state = S_long;
    k->wkv7(&pf, scratch_for(t, k, n));
    check(t, "y, saving", y, tol_sum(n));
    check(t, "state, saving", (both){n * n, S_long, S.d}, tol_sum(n));

    const rk_wkv7_grads gf = {x[DY].f, g[0].f, g[1].f, g[2].f, g[3].f, g[4].f, g[5].f, dS.f};
    const rk_wkv7_grads gd = {x[DY].d, g[0].d, g[1].d, g[2].d, g[3].d, g[4].d, g[5].d, dS.d};
    ref->wkv7_bwd(&pd, &gd, scratch_for(t, ref, n));
    k->wkv7_bwd(&pf, &gf, scratch_for(t, k, n));
    for (int i = 0; i < 6; i++)
        check(t, names[i], g[i], 4 * tol_sum(n));
    check(t, "dstate", dS, 4 * tol_sum(n));
}

static void check_wkv7(test_ctx *t, const rk_kernels *k, int64_t n)
{
    static const int64_t steps[] = {1, 2, 15, 16, 17, 40};
    for (size_t i = 0; i < RK_COUNT(steps); i++) {
        test_shape(t, "path %s, N %" PRId64 ", T %" PRId64, k->name, n, steps[i]);
        check_wkv7_steps(t, k, n, steps[i]);
        test_reset(t);
    }
}

static void test_wkv7(void **state)
{
    (void)state;
    on_each_path(check_wkv7);
}

/* Two calls that hand the state on give the bits of one: up to 16 steps without gradients, and cut
 * anywhere with them. */
static void check_wkv7_cut(test_ctx *t, const rk_kernels *k, int64_t n)
{
    for (int64_t steps = 12; steps <= 40; steps += 28) {
        const int64_t all = steps * n, first = steps == 12 ? 5 : 17;
        const float *x = test_uniform(t, all, -0.3f, 0.3f), *w = test_uniform(t, all, 0.55f, 1);
        float *S = test_uniform(t, n * n, -1, 1), *S2 = test_copy_f32(t, S, n * n);
        float *y = test_alloc_f32(t, all), *y2 = test_alloc_f32(t, all);
        float *saved = test_alloc_f32(t, 3 * n * n);
        rk_wkv7_args p = {steps, n, n, x, w, x, x, x, x, y, S, steps == 12 ? NULL : saved};
        k->wkv7(&p, scratch_for(t, k, n));
        p.n_steps = first;
        p.y = y2;
        p.state = S2;
        k->wkv7(&p, scratch_for(t, k, n));
        const int64_t at = first * n;
        p = (rk_wkv7_args){steps - first, n,      n,      x + at,  w + at, x + at,
                           x + at,        x + at, x + at, y2 + at, S2,     p.saved};
        k->wkv7(&p, scratch_for(t, k, n));
        test_same(t, "y", y, y2, (size_t)all * sizeof *y);
        test_same(t, "state", S, S2, (size_t)(n * n) * sizeof *S);
    }
}

static void test_wkv7_cut(void **state)
{
    (void)state;
    on_each_path(check_wkv7_cut);
}

/* Of RWKV-6, decays from none to almost all, and of RWKV-5, whose decay is the same at all steps.
 */
static void check_wkv6_steps(test_ctx *t, const rk_kernels *k, int64_t n, int64_t steps,
                             bool one_decay)
{
    enum { R, KEY, V, D, DY, INPUTS };
    static const char *const names[] = {"dr", "dk", "dv", "dd"};
    const int64_t stride = n + 5, all = (steps - 1) * stride + n;
    const int64_t segments = rk_ceil_div(steps, RK_WKV_SEGMENT);
    const float scale = 1.0f / sqrtf((float)n);
    void *scratch = aligned(t, k->wkv6_scratch(n)), *scratch_d = aligned(t, ref->wkv6_scratch(n));
    both x[INPUTS], g[4];
    for (int i = 0; i < INPUTS; i++)
        x[i] = draw(t, all, i == D ? 0.0f : -scale, i == D ? 1.0f : scale);
    for (int i = 0; i < 4; i++)
        g[i] = draw_unit(t, all);
    const both u = draw_unit(t, n), du = draw_unit(t, n), y = draw_unit(t, all);
    const both S = draw_unit(t, n * n), dS = draw_unit(t, n * n);
    const both saved = draw_unit(t, segments * n * n);
    float *S_saving = test_copy_f32(t, S.f, n * n), *y_saving = test_copy_f32(t, y.f, all);

    rk_wkv6_args pf = {.n_steps = steps, .head_size = n, .stride = stride}, pd = pf;
    rk_wkv6_grads gf = {0}, gd = {0};
    pf.d_stride = pd.d_stride = one_decay ? 0 : stride;
    PUT(x[R], r);
    PUT(x[KEY], k);
    PUT(x[V], v);
    PUT(x[D], d);
    PUT(u, u);
    PUT(y, y);
    PUT(S, state);
    pd.saved = saved.d;
    PUT_GRAD(x[DY], dy);
    PUT_GRAD(g[0], dr);
    PUT_GRAD(g[1], dk);
    PUT_GRAD(g[2], dv);
    PUT_GRAD(g[3], dd);
    PUT_GRAD(du, du);
    PUT_GRAD(dS, dstate);
    ref->wkv6(&pd, scratch_d);
    k->wkv6(&pf, scratch);
    check(t, "y", y, tol_sum(n));
    check(t, "state", S, tol_sum(n));
    pf.y = y_saving;
    pf.saved = saved.f;
    pf.state = S_saving;
    k->wkv6(&pf, scratch);
    test_same(t, "y, saving", y.f, y_saving, (size_t)all * sizeof *y_saving);
    test_same(t, "state, saving", S.f, S_saving, (size_t)(n * n) * sizeof *S_saving);

    ref->wkv6_bwd(&pd, &gd, scratch_d);
    k->wkv6_bwd(&pf, &gf, scratch);
    for (int i = 0; i < 4; i++)
        check(t, names[i], g[i], 4 * tol_sum(i == 3 && one_decay ? steps * n : n));
    check(t, "du", du, 4 * tol_sum(n));
    check(t, "dstate", dS, 4 * tol_sum(n));
}

static void check_wkv6(test_ctx *t, const rk_kernels *k, int64_t n)
{
    static const int64_t steps[] = {1, 15, 16, 17, 40};
    for (size_t i = 0; i < 2 * RK_COUNT(steps); i++) {
        test_shape(t, "path %s, n %" PRId64 ", %" PRId64 " steps%s", k->name, n, steps[i / 2],
                   i % 2 ? ", one decay" : "");
        check_wkv6_steps(t, k, n, steps[i / 2], i % 2);
    }
}

static void test_wkv6(void **state)
{
    (void)state;
    on_each_path(check_wkv6);
}

/* Of RWKV-4, for n channels in the middle of a row, from the first state and from a later one. */
static void check_wkv4_steps(test_ctx *t, const rk_kernels *k, int64_t n, int64_t steps, bool later)
{
    enum { K4, V4, DY, DK, DV, ARRAYS };
    const int64_t c0 = 3, width = n + 5, all = steps * width;
    const int64_t segments = rk_ceil_div(steps, RK_WKV_SEGMENT);
    both x[ARRAYS];
    for (int i = 0; i < ARRAYS; i++)
        x[i] = draw(t, all, i == K4 ? -9 : -1, i == K4 ? 9 : 1);
    const both w = draw(t, width, -3, -0.01f), u = draw_unit(t, width), y = draw_unit(t, all);
    const both S = draw_unit(t, 3 * width), dS = draw_unit(t, 3 * width);
    const both saved = draw_unit(t, segments * 3 * width);
    const both dw = draw_unit(t, width), du = draw_unit(t, width);
    for (int64_t c = 0; c < width; c++) {
        S.d[c] = (double)(S.f[c] *= (float)later);
        S.d[width + c] = (double)(S.f[width + c] = later ? 1.0f + fabsf(S.f[width + c]) : 0.0f);
        S.d[2 * width + c] = (double)(S.f[2 * width + c] = later ? S.f[2 * width + c] : -1e30f);
    }
    rk_wkv4_args pf = {.n_steps = steps, .width = width, .c0 = c0, .c1 = c0 + n}, pd = pf;
    rk_wkv4_grads gf = {0}, gd = {0};
    PUT(x[K4], k);
    PUT(x[V4], v);
    PUT(w, w);
    PUT(u, u);
    PUT(y, y);
    PUT(S, state);
    PUT(saved, saved);
    PUT_GRAD(x[DY], dy);
    PUT_GRAD(x[DK], dk);
    PUT_GRAD(x[DV], dv);
    PUT_GRAD(dw, dw);
    PUT_GRAD(du, du);
    PUT_GRAD(dS, dstate);
    ref->wkv4(&pd);
    k->wkv4(&pf);
    check(t, "y", y, 4 * tol_sum(steps));
    check(t, "state", S, 4 * tol_sum(steps));

    ref->wkv4_bwd(&pd, &gd);
    k->wkv4_bwd(&pf, &gf);
    check(t, "dk", x[DK], 4 * tol_sum(steps));
    check(t, "dv", x[DV], 4 * tol_sum(steps));
    check(t, "dw", dw, 16 * tol_sum(steps));
    check(t, "du", du, 4 * tol_sum(steps));
    check(t, "dstate", dS, 4 * tol_sum(steps));
}

static void check_wkv4(test_ctx *t, const rk_kernels *k, int64_t n)
{
    static const int64_t steps[] = {1, 15, 16, 17, 40};
    for (size_t i = 0; i < 2 * RK_COUNT(steps); i++) {
        test_shape(t, "path %s, n %" PRId64 ", %" PRId64 " steps, %s state", k->name, n,
                   steps[i / 2], i % 2 ? "a later" : "the first");
        check_wkv4_steps(t, k, n, steps[i / 2], i % 2);
    }
}

static void test_wkv4(void **state)
{
    (void)state;
    on_each_path(check_wkv4);
}

/* Two calls that hand the state on give the bits of one. */
static void check_wkv46_cut(test_ctx *t, const rk_kernels *k, int64_t n)
{
    const int64_t steps = 40, first = 17, all = steps * n, at = first * n;
    const float *x = test_uniform(t, all, -0.3f, 0.3f), *d = test_uniform(t, all, 0, 1);
    const float *w = test_uniform(t, n, -3, -0.01f), *u = test_uniform(t, n, -1, 1);
    const int64_t reals = rk_max_i64(n * n, 3 * n);
    float *S = test_uniform(t, reals, 0.1f, 1), *S2 = test_copy_f32(t, S, reals);
    float *y = test_alloc_f32(t, all), *y2 = test_alloc_f32(t, all);
    void *scratch = aligned(t, k->wkv6_scratch(n));
    rk_wkv6_args p6 = {steps, n, n, n, x, x, x, d, u, y, S, NULL};
    rk_wkv4_args p4 = {steps, n, 0, n, x, d, w, u, y, S, NULL};
    k->wkv6(&p6, scratch);
    p6 = (rk_wkv6_args){first, n, n, n, x, x, x, d, u, y2, S2, NULL};
    k->wkv6(&p6, scratch);
    p6 = (rk_wkv6_args){steps - first, n,      n, n,       x + at, x + at,
                        x + at,        d + at, u, y2 + at, S2,     NULL};
    k->wkv6(&p6, scratch);
    test_same(t, "y of wkv6", y, y2, (size_t)all * sizeof *y);
    test_same(t, "state of wkv6", S, S2, (size_t)(n * n) * sizeof *S);
    k->wkv4(&p4);
    p4 = (rk_wkv4_args){first, n, 0, n, x, d, w, u, y2, S2, NULL};
    k->wkv4(&p4);
    p4 = (rk_wkv4_args){steps - first, n, 0, n, x + at, d + at, w, u, y2 + at, S2, NULL};
    k->wkv4(&p4);
    test_same(t, "y of wkv4", y, y2, (size_t)all * sizeof *y);
    test_same(t, "state of wkv4", S, S2, (size_t)(3 * n) * sizeof *S);
}

static void test_wkv46_cut(void **state)
{
    (void)state;
    on_each_path(check_wkv46_cut);
}

#undef PUT_GRAD
#undef PUT

/* ---------------------------------------------------------------------------------------- loss */

static void check_loss(test_ctx *t, const rk_kernels *k, int64_t n)
{
    const int64_t rows = 4, blocks = 3, ld = n + 2;
    const int32_t targets[] = {0, (int32_t)(2 * n), -1, (int32_t)(n / 2)};
    rk_ce_row f[4], d[4];
    both x[3];
    for (int64_t r = 0; r < rows; r++)
        f[r] = d[r] = (rk_ce_row){.max = -(double)INFINITY};
    for (int64_t b = 0; b < blocks; b++) {
        x[b] = draw(t, (rows - 1) * ld + n, -9, 9);
        if (b == 1) /* a tie: the lowest column stays */
            x[b].d[0] = (double)(x[b].f[0] = (float)f[0].max);
        k->ce_block(rows, n, ld, b * n, x[b].f, targets, f);
        ref->ce_block(rows, n, ld, b * n, x[b].d, targets, d);
    }
    for (int64_t r = 0; r < rows; r++) {
        assert_true(f[r].max == d[r].max);
        assert_int_equal(f[r].argmax, d[r].argmax);
        if (targets[r] >= 0)
            assert_true(f[r].target == d[r].target);
        assert_true(test_is_close(d[r].sum, f[r].sum, tol_sum(n)));
    }
    for (int64_t b = 0; b < blocks; b++) {
        k->ce_grad(rows, n, ld, b * n, x[b].f, targets, f, 0.25, 1e-2);
        ref->ce_grad(rows, n, ld, b * n, x[b].d, targets, d, 0.25, 1e-2);
        check(t, "ce_grad", x[b], tol1);
    }
}

static void test_loss(void **state)
{
    (void)state;
    on_each_path(check_loss);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unary),     cmocka_unit_test(test_accuracy),
        cmocka_unit_test(test_special),   cmocka_unit_test(test_elementwise),
        cmocka_unit_test(test_sums),      cmocka_unit_test(test_optimisers),
        cmocka_unit_test(test_convert),   cmocka_unit_test(test_norm),
        cmocka_unit_test(test_rms_norm),  cmocka_unit_test(test_swiglu),
        cmocka_unit_test(test_rows),      cmocka_unit_test(test_shift),
        cmocka_unit_test(test_prepare),   cmocka_unit_test(test_output),
        cmocka_unit_test(test_wkv7),      cmocka_unit_test(test_wkv7_cut),
        cmocka_unit_test(test_wkv6),      cmocka_unit_test(test_wkv4),
        cmocka_unit_test(test_wkv46_cut), cmocka_unit_test(test_loss),
    };
    if (!rk_kernels_at(1))
        print_message("no path but the reference runs here\n");
    for (int i = 1; rk_kernels_at(i); i++)
        print_message("path %s\n", rk_kernels_at(i)->name);
#ifdef RK_EMULATE_AVX512
    print_message("avx512 is emulated by SIMDe: its results are tested, not its instructions\n");
#endif
    return cmocka_run_group_tests(tests, NULL, NULL);
}
