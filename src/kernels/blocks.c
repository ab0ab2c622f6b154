/* blocks.c: one function per format dequantises a block; its formula is written above it. q are the
 * stored numbers, d and m scales and minima; sub-blocks of the K formats have 16 or 32 elements. */
#include "kernels/blocks.h"

#include <string.h>

#include "kernels/codes.h"

static float half_at(const uint8_t *p)
{
    return rk_f16_to_f32((uint16_t)(p[0] | p[1] << 8));
}

/* ---- 32 elements: the low nibbles are the first half, the high ones the second ---- */

static void four_bits(const uint8_t *low, uint8_t *q)
{
    for (int j = 0; j < 16; j++) {
        q[j] = low[j] & 15;
        q[j + 16] = low[j] >> 4;
    }
}

/* The 5-bit numbers whose fifth bits are at `high` and whose nibbles at `low`. */
static void five_bits(const uint8_t *high, const uint8_t *low, uint8_t *q)
{
    const uint32_t h = (uint32_t)high[0] | (uint32_t)high[1] << 8 | (uint32_t)high[2] << 16 |
                       (uint32_t)high[3] << 24;
    four_bits(low, q);
    for (int j = 0; j < 32; j++)
        q[j] |= (uint8_t)((h >> j & 1) << 4);
}

/* y = d (q - 8) */
static void q4_0(const uint8_t *b, float *y)
{
    const float d = half_at(b);
    uint8_t q[32];
    four_bits(b + 2, q);
    for (int j = 0; j < 32; j++)
        y[j] = d * (float)(q[j] - 8);
}

/* y = d q + m */
static void q4_1(const uint8_t *b, float *y)
{
    const float d = half_at(b), m = half_at(b + 2);
    uint8_t q[32];
    four_bits(b + 4, q);
    for (int j = 0; j < 32; j++)
        y[j] = d * (float)q[j] + m;
}

/* y = d (q - 16) */
static void q5_0(const uint8_t *b, float *y)
{
    const float d = half_at(b);
    uint8_t q[32];
    five_bits(b + 2, b + 6, q);
    for (int j = 0; j < 32; j++)
        y[j] = d * (float)(q[j] - 16);
}

/* y = d q + m */
static void q5_1(const uint8_t *b, float *y)
{
    const float d = half_at(b), m = half_at(b + 2);
    uint8_t q[32];
    five_bits(b + 4, b + 8, q);
    for (int j = 0; j < 32; j++)
        y[j] = d * (float)q[j] + m;
}

/* y = d q */
static void q8_0(const uint8_t *b, float *y)
{
    const float d = half_at(b);
    for (int j = 0; j < 32; j++)
        y[j] = d * (float)(int8_t)b[2 + j];
}

/* ---- 256 elements ---- */

/* Four numbers in a byte: those of 32 bytes are 4 times 32 elements. */
static void two_bits(const uint8_t *low, uint8_t *q)
{
    for (int i = 0; i < 8; i++)
        for (int l = 0; l < 32; l++)
            q[32 * i + l] = low[32 * (i / 4) + l] >> 2 * (i % 4) & 3;
}

/* Each of the 32 bytes at `high` has the third bits of element l of all eight 32s. */
static void three_bits(const uint8_t *high, const uint8_t *low, uint8_t *q)
{
    two_bits(low, q);
    for (int i = 0; i < 8; i++)
        for (int l = 0; l < 32; l++)
            q[32 * i + l] |= (uint8_t)((high[l] >> i & 1) << 2);
}

/* y = d (s & 15) q - m (s >> 4); 16 sub-blocks of 16 */
static void q2_k(const uint8_t *b, float *y)
{
    const float d = half_at(b + 80), m = half_at(b + 82);
    uint8_t q[256];
    two_bits(b + 16, q);
    for (int i = 0; i < 16; i++) {
        const float ds = d * (float)(b[i] & 15), ms = m * (float)(b[i] >> 4);
        for (int l = 0; l < 16; l++)
            *y++ = ds * (float)q[16 * i + l] - ms;
    }
}

/* The scale of sub-block i of 16, 6 bits less 32, in the 12 bytes of Q3_K. */
static int scale_q3_k(const uint8_t *s, int i)
{
    const int low = i < 8 ? s[i] & 15 : s[i - 8] >> 4;
    return (low | (s[8 + i % 4] >> 2 * (i / 4) & 3) << 4) - 32;
}

/* y = d (s - 32) (q - 4) */
static void q3_k(const uint8_t *b, float *y)
{
    const float d = half_at(b + 108);
    uint8_t q[256];
    three_bits(b, b + 32, q);
    for (int i = 0; i < 16; i++) {
        const float ds = d * (float)scale_q3_k(b + 96, i);
        for (int l = 0; l < 16; l++)
            *y++ = ds * (float)(q[16 * i + l] - 4);
    }
}

/* Scale and minimum of sub-block i of 8, 6 bits each, in the 12 bytes of Q4_K and Q5_K. */
static void scale_and_min(const uint8_t *s, int i, int *scale, int *min)
{
    if (i < 4) {
        *scale = s[i] & 63;
        *min = s[i + 4] & 63;
    } else {
        *scale = (s[i + 4] & 15) | s[i - 4] >> 6 << 4;
        *min = s[i + 4] >> 4 | s[i] >> 6 << 4;
    }
}

