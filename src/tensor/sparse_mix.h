/* sparse_mix.h: a channel mix W_v relu(W_k x)^2 of which only neurons that are likely to be active are read
 * (RWKV-Lite, arXiv 2412.10856).
 *
 * Neuron f has a record, its row of W_k and its column of W_v. Two predictors say which neurons a token needs:
 *   A  sigmoid(M2 relu(M1 x))_f > theta
 *   B  the round((1 - p) F) largest of z~, the product with a copy of W_k in few bits; ties by number
 * Active is what either says, token by token; without predictors all are. Then only the records of active
 * neurons are looked at: z = W_k[f] . x, and where z > 0, z^2 W_v[f] is added, in the order of neurons. */
#ifndef RK_SPARSE_MIX_H
#define RK_SPARSE_MIX_H

#include "io/row_cache.h"
#include "tensor/ctx.h"

struct rk_sparse_mix {
    rk_tensor *records; /* (F, 2, C) of any floating type */
    rk_tensor *limits;  /* (2): theta, p */
    /* B: bit i of plane b stands for s_b or -s_b of weight i, whose sum over b and the offset is the
     * weight. (bits, F, ceil(C / 8)) in u8, (bits, F), (F); NULL: there is none. */
    rk_tensor *planes, *plane_scale, *plane_offset;
    rk_tensor *fc1, *fc2; /* A: M1 (h, C), M2 (F, h) of any floating type; NULL: there is none */
    /* What comes through a cache is not mapped, and ranges give the pages of this file back; NULL: records
     * are used where they lie, and stay. */
    rk_row_cache *cache;
    const rk_map *map;
};
typedef struct rk_sparse_mix rk_sparse_mix;

/* The mix of x (..., C): (..., C). factor (..., F): what z^2 of each neuron is multiplied with, token by token;
 * NULL: nothing. Every row has the bits that it has alone, in each class. It has no gradient. */
rk_tensor *rk_sparse_mix_forward(rk_ctx *ctx, const rk_sparse_mix *m, rk_tensor *x,
                                 rk_tensor *factor);

/* ---- records: the only place that knows where they lie ---- */

/* Whoever fetches does so between these two. */
void rk_records_begin(const rk_sparse_mix *m);
void rk_records_end(const rk_sparse_mix *m);
/* at[i] = record list[i] of the first *n_found of n neurons: all of them where no cache is in between, else as
 * many as it holds, 1 at least. They stay until the next fetch.
 * Errors  those of rk_row_cache_fetch. */
rk_status rk_records_fetch(const rk_sparse_mix *m, rk_pool *pool, const int32_t *list, int64_t n,
                           const void **at, int64_t *n_found, rk_error *err);
/* Records [lo, lo + n), one behind the other; when they have been used, and those behind them are next. */
const void *rk_records_range(const rk_sparse_mix *m, int64_t lo, int64_t n);
void rk_records_used(const rk_sparse_mix *m, int64_t lo, int64_t n);

/* ---- what predictors compute, for those who make and judge them ---- */

/* z~ (n) of neurons [lo, lo + n) for x (C). */
void rk_sparse_mix_guess(const rk_kernels *kern, const rk_sparse_mix *m, const float *x, int64_t lo,
                         int64_t n, float *z);
/* How many neurons B keeps. */
int64_t rk_sparse_mix_kept(const rk_sparse_mix *m);
/* list: the active neurons, rising, of z~ (F) and A's M2 relu(M1 x) (F), each NULL where there is no such
 * predictor; returns their number. */
int64_t rk_sparse_mix_select(const rk_sparse_mix *m, const float *guess, const float *mlp,
                             int32_t *list);

#endif
