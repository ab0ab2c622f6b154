/* narrow.inc.c: quantising floats to the block formats. The file that includes this defines NARROW,
 * the name of the function that it becomes, and LANES, the floats of a vector: 4 or 8.
 *
 * The formats of 32 elements are rounded as ggml does, to the bit, unless errors are weighted. All
 * others look for the factors of least weighted squared error: candidates for each sub-block, the
 * best factors for the codes of each by least squares; then the factors are rounded to what the
 * format stores, their neighbours tried, and the factors of the block fitted once more. Source of
 * the formats and of the plain rounding: ggml-org/ggml, src/ggml-quants.c.
 *
 * The search works on several (sub-)blocks at once, one in each lane of a vector, so sums run over
 * whole vectors and nothing is shuffled. No multiplication is fused with an addition, and lanes are
 * only summed in order: every build gives the same bits, so any may run.
 *
 * Vector types of the compiler with 4 floats are native everywhere; gcc splits those with 8 badly
 * where the machine has none. */
#include <math.h>
#include <string.h>

#include "base/inline.h"
#include "base/num.h"
#include "kernels/blocks_narrow.h"

enum { SMALL = 32, LARGE = 256, SUB = 32, N_SUB = LARGE / SUB, SUB6 = 16, N_SUB6 = LARGE / SUB6 };

static uint16_t put_half(uint8_t *p, float x)
{
    const uint16_t h = rk_f32_to_f16(x);
    p[0] = (uint8_t)h;
    p[1] = (uint8_t)(h >> 8);
    return h;
}

/* x as an f16 file will give it back; the largest f16 stands in for what is larger. */
static float as_half(float x)
{
    const float max = 65504.0f;
    return rk_f16_to_f32(rk_f32_to_f16(x < -max ? -max : x > max ? max : x));
}

/* 1 / d, or 0 for d = 0. Values that round to an f16 other than zero have a finite inverse. */
static float inverse_of(float d)
{
    return fabsf(d) > 1e-37f ? 1.0f / d : 0.0f;
}

/* ---- lanes ---- */

typedef float lanes __attribute__((vector_size(4 * LANES)));
typedef int32_t int_lanes __attribute__((vector_size(4 * LANES)));

/* a where the mask is set, else b. */
#define BLEND(mask, a, b) ((lanes)(((mask) & (int_lanes)(a)) | (~(mask) & (int_lanes)(b))))
#ifndef LANES_MAX /* b where a is NaN */
#define LANES_MAX(a, b) BLEND((a) > (b), a, b)
#define LANES_MIN(a, b) BLEND((a) < (b), a, b)
#endif
#define LANES_INVERSE(d) BLEND(((d) > 1e-37f) | ((d) < -1e-37f), 1.0f / (d), (lanes){0})
/* Round to an integer, |x| < 2^22: the sum has no bits below one. */
#define LANES_ROUND(x) (((x) + 12582912.0f) - 12582912.0f)

/* n elements of each lane and their weights, element by element. */
typedef struct group {
    int n;
    lanes x[SMALL], w[SMALL];
    lanes sw, sx; /* sums of w and of w x */
} group;

/* Sums for one choice of codes q: of w q, w q^2, w x q. */
typedef struct sums {
    lanes q, qq, xq;
} sums;

/* Load n_lanes neighbouring pieces of n elements into the lanes of g; the other lanes are zero. */
static void gather(group *g, int n, int n_lanes, const float *x, const float *w)
{
    g->n = n;
    g->sw = g->sx = (lanes){0};
    for (int i = 0; i < n; i++) {
        float xi[LANES] = {0}, wi[LANES] = {0};
        for (int l = 0; l < n_lanes; l++) {
            xi[l] = x[l * n + i];
            wi[l] = w ? w[l * n + i] : 1.0f;
        }
        memcpy(&g->x[i], xi, sizeof xi);
        memcpy(&g->w[i], wi, sizeof wi);
        g->sw += g->w[i];
        g->sx += g->w[i] * g->x[i];
    }
}

