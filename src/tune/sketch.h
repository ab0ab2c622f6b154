/* sketch.h: the largest singular values of a matrix from its products with a few random vectors
 * (Halko, Martinsson, Tropp, "Finding structure with randomness", 2011). */
#ifndef RK_TUNE_SKETCH_H
#define RK_TUNE_SKETCH_H

#include "base/pool.h"
#include "kernels/kernels.h"

typedef struct rk_svd_job {
    int64_t rows, cols;
    const float *a; /* (rows, cols) */
    int64_t q;      /* singular values that are asked for, at most the lesser of rows and cols */
    bool exact;     /* the decomposition itself; else a sketch: */
    int64_t width;  /* of so many vectors, at least q */
    int niter;      /* after so many power iterations */
    uint64_t seed;
    int64_t index; /* keys the draws, with seed */
    const rk_kernels *kernels;
    rk_pool *pool;
} rk_svd_job;

/* u (rows, q), s (q) falling, vt (q, cols); signs as rk_svd_fix_signs has them.
 * Errors  those of lapack.h. */
rk_status rk_svd_largest(const rk_svd_job *j, float *u, double *s, float *vt, rk_error *err);

/* c (m, n) = a b by the packed product, or a^T b; b (k, n).
 * Errors  RK_ERR_NOMEM. */
rk_status rk_sketch_product(const rk_kernels *kernels, rk_pool *pool, bool transposed, int64_t m,
                            int64_t n, int64_t k, const float *a, const float *b, float *c,
                            rk_error *err);
/* Orthonormalise the columns of a (rows, cols) in doubles. */
rk_status rk_sketch_basis(int64_t rows, int64_t cols, float *a, rk_error *err);

#endif
