/* tuning.c: adapters and states in a training run. */
#include "train/tuning.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/num.h"
#include "compress/in_memory.h"
#include "infer/engine.h"
#include "io/path.h"
#include "train/examples.h"
#include "tune/adapter_file.h"
#include "tune/attach.h"
#include "tune/method.h"
#include "tune/state.h"
#include "tune/state_pairs.h"

struct rk_tuning {
    rk_adapter_set *set;
    rk_attached *attached;
    double seconds;
};

/* ---- options ---- */

/* Add words to a list that the options have, in room of the run's. */
static rk_status join(char *room, size_t size, const char *own, const char *more, const char **out,
                      rk_error *err)
{
    const int n =
        snprintf(room, size, "%s%s%s", more, *more && own && *own ? "," : "", own ? own : "");
    if (n < 0 || (size_t)n >= size)
        return rk_fail(err, RK_ERR_ARG, "patterns of more than %zu bytes", size);
    *out = room;
    return RK_OK;
}

/* Rates: those of the adapter, with a factor for states beside it; B of LoRA+ has one, too. */
static rk_status settle_rates(rk_run_params *p, const rk_tune_method *adapter,
                              const rk_tune_method *state, rk_error *err)
{
    const rk_tune_method *first = adapter ? adapter : state;
    rk_train_params *m = &p->model;
    char words[96] = "";
    size_t n = 0;
    if (m->lr < 0.0)
        m->lr = rk_tune_rate(&p->tune, first);
    if (m->lr_final < 0.0)
        m->lr_final = m->lr * first->lr_final;
    if (adapter && state)
        for (const char *at = rk_tune_states(&p->tune, state); *at; at += strspn(at, ",")) {
            const size_t len = strcspn(at, ",");
            n += (size_t)snprintf(words + n, sizeof words - n, "%s%.*s=%g", n ? "," : "", (int)len,
                                  at, rk_tune_rate(&p->tune, state) / adapter->lr);
            at += len;
        }
    if (adapter && !strcmp(adapter->name, "lora+"))
        snprintf(words + n, sizeof words - n, "%s*.lora_B=%g", n ? "," : "", p->tune.lora_plus);
    return join(p->tune_rates, sizeof p->tune_rates, m->lr_scale, words, &m->lr_scale, err);
}

/* Which methods an option is of, "adapter" and "states" all of a kind. */
static const struct {
    const char *option, *methods;
} belongs[] = {{"rank", "adapter"},
               {"targets", "adapter"},
               {"rank-pattern", "adapter"},
               {"adapter-dropout", "adapter"},
               {"alpha", "lora,lora+,rslora,pissa,olora,lora-ga,dora"},
               {"bat-blocks", "bat"},
               {"miss-init", "miss,bone"},
               {"mini-width", "miss,bone"},
               {"niter", "pissa"},
               {"ga-direction", "lora-ga"},
               {"loraga-peft", "lora-ga"},
               {"ga-batches", "lora-ga"},
               {"lora-plus", "lora+"},
               {"tune-shift", "states"},
               {"state-decay", "states"},
               {"state-prompt", "state"},
               {"precondition", "state"},
               {"kernel-form", "state-kernel,state-dbp"},
               {"kernel-features", "state-kernel,state-dbp"},
               {"base-state", "state-kernel,state-dbp"},
               {"dbp-rate", "state-dbp"},
               {"dbp-kappa", "state-dbp"}};

static bool is_of(const char *methods, const rk_tune_method *m)
{
    const size_t n = m ? strlen(m->name) : 0;
    if (!m)
        return false;
    for (const char *at = methods; *at; at += strspn(at, ",")) {
        const size_t len = strcspn(at, ",");
        if (len == n && !strncmp(at, m->name, n))
            return true;
        at += len;
    }
    return !strcmp(methods, m->adapter ? "adapter" : "states");
}

static rk_status refuse_others(const rk_run_params *p, const rk_tune_method *adapter,
                               const rk_tune_method *state, rk_error *err)
{
    rk_status st = RK_OK;
    for (size_t i = 0; i < RK_COUNT(belongs) && st == RK_OK; i++) {
        const char *const names[] = {belongs[i].option, NULL}, *of = belongs[i].methods;
        char why[96];
        if (is_of(of, adapter) || is_of(of, state))
            continue;
        snprintf(why, sizeof why, "goes with %s%s",
                 !strcmp(of, "adapter")  ? "methods of adapters"
                 : !strcmp(of, "states") ? "methods of states"
                                         : "--method, one of ",
                 !strcmp(of, "adapter") || !strcmp(of, "states") ? "" : of);
        st = rk_run_options_refuse(p, names, why, err);
    }
    return st;
}

