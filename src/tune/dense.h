/* dense.h: small dense systems in double, row-major: what the features of a kernel path need. */
#ifndef RK_TUNE_DENSE_H
#define RK_TUNE_DENSE_H

#include <stdbool.h>
#include <stdint.h>

/* a (n, n), symmetric and positive definite, becomes its Cholesky factor L in its lower triangle. False:
 * it is not positive definite. */
bool rk_dense_factor(int64_t n, double *a);
/* x (n) becomes A^-1 x, of the factor of A. */
void rk_dense_solve(int64_t n, const double *factor, double *x);
/* a (n, n) becomes its inverse; work (n, n). False: it is singular. */
bool rk_dense_invert(int64_t n, double *a, double *work);

#endif
