/* The trainer: what an update does to which parameter, what it says of losses, what stops it. */
#include "trainer_rig.h"

#include <pthread.h>

#include "base/clock.h"
#include "train/schedule.h"

/* ---- an update ---- */

/* AdamW's first step moves by the rate, whatever the gradient; w0 by twice the rate. */
static void test_rates(void **state)
{
    (void)state;
    test_ctx t = test_begin(7);
    rk_train_params p = small();
    p.weight_decay = 0.0;
    p.warmup = 0;
    fixture f = begin(&p, 2);
    const floats before = copy_of(&t, f.trainer, 0, 0);
    step(f.trainer, batches(&t));
    const rk_named_array *w, *m;
    const int64_t n = arrays_of(f.trainer, 0, &w);
    int64_t at = 0, moved = 0;
    arrays_of(f.trainer, 1, &m);
    for (int64_t i = 0; i < n; i++)
        for (int64_t e = 0; e < w[i].n; e++, at++) {
            const double rate = rk_ends_with(w[i].name, ".att.w0") ? 2e-2 : 1e-2;
            const double by = fabs((double)w[i].data[e] - (double)before.x[at]);
            const double want = m[i].data[e] == 0.0f ? 0.0 : rate;
            if (fabs(by - want) > 1e-6)
                fail_msg("%s [%d] moved by %g, expected %g", w[i].name, (int)e, by, want);
            moved += want > 0.0;
        }
    assert_true(moved > at * 3 / 4);
    end(&f);
    test_end(&t);
}

/* One step with decay and one without differ in matrices named .weight alone, by lr decay p. */
static void test_decay(void **state)
{
    (void)state;
    test_ctx t = test_begin(8);
    const int32_t *data = batches(&t);
    rk_train_params p = small();
    p.warmup = 0;
    fixture with = begin(&p, 2);
    p.weight_decay = 0.0;
    fixture without = begin(&p, 2);
    const floats before = copy_of(&t, with.trainer, 0, 0);
    step(with.trainer, data);
    step(without.trainer, data);
    const rk_named_array *a, *b;
    const int64_t n = arrays_of(with.trainer, 0, &a);
    const float *old = before.x;
    arrays_of(without.trainer, 0, &b);
    for (int64_t i = 0; i < n; old += a[i++].n) {
        const bool decays = a[i].n_dims == 2 && rk_ends_with(a[i].name, ".weight");
        for (int64_t e = 0; e < a[i].n; e++) {
            const double by = (double)b[i].data[e] - (double)a[i].data[e];
            const double want = decays ? 1e-2 * 0.1 * (double)old[e] : 0.0;
            if (fabs(by - want) > (decays ? 2.5e-7 : 0.0))
                fail_msg("%s [%d] decayed by %g, expected %g", a[i].name, (int)e, by, want);
        }
    }
    /* The id that does not occur: its row only decays. */
    const rk_named_array *emb = array_named(with.trainer, 0, "emb.weight");
    for (int64_t e = emb->n - 32; e < emb->n; e++)
        assert_true(fabs((double)emb->data[e] - (1.0 - 1e-3) * (double)before.x[e]) < 1e-7);
    end(&with);
    end(&without);
    test_end(&t);
}

static double norm_of(floats a)
{
    double sum = 0.0;
    for (int64_t i = 0; i < a.n; i++)
        sum += (double)a.x[i] * (double)a.x[i];
    return sqrt(sum);
}

/* The norm that is reported is the gradient's own; the one that acts is at most clip. */
static void test_clip(void **state)
{
    (void)state;
    test_ctx t = test_begin(9);
    const int32_t *data = batches(&t);
    static const double clips[] = {0.0, 1e-3, 1e3};
    double first = 0.0;
    for (size_t i = 0; i < RK_COUNT(clips); i++) {
        rk_train_params p = small();
        p.clip = clips[i];
        fixture f = begin(&p, 2);
        const double norm = step(f.trainer, data).grad_norm;
        const double used = norm_of(copy_of(&t, f.trainer, 1, 1)) / (1.0 - p.beta1);
        first = i == 0 ? norm : first;
        assert_true(norm == first && norm > 1e-2);
        test_shape(&t, "clip %g", clips[i]);
        const double want = i == 1 ? clips[i] * norm / (norm + 1e-6) : norm;
        if (fabs(used - want) > 1e-5 * want)
            fail_msg("clip %g: a gradient of norm %g acted, expected %g", clips[i], used, want);
        end(&f);
    }
    test_end(&t);
}

