/* ctx.c: contexts, their memory and their threads. */
#include "tensor/ctx.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"

enum { META_BYTES = 64 * 1024 };

rk_status rk_ctx_init(rk_ctx *ctx, const rk_ctx_params *p, rk_error *err)
{
    *ctx = (rk_ctx){.kernels = p->kernels,
                    .pool = p->pool,
                    .dot8 = p->dot8,
                    .abort = p->abort,
                    .planning = p->data_kind == RK_ARENA_COUNTING};
    rk_status st = rk_arena_init(&ctx->meta, RK_ARENA_GROWING, META_BYTES, err);
    if (st != RK_OK)
        return st;
    st = rk_arena_init(&ctx->data, p->data_kind, p->data_bytes, err);
    if (st != RK_OK)
        rk_arena_deinit(&ctx->meta);
    return st;
}

void rk_ctx_deinit(rk_ctx *ctx)
{
    rk_arena_deinit(&ctx->meta);
    rk_arena_deinit(&ctx->data);
}

void rk_ctx_reset(rk_ctx *ctx)
{
    rk_arena_reset(&ctx->meta);
    rk_arena_reset(&ctx->data);
    ctx->tape = NULL;
    ctx->begins = NULL;
    ctx->adapting = NULL;
    ctx->err = (rk_error){0};
}

rk_status rk_ctx_status(const rk_ctx *ctx, rk_error *err)
{
    if (rk_ctx_failed(ctx) && err)
        *err = ctx->err;
    return ctx->err.code;
}

void rk_ctx_fail(rk_ctx *ctx, rk_status code, const char *fmt, ...)
{
    if (rk_ctx_failed(ctx))
        return;
    va_list args;
    va_start(args, fmt);
    vsnprintf(ctx->err.msg, sizeof ctx->err.msg, fmt, args);
    va_end(args);
    ctx->err.code = code;
}

void *rk_ctx_alloc(rk_ctx *ctx, size_t bytes)
{
    if (rk_ctx_failed(ctx))
        return NULL;
    void *p = rk_arena_alloc(&ctx->data, bytes);
    if (!p && !ctx->planning)
        rk_ctx_fail(ctx, RK_ERR_NOMEM, "out of memory: %zu bytes beyond the %zu in use", bytes,
                    ctx->data.used);
    return p;
}

/* Memory for what describes tensors; NULL after a failure. */
static void *new_description(rk_ctx *ctx, size_t bytes)
{
    if (rk_ctx_failed(ctx))
        return NULL;
    void *p = rk_arena_alloc(&ctx->meta, bytes);
    if (!p)
        rk_ctx_fail(ctx, RK_ERR_NOMEM, "out of memory for a tensor's description");
    return p;
}

rk_tensor *rk_new(rk_ctx *ctx, rk_dtype dtype, int n_dims, const int64_t *dims)
{
    rk_tensor *t = new_description(ctx, sizeof *t);
    if (!t)
        return NULL;
    *t = rk_tensor_over(dtype, n_dims, dims, NULL);
    t->data = rk_ctx_alloc(ctx, rk_tensor_bytes(t));
    return rk_ctx_failed(ctx) ? NULL : t;
}

rk_tensor *rk_new_streams(rk_ctx *ctx, int n_dims, const int64_t *dims, rk_streams where)
{
    rk_tensor *t = new_description(ctx, sizeof *t);
    rk_streams *streams = new_description(ctx, sizeof *streams);
    if (!t || !streams)
        return NULL;
    *streams = where;
    *t = rk_tensor_over(RK_F32, n_dims, dims, NULL);
    t->streams = streams;
    return t;
}

rk_tensor *rk_new_growing(rk_ctx *ctx, int n_dims, const int64_t *dims, rk_growing where)
{
    rk_tensor *t = new_description(ctx, sizeof *t);
    rk_growing *growing = new_description(ctx, sizeof *growing);
    if (!t || !growing)
        return NULL;
    *growing = where;
    *t = rk_tensor_over(RK_F32, n_dims, dims, NULL);
    t->growing = growing;
    return t;
}

rk_tensor *rk_new_state_like(rk_ctx *ctx, const rk_tensor *t)
{
    if (t && t->growing)
        return rk_new_growing(ctx, t->n_dims, t->dims, *t->growing);
    if (!t || !t->streams)
        return rk_new_like(ctx, t);
    const rk_streams *s = t->streams;
    return rk_new_streams(ctx, t->n_dims, t->dims, (rk_streams){s->to, s->to, s->offset});
}

rk_tensor *rk_new_like(rk_ctx *ctx, const rk_tensor *t)
{
    return t ? rk_new(ctx, t->dtype, t->n_dims, t->dims) : NULL;
}

rk_tensor *rk_new_zeros(rk_ctx *ctx, rk_dtype dtype, int n_dims, const int64_t *dims)
{
    rk_tensor *t = rk_new(ctx, dtype, n_dims, dims);
    if (t && t->data)
        memset(t->data, 0, rk_tensor_bytes(t));
    return t;
}

