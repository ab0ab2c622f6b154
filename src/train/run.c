/* run.c: the training loop and what is around it.
 *
 * A run is its options, its data and the number of steps made: the trainer draws dropout, the data
 * their windows, the schedule its rate from that number alone. So going on after a checkpoint is
 * loading some arrays and a number, and ends with the bits of a run that was never stopped. */
#define _XOPEN_SOURCE 700 /* realpath */
#include "train/run.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/num.h"
#include "compress/in_memory.h"
#include "infer/engine.h"
#include "io/path.h"
#include "train/base.h"
#include "train/checkpoint.h"
#include "train/checkpoint_dir.h"
#include "train/curve.h"
#include "train/distill.h"
#include "train/progress.h"
#include "train/run_dir.h"
#include "train/runlog.h"
#include "train/task.h"
#include "train/trained.h"
#include "train/trainer.h"
#include "train/tuning.h"

enum { SKIPPED_MAX = 5 };

typedef struct run {
    rk_run_params p;
    const rk_run_env *env;
    rk_run_options options;
    int lock; /* on the folder; -1: none */
    rk_model *model;
    const rk_task *task;
    rk_tuning *tuning; /* NULL: the model itself is trained */
    rk_trainer *trainer;
    rk_run_arrays arrays;
    rk_runlog *log;
    rk_progress progress;
    uint64_t base_checksum;   /* of the model that the run begins with; 0: of none */
    int64_t step, saved_step; /* steps made; step of the newest checkpoint, -1: none */
    int64_t skipped_in_row;
    rk_run_result result;
} run;

static int asked_to_stop(const run *r)
{
    return r->env->signal ? r->env->signal(r->env->signal_user) : 0;
}

/* ---------------------------------------------------------------------------------- preparing */

/* What the process holds now: program, libraries, the data just read. 0 where /proc is not there. */
static double resident_bytes(void)
{
    long total = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f)
        return 0.0;
    if (fscanf(f, "%ld %ld", &total, &resident) != 2)
        resident = 0;
    fclose(f);
    return (double)resident * (double)sysconf(_SC_PAGESIZE);
}

static rk_training training_of(const run *r)
{
    const rk_tune_options *t = &r->p.tune;
    return (rk_training){r->model, r->task, &r->p.model, t->method ? &t->state : NULL};
}

/* Said before the memory is taken. */
static rk_status show_plan(const run *r, rk_error *err)
{
    static const double mib = 1024.0 * 1024.0;
    rk_train_plan plan;
    const double before = resident_bytes();
    const rk_training training = training_of(r);
    const rk_status st = rk_training_plan(&training, r->env->engine, &plan, err);
    if (st != RK_OK || !r->env->out)
        return st;
    fprintf(r->env->out, "memory: %.1f MiB, of which %.1f for training",
            (before + (double)(plan.bytes + plan.mapped)) / mib, (double)plan.bytes / mib);
    if (r->task->n_data > 0)
        fprintf(r->env->out, "; %" PRId64 " %s of data", r->task->n_data, r->task->unit);
    fputc('\n', r->env->out);
    if (plan.n_frozen > 0)
        fprintf(r->env->out, "parameters: %" PRId64 " trained, %" PRId64 " frozen", plan.n_trained,
                plan.n_frozen);
    if (plan.n_frozen > 0 && plan.saved > 0)
        fprintf(r->env->out, ", which saves %.1f MiB", (double)plan.saved / mib);
    if (plan.n_frozen > 0)
        fputc('\n', r->env->out);
    if (rk_tuning_seconds(r->tuning) >= 0.1)
        fprintf(r->env->out, "start of the adapters: %.1f s\n", rk_tuning_seconds(r->tuning));
    return RK_OK;
}

