/* draws.h: the random numbers of one sample, drawn one after the other. They are a pure function of
 * (seed, stream, number of the sample), so that any sample can be made alone. */
#ifndef RK_SYNTHETIC_DRAWS_H
#define RK_SYNTHETIC_DRAWS_H

#include "base/random.h"

typedef struct rk_draws {
    uint64_t seed;
    rk_purpose stream;
    uint64_t sample; /* below 2^56 */
    uint64_t n;      /* made so far */
} rk_draws;

/* Uniform in [0, n), n > 0. */
int32_t rk_draw_below(rk_draws *d, int64_t n);
/* Uniform in [min, max]. */
int64_t rk_draw_between(rk_draws *d, int64_t min, int64_t max);
/* Uniform in [0, 1). */
double rk_draw_real(rk_draws *d);
/* Put p (n) in random order. */
void rk_draw_shuffle(rk_draws *d, int64_t n, int32_t *p);
/* A random order of 0 .. n - 1. */
void rk_draw_permutation(rk_draws *d, int64_t n, int32_t *p);
/* k different numbers of [0, n), k <= n, in random order. O(k^2). */
void rk_draw_distinct(rk_draws *d, int64_t n, int64_t k, int32_t *out);

#endif
