/* features.h: reference of the kernel path beside the recurrence of RWKV-7: what its recurrence over
 * features reads, and what comes back from it (arXiv 2504.05097; the published equations and the form
 * of them that is built here are in docs/state-tuning.md).
 *
 * A vector x (N) has M features, u_m support vectors and s a scale:
 *     phi(x)_m = exp(-gamma |x/s - u_m|^2)     hat(x) = phi(x) / max(|phi(x)|, 1e-6)
 *     z(x) = R hat(x)                          R a basis; none: z is hat
 * and the recurrence S' = S' diag(w') + (S' a') b'^T + v' k'^T, y' = S' r' gets of each head
 *     r' = |r| z(r)   k' = |k| z(k)   v' = |v| hat(v)   a' = -z(kk) / |z(kk)|   b' = -mean(a) a'
 *     w'_m = exp(sum_j pi_mj log w_j)
 * gamma 0: features are the vectors themselves, and S' is the recurrence of the base. gamma below 0:
 * as published, phi of w, kk, a, k, v, r with |gamma|, the removal scaled so that it removes at most
 * what is there. The backward is the derivative, term by term. */
#ifndef RK_KERNELS_REF_FEATURES_H
#define RK_KERNELS_REF_FEATURES_H

#include "kernels/ref/real.h"

#define RK_FEATURE_FLOOR ((real)1e-6) /* of lengths that are divided by, and of scales */

/* The features of one vector. */
typedef struct feature {
    const real *x, *u, *basis; /* (N), (M,N), (M,M) or NULL */
    real inv_scale, gamma;
    bool plain;      /* phi itself */
    bool unit;       /* R hat(x) is brought to length 1 */
    real *p, *z;     /* (M) hat(x) or phi(x); R hat(x): p where there is no basis */
    real len, z_len; /* by which p and z were divided */
} feature;

static real squared_distance(int64_t n, const real *x, real inv_scale, const real *u)
{
    real part[8] = {0}, sum = 0;
    int64_t j = 0;
    for (; j + 8 <= n; j += 8)
        for (int l = 0; l < 8; l++) {
            const real d = x[j + l] * inv_scale - u[j + l];
            part[l] += d * d;
        }
    for (; j < n; j++) {
        const real d = x[j] * inv_scale - u[j];
        sum += d * d;
    }
    for (int l = 0; l < 8; l++)
        sum += part[l];
    return sum;
}

static real length_of(int64_t n, const real *x)
{
    return sqrt(dot(n, x, x));
}

static real divide_by_length(int64_t m, real *x)
{
    const real len = fmax(length_of(m, x), RK_FEATURE_FLOOR);
    for (int64_t i = 0; i < m; i++)
        x[i] /= len;
    return len;
}

static void feature_of(int64_t n, int64_t m, feature *f)
{
    for (int64_t i = 0; i < m; i++)
        f->p[i] = exp(-f->gamma * squared_distance(n, f->x, f->inv_scale, f->u + i * n));
    f->len = f->plain ? 1 : divide_by_length(m, f->p);
    for (int64_t i = 0; f->basis && i < m; i++)
        f->z[i] = dot(m, f->basis + i * m, f->p);
    if (!f->basis)
        f->z = f->p;
    f->z_len = f->basis && f->unit ? divide_by_length(m, f->z) : 1;
}

static void feature_vector(const rk_feature_vector *v, void *p, void *z)
{
    feature f = {.x = v->x,
                 .u = v->u,
                 .basis = v->basis,
                 .inv_scale = 1 / fmax((real)v->scale, RK_FEATURE_FLOOR),
                 .gamma = (real)fabs(v->gamma),
                 .plain = v->gamma < 0,
                 .p = p,
                 .z = z};
    feature_of(v->size, v->n_features, &f);
}

/* The gradient of x / max(|x|, floor), y its result: d becomes that of x. */
static void divide_by_length_bwd(int64_t m, const real *y, real len, real *d)
{
    const real along = len > RK_FEATURE_FLOOR ? dot(m, y, d) : 0;
    for (int64_t i = 0; i < m; i++)
        d[i] = (d[i] - y[i] * along) / len;
}

/* dz (M), which is used up, into dx (N), added to. */
static void feature_bwd(int64_t n, int64_t m, const feature *f, real *dz, real *spare, real *dx)
{
    if (f->basis && f->unit)
        divide_by_length_bwd(m, f->z, f->z_len, dz);
    if (f->basis) {
        for (int64_t i = 0; i < m; i++)
            spare[i] = 0;
        for (int64_t i = 0; i < m; i++)
            for (int64_t j = 0; j < m; j++)
                spare[j] += f->basis[i * m + j] * dz[i];
        dz = spare;
    }
    if (!f->plain)
        divide_by_length_bwd(m, f->p, f->len, dz);
    for (int64_t i = 0; i < m; i++) {
        const real slope = dz[i] * f->p[i] * f->len * -2 * f->gamma * f->inv_scale;
        for (int64_t j = 0; j < n; j++)
            dx[j] += slope * (f->x[j] * f->inv_scale - f->u[i * n + j]);
    }
}

