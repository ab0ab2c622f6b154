/* Models whose files hold the state that streams begin with. */
#include "test_model_util.h"

#include "format/scheme.h"

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

/* What a stream begins with: zeros, and the file's states (H, value, key) in the order that the
 * recurrence has, key-major in RWKV-6. */
static float *first_state(test_ctx *t, const rk_model *m, bool key_major)
{
    float *state = test_alloc_f32(t, (int64_t)L * (2 * C + H * N * N)), *at = state;
    for (int l = 0; l < L; l++, at += 2 * C + H * N * N) {
        char name[64];
        float from[H][N][N];
        snprintf(name, sizeof name, "blocks.%d.att.time_state", l);
        rk_file_floats(rk_file_find(m->file, name), 0, (int64_t)H * N * N, &from[0][0][0]);
        memset(at, 0, (2 * C + H * N * N) * sizeof *at);
        for (int h = 0; h < H; h++)
            for (int v = 0; v < N; v++)
                for (int k = 0; k < N; k++)
                    at[C + h * N * N + (key_major ? k * N + v : v * N + k)] = from[h][v][k];
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
    const float *want = first_state(&t, tuned.model, key_major);
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

static void test_first_state(void **state)
{
    (void)state;
    check_arch(&rk_arch_rwkv6, RK_F32, true);
    check_arch(&rk_arch_rwkv6, RK_BF16, true);
    check_arch(&rk_arch_rwkv7, RK_F32, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_first_state)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
