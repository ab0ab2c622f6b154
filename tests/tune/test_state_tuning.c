/* State tuning: every version of RWKV learns the state that its streams begin with, its weights frozen.
 * The gradient itself is held against central differences in tests/model/test_gradients.c. */
#include "infer/test_model_util.h"

#include "format/scheme.h"
#include "infer/session.h"
#include "train/task_next.h"
#include "train/trainer.h"
#include "tune/state.h"

enum { V = 97, L = 2, C = 32, T = 24, BATCH = 4, STEPS = 6 };

typedef struct tuning {
    rk_engine *engine;
    rk_train_params p;
    rk_model *model;
    rk_task *task;
    rk_trainer *trainer;
} tuning;

static tuning begin(const char *base, const char *only, int64_t batch)
{
    tuning f = {.engine = test_engine(2), .p = rk_train_defaults()};
    rk_error err = {0};
    f.p.arch = NULL;
    f.p.init_from = base;
    f.p.train_only = only;
    f.p.ctx_len = T;
    f.p.batch = batch;
    f.p.warmup = 0;
    f.p.lr = 0.3;
    f.p.weight_decay = 0.0;
    f.p.clip = 0.0;
    f.p.l2wrap = 0.0;
    test_ok(rk_train_model(&f.model, &f.p, &err), &err);
    test_ok(rk_next_token_new(&f.task, &f.p, &err), &err);
    test_ok(
        rk_trainer_open(&f.trainer, &(rk_training){f.model, f.task, &f.p, NULL}, f.engine, &err),
        &err);
    return f;
}

static void end(tuning *f)
{
    rk_trainer_free(f->trainer);
    rk_task_close(f->task);
    rk_model_close(f->model);
    rk_engine_free(f->engine);
}

static void steps(const tuning *f, const int32_t *tokens, int n, rk_step_info *info)
{
    rk_error err = {0};
    for (int i = 0; i < n; i++)
        test_ok(rk_trainer_step(f->trainer, tokens, info, &err), &err);
}

/* The scores of some tokens; state: a file of initial states, NULL: the model's own. */
static float *scores(test_ctx *t, const rk_model *m, const char *state, rk_tuned_layout layout)
{
    rk_engine *e = test_engine(1);
    rk_session *s = NULL;
    rk_error err = {0};
    float *out = test_alloc_f32(t, (int64_t)T * V);
    int32_t tokens[T];
    for (int i = 0; i < T; i++)
        tokens[i] = (i * 37 + 11) % V;
    test_ok(rk_session_new(&s, m, e, &err), &err);
    if (state)
        test_ok(rk_session_tuned_load(s, state, layout, &err), &err);
    test_ok(rk_session_eval_all(s, tokens, T, out, &err), &err);
    rk_session_free(s);
    rk_engine_free(e);
    return out;
}

/* The rms of a difference, relative to that of x. */
static double difference(const float *x, const float *y)
{
    double diff = 0, all = 0;
    for (int i = 0; i < T * V; i++) {
        diff += pow((double)x[i] - (double)y[i], 2);
        all += pow((double)x[i], 2);
    }
    return sqrt(diff / all);
}

static test_model base_model(test_ctx *t)
{
    test_tuned = false;
    test_shape(t, "%s", test_arch->name);
    return test_model_open(t, 1, L, C, RK_F32);
}

static bool is_4(void)
{
    return test_arch == &rk_arch_rwkv4 || test_arch->base == &rk_arch_rwkv4;
}

/* A state of zeros changes no bit, or in RWKV-4, where it stands at another exponent, rounding; and the
 * model is still known as the one it was. */
static void check_zeros(test_ctx *t)
{
    const test_model base = base_model(t);
    const rk_open_options add = {.tuned_state = true, .tuned_shift = true};
    rk_model *tuned = NULL;
    rk_model_info before, after;
    rk_error err = {0};
    test_ok(rk_model_open_with(&tuned, base.path, &add, &err), &err);
    assert_true(tuned->n_params > base.model->n_params);
    rk_model_get_info(base.model, &before);
    rk_model_get_info(tuned, &after);
    assert_true(before.fingerprint == after.fingerprint);
    const float *x = scores(t, base.model, NULL, 0), *y = scores(t, tuned, NULL, 0);
    if (is_4())
        assert_true(difference(x, y) < 1e-5);
    else
        test_same(t, "scores", x, y, (size_t)T * V * sizeof *x);
    rk_model_close(tuned);
    rk_model_close(base.model);
}