static void test_schedule(void **state)
{
    (void)state;
    test_ctx t = test_begin(10);
    const int32_t *data = batches(&t);
    const rk_train_params p = small();
    const rk_schedule s = {.lr = p.lr,
                           .lr_final = p.lr / 10.0,
                           .warmup = p.warmup,
                           .steps = p.steps,
                           .kind = rk_schedules};
    fixture f = begin(&p, 1);
    for (int64_t i = 0; i < STEPS; i++) {
        const rk_step_info info = step(f.trainer, batch_of(data, i));
        assert_int_equal(info.step, i + 1);
        assert_true(info.lr == rk_schedule_lr(&s, i));
        assert_false(info.skipped);
    }
    end(&f);
    test_end(&t);
}

typedef struct lines {
    int n;
    char last[256];
} lines;

static void note_warning(void *user, rk_log_level level, const char *line)
{
    lines *l = user;
    if (level != RK_LOG_WARN)
        return;
    l->n++;
    snprintf(l->last, sizeof l->last, "%s", line);
}

/* A weight that is not a number: no update, its place on the log, and on it goes when it is mended.
 */
static void test_not_finite(void **state)
{
    (void)state;
    test_ctx t = test_begin(11);
    const int32_t *data = batches(&t);
    const rk_train_params p = small();
    lines log = {0, ""};
    fixture f =
        begin_with(&p, &(rk_engine_params){.n_threads = 2, .log = note_warning, .log_user = &log});
    step(f.trainer, data);
    float *poked = array_named(f.trainer, 0, "blocks.1.ffn.key.weight")->data + 5, was = *poked;
    *poked = NAN;
    const floats before = copy_of(&t, f.trainer, 0, 2);
    const rk_step_info info = step(f.trainer, data);
    assert_true(info.skipped);
    assert_int_equal(info.step, 2);
    expect_same(&t, before, copy_of(&t, f.trainer, 0, 2));
    assert_int_equal(log.n, 1);
    assert_non_null(strstr(log.last, "step 2"));
    assert_non_null(strstr(log.last, "emb.weight"));
    *poked = was;
    assert_false(step(f.trainer, data).skipped);
    assert_int_equal(log.n, 1);
    end(&f);
    test_end(&t);
}

/* Running means by their definition, kept for what is trained; shown, they are what losses see. */
static void test_average(void **state)
{
    (void)state;
    test_ctx t = test_begin(20);
    const int32_t *data = batches(&t);
    rk_train_params p = small();
    rk_error err = {0};
    double plain, averaged, again;
    p.ema = 0.2;
    p.freeze = "emb";
    fixture f = begin(&p, 2);
    const rk_named_array *w = array_named(f.trainer, 0, "head.weight");
    const rk_named_array *mean = array_named(f.trainer, 3, "head.weight");
    const rk_named_array *kept;
    double *want = test_alloc_f64(&t, mean->n);
    for (int64_t i = 0, n = arrays_of(f.trainer, 3, &kept); i < n; i++)
        assert_string_not_equal(kept[i].name, "emb.weight");
    for (int64_t i = 0; i < mean->n; i++)
        want[i] = (double)mean->data[i];
    for (int64_t s = 0; s < STEPS; s++) {
        step(f.trainer, batch_of(data, s));
        const double d = fmin(0.2, (double)(s + 1) / (double)(s + 10));
        for (int64_t i = 0; i < mean->n; i++)
            want[i] = d * want[i] + (1.0 - d) * (double)w->data[i];
    }
    for (int64_t i = 0; i < mean->n; i++)
        assert_true(fabs(want[i] - (double)mean->data[i]) < 1e-6);
    test_ok(rk_trainer_loss(f.trainer, data, BATCH, &plain, &err), &err);
    rk_trainer_show_average(f.trainer, true);
    test_ok(rk_trainer_loss(f.trainer, data, BATCH, &averaged, &err), &err);
    assert_int_equal(rk_trainer_step(f.trainer, data, NULL, &err), RK_ERR_ARG);
    assert_non_null(strstr(err.msg, "averaged weights are shown"));
    rk_trainer_show_average(f.trainer, false);
    test_ok(rk_trainer_loss(f.trainer, data, BATCH, &again, &err), &err);
    assert_true(plain == again && plain != averaged);
    step(f.trainer, data);
    end(&f);
    test_end(&t);
}

