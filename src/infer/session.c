/* session.c: streams of tokens through a model, each with its recurrent state.
 *
 * A call goes through the model in chunks of 128 tokens, so its memory does not grow with its
 * length. Each session has two states: a call of several tokens reads the first one and leaves what
 * follows in the second, and they change places when the whole call has
 * succeeded, so an aborted call has changed nothing. A step, one token of a stream or of many, is
 * short: no abort stops it, and the first state alone is read and written. Scratch is a block whose
 * size comes from planning the same calls, so evaluating asks the system for nothing. */
#include "infer/session.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "infer/engine.h"
#include "model/pack.h"

enum { CHUNK = 128 }; /* tokens computed at once, a multiple of 64 */

/* ---- one chunk ---- */

/* Tokens (n_streams, n_tokens) of some streams, computed with the scratch of one session. */
typedef struct chunk {
    rk_session *owner;
    rk_session *const *streams;
    int64_t n_streams;
    const int32_t *tokens; /* NULL while planning */
    int64_t n_tokens;
    bool begins; /* of a call: the states are the streams' own */
    bool step;   /* and stay there: no abort, no second buffer */
} chunk;

/* The states that a chunk reads and leaves; NULL while planning and after a failure. */
static rk_states states_of(const chunk *c)
{
    rk_ctx *ctx = &c->owner->ctx;
    const size_t n = (size_t)c->n_streams;
    rk_state **p = c->streams ? rk_arena_alloc(&ctx->meta, 2 * n * sizeof *p) : NULL;
    if (!p) {
        if (c->streams)
            rk_ctx_fail(ctx, RK_ERR_NOMEM, "out of memory for %zu streams", n);
        return (rk_states){.n = c->n_streams};
    }
    for (size_t b = 0; b < n; b++) {
        const rk_session *s = c->streams[b];
        p[b] = c->begins ? s->state : s->next;
        p[n + b] = c->step ? s->state : s->next;
    }
    return (rk_states){c->n_streams, p, p + n};
}

/* Hidden rows (n_streams * n_tokens, C); NULL after a failure. */
static rk_tensor *forward(const chunk *c, const rk_states *states)
{
    rk_session *s = c->owner;
    const int64_t dims[2] = {c->n_streams, c->n_tokens};
    rk_forward f = {.in = {rk_new(&s->ctx, RK_I32, 2, dims)}, .state = s->parts};
    rk_states_gather(&s->ctx, s->model, states, s->parts);
    if (rk_ctx_failed(&s->ctx))
        return NULL;
    if (!s->ctx.planning)
        memcpy(f.in[0]->data, c->tokens, rk_tensor_bytes(f.in[0]));
    rk_tensor *hidden = rk_model_forward(&s->ctx, s->model, &f);
    const int64_t flat[2] = {c->n_streams * c->n_tokens, s->model->hp.n_embd};
    return rk_view(&s->ctx, hidden, 2, flat);
}

/* Scores of the last n_rows rows. */
static void head(rk_session *s, rk_tensor *hidden, int64_t n_rows, float *logits)
{
    const int64_t n = hidden->dims[0], dims[2] = {n_rows, s->model->hp.n_vocab};
    rk_tensor y = rk_tensor_over(RK_F32, 2, dims, logits);
    rk_tensor *rows = rk_slice(&s->ctx, hidden, 0, n - n_rows, n);
    rk_linear_into(&s->ctx, rows, rk_weight_of(s->model->head, RK_OUT_IN), &y);
}

/* Run a chunk; the scores of its last n_rows rows go to logits, NULL while planning. */
static rk_status run_chunk(const chunk *c, int64_t n_rows, float *logits, rk_error *err)
{
    rk_session *s = c->owner;
    rk_ctx_reset(&s->ctx);
    const rk_states states = states_of(c);
    rk_tensor *hidden = forward(c, &states);
    if (hidden && !s->ctx.planning)
        rk_states_scatter(s->model, &states, s->parts);
    if (hidden && n_rows > 0)
        head(s, hidden, n_rows, logits);
    return rk_ctx_status(&s->ctx, err);
}

/* The state before the call stays in `next` until another one begins. */
static void commit(rk_session *s)
{
    rk_state *const before = s->state;
    s->state = s->next;
    s->next = before;
}

/* ---- planning ---- */

