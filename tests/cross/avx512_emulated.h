/* avx512_emulated.h: the intrinsics of vec_avx512.h and int_avx512.h on a CPU without AVX-512, for
 * tests: SIMDe's where version 0.7.4 has them, the rest written here lane by lane. A little slower
 * than AVX2. */
#ifndef RK_TEST_CROSS_AVX512_EMULATED_H
#define RK_TEST_CROSS_AVX512_EMULATED_H

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#include <simde/x86/f16c.h>
#include <simde/x86/fma.h>

#include <string.h>

typedef struct emu_halves {
    __m256 lo, hi;
} emu_halves;

static inline emu_halves emu_split(__m512 x)
{
    emu_halves h;
    memcpy(&h, &x, sizeof h);
    return h;
}
static inline __m512 emu_join(__m256 lo, __m256 hi)
{
    const emu_halves h = {lo, hi};
    __m512 x;
    memcpy(&x, &h, sizeof x);
    return x;
}

#define _mm512_maskz_loadu_ps emu_maskz_loadu_ps
static inline __m512 emu_maskz_loadu_ps(__mmask16 m, const float *p)
{
    float lanes[16] = {0};
    for (int i = 0; i < 16; i++)
        if (m >> i & 1)
            lanes[i] = p[i];
    return _mm512_loadu_ps(lanes);
}
#define _mm512_mask_storeu_ps emu_mask_storeu_ps
static inline void emu_mask_storeu_ps(float *p, __mmask16 m, __m512 x)
{
    float lanes[16];
    _mm512_storeu_ps(lanes, x);
    for (int i = 0; i < 16; i++)
        if (m >> i & 1)
            p[i] = lanes[i];
}

/* SIMDe 0.7.4 gives this name to the masked one. */
#undef _mm512_madd_epi16
#define _mm512_madd_epi16 emu_madd_epi16
static inline __m512i emu_madd_epi16(__m512i a, __m512i b)
{
    __m256i x[2], y[2];
    memcpy(x, &a, sizeof x);
    memcpy(y, &b, sizeof y);
    for (int i = 0; i < 2; i++)
        x[i] = _mm256_madd_epi16(x[i], y[i]);
    memcpy(&a, x, sizeof x);
    return a;
}

#define _mm512_cvtepu16_epi32 emu_cvtepu16_epi32
static inline __m512i emu_cvtepu16_epi32(__m256i x)
{
    uint16_t from[16];
    uint32_t to[16];
    memcpy(from, &x, sizeof from);
    for (int i = 0; i < 16; i++)
        to[i] = from[i];
    return _mm512_loadu_si512(to);
}
#define _mm512_cvtepi32_epi16 emu_cvtepi32_epi16
static inline __m256i emu_cvtepi32_epi16(__m512i x)
{
    uint32_t from[16];
    uint16_t to[16];
    memcpy(from, &x, sizeof from);
    for (int i = 0; i < 16; i++)
        to[i] = (uint16_t)from[i];
    return _mm256_loadu_si256((const __m256i *)(const void *)to);
}

/* SIMDe has these with another type of count, and clang wants to see a literal there. */
#undef _mm512_slli_epi16
#undef _mm512_srli_epi16
#define _mm512_slli_epi16(x, n) simde_mm512_sll_epi16(x, _mm_cvtsi32_si128((int)(n)))
#define _mm512_srli_epi16(x, n) simde_mm512_srl_epi16(x, _mm_cvtsi32_si128((int)(n)))

#define _mm512_cvtepi32_ps emu_cvtepi32_ps
static inline __m512 emu_cvtepi32_ps(__m512i x)
{
    int32_t from[16];
    float to[16];
    memcpy(from, &x, sizeof from);
    for (int i = 0; i < 16; i++)
        to[i] = (float)from[i];
    return _mm512_loadu_ps(to);
}
#define _mm512_cvtps_epi32 emu_cvtps_epi32
static inline __m512i emu_cvtps_epi32(__m512 x)
{
    const emu_halves h = emu_split(x);
    const __m256i to[2] = {_mm256_cvtps_epi32(h.lo), _mm256_cvtps_epi32(h.hi)};
    return _mm512_loadu_si512(to);
}
#define _mm512_cvtepi32_epi8 emu_cvtepi32_epi8
static inline __m128i emu_cvtepi32_epi8(__m512i x)
{
    uint32_t from[16];
    uint8_t to[16];
    memcpy(from, &x, sizeof from);
    for (int i = 0; i < 16; i++)
        to[i] = (uint8_t)from[i];
    return _mm_loadu_si128((const __m128i *)(const void *)to);
}
#define _mm512_cvtepu8_epi32 emu_cvtepu8_epi32
static inline __m512i emu_cvtepu8_epi32(__m128i x)
{
    const __m256i to[2] = {_mm256_cvtepu8_epi32(x), _mm256_cvtepu8_epi32(_mm_srli_si128(x, 8))};
    return _mm512_loadu_si512(to);
}
#define _mm512_cvtepi8_epi32 emu_cvtepi8_epi32
static inline __m512i emu_cvtepi8_epi32(__m128i x)
{
    const __m256i to[2] = {_mm256_cvtepi8_epi32(x), _mm256_cvtepi8_epi32(_mm_srli_si128(x, 8))};
    return _mm512_loadu_si512(to);
}
/* Sums of four products, without sign by with sign, added up. */
#undef _mm512_dpbusd_epi32
#define _mm512_dpbusd_epi32 emu_dpbusd_epi32
static inline __m512i emu_dpbusd_epi32(__m512i sum, __m512i a, __m512i b)
{
    uint8_t x[64];
    int8_t y[64];
    int32_t to[16];
    memcpy(x, &a, sizeof x);
    memcpy(y, &b, sizeof y);
    memcpy(to, &sum, sizeof to);
    for (int i = 0; i < 64; i++)
        to[i / 4] += x[i] * y[i];
    return _mm512_loadu_si512(to);
}

#define _mm512_cvtph_ps emu_cvtph_ps
static inline __m512 emu_cvtph_ps(__m256i x)
{
    return emu_join(_mm256_cvtph_ps(_mm256_castsi256_si128(x)),
                    _mm256_cvtph_ps(_mm256_extracti128_si256(x, 1)));
}
#undef _mm512_cvtps_ph
#define _mm512_cvtps_ph(x, how) emu_cvtps_ph(x)
static inline __m256i emu_cvtps_ph(__m512 x)
{
    const emu_halves h = emu_split(x);
    return _mm256_set_m128i(_mm256_cvtps_ph(h.hi, 0), _mm256_cvtps_ph(h.lo, 0));
}
#define _mm512_cvtps_pd emu_cvtps_pd
static inline __m512d emu_cvtps_pd(__m256 x)
{
    float from[8];
    double to[8];
    memcpy(from, &x, sizeof from);
    for (int i = 0; i < 8; i++)
        to[i] = (double)from[i];
    return _mm512_loadu_pd(to);
}

/* Quarters how[1:0] and how[3:2] of a, then how[5:4] and how[7:6] of b. */
#undef _mm512_shuffle_f32x4
#define _mm512_shuffle_f32x4 emu_shuffle_f32x4
static inline __m512 emu_shuffle_f32x4(__m512 a, __m512 b, int how)
{
    float x[16], y[16], to[16];
    _mm512_storeu_ps(x, a);
    _mm512_storeu_ps(y, b);
    for (int q = 0; q < 4; q++)
        memcpy(to + 4 * q, (q < 2 ? x : y) + 4 * (how >> 2 * q & 3), 4 * sizeof *to);
    return _mm512_loadu_ps(to);
}

#endif
