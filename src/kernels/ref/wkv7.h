/* wkv7.h: reference of the RWKV-7 recurrence for one batch row and head,
 *     S_t = S_{t-1} diag(w) + (S_{t-1} a) b^T + v k^T,   y_t = S_t r
 * S (N value, N key). Source: arXiv 2503.14456; RWKV-LM, RWKV-v7/rwkv_v7_demo.py.
 *
 * Backward, H the gradient of S_t from later steps, G = H + dy r^T, dsa = G b:
 *     dr = S_t^T dy   dw = colsum(G * S_{t-1})   dv = G k   dk = G^T v   db = G^T (S_{t-1} a)
 *     da = S_{t-1}^T dsa                         H <- G diag(w) + dsa a^T
 * The states of a segment are computed again from the one saved at its start. Going backwards by
 * division through w would need no scratch, but its rounding grows 1.8-fold a step. */
#ifndef RK_KERNELS_REF_WKV7_H
#define RK_KERNELS_REF_WKV7_H

#include "kernels/ref/real.h"

static size_t wkv7_scratch(int64_t n)
{
    return (size_t)((RK_WKV_SEGMENT + 1) * n * n) * sizeof(real);
}

/* next = the state after step t from S; the two may be one. */
static void wkv7_advance(const rk_wkv7_args *p, int64_t t, const real *S, real *next)
{
    const int64_t n = p->head_size, at = t * p->stride;
    const real *w = (const real *)p->w + at, *k = (const real *)p->k + at;
    const real *v = (const real *)p->v + at, *a = (const real *)p->a + at;
    const real *b = (const real *)p->b + at;
    for (int64_t i = 0; i < n; i++, S += n, next += n) {
        const real sa = dot(n, S, a);
        for (int64_t j = 0; j < n; j++)
            next[j] = S[j] * w[j] + sa * b[j] + v[i] * k[j];
    }
}

static void wkv7(const rk_wkv7_args *p, void *scratch)
{
    const int64_t n = p->head_size;
    real *S = p->state, *saved = p->saved;
    (void)scratch;
    for (int64_t t = 0; t < p->n_steps; t++) {
        const real *r = (const real *)p->r + t * p->stride;
        real *y = (real *)p->y + t * p->stride;
        if (saved && t % RK_WKV_SEGMENT == 0)
            memcpy(saved + t / RK_WKV_SEGMENT * n * n, S, (size_t)(n * n) * sizeof *S);
        wkv7_advance(p, t, S, S);
        for (int64_t i = 0; i < n; i++)
            y[i] = dot(n, S + i * n, r);
    }
}

/* Value row i of step t: S before, next after it, H the row of the state's gradient, in and out; dy that
 * of y[i]. */
static void wkv7_row_bwd(const rk_wkv7_args *p, const rk_wkv7_grads *g, int64_t t, int64_t i,
                         real dy, const real *S, const real *next, real *H)
{
    const int64_t n = p->head_size, at = t * p->stride;
    const real *r = (const real *)p->r + at, *w = (const real *)p->w + at;
    const real *k = (const real *)p->k + at, *a = (const real *)p->a + at;
    const real *b = (const real *)p->b + at;
    const real v = ((const real *)p->v)[at + i];
    real *dr = (real *)g->dr + at, *dw = (real *)g->dw + at, *dk = (real *)g->dk + at;
    real *da = (real *)g->da + at, *db = (real *)g->db + at;
    const real sa = dot(n, S, a);
    for (int64_t j = 0; j < n; j++) {
        H[j] += dy * r[j]; /* now G */
        dr[j] += next[j] * dy;
        dw[j] += H[j] * S[j];
        dk[j] += H[j] * v;
        db[j] += H[j] * sa;
    }
    ((real *)g->dv)[at + i] += dot(n, H, k);
    const real dsa = dot(n, H, b);
    for (int64_t j = 0; j < n; j++) {
        da[j] += S[j] * dsa;
        H[j] = H[j] * w[j] + dsa * a[j];
    }
}

