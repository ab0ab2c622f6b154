/* test_time.c: drawing chains and judging them.
 *
 * A chain is what the model says behind a problem's prompt until the token that answers end with, or until
 * there is no room. All chains of a problem are read together, one token of each at a time. */
#include "train/test_time.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "base/random.h"
#include "format/format.h"
#include "infer/session.h"
#include "train/task.h"

/* ---- problems ---- */

static bool find_answer(rk_problems *p, int64_t i)
{
    const int64_t n = p->gen.n_tokens;
    const int32_t *targets = p->targets + i * n;
    int64_t first = 0, last = n - 1;
    while (first < n && targets[first] == RK_NO_TARGET)
        first++;
    while (last > first && targets[last] == RK_NO_TARGET)
        last--;
    p->first[i] = first;
    p->last[i] = last;
    for (int64_t at = first; at <= last && at < n; at++)
        if (targets[at] == RK_NO_TARGET)
            return false;
    return first < n;
}

/* Where answers end with one token, that ends a chain; else their common length does. */
static bool find_end(rk_problems *p)
{
    bool same_end = true, same_length = true;
    const int64_t n = p->gen.n_tokens;
    p->end = p->targets[p->last[0]];
    for (int64_t i = 0; i < p->n; i++) {
        same_end = same_end && p->targets[i * n + p->last[i]] == p->end;
        same_length = same_length && p->last[i] - p->first[i] == p->last[0] - p->first[0];
        for (int64_t at = p->first[i]; at < p->last[i]; at++)
            same_end = same_end && p->targets[i * n + at] != p->end;
    }
    p->end = same_end ? p->end : RK_NO_TARGET;
    return same_end || same_length;
}

static rk_status fill(rk_problems *p, uint64_t seed, rk_error *err)
{
    const int64_t n = p->gen.n_tokens;
    int32_t *kinds = calloc((size_t)n, sizeof *kinds);
    int32_t *scratch = calloc((size_t)rk_max_i64(p->gen.n_scratch, 1), sizeof *scratch);
    bool fits = kinds && scratch && p->gen.gen->next;
    for (int64_t i = 0; fits && i < p->n; i++) {
        rk_syn_sample x = {.ids = p->ids + i * n,
                           .targets = p->targets + i * n,
                           .kinds = kinds,
                           .scratch = scratch};
        rk_synthetic_sample(&p->gen, seed, RK_SYN_EVAL, (uint64_t)i, &x);
        fits = find_answer(p, i);
    }
    const bool memory = kinds && scratch;
    free(kinds);
    free(scratch);
    if (!memory)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for problems");
    return fits && find_end(p) ? RK_OK
                               : rk_fail(err, RK_ERR_ARG,
                                         "the samples of the task %s are no prompt with an answer "
                                         "behind it, as those of addition, copy, sort, reverse",
                                         p->gen.task);
}

rk_status rk_problems_init(rk_problems *p, const char *task, const rk_size *params,
                           int64_t n_params, int64_t n, uint64_t seed, rk_error *err)
{
    const rk_task_kind *kind = NULL;
    *p = (rk_problems){.n = n};
    rk_status st = rk_task_choose(&kind, task, err);
    if (st == RK_OK && !kind->generator)
        st = rk_fail(err, RK_ERR_ARG, "the task %s draws no problems", task);
    if (st == RK_OK)
        st = rk_synthetic_init(&p->gen, kind->name, kind->generator, params, n_params, err);
    if (st != RK_OK)
        return st;
    const size_t all = (size_t)(n * p->gen.n_tokens);
    p->ids = calloc(all, sizeof *p->ids);
    p->targets = calloc(all, sizeof *p->targets);
    p->first = calloc((size_t)n, sizeof *p->first);
    p->last = calloc((size_t)n, sizeof *p->last);
    st = p->ids && p->targets && p->first && p->last
             ? fill(p, seed, err)
             : rk_fail(err, RK_ERR_NOMEM, "out of memory for problems");
    if (st != RK_OK)
        rk_problems_deinit(p);
    return st;
}

void rk_problems_deinit(rk_problems *p)
{
    free(p->ids);
    free(p->targets);
    free(p->first);
    free(p->last);
    *p = (rk_problems){.n = 0};
}

/* ---- chains ---- */

