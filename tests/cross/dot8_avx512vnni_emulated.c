/* dot8_avx512vnni_emulated.c: the products in 8 bits of AVX-512, as avx512_emulated.c. */
#include "kernels/x86/dot8_avx512vnni.c"
