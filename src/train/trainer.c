/* trainer.c: one step of training: slices, micro-batches, gradients, clipping, update.
 *
 * The gradient of a step is the sum over `grad_slices` slices of the batch, each computed alone and
 * added in a binary tree, as a binary counter adds: after slice s its sum goes up one level for
 * each trailing 1 of s. Within a slice micro-batches continue the same sums, which changes no bit
 * (docs/numerics.md). The same forward and backward over a counting context gives the plan. */
#include "train/trainer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "format/format.h"
#include "infer/engine.h"
#include "train/base.h"
#include "train/ema.h"
#include "train/examples.h"
#include "train/grown.h"
#include "train/memory.h"
#include "train/schedule.h"
#include "train/task_next.h"
#include "train/trained.h"
#include "tune/state_step.h"

struct rk_trainer {
    rk_train_params p;
    rk_engine *engine;
    rk_model *model;
    const rk_task *task;
    rk_model *own_model; /* of rk_trainer_new; NULL: borrowed */
    rk_task *own_task;
    rk_ctx ctx;
    rk_batch batch;
    rk_train_memory memory;
    double *partial;       /* of the gradient's norm */
    rk_update_span *spans; /* of what has grown; NULL: nothing */
    rk_state_step *state;  /* NULL: none */
    rk_noise noise;
    bool shows_average;
    int64_t step, grown_at; /* grown_at: the step at which the model of a grown run grew */
};

/* ---- options ---- */

rk_train_params rk_train_defaults(void)
{
    return (rk_train_params){.arch = "rwkv7",
                             .ctx_len = 512,
                             .batch = 8,
                             .grad_slices = 1,
                             .steps = 1000,
                             .warmup = 10,
                             .lr = 6e-4,
                             .lr_final = -1.0,
                             .weight_decay = 0.1,
                             .beta1 = 0.9,
                             .beta2 = 0.99,
                             .eps = 1e-18,
                             .clip = 1.0,
                             .l2wrap = -1.0,
                             .seed = 42,
                             .optimizer = rk_optimizers[0].name,
                             .momentum = 0.9,
                             .muon_lr = -1.0,
                             .muon_momentum = 0.95,
                             .schedule = rk_schedules[0].name,
                             .decay_frac = 0.2};
}

static rk_status expect_range(const char *name, double value, double lo, double hi, rk_error *err)
{
    if (value >= lo && value <= hi)
        return RK_OK;
    return rk_fail(err, RK_ERR_ARG, "%s is %g, expected %g to %g", name, value, lo, hi);
}

rk_status rk_train_settle(rk_train_params *p, rk_error *err)
{
    const struct {
        const char *name;
        double value, lo, hi;
    } ranges[] = {
        {"ctx_len", (double)p->ctx_len, 1, 1 << 24},
        {"batch", (double)p->batch, 1, 1 << 20},
        {"micro_batch", (double)p->micro_batch, 0, 1 << 20},
        {"grad_slices", (double)p->grad_slices, 1, 1 << 16},
        {"steps", (double)p->steps, 1, 1e15},
        {"warmup", (double)p->warmup, 0, 1e15},
        {"rewarm", (double)p->rewarm, 0, 1e15},
        {"lr", p->lr, 0, 1e3},
        {"lr_final", p->lr_final, -1e3, 1e3},
        {"weight_decay", p->weight_decay, 0, 1e3},
        {"beta1", p->beta1, 0, 0.999999},
        {"beta2", p->beta2, 0, 0.999999},
        {"eps", p->eps, 0, 1},
        {"clip", p->clip, 0, 1e30},
        {"l2wrap", p->l2wrap, -1e3, 1},
        {"dropout", p->dropout, 0, 0.99},
        {"momentum", p->momentum, 0, 0.999999},
        {"muon_lr", p->muon_lr, -1e3, 1e3},
        {"muon_momentum", p->muon_momentum, 0, 0.999999},
        {"decay_frac", p->decay_frac, 0, 1},
        {"ema", p->ema, 0, 0.9999999},
    };
    for (size_t i = 0; i < RK_COUNT(ranges); i++)
        if (expect_range(ranges[i].name, ranges[i].value, ranges[i].lo, ranges[i].hi, err) != RK_OK)
            return RK_ERR_ARG;
    if ((p->grad_slices & (p->grad_slices - 1)) != 0 || p->batch % p->grad_slices != 0)
        return rk_fail(
            err, RK_ERR_ARG,
            "grad_slices is %lld, expected a power of two that divides the batch of %lld",
            (long long)p->grad_slices, (long long)p->batch);
    if (rk_optim_check(p, err) != RK_OK || rk_schedule_check(p->schedule, err) != RK_OK)
        return RK_ERR_ARG;
    const int64_t slice = p->batch / p->grad_slices;
    p->micro_batch = p->micro_batch ? rk_min_i64(p->micro_batch, slice) : slice;
    p->lr_final = p->lr_final < 0.0 ? p->lr / 10.0 : p->lr_final;
    return RK_OK;
}

