/* codes.c: code books, and looking values up in them.
 *
 * Books are sorted, so that the nearest value is found by comparing with the middles between
 * neighbours: with all of 15, which vectors do at once, or by halving 256. */
#include "kernels/codes.h"

#include <math.h>
#include <string.h>

enum { BLOCK = 64, BOOK4 = 16, BOOK8 = 256, SCALE_BYTES = 4 };

static const float nf4_book[BOOK4] = {
    -1.0f,
    -0.6961928009986877f,
    -0.5250730514526367f,
    -0.39491748809814453f,
    -0.28444138169288635f,
    -0.18477343022823334f,
    -0.09105003625154495f,
    0.0f,
    0.07958029955625534f,
    0.16093020141124725f,
    0.24611230194568634f,
    0.33791524171829224f,
    0.44070982933044434f,
    0.5626170039176941f,
    0.7229568362236023f,
    1.0f,
};

/* A sign and 8 magnitudes: zero is there twice. */
static const float fp4_book[BOOK4] = {
    -1.0f, -2.0f / 3,  -1.0f / 2, -1.0f / 3, -1.0f / 4, -1.0f / 6, -1.0f / 192, 0.0f,
    0.0f,  1.0f / 192, 1.0f / 6,  1.0f / 4,  1.0f / 3,  1.0f / 2,  2.0f / 3,    1.0f,
};

/* Decade i of 0 .. 6 is cut into 2^i steps, whose middles are values; 0 and 1 are two more. */
static void make_int8_book(float *book)
{
    static const double decades[] = {1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1};
    const int zero = BOOK8 / 2 - 1;
    int at = 1; /* places from zero */
    for (int i = 0; i < 7; i++)
        for (int j = 0; j < 1 << i; j++, at++) {
            const float x = (float)(decades[i] * (0.1 + 0.9 * (j + 0.5) / (1 << i)));
            book[zero + at] = x;
            book[zero - at] = -x;
        }
    book[zero] = 0.0f;
    book[BOOK8 - 1] = 1.0f;
}

static void middles(int n, const float *book, float *between)
{
    for (int k = 0; k + 1 < n; k++)
        between[k] = (book[k] + book[k + 1]) / 2.0f;
}

float rk_codes_absmax(int64_t n, const float *x)
{
    float most = 0.0f;
    for (int64_t i = 0; i < n; i++)
        most = fabsf(x[i]) > most ? fabsf(x[i]) : most;
    return most;
}

static void put_scale(uint8_t *block, float d)
{
    memcpy(block, &d, sizeof d);
}

static float scale_of(const uint8_t *block)
{
    float d;
    memcpy(&d, block, sizeof d);
    return d;
}

/* x / d; where all are 0, so is the quotient. */
static void divide(int n, const float *x, float d, float *y)
{
    const float by = d > 0.0f ? d : 1.0f;
    for (int j = 0; j < n; j++)
        y[j] = x[j] / by;
}

/* ---- 4 bits ---- */

static void widen4(const float *book, int64_t n, const uint8_t *b, float *out)
{
    for (int64_t i = 0; i < n; i += BLOCK, b += SCALE_BYTES + BLOCK / 2) {
        const float d = scale_of(b);
        float *y = out + i;
        for (int j = 0; j < BLOCK / 2; j++) {
            y[j] = d * book[b[SCALE_BYTES + j] & 15];
            y[j + BLOCK / 2] = d * book[b[SCALE_BYTES + j] >> 4];
        }
    }
}

static void narrow4(const float *book, int64_t n, const float *x, float absmax, uint8_t *b)
{
    (void)absmax;
    float between[BOOK4], y[BLOCK];
    middles(BOOK4, book, between);
    for (int64_t i = 0; i < n; i += BLOCK, b += SCALE_BYTES + BLOCK / 2) {
        const float d = rk_codes_absmax(BLOCK, x + i);
        int32_t q[BLOCK] = {0};
        divide(BLOCK, x + i, d, y);
        for (int k = 0; k + 1 < BOOK4; k++)
            for (int j = 0; j < BLOCK; j++)
                q[j] += y[j] > between[k];
        put_scale(b, d);
        for (int j = 0; j < BLOCK / 2; j++)
            b[SCALE_BYTES + j] = (uint8_t)(q[j] | q[j + BLOCK / 2] << 4);
    }
}