/* From the slices of a batch the trainer tells what trainers on the slices alone tell. */
static void test_noise(void **state)
{
    (void)state;
    enum { SLICES = 4, N = BATCH / SLICES };
    test_ctx t = test_begin(18);
    const int32_t *data = batches(&t);
    rk_train_params p = small();
    fixture one = begin(&p, 1);
    const rk_step_info plain = step(one.trainer, data);
    assert_true(isnan(plain.noise_scale));
    end(&one);
    p.batch = N;
    double small_norm = 0.0;
    for (int s = 0; s < SLICES; s++) {
        fixture f = begin(&p, 1);
        const double norm = step(f.trainer, data + s * N * (CTX_LEN + 1)).grad_norm;
        small_norm += norm * norm / SLICES;
        end(&f);
    }
    p.batch = BATCH;
    p.grad_slices = SLICES;
    fixture f = begin(&p, 2);
    const double got = step(f.trainer, data).noise_scale, whole = plain.grad_norm * plain.grad_norm;
    const double grad = (BATCH * whole - N * small_norm) / (BATCH - N);
    const double spread = (small_norm - whole) / (1.0 / N - 1.0 / BATCH);
    assert_true(grad > 0.0 && spread > 0.0);
    assert_true(test_is_close(spread / grad, got, 1e-4));
    /* It goes on where a run goes on. */
    fixture on = begin(&p, 1);
    step(on.trainer, data);
    rk_trainer_set_noise(on.trainer, (rk_noise){0.0, 0.0});
    rk_trainer_set_noise(on.trainer, rk_trainer_noise(f.trainer));
    assert_true(step(f.trainer, batch_of(data, 1)).noise_scale ==
                step(on.trainer, batch_of(data, 1)).noise_scale);
    end(&on);
    end(&f);
    test_end(&t);
}

/* ---- losses ---- */

static void test_learns(void **state)
{
    (void)state;
    test_ctx t = test_begin(12);
    int32_t *tokens = test_alloc(&t, (size_t)BATCH * (CTX_LEN + 1) * sizeof *tokens);
    for (int64_t i = 0; i < (int64_t)BATCH * (CTX_LEN + 1); i++)
        tokens[i] = (int32_t)(i % 5);
    for (int r = 0; r < N_RECIPES; r++) {
        rk_train_params p = recipe(r);
        p.dropout = 0.0;
        p.steps = 40;
        p.lr = r == SGD ? 0.3 : p.lr;
        fixture f = begin(&p, 2);
        const double first = step(f.trainer, tokens).loss;
        double last = first;
        for (int s = 1; s < 40; s++)
            last = step(f.trainer, tokens).loss;
        print_message("a repeating sequence, recipe %d: loss %.3f, after 40 steps %.3f\n", r, first,
                      last);
        assert_true(first > 2.0 && last < 0.2);
        end(&f);
    }
    test_end(&t);
}

/* A new model knows nothing and says so: logits have a standard deviation of about a half, those of a
 * transformer of less. */