void rk_train_recipe(rk_train_params *p, const rk_arch *arch)
{
    if (p->l2wrap < 0.0)
        p->l2wrap = arch ? arch->l2wrap : 0.0;
}

rk_status rk_train_model(rk_model **out, rk_train_params *p, rk_error *err)
{
    if (p->init_from)
        return rk_base_open(out, p, err);
    const rk_arch *arch = rk_arch_find(p->arch);
    rk_hparams hp;
    if (!arch)
        return rk_fail(err, RK_ERR_ARG, "no architecture '%s'", p->arch);
    const rk_status st = rk_sizes_make(arch, p->sizes, p->n_sizes, &hp, err);
    return st == RK_OK ? rk_model_new(out, arch, &hp, err) : st;
}

static rk_train_keeps keeps_of(const rk_training *s, const rk_train_params *p)
{
    rk_train_keeps k = {.optimizer = rk_optimizer_find(p->optimizer),
                        .average = p->ema > 0.0,
                        .state_moments = s->state && s->state->precondition};
    while ((int64_t)1 << k.levels < p->grad_slices)
        k.levels++;
    return k;
}

/* ---- the plan ---- */

static void require_gradients(rk_model *m)
{
    for (int64_t i = 0; i < m->n_params; i++) {
        rk_param *p = &m->params[i];
        p->tensor.requires_grad = p->trained && p->used && !rk_roles[p->role].ruled;
        p->tensor.has_grad = p->tensor.requires_grad;
    }
}

/* Options in order, and decided what is trained at which rates. */
static rk_status settle(const rk_training *s, rk_train_params *p, rk_error *err)
{
    *p = *s->params;
    rk_status st = rk_train_settle(p, err);
    if (st == RK_OK && rk_trained_names(p->freeze, RK_GROWN_OLD) && !strcmp(p->optimizer, "muon"))
        st = rk_fail(err, RK_ERR_ARG,
                     "muon updates whole matrices, of which old rows cannot be frozen: adamw and "
                     "sgd can");
    if (st == RK_OK)
        st = rk_lr_scales_set(s->model, p, err);
    return st == RK_OK ? rk_trained_set(s->model, p, err) : st;
}

/* Bytes of the arena of a step. The model needs no data. */
static rk_status plan_step(const rk_training *s, const rk_train_params *p, rk_engine *e,
                           size_t *bytes, rk_error *err)
{
    rk_ctx ctx;
    rk_example_sums unused = {0};
    const rk_ctx_params cp = {
        .kernels = rk_engine_kernels(e), .pool = rk_engine_pool(e), .data_kind = RK_ARENA_COUNTING};
    const rk_examples j = {s->model, s->task, p, NULL, 1.0};
    rk_status st = rk_ctx_init(&ctx, &cp, err);
    if (st != RK_OK)
        return st;
    require_gradients(s->model);
    rk_examples_backward(&ctx, &j, 0, p->micro_batch, &unused);
    st = rk_ctx_status(&ctx, err);
    const rk_optimizer *o = rk_optimizer_find(p->optimizer);
    const size_t update = o->scratch ? o->scratch(ctx.kernels, s->model) : 0;
    *bytes = ctx.data.peak > update ? ctx.data.peak : update;
    rk_ctx_deinit(&ctx);
    return st;
}

