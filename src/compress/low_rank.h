/* low_rank.h: models with low-rank pairs in the place of their square matrices (model/pair.h), and with whole
 * matrices again. */
#ifndef RK_COMPRESS_LOW_RANK_H
#define RK_COMPRESS_LOW_RANK_H

#include "base/pool.h"
#include "base/progress.h"
#include "model/model.h"

typedef struct rk_low_rank_options {
    int64_t rank; /* of all pairs; 0: as share says */
    /* Of each kind the least rank at which the largest singular values of every matrix are this share of the
     * sum of all. */
    double share;
    rk_pool *pool;
    rk_progress_fn *progress; /* matrices, of all; may be NULL */
    void *progress_user;
    rk_abort_fn *abort; /* may be NULL */
    void *abort_user;
} rk_low_rank_options;

/* A model like host whose square matrices of the kinds of pair.h are plain pairs, the best ones of their rank:
 * W = U S V^T becomes W2 W1 with W1 = sqrt(S_R) V_R^T, W2 = U_R sqrt(S_R). All other tensors stay the
 * host's, which outlives the model; closed by rk_remade_close. *error is |W - W2 W1| over all matrices,
 * of |W|. The same for any number of threads.
 * Errors  RK_ERR_UNSUPPORTED: the host has no such matrices, or pairs already; RK_ERR_ARG: the rank;
 *         RK_ERR_NUMERIC: a matrix is not finite; RK_ERR_ABORTED; RK_ERR_NOMEM. */
rk_status rk_low_rank_new(rk_model **out, const rk_model *host, const rk_low_rank_options *o,
                          double *error, rk_error *err);

/* The reverse: the whole matrices W2 W1 of made, from the plain pairs of host, where it has some. */
rk_status rk_low_rank_multiply(rk_model *made, const rk_model *host, rk_pool *pool, rk_error *err);

#endif