static void gather_all(group *g, int n_groups, int n, const float *x, const float *w)
{
    for (int h = 0; h < n_groups; h++)
        gather(&g[h], n, LANES, x + h * LANES * n, w ? w + h * LANES * n : NULL);
}

/* ---- x ~ d q - m, q in [0, max], m >= 0 ---- */

/* (x + m) / d, rounded. */
#define AFFINE_CODE(x, inverse, offset, max)                                                       \
    LANES_ROUND(LANES_MIN(LANES_MAX((x) * (inverse) + (offset), (lanes){0}), max))

RK_INLINE void affine_sums(const group *g, const lanes *d, const lanes *m, int max, sums *s)
{
    const lanes inverse = LANES_INVERSE(*d), offset = *m * inverse;
    const lanes top = (lanes){0} + (float)max;
    lanes sq = {0}, sqq = {0}, sxq = {0};
    for (int i = 0; i < g->n; i++) {
        const lanes q = AFFINE_CODE(g->x[i], inverse, offset, top), wq = g->w[i] * q;
        sq += wq;
        sqq += wq * q;
        sxq += wq * g->x[i];
    }
    *s = (sums){sq, sqq, sxq};
}

RK_INLINE void affine_error(const group *g, const lanes *d, const lanes *m, int max, lanes *error)
{
    const lanes inverse = LANES_INVERSE(*d), offset = *m * inverse;
    const lanes top = (lanes){0} + (float)max;
    lanes sum = {0};
    for (int i = 0; i < g->n; i++) {
        const lanes q = AFFINE_CODE(g->x[i], inverse, offset, top);
        const lanes e = g->x[i] - (*d * q - *m);
        sum += g->w[i] * e * e;
    }
    *error = sum;
}

/* d and m of least squares for given codes; unchanged where all codes are equal. */
RK_INLINE void affine_solve(const group *g, const sums *s, lanes *d, lanes *m)
{
    const lanes det = g->sw * s->qq - s->q * s->q;
    const int_lanes solvable = det > 1e-6f * g->sw * s->qq;
    const lanes inverse = BLEND(solvable, 1.0f / det, (lanes){0});
    const lanes mi = (s->q * s->xq - s->qq * g->sx) * inverse;
    const lanes di =
        BLEND(mi < 0.0f, s->xq * LANES_INVERSE(s->qq), (g->sw * s->xq - s->q * g->sx) * inverse);
    *d = BLEND(solvable, di, *d);
    *m = BLEND(solvable, LANES_MAX(mi, (lanes){0}), *m);
}

/* How much smaller d and m make the squared error than that of all zeros. */
#define AFFINE_GAIN(g, s, d, m)                                                                    \
    (2.0f * ((d) * (s).xq - (m) * (g)->sx) - (d) * (d) * (s).qq +                                  \
     (m) * (2.0f * (d) * (s).q - (m) * (g)->sw))

static void fit_affine(const group *g, int max, lanes *d, lanes *m)
{
    lanes low = LANES_MIN(g->x[0], (lanes){0}), high = g->x[0];
    for (int i = 1; i < g->n; i++) {
        low = LANES_MIN(g->x[i], low);
        high = LANES_MAX(g->x[i], high);
    }
    /* All codes equal: a constant block below zero is represented exactly. */
    *d = (lanes){0};
    *m = LANES_MAX(-g->sx / g->sw, (lanes){0});
    lanes best = g->sw * *m * *m;
    for (int step = -4; step <= 3; step++) {
        lanes di = (high - low) / ((float)max + 0.4f * (float)step), mi = -low;
        sums s;
        for (int round = 0; round < 2; round++) {
            affine_sums(g, &di, &mi, max, &s);
            affine_solve(g, &s, &di, &mi);
        }
        const lanes gain = AFFINE_GAIN(g, s, di, mi);
        const int_lanes better = gain > best;
        best = BLEND(better, gain, best);
        *d = BLEND(better, di, *d);
        *m = BLEND(better, mi, *m);
    }
}

/* ---- x ~ d q, q in [-low, low - 1] ---- */

