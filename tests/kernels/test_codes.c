/* Code books against their definitions: every value, and that quantising takes the nearest of them. */
#include "test_util.h"

#include "kernels/blocks.h"
#include "kernels/codes.h"

enum { BLOCK = 64, N = 5 * BLOCK };

static const rk_dtype types[] = {RK_NF4, RK_FP4, RK_INT8, RK_FP8};

static const double nf4[] = {-1,         -0.6961928, -0.5250731, -0.3949175, -0.2844414, -0.1847734,
                             -0.0910500, 0,          0.0795803,  0.1609302,  0.2461123,  0.3379152,
                             0.4407098,  0.5626170,  0.7229568,  1};
static const double fp4[] = {0, 0.0625 / 12, 2.0 / 12, 3.0 / 12, 4.0 / 12, 6.0 / 12, 8.0 / 12, 1};

static double e4m3(int byte)
{
    const int e = byte >> 3 & 15, m = byte & 7;
    const double x = e ? ldexp(8 + m, e - 10) : ldexp(m, -9);
    return byte & 128 ? -x : x;
}

/* All values of a type at scale 1; returns how many. */
static int values_of(rk_dtype type, double *v)
{
    int n = 0;
    if (type == RK_NF4)
        for (size_t i = 0; i < RK_COUNT(nf4); i++)
            v[n++] = nf4[i];
    for (size_t i = 0; i < RK_COUNT(fp4) && type == RK_FP4; i++) {
        v[n++] = fp4[i];
        v[n++] = -fp4[i];
    }
    for (int i = 0; i < 256 && type == RK_FP8; i++)
        if ((i & 127) != 127) /* NaN in files of that format */
            v[n++] = e4m3(i);
    for (int i = 0; i < 7 && type == RK_INT8; i++) /* as bitsandbytes' create_dynamic_map */
        for (int j = 0; j < 1 << i; j++) {
            const double lo = 0.1 + 0.9 * j / (1 << i), hi = 0.1 + 0.9 * (j + 1) / (1 << i);
            v[n++] = pow(10, i - 6) * (lo + hi) / 2;
            v[n] = -v[n - 1];
            n++;
        }
    if (type == RK_INT8) {
        v[n++] = 0;
        v[n++] = 1;
    }
    return n;
}

static double nearest(const double *v, int n, double x)
{
    double best = v[0];
    for (int i = 1; i < n; i++)
        if (fabs(v[i] - x) < fabs(best - x))
            best = v[i];
    return best;
}

/* Quantised and back. */
static float *there_and_back(test_ctx *t, rk_dtype type, int64_t n, const float *x)
{
    uint8_t *blocks = test_alloc(t, (size_t)(n / rk_dtype_block(type)) * rk_dtype_bytes(type));
    float *y = test_alloc_f32(t, n);
    assert_true(rk_blocks_can_narrow(type));
    rk_blocks_narrow(type, n, x, NULL, blocks);
    rk_blocks_widen(type, n, blocks, y);
    return y;
}

static double scale_of(rk_dtype type, const float *x, int64_t i)
{
    return type == RK_FP8    ? 1.0
           : type == RK_INT8 ? (double)rk_codes_absmax(N, x)
                             : (double)rk_codes_absmax(BLOCK, x + i / BLOCK * BLOCK);
}

/* Each element becomes the nearest value at its block's scale; magnitudes of neighbouring blocks differ. */
static void test_nearest(void **state)
{
    (void)state;
    test_ctx t = test_begin(7);
    for (size_t k = 0; k < RK_COUNT(types); k++)
        for (int round = 0; round < 20; round++) {
            double v[260];
            const int n_values = values_of(types[k], v);
            float *x = test_uniform(&t, N, -1, 1);
            for (int i = 0; i < N; i++)
                x[i] *= x[i] * ldexpf(x[i], i / BLOCK - 2 + round / 4);
            const float *y = there_and_back(&t, types[k], N, x);
            for (int i = 0; i < N; i++) {
                const double d = scale_of(types[k], x, i), got = (double)y[i] / d;
                const double want = nearest(v, n_values, (double)x[i] / d);
                if (fabs(got - (double)x[i] / d) > fabs(want - (double)x[i] / d) + 1e-7)
                    fail_msg("%s [%d]: %g became %g, nearest is %g", rk_dtype_name(types[k]), i,
                             (double)x[i] / d, got, want);
            }
            test_reset(&t);
        }
    test_end(&t);
}

