/* Models that are not held whole: the same bits as of those that are, whatever is held. */
#include "infer/test_model_util.h"

#include "infer/engine.h"
#include "infer/test_lite_model.h"
#include "model/residence.h"

enum { LAYERS = 3, EMBD = 32, K = 9, LONG = 150, STEPS = 30, TOKENS = 10000 };

/* Scores of a prompt of the long class, of one of the short class, and of tokens one by one. */
static void score(const rk_model *m, rk_engine *e, const int32_t *tokens, float *out)
{
    const int64_t v = m->hp.n_vocab;
    rk_session *s = NULL;
    rk_error err = {0};
    test_ok(rk_session_new(&s, m, e, &err), &err);
    test_ok(rk_session_eval_all(s, tokens, LONG, out, &err), &err);
    test_ok(rk_session_eval_all(s, tokens + LONG, 5, out + LONG * v, &err), &err);
    for (int64_t i = LONG + 5; i < LONG + 5 + STEPS; i++)
        test_ok(rk_session_eval(s, tokens + i, 1, out + i * v, &err), &err);
    rk_session_free(s);
}

static const rk_hold holds[] = {
    {.emb_rows = 1, .layers = LAYERS},
    {.emb_rows = 10, .records = 1, .layers = 1, .head_at_once = 16},
    {.emb_rows = 1000, .records = 25, .layers = 0, .head_at_once = 1},
    {.layers = 2, .records = 1000},
};

static void check_model(test_ctx *t, rk_model *m)
{
    enum { N = LONG + 5 + STEPS };
    const size_t n = (size_t)(N * m->hp.n_vocab);
    const int32_t *tokens = test_tokens(t, N, m->hp.n_vocab);
    float *want = test_alloc(t, n * sizeof *want), *got = test_alloc(t, n * sizeof *got);
    rk_engine *e = test_engine(2);
    rk_error err = {0};
    score(m, e, tokens, want);
    for (size_t i = 0; i < RK_COUNT(holds); i++) {
        test_shape(t, "%s, what is held: %zu", m->arch->name, i);
        test_ok(rk_model_hold(m, &holds[i], &err), &err);
        for (int brought_in = 0; brought_in < 2; brought_in++) {
            if (brought_in)
                test_ok(rk_model_bring_in(m, &err), &err);
            memset(got, 0, n * sizeof *got);
            score(m, e, tokens, got);
            test_same(t, "scores", want, got, n * sizeof *got);
        }
        if (holds[i].emb_rows > 0)
            assert_true(rk_row_cache_stats(m->residence->emb).misses > 0);
    }
    rk_engine_free(e);
}

static void test_archs(void **state)
{
    (void)state;
    static const rk_arch *const archs[] = {&rk_arch_rwkv4, &rk_arch_rwkv5,  &rk_arch_rwkv6,
                                           &rk_arch_rwkv7, &rk_arch_rwkv7a, &rk_arch_meta7,
                                           &rk_arch_qwen2};
    for (size_t i = 0; i < RK_COUNT(archs); i++) {
        test_ctx t = test_begin(10 + i);
        test_arch = archs[i];
        test_model m = test_model_open(&t, 3, LAYERS, EMBD, i % 2 ? RK_F16 : RK_BF16);
        check_model(&t, m.model);
        rk_model_close(m.model);
        test_end(&t);
    }
    test_arch = &rk_arch_rwkv7;
}

/* ---- all parts of RWKV-Lite ---- */

static void test_lite(void **state)
{
    (void)state;
    static const rk_arch *const archs[] = {&rk_arch_rwkv5, &rk_arch_rwkv7};
    for (size_t i = 0; i < RK_COUNT(archs); i++) {
        test_ctx t = test_begin(1);
        const char *path = test_path(&t, test_temp_dir(&t), "lite.safetensors");
        rk_model *m = NULL;
        rk_error err = {0};
        test_lite_write(path, archs[i], 97, LAYERS, EMBD, K);
        test_ok(rk_model_open(&m, path, &err), &err);
        assert_true(m->clusters && m->hp.ffn_records);
        check_model(&t, m);
        const rk_row_stats s = rk_row_cache_stats(m->residence->records[0]);
        assert_true(s.misses > 0 && s.hits > 0);
        rk_model_close(m);
        test_end(&t);
    }
}

