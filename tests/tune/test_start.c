/* Starts of adapters: decompositions against their definitions, residual spectra, draws. */
#include "test_util.h"

#include "infer/engine.h"
#include "tune/lapack.h"
#include "tune/start.h"

typedef struct fixture {
    rk_engine *engine;
    rk_adapter_set *set;
} fixture;

static fixture begin(int n_threads)
{
    fixture f = {0};
    rk_error err = {0};
    test_ok(rk_engine_new(&f.engine, &(rk_engine_params){.n_threads = n_threads}, &err), &err);
    test_ok(rk_adapter_set_new(&f.set, &err), &err);
    return f;
}

static void end(fixture *f)
{
    rk_adapter_set_free(f->set);
    rk_engine_free(f->engine);
}

static rk_adapter_part *add(fixture *f, rk_adapter_form form, int64_t out, int64_t in, int64_t rank)
{
    rk_error err = {0};
    rk_adapter_part *p = NULL;
    const rk_adapter_part like = {.name = "blocks.0.att.key.weight",
                                  .form = form,
                                  .in = in,
                                  .out = out,
                                  .rank = rank,
                                  .width = out,
                                  .scale = form == RK_PART_LORA ? 0.5 : 1.0};
    test_ok(rk_adapter_set_add(f->set, &like, &p, &err), &err);
    return p;
}

static rk_start start_of(const fixture *f, rk_start_kind kind, const float *weight)
{
    return (rk_start){.kind = kind,
                      .niter = RK_START_NITER,
                      .gamma = RK_GA_GAMMA,
                      .seed = 1,
                      .weight = weight,
                      .gradient = weight,
                      .kernels = rk_engine_kernels(f->engine),
                      .pool = rk_engine_pool(f->engine)};
}

static void run(rk_adapter_part *p, const rk_start *how)
{
    rk_error err = {0};
    test_ok(rk_part_start(p, how, &err), &err);
}

/* (rows, cols) with singular values that fall by the factor. */
static float *falling(test_ctx *t, int64_t rows, int64_t cols, double factor)
{
    const int64_t k = rk_min_i64(rows, cols);
    rk_error err = {0};
    double *u = test_uniform_f64(t, rows * k, -1, 1), *v = test_uniform_f64(t, cols * k, -1, 1);
    float *w = test_alloc_f32(t, rows * cols);
    test_ok(rk_orthonormalise(rows, k, u, &err), &err);
    test_ok(rk_orthonormalise(cols, k, v, &err), &err);
    for (int64_t i = 0; i < rows * cols; i++) {
        double sum = 0.0, s = 1.0;
        for (int64_t l = 0; l < k; l++, s *= factor)
            sum += s * u[i / cols * k + l] * v[i % cols * k + l];
        w[i] = (float)sum;
    }
    return w;
}

/* W - scale B A in doubles. */
static double *residual(test_ctx *t, const rk_adapter_part *p, const float *w)
{
    double *x = test_alloc_f64(t, p->out * p->in);
    for (int64_t i = 0; i < p->out * p->in; i++) {
        x[i] = (double)w[i];
        for (int64_t k = 0; k < p->rank; k++)
            x[i] -= p->scale * (double)p->tensors[1][i / p->in * p->rank + k] *
                    (double)p->tensors[0][k * p->in + i % p->in];
    }
    return x;
}

static double *singular_values(test_ctx *t, double *x, int64_t rows, int64_t cols)
{
    const int64_t k = rk_min_i64(rows, cols);
    rk_error err = {0};
    double *s = test_alloc_f64(t, k);
    test_ok(
        rk_svd(rows, cols, x, test_alloc_f64(t, rows * k), s, test_alloc_f64(t, k * cols), &err),
        &err);
    return s;
}

static double *widened(test_ctx *t, const float *x, int64_t n)
{
    double *y = test_alloc_f64(t, n);
    for (int64_t i = 0; i < n; i++)
        y[i] = (double)x[i];
    return y;
}

/* Columns (rows, k) are orthonormal to tol, and each one's largest entry is positive. */
static void expect_orthonormal(const double *x, int64_t rows, int64_t k, double tol)
{
    for (int64_t a = 0; a < k; a++) {
        double largest = 0.0;
        for (int64_t i = 0; i < rows; i++)
            if (fabs(x[i * k + a]) > fabs(largest))
                largest = x[i * k + a];
        assert_true(largest > 0.0);
        for (int64_t b = 0; b <= a; b++) {
            double sum = 0.0;
            for (int64_t i = 0; i < rows; i++)
                sum += x[i * k + a] * x[i * k + b];
            assert_true(fabs(sum - (a == b)) < tol);
        }
    }
}

