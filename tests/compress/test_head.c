/* Hierarchical heads: what clusters get of the probability, what is computed with them, how they are made. */
#include "infer/test_model_util.h"

#include "compress/head.h"
#include "compress/remade.h"
#include "compress/token_clusters.h"
#include "compress/whole.h"
#include "infer/cluster_head.h"
#include "infer/engine.h"
#include "infer/test_lite_model.h"
#include "model/clusters.h"

enum { V = 97, C = 48, LAYERS = 2, TOKENS = 60, K = 9 };

static rk_clusters *clusters_of(const float *of, int64_t n)
{
    rk_clusters *c = NULL;
    rk_error err = {0};
    test_ok(rk_clusters_new(&c, n, V, of, &err), &err);
    return c;
}

static void softmax(const float *x, double *p)
{
    double most = (double)x[0], sum = 0;
    for (int i = 0; i < V; i++)
        most = fmax(most, (double)x[i]);
    for (int i = 0; i < V; i++)
        sum += p[i] = exp((double)x[i] - most);
    for (int i = 0; i < V; i++)
        p[i] /= sum;
}

/* ---- shares ---- */

/* The chosen have the sum of their q together and the proportions of their logits, each other cluster its q;
 * whatever is added to all logits. */
static void check_shares(test_ctx *t, const rk_clusters *c, const float *scores, const float *exact,
                         float shift)
{
    double log_q[K], p[V], sum_q = 0, sum_chosen = 0;
    int32_t order[K], seen[K] = {0};
    float logits[V];
    const int64_t m = rk_clusters_choose(c, scores, log_q, order);
    assert_true(m >= c->min && m <= c->max);
    for (int i = 0; i < V; i++)
        logits[i] = 1e30f;
    for (int64_t i = 0; i < K; i++) {
        assert_int_equal(seen[order[i]]++, 0);
        assert_true(i == 0 || i >= m || log_q[order[i - 1]] >= log_q[order[i]]);
        if (i < m)
            sum_q += exp(log_q[order[i]]);
        for (int32_t n = c->begin[order[i]]; i < m && n < c->begin[order[i] + 1]; n++)
            logits[c->tokens[n]] = exact[c->tokens[n]] + shift;
    }
    rk_clusters_spread(c, log_q, order, m, logits);
    softmax(logits, p);
    for (int64_t i = 0; i < K; i++) {
        double sum = 0;
        for (int32_t n = c->begin[order[i]]; n < c->begin[order[i] + 1]; n++)
            sum += p[c->tokens[n]];
        if (i < m)
            sum_chosen += sum;
        else if (fabs(sum - exp(log_q[order[i]])) > 1e-5)
            fail_msg("%s: cluster %d has %g, want %g", t->shape, (int)order[i], sum,
                     exp(log_q[order[i]]));
    }
    if (fabs(sum_chosen - sum_q) > 1e-5)
        fail_msg("%s: the chosen have %g, want %g", t->shape, sum_chosen, sum_q);
    const int32_t first = c->begin[order[0]];
    const int32_t a = c->tokens[first], b = c->tokens[c->begin[order[m - 1]]];
    const double want = exp((double)exact[a] - (double)exact[b]);
    assert_true(fabs(p[a] / p[b] - want) <= 1e-3 * want); /* of shifted logits in f32 */
}

static void test_shares(void **state)
{
    (void)state;
    for (int round = 0; round < 20; round++) {
        test_ctx t = test_begin((uint64_t)round);
        float of[V];
        const float *scores = test_uniform(&t, K, -3, 3), *exact = test_uniform(&t, V, -5, 5);
        for (int i = 0; i < V; i++)
            of[i] = i < K ? (float)i : (float)(i * i % K);
        rk_clusters *c = clusters_of(of, K);
        c->share = round % 2 ? 0.5 : 0.95;
        c->max = round % 3 ? 6 : K;
        test_shape(&t, "round %d", round);
        check_shares(&t, c, scores, exact, 0);
        check_shares(&t, c, scores, exact, 1000);
        check_shares(&t, c, scores, exact, -1000);
        rk_clusters_free(c);
        test_end(&t);
    }
}

static void test_bad_tables(void **state)
{
    (void)state;
    static const struct {
        float x;
        const char *part;
    } rows[] = {{K, "from 0 to 8"},
                {-1, "from 0 to 8"},
                {0.5f, "cluster 0.5"},
                {(float)NAN, "token 5"},
                {(float)INFINITY, "token 5"}};
    float of[V];
    rk_clusters *c = NULL;
    rk_error err = {0};
    for (size_t r = 0; r <= RK_COUNT(rows); r++) {
        for (int i = 0; i < V; i++)
            of[i] = (float)(i % K);
        for (int i = 0; i < V; i++)
            if (r == RK_COUNT(rows) && i % K == 4)
                of[i] = 3;
        if (r < RK_COUNT(rows))
            of[5] = rows[r].x;
        assert_int_equal(rk_clusters_new(&c, K, V, of, &err), RK_ERR_FORMAT);
        assert_non_null(strstr(err.msg, r < RK_COUNT(rows) ? rows[r].part : "cluster 4 has no"));
    }
}