/* Rows of the embeddings are those of the table, and never more than were allowed are held. */
static void test_embeddings(void **state)
{
    (void)state;
    static const int64_t capacities[] = {1, 10, 1000};
    test_ctx t = test_begin(4);
    rk_error err = {0};
    rk_engine *e = test_engine(1);
    test_n_vocab = 3000;
    test_model m = test_model_open(&t, 6, 1, EMBD, RK_F16);
    test_n_vocab = 97;
    const int64_t dims[2] = {1, TOKENS};
    int32_t *tokens = test_tokens(&t, TOKENS, 3000);
    rk_tensor *table = &rk_model_param(m.model, "emb.weight")->tensor;
    rk_ctx ctx;
    const rk_ctx_params p = {
        .kernels = rk_engine_kernels(e), .pool = rk_engine_pool(e), .data_kind = RK_ARENA_GROWING};
    test_ok(rk_ctx_init(&ctx, &p, &err), &err);
    for (size_t i = 0; i < RK_COUNT(capacities); i++) {
        rk_tensor ids = rk_tensor_over(RK_I32, 2, dims, tokens);
        const rk_tensor *want = rk_embedding(&ctx, table, &ids);
        test_ok(rk_model_hold(m.model, &(rk_hold){.emb_rows = capacities[i], .layers = 1}, &err),
                &err);
        const rk_tensor *got = rk_model_embed(&ctx, m.model, table, &ids);
        test_ok(rk_ctx_status(&ctx, &err), &err);
        test_same(&t, "rows", want->data, got->data, rk_tensor_bytes(want));
        const rk_row_stats s = rk_row_cache_stats(m.model->residence->emb);
        assert_int_equal(s.held, capacities[i]);
        assert_int_equal(s.hits + s.misses, TOKENS);
        assert_int_equal(s.bytes_read, s.misses * EMBD * 2);
        rk_ctx_reset(&ctx);
    }
    tokens[7] = 3000;
    rk_tensor ids = rk_tensor_over(RK_I32, 2, dims, tokens);
    rk_model_embed(&ctx, m.model, table, &ids);
    assert_int_equal(rk_ctx_status(&ctx, &err), RK_ERR_ARG);
    rk_ctx_deinit(&ctx);
    rk_model_close(m.model);
    rk_engine_free(e);
    test_end(&t);
}

/* A file that is cut while rows come from it ends a call with a sentence, and the session goes on. */
static void test_cut(void **state)
{
    (void)state;
    test_ctx t = test_begin(8);
    rk_error err = {0};
    rk_engine *e = test_engine(1);
    test_model m = test_model_open(&t, 6, 1, EMBD, RK_F16);
    const int32_t first = 3, second = 4;
    rk_session *s = NULL;
    test_ok(rk_model_hold(m.model, &(rk_hold){.emb_rows = 10, .layers = 1}, &err), &err);
    test_ok(rk_session_new(&s, m.model, e, &err), &err);
    float *before = test_alloc(&t, rk_session_state_bytes(s));
    float *after = test_alloc(&t, rk_session_state_bytes(s));
    test_ok(rk_session_eval(s, &first, 1, NULL, &err), &err);
    test_ok(rk_session_state_get(s, before, rk_session_state_bytes(s), &err), &err);
    FILE *f = fopen(m.path, "a");
    assert_non_null(f);
    fputc(0, f);
    fclose(f);
    assert_int_equal(rk_session_eval(s, &second, 1, NULL, &err), RK_ERR_IO);
    assert_non_null(strstr(err.msg, "was extended while in use"));
    test_ok(rk_session_state_get(s, after, rk_session_state_bytes(s), &err), &err);
    test_same(&t, "state", before, after, rk_session_state_bytes(s));
    rk_session_free(s);
    rk_model_close(m.model);
    rk_engine_free(e);
    test_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_archs),
        cmocka_unit_test(test_lite),
        cmocka_unit_test(test_embeddings),
        cmocka_unit_test(test_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
