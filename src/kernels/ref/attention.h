/* attention.h: reference of causal softmax attention and of rotary embedding.
 *
 * A query goes through the keys it sees block by block with a running maximum m, sum l and output o
 * (Milakov, Gimelshein 2018, arXiv 1805.02867); for a block with scores s, m' = max(m, max s):
 *     l <- l e^(m - m') + sum_j e^(s_j - m'),   o <- o e^(m - m') + sum_j e^(s_j - m') v_j
 * Backward, with p_j = e^(s_j - m) / l and d = y . dy (Dao and others 2022, arXiv 2205.14135):
 *     dv_j += p_j dy,   ds_j = p_j (dy . v_j - d) scale,   dq += ds_j k_j,   dk_j += ds_j q */
#ifndef RK_KERNELS_REF_ATTENTION_H
#define RK_KERNELS_REF_ATTENTION_H

#include "kernels/blocks.h"
#include "kernels/ref/matrix.h"
#include "kernels/ref/real.h"

/* Vector x (n) of pairs (j, j + n / 2), each turned by its angle. */
static void rotary(int64_t rows, int64_t n, const void *cos_, const void *sin_, bool back,
                   const void *x_, void *y_)
{
    const real *c = cos_, *s = sin_, *x = x_;
    const int64_t half = n / 2;
    real *y = y_;
    for (int64_t i = 0; i < rows; i++, x += n, y += n)
        for (int64_t j = 0; j < half; j++) {
            const real a = x[j], b = x[j + half], sin_j = back ? -s[j] : s[j];
            y[j] = a * c[j] - b * sin_j;
            y[j + half] = b * c[j] + a * sin_j;
        }
}

static size_t attend_scratch(const rk_attend *a)
{
    return 2 * (size_t)a->size * sizeof(real);
}

/* Row j, in `wide` unless it is real. */
static const real *attend_reals(const rk_attend *a, const rk_attend_rows *rows, int64_t j,
                                real *wide)
{
    const void *x = rk_attend_row(rows, j);
    if (rows->type == RK_REF_DTYPE)
        return x;
    if (rk_dtype_is_blocks(rows->type))
        rk_blocks_widen(rows->type, a->size, x, (void *)wide);
    else
        widen(a->size, x, rows->type, wide);
    return wide;
}

/* Where query i lies in what has ld reals for a token. */
static int64_t attend_at(const rk_attend *a, int64_t ld, int64_t i)
{
    return i / a->heads * ld + i % a->heads * a->size;
}

/* One query and the keys [lo, hi) of a block. */
static void attend_block(const rk_attend *a, const real *q, int64_t lo, int64_t hi, real *stats,
                         real *out, real *wide)
{
    real p[RK_ATTEND_KEYS], max = stats[0];
    for (int64_t j = lo; j < hi; j++) {
        p[j - lo] = dot(a->size, q, attend_reals(a, &a->k, j, wide)) * (real)a->scale;
        max = p[j - lo] > max ? p[j - lo] : max;
    }
    const real keep = exp(stats[0] - max);
    stats[0] = max;
    stats[1] *= keep;
    for (int64_t c = 0; c < a->size; c++)
        out[c] *= keep;
    for (int64_t j = lo; j < hi; j++) {
        const real *v = attend_reals(a, &a->v, j, wide), weight = exp(p[j - lo] - max);
        stats[1] += weight;
        for (int64_t c = 0; c < a->size; c++)
            out[c] += weight * v[c];
    }
}

static void attend(const rk_attend *a, void *out_, void *stats_, void *scratch)
{
    real *out = out_, *stats = stats_;
    for (int64_t i = 0; i < a->rows; i++, out += a->size, stats += 2) {
        const int64_t end = a->first + i / a->heads;
        stats[0] = -(real)INFINITY;
        stats[1] = 0;
        memset(out, 0, (size_t)a->size * sizeof *out);
        for (int64_t b = 0; b * RK_ATTEND_KEYS < end; b++)
            if (rk_attend_part(b, a->n_parts) == a->part)
                attend_block(a, (const real *)a->q + attend_at(a, a->ldq, i), b * RK_ATTEND_KEYS,
                             rk_min_i64(end, (b + 1) * RK_ATTEND_KEYS), stats, out, scratch);
    }
}

static void attend_merge(const rk_attend *a, const void *outs_, const void *stats_)
{
    const real *outs = outs_, *stats = stats_;
    for (int64_t i = 0; i < a->rows; i++) {
        real *out = (real *)a->out + attend_at(a, a->ldo, i);
        real max = -(real)INFINITY, sum = 0;
        memset(out, 0, (size_t)a->size * sizeof *out);
        for (int64_t p = 0; p < a->n_parts; p++) {
            const real *s = stats + (p * a->rows + i) * 2;
            max = s[0] > max ? s[0] : max;
        }
        for (int64_t p = 0; p < a->n_parts; p++) {
            const real *s = stats + (p * a->rows + i) * 2;
            const real *o = outs + (p * a->rows + i) * a->size;
            if (s[1] == 0)
                continue; /* sees no key of it; a NaN stays one */
            const real weight = exp(s[0] - max);
            sum += s[1] * weight;
            for (int64_t c = 0; c < a->size; c++)
                out[c] += o[c] * weight;
        }
        for (int64_t c = 0; c < a->size; c++)
            out[c] /= sum;
        if (a->stats) {
            real *to = (real *)a->stats + attend_at(a, a->ldo, i) / a->size * 2;
            to[0] = max;
            to[1] = sum;
        }
    }
}

static void attend_bwd(const rk_attend *a, const rk_attend_grads *g, void *scratch)
{
    real *wide = scratch;
    for (int64_t i = 0; i < a->rows; i++) {
        const int64_t at = attend_at(a, a->ldo, i);
        const real *q = (const real *)a->q + attend_at(a, a->ldq, i),
                   *dy = (const real *)g->dy + at;
        const real *s = (const real *)a->stats + at / a->size * 2;
        const real d = dot(a->size, (const real *)a->out + at, dy);
        real *dq = (real *)g->dq + attend_at(a, a->ldq, i);
        for (int64_t j = 0; j < a->first + i / a->heads; j++) {
            const real *k = attend_reals(a, &a->k, j, wide);
            const real *v = attend_reals(a, &a->v, j, wide + a->size);
            real *dk = (real *)g->dk + j * g->ld, *dv = (real *)g->dv + j * g->ld;
            const real p = exp(dot(a->size, q, k) * (real)a->scale - s[0]) / s[1];
            const real ds = p * (dot(a->size, dy, v) - d) * (real)a->scale;
            for (int64_t c = 0; c < a->size; c++) {
                dq[c] += ds * k[c];
                dk[c] += ds * q[c];
                dv[c] += p * dy[c];
            }
        }
    }
}

#endif
