/* The trainer: what may not change a bit. */
#include "trainer_rig.h"

/* The plain trainer and its variants. */
enum { PLAIN, DROPOUT, L2WRAP, BF16, RECOMPUTED, N_VARIANTS };
static rk_train_params variant(int which)
{
    rk_train_params p = small();
    p.dropout = which == DROPOUT || which == RECOMPUTED ? 0.1 : 0.0;
    p.l2wrap = which == L2WRAP ? 1e-4 : 0.0;
    p.bf16 = which == BF16;
    p.checkpoint_blocks = which == RECOMPUTED;
    return p;
}

static void test_threads(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    const int32_t *data = batches(&t);
    for (int r = 0; r < N_RECIPES; r++) {
        const rk_train_params p = recipe(r);
        const floats want = trained(&t, &p, 1, data);
        for (int n_threads = 2; n_threads <= 4; n_threads *= 2) {
            test_shape(&t, "recipe %d, %d threads", r, n_threads);
            expect_same(&t, want, trained(&t, &p, n_threads, data));
        }
    }
    test_end(&t);
}

static void test_micro_batches(void **state)
{
    (void)state;
    test_ctx t = test_begin(2);
    const int32_t *data = batches(&t);
    for (int v = 0; v < N_VARIANTS; v++)
        for (int64_t slices = 1; slices <= 4; slices *= 2) {
            rk_train_params p = variant(v);
            p.grad_slices = slices;
            const floats want = trained(&t, &p, 2, data);
            for (p.micro_batch = 1; p.micro_batch <= BATCH / slices; p.micro_batch++) {
                test_shape(&t, "variant %d, %d slices, micro-batches of %d", v, (int)slices,
                           (int)p.micro_batch);
                expect_same(&t, want, trained(&t, &p, 2, data));
            }
        }
    test_end(&t);
}

/* Other slices round otherwise. Without clipping the first moment is a tenth of the gradient. */
static void test_slices(void **state)
{
    (void)state;
    test_ctx t = test_begin(3);
    const int32_t *data = batches(&t);
    rk_train_params p = small();
    floats want = {NULL, 0};
    p.clip = 0.0;
    for (p.grad_slices = 1; p.grad_slices <= BATCH; p.grad_slices *= 2) {
        fixture f = begin(&p, 2);
        step(f.trainer, data);
        const floats got = copy_of(&t, f.trainer, 1, 1);
        test_shape(&t, "%d slices", (int)p.grad_slices);
        if (p.grad_slices == 1)
            want = got;
        test_close(&t, "gradient / 10", want.x, got.x, want.n, 1e-7f);
        assert_true(p.grad_slices == 1 || differ(want, got));
        end(&f);
    }
    test_end(&t);
}

static void test_recomputed_blocks(void **state)
{
    (void)state;
    test_ctx t = test_begin(4);
    const int32_t *data = batches(&t);
    rk_train_params p = variant(RECOMPUTED);
    const floats got = trained(&t, &p, 2, data);
    p.checkpoint_blocks = false;
    expect_same(&t, trained(&t, &p, 2, data), got);
    test_end(&t);
}

/* Stop after k steps, carry arrays and step over to a new trainer, go on. */
static floats resumed(test_ctx *t, const rk_train_params *p, const int32_t *data, int64_t k)
{
    fixture a = begin(p, 2), b = begin(p, 1);
    for (int64_t s = 0; s < k; s++)
        step(a.trainer, batch_of(data, s));
    for (int which = 0; which < n_sets(a.trainer); which++) {
        const rk_named_array *from, *to;
        const int64_t n = arrays_of(a.trainer, which, &from);
        assert_int_equal(arrays_of(b.trainer, which, &to), n);
        for (int64_t i = 0; i < n; i++)
            memcpy(to[i].data, from[i].data, (size_t)from[i].n * sizeof(float));
    }
    rk_trainer_set_step(b.trainer, rk_trainer_step_count(a.trainer));
    for (int64_t s = k; s < STEPS; s++)
        step(b.trainer, batch_of(data, s));
    assert_int_equal(rk_trainer_step_count(b.trainer), STEPS);
    const floats all = copy_of(t, b.trainer, 0, n_sets(b.trainer) - 1);
    end(&a);
    end(&b);
    return all;
}

static void test_resume(void **state)
{
    (void)state;
    test_ctx t = test_begin(5);
    const int32_t *data = batches(&t);
    for (int r = 0; r < N_RECIPES; r++) {
        const rk_train_params p = recipe(r);
        const floats want = trained(&t, &p, 2, data);
        for (int64_t k = 0; k < STEPS; k++) {
            test_shape(&t, "recipe %d, stopped after %d steps", r, (int)k);
            expect_same(&t, want, resumed(&t, &p, data, k));
        }
    }
    test_end(&t);
}

static void test_bf16(void **state)
{
    (void)state;
    test_ctx t = test_begin(6);
    const int32_t *data = batches(&t);
    rk_train_params p = small();
    fixture f32 = begin(&p, 2);
    p.bf16 = true;
    fixture bf16 = begin(&p, 2);
    const double want = step(f32.trainer, data).loss, got = step(bf16.trainer, data).loss;
    assert_true(want != got);
    assert_true(fabs(want - got) < 0.02);
    assert_true(differ(copy_of(&t, f32.trainer, 0, 0), copy_of(&t, bf16.trainer, 0, 0)));
    end(&f32);
    end(&bf16);
    test_end(&t);
}

int main(void)
{
    int failed = 0;
    const struct CMUnitTest every[] = {
        cmocka_unit_test(test_threads), cmocka_unit_test(test_micro_batches),
        cmocka_unit_test(test_slices),  cmocka_unit_test(test_recomputed_blocks),
        cmocka_unit_test(test_resume),
    };
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bf16),
    };
    for (int i = 0; next_arch(&i);)
        failed += cmocka_run_group_tests_name(arch->name, every, NULL, NULL);
    return failed + cmocka_run_group_tests(tests, NULL, NULL);
}
