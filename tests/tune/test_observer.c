/* An observer that is its teacher tells the teacher's states to the bit; the gradient of its maps is that of
 * the loss; what it tells of a prompt is what training computed. */
#include "infer/test_model_util.h"

#include "io/path.h"
#include "io/safetensors.h"
#include "train/task_observer.h"
#include "train/trainer.h"
#include "tune/observer.h"

enum { T = 24, BATCH = 4, L = 2, C = 32 };

typedef struct fixture {
    test_model teacher;
    rk_engine *engine;
    rk_run_params p;
    rk_task *task;
    rk_model *own;
    rk_trainer *trainer;
} fixture;

static const char *write_text(test_ctx *t, const char *dir)
{
    char *path = test_path(t, dir, "a.txt");
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    for (int i = 0; i < 4000; i++)
        fputc('a' + (i * i + i / 7) % 26, f);
    fclose(f);
    return path;
}

/* Each head is told from the one of its number. */
static void mix_alone(const rk_model *own)
{
    rk_tensor *mix = &rk_observer_param(own, RK_OBSERVER_MIX)->tensor;
    const int64_t heads = mix->dims[2];
    for (int64_t i = 0; i < rk_tensor_count(mix); i++)
        ((float *)mix->data)[i] = i % heads == i / heads % heads;
}

/* Maps are trained beside the weights of `own`, which stay. */
static void begin(fixture *f, test_ctx *t, uint64_t own_seed)
{
    *f = (fixture){.engine = test_engine(2), .p = rk_run_defaults()};
    rk_error err = {0};
    test_n_vocab = 256;
    f->teacher = test_model_open(t, 1, L, C, RK_F32);
    const test_model own = test_model_open(t, own_seed, L, C, RK_F32);
    rk_train_params *m = &f->p.model;
    rk_model_close(own.model);
    f->p.teacher = f->teacher.path;
    f->p.tokenizer = "byte";
    f->p.data.paths[0] = write_text(t, test_temp_dir(t));
    f->p.data.n_paths = 1;
    m->ctx_len = T;
    m->batch = BATCH;
    m->arch = NULL;
    test_ok(rk_observer_open(&f->task, &f->p, NULL, &err), &err);
    m->init_from = own.path;
    m->train_only = "adapter";
    m->n_sizes = 0;
    m->lr = m->lr_final = 0.0;
    m->clip = m->l2wrap = m->weight_decay = 0.0;
    test_ok(rk_train_model(&f->own, m, &err), &err);
    test_ok(f->task->attach(f->task, f->own, f->engine, &err), &err);
    test_ok(rk_trainer_open(&f->trainer, &(rk_training){f->own, f->task, m, NULL}, f->engine, &err),
            &err);
    mix_alone(f->own);
}

static void end(fixture *f)
{
    rk_trainer_free(f->trainer);
    rk_model_close(f->own);
    rk_task_close(f->task);
    rk_model_close(f->teacher.model);
    rk_engine_free(f->engine);
}

enum { STATE, KL, KL_ZERO };

/* The loss and the metrics of the first batch, whose gradient the trainer then has. */
static double loss_of(fixture *f, double *metrics)
{
    rk_step_info info;
    rk_error err = {0};
    rk_trainer_set_step(f->trainer, 0);
    test_ok(rk_trainer_next(f->trainer, &info, metrics, &err), &err);
    return info.loss;
}

static void check_itself(test_ctx *t)
{
    fixture f;
    begin(&f, t, 1);
    double metrics[RK_TASK_METRICS_MAX];
    assert_true(loss_of(&f, metrics) == 0.0);
    assert_true(metrics[STATE] == 0.0 && metrics[KL] == 0.0 && metrics[KL_ZERO] > 0.0);
    end(&f);
}

/* <first moment, d> after one step, which is a tenth of the gradient; moved: E + h d. */
static double along(fixture *f, double h)
{
    rk_param *p = rk_observer_param(f->own, RK_OBSERVER_CONSTANT);
    rk_run_arrays arrays;
    double sum = 0.0;
    rk_trainer_arrays(f->trainer, &arrays);
    const float *moment = NULL;
    for (int64_t i = 0; i < arrays.states[0].n; i++)
        if (!strcmp(arrays.states[0].at[i].name, p->name))
            moment = arrays.states[0].at[i].data;
    assert_non_null(moment);
    for (int64_t i = 0; i < rk_tensor_count(&p->tensor); i++) {
        const float d = 2.0f * rk_rng_f32(3, RK_RNG_TEST, 0, (uint64_t)i) - 1.0f;
        sum += (double)d * (double)moment[i];
        ((float *)p->tensor.data)[i] += (float)h * d;
    }
    return 10.0 * sum;
}