rk_status rk_chains_new(rk_chain **out, const rk_problems *p, int64_t n, rk_error *err)
{
    const int64_t all = p->n * n;
    rk_chain *c = calloc((size_t)all, sizeof *c);
    int32_t *targets = malloc((size_t)(all * p->gen.n_tokens) * sizeof *targets);
    if (!c || !targets) {
        free(c);
        free(targets);
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for %" PRId64 " chains", all);
    }
    for (int64_t i = 0; i < all; i++)
        c[i].targets = targets + i * p->gen.n_tokens;
    *out = c;
    return RK_OK;
}

void rk_chains_free(rk_chain *chains)
{
    if (chains)
        free(chains[0].targets);
    free(chains);
}

/* Do two chains of problem i say the same? */
static bool same_answer(const rk_problems *p, const rk_chain *a, const rk_chain *b)
{
    return a->answered && b->answered && a->n == b->n &&
           !memcmp(a->targets, b->targets, (size_t)p->gen.n_tokens * sizeof *a->targets);
}

/* Is what most of the n chains say right? Those without an answer have no vote; of equal numbers the answer
 * that came first wins. */
static bool vote(const rk_problems *p, const rk_chain *chains, int64_t n)
{
    int64_t most = 0;
    bool right = false;
    for (int64_t i = 0; i < n; i++) {
        int64_t votes = 0;
        for (int64_t k = 0; k < n; k++)
            votes += same_answer(p, &chains[i], &chains[k]);
        if (votes > most) {
            most = votes;
            right = chains[i].right;
        }
    }
    return right;
}

/* Advantages over the chains of the same problem. */
static void compare(const rk_problems *p, rk_chain *chains, int64_t n)
{
    double mean = 0.0, square = 0.0;
    const double majority = vote(p, chains, n) ? 1.0 : 0.0;
    for (int64_t i = 0; i < n; i++)
        mean += chains[i].reward / (double)n;
    for (int64_t i = 0; i < n; i++)
        square += pow(chains[i].reward - mean, 2) / (double)n;
    for (int64_t i = 0; i < n; i++) {
        chains[i].advantage = (chains[i].reward - mean) / (sqrt(square) + 1e-4);
        chains[i].majority = majority;
    }
}

/* ---- the models ---- */

struct rk_prober {
    const rk_problems *problems;
    rk_test_time_options o;
    rk_engine *engine;
    rk_model *model, *judge;
    rk_session *judging;
    rk_session **sessions, **running; /* (n_sessions) */
    int64_t n_sessions;
    float *logits;   /* (n_sessions, V), or (n_tokens, V) of the judge */
    int32_t *tokens; /* (n_sessions) that go on */
    int64_t *which;  /* (n_sessions) the chain of each that goes on */
    int32_t *text;   /* (n_tokens) */
    size_t state_bytes;
};

static rk_status open_judge(rk_prober *p, rk_error *err)
{
    if (!p->o.judge)
        return RK_OK;
    rk_status st = rk_model_open(&p->judge, p->o.judge, err);
    if (st == RK_OK && p->judge->hp.n_vocab != p->model->hp.n_vocab)
        st =
            rk_fail(err, RK_ERR_ARG, "%s has %" PRId64 " tokens, the model that it judges %" PRId64,
                    p->o.judge, p->judge->hp.n_vocab, p->model->hp.n_vocab);
    return st == RK_OK ? rk_session_new(&p->judging, p->judge, p->engine, err) : st;
}

static rk_status open_models(rk_prober *p, const char *model, rk_error *err)
{
    const rk_synthetic *gen = &p->problems->gen;
    rk_status st = rk_model_open(&p->model, model, err);
    if (st == RK_OK && p->model->hp.n_vocab < gen->n_vocab)
        st = rk_fail(err, RK_ERR_ARG, "%s has %" PRId64 " tokens, the task %s has %" PRId64, model,
                     p->model->hp.n_vocab, gen->task, gen->n_vocab);
    if (st == RK_OK)
        st = open_judge(p, err);
    if (st != RK_OK)
        return st;
    p->state_bytes = rk_state_layout_bytes(&p->model->state, 0);
    p->text = calloc((size_t)gen->n_tokens + 1, sizeof *p->text);
    return p->text ? RK_OK : rk_fail(err, RK_ERR_NOMEM, "out of memory for a chain");
}

