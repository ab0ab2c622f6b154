/* vec_neon.h: the vector of 4 floats under simd/ for AArch64; the names are explained in
 * x86/vec_avx2.h. */
#ifndef RK_KERNELS_VEC_NEON_H
#define RK_KERNELS_VEC_NEON_H

#include <arm_neon.h>
#include <stdint.h>
#include <string.h>

typedef float32x4_t vf;
typedef uint32x4_t vm;
typedef struct v8d {
    float64x2_t q[4];
} v8d;
enum { VF = 4, VF_REGISTERS = 32 };

static inline vf vf_load(const float *p)
{
    return vld1q_f32(p);
}
static inline void vf_store(float *p, vf x)
{
    vst1q_f32(p, x);
}
static inline vf vf_load_n(const float *p, int n)
{
    float lanes[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    memcpy(lanes, p, (size_t)n * sizeof *p);
    return vld1q_f32(lanes);
}
static inline void vf_store_n(float *p, vf x, int n)
{
    float lanes[4];
    vst1q_f32(lanes, x);
    memcpy(p, lanes, (size_t)n * sizeof *p);
}
static inline vf vf_set1(float x)
{
    return vdupq_n_f32(x);
}
static inline vf vf_zero(void)
{
    return vdupq_n_f32(0.0f);
}
static inline vf vf_add(vf a, vf b)
{
    return vaddq_f32(a, b);
}
static inline vf vf_sub(vf a, vf b)
{
    return vsubq_f32(a, b);
}
static inline vf vf_mul(vf a, vf b)
{
    return vmulq_f32(a, b);
}
static inline vf vf_div(vf a, vf b)
{
    return vdivq_f32(a, b);
}
static inline vf vf_sqrt(vf a)
{
    return vsqrtq_f32(a);
}
static inline vf vf_min(vf a, vf b)
{
    return vminq_f32(a, b);
}
static inline vf vf_max(vf a, vf b)
{
    return vmaxq_f32(a, b);
}
static inline vf vf_fma(vf a, vf b, vf c)
{
    return vfmaq_f32(c, a, b);
}
static inline vf vf_fnma(vf a, vf b, vf c)
{
    return vfmsq_f32(c, a, b);
}

static inline vf vf_abs(vf a)
{
    return vabsq_f32(a);
}
static inline vf vf_copysign(vf a, vf b)
{
    return vbslq_f32(vdupq_n_u32(0x80000000u), b, a);
}
static inline vf vf_round(vf a)
{
    return vrndnq_f32(a);
}
static inline vf vf_pow2(vf n)
{
    const vf t = vaddq_f32(n, vdupq_n_f32(0x1.8p23f + 127.0f));
    return vreinterpretq_f32_u32(vshlq_n_u32(vreinterpretq_u32_f32(t), 23));
}
static inline vf vf_ldexp(vf p, vf n)
{
    const vf half = vf_round(vf_mul(n, vf_set1(0.5f)));
    return vf_mul(vf_mul(p, vf_pow2(half)), vf_pow2(vf_sub(n, half)));
}

static inline vm vf_lt(vf a, vf b)
{
    return vcltq_f32(a, b);
}
static inline vm vf_eq(vf a, vf b)
{
    return vceqq_f32(a, b);
}
static inline vf vf_select(vm m, vf a, vf b)
{
    return vbslq_f32(m, a, b);
}
typedef uint32x4_t vb;
static inline vb vb_set(uint32_t bits)
{
    return vdupq_n_u32(bits);
}
static inline vf vf_keep(vf a, vb bits, int part)
{
    static const uint32_t each[4] = {1, 2, 4, 8};
    const uint32x4_t mine = vshlq_u32(vld1q_u32(each), vdupq_n_s32(part * VF));
    return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(a), vtstq_u32(bits, mine)));
}
static inline unsigned vm_bits(vm m)
{
    static const uint32_t weight[4] = {1, 2, 4, 8};
    return vaddvq_u32(vandq_u32(m, vld1q_u32(weight)));
}

/* Lane i with i + 2, then the two. */
static inline float vf_sum(vf a)
{
    const float32x2_t s = vadd_f32(vget_low_f32(a), vget_high_f32(a));
    return vget_lane_f32(vpadd_f32(s, s), 0);
}
static inline float vf_hmax(vf a)
{
    return vmaxvq_f32(a);
}
static inline void vf_sum4(vf v0, vf v1, vf v2, vf v3, float *out)
{
    vst1q_f32(out, vpaddq_f32(vpaddq_f32(v0, v1), vpaddq_f32(v2, v3)));
}

