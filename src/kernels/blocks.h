/* blocks.h: the block formats of ggml: neighbouring elements of a row share scales.
 *
 * A row is a whole number of blocks; bytes have no alignment but that of the format's 16-bit
 * scales, which are read bytewise. Source of the layouts: ggml-org/ggml, src/ggml-common.h. */
#ifndef RK_KERNELS_BLOCKS_H
#define RK_KERNELS_BLOCKS_H

#include "base/dtype.h"

/* n elements, whole blocks, as floats. Any bytes are a value, if not always a finite one. */
void rk_blocks_widen(rk_dtype t, int64_t n, const void *blocks, float *out);
/* What a block of Q4_0 .. Q8_0 or Q4_K .. Q6_K is made of: its numbers in the order of the elements,
 * without sign as they are stored (of Q8_0 the bytes), and of the K formats the scales and minima of
 * its parts, 8 of each (of Q6_K 16 scales, signed, and no minima). */
void rk_blocks_numbers(rk_dtype t, const void *block, uint8_t *q);
void rk_blocks_scales(rk_dtype t, const void *block, uint8_t *scales, uint8_t *minima);

/* n finite floats, whole blocks, rounded to a format. weights (n), positive, of the squared errors;
 * NULL: all alike, and the formats of 32 elements then have the bits that ggml gives them. There is
 * no writing of Q2_K and Q3_K. */
bool rk_blocks_can_narrow(rk_dtype t);
void rk_blocks_narrow(rk_dtype t, int64_t n, const float *x, const float *weights, void *blocks);

#endif
