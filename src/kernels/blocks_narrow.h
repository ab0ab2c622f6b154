/* blocks_narrow.h: the builds of simd/narrow.inc.c (quantising), which all give the same bits. */
#ifndef RK_KERNELS_BLOCKS_NARROW_H
#define RK_KERNELS_BLOCKS_NARROW_H

#include "kernels/blocks.h"

/* rk_blocks_narrow for a format that can be written, else false. n may be 0. */
typedef bool rk_blocks_narrow_fn(rk_dtype t, int64_t n, const float *x, const float *weights,
                                 void *blocks);
rk_blocks_narrow_fn rk_blocks_narrow_plain, rk_blocks_narrow_avx2;

#endif
