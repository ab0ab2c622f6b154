/* kernels_neon.c: the kernels of simd/ compiled for the vectors of vec_neon.h. */
#include "kernels/arm/vec_neon.h"

#include "kernels/simd/table.inc.c"

const rk_kernels rk_kernels_neon = SIMD_TABLE("neon", );
