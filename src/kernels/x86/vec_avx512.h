/* vec_avx512.h: the vector of 16 floats under simd/ for AVX-512 F, BW, DQ and VL; the names are
 * explained in vec_avx2.h. A test build defines RK_EMULATE_AVX512 and brings the intrinsics as
 * functions, so that the path is tested on machines without it. */
#ifndef RK_KERNELS_VEC_AVX512_H
#define RK_KERNELS_VEC_AVX512_H

#ifdef RK_EMULATE_AVX512
#include "avx512_emulated.h"
#else
#include <immintrin.h>
#endif
#include <stdint.h>
#include <string.h>

typedef __m512 vf;
typedef __mmask16 vm;
typedef __m512d v8d;
enum { VF = 16, VF_REGISTERS = 32 };

/* The first n lanes. */
static inline __mmask16 vf_first(int n)
{
    return (__mmask16)((1u << n) - 1u);
}

static inline vf vf_load(const float *p)
{
    return _mm512_loadu_ps(p);
}
static inline vf vf_load_n(const float *p, int n)
{
    return _mm512_maskz_loadu_ps(vf_first(n), p);
}
static inline void vf_store(float *p, vf x)
{
    _mm512_storeu_ps(p, x);
}
static inline void vf_store_n(float *p, vf x, int n)
{
    _mm512_mask_storeu_ps(p, vf_first(n), x);
}
static inline vf vf_set1(float x)
{
    return _mm512_set1_ps(x);
}
static inline vf vf_zero(void)
{
    return _mm512_setzero_ps();
}
static inline vf vf_add(vf a, vf b)
{
    return _mm512_add_ps(a, b);
}
static inline vf vf_sub(vf a, vf b)
{
    return _mm512_sub_ps(a, b);
}
static inline vf vf_mul(vf a, vf b)
{
    return _mm512_mul_ps(a, b);
}
static inline vf vf_div(vf a, vf b)
{
    return _mm512_div_ps(a, b);
}
static inline vf vf_sqrt(vf a)
{
    return _mm512_sqrt_ps(a);
}
static inline vf vf_min(vf a, vf b)
{
    return _mm512_min_ps(a, b);
}
static inline vf vf_max(vf a, vf b)
{
    return _mm512_max_ps(a, b);
}
static inline vf vf_fma(vf a, vf b, vf c)
{
    return _mm512_fmadd_ps(a, b, c);
}
static inline vf vf_fnma(vf a, vf b, vf c)
{
    return _mm512_fnmadd_ps(a, b, c);
}

static inline vf vf_abs(vf a)
{
    return _mm512_andnot_ps(_mm512_set1_ps(-0.0f), a);
}
static inline vf vf_copysign(vf a, vf b)
{
    return _mm512_or_ps(vf_abs(a), _mm512_and_ps(_mm512_set1_ps(-0.0f), b));
}
/* Adding 1.5 2^23 leaves no bits below 1; right for |a| < 2^22. */
static inline vf vf_round(vf a)
{
    const vf magic = _mm512_set1_ps(0x1.8p23f);
    return _mm512_sub_ps(_mm512_add_ps(a, magic), magic);
}
static inline vf vf_pow2(vf n)
{
    const vf t = _mm512_add_ps(n, _mm512_set1_ps(0x1.8p23f + 127.0f));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(t), 23));
}
static inline vf vf_ldexp(vf p, vf n)
{
    const vf half = vf_round(_mm512_mul_ps(n, _mm512_set1_ps(0.5f)));
    return vf_mul(vf_mul(p, vf_pow2(half)), vf_pow2(vf_sub(n, half)));
}

static inline vm vf_lt(vf a, vf b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ);
}
static inline vm vf_eq(vf a, vf b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ);
}
static inline vf vf_select(vm m, vf a, vf b)
{
    return _mm512_mask_blend_ps(m, b, a);
}
typedef uint32_t vb;
static inline vb vb_set(uint32_t bits)
{
    return bits;
}
static inline vf vf_keep(vf a, vb bits, int part)
{
    return _mm512_maskz_mov_ps((__mmask16)(bits >> part * VF), a);
}
static inline unsigned vm_bits(vm m)
{
    return m;
}

/* Lane i with i + 8, then as in vec_avx2.h. */
static inline __m256 vf_upper(vf a)
{
    return _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(a), 1));
}
static inline float vf_sum(vf a)
{
    const __m256 h = _mm256_add_ps(_mm512_castps512_ps256(a), vf_upper(a));
    const __m128 s = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    const __m128 t = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(t, _mm_movehdup_ps(t)));
}
static inline float vf_hmax(vf a)
{
    const __m256 h = _mm256_max_ps(_mm512_castps512_ps256(a), vf_upper(a));
    const __m128 s = _mm_max_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    const __m128 t = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(t, _mm_movehdup_ps(t)));
}
static inline void vf_sum4(vf v0, vf v1, vf v2, vf v3, float *out)
{
    const __m512 a = _mm512_add_ps(_mm512_unpacklo_ps(v0, v1), _mm512_unpackhi_ps(v0, v1));
    const __m512 b = _mm512_add_ps(_mm512_unpacklo_ps(v2, v3), _mm512_unpackhi_ps(v2, v3));
    const __m512 s = _mm512_add_ps(_mm512_shuffle_ps(a, b, 0x44), _mm512_shuffle_ps(a, b, 0xee));
    const __m256 h = _mm256_add_ps(_mm512_castps512_ps256(s), vf_upper(s));
    _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1)));
}

