/* vec_avx2.h: the vector of 8 floats under simd/ for AVX2, FMA and F16C.
 *
 * vec_avx2.h, vec_avx512.h and arm/vec_neon.h define the same names for vectors of 8, 16 and 4, and
 * simd/ is written once over them:
 *   vf, VF       a vector of VF floats; VF_REGISTERS of them are at hand
 *   vm           a truth value per lane, from comparisons (false for NaN)
 *   v8d          8 doubles, whatever VF, so that sums in double are the same on every path
 * Partial loads and stores (_n) take n in [0, VF], read zeros past n and touch no memory there.
 * vf_min and vf_max give b where a or b is NaN on x86 and NaN on ARM: a NaN in b always passes. */
#ifndef RK_KERNELS_VEC_AVX2_H
#define RK_KERNELS_VEC_AVX2_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

typedef __m256 vf;
typedef __m256 vm;
typedef struct v8d {
    __m256d lo, hi;
} v8d;
enum { VF = 8, VF_REGISTERS = 16 };

/* The first n lanes, as the sign bits that masked moves look at. */
static inline __m256i vf_first(int n)
{
    static const int32_t ones_then_zeros[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
    return _mm256_loadu_si256((const __m256i *)(const void *)(ones_then_zeros + 8 - n));
}

static inline vf vf_load(const float *p)
{
    return _mm256_loadu_ps(p);
}
static inline vf vf_load_n(const float *p, int n)
{
    return _mm256_maskload_ps(p, vf_first(n));
}
static inline void vf_store(float *p, vf x)
{
    _mm256_storeu_ps(p, x);
}
static inline void vf_store_n(float *p, vf x, int n)
{
    _mm256_maskstore_ps(p, vf_first(n), x);
}
static inline vf vf_set1(float x)
{
    return _mm256_set1_ps(x);
}
static inline vf vf_zero(void)
{
    return _mm256_setzero_ps();
}
static inline vf vf_add(vf a, vf b)
{
    return _mm256_add_ps(a, b);
}
static inline vf vf_sub(vf a, vf b)
{
    return _mm256_sub_ps(a, b);
}
static inline vf vf_mul(vf a, vf b)
{
    return _mm256_mul_ps(a, b);
}
static inline vf vf_div(vf a, vf b)
{
    return _mm256_div_ps(a, b);
}
static inline vf vf_sqrt(vf a)
{
    return _mm256_sqrt_ps(a);
}
static inline vf vf_min(vf a, vf b)
{
    return _mm256_min_ps(a, b);
}
static inline vf vf_max(vf a, vf b)
{
    return _mm256_max_ps(a, b);
}
/* a b + c and c - a b, one rounding. */
static inline vf vf_fma(vf a, vf b, vf c)
{
    return _mm256_fmadd_ps(a, b, c);
}
static inline vf vf_fnma(vf a, vf b, vf c)
{
    return _mm256_fnmadd_ps(a, b, c);
}

static inline vf vf_abs(vf a)
{
    return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a);
}
/* The magnitude of a with the sign of b. */
static inline vf vf_copysign(vf a, vf b)
{
    return _mm256_or_ps(vf_abs(a), _mm256_and_ps(_mm256_set1_ps(-0.0f), b));
}
/* To the nearest integer, ties to even. */
static inline vf vf_round(vf a)
{
    return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
/* 2^n for integral n in [-126, 127], by the exponent bits: n + 127 becomes the low bits of a float
 * whose last place is 1, and the shift drops the rest. */
static inline vf vf_pow2(vf n)
{
    const vf t = _mm256_add_ps(n, _mm256_set1_ps(0x1.8p23f + 127.0f));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(t), 23));
}
/* p 2^n for integral n in [-252, 254]: two factors, so that the product alone overflows to
 * infinity or runs down through the subnormal numbers. */
static inline vf vf_ldexp(vf p, vf n)
{
    const vf half = vf_round(_mm256_mul_ps(n, _mm256_set1_ps(0.5f)));
    return vf_mul(vf_mul(p, vf_pow2(half)), vf_pow2(vf_sub(n, half)));
}

static inline vm vf_lt(vf a, vf b)
{
    return _mm256_cmp_ps(a, b, _CMP_LT_OQ);
}
static inline vm vf_eq(vf a, vf b)
{
    return _mm256_cmp_ps(a, b, _CMP_EQ_OQ);
}
/* a where m holds, b elsewhere. */
static inline vf vf_select(vm m, vf a, vf b)
{
    return _mm256_blendv_ps(b, a, m);
}
/* 32 bits, and the lanes of a whose bit is set, zeros elsewhere: lane i's is bit part VF + i. */
typedef __m256i vb;
static inline vb vb_set(uint32_t bits)
{
    return _mm256_set1_epi32((int)bits);
}
static inline vf vf_keep(vf a, vb bits, int part)
{
    const __m256i up = _mm256_setr_epi32(31, 30, 29, 28, 27, 26, 25, 24);
    const __m256i sign =
        _mm256_sllv_epi32(bits, _mm256_sub_epi32(up, _mm256_set1_epi32(part * VF)));
    return _mm256_blendv_ps(_mm256_setzero_ps(), a, _mm256_castsi256_ps(sign));
}
/* Lane i as bit i. */
static inline unsigned vm_bits(vm m)
{
    return (unsigned)_mm256_movemask_ps(m);
}