/* Bytes of a trainer of what is marked as trained. */
static rk_status plan_all(const rk_training *s, const rk_train_params *p, rk_engine *e,
                          size_t *bytes, rk_error *err)
{
    const rk_train_keeps keeps = keeps_of(s, p);
    const rk_status st = plan_step(s, p, e, bytes, err);
    *bytes += rk_train_memory_bytes(s->model, &keeps) + rk_batch_bytes(s->task, p->batch);
    return st;
}

/* Bytes of a trainer of the same model, everything trained. */
static rk_status plan_whole(const rk_training *s, const rk_train_params *p, rk_engine *e,
                            size_t *bytes, rk_error *err)
{
    rk_model *m = NULL;
    rk_status st = rk_model_new(&m, s->model->arch, &s->model->hp, err);
    const rk_training whole = {m, s->task, p, s->state};
    for (int64_t i = 0; st == RK_OK && i < m->n_params; i++)
        m->params[i].trained = m->params[i].used || !s->model->file;
    if (st == RK_OK)
        st = plan_all(&whole, p, e, bytes, err);
    rk_model_close(m);
    return st;
}

/* Of the parameters that are read where the file has them. */
static size_t mapped_bytes(const rk_model *m)
{
    size_t bytes = 0;
    for (int64_t i = 0; m->file && i < m->n_params; i++) {
        const rk_param *p = &m->params[i];
        if (p->used && !p->trained && !p->owned)
            bytes += rk_tensor_bytes(&p->tensor);
    }
    return bytes;
}

rk_status rk_training_plan(const rk_training *s, rk_engine *e, rk_train_plan *plan, rk_error *err)
{
    rk_train_params p;
    size_t whole = 0;
    *plan = (rk_train_plan){0};
    rk_status st = settle(s, &p, err);
    if (st == RK_OK)
        st = plan_all(s, &p, e, &plan->bytes, err);
    if (st != RK_OK)
        return st;
    plan->n_trained = rk_trained_count(s->model, true);
    plan->n_frozen = rk_trained_count(s->model, false);
    plan->mapped = mapped_bytes(s->model);
    if (plan->n_frozen == 0)
        return RK_OK;
    st = plan_whole(s, &p, e, &whole, err);
    plan->saved = whole > plan->bytes ? whole - plan->bytes : 0;
    return st;
}

/* The model and the task of rk_trainer_new. */
static rk_status make_subject(rk_model **m, rk_task **t, const rk_train_params *params,
                              rk_error *err)
{
    rk_train_params p = *params;
    rk_status st = rk_train_settle(&p, err);
    if (st == RK_OK)
        st = rk_train_model(m, &p, err);
    if (st != RK_OK)
        return st;
    rk_train_recipe(&p, (*m)->arch);
    return rk_next_token_new(t, &p, err);
}

rk_status rk_trainer_plan(const rk_train_params *p, rk_engine *e, size_t *bytes, rk_error *err)
{
    rk_model *m = NULL;
    rk_task *task = NULL;
    rk_status st = make_subject(&m, &task, p, err);
    rk_train_plan plan = {0};
    if (st == RK_OK)
        st = rk_training_plan(&(rk_training){m, task, p, NULL}, e, &plan, err);
    *bytes = plan.bytes;
    rk_task_close(task);
    rk_model_close(m);
    return st;
}

/* ---- making one ---- */

static rk_status allocate(rk_trainer *t, const rk_training *s, rk_error *err)
{
    const rk_train_keeps keeps = keeps_of(s, &t->p);
    const rk_status st = rk_train_memory_init(&t->memory, t->model, &keeps, t->p.seed, err);
    if (st != RK_OK)
        return st;
    const rk_status grown =
        rk_grown_spans(&t->spans, t->model, rk_trained_names(t->p.freeze, RK_GROWN_OLD),
                       t->memory.update, t->memory.n_update, err);
    if (grown != RK_OK)
        return grown;
    const int64_t n = rk_optim_norm_parts(t->memory.update, t->memory.n_update);
    t->partial = calloc((size_t)n, sizeof *t->partial);
    return t->partial ? RK_OK : rk_fail(err, RK_ERR_NOMEM, "out of memory for the norm's parts");
}