/* The chunks that need most, each with the scores of all its rows. */
static rk_status plan_chunks(rk_session *s, int64_t n_streams, rk_error *err)
{
    const struct {
        int64_t n_streams, n_tokens;
        bool long_class;
    } shapes[] = {{1, CHUNK, true}, {1, RK_SHORT_MAX, false}, {n_streams, 1, false}};
    rk_status st = RK_OK;
    for (size_t i = 0; i < RK_COUNT(shapes) && st == RK_OK; i++) {
        const chunk c = {
            .owner = s, .n_streams = shapes[i].n_streams, .n_tokens = shapes[i].n_tokens};
        s->ctx.long_class = shapes[i].long_class;
        st = run_chunk(&c, c.n_streams * c.n_tokens, NULL, err);
    }
    return st;
}

/* Make the scratch large enough for n_streams. After a failure it is as it was. */
static rk_status plan(rk_session *s, int64_t n_streams, rk_error *err)
{
    const rk_arena held = s->ctx.data;
    rk_arena planned = {0};
    rk_status st = rk_arena_init(&s->ctx.data, RK_ARENA_COUNTING, 0, err);
    s->ctx.planning = true;
    if (st == RK_OK)
        st = plan_chunks(s, n_streams, err);
    const size_t bytes = s->ctx.data.peak;
    if (st == RK_OK)
        st = rk_arena_init(&planned, RK_ARENA_FIXED, bytes, err);
    s->ctx.data = held;
    s->ctx.planning = false;
    if (st != RK_OK)
        return st;
    rk_arena_deinit(&s->ctx.data);
    s->ctx.data = planned;
    s->batch_max = n_streams;
    return RK_OK;
}

/* ---- made and freed ---- */

static rk_status session_init(rk_session *s, rk_error *err)
{
    const rk_ctx_params p = {.kernels = rk_engine_kernels(s->engine),
                             .pool = rk_engine_pool(s->engine),
                             .dot8 = rk_engine_dot8(s->engine),
                             .abort = rk_engine_abort_flag(s->engine),
                             .data_kind = RK_ARENA_FIXED};
    rk_status st = rk_ctx_init(&s->ctx, &p, err);
    if (st == RK_OK)
        st = rk_state_new(&s->state, s->model, err);
    if (st == RK_OK)
        st = rk_state_new(&s->next, s->model, err);
    if (st != RK_OK)
        return st;
    s->parts = calloc((size_t)s->model->state.n_parts, sizeof(rk_tensor *));
    if (!s->parts)
        return rk_fail(err, RK_ERR_NOMEM, "session: out of memory");
    rk_state_reset(s->state);
    return plan(s, 1, err);
}

/* For a model that is packed as far as it will be. */
static rk_status new_session(rk_session **out, const rk_model *m, rk_engine *e, rk_error *err)
{
    *out = NULL;
    rk_session *s = calloc(1, sizeof *s);
    if (!s)
        return rk_fail(err, RK_ERR_NOMEM, "session: out of memory");
    s->model = m;
    s->engine = e;
    const rk_status st = session_init(s, err);
    if (st != RK_OK) {
        rk_session_free(s);
        return st;
    }
    *out = s;
    return RK_OK;
}

/* ---- packing a model (model/pack.h): a few tokens tell which matrices meet zeros ---- */

typedef struct zeros {
    const rk_model *model;
    double *shares; /* (n_params) */
} zeros;

static void count_zeros(void *user, const rk_tensor *w, const rk_tensor *x)
{
    const zeros *z = user;
    const int64_t n = rk_tensor_count(x);
    int64_t which = 0, count = 0;
    while (which < z->model->n_params && z->model->params[which].tensor.data != w->data)
        which++;
    if (which == z->model->n_params || !rk_model_pack_asks(z->model, which) || x->dtype != RK_F32)
        return;
    for (int64_t i = 0; i < n; i++)
        count += ((const float *)x->data)[i] == 0.0f;
    z->shares[which] = (double)count / (double)n;
}

static rk_status probe(const zeros *z, rk_engine *e, rk_error *err)
{
    enum { N_TOKENS = RK_SHORT_MAX };
    union {
        const zeros *in;
        void *user;
    } arg = {z};
    int32_t tokens[N_TOKENS];
    rk_session *s;
    rk_status st = new_session(&s, z->model, e, err);
    if (st != RK_OK)
        return st;
    for (int i = 0; i < N_TOKENS; i++) /* any will do */
        tokens[i] = (int32_t)((i * 7919 + 13) % z->model->hp.n_vocab);
    s->ctx.observe = count_zeros;
    s->ctx.observe_user = arg.user;
    st = rk_session_eval_whole(s, tokens, N_TOKENS, err);
    rk_session_free(s);
    return st;
}

