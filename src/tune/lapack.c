/* lapack.c: LAPACK through its C interface, loaded at run time.
 *
 * Linked, it would be loaded by every command: with OpenBLAS in the place of the reference libraries
 * a start of `rwkv` takes three times as long, and every process has its threads.
 *
 * LAPACK's matrices are column-major, so it sees the transpose of ours: A^T = V diag(s) U^T needs no
 * copy, and neither does solving for rows. */
#include "tune/lapack.h"

#include <dlfcn.h>
#include <lapacke.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"

static const char library[] = "liblapacke.so.3";

typedef union routine {
    void *symbol;
    __typeof__(&LAPACKE_dgesdd) dgesdd;
    __typeof__(&LAPACKE_dgeqrf) dgeqrf;
    __typeof__(&LAPACKE_dorgqr) dorgqr;
    __typeof__(&LAPACKE_dgesv) dgesv;
} routine;

/* It stays loaded: OpenBLAS has threads of its own, below which it is not to be unmapped. */
static rk_status find(routine *out, const char *name, rk_error *err)
{
    void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    out->symbol = handle ? dlsym(handle, name) : NULL;
    const bool found = out->symbol;
    if (handle)
        dlclose(handle);
    return found ? RK_OK
                 : rk_fail(err, RK_ERR_UNSUPPORTED,
                           "this needs LAPACK, and there is no %s here with %s (Debian: "
                           "apt-get install liblapacke)",
                           library, name);
}

/* LAPACK need not end on numbers that are not finite. */
static rk_status check(int64_t n, const double *a, rk_error *err)
{
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(a[i]))
            return rk_fail(err, RK_ERR_NUMERIC, "a matrix holds a number that is not finite");
    return RK_OK;
}

static rk_status result(lapack_int info, const char *what, rk_error *err)
{
    if (info == 0)
        return RK_OK;
    if (info == LAPACK_WORK_MEMORY_ERROR || info == LAPACK_TRANSPOSE_MEMORY_ERROR)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for %s", what);
    return rk_fail(err, RK_ERR_NUMERIC, "%s failed: the matrix is singular", what);
}

/* ---- singular values ---- */

static void negate(int64_t n, double *x, int64_t stride)
{
    for (int64_t i = 0; i < n; i++)
        x[i * stride] = -x[i * stride];
}

/* Is the entry of largest magnitude of a column (m) negative? */
static bool points_down(int64_t m, const double *x, int64_t stride)
{
    double largest = 0.0;
    for (int64_t i = 0; i < m; i++)
        if (fabs(x[i * stride]) > fabs(largest))
            largest = x[i * stride];
    return largest < 0.0;
}

void rk_svd_fix_signs(int64_t m, int64_t n, int64_t k, double *u, double *vt)
{
    for (int64_t j = 0; j < k; j++)
        if (points_down(m, u + j, k)) {
            negate(m, u + j, k);
            negate(n, vt + j * n, 1);
        }
}

rk_status rk_svd(int64_t m, int64_t n, double *a, double *u, double *s, double *vt, rk_error *err)
{
    routine r;
    const lapack_int rows = (lapack_int)n, cols = (lapack_int)m;
    const lapack_int k = (lapack_int)rk_min_i64(m, n);
    rk_status st = find(&r, "LAPACKE_dgesdd", err);
    if (st == RK_OK)
        st = check(m * n, a, err);
    if (st == RK_OK)
        st = result(r.dgesdd(LAPACK_COL_MAJOR, 'S', rows, cols, a, rows, s, vt, rows, u, k),
                    "a singular value decomposition", err);
    if (st == RK_OK)
        rk_svd_fix_signs(m, n, k, u, vt);
    return st;
}

/* ---- orthonormal columns ---- */

static void transpose(int64_t rows, int64_t cols, const double *a, double *out)
{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++)
            out[j * rows + i] = a[i * cols + j];
}

/* at (n, m): the transpose; LAPACK sees A itself. */
static rk_status qr(int64_t m, int64_t n, double *at, double *tau, rk_error *err)
{
    routine factor, form;
    const lapack_int rows = (lapack_int)m, cols = (lapack_int)n;
    const char *const what = "a QR decomposition";
    rk_status st = find(&factor, "LAPACKE_dgeqrf", err);
    if (st == RK_OK)
        st = find(&form, "LAPACKE_dorgqr", err);
    if (st == RK_OK)
        st = result(factor.dgeqrf(LAPACK_COL_MAJOR, rows, cols, at, rows, tau), what, err);
    if (st == RK_OK)
        st = result(form.dorgqr(LAPACK_COL_MAJOR, rows, cols, cols, at, rows, tau), what, err);
    return st;
}

rk_status rk_orthonormalise(int64_t m, int64_t n, double *a, rk_error *err)
{
    double *at = malloc((size_t)(m * n) * sizeof *at), *tau = malloc((size_t)n * sizeof *tau);
    rk_status st = at && tau ? RK_OK : rk_fail(err, RK_ERR_NOMEM, "out of memory for a basis");
    if (st == RK_OK)
        st = check(m * n, a, err);
    if (st == RK_OK) {
        transpose(m, n, a, at);
        st = qr(m, n, at, tau, err);
    }
    for (int64_t j = 0; j < n && st == RK_OK; j++)
        if (points_down(m, at + j * m, 1))
            negate(m, at + j * m, 1);
    if (st == RK_OK)
        transpose(n, m, at, a);
    free(tau);
    free(at);
    return st;
}

/* ---- linear equations ---- */

rk_status rk_solve_rows(int64_t n, double *a, int64_t rows, double *b, rk_error *err)
{
    routine r;
    const lapack_int order = (lapack_int)n;
    lapack_int *pivots = malloc((size_t)n * sizeof *pivots);
    rk_status st = pivots ? find(&r, "LAPACKE_dgesv", err)
                          : rk_fail(err, RK_ERR_NOMEM, "out of memory for linear equations");
    if (st == RK_OK)
        st = check(n * n, a, err);
    if (st == RK_OK)
        st = check(rows * n, b, err);
    if (st == RK_OK)
        st = result(r.dgesv(LAPACK_COL_MAJOR, order, (lapack_int)rows, a, order, pivots, b, order),
                    "solving linear equations", err);
    free(pivots);
    return st;
}
