/* blocks.h: the block formats of ggml: neighbouring elements of a row share scales.
 *
 * A row is a whole number of blocks; bytes have no alignment but that of the format's 16-bit
 * scales, which are read bytewise. Source of the layouts: ggml-org/ggml, src/ggml-common.h. */
#ifndef RK_KERNELS_BLOCKS_H
#define RK_KERNELS_BLOCKS_H

#include "base/dtype.h"

/* n elements, whole blocks, as floats. Any bytes are a value, if not always a finite one. */
void rk_blocks_widen(rk_dtype t, int64_t n, const void *blocks, float *out);
/* Where in a block its 16-bit factors lie: a scale, and behind it that of minima where n is 2. All
 * elements are a multiple of them. */
typedef struct rk_block_factors {
    int at, n;
} rk_block_factors;
rk_block_factors rk_blocks_factors(rk_dtype t);
/* What a block is made of: its numbers in the order of the elements, without sign as they are
 * stored (of Q8_0 the bytes), and of the K formats the scales and minima of its parts, up to 16 of
 * each: 16 parts have Q2_K, Q3_K and Q6_K, 8 have Q4_K and Q5_K; Q3_K and Q6_K have signed scales
 * and no minima. */
void rk_blocks_numbers(rk_dtype t, const void *block, uint8_t *q);
void rk_blocks_scales(rk_dtype t, const void *block, uint8_t *scales, uint8_t *minima);

/* n finite floats, whole blocks, rounded to a format. weights (n), positive, of the squared errors;
 * NULL: all alike, and the formats of 32 elements then have the bits that ggml gives them. There is
 * no writing of Q2_K and Q3_K. */
bool rk_blocks_can_narrow(rk_dtype t);
void rk_blocks_narrow(rk_dtype t, int64_t n, const float *x, const float *weights, void *blocks);

#endif