rk_status rk_tuning_settle(rk_run_params *p, rk_error *err)
{
    const rk_tune_method *adapter, *state;
    if (!p->tune.method)
        return RK_OK;
    rk_status st = rk_tune_choose(&p->tune, &adapter, &state, err);
    if (st == RK_OK && !p->resume) /* a run that began so goes on so */
        st = refuse_others(p, adapter, state, err);
    if (st == RK_OK && !p->tune.train_parts && p->model.optimizer &&
        !strcmp(p->model.optimizer, "muon"))
        st = rk_fail(err, RK_ERR_ARG,
                     "muon updates whole matrices of blocks, of which tuning trains none; expected "
                     "adamw or sgd");
    if (st == RK_OK && !p->model.init_from)
        st = rk_fail(err, RK_ERR_ARG, "tuning needs a model to begin with: -m MODEL");
    if (st == RK_OK && p->model.ema > 0.0)
        st = rk_fail(err, RK_ERR_ARG,
                     "ema keeps running means of whole models; it goes with no tuning");
    if (st == RK_OK)
        st = rk_tune_trained(&p->tune, p->tune_words, sizeof p->tune_words, err);
    if (st == RK_OK)
        st = settle_rates(p, adapter, state, err);
    p->model.train_only = p->tune_words;
    return st;
}

/* ---- LoRA-GA's gradient ---- */

/* Gradients of the matrices of a set's parts, (out, in) each, in one piece of memory. */
typedef struct gradients {
    float *floats;
    rk_tensor *before; /* the model's tensors as they were */
} gradients;

static int64_t count_of(const rk_adapter_set *s)
{
    int64_t n = 0;
    for (int64_t i = 0; i < s->n_parts; i++)
        n += s->parts[i].in * s->parts[i].out;
    return n;
}

static void copy_rows(const rk_adapter_part *part, const rk_weight *w, float *to)
{
    for (int64_t o = 0; o < part->out; o++)
        rk_matrix_row(w->matrix, w->layout, o, to + o * part->in);
}

/* The matrices become f32 (out, in) with gradients of their own. */
static void want_gradients(const gradients *g, rk_model *m, const rk_adapter_set *s)
{
    float *at = g->floats, *grad = g->floats + count_of(s);
    for (int64_t i = 0; i < s->n_parts; i++) {
        const rk_adapter_part *part = &s->parts[i];
        rk_param *p = rk_model_param(m, part->name);
        const int64_t dims[2] = {part->out, part->in};
        g->before[i] = p->tensor;
        copy_rows(part, rk_param_weight(m, p), at);
        p->tensor = rk_tensor_over(RK_F32, 2, dims, at);
        p->tensor.requires_grad = p->tensor.has_grad = true;
        p->tensor.grad = grad;
        rk_grad_forget(&p->tensor);
        at += part->in * part->out;
        grad += part->in * part->out;
    }
}

static void end_gradients(rk_ctx *ctx, const gradients *g, rk_model *m, const rk_adapter_set *s)
{
    for (int64_t i = 0; i < s->n_parts; i++) {
        rk_param *p = rk_model_param(m, s->parts[i].name);
        rk_grad(ctx, &p->tensor); /* what no pass reached is zero */
        p->tensor = g->before[i];
    }
}

/* The mean over the first batches' losses. */
static rk_status pass_over(rk_ctx *ctx, rk_model *m, const rk_task *task, const rk_run_params *p,
                           rk_engine *e, rk_error *err)
{
    const int64_t n = p->model.micro_batch > 0 ? p->model.micro_batch : p->model.batch;
    const int64_t all = p->model.batch * p->tune.ga_batches;
    rk_batch batch;
    rk_example_sums sums = {0};
    rk_status st = rk_batch_init(&batch, task, all, err);
    for (int64_t i = 0; st == RK_OK && i < all; i++) {
        void *at[RK_TASK_FIELDS_MAX];
        rk_batch_at(&batch, task, i, at);
        task->example(task, (uint64_t)i, at);
    }
    if (st != RK_OK)
        return st;
    const int64_t counted = rk_batch_counted(&batch, task, all);
    const rk_examples j = {m, task, &p->model, &batch, 1.0 / (double)rk_max_i64(counted, 1)};
    for (int64_t first = 0; first < all && st == RK_OK; first += n) {
        rk_engine_lock(e);
        rk_ctx_reset(ctx);
        ctx->first_row = first * rk_max_i64(task->n_rows, 1);
        rk_examples_backward(ctx, &j, first, rk_min_i64(n, all - first), &sums);
        rk_engine_unlock(e);
        st = rk_ctx_status(ctx, err);
    }
    rk_batch_deinit(&batch);
    return st;
}

