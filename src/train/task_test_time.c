/* task_test_time.c: test-time scaling of arXiv 2504.05097: chains are drawn from the initial state as it
 * is, and one step of the optimiser moves it towards those that were worth more.
 *
 *     loss = - mean_g A_g sum_t log p(token_t) / len + beta KL(p_S0 || p_start)
 *
 * A_g are rewards less the mean over the chains of the same problem, over their deviation. KL is the mean
 * over the positions of a chain, the scores from the state that the run began with being constants.
 * A step's chains are drawn when its first example is asked for: they are a function of the state, the
 * seed and the step, so that a run that goes on draws what it would have drawn. */
#include "train/task_test_time.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/atomic_file.h"
#include "io/json_line.h"
#include "io/path.h"
#include "nn/shift.h"
#include "train/base.h"
#include "train/runlog.h"
#include "train/test_time.h"

enum { IDS, TARGETS, WEIGHT, SHARE, FACTS, N_FIELDS };
enum { RIGHT, MAJORITY, REWARD, LENGTH, N_FACTS }; /* and metrics */

/* What chains are drawn for: the steps', those that validation and the result come from, the voting that
 * the result is compared with. */
enum { OF_STEP, OF_RESULT, OF_VOTING };

/* What changes while the task is used. */
typedef struct drawing {
    rk_prober *prober;
    const rk_model *model; /* that is trained */
    float *state, *first;  /* its initial state now, and as the run began */
    rk_chain *chains;      /* (problems, n_chains) */
    int64_t step;          /* whose they are; -1: none's, -2: a validation's */
    rk_error err;
} drawing;

typedef struct test_time {
    rk_task task; /* comes first: the one is the other */
    rk_problems problems;
    rk_test_time_options o;
    char *base; /* path of the model */
    uint64_t seed;
    int64_t rounds;
    drawing *now;
} test_time;

static const test_time *of(const rk_task *t)
{
    return (const test_time *)t;
}

static int64_t n_examples(const test_time *s)
{
    return s->problems.n * s->o.chains;
}

/* ---- examples ---- */

static rk_status draw_from(const test_time *s, const float *state, uint64_t what, uint64_t step,
                           int64_t n, rk_chain *chains, rk_error *err)
{
    return rk_prober_draw(s->now->prober, state, s->seed, what << 20 | step, n, chains, err);
}

/* From the state as it is. */
static void draw_now(const test_time *s, uint64_t what, int64_t step)
{
    drawing *d = s->now;
    rk_model_initial_state(d->model, d->state);
    if (d->err.code == RK_OK)
        draw_from(s, d->state, what, (uint64_t)step, s->o.chains, d->chains, &d->err);
}

static void put_chain(const test_time *s, int64_t i, void *const *fields)
{
    const int64_t n = s->problems.gen.n_tokens, problem = i / s->o.chains;
    const rk_chain *c = &s->now->chains[i];
    int32_t *ids = fields[IDS];
    float *weight = fields[WEIGHT], *share = fields[SHARE], *facts = fields[FACTS];
    const int64_t first = s->problems.first[problem];
    memset(ids, 0, (size_t)n * sizeof *ids);
    memcpy(ids, s->problems.ids + problem * n, (size_t)(first + 1) * sizeof *ids);
    memcpy(fields[TARGETS], c->targets, (size_t)n * sizeof *ids);
    for (int64_t t = 0; t < n; t++) {
        const bool said = t >= first && t < first + c->n;
        if (said && t + 1 < n)
            ids[t + 1] = c->targets[t];
        share[t] = said ? 1.0f / (float)c->n : 0.0f;
        weight[t] = (float)c->advantage * share[t];
    }
    facts[RIGHT] = c->right ? 1.0f : 0.0f;
    facts[MAJORITY] = (float)c->majority;
    facts[REWARD] = (float)c->reward;
    facts[LENGTH] = (float)c->n;
}

static void example(const rk_task *t, uint64_t index, void *const *fields)
{
    const test_time *s = of(t);
    const int64_t step = (int64_t)(index / (uint64_t)n_examples(s));
    const int64_t i = (int64_t)(index % (uint64_t)n_examples(s));
    if (s->now->step != step || i == 0)
        draw_now(s, OF_STEP, step);
    s->now->step = step;
    put_chain(s, i, fields);
}

