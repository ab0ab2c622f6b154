/* spans.h: tasks shared out so that each thread goes through a span of its own from front to back.
 * Neighbouring tasks mostly lie side by side in memory, so what a thread's core asks for ahead is
 * what it needs next. A thread that is through takes from the back of another's span, so nobody
 * waits for one that lost its core. */
#ifndef RK_BASE_SPANS_H
#define RK_BASE_SPANS_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/* Tasks [low half, high half) that nobody has taken; on a cache line of its own. */
typedef struct rk_span {
    _Alignas(64) _Atomic(uint64_t) left;
} rk_span;

/* n tasks, at most 2^32 - 1, to the first n_filled spans, of about the same length; the other spans
 * stay empty. Not while somebody takes. */
void rk_spans_fill(rk_span *spans, int n_spans, int n_filled, int64_t n);
/* The task that thread `own` does next. Called once for every task, by whichever thread. */
int64_t rk_spans_take(rk_span *spans, int n_spans, int own);

#endif
