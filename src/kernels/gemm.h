/* gemm.h: the packed matrix product of the long class, over a thread pool.
 *
 * C = A B, or C += A B. Every element of C is one chain of fused multiply-adds over k in order,
 * continued from memory where k is cut, so the bits depend on neither blocking, threads, nor what
 * other rows are computed with it, and accumulating over pieces of k equals one product over all. */
#ifndef RK_KERNELS_GEMM_H
#define RK_KERNELS_GEMM_H

#include "base/pool.h"
#include "kernels/kernels.h"

/* Element (i, j) is data[i * row_stride + j * col_stride]; strides in elements, any of the floating
 * dtypes (f64 only with the f64 table). A transposed matrix has its strides exchanged. */
typedef struct rk_matrix {
    const void *data;
    rk_dtype dtype;
    int64_t row_stride, col_stride;
} rk_matrix;

typedef struct rk_gemm_shape {
    int64_t m, n, k;
} rk_gemm_shape;

/* Bytes of scratch that rk_gemm needs, 64-byte aligned. */
size_t rk_gemm_scratch(const rk_kernels *kern, int n_threads, rk_gemm_shape s);
/* A (m, k), B (k, n), C (m, n) reals of the table at ldc. round_bf16: elements of A and B are rounded
 * to bf16 when packed (C stays f32). */
void rk_gemm(const rk_kernels *kern, rk_pool *pool, void *scratch, rk_gemm_shape s, rk_matrix a,
             rk_matrix b, void *c, int64_t ldc, bool accumulate, bool round_bf16);

#endif
