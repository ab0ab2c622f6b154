/* dot8_avx2.c: the loops of simd/dot8.inc.c for AVX2. A tile is both parts by 4 rows: 8 sums, two
 * registers of numbers, one of x. Some outputs live in memory, once a block; one part by 6 rows or
 * both by 3 need more loads for each product and are slower. */
#include "kernels/x86/int_avx2.h"

#define DOT8_TILE 4
#define DOT8_DIRECT 8
#include "kernels/simd/dot8.inc.c"

const rk_dot8_kernels rk_dot8_avx2 = {"avx2", DOT8_TILE, round_row, product, columns};
