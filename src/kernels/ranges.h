/* ranges.h: matrices of bytes with ranges of their rows and columns, the INT8 weights of RWKV-Lite (arXiv
 * 2412.10856), which are those of ChatRWKV:
 *
 *     W[o][i] = (q[o][i] + 1/2) rx[o] ry[i] + mx[o] + my[i]              q (out, in) in u8
 *
 * A product with such a matrix is one with its bytes and three sums of the activations:
 *
 *     y[o] = rx[o] sum_i (ry[i] x[i]) q[o][i]  +  rx[o]/2 sum_i ry[i] x[i]  +  sum_i my[i] x[i]
 *            + mx[o] sum_i x[i]
 *
 * so that the matrix is never made. The activations ry x become whole numbers of 29 bits with a
 * scale for the row, whose largest keeps 27 bits at least, more than an f32 has, and the first sum is exact: it has
 * the same bits whatever the instruction set, in whatever order, and however many rows are computed together.
 * The others are sums in double.
 */
#ifndef RK_KERNELS_RANGES_H
#define RK_KERNELS_RANGES_H

#include "kernels/kernels.h"

typedef struct rk_ranges {
    const float *mx, *rx; /* (out) */
    const float *my, *ry; /* (in) */
} rk_ranges;

/* Those of the outputs from lo on. */
static inline rk_ranges rk_ranges_from(const rk_ranges *r, int64_t lo)
{
    return (rk_ranges){r->mx + lo, r->rx + lo, r->my, r->ry};
}

/* The first n outputs, q (n, in), as floats. */
void rk_ranges_widen(const rk_ranges *r, int64_t n, int64_t in, const uint8_t *q, float *out);

/* One row of activations. */
typedef struct rk_ranged_sums {
    double unit;             /* ry x is that times its whole number; NaN where one is not finite */
    double scaled, low, all; /* sums of ry x, my x, x */
} rk_ranged_sums;
/* Blocks of a row: of `in` activations, the last one filled with zeros. */
static inline int64_t rk_ranges_blocks(int64_t in)
{
    return (in + RK_X29_BLOCK - 1) / RK_X29_BLOCK;
}
/* ry x as bytes_dot takes it, and its sums. */
void rk_ranges_scale(const rk_kernels *kern, const rk_ranges *r, int64_t in, const float *x,
                     rk_x29 *scaled, rk_ranged_sums *s);
/* From what bytes_dot gave for the first n outputs to those of the matrix, y (+)= . */
void rk_ranges_finish(const rk_ranges *r, int64_t n, const int64_t *dots, const rk_ranged_sums *s,
                      float *y, bool accumulate);

/* w (out, in), finite floats, as bytes with ranges, which are written; w is overwritten. The authors' order: the
 * least of each row of the longer side first. A row or column that is all alike has rx or ry 0. */
void rk_ranges_narrow(int64_t out, int64_t in, float *w, float *mx, float *rx, float *my, float *ry,
                      uint8_t *q);

#endif
