/* decorrelate.c: one step of the rule. The authors' code has R diag(v) where the rule is diag(v) R. */
#include "tune/decorrelate.h"

#include <string.h>

#include "tune/dense.h"

/* sums becomes D; returns the mean square of the correlations. */
static double make_d(const rk_decorrelation *d, double *sums, int64_t n)
{
    double square = 0;
    for (int64_t i = 0; i < d->m; i++)
        for (int64_t j = 0; j < d->m; j++) {
            double *x = &sums[i * d->m + j];
            *x /= (double)n;
            square += i == j ? 0 : *x * *x;
            *x = i == j ? d->kappa * (*x - 1.0) : (1.0 - d->kappa) * *x;
        }
    return square / (double)(d->m * d->m);
}

/* r <- a r. */
static void multiply(int64_t m, const double *a, double *work, float *r)
{
    memset(work, 0, (size_t)(m * m) * sizeof *work);
    for (int64_t i = 0; i < m; i++)
        for (int64_t k = 0; k < m; k++)
            for (int64_t j = 0; j < m; j++)
                work[i * m + j] += a[i * m + k] * (double)r[k * m + j];
    for (int64_t i = 0; i < m * m; i++)
        r[i] = (float)work[i];
}

static bool all_finite(int64_t n, const double *x)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += x[i] * 0.0;
    return sum == 0.0;
}

bool rk_decorrelate(const rk_decorrelation *d, double *sums, int64_t n, double *work, float *r)
{
    const int64_t m = d->m;
    if (n == 0 || make_d(d, sums, n) < d->least || !all_finite(m * m, sums))
        return false;
    for (int64_t i = 0; i < m * m; i++)
        sums[i] = (i % (m + 1) == 0 ? 1.0 : 0.0) - d->rate * sums[i];
    double *const copy = work + m * m;
    memcpy(copy, sums, (size_t)(m * m) * sizeof *copy);
    if (!rk_dense_invert(m, sums, work))
        return false;
    multiply(m, copy, work, r);
    return true;
}