/* Frozen matrices of the model's file become copies in fewer bits. */
static rk_status quantise(run *r, rk_error *err)
{
    rk_dtype type;
    rk_quantise_options o = {.emb = r->p.quant_all,
                             .head = r->p.quant_all,
                             .pool = rk_engine_pool(r->env->engine),
                             .log = r->env->log};
    rk_tuning_quantise(r->tuning, &o);
    rk_status st = rk_quant_find(r->p.quant, &type, err);
    if (st != RK_OK || !rk_dtype_is_blocks(type))
        return st;
    st = rk_trained_set(r->model, &r->p.model, err);
    const size_t bytes = rk_quantised_bytes(r->model, type, &o);
    if (st == RK_OK && (!r->model->file || bytes == 0))
        st = rk_fail(err, RK_ERR_ARG,
                     "quant is %s, but there is no frozen matrix from a model file with rows that "
                     "are multiples of %lld",
                     r->p.quant, (long long)rk_dtype_block(type));
    if (st != RK_OK)
        return st;
    rk_engine_lock(r->env->engine);
    st = rk_model_quantise(r->model, r->p.quant, &o, err);
    rk_engine_unlock(r->env->engine);
    if (st == RK_OK && r->env->out)
        fprintf(r->env->out, "quantised: %.1f MiB of frozen matrices in %s\n",
                (double)bytes / (1024.0 * 1024.0), r->p.quant);
    return st;
}

static void find_arrays(run *r)
{
    rk_trainer_arrays(r->trainer, &r->arrays);
    for (int64_t i = 0; i < r->model->n_params; i++)
        if (r->model->params[i].tensor.data)
            r->result.n_params += rk_tensor_count(&r->model->params[i].tensor);
}

static rk_status make_trainer(run *r, rk_error *err)
{
    const rk_training training = training_of(r);
    const rk_status st = rk_trainer_open(&r->trainer, &training, r->env->engine, err);
    if (st == RK_OK)
        find_arrays(r);
    return st;
}

/* Room for the two checkpoints that are kept, the one being written, and the result: the model and its average, or,
 * in tuning, what is trained beside it, which a checkpoint holds too. */
static rk_status check_space(const run *r, rk_error *err)
{
    const uint64_t checkpoint = (uint64_t)rk_checkpoint_bytes(&r->arrays);
    const uint64_t model = (uint64_t)r->result.n_params * sizeof(float);
    const uint64_t result = r->tuning ? checkpoint : r->p.model.ema > 0.0 ? 2 * model : model;
    return rk_check_free_space(r->p.dir, 3 * checkpoint + result, err);
}

/* The weights that a checkpoint does not hold must be those that the run began with. */
static rk_status check_base(const run *r, const rk_checkpoint *c, rk_error *err)
{
    uint64_t want;
    const char *was = rk_checkpoint_base(c, &want), *path = rk_checkpoint_path(c);
    if (!was && !r->p.model.init_from)
        return RK_OK;
    if (!was || !r->p.model.init_from)
        return rk_fail(err, RK_ERR_ARG, "--init-from is %s, but %s was made with %s",
                       r->p.model.init_from ? r->p.model.init_from : "none", path,
                       was ? was : "none");
    if (want != r->base_checksum)
        return rk_fail(err, RK_ERR_ARG,
                       "%s: is not the model that %s was made with: the checksum of its weights is "
                       "%016" PRIx64 ", expected %016" PRIx64,
                       r->p.model.init_from, path, r->base_checksum, want);
    return RK_OK;
}

static rk_status restore(run *r, const rk_checkpoint *c, rk_error *err)
{
    rk_run_options defaults;
    rk_run_options_defaults(&defaults, &r->p);
    rk_status st = check_base(r, c, err);
    if (st == RK_OK)
        st = rk_checkpoint_check_options(c, r->options.pairs, defaults.pairs, r->options.n, err);
    if (st == RK_OK && rk_checkpoint_step(c) > r->p.model.steps)
        st = rk_fail(err, RK_ERR_ARG, "--steps is %" PRId64 ", but %s is past it", r->p.model.steps,
                     rk_checkpoint_path(c));
    if (st == RK_OK)
        st = rk_checkpoint_restore(c, &r->arrays, err);
    if (st != RK_OK)
        return st;
    const char *path = rk_engine_path(r->env->engine);
    if (strcmp(rk_checkpoint_numerics(c), path) != 0)
        rk_log_line(r->env->log, RK_LOG_WARN,
                    "%s: made with numerics=%s, going on with %s: the "
                    "results agree to rounding only",
                    rk_checkpoint_path(c), rk_checkpoint_numerics(c), path);
    r->step = r->saved_step = rk_checkpoint_step(c);
    r->skipped_in_row = rk_checkpoint_skipped_in_row(c);
    rk_trainer_set_step(r->trainer, r->step);
    rk_trainer_set_noise(r->trainer, rk_checkpoint_noise(c));
    return RK_OK;
}