/* Rates rise again where the model grew, and nowhere else. */
static rk_status find_growth(rk_trainer *t, rk_error *err)
{
    bool said = false;
    const rk_status st = rk_grown_at(t->model, &t->grown_at, &said, err);
    if (st != RK_OK || said || t->p.rewarm == 0)
        return st;
    return rk_fail(
        err, RK_ERR_ARG,
        "rewarm is of a run whose model has grown (rwkv grow --run); warmup is of others");
}

static rk_status prepare(rk_trainer *t, const rk_training *s, rk_error *err)
{
    size_t bytes = 0;
    rk_status st = settle(s, &t->p, err);
    if (st == RK_OK)
        st = find_growth(t, err);
    if (st == RK_OK)
        st = plan_step(s, &t->p, t->engine, &bytes, err);
    if (st == RK_OK)
        st = allocate(t, s, err);
    if (st == RK_OK)
        st = rk_batch_init(&t->batch, t->task, t->p.batch, err);
    if (st == RK_OK && !t->model->file)
        st = rk_model_init(t->model, t->p.seed, rk_engine_abort_flag(t->engine), err);
    if (st == RK_OK && t->memory.keeps.average)
        rk_ema_begin(t->memory.update, t->memory.n_update);
    const rk_ctx_params cp = {rk_engine_kernels(t->engine),
                              rk_engine_pool(t->engine),
                              rk_engine_abort_flag(t->engine),
                              RK_ARENA_FIXED,
                              bytes,
                              NULL};
    if (st == RK_OK)
        st = rk_ctx_init(&t->ctx, &cp, err);
    if (st == RK_OK && s->state)
        st = rk_state_step_new(&t->state, t->model, s->state, t->p.seed, t->memory.state_moments,
                               err);
    t->model->ctx_len = t->p.ctx_len;
    return st;
}

rk_status rk_trainer_open(rk_trainer **out, const rk_training *s, rk_engine *e, rk_error *err)
{
    rk_trainer *t = calloc(1, sizeof *t);
    if (!t)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for a trainer");
    t->engine = e;
    t->model = s->model;
    t->task = s->task;
    const rk_status st = prepare(t, s, err);
    if (st == RK_OK)
        *out = t;
    else
        rk_trainer_free(t);
    return st;
}

rk_status rk_trainer_new(rk_trainer **out, const rk_train_params *p, rk_engine *e, rk_error *err)
{
    rk_model *m = NULL;
    rk_task *task = NULL;
    rk_status st = make_subject(&m, &task, p, err);
    if (st == RK_OK)
        st = rk_trainer_open(out, &(rk_training){m, task, p, NULL}, e, err);
    if (st != RK_OK) {
        rk_task_close(task);
        rk_model_close(m);
        return st;
    }
    (*out)->own_model = m;
    (*out)->own_task = task;
    return RK_OK;
}

void rk_trainer_free(rk_trainer *t)
{
    if (!t)
        return;
    rk_state_step_free(t->state);
    rk_ctx_deinit(&t->ctx);
    rk_train_memory_deinit(&t->memory);
    rk_batch_deinit(&t->batch);
    free(t->spans);
    free(t->partial);
    rk_task_close(t->own_task);
    rk_model_close(t->own_model);
    free(t);
}

/* ---- steps ---- */

static rk_examples examples_of(const rk_trainer *t, double share)
{
    return (rk_examples){t->model, t->task, &t->p, &t->batch, share};
}

