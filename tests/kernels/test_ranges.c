/* test_ranges.c: bytes with ranges (RWKV-Lite, section INT8 of its specification): how far they are from the matrix;
 * products with them against the formula in brackets, on all paths the same. */
#include "test_util.h"

#include "kernels/ranges.h"

static const int64_t sizes[] = {1, 2, 3, 5, 8, 31, 32, 33, 63, 64, 65, 100, 129, 200};
enum { ROWS = 5 };

typedef struct matrix {
    int64_t out, in;
    const float *w;
    const uint8_t *q;
    rk_ranges r;
} matrix;

/* Rows and columns of different sizes and middles, as trained ones have. */
static matrix random_matrix(test_ctx *t, int64_t out, int64_t in)
{
    float *w = test_uniform(t, out * in, -1, 1), *rows = test_uniform(t, out, 0.1f, 2);
    float *cols = test_uniform(t, in, 0.1f, 2), *moved = test_uniform(t, out, -1, 1);
    float *side = test_alloc_f32(t, 2 * (out + in));
    uint8_t *q = test_alloc(t, (size_t)(out * in));
    for (int64_t i = 0; i < out * in; i++)
        w[i] = w[i] * rows[i / in] * cols[i % in] + moved[i / in];
    rk_ranges_narrow(out, in, test_copy_f32(t, w, out * in), side, side + out, side + 2 * out,
                     side + 2 * out + in, q);
    return (matrix){out, in, w, q, {side, side + out, side + 2 * out, side + 2 * out + in}};
}

/* The bracket, in double. */
static double weight(const matrix *m, int64_t o, int64_t i)
{
    return ((double)m->q[o * m->in + i] + 0.5) * (double)m->r.rx[o] * (double)m->r.ry[i] +
           (double)m->r.mx[o] + (double)m->r.my[i];
}

static float largest(int64_t n, const float *x)
{
    float most = 0;
    for (int64_t i = 0; i < n; i++)
        most = fmaxf(most, x[i]);
    return most;
}

/* Half a step of 256 between the least and the largest of what is left. */
static void test_error(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    for (size_t a = 0; a < RK_COUNT(sizes); a++)
        for (size_t b = 0; b < RK_COUNT(sizes); b += 3) {
            const matrix m = random_matrix(&t, sizes[a], sizes[b]);
            const double bound = (double)(16 * largest(m.out, m.r.rx)) *
                                     (double)(16 * largest(m.in, m.r.ry)) / 512 * (1 + 1e-3) +
                                 1e-6;
            float *back = test_alloc_f32(&t, m.out * m.in);
            rk_ranges_widen(&m.r, m.out, m.in, m.q, back);
            for (int64_t i = 0; i < m.out * m.in; i++) {
                const double w = weight(&m, i / m.in, i % m.in);
                if (fabs((double)m.w[i] - w) > bound ||
                    fabs((double)back[i] - w) > 1e-6 * (8 + fabs(w)))
                    fail_msg("(%d,%d) of %d x %d: %g became %g, in brackets %g, bound %g",
                             (int)(i / m.in), (int)(i % m.in), (int)m.out, (int)m.in,
                             (double)m.w[i], (double)back[i], w, bound);
            }
            test_reset(&t);
        }
    test_end(&t);
}

/* A matrix whose rows are all alike, one of zeros, and numbers too far apart for f32. */
static void test_edges(void **state)
{
    (void)state;
    static const float kinds[][4] = {
        {3, 3, 3, 3}, {0, 0, 0, 0}, {-2, 5, -2, 5}, {1, 1, -7, -7}, {0, 0, 0, 1}};
    for (size_t i = 0; i < RK_COUNT(kinds); i++) {
        float w[4], side[8], back[4];
        uint8_t q[4];
        memcpy(w, kinds[i], sizeof w);
        rk_ranges_narrow(2, 2, w, side, side + 2, side + 4, side + 6, q);
        rk_ranges_widen(&(rk_ranges){side, side + 2, side + 4, side + 6}, 2, 2, q, back);
        for (int k = 0; k < 4; k++)
            assert_true(fabsf(back[k] - kinds[i][k]) <= 7 / 512.0f);
    }
    float w[4] = {3e38f, -3e38f, 0, 1}, side[8];
    uint8_t q[4];
    rk_ranges_narrow(2, 2, w, side, side + 2, side + 4, side + 6, q);
    assert_true(isinf(side[2]) || isnan(side[2]) || isinf(side[6]) || isnan(side[6]));
}

/* ---- products ---- */

static void product(const rk_kernels *kern, const matrix *m, int64_t rows, const float *x, float *y,
                    test_ctx *t, bool accumulate)
{
    const int64_t blocks = rk_ranges_blocks(m->in);
    rk_x29 *scaled = test_alloc(t, (size_t)(rows * blocks) * sizeof *scaled);
    int64_t *dots = test_alloc(t, (size_t)(rows * m->out) * sizeof *dots);
    rk_ranged_sums s[ROWS];
    for (int64_t i = 0; i < rows; i++)
        rk_ranges_scale(kern, &m->r, m->in, x + i * m->in, scaled + i * blocks, &s[i]);
    kern->bytes_dot(rows, m->out, m->in, scaled, blocks, m->q, m->in, dots, m->out);
    for (int64_t i = 0; i < rows; i++)
        rk_ranges_finish(&m->r, m->out, dots + i * m->out, &s[i], y + i * m->out, accumulate);
}

