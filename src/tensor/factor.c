/* factor.c: packed products with a matrix of any type. dx = dy W sums over the outputs; a packed
 * product continues each sum from its value in memory, so taking the outputs in several steps
 * changes no bit. */
#include "tensor/factor.h"

#include <assert.h>

#include "base/num.h"
#include "kernels/blocks.h"

enum { BLOCK_ROWS = 256, WIDEN_ROWS = 16 };

/* ---- packed products in a context ---- */

size_t rk_gemm_scratch_on(const rk_ctx *ctx, rk_dtype real, rk_gemm_shape s)
{
    return rk_gemm_scratch(rk_ctx_kernels(ctx, real), rk_pool_n_threads(ctx->pool), s);
}

void rk_gemm_on(rk_ctx *ctx, rk_dtype real, void *scratch, rk_gemm_shape s, rk_matrix a,
                rk_matrix b, void *c, int64_t ldc, bool accumulate)
{
    rk_gemm(rk_ctx_kernels(ctx, real), ctx->pool, scratch, s, a, b, c, ldc, accumulate,
            ctx->round_bf16);
    if (ctx->abort && atomic_load_explicit(ctx->abort, memory_order_relaxed))
        rk_ctx_fail(ctx, RK_ERR_ABORTED, "stopped on request");
}

/* ---- the matrix ---- */

rk_factor rk_factor_of(const rk_tensor *w, rk_layout layout)
{
    const int out = layout == RK_OUT_IN ? 0 : 1, in = 1 - out;
    return (rk_factor){w->data,
                       w->dtype,
                       w->dims[out],
                       w->dims[in],
                       w->strides[out],
                       w->strides[in],
                       w->ranges ? *w->ranges : (rk_ranges){0}};
}

rk_factor rk_factor_part(const rk_factor *w, int64_t lo, int64_t n)
{
    assert(n > 0 && lo >= 0 && lo <= w->out - n);
    rk_factor part = *w;
    part.data = (const char *)w->data +
                (size_t)(lo * w->out_stride / rk_dtype_block(w->dtype)) * rk_dtype_bytes(w->dtype);
    part.out = n;
    if (w->dtype == RK_RANGED)
        part.ranges = rk_ranges_from(&w->ranges, lo);
    return part;
}

static rk_dtype real_of(const rk_factor *w)
{
    return w->dtype == RK_F64 ? RK_F64 : RK_F32;
}

/* ---- quantised weights as f32 ---- */

void rk_factor_widen(const rk_factor *w, float *floats)
{
    if (w->dtype == RK_RANGED)
        rk_ranges_widen(&w->ranges, w->out, w->in, w->data, floats);
    else
        rk_blocks_widen(w->dtype, w->out * w->in, w->data, floats);
}

static size_t widened_bytes(const rk_factor *w)
{
    return rk_align_up((size_t)(rk_min_i64(BLOCK_ROWS, w->out) * w->in) * sizeof(float),
                       RK_ARENA_ALIGN);
}

typedef struct widen_job {
    rk_factor part;
    float *floats;
} widen_job;

static void widen_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const widen_job *j = arg;
    const rk_factor rows = rk_factor_part(&j->part, lo, hi - lo);
    (void)worker;
    rk_factor_widen(&rows, j->floats + lo * rows.in);
}

/* Up to BLOCK_ROWS outputs of a quantised matrix, from lo on, in f32. */
static rk_factor widened(rk_ctx *ctx, const rk_factor *w, int64_t lo, float *floats)
{
    widen_job j = {rk_factor_part(w, lo, rk_min_i64(BLOCK_ROWS, w->out - lo)), floats};
    rk_parallel(ctx, j.part.out, WIDEN_ROWS, widen_piece, &j);
    return (rk_factor){.data = floats,
                       .dtype = RK_F32,
                       .out = j.part.out,
                       .in = w->in,
                       .out_stride = w->in,
                       .in_stride = 1};
}

/* ---- y = x W^T ---- */

static rk_gemm_shape shape_of(const rk_factor *w, int64_t rows)
{
    const bool cut = rk_dtype_is_quantised(w->dtype);
    return (rk_gemm_shape){rows, cut ? rk_min_i64(BLOCK_ROWS, w->out) : w->out, w->in};
}

size_t rk_factor_scratch(const rk_ctx *ctx, const rk_factor *w, int64_t rows)
{
    const size_t product = rk_gemm_scratch_on(ctx, real_of(w), shape_of(w, rows));
    return rk_dtype_is_quantised(w->dtype) ? widened_bytes(w) + product : product;
}

static void plain_product(rk_ctx *ctx, void *scratch, int64_t rows, const void *x,
                          const rk_factor *w, void *y, int64_t ldy, bool accumulate)
{
    const rk_dtype real = real_of(w);
    rk_gemm_on(ctx, real, scratch, (rk_gemm_shape){rows, w->out, w->in},
               (rk_matrix){x, real, w->in, 1},
               (rk_matrix){w->data, w->dtype, w->in_stride, w->out_stride}, y, ldy, accumulate);
}

void rk_factor_product(rk_ctx *ctx, void *scratch, int64_t rows, const void *x, const rk_factor *w,
                       void *y, int64_t ldy, bool accumulate)
{
    if (!rk_dtype_is_quantised(w->dtype)) {
        plain_product(ctx, scratch, rows, x, w, y, ldy, accumulate);
        return;
    }
    char *behind = (char *)scratch + widened_bytes(w);
    for (int64_t lo = 0; lo < w->out && !rk_ctx_failed(ctx); lo += BLOCK_ROWS) {
        const rk_factor part = widened(ctx, w, lo, scratch);
        plain_product(ctx, behind, rows, x, &part, (float *)y + lo, ldy, accumulate);
    }
}

/* ---- dx = dy W ---- */

size_t rk_factor_back_scratch(const rk_ctx *ctx, const rk_factor *w, int64_t rows)
{
    const rk_gemm_shape s = shape_of(w, rows);
    const size_t product = rk_gemm_scratch_on(ctx, real_of(w), (rk_gemm_shape){s.m, s.k, s.n});
    return rk_dtype_is_quantised(w->dtype) ? widened_bytes(w) + product : product;
}

/* dy at lddy. */
static void plain_product_back(rk_ctx *ctx, void *scratch, int64_t rows, const void *dy,
                               int64_t lddy, const rk_factor *w, void *dx, bool accumulate)
{
    const rk_dtype real = real_of(w);
    rk_gemm_on(ctx, real, scratch, (rk_gemm_shape){rows, w->in, w->out},
               (rk_matrix){dy, real, lddy, 1},
               (rk_matrix){w->data, w->dtype, w->out_stride, w->in_stride}, dx, w->in, accumulate);
}

void rk_factor_product_back(rk_ctx *ctx, void *scratch, int64_t rows, const void *dy,
                            const rk_factor *w, void *dx, bool accumulate)
{
    if (!rk_dtype_is_quantised(w->dtype)) {
        plain_product_back(ctx, scratch, rows, dy, w->out, w, dx, accumulate);
        return;
    }
    char *behind = (char *)scratch + widened_bytes(w);
    for (int64_t lo = 0; lo < w->out && !rk_ctx_failed(ctx); lo += BLOCK_ROWS) {
        const rk_factor part = widened(ctx, w, lo, scratch);
        plain_product_back(ctx, behind, rows, (const float *)dy + lo, w->out, &part, dx,
                           accumulate || lo > 0);
    }
}