/* Every tensor of the base is in the tuned model's file as it was. */
static void expect_frozen(test_ctx *t, const rk_file *base, const rk_file *tuned)
{
    int64_t n = 0;
    for (int64_t i = 0; i < rk_file_count(base); i++) {
        const rk_file_tensor *a = rk_file_at(base, i), *b = rk_file_find(tuned, a->name);
        assert_non_null(b);
        assert_int_equal(a->bytes, b->bytes);
        test_same(t, a->name, a->data, b->data, a->bytes);
    }
    for (int64_t i = 0; i < rk_file_count(tuned); i++)
        n += !rk_file_find(base, rk_file_at(tuned, i)->name) &&
             rk_state_is_tuned_name(rk_file_at(tuned, i)->name);
    assert_int_equal(n, rk_file_count(tuned) - rk_file_count(base));
}

static void expect_nonnegative(const rk_model *m)
{
    for (int64_t i = 0; i < m->n_params; i++)
        for (int64_t e = 0;
             m->params[i].role == RK_ROLE_STATE_SUM && e < rk_tensor_count(&m->params[i].tensor);
             e++)
            assert_true(((const float *)m->params[i].tensor.data)[e] >= 0.0f);
}

/* Training lowers the loss and moves nothing but the states. As a file of their own beside the base and as
 * part of the model they give the same scores; read in the wrong order they give others. */
static void check_training(test_ctx *t)
{
    const test_model base = base_model(t);
    const char *dir = test_temp_dir(t);
    char *merged = test_path(t, dir, "merged.safetensors"), *state = test_path(t, dir, "state.pth");
    const int32_t *tokens = test_tokens(t, BATCH * (T + 1), V);
    rk_step_info first, last;
    rk_model *m = NULL;
    rk_error err = {0};
    tuning f = begin(base.path, "state,state-shift", BATCH);
    steps(&f, tokens, 1, &first);
    steps(&f, tokens, 99, &last);
    assert_true(last.loss < first.loss - 0.05);
    expect_nonnegative(f.model);
    test_ok(rk_trainer_save_model(f.trainer, merged, &err), &err);
    test_ok(rk_state_save_tuned(f.model, state, &err), &err);
    end(&f);

    test_ok(rk_model_open(&m, merged, &err), &err);
    expect_frozen(t, base.model->file, m->file);
    if (strcmp(test_arch->name, "rwkv7-kernel") !=
        0) { /* whose file is a path that a model is opened with */
        const float *x = scores(t, m, NULL, 0);
        const float *y = scores(t, base.model, state, RK_TUNED_VALUE_KEY);
        test_same(t, "beside the base", x, y, (size_t)T * V * sizeof *x);
        if (!is_4())
            assert_true(difference(x, scores(t, base.model, state, RK_TUNED_KEY_VALUE)) > 1e-2);
    }
    rk_model_close(m);
    rk_model_close(base.model);
}

/* The gradient, from the first moment after one step. */
static float *gradient(test_ctx *t, const char *base, const int32_t *tokens, int64_t batch,
                       int64_t *n)
{
    tuning f = begin(base, "state,state-shift", batch);
    rk_run_arrays arrays;
    rk_step_info info;
    steps(&f, tokens, 1, &info);
    rk_trainer_arrays(f.trainer, &arrays);
    *n = 0;
    for (int64_t i = 0; i < arrays.states[0].n; i++)
        *n += arrays.states[0].at[i].n;
    float *out = test_alloc_f32(t, *n), *at = out;
    for (int64_t i = 0; i < arrays.states[0].n; at += arrays.states[0].at[i++].n)
        memcpy(at, arrays.states[0].at[i].data, (size_t)arrays.states[0].at[i].n * sizeof *at);
    end(&f);
    return out;
}

/* The gradient of a batch is the sum of those of its sequences. */
static void check_batch(test_ctx *t)
{
    const test_model base = base_model(t);
    const int32_t *tokens = test_tokens(t, BATCH * (T + 1), V);
    int64_t n;
    const float *all = gradient(t, base.path, tokens, BATCH, &n);
    double *sum = test_alloc(t, (size_t)n * sizeof *sum), diff = 0, norm = 0;
    memset(sum, 0, (size_t)n * sizeof *sum);
    for (int b = 0; b < BATCH; b++) {
        const float *one = gradient(t, base.path, tokens + b * (T + 1), 1, &n);
        for (int64_t i = 0; i < n; i++)
            sum[i] += (double)one[i] / BATCH;
    }
    for (int64_t i = 0; i < n; i++) {
        diff += pow(sum[i] - (double)all[i], 2);
        norm += sum[i] * sum[i];
    }
    assert_true(norm > 0 && sqrt(diff / norm) < 1e-6);
    rk_model_close(base.model);
}

