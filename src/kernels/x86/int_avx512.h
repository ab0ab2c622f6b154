/* int_avx512.h: vectors of small integers for simd/dot8.inc.c, over AVX-512 with VNNI; the names
 * are explained in int_avx2.h. One instruction multiplies and adds 64 numbers, and takes the four
 * inputs that all rows share from memory. gcc 12 loads them into a register first, so it is written
 * out here. */
#ifndef RK_KERNELS_INT_AVX512_H
#define RK_KERNELS_INT_AVX512_H

#include "kernels/x86/vec_avx512.h"

typedef __m512i vq;
typedef __m512i vi;
typedef __m512i va;

static inline vq vq_load(const unsigned char *p)
{
    return _mm512_load_si512((const void *)p);
}
static inline void vq_store(unsigned char *p, vq x)
{
    _mm512_store_si512((void *)p, x);
}
static inline vq vq_and(vq x, int byte)
{
    return _mm512_and_si512(x, _mm512_set1_epi8((char)byte));
}
static inline vq vq_or(vq a, vq b)
{
    return _mm512_or_si512(a, b);
}
#ifdef __clang__ /* compilers differ in the type of a count */
typedef unsigned vq_count;
#else
typedef int vq_count;
#endif
static inline vq vq_shift_left(vq x, int n)
{
    return _mm512_slli_epi16(x, (vq_count)n);
}
static inline vq vq_shift_right(vq x, int n)
{
    return _mm512_srli_epi16(x, (vq_count)n);
}
static inline void vq_interleave(vq a, vq b, vq c, vq d, vq *q)
{
    const vq ab0 = _mm512_unpacklo_epi8(a, b), ab1 = _mm512_unpackhi_epi8(a, b);
    const vq cd0 = _mm512_unpacklo_epi8(c, d), cd1 = _mm512_unpackhi_epi8(c, d);
    q[0] = _mm512_unpacklo_epi16(ab0, cd0);
    q[1] = _mm512_unpackhi_epi16(ab0, cd0);
    q[2] = _mm512_unpacklo_epi16(ab1, cd1);
    q[3] = _mm512_unpackhi_epi16(ab1, cd1);
}

static inline vi vi_zero(void)
{
    return _mm512_setzero_si512();
}
static inline va va_zero(void)
{
    return _mm512_setzero_si512();
}
static inline vf vi_to_floats(vi x)
{
    return _mm512_cvtepi32_ps(x);
}
static inline void vf_store_i8(int8_t *p, vf x)
{
    _mm_storeu_si128((__m128i *)(void *)p, _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(x)));
}
static inline vf vf_load_u8(const unsigned char *p)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)p)));
}
static inline vf vf_load_u4(const unsigned char *p, int shift)
{
    const __m128i b = _mm_srli_epi16(_mm_loadu_si128((const void *)p), shift);
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_and_si128(b, _mm_set1_epi8(15))));
}

/* Numbers as they are stored. */
#define VA_QUADS(bits) 8
static inline vq vq_of_byte(vq stored)
{
    return stored;
}
static inline vq vq_magnitude(int bits, vq c)
{
    (void)bits;
    return c;
}
static inline va va_step(int bits, va sum, vq c, vq magnitude, const int8_t *x, int j)
{
    (void)bits;
    (void)magnitude;
#if defined(RK_EMULATE_AVX512)
    int32_t four;
    memcpy(&four, x + 4 * j, sizeof four);
    sum = _mm512_dpbusd_epi32(sum, c, _mm512_set1_epi32(four));
#else
    typedef struct quad {
        int8_t x[4];
    } quad;
    const quad *four = (const quad *)(const void *)(x + 4 * j);
    __asm__("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(sum) : "v"(c), "m"(*four));
#endif
    return sum;
}
static inline vi va_add_to(int bits, vi sum, va part)
{
    (void)bits;
    return _mm512_add_epi32(sum, part);
}
static inline vi vi_centre(int bits, vi sum, int32_t total)
{
    return _mm512_sub_epi32(sum, _mm512_slli_epi32(_mm512_set1_epi32(total), (unsigned)(bits - 1)));
}

#endif
