/* The golden models in double, and in f32 on every path and in both classes. */
#include "test_util.h"

#include "selftest/golden.h"

static void compare(const rk_golden *g, const rk_kernels *kern, rk_dtype real, bool long_class,
                    rk_golden_error *out)
{
    rk_error err = {0};
    rk_pool *pool = NULL;
    rk_model *m = NULL;
    rk_ctx ctx;
    test_ok(rk_pool_new(&pool, 2, NULL, NULL, NULL, &err), &err);
    test_ok(rk_golden_model(&m, g, real, &err), &err);
    const rk_ctx_params p = {.kernels = kern, .pool = pool, .data_kind = RK_ARENA_GROWING};
    test_ok(rk_ctx_init(&ctx, &p, &err), &err);
    ctx.long_class = long_class;
    test_ok(rk_golden_compare(&ctx, g, m, out, &err), &err);
    print_message("%s %s %s %s: logits %.2g, loss %.2g, state %.2g, gradients %.2g (%s)\n",
                  rk_golden_name(g), kern->name, rk_dtype_name(real), long_class ? "long" : "short",
                  out->logits, out->loss, out->state, out->grads, out->worst_grad);
    rk_ctx_deinit(&ctx);
    rk_model_close(m);
    rk_pool_free(pool);
}

static void test_f64(void **state)
{
    (void)state;
    const rk_golden *g;
    for (int i = 0; (g = rk_golden_at(i / 2)); i++) {
        rk_golden_error e;
        compare(g, &rk_kernels_ref_f32, RK_F64, i % 2, &e);
        assert_true(e.weights < 1e-8);
        assert_true(e.logits < 1e-6);
        assert_true(e.loss < 1e-8);
        assert_true(e.state < 1e-7);
        assert_true(e.grads < 1e-8);
    }
}

static void test_f32(void **state)
{
    (void)state;
    const rk_kernels *kern;
    const rk_golden *g;
    for (int i = 0; (kern = rk_kernels_at(i)); i++)
        for (int k = 0; (g = rk_golden_at(k / 2)); k++) {
            rk_golden_error e;
            compare(g, kern, RK_F32, k % 2, &e);
            assert_true(e.logits < 1e-5);
            assert_true(e.loss < 1e-5);
            assert_true(e.state < 1e-5);
            assert_true(e.grads < 1e-5);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_f64), cmocka_unit_test(test_f32)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
