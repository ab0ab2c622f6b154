/* factor.h: the matrix of a product, of any type, and packed products (gemm.h) with it.
 *
 * Quantised weights, blocks or bytes with ranges, are widened to f32 in scratch, a few hundred outputs at a
 * time: results and gradients have the bits of the widened matrix, and there is never an f32 copy of the whole. */
#ifndef RK_FACTOR_H
#define RK_FACTOR_H

#include "kernels/gemm.h"
#include "kernels/ranges.h"
#include "tensor/op.h"

/* (out, in); strides in elements. What is quantised lies along the inputs: in_stride is 1. */
typedef struct rk_factor {
    const void *data;
    rk_dtype dtype;
    int64_t out, in;
    int64_t out_stride, in_stride;
    rk_ranges ranges; /* of RK_RANGED */
} rk_factor;

rk_factor rk_factor_of(const rk_tensor *w, rk_layout layout);
/* Its outputs [lo, lo + n). */
rk_factor rk_factor_part(const rk_factor *w, int64_t lo, int64_t n);
/* All outputs of a quantised one as f32, (out, in). */
void rk_factor_widen(const rk_factor *w, float *floats);

/* y (rows, out) at ldy (+)= x (rows, in) W^T, with this much scratch. Reals are f64 where W is. */
size_t rk_factor_scratch(const rk_ctx *ctx, const rk_factor *w, int64_t rows);
void rk_factor_product(rk_ctx *ctx, void *scratch, int64_t rows, const void *x, const rk_factor *w,
                       void *y, int64_t ldy, bool accumulate);
/* dx (rows, in) (+)= dy (rows, out) W. */
size_t rk_factor_back_scratch(const rk_ctx *ctx, const rk_factor *w, int64_t rows);
void rk_factor_product_back(rk_ctx *ctx, void *scratch, int64_t rows, const void *dy,
                            const rk_factor *w, void *dx, bool accumulate);

/* rk_gemm with what the context brings; an abort becomes its error. */
size_t rk_gemm_scratch_on(const rk_ctx *ctx, rk_dtype real, rk_gemm_shape s);
void rk_gemm_on(rk_ctx *ctx, rk_dtype real, void *scratch, rk_gemm_shape s, rk_matrix a,
                rk_matrix b, void *c, int64_t ldc, bool accumulate);

#endif
