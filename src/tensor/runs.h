/* runs.h: sequences that begin inside a row of a batch (rk_ctx.begins).
 *
 * A row that holds several documents is computed run by run, each from the state that the row was given,
 * so that no document sees another. Recurrences keep their state every RK_WKV_SEGMENT tokens for the
 * backward pass, in slot t / RK_WKV_SEGMENT of the row for a segment that begins at t. A run that begins
 * anew has its first segment apart: another run may begin in that slot, and the state is the one that was
 * given, for which there is a slot behind the others. */
#ifndef RK_TENSOR_RUNS_H
#define RK_TENSOR_RUNS_H

#include "base/num.h"
#include "tensor/ctx.h"

/* Tokens [first, first + n) of a row. */
typedef struct rk_run {
    int64_t first, n;
    bool anew; /* from the state that the row was given; else from that of the token before */
} rk_run;

/* Where sequences begin among the `steps` tokens of row b; NULL: nowhere but at the row's. */
const int32_t *rk_begins_of(const rk_ctx *ctx, int64_t b, int64_t steps);

/* The first token behind `from` and before `to` that begins a sequence; `to` where none does. */
static inline int64_t rk_sequence_end(const int32_t *begins, int64_t from, int64_t to)
{
    int64_t t = from + 1;
    while (t < to && !(begins && begins[t]))
        t++;
    return t;
}

/* The piece of a run that begins at token `from`, or that ends before token `to`. False when there is
 * none. */
bool rk_run_from(const int32_t *begins, int64_t steps, int64_t from, rk_run *r);
bool rk_run_before(const int32_t *begins, int64_t to, rk_run *r);

/* Slots of a row of `steps` tokens, and that of the state before a piece. */
static inline int64_t rk_run_slots(const rk_ctx *ctx, int64_t steps)
{
    return rk_ceil_div(steps, RK_WKV_SEGMENT) + (ctx->begins != NULL);
}
static inline int64_t rk_run_slot(const rk_run *r, int64_t slots)
{
    return r->anew ? slots - 1 : r->first / RK_WKV_SEGMENT;
}

#endif
