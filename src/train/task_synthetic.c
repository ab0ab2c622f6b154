/* task_synthetic.c: cross-entropy at the positions where a sample asks something, and whether the
 * likeliest token is right there. */
#include "train/task_synthetic.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "infer/engine.h"
#include "io/checksum.h"
#include "train/examples.h"

enum { IDS, TARGETS, KINDS, N_FIELDS };
enum { ACCURACY, EXACT, FIRST_KIND };
enum { HELD_OUT = 600, CHECKED = 16 };

typedef struct synthetic_task {
    rk_task task; /* comes first: the one is the other */
    rk_synthetic gen;
    uint64_t seed;
    rk_syn_stream held_out; /* where held-out samples come from */
    int32_t *scratch;
    double l2wrap;
    rk_syn_score *score; /* added to beside the metrics; NULL: none */
} synthetic_task;

/* ---- samples ---- */

static void put_sample(const synthetic_task *s, rk_syn_stream stream, uint64_t index,
                       void *const *fields)
{
    rk_syn_sample x = {.ids = fields[IDS],
                       .targets = fields[TARGETS],
                       .kinds = fields[KINDS],
                       .scratch = s->scratch};
    rk_synthetic_sample(&s->gen, s->seed, stream, index, &x);
}

static void example(const rk_task *t, uint64_t index, void *const *fields)
{
    put_sample((const synthetic_task *)t, RK_SYN_TRAIN, index, fields);
}

static void held_out(const rk_task *t, int64_t i, void *const *fields)
{
    const synthetic_task *s = (const synthetic_task *)t;
    put_sample(s, s->held_out, (uint64_t)i, fields);
}

/* ---- answers ---- */

static int64_t counted(const rk_task *t, void *const *fields)
{
    const int32_t *targets = fields[TARGETS];
    int64_t n = 0;
    for (int64_t i = 0; i < t->n_losses; i++)
        n += targets[i] != RK_NO_TARGET;
    return n;
}

/* A pass at hand, a row for each position of each sample. */
typedef struct answers {
    const rk_synthetic *gen;
    const int32_t *ids, *targets, *kinds, *best;
} answers;

static bool is_right(const answers *a, int64_t row)
{
    const rk_synthetic *g = a->gen;
    const int64_t at = row % g->n_tokens;
    return a->best[row] == a->targets[row] ||
           (g->gen->accepts && g->gen->accepts(g, a->ids + (row - at), at, a->best[row]));
}

/* What the answers to the sample from row `first` on are worth. */
static rk_syn_score score_sample(const answers *a, int64_t first)
{
    rk_syn_score s = {.n_samples = 1};
    for (int64_t row = first; row < first + a->gen->n_tokens; row++) {
        if (a->targets[row] == RK_NO_TARGET)
            continue;
        const bool right = is_right(a, row);
        s.all.n++;
        s.kinds[a->kinds[row]].n++;
        s.all.n_right += right;
        s.kinds[a->kinds[row]].n_right += right;
    }
    s.n_exact = s.all.n_right == s.all.n;
    return s;
}

static void add_score(rk_syn_score *to, const rk_syn_score *s)
{
    to->n_samples += s->n_samples;
    to->n_exact += s->n_exact;
    to->all.n += s->all.n;
    to->all.n_right += s->all.n_right;
    for (int k = 0; k < RK_SYN_KINDS_MAX; k++) {
        to->kinds[k].n += s->kinds[k].n;
        to->kinds[k].n_right += s->kinds[k].n_right;
    }
}

static double share(int64_t n_right, int64_t n)
{
    return n > 0 ? (double)n_right / (double)n : 1.0;
}

static void add_metrics(const rk_task *t, double *metrics, const rk_syn_score *s)
{
    metrics[ACCURACY] += share(s->all.n_right, s->all.n);
    metrics[EXACT] += (double)s->n_exact;
    for (int k = FIRST_KIND; k < t->n_metrics; k++)
        metrics[k] += share(s->kinds[k - FIRST_KIND].n_right, s->kinds[k - FIRST_KIND].n);
}