/* ---- models ---- */

static const int32_t *text(void)
{
    static int32_t tokens[TOKENS];
    for (int i = 0; i < TOKENS; i++)
        tokens[i] = i * i % V;
    return tokens;
}

static rk_model *head_of(const rk_model *m, int threads, rk_head_facts *facts)
{
    rk_engine *e = test_engine(threads);
    rk_model *made = NULL;
    rk_error err = {0};
    test_ok(
        rk_head_new(
            &made, m, e,
            &(rk_head_options){
                .n_clusters = K, .tokens = text(), .n_tokens = TOKENS, .ctx_len = 25, .steps = 40},
            facts, &err),
        &err);
    rk_engine_free(e);
    return made;
}

static void eval(const rk_model *m, int64_t piece, float *logits)
{
    rk_engine *e = test_engine(2);
    rk_session *s = NULL;
    rk_error err = {0};
    test_ok(rk_session_new(&s, m, e, &err), &err);
    for (int64_t i = 0; i < TOKENS; i += piece)
        test_ok(rk_session_eval_all(s, text() + i, piece, logits + i * V, &err), &err);
    rk_session_free(s);
    rk_engine_free(e);
}

static rk_model *reopened(test_ctx *t, const rk_model *m, const rk_model *host)
{
    const char *path = test_path(t, test_temp_dir(t), "head.safetensors");
    rk_model *read = NULL;
    rk_error err = {0};
    test_ok(rk_model_save(m, path, &(rk_save_options){.keep_types = true}, &err), &err);
    test_ok(rk_model_open(&read, path, &err), &err);
    assert_non_null(read->clusters);
    assert_true(read->fingerprint == host->fingerprint); /* states of one fit the other */
    return read;
}

/* Rows by clusters are those by tokens: the same products, to the bit, and the same matrix again. */
static void check_rows(test_ctx *t, rk_model *m, const rk_model *host)
{
    float *want = test_alloc_f32(t, TOKENS * V), *got = test_alloc_f32(t, TOKENS * V);
    rk_model *whole = NULL;
    rk_pool *pool = NULL;
    rk_error err = {0};
    const int64_t min = m->clusters->min;
    m->clusters->min = m->clusters->n;
    eval(host, 1, want);
    eval(m, 1, got);
    m->clusters->min = min;
    test_same(t, "products", want, got, (size_t)(TOKENS * V) * sizeof *want);
    test_ok(rk_pool_new(&pool, 1, NULL, NULL, NULL, &err), &err);
    test_ok(rk_whole_new(&whole, m, pool, &err), &err);
    assert_int_equal(whole->hp.n_clusters, 0);
    for (int64_t v = 0; v < V; v++) {
        rk_matrix_row(host->head->matrix, host->head->layout, v, want);
        test_same(t, "rows", want, (float *)whole->head->matrix->data + v * C, C * sizeof *want);
    }
    rk_remade_close(whole);
    rk_pool_free(pool);
}

/* All chosen: the head itself. Some: it where they are chosen, so also its likeliest token. */
static void check_logits(test_ctx *t, rk_model *m, const float *want)
{
    float *all = test_alloc_f32(t, TOKENS * V), *some = test_alloc_f32(t, TOKENS * V);
    float *one = test_alloc_f32(t, TOKENS * V);
    int64_t exact = 0, likeliest = 0;
    m->clusters->min = m->clusters->n;
    eval(m, TOKENS, all);
    test_close(t, "all clusters", want, all, TOKENS * V, 1e-5f);
    m->clusters->min = 3;
    m->clusters->share = 0.5;
    eval(m, TOKENS, some);
    eval(m, 1, one);
    for (int64_t i = 0; i < TOKENS; i++) {
        int64_t best = 0;
        for (int64_t v = 0; v < V; v++) {
            best = want[i * V + v] > want[i * V + best] ? v : best;
            exact += fabsf(want[i * V + v] - some[i * V + v]) < 1e-4f;
        }
        likeliest += fabsf(want[i * V + best] - some[i * V + best]) < 1e-4f;
    }
    assert_true(exact > 0 && exact < TOKENS * V * 9 / 10);
    assert_true(likeliest > TOKENS / 4);
    test_close(t, "one token at a time", some, one, TOKENS * V, 1e-4f);
}

