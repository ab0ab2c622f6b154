/* Tuned states in the orders of several programs: the same states come out of every file, found by its
 * ending or named. */
#include "test_model_util.h"

#include "format/scheme.h"
#include "infer/session.h"
#include "infer/tuned_file.h"
#include "io/pth.h"

enum { V = 97, L = 2, C = 48, N = 16, H = C / N, ALL = H * N * N };

/* A .pth file of these states (L, H, value, key). */
static const char *pth_of(test_ctx *t, const char *dir, const float *x)
{
    char names[L][64];
    rk_file_tensor tensors[L];
    rk_error err = {0};
    for (int l = 0; l < L; l++) {
        snprintf(names[l], sizeof names[l], "blocks.%d.att.time_state", l);
        tensors[l] = (rk_file_tensor){.name = names[l],
                                      .dtype = RK_F32,
                                      .n_dims = 3,
                                      .dims = {H, N, N},
                                      .data = x + l * ALL,
                                      .bytes = ALL * sizeof *x};
    }
    const char *path = test_path(t, dir, "a.pth");
    test_ok(rk_pth_write(path, &(rk_file_contents){.tensors = tensors, .n_tensors = L}, true, &err),
            &err);
    return path;
}

static rk_file *open_states(const char *path, rk_tuned_layout layout, const rk_model *m)
{
    rk_file *f = NULL;
    rk_error err = {0};
    test_ok(rk_tuned_file_open(&f, path, layout, m, &err), &err);
    return f;
}

/* Values that f16 holds, so that no file rounds them. */
static const float *random_states(test_ctx *t)
{
    float *x = test_uniform(t, L * ALL, -2, 2);
    for (int i = 0; i < L * ALL; i++)
        x[i] = rk_f16_to_f32(rk_f32_to_f16(x[i]));
    return x;
}

static void test_orders(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        rk_tuned_layout layout, back; /* as it is written, and read again */
        bool half;
    } cases[] = {{"b.pth", RK_TUNED_BY_NAME, RK_TUNED_BY_NAME, false},
                 {"c.safetensors", RK_TUNED_VALUE_KEY, RK_TUNED_BY_NAME, false},
                 {"d.state", RK_TUNED_BY_NAME, RK_TUNED_BY_NAME, true},
                 {"e.st", RK_TUNED_KEY_VALUE, RK_TUNED_BY_NAME, true},
                 {"f.safetensors", RK_TUNED_KEY_VALUE, RK_TUNED_KEY_VALUE, false},
                 {"g.state", RK_TUNED_VALUE_KEY, RK_TUNED_VALUE_KEY, false},
                 {"h.bin", RK_TUNED_RWKV_CPP, RK_TUNED_RWKV_CPP, false}};
    test_ctx t = test_begin(1);
    test_arch = &rk_arch_rwkv7;
    test_tuned = false;
    const test_model m = test_model_open(&t, 1, L, C, RK_F32);
    const char *dir = test_temp_dir(&t);
    const float *x = random_states(&t);
    const char *first = pth_of(&t, dir, x);
    rk_error err = {0};
    for (size_t i = 0; i < RK_COUNT(cases); i++) {
        const char *path = test_path(&t, dir, cases[i].name),
                   *last = test_path(&t, dir, "last.pth");
        test_shape(&t, "%s", cases[i].name);
        rk_file *f = open_states(first, RK_TUNED_BY_NAME, NULL);
        test_ok(rk_tuned_file_write(f, path, cases[i].layout, cases[i].half, false, &err), &err);
        rk_file_close(f);
        f = open_states(path, cases[i].back, m.model);
        test_ok(rk_tuned_file_write(f, last, RK_TUNED_VALUE_KEY, false, true, &err), &err);
        rk_file_close(f);
        size_t n = 0, n_last = 0;
        const char *bytes = test_read_file(&t, first, &n),
                   *back = test_read_file(&t, last, &n_last);
        assert_int_equal(n, n_last);
        test_same(&t, "the file", bytes, back, n);
    }
    rk_model_close(m.model);
    test_end(&t);
}

