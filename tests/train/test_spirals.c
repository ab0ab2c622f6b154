/* A model and a task that live here alone, an MLP that separates two spirals, go through the whole of
 * a training run: plan, steps, log, validation, stop, resume, curve, model. */
#include "test_util.h"

#include <limits.h>
#include <signal.h>

#include "model/init.h"
#include "train/run.h"
#include "train/trainer.h"

/* ---- the model: points (B, 2) to hidden rows (B, C), of which the head (2, C) makes classes ---- */

typedef struct mlp_top {
    rk_weight in, head;
} mlp_top;
typedef struct mlp_layer {
    rk_weight up;
    rk_tensor *bias;
} mlp_layer;

#define TOP(f) RK_SCOPE_MODEL, offsetof(mlp_top, f)
#define LAYER(f) RK_SCOPE_LAYER, offsetof(mlp_layer, f)
static const rk_param_spec params[] = {
    {"in.weight", "C2", RK_ROLE_FFN_IN, TOP(in), rk_init_orthogonal_tall, 1, 1},
    {"blocks.%d.up.weight", "CC", RK_ROLE_FFN_IN, LAYER(up), rk_init_orthogonal, 1, 1},
    {"blocks.%d.up.bias", "C", RK_ROLE_VECTOR, LAYER(bias), rk_init_uniform, 0.5, 1},
    {"head.weight", "VC", RK_ROLE_HEAD, TOP(head), rk_init_orthogonal, 0.5, 1},
};

static void stem(rk_ctx *ctx, const rk_model *m, const rk_forward *f, rk_block_io *io)
{
    const mlp_top *p = m->top;
    io->x = rk_linear(ctx, f->in[0], p->in, NULL);
}

static void block(rk_ctx *ctx, const rk_model *m, int64_t layer, double dropout, rk_block_io *io)
{
    const mlp_layer *p = (const mlp_layer *)m->layers + layer;
    rk_tensor *h = rk_add(ctx, rk_linear(ctx, io->x, p->up, NULL), p->bias);
    h = rk_dropout(ctx, rk_unary_op(ctx, RK_TANH, h), dropout, 1 + (uint64_t)layer);
    io->x = rk_add(ctx, io->x, h);
}

static void head(rk_ctx *ctx, const rk_model *m, rk_tensor *x, rk_forward *f)
{
    (void)ctx;
    (void)m;
    f->out[0] = x;
}

static const rk_io_spec in[] = {{"x", "B2", false}}, out[] = {{"hidden", "BC", false}};

/* ---- the task: point i lies on spiral i mod 2, at a random angle ---- */

static void point(const rk_task *t, uint64_t i, void *const *fields)
{
    const double along = rk_rng_f64(t->checksum, RK_RNG_TEST, 0, i);
    const double angle = 9.0 * along + 3.14159265 * (double)(i % 2);
    ((float *)fields[0])[0] = (float)((0.1 + along) * cos(angle));
    ((float *)fields[0])[1] = (float)((0.1 + along) * sin(angle));
    *(int32_t *)fields[1] = (int32_t)(i % 2);
}
static void point_held_out(const rk_task *t, int64_t i, void *const *fields)
{
    point(t, (uint64_t)i + (UINT64_C(1) << 40), fields);
}

static rk_tensor *losses(rk_ctx *ctx, const rk_task *t, const rk_pass *p)
{
    rk_tensor *logits = rk_linear(ctx, p->out[0], *p->model->head, NULL);
    for (int64_t i = 0; p->metrics && logits && i < logits->dims[0] * t->n_losses; i++) {
        const float *row = (const float *)logits->data + 2 * i;
        *p->metrics += (row[1] > row[0]) == ((const int32_t *)p->fields[1]->data)[i];
    }
    return rk_cross_entropy(ctx, p->out[0], p->model->head->matrix, p->fields[1], 0.0);
}

/* clang-format off */
static const rk_arch mlp = {
    .name = "mlp", .params = params, .n_params = RK_COUNT(params), .inputs = in, .n_inputs = 1,
    .outputs = out, .n_outputs = 1, .stem = stem, .block = block, .head = head,
    .sizes = {&rk_sizes_first, &rk_sizes_last},
    .top_bytes = sizeof(mlp_top), .layer_bytes = sizeof(mlp_layer)};

static const rk_task spirals = {
    .name = "spirals", .fields = {{"x", RK_F32, 1, {2}}, {"class", RK_I32, 0, {0}}}, .n_fields = 2,
    .n_losses = 1, .n_val = 300, .checksum = 5, .unit = "points", .loss_unit = "nats a point",
    .about = "points of two spirals", .metrics = {"accuracy"}, .n_metrics = 1, .curve = "accuracy",
    .curve_unit = "share of the points", .example = point, .held_out = point_held_out,
    .losses = losses};
/* clang-format on */

static int stop_soon(void *user)
{
    return --*(int *)user < 0 ? SIGTERM : 0;
}

/* Train in dir until it is done, or a signal comes after so many questions. */
static rk_run_result train(rk_run_params p, const char *dir, int questions)
{
    rk_engine *e = NULL;
    rk_model *m = NULL;
    rk_error err = {0};
    rk_run_result result;
    rk_train_plan plan;
    p.dir = dir;
    test_ok(rk_engine_new(&e, &(rk_engine_params){.n_threads = 1}, &err), &err);
    const rk_hparams hp = {.n_layer = 2, .n_embd = 32, .n_vocab = 2};
    test_ok(rk_model_new(&m, &mlp, &hp, &err), &err);
    test_ok(rk_training_plan(&(rk_training){m, &spirals, &p.model, NULL}, e, &plan, &err), &err);
    assert_int_equal(plan.n_frozen, 32);
    assert_true(plan.bytes > 4 * 4 * (size_t)plan.n_trained);
    const rk_run_env env = {.engine = e, .signal = stop_soon, .signal_user = &questions};
    test_ok(rk_run_task(m, &spirals, &p, &env, &result, &err), &err);
    rk_model_close(m);
    rk_engine_free(e);
    return result;
}

static void test_spirals(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    const char *one = test_temp_dir(&t), *two = test_temp_dir(&t);
    rk_run_params p = rk_run_defaults();
    p.model.arch = "mlp";
    p.model.batch = 100;
    p.model.lr = 1e-2;
    p.model.dropout = 0.02;
    p.model.freeze = "blocks.0.up.bias";
    assert_true(train(p, one, INT_MAX).val_metrics[0] > 0.97);
    assert_in_range(train(p, two, 230).step, 200, 300);
    p.resume = true;
    assert_int_equal(train(p, two, INT_MAX).step, 1000);
    size_t n;
    const char *a = test_read_file(&t, test_path(&t, one, "model.safetensors"), &n);
    const char *b = test_read_file(&t, test_path(&t, two, "model.safetensors"), &n);
    test_same(&t, "the model of a run that was stopped", a, b, n);
    const char *curve = test_read_file(&t, test_path(&t, one, "curve.svg"), NULL);
    assert_non_null(strstr(curve, "mlp, 2 layers of 32, points of two spirals, batch 100"));
    assert_true(strstr(curve, "validation accuracy ") && strstr(curve, "share of the points"));
    test_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_spirals)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
