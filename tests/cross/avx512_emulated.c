/* avx512_emulated.c: the AVX-512 kernels, compiled as functions over AVX2 (RK_EMULATE_AVX512 is
 * defined for this target). A file of its own, because its namesake's suffix brings flags. */
#include "kernels/x86/kernels_avx512.c"