static void test_first_loss(void **state)
{
    (void)state;
    static const rk_size wide[] = {
        {"n_vocab", 4096}, {"n_layer", 2}, {"n_embd", 64}, {"head_size", 16}};
    test_ctx t = test_begin(19);
    rk_train_params p = small();
    rk_engine *e = NULL;
    rk_trainer *trainer = NULL;
    rk_error err = {0};
    p.sizes = wide;
    test_ok(rk_engine_new(&e, &(rk_engine_params){.n_threads = 1}, &err), &err);
    test_ok(rk_trainer_new(&trainer, &p, e, &err), &err);
    const double loss = step(trainer, test_tokens(&t, BATCH * (CTX_LEN + 1), 4096)).loss;
    print_message("a new model: loss ln V + %.4f\n", loss - log(4096.0));
    assert_true(loss - log(4096.0) > -0.02 && loss - log(4096.0) < 0.2);
    rk_trainer_free(trainer);
    rk_engine_free(e);
    test_end(&t);
}

/* The loss of a step is that of the weights before it, without dropout. */
static void test_loss(void **state)
{
    (void)state;
    test_ctx t = test_begin(13);
    const int32_t *data = batches(&t);
    rk_train_params p = small();
    rk_error err = {0};
    double before, after, part, rest;
    p.micro_batch = 3;
    fixture f = begin(&p, 2);
    test_ok(rk_trainer_loss(f.trainer, data, BATCH, &before, &err), &err);
    assert_int_equal(rk_trainer_step_count(f.trainer), 0);
    assert_true(step(f.trainer, data).loss == before);
    test_ok(rk_trainer_loss(f.trainer, data, BATCH, &after, &err), &err);
    assert_true(after != before);
    test_ok(rk_trainer_loss(f.trainer, data, 1, &part, &err), &err);
    test_ok(rk_trainer_loss(f.trainer, data + CTX_LEN + 1, BATCH - 1, &rest, &err), &err);
    assert_true(test_is_close(after, (part + (BATCH - 1) * rest) / BATCH, 1e-12));
    assert_int_equal(rk_trainer_loss(f.trainer, data, 0, &part, &err), RK_ERR_ARG);
    assert_non_null(strstr(err.msg, "0 sequences"));
    end(&f);
    test_end(&t);
}

/* The saved model, opened and run by a session, gives the trainer's loss. */
static void test_saved_model(void **state)
{
    (void)state;
    test_ctx t = test_begin(14);
    const int32_t *data = batches(&t);
    const rk_train_params p = small();
    const char *path = test_path(&t, test_temp_dir(&t), "model.safetensors");
    rk_error err = {0};
    rk_model *m = NULL;
    rk_session *s = NULL;
    rk_model_info info;
    double want, got = 0.0;
    float *logits = test_alloc_f32(&t, (int64_t)CTX_LEN * N_VOCAB);
    fixture f = begin(&p, 2);
    step(f.trainer, data);
    test_ok(rk_trainer_loss(f.trainer, data, 1, &want, &err), &err);
    test_ok(rk_trainer_save_model(f.trainer, path, &err), &err);
    test_ok(rk_model_open(&m, path, &err), &err);
    rk_model_get_info(m, &info);
    assert_int_equal(info.ctx_len, CTX_LEN);
    test_ok(rk_session_new(&s, m, f.engine, &err), &err);
    test_ok(rk_session_eval_all(s, data, CTX_LEN, logits, &err), &err);
    for (int64_t i = 0; i < CTX_LEN; i++)
        got -= rk_logprob(logits + i * N_VOCAB, N_VOCAB, data[i + 1]) / CTX_LEN;
    assert_true(test_is_close(want, got, 1e-5));
    rk_session_free(s);
    rk_model_close(m);
    end(&f);
    test_end(&t);
}

/* ---- plans and refusals ---- */

static size_t plan(const rk_train_params *p, rk_engine *e)
{
    size_t bytes = 0;
    rk_error err = {0};
    test_ok(rk_trainer_plan(p, e, &bytes, &err), &err);
    return bytes;
}

/* Weights, two moments, a gradient and one for every level of the tree, beside a step's arena. That
 * the arena is enough is seen whenever a step succeeds: it cannot grow. */
