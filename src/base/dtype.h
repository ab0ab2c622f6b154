/* dtype.h: element types of tensors, and the scalar conversions of the 16-bit ones. */
#ifndef RK_BASE_DTYPE_H
#define RK_BASE_DTYPE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef enum rk_dtype {
    RK_F32,
    RK_F64,
    RK_BF16,
    RK_F16,
    RK_I32,
    RK_I64,
    RK_U8,
    RK_DTYPE_COUNT
} rk_dtype;

/* Bytes of one element. */
size_t rk_dtype_bytes(rk_dtype t);
/* "f32", "bf16", ... for messages. */
const char *rk_dtype_name(rk_dtype t);

/* bf16 is the upper half of an f32. Rounding is to nearest, ties to even; NaN stays a NaN. */
static inline float rk_bf16_to_f32(uint16_t h)
{
    const uint32_t bits = (uint32_t)h << 16;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}
static inline uint16_t rk_f32_to_bf16(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)((bits >> 16) | 0x40u);
    return (uint16_t)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}
/* IEEE 754 binary16, all values including subnormal ones, infinities and NaN. */
float rk_f16_to_f32(uint16_t h);
uint16_t rk_f32_to_f16(float f);

#endif
