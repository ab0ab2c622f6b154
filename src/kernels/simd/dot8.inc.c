/* dot8.inc.c: products with activations in 8 bits, over the vectors of vec_*.h and int_*.h; the
 * definition is ref/dot8_ref.c, layouts and order of sums stand in dot8.h and dot8_layout.h.
 *
 * A group of 16 rows is 16 / VF parts, each of which has its rows in the lanes of a vector. A tile
 * is all parts by a few rows of x, whose sums stay in registers. A single row of x is multiplied
 * with four packed groups at a time, a few rows with one, as fast as memory delivers them. For many
 * rows the group's numbers and scales are unpacked first, and the tiles read them from the cache,
 * while the next group is prefetched.
 *
 * The file that includes this defines DOT8_TILE, the rows of a tile, and DOT8_DIRECT, up to how
 * many rows unpacking does not pay. With DOT8_PAIRS it also defines, behind the inclusion, two
 * functions for instructions that take rows in pairs. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "base/num.h"
#include "kernels/dot8_layout.h"

enum {
    PARTS = RK_DOT8_ROWS / VF,
    PART_BYTES = DOT8_LINE / PARTS,
    NEAR = 1024, /* prefetch distance in bytes: to the first-level cache, and to the second */
    FAR = 8192,
    PLACES_MOST = 4,     /* groups that are read side by side */
    X_BYTES = 256 * 1024 /* bytes of x that stay in the second-level cache */
};

/* ---- rounding ---- */

#define X8_SMALLEST 0x1p-100f

/* Round a block of 32 elements, of which n are there and the others are zero. */
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
    out->total = (int32_t)total;
    out->first = (int32_t)vf_sum(first);
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

/* Quad j of block b of a packed unit, for one part's rows. */
RK_INLINE vq quad_of(rk_dtype t, const unsigned char *unit, int b, int part, int j)
{
    const int bits = dot8_bits(t), lower = dot8_lower(bits), upper = dot8_upper(bits);
    const unsigned char *lines =
        unit + dot8_codes_at(t) + b * dot8_block_bytes(t) + part * PART_BYTES;
    if (bits == 8)
        return vq_of_byte(vq_load(lines + DOT8_LINE * j));
    vq q = vq_load(lines + DOT8_LINE * dot8_line(lower, j));
    if (dot8_shift(lower, j) > 0)
        q = vq_shift_right(q, dot8_shift(lower, j));
    q = vq_and(q, (1 << lower) - 1);
    if (upper > 0) {
        const int at = dot8_shift(upper, j);
        const vq more = vq_and(vq_load(lines + DOT8_LINE * (lower + dot8_line(upper, j))),
                               ((1 << upper) - 1) << at);
        q = vq_or(q,
                  at <= lower ? vq_shift_left(more, lower - at) : vq_shift_right(more, at - lower));
    }
    return q;
}

RK_INLINE vf factors_at(const unsigned char *p)
{
    return vf_load_f16((const uint16_t *)(const void *)p);
}

/* Scale d and, where the format has one, minimum m of half h of block b of a packed unit, for one
 * part's rows. */
RK_INLINE void scales_of(rk_dtype t, const unsigned char *unit, int b, int h, int part, vf *d,
                         vf *m)
{
    const unsigned char *halves = unit + 2 * VF * part;
    const unsigned char *scales = unit + DOT8_K_SCALES + 16 * (b * dot8_halves(t) + h) + VF * part;
    const unsigned char *minima = unit + DOT8_K_MINIMA + 16 * b + VF * part;
    *m = vf_zero();
    if (!dot8_is_k(t)) {
        *d = factors_at(halves + DOT8_HALVES * b);
        if (dot8_stores_minima(t))
            *m = factors_at(halves + DOT8_HALVES * (2 + b));
        return;
    }
    *d = vf_mul(factors_at(halves), t == RK_Q2_K            ? vf_load_u4(scales, 0)
                                    : dot8_stores_minima(t) ? vf_load_u8(scales)
                                                            : vf_load_i8(scales));
    if (dot8_stores_minima(t))
        *m = vf_sub(vf_zero(), vf_mul(factors_at(halves + DOT8_HALVES),
                                      t == RK_Q2_K ? vf_load_u4(scales, 4) : vf_load_u8(minima)));
}

