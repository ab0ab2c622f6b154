/* eigen.h: symmetric matrices in double, row-major: eigenvalues, eigenvectors, and the singular values of
 * matrices from them. One thread and one order of sums: the same numbers on every machine that rounds as
 * IEEE 754 says. */
#ifndef RK_COMPRESS_EIGEN_H
#define RK_COMPRESS_EIGEN_H

#include <stdint.h>

#include "base/error.h"

/* A = V^T diag(values) V of a (n, n), of which all is read and which is overwritten: values (n) falling,
 * the rows of v (n, n) the vectors, the entry of largest magnitude of each, the first where there are
 * several, positive. v NULL: the values alone, in a fraction of the time.
 * Errors  RK_ERR_NUMERIC: a number is not finite; RK_ERR_NOMEM. */
rk_status rk_eigen(int64_t n, double *a, double *values, double *v, rk_error *err);

/* Singular values s (n) of a (m, n), falling, and the right vectors, the rows of vt (n, n), from the
 * eigenvectors of A^T A, whose condition is the square of A's. So small singular values are not exact,
 * but those here are the lengths of A v, and A v v^T over all of them is A whatever they are. vt NULL:
 * the values alone. Errors as above. */
rk_status rk_singular(int64_t m, int64_t n, const float *a, double *s, double *vt, rk_error *err);

#endif