/* Nibbles of 32 bytes are two sub-blocks, `high` (or NULL) has a fifth bit for each. */
static void numbers_q45_k(const uint8_t *high, const uint8_t *low, uint8_t *q)
{
    for (int i = 0; i < 8; i++, q += 32)
        for (int l = 0; l < 32; l++) {
            const int byte = low[32 * (i / 2) + l];
            const int fifth = high ? (high[l] >> i & 1) << 4 : 0;
            q[l] = (uint8_t)((i % 2 ? byte >> 4 : byte & 15) | fifth);
        }
}

/* y = d s q - m n */
static void q45_k(const uint8_t *b, const uint8_t *high, const uint8_t *low, float *y)
{
    const float d = half_at(b), m = half_at(b + 2);
    uint8_t q[256];
    numbers_q45_k(high, low, q);
    for (int i = 0; i < 8; i++) {
        int scale, min;
        scale_and_min(b + 4, i, &scale, &min);
        const float ds = d * (float)scale, ms = m * (float)min;
        for (int l = 0; l < 32; l++)
            *y++ = ds * (float)q[32 * i + l] - ms;
    }
}

static void q4_k(const uint8_t *b, float *y)
{
    q45_k(b, NULL, b + 16, y);
}

static void q5_k(const uint8_t *b, float *y)
{
    q45_k(b, b + 16, b + 48, y);
}

/* Low nibbles and upper two bits apart. */
static void numbers_q6_k(const uint8_t *b, uint8_t *q)
{
    for (int half = 0; half < 2; half++, q += 128) {
        const uint8_t *low = b + 64 * half, *high = b + 128 + 32 * half;
        for (int l = 0; l < 128; l++) {
            const int nibble = l < 64 ? low[l] & 15 : low[l - 64] >> 4;
            q[l] = (uint8_t)(nibble | (high[l % 32] >> 2 * (l / 32) & 3) << 4);
        }
    }
}

/* y = d s (q - 32); 16 sub-blocks of 16 */
static void q6_k(const uint8_t *b, float *y)
{
    const float d = half_at(b + 208);
    uint8_t q[256];
    numbers_q6_k(b, q);
    for (int l = 0; l < 256; l++)
        y[l] = d * (float)(int8_t)b[192 + l / 16] * (float)(q[l] - 32);
}

typedef void widen_fn(const uint8_t *block, float *out);
static widen_fn *const widen[RK_DTYPE_COUNT] = {
    [RK_Q4_0] = q4_0, [RK_Q4_1] = q4_1, [RK_Q5_0] = q5_0, [RK_Q5_1] = q5_1, [RK_Q8_0] = q8_0,
    [RK_Q2_K] = q2_k, [RK_Q3_K] = q3_k, [RK_Q4_K] = q4_k, [RK_Q5_K] = q5_k, [RK_Q6_K] = q6_k,
};

void rk_blocks_widen(rk_dtype t, int64_t n, const void *blocks, float *out)
{
    const uint8_t *b = blocks;
    const int64_t block = rk_dtype_block(t);
    const size_t bytes = rk_dtype_bytes(t);
    if (rk_codes_has(t)) {
        rk_codes_widen(t, n, blocks, out);
        return;
    }
    for (int64_t i = 0; i < n; i += block, b += bytes)
        widen[t](b, out + i);
}

/* ---- their parts ---- */

void rk_blocks_numbers(rk_dtype t, const void *block, uint8_t *q)
{
    const uint8_t *b = block;
    switch (t) {
    case RK_Q4_0:
        four_bits(b + 2, q);
        break;
    case RK_Q4_1:
        four_bits(b + 4, q);
        break;
    case RK_Q5_0:
        five_bits(b + 2, b + 6, q);
        break;
    case RK_Q5_1:
        five_bits(b + 4, b + 8, q);
        break;
    case RK_Q8_0:
        memcpy(q, b + 2, 32);
        break;
    case RK_Q2_K:
        two_bits(b + 16, q);
        break;
    case RK_Q3_K:
        three_bits(b, b + 32, q);
        break;
    case RK_Q4_K:
        numbers_q45_k(NULL, b + 16, q);
        break;
    case RK_Q5_K:
        numbers_q45_k(b + 16, b + 48, q);
        break;
    case RK_Q6_K:
        numbers_q6_k(b, q);
        break;
    default:
        break;
    }
}

rk_block_factors rk_blocks_factors(rk_dtype t)
{
    static const rk_block_factors factors[RK_DTYPE_COUNT] = {
        [RK_Q4_0] = {0, 1}, [RK_Q4_1] = {0, 2},   [RK_Q5_0] = {0, 1},   [RK_Q5_1] = {0, 2},
        [RK_Q8_0] = {0, 1}, [RK_Q2_K] = {80, 2},  [RK_Q3_K] = {108, 1}, [RK_Q4_K] = {0, 2},
        [RK_Q5_K] = {0, 2}, [RK_Q6_K] = {208, 1},
    };
    return factors[t];
}

void rk_blocks_scales(rk_dtype t, const void *block, uint8_t *scales, uint8_t *minima)
{
    const uint8_t *b = block;
    for (int i = 0; i < 16 && t == RK_Q2_K; i++) {
        scales[i] = b[i] & 15;
        minima[i] = b[i] >> 4;
    }
    for (int i = 0; i < 16 && t == RK_Q3_K; i++)
        scales[i] = (uint8_t)(int8_t)scale_q3_k(b + 96, i);
    for (int i = 0; i < 8 && (t == RK_Q4_K || t == RK_Q5_K); i++) {
        int scale, min;
        scale_and_min(b + 4, i, &scale, &min);
        scales[i] = (uint8_t)scale;
        minima[i] = (uint8_t)min;
    }
    if (t == RK_Q6_K)
        memcpy(scales, b + 192, 16);
}
