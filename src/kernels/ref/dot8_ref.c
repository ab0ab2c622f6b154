/* dot8_ref.c: products with activations in 8 bits, written plainly: the definition of every bit. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "kernels/dot8_layout.h"

/* A block whose largest magnitude is below this counts as zero: 127 / max would overflow. */
#define X8_SMALLEST 0x1p-100f

static void round_block(int n, const float *x, rk_x8 *out)
{
    float most = 0.0f;
    bool finite = true;
    for (int i = 0; i < n; i++) {
        finite = finite && fabsf(x[i]) <= FLT_MAX;
        most = fmaxf(most, fabsf(x[i]));
    }
    *out = (rk_x8){.d = finite ? 0.0f : NAN};
    if (finite && most >= X8_SMALLEST) {
        const float inverse = 127.0f / most;
        out->d = most / 127.0f;
        for (int i = 0; i < n; i++)
            out->q[i] = (int8_t)rintf(x[i] * inverse);
    }
    for (int i = 0; i < RK_X8_BLOCK; i++) {
        out->first += i < 16 ? out->q[i] : 0;
        out->total += out->q[i];
    }
    out->sum = out->d * (float)out->total;
}

static void round_row(int64_t k, const float *x, int64_t blocks, rk_x8 *out, int64_t stride)
{
    for (int64_t b = 0; b < blocks; b++) {
        const int64_t left = k - b * RK_X8_BLOCK;
        round_block(left >= RK_X8_BLOCK ? RK_X8_BLOCK
                    : left > 0          ? (int)left
                                        : 0,
                    x + b * RK_X8_BLOCK, out + b * stride);
    }
}

static float half_at(const unsigned char *p)
{
    uint16_t h;
    memcpy(&h, p, sizeof h);
    return rk_f16_to_f32(h);
}

/* The offset that is subtracted from stored numbers. */
static int zero_of(rk_dtype t)
{
    return dot8_stores_minima(t) ? 0 : 1 << (dot8_bits(t) - 1);
}

/* Number i of quad j of row r, as it is stored, from the lines of a block. */
static int number_at(int bits, const unsigned char *lines, int j, int r, int i)
{
    const unsigned char *at = lines + 4 * r + i;
    const int lower = dot8_lower(bits), upper = dot8_upper(bits);
    if (bits == 8)
        return at[DOT8_LINE * j];
    const int low =
        at[DOT8_LINE * dot8_line(lower, j)] >> dot8_shift(lower, j) & ((1 << lower) - 1);
    if (upper == 0)
        return low;
    const int high =
        at[DOT8_LINE * (lower + dot8_line(upper, j))] >> dot8_shift(upper, j) & ((1 << upper) - 1);
    return low | high << lower;
}

typedef struct scales {
    float d, m;
} scales;

/* Scale and minimum of row r, half h of block b of a unit of a K format. */
static scales k_scales_at(rk_dtype t, const unsigned char *unit, int b, int h, int r)
{
    const unsigned char scale = unit[DOT8_K_SCALES + 16 * (b * dot8_halves(t) + h) + r];
    const float d = half_at(unit + 2 * r), m = half_at(unit + DOT8_HALVES + 2 * r);
    if (t == RK_Q2_K)
        return (scales){d * (float)(scale & 15), -(m * (float)(scale >> 4))};
    if (!dot8_stores_minima(t))
        return (scales){d * (float)(int8_t)scale, 0.0f};
    return (scales){d * (float)scale, -(m * (float)unit[DOT8_K_MINIMA + 16 * b + r])};
}

static scales scales_at(rk_dtype t, const unsigned char *unit, int b, int h, int r)
{
    if (dot8_is_k(t))
        return k_scales_at(t, unit, b, h, r);
    return (scales){half_at(unit + DOT8_HALVES * b + 2 * r),
                    dot8_stores_minima(t) ? half_at(unit + DOT8_HALVES * (2 + b) + 2 * r) : 0.0f};
}

/* f plus the product of block b of row r with x. */
static float add_block(rk_dtype t, const unsigned char *unit, int b, int r, const rk_x8 *x, float f)
{
    const unsigned char *lines = unit + dot8_codes_at(t) + b * dot8_block_bytes(t);
    const int halves = dot8_halves(t), quads = DOT8_QUADS / halves;
    for (int h = 0; h < halves; h++) {
        const scales s = scales_at(t, unit, b, h, r);
        const int32_t total = halves == 1 ? x->total : h == 0 ? x->first : x->total - x->first;
        int32_t dot = 0;
        for (int j = h * quads; j < (h + 1) * quads; j++)
            for (int i = 0; i < 4; i++)
                dot += (number_at(dot8_bits(t), lines, j, r, i) - zero_of(t)) * x->q[4 * j + i];
        f = fmaf((float)dot, s.d * x->d, f);
        if (dot8_stores_minima(t))
            f = fmaf(s.m, x->d * (float)total, f);
    }
    return f;
}