/* The sum of the integers of x in half h of a block, or in the whole block where it has one scale.
 */
RK_INLINE int32_t total_of(const rk_x8 *x, int halves, int h)
{
    return halves == 1 ? x->total : h == 0 ? x->first : x->total - x->first;
}
/* The same sum times the scale of x: the factor of the minimum. */
RK_INLINE vf sum_of(const rk_x8 *x, int halves, int h)
{
    return vf_set1(halves == 1 ? x->sum : x->d * (float)total_of(x, halves, h));
}

/* ---- an unpacked group: its blocks in order ---- */

enum { UNPACKED_NUMBERS = DOT8_QUADS * DOT8_LINE };

/* Floats that an unpacked half has: 16 scales, and 16 minima if there are any. */
RK_INLINE int scales_count(rk_dtype t)
{
    return (dot8_stores_minima(t) ? 2 : 1) * RK_DOT8_ROWS;
}
/* Bytes of an unpacked block: lines of numbers, then the floats of each half. */
RK_INLINE int unpacked_bytes(rk_dtype t)
{
    return UNPACKED_NUMBERS + dot8_halves(t) * scales_count(t) * (int)sizeof(float);
}
RK_INLINE void put_scales(rk_dtype t, float *to, vf d, vf m)
{
    vf_store(to, d);
    if (dot8_stores_minima(t))
        vf_store(to + RK_DOT8_ROWS, m);
}

/* What a tile reads: a packed group, or the unpacked copy of one. */
typedef enum source { PACKED, UNPACKED } source;

#ifdef DOT8_PAIRS
/* Rearrange the quads of one part of a block, a line apart, into the order that add_pairs() reads.
 */
RK_INLINE void pair_quads(unsigned char *to);
/* add_half() for several rows of x, or of an unpacked group. */
RK_INLINE void add_pairs(source from, rk_dtype t, int n, const unsigned char *at, int b, int h,
                         const rk_x8 *x, vf *f);
#else
#define pair_quads(to) ((void)0)
#endif

RK_INLINE void unpack(rk_dtype t, int64_t units, const unsigned char *unit, unsigned char *to)
{
    for (int64_t u = 0; u < units; u++, unit += dot8_unit_bytes(t))
        for (int b = 0; b < dot8_unit(t) / RK_X8_BLOCK; b++, to += unpacked_bytes(t))
            for (int p = 0; p < PARTS; p++) {
                float *scales = (float *)(void *)(to + UNPACKED_NUMBERS) + p * VF;
#pragma GCC unroll 8
                for (int j = 0; j < DOT8_QUADS; j++)
                    vq_store(to + j * DOT8_LINE + p * PART_BYTES, quad_of(t, unit, b, p, j));
                pair_quads(to + p * PART_BYTES);
                for (int h = 0; h < dot8_halves(t); h++, scales += scales_count(t)) {
                    vf d, m;
                    scales_of(t, unit, b, h, p, &d, &m);
                    put_scales(t, scales, d, m);
                }
            }
}

/* ---- tiles ---- */

RK_INLINE vq quad_from(source from, rk_dtype t, const unsigned char *at, int b, int part, int j)
{
    return from == PACKED ? quad_of(t, at, b, part, j)
                          : vq_load(at + j * DOT8_LINE + part * PART_BYTES);
}
RK_INLINE void scales_from(source from, rk_dtype t, const unsigned char *at, int b, int h, int part,
                           vf *d, vf *m)
{
    const float *scales = (const float *)(const void *)(at + UNPACKED_NUMBERS) + part * VF;
    if (from == PACKED) {
        scales_of(t, at, b, h, part, d, m);
    } else {
        *d = vf_load(scales + h * scales_count(t));
        *m = dot8_stores_minima(t) ? vf_load(scales + h * scales_count(t) + RK_DOT8_ROWS)
                                   : vf_zero();
    }
}

/* Add half h of a block to the outputs f: all parts by n rows of x. Every loop has constant bounds
 * and is unrolled, which keeps the sums in registers; gcc 12 keeps fewer of them there when this is
 * cut in two. NOLINTNEXTLINE(readability-function-cognitive-complexity) */
