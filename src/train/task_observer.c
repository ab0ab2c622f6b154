/* task_observer.c: a small model learns to tell the states of a larger one.
 *
 * An example is a window of which the last t tokens are read, t drawn by its number: both models begin
 * anew there (rk_ctx.begins). The loss is
 *     mean over layers and heads of |S^ - S|^2 / (|S|^2 + 1e-6)
 *     + 0.1 KL(the teacher going on from S || from S^), the mean over 16 tokens,
 * the teacher's shifts being those of the true run. All but the teacher's last pass is without a tape.
 * Maps are repeated for each example, so that their gradients are sums over examples in order,
 * whatever the size of micro-batches. */
#include "train/task_observer.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "base/random.h"
#include "data/dataset.h"
#include "format/format.h"
#include "nn/shift.h"
#include "train/base.h"
#include "tune/observer.h"

enum { IDS, BEGINS, NEXT, N_FIELDS };
enum { STATE, KL, KL_ZERO, N_METRICS };
static const double out_weight = 0.1, smallest = 1e-6;

typedef struct observer_task {
    rk_task task; /* comes first: the one is the other */
    rk_model *teacher;
    rk_dataset data;
    rk_window window; /* on its way into fields */
    uint64_t seed;
} observer_task;

static const observer_task *of(const rk_task *t)
{
    return (const observer_task *)t;
}

/* ---- examples ---- */

/* Validation draws its positions apart from training. */
static void put_window(const observer_task *o, uint64_t index, bool held_out, void *const *fields)
{
    const int64_t n = o->task.fields[IDS].dims[0];
    int32_t *begins = fields[BEGINS];
    const int64_t t =
        1 + (int64_t)rk_rng_below(o->seed, RK_RNG_POSITIONS, index, held_out ? 1 : 0, (uint64_t)n);
    memcpy(fields[IDS], o->window.ids, (size_t)n * sizeof(int32_t));
    memcpy(fields[NEXT], o->window.ids + n, RK_OBSERVER_NEXT * sizeof(int32_t));
    memset(begins, 0, (size_t)n * sizeof *begins);
    begins[n - t] = t < n;
}

static void example(const rk_task *t, uint64_t index, void *const *fields)
{
    rk_dataset_window(&of(t)->data, index, &of(t)->window);
    put_window(of(t), index, false, fields);
}

static void held_out(const rk_task *t, int64_t i, void *const *fields)
{
    rk_dataset_val_window(&of(t)->data, i, &of(t)->window);
    put_window(of(t), (uint64_t)i, true, fields);
}

/* ---- the teacher ---- */

/* A pass of the teacher over ids from `state`, which becomes what follows. */
static rk_tensor *teach(rk_ctx *ctx, const rk_model *m, rk_tensor *ids, rk_tensor **state)
{
    rk_forward f = {.in = {ids}, .state = state};
    return rk_model_forward(ctx, m, &f);
}

static rk_tensor **states_like(rk_ctx *ctx, const rk_model *m, rk_tensor *const *from)
{
    const size_t bytes = (size_t)m->state.n_parts * sizeof(rk_tensor *);
    rk_tensor **state = rk_arena_alloc(&ctx->meta, bytes);
    if (!state)
        rk_ctx_fail(ctx, RK_ERR_NOMEM, "out of memory for a state's description");
    else if (from)
        memcpy(state, from, bytes);
    return state;
}

/* Scores of the tokens behind: going on from the state `from`, matrices (one a layer; NULL: zeros) in
 * place of its own. */
static rk_tensor *go_on(rk_ctx *ctx, const rk_model *m, int part, rk_tensor *next,
                        rk_tensor *const *from, rk_tensor *const *matrices)
{
    rk_tensor **state = states_like(ctx, m, from);
    rk_tensor *const begins = ctx->begins;
    if (!state || rk_ctx_failed(ctx))
        return NULL;
    for (int64_t l = 0; l < m->hp.n_layer; l++) {
        rk_tensor **at = &state[rk_state_part_at(m, l, part)];
        *at = matrices ? matrices[l] : rk_new_zeros(ctx, RK_F32, (*at)->n_dims, (*at)->dims);
    }
    ctx->begins = NULL;
    rk_tensor *hidden = teach(ctx, m, next, state);
    rk_tensor *scores = hidden ? rk_linear(ctx, hidden, *m->head, NULL) : NULL;
    ctx->begins = begins;
    return scores;
}

