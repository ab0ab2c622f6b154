/* Growth in double: a larger model has the logits of the smaller one to the bit, and what it was can be had again;
 * new keys learn from the second step on, and keys of zero never do. */
#include "test_sizes.h"

#include "base/random.h"
#include "tune/grow.h"

enum { V = 11, BATCH = 2, STEPS = 19 };

typedef struct rig {
    test_ctx t;
    rk_pool *pool;
    rk_ctx ctx;
    int32_t *tokens;
} rig;

static void rig_init(rig *g)
{
    rk_error err = {0};
    *g = (rig){.t = test_begin(4)};
    test_ok(rk_pool_new(&g->pool, 2, NULL, NULL, NULL, &err), &err);
    const rk_ctx_params p = {
        .kernels = &rk_kernels_ref_f32, .pool = g->pool, .data_kind = RK_ARENA_GROWING};
    test_ok(rk_ctx_init(&g->ctx, &p, &err), &err);
    g->tokens = test_tokens(&g->t, BATCH * STEPS, V);
}

static void rig_deinit(rig *g)
{
    rk_ctx_deinit(&g->ctx);
    rk_pool_free(g->pool);
    test_end(&g->t);
}

/* Random values, so that every part of a model counts. */
static void fill(rk_model *m, uint64_t seed)
{
    test_model_memory(m);
    for (int64_t i = 0; i < m->n_params; i++) {
        const rk_tensor *t = &m->params[i].tensor;
        float *at = t->data;
        rk_error err = {0};
        for (int64_t e = 0; e < rk_tensor_count(t); e++)
            at[e] = (rk_tensor_rows(t) == 1 ? 0.3f : 0.0f) +
                    1.2f * (rk_rng_f32(seed, RK_RNG_TEST, (uint64_t)i, (uint64_t)e) - 0.5f);
        if (m->params[i].role == RK_ROLE_PLACES)
            test_ok(rk_param_init(m, i, seed, at, NULL, &err), &err);
    }
}

static rk_model *make(const rk_arch *arch, int way)
{
    const rk_size sizes[] = {{"n_vocab", V},
                             {"n_embd", 8},
                             {"n_layer", 3},
                             {"head_size", 4},
                             {"dim_ffn", 12},
                             {"rank_w", 3},
                             {"rank_a", 2},
                             {"rank_v", 3},
                             {"rank_g", 2},
                             {"meta_heads", way ? 3 : 1},
                             {"meta_extra", way ? 2 : 0},
                             {"meta_time", way},
                             {"route_k", way ? 2 : 0},
                             {"route_block", 5}};
    rk_hparams hp = test_hparams(arch, sizes, RK_COUNT(sizes));
    rk_model *m = NULL;
    rk_error err = {0};
    test_ok(rk_model_new(&m, arch, &hp, &err), &err);
    fill(m, 5);
    return m;
}

/* The values of a model in double, beside those it has; to be put back. */
static void widen(rig *g, rk_model *m, bool grads)
{
    for (int64_t i = 0; i < m->n_params; i++) {
        rk_tensor *t = &m->params[i].tensor;
        const int64_t n = rk_tensor_count(t);
        if (!t->data)
            continue;
        double *x = test_alloc(&g->t, (size_t)n * sizeof *x);
        for (int64_t e = 0; e < n; e++)
            x[e] = (double)((float *)t->data)[e];
        t->dtype = RK_F64;
        t->data = x;
        t->requires_grad = grads && !rk_roles[m->params[i].role].constant;
    }
}

static rk_tensor *logits_of(rig *g, rk_model *m)
{
    const int64_t dims[] = {BATCH, STEPS};
    rk_tensor *state[5 * RK_STATE_MAX];
    rk_error err = {0};
    rk_forward in = {.in = {rk_new(&g->ctx, RK_I32, 2, dims)}, .state = state};
    memcpy(in.in[0]->data, g->tokens, BATCH * STEPS * sizeof *g->tokens);
    rk_model_new_state(&g->ctx, m, RK_F64, BATCH, state);
    rk_tensor *hidden = rk_model_forward(&g->ctx, m, &in);
    rk_tensor *y = rk_linear(&g->ctx, hidden, *m->head, NULL);
    test_ok(rk_ctx_status(&g->ctx, &err), &err);
    return y;
}

static const rk_growth ways[] = {
    {.tokens = 7},
    {.tokens = 7, .start = RK_GROW_COPY},
    {.heads = 3},
    {.meta_heads = 1},
    {.layers = 2, .at = 1},
    {.layers = 1, .at = -1},
    {.tokens = 3, .heads = 2, .meta_heads = 2, .layers = 1, .at = 2},
};

static void check_same(rig *g, rk_model *a, rk_model *b, const char *what)
{
    const rk_tensor *x = logits_of(g, a), *y = logits_of(g, b);
    test_same(&g->t, what, x->data, y->data, BATCH * STEPS * V * sizeof(double));
}