RK_INLINE void add_half(source from, rk_dtype t, int n, const unsigned char *at, int b, int h,
                        const rk_x8 *x, vf *f)
{
    const int bits = dot8_bits(t), halves = dot8_halves(t), quads = DOT8_QUADS / halves;
    const int step = VA_QUADS(bits) < quads ? VA_QUADS(bits) : quads;
    va some[DOT8_TILE * PARTS];
    vi sum[DOT8_TILE * PARTS];
#pragma GCC unroll 8
    for (int j = 0; j < quads; j++) {
        vq c[PARTS], magnitude[PARTS];
        for (int p = 0; p < PARTS; p++) {
            c[p] = quad_from(from, t, at, b, p, h * quads + j);
            magnitude[p] = vq_magnitude(bits, c[p]);
        }
        if (j % step == 0)
#pragma GCC unroll 16
            for (int s = 0; s < n * PARTS; s++) {
                sum[s] = j == 0 ? vi_zero() : va_add_to(bits, sum[s], some[s]);
                some[s] = va_zero();
            }
#pragma GCC unroll 16
        for (int s = 0; s < n * PARTS; s++)
            some[s] = va_step(bits, some[s], c[s % PARTS], magnitude[s % PARTS], x[s / PARTS].q,
                              h * quads + j);
    }
    vf d[PARTS], m[PARTS];
    for (int p = 0; p < PARTS; p++)
        scales_from(from, t, at, b, h, p, d + p, m + p);
#pragma GCC unroll 16
    for (int s = 0; s < n * PARTS; s++) {
        const rk_x8 *of = x + s / PARTS;
        vi all = va_add_to(bits, sum[s], some[s]);
        if (!dot8_stores_minima(t))
            all = vi_centre(bits, all, total_of(of, halves, h));
        f[s] = vf_fma(vi_to_floats(all), vf_mul(d[s % PARTS], vf_set1(of->d)), f[s]);
        if (dot8_stores_minima(t))
            f[s] = vf_fma(m[s % PARTS], sum_of(of, halves, h), f[s]);
    }
}

/* The same, with pairs of rows where the instruction set has them. */
RK_INLINE void add_rows(source from, rk_dtype t, int n, const unsigned char *at, int b, int h,
                        const rk_x8 *x, vf *f)
{
#ifdef DOT8_PAIRS
    if (n > 1 || from == UNPACKED) {
        add_pairs(from, t, n, at, b, h, x, f);
        return;
    }
#endif
    add_half(from, t, n, at, b, h, x, f);
}

RK_INLINE void prefetch_lines(const unsigned char *p, int bytes)
{
    for (int i = 0; i < bytes; i += DOT8_LINE) {
        rk_prefetch_far(p + FAR + i);
        rk_prefetch(p + NEAR + i);
    }
}

/* Store lanes [0, n) of f at y, or add them to it. */
RK_INLINE void put(float *y, vf f, int64_t n, bool accumulate)
{
    const int lanes = n < VF ? (int)n : VF;
    if (n >= VF)
        vf_store(y, accumulate ? vf_add(vf_load(y), f) : f);
    else if (n > 0)
        vf_store_n(y, accumulate ? vf_add(vf_load_n(y, lanes), f) : f, lanes);
}

/* Where results go: y of row 0 and the group's first output, of which n are wanted. */
typedef struct target {
    float *y;
    int64_t ldy, n;
    bool accumulate;
} target;

/* What will be read next: lines to prefetch while the current ones are multiplied. */
typedef struct ahead {
    const unsigned char *p, *end;
    int lines; /* lines to prefetch with each block */
} ahead;

RK_INLINE void prefetch_ahead(ahead *next)
{
    for (int i = 0; i < next->lines && next->p < next->end; i++, next->p += DOT8_LINE)
        rk_prefetch_far(next->p);
}

