/* wkv6.h: reference of the recurrence of RWKV-5 and -6 for one batch row and head,
 *     y_t = S_t^T r + (r . (u * k)) v,   S_{t+1} = diag(d) S_t + k v^T
 * S (N key, N value). RWKV-5 has the same d at every step. Source: arXiv 2404.05892;
 * BlinkDL/RWKV-LM, RWKV-v5/cuda/wkv6_cuda.cu.
 *
 * Backward, G the gradient of S_{t+1}, c = v . dy:
 *     dr = S dy + u k c   dk = G v + u r c   dv = G^T k + (r . (u k)) dy   du += r k c
 *     dd = rowsum(G * S)  G <- diag(d) G + r dy^T
 * The states of a segment are computed again from the one saved at its start. */
#ifndef RK_KERNELS_REF_WKV6_H
#define RK_KERNELS_REF_WKV6_H

#include "kernels/ref/real.h"

static size_t wkv6_scratch(int64_t n)
{
    return (size_t)(RK_WKV_SEGMENT * n * n) * sizeof(real);
}

/* next = the state after step t from S; the two may be one. */
static void wkv6_advance(const rk_wkv6_args *p, int64_t t, const real *S, real *next)
{
    const int64_t n = p->head_size, at = t * p->stride;
    const real *k = (const real *)p->k + at, *v = (const real *)p->v + at;
    const real *d = (const real *)p->d + t * p->d_stride;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++)
            next[i * n + j] = S[i * n + j] * d[i] + k[i] * v[j];
}

/* sum of r u k */
static real wkv6_bonus(const rk_wkv6_args *p, int64_t t)
{
    const int64_t at = t * p->stride;
    const real *r = (const real *)p->r + at, *k = (const real *)p->k + at, *u = p->u;
    real sum = 0;
    for (int64_t i = 0; i < p->head_size; i++)
        sum += r[i] * u[i] * k[i];
    return sum;
}

static void wkv6(const rk_wkv6_args *p, void *scratch)
{
    const int64_t n = p->head_size;
    real *S = p->state, *saved = p->saved;
    (void)scratch;
    for (int64_t t = 0; t < p->n_steps; t++) {
        const int64_t at = t * p->stride;
        const real *r = (const real *)p->r + at, *v = (const real *)p->v + at;
        real *y = (real *)p->y + at;
        const real bonus = wkv6_bonus(p, t);
        if (saved && t % RK_WKV_SEGMENT == 0)
            memcpy(saved + t / RK_WKV_SEGMENT * n * n, S, (size_t)(n * n) * sizeof *S);
        for (int64_t j = 0; j < n; j++)
            y[j] = bonus * v[j];
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < n; j++)
                y[j] += r[i] * S[i * n + j];
        wkv6_advance(p, t, S, S);
    }
}

/* Step t with the state S before it; G the gradient of the state after it, out before it. */
static void wkv6_step_bwd(const rk_wkv6_args *p, const rk_wkv6_grads *g, int64_t t, const real *S,
                          real *G)
{
    const int64_t n = p->head_size, at = t * p->stride;
    const real *r = (const real *)p->r + at, *k = (const real *)p->k + at;
    const real *v = (const real *)p->v + at, *u = p->u;
    const real *d = (const real *)p->d + t * p->d_stride;
    const real *dy = (const real *)g->dy + at;
    real *dr = (real *)g->dr + at, *dk = (real *)g->dk + at, *dv = (real *)g->dv + at;
    real *dd = (real *)g->dd + t * p->d_stride, *du = g->du;
    const real c = dot(n, v, dy), bonus = wkv6_bonus(p, t);
    for (int64_t j = 0; j < n; j++)
        dv[j] += bonus * dy[j];
    for (int64_t i = 0; i < n; i++, S += n, G += n) {
        dr[i] += dot(n, S, dy) + u[i] * k[i] * c;
        dk[i] += dot(n, G, v) + u[i] * r[i] * c;
        dd[i] += dot(n, G, S);
        du[i] += r[i] * k[i] * c;
        for (int64_t j = 0; j < n; j++) {
            dv[j] += G[j] * k[i];
            G[j] = G[j] * d[i] + r[i] * dy[j];
        }
    }
}

static void wkv6_bwd(const rk_wkv6_args *p, const rk_wkv6_grads *g, void *scratch)
{
    const int64_t nn = p->head_size * p->head_size;
    real *states = scratch;
    for (int64_t seg = rk_ceil_div(p->n_steps, RK_WKV_SEGMENT) - 1; seg >= 0; seg--) {
        const int64_t t0 = seg * RK_WKV_SEGMENT;
        const int64_t steps = rk_min_i64(RK_WKV_SEGMENT, p->n_steps - t0);
        memcpy(states, (const real *)p->saved + seg * nn, (size_t)nn * sizeof *states);
        for (int64_t s = 0; s + 1 < steps; s++)
            wkv6_advance(p, t0 + s, states + s * nn, states + (s + 1) * nn);
        for (int64_t s = steps - 1; s >= 0; s--)
            wkv6_step_bwd(p, g, t0 + s, states + s * nn, g->dstate);
    }
}

#endif
