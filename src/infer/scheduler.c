/* scheduler.c: which calls go into the next forward, and that forward.
 *
 * Only calls of the same class and length share one, because a forward is a rectangle (B, T) of
 * tokens: single tokens of many streams, or passes of as many draft tokens each. A piece of a
 * prompt is alone in its own: with 128 rows its products are bound by arithmetic, and others would
 * add nothing but scratch memory. That is allocated by planning the largest forwards, so computing
 * one allocates nothing. */
#include "infer/scheduler.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "infer/cluster_head.h"
#include "infer/engine.h"
#include "model/residence.h"

/* ---- streams ---- */

rk_status rk_stream_init(rk_stream *s, const rk_model *m, rk_state_cache cache, rk_error *err)
{
    *s = (rk_stream){0};
    rk_status st = rk_state_new(&s->state, m, err);
    if (st == RK_OK)
        st = rk_state_set_cache(s->state, &cache, err);
    if (st == RK_OK)
        st = rk_state_new(&s->next, m, err);
    if (st != RK_OK) {
        rk_stream_deinit(s);
        return st;
    }
    rk_state_reset(s->state);
    return RK_OK;
}

void rk_stream_deinit(rk_stream *s)
{
    rk_state_free(s->state);
    rk_state_free(s->next);
    *s = (rk_stream){0};
}

static void exchange(rk_stream *s)
{
    rk_state *const before = s->state;
    s->state = s->next;
    s->next = before;
}

void rk_stream_undo(rk_stream *s)
{
    exchange(s);
    rk_state_drop(s->next);
}

/* ---- lines ---- */

static void line_add(rk_line *l, rk_call *c)
{
    c->behind = NULL;
    if (l->last)
        l->last->behind = c;
    else
        l->first = c;
    l->last = c;
}

/* Take out the call behind `before`, which is NULL for the first one. */
static rk_call *line_take(rk_line *l, rk_call *before)
{
    rk_call *c = before ? before->behind : l->first;
    if (before)
        before->behind = c->behind;
    else
        l->first = c->behind;
    if (l->last == c)
        l->last = before;
    c->behind = NULL;
    return c;
}

static bool is_long(const rk_call *c)
{
    return c->n > RK_SHORT_MAX;
}

static rk_line *line_of(rk_scheduler *q, const rk_call *c)
{
    return &q->lines[is_long(c)];
}

void rk_scheduler_submit(rk_scheduler *q, rk_call *c)
{
    c->n_done = 0;
    c->err = (rk_error){0};
    line_add(line_of(q, c), c);
}

void rk_scheduler_withdraw(rk_scheduler *q, rk_call *c)
{
    rk_line *l = line_of(q, c);
    rk_call *before = NULL, *at = l->first;
    while (at != c) {
        before = at;
        at = at->behind;
    }
    line_take(l, before);
}

/* ---- what a forward computes ---- */

/* A piece of each of some calls. */
typedef struct piece {
    rk_line calls;     /* empty while planning */
    int64_t n_streams; /* how many */
    int64_t n_tokens;  /* of each */
    bool long_class;
    bool whole;
} piece;

static int64_t piece_tokens(const rk_scheduler *q, const rk_call *c)
{
    return rk_min_i64(q->piece, c->n - c->n_done);
}

/* May c join those of p? */
static bool fits(const rk_scheduler *q, const piece *p, const rk_call *c)
{
    return !p->long_class && p->n_streams < q->streams_max && p->n_tokens <= q->tokens_max &&
           piece_tokens(q, c) == p->n_tokens && c->whole == p->whole;
}

/* The next forward; without streams when nobody waits. */
static piece choose(rk_scheduler *q)
{
    const bool long_class = q->lines[!q->was_long].first ? !q->was_long : q->was_long;
    rk_line *l = &q->lines[long_class];
    piece p = {.long_class = long_class};
    rk_call *before = NULL, *c = l->first;
    if (c) {
        p.n_tokens = piece_tokens(q, c);
        p.whole = c->whole;
    }
    while (c) {
        rk_call *const behind = c->behind;
        if (p.n_streams == 0 || fits(q, &p, c)) {
            line_add(&p.calls, line_take(l, before));
            p.n_streams++;
        } else
            before = c;
        c = behind;
    }
    q->was_long = long_class;
    return p;
}

