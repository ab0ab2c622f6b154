/* dot8_avxvnni_emulated.c: the products in 8 bits of AVX-VNNI over AVX2, with its one instruction
 * as a function. */
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#define RK_EMULATE_AVXVNNI
#define _mm256_dpbusd_avx_epi32 emu_dpbusd_avx
static inline __m256i emu_dpbusd_avx(__m256i sum, __m256i a, __m256i b)
{
    uint8_t x[32];
    int8_t y[32];
    int32_t to[8];
    memcpy(x, &a, sizeof x);
    memcpy(y, &b, sizeof y);
    memcpy(to, &sum, sizeof to);
    for (int i = 0; i < 32; i++)
        to[i / 4] += x[i] * y[i];
    memcpy(&sum, to, sizeof to);
    return sum;
}

#include "kernels/x86/dot8_avxvnni.c"