static float row_dot(const rk_dot8_matrix *w, int64_t row, const rk_x8 *x, int64_t stride)
{
    const int per_unit = dot8_unit(w->dtype) / RK_X8_BLOCK;
    const int64_t blocks = rk_x8_blocks(w->dtype, w->k);
    const unsigned char *unit =
        w->data + (size_t)(row / RK_DOT8_ROWS) * rk_dot8_group_bytes(w->dtype, w->k);
    float f = 0.0f;
    for (int64_t b = 0; b < blocks; b++)
        f = add_block(w->dtype, unit + b / per_unit * dot8_unit_bytes(w->dtype),
                      (int)(b % per_unit), (int)(row % RK_DOT8_ROWS), x + b * stride, f);
    return f;
}

/* ---- columns ---- */

/* Output j of one row of x. */
static float sparse_dot(const rk_dot8_matrix *w, int64_t j, const rk_x8_sparse *x)
{
    const rk_dtype t = w->dtype;
    const int n = dot8_tile(t, w->n), o = (int)(j % n), bits = dot8_bits(t);
    const unsigned char *tile = dot8_tile_of(t, w, j);
    const int32_t *offset = x->offset;
    const int8_t *q = x->q;
    float f = 0.0f;
    for (int64_t b = 0; b < w->k / RK_X8_BLOCK;
         offset += x->blocks[b].n, q += x->blocks[b].n, b++) {
        const dot8_columns c = dot8_columns_of(t, tile, n, b);
        float d = half_at(c.d + 2 * o), m = 0.0f;
        int32_t dot = 0;
        for (int i = 0; i < x->blocks[b].n; i++) {
            const int byte = tile[offset[i] + dot8_place(t, o)];
            const int number = bits == 8 ? byte : o % 128 < 64 ? byte & 15 : byte >> 4;
            dot += (number - zero_of(t)) * q[i];
        }
        if (dot8_stores_minima(t))
            m = half_at(c.m + 2 * o);
        if (dot8_is_k(t)) {
            d *= (float)c.scales[o];
            m = -(m * (float)c.minima[o]);
        }
        f = fmaf((float)dot, d * x->blocks[b].d, f);
        if (dot8_stores_minima(t))
            f = fmaf(m, x->blocks[b].sum, f);
    }
    return f;
}

static void put(float *y, float f, bool accumulate)
{
    *y = accumulate ? *y + f : f;
}

static void columns(const rk_dot8_matrix *w, int64_t g0, int64_t g1, const rk_x8_sparse *x,
                    int64_t rows, float *y, int64_t ldy, bool accumulate)
{
    for (int64_t r = 0; r < rows; r++)
        for (int64_t j = g0 * RK_DOT8_ROWS; j < g1 * RK_DOT8_ROWS; j++)
            put(y + r * ldy + j, sparse_dot(w, j, x + r), accumulate);
}

/* One row of x times the outputs of group g. */
static void group_by_row(const rk_dot8_matrix *w, int64_t g, const rk_x8 *x, float *y,
                         bool accumulate, void *scratch)
{
    if (w->columns) {
        const rk_x8_sparse some = rk_x8_gather(w, x, 1, scratch);
        columns(w, g, g + 1, &some, 1, y, 0, accumulate);
        return;
    }
    for (int64_t j = g * RK_DOT8_ROWS; j < w->n && j < (g + 1) * RK_DOT8_ROWS; j++)
        put(y + j, row_dot(w, j, x, 1), accumulate);
}

static void product(const rk_dot8_matrix *w, rk_dot8_some groups, const rk_x8 *x, int64_t rows,
                    float *y, int64_t ldy, bool accumulate, void *scratch)
{
    const int64_t blocks = rk_x8_blocks(w->dtype, w->k);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < groups.n; i++)
            group_by_row(w, groups.first + i * groups.step, x + r * blocks, y + r * ldy, accumulate,
                         scratch);
}

const rk_dot8_kernels rk_dot8_ref = {"ref", 1, round_row, product, columns};
