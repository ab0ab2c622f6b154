/* by_output.c: matrix products computed one output at a time: those of the short class (decoding),
 * and all whose activations are rounded to 8 bits.
 *
 * An output is a dot product, summed in one fixed order whatever the number of rows (gemv and dot8
 * in kernels/). So outputs can be spread over tasks freely, and independent products share one list
 * of tasks with one fork and join. A function after the product (tanh, ...) is applied by the task
 * that computed the outputs, while they are in the cache.
 *
 * So is a product that joins another one, an adapter's second step: it has no tasks, its outputs follow
 * those of the other while these are in the cache. It may read a third product of the list, the first
 * step. Nobody waits for anything: what is missing is counted for each range of outputs, and the task that
 * brings the last of it goes on with what follows. */
#include <stdatomic.h>
#include <string.h>

#include "base/num.h"
#include "kernels/blocks.h"
#include "kernels/ranges.h"
#include "tensor/op.h"

enum { OUTPUTS_SHORT = 64, OUTPUTS_LONG = 32, WIDEN_ROWS = 16 }; /* outputs of a task */
enum {
    OUTPUTS_JOINED = 256
}; /* that others join at once: their weights are read in rows of so many */
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

/* Activations as a matrix of bytes with ranges takes them, and their sums. */
static size_t scaled_bytes(const rk_product *p)
{
    return rk_align_up((size_t)(p->rows * rk_ranges_blocks(p->in)) * sizeof(rk_x29),
                       RK_ARENA_ALIGN);
}

static size_t ranged_bytes(const rk_product *p)
{
    if (p->w->dtype != RK_RANGED)
        return 0;
    return scaled_bytes(p) + rk_align_up((size_t)p->rows * sizeof(rk_ranged_sums), RK_ARENA_ALIGN);
}