static rk_status go_on(run *r, rk_error *err)
{
    rk_checkpoint *c = NULL;
    rk_status st = rk_checkpoint_find(&c, r->p.dir, r->env->log, err);
    if (st == RK_OK && c)
        st = restore(r, c, err);
    rk_checkpoint_close(c);
    return st;
}

static rk_status prepare(run *r, rk_error *err)
{
    rk_run_options_init(&r->options, &r->p, r->task->checksum);
    rk_status st = r->model->file ? rk_base_checksum(r->model, &r->base_checksum, err) : RK_OK;
    if (st == RK_OK && r->task->attach)
        st = r->task->attach(r->task, r->model, r->env->engine, err);
    if (st == RK_OK)
        st = rk_tuning_begin(&r->tuning, r->model, r->task, &r->p, r->env->engine, err);
    if (st == RK_OK)
        st = quantise(r, err);
    if (st == RK_OK)
        st = rk_tuning_quantised(r->tuning, r->model, err);
    if (st == RK_OK)
        st = show_plan(r, err);
    if (st == RK_OK)
        st = make_trainer(r, err);
    if (st == RK_OK)
        st = rk_run_dir_enter(r->p.dir, r->p.resume, &r->lock, err);
    if (st == RK_OK)
        st = check_space(r, err);
    if (st == RK_OK && r->p.resume)
        st = go_on(r, err);
    const rk_save_steps steps = {r->step, r->p.save_every, r->p.model.steps};
    if (st == RK_OK)
        st = rk_checkpoint_dir_clear(r->p.dir, &steps, r->p.resume, r->env->log, err);
    if (st == RK_OK)
        st = rk_run_dir_write_config(&r->p, r->model, &r->options, r->result.n_params,
                                     rk_engine_path(r->env->engine), err);
    if (st == RK_OK)
        st = rk_runlog_open(&r->log, r->p.dir, r->step, err);
    return st;
}

/* -------------------------------------------------------------------------------------- saving */

static rk_status draw_curve(const run *r, rk_error *err)
{
    const rk_model *m = r->model;
    char title[160];
    snprintf(title, sizeof title, "%s, %" PRId64 " layers of %" PRId64 ", %s, batch %" PRId64,
             m->arch->name, m->hp.n_layer, m->hp.n_embd, r->task->about, r->p.model.batch);
    const rk_curve curve = {title, r->task->curve, r->task->curve_unit};
    return rk_curve_write(r->p.dir, &curve, err);
}

static int64_t tokens_of_step(const run *r)
{
    return r->p.model.batch * r->task->n_losses;
}

static rk_status save_checkpoint(run *r, rk_error *err)
{
    const rk_run_state s = {.step = r->step,
                            .tokens = r->step * tokens_of_step(r),
                            .skipped_in_row = r->skipped_in_row,
                            .noise = rk_trainer_noise(r->trainer),
                            .numerics = rk_engine_path(r->env->engine),
                            .options = r->options.pairs,
                            .n_options = r->options.n,
                            .base = r->p.model.init_from,
                            .base_checksum = r->base_checksum};
    rk_status st = r->saved_step == r->step ? RK_OK : rk_runlog_sync(r->log, err);
    if (st == RK_OK && r->saved_step != r->step)
        st = rk_checkpoint_save(r->p.dir, &s, &r->arrays, r->env->log, err);
    if (st != RK_OK)
        return st;
    r->saved_step = r->step;
    return draw_curve(r, err);
}

static rk_status save_model_as(const run *r, const char *name, rk_error *err)
{
    rk_buf path = {0};
    rk_buf_printf(&path, "%s/%s.%s", r->p.dir, name,
                  rk_trainer_keeps_blocks(r->trainer) ? "gguf" : "safetensors");
    const rk_status st = path.failed ? rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", r->p.dir)
                                     : rk_trainer_save_model(r->trainer, path.data, err);
    rk_buf_deinit(&path);
    return st;
}

