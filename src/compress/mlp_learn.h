/* mlp_learn.h: how predictor A of a layer learns (tensor/sparse_mix.h). */
#ifndef RK_COMPRESS_MLP_LEARN_H
#define RK_COMPRESS_MLP_LEARN_H

#include "base/pool.h"
#include "kernels/kernels.h"

typedef struct rk_mlp_lesson {
    int64_t n, c, f, h;
    const float *x, *z; /* (n, c), (n, f): neuron f of row i is active where z is above 0 */
    float *fc1, *fc2;   /* (h, c), (f, h): the result */
    int64_t steps;
    uint64_t seed;
    int64_t
        index; /* of the first of the two tensors, which keys its initial values; the other's is the next */
} rk_mlp_lesson;

/* Weighted cross-entropy over all rows, so that the active and the others count alike; Adam from Xavier's uniform
 * start. The same for any number of threads.
 * Errors  RK_ERR_NOMEM. */
rk_status rk_mlp_learn(const rk_mlp_lesson *l, const rk_kernels *kern, rk_pool *pool,
                       rk_error *err);
/* scores (n, f) = M2 relu(M1 x); hidden (n, h). */
rk_status rk_mlp_scores(const rk_mlp_lesson *l, const rk_kernels *kern, rk_pool *pool,
                        float *hidden, float *scores, rk_error *err);

#endif