static void test_models(void **state)
{
    (void)state;
    static const rk_arch *const archs[] = {&rk_arch_rwkv4, &rk_arch_rwkv5, &rk_arch_rwkv6,
                                           &rk_arch_rwkv7};
    for (size_t a = 0; a < RK_COUNT(archs); a++) {
        test_ctx t = test_begin(1);
        rk_head_facts one, three;
        test_arch = archs[a];
        test_model f = test_model_open(&t, 3, LAYERS, C, a % 2 ? RK_F16 : RK_F32);
        float *want = test_alloc_f32(&t, TOKENS * V);
        test_shape(&t, "%s", test_arch->name);
        eval(f.model, TOKENS, want);
        rk_model *made = head_of(f.model, 1, &one), *again = head_of(f.model, 3, &three);
        for (int64_t i = 0; i < made->n_params; i++)
            if (made->params[i].trained)
                assert_memory_equal(made->params[i].tensor.data, again->params[i].tensor.data,
                                    rk_tensor_bytes(&made->params[i].tensor));
        if (!(one.kl < one.kl_start && one.kl == three.kl && one.rows < 1))
            fail_msg("%s: divergence %g, %g before, %g on three threads; rows %g", t.shape, one.kl,
                     one.kl_start, three.kl, one.rows);
        assert_true(one.n_clusters >= K && one.smallest > 0 && one.largest <= 4 * V / K);
        rk_model *read = reopened(&t, made, f.model);
        check_rows(&t, read, f.model);
        check_logits(&t, read, want);
        test_batch_alone(&t, read);
        rk_model_close(read);
        rk_remade_close(again);
        rk_remade_close(made);
        rk_model_close(f.model);
        test_end(&t);
    }
    test_arch = &rk_arch_rwkv7;
}

/* Clusters of one token more than a piece has: every token's score is in its place. */
static void test_pieces(void **state)
{
    (void)state;
    enum { N_VOCAB = 260, CLUSTERS = 4 };
    test_ctx t = test_begin(7);
    const char *path = test_path(&t, test_temp_dir(&t), "lite.safetensors");
    float *want = test_alloc_f32(&t, N_VOCAB), *got = test_alloc_f32(&t, N_VOCAB);
    const int64_t dims[2] = {1, C};
    rk_tensor x = rk_tensor_over(RK_F32, 2, dims, test_uniform(&t, C, -1, 1));
    rk_model *m = NULL;
    rk_engine *e = test_engine(2);
    rk_ctx ctx;
    rk_error err = {0};
    const rk_ctx_params p = {
        .kernels = rk_engine_kernels(e), .pool = rk_engine_pool(e), .data_kind = RK_ARENA_GROWING};
    test_lite_write(path, &rk_arch_rwkv7, N_VOCAB, LAYERS, C, CLUSTERS);
    test_ok(rk_model_open(&m, path, &err), &err);
    test_ok(rk_ctx_init(&ctx, &p, &err), &err);
    const rk_tensor *y = rk_linear(&ctx, &x, rk_weight_of(m->head->matrix, RK_OUT_IN), NULL);
    for (int i = 0; i < N_VOCAB; i++)
        want[m->clusters->tokens[i]] = ((const float *)y->data)[i];
    m->clusters->min = CLUSTERS;
    rk_cluster_head(&ctx, m, &x, got);
    test_ok(rk_ctx_status(&ctx, &err), &err);
    test_same(&t, "scores", want, got, N_VOCAB * sizeof *want);
    rk_ctx_deinit(&ctx);
    rk_engine_free(e);
    rk_model_close(m);
    test_end(&t);
}

/* Tokens that are all alike, and one that is far from the others: no cluster is empty or too large. */
static void test_token_clusters(void **state)
{
    (void)state;
    for (int kind = 0; kind < 3; kind++) {
        test_ctx t = test_begin(1);
        const int64_t dims[2] = {V, 5};
        float *x = test_uniform(&t, V * 5, -1, 1);
        int32_t of[V], size[V] = {0};
        int64_t n = 12;
        rk_pool *pool = NULL;
        rk_error err = {0};
        for (int i = 0; i < V * 5; i++)
            x[i] = kind == 0 ? x[i] : kind == 1 ? 1.0f : i / 5 == 7 ? 100.0f : 0.01f * x[i];
        const rk_tensor emb = rk_tensor_over(RK_F32, 2, dims, x);
        test_ok(rk_pool_new(&pool, 2, NULL, NULL, NULL, &err), &err);
        test_ok(rk_token_clusters(&emb, 1, pool, &n, of, &err), &err);
        for (int i = 0; i < V; i++) {
            assert_true(of[i] >= 0 && of[i] < n);
            size[of[i]]++;
        }
        for (int64_t j = 0; j < n; j++)
            assert_true(size[j] > 0 && size[j] <= 4 * V / 12);
        rk_pool_free(pool);
        test_end(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_shares),
                                       cmocka_unit_test(test_bad_tables),
                                       cmocka_unit_test(test_models), cmocka_unit_test(test_pieces),
                                       cmocka_unit_test(test_token_clusters)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
