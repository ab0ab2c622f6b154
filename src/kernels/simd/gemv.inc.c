/* gemv.inc.c: matrix products of the short class (a few rows: decoding), over vf.
 *
 * Each weight is used in only a handful of multiplications, so memory bandwidth is the limit: the
 * weights are read once, converted to f32 in registers, and multiplied in a register tile of rows x
 * outputs. The bits of an output depend on k alone, whatever tile it is in:
 *
 *   gemv_dot    VF partial sums, number l mod VF taking element l as one chain of fused
 *   multiply-adds in order, then the tree of vf_sum4
 *   gemv_axpy   one chain of fused multiply-adds over l in order; lanes are outputs
 *
 * Two vectors of partial sums per output instead of one would allow half as many weight rows at a
 * time, and cost the larger tiles for several rows: the tiles have 8 to 12 independent chains.
 *
 * The weight rows of a tile are far apart, and each next tile continues where the one before ended:
 * so the hardware prefetches as many streams as a tile has rows. Neighbouring rows would begin that
 * many new streams with every tile. */
#include "base/inline.h"
#include "base/num.h"

enum { GEMV_TILE_MAX = 12 };

/* VF weights from element `at` on, as f32. */
RK_INLINE vf weights(const void *w, rk_dtype wt, int64_t at)
{
    if (wt == RK_F32)
        return vf_load((const float *)w + at);
    return wt == RK_BF16 ? vf_load_bf16((const uint16_t *)w + at)
                         : vf_load_f16((const uint16_t *)w + at);
}

/* The last n < VF weights of a row, zeros after them. */
RK_INLINE vf weights_n(const void *w, rk_dtype wt, int64_t at, int n)
{
    if (wt == RK_F32)
        return vf_load_n((const float *)w + at, n);
    uint16_t part[VF] = {0};
    memcpy(part, (const uint16_t *)w + at, (size_t)n * sizeof *part);
    return weights(part, wt, 0);
}

RK_INLINE void put(float *y, float sum, bool accumulate)
{
    *y = accumulate ? *y + sum : sum;
}

/* Rows [0, r) of x times weight rows [0, j), j a multiple of 4, which lie `step` rows apart. n of
 * them are wanted: the others repeat the last one, since a tile of its own for every remainder
 * would be more code than it is worth. */
RK_INLINE void dot_tile(int r, int j, int64_t n, int64_t step, int64_t k, const float *x,
                        int64_t ldx, const void *w, rk_dtype wt, int64_t ldw, float *y, int64_t ldy,
                        bool accumulate)
{
    vf sum[GEMV_TILE_MAX];
    int64_t row[GEMV_TILE_MAX], l = 0;
    for (int b = 0; b < j; b++)
        row[b] = rk_min_i64(b, n - 1) * step * ldw;
    for (int i = 0; i < r * j; i++)
        sum[i] = vf_zero();
    for (; l + VF <= k; l += VF)
        for (int b = 0; b < j; b++) {
            const vf wl = weights(w, wt, row[b] + l);
            for (int a = 0; a < r; a++)
                sum[a * j + b] = vf_fma(vf_load(x + a * ldx + l), wl, sum[a * j + b]);
        }
    if (l < k)
        for (int b = 0; b < j; b++) {
            const vf wl = weights_n(w, wt, row[b] + l, (int)(k - l));
            for (int a = 0; a < r; a++)
                sum[a * j + b] =
                    vf_fma(vf_load_n(x + a * ldx + l, (int)(k - l)), wl, sum[a * j + b]);
        }
    for (int a = 0; a < r; a++)
        for (int b = 0; b < j; b += 4) {
            const vf *s = sum + a * j + b;
            float out[4];
            vf_sum4(s[0], s[1], s[2], s[3], out);
            for (int64_t i = b; i < rk_min_i64(n, b + 4); i++)
                put(y + a * ldy + i * step, out[i - b], accumulate);
        }
}

/* All rows of x times up to 4 weight rows. */
RK_INLINE void dot_rows(int64_t rows, int64_t n, int64_t step, int64_t k, const float *x,
                        int64_t ldx, const void *w, rk_dtype wt, int64_t ldw, float *y, int64_t ldy,
                        bool accumulate)
{
    int64_t i = 0;
    for (; i + 3 <= rows; i += 3)
        dot_tile(3, 4, n, step, k, x + i * ldx, ldx, w, wt, ldw, y + i * ldy, ldy, accumulate);
    for (; i + 2 <= rows; i += 2)
        dot_tile(2, 4, n, step, k, x + i * ldx, ldx, w, wt, ldw, y + i * ldy, ldy, accumulate);
    for (; i < rows; i++)
        dot_tile(1, 4, n, step, k, x + i * ldx, ldx, w, wt, ldw, y + i * ldy, ldy, accumulate);
}