/* ---- the observer ---- */

/* Map `map` of layer l for each of n examples: (n, ...) of what a layer has. */
static rk_tensor *for_examples(rk_ctx *ctx, const rk_model *own, rk_observer_map map, int64_t l,
                               int64_t n)
{
    rk_param *p = rk_observer_param(own, map);
    if (!p || rk_ctx_failed(ctx))
        return NULL;
    int64_t dims[RK_MAX_DIMS] = {n};
    memcpy(dims + 1, p->tensor.dims + 1, (size_t)(p->tensor.n_dims - 1) * sizeof *dims);
    return rk_view(ctx, rk_for_each_row(ctx, rk_index(ctx, &p->tensor, l), n), p->tensor.n_dims,
                   dims);
}

/* S^ of layer l, (n, H, N, N), from the observer's state of its layer, (n, H', N, N). */
static rk_tensor *tell(rk_ctx *ctx, const rk_model *own, const rk_observer *o, int64_t l,
                       rk_tensor *from)
{
    if (rk_ctx_failed(ctx))
        return NULL;
    const int64_t n = from->dims[0], square = o->size * o->size;
    const int64_t flat[] = {n, o->own_heads, square}, matrices[] = {n, o->heads, o->size, o->size};
    rk_tensor *x =
        rk_matmul(ctx, for_examples(ctx, own, RK_OBSERVER_MIX, l, n), rk_view(ctx, from, 3, flat));
    x = rk_view(ctx, x, 4, matrices);
    x = rk_matmul(ctx, for_examples(ctx, own, RK_OBSERVER_LEFT, l, n), x);
    x = rk_matmul(ctx, x, for_examples(ctx, own, RK_OBSERVER_RIGHT, l, n));
    return rk_add(ctx, x, for_examples(ctx, own, RK_OBSERVER_CONSTANT, l, n));
}

/* For each matrix of the true state one over the root of (|S|^2 + 1e-6) H L, at all its elements. */
static rk_tensor *weights_of(rk_ctx *ctx, const rk_observer *o, const rk_tensor *s)
{
    rk_tensor *w = rk_ctx_failed(ctx) ? NULL : rk_new(ctx, RK_F32, s->n_dims, s->dims);
    const int64_t square = o->size * o->size;
    for (int64_t i = 0; w && w->data && i < rk_tensor_count(s); i += square) {
        const float *x = (const float *)s->data + i;
        float *to = (float *)w->data + i;
        double sum = smallest;
        for (int64_t k = 0; k < square; k++)
            sum += (double)x[k] * (double)x[k];
        for (int64_t k = 0; k < square; k++)
            to[k] = (float)(1.0 / sqrt(sum * (double)(o->heads * o->layers)));
    }
    return w;
}

/* (n, 1, 1): the sum of the squares of each example's elements. */
static rk_tensor *squares(rk_ctx *ctx, rk_tensor *x)
{
    if (!x || rk_ctx_failed(ctx))
        return NULL;
    const int64_t n = x->dims[0], all = rk_tensor_count(x) / n;
    const int64_t row[] = {n, 1, all}, column[] = {n, all, 1};
    return rk_matmul(ctx, rk_view(ctx, x, 3, row), rk_view(ctx, x, 3, column));
}

/* What layer l is wrong by: (n, 1, 1). */
static rk_tensor *distance(rk_ctx *ctx, const rk_observer *o, rk_tensor *told, rk_tensor *s)
{
    return squares(ctx,
                   rk_mul(ctx, rk_add(ctx, told, rk_scale(ctx, s, -1.0)), weights_of(ctx, o, s)));
}

/* (n, 1, 1): means of rows x (n, k). */
static rk_tensor *means(rk_ctx *ctx, rk_tensor *x)
{
    if (!x || rk_ctx_failed(ctx))
        return NULL;
    const int64_t n = x->dims[0], k = x->dims[1], row[] = {n, 1, k}, column[] = {n, k, 1};
    rk_tensor *share = rk_new(ctx, RK_F32, 3, column);
    for (int64_t i = 0; share && share->data && i < n * k; i++)
        ((float *)share->data)[i] = 1.0f / (float)k;
    return rk_matmul(ctx, rk_view(ctx, x, 3, row), share);
}