typedef struct range_job {
    rk_range_fn *fn;
    void *arg;
    int64_t n, grain;
} range_job;

static void range_task(void *arg, int64_t i, int worker)
{
    const range_job *j = arg;
    j->fn(j->arg, i * j->grain, rk_min_i64(j->n, (i + 1) * j->grain), worker);
}

void rk_parallel(rk_ctx *ctx, int64_t n, int64_t grain, rk_range_fn *fn, void *arg)
{
    if (rk_ctx_failed(ctx) || n <= 0)
        return;
    range_job job = {fn, arg, n, rk_max_i64(grain, 1)};
    rk_pool_run(ctx->pool, rk_ceil_div(n, job.grain), range_task, &job);
    if (ctx->abort && atomic_load_explicit(ctx->abort, memory_order_relaxed))
        rk_ctx_fail(ctx, RK_ERR_ABORTED, "stopped on request");
}

void rk_parallel_whole(rk_ctx *ctx, int64_t n, int64_t grain, rk_range_fn *fn, void *arg)
{
    if (rk_ctx_failed(ctx) || n <= 0)
        return;
    range_job job = {fn, arg, n, rk_max_i64(grain, 1)};
    rk_pool_run_whole(ctx->pool, rk_ceil_div(n, job.grain), range_task, &job);
}

/* ---- gradients: which parts of one were written to is kept for each entry of the root's first
 * dimension where these are few (mixes, sequences), else for the whole ---- */

enum { PARTS_MAX = 64, ZERO_GRAIN = 1 << 16 };

static int64_t parts_of(const rk_tensor *root)
{
    const int64_t n = root->n_dims > 0 ? root->dims[0] : 1;
    return n > 0 && n <= PARTS_MAX ? n : 1;
}

static uint64_t low_bits(int64_t n)
{
    return n >= PARTS_MAX ? ~(uint64_t)0 : ((uint64_t)1 << n) - 1;
}

/* The parts of root that a view lies in; *whole: it is made of them. */
static uint64_t parts_under(const rk_tensor *root, const rk_tensor *t, bool *whole)
{
    const int64_t n = parts_of(root), size = rk_tensor_count(root) / n, count = rk_tensor_count(t);
    *whole = size > 0 && rk_tensor_is_contiguous(t) && t->offset % size == 0 && count % size == 0;
    if (size == 0 || !rk_tensor_is_contiguous(t))
        return low_bits(n);
    return low_bits(rk_ceil_div(t->offset + count, size)) & ~low_bits(t->offset / size);
}

static void zero_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    (void)worker;
    memset((unsigned char *)arg + lo, 0, (size_t)(hi - lo));
}

static void zero_parts(rk_ctx *ctx, const rk_tensor *root, uint64_t parts)
{
    const int64_t n = parts_of(root), bytes = (int64_t)rk_tensor_bytes(root) / n;
    for (int64_t i = 0; i < n; i++)
        if (parts >> i & 1)
            rk_parallel_whole(ctx, bytes, ZERO_GRAIN, zero_piece,
                              (unsigned char *)root->grad + i * bytes);
}

static rk_tensor *root_of(rk_tensor *t)
{
    return t->base ? t->base : t;
}

void rk_grad_forget(rk_tensor *t)
{
    t->grad_unset = low_bits(parts_of(t));
}

void rk_grad_make(rk_ctx *ctx, rk_tensor *t)
{
    if (!t || !t->requires_grad || rk_ctx_failed(ctx))
        return;
    rk_tensor *root = root_of(t);
    if (root->dtype != RK_F32 && root->dtype != RK_F64) {
        rk_ctx_fail(ctx, RK_ERR_ARG,
                    "gradient of a %s tensor: expected f32 or f64; 'rwkv convert --type f32' "
                    "writes a model whose matrices can have one",
                    rk_dtype_name(root->dtype));
        return;
    }
    if (root->has_grad)
        return;
    root->grad = rk_ctx_alloc(ctx, rk_tensor_bytes(root));
    root->has_grad = true;
    rk_grad_forget(root);
}

void *rk_grad_fresh(rk_ctx *ctx, rk_tensor *t, bool *fresh)
{
    bool whole;
    *fresh = false;
    rk_grad_make(ctx, t);
    if (!t || !t->requires_grad || rk_ctx_failed(ctx) || !root_of(t)->grad)
        return NULL;
    rk_tensor *root = root_of(t);
    const uint64_t parts = parts_under(root, t, &whole), unset = root->grad_unset & parts;
    *fresh = whole && unset == parts;
    if (!*fresh)
        zero_parts(ctx, root, unset);
    root->grad_unset &= ~parts;
    return (unsigned char *)root->grad + (size_t)t->offset * rk_dtype_bytes(t->dtype);
}

void *rk_grad(rk_ctx *ctx, rk_tensor *t)
{
    bool fresh;
    unsigned char *grad = rk_grad_fresh(ctx, t, &fresh);
    if (fresh)
        rk_parallel_whole(ctx, (int64_t)rk_tensor_bytes(t), ZERO_GRAIN, zero_piece, grad);
    return grad;
}