static inline vf vf_load_bf16(const uint16_t *p)
{
    return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p), 16));
}
static inline vf vf_load_f16(const uint16_t *p)
{
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)));
}
static inline vf vf_load_i8(const unsigned char *p)
{
    uint32_t four;
    memcpy(&four, p, sizeof four);
    const int8x8_t b = vreinterpret_s8_u32(vdup_n_u32(four));
    return vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(b))));
}
typedef int32x4_t vsums;
typedef struct vwords {
    int16x8_t even[2], odd[2];
} vwords;
static inline vsums vsums_zero(void)
{
    return vdupq_n_s32(0);
}
static inline vwords vwords_load(const uint8_t *p)
{
    vwords q;
    for (int i = 0; i < 2; i++) {
        const uint16x8_t b = vreinterpretq_u16_u8(vld1q_u8(p + 16 * i));
        q.even[i] = vreinterpretq_s16_u16(vandq_u16(b, vdupq_n_u16(255)));
        q.odd[i] = vreinterpretq_s16_u16(vshrq_n_u16(b, 8));
    }
    return q;
}
static inline vsums vsums_add8(vsums sum, int16x8_t q, const int16_t *x)
{
    const int16x8_t xl = vld1q_s16(x);
    sum = vmlal_s16(sum, vget_low_s16(q), vget_low_s16(xl));
    return vmlal_high_s16(sum, q, xl);
}
static inline vsums vwords_add(vsums sum, vwords q, const int16_t (*x)[16])
{
    for (int i = 0; i < 2; i++)
        sum = vsums_add8(vsums_add8(sum, q.even[i], x[0] + 8 * i), q.odd[i], x[1] + 8 * i);
    return sum;
}
static inline int64_t vsums_total(vsums x)
{
    return vaddlvq_s32(x);
}
static inline uint32x4_t vf_bf16_bits(vf x)
{
    const uint32x4_t bits = vreinterpretq_u32_f32(x);
    const uint32x4_t odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
    const uint32x4_t rounded = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
    const uint32x4_t nan = vorrq_u32(bits, vdupq_n_u32(0x400000));
    return vshrq_n_u32(vbslq_u32(vceqq_f32(x, x), rounded, nan), 16);
}
static inline vf vf_round_bf16(vf x)
{
    return vreinterpretq_f32_u32(vshlq_n_u32(vf_bf16_bits(x), 16));
}
static inline void vf_store_bf16(uint16_t *p, vf x)
{
    vst1_u16(p, vmovn_u32(vf_bf16_bits(x)));
}
static inline void vf_store_f16(uint16_t *p, vf x)
{
    vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(x)));
}

static inline v8d v8d_zero(void)
{
    const float64x2_t z = vdupq_n_f64(0.0);
    return (v8d){{z, z, z, z}};
}
static inline v8d v8d_load(const float *p)
{
    const float32x4_t a = vld1q_f32(p), b = vld1q_f32(p + 4);
    return (v8d){{vcvt_f64_f32(vget_low_f32(a)), vcvt_high_f64_f32(a),
                  vcvt_f64_f32(vget_low_f32(b)), vcvt_high_f64_f32(b)}};
}
static inline v8d v8d_add(v8d a, v8d b)
{
    return (v8d){{vaddq_f64(a.q[0], b.q[0]), vaddq_f64(a.q[1], b.q[1]), vaddq_f64(a.q[2], b.q[2]),
                  vaddq_f64(a.q[3], b.q[3])}};
}
static inline v8d v8d_fma(v8d a, v8d b, v8d c)
{
    return (v8d){{vfmaq_f64(c.q[0], a.q[0], b.q[0]), vfmaq_f64(c.q[1], a.q[1], b.q[1]),
                  vfmaq_f64(c.q[2], a.q[2], b.q[2]), vfmaq_f64(c.q[3], a.q[3], b.q[3])}};
}
static inline void v8d_store(double *p, v8d a)
{
    for (int i = 0; i < 4; i++)
        vst1q_f64(p + 2 * i, a.q[i]);
}

/* v[i] lane j becomes v[j] lane i. */
static inline void vf_transpose(vf v[4])
{
    const float64x2_t even0 = vreinterpretq_f64_f32(vtrn1q_f32(v[0], v[1]));
    const float64x2_t odd0 = vreinterpretq_f64_f32(vtrn2q_f32(v[0], v[1]));
    const float64x2_t even1 = vreinterpretq_f64_f32(vtrn1q_f32(v[2], v[3]));
    const float64x2_t odd1 = vreinterpretq_f64_f32(vtrn2q_f32(v[2], v[3]));
    v[0] = vreinterpretq_f32_f64(vtrn1q_f64(even0, even1));
    v[1] = vreinterpretq_f32_f64(vtrn1q_f64(odd0, odd1));
    v[2] = vreinterpretq_f32_f64(vtrn2q_f64(even0, even1));
    v[3] = vreinterpretq_f32_f64(vtrn2q_f64(odd0, odd1));
}

#endif
