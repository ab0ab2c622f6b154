/* dot8_neon.c: the loops of simd/dot8.inc.c for ARMv8.0. A tile is the four parts by one row, whose
 * sums in 16 bits and in 32 take 16 registers; two rows would leave 4 bits a little faster (0.30
 * instructions for a product, not 0.32) and all others slower (0.5, not 0.4). */
#include "kernels/arm/int_neon.h"

#define DOT8_TILE 1
#define DOT8_DIRECT 2
#include "kernels/simd/dot8.inc.c"

const rk_dot8_kernels rk_dot8_neon = {"neon", DOT8_TILE, round_row, product, columns};