static const int64_t shapes[][2] = {{1, 1}, {5, 3}, {3, 5}, {32, 32}, {17, 40}, {41, 16}};

static void test_svd(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    for (size_t i = 0; i < RK_COUNT(shapes); i++) {
        const int64_t m = shapes[i][0], n = shapes[i][1], k = rk_min_i64(m, n);
        rk_error err = {0};
        double *a = test_uniform_f64(&t, m * n, -1, 1), *want = test_copy_f64(&t, a, m * n);
        double *u = test_alloc_f64(&t, m * k), *s = test_alloc_f64(&t, k);
        double *vt = test_alloc_f64(&t, k * n), *got = test_alloc_f64(&t, m * n);
        test_shape(&t, "%" PRId64 " by %" PRId64, m, n);
        test_ok(rk_svd(m, n, a, u, s, vt, &err), &err);
        expect_orthonormal(u, m, k, 1e-12);
        for (int64_t j = 0; j < m * n; j++) {
            got[j] = 0.0;
            for (int64_t l = 0; l < k; l++)
                got[j] += u[j / n * k + l] * s[l] * vt[l * n + j % n];
        }
        test_close_f64(&t, "U S V^T", want, got, m * n, 1e-12);
        for (int64_t l = 1; l < k; l++)
            assert_true(s[l] <= s[l - 1]);
        test_reset(&t);
    }
    test_end(&t);
}

static void test_solve(void **state)
{
    (void)state;
    test_ctx t = test_begin(2);
    enum { N = 7, ROWS = 5 };
    rk_error err = {0};
    double *a = test_uniform_f64(&t, N * N, -1, 1), *kept = test_copy_f64(&t, a, N * N);
    double *want = test_uniform_f64(&t, ROWS * N, -1, 1), *b = test_alloc_f64(&t, ROWS * N);
    for (int64_t i = 0; i < ROWS * N; i++) {
        b[i] = 0.0;
        for (int64_t l = 0; l < N; l++)
            b[i] += want[i / N * N + l] * kept[l * N + i % N];
    }
    test_ok(rk_solve_rows(N, a, ROWS, b, &err), &err);
    test_close_f64(&t, "y", want, b, ROWS * N, 1e-10);

    memset(a, 0, N * N * sizeof *a);
    assert_int_equal(rk_solve_rows(N, a, ROWS, b, &err), RK_ERR_NUMERIC);
    test_end(&t);
}

/* What stays of W has no singular value above the first that was not taken. */
static void test_pissa(void **state)
{
    (void)state;
    test_ctx t = test_begin(3);
    enum { RANK = 6 };
    static const int64_t sizes[][2] = {{48, 48}, {64, 40}, {40, 64}};
    for (size_t i = 0; i < 2 * RK_COUNT(sizes); i++) {
        const int64_t out = sizes[i / 2][0], in = sizes[i / 2][1];
        fixture f = begin(1);
        const float *w = falling(&t, out, in, 0.9);
        const double *s = singular_values(&t, widened(&t, w, out * in), out, in);
        rk_adapter_part *p = add(&f, RK_PART_LORA, out, in, RANK);
        rk_start how = start_of(&f, RK_START_PISSA, w);
        how.exact = i % 2 == 0;
        run(p, &how);
        const double *rest = singular_values(&t, residual(&t, p, w), out, in);
        assert_true(rest[0] <= s[RANK] * (how.exact ? 1.0 + 1e-3 : 1.05));
        for (int64_t k = 0; k < RANK; k++) { /* |A row|^2 = |B column|^2 = s / scale */
            double a = 0.0, b = 0.0;
            for (int64_t j = 0; j < in; j++)
                a += pow((double)p->tensors[0][k * in + j], 2);
            for (int64_t j = 0; j < out; j++)
                b += pow((double)p->tensors[1][j * RANK + k], 2);
            assert_true(fabs(a - s[k] / p->scale) < 1e-4 && fabs(b - s[k] / p->scale) < 1e-4);
        }
        for (int j = 0; j < 2; j++)
            test_same(&t, "start", p->tensors[j], p->start[j],
                      (size_t)rk_part_count(p, j) * sizeof(float));
        end(&f);
        test_reset(&t);
    }
    test_end(&t);
}

