/* blocks.c: one function a format takes a block to floats; the formulas stand at each. q are the
 * small numbers, d and m scales and minima, sub-blocks of the K formats have 16 or 32 elements. */
#include "kernels/blocks.h"

#include <string.h>

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

/* y = d (s & 15) q - m (s >> 4); 16 sub-blocks of 16 */
static void q2_k(const uint8_t *b, float *y)
{
    const float d = half_at(b + 80), m = half_at(b + 82);
    const uint8_t *scale = b;
    for (const uint8_t *q = b + 16; q < b + 80; q += 32)
        for (int shift = 0; shift < 8; shift += 2)
            for (int part = 0; part < 32; part += 16, scale++) {
                const float ds = d * (float)(*scale & 15), ms = m * (float)(*scale >> 4);
                for (int l = 0; l < 16; l++)
                    *y++ = ds * (float)(q[part + l] >> shift & 3) - ms;
            }
}

/* y = d (s - 32) (q - 4 [third bit clear]); the 6-bit scales are spread over 12 bytes */
static void q3_k(const uint8_t *b, float *y)
{
    const uint8_t *high = b, *s = b + 96;
    const float d = half_at(b + 108);
    int i = 0;
    for (int half = 0; half < 2; half++)
        for (int j = 0; j < 4; j++)
            for (int part = 0; part < 32; part += 16, i++) {
                const int low = i < 8 ? s[i] & 15 : s[i - 8] >> 4;
                const int scale = (low | (s[8 + i % 4] >> 2 * (i / 4) & 3) << 4) - 32;
                const uint8_t *q = b + 32 + 32 * half + part;
                for (int l = 0; l < 16; l++) {
                    const int third = high[part + l] >> (4 * half + j) & 1;
                    *y++ = d * (float)scale * (float)((q[l] >> 2 * j & 3) - (third ? 0 : 4));
                }
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
    for (int64_t i = 0; i < n; i += rk_dtype_block(t), b += rk_dtype_bytes(t))
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

void rk_blocks_scales(rk_dtype t, const void *block, uint8_t *scales, uint8_t *minima)
{
    const uint8_t *b = block;
    if (t == RK_Q6_K) {
        memcpy(scales, b + 192, 16);
        return;
    }
    for (int i = 0; i < 8; i++) {
        int scale, min;
        scale_and_min(b + 4, i, &scale, &min);
        scales[i] = (uint8_t)scale;
        minima[i] = (uint8_t)min;
    }
}