/* x / d, rounded. */
#define SYMMETRIC_CODE(x, inverse, low)                                                            \
    LANES_ROUND(LANES_MIN(LANES_MAX((x) * (inverse), (lanes){0} - (low)), (lanes){0} + ((low)-1)))

RK_INLINE void symmetric_sums(const group *g, const lanes *d, float low, lanes *sqq, lanes *sxq)
{
    const lanes inverse = LANES_INVERSE(*d);
    lanes qq = {0}, xq = {0};
    for (int i = 0; i < g->n; i++) {
        const lanes q = SYMMETRIC_CODE(g->x[i], inverse, low), wq = g->w[i] * q;
        qq += wq * q;
        xq += wq * g->x[i];
    }
    *sqq = qq;
    *sxq = xq;
}

RK_INLINE void symmetric_error(const group *g, const lanes *d, float low, lanes *error)
{
    const lanes inverse = LANES_INVERSE(*d);
    lanes sum = {0};
    for (int i = 0; i < g->n; i++) {
        const lanes e = g->x[i] - *d * SYMMETRIC_CODE(g->x[i], inverse, low);
        sum += g->w[i] * e * e;
    }
    *error = sum;
}

/* For the codes of a candidate the best factor is sxq / sqq, and it reduces the error by sxq^2 /
 * sqq. The candidates map the element of largest magnitude to codes near the end of the range. */
static void fit_symmetric(const group *g, float low, lanes *d)
{
    lanes top = {0}, best = {0};
    for (int i = 0; i < g->n; i++)
        top = BLEND(g->x[i] * g->x[i] > top * top, g->x[i], top);
    *d = (lanes){0};
    for (int i = 0; i <= 20; i++) { /* the plain scale first: 0, 1, -1, 2, ... */
        const int step = i % 2 ? (i + 1) / 2 : -i / 2;
        const lanes di = top / -(low + 0.1f * (float)step);
        lanes sqq, sxq;
        symmetric_sums(g, &di, low, &sqq, &sxq);
        const lanes factor = sxq * LANES_INVERSE(sqq), gain = sxq * factor;
        const int_lanes better = gain > best * (1.0f + 1e-6f); /* better by more than rounding */
        best = BLEND(better, gain, best);
        *d = BLEND(better, factor, *d);
    }
}

/* ---- 32 elements ---- */

/* The element of largest magnitude, with its sign. */
static float largest(int n, const float *x)
{
    float best = 0.0f;
    for (int i = 0; i < n; i++)
        if (fabsf(x[i]) > fabsf(best))
            best = x[i];
    return best;
}

/* Pack the codes: low nibbles are the first half, high ones the second; fifth bits, where there are
 * any, are stored apart. */
static void pack_nibbles(const int *q, uint8_t *high, uint8_t *low)
{
    uint32_t h = 0;
    for (int j = 0; j < 16; j++) {
        low[j] = (uint8_t)((q[j] & 15) | (q[j + 16] & 15) << 4);
        h |= (uint32_t)(q[j] >> 4 & 1) << j | (uint32_t)(q[j + 16] >> 4 & 1) << (j + 16);
    }
    for (int i = 0; high && i < 4; i++)
        high[i] = (uint8_t)(h >> (8 * i));
}

/* A fit of y = d q - m; NULL stands for ggml's. */
typedef struct fit {
    float d, m;
} fit;

/* Fit y = d (q - low); returns d and the codes with the offset. */
static float symmetric_block(const float *x, const fit *f, int low, int *q)
{
    const float d = f ? as_half(f->d) : largest(SMALL, x) / (float)-low;
    const float inverse = inverse_of(d);
    for (int i = 0; i < SMALL; i++) {
        const int code = (int)(x[i] * inverse + (float)low + 0.5f);
        q[i] = code < 0 ? 0 : code < 2 * low ? code : 2 * low - 1;
    }
    return d;
}

