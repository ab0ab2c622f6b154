/* gemm.inc.c: the register tile of the packed matrix product and the packing, over vf.
 *
 * The tile keeps MR x NR elements of C in registers: for each l, NR / VF loads of B and MR
 * broadcasts of A feed MR NR / VF fused multiply-adds. It has as many rows as the registers hold,
 * so that loads are far from being the bottleneck: 12 of 16 registers with AVX2, 28 of 32 with
 * AVX-512, 24 of 32 with NEON. No unrolling over l: the CPU overlaps the iterations itself. */
#include "base/inline.h"
#include "base/num.h"

enum {
    GEMM_COLS = VF == 4 ? 3 : 2, /* vectors in a row of the tile */
    GEMM_MR = VF == 16  ? 14
              : VF == 8 ? 6
                        : 8,
    GEMM_NR = GEMM_COLS * VF
};

static void gemm_tile(int64_t k, const void *a_, const void *b_, void *c_, int64_t ldc, bool load)
{
    const float *a = a_, *b = b_;
    float *c = c_;
    vf sum[GEMM_MR][GEMM_COLS];
    for (int i = 0; i < GEMM_MR; i++)
        for (int j = 0; j < GEMM_COLS; j++)
            sum[i][j] = load ? vf_load(c + i * ldc + j * VF) : vf_zero();
#pragma GCC unroll 4
    for (int64_t l = 0; l < k; l++, a += GEMM_MR, b += GEMM_NR) {
        vf row[GEMM_COLS];
        for (int j = 0; j < GEMM_COLS; j++)
            row[j] = vf_load(b + j * VF);
        for (int i = 0; i < GEMM_MR; i++) {
            const vf ai = vf_set1(a[i]);
            for (int j = 0; j < GEMM_COLS; j++)
                sum[i][j] = vf_fma(ai, row[j], sum[i][j]);
        }
    }
    for (int i = 0; i < GEMM_MR; i++)
        for (int j = 0; j < GEMM_COLS; j++)
            vf_store(c + i * ldc + j * VF, sum[i][j]);
}

/* VF elements of src from element `at`, of which n are there, widened; zeros past n. */
RK_INLINE vf pack_load(const void *src, rk_dtype from, int64_t at, int64_t n, bool round_bf16)
{
    vf x;
    if (from == RK_F32) {
        const float *p = (const float *)src + at;
        x = n >= VF ? vf_load(p) : vf_load_n(p, (int)n);
        return round_bf16 ? vf_round_bf16(x) : x;
    }
    uint16_t part[VF] = {0};
    const uint16_t *p = (const uint16_t *)src + at;
    if (n < VF)
        p = memcpy(part, p, (size_t)n * sizeof *p);
    if (from == RK_BF16)
        return vf_load_bf16(p); /* is bf16 already */
    x = vf_load_f16(p);
    return round_bf16 ? vf_round_bf16(x) : x;
}

/* Elements [j, j + VF) of row l of a panel. Where the row ends before, the vector may run into the
 * next row, which is written later; only the panel's end takes a partial store. */
RK_INLINE void pack_store(int64_t k, int64_t width, int64_t l, int64_t j, vf x, float *out)
{
    const int64_t at = l * width + j;
    if (j + VF <= width || (width < VF && at + VF <= k * width))
        vf_store(out + at, x);
    else
        vf_store_n(out + at, x, (int)(width - j));
}

/* Columns that lie side by side (js = 1): rows are copied. */
RK_INLINE void pack_rows(int64_t k, int64_t width, int64_t n_valid, const void *src, rk_dtype from,
                         int64_t ls, bool round_bf16, float *out)
{
    for (int64_t l = 0; l < k; l++)
        for (int64_t j = 0; j < width; j += VF) {
            const int64_t n = rk_min_i64(n_valid - j, VF);
            vf x = vf_zero();
            if (n > 0)
                x = pack_load(src, from, l * ls + j, n, round_bf16);
            pack_store(k, width, l, j, x, out);
        }
}

/* Columns that lie along memory (ls = 1): blocks of VF columns by VF are transposed. */
RK_INLINE void pack_columns(int64_t k, int64_t width, int64_t n_valid, const void *src,
                            rk_dtype from, int64_t js, bool round_bf16, float *out)
{
    for (int64_t l = 0; l < k; l += VF)
        for (int64_t j = 0; j < width; j += VF) {
            const int64_t n = rk_min_i64(n_valid - j, VF), n_l = rk_min_i64(k - l, VF);
            vf v[VF];
            for (int64_t i = 0; i < VF; i++)
                v[i] = i < n ? pack_load(src, from, (j + i) * js + l, n_l, round_bf16) : vf_zero();
            vf_transpose(v);
            for (int64_t i = 0; i < n_l; i++)
                pack_store(k, width, l + i, j, v[i], out);
        }
}

/* Any strides, one element at a time. */
RK_INLINE void pack_any(int64_t k, int64_t width, int64_t n_valid, const void *src, rk_dtype from,
                        int64_t js, int64_t ls, bool round_bf16, float *out)
{
    for (int64_t l = 0; l < k; l++)
        for (int64_t j = 0; j < width; j++) {
            vf x = vf_zero();
            if (j < n_valid)
                x = pack_load(src, from, j * js + l * ls, 1, round_bf16);
            vf_store_n(out + l * width + j, x, 1);
        }
}

RK_INLINE void pack_from(int64_t k, int64_t width, int64_t n_valid, const void *src, rk_dtype from,
                         int64_t js, int64_t ls, bool round_bf16, float *out)
{
    if (js == 1)
        pack_rows(k, width, n_valid, src, from, ls, round_bf16, out);
    else if (ls == 1)
        pack_columns(k, width, n_valid, src, from, js, round_bf16, out);
    else
        pack_any(k, width, n_valid, src, from, js, ls, round_bf16, out);
}

/* Whole panels get copies of their own, in which the width is known; so do those of plain floats.
 */
static void gemm_pack(int64_t k, int64_t width, int64_t n_valid, const void *src, rk_dtype from,
                      int64_t js, int64_t ls, bool round_bf16, void *out)
{
    const bool whole = n_valid == width, plain = from == RK_F32 && !round_bf16;
    if (whole && plain && width == GEMM_MR)
        pack_from(k, GEMM_MR, GEMM_MR, src, RK_F32, js, ls, false, out);
    else if (whole && plain && width == GEMM_NR)
        pack_from(k, GEMM_NR, GEMM_NR, src, RK_F32, js, ls, false, out);
    else if (whole && width == GEMM_MR)
        pack_from(k, GEMM_MR, GEMM_MR, src, from, js, ls, round_bf16, out);
    else if (whole && width == GEMM_NR)
        pack_from(k, GEMM_NR, GEMM_NR, src, from, js, ls, round_bf16, out);
    else
        pack_from(k, width, n_valid, src, from, js, ls, round_bf16, out);
}
