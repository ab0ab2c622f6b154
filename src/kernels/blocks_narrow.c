/* blocks_narrow.c: floats to the block formats.
 *
 * The formats of 32 elements are rounded as ggml does, to the bit, unless errors are weighed. All
 * others look for the factors of least weighted squared error: candidates for each sub-block, the
 * best factors for the codes of each by least squares; then the factors are rounded to what the
 * format stores, their neighbours tried, and the two factors of the block fitted once more. Source
 * of the formats and of the plain rounding: ggml-org/ggml, src/ggml-quants.c. */
#include <math.h>
#include <string.h>

#include "base/num.h"
#include "kernels/blocks.h"

enum { SMALL = 32, LARGE = 256, SUB = 32, N_SUB = LARGE / SUB, SUB6 = 16, N_SUB6 = LARGE / SUB6 };

static uint16_t put_half(uint8_t *p, float x)
{
    const uint16_t h = rk_f32_to_f16(x);
    p[0] = (uint8_t)h;
    p[1] = (uint8_t)(h >> 8);
    return h;
}

static float as_half(float x)
{
    return rk_f16_to_f32(rk_f32_to_f16(x));
}

/* The number of [0, max] nearest to t. */
static int code_of(float t, int max)
{
    const float c = t > 0.0f ? t : 0.0f;
    return (int)((c < (float)max ? c : (float)max) + 0.5f);
}

/* ---- fitting: x ~ d q, q in [-low, low - 1]; and x ~ d q - m, q in [0, max], m >= 0 ---- */

static void symmetric_codes(int n, const float *x, float d, int low, int *q)
{
    const float inverse = d != 0.0f ? 1.0f / d : 0.0f;
    for (int i = 0; i < n; i++)
        q[i] = code_of(x[i] * inverse + (float)low, 2 * low - 1) - low;
}

/* The element of largest magnitude, with its sign. */
static float largest(int n, const float *x)
{
    float best = 0.0f;
    for (int i = 0; i < n; i++)
        if (fabsf(x[i]) > fabsf(best))
            best = x[i];
    return best;
}

/* d of least weighted error. Of the codes of a candidate the best factor is sxq / sqq, and what it
 * takes off the error is sxq^2 / sqq. */
static float fit_symmetric(int n, const float *x, const float *w, int low)
{
    const float top = largest(n, x);
    float best = 0.0f, best_gain = 0.0f;
    int q[SMALL];
    for (int step = -10; step <= 10; step++) {
        float sxq = 0.0f, sqq = 0.0f;
        symmetric_codes(n, x, -top / ((float)low + 0.1f * (float)step), low, q);
        for (int i = 0; i < n; i++) {
            sxq += w[i] * x[i] * (float)q[i];
            sqq += w[i] * (float)(q[i] * q[i]);
        }
        if (sqq > 0.0f && sxq * sxq > best_gain * sqq) {
            best_gain = sxq * sxq / sqq;
            best = sxq / sqq;
        }
    }
    return best;
}

static float affine_codes(int n, const float *x, const float *w, float d, float m, int max, int *q)
{
    const float inverse = d != 0.0f ? 1.0f / d : 0.0f;
    float error = 0.0f;
    for (int i = 0; i < n; i++) {
        q[i] = code_of((x[i] + m) * inverse, max);
        const float e = x[i] - (d * (float)q[i] - m);
        error += w[i] * e * e;
    }
    return error;
}

/* d and m of least squares for given codes; as they were where all codes are one. */
static void solve_affine(int n, const float *x, const float *w, const int *q, float *d, float *m)
{
    double sw = 0, sq = 0, sqq = 0, sx = 0, sxq = 0;
    for (int i = 0; i < n; i++) {
        const double wi = (double)w[i], qi = q[i], xi = (double)x[i];
        sw += wi;
        sq += wi * qi;
        sqq += wi * qi * qi;
        sx += wi * xi;
        sxq += wi * xi * qi;
    }
    const double det = sw * sqq - sq * sq;
    if (det <= 1e-9 * sw * sqq)
        return;
    *d = (float)((sw * sxq - sq * sx) / det);
    *m = (float)((sq * sxq - sqq * sx) / det);
    if (*m < 0.0f) {
        *m = 0.0f;
        *d = sqq > 0 ? (float)(sxq / sqq) : 0.0f;
    }
}