/* One head of one token: its vectors, its constants, and its features. */
enum { FEAT_R, FEAT_K, FEAT_V, FEAT_KK, FEAT_W, FEAT_A, N_FEATS };
typedef struct feature_head {
    const real *r, *k, *v, *a, *w, *pi;
    real *kk; /* (N), in scratch */
    feature f[N_FEATS];
    real removal; /* as published: the factor of phi(kk) */
} feature_head;

/* Arrays (M) of scratch: p and z of each, a gradient, a spare one; then (N) for kk and its gradient. */
static size_t features_scratch(int64_t n, int64_t m)
{
    return (size_t)((2 * N_FEATS + 2) * m + 2 * n) * sizeof(real);
}

/* h: the head; i: its first element in (rows,H,N). */
static feature_head feature_head_of(const rk_features *p, int64_t h, int64_t i, real *scratch)
{
    const int64_t n = p->size, m = p->n_features;
    const real gamma = ((const real *)p->gamma)[h], *scale = (const real *)p->scale + 3 * h;
    const real *u = (const real *)p->u + h * m * n, *uv = (const real *)p->uv + h * m * n;
    const real *basis = p->basis ? (const real *)p->basis + h * m * m : NULL;
    feature_head o = {.r = (const real *)p->r + i,
                      .k = (const real *)p->k + i,
                      .v = (const real *)p->v + i,
                      .a = (const real *)p->a + i,
                      .w = (const real *)p->w + i,
                      .pi = (const real *)p->pi + h * m * n,
                      .kk = scratch + (2 * N_FEATS + 2) * m,
                      .removal = 1};
    for (int64_t j = 0; j < n; j++)
        o.kk[j] = -((const real *)p->na)[i + j];
    const real *x[N_FEATS] = {o.r, o.k, o.v, o.kk, o.w, o.a};
    for (int q = 0; q < N_FEATS; q++)
        o.f[q] = (feature){.x = x[q],
                           .u = q == FEAT_V ? uv : u,
                           .basis = q == FEAT_V || gamma < 0 ? NULL : basis,
                           .inv_scale = 1,
                           .gamma = fabs(gamma),
                           .plain = gamma < 0,
                           .unit = q == FEAT_KK,
                           .p = scratch + 2 * q * m,
                           .z = scratch + (2 * q + 1) * m};
    o.f[FEAT_K].inv_scale = 1 / fmax(scale[0], RK_FEATURE_FLOOR);
    o.f[FEAT_R].inv_scale = 1 / fmax(scale[1], RK_FEATURE_FLOOR);
    o.f[FEAT_V].inv_scale = 1 / fmax(scale[2], RK_FEATURE_FLOOR);
    for (int q = 0; q < (gamma < 0 ? N_FEATS : FEAT_W) && gamma != 0; q++)
        feature_of(n, m, &o.f[q]);
    return o;
}

static real mean_of(int64_t n, const real *x)
{
    real s = 0;
    for (int64_t j = 0; j < n; j++)
        s += x[j];
    return s / (real)n;
}

/* Places of outputs. */
typedef struct feature_out {
    real *r, *w, *k, *v, *a, *b;
} feature_out;

static feature_out feature_out_of(void *const *out, int64_t i)
{
    return (feature_out){(real *)out[RK_FEATURES_R] + i, (real *)out[RK_FEATURES_W] + i,
                         (real *)out[RK_FEATURES_K] + i, (real *)out[RK_FEATURES_V] + i,
                         (real *)out[RK_FEATURES_A] + i, (real *)out[RK_FEATURES_B] + i};
}

static void features_gauss(int64_t n, int64_t m, const feature_head *h, const feature_out *o)
{
    const real r_len = length_of(n, h->r), k_len = length_of(n, h->k), v_len = length_of(n, h->v);
    const real rate = mean_of(n, h->a);
    real *log_w = h->kk + n;
    for (int64_t j = 0; j < n; j++)
        log_w[j] = log(h->w[j]);
    for (int64_t i = 0; i < m; i++) {
        o->r[i] = r_len * h->f[FEAT_R].z[i];
        o->k[i] = k_len * h->f[FEAT_K].z[i];
        o->v[i] = v_len * h->f[FEAT_V].z[i];
        o->a[i] = -h->f[FEAT_KK].z[i];
        o->b[i] = rate * h->f[FEAT_KK].z[i];
        o->w[i] = exp(dot(n, h->pi + i * n, log_w));
    }
}