/* A trainer that takes over arrays and step goes on with the same bits. */
static void check_resume(test_ctx *t)
{
    const test_model base = base_model(t);
    const int32_t *tokens = test_tokens(t, BATCH * (T + 1), V);
    rk_run_arrays from, to;
    rk_step_info a, b;
    tuning f = begin(base.path, "state", BATCH), g = begin(base.path, "state", BATCH);
    steps(&f, tokens, STEPS / 2, &a);
    rk_trainer_arrays(f.trainer, &from);
    rk_trainer_arrays(g.trainer, &to);
    for (int64_t i = 0; i < from.weights.n; i++)
        memcpy(to.weights.at[i].data, from.weights.at[i].data,
               (size_t)from.weights.at[i].n * sizeof(float));
    for (int s = 0; s < from.n_states; s++)
        for (int64_t i = 0; i < from.states[s].n; i++)
            memcpy(to.states[s].at[i].data, from.states[s].at[i].data,
                   (size_t)from.states[s].at[i].n * sizeof(float));
    rk_trainer_set_step(g.trainer, STEPS / 2);
    steps(&f, tokens, STEPS / 2, &a);
    steps(&g, tokens, STEPS / 2, &b);
    for (int64_t i = 0; i < from.weights.n; i++)
        test_same(t, from.weights.at[i].name, from.weights.at[i].data, to.weights.at[i].data,
                  (size_t)from.weights.at[i].n * sizeof(float));
    end(&f);
    end(&g);
    rk_model_close(base.model);
}

/* The scores after `tokens` of a stream that begins with a state. */
static float *scores_from(test_ctx *t, rk_session *s, const void *state, size_t bytes,
                          const int32_t *tokens)
{
    float *out = test_alloc_f32(t, (int64_t)T * V);
    rk_error err = {0};
    test_ok(rk_session_state_set(s, state, bytes, &err), &err);
    test_ok(rk_session_eval_all(s, tokens, T, out, &err), &err);
    return out;
}

/* What a prompt leaves, as the beginning of another stream: the recurrence's part and the shifts together
 * go on as if nothing had happened; without the shifts they do not. */
static void check_prefix(test_ctx *t)
{
    const test_model base = base_model(t);
    rk_engine *e = test_engine(1);
    rk_session *s = NULL;
    rk_error err = {0};
    const int32_t *prompt = test_tokens(t, T, V), *tokens = test_tokens(t, T, V);
    test_ok(rk_session_new(&s, base.model, e, &err), &err);
    const size_t bytes = rk_session_state_bytes(s);
    float *after = test_alloc(t, bytes), *begin = test_alloc(t, bytes);
    float *want = test_alloc_f32(t, (int64_t)T * V);
    test_ok(rk_session_eval(s, prompt, T, NULL, &err), &err);
    test_ok(rk_session_state_get(s, after, bytes, &err), &err);
    test_ok(rk_session_eval_all(s, tokens, T, want, &err), &err);
    memcpy(begin, after, bytes);
    test_same(t, "with the shifts", want, scores_from(t, s, begin, bytes, tokens),
              (size_t)T * V * sizeof *want);
    for (int i = 0; i < base.model->state.n_parts; i++) {
        const rk_state_entry *p = &base.model->state.parts[i];
        if (strstr(p->spec->name, "shift"))
            memset(begin + p->at, 0, (size_t)p->count * sizeof *begin);
    }
    assert_true(difference(want, scores_from(t, s, begin, bytes, tokens)) > 1e-3);
    rk_session_free(s);
    rk_engine_free(e);
    rk_model_close(base.model);
}

static void for_each_arch(void (*check)(test_ctx *t))
{
    for (int i = 0; rk_archs[i]; i++) {
        if (!rk_state_tuned_param(rk_archs[i], &rk_archs[i]->state[1])) /* it has no such states */
            continue;
        test_ctx t = test_begin(7 + (uint64_t)i);
        test_arch = rk_archs[i];
        check(&t);
        test_end(&t);
    }
    test_arch = &rk_arch_rwkv7;
}

static void test_zeros(void **state)
{
    (void)state;
    for_each_arch(check_zeros);
}

static void test_training(void **state)
{
    (void)state;
    for_each_arch(check_training);
}

static void test_batch(void **state)
{
    (void)state;
    for_each_arch(check_batch);
}

static void test_resume(void **state)
{
    (void)state;
    for_each_arch(check_resume);
}

static void test_prefix(void **state)
{
    (void)state;
    for_each_arch(check_prefix);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_zeros), cmocka_unit_test(test_training), cmocka_unit_test(test_batch),
        cmocka_unit_test(test_resume), cmocka_unit_test(test_prefix)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
