/* test_sparse.c: the kernels of a sparse channel mix against sums in double; rows anywhere have the bits of rows that
 * lie one behind the other. */
#include "test_util.h"

#include <float.h>

#include "kernels/kernels.h"

enum { N = 21 };
static const int64_t sizes[] = {1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 64, 65, 129, 200};

static void check_bits(test_ctx *t, const rk_kernels *kern, int64_t k)
{
    const int64_t stride = (k + 7) / 8;
    const float *x = test_uniform(t, k, -1, 1);
    uint8_t *bits = test_alloc(t, (size_t)(N * stride));
    for (int64_t i = 0; i < N * stride; i++)
        bits[i] = (uint8_t)(i * 37 + i / 5 * 101);
    for (int64_t n = 1; n <= N; n++) {
        float *y = test_alloc_f32(t, n);
        kern->sum_where(n, k, x, bits, stride, y);
        for (int64_t j = 0; j < n; j++) {
            double want = 0;
            for (int64_t i = 0; i < k; i++)
                want += bits[j * stride + i / 8] >> (i % 8) & 1 ? (double)x[i] : 0;
            if (fabs((double)y[j] - want) > (double)k * (double)FLT_EPSILON)
                fail_msg("%s: sum %d of %d is %g, want %g", t->shape, (int)j, (int)n, (double)y[j],
                         want);
        }
    }
}

static void check_rows(test_ctx *t, const rk_kernels *kern, int64_t k, rk_dtype type)
{
    const size_t row = (size_t)k * rk_dtype_bytes(type);
    const float *w = test_uniform(t, N * k, -1, 1), *x = test_uniform(t, k, -1, 1);
    const float *a = test_uniform(t, N, -1, 1), *y0 = test_uniform(t, k, -1, 1);
    char *all = test_alloc(t, N * row);
    const void *rows[N];
    kern->narrow(N * k, w, all, type);
    for (int64_t j = 0; j < N; j++) /* in another order, each at its own place */
        rows[j] = test_copy(t, all + (size_t)(j * 8 % N) * row, row);
    for (int64_t n = 0; n <= N; n++) {
        float *dots = test_alloc_f32(t, n), *one = test_alloc_f32(t, 1);
        float *y = test_copy_f32(t, y0, k), *want = test_copy_f32(t, y0, k);
        kern->gather_dot(n, k, x, rows, type, dots);
        kern->gather_axpy(n, k, a, rows, type, y);
        for (int64_t j = 0; j < n; j++) {
            kern->gemv_dot(1, 1, k, x, k, rows[j], type, k, one, 1, false);
            test_same(t, "dot", one, &dots[j], sizeof *one);
            kern->gather_axpy(1, k, a + j, rows + j, type, want);
        }
        test_same(t, "one after the other", want, y, (size_t)k * sizeof *y);
        for (int64_t i = 0; i < k && n == N; i++) {
            double sum = (double)y0[i];
            for (int64_t j = 0; j < n; j++) {
                const int64_t at = j * 8 % N * k + i;
                const float weight = type == RK_F32 ? ((float *)(void *)all)[at]
                                     : type == RK_BF16
                                         ? rk_bf16_to_f32(((uint16_t *)(void *)all)[at])
                                         : rk_f16_to_f32(((uint16_t *)(void *)all)[at]);
                sum += (double)a[j] * (double)weight;
            }
            assert_true(fabs(sum - (double)y[i]) < 4 * N * (double)FLT_EPSILON);
        }
    }
}

static void test_paths(void **state)
{
    static const rk_dtype types[] = {RK_F32, RK_BF16, RK_F16};
    (void)state;
    test_ctx t = test_begin(1);
    const rk_kernels *kern;
    for (int path = 0; (kern = rk_kernels_at(path)); path++)
        for (size_t i = 0; i < RK_COUNT(sizes); i++) {
            test_shape(&t, "%s k %" PRId64, kern->name, sizes[i]);
            check_bits(&t, kern, sizes[i]);
            for (size_t d = 0; d < RK_COUNT(types); d++)
                check_rows(&t, kern, sizes[i], types[d]);
            test_reset(&t);
        }
    test_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_paths)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