/* Fit y = d q + m. */
static fit affine_block(const float *x, const fit *f, int max, int *q)
{
    float low = x[0], high = x[0];
    for (int i = 1; i < SMALL; i++) {
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
    }
    const fit own = {f ? as_half(f->d) : (high - low) / (float)max, f ? as_half(-f->m) : low};
    const float inverse = inverse_of(own.d);
    for (int i = 0; i < SMALL; i++) {
        const int code = (int)((x[i] - own.m) * inverse + 0.5f);
        q[i] = code < 0 ? 0 : code < max ? code : max;
    }
    return own;
}

static void q4_0(const float *x, const fit *f, uint8_t *b)
{
    int q[SMALL];
    put_half(b, symmetric_block(x, f, 8, q));
    pack_nibbles(q, NULL, b + 2);
}

static void q5_0(const float *x, const fit *f, uint8_t *b)
{
    int q[SMALL];
    put_half(b, symmetric_block(x, f, 16, q));
    pack_nibbles(q, b + 2, b + 6);
}

static void q4_1(const float *x, const fit *f, uint8_t *b)
{
    int q[SMALL];
    const fit own = affine_block(x, f, 15, q);
    put_half(b, own.d);
    put_half(b + 2, own.m);
    pack_nibbles(q, NULL, b + 4);
}

static void q5_1(const float *x, const fit *f, uint8_t *b)
{
    int q[SMALL];
    const fit own = affine_block(x, f, 31, q);
    put_half(b, own.d);
    put_half(b + 2, own.m);
    pack_nibbles(q, b + 4, b + 8);
}

static void q8_0(const float *x, const fit *f, uint8_t *b)
{
    const float d = f ? as_half(f->d) : fabsf(largest(SMALL, x)) / 127.0f;
    const float inverse = inverse_of(d);
    put_half(b, d);
    for (int i = 0; i < SMALL; i++) {
        const float t = x[i] * inverse, c = t < -128.0f ? -128.0f : t > 127.0f ? 127.0f : t;
        /* roundf; the sum is exact */
        b[2 + i] = (uint8_t)(int8_t)((double)c + (c < 0.0f ? -0.5 : 0.5));
    }
}

/* ---- 256 elements, y = d s q - m t: eight sub-blocks with scales s and minima t of 6 bits ---- */

enum { SCALE_MAX = 63, GROUPS = N_SUB / LANES, ROUNDS = 2 };

typedef struct k_block {
    int max; /* of the codes */
    float d, m;
    lanes s[GROUPS], t[GROUPS];
} k_block;

static void add_lanes(float *sum, const lanes *x)
{
    for (int l = 0; l < LANES; l++)
        *sum += (*x)[l];
}

static void max_lanes(float *max, const lanes *x)
{
    for (int l = 0; l < LANES; l++)
        *max = (*x)[l] > *max ? (*x)[l] : *max;
}

/* Numbers of [0, max], rounded. */
#define ROUNDED(x, max) LANES_ROUND(LANES_MIN(LANES_MAX(x, (lanes){0}), (lanes){0} + (max)))

/* Try the neighbours of the scales and minima of one group, keep the best; adds up the errors. */
static void k_refine_group(k_block *k, const group *g, int h, lanes *errors)
{
    const lanes s0 = k->s[h], t0 = k->t[h], zero = {0}, top = zero + (float)SCALE_MAX;
    lanes best = zero + INFINITY;
    for (int ds = -1; ds <= 1; ds++)
        for (int dt = -1; dt <= 1; dt++) {
            const lanes s = LANES_MIN(LANES_MAX(s0 + (float)ds, zero), top);
            const lanes t = LANES_MIN(LANES_MAX(t0 + (float)dt, zero), top);
            const lanes d = k->d * s, m = k->m * t;
            lanes error;
            affine_error(&g[h], &d, &m, k->max, &error);
            const int_lanes better = error < best;
            best = BLEND(better, error, best);
            k->s[h] = BLEND(better, s, k->s[h]);
            k->t[h] = BLEND(better, t, k->t[h]);
        }
    *errors = best;
}

