/* int_neon.h: vectors of small integers for simd/dot8.inc.c, over NEON; the names are explained in
 * x86/int_avx2.h. Numbers are taken with their sign; those of up to 6 bits have room for one.
 *
 * With the dot products of ARMv8.2 a step is one instruction, which takes the inputs that all rows
 * share from a lane. Without them the products of a step are added in 16 bits: those of 4 and 5
 * bits leave room for 8 steps, of 6 for 4, of 8 for 2. Neighbours are added when steps end, and
 * once more when floats are made. */
#ifndef RK_KERNELS_INT_NEON_H
#define RK_KERNELS_INT_NEON_H

#include "kernels/arm/vec_neon.h"

typedef uint8x16_t vq;

static inline vq vq_load(const unsigned char *p)
{
    return vld1q_u8(p);
}
static inline void vq_store(unsigned char *p, vq x)
{
    vst1q_u8(p, x);
}
static inline vq vq_and(vq x, int byte)
{
    return vandq_u8(x, vdupq_n_u8((uint8_t)byte));
}
static inline vq vq_or(vq a, vq b)
{
    return vorrq_u8(a, b);
}
static inline vq vq_shift_left(vq x, int n)
{
    return x << vdupq_n_u8((uint8_t)n);
}
static inline vq vq_shift_right(vq x, int n)
{
    return x >> vdupq_n_u8((uint8_t)n);
}
static inline void vq_interleave(vq a, vq b, vq c, vq d, vq *q)
{
    const uint8x16x2_t ab = vzipq_u8(a, b), cd = vzipq_u8(c, d);
    for (int i = 0; i < 2; i++) {
        const uint16x8x2_t z =
            vzipq_u16(vreinterpretq_u16_u8(ab.val[i]), vreinterpretq_u16_u8(cd.val[i]));
        q[2 * i] = vreinterpretq_u8_u16(z.val[0]);
        q[2 * i + 1] = vreinterpretq_u8_u16(z.val[1]);
    }
}
static inline vq vq_of_byte(vq stored)
{
    return veorq_u8(stored, vdupq_n_u8(0x80));
}
static inline vq vq_magnitude(int bits, vq c)
{
    (void)bits;
    return c;
}

static inline void vf_store_i8(int8_t *p, vf x)
{
    const int16x4_t h = vmovn_s32(vcvtnq_s32_f32(x));
    const int8x8_t b = vmovn_s16(vcombine_s16(h, h));
    memcpy(p, &b, 4);
}
static inline uint8x8_t vf_four_bytes(const unsigned char *p)
{
    uint32_t four;
    memcpy(&four, p, sizeof four);
    return vreinterpret_u8_u32(vdup_n_u32(four));
}
static inline vf vf_of_bytes(uint8x8_t b)
{
    return vcvtq_f32_u32(vmovl_u16(vget_low_u16(vmovl_u8(b))));
}
static inline vf vf_load_u8(const unsigned char *p)
{
    return vf_of_bytes(vf_four_bytes(p));
}
static inline vf vf_load_u4(const unsigned char *p, int shift)
{
    return vf_of_bytes(
        vand_u8(vshl_u8(vf_four_bytes(p), vdup_n_s8((int8_t)-shift)), vdup_n_u8(15)));
}

#ifdef __ARM_FEATURE_DOTPROD

typedef int32x4_t vi;
typedef int32x4_t va;
#define VA_QUADS(bits) 8

static inline vi vi_zero(void)
{
    return vdupq_n_s32(0);
}
static inline vf vi_to_floats(vi x)
{
    return vcvtq_f32_s32(x);
}
static inline va va_zero(void)
{
    return vdupq_n_s32(0);
}
static inline va va_step(int bits, va sum, vq c, vq magnitude, const int8_t *x, int j)
{
    const int8x16_t q = vreinterpretq_s8_u8(c), inputs = vld1q_s8(x + j / 4 * 16);
    (void)bits;
    (void)magnitude;
    return j % 4 == 0   ? vdotq_laneq_s32(sum, q, inputs, 0)
           : j % 4 == 1 ? vdotq_laneq_s32(sum, q, inputs, 1)
           : j % 4 == 2 ? vdotq_laneq_s32(sum, q, inputs, 2)
                        : vdotq_laneq_s32(sum, q, inputs, 3);
}
static inline vi va_add_to(int bits, vi sum, va part)
{
    (void)bits;
    return vaddq_s32(sum, part);
}
static inline vi vi_centre(int bits, vi sum, int32_t total)
{
    return bits == 8 ? sum : vsubq_s32(sum, vdupq_n_s32(total * (1 << (bits - 1))));
}

#else

typedef struct vi {
    int32x4_t pairs[2]; /* two of each row */
} vi;
typedef struct va {
    int16x8_t products[2]; /* four of each row */
} va;
#define VA_QUADS(bits) ((bits) <= 5 ? 8 : (bits) == 6 ? 4 : 2)

static inline vi vi_zero(void)
{
    return (vi){{vdupq_n_s32(0), vdupq_n_s32(0)}};
}
static inline vf vi_to_floats(vi x)
{
    return vcvtq_f32_s32(vpaddq_s32(x.pairs[0], x.pairs[1]));
}
static inline va va_zero(void)
{
    return (va){{vdupq_n_s16(0), vdupq_n_s16(0)}};
}
static inline va va_step(int bits, va sum, vq c, vq magnitude, const int8_t *x, int j)
{
    int32_t four;
    memcpy(&four, x + 4 * j, sizeof four);
    const int8x16_t q = vreinterpretq_s8_u8(c), inputs = vreinterpretq_s8_s32(vdupq_n_s32(four));
    (void)bits;
    (void)magnitude;
    return (va){{vmlal_s8(sum.products[0], vget_low_s8(q), vget_low_s8(inputs)),
                 vmlal_high_s8(sum.products[1], q, inputs)}};
}
static inline vi va_add_to(int bits, vi sum, va part)
{
    (void)bits;
    return (vi){
        {vpadalq_s16(sum.pairs[0], part.products[0]), vpadalq_s16(sum.pairs[1], part.products[1])}};
}
static inline vi vi_centre(int bits, vi sum, int32_t total)
{
    const int32x4_t half = vdupq_n_s32(total * (1 << (bits - 2))); /* for each of a row's two */
    return bits == 8 ? sum : (vi){{vsubq_s32(sum.pairs[0], half), vsubq_s32(sum.pairs[1], half)}};
}

#endif

#endif