static void held_out(const rk_task *t, int64_t i, void *const *fields)
{
    const test_time *s = of(t);
    if (s->now->step != -2 || i == 0)
        draw_now(s, OF_RESULT, 0);
    s->now->step = -2;
    put_chain(s, i, fields);
}

/* ---- the loss ---- */

/* The model's state at the start of the run for n streams. */
static rk_tensor **first_state(rk_ctx *ctx, const test_time *s, const rk_model *m, int64_t n)
{
    rk_tensor **state = rk_arena_alloc(&ctx->meta, (size_t)m->state.n_parts * sizeof *state);
    if (!state) {
        rk_ctx_fail(ctx, RK_ERR_NOMEM, "out of memory for a state's description");
        return NULL;
    }
    for (int i = 0; i < m->state.n_parts; i++) {
        const rk_state_entry *p = &m->state.parts[i];
        int64_t dims[RK_MAX_DIMS];
        const int n_dims = rk_state_dims(p, n, 0, dims);
        state[i] = rk_new_zeros(ctx, RK_F32, n_dims, dims);
        for (int64_t row = 0; state[i] && state[i]->data && !rk_state_grows(p) && row < n; row++)
            memcpy((float *)state[i]->data + row * p->count, s->now->first + p->at,
                   (size_t)p->count * sizeof(float));
    }
    return state;
}

/* Scores from the state that the run began with; no gradient goes there. */
static rk_tensor *first_scores(rk_ctx *ctx, const test_time *s, const rk_pass *p)
{
    const bool recording = ctx->recording;
    ctx->recording = false;
    rk_forward f = {.in = {p->fields[IDS]},
                    .state = first_state(ctx, s, p->model, p->fields[IDS]->dims[0])};
    rk_tensor *hidden = f.state ? rk_model_forward(ctx, p->model, &f) : NULL;
    rk_tensor *scores = hidden ? rk_linear(ctx, hidden, *p->model->head, NULL) : NULL;
    ctx->recording = recording;
    return scores;
}

/* (n, 1, 1): the sum over positions of x (n, T) times w (n, T). */
static rk_tensor *weighed(rk_ctx *ctx, rk_tensor *x, rk_tensor *w)
{
    if (!x || rk_ctx_failed(ctx))
        return NULL;
    const int64_t n = x->dims[0], t = x->dims[1], row[] = {n, 1, t}, column[] = {n, t, 1};
    return rk_matmul(ctx, rk_view(ctx, x, 3, row), rk_view(ctx, w, 3, column));
}

static void add_facts(const rk_pass *p)
{
    const float *facts = p->fields[FACTS]->data;
    for (int64_t i = 0; p->metrics && i < p->fields[FACTS]->dims[0]; i++)
        for (int k = 0; k < N_FACTS; k++)
            p->metrics[k] += (double)facts[i * N_FACTS + k];
}

static rk_tensor *losses(rk_ctx *ctx, const rk_task *t, const rk_pass *p)
{
    const test_time *s = of(t);
    if (s->now->err.code != RK_OK) {
        rk_ctx_fail(ctx, s->now->err.code, "%s", s->now->err.msg);
        return NULL;
    }
    const rk_cross_entropy_in in = {.hidden = p->out[0],
                                    .head = rk_weight_matrix(ctx, p->model->head),
                                    .targets = p->fields[TARGETS]};
    rk_tensor *policy = weighed(ctx, rk_cross_entropy_of(ctx, &in), p->fields[WEIGHT]);
    rk_tensor *scores =
        rk_ctx_failed(ctx) ? NULL : rk_linear(ctx, p->out[0], *p->model->head, NULL);
    rk_tensor *kl = weighed(ctx, rk_kl(ctx, scores, first_scores(ctx, s, p)), p->fields[SHARE]);
    add_facts(p);
    return rk_add(ctx, policy, rk_scale(ctx, kl, s->o.beta));
}

/* ---- the result ---- */

/* Means over chains; tokens is their sum. */
typedef struct summary {
    double right, majority, any;
    int64_t tokens;
} summary;

