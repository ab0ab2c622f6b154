/* The states that streams begin with, in a model's file and in one of their own. */
#include "test_model_util.h"

#include "format/format.h"
#include "format/scheme.h"
#include "infer/session.h"

enum { V = 97, L = 2, C = 48, N = 16, H = C / N, T = 20 };

/* The same model without its tuned states. */
static rk_model *without_states(test_ctx *t, const rk_model *m)
{
    const int64_t n = rk_file_count(m->file);
    rk_file_tensor *kept = test_alloc(t, (size_t)n * sizeof *kept);
    rk_file_contents contents = {.tensors = kept};
    rk_model *out = NULL;
    rk_error err = {0};
    for (int64_t i = 0; i < n; i++)
        if (!strstr(rk_file_at(m->file, i)->name, "time_state"))
            kept[contents.n_tensors++] = *rk_file_at(m->file, i);
    assert_int_equal(contents.n_tensors, n - L);
    const char *path = test_path(t, test_temp_dir(t), "plain.safetensors");
    test_ok(rk_st_write(path, &contents, false, NULL, &err), &err);
    test_ok(rk_model_open(&out, path, &err), &err);
    return out;
}

/* The tuned states of a model's file (L, H, value, key). */
static float *states_of(test_ctx *t, const rk_model *m)
{
    float *x = test_alloc_f32(t, (int64_t)L * H * N * N);
    for (int l = 0; l < L; l++) {
        char name[64];
        snprintf(name, sizeof name, "blocks.%d.att.time_state", l);
        rk_file_floats(rk_file_find(m->file, name), 0, (int64_t)H * N * N, x + l * H * N * N);
    }
    return x;
}

/* What a stream begins with: zeros, and the states (L, H, value, key) in the order that the
 * recurrence has, key-major in RWKV-5 and RWKV-6. */
static float *first_state(test_ctx *t, const float *states, bool key_major)
{
    float *state = test_alloc_f32(t, (int64_t)L * (2 * C + H * N * N)), *at = state;
    for (int l = 0; l < L; l++, at += 2 * C + H * N * N) {
        memset(at, 0, (2 * C + H * N * N) * sizeof *at);
        for (int h = 0; h < H; h++)
            for (int v = 0; v < N; v++)
                for (int k = 0; k < N; k++)
                    at[C + h * N * N + (key_major ? k * N + v : v * N + k)] =
                        states[((l * H + h) * N + v) * N + k];
    }
    return state;
}

static void check_arch(const rk_arch *arch, rk_dtype dtype, bool key_major)
{
    test_ctx t = test_begin(4);
    test_arch = arch;
    test_tuned = true;
    test_shape(&t, "%s, %s", arch->name, rk_dtype_name(dtype));
    const test_model tuned = test_model_open(&t, 1, L, C, dtype);
    rk_model *plain = without_states(&t, tuned.model);
    rk_engine *e = test_engine(1);
    rk_session *a = NULL, *b = NULL;
    rk_error err = {0};
    const float *want = first_state(&t, states_of(&t, tuned.model), key_major);
    const size_t bytes = (size_t)L * (2 * C + H * N * N) * sizeof *want;
    float *got = test_alloc(&t, bytes), *x = test_alloc_f32(&t, (int64_t)T * V);
    float *y = test_alloc_f32(&t, (int64_t)T * V);
    const int32_t *tokens = test_tokens(&t, T, V);
    test_ok(rk_session_new(&a, tuned.model, e, &err), &err);
    test_ok(rk_session_new(&b, plain, e, &err), &err);
    test_ok(rk_session_state_get(a, got, bytes, &err), &err);
    test_same(&t, "first state", want, got, bytes);

    test_ok(rk_session_eval_all(b, tokens, T, y, &err), &err);
    test_ok(rk_session_eval_all(a, tokens, T, x, &err), &err);
    assert_memory_not_equal(x, y, (size_t)T * V * sizeof *x);
    test_ok(rk_session_state_set(b, want, bytes, &err), &err);
    test_ok(rk_session_eval_all(b, tokens, T, y, &err), &err);
    test_same(&t, "scores", y, x, (size_t)T * V * sizeof *x);
    rk_session_reset(a);
    test_ok(rk_session_state_get(a, got, bytes, &err), &err);
    test_same(&t, "state after reset", want, got, bytes);

    rk_session_free(a);
    rk_session_free(b);
    rk_engine_free(e);
    rk_model_close(plain);
    rk_model_close(tuned.model);
    test_end(&t);
}

/* ---- states alone in a file ---- */

static const char *state_name(test_ctx *t, int layer)
{
    char *name = test_alloc(t, 64);
    snprintf(name, 64, "blocks.%d.att.time_state", layer);
    return name;
}

/* A file of states (L, H, value, key) alone, each matrix as it is or exchanged. */
static const char *states_file(test_ctx *t, const float *states, int n_layer,
                               rk_tuned_layout layout)
{
    rk_file_tensor tensors[L + 1] = {0};
    const rk_file_contents contents = {.tensors = tensors, .n_tensors = n_layer};
    rk_error err = {0};
    for (int l = 0; l < n_layer; l++) {
        const float *from = states + l % L * H * N * N;
        float *x = test_alloc_f32(t, (int64_t)H * N * N);
        for (int i = 0; i < H * N * N; i++) {
            const int h = i / (N * N), a = i / N % N, b = i % N;
            x[i] = layout == RK_TUNED_KEY_VALUE ? from[(h * N + b) * N + a] : from[i];
        }
        tensors[l] = (rk_file_tensor){.name = state_name(t, l),
                                      .dtype = RK_F32,
                                      .n_dims = 3,
                                      .dims = {H, N, N},
                                      .data = x,
                                      .bytes = (size_t)H * N * N * sizeof *x};
    }
    const char *path = test_path(t, test_temp_dir(t), "states.safetensors");
    test_ok(rk_st_write(path, &contents, false, NULL, &err), &err);
    return path;
}