/* By how much phi(kk) is scaled: sum_m phi(a) (scale phi(kk))^2 is 1 at most. */
static real removal_of(int64_t m, const feature_head *h)
{
    real found = 0;
    for (int64_t i = 0; i < m; i++)
        found += h->f[FEAT_A].p[i] * h->f[FEAT_KK].p[i] * h->f[FEAT_KK].p[i];
    return found > 1 ? 1 / sqrt(found) : 1;
}

static void features_literal(int64_t m, const feature_head *h, const feature_out *o)
{
    const real c = removal_of(m, h);
    for (int64_t i = 0; i < m; i++) {
        o->r[i] = h->f[FEAT_R].p[i];
        o->k[i] = h->f[FEAT_K].p[i];
        o->v[i] = h->f[FEAT_V].p[i];
        o->w[i] = h->f[FEAT_W].p[i];
        o->a[i] = -c * h->f[FEAT_KK].p[i];
        o->b[i] = c * h->f[FEAT_A].p[i] * h->f[FEAT_KK].p[i];
    }
}

static void features_linear(int64_t n, real removal, const feature_head *h, const feature_out *o)
{
    for (int64_t j = 0; j < n; j++) {
        o->r[j] = h->r[j];
        o->k[j] = h->k[j];
        o->v[j] = h->v[j];
        o->w[j] = h->w[j];
        o->a[j] = -h->kk[j];
        o->b[j] = removal * h->kk[j] * h->a[j];
    }
}

static void features(const rk_features *p, int64_t lo, int64_t hi, void *scratch)
{
    const int64_t n = p->size, m = p->n_features;
    for (int64_t i = lo; i < hi; i++) {
        const feature_head h = feature_head_of(p, i % p->heads, i * n, scratch);
        const feature_out o = feature_out_of(p->out, i * m);
        if (h.f[0].plain)
            features_literal(m, &h, &o);
        else if (h.f[0].gamma != 0)
            features_gauss(n, m, &h, &o);
        else
            features_linear(n, (real)p->removal, &h, &o);
    }
}

/* ---- backward ---- */

/* Gradients of one head: of the outputs, read; of the vectors, added to. */
typedef struct feature_grads {
    feature_out d;
    real *r, *k, *v, *na, *a, *w;
    real *dz, *spare; /* (M) */
} feature_grads;

/* x' = |x| z(x). */
static void with_length_bwd(int64_t n, int64_t m, const feature *f, const real *dout,
                            const feature_grads *g, real *dx)
{
    const real len = length_of(n, f->x), dlen = dot(m, f->z, dout);
    for (int64_t j = 0; j < n && len > 0; j++)
        dx[j] += f->x[j] / len * dlen;
    for (int64_t i = 0; i < m; i++)
        g->dz[i] = len * dout[i];
    feature_bwd(n, m, f, g->dz, g->spare, dx);
}

/* dkk (N) begins at 0. */
static void features_gauss_bwd(int64_t n, int64_t m, const feature_head *h, const feature_grads *g,
                               real *dkk)
{
    const feature *kk = &h->f[FEAT_KK];
    const real rate = mean_of(n, h->a), drate = dot(m, kk->z, g->d.b);
    with_length_bwd(n, m, &h->f[FEAT_R], g->d.r, g, g->r);
    with_length_bwd(n, m, &h->f[FEAT_K], g->d.k, g, g->k);
    with_length_bwd(n, m, &h->f[FEAT_V], g->d.v, g, g->v);
    for (int64_t i = 0; i < m; i++)
        g->dz[i] = rate * g->d.b[i] - g->d.a[i];
    feature_bwd(n, m, kk, g->dz, g->spare, dkk);
    for (int64_t j = 0; j < n; j++)
        g->a[j] += drate / (real)n;
    for (int64_t i = 0; i < m; i++) {
        real log_w = 0;
        for (int64_t j = 0; j < n; j++)
            log_w += h->pi[i * n + j] * log(h->w[j]);
        const real slope = g->d.w[i] * exp(log_w);
        for (int64_t j = 0; j < n; j++)
            g->w[j] += slope * h->pi[i * n + j] / h->w[j];
    }
}

static void plain_bwd(int64_t n, int64_t m, const feature *f, const real *dout,
                      const feature_grads *g, real *dx)
{
    memcpy(g->dz, dout, (size_t)m * sizeof *dout);
    feature_bwd(n, m, f, g->dz, g->spare, dx);
}

