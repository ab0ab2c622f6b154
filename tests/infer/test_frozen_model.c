/* Training beside frozen quantised matrices: every architecture in 8 and 4 bits, packed by a session
 * before, against the same model with its matrices written out in f32: losses and gradients have
 * the same bits. */
#include "test_model_util.h"

#include "compress/in_memory.h"
#include "compress/quantize.h"
#include "infer/engine.h"

enum { BATCH = 2, STEPS = 24, LAYERS = 2, N_EMBD = 64 };

typedef struct rig {
    test_ctx t;
    rk_engine *engine;
    int32_t *tokens; /* (BATCH, STEPS + 1) */
} rig;

/* The quantised model, after a session has run it. */
static rk_model *quantised(rig *g, const test_model *m, const char *recipe)
{
    rk_error err = {0};
    rk_model *q = NULL;
    rk_session *s = NULL;
    char *path = test_path(&g->t, test_temp_dir(&g->t), "model.gguf");
    const rk_quantize_options o = {.recipe = rk_recipe_find(recipe)};
    int packed = 0;
    test_ok(rk_quantize(m->model, path, &o, &err), &err);
    test_ok(rk_model_open(&q, path, &err), &err);
    test_ok(rk_session_new(&s, q, g->engine, &err), &err);
    test_ok(rk_session_eval(s, g->tokens, STEPS, test_alloc_f32(&g->t, test_n_vocab), &err), &err);
    rk_session_free(s);
    for (int64_t i = 0; i < q->n_params; i++)
        packed += q->params[i].tensor.packed != NULL;
    assert_true(packed > 0);
    return q;
}

static rk_model *written_out(rig *g, const rk_model *q)
{
    rk_error err = {0};
    rk_model *m = NULL;
    char *path = test_path(&g->t, test_temp_dir(&g->t), "f32.safetensors");
    test_ok(rk_model_save(q, path, &(rk_save_options){.dtype = RK_F32}, &err), &err);
    test_ok(rk_model_open(&m, path, &err), &err);
    return m;
}

/* A context as a trainer might have it that forgot about rounding: inputs of packed matrices. */
static void context(rig *g, rk_ctx *ctx, const rk_kernels *kernels)
{
    rk_error err = {0};
    const rk_ctx_params p = {.kernels = kernels,
                             .pool = rk_engine_pool(g->engine),
                             .data_kind = RK_ARENA_GROWING,
                             .dot8 = rk_dot8_best()};
    test_ok(rk_ctx_init(ctx, &p, &err), &err);
    ctx->recording = true;
    ctx->long_class = true;
}

static rk_tensor *losses(rig *g, rk_ctx *ctx, const rk_model *m, bool recompute)
{
    const int64_t dims[] = {BATCH, STEPS};
    rk_tensor *state[LAYERS * RK_STATE_MAX];
    rk_forward f = {.in = {rk_new(ctx, RK_I32, 2, dims)}, .state = state, .recompute = recompute};
    rk_tensor *targets = rk_new(ctx, RK_I32, 2, dims);
    for (int64_t i = 0; i < BATCH * STEPS; i++) {
        const int32_t *at = g->tokens + i / STEPS * (STEPS + 1) + i % STEPS;
        ((int32_t *)f.in[0]->data)[i] = at[0];
        ((int32_t *)targets->data)[i] = at[1];
    }
    rk_model_new_state(ctx, m, RK_F32, BATCH, state);
    return rk_cross_entropy(ctx, rk_model_forward(ctx, m, &f), m->head->matrix, targets, 1e-4);
}

/* Parameters that the quantised model q has in f32 are trained in both. */
static void choose(const rk_model *q, rk_model *m)
{
    for (int64_t i = 0; i < q->n_params; i++) {
        const rk_param *p = &q->params[i];
        rk_tensor *t = &m->params[i].tensor;
        t->requires_grad = p->used && p->tensor.dtype == RK_F32;
        t->has_grad = false;
        t->grad = NULL;
    }
}

/* With gradients of their own, which segments that are computed again need. */
static rk_tensor *train(rig *g, rk_ctx *ctx, rk_model *m, bool recompute)
{
    for (int64_t i = 0; i < m->n_params; i++)
        rk_grad(ctx, &m->params[i].tensor);
    rk_tensor *loss = losses(g, ctx, m, recompute);
    rk_backward(ctx, rk_sum(ctx, loss), 1.0 / (BATCH * STEPS));
    test_ok(rk_ctx_status(ctx, NULL), &ctx->err);
    return loss;
}

/* One of them may lie transposed in its file. */
static void same_gradient(const test_ctx *t, const rk_tensor *a, const rk_tensor *b)
{
    const int64_t cols = rk_tensor_cols(a);
    if (a->n_dims != 2) {
        test_same(t, "gradient", a->grad, b->grad, rk_tensor_bytes(a));
        return;
    }
    for (int64_t i = 0; i < rk_tensor_count(a); i++) {
        const int64_t r = i / cols, c = i % cols;
        const float *x = (const float *)a->grad + r * a->strides[0] + c * a->strides[1];
        const float *y = (const float *)b->grad + r * b->strides[0] + c * b->strides[1];
        test_same(t, "gradient", x, y, sizeof *x);
    }
}