/* B orthonormal, B A equal to W in its first r columns, and the rest of W orthogonal to B. */
static void test_olora(void **state)
{
    (void)state;
    test_ctx t = test_begin(4);
    enum { OUT = 30, IN = 21, RANK = 5 };
    fixture f = begin(1);
    const float *w = test_uniform(&t, (int64_t)OUT * IN, -1, 1);
    rk_adapter_part *p = add(&f, RK_PART_LORA, OUT, IN, RANK);
    const rk_start how = start_of(&f, RK_START_OLORA, w);
    run(p, &how);
    const double *b = widened(&t, p->tensors[1], (int64_t)OUT * RANK);
    expect_orthonormal(b, OUT, RANK, 1e-6);
    for (int64_t i = 0; i < IN; i++) {
        double rest[OUT];
        for (int64_t o = 0; o < OUT; o++) {
            rest[o] = (double)w[o * IN + i];
            for (int64_t k = 0; k < RANK; k++)
                rest[o] -= b[o * RANK + k] * (double)p->tensors[0][k * IN + i];
            assert_true(i >= RANK || fabs(rest[o]) < 1e-5);
        }
        for (int64_t k = 0; k < RANK; k++) {
            double sum = 0.0;
            for (int64_t o = 0; o < OUT; o++)
                sum += rest[o] * b[o * RANK + k];
            assert_true(fabs(sum) < 1e-5);
            assert_true(i >= k || fabs((double)p->tensors[0][k * IN + i]) < 1e-5); /* R is upper */
        }
    }
    end(&f);
    test_end(&t);
}

/* Which singular vectors, of what length: against the exact decomposition. */
static void test_lora_ga(void **state)
{
    (void)state;
    test_ctx t = test_begin(5);
    enum { OUT = 40, IN = 28, RANK = 3, K = IN };
    static const int64_t rights[][RANK] = {{0, 1, 2}, {1, 3, 5}, {3, 4, 5}};
    static const int64_t lefts[][RANK] = {{3, 4, 5}, {0, 2, 4}, {0, 1, 2}};
    rk_error err = {0};
    const float *g = falling(&t, OUT, IN, 0.5);
    double u[OUT * K], s[K], vt[K * IN];
    test_ok(rk_svd(OUT, IN, widened(&t, g, (int64_t)OUT * IN), u, s, vt, &err), &err);
    for (int i = 0; i < 6; i++) {
        fixture f = begin(1);
        rk_adapter_part *p = add(&f, RK_PART_LORA, OUT, IN, RANK);
        rk_start how = start_of(&f, RK_START_LORA_GA, g);
        how.direction = (rk_ga_direction)(i / 2);
        how.ga_peft = i % 2 == 1;
        run(p, &how);
        const double stable = pow(OUT, 0.25) / 4.0;
        for (int64_t k = 0; k < RANK; k++) {
            const int64_t right = rights[i / 2][k], left = lefts[i / 2][k];
            const double a = how.ga_peft ? 1.0 : stable, b = stable * (how.ga_peft ? s[left] : 1.0);
            for (int64_t c = 0; c < IN; c++)
                assert_true(fabs((double)p->tensors[0][k * IN + c] - a * vt[right * IN + c]) <
                            1e-4);
            for (int64_t o = 0; o < OUT; o++)
                assert_true(fabs((double)p->tensors[1][o * RANK + k] - b * u[o * K + left]) < 1e-4);
        }
        end(&f);
    }
    test_end(&t);
}

static double mean_of(const float *x, int64_t n, double power)
{
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++)
        sum += pow((double)x[i], power);
    return sum / (double)n;
}

