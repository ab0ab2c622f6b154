/* by_output.c: matrix products computed one output at a time: those of the short class (decoding),
 * and all whose activations are rounded to 8 bits.
 *
 * An output is a dot product, summed in one fixed order whatever the number of rows (gemv and dot8
 * in kernels/). So outputs can be spread over tasks freely, and independent products share one list
 * of tasks with one fork and join. A function after the product (tanh, ...) is applied by the task
 * that computed the outputs, while they are in the cache. */
#include <string.h>

#include "base/num.h"
#include "kernels/blocks.h"
#include "tensor/op.h"

enum { OUTPUTS_SHORT = 64, OUTPUTS_LONG = 32, WIDEN_ROWS = 16 }; /* outputs of a task */
enum { GATHERED_ROWS = 4 }; /* at most: with more, few inputs are zero in all rows */

/* Never while training: gradients are those of the product with f32 activations. */
bool rk_product_is_8bit(const rk_ctx *ctx, const rk_tensor *x, const rk_tensor *w)
{
    return ctx->dot8 && w->packed && x->dtype == RK_F32 && !ctx->recording && !ctx->recomputed;
}

/* Where the product is written, before the function after it. */
static void *product_of(const rk_product *p)
{
    return p->before ? p->before : p->y->data;
}

/* Few rows whose inputs are mostly zero: only the others are multiplied. */
static bool is_gathered(const rk_product *p)
{
    return p->w->packed->columns && p->rows <= GATHERED_ROWS;
}

/* ---- scratch: 8-bit activations of each product, then a part for each thread ---- */

static size_t rounded_bytes(const rk_ctx *ctx, const rk_product *p)
{
    if (!rk_product_is_8bit(ctx, p->x, p->w))
        return 0;
    return rk_align_up(rk_x8_bytes(ctx->dot8, p->w->packed->dtype, p->rows, p->in), RK_ARENA_ALIGN);
}

static size_t gathered_bytes(const rk_ctx *ctx, const rk_product *p)
{
    if (!rk_product_is_8bit(ctx, p->x, p->w) || !is_gathered(p))
        return 0;
    return rk_align_up((size_t)p->rows * rk_x8_sparse_bytes(p->in), RK_ARENA_ALIGN);
}

static size_t thread_bytes(const rk_ctx *ctx, const rk_product *p)
{
    if (rk_product_is_8bit(ctx, p->x, p->w))
        return p->rows > 1 ? rk_align_up(rk_dot8_scratch(p->in), RK_ARENA_ALIGN) : 0;
    if (rk_dtype_is_blocks(p->w->dtype))
        return rk_align_up((size_t)(WIDEN_ROWS * p->in) * sizeof(float), RK_ARENA_ALIGN);
    return 0;
}

static size_t most_thread_bytes(const rk_ctx *ctx, const rk_product *p, int n)
{
    size_t most = 0;
    for (int i = 0; i < n; i++)
        most = thread_bytes(ctx, p + i) > most ? thread_bytes(ctx, p + i) : most;
    return most;
}

size_t rk_products_scratch(const rk_ctx *ctx, const rk_product *p, int n)
{
    size_t bytes = most_thread_bytes(ctx, p, n) * (size_t)rk_pool_n_threads(ctx->pool);
    for (int i = 0; i < n; i++)
        bytes += rounded_bytes(ctx, p + i) + gathered_bytes(ctx, p + i);
    return bytes;
}

/* ---- one product's outputs of a task ---- */

typedef struct products_job {
    const rk_ctx *ctx;
    const rk_product *p;
    int n;
    int64_t outputs[RK_LINEARS_MAX]; /* that one task computes */
    int64_t tasks[RK_LINEARS_MAX];   /* of each product */
    /* Outputs come in groups of RK_DOT8_ROWS. Task t has groups t, t + tasks, t + 2 tasks, ...: all
     * threads together read the matrix from front to back. Else a task has neighbouring groups. */
    bool apart[RK_LINEARS_MAX];
    rk_x8 *rounded[RK_LINEARS_MAX];    /* 8-bit activations; NULL: they stay f32 */
    char *gathered_at[RK_LINEARS_MAX]; /* those that are not 0; NULL: all are multiplied */
    rk_x8_sparse gathered[RK_LINEARS_MAX][GATHERED_ROWS];
    char *scratch;
    size_t thread_bytes;
} products_job;

static rk_dot8_some groups_of(const products_job *j, int i, int64_t task)
{
    const int64_t n = rk_dot8_groups(j->p[i].out), of_task = j->outputs[i] / RK_DOT8_ROWS;
    if (j->apart[i])
        return (rk_dot8_some){task, j->tasks[i], rk_ceil_div(n - task, j->tasks[i])};
    return (rk_dot8_some){task * of_task, 1, rk_min_i64(of_task, n - task * of_task)};
}

static void packed_outputs(const products_job *j, int i, int64_t task, void *scratch)
{
    const rk_product *p = &j->p[i];
    const rk_dot8_kernels *kern = j->ctx->dot8;
    const rk_dot8_some g = groups_of(j, i, task);
    if (j->gathered_at[i])
        kern->columns(p->w->packed, g.first, g.first + g.n, j->gathered[i], p->rows, product_of(p),
                      p->out, p->accumulate);
    else
        kern->product(p->w->packed, g, j->rounded[i], p->rows, product_of(p), p->out, p->accumulate,
                      scratch);
}

