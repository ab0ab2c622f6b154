/* test_gemm.c: every element of a product is one chain of fused multiply-adds over k in order, so
 * the chain written down here, element by element, is what every path must give to the bit: with
 * any strides, dtypes, edges, number of threads, and wherever k or the rows are cut. */
#include "test_util.h"

#include "kernels/gemm.h"

/* What a test multiplies, element (i, j) of A at a.data[i a.row_stride + j a.col_stride]. */
typedef struct problem {
    const rk_kernels *kern;
    rk_gemm_shape s;
    rk_matrix a, b;
    int64_t ldc;
    bool accumulate, round_bf16;
} problem;

static double element(const rk_matrix *x, int64_t i, int64_t j, bool round_bf16)
{
    const int64_t at = i * x->row_stride + j * x->col_stride;
    const uint16_t *half = x->data;
    if (x->dtype == RK_F64)
        return ((const double *)x->data)[at];
    const float f = x->dtype == RK_F32   ? ((const float *)x->data)[at]
                    : x->dtype == RK_F16 ? rk_f16_to_f32(half[at])
                                         : rk_bf16_to_f32(half[at]);
    return (double)(round_bf16 ? rk_bf16_to_f32(rk_f32_to_bf16(f)) : f);
}

static void chain(const problem *p, void *c)
{
    for (int64_t i = 0; i < p->s.m; i++)
        for (int64_t j = 0; j < p->s.n; j++) {
            float *f = (float *)c + i * p->ldc + j;
            double *d = (double *)c + i * p->ldc + j;
            const bool single = p->kern->real == RK_F32;
            double sum = !p->accumulate ? 0.0 : single ? (double)*f : *d;
            for (int64_t l = 0; l < p->s.k; l++) {
                const double x = element(&p->a, i, l, p->round_bf16);
                const double y = element(&p->b, l, j, p->round_bf16);
                sum = single ? (double)fmaf((float)x, (float)y, (float)sum) : fma(x, y, sum);
            }
            if (single)
                *f = (float)sum;
            else
                *d = sum;
        }
}

static void multiply(const problem *p, rk_pool *pool, void *c)
{
    const size_t bytes = rk_gemm_scratch(p->kern, rk_pool_n_threads(pool), p->s);
    void *scratch = aligned_alloc(64, bytes ? bytes : 64);
    assert_non_null(scratch);
    rk_gemm(p->kern, pool, scratch, p->s, p->a, p->b, c, p->ldc, p->accumulate, p->round_bf16);
    free(scratch);
}

/* Random reals of a dtype in [-1, 1), exactly n of them. */
static void *reals(test_ctx *t, int64_t n, rk_dtype type)
{
    if (type == RK_F64)
        return test_uniform_f64(t, n, -1, 1);
    float *x = test_uniform(t, n, -1, 1);
    if (type == RK_F32)
        return x;
    uint16_t *h = test_alloc(t, (size_t)n * sizeof *h);
    for (int64_t i = 0; i < n; i++)
        h[i] = type == RK_F16 ? rk_f32_to_f16(x[i]) : rk_f32_to_bf16(x[i]);
    return h;
}

/* Layouts of a matrix in memory. */
enum { PLAIN, TRANSPOSED, PADDED, TRANSPOSED_PADDED, SPREAD, N_LAYOUTS };

/* (rows, cols) of a dtype, whose memory ends with its last element. */
static rk_matrix matrix(test_ctx *t, int64_t rows, int64_t cols, rk_dtype type, int layout)
{
    rk_matrix x = {NULL, type, cols, 1};
    if (layout == PADDED)
        x.row_stride = cols + 3;
    if (layout == TRANSPOSED)
        x = (rk_matrix){NULL, type, 1, rows};
    if (layout == TRANSPOSED_PADDED)
        x = (rk_matrix){NULL, type, 1, rows + 5};
    if (layout == SPREAD)
        x = (rk_matrix){NULL, type, 2 * cols + 1, 2};
    const bool empty = rows == 0 || cols == 0;
    x.data = reals(t, empty ? 0 : (rows - 1) * x.row_stride + (cols - 1) * x.col_stride + 1, type);
    return x;
}

/* One product on the threads of every pool against the chain; C has columns that must stay. */
static void check(test_ctx *t, problem p, rk_pool *const *pools, int n_pools)
{
    const size_t size = rk_dtype_bytes(p.kern->real);
    p.ldc = p.s.n + 2;
    const size_t bytes = (size_t)(p.s.m * p.ldc) * size;
    const void *c = reals(t, p.s.m * p.ldc, p.kern->real);
    void *want = test_copy(t, c, bytes);
    chain(&p, want);
    for (int i = 0; i < n_pools; i++) {
        test_shape(t, "%s m %" PRId64 " n %" PRId64 " k %" PRId64 ", threads %d, accumulate %d",
                   p.kern->name, p.s.m, p.s.n, p.s.k, rk_pool_n_threads(pools[i]), p.accumulate);
        void *got = test_copy(t, c, bytes);
        multiply(&p, pools[i], got);
        test_same(t, "C", want, got, bytes);
    }
}

static const int thread_counts[] = {1, 2, 4};
enum { N_POOLS = 3 };

static int open_pools(void **state)
{
    rk_pool **pools = calloc(N_POOLS, sizeof *pools);
    rk_error err;
    for (int i = 0; pools && i < N_POOLS; i++)
        test_ok(rk_pool_new(&pools[i], thread_counts[i], NULL, NULL, NULL, &err), &err);
    *state = pools;
    return pools ? 0 : -1;
}

static int close_pools(void **state)
{
    rk_pool **pools = *state;
    for (int i = 0; i < N_POOLS; i++)
        rk_pool_free(pools[i]);
    free(pools);
    return 0;
}