static summary summarise(const test_time *s, const rk_chain *chains, int64_t n)
{
    summary a = {0};
    const int64_t all = s->problems.n * n;
    for (int64_t i = 0; i < all; i++) {
        a.right += (chains[i].right ? 1.0 : 0.0) / (double)all;
        a.majority += chains[i].majority / (double)all;
        a.tokens += chains[i].n;
    }
    for (int64_t i = 0; i < s->problems.n; i++) {
        bool any = false;
        for (int64_t k = 0; k < n; k++)
            any = any || chains[i * n + k].right;
        a.any += any ? 1.0 / (double)s->problems.n : 0.0;
    }
    return a;
}

static rk_status draw_summary(const test_time *s, const float *state, uint64_t what, int64_t n,
                              summary *out, rk_error *err)
{
    rk_chain *chains = NULL;
    rk_status st = rk_chains_new(&chains, &s->problems, n, err);
    if (st == RK_OK)
        st = draw_from(s, state, what, 0, n, chains, err);
    if (st == RK_OK)
        *out = summarise(s, chains, n);
    rk_chains_free(chains);
    return st;
}

typedef struct spent {
    const test_time *s;
    int64_t steps;
    double tokens;
} spent;

static bool add_spent(void *user, const rk_log_entry *e)
{
    spent *x = user;
    if (e->step > 0 && isfinite(e->drawn)) {
        x->steps++;
        x->tokens += e->drawn * (double)n_examples(x->s);
    }
    return true;
}

static void put_summary(rk_buf *b, const char *who, const summary *a)
{
    char key[48];
    snprintf(key, sizeof key, "%s_right", who);
    rk_json_num(b, key, a->right);
    snprintf(key, sizeof key, "%s_majority", who);
    rk_json_num(b, key, a->majority);
    snprintf(key, sizeof key, "%s_any", who);
    rk_json_num(b, key, a->any);
    snprintf(key, sizeof key, "%s_tokens", who);
    rk_json_int(b, key, a->tokens);
}

static rk_status write_result(const test_time *s, const char *dir, const spent *x,
                              const summary *tuned, const summary *base, const summary *voting,
                              rk_error *err)
{
    rk_buf b = {0};
    rk_out *out = NULL;
    char *path = rk_path_join(dir, "test-time.json");
    rk_json_begin(&b);
    rk_json_str(&b, "task", s->problems.gen.task);
    rk_json_int(&b, "problems", s->problems.n);
    rk_json_int(&b, "chains", s->o.chains);
    rk_json_int(&b, "rounds", s->rounds);
    rk_json_int(&b, "tokens", (int64_t)llround(x->tokens) + tuned->tokens);
    put_summary(&b, "tuned", tuned);
    put_summary(&b, "base", base);
    put_summary(&b, "voting", voting);
    rk_json_end(&b);
    rk_buf_puts(&b, "\n");
    rk_status st = !path || b.failed ? rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", dir)
                                     : rk_out_open(&out, path, true, err);
    if (st == RK_OK) {
        rk_out_write(out, b.data, b.len);
        st = rk_out_commit(out, err);
    }
    rk_buf_deinit(&b);
    free(path);
    return st;
}

/* Beside the state: chains from it and from the state before, and voting of chains from that one which take as
 * many tokens as all that the run has drawn. Not of a run that was stopped. */
static rk_status save(const rk_task *t, const rk_model *m, const char *dir, rk_error *err)
{
    const test_time *s = of(t);
    const int64_t n = s->o.chains;
    spent x = {.s = s};
    summary tuned, base, voting;
    rk_status st = rk_runlog_read(dir, "tokens_drawn", add_spent, &x, err);
    if (st != RK_OK || x.steps < s->rounds)
        return st;
    rk_model_initial_state(m, s->now->state);
    st = draw_summary(s, s->now->state, OF_RESULT, n, &tuned, err);
    if (st == RK_OK)
        st = draw_summary(s, s->now->first, OF_RESULT, n, &base, err);
    const double budget = x.tokens + (double)tuned.tokens;
    const int64_t votes = (int64_t)ceil(budget * (double)n / fmax((double)base.tokens, 1.0));
    if (st == RK_OK)
        st = draw_summary(s, s->now->first, OF_VOTING, votes, &voting, err);
    return st == RK_OK ? write_result(s, dir, &x, &tuned, &base, &voting, err) : st;
}

/* ---- the task ---- */

