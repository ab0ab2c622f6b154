/* ridge.h: the matrix that leads from the features of values back to values. */
#ifndef RK_TUNE_RIDGE_H
#define RK_TUNE_RIDGE_H

#include <stdbool.h>
#include <stdint.h>

typedef struct rk_ridge {
    int64_t n, dim, m;    /* vectors, their size, features */
    const float *x;       /* (n, dim) */
    const float *support; /* (m, dim) */
    double scale, gamma;  /* of the features (kernels/ref/features.h); gamma < 0: phi itself */
} rk_ridge;

/* out (dim, m) = (sum x psi^T) (sum psi psi^T + lambda I)^-1 with psi = |x| hat(x), or phi(x) as it is
 * published, and lambda a thousandth of the mean of the diagonal. False: no memory, or no features. */
bool rk_ridge_solve(const rk_ridge *q, float *out);

#endif
