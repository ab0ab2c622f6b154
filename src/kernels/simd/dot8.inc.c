/* dot8.inc.c: products with activations in 8 bits, over the vectors of vec_*.h and int_*.h; the
 * definition is ref/dot8_ref.c, layouts and order of sums stand in dot8.h and dot8_layout.h.
 *
 * A group of 16 rows is 16 / VF parts, each of which has its rows in the lanes. One row of x goes
 * through a packed group once, as fast as memory delivers it. For several rows the group's numbers
 * and scales are unpacked first, part after part, and tiles of rows go over them from the cache:
 * then every load of numbers serves a tile of rows, and formats differ in three constants only.
 *
 * The file that includes this defines DOT8_TILE, the rows of a tile: what the registers hold. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "base/num.h"
#include "kernels/dot8_layout.h"

enum {
    PARTS = RK_DOT8_ROWS / VF,
    PART_BYTES = DOT8_LINE / PARTS,
    NEAR = 1024, /* how far ahead lines are asked for: into the first cache, and the second */
    FAR = 8192
};

/* ---- rounding ---- */

#define X8_SMALLEST 0x1p-100f

/* n of the block's 32 elements are there; the others are zero. */
RK_INLINE void round_block(int n, const float *x, rk_x8 *out)
{
    vf v[RK_X8_BLOCK / VF], most = vf_zero(), odd = vf_zero(), sum = vf_zero(), first = vf_zero();
    for (int i = 0; i < RK_X8_BLOCK / VF; i++) {
        const int left = n - i * VF;
        v[i] = left >= VF ? vf_load(x + i * VF)
               : left > 0 ? vf_load_n(x + i * VF, left)
                          : vf_zero();
        most = vf_max(most, vf_abs(v[i]));
        odd = vf_fma(v[i], vf_zero(), odd); /* NaN if not finite */
    }
    const float max = vf_hmax(most), zero = vf_sum(odd);
    const bool finite = zero == 0.0f;
    const float inverse = finite && max >= X8_SMALLEST ? 127.0f / max : 0.0f;
    const float d = !finite ? NAN : max >= X8_SMALLEST ? max / 127.0f : 0.0f;
    for (int i = 0; i < RK_X8_BLOCK / VF; i++) {
        const vf q = finite ? vf_round(vf_mul(v[i], vf_set1(inverse))) : vf_zero();
        vf_store_i8(out->q + i * VF, q);
        sum = vf_add(sum, q);
        if (i == 16 / VF - 1)
            first = sum;
    }
    const float total = vf_sum(sum); /* exact: integers below 2^24 */
    out->d = d;
    out->sum = d * total;
    out->first = d * vf_sum(first);
    out->total = (int32_t)total;
}

static void round_row(int64_t k, const float *x, int64_t blocks, rk_x8 *out, int64_t stride)
{
    int64_t b = 0;
    for (; b < k / RK_X8_BLOCK; b++)
        round_block(RK_X8_BLOCK, x + b * RK_X8_BLOCK, out + b * stride);
    for (; b < blocks; b++)
        round_block((int)rk_max_i64(k - b * RK_X8_BLOCK, 0), x + b * RK_X8_BLOCK, out + b * stride);
}

/* ---- what a packed group holds ---- */

/* Quad j of a block's numbers, for one part's rows. */
RK_INLINE vq quad_of(rk_dtype t, const unsigned char *lines, int j)
{
    const int bits = dot8_bits(t);
    if (bits == 8)
        return vq_of_byte(vq_load(lines + DOT8_LINE * j));
    vq q = vq_load(lines + DOT8_LINE * (j % 4));
    q = vq_and(j < 4 ? q : vq_shift_right(q, 4), 15);
    if (bits == 5) {
        const vq fifth = vq_and(vq_load(lines + DOT8_LINE * 4), 1 << j);
        q = vq_or(q, j <= 4 ? vq_shift_left(fifth, 4 - j) : vq_shift_right(fifth, j - 4));
    } else if (bits == 6) {
        const int at = 2 * (j % 4);
        const vq upper = vq_and(vq_load(lines + DOT8_LINE * (4 + j / 4)), 3 << at);
        q = vq_or(q, at <= 4 ? vq_shift_left(upper, 4 - at) : vq_shift_right(upper, at - 4));
    }
    return q;
}