/* One group times n rows of x, whose blocks lie `stride` apart. */
RK_INLINE void tile(source from, rk_dtype t, int n, int64_t units, const unsigned char *at,
                    const rk_x8 *x, int64_t stride, target to, ahead *next)
{
    vf f[DOT8_TILE * PARTS], out[DOT8_TILE * PARTS];
#pragma GCC unroll 16
    for (int s = 0; s < n * PARTS; s++)
        f[s] = vf_zero();
    for (int64_t u = 0; u < units; u++) {
        if (from == PACKED)
            prefetch_lines(at, dot8_codes_at(t));
        for (int b = 0; b < dot8_unit(t) / RK_X8_BLOCK; b++, x += stride) {
            if (from == PACKED)
                prefetch_lines(at + dot8_codes_at(t) + b * dot8_block_bytes(t),
                               dot8_block_bytes(t));
            else
                prefetch_ahead(next);
#pragma GCC unroll 2
            for (int h = 0; h < dot8_halves(t); h++)
                add_rows(from, t, n, at, b, h, x, f);
            at += from == UNPACKED ? unpacked_bytes(t) : 0;
        }
        at += from == PACKED ? dot8_unit_bytes(t) : 0;
    }
#pragma GCC unroll 16
    for (int s = 0; s < n * PARTS; s++)
        out[s] = f[s];
    for (int s = 0; s < n * PARTS; s++)
        put(to.y + s / PARTS * to.ldy + s % PARTS * VF, out[s], to.n - s % PARTS * VF,
            to.accumulate);
}

/* One row of x times `places` groups, which are `apart` outputs apart. The CPU prefetches that many
 * streams by itself; prefetch instructions would only be in its way. */
RK_INLINE void groups_by_row(rk_dtype t, int places, int64_t apart, int64_t units,
                             const unsigned char *at, const rk_x8 *x, target to)
{
    const int64_t step = apart / RK_DOT8_ROWS * units * dot8_unit_bytes(t);
    vf f[PLACES_MOST * PARTS];
    for (int s = 0; s < places * PARTS; s++)
        f[s] = vf_zero();
    for (int64_t u = 0; u < units; u++, at += dot8_unit_bytes(t))
        for (int b = 0; b < dot8_unit(t) / RK_X8_BLOCK; b++, x++)
#pragma GCC unroll 4
            for (int g = 0; g < places; g++)
#pragma GCC unroll 2
                for (int h = 0; h < dot8_halves(t); h++)
                    add_rows(PACKED, t, 1, at + g * step, b, h, x, f + g * PARTS);
    for (int s = 0; s < places * PARTS; s++) {
        const int64_t first = s / PARTS * apart + s % PARTS * VF;
        put(to.y + first, f[s], to.n - first, to.accumulate);
    }
}

/* One group times all rows of x: whole tiles, then the rows that are left. */
RK_INLINE void tiles(source from, rk_dtype t, int64_t units, const unsigned char *at,
                     const rk_x8 *x, int64_t rows, int64_t stride, target to, ahead next)
{
    static const int sizes[] = {DOT8_TILE, 4, 2, 1};
    const int64_t tile_x = DOT8_TILE * units * (dot8_unit(t) / RK_X8_BLOCK);
    for (; rows >= DOT8_TILE; rows -= DOT8_TILE, x += tile_x, to.y += DOT8_TILE * to.ldy)
        tile(from, t, DOT8_TILE, units, at, x, stride, to, &next);
#pragma GCC unroll 4
    for (int s = 1; s < 4; s++)
        if (sizes[s] < DOT8_TILE)
            for (; rows >= sizes[s]; rows -= sizes[s], x += sizes[s], to.y += sizes[s] * to.ldy)
                tile(from, t, sizes[s], units, at, x, stride, to, &next);
}

#include "kernels/simd/dot8_columns.inc.c"

/* ---- products ---- */

/* Rows of x of one pass over the groups: as many as stay in the second-level cache. */
static int64_t rows_of_a_pass(int64_t blocks)
{
    const int64_t rows = X_BYTES / (blocks * (int64_t)sizeof(rk_x8));
    return rk_max_i64(rows / DOT8_TILE, 4) * DOT8_TILE;
}

/* Group g as a target, where y is the place of output 0. */
RK_INLINE target target_of(const rk_dot8_matrix *w, int64_t g, float *y, int64_t ldy,
                           bool accumulate)
{
    return (target){y + g * RK_DOT8_ROWS, ldy, w->n - g * RK_DOT8_ROWS, accumulate};
}