/* A session starts the same from each of them; the wrong order starts another one. */
static void test_sessions(void **state)
{
    (void)state;
    test_ctx t = test_begin(2);
    test_arch = &rk_arch_rwkv6;
    test_tuned = false;
    const test_model m = test_model_open(&t, 1, L, C, RK_F32);
    rk_engine *e = test_engine(1);
    rk_session *s = NULL;
    rk_error err = {0};
    const char *dir = test_temp_dir(&t), *pth = pth_of(&t, dir, random_states(&t));
    const char *ai00 = test_path(&t, dir, "a.state"), *flat = test_path(&t, dir, "a.bin");
    rk_file *f = open_states(pth, RK_TUNED_BY_NAME, NULL);
    test_ok(rk_tuned_file_write(f, ai00, RK_TUNED_BY_NAME, true, false, &err), &err);
    test_ok(rk_tuned_file_write(f, flat, RK_TUNED_RWKV_CPP, false, false, &err), &err);
    rk_file_close(f);
    test_ok(rk_session_new(&s, m.model, e, &err), &err);
    const size_t bytes = rk_session_state_bytes(s);
    void *want = test_alloc(&t, bytes), *got = test_alloc(&t, bytes);
    test_ok(rk_session_tuned_load(s, pth, RK_TUNED_VALUE_KEY, &err), &err);
    test_ok(rk_session_state_get(s, want, bytes, &err), &err);
    test_ok(rk_session_state_load(s, ai00, false, &err), &err);
    test_ok(rk_session_state_get(s, got, bytes, &err), &err);
    test_same(&t, "ai00's", want, got, bytes);
    test_ok(rk_session_tuned_load(s, flat, RK_TUNED_RWKV_CPP, &err), &err);
    test_ok(rk_session_state_get(s, got, bytes, &err), &err);
    test_same(&t, "rwkv.cpp's", want, got, bytes);
    test_ok(rk_session_tuned_load(s, ai00, RK_TUNED_VALUE_KEY, &err), &err);
    test_ok(rk_session_state_get(s, got, bytes, &err), &err);
    assert_memory_not_equal(want, got, bytes);
    rk_session_free(s);
    rk_engine_free(e);
    rk_model_close(m.model);
    test_end(&t);
}

/* States of files in different orders, each with a factor, added up; what is no such sum is refused. */
static void test_sums(void **state)
{
    (void)state;
    test_ctx t = test_begin(3);
    const char *dir = test_temp_dir(&t), *pth = pth_of(&t, dir, random_states(&t));
    const char *ai00 = test_path(&t, dir, "b.state");
    char *sum = test_alloc(&t, 8192);
    rk_error err = {0};
    rk_file *f = open_states(pth, RK_TUNED_BY_NAME, NULL), *added = NULL;
    test_ok(rk_tuned_file_write(f, ai00, RK_TUNED_BY_NAME, true, false, &err), &err);
    snprintf(sum, 8192, "%s:0.75,%s:-0.25", pth, ai00);
    added = open_states(sum, RK_TUNED_BY_NAME, NULL);
    assert_true(rk_file_is_tuned_state(added));
    for (int64_t l = 0; l < L; l++) {
        const float *x = rk_file_at(f, l)->data, *y = rk_file_at(added, l)->data;
        for (int i = 0; i < ALL; i++)
            assert_true(fabsf(y[i] - 0.5f * x[i]) <= 1e-6f);
    }
    rk_file_close(f);
    rk_file_close(added);
    const char *const bad[] = {":half", ":nan", ",", ":0.5,/none"};
    for (size_t i = 0; i < RK_COUNT(bad); i++) {
        snprintf(sum, 8192, "%s%s", i == 2 ? "/none" : pth, bad[i]);
        assert_int_not_equal(rk_tuned_file_open(&f, sum, RK_TUNED_BY_NAME, NULL, &err), RK_OK);
        rk_file_close(f);
    }
    test_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_orders),
                                       cmocka_unit_test(test_sessions),
                                       cmocka_unit_test(test_sums)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