/* Scale and minimum of half h of block b of a unit, for one part's rows. */
RK_INLINE void scales_of(rk_dtype t, const unsigned char *unit, int b, int h, int part, vf *d,
                         vf *m)
{
    const vf zero = vf_set1(-(float)(1 << (dot8_bits(t) - 1)));
    const unsigned char *halves = unit + 2 * VF * part, *bytes = unit + VF * part;
    if (dot8_is_k(t)) {
        const unsigned char *at = bytes + DOT8_K_SCALES + 16 * (b * dot8_halves(t) + h);
        *d = vf_mul(vf_load_f16((const uint16_t *)(const void *)halves),
                    t == RK_Q6_K ? vf_load_i8(at) : vf_load_u8(at));
    } else {
        *d = vf_load_f16((const uint16_t *)(const void *)(halves + DOT8_HALVES * b));
    }
    if (t == RK_Q4_1 || t == RK_Q5_1) {
        *m = vf_load_f16((const uint16_t *)(const void *)(halves + DOT8_HALVES * (2 + b)));
    } else if (t == RK_Q4_K || t == RK_Q5_K) {
        const vf dm = vf_load_f16((const uint16_t *)(const void *)(halves + DOT8_HALVES));
        const vf min = vf_load_u8(bytes + DOT8_K_MINIMA + 16 * b);
        *m = vf_sub(vf_zero(), vf_mul(dm, min));
    } else {
        *m = vf_mul(zero, *d);
    }
}

/* The sums that half h of a block multiplies its minimum with. */
RK_INLINE float sum_of(const rk_x8 *x, int halves, int h)
{
    return halves == 1 ? x->sum : h == 0 ? x->first : x->sum - x->first;
}

/* ---- one row ---- */

/* f continued by block b of a unit. */
RK_INLINE vf one_block(rk_dtype t, const unsigned char *unit, int b, int part, const rk_x8 *x, vf f)
{
    const int bits = dot8_bits(t), halves = dot8_halves(t), quads = DOT8_QUADS / halves;
    const unsigned char *lines =
        unit + dot8_codes_at(t) + b * dot8_block_bytes(t) + part * PART_BYTES;
    for (int h = 0; h < halves; h++) {
        vi sum = vi_zero();
        va some = vi_zero();
        for (int j = h * quads; j < (h + 1) * quads; j++) {
            const vq c = quad_of(t, lines, j);
            some = va_step(bits, some, c, vq_magnitude(bits, c), vq_repeat(x->q + 4 * j));
            if ((j + 1) % VA_QUADS(bits) == 0 || j + 1 == (h + 1) * quads) {
                sum = va_add_to(bits, sum, some);
                some = vi_zero();
            }
        }
        if (bits == 8)
            sum = vi_byte_sum(sum, x->total);
        vf d, m;
        scales_of(t, unit, b, h, part, &d, &m);
        f = vf_fma(vi_to_floats(sum), vf_mul(d, vf_set1(x->d)), f);
        if (bits < 8)
            f = vf_fma(m, vf_set1(sum_of(x, halves, h)), f);
    }
    return f;
}

RK_INLINE void prefetch_lines(const unsigned char *p, int bytes)
{
    for (int i = 0; i < bytes; i += DOT8_LINE) {
        rk_prefetch_far(p + FAR + i);
        rk_prefetch(p + NEAR + i);
    }
}

/* One group by one row of x. */
RK_INLINE void one_row(rk_dtype t, int64_t units, const unsigned char *group, const rk_x8 *x,
                       vf f[PARTS])
{
    const int blocks = dot8_unit(t) / RK_X8_BLOCK;
    for (int p = 0; p < PARTS; p++)
        f[p] = vf_zero();
    for (int64_t u = 0; u < units; u++, group += dot8_unit_bytes(t), x += blocks) {
        prefetch_lines(group, dot8_codes_at(t));
        for (int b = 0; b < blocks; b++) {
            prefetch_lines(group + dot8_codes_at(t) + b * dot8_block_bytes(t), dot8_block_bytes(t));
            for (int p = 0; p < PARTS; p++)
                f[p] = one_block(t, group, b, p, x + b, f[p]);
        }
    }
}

/* ---- several rows ---- */

