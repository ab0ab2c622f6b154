/* lapack.h: decompositions of dense matrices, by LAPACK. Matrices are row-major and of doubles.
 *
 * LAPACK is loaded by the first call that needs it: nothing else waits for it, and who never tunes
 * need not have it. Its results repeat on one machine with one library; another LAPACK rounds
 * differently. Every call
 * Errors  RK_ERR_UNSUPPORTED: no LAPACK here; RK_ERR_NUMERIC: it gave up, on numbers that are not
 *         finite or on a matrix that is singular; RK_ERR_NOMEM. */
#ifndef RK_TUNE_LAPACK_H
#define RK_TUNE_LAPACK_H

#include <stdint.h>

#include "base/error.h"

/* A = U diag(s) V^T of a (m, n), which is overwritten: u (m, k), s (k) falling, vt (k, n), where k is
 * the lesser of m and n. Signs as rk_svd_fix_signs has them. */
rk_status rk_svd(int64_t m, int64_t n, double *a, double *u, double *s, double *vt, rk_error *err);
/* The sign of a pair of singular vectors is free: the entry of largest magnitude of each of the k left
 * ones, the first where there are several, becomes positive. u (m, k), vt (k, n). */
void rk_svd_fix_signs(int64_t m, int64_t n, int64_t k, double *u, double *vt);
/* Replace a (m, n), n <= m, by columns that are orthonormal and span the same: the Q of A = Q R, with
 * signs by the same rule. */
rk_status rk_orthonormalise(int64_t m, int64_t n, double *a, rk_error *err);
/* Replace each row x of b (rows, n) by the y with y A = x; a (n, n) is overwritten. */
rk_status rk_solve_rows(int64_t n, double *a, int64_t rows, double *b, rk_error *err);

#endif