static void test_plan(void **state)
{
    (void)state;
    rk_train_params p = small();
    fixture f = begin(&p, 2);
    const rk_named_array *a;
    size_t weights = 0;
    for (int64_t i = 0, n = arrays_of(f.trainer, 0, &a); i < n; i++)
        weights += (size_t)a[i].n * sizeof(float);
    p.micro_batch = 2;
    const size_t whole = plan(&p, f.engine);
    assert_true(whole > 4 * weights);
    p.grad_slices = 4;
    assert_int_equal(plan(&p, f.engine), whole + 2 * weights);
    p.grad_slices = 1;
    p.checkpoint_blocks = true;
    assert_true(plan(&p, f.engine) < whole);
    p.checkpoint_blocks = false;
    p.micro_batch = 1;
    assert_true(plan(&p, f.engine) < whole);
    p.micro_batch = BATCH;
    const size_t most = plan(&p, f.engine);
    p.micro_batch = 0;
    assert_int_equal(plan(&p, f.engine), most);
    end(&f);
}

static void refuse(rk_engine *e, const rk_train_params *p, const char *word)
{
    rk_trainer *trainer = NULL;
    rk_error err = {0};
    size_t bytes;
    if (rk_trainer_new(&trainer, p, e, &err) != RK_ERR_ARG || !strstr(err.msg, word))
        fail_msg("%s: '%s'", word, err.msg);
    assert_null(trainer);
    assert_int_equal(rk_trainer_plan(p, e, &bytes, NULL), RK_ERR_ARG);
}