static float k_refine(k_block *k, const group *g)
{
    float error = 0.0f;
    lanes errors;
    for (int h = 0; h < GROUPS; h++) {
        k_refine_group(k, g, h, &errors);
        add_lanes(&error, &errors);
    }
    return error;
}

/* d and m of least squares for the present codes, scales and minima. */
static void k_solve(k_block *k, const group *g)
{
    double aa = 0, ab = 0, bb = 0, ax = 0, bx = 0;
    for (int h = 0; h < GROUPS; h++) {
        const lanes d = k->d * k->s[h], m = k->m * k->t[h];
        sums s;
        affine_sums(&g[h], &d, &m, k->max, &s);
        for (int l = 0; l < LANES; l++) {
            const double scale = (double)k->s[h][l], min = (double)k->t[h][l];
            aa += scale * scale * (double)s.qq[l];
            ab -= scale * min * (double)s.q[l];
            bb += min * min * (double)g[h].sw[l];
            ax += scale * (double)s.xq[l];
            bx -= min * (double)g[h].sx[l];
        }
    }
    const double det = aa * bb - ab * ab;
    if (det > 1e-6 * aa * bb) {
        k->d = as_half((float)((ax * bb - bx * ab) / det));
        k->m = as_half((float)((bx * aa - ax * ab) / det));
    } else if (aa > 0) {
        k->d = as_half((float)((ax - ab * (double)k->m) / aa));
    }
}

static void k_start(k_block *k, const group *g)
{
    lanes d[GROUPS], m[GROUPS];
    float d_max = 0.0f, m_max = 0.0f;
    for (int h = 0; h < GROUPS; h++) {
        fit_affine(&g[h], k->max, &d[h], &m[h]);
        max_lanes(&d_max, &d[h]);
        max_lanes(&m_max, &m[h]);
    }
    k->d = as_half(d_max / (float)SCALE_MAX);
    k->m = as_half(m_max / (float)SCALE_MAX);
    for (int h = 0; h < GROUPS; h++) {
        k->s[h] = ROUNDED(d[h] * inverse_of(k->d), (float)SCALE_MAX);
        k->t[h] = ROUNDED(m[h] * inverse_of(k->m), (float)SCALE_MAX);
    }
}

static void k_fit(k_block *k, const group *g)
{
    k_start(k, g);
    float error = k_refine(k, g);
    for (int round = 0; round < ROUNDS; round++) {
        k_block next = *k;
        k_solve(&next, g);
        const float better = next.d >= 0.0f && next.m >= 0.0f ? k_refine(&next, g) : INFINITY;
        if (!(better < error))
            break;
        error = better;
        *k = next;
    }
}

/* The codes of the block, in the order of its elements. */
static void k_codes(const k_block *k, const group *g, uint8_t *q)
{
    const lanes top = (lanes){0} + (float)k->max;
    for (int h = 0; h < GROUPS; h++) {
        const lanes inverse = LANES_INVERSE(k->d * k->s[h]), offset = k->m * k->t[h] * inverse;
        for (int i = 0; i < SUB; i++) {
            const lanes code = AFFINE_CODE(g[h].x[i], inverse, offset, top);
            for (int l = 0; l < LANES; l++)
                q[SUB * (LANES * h + l) + i] = (uint8_t)code[l];
        }
    }
}

/* The eight pairs of 6 bits in 12 bytes. */
static void k_pack_scales(const k_block *k, uint8_t *p)
{
    memset(p, 0, 12);
    for (int i = 0; i < N_SUB; i++) {
        const unsigned s = (unsigned)k->s[i / LANES][i % LANES],
                       t = (unsigned)k->t[i / LANES][i % LANES];
        if (i < 4) {
            p[i] = (uint8_t)(p[i] | s);
            p[i + 4] = (uint8_t)(p[i + 4] | t);
        } else {
            p[i + 4] = (uint8_t)((s & 15) | (t & 15) << 4);
            p[i - 4] = (uint8_t)(p[i - 4] | s >> 4 << 6);
            p[i] = (uint8_t)(p[i] | t >> 4 << 6);
        }
    }
}