/* ---- the loss ---- */

/* What the teacher's passes without a tape leave. */
typedef struct truth {
    rk_tensor **state;             /* after the window */
    rk_tensor *scores, *from_zero; /* of what follows */
} truth;

static truth find_truth(rk_ctx *ctx, const observer_task *o, int part, const rk_pass *p)
{
    const rk_model *m = o->teacher;
    truth t = {.state = states_like(ctx, m, NULL)};
    const bool recording = ctx->recording;
    ctx->recording = false;
    if (t.state)
        rk_model_new_state(ctx, m, RK_F32, p->fields[IDS]->dims[0], t.state);
    if (t.state && teach(ctx, m, p->fields[IDS], t.state)) {
        rk_tensor **matrices = states_like(ctx, m, NULL);
        for (int64_t l = 0; matrices && l < m->hp.n_layer; l++)
            matrices[l] = t.state[rk_state_part_at(m, l, part)];
        t.scores = go_on(ctx, m, part, p->fields[NEXT], t.state, matrices);
        t.from_zero = go_on(ctx, m, part, p->fields[NEXT], t.state, NULL);
    }
    ctx->recording = recording;
    return t;
}

static void add_metric(const rk_pass *p, int metric, const rk_tensor *x)
{
    for (int64_t i = 0; p->metrics && x && i < rk_tensor_count(x); i++)
        p->metrics[metric] += (double)((const float *)x->data)[i];
}

static rk_tensor *losses(rk_ctx *ctx, const rk_task *t, const rk_pass *p)
{
    const observer_task *o = of(t);
    const rk_model *m = o->teacher, *own = p->model;
    rk_tensor **told = states_like(ctx, m, NULL), *state = NULL;
    rk_observer sizes;
    rk_error err = {0};
    if (rk_observer_of(&sizes, m, own, &err) != RK_OK) {
        rk_ctx_fail(ctx, err.code, "%s", err.msg);
        return NULL;
    }
    const truth s = find_truth(ctx, o, sizes.part, p);
    for (int64_t l = 0; l < sizes.layers && !rk_ctx_failed(ctx); l++) {
        const int64_t from = rk_observer_layer(&sizes, l);
        told[l] = tell(ctx, own, &sizes, l, p->state[rk_state_part_at(own, from, sizes.part)]);
        rk_tensor *d = distance(ctx, &sizes, told[l], s.state[rk_state_part_at(m, l, sizes.part)]);
        state = state ? rk_add(ctx, state, d) : d;
    }
    if (rk_ctx_failed(ctx))
        return NULL;
    rk_tensor *scores = go_on(ctx, m, sizes.part, p->fields[NEXT], s.state, told);
    rk_tensor *kl = means(ctx, rk_kl(ctx, s.scores, scores));
    rk_tensor *zero = means(ctx, rk_kl(ctx, s.scores, s.from_zero));
    if (!rk_ctx_failed(ctx)) {
        add_metric(p, STATE, state);
        add_metric(p, KL, kl);
        add_metric(p, KL_ZERO, zero);
    }
    return rk_add(ctx, state, rk_scale(ctx, kl, out_weight));
}

/* ---- beside the model ---- */

static rk_status attach(const rk_task *t, rk_model *m, rk_engine *e, rk_error *err)
{
    rk_observer sizes;
    (void)e;
    const rk_status st = rk_observer_of(&sizes, of(t)->teacher, m, err);
    return st == RK_OK ? rk_observer_attach(&sizes, m, err) : st;
}

static rk_status save(const rk_task *t, const rk_model *m, const char *dir, rk_error *err)
{
    return rk_observer_save(m, of(t)->teacher->fingerprint, dir, err);
}

/* ---- the task ---- */

static void close_task(rk_task *t)
{
    observer_task *o = (observer_task *)t;
    rk_dataset_deinit(&o->data);
    rk_model_close(o->teacher);
    free(o->window.ids);
    free(o->window.counts);
    free(o);
}

