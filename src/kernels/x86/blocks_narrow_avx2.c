/* blocks_narrow_avx2.c: the rounding to blocks, compiled for vectors of 256 bits. */
#include <immintrin.h>

#define LANES_MAX(a, b) ((lanes)_mm256_max_ps((__m256)(a), (__m256)(b)))
#define LANES_MIN(a, b) ((lanes)_mm256_min_ps((__m256)(a), (__m256)(b)))
#define LANES 8
#define NARROW rk_blocks_narrow_avx2
#include "kernels/simd/narrow.inc.c"