/* An unpacked part of a group: VF rows. */
typedef struct part_view {
    unsigned char *quads; /* (blocks, 8, PART_BYTES) */
    float *d, *m;         /* (blocks, halves, VF) */
} part_view;

static part_view part_at(void *scratch, int64_t blocks, int part)
{
    unsigned char *quads = scratch;
    float *scales = (float *)(void *)(quads + (size_t)blocks * DOT8_QUADS * DOT8_LINE);
    const int64_t each = blocks * 2 * VF;
    return (part_view){quads + (size_t)(part * blocks) * DOT8_QUADS * PART_BYTES,
                       scales + part * each, scales + (PARTS + part) * each};
}

RK_INLINE void unpack(rk_dtype t, int64_t units, const unsigned char *group, void *scratch)
{
    const int per_unit = dot8_unit(t) / RK_X8_BLOCK, halves = dot8_halves(t);
    for (int p = 0; p < PARTS; p++) {
        const part_view v = part_at(scratch, units * per_unit, p);
        for (int64_t i = 0; i < units * per_unit; i++) {
            const unsigned char *unit = group + i / per_unit * dot8_unit_bytes(t);
            const int b = (int)(i % per_unit);
            const unsigned char *lines =
                unit + dot8_codes_at(t) + b * dot8_block_bytes(t) + p * PART_BYTES;
            for (int j = 0; j < DOT8_QUADS; j++)
                vq_store(v.quads + (i * DOT8_QUADS + j) * PART_BYTES, quad_of(t, lines, j));
            for (int h = 0; h < halves; h++) {
                vf d, m;
                scales_of(t, unit, b, h, p, &d, &m);
                vf_store(v.d + (i * halves + h) * VF, d);
                vf_store(v.m + (i * halves + h) * VF, m);
            }
        }
    }
}

/* A part by n rows of a tile of x. */
RK_INLINE void tile(int bits, int halves, int n, int64_t blocks, const part_view *v, const rk_x8 *x,
                    vf *f)
{
    const int quads = DOT8_QUADS / halves;
    const unsigned char *c = v->quads;
    const float *d = v->d, *m = v->m;
    for (int i = 0; i < n; i++)
        f[i] = vf_zero();
    for (int64_t b = 0; b < blocks; b++, x += DOT8_TILE)
        for (int h = 0; h < halves; h++, d += VF, m += VF) {
            vi sum[DOT8_TILE];
            va some[DOT8_TILE];
            for (int i = 0; i < n; i++)
                sum[i] = some[i] = vi_zero();
            for (int j = 0; j < quads; j++, c += PART_BYTES) {
                const vq q = vq_load(c), magnitude = vq_magnitude(bits, q);
                for (int i = 0; i < n; i++)
                    some[i] = va_step(bits, some[i], q, magnitude,
                                      vq_repeat(x[i].q + 4 * (h * quads + j)));
                if ((j + 1) % VA_QUADS(bits) == 0 || j + 1 == quads)
                    for (int i = 0; i < n; i++) {
                        sum[i] = va_add_to(bits, sum[i], some[i]);
                        some[i] = vi_zero();
                    }
            }
            for (int i = 0; i < n; i++) {
                if (bits == 8)
                    sum[i] = vi_byte_sum(sum[i], x[i].total);
                f[i] = vf_fma(vi_to_floats(sum[i]), vf_mul(vf_load(d), vf_set1(x[i].d)), f[i]);
                if (bits < 8)
                    f[i] = vf_fma(vf_load(m), vf_set1(sum_of(x + i, halves, h)), f[i]);
            }
        }
}

/* Lanes [0, n) of f to y. */
RK_INLINE void put(float *y, vf f, int64_t n, bool accumulate)
{
    const int lanes = n < VF ? (int)n : VF;
    if (n >= VF)
        vf_store(y, accumulate ? vf_add(vf_load(y), f) : f);
    else if (n > 0)
        vf_store_n(y, accumulate ? vf_add(vf_load_n(y, lanes), f) : f, lanes);
}

/* Where results go: row 0 of the group's outputs, of which n are wanted. */
typedef struct target {
    float *y;
    int64_t ldy, n;
    bool accumulate;
} target;