static rk_status save_model(const run *r, rk_error *err)
{
    rk_status st = RK_OK;
    if (r->task->save)
        st = r->task->save(r->task, r->model, r->p.dir, err);
    if (st == RK_OK && r->tuning)
        return rk_tuning_save(r->tuning, r->model, &r->p, r->p.dir, err);
    if (st == RK_OK)
        st = save_model_as(r, "model", err);
    if (st != RK_OK || !rk_trainer_has_average(r->trainer))
        return st;
    rk_trainer_show_average(r->trainer, true);
    st = save_model_as(r, "model-ema", err);
    rk_trainer_show_average(r->trainer, false);
    return st;
}

/* --------------------------------------------------------------------------------------- steps */

/* Take over the means of a validation, and say them. */
static void note_validation(run *r, const rk_example_sums *sums)
{
    const rk_task *t = r->task;
    const double loss = sums->loss / (double)sums->counted;
    char also[160] = "", average[64] = "";
    int n = 0;
    r->result.val_loss = loss;
    for (int i = 0; i < t->n_metrics; i++) {
        r->result.val_metrics[i] = sums->metrics[i] / (double)sums->n;
        n += snprintf(also + n, sizeof also - (size_t)n, ", %.24s %.4f", t->metrics[i],
                      r->result.val_metrics[i]);
    }
    if (t->also.size > 0.0) {
        r->result.val_also = loss / t->also.size;
        snprintf(also + n, sizeof also - (size_t)n, ", %.4f %s", r->result.val_also, t->also.text);
    }
    if (!isnan(r->result.ema_val_loss))
        snprintf(average, sizeof average, "; of the averaged weights %.4f", r->result.ema_val_loss);
    rk_progress_note(&r->progress, "step %" PRId64 ": validation loss %.4f %s%s%s", r->step, loss,
                     t->loss_unit, also, average);
}

/* Sums over the examples held out, a few at a time; what was summed before a signal came counts nothing.
 */
static rk_status measure(const run *r, rk_example_sums *sums, rk_error *err)
{
    const rk_train_params *p = &r->p.model;
    const int64_t n = r->task->n_val, at_once = p->micro_batch > 0 ? p->micro_batch : p->batch;
    *sums = (rk_example_sums){0};
    for (int64_t i = 0; i < n; i += at_once) {
        const rk_status st =
            rk_trainer_held_out(r->trainer, i, rk_min_i64(at_once, n - i), sums, err);
        if (st != RK_OK || asked_to_stop(r)) {
            sums->counted = 0;
            return st;
        }
    }
    return RK_OK;
}

/* What the running means of the weights are worth. */
static rk_status validate_average(run *r, rk_error *err)
{
    rk_example_sums sums;
    if (!rk_trainer_has_average(r->trainer) || r->step == 0) /* where they are the weights */
        return RK_OK;
    rk_trainer_show_average(r->trainer, true);
    const rk_status st = measure(r, &sums, err);
    rk_trainer_show_average(r->trainer, false);
    if (st == RK_OK && sums.counted > 0)
        r->result.ema_val_loss = sums.loss / (double)sums.counted;
    return st;
}

/* Losses are left NAN when a signal comes meanwhile, and where none counts. */
static rk_status validate(run *r, rk_error *err)
{
    rk_example_sums sums;
    r->result.val_loss = r->result.ema_val_loss = (double)NAN;
    rk_status st = measure(r, &sums, err);
    if (st != RK_OK || sums.counted == 0)
        return st;
    st = validate_average(r, err);
    if (st == RK_OK)
        note_validation(r, &sums);
    return st;
}

/* Count steps without an update; the run ends when they follow each other. A batch in which no loss
 * counts is none of them. */
static rk_status guard(run *r, const rk_step_info *info, rk_error *err)
{
    if (info->skipped && info->counted == 0) {
        rk_progress_note(&r->progress, "step %" PRId64 ": no loss of the batch counts: no update",
                         r->step);
        return RK_OK;
    }
    if (!info->skipped) {
        r->skipped_in_row = 0;
        return RK_OK;
    }
    r->skipped_in_row++;
    rk_progress_note(&r->progress,
                     "step %" PRId64 ": loss %g, gradient norm %g: no update, %" PRId64 " in a row",
                     r->step, info->loss, info->grad_norm, r->skipped_in_row);
    if (r->skipped_in_row < SKIPPED_MAX)
        return RK_OK;
    return rk_fail(err, RK_ERR_NUMERIC,
                   "step %" PRId64 ": %d steps in a row gave no finite gradient; a lower --lr may "
                   "help",
                   r->step, SKIPPED_MAX);
}

