/* planes.c: weights in few bits. The levels of a neuron are equally far apart, or those that lose least of a
 * normal distribution with four of them (Lloyd, Max); each is a sum of one number a bit, with a sign. */
#include <math.h>
#include <string.h>

#include "base/num.h"
#include "compress/predictor.h"
#include "tensor/sparse_mix.h"

enum { BITS_MAX = 8 };

/* Level i, from 0, is for weights from low + i step on; it is the offset plus the scales of its bits that are set
 * less those that are not. */
typedef struct levels {
    double low, step, offset;
    double scale[BITS_MAX];
} levels;

/* Equally far apart; the middle of the levels is 0. */
static levels even_levels(int64_t bits, double step)
{
    levels v = {.low = -step * (double)(1 << bits) / 2, .step = step};
    for (int64_t b = 0; b < bits; b++)
        v.scale[b] = step * (double)(1 << b) / 2;
    return v;
}

/* n bits between the least and the largest weight of a matrix. */
static levels range_levels(int64_t bits, double min, double max)
{
    const double step = (max - min) / (double)((1 << bits) - 1);
    levels v = even_levels(bits, step);
    v.offset = (min + max) / 2;
    v.low += v.offset;
    return v;
}

/* Of a row: the mean of |w|; of a normal distribution with its deviation the best four, +-0.453 and +-1.510,
 * and 16 that are 0.3352 apart. */
static levels row_levels(int64_t bits, int64_t c, const float *w)
{
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < c; i++) {
        sum += fabs((double)w[i]);
        squares += (double)w[i] * (double)w[i];
    }
    const double sigma = sqrt(squares / (double)c);
    if (bits == 1)
        return even_levels(bits, 2 * sum / (double)c);
    if (bits == 4)
        return even_levels(bits, 0.3352 * sigma);
    levels v = even_levels(bits, 0.9815 * sigma);
    v.scale[0] = 0.5285 * sigma;
    v.scale[1] = 0.9815 * sigma;
    return v;
}

static int64_t level_of(const levels *v, int64_t bits, double w)
{
    const double most = (double)((1 << bits) - 1);
    const double at = v->step > 0 ? floor((w - v->low) / v->step) : 0;
    return (int64_t)fmax(0, fmin(at, most));
}

void rk_planes_fill(const rk_sparse_mix *m, const float *w, int64_t lo, int64_t hi, bool reference,
                    float min, float max)
{
    const int64_t bits = m->planes->dims[0], f = m->planes->dims[1], row = m->planes->dims[2];
    const int64_t c = m->records->dims[2];
    for (int64_t r = lo; r < hi; r++) {
        const float *weights = w + r * c;
        const levels v =
            reference ? range_levels(bits, (double)min, (double)max) : row_levels(bits, c, weights);
        ((float *)m->plane_offset->data)[r] = (float)v.offset;
        for (int64_t b = 0; b < bits; b++) {
            uint8_t *out = (uint8_t *)m->planes->data + (b * f + r) * row;
            memset(out, 0, (size_t)row);
            ((float *)m->plane_scale->data)[b * f + r] = (float)v.scale[b];
            for (int64_t i = 0; i < c; i++)
                if (level_of(&v, bits, (double)weights[i]) >> b & 1)
                    out[i / 8] |= (uint8_t)(1u << (i % 8));
        }
    }
}
