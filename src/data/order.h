/* order.h: which part of the data comes when: pure functions of its number.
 *
 * The default visits every window of a grid of ctx_len once in an epoch, in a pseudo-random order, and
 * each epoch shifts the grid by another random phase, so that a token meets every position of a window
 * in the end. Against starts drawn independently this leaves nothing unseen in the first epochs
 * (drawing with replacement misses 37 % in one epoch and 14 % in two), which is where small runs live;
 * against the cubic order of BlinkDL/RWKV-LM it needs no prime and moves the grid. */
#ifndef RK_DATA_ORDER_H
#define RK_DATA_ORDER_H

#include "base/error.h"

/* Where x in [0, n) goes in the order of this epoch, n > 0: a permutation. */
uint64_t rk_order_permute(uint64_t seed, uint64_t epoch, uint64_t n, uint64_t x);
/* First token of window `index` in a stream of n tokens, n > ctx_len. */
int64_t rk_order_shuffle(uint64_t seed, int64_t n, int64_t ctx_len, uint64_t index);

/* The order of BlinkDL/RWKV-LM: window i is block (factor i^3 mod prime), i from 1, which meets every
 * block once in prime windows. */
typedef struct rk_cubic {
    int64_t prime, factor;
} rk_cubic;
/* The largest prime p with p mod 3 = 2 and p < n / ctx_len - 1.
 * Errors  RK_ERR_ARG: none reaches 0.9 of the blocks that there are. */
rk_status rk_cubic_init(rk_cubic *c, int64_t n, int64_t ctx_len, rk_error *err);
int64_t rk_cubic_window(const rk_cubic *c, int64_t ctx_len, uint64_t index);

/* Which of several sources an example comes from, and its number there. Sources take turns as evenly as
 * their shares allow: after k examples each has had its share of them, up to one for each source. */
enum { RK_MIXTURE_MAX = 64 };
typedef struct rk_mixture {
    int n;
    uint64_t share[RK_MIXTURE_MAX]; /* of what the sources from this one on get, in 2^-32 */
} rk_mixture;
/* n positive weights. */
void rk_mixture_init(rk_mixture *m, const double *weights, int n);
int rk_mixture_pick(const rk_mixture *m, uint64_t index, uint64_t *number);

#endif