static void judge(const synthetic_task *s, const rk_pass *p, const rk_tensor *best)
{
    const answers a = {&s->gen, p->fields[IDS]->data, p->fields[TARGETS]->data,
                       p->fields[KINDS]->data, best->data};
    for (int64_t first = 0; first < rk_tensor_count(best); first += s->gen.n_tokens) {
        const rk_syn_score score = score_sample(&a, first);
        add_metrics(&s->task, p->metrics, &score);
        if (s->score)
            add_score(s->score, &score);
    }
}

static rk_tensor *losses(rk_ctx *ctx, const rk_task *t, const rk_pass *p)
{
    const synthetic_task *s = (const synthetic_task *)t;
    const rk_tensor *targets = p->fields[TARGETS];
    const rk_cross_entropy_in in = {.hidden = p->out[0],
                                    .head = rk_weight_matrix(ctx, p->model->head),
                                    .targets = p->fields[TARGETS],
                                    .best = rk_new(ctx, RK_I32, targets->n_dims, targets->dims),
                                    .l2wrap = s->l2wrap,
                                    .seed = p->share};
    rk_tensor *nll = rk_cross_entropy_of(ctx, &in);
    if (p->metrics && !rk_ctx_failed(ctx))
        judge(s, p, in.best);
    return nll;
}

/* ---- the task ---- */

static void close_task(rk_task *t)
{
    synthetic_task *s = (synthetic_task *)t;
    free(s->scratch);
    free(s);
}

static void describe(synthetic_task *s)
{
    const int64_t n = s->gen.n_tokens;
    rk_task *t = &s->task;
    *t = (rk_task){
        .name = s->gen.task,
        .fields = {{"ids", RK_I32, 1, {n}}, {"targets", RK_I32, 1, {n}}, {"kinds", RK_I32, 1, {n}}},
        .n_fields = N_FIELDS,
        .n_losses = n,
        .n_val = HELD_OUT,
        .unit = "tokens",
        .loss_unit = "nats an answer",
        .curve = "loss",
        .curve_unit = "nats an answer",
        .metrics = {[ACCURACY] = "accuracy", [EXACT] = "exact"},
        .n_metrics = FIRST_KIND,
        .example = example,
        .held_out = held_out,
        .counted = counted,
        .losses = losses,
        .close = close_task};
    for (int k = 0; k < RK_SYN_KINDS_MAX && s->gen.gen->kinds[k]; k++)
        t->metrics[t->n_metrics++] = s->gen.gen->kinds[k];
    snprintf(t->about, sizeof t->about, "%.20s, %" PRId64 " tokens", s->gen.task, n);
}

/* Of the first samples: a program that draws others must not continue a run. */
static rk_status take_checksum(synthetic_task *s, rk_error *err)
{
    rk_batch b;
    void *at[RK_TASK_FIELDS_MAX];
    rk_checksum *c = rk_checksum_new();
    rk_status st = c ? rk_batch_init(&b, &s->task, 1, err)
                     : rk_fail(err, RK_ERR_NOMEM, "out of memory for a checksum");
    if (st == RK_OK) {
        rk_batch_at(&b, &s->task, 0, at);
        for (uint64_t i = 0; i < CHECKED; i++) {
            example(&s->task, i, at);
            rk_checksum_add(c, at[IDS], (size_t)s->gen.n_tokens * sizeof(int32_t));
            rk_checksum_add(c, at[TARGETS], (size_t)s->gen.n_tokens * sizeof(int32_t));
        }
        s->task.checksum = rk_checksum_value(c);
        rk_batch_deinit(&b);
    }
    rk_checksum_free(c);
    return st;
}

static rk_status new_task(synthetic_task **out, const rk_synthetic *gen, uint64_t seed,
                          rk_error *err)
{
    synthetic_task *s = calloc(1, sizeof *s);
    int32_t *scratch = calloc((size_t)rk_max_i64(gen->n_scratch, 1), sizeof *scratch);
    if (!s || !scratch) {
        free(s);
        free(scratch);
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for the task %s", gen->task);
    }
    s->gen = *gen;
    s->seed = seed;
    s->scratch = scratch;
    s->held_out = RK_SYN_HELD_OUT;
    describe(s);
    *out = s;
    return RK_OK;
}