/* One token each: states are read and written where they are, and no abort comes between. */
static bool is_step(const piece *p)
{
    return p->n_tokens == 1 && !p->long_class;
}

/* ---- adapters ---- */

static bool has_adapters(const piece *p)
{
    for (const rk_call *c = p->calls.first; c; c = c->behind)
        if (c->stream->adapters)
            return true;
    return false;
}

/* Which rows have which adapters: `rows` of them are each call's (NULL: one), neighbours with the same
 * ones are taken together. NULL where there are none, and after a failure. */
static const struct rk_adapting *adapting_of(rk_scheduler *q, const piece *p,
                                             int64_t (*rows)(const piece *p, const rk_call *c))
{
    if (!has_adapters(p))
        return NULL;
    struct rk_adapting *all = rk_arena_alloc(&q->ctx.meta, sizeof *all);
    rk_adapted_rows *at = rk_arena_alloc(&q->ctx.meta, (size_t)p->n_streams * sizeof *at);
    if (!all || !at) {
        rk_ctx_fail(&q->ctx, RK_ERR_NOMEM, "out of memory for %" PRId64 " streams", p->n_streams);
        return NULL;
    }
    *all = (struct rk_adapting){.rows = at};
    for (const rk_call *c = p->calls.first; c; c = c->behind) {
        const int64_t lo = all->n_streams, n = rows ? rows(p, c) : 1;
        all->n_streams += n;
        if (!c->stream->adapters || n == 0)
            continue;
        if (all->n > 0 && at[all->n - 1].of == c->stream->adapters && at[all->n - 1].hi == lo)
            at[all->n - 1].hi = lo + n;
        else
            at[all->n++] = (rk_adapted_rows){c->stream->adapters, lo, lo + n};
    }
    return all;
}

/* ---- scores ---- */

/* How many of the piece's tokens c wants the scores after; they are its last ones. */
static int64_t rows_wanted(const piece *p, const rk_call *c)
{
    const int64_t end = c->n_done + p->n_tokens;
    return c->logits ? rk_max_i64(0, end - rk_max_i64(c->n_done, c->n - c->n_rows)) : 0;
}

/* Where they go. */
static float *rows_place(const rk_scheduler *q, const piece *p, const rk_call *c)
{
    const int64_t from = c->n_done + p->n_tokens - rows_wanted(p, c);
    return c->logits + (from - (c->n - c->n_rows)) * q->model->hp.n_vocab;
}

/* Where those of all calls go if that is one place; else NULL. */
static float *common_place(const rk_scheduler *q, const piece *p)
{
    float *first = NULL, *end = NULL;
    for (const rk_call *c = p->calls.first; c; c = c->behind) {
        const int64_t n = rows_wanted(p, c);
        if (n == 0)
            continue;
        float *at = rows_place(q, p, c);
        if (first && at != end)
            return NULL;
        first = first ? first : at;
        end = at + n * q->model->hp.n_vocab;
    }
    return first;
}

/* Memory for n_rows rows of scores that have no common place; NULL after a failure. */
static float *own_place(rk_scheduler *q, int64_t n_rows)
{
    if (n_rows > q->n_scores) {
        free(q->scores);
        q->scores = malloc((size_t)(n_rows * q->model->hp.n_vocab) * sizeof *q->scores);
        q->n_scores = q->scores ? n_rows : 0;
        if (!q->scores)
            rk_ctx_fail(&q->ctx, RK_ERR_NOMEM, "out of memory for %" PRId64 " rows of scores",
                        n_rows);
    }
    return q->scores;
}