rk_status rk_prober_open(rk_prober **out, const rk_problems *problems,
                         const rk_test_time_options *o, const char *model, rk_engine *e,
                         rk_error *err)
{
    rk_prober *p = calloc(1, sizeof *p);
    if (!p)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for drawing chains");
    p->problems = problems;
    p->o = *o;
    p->engine = e;
    const rk_status st = open_models(p, model, err);
    if (st == RK_OK)
        *out = p;
    else
        rk_prober_close(p);
    return st;
}

static void free_sessions(rk_prober *p)
{
    for (int64_t i = 0; p->sessions && i < p->n_sessions; i++)
        rk_session_free(p->sessions[i]);
    free(p->sessions);
    free(p->running);
    free(p->logits);
    free(p->tokens);
    free(p->which);
    p->n_sessions = 0;
    p->sessions = p->running = NULL;
    p->logits = NULL;
    p->tokens = NULL;
    p->which = NULL;
}

void rk_prober_close(rk_prober *p)
{
    if (!p)
        return;
    free_sessions(p);
    rk_session_free(p->judging);
    rk_model_close(p->judge);
    rk_model_close(p->model);
    free(p->text);
    free(p);
}

/* Room for n chains beside each other. */
static rk_status take_sessions(rk_prober *p, int64_t n, rk_error *err)
{
    if (p->n_sessions == n)
        return RK_OK;
    free_sessions(p);
    const int64_t rows = rk_max_i64(n, p->problems->gen.n_tokens);
    p->sessions = calloc((size_t)n, sizeof *p->sessions);
    p->running = calloc((size_t)n, sizeof *p->running);
    p->logits = calloc((size_t)(rows * p->model->hp.n_vocab), sizeof *p->logits);
    p->tokens = calloc((size_t)n, sizeof *p->tokens);
    p->which = calloc((size_t)n, sizeof *p->which);
    p->n_sessions = n;
    if (!p->sessions || !p->running || !p->logits || !p->tokens || !p->which)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for %" PRId64 " chains", n);
    rk_status st = RK_OK;
    for (int64_t i = 0; i < n && st == RK_OK; i++)
        st = rk_session_new(&p->sessions[i], p->model, p->engine, err);
    return st;
}

/* ---- drawing ---- */

/* A token of softmax(scores / temp), u uniform in [0, 1); of temp 0 the likeliest. */
static int32_t draw(const float *scores, int64_t n, double temp, double u)
{
    int64_t best = 0;
    double total = 0.0;
    for (int64_t i = 1; i < n; i++)
        best = scores[i] > scores[best] ? i : best;
    for (int64_t i = 0; temp > 0.0 && i < n; i++)
        total += exp(((double)scores[i] - (double)scores[best]) / temp);
    double left = u * total;
    for (int64_t i = 0; temp > 0.0 && i < n; i++) {
        left -= exp(((double)scores[i] - (double)scores[best]) / temp);
        if (left < 0.0)
            return (int32_t)i;
    }
    return (int32_t)best;
}

/* The prompt of problem i into all sessions. */
static rk_status read_prompt(rk_prober *p, int64_t i, const void *state, rk_error *err)
{
    const rk_problems *q = p->problems;
    const int64_t n_vocab = p->model->hp.n_vocab;
    void *after = malloc(p->state_bytes);
    rk_status st = after ? rk_session_state_set(p->sessions[0], state, p->state_bytes, err)
                         : rk_fail(err, RK_ERR_NOMEM, "out of memory for a state");
    if (st == RK_OK)
        st = rk_session_eval(p->sessions[0], q->ids + i * q->gen.n_tokens, q->first[i] + 1,
                             p->logits, err);
    if (st == RK_OK)
        st = rk_session_state_get(p->sessions[0], after, p->state_bytes, err);
    for (int64_t k = 1; k < p->n_sessions && st == RK_OK; k++) {
        memcpy(p->logits + k * n_vocab, p->logits, (size_t)n_vocab * sizeof *p->logits);
        st = rk_session_state_set(p->sessions[k], after, p->state_bytes, err);
    }
    free(after);
    return st;
}

/* Tokens that a chain of problem i has room for. */
static int64_t room_of(const rk_prober *p, int64_t i)
{
    const rk_problems *q = p->problems;
    const int64_t room =
        q->end == RK_NO_TARGET ? q->last[i] - q->first[i] + 1 : q->gen.n_tokens - q->first[i];
    return rk_min_i64(room, p->o.max_tokens);
}

