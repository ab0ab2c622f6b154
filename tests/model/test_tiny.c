/* Small trained models in rwkv.cpp's files, with the logits that it computes after the bytes "in
 * (RWKV 4, 5 and 7; also in 16 bits and in blocks). Skipped where the files are not. */
#include "test_util.h"

#include "model/model.h"

enum { N_VOCAB = 256 };

static void check(const char *model, const char *expected, double limit)
{
    static const int32_t prompt[] = {34, 105, 110};
    test_ctx t = test_begin(1);
    char name[96];
    rk_engine *e = NULL;
    rk_model *m = NULL;
    rk_session *s = NULL;
    rk_error err = {0};
    float logits[N_VOCAB];
    double worst = 0.0;
    size_t bytes = 0;
    snprintf(name, sizeof name, "data/tiny/expected-logits-%s.bin", expected);
    const char *want = test_read_file(&t, test_shared(&t, name), &bytes);
    assert_int_equal(bytes, sizeof logits);
    snprintf(name, sizeof name, "data/tiny/tiny-rwkv-%s.bin", model);
    test_ok(rk_model_open(&m, test_shared(&t, name), &err), &err);
    test_ok(rk_engine_new(&e, NULL, &err), &err);
    test_ok(rk_session_new(&s, m, e, &err), &err);
    test_ok(rk_session_eval(s, prompt, 3, logits, &err), &err);
    for (int i = 0; i < N_VOCAB; i++) {
        float x;
        memcpy(&x, want + (size_t)i * sizeof x, sizeof x);
        worst = fmax(worst, fabs((double)x - (double)logits[i]));
    }
    print_message("%s: %.2g from the expected logits\n", model, worst);
    assert_true(worst < limit);
    rk_session_free(s);
    rk_engine_free(e);
    rk_model_close(m);
    test_end(&t);
}

static void test_rwkv4(void **state)
{
    (void)state;
    check("4v0-660K-FP32", "4v0-660K", 1e-4);
}

static void test_rwkv5(void **state)
{
    (void)state;
    check("5v2-730K-FP32", "5v2-730K", 1e-4);
}

static void test_rwkv7(void **state)
{
    (void)state;
    check("7v0-834K-FP32", "7v0-834K", 1e-4);
    check("7v0-834K-FP16", "7v0-834K", 1e-4); /* a bf16 model: its weights fit 16 bits exactly */
}

/* The expected logits are those of the model in f32; five bits change them by this much. */
static void test_blocks(void **state)
{
    (void)state;
    check("5v2-730K-Q5_1", "5v2-730K", 0.5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rwkv4), cmocka_unit_test(test_rwkv5),
                                       cmocka_unit_test(test_rwkv7), cmocka_unit_test(test_blocks)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