RK_INLINE void product_of_row(rk_dtype t, const rk_dot8_matrix *w, rk_dot8_some groups,
                              const rk_x8 *x, float *y, bool accumulate)
{
    const int64_t units = rk_x8_blocks(t, w->k) / (dot8_unit(t) / RK_X8_BLOCK);
    const int64_t apart = groups.step * RK_DOT8_ROWS;
    int64_t left = groups.n, g = groups.first;
#pragma GCC unroll 3
    for (int places = PLACES_MOST; places > 0; places /= 2)
        for (; left >= places; left -= places, g += places * groups.step)
            groups_by_row(t, places, apart, units,
                          w->data + (size_t)g * rk_dot8_group_bytes(t, w->k), x,
                          target_of(w, g, y, 0, accumulate));
}

RK_INLINE void product_of(rk_dtype t, const rk_dot8_matrix *w, rk_dot8_some groups, const rk_x8 *x,
                          int64_t rows, float *y, int64_t ldy, bool accumulate, void *scratch)
{
    const int64_t blocks = rk_x8_blocks(t, w->k), units = blocks / (dot8_unit(t) / RK_X8_BLOCK);
    const int64_t pass = rows_of_a_pass(blocks), stride = rows == 1 ? 1 : DOT8_TILE;
    const size_t group_bytes = rk_dot8_group_bytes(t, w->k);
    if (rows == 1 && !w->columns) {
        product_of_row(t, w, groups, x, y, accumulate);
        return;
    }
    for (int64_t r = 0; r < rows; r += pass)
        for (int64_t i = 0; i < groups.n; i++) {
            const int64_t g = groups.first + i * groups.step, n = rk_min_i64(pass, rows - r);
            const unsigned char *group = w->data + (size_t)g * group_bytes;
            const unsigned char *soon = group + (size_t)groups.step * group_bytes;
            const target to = target_of(w, g, y + r * ldy, ldy, accumulate);
            if (rows <= DOT8_DIRECT && !w->columns) {
                tiles(PACKED, t, units, group, x, rows, stride, to, (ahead){0});
                continue;
            }
            const int64_t steps = rk_ceil_div(n, DOT8_TILE) * blocks;
            const int lines = w->columns ? 0 : (int)((int64_t)group_bytes / steps / DOT8_LINE) + 1;
            const ahead next = {soon, i + 1 < groups.n ? soon + group_bytes : soon, lines};
            if (w->columns)
                unpack_columns(t, w, g, scratch);
            else
                unpack(t, units, group, scratch);
            tiles(UNPACKED, t, units, scratch, x + r * blocks, n, stride, to, next);
        }
}

#define PRODUCT(name, dtype)                                                                       \
    static void name(const rk_dot8_matrix *w, rk_dot8_some groups, const rk_x8 *x, int64_t rows,   \
                     float *y, int64_t ldy, bool accumulate, void *scratch)                        \
    {                                                                                              \
        product_of(dtype, w, groups, x, rows, y, ldy, accumulate, scratch);                        \
    }
PRODUCT(product_q4_0, RK_Q4_0)
PRODUCT(product_q4_1, RK_Q4_1)
PRODUCT(product_q5_0, RK_Q5_0)
PRODUCT(product_q5_1, RK_Q5_1)
PRODUCT(product_q8_0, RK_Q8_0)
PRODUCT(product_q2_k, RK_Q2_K)
PRODUCT(product_q3_k, RK_Q3_K)
PRODUCT(product_q4_k, RK_Q4_K)
PRODUCT(product_q5_k, RK_Q5_K)
PRODUCT(product_q6_k, RK_Q6_K)
#undef PRODUCT

static void product(const rk_dot8_matrix *w, rk_dot8_some groups, const rk_x8 *x, int64_t rows,
                    float *y, int64_t ldy, bool accumulate, void *scratch)
{
    static void (*const products[RK_DTYPE_COUNT])(const rk_dot8_matrix *, rk_dot8_some,
                                                  const rk_x8 *, int64_t, float *, int64_t, bool,
                                                  void *) = {
        [RK_Q4_0] = product_q4_0, [RK_Q4_1] = product_q4_1, [RK_Q5_0] = product_q5_0,
        [RK_Q5_1] = product_q5_1, [RK_Q8_0] = product_q8_0, [RK_Q2_K] = product_q2_k,
        [RK_Q3_K] = product_q3_k, [RK_Q4_K] = product_q4_k, [RK_Q5_K] = product_q5_k,
        [RK_Q6_K] = product_q6_k,
    };
    products[w->dtype](w, groups, x, rows, y, ldy, accumulate, scratch);
}