static void describe(observer_task *o, int64_t ctx_len)
{
    o->task = (rk_task){.name = "observer",
                        .fields = {[IDS] = {"ids", RK_I32, 1, {ctx_len}},
                                   [BEGINS] = {"begins", RK_I32, 1, {ctx_len}},
                                   [NEXT] = {"next", RK_I32, 1, {RK_OBSERVER_NEXT}}},
                        .n_fields = N_FIELDS,
                        .n_losses = 1,
                        .unit = "windows",
                        .loss_unit = "a window",
                        .metrics = {[STATE] = "state", [KL] = "kl", [KL_ZERO] = "kl_zero"},
                        .n_metrics = N_METRICS,
                        .curve = "state",
                        .curve_unit = "distance of states",
                        .example = example,
                        .held_out = held_out,
                        .losses = losses,
                        .attach = attach,
                        .save = save,
                        .close = close_task};
    snprintf(o->task.about, sizeof o->task.about, "states of %" PRId64 " layers of %" PRId64,
             o->teacher->hp.n_layer, o->teacher->hp.n_embd);
}

static bool has_size(const rk_run_params *p, const char *name)
{
    for (int64_t i = 0; i < p->n_sizes; i++)
        if (!strcmp(p->sizes[i].name, name))
            return true;
    return false;
}

/* The new model is of the teacher's kind, and half of it where nothing else is said. */
static void take_sizes(const observer_task *o, rk_run_params *p)
{
    const rk_hparams *hp = &o->teacher->hp;
    const int64_t half = rk_max_i64(hp->n_embd / hp->head_size / 2, 1) * hp->head_size;
    p->model.arch = p->model.arch ? p->model.arch : o->teacher->arch->name;
    rk_run_set_size(p, "n_vocab", (double)hp->n_vocab);
    rk_run_set_size(p, "head_size", (double)hp->head_size);
    if (!has_size(p, "n_layer"))
        rk_run_set_size(p, "n_layer", (double)rk_max_i64(hp->n_layer / 2, 1));
    if (!has_size(p, "n_embd"))
        rk_run_set_size(p, "n_embd", (double)half);
}

static rk_status read_data(observer_task *o, rk_run_params *p, rk_error *err)
{
    const int64_t n = p->model.ctx_len + RK_OBSERVER_NEXT;
    const rk_data_params data = {
        .options = &p->data, .val_frac = p->val_frac, .ctx_len = n - 1, .seed = p->model.seed};
    rk_tokenizer *tok = NULL;
    o->window.ids = calloc((size_t)n, sizeof *o->window.ids);
    o->window.counts = calloc((size_t)n, sizeof *o->window.counts);
    rk_status st = o->window.ids && o->window.counts
                       ? rk_model_vocabulary(&tok, p->tokenizer, o->teacher, p->teacher, err)
                       : rk_fail(err, RK_ERR_NOMEM, "out of memory for a window of tokens");
    if (st == RK_OK)
        st = rk_dataset_init(&o->data, &data, tok, o->teacher->hp.n_vocab, err);
    rk_tokenizer_free(tok);
    if (st != RK_OK)
        return st;
    o->task.n_val = o->data.n_val;
    o->task.n_data = o->data.n_tokens / n;
    o->task.checksum = o->data.checksum;
    return rk_base_mix(o->teacher, &o->task.checksum, err);
}

static rk_status check(const rk_run_params *p, const rk_model *base, rk_error *err)
{
    if (!p->teacher)
        return rk_fail(err, RK_ERR_ARG,
                       "the task observer has a teacher: rwkv tune observer --teacher MODEL");
    if (base)
        return rk_fail(err, RK_ERR_ARG, "an observer is a new model; it begins with no other");
    if (p->data.n_paths == 0)
        return rk_fail(err, RK_ERR_ARG, "--data FILE is missing");
    return RK_OK;
}

rk_status rk_observer_open(rk_task **out, rk_run_params *p, const rk_model *base, rk_error *err)
{
    rk_status st = check(p, base, err);
    observer_task *o = st == RK_OK ? calloc(1, sizeof *o) : NULL;
    if (st == RK_OK && !o)
        st = rk_fail(err, RK_ERR_NOMEM, "out of memory for the task observer");
    if (st == RK_OK)
        st = rk_model_open(&o->teacher, p->teacher, err);
    if (st == RK_OK)
        st = rk_base_check_head(o->teacher, err);
    if (st == RK_OK) {
        describe(o, p->model.ctx_len);
        o->seed = p->model.seed;
        take_sizes(o, p);
        st = read_data(o, p, err);
    }
    if (st == RK_OK)
        *out = &o->task;
    else if (o)
        close_task(&o->task);
    return st;
}
