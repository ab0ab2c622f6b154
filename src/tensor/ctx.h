/* ctx.h: what an op needs to run: kernels, threads, memory, a tape, and the first error.
 *
 * Ops take a context first. After a failure the context holds the error and further ops do nothing
 * and return NULL, so model code reads like its equations and its caller checks once, with
 * rk_ctx_status. A context runs ops at once, records them on a tape as well, or only plans them:
 * shapes and bytes without data, from the same code. There are no globals; two contexts in one
 * process do not know each other. */
#ifndef RK_CTX_H
#define RK_CTX_H

#include "base/arena.h"
#include "base/pool.h"
#include "kernels/kernels.h"
#include "tensor/tensor.h"

typedef struct rk_node rk_node;

/* Where ops run: a column of their rows (op.h). */
typedef enum rk_backend { RK_CPU, RK_N_BACKENDS } rk_backend;

typedef struct rk_recurrence {
    const rk_tensor *r, *k, *v, *removal;
} rk_recurrence;

typedef struct rk_ctx {
    rk_backend backend;
    const rk_kernels *kernels; /* the f32 path; f64 always uses the reference */
    rk_pool *pool;
    const rk_dot8_kernels *dot8; /* packed weights meet activations in 8 bits; NULL: never */
    const atomic_int *abort;     /* non-zero: stop with RK_ERR_ABORTED; may be NULL */
    bool planning;               /* ops compute shapes and count bytes, nothing else */
    bool recording;              /* ops whose inputs need gradients go on the tape */
    bool recomputed;             /* in the forward of a segment that backward will run again */
    bool long_class; /* matrix products of the long class (packed), see docs/numerics.md */
    bool round_bf16; /* their operands are rounded to bf16 */
    uint64_t seed;   /* dropout draws are keyed by (seed, step, index, element) */
    uint64_t step;
    int64_t first_row; /* of this micro-batch in the whole batch: dropout counts from there */
    /* i32 (B, T): other than 0 where a sequence begins anew, from the states that its row was given.
     * What stands before it in the row does not reach it. NULL: a row is one sequence. Outlives the
     * tape. */
    rk_tensor *begins;
    const struct rk_adapting
        *adapting; /* of this forward (weight.h); NULL: none. Outlives the tape */
    rk_arena meta; /* tensors and tape nodes: small, grows, kept across resets */
    rk_arena data; /* elements, gradients, scratch */
    rk_node *tape; /* the newest node */
    /* Shown the weight and the input of each rk_linear before it is computed; may be NULL. */
    void (*observe)(void *user, const rk_tensor *w, const rk_tensor *x);
    void *observe_user;
    /* Shown what each recurrence of RWKV-5 to -7 reads, (B,T,H,N) each, before it is computed, layer by
     * layer; may be NULL. rates, the iclr, and removal, -kk, are RWKV-7's. */
    void (*watch)(void *user, int64_t layer, const rk_recurrence *x);
    void *watch_user;
    int64_t layer;     /* whose block runs, for those who watch */
    double loss_share; /* in the backward pass: its seed, what a position's loss counts */
    rk_error err;      /* the first error */
} rk_ctx;

typedef struct rk_ctx_params {
    const rk_kernels *kernels;
    rk_pool *pool;
    const atomic_int *abort;
    rk_arena_kind data_kind;     /* COUNTING makes a planning context */
    size_t data_bytes;           /* of a FIXED data arena */
    const rk_dot8_kernels *dot8; /* as in rk_ctx */
} rk_ctx_params;

rk_status rk_ctx_init(rk_ctx *ctx, const rk_ctx_params *p, rk_error *err);
void rk_ctx_deinit(rk_ctx *ctx);
/* Forget all tensors, the tape and the error; memory is kept. */
void rk_ctx_reset(rk_ctx *ctx);
/* Copies the first error out. */
rk_status rk_ctx_status(const rk_ctx *ctx, rk_error *err);
static inline bool rk_ctx_failed(const rk_ctx *ctx)
{
    return ctx->err.code != RK_OK;
}
/* Record an error unless there is one already. */
void rk_ctx_fail(rk_ctx *ctx, rk_status code, const char *fmt, ...) RK_PRINTF(3, 4);

/* Show a recurrence to whoever watches: once, where a segment runs twice. */
static inline void rk_ctx_watch(rk_ctx *ctx, const rk_recurrence *x)
{
    if (ctx->watch && !ctx->planning && !ctx->recomputed && !rk_ctx_failed(ctx))
        ctx->watch(ctx->watch_user, ctx->layer, x);
}

/* The kernels for tensors of this dtype. */
static inline const rk_kernels *rk_ctx_kernels(const rk_ctx *ctx, rk_dtype dtype)
{
    return dtype == RK_F64 ? &rk_kernels_ref_f64 : ctx->kernels;
}

/* A tensor with memory that is not cleared; NULL after a failure. */
rk_tensor *rk_new(rk_ctx *ctx, rk_dtype dtype, int n_dims, const int64_t *dims);
rk_tensor *rk_new_like(rk_ctx *ctx, const rk_tensor *t);
/* States that lie with their streams, f32; and one for what follows on state t: where t lies with
 * its streams, so does that. */
rk_tensor *rk_new_streams(rk_ctx *ctx, int n_dims, const int64_t *dims, rk_streams where);
rk_tensor *rk_new_growing(rk_ctx *ctx, int n_dims, const int64_t *dims, rk_growing where);
rk_tensor *rk_new_state_like(rk_ctx *ctx, const rk_tensor *t);
rk_tensor *rk_new_zeros(rk_ctx *ctx, rk_dtype dtype, int n_dims, const int64_t *dims);
/* 64-byte aligned memory from the data arena; NULL while planning and after a failure. */
void *rk_ctx_alloc(rk_ctx *ctx, size_t bytes);

/* The gradient of t, with t's strides, zeroed when it is first asked for. NULL when t needs none,
 * while planning, and after a failure. */
void *rk_grad(rk_ctx *ctx, rk_tensor *t);
/* The same without the zeros: *fresh says that nothing was added to it yet, and the caller then
 * writes every element. The first pass over a gradient is saved where its writer can begin it. */
void *rk_grad_fresh(rk_ctx *ctx, rk_tensor *t, bool *fresh);
/* Only the memory, and that nothing was written to it. */
void rk_grad_make(rk_ctx *ctx, rk_tensor *t);
/* What was written to the gradient of t, a root, counts no more. */
void rk_grad_forget(rk_tensor *t);

/* Run fn(arg, lo, hi, worker) over [0, n) cut into pieces of `grain`: the cut depends on n and
 * grain alone. An abort becomes the context's error. */
typedef void rk_range_fn(void *arg, int64_t lo, int64_t hi, int worker);
void rk_parallel(rk_ctx *ctx, int64_t n, int64_t grain, rk_range_fn *fn, void *arg);
/* The same, but an abort waits until all pieces are done. */
void rk_parallel_whole(rk_ctx *ctx, int64_t n, int64_t grain, rk_range_fn *fn, void *arg);

#endif
