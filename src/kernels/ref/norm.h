/* norm.h: reference of the normalisations over groups of channels, rows, and of softmax.
 *
 * With xhat = (x - mean) rstd, dxhat = dy w, and all means over one group:
 *     dx = rstd (dxhat - mean(dxhat) - xhat mean(dxhat xhat)),  dw = dy xhat,  db = dy
 * (Ba, Kiros, Hinton 2016, arXiv 1607.06450, differentiated; per head as Wu, He 2018). */
#ifndef RK_KERNELS_REF_NORM_H
#define RK_KERNELS_REF_NORM_H

#include "kernels/ref/real.h"

/* stats = mean and 1/sqrt(population variance + eps) of x (n). */
static void group_stats(int64_t n, const real *x, double eps, real *stats)
{
    real mean = 0, var = 0;
    for (int64_t i = 0; i < n; i++)
        mean += x[i];
    mean /= (real)n;
    for (int64_t i = 0; i < n; i++)
        var += (x[i] - mean) * (x[i] - mean);
    stats[0] = mean;
    stats[1] = 1 / sqrt(var / (real)n + (real)eps);
}

/* dx += the gradient of one group from dxhat[i] = dy[i] w[i]. */
static void group_bwd(int64_t n, const real *x, const real *stats, const real *dy, const real *w,
                      real *dx)
{
    const real mean = stats[0], rstd = stats[1];
    real sum_d = 0, sum_dx = 0;
    for (int64_t i = 0; i < n; i++) {
        sum_d += dy[i] * w[i];
        sum_dx += dy[i] * w[i] * ((x[i] - mean) * rstd);
    }
    for (int64_t i = 0; i < n; i++)
        dx[i] +=
            rstd * (dy[i] * w[i] - sum_d / (real)n - (x[i] - mean) * rstd * (sum_dx / (real)n));
}

static void norm(int64_t rows, int64_t groups, int64_t n, const void *x_, const void *w_,
                 const void *b_, double eps, void *y_, void *stats_)
{
    const real *x = x_, *w = w_, *b = b_;
    real *y = y_, *stats = stats_;
    for (int64_t i = 0; i < rows * groups; i++) {
        const int64_t g = i % groups;
        real s[2];
        group_stats(n, x + i * n, eps, s);
        for (int64_t j = 0; j < n; j++)
            y[i * n + j] = (x[i * n + j] - s[0]) * s[1] * w[g * n + j] + b[g * n + j];
        if (stats)
            memcpy(stats + 2 * i, s, sizeof s);
    }
}

static void norm_bwd_x(int64_t rows, int64_t groups, int64_t n, const void *x_, const void *w_,
                       const void *stats_, const void *dy_, void *dx_)
{
    const real *x = x_, *w = w_, *stats = stats_, *dy = dy_;
    real *dx = dx_;
    for (int64_t i = 0; i < rows * groups; i++)
        group_bwd(n, x + i * n, stats + 2 * i, dy + i * n, w + i % groups * n, dx + i * n);
}

static void norm_bwd_w(int64_t rows, int64_t groups, int64_t n, int64_t c0, int64_t c1,
                       const void *x_, const void *stats_, const void *dy_, void *dw_, void *db_)
{
    const real *x = x_, *stats = stats_, *dy = dy_;
    real *dw = dw_, *db = db_;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t c = c0; c < c1; c++) {
            const int64_t at = i * groups * n + c;
            const real *s = stats + 2 * (i * groups + c / n);
            dw[c] += dy[at] * ((x[at] - s[0]) * s[1]);
            db[c] += dy[at];
        }
}

static void rms_norm(int64_t rows, int64_t n, const void *x_, const void *w_, double eps, void *y_,
                     void *stats_)
{
    const real *x = x_, *w = w_;
    real *y = y_, *stats = stats_;
    for (int64_t i = 0; i < rows; i++, x += n, y += n) {
        const real rstd = 1 / sqrt(dot(n, x, x) / (real)n + (real)eps);
        for (int64_t j = 0; j < n; j++)
            y[j] = x[j] * rstd * w[j];
        if (stats)
            stats[i] = rstd;
    }
}

