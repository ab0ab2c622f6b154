/* wkv4.h: reference of the recurrence of RWKV-4 for some channels of one batch row,
 *     y_t = (A + e^(u+k) v) / (B + e^(u+k)),   A <- e^w A + e^k v,   B <- e^w B + e^k,   w < 0
 * with A = aa e^pp, B = bb e^pp and pp the largest exponent so far, so that nothing overflows.
 * Source: arXiv 2305.13048; BlinkDL/RWKV-LM, RWKV-v4neo/cuda/wkv_cuda.cu.
 *
 * Backward, alpha and beta the gradients of A and B after step t, q = dy / (B + e^(u+k)):
 *     dk = e^(u+k) q (v - y) + e^k (alpha v + beta)   dv = e^(u+k) q + e^k alpha
 *     du += e^(u+k) q (v - y)   dw += e^w (A alpha + B beta)
 *     alpha <- e^w alpha + q    beta <- e^w beta - q y
 * alpha and beta are kept as ah e^rho, bh e^rho. The state is computed again from the ones saved at
 * every RK_WKV_SEGMENT steps; pp counts as a constant of it. */
#ifndef RK_KERNELS_REF_WKV4_H
#define RK_KERNELS_REF_WKV4_H

#include "kernels/ref/real.h"

typedef struct wkv4_state {
    real aa, bb, pp;
} wkv4_state;

static wkv4_state wkv4_load(const real *state, int64_t width, int64_t c)
{
    return (wkv4_state){state[c], state[width + c], state[2 * width + c]};
}

static void wkv4_store(real *state, int64_t width, int64_t c, wkv4_state s)
{
    state[c] = s.aa;
    state[width + c] = s.bb;
    state[2 * width + c] = s.pp;
}

/* The state after a step. */
static wkv4_state wkv4_next(wkv4_state s, real w, real k, real v)
{
    const real q = fmax(s.pp + w, k);
    const real e1 = exp(s.pp + w - q), e2 = exp(k - q);
    return (wkv4_state){e1 * s.aa + e2 * v, e1 * s.bb + e2, q};
}

static void wkv4(const rk_wkv4_args *p)
{
    const real *w = p->w, *u = p->u;
    for (int64_t c = p->c0; c < p->c1; c++) {
        wkv4_state s = wkv4_load(p->state, p->width, c);
        for (int64_t t = 0; t < p->n_steps; t++) {
            const int64_t at = t * p->width + c;
            const real k = ((const real *)p->k)[at], v = ((const real *)p->v)[at];
            if (p->saved && t % RK_WKV_SEGMENT == 0)
                wkv4_store((real *)p->saved + t / RK_WKV_SEGMENT * 3 * p->width, p->width, c, s);
            const real q = fmax(s.pp, u[c] + k), e1 = exp(s.pp - q), e2 = exp(u[c] + k - q);
            ((real *)p->y)[at] = (e1 * s.aa + e2 * v) / (e1 * s.bb + e2);
            s = wkv4_next(s, w[c], k, v);
        }
        wkv4_store(p->state, p->width, c, s);
    }
}

/* The gradients of A and B, scaled. */
typedef struct wkv4_carry {
    real ah, bh, rho;
} wkv4_carry;

static void wkv4_step_bwd(const rk_wkv4_args *p, const rk_wkv4_grads *g, int64_t t, int64_t c,
                          wkv4_state s, wkv4_carry *carry)
{
    const int64_t at = t * p->width + c;
    const real w = ((const real *)p->w)[c], u = ((const real *)p->u)[c];
    const real k = ((const real *)p->k)[at], v = ((const real *)p->v)[at];
    const real m = fmax(s.pp, u + k), e1 = exp(s.pp - m), eu = exp(u + k - m);
    const real den = e1 * s.bb + eu, y = (e1 * s.aa + eu * v) / den;
    const real qq = ((const real *)g->dy)[at] / den; /* q e^m */
    const real ek = exp(k + carry->rho), ew = exp(w + carry->rho + s.pp);
    ((real *)g->dk)[at] += eu * qq * (v - y) + ek * (carry->ah * v + carry->bh);
    ((real *)g->dv)[at] += eu * qq + ek * carry->ah;
    ((real *)g->du)[c] += eu * qq * (v - y);
    ((real *)g->dw)[c] += ew * (s.aa * carry->ah + s.bb * carry->bh);
    const real rho = fmax(w + carry->rho, -m), a = exp(w + carry->rho - rho);
    const real b = qq * exp(-m - rho);
    *carry = (wkv4_carry){a * carry->ah + b, a * carry->bh - b * y, rho};
}

static void wkv4_bwd(const rk_wkv4_args *p, const rk_wkv4_grads *g)
{
    real *dstate = g->dstate;
    for (int64_t c = p->c0; c < p->c1; c++) {
        /* The last state is (aa, bb) e^pp, so d(aa) = alpha e^pp. */
        wkv4_carry carry = {dstate[c], dstate[p->width + c],
                            -((const real *)p->state)[2 * p->width + c]};
        for (int64_t seg = rk_ceil_div(p->n_steps, RK_WKV_SEGMENT) - 1; seg >= 0; seg--) {
            const int64_t t0 = seg * RK_WKV_SEGMENT;
            const int64_t steps = rk_min_i64(RK_WKV_SEGMENT, p->n_steps - t0);
            wkv4_state s[RK_WKV_SEGMENT];
            s[0] = wkv4_load((const real *)p->saved + seg * 3 * p->width, p->width, c);
            for (int64_t i = 0; i + 1 < steps; i++) {
                const int64_t at = (t0 + i) * p->width + c;
                s[i + 1] = wkv4_next(s[i], ((const real *)p->w)[c], ((const real *)p->k)[at],
                                     ((const real *)p->v)[at]);
            }
            for (int64_t i = steps - 1; i >= 0; i--)
                wkv4_step_bwd(p, g, t0 + i, c, s[i], &carry);
        }
        const wkv4_state first = wkv4_load(p->saved, p->width, c);
        const real scale = exp(carry.rho + first.pp);
        wkv4_store(dstate, p->width, c, (wkv4_state){carry.ah * scale, carry.bh * scale, 0});
    }
}

#endif