#define REFUSE(field, bad)                                                                         \
    do {                                                                                           \
        rk_train_params p = small();                                                               \
        p.field = bad;                                                                             \
        refuse(e, &p, #field);                                                                     \
    } while (0)

static void refuse_size(rk_engine *e, const char *name, double value, const char *word)
{
    rk_train_params p = small();
    rk_size sizes[RK_COUNT(small_sizes) + 1];
    memcpy(sizes, small_sizes, sizeof small_sizes);
    sizes[p.n_sizes] = (rk_size){name, value};
    for (int64_t i = 0; i < p.n_sizes; i++)
        if (!strcmp(sizes[i].name, name))
            sizes[i].value = value;
    p.sizes = sizes;
    p.n_sizes = (int64_t)RK_COUNT(sizes);
    refuse(e, &p, word);
}

static void test_bad_params(void **state)
{
    (void)state;
    rk_engine *e = NULL;
    rk_error err = {0};
    test_ok(rk_engine_new(&e, NULL, &err), &err);
    refuse_size(e, "n_vocab", 0, "n_vocab is 0, expected 1 to");
    refuse_size(e, "n_vocab", 1e19, "n_vocab is 1e+19, expected 1 to");
    refuse_size(e, "n_layer", 0, "n_layer is 0, expected 1 to 1024");
    refuse_size(e, "n_layer", 1 << 20, "n_layer");
    refuse_size(e, "n_layer", 1.5, "n_layer is 1.5, expected a whole number");
    refuse_size(e, "n_embd", -1, "n_embd");
    refuse_size(e, "n_embd", (double)NAN, "n_embd");
    refuse_size(e, "n_embd", 33, "n_embd 33 is not a multiple of head_size 16");
    refuse_size(e, "head_size", -16, "head_size");
    refuse_size(e, "dim_ffn", -1, "dim_ffn");
    refuse_size(e, "dim_ffn", (double)INT64_MAX, "dim_ffn");
    refuse_size(e, "rank_w", -1, "rank_w");
    refuse_size(e, "rank_a", -1, "rank_a");
    refuse_size(e, "rank_v", -1, "rank_v");
    refuse_size(e, "rank_g", (double)INT64_MAX, "rank_g");
    refuse_size(e, "rank_m", 4, "an rwkv7 model has no size 'rank_m' to choose");
    refuse_size(e, "n_head", 2, "no size 'n_head' to choose"); /* it follows */
    REFUSE(ctx_len, 0);
    REFUSE(batch, 0);
    REFUSE(micro_batch, -1);
    REFUSE(grad_slices, 0);
    REFUSE(grad_slices, 3);
    REFUSE(grad_slices, 16); /* does not divide the batch */
    REFUSE(steps, 0);
    REFUSE(warmup, -1);
    REFUSE(lr, (double)NAN);
    REFUSE(lr, -1e-3);
    REFUSE(lr_final, (double)NAN);
    REFUSE(weight_decay, -0.1);
    REFUSE(beta1, 1.0);
    REFUSE(beta2, 1.0);
    REFUSE(eps, -1.0);
    REFUSE(clip, -1.0);
    REFUSE(l2wrap, (double)NAN);
    REFUSE(dropout, 1.0);
    REFUSE(momentum, 1.0);
    REFUSE(momentum, 0.5); /* of an optimiser that has none */
    REFUSE(optimizer, "none");
    REFUSE(schedule, "none");
    REFUSE(decay_frac, 1.5);
    REFUSE(ema, 1.0);
    REFUSE(muon_lr, (double)NAN);
    REFUSE(muon_momentum, 1.0);
    REFUSE(muon_momentum, 0.5);
    rk_train_params p = small();
    p.arch = "rwkv99";
    refuse(e, &p, "rwkv99");
    rk_engine_free(e);
}

/* A task whose fields are not what the model takes. */
static void test_missing_input(void **state)
{
    (void)state;
    rk_train_params p = small();
    rk_engine *e = NULL;
    rk_model *m = NULL;
    rk_task *task = NULL;
    rk_train_plan plan;
    rk_error err = {0};
    test_ok(rk_engine_new(&e, NULL, &err), &err);
    test_ok(rk_train_model(&m, &p, &err), &err);
    test_ok(rk_next_token_new(&task, &p, &err), &err);
    rk_task other = *task;
    other.fields[0].name = "points";
    test_ok(rk_training_plan(&(rk_training){m, task, &p, NULL}, e, &plan, &err), &err);
    assert_int_equal(rk_training_plan(&(rk_training){m, &other, &p, NULL}, e, &plan, &err),
                     RK_ERR_ARG);
    assert_string_equal(err.msg, "the task next-token has no 'ids', which an rwkv7 model takes");
    rk_task_close(task);
    rk_model_close(m);
    rk_engine_free(e);
}

static void test_bad_tokens(void **state)
{
    (void)state;
    test_ctx t = test_begin(15);
    const rk_train_params p = small();
    static const int32_t bad[] = {-7, N_VOCAB, INT32_MAX};
    static const int64_t places[] = {0, 30, CTX_LEN}; /* the last is a target only */
    fixture f = begin(&p, 2);
    int32_t *tokens = test_copy(&t, batches(&t), BATCH * (CTX_LEN + 1) * sizeof *tokens);
    const floats before = copy_of(&t, f.trainer, 0, 2);
    for (size_t i = 0; i < RK_COUNT(bad); i++)
        for (size_t k = 0; k < RK_COUNT(places); k++) {
            rk_error err = {0};
            const int32_t was = tokens[places[k]];
            tokens[places[k]] = bad[i];
            if (rk_trainer_step(f.trainer, tokens, NULL, &err) != RK_ERR_ARG || !err.msg[0])
                fail_msg("token %d at %d: '%s'", (int)bad[i], (int)places[k], err.msg);
            tokens[places[k]] = was;
        }
    assert_int_equal(rk_trainer_step_count(f.trainer), 0);
    expect_same(&t, before, copy_of(&t, f.trainer, 0, 2));
    end(&f);
    test_end(&t);
}

/* ---- stopping ---- */

typedef struct alarm_clock {
    rk_engine *engine;
    double after_s;
} alarm_clock;

static void *abort_later(void *arg)
{
    const alarm_clock *a = arg;
    for (const double start = rk_now_s(); rk_now_s() - start < a->after_s;)
        ;
    rk_engine_abort(a->engine);
    return NULL;
}

/* At whatever moment a step is stopped, it is done whole or not at all, and then goes on. */
static void test_abort_any_time(void **state)
{
    (void)state;
    enum { TRIES = 24, BUSY = 40 }; /* more where another program has the cores */
    test_ctx t = test_begin(16);
    const int32_t *data = batches(&t);
    const rk_train_params p = small();
    fixture f = begin(&p, 2), calm = begin(&p, 2);
    int stopped = 0;
    double step_s =
        (double)INFINITY; /* the least of some: the first ones take memory, or wait for others */
    for (int i = 0; i < 4; i++) {
        const double start = rk_now_s();
        step(f.trainer, data);
        step_s = fmin(step_s, rk_now_s() - start);
        step(calm.trainer, data);
    }
    for (int i = 0; i < TRIES || (stopped == 0 && i < BUSY * TRIES); i++) {
        const floats before = copy_of(&t, f.trainer, 0, 2);
        alarm_clock a = {f.engine, step_s * 1.2 * (i % TRIES) / TRIES};
        rk_error err = {0};
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, abort_later, &a), 0);
        const rk_status st = rk_trainer_step(f.trainer, data, NULL, &err);
        pthread_join(thread, NULL);
        rk_engine_clear_abort(f.engine);
        if (st == RK_ERR_ABORTED) {
            stopped++;
            expect_same(&t, before, copy_of(&t, f.trainer, 0, 2));
            step(f.trainer, data);
        } else {
            test_ok(st, &err);
        }
        step(calm.trainer, data);
        expect_same(&t, copy_of(&t, calm.trainer, 0, 2), copy_of(&t, f.trainer, 0, 2));
        test_reset(&t);
        data = batches(&t);
    }
    assert_true(stopped > 0);
    end(&f);
    end(&calm);
    test_end(&t);
}