/* Sums and maxima over lanes halve the vector: lane i with i + 4, then i + 2, then i + 1. */
static inline float vf_sum(vf a)
{
    const __m128 s = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 t = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(t, _mm_movehdup_ps(t)));
}
static inline float vf_hmax(vf a)
{
    const __m128 s = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 t = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(t, _mm_movehdup_ps(t)));
}
/* out[i] = the sum of the lanes of v_i. */
static inline void vf_sum4(vf v0, vf v1, vf v2, vf v3, float *out)
{
    const __m256 a = _mm256_add_ps(_mm256_unpacklo_ps(v0, v1), _mm256_unpackhi_ps(v0, v1));
    const __m256 b = _mm256_add_ps(_mm256_unpacklo_ps(v2, v3), _mm256_unpackhi_ps(v2, v3));
    const __m256 s = _mm256_add_ps(_mm256_shuffle_ps(a, b, 0x44), _mm256_shuffle_ps(a, b, 0xee));
    _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1)));
}

/* bf16 is the upper half of a float. Narrowing is to nearest, ties to even; NaN stays a NaN. */
static inline vf vf_load_bf16(const uint16_t *p)
{
    const __m128i h = _mm_loadu_si128((const __m128i *)(const void *)p);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}
static inline vf vf_load_f16(const uint16_t *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p));
}
/* VF signed bytes. */
static inline vf vf_load_i8(const unsigned char *p)
{
    return _mm256_cvtepi32_ps(
        _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p)));
}
/* The bf16 bits in the low halves of the lanes. */
static inline __m256i vf_bf16_bits(vf x)
{
    const __m256i bits = _mm256_castps_si256(x);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i bias = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff));
    const __m256i rounded = _mm256_add_epi32(bits, bias);
    const __m256i nan = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
    const __m256 is_nan = _mm256_cmp_ps(x, x, _CMP_UNORD_Q);
    return _mm256_srli_epi32(_mm256_castps_si256(_mm256_blendv_ps(
                                 _mm256_castsi256_ps(rounded), _mm256_castsi256_ps(nan), is_nan)),
                             16);
}
/* x rounded to bf16, still as floats. */
static inline vf vf_round_bf16(vf x)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(vf_bf16_bits(x), 16));
}
static inline void vf_store_bf16(uint16_t *p, vf x)
{
    const __m256i b = vf_bf16_bits(x);
    const __m128i h = _mm_packus_epi32(_mm256_castsi256_si128(b), _mm256_extracti128_si256(b, 1));
    _mm_storeu_si128((__m128i *)(void *)p, h);
}
static inline void vf_store_f16(uint16_t *p, vf x)
{
    const __m128i h = _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    _mm_storeu_si128((__m128i *)(void *)p, h);
}

static inline v8d v8d_zero(void)
{
    return (v8d){_mm256_setzero_pd(), _mm256_setzero_pd()};
}
static inline v8d v8d_load(const float *p)
{
    return (v8d){_mm256_cvtps_pd(_mm_loadu_ps(p)), _mm256_cvtps_pd(_mm_loadu_ps(p + 4))};
}
static inline v8d v8d_add(v8d a, v8d b)
{
    return (v8d){_mm256_add_pd(a.lo, b.lo), _mm256_add_pd(a.hi, b.hi)};
}
static inline v8d v8d_fma(v8d a, v8d b, v8d c)
{
    return (v8d){_mm256_fmadd_pd(a.lo, b.lo, c.lo), _mm256_fmadd_pd(a.hi, b.hi, c.hi)};
}
static inline void v8d_store(double *p, v8d a)
{
    _mm256_storeu_pd(p, a.lo);
    _mm256_storeu_pd(p + 4, a.hi);
}

/* v[i] lane j becomes v[j] lane i: 4 x 4 blocks in the 128-bit halves, then the halves. */
static inline void vf_transpose(vf v[8])
{
    vf r[8];
    for (int i = 0; i < 8; i += 4) {
        const vf lo0 = _mm256_unpacklo_ps(v[i], v[i + 1]), hi0 = _mm256_unpackhi_ps(v[i], v[i + 1]);
        const vf lo1 = _mm256_unpacklo_ps(v[i + 2], v[i + 3]);
        const vf hi1 = _mm256_unpackhi_ps(v[i + 2], v[i + 3]);
        r[i] = _mm256_shuffle_ps(lo0, lo1, 0x44);
        r[i + 1] = _mm256_shuffle_ps(lo0, lo1, 0xee);
        r[i + 2] = _mm256_shuffle_ps(hi0, hi1, 0x44);
        r[i + 3] = _mm256_shuffle_ps(hi0, hi1, 0xee);
    }
    for (int i = 0; i < 4; i++) {
        v[i] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x20);
        v[i + 4] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x31);
    }
}

/* Whole numbers of 32 bits; 32 bytes as words, of even and of odd places (simd/bytes.inc.c). */
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