static rk_status note_step(run *r, const rk_step_info *info, const double *metrics, double seconds,
                           rk_error *err)
{
    const int64_t tokens = tokens_of_step(r);
    const rk_log_entry e = {.step = r->step,
                            .tokens = r->step * tokens,
                            .loss = info->loss,
                            .lr = info->lr,
                            .grad_norm = info->grad_norm,
                            .noise_scale = info->noise_scale,
                            .tokens_per_s = (double)tokens / fmax(seconds, 1e-9),
                            .val_loss = r->result.val_loss,
                            .ema_val_loss = r->result.ema_val_loss,
                            .skipped = info->skipped,
                            .names = r->task->metrics,
                            .metrics = metrics,
                            .val_metrics = r->result.val_metrics,
                            .n_metrics = r->task->n_metrics};
    rk_progress_step(&r->progress, r->step, info->loss);
    return rk_runlog_step(r->log, &e, err);
}

static rk_status one_step(run *r, rk_error *err)
{
    rk_step_info info = {0};
    double metrics[RK_TASK_METRICS_MAX];
    const double began = rk_now_s();
    rk_status st = rk_trainer_next(r->trainer, &info, metrics, err);
    const double seconds = rk_now_s() - began;
    if (st != RK_OK)
        return st;
    r->step++;
    r->result.loss = info.loss;
    r->result.val_loss = r->result.ema_val_loss = (double)NAN;
    if (r->step % r->p.eval_every == 0 || r->step == r->p.model.steps)
        st = validate(r, err);
    if (st == RK_OK)
        st = note_step(r, &info, metrics, seconds, err);
    return st == RK_OK ? guard(r, &info, err) : st;
}

/* What a model that is not new does before the first update. */
static rk_status measure_base(run *r, rk_error *err)
{
    const rk_status st = validate(r, err);
    const rk_log_entry e = {.val_loss = r->result.val_loss,
                            .ema_val_loss = (double)NAN,
                            .names = r->task->metrics,
                            .val_metrics = r->result.val_metrics,
                            .n_metrics = r->task->n_metrics};
    return st == RK_OK && !isnan(e.val_loss) ? rk_runlog_step(r->log, &e, err) : st;
}

static rk_status make_steps(run *r, rk_error *err)
{
    rk_status st = RK_OK;
    while (st == RK_OK && r->step < r->p.model.steps && !(r->result.signal = asked_to_stop(r))) {
        st = one_step(r, err);
        if (st == RK_OK && r->step % r->p.save_every == 0)
            st = save_checkpoint(r, err);
    }
    return st == RK_OK ? save_checkpoint(r, err) : st;
}

/* The model of the last step, also of a run that was stopped. The last validation may be missing:
 * a signal came during it, or there was nothing left to do. */
static rk_status finish(run *r, rk_error *err)
{
    rk_status st = RK_OK;
    if (!r->result.signal && isnan(r->result.val_loss)) {
        st = validate(r, err);
        if (isnan(r->result.val_loss) && r->task->n_val > 0)
            r->result.signal = asked_to_stop(r);
    }
    return st == RK_OK ? save_model(r, err) : st;
}

static rk_status work(run *r, rk_error *err)
{
    const char *numerics = rk_engine_path(r->env->engine);
    rk_status st =
        rk_runlog_status(r->log, r->step, r->step > 0 ? "resumed" : "started", numerics, err);
    if (st == RK_OK && r->model->file && r->step == 0)
        st = measure_base(r, err);
    if (st == RK_OK)
        st = make_steps(r, err);
    if (st == RK_OK)
        st = finish(r, err);
    if (st == RK_OK && r->result.signal)
        rk_progress_note(&r->progress, "stopped after step %" PRId64 "; --resume goes on", r->step);
    rk_progress_end(&r->progress);
    const char *status = st != RK_OK ? "failed" : r->result.signal ? "interrupted" : "done";
    const rk_status noted =
        rk_runlog_status(r->log, r->step, status, numerics, st == RK_OK ? err : NULL);
    return st == RK_OK ? noted : st;
}

