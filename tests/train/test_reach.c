/* Gradients by the embeddings of a window: where no token comes twice they are those of the table's rows, in every
 * architecture that looks tokens up in one; the table is as it was before. */
#include "infer/test_model_util.h"

#include "train/reach.h"

enum { LAYERS = 2, WIDTH = 32, N = 21 };

static int32_t token_at(int64_t i)
{
    return (int32_t)(i * 37 % 97);
}

static rk_tensor *tokens_of(rk_ctx *ctx, int64_t n, int64_t first)
{
    rk_tensor *t = rk_new(ctx, RK_I32, 2, (const int64_t[]){1, n});
    for (int64_t i = 0; i < n; i++)
        ((int32_t *)t->data)[i] = token_at(first + i);
    return t;
}

/* The lengths of the rows of the gradient by the table. */
static void by_table(rk_model *m, rk_engine *e, rk_param *table, double *norms)
{
    rk_ctx ctx;
    rk_tensor *state[LAYERS * RK_STATE_MAX];
    rk_error err = {0};
    const rk_ctx_params p = {
        .kernels = rk_engine_kernels(e), .pool = rk_engine_pool(e), .data_kind = RK_ARENA_GROWING};
    test_ok(rk_ctx_init(&ctx, &p, &err), &err);
    ctx.recording = ctx.long_class = table->tensor.requires_grad = true;
    rk_model_new_state(&ctx, m, RK_F32, 1, state);
    rk_forward f = {.in = {tokens_of(&ctx, N, 0)}, .state = state};
    rk_tensor *hidden = rk_model_forward(&ctx, m, &f), head = *m->head->matrix;
    head.requires_grad = false;
    test_ok(rk_ctx_status(&ctx, &err), &err);
    rk_tensor *last = rk_copy(&ctx, rk_slice(&ctx, hidden, 1, N - 1, N));
    rk_backward(&ctx, rk_sum(&ctx, rk_cross_entropy(&ctx, last, &head, tokens_of(&ctx, 1, N), 0)),
                1);
    const float *grad = rk_grad(&ctx, &table->tensor);
    for (int64_t t = 0; t < N; t++) {
        double sum = 0;
        for (int64_t c = 0; c < WIDTH; c++)
            sum += pow((double)grad[token_at(t) * WIDTH + c], 2);
        norms[N - 1 - t] = sqrt(sum);
    }
    rk_ctx_deinit(&ctx);
    table->tensor.requires_grad = table->tensor.has_grad = false;
}

static void check_arch(rk_engine *e)
{
    test_ctx t = test_begin(1);
    rk_model *m = test_model_make(3, LAYERS, WIDTH);
    rk_param *table = NULL;
    rk_error err = {0};
    int32_t tokens[N + 1];
    double want[N], got[N];
    int n_tables = 0;
    test_shape(&t, "%s", test_arch->name);
    for (int64_t i = 0; i <= N; i++)
        tokens[i] = token_at(i);
    for (int64_t i = 0; i < m->n_params; i++)
        if (rk_param_is_table(&m->params[i])) {
            table = &m->params[i];
            n_tables++;
        }
    const rk_tensor before = table->tensor;
    const rk_status st = rk_reach_measure(m, e, tokens, N, got, &err);
    test_same(&t, "table", &before, &table->tensor, sizeof before);
    if (n_tables > 1)
        assert_int_equal(st, RK_ERR_UNSUPPORTED);
    else {
        test_ok(st, &err);
        by_table(m, e, table, want);
        test_close_f64(&t, "lengths", want, got, N, 1e-6);
        assert_true(got[0] > 0 && got[N - 1] > 0);
    }
    rk_model_close(m);
    test_end(&t);
}

static void test_rows(void **state)
{
    (void)state;
    rk_engine *e = test_engine(2);
    for (int i = 0; rk_archs[i]; i++) {
        test_arch = rk_archs[i];
        check_arch(e);
    }
    rk_engine_free(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