static void wkv7_bwd(const rk_wkv7_args *p, const rk_wkv7_grads *g, void *scratch)
{
    const int64_t n = p->head_size, nn = n * n;
    real *states = scratch, *H = g->dstate;
    for (int64_t seg = rk_ceil_div(p->n_steps, RK_WKV_SEGMENT) - 1; seg >= 0; seg--) {
        const int64_t t0 = seg * RK_WKV_SEGMENT;
        const int64_t steps = rk_min_i64(RK_WKV_SEGMENT, p->n_steps - t0);
        const real *dy = (const real *)g->dy + t0 * p->stride;
        memcpy(states, (const real *)p->saved + seg * nn, (size_t)nn * sizeof *states);
        for (int64_t s = 0; s < steps; s++)
            wkv7_advance(p, t0 + s, states + s * nn, states + (s + 1) * nn);
        for (int64_t s = steps - 1; s >= 0; s--)
            for (int64_t i = 0; i < n; i++)
                wkv7_row_bwd(p, g, t0 + s, i, dy[s * p->stride + i], states + s * nn + i * n,
                             states + (s + 1) * nn + i * n, H + i * n);
    }
}

/* ---- two-hop reading (arXiv 2504.19191, its equations 4 and 5): z = S^T M (S r), M (N, N) of the head ---- */

/* The kernel's scratch, and u = S r, p = M u, dp behind it. */
static size_t wkv7_hop_scratch(int64_t n)
{
    return wkv7_scratch(n) + (size_t)(3 * n) * sizeof(real);
}

static void wkv7_ask(int64_t n, const real *S, const real *r, const real *hop, real *u, real *p)
{
    for (int64_t i = 0; i < n; i++)
        u[i] = dot(n, S + i * n, r);
    for (int64_t i = 0; i < n; i++)
        p[i] = dot(n, hop + i * n, u);
}

static void wkv7_hop(const rk_wkv7_args *a, const void *hop, void *scratch)
{
    const int64_t n = a->head_size;
    real *S = a->state, *saved = a->saved, *u = scratch, *p = u + n;
    for (int64_t t = 0; t < a->n_steps; t++) {
        real *z = (real *)a->y + t * a->stride;
        if (saved && t % RK_WKV_SEGMENT == 0)
            memcpy(saved + t / RK_WKV_SEGMENT * n * n, S, (size_t)(n * n) * sizeof *S);
        wkv7_advance(a, t, S, S);
        wkv7_ask(n, S, (const real *)a->r + t * a->stride, hop, u, p);
        memset(z, 0, (size_t)n * sizeof *z);
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < n; j++)
                z[j] += S[i * n + j] * p[i];
    }
}

/* What step t's dz leaves: dS in H, dM in dhop, du in `u`. S is the state behind the step. */
static void wkv7_hop_step_bwd(const rk_wkv7_args *a, int64_t t, const real *dz, const real *hop,
                              const real *S, real *H, real *dhop, real *u)
{
    const int64_t n = a->head_size;
    real *p = u + n, *dp = p + n;
    wkv7_ask(n, S, (const real *)a->r + t * a->stride, hop, u, p);
    for (int64_t i = 0; i < n; i++) {
        dp[i] = dot(n, S + i * n, dz);
        for (int64_t j = 0; j < n; j++) {
            H[i * n + j] += p[i] * dz[j];
            dhop[i * n + j] += dp[i] * u[j];
        }
    }
    memset(u, 0, (size_t)n * sizeof *u);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++)
            u[j] += hop[i * n + j] * dp[i];
}

static void wkv7_hop_bwd(const rk_wkv7_args *a, const rk_wkv7_grads *g, const void *hop, void *dhop,
                         void *scratch)
{
    const int64_t n = a->head_size, nn = n * n;
    real *states = scratch, *u = states + (RK_WKV_SEGMENT + 1) * nn, *H = g->dstate;
    for (int64_t seg = rk_ceil_div(a->n_steps, RK_WKV_SEGMENT) - 1; seg >= 0; seg--) {
        const int64_t t0 = seg * RK_WKV_SEGMENT;
        const int64_t steps = rk_min_i64(RK_WKV_SEGMENT, a->n_steps - t0);
        memcpy(states, (const real *)a->saved + seg * nn, (size_t)nn * sizeof *states);
        for (int64_t s = 0; s < steps; s++)
            wkv7_advance(a, t0 + s, states + s * nn, states + (s + 1) * nn);
        for (int64_t s = steps - 1; s >= 0; s--) {
            const real *next = states + (s + 1) * nn;
            wkv7_hop_step_bwd(a, t0 + s, (const real *)g->dy + (t0 + s) * a->stride, hop, next, H,
                              dhop, u);
            for (int64_t i = 0; i < n; i++)
                wkv7_row_bwd(a, g, t0 + s, i, u[i], states + s * nn + i * n, next + i * n,
                             H + i * n);
        }
    }
}

#endif
