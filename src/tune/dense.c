/* dense.c: Cholesky and Gauss-Jordan for matrices of a few hundred rows. */
#include "tune/dense.h"

#include <math.h>
#include <string.h>

bool rk_dense_factor(int64_t n, double *a)
{
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j <= i; j++) {
            double s = a[i * n + j];
            for (int64_t k = 0; k < j; k++)
                s -= a[i * n + k] * a[j * n + k];
            if (i == j && !(s > 0.0))
                return false;
            a[i * n + j] = i == j ? sqrt(s) : s / a[j * n + j];
        }
    return true;
}

void rk_dense_solve(int64_t n, const double *factor, double *x)
{
    for (int64_t i = 0; i < n; i++) {
        for (int64_t k = 0; k < i; k++)
            x[i] -= factor[i * n + k] * x[k];
        x[i] /= factor[i * n + i];
    }
    for (int64_t i = n - 1; i >= 0; i--) {
        for (int64_t k = i + 1; k < n; k++)
            x[i] -= factor[k * n + i] * x[k];
        x[i] /= factor[i * n + i];
    }
}

static int64_t pivot_of(int64_t n, const double *a, int64_t col)
{
    int64_t best = col;
    for (int64_t i = col + 1; i < n; i++)
        if (fabs(a[i * n + col]) > fabs(a[best * n + col]))
            best = i;
    return best;
}

static void exchange_rows(int64_t n, double *a, int64_t i, int64_t j)
{
    for (int64_t c = 0; i != j && c < n; c++) {
        const double x = a[i * n + c];
        a[i * n + c] = a[j * n + c];
        a[j * n + c] = x;
    }
}

/* Row i -= factor times row `from`, of both matrices. */
static void subtract_row(int64_t n, double *a, double *b, int64_t i, int64_t from, double factor)
{
    for (int64_t c = 0; c < n; c++) {
        a[i * n + c] -= factor * a[from * n + c];
        b[i * n + c] -= factor * b[from * n + c];
    }
}

bool rk_dense_invert(int64_t n, double *a, double *work)
{
    memset(work, 0, (size_t)(n * n) * sizeof *work);
    for (int64_t i = 0; i < n; i++)
        work[i * n + i] = 1.0;
    for (int64_t col = 0; col < n; col++) {
        const int64_t pivot = pivot_of(n, a, col);
        const double x = a[pivot * n + col];
        if (x == 0.0 || !isfinite(x))
            return false;
        exchange_rows(n, a, pivot, col);
        exchange_rows(n, work, pivot, col);
        for (int64_t c = 0; c < n; c++) {
            a[col * n + c] /= x;
            work[col * n + c] /= x;
        }
        for (int64_t i = 0; i < n; i++)
            if (i != col)
                subtract_row(n, a, work, i, col, a[i * n + col]);
    }
    memcpy(a, work, (size_t)(n * n) * sizeof *a);
    return true;
}