/* |y - y'| is at most 1e-5 of |y|, the outputs of a row together. */
static void check_values(const test_ctx *t, const matrix *m, const float *x, const float *y)
{
    double lost = 0, squares = 0;
    for (int64_t o = 0; o < m->out; o++) {
        double want = 0, size = 0;
        for (int64_t i = 0; i < m->in; i++) {
            want += (double)x[i] * weight(m, o, i);
            size += fabs((double)x[i] * weight(m, o, i));
        }
        lost += (want - (double)y[o]) * (want - (double)y[o]);
        squares += want * want;
        if (fabs(want - (double)y[o]) > 1e-6 * (1e-3 + size))
            fail_msg("output %d is %g, in brackets %g; %s", (int)o, (double)y[o], want, t->shape);
    }
    if (m->in > 8 && sqrt(lost) > 1e-5 * sqrt(squares))
        fail_msg("%g of the outputs, expected 1e-5 at most; %s", sqrt(lost / squares), t->shape);
}

/* Rows together as each alone; all paths as the first. */
static void check_path(test_ctx *t, const rk_kernels *kern, const matrix *m, const float *x,
                       const float *y_ref)
{
    const size_t bytes = (size_t)m->out * sizeof(float);
    float *y = test_alloc_f32(t, ROWS * m->out), *alone = test_alloc_f32(t, m->out);
    for (int64_t rows = 1; rows <= ROWS; rows++) {
        product(kern, m, rows, x, y, t, false);
        test_same(t, "another path", y_ref, y, (size_t)rows * bytes);
    }
    for (int64_t r = 0; r < ROWS; r++) {
        product(kern, m, 1, x + r * m->in, alone, t, false);
        test_same(t, "alone", y_ref + r * m->out, alone, bytes);
        check_values(t, m, x + r * m->in, alone);
    }
    float *added = test_copy_f32(t, y, ROWS * m->out);
    product(kern, m, ROWS, x, added, t, true);
    for (int64_t i = 0; i < ROWS * m->out; i++)
        assert_true(added[i] == y[i] + y[i]);
    const matrix last = {1, m->in, m->w, m->q + (m->out - 1) * m->in,
                         rk_ranges_from(&m->r, m->out - 1)};
    product(kern, &last, 1, x, alone, t, false);
    test_same(t, "an output alone", y_ref + m->out - 1, alone, sizeof *alone);
}

static void test_products(void **state)
{
    (void)state;
    test_ctx t = test_begin(2);
    const rk_kernels *kern;
    for (size_t a = 0; a < RK_COUNT(sizes); a++)
        for (size_t b = 0; b < 4; b++) {
            const matrix m = random_matrix(&t, sizes[(a * 5 + b) % RK_COUNT(sizes)], sizes[a]);
            float *x = test_uniform(&t, ROWS * m.in, -1, 1), *y = test_alloc_f32(&t, ROWS * m.out);
            for (int64_t i = 0; i < m.in; i++) {
                x[i] *= i % 7 == 0 ? 50.0f : 1.0f; /* outliers */
                x[m.in + i] = fabsf(x[m.in + i]);  /* as behind a relu */
                x[2 * m.in + i] *= 1e-12f;
                x[3 * m.in + i] = 0;
            }
            product(&rk_kernels_ref_f32, &m, ROWS, x, y, &t, false);
            for (int path = 0; (kern = rk_kernels_at(path)); path++) {
                test_shape(&t, "%s %d x %d", kern->name, (int)m.out, (int)m.in);
                check_path(&t, kern, &m, x, y);
            }
            test_reset(&t);
        }
    test_end(&t);
}

/* The largest sums that there can be: no lane of 32 bits overflows. */
static void test_largest(void **state)
{
    (void)state;
    enum { K = 40000 };
    test_ctx t = test_begin(3);
    const rk_kernels *kern;
    rk_x29 *x = test_alloc(&t, K / RK_X29_BLOCK * sizeof *x);
    uint8_t *w = test_alloc(&t, 2 * K);
    memset(w, 255, 2 * K);
    for (int64_t i = 0; i < K; i++) {
        x[i / RK_X29_BLOCK].high[i % 2][i % RK_X29_BLOCK / 2] = RK_X29_HIGH;
        x[i / RK_X29_BLOCK].low[i % 2][i % RK_X29_BLOCK / 2] = -RK_X29_HIGH / 2;
    }
    for (int path = 0; (kern = rk_kernels_at(path)); path++) {
        int64_t y[2] = {0};
        kern->bytes_dot(1, 2, K, x, K / RK_X29_BLOCK, w, K, y, 2);
        const int64_t want = 255 * (int64_t)K * ((1 << 28) - (1 << 13));
        if (y[0] != want || y[1] != want)
            fail_msg("%s: %" PRId64 ", want %" PRId64, kern->name, y[0], want);
    }
    test_end(&t);
}

/* What is not finite stays so, and in its row alone. */
static void test_nonfinite(void **state)
{
    (void)state;
    test_ctx t = test_begin(4);
    const matrix m = random_matrix(&t, 3, 40);
    float *x = test_uniform(&t, 2 * m.in, -1, 1), y[6];
    x[7] = (float)INFINITY;
    product(&rk_kernels_ref_f32, &m, 2, x, y, &t, false);
    assert_true(isnan(y[0]) && isnan(y[2]) && isfinite(y[3]) && isfinite(y[5]));
    test_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_error), cmocka_unit_test(test_edges), cmocka_unit_test(test_products),
        cmocka_unit_test(test_largest), cmocka_unit_test(test_nonfinite)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