static void fit_affine(int n, const float *x, const float *w, int max, float *d, float *m)
{
    float low = 0.0f, high = 0.0f, best = INFINITY;
    int q[SMALL];
    for (int i = 0; i < n; i++) {
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
    }
    *d = *m = 0.0f;
    for (int step = -12; step <= 12 && high > low; step++) {
        float di = (high - low) / ((float)max + 0.1f * (float)step), mi = -low;
        for (int round = 0; round < 2; round++) {
            affine_codes(n, x, w, di, mi, max, q);
            solve_affine(n, x, w, q, &di, &mi);
        }
        const float error = affine_codes(n, x, w, di, mi, max, q);
        if (error < best) {
            best = error;
            *d = di;
            *m = mi;
        }
    }
}

/* ---- 32 elements ---- */

/* Low nibbles are the first half, high ones the second; fifth bits, where there are any, apart. */
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

/* Of y = d (q - low): the d, and the codes with the offset. */
static float symmetric_block(const float *x, const float *w, int low, int *q)
{
    const float d = w ? as_half(fit_symmetric(SMALL, x, w, low)) : largest(SMALL, x) / (float)-low;
    const float inverse = d != 0.0f ? 1.0f / d : 0.0f;
    for (int i = 0; i < SMALL; i++) {
        const int code = (int)(x[i] * inverse + (float)low + 0.5f);
        q[i] = code < 0 ? 0 : code < 2 * low ? code : 2 * low - 1;
    }
    return d;
}

/* Of y = d q + m. */
static void affine_block(const float *x, const float *w, int max, int *q, float *d, float *m)
{
    float low = x[0], high = x[0];
    if (w) {
        fit_affine(SMALL, x, w, max, d, m);
        *d = as_half(*d);
        *m = as_half(*m);
        affine_codes(SMALL, x, w, *d, *m, max, q);
        *m = -*m;
        return;
    }
    for (int i = 1; i < SMALL; i++) {
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
    }
    *d = (high - low) / (float)max;
    *m = low;
    const float inverse = *d != 0.0f ? 1.0f / *d : 0.0f;
    for (int i = 0; i < SMALL; i++) {
        const int code = (int)((x[i] - low) * inverse + 0.5f);
        q[i] = code < max ? code : max;
    }
}

static void q4_0(const float *x, const float *w, uint8_t *b)
{
    int q[SMALL];
    put_half(b, symmetric_block(x, w, 8, q));
    pack_nibbles(q, NULL, b + 2);
}

static void q5_0(const float *x, const float *w, uint8_t *b)
{
    int q[SMALL];
    put_half(b, symmetric_block(x, w, 16, q));
    pack_nibbles(q, b + 2, b + 6);
}

static void q4_1(const float *x, const float *w, uint8_t *b)
{
    float d, m;
    int q[SMALL];
    affine_block(x, w, 15, q, &d, &m);
    put_half(b, d);
    put_half(b + 2, m);
    pack_nibbles(q, NULL, b + 4);
}

static void q5_1(const float *x, const float *w, uint8_t *b)
{
    float d, m;
    int q[SMALL];
    affine_block(x, w, 31, q, &d, &m);
    put_half(b, d);
    put_half(b + 2, m);
    pack_nibbles(q, b + 4, b + 8);
}

static void q8_0(const float *x, const float *w, uint8_t *b)
{
    const float d = w ? as_half(fit_symmetric(SMALL, x, w, 128)) : fabsf(largest(SMALL, x)) / 127.0f;
    const float inverse = d != 0.0f ? 1.0f / d : 0.0f;
    put_half(b, d);
    for (int i = 0; i < SMALL; i++) {
        const float t = roundf(x[i] * inverse);
        b[2 + i] = (uint8_t)(int8_t)(t < -128.0f ? -128.0f : t > 127.0f ? 127.0f : t);
    }
}

/* ---- 256 elements, y = d s q - m t: eight sub-blocks with scales s and minima t of 6 bits ---- */

typedef struct k_block {
    int max; /* of the codes */
    float d, m;
    int s[N_SUB], t[N_SUB];
    int q[LARGE];
} k_block;

static float k_error(const k_block *k, const float *x, const float *w, int sub, int s, int t, int *q)
{
    return affine_codes(SUB, x + SUB * sub, w + SUB * sub, k->d * (float)s, k->m * (float)t, k->max,
                        q);
}

/* The scale and minimum of one sub-block among the neighbours of what is there; its error. */
static float k_refine_sub(k_block *k, const float *x, const float *w, int sub)
{
    const int s0 = k->s[sub], t0 = k->t[sub];
    float best = INFINITY;
    int q[SUB];
    for (int s = s0 - 1; s <= s0 + 1; s++)
        for (int t = t0 - 1; t <= t0 + 1; t++) {
            if (s < 0 || s > 63 || t < 0 || t > 63)
                continue;
            const float error = k_error(k, x, w, sub, s, t, q);
            if (error < best) {
                best = error;
                k->s[sub] = s;
                k->t[sub] = t;
                memcpy(k->q + SUB * sub, q, sizeof q);
            }
        }
    return best;
}