static size_t thread_bytes(const rk_ctx *ctx, const rk_product *p)
{
    if (p->w->dtype == RK_RANGED)
        return rk_align_up((size_t)(p->rows * OUTPUTS_SHORT) * sizeof(int64_t), RK_ARENA_ALIGN);
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

/* A counter for each task of each product, where some hang together: these are the last ones. */
static size_t counters_bytes(const rk_product *p, int n)
{
    size_t bytes = 0;
    for (int i = 0; i < n && p[n - 1].joins; i++)
        bytes += (size_t)rk_ceil_div(p[i].out, RK_DOT8_ROWS) * sizeof(atomic_int);
    return rk_align_up(bytes, RK_ARENA_ALIGN);
}

size_t rk_products_scratch(const rk_ctx *ctx, const rk_product *p, int n)
{
    size_t bytes = most_thread_bytes(ctx, p, n) * (size_t)rk_pool_n_threads(ctx->pool);
    for (int i = 0; i < n; i++)
        bytes += rounded_bytes(ctx, p + i) + gathered_bytes(ctx, p + i) + ranged_bytes(p + i);
    return bytes + counters_bytes(p, n);
}

/* ---- one product's outputs of a task ---- */

typedef struct products_job {
    const rk_ctx *ctx;
    const rk_product *p;
    int n;
    int64_t outputs[RK_LINEARS_MAX]; /* that one task computes */
    int64_t tasks[RK_LINEARS_MAX];   /* of each product */
    int64_t range[RK_LINEARS_MAX];   /* outputs of one after the other of so many tasks; of all */
    /* Outputs come in groups of RK_DOT8_ROWS. With n tasks in a range, task t has groups t, t + n,
     * t + 2 n, ... of it: all threads together read the matrix from front to back. Else a task has
     * neighbouring groups. */
    bool apart[RK_LINEARS_MAX];
    rk_x8 *rounded[RK_LINEARS_MAX];    /* 8-bit activations; NULL: they stay f32 */
    char *gathered_at[RK_LINEARS_MAX]; /* those that are not 0; NULL: all are multiplied */
    rk_x8_sparse gathered[RK_LINEARS_MAX][GATHERED_ROWS];
    rk_x29 *scaled[RK_LINEARS_MAX]; /* for bytes with ranges; else NULL */
    rk_ranged_sums *sums[RK_LINEARS_MAX];
    bool joined[RK_LINEARS_MAX], read[RK_LINEARS_MAX]; /* by others */
    /* Of one that is joined, for each of its ranges: tasks and results of others that it waits for. Of one
     * that is read: its tasks that have not ended. */
    atomic_int *missing[RK_LINEARS_MAX];
    char *scratch;
    size_t thread_bytes;
} products_job;

static rk_dot8_some groups_of(const products_job *j, int i, int64_t task)
{
    const int64_t of_task = j->outputs[i] / RK_DOT8_ROWS, of_range = j->range[i] / RK_DOT8_ROWS;
    const int64_t from = task * of_task / of_range * of_range;
    const int64_t n = rk_min_i64(of_range, rk_dot8_groups(j->p[i].out) - from);
    const int64_t tasks = rk_ceil_div(n, of_task), t = task - from / of_task;
    if (j->apart[i])
        return (rk_dot8_some){from + t, tasks, rk_ceil_div(n - t, tasks)};
    return (rk_dot8_some){from + t * of_task, 1, rk_min_i64(of_task, n - t * of_task)};
}

static void packed_outputs(const products_job *j, int i, rk_dot8_some g, void *scratch)
{
    const rk_product *p = &j->p[i];
    const rk_dot8_kernels *kern = j->ctx->dot8;
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

/* Bytes with ranges: the products with the bytes, and from these those with the matrix. */
static void ranged_outputs(const products_job *j, int i, int64_t lo, int64_t hi, int64_t *dots)
{
    const rk_product *p = &j->p[i];
    const rk_ranges r = rk_ranges_from(p->w->ranges, lo);
    const int64_t n = hi - lo;
    j->ctx->kernels->bytes_dot(p->rows, n, p->in, j->scaled[i], rk_ranges_blocks(p->in),
                               (const uint8_t *)p->w->data + lo * p->in, p->in, dots, n);
    for (int64_t row = 0; row < p->rows; row++)
        rk_ranges_finish(&r, n, dots + row * n, &j->sums[i][row],
                         (float *)product_of(p) + row * p->out + lo, p->accumulate);
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

/* Outputs [lo, hi) of all that joins product i. */
static void join(const products_job *j, int i, int64_t lo, int64_t hi, void *scratch)
{
    for (int q = 0; q < j->n; q++) {
        if (j->p[q].joins != i + 1)
            continue;
        if (rk_dtype_is_blocks(j->p[q].w->dtype))
            widened_outputs(j, q, lo, hi, scratch);
        else
            plain_outputs(j, q, lo, hi);
    }
}

/* What follows outputs [lo, hi). */
static void follow(const products_job *j, int i, int64_t lo, int64_t hi, void *scratch)
{
    if (j->joined[i])
        join(j, i, lo, hi, scratch);
    if (j->p[i].after != RK_UNARY_NONE)
        finish(j, &j->p[i], lo, hi);
}

/* A range of outputs gets one of those that it waits for. */
static void bring(const products_job *j, int i, int64_t range, void *scratch)
{
    const int64_t lo = range * j->range[i];
    if (atomic_fetch_sub(&j->missing[i][range], 1) == 1)
        follow(j, i, lo, rk_min_i64(lo + j->range[i], j->p[i].out), scratch);
}

/* Product i, which others read, is there. */
static void bring_all(const products_job *j, int i, void *scratch)
{
    for (int q = 0; q < j->n; q++) {
        const int to = j->p[q].joins - 1;
        if (j->p[q].reads == i + 1)
            for (int64_t range = 0; range * j->range[to] < j->p[to].out; range++)
                bring(j, to, range, scratch);
    }
}

/* A task has computed its groups of outputs. */
static void go_on(const products_job *j, int i, int64_t task, rk_dot8_some g, void *scratch)
{
    const int64_t at_once = g.step == 1 ? g.n : 1;
    if (j->joined[i]) {
        bring(j, i, task * j->outputs[i] / j->range[i], scratch);
        return;
    }
    for (int64_t k = 0; k < g.n; k += at_once) {
        const int64_t lo = (g.first + k * g.step) * RK_DOT8_ROWS;
        follow(j, i, lo, rk_min_i64(lo + at_once * RK_DOT8_ROWS, j->p[i].out), scratch);
    }
}

static void outputs(const products_job *j, int i, int64_t task, void *scratch)
{
    const rk_product *p = &j->p[i];
    const rk_dot8_some g = groups_of(j, i, task);
    const int64_t lo = g.first * RK_DOT8_ROWS;
    const int64_t hi = rk_min_i64(lo + g.n * RK_DOT8_ROWS, p->out);
    if (j->rounded[i])
        packed_outputs(j, i, g, scratch);
    else if (j->scaled[i])
        ranged_outputs(j, i, lo, hi, scratch);
    else if (rk_dtype_is_blocks(p->w->dtype))
        widened_outputs(j, i, lo, hi, scratch);
    else
        plain_outputs(j, i, lo, hi);
    go_on(j, i, task, g, scratch);
    if (j->read[i] && atomic_fetch_sub(j->missing[i], 1) == 1)
        bring_all(j, i, scratch);
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

static void scale_row(products_job *j, int i, int64_t row)
{
    const rk_product *p = &j->p[i];
    rk_ranges_scale(j->ctx->kernels, p->w->ranges, p->in, (const float *)p->x->data + row * p->in,
                    j->scaled[i] + row * rk_ranges_blocks(p->in), &j->sums[i][row]);
}

static void round_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    products_job *j = arg;
    (void)worker;
    for (int i = 0; i < j->n; i++)
        for (int64_t r = lo; r < rk_min_i64(hi, j->p[i].rows); r++)
            if (j->rounded[i])
                round_row(j, i, r);
            else if (j->scaled[i])
                scale_row(j, i, r);
}

/* Which products hang together, and what each waits for, counted in memory at `at`. */
static void hang_together(products_job *j, atomic_int *at)
{
    int awaited[RK_LINEARS_MAX] = {0};
    for (int i = 0; i < j->n; i++) {
        const rk_product *p = &j->p[i];
        j->joined[i] = j->read[i] = false;
        if (p->joins)
            j->joined[p->joins - 1] = true;
        if (p->reads) {
            j->read[p->reads - 1] = true;
            awaited[p->joins - 1]++;
        }
    }
    for (int i = 0; i < j->n; i++) {
        const int64_t out = j->p[i].out;
        j->missing[i] = at;
        if (j->joined[i])
            j->range[i] = rk_ceil_div(OUTPUTS_JOINED, j->outputs[i]) * j->outputs[i];
        if (j->read[i])
            atomic_init(at++, (int)j->tasks[i]);
        for (int64_t lo = 0; j->joined[i] && lo < out; lo += j->range[i])
            atomic_init(at++, (int)rk_ceil_div(rk_min_i64(out - lo, j->range[i]), j->outputs[i]) +
                                  awaited[i]);
    }
}

/* How product i is cut into tasks, and its part of the scratch at `at`; returns the bytes of that. */
static size_t cut(products_job *j, int i, char *at)
{
    const rk_ctx *ctx = j->ctx;
    const rk_product *p = &j->p[i];
    const size_t bytes = rounded_bytes(ctx, p), gathered = gathered_bytes(ctx, p);
    const size_t ranged = ranged_bytes(p);
    j->outputs[i] = gathered ? rk_dot8_outputs_at_once(p->w->packed, rk_pool_n_threads(ctx->pool))
                    : ctx->long_class ? OUTPUTS_LONG
                                      : OUTPUTS_SHORT;
    j->tasks[i] = p->joins ? 0 : rk_ceil_div(p->out, j->outputs[i]);
    j->rounded[i] = bytes ? (rk_x8 *)(void *)at : NULL;
    j->gathered_at[i] = gathered ? at + bytes : NULL;
    j->scaled[i] = ranged ? (rk_x29 *)(void *)at : NULL;
    j->sums[i] = ranged ? (rk_ranged_sums *)(void *)(at + scaled_bytes(p)) : NULL;
    j->apart[i] = bytes && !gathered && p->rows == 1 && !p->w->packed->columns;
    j->range[i] = j->tasks[i] * j->outputs[i];
    return bytes + gathered + ranged;
}

void rk_products_run(rk_ctx *ctx, const rk_product *p, int n, void *scratch)
{
    products_job j; /* large: what belongs to products that are not there is not cleared */
    char nothing;
    char *at = scratch ? scratch : &nothing; /* of which no byte is asked for then */
    int64_t tasks = 0, rows = 0;
    bool any = false;
    j.ctx = ctx;
    j.p = p;
    j.n = n;
    j.thread_bytes = most_thread_bytes(ctx, p, n);
    for (int i = 0; i < n; i++) {
        at += cut(&j, i, at);
        tasks += j.tasks[i];
        rows = rk_max_i64(rows, p[i].rows);
        any = any || j.rounded[i] || j.scaled[i];
    }
    hang_together(&j, (atomic_int *)(void *)at);
    j.scratch = at + counters_bytes(p, n);
    if (rows == 1)
        round_piece(&j, 0, 1, 0); /* cheaper than waking a thread */
    else if (any)
        rk_parallel(ctx, rows, RK_GRAIN_ROWS, round_piece, &j);
    rk_parallel(ctx, tasks, 1, outputs_task, &j);
}