static void features_literal_bwd(int64_t n, int64_t m, const feature_head *h,
                                 const feature_grads *g, real *dkk)
{
    const real *q = h->f[FEAT_KK].p, *e = h->f[FEAT_A].p, c = removal_of(m, h);
    real dc = 0;
    plain_bwd(n, m, &h->f[FEAT_R], g->d.r, g, g->r);
    plain_bwd(n, m, &h->f[FEAT_K], g->d.k, g, g->k);
    plain_bwd(n, m, &h->f[FEAT_V], g->d.v, g, g->v);
    plain_bwd(n, m, &h->f[FEAT_W], g->d.w, g, g->w);
    for (int64_t i = 0; i < m; i++)
        dc += q[i] * (e[i] * g->d.b[i] - g->d.a[i]);
    const real dfound = c < 1 ? -dc * c * c * c / 2 : 0;
    for (int64_t i = 0; i < m; i++)
        g->dz[i] = c * q[i] * g->d.b[i] + dfound * q[i] * q[i];
    feature_bwd(n, m, &h->f[FEAT_A], g->dz, g->spare, g->a);
    for (int64_t i = 0; i < m; i++)
        g->dz[i] = c * (e[i] * g->d.b[i] - g->d.a[i]) + 2 * dfound * e[i] * q[i];
    feature_bwd(n, m, &h->f[FEAT_KK], g->dz, g->spare, dkk);
}

static void features_linear_bwd(int64_t n, real removal, const feature_head *h,
                                const feature_grads *g, real *dkk)
{
    for (int64_t j = 0; j < n; j++) {
        g->r[j] += g->d.r[j];
        g->k[j] += g->d.k[j];
        g->v[j] += g->d.v[j];
        g->w[j] += g->d.w[j];
        g->a[j] += removal * h->kk[j] * g->d.b[j];
        dkk[j] += removal * h->a[j] * g->d.b[j] - g->d.a[j];
    }
}

static void features_bwd(const rk_features *p, const rk_features_grads *d, int64_t lo, int64_t hi,
                         void *scratch)
{
    const int64_t n = p->size, m = p->n_features;
    real *spare = (real *)scratch + 2 * N_FEATS * m, *dkk = spare + 2 * m + n;
    for (int64_t i = lo; i < hi; i++) {
        const feature_head h = feature_head_of(p, i % p->heads, i * n, scratch);
        const feature_grads g = {.d = feature_out_of(d->dout, i * m),
                                 .r = (real *)d->dr + i * n,
                                 .k = (real *)d->dk + i * n,
                                 .v = (real *)d->dv + i * n,
                                 .na = (real *)d->dna + i * n,
                                 .a = (real *)d->da + i * n,
                                 .w = (real *)d->dw + i * n,
                                 .dz = spare,
                                 .spare = spare + m};
        memset(dkk, 0, (size_t)n * sizeof *dkk);
        if (h.f[0].plain)
            features_literal_bwd(n, m, &h, &g, dkk);
        else if (h.f[0].gamma != 0)
            features_gauss_bwd(n, m, &h, &g, dkk);
        else
            features_linear_bwd(n, (real)p->removal, &h, &g, dkk);
        for (int64_t j = 0; j < n; j++)
            g.na[j] -= dkk[j];
    }
}

/* ---- back from features: y = alpha Q y' ---- */

static void features_read(const rk_features_back *p, int64_t lo, int64_t hi)
{
    const int64_t n = p->size, m = p->n_features;
    for (int64_t i = lo; i < hi; i++) {
        const real *q = (const real *)p->matrix + i % p->heads * n * m;
        const real *row = (const real *)p->x + i * m;
        const real gain = ((const real *)p->alpha)[i % p->heads];
        for (int64_t j = 0; j < n; j++)
            ((real *)p->out)[i * n + j] = gain * dot(m, q + j * m, row);
    }
}

/* The slope of the loss along alpha of one head, from dout (N). */
static double features_gain_bwd(const rk_features_back *p, const void *dout, int64_t i)
{
    const int64_t n = p->size, m = p->n_features;
    const real *q = (const real *)p->matrix + i % p->heads * n * m;
    const real *row = (const real *)p->x + i * m, *d = (const real *)dout + i * n;
    real slope = 0;
    for (int64_t j = 0; j < n; j++)
        slope += d[j] * dot(m, q + j * m, row);
    return (double)slope;
}

static void features_read_bwd(const rk_features_back *p, const void *dout, int64_t lo, int64_t hi,
                              void *dx)
{
    const int64_t n = p->size, m = p->n_features;
    for (int64_t i = lo; i < hi; i++) {
        const real *q = (const real *)p->matrix + i % p->heads * n * m;
        const real *d = (const real *)dout + i * n;
        const real gain = ((const real *)p->alpha)[i % p->heads];
        real *row = (real *)dx + i * m;
        for (int64_t j = 0; j < n; j++)
            for (int64_t l = 0; l < m; l++)
                row[l] += gain * d[j] * q[j * m + l];
    }
}

#endif
