/* dtype.h: element types of tensors, plain ones and blocks, and the scalar conversions of the
 * 16-bit ones. */
#ifndef RK_BASE_DTYPE_H
#define RK_BASE_DTYPE_H

#include <stdbool.h>
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
    /* The block formats of ggml: a block holds a fixed number of neighbouring elements of a row. */
    RK_Q4_0,
    RK_Q4_1,
    RK_Q5_0,
    RK_Q5_1,
    RK_Q8_0,
    RK_Q2_K,
    RK_Q3_K,
    RK_Q4_K,
    RK_Q5_K,
    RK_Q6_K,
    /* Code books (kernels/codes.h), which no file has: a model's matrices become these in memory. */
    RK_NF4,
    RK_FP4,
    RK_INT8,
    RK_FP8,
    /* Bytes with ranges of their rows and columns (kernels/ranges.h), which lie beside them: in a file u8. */
    RK_RANGED,
    RK_DTYPE_COUNT
} rk_dtype;

/* Bytes of one block; of a plain type, which has blocks of one, bytes of an element. */
size_t rk_dtype_bytes(rk_dtype t);
/* Elements of one block: 1, 32, 64 or 256. */
int64_t rk_dtype_block(rk_dtype t);
/* Is it a quantised type, whose elements are read a block at a time (kernels/blocks.h)? */
bool rk_dtype_is_blocks(rk_dtype t);
/* Is it a quantised type that files have? */
bool rk_dtype_is_ggml(rk_dtype t);
/* Is it a quantised type of either kind, blocks or RK_RANGED, whose rows are widened before they are reals? */
static inline bool rk_dtype_is_quantised(rk_dtype t)
{
    return t == RK_RANGED || rk_dtype_is_blocks(t);
}
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
