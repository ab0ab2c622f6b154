/* kernels_avx512.c: the kernels of simd/ compiled for the vectors of vec_avx512.h. */
#include "kernels/x86/vec_avx512.h"

#include "kernels/simd/table.inc.c"

const rk_kernels rk_kernels_avx512 = SIMD_TABLE("avx512", );
