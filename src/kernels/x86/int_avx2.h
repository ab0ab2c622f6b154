/* int_avx2.h: vectors of small integers for simd/dot8.inc.c, over AVX2, with or without VNNI.
 *
 * int_avx2.h, int_avx512.h and arm/int_neon.h define the same names beside those of vec_*.h:
 *
 *   vq   numbers of 8 bits: VF rows by 4 neighbouring inputs
 *   vi   VF integers of 32 bits
 *   va   a partial sum of products: it has room for VA_QUADS(bits) steps, then it is added to a vi
 *
 * vi_centre() turns a sum over numbers stored without sign into the sum over symmetric ones, where
 * vq_of_byte() has not done it: it subtracts 2^(bits - 1) times the total of the inputs.
 *
 * Without VNNI pairs of products are added in 16 bits, which saturates at 32767: unsigned numbers
 * of up to 6 bits leave room for 8 to 2 steps; numbers of 8 bits are multiplied as |q| (x with the
 * sign of q), 2 x 128 x 127 at most, and widened at each step. */
#ifndef RK_KERNELS_INT_AVX2_H
#define RK_KERNELS_INT_AVX2_H

#include "kernels/x86/vec_avx2.h"

typedef __m256i vq;
typedef __m256i vi;
typedef __m256i va;

static inline vq vq_load(const unsigned char *p)
{
    return _mm256_load_si256((const __m256i *)(const void *)p);
}
static inline void vq_store(unsigned char *p, vq x)
{
    _mm256_store_si256((__m256i *)(void *)p, x);
}
/* The same 4 numbers in every lane. */
static inline vq vq_repeat(const int8_t *p)
{
    int32_t four;
    memcpy(&four, p, sizeof four);
    return _mm256_set1_epi32(four);
}
static inline vq vq_and(vq x, int byte)
{
    return _mm256_and_si256(x, _mm256_set1_epi8((char)byte));
}
static inline vq vq_or(vq a, vq b)
{
    return _mm256_or_si256(a, b);
}
/* Bits move in 16-bit lanes: the caller has masked what would reach the neighbour. */
static inline vq vq_shift_left(vq x, int n)
{
    return _mm256_slli_epi16(x, n);
}
static inline vq vq_shift_right(vq x, int n)
{
    return _mm256_srli_epi16(x, n);
}
/* In every 16 bytes by themselves: q[i] has bytes 4 i to 4 i + 3 of a, b, c and d in turn. */
static inline void vq_interleave(vq a, vq b, vq c, vq d, vq *q)
{
    const vq ab0 = _mm256_unpacklo_epi8(a, b), ab1 = _mm256_unpackhi_epi8(a, b);
    const vq cd0 = _mm256_unpacklo_epi8(c, d), cd1 = _mm256_unpackhi_epi8(c, d);
    q[0] = _mm256_unpacklo_epi16(ab0, cd0);
    q[1] = _mm256_unpackhi_epi16(ab0, cd0);
    q[2] = _mm256_unpacklo_epi16(ab1, cd1);
    q[3] = _mm256_unpackhi_epi16(ab1, cd1);
}

static inline vi vi_zero(void)
{
    return _mm256_setzero_si256();
}
static inline va va_zero(void)
{
    return _mm256_setzero_si256();
}
static inline vf vi_to_floats(vi x)
{
    return _mm256_cvtepi32_ps(x);
}
/* To the nearest integer, which must fit, in 8 bits. */
static inline void vf_store_i8(int8_t *p, vf x)
{
    const __m256i i = _mm256_cvtps_epi32(x);
    const __m128i h = _mm_packs_epi32(_mm256_castsi256_si128(i), _mm256_extracti128_si256(i, 1));
    _mm_storel_epi64((__m128i *)(void *)p, _mm_packs_epi16(h, h));
}
static inline vf vf_load_u8(const unsigned char *p)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)p)));
}
/* The four bits from bit `shift` on of bytes. */
static inline vf vf_load_u4(const unsigned char *p, int shift)
{
    const __m128i b = _mm_srli_epi16(_mm_loadl_epi64((const void *)p), shift);
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_and_si128(b, _mm_set1_epi8(15))));
}

#if defined(__AVXVNNI__) || defined(RK_EMULATE_AVXVNNI)

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
    return _mm256_dpbusd_avx_epi32(sum, c, vq_repeat(x + 4 * j));
}
static inline vi va_add_to(int bits, vi sum, va part)
{
    (void)bits;
    return _mm256_add_epi32(sum, part);
}
static inline vi vi_centre(int bits, vi sum, int32_t total)
{
    return _mm256_sub_epi32(sum, _mm256_slli_epi32(_mm256_set1_epi32(total), bits - 1));
}

#else

#define VA_QUADS(bits) ((bits) <= 4 || (bits) == 8 ? 8 : (bits) == 5 ? 4 : 2)
/* A number of 8 bits with its sign. */
static inline vq vq_of_byte(vq stored)
{
    return _mm256_xor_si256(stored, _mm256_set1_epi8((char)0x80));
}
static inline vq vq_magnitude(int bits, vq c)
{
    return bits == 8 ? _mm256_abs_epi8(c) : c;
}
static inline va va_step(int bits, va sum, vq c, vq magnitude, const int8_t *x, int j)
{
    const vq four = vq_repeat(x + 4 * j);
    if (bits < 8) {
        sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(c, four));
    } else {
        const __m256i pairs = _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(four, c));
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
    }
    __asm__(
        ""
        : "+x"(sum)); /* forces the addition here: gcc 12 would keep the products of all steps */
    return sum;
}
static inline vi va_add_to(int bits, vi sum, va part)
{
    return _mm256_add_epi32(sum, bits == 8 ? part : _mm256_madd_epi16(part, _mm256_set1_epi16(1)));
}
static inline vi vi_centre(int bits, vi sum, int32_t total)
{
    return bits == 8 ? sum
                     : _mm256_sub_epi32(sum, _mm256_slli_epi32(_mm256_set1_epi32(total), bits - 1));
}

#endif
#endif
