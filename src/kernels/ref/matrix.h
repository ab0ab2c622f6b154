/* matrix.h: reference of the conversions between dtypes and of the matrix products.
 *
 * The tile's chain of fused multiply-adds is exact in its order, so this one and the SIMD tiles
 * give equal bits in f32. The short products here sum in order of l, the fast ones in several
 * partial sums. */
#ifndef RK_KERNELS_REF_MATRIX_H
#define RK_KERNELS_REF_MATRIX_H

#include "kernels/ref/real.h"

/* Element i of y, of dtype t. A double goes to the 16-bit types through float. */
static void set_element(void *y, rk_dtype t, int64_t i, real x)
{
    switch (t) {
    case RK_F32:
        ((float *)y)[i] = (float)x;
        break;
    case RK_F64:
        ((double *)y)[i] = (double)x;
        break;
    case RK_BF16:
        ((uint16_t *)y)[i] = rk_f32_to_bf16((float)x);
        break;
    case RK_F16:
        ((uint16_t *)y)[i] = rk_f32_to_f16((float)x);
        break;
    default:
        assert(false && "a floating dtype");
    }
}

static void widen(int64_t n, const void *x, rk_dtype from, void *y)
{
    for (int64_t i = 0; i < n; i++)
        ((real *)y)[i] = element(x, from, i);
}

static void narrow(int64_t n, const void *x, void *y, rk_dtype to)
{
    for (int64_t i = 0; i < n; i++)
        set_element(y, to, i, ((const real *)x)[i]);
}

enum { GEMM_MR = 4, GEMM_NR = 8 };

static void gemm_tile(int64_t k, const void *a_, const void *b_, void *c_, int64_t ldc, bool load)
{
    const real *a = a_, *b = b_;
    for (int64_t i = 0; i < GEMM_MR; i++)
        for (int64_t j = 0; j < GEMM_NR; j++) {
            real *c = (real *)c_ + i * ldc + j, s = load ? *c : 0;
            for (int64_t l = 0; l < k; l++)
                s = fma(a[l * GEMM_MR + i], b[l * GEMM_NR + j], s);
            *c = s;
        }
}

static void gemm_pack(int64_t k, int64_t width, int64_t n_valid, const void *src, rk_dtype from,
                      int64_t js, int64_t ls, bool round_bf16, void *out_)
{
    real *out = out_;
    for (int64_t l = 0; l < k; l++)
        for (int64_t j = 0; j < width; j++) {
            real x = j < n_valid ? element(src, from, j * js + l * ls) : 0;
            if (round_bf16)
                x = (real)rk_bf16_to_f32(rk_f32_to_bf16((float)x));
            out[l * width + j] = x;
        }
}

/* Weight (l, j) is w[j * js + l * ls]. */
static void gemv(int64_t rows, int64_t n, int64_t k, const real *x, int64_t ldx, const void *w,
                 rk_dtype wt, int64_t js, int64_t ls, real *y, int64_t ldy, bool accumulate)
{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < n; j++) {
            real s = 0;
            for (int64_t l = 0; l < k; l++)
                s += x[i * ldx + l] * element(w, wt, j * js + l * ls);
            y[i * ldy + j] = accumulate ? y[i * ldy + j] + s : s;
        }
}

static void gemv_dot(int64_t rows, int64_t n, int64_t k, const void *x, int64_t ldx, const void *w,
                     rk_dtype wt, int64_t ldw, void *y, int64_t ldy, bool accumulate)
{
    gemv(rows, n, k, x, ldx, w, wt, ldw, 1, y, ldy, accumulate);
}

static void gemv_axpy(int64_t rows, int64_t n, int64_t k, const void *x, int64_t ldx, const void *w,
                      rk_dtype wt, int64_t ldw, void *y, int64_t ldy, bool accumulate)
{
    gemv(rows, n, k, x, ldx, w, wt, 1, ldw, y, ldy, accumulate);
}

#endif