/* Every value of a book stays itself. */
static void test_values(void **state)
{
    (void)state;
    test_ctx t = test_begin(8);
    for (size_t k = 0; k < RK_COUNT(types); k++) {
        double v[260];
        float *x = test_alloc_f32(&t, N);
        const int n = values_of(types[k], v);
        assert_int_equal(n, types[k] == RK_FP8 ? 254 : types[k] == RK_INT8 ? 256 : 16);
        for (int i = 0; i < N; i++) /* a 1 in each block, the other values in turn */
            x[i] = i % BLOCK == 5 ? 1.0f : (float)v[(i - i / BLOCK) % n];
        const float *y = there_and_back(&t, types[k], N, x);
        for (int i = 0; i < N; i++)
            if (fabs((double)(y[i] - x[i])) > 6e-8 * fabs((double)x[i]) + (k == 0 ? 1e-7 : 0.0))
                fail_msg("%s [%d]: %.9g, expected %.9g", rk_dtype_name(types[k]), i, (double)y[i],
                         (double)x[i]);
        /* Quantising what was quantised changes no bit. */
        const float *again = there_and_back(&t, types[k], N, y);
        test_same(&t, "again", y, again, N * sizeof *y);
        test_reset(&t);
    }
    test_end(&t);
}

/* e4m3: ties to even, numbers below the normal ones, and above the largest. */
static void test_fp8(void **state)
{
    (void)state;
    static const float cases[][2] = {
        {1.0625f, 1.0f},      {1.1875f, 1.25f},   {-1.0625f, -1.0f},    {0x1p-10f, 0.0f},
        {0x1.8p-9f, 0x1p-8f}, {0x1p-9f, 0x1p-9f}, {0x1.fp-7f, 0x1p-6f}, {448.0f, 448.0f},
        {464.0f, 448.0f},     {1e30f, 448.0f},    {-1e9f, -448.0f},     {240.5f, 240.0f},
        {0.0f, 0.0f},         {1e-30f, 0.0f},     {17.0f, 16.0f},       {19.0f, 20.0f},
    };
    test_ctx t = test_begin(9);
    for (size_t i = 0; i < RK_COUNT(cases); i++) {
        const float *y = there_and_back(&t, RK_FP8, 1, &cases[i][0]);
        if (y[0] != cases[i][1])
            fail_msg("%g became %g, expected %g", (double)cases[i][0], (double)y[0],
                     (double)cases[i][1]);
    }
    test_end(&t);
}

/* Blocks of nothing are zeros; a block of int8 has the scale of all. */
static void test_scales(void **state)
{
    (void)state;
    test_ctx t = test_begin(10);
    for (size_t k = 0; k < RK_COUNT(types); k++) {
        float *x = test_alloc_f32(&t, 2 * BLOCK);
        memset(x, 0, 2 * BLOCK * sizeof *x);
        const float *y = there_and_back(&t, types[k], 2 * BLOCK, x);
        for (int i = 0; i < 2 * BLOCK; i++)
            assert_true(y[i] == 0.0f);
        x[1] = 0.3f; /* a value of no book but at its own scale */
        x[BLOCK] = -3.0f;
        y = there_and_back(&t, types[k], 2 * BLOCK, x);
        assert_int_equal(y[1] == x[1], types[k] == RK_NF4 || types[k] == RK_FP4);
        test_reset(&t);
    }
    test_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_nearest),
                                       cmocka_unit_test(test_values), cmocka_unit_test(test_fp8),
                                       cmocka_unit_test(test_scales)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
