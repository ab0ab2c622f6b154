/* ridge.c: normal equations in double, by Cholesky. */
#include "tune/ridge.h"

#include <math.h>
#include <stdlib.h>

#include "tune/dense.h"

static void features_of(const rk_ridge *q, const float *x, double *psi)
{
    double len = 0, norm = 0;
    for (int64_t j = 0; j < q->dim; j++)
        len += (double)x[j] * (double)x[j];
    for (int64_t i = 0; i < q->m; i++) {
        double d = 0;
        for (int64_t j = 0; j < q->dim; j++) {
            const double e = (double)x[j] / q->scale - (double)q->support[i * q->dim + j];
            d += e * e;
        }
        psi[i] = exp(-fabs(q->gamma) * d);
        norm += psi[i] * psi[i];
    }
    const double factor = q->gamma < 0 ? 1.0 : sqrt(len) / fmax(sqrt(norm), 1e-6);
    for (int64_t i = 0; i < q->m; i++)
        psi[i] *= factor;
}

/* gram (m, m), its lower triangle, and cross (dim, m). */
static void add_sums(const rk_ridge *q, double *gram, double *cross, double *psi)
{
    for (int64_t t = 0; t < q->n; t++) {
        const float *x = q->x + t * q->dim;
        features_of(q, x, psi);
        for (int64_t i = 0; i < q->m; i++)
            for (int64_t j = 0; j <= i; j++)
                gram[i * q->m + j] += psi[i] * psi[j];
        for (int64_t i = 0; i < q->dim; i++)
            for (int64_t j = 0; j < q->m; j++)
                cross[i * q->m + j] += (double)x[i] * psi[j];
    }
}

static bool solve(const rk_ridge *q, double *gram, double *cross, float *out)
{
    double trace = 0;
    for (int64_t i = 0; i < q->m; i++)
        trace += gram[i * q->m + i];
    for (int64_t i = 0; i < q->m; i++)
        gram[i * q->m + i] += 1e-3 * trace / (double)q->m;
    if (!rk_dense_factor(q->m, gram))
        return false;
    for (int64_t i = 0; i < q->dim; i++) {
        rk_dense_solve(q->m, gram, cross + i * q->m);
        for (int64_t j = 0; j < q->m; j++)
            out[i * q->m + j] = (float)cross[i * q->m + j];
    }
    return true;
}

bool rk_ridge_solve(const rk_ridge *q, float *out)
{
    double *gram = calloc((size_t)(q->m * q->m), sizeof *gram);
    double *cross = calloc((size_t)(q->dim * q->m), sizeof *cross);
    double *psi = calloc((size_t)q->m, sizeof *psi);
    bool ok = gram && cross && psi;
    if (ok) {
        add_sums(q, gram, cross, psi);
        ok = solve(q, gram, cross, out);
    }
    free(gram);
    free(cross);
    free(psi);
    return ok;
}