/* ---- int8 ---- */

static void widen8(const float *unused, int64_t n, const uint8_t *b, float *out)
{
    float book[BOOK8];
    (void)unused;
    make_int8_book(book);
    for (int64_t i = 0; i < n; i += BLOCK, b += SCALE_BYTES + BLOCK) {
        const float d = scale_of(b);
        for (int j = 0; j < BLOCK; j++)
            out[i + j] = d * book[b[SCALE_BYTES + j]];
    }
}

static int place_of(float y, const float *between)
{
    int at = 0;
    for (int half = BOOK8 / 2; half > 0; half /= 2)
        at += y > between[at + half - 1] ? half : 0;
    return at;
}

static void narrow8(const float *unused, int64_t n, const float *x, float absmax, uint8_t *b)
{
    float book[BOOK8], between[BOOK8], y[BLOCK];
    (void)unused;
    make_int8_book(book);
    middles(BOOK8, book, between);
    for (int64_t i = 0; i < n; i += BLOCK, b += SCALE_BYTES + BLOCK) {
        divide(BLOCK, x + i, absmax, y);
        put_scale(b, absmax);
        for (int j = 0; j < BLOCK; j++)
            b[SCALE_BYTES + j] = (uint8_t)place_of(y[j], between);
    }
}

/* ---- fp8 ---- */

/* Exponent and mantissa moved to their places in an f32, whose bias is greater by 120: the factor makes
 * up for that, and turns subnormal numbers into those that they are. */
static void widen_e4m3(const float *unused, int64_t n, const uint8_t *b, float *out)
{
    (void)unused;
    for (int64_t i = 0; i < n; i++) {
        const uint32_t bits = (uint32_t)(b[i] & 0x7f) << 20;
        float f;
        memcpy(&f, &bits, sizeof f);
        f *= 0x1p120f;
        out[i] = b[i] & 0x80 ? -f : f;
    }
}

static uint8_t e4m3_of(float x)
{
    static const uint32_t subnormal = (127u + 14u) << 23; /* 2^14, whose last place is 2^-9 */
    const float magnitude = fminf(fabsf(x), 448.0f), rounded = magnitude + 0x1p14f;
    uint32_t bits;
    if (magnitude < 0x1p-6f) { /* a unit is 2^-9: the sum rounds */
        memcpy(&bits, &rounded, sizeof bits);
        bits -= subnormal;
    } else {
        memcpy(&bits, &magnitude, sizeof bits);
        bits = ((bits + 0x7ffffu + (bits >> 20 & 1u)) >> 20) - (120u << 3);
    }
    return (uint8_t)(bits | (signbit(x) ? 0x80u : 0u));
}

static void narrow_e4m3(const float *unused, int64_t n, const float *x, float absmax, uint8_t *b)
{
    (void)unused;
    (void)absmax;
    for (int64_t i = 0; i < n; i++)
        b[i] = e4m3_of(x[i]);
}

/* ---- all ---- */

static const struct {
    const float *book;
    void (*widen)(const float *book, int64_t n, const uint8_t *b, float *out);
    void (*narrow)(const float *book, int64_t n, const float *x, float absmax, uint8_t *b);
} types[RK_DTYPE_COUNT] = {
    [RK_NF4] = {nf4_book, widen4, narrow4},
    [RK_FP4] = {fp4_book, widen4, narrow4},
    [RK_INT8] = {NULL, widen8, narrow8},
    [RK_FP8] = {NULL, widen_e4m3, narrow_e4m3},
};

bool rk_codes_has(rk_dtype t)
{
    return types[t].widen != NULL;
}

void rk_codes_widen(rk_dtype t, int64_t n, const void *blocks, float *out)
{
    types[t].widen(types[t].book, n, blocks, out);
}

void rk_codes_narrow(rk_dtype t, int64_t n, const float *x, float absmax, void *blocks)
{
    types[t].narrow(types[t].book, n, x, absmax, blocks);
}