/* Run one micro-batch that begins at example `first` of the batch. */
static rk_status micro_step(rk_trainer *t, int64_t first, int64_t n, rk_example_sums *to,
                            rk_error *err)
{
    const rk_examples j = examples_of(t, 1.0 / (double)to->counted);
    rk_ctx_reset(&t->ctx);
    t->ctx.step = (uint64_t)t->step;
    t->ctx.first_row = first * rk_max_i64(t->task->n_rows, 1);
    if (t->state)
        rk_state_step_watch(t->state, &t->ctx, true);
    rk_examples_backward(&t->ctx, &j, first, n, to);
    if (t->state)
        rk_state_step_watch(t->state, &t->ctx, false);
    return rk_ctx_status(&t->ctx, err);
}

static void add_floats(rk_trainer *t, const float *x, float *y)
{
    t->ctx.kernels->axpy(t->memory.n_trained, 1.0, x, y);
}

/* The first micro-batch of a slice begins the gradients; what it does not reach is zero in the end.
 */
static void begin_gradients(rk_trainer *t)
{
    for (int64_t i = 0; i < t->memory.n_update; i++)
        rk_grad_forget(t->memory.update[i].tensor);
}

static void end_gradients(rk_trainer *t)
{
    for (int64_t i = 0; i < t->memory.n_update; i++)
        rk_grad(&t->ctx, t->memory.update[i].tensor);
    rk_grown_clear(t->memory.update, t->memory.n_update);
}

static double grad_norm(rk_trainer *t, int64_t *at)
{
    return rk_optim_grad_norm(&t->ctx, t->memory.update, t->memory.n_update, t->partial, at);
}

/* The gradient of the mean of the batch's to->counted losses, in the first gradient's place. *slices: the
 * mean square norm of the slices' own means, 0 of a single one. */
static rk_status gradient(rk_trainer *t, rk_example_sums *to, double *slices, rk_error *err)
{
    const int64_t slice = t->p.batch / t->p.grad_slices;
    const int64_t n_floats = t->memory.n_trained;
    float *grad = t->memory.grad;
    for (int64_t s = 0; s < t->p.grad_slices; s++) {
        float *level = grad + n_floats;
        begin_gradients(t);
        for (int64_t b = 0; b < slice; b += t->p.micro_batch) {
            const int64_t n = rk_min_i64(t->p.micro_batch, slice - b);
            const rk_status st = micro_step(t, s * slice + b, n, to, err);
            if (st != RK_OK)
                return st;
        }
        end_gradients(t);
        if (t->p.grad_slices > 1) {
            const double norm = grad_norm(t, NULL);
            *slices += norm * norm * (double)t->p.grad_slices;
        }
        for (int64_t bits = s; bits & 1; bits >>= 1, level += n_floats)
            add_floats(t, level, grad);
        if (s + 1 < t->p.grad_slices)
            memcpy(level, grad, (size_t)n_floats * sizeof *grad);
    }
    return RK_OK;
}

static double rate_of(const rk_trainer *t)
{
    const rk_train_params *p = &t->p;
    const rk_schedule s = {.lr = p->lr,
                           .lr_final = p->lr_final,
                           .warmup = p->rewarm > 0 ? p->rewarm : p->warmup,
                           .steps = p->steps,
                           .from = p->rewarm > 0 ? t->grown_at : 0,
                           .kind = rk_schedule_find(p->schedule),
                           .decay_frac = p->decay_frac};
    return rk_schedule_lr(&s, t->step);
}

static void apply(rk_trainer *t, const rk_optim_step *step)
{
    const rk_train_memory *m = &t->memory;
    m->keeps.optimizer->update(&t->ctx, m->update, m->n_update, step);
    rk_optim_project(m->update, m->n_update);
    if (t->state)
        rk_state_step_update(t->state);
    if (m->keeps.average)
        rk_ema_update(&t->ctx, m->update, m->n_update, t->p.ema, step->count);
}