static rk_status find_gradients(gradients *g, rk_model *m, const rk_adapter_set *s,
                                const rk_task *task, const rk_run_params *p, rk_engine *e,
                                rk_error *err)
{
    rk_ctx ctx;
    const rk_ctx_params cp = {.kernels = rk_engine_kernels(e),
                              .pool = rk_engine_pool(e),
                              .abort = rk_engine_abort_flag(e),
                              .data_kind = RK_ARENA_GROWING};
    rk_status st = rk_ctx_init(&ctx, &cp, err);
    if (st != RK_OK)
        return st;
    want_gradients(g, m, s);
    st = pass_over(&ctx, m, task, p, e, err);
    end_gradients(&ctx, g, m, s);
    rk_ctx_deinit(&ctx);
    return st;
}

static rk_status make_gradients(gradients *g, rk_model *m, const rk_adapter_set *s,
                                const rk_task *task, const rk_run_params *p, rk_engine *e,
                                rk_error *err)
{
    const size_t n = (size_t)count_of(s);
    g->floats = malloc(2 * n * sizeof *g->floats);
    g->before = calloc((size_t)s->n_parts + 1, sizeof *g->before);
    return g->floats && g->before
               ? find_gradients(g, m, s, task, p, e, err)
               : rk_fail(err, RK_ERR_NOMEM,
                         "out of memory: %zu bytes for gradients of whole matrices",
                         2 * n * sizeof *g->floats);
}

/* ---- starts ---- */

typedef struct start_job {
    const rk_run_params *p;
    rk_engine *engine;
    rk_start_facts needs;
    gradients g;
} start_job;

static rk_status start_part(start_job *j, rk_model *m, rk_adapter_set *s, int64_t i,
                            const float *gradient, rk_error *err)
{
    const rk_adapter_part *part = &s->parts[i];
    float *weight = NULL;
    rk_status st = RK_OK;
    if (j->needs.weight) {
        weight = malloc((size_t)(part->in * part->out) * sizeof *weight);
        if (!weight)
            return rk_fail(err, RK_ERR_NOMEM, "out of memory for %s", part->name);
        copy_rows(part, rk_param_weight(m, rk_model_param(m, part->name)), weight);
    }
    const rk_tune_values v = {.weight = weight,
                              .gradient = gradient,
                              .seed = j->p->model.seed,
                              .kernels = rk_engine_kernels(j->engine),
                              .pool = rk_engine_pool(j->engine)};
    rk_engine_lock(j->engine);
    st = rk_tune_start(s, i, &j->p->tune, &v, err);
    rk_engine_unlock(j->engine);
    free(weight);
    return st;
}

static rk_status start_all(rk_model *m, rk_adapter_set *s, const rk_task *task,
                           const rk_run_params *p, rk_engine *e, rk_error *err)
{
    start_job j = {.p = p, .engine = e, .needs = rk_tune_needs(&p->tune)};
    rk_status st = RK_OK;
    if (j.needs.gradient)
        st = make_gradients(&j.g, m, s, task, p, e, err);
    const float *gradient = j.needs.gradient && st == RK_OK ? j.g.floats + count_of(s) : NULL;
    for (int64_t i = 0; i < s->n_parts && st == RK_OK; i++) {
        st = start_part(&j, m, s, i, gradient, err);
        gradient = gradient ? gradient + s->parts[i].in * s->parts[i].out : NULL;
    }
    free(j.g.floats);
    free(j.g.before);
    return st;
}

/* ---- the base, quantised ---- */

static rk_status subtract_start(void *user, const rk_param *p, float *w, rk_error *err)
{
    const rk_adapter_set *s = user;
    const rk_adapter_part *part = rk_adapter_set_find(s, p->name);
    if (!part || !part->start[0])
        return RK_OK;
    (void)err;
    for (int64_t o = 0; o < part->out; o++)
        for (int64_t k = 0; k < part->rank; k++) {
            const float b = (float)part->scale * part->start[1][o * part->rank + k];
            for (int64_t i = 0; i < part->in; i++)
                w[o * part->in + i] -= b * part->start[0][k * part->in + i];
        }
    return RK_OK;
}

static bool has_quant(const rk_run_params *p)
{
    return p->quant && strcmp(p->quant, "none") != 0;
}

