/* rwkv7.h: reference of what RWKV-7 does before and after its recurrence, head by head.
 *
 * Formulas: arXiv 2503.14456, section 4, and RWKV-LM, RWKV-v7/rwkv_v7_demo.py (which the value
 * residual follows where the two differ). The backward is their derivative, term by term. */
#ifndef RK_KERNELS_REF_RWKV7_H
#define RK_KERNELS_REF_RWKV7_H

#include "kernels/ref/norm.h"

#define RK_DECAY_SCALE ((real)0.60653065971263342360) /* e^(-1/2) */

static inline real decay(real logit)
{
    return exp(-RK_DECAY_SCALE * sigmoid(logit));
}

/* Element i of an array that may be missing. */
static inline real or_else(const real *x, int64_t i, real other)
{
    return x ? x[i] : other;
}

/* kk = k0 k_k / max(|k0 k_k|, floor) of the head that begins at channel c of a row; its length. */
static real head_kk(int64_t n, const real *k0, const real *k_k, real *kk)
{
    for (int64_t j = 0; j < n; j++)
        kk[j] = k0[j] * or_else(k_k, j, 1);
    const real len = sqrt(dot(n, kk, kk));
    for (int64_t j = 0; j < n; j++)
        kk[j] /= fmax(len, (real)RK_L2_EPS);
    return len;
}

/* One head: c its first channel, i its first element. na serves as the place for kk. */
static void prepare_head(int64_t n, int64_t c, int64_t i, const rk_rwkv7_prepare *p)
{
    const real *w0 = p->w0, *a0 = p->a0, *k_k = p->k_k, *k_a = p->k_a;
    const real *wl = p->wl, *al = p->al, *k0 = p->k0;
    real *w = p->w, *k = p->k, *na = p->na, *b = p->b;
    head_kk(n, k0 + i, k_k ? k_k + c : NULL, na + i);
    for (const int64_t end = c + n; c < end; c++, i++) {
        const real a = sigmoid(a0[c] + al[i]), kk = na[i];
        w[i] = decay(w0[c] + wl[i]);
        k[i] = k0[i] * (k_a ? 1 + (a - 1) * k_a[c] : 1 - w[i] + a);
        na[i] = -kk;
        b[i] = kk * a;
    }
}

static void rwkv7_prepare(int64_t rows, int64_t h, int64_t n, const rk_rwkv7_prepare *p)
{
    const real *v0 = p->v0, *vl = p->vl, *v_in = p->v_in, *v_first = p->v_first;
    real *v = p->v;
    for (int64_t head = 0; head < rows * h; head++)
        prepare_head(n, head % h * n, head * n, p);
    for (int64_t i = 0; v_first && i < rows * h * n; i++)
        v[i] = v_in[i] + (v_first[i] - v_in[i]) * sigmoid(v0[i % (h * n)] + vl[i]);
}

/* One head of the backward, all but the value residual: through kk and b, then k, a and w.
 * dz, the gradient of z = k0 k_k before its normalisation, uses dk_k_rows as its place. */
static void prepare_head_bwd(int64_t n, int64_t c, int64_t i, const rk_rwkv7_prepare *p,
                             const rk_rwkv7_prepare_grads *g)
{
    const real *w0 = p->w0, *a0 = p->a0, *k_k = p->k_k, *k_a = p->k_a;
    const real *wl = p->wl, *al = p->al, *k0 = p->k0;
    const real *dw = g->dw, *dk = g->dk, *dna = g->dna, *db = g->db;
    real *dwl = g->dwl, *dal = g->dal, *dk0 = g->dk0;
    real *dk_k = g->dk_k_rows, *kk = g->dk_a_rows; /* kk stays there until its element is done */

    const real len = head_kk(n, k0 + i, k_k ? k_k + c : NULL, kk + i);
    real along = 0; /* kk . dkk */
    for (int64_t j = 0; j < n; j++) {
        const real a = sigmoid(a0[c + j] + al[i + j]);
        dk_k[i + j] = -dna[i + j] + db[i + j] * a;
        along += kk[i + j] * dk_k[i + j];
    }
    if (!(len > (real)RK_L2_EPS))
        along = 0;
    for (const int64_t end = c + n; c < end; c++, i++) {
        const real a = sigmoid(a0[c] + al[i]), s = sigmoid(w0[c] + wl[i]);
        const real w = decay(w0[c] + wl[i]), gw = k_a ? dw[i] : dw[i] - dk[i] * k0[i];
        const real dz = (dk_k[i] - kk[i] * along) / fmax(len, (real)RK_L2_EPS);
        const real da = db[i] * kk[i] + dk[i] * k0[i] * or_else(k_a, c, 1);
        dwl[i] -= gw * w * RK_DECAY_SCALE * s * (1 - s);
        dal[i] += da * a * (1 - a);
        dk0[i] += dk[i] * (k_a ? 1 + (a - 1) * k_a[c] : 1 - w + a) + dz * or_else(k_k, c, 1);
        dk_k[i] = dz * k0[i];
        kk[i] = dk[i] * k0[i] * (a - 1); /* now the term of dk_a */
    }
}

