/* init.c: initial values. Orthogonal matrices come from modified Gram-Schmidt in double, applied
 * twice, on rows of the shorter side: it gives Q with R's diagonal positive at once, and needs no
 * LAPACK. Normal draws are keyed by (seed, parameter number, element). */
#include "model/init.h"

#include <math.h>
#include <stdlib.h>

#include "base/num.h"
#include "base/random.h"

rk_status rk_init_constant(const rk_init *p, rk_error *err)
{
    (void)err;
    for (int64_t i = 0; i < p->rows * p->cols; i++)
        p->x[i] = (float)p->arg;
    return RK_OK;
}

rk_status rk_init_uniform(const rk_init *p, rk_error *err)
{
    (void)err;
    for (int64_t i = 0; i < p->rows * p->cols; i++)
        p->x[i] = (float)(p->arg *
                          (2.0 * rk_rng_f64(p->seed, RK_RNG_INIT, (uint64_t)p->index, (uint64_t)i) -
                           1.0));
    return RK_OK;
}

rk_status rk_init_normal(const rk_init *p, rk_error *err)
{
    (void)err;
    for (int64_t i = 0; i < p->rows * p->cols; i++)
        p->x[i] =
            (float)(p->arg * rk_rng_normal(p->seed, RK_RNG_INIT, (uint64_t)p->index, (uint64_t)i));
    return RK_OK;
}

rk_status rk_init_linear(const rk_init *p, rk_error *err)
{
    rk_init q = *p;
    q.arg = p->arg / sqrt((double)p->cols);
    return rk_init_uniform(&q, err);
}

/* ---- functions of layer and channel ---- */

static double r01(const rk_init *p)
{
    return p->hp->n_layer > 1 ? (double)p->layer / (double)(p->hp->n_layer - 1) : 0.0;
}
static double r10(const rk_init *p)
{
    return 1.0 - (double)p->layer / (double)p->hp->n_layer;
}

/* n/(C-1) of C elements, 0 for a single one. */
static double ramp(const rk_init *p, int64_t n)
{
    return p->cols > 1 ? (double)n / (double)(p->cols - 1) : 0.0;
}

static double zigzag(const rk_init *p, int64_t n)
{
    const double half = (double)(p->hp->head_size - 1) / 2.0;
    const double zeta = half > 0.0 ? ((double)(n % p->hp->head_size) - half) / half : 0.0;
    return zeta * fabs(zeta);
}

/* x[n] = base + sign (z^power + shift): mixes of all versions. */
static rk_status powers(const rk_init *p, double base, double sign, double power, double shift)
{
    for (int64_t n = 0; n < p->cols; n++)
        p->x[n] = (float)(base + sign * (pow((double)n / (double)p->cols, power) + shift));
    return RK_OK;
}

rk_status rk_init_share(const rk_init *p, rk_error *err)
{
    (void)err;
    return powers(p, 0, 1, p->arg * r10(p), 0);
}
rk_status rk_init_share_v(const rk_init *p, rk_error *err)
{
    (void)err;
    return powers(p, 0, 1, p->arg * r10(p), 0.3 * r01(p));
}
rk_status rk_init_maa(const rk_init *p, rk_error *err)
{
    (void)err;
    return powers(p, 1, -1, p->arg * r10(p), 0);
}
rk_status rk_init_maa_v(const rk_init *p, rk_error *err)
{
    (void)err;
    return powers(p, 1, -1, p->arg * r10(p), 0.3 * r01(p));
}

rk_status rk_init_maa_k(const rk_init *p, rk_error *err)
{
    (void)err;
    return powers(p, 1, -1, p->arg * r10(p), 0.4 * r01(p));
}
rk_status rk_init_maa_v6(const rk_init *p, rk_error *err)
{
    (void)err;
    return powers(p, 1, -1, p->arg * r10(p), 0.6 * r01(p));
}

/* n of all elements, from 0 to 1. */
static double ramp_of_all(const rk_init *p, int64_t n)
{
    const int64_t all = p->rows * p->cols;
    return all > 1 ? (double)n / (double)(all - 1) : 0.0;
}

static double thirds(int64_t n)
{
    return (double)((n + 1) % 3 - 1);
}

static rk_status decays(const rk_init *p, double low, double range)
{
    for (int64_t n = 0; n < p->rows * p->cols; n++)
        p->x[n] = (float)(low + range * pow(ramp_of_all(p, n), 0.7 + 1.3 * r01(p)));
    return RK_OK;
}

rk_status rk_init_decay4(const rk_init *p, rk_error *err)
{
    (void)err;
    return decays(p, -5, 8);
}
rk_status rk_init_decay6(const rk_init *p, rk_error *err)
{
    (void)err;
    return decays(p, -6, 5);
}

rk_status rk_init_first4(const rk_init *p, rk_error *err)
{
    (void)err;
    for (int64_t n = 0; n < p->rows * p->cols; n++)
        p->x[n] = (float)(log(0.3) + 0.5 * thirds(n));
    return RK_OK;
}

