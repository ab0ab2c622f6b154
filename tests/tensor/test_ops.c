/* Every op: gradients against central differences, f32 against f64, the two classes, threads. */
#include "op_runs.h"

enum { DIRECTIONS = 3 };

static void check_direction(rk_ctx *ctx, const rk_op_case *c, uint64_t seed, unsigned which,
                            uint64_t direction)
{
    rk_error err = {0};
    const double e = rk_op_case_gradient_error(ctx, c, seed, which, direction);
    test_ok(rk_ctx_status(ctx, &err), &err);
    if (!(e <= 1e-6))
        fail_msg("%s: inputs %#x: gradient and difference are %g apart", c->name, which, e);
}

/* Each input alone, then all of them in a few directions. */
static void check_gradients(test_ctx *t, rk_ctx *ctx, const rk_op_case *c, run_result *r)
{
    const run_options o = {.c.real = RK_F64, .kind = RK_ARENA_GROWING};
    unsigned all = 0;
    *r = run_case(t, c, &o);
    for (int i = 0; i < rk_op_case_inputs(c); i++) {
        if (!rk_op_case_is_real(c, i))
            continue;
        assert_non_null(r->grad[i]);
        check_direction(ctx, c, t->seed, 1u << i, 0);
        all |= 1u << i;
    }
    for (uint64_t n = 0; all && n < DIRECTIONS; n++)
        check_direction(ctx, c, t->seed, all, n);
}

/* An op that has a backward has to be met by a case of its own. */
static void test_gradients(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    rk_pool *pool;
    rk_ctx ctx;
    const rk_op_case *c;
    const rk_op *op;
    open_ctx(&ctx, &pool, &(run_options){.kind = RK_ARENA_GROWING});
    for (int i = 0; (op = rk_op_at(i)); i++) {
        bool covered = false, met = !op->on[RK_CPU].backward;
        for (int k = 0; (c = rk_op_case_at(k)); k++) {
            run_result r;
            if (c->op != op)
                continue;
            test_shape(&t, "%s", c->name);
            check_gradients(&t, &ctx, c, &r);
            covered = true;
            met = met || r.has_op;
            test_reset(&t);
        }
        if (!covered || !met)
            fail_msg("%s: no case %s", op->name, covered ? "records it" : "in cases_*.c");
    }
    rk_ctx_deinit(&ctx);
    rk_pool_free(pool);
    test_end(&t);
}

/* Each input alone, and all but it: what is computed does not depend on what else is wanted. */
static void check_some(test_ctx *t, const rk_op_case *c)
{
    run_options o = {.c.real = RK_F64, .kind = RK_ARENA_GROWING};
    const run_result all = run_case(t, c, &o);
    const int n = rk_op_case_inputs(c);
    unsigned reals = 0;
    for (int i = 0; i < n; i++)
        reals |= (unsigned)rk_op_case_is_real(c, i) << i;
    for (int i = 0; i < 2 * n; i++) {
        const unsigned one = 1u << i % n;
        o.c.frozen = i < n ? ~one : one;
        if (!(reals & one) || !(reals & ~o.c.frozen))
            continue;
        test_shape(t, "%s, without %#x", c->name, o.c.frozen);
        const run_result some = run_case(t, c, &o);
        for (int g = 0; g < n; g++) {
            const bool wanted = reals & ~o.c.frozen & 1u << g;
            assert_int_equal(some.grad[g] != NULL, wanted);
            if (wanted)
                test_same(t, "gradient", all.grad[g], some.grad[g],
                          (size_t)all.count_in[g] * sizeof(double));
        }
    }
}

static void test_some_gradients(void **state)
{
    (void)state;
    test_ctx t = test_begin(2);
    const rk_op_case *c;
    for (int k = 0; (c = rk_op_case_at(k)); k++) {
        check_some(&t, c);
        test_reset(&t);
    }
    test_end(&t);
}

static void close_to_f64(const test_ctx *t, const char *what, const double *want, const float *got,
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

static void all_close_to_f64(const test_ctx *t, const run_result *want, const run_result *got)
{
    for (int q = 0; q < want->n_out; q++)
        close_to_f64(t, "output", want->out[q], got->out[q], want->count[q]);
    for (int i = 0; i < want->n_in; i++)
        if (want->grad[i])
            close_to_f64(t, "gradient", want->grad[i], got->grad[i], want->count_in[i]);
}

/* Every path, in both classes, with a tape and without. */
static void test_f32(void **state)
{
    (void)state;
    test_ctx t = test_begin(3);
    const rk_op_case *c;
    for (int k = 0; (c = rk_op_case_at(k)); k++)
        for (int how = 0; how < 4; how++) {
            run_options o = {.c = {.real = RK_F64, .long_class = how & 1, .forward_only = how & 2},
                             .kind = RK_ARENA_GROWING};
            const run_result want = run_case(&t, c, &o);
            o.c.real = RK_F32;
            for (int p = 0; (o.kernels = rk_kernels_at(p)); p++) {
                test_shape(&t, "%s, %s, how %d", c->name, o.kernels->name, how);
                const run_result got = run_case(&t, c, &o);
                all_close_to_f64(&t, &want, &got);
            }
            test_reset(&t);
        }
    test_end(&t);
}

static void test_threads(void **state)
{
    (void)state;
    test_ctx t = test_begin(4);
    const rk_op_case *c;
    for (int k = 0; (c = rk_op_case_at(k)); k++)
        for (int p = 0; rk_kernels_at(p); p++)
            for (int how = 0; how < 4; how++) {
                run_options o = {
                    .c = {.real = RK_F32, .long_class = how & 1, .forward_only = how & 2},
                    .kind = RK_ARENA_GROWING,
                    .kernels = rk_kernels_at(p)};
                const run_result one = run_case(&t, c, &o);
                for (o.threads = 2; o.threads <= 4; o.threads += 2) {
                    test_shape(&t, "%s, %s, %d threads", c->name, o.kernels->name, o.threads);
                    const run_result more = run_case(&t, c, &o);
                    same_results(&t, &one, &more, RK_F32);
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
