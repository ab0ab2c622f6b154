/* spans.c: a span is one word; tasks are taken from either end by compare-and-swap. The results of
 * tasks are published by the join of the pool (pool.h), so relaxed order is enough here. */
#include "spans.h"

#include "num.h"

static const uint64_t one = 1;

void rk_spans_fill(rk_span *spans, int n_spans, int n_filled, int64_t n)
{
    for (int i = 0; i < n_spans; i++) {
        const uint64_t lo = (uint64_t)(n * rk_min_i64(i, n_filled) / n_filled),
                       hi = (uint64_t)(n * rk_min_i64(i + 1, n_filled) / n_filled);
        atomic_store_explicit(&spans[i].left, hi << 32 | lo, memory_order_relaxed);
    }
}

/* Take the first task of a span, or its last. -1: the span is empty, and stays so. */
static int64_t take(rk_span *s, int from_the_back)
{
    uint64_t left = atomic_load_explicit(&s->left, memory_order_relaxed);
    for (;;) {
        const uint64_t lo = left & UINT32_MAX, hi = left >> 32;
        if (lo == hi)
            return -1;
        const uint64_t rest = from_the_back ? left - (one << 32) : left + 1;
        if (atomic_compare_exchange_weak_explicit(&s->left, &left, rest, memory_order_relaxed,
                                                  memory_order_relaxed))
            return (int64_t)(from_the_back ? hi - 1 : lo);
    }
}

int64_t rk_spans_take(rk_span *spans, int n_spans, int own)
{
    int64_t i = take(&spans[own], 0);
    for (int other = 1; i < 0; other++)
        i = take(&spans[(own + other) % n_spans], 1);
    return i;
}