static void k_narrow(const float *x, const float *w, int max, uint8_t *b, uint8_t *high,
                     uint8_t *low)
{
    k_block k = {.max = max};
    group g[GROUPS];
    uint8_t q[LARGE];
    gather_all(g, GROUPS, SUB, x, w);
    k_fit(&k, g);
    k_codes(&k, g, q);
    put_half(b, k.d);
    put_half(b + 2, k.m);
    k_pack_scales(&k, b + 4);
    for (int l = 0; high && l < SUB; l++) {
        unsigned bits = 0;
        for (int i = 0; i < N_SUB; i++)
            bits |= (unsigned)(q[SUB * i + l] >> 4) << i;
        high[l] = (uint8_t)bits;
    }
    for (int pair = 0; pair < N_SUB / 2; pair++)
        for (int l = 0; l < SUB; l++)
            low[SUB * pair + l] =
                (uint8_t)((q[2 * SUB * pair + l] & 15) | (q[2 * SUB * pair + SUB + l] & 15) << 4);
}

static void q4_k(const float *x, const float *w, uint8_t *b)
{
    k_narrow(x, w, 15, b, NULL, b + 16);
}

static void q5_k(const float *x, const float *w, uint8_t *b)
{
    k_narrow(x, w, 31, b, b + 16, b + 48);
}

/* ---- 256 elements, y = d s q: sixteen sub-blocks with scales s of 8 bits, q in [-32, 31] ---- */

enum { GROUPS6 = N_SUB6 / LANES, CODE6 = 32 };

typedef struct k6_block {
    float d;
    lanes s[GROUPS6];
} k6_block;

/* Try the neighbours of the scales, keep the best; returns the error. */
static float k6_refine(k6_block *k, const group *g, int reach)
{
    float error = 0.0f;
    for (int h = 0; h < GROUPS6; h++) {
        const lanes s0 = k->s[h], zero = {0};
        lanes best = zero + INFINITY;
        for (int ds = -reach; ds <= reach; ds++) {
            const lanes s = LANES_MIN(LANES_MAX(s0 + (float)ds, zero - 128.0f), zero + 127.0f);
            const lanes d = k->d * s;
            lanes e;
            symmetric_error(&g[h], &d, CODE6, &e);
            const int_lanes better = e < best;
            best = BLEND(better, e, best);
            k->s[h] = BLEND(better, s, k->s[h]);
        }
        add_lanes(&error, &best);
    }
    return error;
}

static void k6_solve(k6_block *k, const group *g)
{
    double aa = 0, ax = 0;
    for (int h = 0; h < GROUPS6; h++) {
        const lanes d = k->d * k->s[h];
        lanes sqq, sxq;
        symmetric_sums(&g[h], &d, CODE6, &sqq, &sxq);
        for (int l = 0; l < LANES; l++) {
            const double s = (double)k->s[h][l];
            aa += s * s * (double)sqq[l];
            ax += s * (double)sxq[l];
        }
    }
    if (aa > 0)
        k->d = as_half((float)(ax / aa));
}

static void k6_fit(k6_block *k, const group *g)
{
    lanes d[GROUPS6];
    float top = 0.0f;
    for (int h = 0; h < GROUPS6; h++) {
        fit_symmetric(&g[h], CODE6, &d[h]);
        for (int l = 0; l < LANES; l++)
            top = fabsf(d[h][l]) > fabsf(top) ? d[h][l] : top;
    }
    k->d = as_half(top / -128.0f);
    for (int h = 0; h < GROUPS6; h++)
        k->s[h] = ROUNDED(d[h] * inverse_of(k->d) + 128.0f, 255.0f) - 128.0f;
    float error = k6_refine(k, g, 2);
    for (int round = 0; round < ROUNDS; round++) {
        k6_block next = *k;
        k6_solve(&next, g);
        const float better = k6_refine(&next, g, 1);
        if (!(better < error))
            break;
        error = better;
        *k = next;
    }
}