/* Put a token behind a chain; false: it has come to its end. */
static bool extend(const rk_prober *p, int64_t i, rk_chain *c, int32_t token)
{
    const rk_problems *q = p->problems;
    c->targets[q->first[i] + c->n++] = token;
    c->answered = q->end == RK_NO_TARGET ? c->n == q->last[i] - q->first[i] + 1 : token == q->end;
    return !c->answered && c->n < room_of(p, i);
}

/* The chains of problem i, whose first has number `first` among all. */
static rk_status draw_problem(rk_prober *p, int64_t i, uint64_t seed, uint64_t stream, int64_t n,
                              uint64_t first, rk_chain *chains, rk_error *err)
{
    const int64_t n_vocab = p->model->hp.n_vocab;
    int64_t going = n;
    rk_status st = RK_OK;
    for (int64_t k = 0; k < n; k++) {
        p->which[k] = k;
        chains[k].n = 0;
        chains[k].answered = false;
        for (int64_t at = 0; at < p->problems->gen.n_tokens; at++)
            chains[k].targets[at] = RK_NO_TARGET;
    }
    while (st == RK_OK && going > 0) {
        const int64_t before = going;
        going = 0;
        for (int64_t r = 0; r < before; r++) {
            const int64_t k = p->which[r];
            rk_chain *c = &chains[k];
            const double u = rk_rng_f64(seed, RK_RNG_CHAIN, stream << 32 | (first + (uint64_t)k),
                                        (uint64_t)c->n);
            const int32_t token = draw(p->logits + r * n_vocab, n_vocab, p->o.temp, u);
            if (!extend(p, i, c, token))
                continue;
            p->tokens[going] = token;
            p->running[going] = p->sessions[k];
            p->which[going++] = k;
        }
        if (going > 0)
            st = rk_session_eval_batch(p->running, going, p->tokens, p->logits, err);
    }
    return st;
}

/* ---- rewards ---- */

static bool is_right(const rk_problems *q, int64_t i, const rk_chain *c)
{
    const int64_t n = q->last[i] - q->first[i] + 1, at = q->first[i];
    return c->answered && c->n == n &&
           !memcmp(c->targets + at, q->targets + i * q->gen.n_tokens + at,
                   (size_t)n * sizeof *c->targets);
}

/* The mean log-probability of a chain's tokens under the judge. */
static rk_status judge(rk_prober *p, int64_t i, const rk_chain *c, double *mean, rk_error *err)
{
    const rk_problems *q = p->problems;
    const int64_t n_prompt = q->first[i] + 1, n_vocab = p->judge->hp.n_vocab;
    memcpy(p->text, q->ids + i * q->gen.n_tokens, (size_t)n_prompt * sizeof *p->text);
    memcpy(p->text + n_prompt, c->targets + q->first[i], (size_t)c->n * sizeof *p->text);
    rk_session_reset(p->judging);
    const rk_status st =
        rk_session_eval_all(p->judging, p->text, n_prompt + c->n - 1, p->logits, err);
    *mean = 0.0;
    for (int64_t k = 0; k < c->n && st == RK_OK; k++)
        *mean +=
            rk_logprob(p->logits + (n_prompt - 1 + k) * n_vocab, n_vocab, p->text[n_prompt + k]) /
            (double)c->n;
    return st;
}

static rk_status reward(rk_prober *p, int64_t i, rk_chain *c, rk_error *err)
{
    double mean = 0.0;
    c->right = is_right(p->problems, i, c);
    c->reward = (p->o.verifier && c->right ? 1.0 : 0.0) - (c->answered ? 0.0 : 0.1);
    if (!p->judge)
        return RK_OK;
    const rk_status st = judge(p, i, c, &mean, err);
    c->reward += 0.5 * fmax(fmin(mean, 0.0), -4.0) / 4.0 + 0.5;
    return st;
}

rk_status rk_prober_draw(rk_prober *p, const void *state, uint64_t seed, uint64_t stream, int64_t n,
                         rk_chain *chains, rk_error *err)
{
    rk_status st = take_sessions(p, n, err);
    for (int64_t i = 0; i < p->problems->n && st == RK_OK; i++) {
        rk_chain *of_problem = chains + i * n;
        st = read_prompt(p, i, state, err);
        if (st == RK_OK)
            st = draw_problem(p, i, seed, stream, n, (uint64_t)(i * n), of_problem, err);
        for (int64_t k = 0; k < n && st == RK_OK; k++)
            st = reward(p, i, &of_problem[k], err);
        if (st == RK_OK)
            compare(p->problems, of_problem, n);
    }
    return st;
}