static void test_exact(void **state)
{
    (void)state;
    for (int kind = 0; kind < 3; kind++)
        for (size_t w = 0; w < RK_COUNT(ways); w++) {
            rig g;
            rig_init(&g);
            rk_model *small = make(kind ? &rk_arch_meta7 : &rk_arch_rwkv7, kind == 2);
            rk_model *big = NULL, *more = NULL, *back = NULL, *first = NULL;
            rk_error err = {0};
            test_shape(&g.t, "kind %d, growth %d", kind, (int)w);
            test_ok(rk_grow_new(&big, small, &ways[w], &err), &err);
            test_ok(rk_grow_new(&more, big, &ways[RK_COUNT(ways) - 1], &err), &err);
            test_ok(rk_grow_back(&back, more, 1, &err), &err);
            test_ok(rk_grow_back(&first, more, 0, &err), &err);
            assert_ptr_equal(first->arch, small->arch);
            assert_int_equal(big->hp.dim_ffn, small->hp.dim_ffn + ways[w].tokens);
            assert_int_equal(big->hp.n_layer, small->hp.n_layer + ways[w].layers);
            rk_model *const all[] = {small, big, more, back, first};
            for (size_t i = 0; i < RK_COUNT(all); i++)
                widen(&g, all[i], false);
            check_same(&g, small, big, "grown");
            check_same(&g, small, more, "grown again");
            check_same(&g, small, back, "taken back");
            check_same(&g, small, first, "as at first");
            for (size_t i = 0; i < RK_COUNT(all); i++)
                rk_model_close(all[i]);
            rig_deinit(&g);
        }
}

/* Largest gradient of the rows of ffn.key, or the columns of ffn.value, that are new. */
static double largest(const rk_model *m, bool keys, int64_t before)
{
    double most = 0;
    const rk_tensor *t =
        &rk_model_param(m, keys ? "blocks.1.ffn.key.weight" : "blocks.1.ffn.value.weight")->tensor;
    for (int64_t i = 0; i < rk_tensor_count(t); i++)
        if ((keys ? i / t->dims[1] : i % t->dims[1]) >= before)
            most = fmax(most, fabs(((const double *)t->grad)[i]));
    return most;
}

static void backward(rig *g, rk_model *m)
{
    rk_error err = {0};
    g->ctx.recording = true;
    for (int64_t i = 0; i < m->n_params; i++)
        rk_grad(&g->ctx, &m->params[i].tensor);
    rk_tensor *y = logits_of(g, m);
    rk_backward(&g->ctx, rk_sum(&g->ctx, rk_mul(&g->ctx, y, y)), 1.0);
    test_ok(rk_ctx_status(&g->ctx, &err), &err);
}

/* new columns of ffn.value a little of their gradient further; or keys set to zero instead. */
static void test_learns(void **state)
{
    (void)state;
    for (int zero = 0; zero < 2; zero++) {
        rig g;
        rig_init(&g);
        rk_model *small = make(&rk_arch_meta7, 0), *big = NULL;
        rk_error err = {0};
        test_ok(rk_grow_new(&big, small, &ways[0], &err), &err);
        widen(&g, big, true);
        const int64_t before = small->hp.dim_ffn;
        rk_tensor *k = &rk_model_param(big, "blocks.1.ffn.key.weight")->tensor;
        rk_tensor *v = &rk_model_param(big, "blocks.1.ffn.value.weight")->tensor;
        for (int64_t i = before * k->dims[1]; zero && i < rk_tensor_count(k); i++)
            ((double *)k->data)[i] = 0;
        backward(&g, big);
        assert_true(largest(big, true, before) == 0);
        assert_true((largest(big, false, before) > 0) == !zero);
        for (int64_t i = 0; i < rk_tensor_count(v); i++)
            ((double *)v->data)[i] -= 0.01 * ((const double *)v->grad)[i];
        for (int64_t i = 0; i < big->n_params; i++)
            big->params[i].tensor.has_grad = false;
        rk_ctx_reset(&g.ctx);
        backward(&g, big);
        assert_true((largest(big, true, before) > 0) == !zero);
        rk_model_close(small);
        rk_model_close(big);
        rig_deinit(&g);
    }
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        rk_growth how;
        const char *text;
    } rows[] = {
        {{.at = -1}, "nothing is added"},
        {{.tokens = 4, .start = RK_GROW_ZERO}, "keys of zero never learn"},
        {{.layers = 1, .at = 0}, "no layer can become layer 0"},
        {{.layers = 1, .at = 4}, "new layers behind layer 4 of 3"},
        {{.meta_heads = 9}, "meta_heads is 10, and there are 2 heads"},
        {{.tokens = RK_FFN_MAX}, "dim_ffn would be"},
        {{.layers = 2000, .at = -1}, "n_layer would be"},
    };
    rk_model *m = make(&rk_arch_meta7, 0), *other = make(&rk_arch_rwkv7a, 0), *out;
    rk_error err = {0};
    for (size_t i = 0; i < RK_COUNT(rows); i++) {
        assert_int_equal(rk_grow_new(&out, m, &rows[i].how, &err), RK_ERR_ARG);
        if (!strstr(err.msg, rows[i].text))
            fail_msg("'%s': no '%s'", err.msg, rows[i].text);
        assert_null(out);
    }
    assert_int_equal(rk_grow_new(&out, other, &ways[0], &err), RK_ERR_UNSUPPORTED);
    assert_int_equal(rk_grow_back(&out, m, 0, &err), RK_ERR_ARG);
    assert_non_null(strstr(err.msg, "has not grown"));
    rk_model_close(m);
    rk_model_close(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_exact), cmocka_unit_test(test_learns),
                                       cmocka_unit_test(test_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
