/* dtype.c: sizes and names of element types; binary16 in integer arithmetic, so every machine gives
 * the bits that the conversion instructions of x86 and ARM give. */
#include "dtype.h"

typedef enum family { PLAIN, GGML, CODES } family;

static const struct {
    const char *name;
    size_t bytes;
    int64_t block;
    family family;
} dtypes[RK_DTYPE_COUNT] = {
    [RK_F32] = {"f32", 4, 1, PLAIN},      [RK_F64] = {"f64", 8, 1, PLAIN},
    [RK_BF16] = {"bf16", 2, 1, PLAIN},    [RK_F16] = {"f16", 2, 1, PLAIN},
    [RK_I32] = {"i32", 4, 1, PLAIN},      [RK_I64] = {"i64", 8, 1, PLAIN},
    [RK_U8] = {"u8", 1, 1, PLAIN},        [RK_Q4_0] = {"q4_0", 18, 32, GGML},
    [RK_Q4_1] = {"q4_1", 20, 32, GGML},   [RK_Q5_0] = {"q5_0", 22, 32, GGML},
    [RK_Q5_1] = {"q5_1", 24, 32, GGML},   [RK_Q8_0] = {"q8_0", 34, 32, GGML},
    [RK_Q2_K] = {"q2_k", 84, 256, GGML},  [RK_Q3_K] = {"q3_k", 110, 256, GGML},
    [RK_Q4_K] = {"q4_k", 144, 256, GGML}, [RK_Q5_K] = {"q5_k", 176, 256, GGML},
    [RK_Q6_K] = {"q6_k", 210, 256, GGML}, [RK_NF4] = {"nf4", 36, 64, CODES},
    [RK_FP4] = {"fp4", 36, 64, CODES},    [RK_INT8] = {"int8", 68, 64, CODES},
    [RK_FP8] = {"fp8", 1, 1, CODES},      [RK_RANGED] = {"u8 with ranges", 1, 1, PLAIN},
};

size_t rk_dtype_bytes(rk_dtype t)
{
    return dtypes[t].bytes;
}
int64_t rk_dtype_block(rk_dtype t)
{
    return dtypes[t].block;
}
bool rk_dtype_is_blocks(rk_dtype t)
{
    return dtypes[t].family != PLAIN;
}
bool rk_dtype_is_ggml(rk_dtype t)
{
    return dtypes[t].family == GGML;
}
const char *rk_dtype_name(rk_dtype t)
{
    return dtypes[t].name;
}

static float float_of_bits(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* A binary16 has 5 exponent bits with bias 15 and 10 mantissa bits; an f32 has 8, 127 and 23. So
 * the bits move up by 13 places and the exponent grows by 127 - 15 = 112. */
float rk_f16_to_f32(uint16_t h)
{
    const uint32_t sign = (uint32_t)(h & 0x8000u) << 16, magnitude = h & 0x7fffu;
    if (magnitude > 0x7c00u) /* NaN, made quiet */
        return float_of_bits(sign | 0x7fc00000u | magnitude << 13);
    if (magnitude == 0x7c00u)
        return float_of_bits(sign | 0x7f800000u);
    if (magnitude >= 0x0400u)
        return float_of_bits(sign | ((magnitude << 13) + (112u << 23)));
    const float f = (float)magnitude * 0x1p-24f; /* zero and subnormal: exact */
    return sign ? -f : f;
}

uint16_t rk_f32_to_f16(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    const uint32_t sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) /* NaN, made quiet */
        return (uint16_t)(sign | 0x7e00u | (magnitude >> 13 & 0x3ffu));
    if (magnitude >= 143u << 23) /* 2^16 and above */
        return (uint16_t)(sign | 0x7c00u);
    if (magnitude >= 113u << 23) { /* 2^-14 and above: drop 13 bits; a carry may reach infinity */
        const uint32_t shifted = magnitude - (112u << 23);
        return (uint16_t)(sign | (shifted + 0xfffu + (shifted >> 13 & 1u)) >> 13);
    }
    /* Subnormal: a unit of 0.5f's last place is 2^-24, the unit here, so this sum rounds. */
    const float sum = float_of_bits(magnitude) + 0.5f;
    memcpy(&bits, &sum, sizeof bits);
    return (uint16_t)(sign | (bits - (126u << 23)));
}