rk_status rk_run_task(rk_model *m, const rk_task *task, const rk_run_params *p,
                      const rk_run_env *env, rk_run_result *result, rk_error *err)
{
    const bool new_folder = access(p->dir, F_OK) != 0;
    run *r = calloc(1, sizeof *r);
    if (!r)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory");
    r->p = *p;
    r->env = env;
    r->model = m;
    r->task = task;
    r->lock = -1;
    r->saved_step = -1;
    r->result = (rk_run_result){.loss = (double)NAN,
                                .val_loss = (double)NAN,
                                .val_also = (double)NAN,
                                .ema_val_loss = (double)NAN};
    rk_status st = prepare(r, err);
    rk_progress_init(&r->progress, env->out, r->step, p->model.steps,
                     p->model.batch * task->n_losses);
    if (st == RK_OK)
        st = work(r, err);
    else if (new_folder)
        rk_run_dir_abandon(p->dir, NULL, true);
    r->result.step = r->step;
    *result = r->result;

    rk_runlog_close(r->log);
    rk_trainer_free(r->trainer);
    rk_tuning_free(r->tuning);
    if (r->lock >= 0)
        close(r->lock);
    free(r);
    return st;
}

static rk_status open_task(rk_task **out, rk_run_params *p, const rk_model *base, rk_error *err)
{
    const rk_task_kind *kind = NULL;
    const rk_status st = rk_task_choose(&kind, p->task, err);
    if (st != RK_OK)
        return st;
    if (kind->generator && p->data.n_paths > 0)
        return rk_fail(err, RK_ERR_ARG, "--data is %s, but the task %s draws its samples",
                       p->data.paths[0], p->task);
    if (!kind->generator && !p->test_time.task && p->n_task_params > 0)
        return rk_fail(err, RK_ERR_ARG, "--%s is no parameter of the task %s",
                       p->task_params[0].name, p->task);
    return kind->open(out, p, base, err);
}

/* A folder that was moved has the start that was made in it with it. Its checksum is looked at later. */
static void follow_start(const char *dir, char **path)
{
    static const char name[] = "/" RK_RUN_START;
    const size_t n = *path ? strlen(*path) : 0;
    if (n < sizeof name || strcmp(*path + n - (sizeof name - 1), name) != 0)
        return;
    char *here = rk_path_join(dir, RK_RUN_START);
    if (here && access(here, R_OK) == 0) {
        free(*path);
        *path = here;
    } else
        free(here);
}

/* A run that is continued knows the model that it began with, as a path that leads there from any
 * folder. *path is to be freed. */
static rk_status find_base(rk_run_params *p, char **path, rk_error *err)
{
    if (p->resume && !p->model.init_from) {
        const rk_status st = rk_checkpoint_find_base(path, p->dir, err);
        if (st == RK_OK)
            follow_start(p->dir, path);
        p->model.init_from = *path;
        return st;
    }
    if (p->model.init_from && (*path = realpath(p->model.init_from, NULL)))
        p->model.init_from = *path;
    return RK_OK; /* opening says what is wrong with another path */
}

/* What a run leaves to the recipe it goes on with as it began, also where recipes have changed since. */
static rk_status recall_recipe(rk_run_params *p, rk_error *err)
{
    char *l2wrap = NULL;
    if (!p->resume || p->model.l2wrap >= 0.0)
        return RK_OK;
    const rk_status st = rk_checkpoint_find_option(&l2wrap, p->dir, "l2wrap", err);
    if (l2wrap)
        p->model.l2wrap = strtod(l2wrap, NULL);
    free(l2wrap);
    return st;
}

/* A run that began with a vocabulary of its own keeps it where it goes on from a model, as when it has grown.
 * *name is to be freed. */
static rk_status recall_tokenizer(rk_run_params *p, char **name, rk_error *err)
{
    if (!p->resume || !p->model.init_from || p->tokenizer)
        return RK_OK;
    const rk_status st = rk_checkpoint_find_option(name, p->dir, "tokenizer", err);
    if (*name && strcmp(*name, RK_TOKENIZER_OF_MODEL) != 0)
        p->tokenizer = *name;
    return st;
}