static void hand_out(const rk_scheduler *q, const piece *p, const float *scores)
{
    for (const rk_call *c = p->calls.first; c; c = c->behind) {
        const int64_t n = rows_wanted(p, c) * q->model->hp.n_vocab;
        if (n > 0)
            memcpy(rows_place(q, p, c), scores, (size_t)n * sizeof *scores);
        scores += n;
    }
}

/* Of hidden (n_streams * n_tokens, C) the n_rows rows that are wanted. */
static rk_tensor *wanted(rk_scheduler *q, const piece *p, rk_tensor *hidden, int64_t n_rows)
{
    const int64_t n = hidden->dims[0], dims[2] = {n_rows, hidden->dims[1]};
    if (n_rows == n || p->n_streams == 1)
        return rk_slice(&q->ctx, hidden, 0, n - n_rows, n);
    rk_tensor *rows = rk_new(&q->ctx, hidden->dtype, 2, dims);
    const size_t row_bytes = rk_dtype_bytes(hidden->dtype) * (size_t)dims[1];
    unsigned char *to = rows ? rows->data : NULL, *from = hidden->data;
    for (const rk_call *c = p->calls.first; to && c; c = c->behind) {
        const size_t bytes = (size_t)rows_wanted(p, c) * row_bytes;
        from += (size_t)p->n_tokens * row_bytes;
        memcpy(to, from - bytes, bytes);
        to += bytes;
    }
    return rows;
}

/* Scores of n_rows rows into y (n_rows, V), NULL while planning. */
static void head(rk_scheduler *q, rk_tensor *rows, int64_t n_rows, float *y)
{
    const int64_t dims[2] = {n_rows, q->model->hp.n_vocab};
    rk_tensor out = rk_tensor_over(RK_F32, 2, dims, y);
    if (q->model->clusters)
        rk_cluster_head(&q->ctx, q->model, rows, y);
    else
        rk_model_head_into(&q->ctx, q->model, rows, &out);
}

static void score(rk_scheduler *q, const piece *p, rk_tensor *hidden)
{
    int64_t n_rows = 0;
    for (const rk_call *c = p->calls.first; c; c = c->behind)
        n_rows += rows_wanted(p, c);
    if (n_rows == 0)
        return;
    float *const common = common_place(q, p);
    float *const y = common ? common : own_place(q, n_rows);
    if (!y)
        return;
    rk_tensor *rows = wanted(q, p, hidden, n_rows);
    q->ctx.adapting = adapting_of(q, p, rows_wanted);
    head(q, rows, n_rows, y);
    if (!common && !rk_ctx_failed(&q->ctx))
        hand_out(q, p, y);
}

/* ---- a forward ---- */

/* The states that a piece reads and leaves; NULL while planning and after a failure. */
static rk_states states_of(rk_scheduler *q, const piece *p)
{
    const size_t n = (size_t)p->n_streams;
    rk_states s = {.n = p->n_streams, .n_tokens = p->n_tokens};
    rk_state **at = q->ctx.planning ? NULL : rk_arena_alloc(&q->ctx.meta, 2 * n * sizeof *at);
    if (!at && !q->ctx.planning)
        rk_ctx_fail(&q->ctx, RK_ERR_NOMEM, "out of memory for %zu streams", n);
    if (!at)
        return s;
    s.before = at;
    s.after = at + n;
    for (const rk_call *c = p->calls.first; c; c = c->behind, at++) {
        at[0] = c->n_done == 0 ? c->stream->state : c->stream->next;
        at[n] = is_step(p) ? c->stream->state : c->stream->next;
    }
    return s;
}

static void put_tokens(const piece *p, rk_tensor *ids)
{
    int32_t *to = ids->data;
    for (const rk_call *c = p->calls.first; c; c = c->behind, to += p->n_tokens)
        memcpy(to, c->tokens + c->n_done, (size_t)p->n_tokens * sizeof *to);
}

