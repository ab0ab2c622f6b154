/* dot8_neoni8mm.c: the loops of simd/dot8.inc.c for matrix products of 8 bits (FEAT_I8MM).
 *
 * smmla multiplies two rows of 8 numbers by two rows of 8 inputs. Two quads with their rows
 * interleaved hold such numbers: unpacked groups keep them so, of packed ones they are made on the
 * way. The four sums of a register are set apart once a block. A single row would leave half of the
 * products unused, and goes through a packed group by dot products, as in dot8_neondot.c.
 *
 * A tile is the four parts by 4 rows, two parts at a time: 8 sums, 16 outputs, four registers of
 * numbers and one of x. By 2 rows it needs about as many instructions for a product, but reads
 * the unpacked group twice as often. */
#include "kernels/arm/int_neon.h"

#define DOT8_TILE 4
#define DOT8_DIRECT 8
#define DOT8_PAIRS
#include "kernels/simd/dot8.inc.c"

enum {
    TOGETHER = 2,        /* parts whose sums are made together */
    PAIRS = 2 * TOGETHER /* of their rows */
};

/* Quads j and j + 1 become 8 numbers of rows 0 and 1, and of rows 2 and 3. */
RK_INLINE void interleave(vq *q)
{
    const uint32x4x2_t z = vzipq_u32(vreinterpretq_u32_u8(q[0]), vreinterpretq_u32_u8(q[1]));
    q[0] = vreinterpretq_u8_u32(z.val[0]);
    q[1] = vreinterpretq_u8_u32(z.val[1]);
}

RK_INLINE void pair_quads(unsigned char *to)
{
#pragma GCC unroll 4
    for (int j = 0; j < DOT8_QUADS; j += 2) {
        vq q[] = {vq_load(to + j * DOT8_LINE), vq_load(to + (j + 1) * DOT8_LINE)};
        interleave(q);
        vq_store(to + j * DOT8_LINE, q[0]);
        vq_store(to + (j + 1) * DOT8_LINE, q[1]);
    }
}

/* The inputs of quads j and j + 1, of two rows. */
RK_INLINE int8x16_t pair_of_inputs(const int8_t *a, const int8_t *b, int j)
{
    const int64x2_t a16 = vreinterpretq_s64_s8(vld1q_s8(a + j / 4 * 16));
    const int64x2_t b16 = vreinterpretq_s64_s8(vld1q_s8(b + j / 4 * 16));
    return vreinterpretq_s8_s64(j % 4 == 0 ? vzip1q_s64(a16, b16) : vzip2q_s64(a16, b16));
}

/* Sums of half h of a block for the parts from `part` on, of rows of x two by two: a register has
 * two sums of the one row, then of the other. A last row without another is taken twice. */
RK_INLINE void sum_pairs(source from, rk_dtype t, int n, const unsigned char *at, int b, int h,
                         int part, const rk_x8 *x, int32x4_t *sum)
{
    const int quads = DOT8_QUADS / dot8_halves(t);
    for (int s = 0; s < (n + 1) / 2 * PAIRS; s++)
        sum[s] = vdupq_n_s32(0);
#pragma GCC unroll 4
    for (int j = h * quads; j < (h + 1) * quads; j += 2) {
        __asm__(""); /* else gcc 12 loads for later steps, too, and runs out of registers */
        vq c[PAIRS];
        for (int p = 0; p < TOGETHER; p++) {
            for (int i = 0; i < 2; i++)
                c[2 * p + i] = quad_from(from, t, at, b, part + p, j + i);
            if (from == PACKED)
                interleave(c + 2 * p);
        }
#pragma GCC unroll 2
        for (int r = 0; r < n; r += 2) {
            const int8x16_t q = pair_of_inputs(x[r].q, x[r + 1 < n ? r + 1 : r].q, j);
            int32x4_t *of = sum + r / 2 * PAIRS;
#pragma GCC unroll 4
            for (int s = 0; s < PAIRS; s++)
                of[s] = vmmlaq_s32(of[s], q, vreinterpretq_s8_u8(c[s]));
        }
    }
}

/* One row of x out of the sums: those of a part are `row` of both of its registers. */
RK_INLINE vi sums_of_row(const int32x4_t *sum, int row)
{
    const int64x2_t a = vreinterpretq_s64_s32(sum[0]), b = vreinterpretq_s64_s32(sum[1]);
    return vreinterpretq_s32_s64(row == 0 ? vzip1q_s64(a, b) : vzip2q_s64(a, b));
}

RK_INLINE void add_pairs(source from, rk_dtype t, int n, const unsigned char *at, int b, int h,
                         const rk_x8 *x, vf *f)
{
#pragma GCC unroll 2
    for (int part = 0; part < PARTS; part += TOGETHER) {
        int32x4_t sum[DOT8_TILE / 2 * PAIRS];
        vf d[TOGETHER], m[TOGETHER];
        sum_pairs(from, t, n, at, b, h, part, x, sum);
        for (int p = 0; p < TOGETHER; p++)
            scales_from(from, t, at, b, h, part + p, d + p, m + p);
#pragma GCC unroll 8
        for (int s = 0; s < n * TOGETHER; s++) {
            const int r = s / TOGETHER, p = s % TOGETHER;
            vi of = sums_of_row(sum + r / 2 * PAIRS + 2 * p, r % 2);
            vf *to = f + r * PARTS + part + p;
            if (!dot8_stores_minima(t))
                of = vi_centre(dot8_bits(t), of, total_of(x + r, dot8_halves(t), h));
            *to = vf_fma(vi_to_floats(of), vf_mul(d[p], vf_set1(x[r].d)), *to);
            if (dot8_stores_minima(t))
                *to = vf_fma(m[p], sum_of(x + r, dot8_halves(t), h), *to);
        }
    }
}

const rk_dot8_kernels rk_dot8_neoni8mm = {"neoni8mm", DOT8_TILE, round_row, product, columns};