/* Quantised weights and f32 activations: a few rows at a time are widened to f32. */
static void widened_outputs(const products_job *j, int i, int64_t lo, int64_t hi, float *floats)
{
    const rk_product *p = &j->p[i];
    const rk_tensor *w = p->w;
    const size_t row_bytes = (size_t)(p->in / rk_dtype_block(w->dtype)) * rk_dtype_bytes(w->dtype);
    for (int64_t at = lo; at < hi; at += WIDEN_ROWS) {
        const int64_t rows = rk_min_i64(WIDEN_ROWS, hi - at);
        rk_blocks_widen(w->dtype, rows * p->in, (const char *)w->data + (size_t)at * row_bytes,
                        floats);
        j->ctx->kernels->gemv_dot(p->rows, rows, p->in, p->x->data, p->in, floats, RK_F32, p->in,
                                  (float *)product_of(p) + at, p->out, p->accumulate);
    }
}

static void plain_outputs(const products_job *j, int i, int64_t lo, int64_t hi)
{
    const rk_product *p = &j->p[i];
    const rk_tensor *x = p->x, *w = p->w;
    const rk_kernels *kern = rk_ctx_kernels(j->ctx, x->dtype);
    void *out = rk_at(p->y, product_of(p), lo);
    if (p->dots)
        kern->gemv_dot(p->rows, hi - lo, p->in, x->data, p->in, rk_at(w, w->data, lo * p->in),
                       w->dtype, p->in, out, p->out, p->accumulate);
    else
        kern->gemv_axpy(p->rows, hi - lo, p->in, x->data, p->in, rk_at(w, w->data, lo), w->dtype,
                        p->out, out, p->out, p->accumulate);
}

/* Apply the function after the product to its outputs [lo, hi). */
static void finish(const products_job *j, const rk_product *p, int64_t lo, int64_t hi)
{
    for (int64_t r = 0; r < p->rows; r++) {
        const int64_t at = r * p->out + lo;
        rk_ctx_kernels(j->ctx, p->y->dtype)
            ->unary(p->after, hi - lo, rk_at(p->y, product_of(p), at), rk_at(p->y, p->y->data, at));
    }
}

static void outputs(const products_job *j, int i, int64_t task, void *scratch)
{
    const rk_product *p = &j->p[i];
    const int64_t piece = j->apart[i] ? RK_DOT8_ROWS : j->outputs[i];
    const int64_t lo = task * piece, hi = rk_min_i64(lo + piece, p->out);
    if (j->rounded[i])
        packed_outputs(j, i, task, scratch);
    else if (rk_dtype_is_blocks(p->w->dtype))
        widened_outputs(j, i, lo, hi, scratch);
    else
        plain_outputs(j, i, lo, hi);
    if (p->after == RK_UNARY_NONE)
        return;
    for (int64_t at = lo; at < p->out; at += j->apart[i] ? j->tasks[i] * piece : p->out)
        finish(j, p, at, rk_min_i64(at + piece, p->out));
}

/* ---- all of them ---- */

static void outputs_task(void *arg, int64_t at, int64_t end, int worker)
{
    const products_job *j = arg;
    int i = 0;
    (void)end;
    while (at >= j->tasks[i])
        at -= j->tasks[i++];
    outputs(j, i, at, j->scratch + (size_t)worker * j->thread_bytes);
}

static void round_row(products_job *j, int i, int64_t row)
{
    const rk_product *p = &j->p[i];
    const int64_t tile = p->rows == 1 ? 1 : j->ctx->dot8->tile;
    const int64_t blocks = rk_x8_blocks(p->w->packed->dtype, p->in);
    rk_x8 *to = j->rounded[i] + row / tile * tile * blocks + row % tile;
    j->ctx->dot8->round(p->in, (const float *)p->x->data + row * p->in, blocks, to, tile);
    if (j->gathered_at[i])
        j->gathered[i][row] = rk_x8_gather(
            p->w->packed, to, tile, j->gathered_at[i] + (size_t)row * rk_x8_sparse_bytes(p->in));
}

static void round_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    products_job *j = arg;
    (void)worker;
    for (int i = 0; i < j->n; i++)
        for (int64_t r = lo; r < rk_min_i64(hi, j->p[i].rows) && j->rounded[i]; r++)
            round_row(j, i, r);
}

void rk_products_run(rk_ctx *ctx, const rk_product *p, int n, void *scratch)
{
    products_job j; /* large: what belongs to products that are not there is not cleared */
    const int n_threads = rk_pool_n_threads(ctx->pool);
    char *at = scratch;
    int64_t tasks = 0, rows = 0;
    bool any = false;
    j.ctx = ctx;
    j.p = p;
    j.n = n;
    j.thread_bytes = most_thread_bytes(ctx, p, n);
    for (int i = 0; i < n; i++) {
        const size_t bytes = rounded_bytes(ctx, p + i), gathered = gathered_bytes(ctx, p + i);
        j.outputs[i] = gathered          ? rk_dot8_outputs_at_once(p[i].w->packed, n_threads)
                       : ctx->long_class ? OUTPUTS_LONG
                                         : OUTPUTS_SHORT;
        j.tasks[i] = rk_ceil_div(p[i].out, j.outputs[i]);
        j.rounded[i] = bytes ? (rk_x8 *)(void *)at : NULL;
        at += bytes;
        j.gathered_at[i] = gathered ? at : NULL;
        at += gathered;
        j.apart[i] = bytes && !gathered && p[i].rows == 1 && !p[i].w->packed->columns;
        tasks += j.tasks[i];
        rows = rk_max_i64(rows, p[i].rows);
        any = any || bytes;
    }
    j.scratch = at;
    if (rows == 1)
        round_piece(&j, 0, 1, 0); /* cheaper than waking a thread */
    else if (any)
        rk_parallel(ctx, rows, RK_GRAIN_ROWS, round_piece, &j);
    rk_parallel(ctx, tasks, 1, outputs_task, &j);
}