static rk_status check_vocabulary(const rk_model *m, const char *path, const rk_synthetic *gen,
                                  rk_error *err)
{
    if (m->hp.n_vocab >= gen->n_vocab)
        return RK_OK;
    return rk_fail(err, RK_ERR_ARG, "%s has %" PRId64 " tokens, the task %s has %" PRId64, path,
                   m->hp.n_vocab, gen->task, gen->n_vocab);
}

rk_status rk_synthetic_open(rk_task **out, rk_run_params *p, const rk_model *base, rk_error *err)
{
    rk_synthetic gen;
    synthetic_task *s = NULL;
    const rk_generator *g = rk_task_find(p->task)->generator;
    rk_status st = rk_synthetic_init(&gen, p->task, g, p->task_params, p->n_task_params, err);
    if (st == RK_OK && base)
        st = check_vocabulary(base, p->model.init_from, &gen, err);
    if (st == RK_OK)
        st = new_task(&s, &gen, p->model.seed, err);
    if (st != RK_OK)
        return st;
    s->l2wrap = p->model.l2wrap;
    p->model.ctx_len = gen.n_tokens;
    if (!base)
        rk_run_set_size(p, "n_vocab", (double)gen.n_vocab);
    st = take_checksum(s, err);
    if (st == RK_OK)
        *out = &s->task;
    else
        rk_task_close(&s->task);
    return st;
}

/* ---- measuring ---- */

/* One batch of the samples, from the first-th on. */
static rk_status measure_batch(rk_ctx *ctx, const rk_examples *j, int64_t first, int64_t n,
                               double *nats, rk_error *err)
{
    void *at[RK_TASK_FIELDS_MAX];
    rk_example_sums sums = {0};
    for (int64_t i = 0; i < n; i++) {
        rk_batch_at(j->batch, j->task, i, at);
        j->task->held_out(j->task, first + i, at);
    }
    rk_ctx_reset(ctx);
    rk_examples_forward(ctx, j, 0, n, &sums);
    *nats += sums.loss;
    return rk_ctx_status(ctx, err);
}

static rk_status measure_all(rk_ctx *ctx, const rk_examples *j, const rk_syn_measure *how,
                             rk_engine *e, double *nats, rk_error *err)
{
    rk_status st = RK_OK;
    for (int64_t i = 0; i < how->n && st == RK_OK; i += how->batch) {
        const int64_t n = rk_min_i64(how->batch, how->n - i);
        rk_engine_lock(e);
        st = measure_batch(ctx, j, i, n, nats, err);
        rk_engine_unlock(e);
        if (st == RK_OK && how->progress)
            how->progress(how->user, i + n, how->n);
    }
    return st;
}

static rk_status measure(const rk_model *m, synthetic_task *s, const rk_syn_measure *how,
                         rk_engine *e, rk_error *err)
{
    rk_batch batch;
    rk_ctx ctx;
    rk_train_params p = rk_train_defaults();
    const rk_examples j = {m, &s->task, &p, &batch, 0.0};
    const rk_ctx_params cp = {.kernels = rk_engine_kernels(e),
                              .pool = rk_engine_pool(e),
                              .abort = rk_engine_abort_flag(e),
                              .data_kind = RK_ARENA_GROWING};
    p.batch = how->batch;
    rk_status st = rk_batch_init(&batch, &s->task, how->batch, err);
    if (st != RK_OK)
        return st;
    st = rk_ctx_init(&ctx, &cp, err);
    if (st == RK_OK) {
        st = measure_all(&ctx, &j, how, e, &s->score->nats, err);
        rk_ctx_deinit(&ctx);
    }
    rk_batch_deinit(&batch);
    return st;
}

rk_status rk_synthetic_measure(const rk_model *m, const rk_synthetic *gen,
                               const rk_syn_measure *how, rk_engine *e, rk_syn_score *out,
                               rk_error *err)
{
    synthetic_task *s = NULL;
    *out = (rk_syn_score){0};
    rk_status st = check_vocabulary(m, how->name, gen, err);
    if (st == RK_OK)
        st = new_task(&s, gen, how->seed, err);
    if (st != RK_OK)
        return st;
    s->held_out = RK_SYN_EVAL;
    s->score = out;
    st = measure(m, s, how, e, err);
    rk_task_close(&s->task);
    return st;
}