/* Hidden rows (n_streams * n_tokens, C), and the states behind them; NULL after a failure. */
static rk_tensor *hidden_rows(rk_scheduler *q, const piece *p)
{
    rk_ctx *ctx = &q->ctx;
    const int64_t dims[2] = {p->n_streams, p->n_tokens};
    const int64_t flat[2] = {p->n_streams * p->n_tokens, q->model->hp.n_embd};
    const rk_states states = states_of(q, p);
    rk_forward f = {.in = {rk_new(ctx, RK_I32, 2, dims)}, .state = q->parts};
    ctx->adapting = adapting_of(q, p, NULL);
    rk_states_gather(ctx, q->model, &states, q->parts);
    if (rk_ctx_failed(ctx))
        return NULL;
    if (!ctx->planning)
        put_tokens(p, f.in[0]);
    rk_tensor *hidden = rk_view(ctx, rk_model_forward(ctx, q->model, &f), 2, flat);
    if (hidden && !ctx->planning)
        rk_states_scatter(q->model, &states, q->parts);
    return hidden;
}

/* ---- planning ---- */

/* A forward with the scores of all its rows, while planning. */
static rk_status plan_forward(rk_scheduler *q, const piece *p, rk_error *err)
{
    rk_ctx_reset(&q->ctx);
    q->ctx.long_class = p->long_class;
    rk_tensor *hidden = hidden_rows(q, p);
    if (hidden && p->n_streams > 1)
        hidden = rk_new_like(&q->ctx, hidden); /* as `wanted` may */
    if (hidden)
        head(q, hidden, p->n_streams * p->n_tokens, NULL);
    return rk_ctx_status(&q->ctx, err);
}

/* Scratch for all of these forwards, and for what it was enough for before if `keep` is set. After a
 * failure all is as it was. */
static rk_status plan(rk_scheduler *q, const piece *p, size_t n, bool keep, rk_error *err)
{
    rk_ctx *ctx = &q->ctx;
    const rk_arena held = ctx->data;
    rk_arena planned = {0};
    rk_status st = rk_arena_init(&ctx->data, RK_ARENA_COUNTING, 0, err);
    ctx->planning = true;
    for (size_t i = 0; i < n && st == RK_OK; i++)
        st = plan_forward(q, &p[i], err);
    const size_t bytes = ctx->data.peak;
    const bool enough = keep && bytes <= held.size;
    if (st == RK_OK && !enough)
        st = rk_arena_init(&planned, RK_ARENA_FIXED, bytes, err);
    ctx->data = held;
    ctx->planning = false;
    if (st != RK_OK || enough)
        return st;
    rk_arena_deinit(&ctx->data);
    ctx->data = planned;
    return RK_OK;
}

rk_status rk_scheduler_reserve(rk_scheduler *q, int64_t n_streams, int64_t n_tokens, rk_error *err)
{
    const piece largest[] = {
        {.n_streams = 1, .n_tokens = q->piece, .long_class = true},
        {.n_streams = 1, .n_tokens = RK_SHORT_MAX},
        {.n_streams = n_streams, .n_tokens = n_tokens},
    };
    const rk_status st = plan(q, largest, RK_COUNT(largest), false, err);
    if (st != RK_OK)
        return st;
    q->streams_max = n_streams;
    q->tokens_max = n_tokens;
    q->n_plans = 0;
    return RK_OK;
}

/* Of what a forward with adapters takes its memory from. */
static uint64_t plan_key(const piece *p)
{
    uint64_t key = (uint64_t)p->n_tokens * 2 + p->long_class;
    for (const rk_call *c = p->calls.first; c; c = c->behind)
        key = (key ^ c->stream->adapters_key) * 0x9e3779b97f4a7c15u + 1;
    return key;
}

/* Adapters take scratch that only the forward at hand tells. */
static rk_status plan_adapters(rk_scheduler *q, const piece *p, rk_error *err)
{
    if (!has_adapters(p))
        return RK_OK;
    const uint64_t key = plan_key(p);
    for (int i = 0; i < q->n_plans && i < RK_PLANS_MAX; i++)
        if (q->plans[i] == key)
            return RK_OK;
    const rk_status st = plan(q, p, 1, true, err);
    if (st == RK_OK)
        q->plans[q->n_plans++ % RK_PLANS_MAX] = key;
    return st;
}