static float k_refine(k_block *k, const float *x, const float *w)
{
    float error = 0.0f;
    for (int sub = 0; sub < N_SUB; sub++)
        error += k_refine_sub(k, x, w, sub);
    return error;
}

/* d and m of least squares for the codes, scales and minima that are there. */
static void k_solve(k_block *k, const float *x, const float *w)
{
    double aa = 0, ab = 0, bb = 0, ax = 0, bx = 0;
    for (int i = 0; i < LARGE; i++) {
        const double wi = (double)w[i], a = k->s[i / SUB] * k->q[i], b = -k->t[i / SUB];
        aa += wi * a * a;
        ab += wi * a * b;
        bb += wi * b * b;
        ax += wi * a * (double)x[i];
        bx += wi * b * (double)x[i];
    }
    const double det = aa * bb - ab * ab;
    if (det > 1e-12 * aa * bb) {
        k->d = as_half((float)((ax * bb - bx * ab) / det));
        k->m = as_half((float)((bx * aa - ax * ab) / det));
    } else if (aa > 0) {
        k->d = as_half((float)((ax - ab * (double)k->m) / aa));
    }
}

static void k_fit(k_block *k, const float *x, const float *w)
{
    float d[N_SUB], m[N_SUB], d_max = 0.0f, m_max = 0.0f;
    for (int sub = 0; sub < N_SUB; sub++) {
        fit_affine(SUB, x + SUB * sub, w + SUB * sub, k->max, &d[sub], &m[sub]);
        d_max = d[sub] > d_max ? d[sub] : d_max;
        m_max = m[sub] > m_max ? m[sub] : m_max;
    }
    k->d = as_half(d_max / 63.0f);
    k->m = as_half(m_max / 63.0f);
    for (int sub = 0; sub < N_SUB; sub++) {
        k->s[sub] = k->d > 0.0f ? code_of(d[sub] / k->d, 63) : 0;
        k->t[sub] = k->m > 0.0f ? code_of(m[sub] / k->m, 63) : 0;
    }
    float error = k_refine(k, x, w);
    for (int round = 0; round < 3; round++) {
        k_block next = *k;
        k_solve(&next, x, w);
        const float better = next.d >= 0.0f && next.m >= 0.0f ? k_refine(&next, x, w) : INFINITY;
        if (!(better < error))
            break;
        error = better;
        *k = next;
    }
}

/* The eight pairs of 6 bits in 12 bytes. */
static void k_pack_scales(const k_block *k, uint8_t *p)
{
    memset(p, 0, 12);
    for (int i = 0; i < N_SUB; i++)
        if (i < 4) {
            p[i] |= (uint8_t)k->s[i];
            p[i + 4] |= (uint8_t)k->t[i];
        } else {
            p[i + 4] = (uint8_t)((k->s[i] & 15) | (k->t[i] & 15) << 4);
            p[i - 4] |= (uint8_t)(k->s[i] >> 4 << 6);
            p[i] |= (uint8_t)(k->t[i] >> 4 << 6);
        }
}

static void k_pack(const k_block *k, uint8_t *b, uint8_t *high, uint8_t *low)
{
    put_half(b, k->d);
    put_half(b + 2, k->m);
    k_pack_scales(k, b + 4);
    for (int l = 0; high && l < SUB; l++) {
        unsigned bits = 0;
        for (int i = 0; i < N_SUB; i++)
            bits |= (unsigned)(k->q[SUB * i + l] >> 4) << i;
        high[l] = (uint8_t)bits;
    }
    for (int pair = 0; pair < N_SUB / 2; pair++)
        for (int l = 0; l < SUB; l++)
            low[SUB * pair + l] = (uint8_t)((k->q[2 * SUB * pair + l] & 15) |
                                            (k->q[2 * SUB * pair + SUB + l] & 15) << 4);
}

static void q4_k(const float *x, const float *w, uint8_t *b)
{
    k_block k = {.max = 15};
    k_fit(&k, x, w);
    k_pack(&k, b, NULL, b + 16);
}

static void q5_k(const float *x, const float *w, uint8_t *b)
{
    k_block k = {.max = 31};
    k_fit(&k, x, w);
    k_pack(&k, b, b + 16, b + 48);
}

/* ---- 256 elements, y = d s q: sixteen sub-blocks with scales s of 8 bits, q in [-32, 31] ---- */

typedef struct k6_block {
    float d;
    int s[N_SUB6];
    int q[LARGE];
} k6_block;