void rk_tuning_quantise(rk_tuning *t, rk_quantise_options *o)
{
    for (int64_t i = 0; t && i < t->set->n_parts; i++)
        if (t->set->parts[i].start[0]) {
            o->change = subtract_start;
            o->change_user = t->set;
        }
}

rk_status rk_tuning_quantised(rk_tuning *t, const rk_model *m, rk_error *err)
{
    return t && t->attached ? rk_attached_norms(t->attached, m, t->set, err) : RK_OK;
}

/* ---- all of it ---- */

static rk_status begin(rk_tuning *t, rk_model *m, const rk_task *task, const rk_run_params *p,
                       rk_engine *e, rk_error *err)
{
    rk_status st = rk_tune_make(&t->set, m, &p->tune, err);
    const double began = rk_now_s();
    if (st == RK_OK && p->tune.state.rank > 0)
        st = rk_state_pairs_attach(m, p->tune.state.rank, p->model.seed, err);
    if (st == RK_OK && t->set->n_parts > 0)
        st = start_all(m, t->set, task, p, e, err);
    t->seconds = rk_now_s() - began;
    if (st == RK_OK && t->set->n_parts > 0)
        st = rk_adapters_attach(&t->attached, m, t->set, has_quant(p), p->tune.dropout, err);
    return st;
}

rk_status rk_tuning_begin(rk_tuning **out, rk_model *m, const rk_task *task, const rk_run_params *p,
                          rk_engine *e, rk_error *err)
{
    *out = NULL;
    if (!p->tune.method)
        return RK_OK;
    rk_tuning *t = calloc(1, sizeof *t);
    const rk_status st = t ? begin(t, m, task, p, e, err)
                           : rk_fail(err, RK_ERR_NOMEM, "out of memory for an adapter");
    if (st == RK_OK)
        *out = t;
    else
        rk_tuning_free(t);
    return st;
}

void rk_tuning_free(rk_tuning *t)
{
    if (!t)
        return;
    rk_attached_free(t->attached);
    rk_adapter_set_free(t->set);
    free(t);
}

double rk_tuning_seconds(const rk_tuning *t)
{
    return t ? t->seconds : 0.0;
}

/* ---- saving ---- */

static bool is_whole(const rk_param *p)
{
    return p->trained && p->used && !rk_roles[p->role].adapter && !rk_roles[p->role].beside;
}

/* A set of the same parts with the values of now, and the parameters that are trained whole. */
static rk_status take_values(rk_adapter_set *s, const rk_model *m, rk_error *err)
{
    rk_status st = RK_OK;
    rk_attached_values(m, s);
    for (int64_t i = 0; i < m->n_params && st == RK_OK; i++) {
        const rk_param *p = &m->params[i];
        rk_adapter_whole *w;
        if (!is_whole(p))
            continue;
        st = rk_adapter_set_add_whole(s, p->name, p->tensor.n_dims, p->tensor.dims, &w, err);
        if (st == RK_OK)
            memcpy(w->data, p->tensor.data, rk_tensor_bytes(&p->tensor));
    }
    return st;
}

/* The set itself holds what the adapters began with, which the model's parameters still refer to. */
static rk_status save_adapter(const rk_tuning *t, const rk_model *m, const rk_run_params *p,
                              const char *dir, rk_error *err)
{
    const rk_adapter_writing how = {
        .format = RK_ADAPTER_HF, .overwrite = true, .base = p->model.init_from};
    rk_adapter_set *now = NULL;
    rk_status st = rk_adapter_set_copy(&now, t->set, err);
    if (st == RK_OK)
        st = take_values(now, m, err);
    if (st == RK_OK && now->n_parts + now->n_whole > 0)
        st = rk_adapter_save(now, dir, &how, err);
    rk_adapter_set_free(now);
    return st;
}

static bool trains_state(const rk_model *m)
{
    if (m->state_pairs)
        return true;
    for (int64_t i = 0; i < m->n_params; i++)
        if (m->params[i].trained && rk_roles[m->params[i].role].beside)
            return true;
    return false;
}

rk_status rk_tuning_save(const rk_tuning *t, const rk_model *m, const rk_run_params *p,
                         const char *dir, rk_error *err)
{
    rk_status st = save_adapter(t, m, p, dir, err);
    if (st != RK_OK || !trains_state(m))
        return st;
    char *path = rk_path_join(dir, "state.pth");
    st = path ? rk_state_save_tuned(m, path, err)
              : rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", dir);
    free(path);
    return st;
}
