/* blocks.h: quantised weights: ggml's block formats, in which 32 or 256 neighbouring elements of a
 * row share scales, and in some formats minima; and the code books of codes.h, which only
 * rk_blocks_widen and rk_blocks_narrow know.
 *
 * A row is a whole number of blocks; bytes have no alignment but that of the format's 16-bit
 * scales, which are read bytewise. "Numbers" are the small integers q that a block stores for its
 * elements. Source of the layouts: ggml-org/ggml, src/ggml-common.h. */
#ifndef RK_KERNELS_BLOCKS_H
#define RK_KERNELS_BLOCKS_H

#include "base/dtype.h"

/* Dequantise n elements, a whole number of blocks, to out (n). Any bytes have a value, if not
 * always a finite one. */
void rk_blocks_widen(rk_dtype t, int64_t n, const void *blocks, float *out);
/* Where in a block its f16 factors lie, in bytes: at `at` the scale, and where n is 2 the factor of
 * the minima behind it. Multiplying these multiplies all elements. */
typedef struct rk_block_factors {
    int at, n;
} rk_block_factors;
rk_block_factors rk_blocks_factors(rk_dtype t);
/* The parts of one block. numbers: q (32 or 256) in the order of the elements, as stored, without
 * sign (for Q8_0 the signed bytes). scales: for the K formats, the scales and minima of the
 * sub-blocks, 16 of each in Q2_K, Q3_K and Q6_K, 8 in Q4_K and Q5_K; Q3_K and Q6_K have signed
 * scales and no minima. */
void rk_blocks_numbers(rk_dtype t, const void *block, uint8_t *q);
void rk_blocks_scales(rk_dtype t, const void *block, uint8_t *scales, uint8_t *minima);

/* Quantise x (n), finite floats, a whole number of blocks. weights (n), positive: importance of
 * each squared error; NULL: all alike, and the formats of 32 elements then have the bits that ggml
 * gives them; code books take no weights. All n share the scale of int8. Q2_K and Q3_K can be read but
 * not written. */
bool rk_blocks_can_narrow(rk_dtype t);
void rk_blocks_narrow(rk_dtype t, int64_t n, const float *x, const float *weights, void *blocks);

#endif