rk_status rk_init_faaaa(const rk_init *p, rk_error *err)
{
    (void)err;
    for (int64_t n = 0; n < p->rows * p->cols; n++)
        p->x[n] = (float)(r01(p) * (1.0 - ramp_of_all(p, n)) + 0.1 * thirds(n));
    return RK_OK;
}

rk_status rk_init_maa_ffn(const rk_init *p, rk_error *err)
{
    (void)err;
    return powers(p, 1, -1, pow(r10(p), p->arg), 0);
}

rk_status rk_init_w0(const rk_init *p, rk_error *err)
{
    const double power = 1.0 + pow(r01(p), 0.3);
    (void)err;
    for (int64_t n = 0; n < p->cols; n++)
        p->x[n] = (float)(-6.0 + 6.0 * pow(ramp(p, n), power) + 0.5 + 2.5 * zigzag(p, n));
    return RK_OK;
}

rk_status rk_init_w0_plain(const rk_init *p, rk_error *err)
{
    const double power = 0.85 + sqrt(r01(p));
    const int64_t all = p->rows * p->cols;
    (void)err;
    for (int64_t n = 0; n < all; n++)
        p->x[n] = (float)(-7.0 + 5.0 * pow(ramp_of_all(p, n), power) + 0.5);
    return RK_OK;
}

rk_status rk_init_a0(const rk_init *p, rk_error *err)
{
    (void)err;
    for (int64_t n = 0; n < p->cols; n++)
        p->x[n] = (float)(-0.19 + 0.3 * zigzag(p, n) + 0.4 * (ramp(p, n) - 0.5));
    return RK_OK;
}

static void slope(const rk_init *p, double step)
{
    for (int64_t n = 0; n < p->cols; n++)
        p->x[n] = (float)(p->arg - step * (ramp(p, n) - 0.5));
}

rk_status rk_init_slope(const rk_init *p, rk_error *err)
{
    (void)err;
    slope(p, 0.4);
    return RK_OK;
}

rk_status rk_init_k_k(const rk_init *p, rk_error *err)
{
    (void)err;
    slope(p, 0.1);
    return RK_OK;
}

rk_status rk_init_ln_x(const rk_init *p, rk_error *err)
{
    (void)err;
    for (int64_t n = 0; n < p->cols; n++)
        p->x[n] = (float)pow((double)(1 + p->layer) / (double)p->hp->n_layer, p->arg);
    return RK_OK;
}

/* ---- orthogonal matrices ---- */

/* Eight interleaved sums: one chain of additions would wait for each. */
static double dot(int64_t n, const double *a, const double *b)
{
    double part[8] = {0.0}, sum = 0.0;
    int64_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (int l = 0; l < 8; l++)
            part[l] += a[i + l] * b[i + l];
    for (; i < n; i++)
        part[0] += a[i] * b[i];
    for (int l = 0; l < 8; l++)
        sum += part[l];
    return sum;
}

/* Make row `at` of q (.., n) orthogonal to those before it, and of length 1. The head of a large
 * vocabulary takes a minute, so the abort flag is asked before each row's work. */
static rk_status orthogonalise(const rk_init *p, int64_t n, int64_t at, double *q, rk_error *err)
{
    double *row = q + at * n;
    for (int pass = 0; pass < 2; pass++) {
        for (int64_t r = 0; r < at; r++) {
            if (p->abort && atomic_load_explicit(p->abort, memory_order_relaxed))
                return rk_fail(err, RK_ERR_ABORTED, "stopped on request");
            const double along = dot(n, q + r * n, row);
            for (int64_t i = 0; i < n; i++)
                row[i] -= along * q[r * n + i];
        }
    }
    const double scale = 1.0 / sqrt(dot(n, row, row));
    for (int64_t i = 0; i < n; i++)
        row[i] *= scale;
    return RK_OK;
}

static rk_status orthogonal(const rk_init *p, double gain, rk_error *err)
{
    const bool wide = p->cols >= p->rows;
    const int64_t n = wide ? p->cols : p->rows, rows = wide ? p->rows : p->cols;
    double *q = calloc((size_t)n * (size_t)rows, sizeof *q);
    if (!q)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for an orthogonal matrix of %lld x %lld",
                       (long long)p->rows, (long long)p->cols);
    for (int64_t i = 0; i < n * rows; i++)
        q[i] = rk_rng_normal(p->seed, RK_RNG_INIT, (uint64_t)p->index, (uint64_t)i);
    rk_status st = RK_OK;
    for (int64_t r = 0; r < rows && st == RK_OK; r++)
        st = orthogonalise(p, n, r, q, err);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < n; i++)
            p->x[wide ? r * n + i : i * rows + r] = (float)(gain * q[r * n + i]);
    free(q);
    return st;
}

static double tall_gain(const rk_init *p)
{
    return p->rows > p->cols ? p->arg * sqrt((double)p->rows / (double)p->cols) : p->arg;
}

rk_status rk_init_orthogonal(const rk_init *p, rk_error *err)
{
    return orthogonal(p, p->arg, err);
}
rk_status rk_init_orthogonal_tall(const rk_init *p, rk_error *err)
{
    return orthogonal(p, tall_gain(p), err);
}