/* With xhat = x rstd, g = dy w: dx = rstd (g - xhat mean(g xhat)) (Zhang, Sennrich 2019, arXiv
 * 1910.07467, differentiated). */
static void rms_norm_bwd_x(int64_t rows, int64_t n, const void *x_, const void *w_,
                           const void *stats_, const void *dy_, void *dx_)
{
    const real *x = x_, *w = w_, *stats = stats_, *dy = dy_;
    real *dx = dx_;
    for (int64_t i = 0; i < rows; i++, x += n, dy += n, dx += n) {
        real sum = 0;
        for (int64_t j = 0; j < n; j++)
            sum += dy[j] * w[j] * (x[j] * stats[i]);
        for (int64_t j = 0; j < n; j++)
            dx[j] += stats[i] * (dy[j] * w[j] - x[j] * stats[i] * (sum / (real)n));
    }
}

static void rms_norm_bwd_w(int64_t rows, int64_t n, const void *x_, const void *stats_,
                           const void *dy_, void *dw_)
{
    const real *x = x_, *stats = stats_, *dy = dy_;
    real *dw = dw_;
    for (int64_t i = 0; i < rows; i++, x += n, dy += n)
        for (int64_t j = 0; j < n; j++)
            dw[j] += dy[j] * (x[j] * stats[i]);
}

/* dx += dy / |x| less its part along y = x / |x|; below the floor y = x / floor is linear. */
static void l2_bwd(int64_t n, const real *x, const real *dy, real *dx)
{
    const real len = sqrt(dot(n, x, x)), floor_len = (real)RK_L2_EPS;
    const real along = len > floor_len ? dot(n, x, dy) / (len * len) : 0;
    for (int64_t i = 0; i < n; i++)
        dx[i] += (dy[i] - x[i] * along) / fmax(len, floor_len);
}

static void l2norm(int64_t rows, int64_t n, const void *x_, void *y_)
{
    const real *x = x_;
    real *y = y_;
    for (int64_t i = 0; i < rows; i++, x += n, y += n) {
        const real len = fmax(sqrt(dot(n, x, x)), (real)RK_L2_EPS);
        for (int64_t j = 0; j < n; j++)
            y[j] = x[j] / len;
    }
}

static void l2norm_bwd(int64_t rows, int64_t n, const void *x_, const void *dy_, void *dx_)
{
    const real *x = x_, *dy = dy_;
    real *dx = dx_;
    for (int64_t i = 0; i < rows; i++)
        l2_bwd(n, x + i * n, dy + i * n, dx + i * n);
}

/* y = e^(x - max) / sum. */
static void softmax(int64_t rows, int64_t n, const void *x_, void *y_)
{
    const real *x = x_;
    real *y = y_;
    for (int64_t i = 0; i < rows; i++, x += n, y += n) {
        real max = -(real)INFINITY, total = 0;
        for (int64_t j = 0; j < n; j++)
            max = x[j] > max ? x[j] : max;
        for (int64_t j = 0; j < n; j++)
            total += y[j] = exp(x[j] - max);
        for (int64_t j = 0; j < n; j++)
            y[j] /= total;
    }
}

/* dx = y (dy - y . dy). */
static void softmax_bwd(int64_t rows, int64_t n, const void *y_, const void *dy_, void *dx_)
{
    const real *y = y_, *dy = dy_;
    real *dx = dx_;
    for (int64_t i = 0; i < rows; i++, y += n, dy += n, dx += n) {
        const real along = dot(n, y, dy);
        for (int64_t j = 0; j < n; j++)
            dx[j] += y[j] * (dy[j] - along);
    }
}

#endif