/* The same tensors as PyTorch has them. */
static const char *as_pth(test_ctx *t, const char *path)
{
    rk_file *f = NULL;
    rk_error err = {0};
    const char *out = test_path(t, test_temp_dir(t), "states.pth");
    test_ok(rk_file_open(&f, path, &err), &err);
    test_ok(rk_file_save(f, out, &(rk_save_options){.keep_types = true}, &err), &err);
    rk_file_close(f);
    return out;
}

static void check_file(test_ctx *t, rk_session *s, const char *path, rk_tuned_layout layout,
                       const float *want)
{
    const size_t bytes = rk_session_state_bytes(s);
    float *got = test_alloc(t, bytes);
    rk_error err = {0};
    const int32_t token = 1;
    test_ok(rk_session_eval(s, &token, 1, NULL, &err), &err); /* of which nothing is left */
    test_ok(rk_session_tuned_load(s, path, layout, &err), &err);
    test_ok(rk_session_state_get(s, got, bytes, &err), &err);
    test_same(t, path, want, got, bytes);
    if (layout == RK_TUNED_KEY_VALUE)
        return;
    test_ok(rk_session_eval(s, &token, 1, NULL, &err), &err);
    test_ok(rk_session_state_load(s, path, false, &err), &err);
    test_ok(rk_session_state_get(s, got, bytes, &err), &err);
    test_same(t, "as any state", want, got, bytes);
}

/* Refused, with the state as it was. */
static void check_refused(test_ctx *t, rk_session *s, const char *path)
{
    const size_t bytes = rk_session_state_bytes(s);
    char *before = test_alloc(t, bytes), *after = test_alloc(t, bytes);
    rk_error err = {0};
    test_ok(rk_session_state_get(s, before, bytes, &err), &err);
    assert_int_equal(rk_session_state_load(s, path, true, &err), RK_ERR_FORMAT);
    assert_non_null(strstr(err.msg, path));
    assert_int_equal(rk_session_tuned_load(s, path, RK_TUNED_VALUE_KEY, &err), RK_ERR_FORMAT);
    assert_non_null(strstr(err.msg, path));
    test_ok(rk_session_state_get(s, after, bytes, &err), &err);
    assert_memory_equal(before, after, bytes);
}

/* A saved state is none to begin with. */
static void check_saved(test_ctx *t, rk_session *s)
{
    const char *path = test_path(t, test_temp_dir(t), "saved.safetensors");
    rk_error err = {0};
    test_ok(rk_session_state_save(s, path, &err), &err);
    assert_int_equal(rk_session_tuned_load(s, path, RK_TUNED_VALUE_KEY, &err), RK_ERR_FORMAT);
    assert_non_null(strstr(err.msg, "time_state of every layer"));
}

static void check_states_alone(const rk_arch *arch, bool key_major)
{
    test_ctx t = test_begin(4);
    test_arch = arch;
    test_tuned = false;
    test_shape(&t, "%s", arch->name);
    const test_model m = test_model_open(&t, 1, L, C, RK_F32);
    rk_engine *e = test_engine(1);
    rk_session *s = NULL;
    rk_error err = {0};
    const float *states = test_uniform(&t, (int64_t)L * H * N * N, -1.0f, 1.0f);
    const float *want = first_state(&t, states, key_major);
    test_ok(rk_session_new(&s, m.model, e, &err), &err);

    const char *path = states_file(&t, states, L, RK_TUNED_VALUE_KEY);
    check_file(&t, s, path, RK_TUNED_VALUE_KEY, want);
    check_file(&t, s, as_pth(&t, path), RK_TUNED_VALUE_KEY, want);
    check_file(&t, s, states_file(&t, states, L, RK_TUNED_KEY_VALUE), RK_TUNED_KEY_VALUE, want);
    check_refused(&t, s, states_file(&t, states, L - 1, RK_TUNED_VALUE_KEY));
    check_refused(&t, s, states_file(&t, states, L + 1, RK_TUNED_VALUE_KEY));
    check_saved(&t, s);

    rk_session_free(s);
    rk_engine_free(e);
    rk_model_close(m.model);
    test_end(&t);
}

static void test_states_alone(void **state)
{
    (void)state;
    check_states_alone(&rk_arch_rwkv5_0, true);
    check_states_alone(&rk_arch_rwkv5, true);
    check_states_alone(&rk_arch_rwkv6, true);
    check_states_alone(&rk_arch_rwkv7, false);
}

static void test_first_state(void **state)
{
    (void)state;
    check_arch(&rk_arch_rwkv6, RK_F32, true);
    check_arch(&rk_arch_rwkv6, RK_BF16, true);
    check_arch(&rk_arch_rwkv7, RK_F32, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_first_state),
                                       cmocka_unit_test(test_states_alone)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
