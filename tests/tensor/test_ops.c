/* Every op: gradients against central differences, f32 against f64, the two classes, threads. */
#include "op_cases.h"

enum { DIRECTIONS = 3 };

static double loss_at(test_ctx *t, const op_case *c, double *const *x)
{
    /* Recording, because dropout does nothing otherwise. */
    const run_options o = {.real = RK_F64, .kind = RK_ARENA_GROWING};
    return run_case(t, c, x, &o).loss;
}

/* (f(x + h d) - f(x - h d)) / 2h over the inputs whose bit is set. */
static double difference(test_ctx *t, const op_case *c, double *const *x, double *const *d,
                         unsigned which)
{
    const double h = 1e-5;
    double f[2];
    for (int side = 0; side < 2; side++) {
        double *moved[MAX_IN] = {0};
        for (int i = 0; i < case_inputs(c); i++) {
            moved[i] = test_copy_f64(t, x[i], input_count(&c->in[i]));
            for (int64_t e = 0; (which >> i & 1) && e < input_count(&c->in[i]); e++)
                moved[i][e] += (side ? -h : h) * d[i][e];
        }
        f[side] = loss_at(t, c, moved);
    }
    return (f[0] - f[1]) / (2 * h);
}

/* <gradient, d>, and in *norm the length of the products, which a small sum is measured by. */
static double along(const op_case *c, const run_result *r, double *const *d, unsigned which,
                    double *norm)
{
    double sum = 0.0, squares = 0.0;
    for (int i = 0; i < case_inputs(c); i++)
        for (int64_t e = 0; (which >> i & 1) && r->grad[i] && e < r->n_in[i]; e++) {
            const double p = ((const double *)r->grad[i])[e] * d[i][e];
            sum += p;
            squares += p * p;
        }
    *norm = sqrt(squares);
    return sum;
}

static void check_direction(test_ctx *t, const op_case *c, double *const *x, const run_result *r,
                            unsigned which)
{
    double *d[MAX_IN] = {0}, norm;
    for (int i = 0; i < case_inputs(c); i++)
        d[i] = test_uniform_f64(t, input_count(&c->in[i]), -1, 1);
    const double want = difference(t, c, x, d, which), got = along(c, r, d, which, &norm);
    if (!(fabs(want - got) <= 1e-6 * fmax(fabs(want), norm)))
        fail_msg("%s: inputs %#x: difference %.12g, gradient %.12g", c->name, which, want, got);
}

static void test_gradients(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    for (size_t k = 0; k < RK_COUNT(cases); k++) {
        const op_case *c = &cases[k];
        const run_options o = {.real = RK_F64, .kind = RK_ARENA_GROWING};
        double *x[MAX_IN] = {0};
        unsigned all = 0;
        test_shape(&t, "%s", c->name);
        draw_inputs(&t, c, x);
        const run_result r = run_case(&t, c, x, &o);
        for (int i = 0; i < case_inputs(c); i++) {
            if (!is_real(&c->in[i]))
                continue;
            assert_non_null(r.grad[i]);
            check_direction(&t, c, x, &r, 1u << i);
            all |= 1u << i;
        }
        for (int n = 0; n < DIRECTIONS; n++)
            check_direction(&t, c, x, &r, all);
        test_reset(&t);
    }
    test_end(&t);
}

/* Each input alone, and all but it: what is computed does not depend on what else is wanted. */
static void test_some_gradients(void **state)
{
    (void)state;
    test_ctx t = test_begin(2);
    for (size_t k = 0; k < RK_COUNT(cases); k++) {
        const op_case *c = &cases[k];
        run_options o = {.real = RK_F64, .kind = RK_ARENA_GROWING};
        double *x[MAX_IN] = {0};
        draw_inputs(&t, c, x);
        const run_result all = run_case(&t, c, x, &o);
        const int n = case_inputs(c);
        for (int i = 0; i < 2 * n; i++) {
            const unsigned one = 1u << i % n;
            o.without = i < n ? ~one : one;
            if (!is_real(&c->in[i % n]) || (n == 1 && i > 0) ||
                (i >= n && n == 2 && !is_real(&c->in[1 - i % n])))
                continue;
            test_shape(&t, "%s, without %#x", c->name, o.without);
            const run_result some = run_case(&t, c, x, &o);
            for (int g = 0; g < n; g++) {
                const bool wanted = is_real(&c->in[g]) && !(o.without >> g & 1);
                assert_int_equal(some.grad[g] != NULL, wanted);
                if (wanted)
                    test_same(&t, "gradient", all.grad[g], some.grad[g],
                              (size_t)all.n_in[g] * sizeof(double));
            }
        }
        test_reset(&t);
    }
    test_end(&t);
}

static void close_to_f64(test_ctx *t, const char *what, const double *want, const float *got,
                         int64_t n)
{
    double largest = 1.0;
    for (int64_t i = 0; i < n; i++)
        largest = fmax(largest, fabs(want[i]));
    for (int64_t i = 0; i < n; i++)
        if (!(fabs(want[i] - (double)got[i]) <= 1e-5 * largest))
            fail_msg("%s [%" PRId64 "]: f64 %.9g, f32 %.9g; %s", what, i, want[i], (double)got[i],
                     t->shape);
}

/* Every path, in both classes. */
static void test_f32(void **state)
{
    (void)state;
    test_ctx t = test_begin(3);
    for (size_t k = 0; k < RK_COUNT(cases); k++) {
        const op_case *c = &cases[k];
        const run_options exact = {.real = RK_F64, .kind = RK_ARENA_GROWING};
        double *x[MAX_IN] = {0};
        draw_inputs(&t, c, x);
        const run_result want = run_case(&t, c, x, &exact);
        for (int p = 0; rk_kernels_at(p); p++)
            for (int long_class = 0; long_class < 2; long_class++) {
                const run_options o = {.real = RK_F32,
                                       .kind = RK_ARENA_GROWING,
                                       .kernels = rk_kernels_at(p),
                                       .long_class = long_class};
                test_shape(&t, "%s, %s, long %d", c->name, o.kernels->name, long_class);
                const run_result got = run_case(&t, c, x, &o);
                for (int q = 0; q < c->n_out; q++)
                    close_to_f64(&t, "output", want.out[q], got.out[q], want.n[q]);
                for (int i = 0; i < case_inputs(c); i++)
                    if (want.grad[i])
                        close_to_f64(&t, "gradient", want.grad[i], got.grad[i], want.n_in[i]);
            }
        test_reset(&t);
    }
    test_end(&t);
}

static void test_threads(void **state)
{
    (void)state;
    test_ctx t = test_begin(4);
    for (size_t k = 0; k < RK_COUNT(cases); k++)
        for (int p = 0; rk_kernels_at(p); p++)
            for (int long_class = 0; long_class < 2; long_class++) {
                const op_case *c = &cases[k];
                run_options o = {.real = RK_F32,
                                 .kind = RK_ARENA_GROWING,
                                 .kernels = rk_kernels_at(p),
                                 .long_class = long_class};
                double *x[MAX_IN] = {0};
                draw_inputs(&t, c, x);
                const run_result one = run_case(&t, c, x, &o);
                for (o.threads = 2; o.threads <= 4; o.threads += 2) {
                    test_shape(&t, "%s, %s, %d threads", c->name, o.kernels->name, o.threads);
                    const run_result more = run_case(&t, c, x, &o);
                    same_results(&t, c, &one, &more, RK_F32);
                }
                test_reset(&t);
            }
    test_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_some_gradients),
        cmocka_unit_test(test_f32),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests_name("ops", tests, NULL, NULL);
}