static rk_status pack_in_turn(const rk_model *m, rk_engine *e, const zeros *z, rk_error *err)
{
    bool asks = false;
    rk_engine_lock(e);
    rk_status st = rk_model_pack(m, NULL, rk_engine_pool(e), err);
    rk_engine_unlock(e);
    for (int64_t i = 0; i < m->n_params && st == RK_OK; i++)
        asks = asks || rk_model_pack_asks(m, i);
    if (!asks)
        return st;
    st = probe(z, e, err);
    rk_engine_lock(e);
    if (st == RK_OK)
        st = rk_model_pack(m, z->shares, rk_engine_pool(e), err);
    rk_engine_unlock(e);
    return st;
}

static rk_status pack_model(const rk_model *m, rk_engine *e, rk_error *err)
{
    if (!rk_engine_dot8(e) || !rk_model_pack_begin(m))
        return RK_OK;
    const zeros z = {m, calloc((size_t)m->n_params, sizeof *z.shares)};
    const rk_status st = z.shares ? pack_in_turn(m, e, &z, err)
                                  : rk_fail(err, RK_ERR_NOMEM, "session: out of memory");
    free(z.shares);
    rk_model_pack_end(m, st == RK_OK);
    return st;
}

rk_status rk_session_new(rk_session **out, const rk_model *m, rk_engine *e, rk_error *err)
{
    *out = NULL;
    const rk_status st = pack_model(m, e, err);
    return st == RK_OK ? new_session(out, m, e, err) : st;
}

rk_status rk_session_clone(rk_session **out, const rk_session *s, rk_error *err)
{
    const rk_status st = rk_session_new(out, s->model, s->engine, err);
    if (st == RK_OK)
        rk_state_copy((*out)->state, s->state);
    return st;
}

void rk_session_free(rk_session *s)
{
    if (!s)
        return;
    rk_ctx_deinit(&s->ctx);
    rk_state_free(s->state);
    rk_state_free(s->next);
    free(s->parts);
    free(s);
}

void rk_session_reset(rk_session *s)
{
    rk_state_reset(s->state);
}

/* ---- evaluating ---- */

static rk_status check_tokens(const rk_session *s, const int32_t *tokens, int64_t n, rk_error *err)
{
    const int64_t n_vocab = s->model->hp.n_vocab;
    if (n < 1)
        return rk_fail(err, RK_ERR_ARG, "%" PRId64 " tokens, expected at least one", n);
    for (int64_t i = 0; i < n; i++)
        if (tokens[i] < 0 || tokens[i] >= n_vocab)
            return rk_fail(err, RK_ERR_ARG,
                           "token %" PRId64 " of %" PRId64 " is %" PRId32
                           ", expected 0 to %" PRId64,
                           i + 1, n, tokens[i], n_vocab - 1);
    return RK_OK;
}

/* Until resume_aborts, which takes what this returns, nothing stops what runs. */
static const atomic_int *hold_aborts(rk_ctx *ctx)
{
    const atomic_int *const abort = ctx->abort;
    ctx->abort = NULL;
    rk_pool_set_whole(ctx->pool, true);
    return abort;
}

static void resume_aborts(rk_ctx *ctx, const atomic_int *abort)
{
    rk_pool_set_whole(ctx->pool, false);
    ctx->abort = abort;
}

/* One token of each stream, if there is no abort yet. */
static rk_status run_step(const chunk *c, float *logits, rk_error *err)
{
    rk_ctx *ctx = &c->owner->ctx;
    if (ctx->abort && atomic_load_explicit(ctx->abort, memory_order_relaxed))
        return rk_fail(err, RK_ERR_ABORTED, "stopped on request");
    const atomic_int *const abort = hold_aborts(ctx);
    ctx->long_class = false;
    const rk_status st = run_chunk(c, logits ? c->n_streams : 0, logits, err);
    resume_aborts(ctx, abort);
    return st;
}

/* All chunks of a call; the scores of its last n_rows tokens go to logits. */
static rk_status run_chunks(rk_session *s, const int32_t *tokens, int64_t n, float *logits,
                            int64_t n_rows, rk_error *err)
{
    rk_status st = RK_OK;
    s->ctx.long_class = n > RK_SHORT_MAX;
    for (int64_t at = 0; at < n && st == RK_OK; at += CHUNK) {
        const chunk c = {.owner = s,
                         .streams = &s,
                         .n_streams = 1,
                         .tokens = tokens + at,
                         .n_tokens = rk_min_i64(CHUNK, n - at),
                         .begins = at == 0};
        const int64_t end = at + c.n_tokens, from = rk_max_i64(at, n - n_rows);
        const int64_t rows = rk_max_i64(0, end - from);
        st = run_chunk(&c, rows, logits, err);
        if (logits)
            logits += rows * s->model->hp.n_vocab;
    }
    if (st == RK_OK)
        commit(s);
    return st;
}

