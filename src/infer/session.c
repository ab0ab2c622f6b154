/* session.c: streams of tokens through a model, each with its state.
 *
 * A session is a stream and a scheduler: its calls go through the model in pieces, so memory does
 * not grow with their length, and what a call changes counts when all of it has succeeded. A batch
 * is one call for each stream, all in the scheduler of the first. */
#include "infer/session.h"

#include <inttypes.h>
#include <stdlib.h>

#include "infer/engine.h"
#include "model/pack.h"

/* ---- made and freed ---- */

static rk_status session_init(rk_session *s, const rk_model *m, rk_engine *e, rk_error *err)
{
    const rk_status st = rk_stream_init(&s->stream, m, rk_engine_cache(e), err);
    return st == RK_OK ? rk_scheduler_init(&s->scheduler, m, e, err) : st;
}

/* For a model that is packed as far as it will be. */
static rk_status new_session(rk_session **out, const rk_model *m, rk_engine *e, rk_error *err)
{
    *out = NULL;
    rk_session *s = calloc(1, sizeof *s);
    if (!s)
        return rk_fail(err, RK_ERR_NOMEM, "session: out of memory");
    const rk_status st = session_init(s, m, e, err);
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

static rk_status probe(zeros *z, rk_engine *e, rk_error *err)
{
    enum { N_TOKENS = RK_SHORT_MAX };
    int32_t tokens[N_TOKENS];
    rk_session *s;
    rk_status st = new_session(&s, z->model, e, err);
    if (st != RK_OK)
        return st;
    for (int i = 0; i < N_TOKENS; i++) /* any will do */
        tokens[i] = (int32_t)((i * 7919 + 13) % z->model->hp.n_vocab);
    s->scheduler.ctx.observe = count_zeros;
    s->scheduler.ctx.observe_user = z;
    st = rk_session_eval_whole(s, tokens, N_TOKENS, err);
    rk_session_free(s);
    return st;
}

static rk_status pack_in_turn(const rk_model *m, rk_engine *e, zeros *z, rk_error *err)
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
    zeros z = {m, calloc((size_t)m->n_params, sizeof *z.shares)};
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
    rk_status st = rk_session_new(out, s->scheduler.model, s->scheduler.engine, err);
    if (st == RK_OK) {
        (*out)->stream.adapters = s->stream.adapters;
        (*out)->stream.adapters_key = s->stream.adapters_key;
        st = rk_state_copy((*out)->stream.state, s->stream.state, err);
    }
    if (st != RK_OK) {
        rk_session_free(*out);
        *out = NULL;
    }
    return st;
}

void rk_session_free(rk_session *s)
{
    if (!s)
        return;
    rk_scheduler_deinit(&s->scheduler);
    rk_stream_deinit(&s->stream);
    free(s);
}

void rk_session_reset(rk_session *s)
{
    rk_state_reset(s->stream.state);
}

/* ---- evaluating ---- */

static rk_status check_tokens(const rk_session *s, const int32_t *tokens, int64_t n, rk_error *err)
{
    const int64_t n_vocab = s->scheduler.model->hp.n_vocab;
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

/* What a call does is in `how`, all but its stream. */
static rk_status eval(rk_session *s, rk_call how, rk_error *err)
{
    rk_status st = check_tokens(s, how.tokens, how.n, err);
    if (st == RK_OK)
        st = rk_state_check_room(s->stream.state, how.n, err);
    if (st != RK_OK)
        return st;
    s->call = how;
    s->call.stream = &s->stream;
    return rk_scheduler_call(&s->scheduler, &s->call, err);
}

rk_status rk_session_eval_rows(rk_session *s, const int32_t *tokens, int64_t n, float *logits,
                               int64_t n_rows, rk_error *err)
{
    return eval(s, (rk_call){.tokens = tokens, .n = n, .logits = logits, .n_rows = n_rows}, err);
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
    return eval(s, (rk_call){.tokens = tokens, .n = n, .whole = true}, err);
}

static rk_status check_batch(rk_session *const *sessions, int64_t n, rk_error *err)
{
    const rk_scheduler *first = &sessions[0]->scheduler;
    for (int64_t i = 0; i < n; i++) {
        const rk_scheduler *own = &sessions[i]->scheduler;
        if (own->model != first->model || own->engine != first->engine)
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

/* All of them fit into one forward, so either each has read its token or none has. */
static rk_status run_batch(rk_session *const *sessions, int64_t n, const int32_t *tokens,
                           float *logits, rk_error *err)
{
    rk_scheduler *q = &sessions[0]->scheduler;
    for (int64_t i = 0; i < n; i++) {
        float *row = logits ? logits + i * q->model->hp.n_vocab : NULL;
        sessions[i]->call = (rk_call){.stream = &sessions[i]->stream,
                                      .tokens = tokens + i,
                                      .n = 1,
                                      .logits = row,
                                      .n_rows = 1};
        rk_scheduler_submit(q, &sessions[i]->call);
    }
    const rk_call *ended = rk_scheduler_run(q);
    if (ended->err.code != RK_OK && err)
        *err = ended->err;
    return ended->err.code;
}

rk_status rk_session_eval_batch(rk_session *const *sessions, int64_t n, const int32_t *tokens,
                                float *logits, rk_error *err)
{
    if (n < 1)
        return rk_fail(err, RK_ERR_ARG, "%" PRId64 " sessions, expected at least one", n);
    rk_scheduler *q = &sessions[0]->scheduler;
    rk_status st = check_batch(sessions, n, err);
    if (st == RK_OK)
        st = check_tokens(sessions[0], tokens, n, err);
    for (int64_t i = 0; i < n && st == RK_OK; i++)
        st = rk_state_check_room(sessions[i]->stream.state, 1, err);
    if (st == RK_OK && n > q->streams_max)
        st = rk_scheduler_reserve(q, n, 1, err);
    return st == RK_OK ? run_batch(sessions, n, tokens, logits, err) : st;
}

/* ---- states as bytes ---- */

size_t rk_session_state_bytes(const rk_session *s)
{
    return rk_state_bytes(s->stream.state);
}

rk_status rk_session_state_get(const rk_session *s, void *buf, size_t bytes, rk_error *err)
{
    const size_t want = rk_session_state_bytes(s);
    if (bytes != want)
        return rk_fail(err, RK_ERR_ARG, "a buffer of %zu bytes for a state of %zu", bytes, want);
    rk_state_get(s->stream.state, buf);
    return RK_OK;
}

rk_status rk_session_state_set(rk_session *s, const void *buf, size_t bytes, rk_error *err)
{
    return rk_state_set(s->stream.state, buf, bytes, err);
}