RK_INLINE void tile_rows(int bits, int halves, int n, int64_t blocks, void *scratch, const rk_x8 *x,
                         const target *to)
{
    for (int p = 0; p < PARTS && p * VF < to->n; p++) {
        const part_view v = part_at(scratch, blocks, p);
        vf f[DOT8_TILE];
        tile(bits, halves, n, blocks, &v, x, f);
        for (int i = 0; i < n; i++)
            put(to->y + i * to->ldy + p * VF, f[i], to->n - p * VF, to->accumulate);
    }
}

/* Up to DOT8_TILE rows: what the registers hold at once, then what is left. */
RK_INLINE void whole_tile(int bits, int halves, int64_t rows, int64_t blocks, void *scratch,
                          const rk_x8 *x, target to)
{
    const int most = DOT8_TILE / (bits == 4 ? 1 : DOT8_WIDE_STEPS);
    int64_t i = 0;
    for (; i + most <= rows; i += most, to.y += most * to.ldy)
        tile_rows(bits, halves, most, blocks, scratch, x + i, &to);
    for (; i + 2 <= rows; i += 2, to.y += 2 * to.ldy)
        tile_rows(bits, halves, 2, blocks, scratch, x + i, &to);
    if (i < rows)
        tile_rows(bits, halves, 1, blocks, scratch, x + i, &to);
}

RK_INLINE void product_of(rk_dtype t, const rk_dot8_matrix *w, int64_t g0, int64_t g1,
                          const rk_x8 *x, int64_t rows, float *y, int64_t ldy, bool accumulate,
                          void *scratch)
{
    const size_t group_bytes = rk_dot8_group_bytes(t, w->k);
    const int64_t blocks = rk_x8_blocks(t, w->k), units = blocks / (dot8_unit(t) / RK_X8_BLOCK);
    for (int64_t g = g0; g < g1; g++) {
        const unsigned char *group = w->data + (size_t)g * group_bytes;
        const target to = {y + g * RK_DOT8_ROWS, ldy, w->n - g * RK_DOT8_ROWS, accumulate};
        if (rows == 1) {
            vf f[PARTS];
            one_row(t, units, group, x, f);
            for (int p = 0; p < PARTS; p++)
                put(to.y + p * VF, f[p], to.n - p * VF, accumulate);
            continue;
        }
        unpack(t, units, group, scratch);
        for (int64_t r = 0; r < rows; r += DOT8_TILE) {
            target here = to;
            here.y += r * ldy;
            whole_tile(dot8_bits(t), dot8_halves(t), rk_min_i64(rows - r, DOT8_TILE), blocks,
                       scratch, x + r * blocks, here);
        }
    }
}

#define PRODUCT(name, dtype)                                                                       \
    static void name(const rk_dot8_matrix *w, int64_t g0, int64_t g1, const rk_x8 *x,              \
                     int64_t rows, float *y, int64_t ldy, bool accumulate, void *scratch)          \
    {                                                                                              \
        product_of(dtype, w, g0, g1, x, rows, y, ldy, accumulate, scratch);                        \
    }
PRODUCT(product_q4_0, RK_Q4_0)
PRODUCT(product_q4_1, RK_Q4_1)
PRODUCT(product_q5_0, RK_Q5_0)
PRODUCT(product_q5_1, RK_Q5_1)
PRODUCT(product_q8_0, RK_Q8_0)
PRODUCT(product_q4_k, RK_Q4_K)
PRODUCT(product_q5_k, RK_Q5_K)
PRODUCT(product_q6_k, RK_Q6_K)
#undef PRODUCT

static void product(const rk_dot8_matrix *w, int64_t g0, int64_t g1, const rk_x8 *x, int64_t rows,
                    float *y, int64_t ldy, bool accumulate, void *scratch)
{
    static void (*const products[RK_DTYPE_COUNT])(const rk_dot8_matrix *, int64_t, int64_t,
                                                  const rk_x8 *, int64_t, float *, int64_t, bool,
                                                  void *) = {
        [RK_Q4_0] = product_q4_0, [RK_Q4_1] = product_q4_1, [RK_Q5_0] = product_q5_0,
        [RK_Q5_1] = product_q5_1, [RK_Q8_0] = product_q8_0, [RK_Q4_K] = product_q4_k,
        [RK_Q5_K] = product_q5_k, [RK_Q6_K] = product_q6_k,
    };
    products[w->dtype](w, g0, g1, x, rows, y, ldy, accumulate, scratch);
}
