/* dot8_neondot.c: the loops of simd/dot8.inc.c for the dot products of ARMv8.2. A tile is the four
 * parts by 3 rows: 12 sums, 12 outputs, four registers of numbers and three of x. */
#include "kernels/arm/int_neon.h"

#define DOT8_TILE 3
#define DOT8_DIRECT 6
#include "kernels/simd/dot8.inc.c"

const rk_dot8_kernels rk_dot8_neondot = {"neondot", DOT8_TILE, round_row, product, columns};