static void value_residual_bwd(int64_t rows, int64_t c, const rk_rwkv7_prepare *p,
                               const rk_rwkv7_prepare_grads *g)
{
    const real *v0 = p->v0, *vl = p->vl, *v_in = p->v_in, *v_first = p->v_first, *dv = g->dv;
    real *dvl = g->dvl, *dv_in = g->dv_in, *dv_first = g->dv_first;
    for (int64_t i = 0; i < rows * c; i++) {
        const real nu = sigmoid(v0[i % c] + vl[i]);
        dv_in[i] += dv[i] * (1 - nu);
        dv_first[i] += dv[i] * nu;
        dvl[i] += dv[i] * (v_first[i] - v_in[i]) * nu * (1 - nu);
    }
}

static void rwkv7_prepare_bwd(int64_t rows, int64_t h, int64_t n, const rk_rwkv7_prepare *p,
                              const rk_rwkv7_prepare_grads *g)
{
    for (int64_t head = 0; head < rows * h; head++)
        prepare_head_bwd(n, head % h * n, head * n, p, g);
    if (p->v_first)
        value_residual_bwd(rows, h * n, p, g);
}

/* The bonus of a head, sum_j r k r_k; r_k NULL: there is none. */
static real bonus(int64_t n, const real *r, const real *k, const real *r_k)
{
    real s = 0;
    for (int64_t j = 0; r_k && j < n; j++)
        s += r[j] * k[j] * r_k[j];
    return s;
}

/* Of one head without a norm: y scaled, and statistics that say so. */
static void scaled(int64_t n, const real *y, double scale, real *z, real *stats)
{
    for (int64_t j = 0; j < n; j++)
        z[j] = y[j] * (real)scale;
    if (stats)
        memcpy(stats, (const real[]){0, (real)scale}, 2 * sizeof *stats);
}

static inline real gate(const rk_rwkv7_output *p, const real *g, int64_t i)
{
    return g ? (real)p->gate_base + g[i] : 1;
}

static void rwkv7_output(int64_t rows, int64_t h, int64_t n, const rk_rwkv7_output *p)
{
    const real *r = p->r, *k = p->k, *v = p->v, *g = p->g, *r_k = p->r_k;
    real *z = p->z, *stats = p->stats;
    if (p->ln_w)
        norm(rows, h, n, p->y, p->ln_w, p->ln_b, p->eps, z, p->stats);
    for (int64_t head = 0; head < rows * h; head++) {
        const int64_t i = head * n;
        const real s = bonus(n, r + i, k + i, r_k ? r_k + head % h * n : NULL);
        if (!p->ln_w)
            scaled(n, (const real *)p->y + i, p->scale, z + i, stats ? stats + 2 * head : NULL);
        for (int64_t j = i; j < i + n; j++)
            z[j] = (z[j] + s * v[j]) * gate(p, g, j);
    }
}

/* One head: c its first channel, i its first element. dp = dz g is the gradient before the gate and
 * stays in dln_b_rows, whose value it is. */
static void output_head_bwd(int64_t n, int64_t c, int64_t i, const real *stats,
                            const rk_rwkv7_output *p, const rk_rwkv7_output_grads *d)
{
    const real *y = p->y, *r = p->r, *k = p->k, *v = p->v, *g = p->g, *dz = d->dz;
    const real *r_k = p->r_k, *ln_w = p->ln_w, *ln_b = p->ln_b;
    real *dy = d->dy, *dr = d->dr, *dk = d->dk, *dv = d->dv, *dg = d->dg;
    real *dr_k = d->dr_k_rows, *dln_w = d->dln_w_rows, *dp = d->dln_b_rows;

    const real s = bonus(n, r + i, k + i, r_k ? r_k + c : NULL);
    for (int64_t j = i; j < i + n; j++)
        dp[j] = dz[j] * gate(p, g, j);
    const real ds = dot(n, dp + i, v + i);
    if (ln_w)
        group_bwd(n, y + i, stats, dp + i, ln_w + c, dy + i);
    for (const int64_t end = c + n; c < end; c++, i++) {
        const real xhat = (y[i] - stats[0]) * stats[1];
        if (!ln_w)
            dy[i] += dp[i] * stats[1];
        if (g)
            dg[i] += dz[i] * (xhat * or_else(ln_w, c, 1) + or_else(ln_b, c, 0) + s * v[i]);
        dv[i] += s * dp[i];
        dr[i] += ds * k[i] * or_else(r_k, c, 0);
        dk[i] += ds * r[i] * or_else(r_k, c, 0);
        dr_k[i] = ds * r[i] * k[i];
        dln_w[i] = dp[i] * xhat;
    }
}

static void rwkv7_output_bwd(int64_t rows, int64_t h, int64_t n, const rk_rwkv7_output *p,
                             const rk_rwkv7_output_grads *d)
{
    const real *stats = p->stats;
    for (int64_t head = 0; head < rows * h; head++)
        output_head_bwd(n, head % h * n, head * n, stats + 2 * head, p, d);
}

#endif
