/* dot8_avx512vnni.c: the loops of simd/dot8.inc.c for AVX-512 with VNNI. 32 registers hold the
 * sums of 12 rows and their outputs. */
#include "kernels/x86/int_avx512.h"

#define DOT8_TILE 12
#define DOT8_DIRECT 12
#include "kernels/simd/dot8.inc.c"

const rk_dot8_kernels rk_dot8_avx512vnni = {"avx512vnni", DOT8_TILE, round_row, product, columns};
