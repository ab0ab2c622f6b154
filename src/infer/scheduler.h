/* scheduler.h: the calls of many streams, cut into pieces and put together into forwards.
 *
 * A call is tokens for one stream to read. It is cut into pieces of RK_PIECE tokens from its start
 * on, and a forward computes a piece of a call, or short calls of several streams together. So a
 * forward holds one class of docs/numerics.md, and every stream has the bits it would have alone,
 * whatever comes in between and beside it.
 *
 * Short and long forwards take turns where there are calls of both classes: a stream that waits for
 * a token waits for one piece of a prompt at most. Within a class the one that came first goes
 * first, and a call with more pieces waits behind the others after each.
 *
 * The engine is held for the length of a forward: schedulers of other threads, who may work with
 * the same model, come in between. */
#ifndef RK_INFER_SCHEDULER_H
#define RK_INFER_SCHEDULER_H

#include "infer/state.h"

enum {
    RK_SHORT_MAX = 16, /* tokens of a call of the short class, docs/numerics.md */
    RK_PIECE = 128,    /* tokens of a call computed at once, a multiple of 64, */
    RK_PIECE_LEAN = 64 /* and where memory is limited: half the scratch, the same bits */
};

/* What a call changes. A call of one token does so in place. One of several leaves what follows in
 * `next`, and the two change places when the whole call has succeeded: one that fails has changed
 * nothing, and one that succeeded can be taken back. */
typedef struct rk_stream {
    rk_state *state; /* after the last call that succeeded */
    rk_state *next;  /* being made; then the state before that call */
    /* What it computes with beside the model, by rk_weight.adapted_as; NULL: nothing. Borrowed. Adapters
     * of the same shapes have the same key. */
    const rk_adapter *const *adapters;
    uint64_t adapters_key;
} rk_stream;

/* cache: rk_engine_cache of the engine that computes it. */
rk_status rk_stream_init(rk_stream *s, const rk_model *m, rk_state_cache cache, rk_error *err);
void rk_stream_deinit(rk_stream *s);
/* Take back the call that succeeded last, of two tokens or more, with nothing done to the stream
 * since. Costs nothing. */
void rk_stream_undo(rk_stream *s);

typedef struct rk_call rk_call;
struct rk_call {
    rk_stream *stream;     /* in one call at a time */
    const int32_t *tokens; /* (n) n >= 1, ids below n_vocab */
    int64_t n;
    float *logits; /* (n_rows, n_vocab) after each of the last n_rows tokens; NULL: not needed */
    int64_t n_rows;
    bool whole; /* no abort stops it: for few tokens */
    /* Written by the scheduler: */
    int64_t n_done; /* tokens */
    rk_error err;   /* how it ended */
    rk_call *behind;
};

/* Calls in the order they came. */
typedef struct rk_line {
    rk_call *first, *last;
} rk_line;

enum { RK_PLANS_MAX = 8 };

typedef struct rk_scheduler {
    const rk_model *model;
    rk_engine *engine;
    int64_t piece;       /* tokens of a call that a forward computes */
    rk_ctx ctx;          /* scratch of a forward; its data arena is as large as planned */
    rk_tensor **parts;   /* the states of a forward */
    int64_t streams_max; /* short calls that share a forward, */
    int64_t tokens_max;  /* of so many tokens each at most: what the scratch is planned for */
    uint64_t plans
        [RK_PLANS_MAX]; /* forwards with adapters that the scratch is enough for, by checksum */
    int n_plans;        /* made so far; the last ones are kept */
    rk_line lines[2];   /* of the short class and of the long one */
    bool was_long;      /* the last forward */
    float *scores;      /* (n_scores, V) where callers want them in places far apart */
    int64_t n_scores;
} rk_scheduler;

/* With scratch for one stream. Both are borrowed. */
rk_status rk_scheduler_init(rk_scheduler *q, const rk_model *m, rk_engine *e, rk_error *err);
void rk_scheduler_deinit(rk_scheduler *q);
/* Let short calls of up to n_tokens (at most RK_SHORT_MAX) share forwards, n_streams of them at
 * most, with scratch for that. After a failure all is as it was. */
rk_status rk_scheduler_reserve(rk_scheduler *q, int64_t n_streams, int64_t n_tokens, rk_error *err);

/* Hand in a call, which is the scheduler's until run returns it. */
void rk_scheduler_submit(rk_scheduler *q, rk_call *c);
/* Compute one forward. Returns the calls that it ended, linked by `behind`, each with its status in
 * err.code; NULL when there is none, or there was nothing to do. Errors of a call
 *   RK_ERR_ABORTED: some of its logits may be written; RK_ERR_NOMEM. Its stream is as before. */
rk_call *rk_scheduler_run(rk_scheduler *q);
/* Take a call back that has not ended; its stream is as before. */
void rk_scheduler_withdraw(rk_scheduler *q, rk_call *c);
/* Submit one call and run it to its end, where there are no others. */
rk_status rk_scheduler_call(rk_scheduler *q, rk_call *c, rk_error *err);

#endif