static bool is_time(void *user)
{
    return rk_now_s() > *(const double *)user;
}

/* A step of half a second ends soon after the callback asks. A busy machine gets three tries. */
static void test_abort_soon(void **state)
{
    (void)state;
    test_ctx t = test_begin(17);
    rk_train_params p = small();
    double deadline = (double)INFINITY, late = deadline;
    static const rk_size wide[] = {
        {"n_vocab", N_VOCAB}, {"n_layer", 2}, {"n_embd", 128}, {"head_size", 16}};
    p.sizes = wide;
    p.ctx_len = 256;
    p.batch = 32;
    fixture f = begin_with(&p, &(rk_engine_params){.abort = is_time, .abort_user = &deadline});
    const int32_t *tokens = test_tokens(&t, p.batch * (p.ctx_len + 1), N_VOCAB);
    for (int i = 0; i < 3 && late > 0.05; i++) {
        deadline = rk_now_s() + 0.05;
        assert_int_equal(rk_trainer_step(f.trainer, tokens, NULL, NULL), RK_ERR_ABORTED);
        late = rk_now_s() - deadline;
        rk_engine_clear_abort(f.engine);
    }
    print_message("stopped %.1f ms after the request\n", 1e3 * late);
    assert_true(late < 0.05);
    end(&f);
    test_end(&t);
}

int main(void)
{
    int failed = 0;
    const struct CMUnitTest every[] = {
        cmocka_unit_test(test_learns),
        cmocka_unit_test(test_first_loss),
        cmocka_unit_test(test_plan),
    };
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rates),          cmocka_unit_test(test_decay),
        cmocka_unit_test(test_clip),           cmocka_unit_test(test_schedule),
        cmocka_unit_test(test_not_finite),     cmocka_unit_test(test_average),
        cmocka_unit_test(test_noise),          cmocka_unit_test(test_loss),
        cmocka_unit_test(test_saved_model),    cmocka_unit_test(test_bad_params),
        cmocka_unit_test(test_missing_input),  cmocka_unit_test(test_bad_tokens),
        cmocka_unit_test(test_abort_any_time), cmocka_unit_test(test_abort_soon),
    };
    for (int i = 0; next_arch(&i);)
        failed += cmocka_run_group_tests_name(arch->name, every, NULL, NULL);
    return failed + cmocka_run_group_tests(tests, NULL, NULL);
}
