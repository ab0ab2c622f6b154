/* dot8_avxvnni.c: the loops of simd/dot8.inc.c for AVX2 with the dot products of AVX-VNNI, which
 * CPUs without AVX-512 have. */
#include "kernels/x86/int_avx2.h"

#define DOT8_TILE 4
#define DOT8_DIRECT 8
#include "kernels/simd/dot8.inc.c"

const rk_dot8_kernels rk_dot8_avxvnni = {"avxvnni", DOT8_TILE, round_row, product, columns};