static void compare(rig *g, rk_model *q, rk_model *m, const rk_kernels *kernels, bool recompute)
{
    rk_ctx a, b;
    int trained = 0;
    choose(q, m);
    choose(q, q);
    context(g, &a, kernels);
    context(g, &b, kernels);
    const rk_tensor *want = train(g, &a, m, recompute), *got = train(g, &b, q, recompute);
    test_same(&g->t, "losses", want->data, got->data, rk_tensor_bytes(want));
    for (int64_t i = 0; i < m->n_params; i++) {
        const rk_tensor *w = &m->params[i].tensor, *t = &q->params[i].tensor;
        assert_int_equal(w->grad != NULL, t->grad != NULL);
        if (t->grad)
            same_gradient(&g->t, w, t);
        trained += t->grad != NULL;
    }
    assert_true(trained > 0);
    rk_ctx_deinit(&b);
    rk_ctx_deinit(&a);
}

/* The model's matrices in a quantised type in memory. */
static rk_model *quantised_in_memory(const test_model *m, const char *type)
{
    rk_error err = {0};
    rk_model *q = NULL;
    test_ok(rk_model_open(&q, m->path, &err), &err);
    test_ok(rk_model_quantise(q, type, &(rk_quantise_options){0}, &err), &err);
    return q;
}

static rk_status round_values(void *user, const rk_param *p, float *w, rk_error *err)
{
    const rk_tensor *t = &p->tensor;
    return rk_quantised_values(user, t->dims[0], t->dims[1], w, NULL, err);
}

/* In f32, with the values that the type leaves them. */
static rk_model *rounded_in_memory(const test_model *m, char *type)
{
    rk_error err = {0};
    rk_model *q = NULL;
    const rk_quantise_options o = {.change = round_values, .change_user = type};
    test_ok(rk_model_open(&q, m->path, &err), &err);
    test_ok(rk_model_quantise(q, "none", &o, &err), &err);
    return q;
}

/* type: a recipe of files; in_memory: a type of rk_model_quantise. */
static void check(const rk_arch *arch, char *type, bool in_memory)
{
    rig g = {.t = test_begin(17)};
    test_arch = arch;
    g.engine = test_engine(2);
    g.tokens = test_tokens(&g.t, BATCH * (STEPS + 1), test_n_vocab);
    test_model f = test_model_open(&g.t, 3, LAYERS, N_EMBD, RK_F32);
    rk_model *q = in_memory ? quantised_in_memory(&f, type) : quantised(&g, &f, type);
    rk_model *m = in_memory ? rounded_in_memory(&f, type) : written_out(&g, q);
    for (int i = 0; rk_kernels_at(i); i++) {
        test_shape(&g.t, "%s, %s, %s", arch->name, type, rk_kernels_at(i)->name);
        compare(&g, q, m, rk_kernels_at(i), i == 0);
    }
    rk_model_close(m);
    rk_model_close(q);
    rk_model_close(f.model);
    rk_engine_free(g.engine);
    test_end(&g.t);
}

static void test_architectures(void **state)
{
    (void)state;
    for (int i = 0; rk_archs[i]; i++) {
        check(rk_archs[i], (char[]){"q8_0"}, false);
        check(rk_archs[i], (char[]){"q4_0"}, false);
        check(rk_archs[i], (char[]){"nf4"}, true);
    }
}

static void test_in_memory(void **state)
{
    (void)state;
    char types[][8] = {"fp4", "int8", "fp8", "q8_0", "q4_0", "q4_k"};
    for (size_t i = 0; i < RK_COUNT(types); i++)
        check(&rk_arch_rwkv7, types[i], true);
}

/* A gradient for one of the matrices is refused. */
static void test_refused(void **state)
{
    (void)state;
    rig g = {.t = test_begin(19)};
    rk_ctx ctx;
    test_arch = &rk_arch_rwkv7;
    g.engine = test_engine(1);
    g.tokens = test_tokens(&g.t, BATCH * (STEPS + 1), test_n_vocab);
    test_model f = test_model_open(&g.t, 3, LAYERS, N_EMBD, RK_F32);
    rk_model *q = quantised(&g, &f, "q8_0");
    q->head->matrix->requires_grad = true;
    context(&g, &ctx, rk_kernels_at(0));
    assert_null(rk_grad(&ctx, q->head->matrix));
    assert_int_equal(ctx.err.code, RK_ERR_ARG);
    assert_non_null(strstr(ctx.err.msg, "q8_0"));
    assert_non_null(strstr(ctx.err.msg, "convert --type f32"));
    rk_ctx_deinit(&ctx);
    rk_model_close(q);
    rk_model_close(f.model);
    rk_engine_free(g.engine);
    test_end(&g.t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_architectures),
                                       cmocka_unit_test(test_in_memory),
                                       cmocka_unit_test(test_refused)};
    return cmocka_run_group_tests_name("frozen model", tests, NULL, NULL);
}
