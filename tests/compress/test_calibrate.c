/* Calibration: the mean squares of activations follow their size, and none is zero. */
#include "infer/test_model_util.h"

#include "compress/calibrate.h"

enum { V = 97, C = 32, N_TEXT = 12, UNUSED = 3 };

static const rk_param *find(const rk_model *m, const char *name)
{
    for (int64_t i = 0; i < m->n_params; i++)
        if (!strcmp(m->params[i].name, name))
            return &m->params[i];
    fail_msg("no parameter %s", name);
    return NULL;
}

/* A layer sees the output of its norm times a factor, and nothing of one channel. */
static void scale_norm(const rk_model *m, float factor)
{
    static const char *const norm[] = {"blocks.0.ln1.weight", "blocks.0.ln1.bias"};
    for (size_t i = 0; i < RK_COUNT(norm); i++) {
        float *x = find(m, norm[i])->tensor.data;
        for (int64_t c = 0; c < C; c++)
            x[c] = c == UNUSED ? 0.0f : x[c] * factor;
    }
}

/* Mean squares (C) of what the receptance of that layer is multiplied with. */
static const float *means(test_ctx *t, const int32_t *text, float factor)
{
    rk_model *m = test_model_make(1, 1, C);
    rk_engine *e = test_engine(1);
    rk_calibration *c = NULL;
    rk_error err = {0};
    scale_norm(m, factor);
    test_ok(rk_calibrate(&c, m, e, text, N_TEXT, N_TEXT, NULL, NULL, &err), &err);
    const float *of = rk_calibration_of(c, find(m, "blocks.0.att.receptance.weight"));
    assert_non_null(of);
    const float *kept = test_copy_f32(t, of, C);
    rk_calibration_free(c);
    rk_engine_free(e);
    rk_model_close(m);
    return kept;
}

/* Up to the product everything is linear, so that a power of two changes no other bit; the floor
 * for channels that the text does not use follows, too. */
static void test_scaled(void **state)
{
    (void)state;
    test_ctx t = test_begin(3);
    const int32_t *text = test_tokens(&t, N_TEXT, V);
    const float *want = means(&t, text, 1.0f), *got = means(&t, text, 0x1p-10f);
    double total = 0;
    for (int64_t i = 0; i < C; i++) {
        test_shape(&t, "channel %" PRId64, i);
        if (!(got[i] > 0.0f && got[i] == want[i] * 0x1p-20f))
            fail_msg("%g, expected 2^-20 of %g; %s", (double)got[i], (double)want[i], t.shape);
        total += (double)want[i];
    }
    test_shape(&t, "unused");
    /* the floor is in each of the others, too */
    const float floor = (float)(1e-3 * total / C / 1.001);
    test_close(&t, "floor", &floor, &want[UNUSED], 1, 1e-4f * floor);
    test_end(&t);
}

/* Nothing is multiplied with anything: all columns count the same. */
static void test_silent(void **state)
{
    (void)state;
    test_ctx t = test_begin(3);
    const float *got = means(&t, test_tokens(&t, N_TEXT, V), 0.0f);
    for (int64_t i = 0; i < C; i++)
        assert_true(got[i] == 1.0f / N_TEXT);
    test_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_scaled),
                                       cmocka_unit_test(test_silent)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