static void k6_codes(const k6_block *k, const group *g, uint8_t *q)
{
    for (int h = 0; h < GROUPS6; h++) {
        const lanes inverse = LANES_INVERSE(k->d * k->s[h]);
        for (int i = 0; i < SUB6; i++) {
            const lanes code = SYMMETRIC_CODE(g[h].x[i], inverse, (float)CODE6) + (float)CODE6;
            for (int l = 0; l < LANES; l++)
                q[SUB6 * (LANES * h + l) + i] = (uint8_t)code[l];
        }
    }
}

static void q6_k(const float *x, const float *w, uint8_t *b)
{
    k6_block k;
    group g[GROUPS6];
    uint8_t codes[LARGE], *const low = b, *const high = b + 128, *const scales = b + 192;
    gather_all(g, GROUPS6, SUB6, x, w);
    k6_fit(&k, g);
    k6_codes(&k, g, codes);
    for (int half = 0; half < 2; half++)
        for (int l = 0; l < 32; l++) {
            const uint8_t *q = codes + 128 * half + l;
            low[64 * half + l] = (uint8_t)((q[0] & 15) | (q[64] & 15) << 4);
            low[64 * half + 32 + l] = (uint8_t)((q[32] & 15) | (q[96] & 15) << 4);
            high[32 * half + l] =
                (uint8_t)(q[0] >> 4 | q[32] >> 4 << 2 | q[64] >> 4 << 4 | q[96] >> 4 << 6);
        }
    for (int i = 0; i < N_SUB6; i++)
        scales[i] = (uint8_t)(int8_t)k.s[i / LANES][i % LANES];
    put_half(b + 208, k.d);
}

/* ---- rows ---- */

static const struct {
    rk_dtype dtype;
    void (*large)(const float *x, const float *w, uint8_t *block); /* of 256; or */
    void (*small)(const float *x, const fit *f, uint8_t *block);   /* of 32 */
    int low, max; /* codes of a fit: [-low, low - 1] without a minimum, [0, max] with one */
} formats[] = {
    {RK_Q4_0, NULL, q4_0, 8, 0},  {RK_Q4_1, NULL, q4_1, 0, 15},  {RK_Q5_0, NULL, q5_0, 16, 0},
    {RK_Q5_1, NULL, q5_1, 0, 31}, {RK_Q8_0, NULL, q8_0, 128, 0}, {RK_Q4_K, q4_k, NULL, 0, 0},
    {RK_Q5_K, q5_k, NULL, 0, 0},  {RK_Q6_K, q6_k, NULL, 0, 0},
};

/* Quantise at most LANES blocks of 32, as many as one weighted fit takes. */
static void narrow_small(size_t f, int n_blocks, const float *x, const float *w, uint8_t *b)
{
    group g;
    lanes d = {0}, m = {0};
    if (w)
        gather(&g, SMALL, n_blocks, x, w);
    if (w && formats[f].max > 0)
        fit_affine(&g, formats[f].max, &d, &m);
    else if (w)
        fit_symmetric(&g, (float)formats[f].low, &d);
    for (int i = 0; i < n_blocks; i++) {
        const fit own = {d[i], m[i]};
        formats[f].small(x + SMALL * i, w ? &own : NULL,
                         b + (size_t)i * rk_dtype_bytes(formats[f].dtype));
    }
}

bool NARROW(rk_dtype t, int64_t n, const float *x, const float *weights, void *blocks)
{
    size_t f = 0;
    while (f < RK_COUNT(formats) && formats[f].dtype != t)
        f++;
    if (f == RK_COUNT(formats))
        return false;
    uint8_t *b = blocks;
    const int64_t step = formats[f].large ? LARGE : LANES * SMALL;
    for (int64_t at = 0; at < n; at += step) {
        const int64_t piece = rk_min_i64(step, n - at);
        const float *w = weights ? weights + at : NULL;
        if (formats[f].large)
            formats[f].large(x + at, w, b);
        else
            narrow_small(f, (int)(piece / SMALL), x + at, w, b);
        b += (size_t)(piece / rk_dtype_block(t)) * rk_dtype_bytes(t);
    }
    return true;
}