rk_status rk_session_eval_rows(rk_session *s, const int32_t *tokens, int64_t n, float *logits,
                               int64_t n_rows, rk_error *err)
{
    rk_status st = check_tokens(s, tokens, n, err);
    if (st != RK_OK)
        return st;
    rk_engine_lock(s->engine);
    if (n == 1)
        st = run_step(&(chunk){.owner = s,
                               .streams = &s,
                               .n_streams = 1,
                               .tokens = tokens,
                               .n_tokens = 1,
                               .begins = true,
                               .step = true},
                      logits, err);
    else
        st = run_chunks(s, tokens, n, logits, logits ? n_rows : 0, err);
    rk_engine_unlock(s->engine);
    return st;
}

rk_status rk_session_eval(rk_session *s, const int32_t *tokens, int64_t n, float *logits,
                          rk_error *err)
{
    return rk_session_eval_rows(s, tokens, n, logits, 1, err);
}

rk_status rk_session_eval_all(rk_session *s, const int32_t *tokens, int64_t n, float *logits,
                              rk_error *err)
{
    return rk_session_eval_rows(s, tokens, n, logits, n, err);
}

rk_status rk_session_eval_whole(rk_session *s, const int32_t *tokens, int64_t n, rk_error *err)
{
    rk_status st = check_tokens(s, tokens, n, err);
    if (st != RK_OK)
        return st;
    rk_engine_lock(s->engine);
    const atomic_int *const abort = hold_aborts(&s->ctx);
    st = run_chunks(s, tokens, n, NULL, 0, err);
    resume_aborts(&s->ctx, abort);
    rk_engine_unlock(s->engine);
    return st;
}

void rk_session_undo(rk_session *s)
{
    commit(s);
}

static rk_status check_batch(rk_session *const *sessions, int64_t n, rk_error *err)
{
    for (int64_t i = 0; i < n; i++) {
        if (sessions[i]->model != sessions[0]->model || sessions[i]->engine != sessions[0]->engine)
            return rk_fail(err, RK_ERR_ARG,
                           "session %" PRId64 " of the batch has another model or engine", i);
        for (int64_t j = 0; j < i; j++)
            if (sessions[i] == sessions[j])
                return rk_fail(err, RK_ERR_ARG,
                               "sessions %" PRId64 " and %" PRId64 " of the batch are the same", j,
                               i);
    }
    return RK_OK;
}

static rk_status run_batch(const chunk *c, float *logits, rk_error *err)
{
    rk_status st = RK_OK;
    rk_engine_lock(c->owner->engine);
    if (c->n_streams > c->owner->batch_max)
        st = plan(c->owner, c->n_streams, err);
    if (st == RK_OK)
        st = run_step(c, logits, err);
    rk_engine_unlock(c->owner->engine);
    return st;
}

rk_status rk_session_eval_batch(rk_session *const *sessions, int64_t n, const int32_t *tokens,
                                float *logits, rk_error *err)
{
    if (n < 1)
        return rk_fail(err, RK_ERR_ARG, "%" PRId64 " sessions, expected at least one", n);
    rk_status st = check_batch(sessions, n, err);
    if (st == RK_OK)
        st = check_tokens(sessions[0], tokens, n, err);
    if (st != RK_OK)
        return st;
    const chunk c = {.owner = sessions[0],
                     .streams = sessions,
                     .n_streams = n,
                     .tokens = tokens,
                     .n_tokens = 1,
                     .begins = true,
                     .step = true};
    return run_batch(&c, logits, err);
}

/* ---- states as bytes ---- */

static rk_status check_bytes(const rk_session *s, size_t bytes, rk_error *err)
{
    const size_t want = rk_state_bytes(s->state);
    if (bytes != want)
        return rk_fail(err, RK_ERR_ARG, "a buffer of %zu bytes for a state of %zu", bytes, want);
    return RK_OK;
}

rk_status rk_session_state_get(const rk_session *s, void *buf, size_t bytes, rk_error *err)
{
    const rk_status st = check_bytes(s, bytes, err);
    if (st == RK_OK)
        rk_state_get(s->state, buf);
    return st;
}

rk_status rk_session_state_set(rk_session *s, const void *buf, size_t bytes, rk_error *err)
{
    const rk_status st = check_bytes(s, bytes, err);
    if (st == RK_OK)
        rk_state_set(s->state, buf);
    return st;
}
