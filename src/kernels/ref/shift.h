/* shift.h: reference of token shift with its mixes, y_q[t] = x[t] + (x[t-1] - x[t]) mu_q
 * (RWKV-LM, RWKV-v7/rwkv_v7_demo.py; arXiv 2503.14456). */
#ifndef RK_KERNELS_REF_SHIFT_H
#define RK_KERNELS_REF_SHIFT_H

#include "kernels/ref/real.h"

static void shift_mix(int64_t t0, int64_t t1, int64_t c, const void *x_, const void *prev,
                      int64_t n_mix, const void *const *mu_, void *y_, int64_t y_stride)
{
    const real *x = x_;
    for (int64_t q = 0; q < n_mix; q++) {
        const real *mu = mu_[q];
        real *y = (real *)y_ + q * y_stride;
        for (int64_t t = t0; t < t1; t++) {
            const real *before = t ? x + (t - 1) * c : prev;
            for (int64_t i = 0; i < c; i++)
                y[t * c + i] = x[t * c + i] + (before[i] - x[t * c + i]) * mu[i];
        }
    }
}

static void shift_mix_bwd_x(int64_t t0, int64_t t1, int64_t n_steps, int64_t c, int64_t n_mix,
                            const void *const *mu_, const void *dy_, int64_t dy_stride, void *dx_)
{
    real *dx = dx_;
    for (int64_t q = 0; q < n_mix; q++) {
        const real *mu = mu_[q], *dy = (const real *)dy_ + q * dy_stride;
        for (int64_t t = t0; t < t1; t++)
            for (int64_t i = 0; i < c; i++) {
                dx[t * c + i] += dy[t * c + i] * (1 - mu[i]);
                if (t + 1 < n_steps)
                    dx[t * c + i] += dy[(t + 1) * c + i] * mu[i];
            }
    }
}

static void shift_mix_bwd_mu(int64_t n_steps, int64_t c, int64_t c0, int64_t c1, const void *x_,
                             const void *prev, int64_t n_mix, const void *const *mu_,
                             const void *dy_, int64_t dy_stride, void *const *dmu_, void *dprev_)
{
    const real *x = x_;
    real *dprev = dprev_;
    for (int64_t q = 0; q < n_mix; q++) {
        const real *mu = mu_[q], *dy = (const real *)dy_ + q * dy_stride;
        real *dmu = dmu_[q];
        for (int64_t t = 0; t < n_steps; t++) {
            const real *before = t ? x + (t - 1) * c : prev;
            for (int64_t i = c0; i < c1; i++)
                dmu[i] += dy[t * c + i] * (before[i] - x[t * c + i]);
        }
        for (int64_t i = c0; i < c1 && dprev; i++)
            dprev[i] += dy[i] * mu[i];
    }
}

#endif