static float k6_refine_sub(k6_block *k, const float *x, const float *w, int sub)
{
    const int s0 = k->s[sub];
    float best = INFINITY;
    int q[SUB6];
    for (int s = s0 - 2; s <= s0 + 2; s++) {
        const float d = k->d * (float)s;
        float error = 0.0f;
        if (s < -128 || s > 127)
            continue;
        symmetric_codes(SUB6, x + SUB6 * sub, d, 32, q);
        for (int i = 0; i < SUB6; i++) {
            const float e = x[SUB6 * sub + i] - d * (float)q[i];
            error += w[SUB6 * sub + i] * e * e;
        }
        if (error < best) {
            best = error;
            k->s[sub] = s;
            memcpy(k->q + SUB6 * sub, q, sizeof q);
        }
    }
    return best;
}

static float k6_refine(k6_block *k, const float *x, const float *w)
{
    float error = 0.0f;
    for (int sub = 0; sub < N_SUB6; sub++)
        error += k6_refine_sub(k, x, w, sub);
    return error;
}

static void k6_solve(k6_block *k, const float *x, const float *w)
{
    double aa = 0, ax = 0;
    for (int i = 0; i < LARGE; i++) {
        const double a = k->s[i / SUB6] * k->q[i];
        aa += (double)w[i] * a * a;
        ax += (double)w[i] * a * (double)x[i];
    }
    if (aa > 0)
        k->d = as_half((float)(ax / aa));
}

static void k6_fit(k6_block *k, const float *x, const float *w)
{
    float d[N_SUB6], top = 0.0f;
    for (int sub = 0; sub < N_SUB6; sub++) {
        d[sub] = fit_symmetric(SUB6, x + SUB6 * sub, w + SUB6 * sub, 32);
        if (fabsf(d[sub]) > fabsf(top))
            top = d[sub];
    }
    k->d = as_half(top / -128.0f);
    for (int sub = 0; sub < N_SUB6; sub++)
        k->s[sub] = k->d != 0.0f ? code_of(d[sub] / k->d + 128.0f, 255) - 128 : 0;
    float error = k6_refine(k, x, w);
    for (int round = 0; round < 3; round++) {
        k6_block next = *k;
        k6_solve(&next, x, w);
        const float better = k6_refine(&next, x, w);
        if (!(better < error))
            break;
        error = better;
        *k = next;
    }
}

static void q6_k(const float *x, const float *w, uint8_t *b)
{
    k6_block k = {0};
    uint8_t *const low = b, *const high = b + 128, *const scales = b + 192;
    k6_fit(&k, x, w);
    for (int half = 0; half < 2; half++)
        for (int l = 0; l < 32; l++) {
            int q[4];
            for (int i = 0; i < 4; i++)
                q[i] = k.q[128 * half + 32 * i + l] + 32;
            low[64 * half + l] = (uint8_t)((q[0] & 15) | (q[2] & 15) << 4);
            low[64 * half + 32 + l] = (uint8_t)((q[1] & 15) | (q[3] & 15) << 4);
            high[32 * half + l] =
                (uint8_t)(q[0] >> 4 | q[1] >> 4 << 2 | q[2] >> 4 << 4 | q[3] >> 4 << 6);
        }
    for (int i = 0; i < N_SUB6; i++)
        scales[i] = (uint8_t)(int8_t)k.s[i];
    put_half(b + 208, k.d);
}

/* ---- rows ---- */

static const struct {
    rk_dtype dtype;
    void (*narrow)(const float *x, const float *w, uint8_t *block);
    bool needs_weights;
} formats[] = {
    {RK_Q4_0, q4_0, false}, {RK_Q4_1, q4_1, false}, {RK_Q5_0, q5_0, false}, {RK_Q5_1, q5_1, false},
    {RK_Q8_0, q8_0, false}, {RK_Q4_K, q4_k, true},  {RK_Q5_K, q5_k, true},  {RK_Q6_K, q6_k, true},
};

bool rk_blocks_can_narrow(rk_dtype t)
{
    for (size_t i = 0; i < RK_COUNT(formats); i++)
        if (formats[i].dtype == t)
            return true;
    return false;
}

void rk_blocks_narrow(rk_dtype t, int64_t n, const float *x, const float *weights, void *blocks)
{
    float ones[LARGE];
    for (int i = 0; i < LARGE; i++)
        ones[i] = 1.0f;
    for (size_t i = 0; i < RK_COUNT(formats); i++) {
        if (formats[i].dtype != t)
            continue;
        uint8_t *b = blocks;
        for (int64_t at = 0; at < n; at += rk_dtype_block(t), b += rk_dtype_bytes(t))
            formats[i].narrow(x + at,
                              weights                    ? weights + at
                              : formats[i].needs_weights ? ones
                                                         : NULL,
                              b);
    }
}
