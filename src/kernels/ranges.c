/* ranges.c: bytes with ranges: what is beside the loop over the bytes, which is bytes_dot's. */
#include "kernels/ranges.h"

#include <math.h>
#include <string.h>

#include "base/num.h"

void rk_ranges_widen(const rk_ranges *r, int64_t n, int64_t in, const uint8_t *q, float *out)
{
    for (int64_t o = 0; o < n; o++) {
        const float rx = r->rx[o], mx = r->mx[o];
        const uint8_t *row = q + o * in;
        float *to = out + o * in;
        for (int64_t i = 0; i < in; i++)
            to[i] = ((float)row[i] + 0.5f) * (rx * r->ry[i]) + (mx + r->my[i]);
    }
}

/* ---- products ---- */

enum {
    BITS = 28,
    LEAST = -90
}; /* LEAST: exponent of a row's largest number; smaller rows lose bits */

/* The power of two that brings x (n), whose largest magnitude is below 2^*exponent then, to BITS bits. */
static float unit_of(int64_t n, const float *x)
{
    float most = 0;
    int exponent;
    for (int64_t i = 0; i < n; i++)
        most = fabsf(x[i]) > most ? fabsf(x[i]) : most;
    frexpf(most, &exponent);
    return ldexpf(1.0f, BITS - (exponent > LEAST ? exponent : LEAST));
}

/* A block of n numbers at most, of which none is above 2^BITS, from where the block comes to lie itself. */
static void fill_block(int64_t n, float unit, rk_x29 *block)
{
    float x[RK_X29_BLOCK] = {0};
    memcpy(x, block, (size_t)n * sizeof *x);
    for (int i = 0; i < RK_X29_BLOCK; i++) {
        const int32_t number = (int32_t)(x[i] * unit);
        const int32_t high = (number + RK_X29_HIGH / 2) >> 14;
        block->high[i % 2][i / 2] = (int16_t)high;
        block->low[i % 2][i / 2] = (int16_t)(number - high * RK_X29_HIGH);
    }
}

/* The blocks take as much memory as floats: they are made in the place of these. */
void rk_ranges_scale(const rk_kernels *kern, const rk_ranges *r, int64_t in, const float *x,
                     rk_x29 *scaled, rk_ranged_sums *s)
{
    float *const to = (float *)(void *)scaled;
    kern->mul(in, x, r->my, to);
    s->low = kern->sum(in, to);
    s->all = kern->sum(in, x);
    kern->mul(in, x, r->ry, to);
    s->scaled = kern->sum(in, to);
    const bool finite = isfinite(s->scaled); /* in double finite numbers have a finite sum */
    const float unit = finite ? unit_of(in, to) : 0;
    s->unit = finite ? 1 / (double)unit : (double)NAN;
    for (int64_t b = 0; b < rk_ranges_blocks(in); b++)
        if (finite)
            fill_block(rk_min_i64(RK_X29_BLOCK, in - b * RK_X29_BLOCK), unit, scaled + b);
        else
            scaled[b] = (rk_x29){{{0}}, {{0}}};
}

/* The sums are large where activations have one sign, and cancel. */
void rk_ranges_finish(const rk_ranges *r, int64_t n, const int64_t *dots, const rk_ranged_sums *s,
                      float *y, bool accumulate)
{
    for (int64_t o = 0; o < n; o++) {
        const double sum = (double)r->rx[o] * (s->unit * (double)dots[o] + 0.5 * s->scaled) +
                           s->low + (double)r->mx[o] * s->all;
        y[o] = accumulate ? y[o] + (float)sum : (float)sum;
    }
}

/* ---- from floats ---- */

typedef struct matrix {
    float *w;
    int64_t out, in;
} matrix;

/* The least or the largest of each output's weights, or of each input's. */
static void ends_of(const matrix *m, bool of_outputs, bool largest, float *to)
{
    for (int64_t o = 0; o < m->out; o++)
        for (int64_t i = 0; i < m->in; i++) {
            const int64_t k = of_outputs ? o : i;
            const float x = m->w[o * m->in + i];
            if ((of_outputs ? i : o) == 0 || (largest ? x > to[k] : x < to[k]))
                to[k] = x;
        }
}

/* Weights less the least of theirs. */
static void take_least(const matrix *m, bool of_outputs, float *least)
{
    ends_of(m, of_outputs, false, least);
    for (int64_t o = 0; o < m->out; o++)
        for (int64_t i = 0; i < m->in; i++)
            m->w[o * m->in + i] -= least[of_outputs ? o : i];
}

/* Weights, none negative, over the largest of theirs; range: a 16th of it. */
static void divide(const matrix *m, bool of_outputs, float *range)
{
    ends_of(m, of_outputs, true, range);
    for (int64_t o = 0; o < m->out; o++)
        for (int64_t i = 0; i < m->in; i++) {
            const float most = range[of_outputs ? o : i];
            m->w[o * m->in + i] /= most > 0 ? most : 1;
        }
    for (int64_t k = 0; k < (of_outputs ? m->out : m->in); k++)
        range[k] /= 16;
}

void rk_ranges_narrow(int64_t out, int64_t in, float *w, float *mx, float *rx, float *my, float *ry,
                      uint8_t *q)
{
    const matrix m = {w, out, in};
    if (in > out)
        take_least(&m, false, my);
    take_least(&m, true, mx);
    if (in <= out)
        take_least(&m, false, my);
    divide(&m, true, rx);
    divide(&m, false, ry);
    for (int64_t i = 0; i < out * in; i++) {
        const float level = floorf(256 * w[i]);
        q[i] = (uint8_t)(level < 255 ? level : 255);
    }
}