RK_INLINE void dot_all(int64_t rows, int64_t n, int64_t k, const float *x, int64_t ldx,
                       const void *w, rk_dtype wt, int64_t ldw, float *y, int64_t ldy,
                       bool accumulate)
{
    const int64_t size = wt == RK_F32 ? 4 : 2, wide = rows == 1 ? 8 : 4, tiles = n / wide;
    for (int64_t j = 0; j < tiles; j++) {
        const void *wj = (const char *)w + j * ldw * size;
        if (wide == 8)
            dot_tile(1, 8, 8, tiles, k, x, ldx, wj, wt, ldw, y + j, ldy, accumulate);
        else
            dot_rows(rows, 4, tiles, k, x, ldx, wj, wt, ldw, y + j, ldy, accumulate);
    }
    for (int64_t j = tiles * wide; j < n; j += 4)
        dot_rows(rows, rk_min_i64(n - j, 4), 1, k, x, ldx, (const char *)w + j * ldw * size, wt,
                 ldw, y + j, ldy, accumulate);
}

static void gemv_dot(int64_t rows, int64_t n, int64_t k, const void *x, int64_t ldx, const void *w,
                     rk_dtype wt, int64_t ldw, void *y, int64_t ldy, bool accumulate)
{
    if (wt == RK_F32)
        dot_all(rows, n, k, x, ldx, w, RK_F32, ldw, y, ldy, accumulate);
    else if (wt == RK_BF16)
        dot_all(rows, n, k, x, ldx, w, RK_BF16, ldw, y, ldy, accumulate);
    else
        dot_all(rows, n, k, x, ldx, w, RK_F16, ldw, y, ldy, accumulate);
}

/* Rows [0, r) of x times the outputs of c vectors, the last of which has `last` in (0, VF] lanes.
 */
RK_INLINE void axpy_tile(int r, int c, int last, int64_t k, const float *x, int64_t ldx,
                         const void *w, rk_dtype wt, int64_t ldw, float *y, int64_t ldy,
                         bool accumulate)
{
    const size_t size = wt == RK_F32 ? 4 : 2;
    vf sum[GEMV_TILE_MAX];
    for (int i = 0; i < r * c; i++)
        sum[i] = vf_zero();
    for (int64_t l = 0; l < k; l++) {
        const char *wl = (const char *)w + (size_t)(l * ldw) * size;
        for (int b = 0; b < c; b++) {
            const vf v =
                b + 1 < c || last == VF ? weights(wl, wt, b * VF) : weights_n(wl, wt, b * VF, last);
            for (int a = 0; a < r; a++)
                sum[a * c + b] = vf_fma(vf_set1(x[a * ldx + l]), v, sum[a * c + b]);
        }
    }
    for (int a = 0; a < r; a++)
        for (int b = 0; b < c; b++) {
            float *out = y + a * ldy + b * VF;
            const int n = b + 1 < c ? VF : last;
            const vf before = accumulate ? vf_load_n(out, n) : vf_zero();
            vf_store_n(out, accumulate ? vf_add(before, sum[a * c + b]) : sum[a * c + b], n);
        }
}

/* All rows of x times the outputs of c vectors. */
RK_INLINE void axpy_rows(int64_t rows, int c, int last, int64_t k, const float *x, int64_t ldx,
                         const void *w, rk_dtype wt, int64_t ldw, float *y, int64_t ldy,
                         bool accumulate)
{
    int64_t i = 0;
    for (; i + 3 <= rows; i += 3)
        axpy_tile(3, c, last, k, x + i * ldx, ldx, w, wt, ldw, y + i * ldy, ldy, accumulate);
    for (; i + 2 <= rows; i += 2)
        axpy_tile(2, c, last, k, x + i * ldx, ldx, w, wt, ldw, y + i * ldy, ldy, accumulate);
    for (; i < rows; i++)
        axpy_tile(1, c, last, k, x + i * ldx, ldx, w, wt, ldw, y + i * ldy, ldy, accumulate);
}

RK_INLINE void axpy_all(int64_t rows, int64_t n, int64_t k, const float *x, int64_t ldx,
                        const void *w, rk_dtype wt, int64_t ldw, float *y, int64_t ldy,
                        bool accumulate)
{
    const size_t size = wt == RK_F32 ? 4 : 2;
    int64_t j = 0;
    for (; rows == 1 && j + 8 * VF <= n; j += 8 * VF) /* one row needs more outputs at a time */
        axpy_tile(1, 8, VF, k, x, ldx, (const char *)w + (size_t)j * size, wt, ldw, y + j, ldy,
                  accumulate);
    for (; j + 4 * VF <= n; j += 4 * VF)
        axpy_rows(rows, 4, VF, k, x, ldx, (const char *)w + (size_t)j * size, wt, ldw, y + j, ldy,
                  accumulate);
    for (; j < n; j += VF)
        axpy_rows(rows, 1, (int)rk_min_i64(n - j, VF), k, x, ldx,
                  (const char *)w + (size_t)j * size, wt, ldw, y + j, ldy, accumulate);
}

static void gemv_axpy(int64_t rows, int64_t n, int64_t k, const void *x, int64_t ldx, const void *w,
                      rk_dtype wt, int64_t ldw, void *y, int64_t ldy, bool accumulate)
{
    if (wt == RK_F32)
        axpy_all(rows, n, k, x, ldx, w, RK_F32, ldw, y, ldy, accumulate);
    else if (wt == RK_BF16)
        axpy_all(rows, n, k, x, ldx, w, RK_BF16, ldw, y, ldy, accumulate);
    else
        axpy_all(rows, n, k, x, ldx, w, RK_F16, ldw, y, ldy, accumulate);
}