static void test_draws(void **state)
{
    (void)state;
    test_ctx t = test_begin(6);
    enum { OUT = 64, IN = 256, RANK = 8, N = RANK * IN };
    fixture f = begin(1);
    const float *w = test_uniform(&t, (int64_t)OUT * IN, -1, 1);
    rk_adapter_part *p = add(&f, RK_PART_LORA, OUT, IN, RANK);
    rk_start how = start_of(&f, RK_START_PLAIN, NULL);
    run(p, &how);
    for (int64_t i = 0; i < N; i++)
        assert_true(fabsf(p->tensors[0][i]) <= 1.0f / 16.0f);
    assert_true(fabs(mean_of(p->tensors[0], N, 2) * 3 * IN - 1.0) < 0.1);
    for (int64_t i = 0; i < (int64_t)OUT * RANK; i++)
        assert_true(p->tensors[1][i] == 0.0f);
    assert_null(p->start[0]);

    const float *first = test_copy_f32(&t, p->tensors[0], N);
    run(p, &how);
    test_same(&t, "A", first, p->tensors[0], N * sizeof *first);
    how.index = 1;
    run(p, &how);
    assert_memory_not_equal(first, p->tensors[0], N * sizeof *first);
    how.index = 0;
    how.seed = 2;
    run(p, &how);
    assert_memory_not_equal(first, p->tensors[0], N * sizeof *first);

    how.kind = RK_START_GAUSSIAN;
    run(p, &how);
    assert_true(fabs(mean_of(p->tensors[0], N, 2) * RANK * RANK - 1.0) < 0.1);

    p = add(&f, RK_PART_MISS, OUT, IN, RANK);
    how.kind = RK_START_RANDOM;
    run(p, &how);
    for (int64_t i = 0; i < RANK * OUT; i++)
        assert_true(fabsf(p->tensors[0][i]) <= 1.0f / 8.0f);
    how.kind = RK_START_PLAIN;
    run(p, &how);
    assert_true(mean_of(p->tensors[0], RANK * OUT, 2) == 0.0);

    p = add(&f, RK_PART_DORA, OUT, IN, RANK);
    how.weight = w;
    run(p, &how);
    for (int64_t o = 0; o < OUT; o++)
        assert_true(fabs((double)p->tensors[2][o] - sqrt(mean_of(w + o * IN, IN, 2) * IN)) < 1e-5);
    end(&f);
    test_end(&t);
}

/* The same bits again, and with more threads; another seed is another sketch. */
static void test_repeats(void **state)
{
    (void)state;
    test_ctx t = test_begin(7);
    enum { OUT = 70, IN = 50, RANK = 4 };
    static const rk_start_kind kinds[] = {RK_START_PISSA, RK_START_OLORA, RK_START_LORA_GA};
    fixture f = begin(1), g = begin(3);
    const float *w = test_uniform(&t, (int64_t)OUT * IN, -1, 1);
    for (size_t i = 0; i < RK_COUNT(kinds) + 1; i++) {
        rk_adapter_part *p = add(&f, RK_PART_LORA, OUT, IN, RANK);
        rk_adapter_part *q = add(&g, RK_PART_LORA, OUT, IN, RANK);
        rk_start how = start_of(&f, kinds[i % RK_COUNT(kinds)], w);
        rk_start other = start_of(&g, kinds[i % RK_COUNT(kinds)], w);
        how.exact = other.exact = i == RK_COUNT(kinds);
        run(p, &how);
        run(q, &other);
        for (int k = 0; k < 2; k++)
            test_same(&t, "threads", p->tensors[k], q->tensors[k],
                      (size_t)rk_part_count(p, k) * sizeof(float));
        other.seed = 2;
        run(q, &other);
        if (how.kind != RK_START_OLORA && !how.exact)
            assert_memory_not_equal(p->tensors[0], q->tensors[0], RANK * IN * sizeof(float));
    }
    end(&g);
    end(&f);
    test_end(&t);
}

static void test_refused(void **state)
{
    (void)state;
    test_ctx t = test_begin(8);
    fixture f = begin(1);
    rk_error err = {0};
    float *w = test_uniform(&t, 6 * 4, -1, 1);
    rk_start how = start_of(&f, RK_START_PISSA, w);
    rk_adapter_part *p = add(&f, RK_PART_LORA, 6, 4, 5);
    assert_int_equal(rk_part_start(p, &how, &err), RK_ERR_ARG);
    assert_non_null(strstr(err.msg, "rank 5 as 'pissa' needs 5 singular vectors"));
    p = add(&f, RK_PART_LORA, 6, 4, 3);
    how.kind = RK_START_LORA_GA;
    assert_int_equal(rk_part_start(p, &how, &err), RK_ERR_ARG);
    p = add(&f, RK_PART_MISS, 6, 4, 2);
    assert_int_equal(rk_part_start(p, &how, &err), RK_ERR_ARG);
    assert_string_equal(err.msg, "miss does not start as 'lora-ga'");
    p = add(&f, RK_PART_LORA, 6, 4, 2);
    for (int kind = RK_START_PISSA; kind < RK_START_COUNT; kind++) {
        how.kind = (rk_start_kind)kind;
        w[4] = INFINITY;
        assert_int_equal(rk_part_start(p, &how, &err), RK_ERR_NUMERIC);
        w[4] = NAN;
        assert_int_equal(rk_part_start(p, &how, &err), RK_ERR_NUMERIC);
    }
    end(&f);
    test_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_svd),     cmocka_unit_test(test_solve),
        cmocka_unit_test(test_pissa),   cmocka_unit_test(test_olora),
        cmocka_unit_test(test_lora_ga), cmocka_unit_test(test_draws),
        cmocka_unit_test(test_repeats), cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