static rk_status attach(const rk_task *t, rk_model *m, rk_engine *e, rk_error *err)
{
    const test_time *s = of(t);
    drawing *d = s->now;
    rk_status st = rk_prober_open(&d->prober, &s->problems, &s->o, s->base, e, err);
    if (st != RK_OK)
        return st;
    d->model = m;
    d->state = malloc(rk_state_layout_bytes(&m->state, 0));
    d->first = malloc(rk_state_layout_bytes(&m->state, 0));
    if (!d->state || !d->first)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for a state");
    rk_model_initial_state(m, d->first);
    return rk_chains_new(&d->chains, &s->problems, s->o.chains, err);
}

static void close_task(rk_task *t)
{
    test_time *s = (test_time *)t;
    if (s->now) {
        rk_prober_close(s->now->prober);
        rk_chains_free(s->now->chains);
        free(s->now->state);
        free(s->now->first);
    }
    free(s->now);
    rk_problems_deinit(&s->problems);
    free(s->base);
    free(s);
}

static void describe(test_time *s)
{
    const int64_t n = s->problems.gen.n_tokens;
    s->task = (rk_task){.name = "test-time",
                        .fields = {[IDS] = {"ids", RK_I32, 1, {n}},
                                   [TARGETS] = {"targets", RK_I32, 1, {n}},
                                   [WEIGHT] = {"weight", RK_F32, 1, {n}},
                                   [SHARE] = {"share", RK_F32, 1, {n}},
                                   [FACTS] = {"facts", RK_F32, 1, {N_FACTS}}},
                        .n_fields = N_FIELDS,
                        .n_losses = 1,
                        .n_val = n_examples(s),
                        .unit = "chains",
                        .loss_unit = "a chain",
                        .metrics = {[RIGHT] = "right",
                                    [MAJORITY] = "majority",
                                    [REWARD] = "reward",
                                    [LENGTH] = "tokens_drawn"},
                        .n_metrics = N_FACTS,
                        .curve = "right",
                        .curve_unit = "share of right chains",
                        .example = example,
                        .held_out = held_out,
                        .losses = losses,
                        .attach = attach,
                        .save = save,
                        .close = close_task};
    snprintf(s->task.about, sizeof s->task.about, "%" PRId64 " problems of %.20s", s->problems.n,
             s->problems.gen.task);
}

static rk_status mix_judge(test_time *s, rk_error *err)
{
    rk_model *judge = NULL;
    if (!s->o.judge)
        return RK_OK;
    rk_status st = rk_model_open(&judge, s->o.judge, err);
    if (st == RK_OK)
        st = rk_base_mix(judge, &s->task.checksum, err);
    rk_model_close(judge);
    return st;
}

static rk_status open_problems(test_time *s, rk_run_params *p, rk_error *err)
{
    const rk_test_time_options *o = &p->test_time;
    s->o = *o;
    s->seed = p->model.seed;
    s->rounds = p->model.steps;
    s->now->step = -1;
    s->base = strdup(p->model.init_from);
    if (!s->base)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for the task test-time");
    const rk_status st = rk_problems_init(&s->problems, o->task, p->task_params, p->n_task_params,
                                          o->problems, s->seed, err);
    if (st != RK_OK)
        return st;
    describe(s);
    p->model.ctx_len = s->problems.gen.n_tokens;
    p->model.batch = n_examples(s);
    for (int64_t i = 0; i < s->problems.n * s->problems.gen.n_tokens; i++)
        s->task.checksum = s->task.checksum * 31 + (uint64_t)s->problems.ids[i];
    return mix_judge(s, err);
}

rk_status rk_test_time_open(rk_task **out, rk_run_params *p, const rk_model *base, rk_error *err)
{
    if (!base || !p->test_time.task)
        return rk_fail(err, RK_ERR_ARG,
                       "the task test-time has a model and problems: rwkv tune test-time -m MODEL "
                       "--task addition");
    test_time *s = calloc(1, sizeof *s);
    rk_status st = s && (s->now = calloc(1, sizeof *s->now))
                       ? open_problems(s, p, err)
                       : rk_fail(err, RK_ERR_NOMEM, "out of memory for the task test-time");
    if (st == RK_OK)
        *out = &s->task;
    else if (s)
        close_task(&s->task);
    return st;
}