/* ---- computing ---- */

static bool is_aborted(const rk_ctx *ctx)
{
    return ctx->abort && atomic_load_explicit(ctx->abort, memory_order_relaxed);
}

/* With the engine held. What must not be stopped is not, and neither is a step once it began. */
static rk_status compute(rk_scheduler *q, const piece *p, rk_error *err)
{
    rk_ctx *ctx = &q->ctx;
    const atomic_int *const abort = ctx->abort;
    const bool whole = p->whole || is_step(p);
    if (!p->whole && is_aborted(ctx))
        return rk_fail(err, RK_ERR_ABORTED, "stopped on request");
    if (plan_adapters(q, p, err) != RK_OK)
        return RK_ERR_NOMEM;
    rk_ctx_reset(ctx);
    ctx->long_class = p->long_class;
    if (whole) {
        ctx->abort = NULL;
        rk_pool_set_whole(ctx->pool, true);
    }
    rk_tensor *hidden = hidden_rows(q, p);
    if (hidden)
        score(q, p, hidden);
    if (whole) {
        rk_pool_set_whole(ctx->pool, false);
        ctx->abort = abort;
    }
    return rk_ctx_status(ctx, err);
}

/* After a forward: a call whose tokens are all done ends, one that failed too, others wait. */
static rk_call *settle(rk_scheduler *q, piece *p, const rk_error *err)
{
    rk_line ended = {0};
    while (p->calls.first) {
        rk_call *c = line_take(&p->calls, NULL);
        c->err = *err;
        c->n_done += err->code == RK_OK ? p->n_tokens : 0;
        if (err->code == RK_OK && c->n_done < c->n) {
            line_add(line_of(q, c), c);
            continue;
        }
        if (err->code == RK_OK && !is_step(p))
            exchange(c->stream);
        line_add(&ended, c);
    }
    return ended.first;
}

rk_call *rk_scheduler_run(rk_scheduler *q)
{
    rk_error err = {0};
    piece p = choose(q);
    if (p.n_streams == 0)
        return NULL;
    rk_engine_lock(q->engine);
    compute(q, &p, &err);
    rk_engine_unlock(q->engine);
    return settle(q, &p, &err);
}

rk_status rk_scheduler_call(rk_scheduler *q, rk_call *c, rk_error *err)
{
    rk_scheduler_submit(q, c);
    while (!rk_scheduler_run(q))
        ;
    if (c->err.code != RK_OK && err)
        *err = c->err;
    return c->err.code;
}

/* ---- made and freed ---- */

rk_status rk_scheduler_init(rk_scheduler *q, const rk_model *m, rk_engine *e, rk_error *err)
{
    const rk_ctx_params p = {.kernels = rk_engine_kernels(e),
                             .pool = rk_engine_pool(e),
                             .dot8 = rk_engine_dot8(e),
                             .abort = rk_engine_abort_flag(e),
                             .data_kind = RK_ARENA_FIXED};
    *q = (rk_scheduler){.model = m,
                        .engine = e,
                        .piece = m->residence ? RK_PIECE_LEAN : RK_PIECE,
                        .was_long = true};
    rk_status st = rk_ctx_init(&q->ctx, &p, err);
    if (st != RK_OK)
        return st;
    q->parts = calloc((size_t)m->state.n_parts, sizeof *q->parts);
    st = q->parts ? rk_scheduler_reserve(q, 1, 1, err)
                  : rk_fail(err, RK_ERR_NOMEM, "session: out of memory");
    if (st != RK_OK)
        rk_scheduler_deinit(q);
    return st;
}

void rk_scheduler_deinit(rk_scheduler *q)
{
    if (q->model)
        rk_ctx_deinit(&q->ctx);
    free(q->parts);
    free(q->scores);
    *q = (rk_scheduler){0};
}