/* What is left open where there is no model to begin with. */
static void fill_defaults(rk_run_params *p)
{
    const rk_run_params d = rk_run_defaults();
    rk_train_params *m = &p->model;
    if (p->data.n_paths == 0) /* else the data may tell */
        p->tokenizer = p->tokenizer ? p->tokenizer : d.tokenizer;
    if (!p->teacher) /* whose kind of model it is */
        m->arch = m->arch ? m->arch : d.model.arch;
}

static rk_status make_model(rk_model **out, rk_run_params *p, rk_error *err)
{
    p->model.sizes = p->sizes;
    p->model.n_sizes = p->n_sizes;
    return rk_train_model(out, &p->model, err);
}

/* The sizes of the model to begin with are the run's. */
static void take_sizes(rk_run_params *p, const rk_model *m)
{
    const rk_size_spec *s;
    for (int i = 0; (s = rk_size_at(m->arch, i)); i++)
        if (s->initial.rule)
            rk_run_set_size(p, s->name, rk_size_value(s, &m->hp));
}

static rk_status open_and_run(rk_run_params *p, const rk_run_env *env, rk_run_result *result,
                              rk_error *err)
{
    rk_task *task = NULL;
    rk_model *m = NULL;
    rk_status st = RK_OK;
    if (p->model.init_from)
        st = make_model(&m, p, err);
    else
        fill_defaults(p);
    if (m)
        take_sizes(p, m);
    if (st == RK_OK)
        rk_train_recipe(&p->model, m               ? m->arch
                                   : p->model.arch ? rk_arch_find(p->model.arch)
                                                   : NULL);
    if (st == RK_OK)
        st = open_task(&task, p, m, err);
    if (st == RK_OK && !m)
        st = make_model(&m, p, err);
    if (st == RK_OK)
        st = rk_tuning_start(&m, task, p, env->engine, err);
    if (st == RK_OK)
        st = rk_run_task(m, task, p, env, result, err);
    if (st == RK_OK)
        result->also = task->also.key;
    rk_model_close(m);
    rk_task_close(task);
    if (st != RK_OK && p->start_made)
        rk_run_dir_abandon(p->dir, p->start_made, p->folder_made);
    free(p->start_made);
    p->start_made = NULL;
    return st;
}

/* Options that would change nothing. */
static rk_status refuse_useless(const rk_run_params *p, rk_error *err)
{
    const rk_task_kind *kind =
        rk_task_find(p->task); /* opening says what is wrong with another name */
    rk_run_params given = *p;
    char why[80];
    if (!kind || !kind->without || p->resume) /* a run that began so goes on so */
        return RK_OK;
    if (given.model.l2wrap == 0.0)
        given.model.l2wrap = rk_run_defaults().model.l2wrap; /* none is none */
    snprintf(why, sizeof why, "has no effect on the task %s", p->task);
    return rk_run_options_refuse(&given, kind->without, why, err);
}

rk_status rk_run_train(const rk_run_params *params, const rk_run_env *env, rk_run_result *result,
                       rk_error *err)
{
    rk_run_params p = *params;
    char *base = NULL, *vocabulary = NULL;
    rk_distill_begun begun = {0};
    rk_status st = rk_run_dir_check(p.dir, p.resume, err);
    if (st == RK_OK)
        st = refuse_useless(&p, err);
    if (st == RK_OK)
        st = find_base(&p, &base, err);
    if (st == RK_OK)
        st = recall_recipe(&p, err);
    if (st == RK_OK)
        st = recall_tokenizer(&p, &vocabulary, err);
    if (st == RK_OK)
        st = rk_tuning_settle(&p, err);
    rk_train_params settled = p.model;
    rk_dtype type;
    if (st == RK_OK) /* before data are read in vain */
        st = rk_train_settle(&settled, err);
    if (st == RK_OK)
        st = rk_quant_find(p.quant, &type, err);
    if (st == RK_OK)
        st = rk_distill_start(&p, env, &begun, err);
    if (st == RK_OK)
        st = open_and_run(&p, env, result, err);
    rk_distill_end(&begun, &p);
    free(base);
    free(vocabulary);
    return st;
}