/* One update from the examples in the batch. */
static rk_status update(rk_trainer *t, rk_step_info *info, double *metrics, rk_error *err)
{
    rk_example_sums sum = {.n = t->p.batch,
                           .counted = rk_batch_counted(&t->batch, t->task, t->p.batch)};
    const double lr = rate_of(t);
    double slices = 0.0;
    int64_t at = -1;
    if (sum.counted == 0) {
        *info = (rk_step_info){
            .step = ++t->step, .lr = lr, .skipped = true, .noise_scale = (double)NAN};
        return RK_OK;
    }
    if (t->state)
        rk_state_step_begin(t->state, t->step);
    rk_status st = gradient(t, &sum, &slices, err);
    if (st != RK_OK)
        return st;
    if (t->state)
        rk_state_step_gradient(t->state);
    const double norm = grad_norm(t, &at);
    st = rk_ctx_status(&t->ctx, err);
    if (st != RK_OK)
        return st;
    const rk_optim_step step = {
        .p = &t->p,
        .lr = lr,
        .grad_scale = t->p.clip > 0.0 ? fmin(1.0, t->p.clip / (norm + 1e-6)) : 1.0,
        .count = t->step + 1,
    };
    const double mean = sum.loss / (double)sum.counted;
    const bool skipped = at >= 0 || !isfinite(norm) || !isfinite(mean);
    if (at >= 0)
        rk_log_line(rk_engine_log(t->engine), RK_LOG_WARN,
                    "step %lld: the gradient of %s is not finite", (long long)t->step + 1,
                    t->memory.update[at].param->name);
    if (!skipped && t->p.grad_slices > 1)
        rk_noise_add(&t->noise, t->p.batch, t->p.grad_slices, slices, norm * norm);
    if (!skipped)
        apply(t, &step);
    t->step++;
    *info =
        (rk_step_info){t->step, mean, norm, lr, skipped, sum.counted, rk_noise_scale(&t->noise)};
    for (int i = 0; metrics && i < t->task->n_metrics; i++)
        metrics[i] = sum.metrics[i] / (double)sum.n;
    return RK_OK;
}

static rk_status locked_update(rk_trainer *t, rk_step_info *info, double *metrics, rk_error *err)
{
    rk_step_info unused;
    if (t->shows_average)
        return rk_fail(err, RK_ERR_ARG, "no step while the averaged weights are shown");
    rk_engine_lock(t->engine);
    const rk_status st = update(t, info ? info : &unused, metrics, err);
    rk_engine_unlock(t->engine);
    return st;
}

rk_status rk_trainer_next(rk_trainer *t, rk_step_info *info, double *metrics, rk_error *err)
{
    void *at[RK_TASK_FIELDS_MAX];
    for (int64_t i = 0; i < t->p.batch; i++) {
        rk_batch_at(&t->batch, t->task, i, at);
        t->task->example(t->task, (uint64_t)(t->step * t->p.batch + i), at);
    }
    return locked_update(t, info, metrics, err);
}

/* Windows of n sequences into the batch. */
static rk_status put_windows(rk_trainer *t, const int32_t *tokens, int64_t n, rk_error *err)
{
    void *at[RK_TASK_FIELDS_MAX];
    const int64_t row = t->p.ctx_len + 1;
    for (int64_t i = 0; i < n; i++) {
        const int32_t last = tokens[i * row + row - 1];
        if (last < 0) /* a loss would leave it out; what stands before it is looked up */
            return rk_fail(err, RK_ERR_ARG, "token %d at the end of a sequence, expected 0 or more",
                           last);
        rk_batch_at(&t->batch, t->task, i, at);
        rk_next_token_put(t->task, tokens + i * row, at);
    }
    return RK_OK;
}

rk_status rk_trainer_step(rk_trainer *t, const int32_t *tokens, rk_step_info *info, rk_error *err)
{
    const rk_status st = put_windows(t, tokens, t->p.batch, err);
    return st == RK_OK ? locked_update(t, info, NULL, err) : st;
}

/* Add the losses of the first n examples of the batch. */
static rk_status add_batch(rk_trainer *t, int64_t n, rk_example_sums *to, rk_error *err)
{
    const rk_examples j = examples_of(t, 1.0);
    to->n += n;
    to->counted += rk_batch_counted(&t->batch, t->task, n);
    rk_engine_lock(t->engine);
    rk_ctx_reset(&t->ctx);
    rk_examples_forward(&t->ctx, &j, 0, n, to);
    rk_engine_unlock(t->engine);
    return rk_ctx_status(&t->ctx, err);
}

