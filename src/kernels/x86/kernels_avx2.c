/* kernels_avx2.c: the kernels of simd/ compiled for the vectors of vec_avx2.h. */
#include "kernels/x86/vec_avx2.h"

#include "kernels/simd/table.inc.c"

const rk_kernels rk_kernels_avx2 = SIMD_TABLE("avx2", );