/* The f32 paths and, last, the double reference. */
static const rk_kernels *table(int i)
{
    const rk_kernels *kern = rk_kernels_at(i);
    return kern || (i > 0 && !rk_kernels_at(i - 1)) ? kern : &rk_kernels_ref_f64;
}

static void test_shapes(void **state)
{
    static const int64_t sizes[][3] = {
        {1, 1, 1},      {1, 1, 300},    {2, 3, 0},    {0, 5, 3},    {5, 0, 3},     {3, 17, 5},
        {6, 16, 8},     {7, 33, 31},    {13, 15, 64}, {14, 32, 65}, {29, 31, 257}, {64, 48, 256},
        {97, 130, 129}, {100, 65, 513}, {4100, 1, 3}, {2, 4100, 4},
    };
    test_ctx t = test_begin(1);
    const rk_kernels *kern;
    for (int path = 0; (kern = table(path)); path++)
        for (size_t i = 0; i < RK_COUNT(sizes); i++)
            for (int acc = 0; acc < 2; acc++) {
                problem p = {.kern = kern, .accumulate = acc};
                p.s = (rk_gemm_shape){sizes[i][0], sizes[i][1], sizes[i][2]};
                p.a = matrix(&t, p.s.m, p.s.k, kern->real, PLAIN);
                p.b = matrix(&t, p.s.k, p.s.n, kern->real, TRANSPOSED);
                check(&t, p, *state, N_POOLS);
                test_reset(&t);
            }
    test_end(&t);
}

static void test_layouts_and_dtypes(void **state)
{
    static const rk_dtype types[] = {RK_F32, RK_BF16, RK_F16};
    test_ctx t = test_begin(2);
    const rk_kernels *kern;
    for (int path = 0; (kern = table(path)); path++)
        for (int form = 0; form < N_LAYOUTS * N_LAYOUTS; form++)
            for (size_t i = 0; i < RK_COUNT(types) * RK_COUNT(types) * 2; i++) {
                problem p = {.kern = kern, .s = {19, 37, 41}, .round_bf16 = i % 2};
                p.a = matrix(&t, 19, 41, types[i / 2 % 3], form % N_LAYOUTS);
                p.b = matrix(&t, 41, 37, types[i / 6], form / N_LAYOUTS);
                check(&t, p, *state, 1);
                test_reset(&t);
            }
    test_end(&t);
}

/* Pieces of k, each accumulated, give the bits of the whole; rows computed alone those of all. */
static void test_cuts(void **state)
{
    rk_pool *const *pools = *state;
    test_ctx t = test_begin(3);
    const rk_kernels *kern;
    for (int path = 0; (kern = rk_kernels_at(path / 2)); path++) {
        const rk_gemm_shape s = {23, 45, 290};
        const bool round_bf16 = path % 2;
        problem p = {.kern = kern, .s = s, .ldc = s.n, .round_bf16 = round_bf16};
        const float *a = test_uniform(&t, s.m * s.k, -1, 1),
                    *b = test_uniform(&t, s.k * s.n, -1, 1);
        float *whole = test_alloc_f32(&t, s.m * s.n), *got = test_alloc_f32(&t, s.m * s.n);
        p.a = (rk_matrix){a, RK_F32, s.k, 1};
        p.b = (rk_matrix){b, RK_F32, s.n, 1};
        multiply(&p, pools[0], whole);
        for (int64_t cut = 1; cut < s.k; cut += 17) {
            test_shape(&t, "%s, k cut at %" PRId64, kern->name, cut);
            problem q = p;
            q.s.k = cut;
            multiply(&q, pools[1], got);
            q = (problem){kern, {s.m, s.n, s.k - cut}, p.a, p.b, s.n, true, round_bf16};
            q.a.data = a + cut;
            q.b.data = b + cut * s.n;
            multiply(&q, pools[2], got);
            test_same(&t, "C", whole, got, (size_t)(s.m * s.n) * sizeof *got);
        }
        for (int64_t i = 0; i < s.m; i++) {
            test_shape(&t, "%s, row %" PRId64 " alone", kern->name, i);
            problem q = p;
            q.s.m = 1;
            q.a.data = a + i * s.k;
            multiply(&q, pools[0], got);
            test_same(&t, "row", whole + i * s.n, got, (size_t)s.n * sizeof *got);
        }
        test_reset(&t);
    }
    test_end(&t);
}

static void test_find(void **state)
{
    (void)state;
    const rk_kernels *kern = NULL;
    bool best_runs = false;
    rk_error err = {0};
    test_ok(rk_kernels_find(&kern, NULL, &err), &err);
    for (int i = 0; rk_kernels_at(i); i++) {
        const rk_kernels *same = NULL;
        test_ok(rk_kernels_find(&same, rk_kernels_at(i)->name, &err), &err);
        assert_ptr_equal(same, rk_kernels_at(i));
        best_runs = best_runs || kern == same;
    }
    assert_true(best_runs);
    assert_string_equal(rk_kernels_at(0)->name, "ref");
    assert_int_equal(rk_kernels_find(&kern, "mmx", &err), RK_ERR_ARG);
    assert_non_null(strstr(err.msg, "'mmx'; there are ref, "));
#if !defined(__aarch64__)
    assert_int_equal(rk_kernels_find(&kern, "neon", &err), RK_ERR_UNSUPPORTED);
#else
    assert_int_equal(rk_kernels_find(&kern, "avx2", &err), RK_ERR_UNSUPPORTED);
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_layouts_and_dtypes),
        cmocka_unit_test(test_cuts),
        cmocka_unit_test(test_find),
    };
    return cmocka_run_group_tests(tests, open_pools, close_pools);
}