static void check_gradient(test_ctx *t)
{
    fixture f;
    begin(&f, t, 2);
    const double h = 1e-2;
    double low[RK_TASK_METRICS_MAX], high[RK_TASK_METRICS_MAX];
    loss_of(&f, NULL);
    const double slope = along(&f, h), above = loss_of(&f, high);
    along(&f, -2.0 * h);
    const double below = loss_of(&f, low), want = (above - below) / (2.0 * h);
    const double of_kl = 0.1 * (high[KL] - low[KL]) / (2.0 * h);
    if (!(fabs(slope - want) < 0.01 * fabs(of_kl) + 1e-4))
        fail_msg("%s: slope %g, differences %g, of which %g of what the teacher says",
                 test_arch->name, slope, want, of_kl);
    end(&f);
}

/* ---- a prompt ---- */

static void expect_same_states(test_ctx *t, const char *a, const char *b)
{
    rk_file *f = NULL, *g = NULL;
    rk_error err = {0};
    test_ok(rk_file_open(&f, a, &err), &err);
    test_ok(rk_file_open(&g, b, &err), &err);
    assert_int_equal(rk_file_count(f), rk_file_count(g));
    for (int64_t i = 0; i < rk_file_count(f); i++) {
        const rk_file_tensor *x = rk_file_at(f, i), *y = rk_file_find(g, x->name);
        assert_non_null(y);
        assert_int_equal(x->bytes, y->bytes);
        test_same(t, x->name, x->data, y->data, x->bytes);
    }
    rk_file_close(f);
    rk_file_close(g);
}

/* The first map with another number in it. */
static void spoil(const char *path, float x)
{
    rk_st *f = NULL;
    rk_error err = {0};
    test_ok(rk_st_open(&f, path, &err), &err);
    rk_file_tensor tensors[RK_OBSERVER_MAPS];
    rk_pair meta = rk_st_meta_at(f, 0);
    for (int i = 0; i < RK_OBSERVER_MAPS; i++)
        tensors[i] = *rk_st_at(f, i);
    float *copy = malloc(tensors[0].bytes);
    assert_non_null(copy);
    memcpy(copy, tensors[0].data, tensors[0].bytes);
    copy[1] = x;
    tensors[0].data = copy;
    const rk_file_contents c = {
        .tensors = tensors, .n_tensors = RK_OBSERVER_MAPS, .meta = &meta, .n_meta = 1};
    test_ok(rk_st_write(path, &c, true, NULL, &err), &err);
    free(copy);
    rk_st_close(f);
}

static void check_prompt(test_ctx *t)
{
    fixture f;
    begin(&f, t, 1);
    const char *dir = test_temp_dir(t);
    char *own = test_path(t, dir, "model.safetensors"), *want = test_path(t, dir, "want.pth");
    char *told = test_path(t, dir, "told.pth"), *maps = test_path(t, dir, "observer.safetensors");
    const int32_t *tokens = test_tokens(t, T, 256);
    rk_error err = {0};
    test_ok(rk_model_save(f.teacher.model, own, &(rk_save_options){.dtype = RK_F32}, &err), &err);
    test_ok(f.task->save(f.task, f.own, dir, &err), &err);
    test_ok(rk_observer_state(dir, f.teacher.model, f.engine, tokens, T, told, &err), &err);
    test_ok(rk_state_of_tokens(f.teacher.model, f.engine, tokens, T, want, &err), &err);
    expect_same_states(t, told, want);

    const test_model other = test_model_open(t, 9, L, C, RK_F32);
    assert_int_equal(rk_observer_state(dir, other.model, f.engine, tokens, T, told, &err),
                     RK_ERR_ARG);
    assert_non_null(strstr(err.msg, "observer of a model with fingerprint"));
    rk_model_close(other.model);
    spoil(maps, NAN);
    assert_int_equal(rk_observer_state(dir, f.teacher.model, f.engine, tokens, T, told, &err),
                     RK_ERR_FORMAT);
    assert_non_null(strstr(err.msg, "not finite"));
    expect_same_states(t, told, want); /* what was refused has written nothing */
    end(&f);
}

static void for_each(void (*check)(test_ctx *t))
{
    const rk_arch *const archs[] = {&rk_arch_rwkv7, &rk_arch_rwkv6};
    for (size_t i = 0; i < RK_COUNT(archs); i++) {
        test_ctx t = test_begin(5);
        test_arch = archs[i];
        check(&t);
        test_end(&t);
    }
    test_arch = &rk_arch_rwkv7;
}

static void test_itself(void **state)
{
    (void)state;
    for_each(check_itself);
}

static void test_gradient(void **state)
{
    (void)state;
    for_each(check_gradient);
}

static void test_prompt(void **state)
{
    (void)state;
    for_each(check_prompt);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_itself),
        cmocka_unit_test(test_gradient),
        cmocka_unit_test(test_prompt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
