/* The two names of RWKV-5's bonus, and what each of them means. */
#include "infer/test_model_util.h"

static void eval_tokens(rk_engine *e, const rk_model *m, float *logits)
{
    static const int32_t tokens[] = {3, 1, 4, 1, 5, 9, 2, 6};
    rk_error err = {0};
    rk_session *s = NULL;
    test_ok(rk_session_new(&s, m, e, &err), &err);
    test_ok(rk_session_eval(s, tokens, RK_COUNT(tokens), logits, &err), &err);
    rk_session_free(s);
}

/* Where RWKV-5 holds the logarithm of the bonus as time_first, it computes what the same model with
 * time_faaaa does; through files of every container that keeps the name. */
static void test_first(void **state)
{
    (void)state;
    static const rk_arch *const pairs[][2] = {{&rk_arch_rwkv5_0, &rk_arch_rwkv5_0_first},
                                              {&rk_arch_rwkv5_1, &rk_arch_rwkv5_1_first},
                                              {&rk_arch_rwkv5, &rk_arch_rwkv5_first}};
    test_ctx t = test_begin(9);
    rk_error err = {0};
    rk_engine *e = NULL;
    test_ok(rk_engine_new(&e, &(rk_engine_params){.n_threads = 1}, &err), &err);
    const char *dir = test_temp_dir(&t);
    for (size_t i = 0; i < RK_COUNT(pairs); i++) {
        rk_model *m[2];
        float *logits[2];
        for (int first = 0; first < 2; first++) {
            test_arch = pairs[i][first];
            m[first] = test_model_make(5, 2, 48);
            logits[first] = test_alloc(&t, 97 * sizeof(float));
        }
        assert_int_equal(m[0]->n_params, m[1]->n_params);
        for (int64_t p = 0; p < m[1]->n_params; p++) {
            float *plain = m[0]->params[p].tensor.data, *log_of = m[1]->params[p].tensor.data;
            const int64_t n = rk_tensor_count(&m[1]->params[p].tensor);
            for (int64_t k = 0; strstr(m[1]->params[p].name, "time_first") && k < n; k++) {
                plain[k] = fabsf(plain[k]) + 0.1f;
                log_of[k] = logf(plain[k]);
            }
        }
        for (int first = 0; first < 2; first++) {
            const char *path = test_path(&t, dir, first ? "first.pth" : "plain.safetensors");
            rk_model *read = NULL;
            const rk_save_options o = {.dtype = RK_F32, .overwrite = true};
            test_ok(rk_model_save(m[first], path, &o, &err), &err);
            test_ok(rk_model_open(&read, path, &err), &err);
            assert_ptr_equal(read->arch, pairs[i][first]);
            if (first) { /* ours keeps the name, and what it means */
                path = test_path(&t, dir, "first.safetensors");
                test_ok(rk_model_save(read, path, &o, &err), &err);
                rk_model_close(read);
                test_ok(rk_model_open(&read, path, &err), &err);
                assert_ptr_equal(read->arch, pairs[i][first]);
            }
            eval_tokens(e, read, logits[first]);
            rk_model_close(read);
        }
        test_close(&t, "logits", logits[0], logits[1], 97, 1e-5f);
        rk_model_close(m[0]);
        rk_model_close(m[1]);
    }
    rk_engine_free(e);
    test_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_first)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
