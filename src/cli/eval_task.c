/* eval_task.c: `rwkv eval --task`: how many questions of a synthetic task a model answers right. */
#include "cli/eval_task.h"

#include <math.h>

#include "cli/meter.h"
#include "cli/task_options.h"
#include "format/finite.h"
#include "model/model.h"
#include "train/task_synthetic.h"

static bool put_share(json_t *o, const char *name, int64_t n_right, int64_t n)
{
    return json_object_set_new(o, name, json_real(n > 0 ? (double)n_right / (double)n : 0.0)) == 0;
}

static bool put_kinds(json_t *o, const rk_synthetic *s, const rk_syn_score *score)
{
    bool ok = true;
    for (int k = 0; k < RK_SYN_KINDS_MAX && s->gen->kinds[k] && ok; k++)
        ok = put_share(o, s->gen->kinds[k], score->kinds[k].n_right, score->kinds[k].n);
    return ok;
}

static rk_status report(const rk_synthetic *s, const rk_syn_score *score, json_t **out,
                        rk_error *err)
{
    const rk_syn_score *x = score;
    json_t *o = json_pack("{s:s, s:f}", "task", s->task, "loss", x->nats / (double)x->all.n);
    const bool ok = o && put_share(o, "accuracy", x->all.n_right, x->all.n) &&
                    json_object_set_new(o, "n_right", json_integer(x->all.n_right)) == 0 &&
                    json_object_set_new(o, "n_queries", json_integer(x->all.n)) == 0 &&
                    put_share(o, "exact", x->n_exact, x->n_samples) &&
                    json_object_set_new(o, "n_exact", json_integer(x->n_exact)) == 0 &&
                    json_object_set_new(o, "n_samples", json_integer(x->n_samples)) == 0 &&
                    put_kinds(o, s, x);
    if (ok) {
        *out = o;
        return RK_OK;
    }
    json_decref(o);
    return rk_fail(err, RK_ERR_NOMEM, "out of memory for the results");
}

/* A loss that is no number says that the model is broken. */
static rk_status check_loss(const rk_eval_task *o, const rk_model *m, const rk_syn_score *score,
                            rk_error *err)
{
    if (isfinite(score->nats))
        return RK_OK;
    const char *tensor = rk_file_find_nonfinite(m->file);
    if (tensor)
        return rk_fail(err, RK_ERR_FORMAT,
                       "%s: tensor '%.80s' holds a number that is not finite, so there is no loss",
                       o->model, tensor);
    return rk_fail(err, RK_ERR_NUMERIC, "%s: its loss on the task %s is not finite", o->model,
                   o->task);
}

static rk_status measure(const rk_eval_task *o, const rk_common_options *common,
                         const rk_synthetic *s, const rk_model *m, rk_engine *e, rk_syn_score *out,
                         rk_error *err)
{
    rk_meter meter = rk_meter_begin(o->task, "samples", 1, common->quiet);
    const rk_syn_measure how = {.name = o->model,
                                .seed = (uint64_t)o->seed,
                                .n = o->n,
                                .batch = o->batch,
                                .progress = rk_meter_progress,
                                .user = &meter};
    rk_status st = rk_synthetic_measure(m, s, &how, e, out, err);
    rk_meter_end(&meter);
    if (st == RK_OK)
        st = rk_file_check(m->file, err);
    return st == RK_OK ? check_loss(o, m, out, err) : st;
}

rk_status rk_eval_task_run(const rk_eval_task *o, const rk_common_options *common,
                           rk_interrupt *interrupt, json_t **out, rk_error *err)
{
    rk_synthetic s;
    rk_syn_score score;
    rk_engine *engine = NULL;
    rk_model *m = NULL;
    rk_status st = rk_task_generator(&s, o->task, &o->params, err);
    if (st == RK_OK)
        st = rk_command_engine(&engine, common, rk_interrupt_came, interrupt, err);
    if (st == RK_OK)
        st = rk_model_open(&m, o->model, err);
    if (st == RK_OK)
        st = measure(o, common, &s, m, engine, &score, err);
    if (st == RK_OK)
        st = report(&s, &score, out, err);
    rk_model_close(m);
    rk_engine_free(engine);
    return st;
}