static inline vf vf_load_bf16(const uint16_t *p)
{
    const __m256i h = _mm256_loadu_si256((const __m256i *)(const void *)p);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}
static inline vf vf_load_f16(const uint16_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
}
static inline vf vf_load_i8(const unsigned char *p)
{
    return _mm512_cvtepi32_ps(
        _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p)));
}
static inline __m512i vf_bf16_bits(vf x)
{
    const __m512i bits = _mm512_castps_si512(x);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i bias = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
    const __m512i rounded = _mm512_add_epi32(bits, bias);
    const __m512i nan = _mm512_or_si512(bits, _mm512_set1_epi32(0x400000));
    const __mmask16 is_nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    return _mm512_srli_epi32(_mm512_mask_blend_epi32(is_nan, rounded, nan), 16);
}
static inline vf vf_round_bf16(vf x)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(vf_bf16_bits(x), 16));
}
static inline void vf_store_bf16(uint16_t *p, vf x)
{
    _mm256_storeu_si256((__m256i *)(void *)p, _mm512_cvtepi32_epi16(vf_bf16_bits(x)));
}
static inline void vf_store_f16(uint16_t *p, vf x)
{
    const __m256i h = _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    _mm256_storeu_si256((__m256i *)(void *)p, h);
}

static inline v8d v8d_zero(void)
{
    return _mm512_setzero_pd();
}
static inline v8d v8d_load(const float *p)
{
    return _mm512_cvtps_pd(_mm256_loadu_ps(p));
}
static inline v8d v8d_add(v8d a, v8d b)
{
    return _mm512_add_pd(a, b);
}
static inline v8d v8d_fma(v8d a, v8d b, v8d c)
{
    return _mm512_fmadd_pd(a, b, c);
}
static inline void v8d_store(double *p, v8d a)
{
    _mm512_storeu_pd(p, a);
}

/* v[i] lane j becomes v[j] lane i: 4 x 4 blocks in the 128-bit quarters, then the quarters. */
static inline void vf_transpose(vf v[16])
{
    vf r[16];
    for (int i = 0; i < 16; i += 4) {
        const vf lo0 = _mm512_unpacklo_ps(v[i], v[i + 1]), hi0 = _mm512_unpackhi_ps(v[i], v[i + 1]);
        const vf lo1 = _mm512_unpacklo_ps(v[i + 2], v[i + 3]);
        const vf hi1 = _mm512_unpackhi_ps(v[i + 2], v[i + 3]);
        r[i] = _mm512_shuffle_ps(lo0, lo1, 0x44);
        r[i + 1] = _mm512_shuffle_ps(lo0, lo1, 0xee);
        r[i + 2] = _mm512_shuffle_ps(hi0, hi1, 0x44);
        r[i + 3] = _mm512_shuffle_ps(hi0, hi1, 0xee);
    }
    for (int i = 0; i < 4; i++) {
        const vf even0 = _mm512_shuffle_f32x4(r[i], r[i + 4], 0x88);
        const vf even1 = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0x88);
        const vf odd0 = _mm512_shuffle_f32x4(r[i], r[i + 4], 0xdd);
        const vf odd1 = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0xdd);
        v[i] = _mm512_shuffle_f32x4(even0, even1, 0x88);
        v[i + 4] = _mm512_shuffle_f32x4(odd0, odd1, 0x88);
        v[i + 8] = _mm512_shuffle_f32x4(even0, even1, 0xdd);
        v[i + 12] = _mm512_shuffle_f32x4(odd0, odd1, 0xdd);
    }
}

/* As in vec_avx2.h, even places in the lower half, odd ones in the upper. */
typedef __m512i vsums, vwords;
static inline vsums vsums_zero(void)
{
    return _mm512_setzero_si512();
}
static inline vwords vwords_load(const uint8_t *p)
{
    const __m256i b = _mm256_loadu_si256((const __m256i *)(const void *)p);
    const __m256i even = _mm256_and_si256(b, _mm256_set1_epi16(255));
    return _mm512_inserti64x4(_mm512_castsi256_si512(even), _mm256_srli_epi16(b, 8), 1);
}
static inline vsums vwords_add(vsums sum, vwords q, const int16_t (*x)[16])
{
    const __m512i both = _mm512_loadu_si512(x);
#ifdef __AVX512VNNI__
    /* With the intrinsic gcc 12 moves sums from register to register. */
    __asm__("vpdpwssd %2, %1, %0" : "+v"(sum) : "v"(q), "v"(both));
    return sum;
#else
    return _mm512_add_epi32(sum, _mm512_madd_epi16(q, both));
#endif
}
/* Of lanes in 64 bits. */
static inline __m256i vsums_wide(__m256i x)
{
    return _mm256_add_epi64(_mm256_cvtepi32_epi64(_mm256_castsi256_si128(x)),
                            _mm256_cvtepi32_epi64(_mm256_extracti128_si256(x, 1)));
}
static inline int64_t vsums_total(vsums x)
{
    const __m256i s = _mm256_add_epi64(vsums_wide(_mm512_castsi512_si256(x)),
                                       vsums_wide(_mm512_extracti64x4_epi64(x, 1)));
    const __m128i t = _mm_add_epi64(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));
    return _mm_cvtsi128_si64(t) + _mm_extract_epi64(t, 1);
}

#endif
