/* test_gemv.c: the matrix products of the short class against sums in double, and what makes them a
 * class: the bits of a row do not depend on which rows or outputs are computed with it. */
#include "test_util.h"

#include <float.h>

#include "kernels/kernels.h"

typedef void gemv_fn(int64_t rows, int64_t n, int64_t k, const void *x, int64_t ldx, const void *w,
                     rk_dtype wt, int64_t ldw, void *y, int64_t ldy, bool accumulate);

enum { ROWS_MAX = 16 };

/* Weights (n, k) for the dot form, (k, n) for the axpy form, exact to the last element. */
typedef struct weights {
    rk_dtype type;
    int64_t n, k, ld;
    bool by_output; /* dot form */
    const void *data;
} weights;

static double weight(const weights *w, int64_t j, int64_t l)
{
    const int64_t at = w->by_output ? j * w->ld + l : l * w->ld + j;
    const uint16_t *half = w->data;
    if (w->type == RK_F32)
        return (double)((const float *)w->data)[at];
    return (double)(w->type == RK_F16 ? rk_f16_to_f32(half[at]) : rk_bf16_to_f32(half[at]));
}

static weights random_weights(test_ctx *t, int64_t n, int64_t k, rk_dtype type, bool by_output,
                              int64_t pad)
{
    const int64_t lines = by_output ? n : k, width = by_output ? k : n;
    weights w = {type, n, k, width + pad, by_output, NULL};
    const int64_t size = (lines - 1) * w.ld + width;
    float *x = test_uniform(t, size, -1, 1);
    uint16_t *half = test_alloc(t, (size_t)size * sizeof *half);
    for (int64_t i = 0; i < size; i++)
        half[i] = type == RK_F16 ? rk_f32_to_f16(x[i]) : rk_f32_to_bf16(x[i]);
    w.data = type == RK_F32 ? (const void *)x : half;
    return w;
}

/* Outputs [j0, j0 + n) for `rows` rows at x. */
static void run(const rk_kernels *kern, const weights *w, int64_t rows, int64_t j0, int64_t n,
                const float *x, int64_t ldx, float *y, int64_t ldy, bool accumulate)
{
    gemv_fn *fn = w->by_output ? kern->gemv_dot : kern->gemv_axpy;
    const size_t size = rk_dtype_bytes(w->type);
    const size_t at = (size_t)(w->by_output ? j0 * w->ld : j0) * size;
    fn(rows, n, w->k, x, ldx, (const char *)w->data + at, w->type, w->ld, y, ldy, accumulate);
}

/* Against double: each of k roundings is at most half a unit of the sum of magnitudes. */
static void check_values(test_ctx *t, const rk_kernels *kern, const weights *w, int64_t rows)
{
    const int64_t ldx = w->k + 1, ldy = w->n + 2;
    const float *x = test_uniform(t, rows * ldx, -1, 1), *y0 = test_uniform(t, rows * ldy, -1, 1);
    float *y = test_copy_f32(t, y0, rows * ldy), *added = test_copy_f32(t, y0, rows * ldy);
    run(kern, w, rows, 0, w->n, x, ldx, y, ldy, false);
    run(kern, w, rows, 0, w->n, x, ldx, added, ldy, true);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < ldy; j++) {
            const int64_t at = i * ldy + j;
            double want = 0, size = 0;
            for (int64_t l = 0; j < w->n && l < w->k; l++) {
                const double term = (double)x[i * ldx + l] * weight(w, j, l);
                want += term;
                size += fabs(term);
            }
            if (j < w->n && fabs((double)y[at] - want) > (double)FLT_EPSILON * (1 + size) * 16)
                fail_msg("row %" PRId64 " output %" PRId64 ": want %g, got %g; seed %" PRIu64
                         ", %s",
                         i, j, want, (double)y[at], t->seed, t->shape);
            const float sum = j < w->n ? y0[at] + y[at] : y0[at];
            test_same(t, "accumulated", &sum, &added[at], sizeof sum);
            if (j >= w->n)
                test_same(t, "between rows", &y0[at], &y[at], sizeof *y);
        }
}

/* Each row of 1 .. 16 together, and each cut of the outputs, as the row alone. */
static void check_bits(test_ctx *t, const rk_kernels *kern, const weights *w)
{
    const float *x = test_uniform(t, ROWS_MAX * w->k, -1, 1);
    float *alone = test_alloc_f32(t, ROWS_MAX * w->n), *y = test_alloc_f32(t, ROWS_MAX * w->n);
    const size_t bytes = (size_t)w->n * sizeof *y;
    for (int64_t i = 0; i < ROWS_MAX; i++)
        run(kern, w, 1, 0, w->n, x + i * w->k, w->k, alone + i * w->n, w->n, false);
    for (int64_t rows = 1; rows <= ROWS_MAX; rows++) {
        run(kern, w, rows, 0, w->n, x, w->k, y, w->n, false);
        test_same(t, "rows together", alone, y, (size_t)rows * bytes);
    }
    for (int64_t cut = 1; cut < w->n; cut += 5) {
        run(kern, w, 5, 0, cut, x, w->k, y, w->n, false);
        run(kern, w, 5, cut, w->n - cut, x, w->k, y + cut, w->n, false);
        test_same(t, "outputs cut", alone, y, 5 * bytes);
    }
}

static void test_paths(void **state)
{
    static const rk_dtype types[] = {RK_F32, RK_BF16, RK_F16};
    static const int64_t sizes[] = {1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 31, 33, 64, 65, 129, 200};
    (void)state;
    test_ctx t = test_begin(1);
    const rk_kernels *kern;
    for (int path = 0; (kern = rk_kernels_at(path)); path++)
        for (size_t i = 0; i < RK_COUNT(sizes) * RK_COUNT(types) * 2; i++) {
            const size_t at = i / 6;
            const int64_t n = sizes[(at * 7 + i) % RK_COUNT(sizes)], k = sizes[at];
            const weights w = random_weights(&t, n, k, types[i / 2 % 3], i % 2, (int64_t)(i % 4));
            test_shape(&t, "%s %s n %" PRId64 " k %" PRId64 " %s", kern->name,
                       w.by_output ? "dot" : "axpy", n, k, rk_dtype_name(w.type));
            for (int64_t rows = 1; rows <= 7; rows++)
                check_values(&t, kern, &w, rows);
            check_bits(&t, kern, &w);
            test_reset(&t);
        }
    test_end(&t);
}

/* No outputs, no rows: nothing is touched; no inputs: zeros. */
static void test_empty(void **state)
{
    (void)state;
    const rk_kernels *kern;
    for (int path = 0; (kern = rk_kernels_at(path)); path++) {
        float y = 3.0f, x = 1.0f, w = 2.0f;
        kern->gemv_dot(0, 1, 1, &x, 1, &w, RK_F32, 1, &y, 1, false);
        kern->gemv_axpy(1, 0, 1, &x, 1, &w, RK_F32, 1, &y, 1, false);
        assert_true(y == 3.0f);
        kern->gemv_dot(1, 1, 0, &x, 0, &w, RK_F32, 0, &y, 1, true);
        assert_true(y == 3.0f);
        kern->gemv_axpy(1, 1, 0, &x, 0, &w, RK_F32, 1, &y, 1, false);
        assert_true(y == 0.0f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
