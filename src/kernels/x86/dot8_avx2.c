/* dot8_avx2.c: the loops of simd/dot8.inc.c for AVX2. Sixteen registers hold a tile of 6 rows of
 * 4-bit numbers, whose sums stay in 16 bits, or of 3 rows of others. */
#include "kernels/x86/int_avx2.h"

#define DOT8_TILE 6
#define DOT8_WIDE_STEPS 2
#include "kernels/simd/dot8.inc.c"

const rk_dot8_kernels rk_dot8_avx2 = {"avx2", DOT8_TILE, round_row, product};
