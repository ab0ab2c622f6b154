/* draws.c: uniform numbers, orders and choices from a counter. */
#include "train/synthetic/draws.h"

#include <stdbool.h>

int32_t rk_draw_below(rk_draws *d, int64_t n)
{
    return (int32_t)rk_rng_below(d->seed, d->stream, d->sample, d->n++, (uint64_t)n);
}

int64_t rk_draw_between(rk_draws *d, int64_t min, int64_t max)
{
    return min + rk_draw_below(d, max - min + 1);
}

double rk_draw_real(rk_draws *d)
{
    return rk_rng_f64(d->seed, d->stream, d->sample, d->n++);
}

void rk_draw_shuffle(rk_draws *d, int64_t n, int32_t *p)
{
    for (int64_t i = n - 1; i > 0; i--) {
        const int32_t j = rk_draw_below(d, i + 1), keep = p[i];
        p[i] = p[j];
        p[j] = keep;
    }
}

void rk_draw_permutation(rk_draws *d, int64_t n, int32_t *p)
{
    for (int64_t i = 0; i < n; i++)
        p[i] = (int32_t)i;
    rk_draw_shuffle(d, n, p);
}

static bool is_among(int32_t x, int64_t n, const int32_t *list)
{
    for (int64_t i = 0; i < n; i++)
        if (list[i] == x)
            return true;
    return false;
}

/* Floyd's choice of a set: the j-th step adds one of [0, j], or j where that is in already. The set's
 * order depends on what is in it, so it is shuffled. */
void rk_draw_distinct(rk_draws *d, int64_t n, int64_t k, int32_t *out)
{
    for (int64_t i = 0, j = n - k; i < k; i++, j++) {
        const int32_t x = rk_draw_below(d, j + 1);
        out[i] = is_among(x, i, out) ? (int32_t)j : x;
    }
    rk_draw_shuffle(d, k, out);
}