rk_status rk_trainer_loss(rk_trainer *t, const int32_t *tokens, int64_t n, double *loss,
                          rk_error *err)
{
    rk_example_sums sum = {0};
    rk_status st = RK_OK;
    if (n < 1)
        return rk_fail(err, RK_ERR_ARG, "%lld sequences, expected at least 1", (long long)n);
    for (int64_t b = 0; b < n && st == RK_OK; b += t->p.micro_batch) {
        const int64_t take = rk_min_i64(t->p.micro_batch, n - b);
        st = put_windows(t, tokens + b * (t->p.ctx_len + 1), take, err);
        if (st == RK_OK)
            st = add_batch(t, take, &sum, err);
    }
    *loss = sum.loss / (double)sum.counted;
    return st;
}

rk_status rk_trainer_held_out(rk_trainer *t, int64_t first, int64_t n, rk_example_sums *to,
                              rk_error *err)
{
    void *at[RK_TASK_FIELDS_MAX];
    rk_status st = RK_OK;
    for (int64_t b = 0; b < n && st == RK_OK; b += t->p.micro_batch) {
        const int64_t take = rk_min_i64(t->p.micro_batch, n - b);
        for (int64_t i = 0; i < take; i++) {
            rk_batch_at(&t->batch, t->task, i, at);
            t->task->held_out(t->task, first + b + i, at);
        }
        st = add_batch(t, take, to, err);
    }
    return st;
}

/* ---- for the loop around it ---- */

static rk_dtype saved_type(void *user, const rk_param *p, rk_dtype own)
{
    (void)user;
    (void)p;
    return rk_dtype_is_blocks(own) ? own : RK_F32;
}

bool rk_trainer_keeps_blocks(const rk_trainer *t)
{
    const rk_model *m = t->model;
    for (int64_t i = 0; i < m->n_params; i++) {
        const rk_file_tensor *from = m->file ? rk_file_find(m->file, m->params[i].name) : NULL;
        if (from && !m->params[i].trained && rk_dtype_is_blocks(from->dtype))
            return true;
    }
    return false;
}

rk_status rk_trainer_save_model(const rk_trainer *t, const char *path, rk_error *err)
{
    const int64_t tokens = t->p.batch * t->task->n_losses;
    char trained[RK_GROWN_TEXT_MAX];
    const bool counts = rk_grown_counts(t->model->arch);
    const rk_pair meta = {RK_TRAINED_TOKENS, trained};
    if (counts) {
        const rk_status st = rk_grown_trained(t->model, t->step, tokens, trained, err);
        if (st != RK_OK)
            return st;
    }
    const rk_save_plan plan = {.type = saved_type};
    const rk_save_options o = {.plan = &plan,
                               .container =
                                   rk_trainer_keeps_blocks(t) ? RK_SAVE_GGUF : RK_SAVE_SAFETENSORS,
                               .meta = &meta,
                               .n_meta = counts,
                               .overwrite = true};
    return rk_model_save(t->model, path, &o, err);
}

void rk_trainer_arrays(const rk_trainer *t, rk_run_arrays *out)
{
    rk_train_memory_arrays(&t->memory, out);
}

bool rk_trainer_has_average(const rk_trainer *t)
{
    return t->memory.keeps.average;
}

void rk_trainer_show_average(rk_trainer *t, bool on)
{
    t->shows_average = on && t->memory.keeps.average;
    if (t->memory.keeps.average)
        rk_ema_show(t->memory.update, t->memory.n_update, on);
}

void rk_trainer_set_step(rk_trainer *t, int64_t step)
{
    t->step = step;
}
void rk_trainer_set_noise(rk_trainer *t, rk_noise noise)
{
    t->noise = noise;
}
rk_noise rk_trainer_noise(const rk_trainer *t)
{
    return t->noise;
}
int64_t rk_trainer_step_count(const rk_trainer *t)
{
    return t->step;
}

int64_t rk_trainer_products(const rk_trainer *t)
{
    int64_t head = 0;
    const int64_t body = rk_model_products(t->model, &head);
    return body + head;
}
