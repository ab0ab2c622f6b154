/* words_256.h: bytes times whole numbers of 16 bits (simd/bytes.inc.c), in 256 bits for AVX2 and AVX-512 alike:
 * memory is what bytes wait for. Inside this folder only; intrinsics come from the header that includes this. */
#ifndef RK_KERNELS_X86_WORDS_256_H
#define RK_KERNELS_X86_WORDS_256_H

/* Whole numbers of 32 bits; 32 bytes as words, of even and of odd places. */
typedef __m256i vsums;
typedef struct vwords {
    __m256i even, odd;
} vwords;
static inline vsums vsums_zero(void)
{
    return _mm256_setzero_si256();
}
static inline vwords vwords_load(const uint8_t *p)
{
    const __m256i b = _mm256_loadu_si256((const __m256i *)(const void *)p);
    return (vwords){_mm256_and_si256(b, _mm256_set1_epi16(255)), _mm256_srli_epi16(b, 8)};
}
/* sum + the products with x, of even and of odd places. */
static inline vsums vwords_add(vsums sum, vwords q, const int16_t (*x)[16])
{
    const __m256i even = _mm256_loadu_si256((const __m256i *)(const void *)x[0]);
    const __m256i odd = _mm256_loadu_si256((const __m256i *)(const void *)x[1]);
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(q.even, even));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(q.odd, odd));
}
static inline int64_t vsums_total(vsums x)
{
    const __m256i low = _mm256_cvtepi32_epi64(_mm256_castsi256_si128(x));
    const __m256i s = _mm256_add_epi64(low, _mm256_cvtepi32_epi64(_mm256_extracti128_si256(x, 1)));
    const __m128i t = _mm_add_epi64(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));
    return _mm_cvtsi128_si64(t) + _mm_extract_epi64(t, 1);
}

#endif
