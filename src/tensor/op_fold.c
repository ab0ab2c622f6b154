/* op_fold.c: rows folded to a width, and rows repeated up to one: the fixed halves of block-affine
 * adapters (arXiv 2409.15371). Each is the other's gradient. */
#include <string.h>

#include "base/num.h"
#include "tensor/op.h"

typedef struct fold_job {
    const rk_kernels *kern;
    const rk_tensor *like; /* whose type the elements have */
    int64_t wide, narrow;  /* elements of a row */
    const void *from;
    void *to;
    bool clear; /* `to` holds nothing yet */
} fold_job;

/* to[i] += from[i]: for widths that a call of a kernel would cost more than. */
static void add(const fold_job *j, int64_t n, const void *from, void *to)
{
    if (j->like->dtype != RK_F32) {
        j->kern->axpy(n, 1.0, from, to);
        return;
    }
    float *y = to;
    const float *x = from;
    for (int64_t i = 0; i < n; i++)
        y[i] += x[i];
}

/* to[k] += the sum of those from[i] where i mod narrow is k. */
static void fold_rows(void *arg, int64_t lo, int64_t hi, int worker)
{
    const fold_job *j = arg;
    (void)worker;
    for (int64_t row = lo; row < hi; row++) {
        void *to = rk_at(j->like, j->to, row * j->narrow);
        if (j->clear)
            memset(to, 0, rk_reals(j->like, j->narrow));
        for (int64_t i = 0; i < j->wide; i += j->narrow)
            add(j, rk_min_i64(j->narrow, j->wide - i), rk_at(j->like, j->from, row * j->wide + i),
                to);
    }
}

/* to[i] += from[i mod narrow]. */
static void repeat_rows(void *arg, int64_t lo, int64_t hi, int worker)
{
    const fold_job *j = arg;
    (void)worker;
    for (int64_t row = lo; row < hi; row++)
        for (int64_t i = 0; i < j->wide; i += j->narrow) {
            const int64_t n = rk_min_i64(j->narrow, j->wide - i);
            const void *from = rk_at(j->like, j->from, row * j->narrow);
            void *to = rk_at(j->like, j->to, row * j->wide + i);
            if (j->clear)
                memcpy(to, from, rk_reals(j->like, n));
            else
                j->kern->axpy(n, 1.0, from, to);
        }
}

static void run(rk_ctx *ctx, const rk_tensor *wide, const rk_tensor *narrow, rk_range_fn *fn,
                const void *from, void *to, bool clear)
{
    fold_job j = {.kern = rk_ctx_kernels(ctx, wide->dtype),
                  .like = wide,
                  .wide = rk_tensor_cols(wide),
                  .narrow = rk_tensor_cols(narrow),
                  .from = from,
                  .to = to,
                  .clear = clear};
    if (from && to)
        rk_parallel(ctx, rk_tensor_rows(wide), RK_GRAIN_ROWS, fn, &j);
}

/* The output: the input's rows with other widths. */
static void resize(rk_ctx *ctx, rk_node *n)
{
    const rk_tensor *x = n->in[0];
    const int64_t width = *(const int64_t *)n->attr;
    int64_t dims[RK_MAX_DIMS];
    n->n_out = 1;
    if (!rk_expect_plain(ctx, n) ||
        !rk_expect(ctx, n, x->n_dims > 0 && width > 0, "rows, and a width of at least 1"))
        return;
    memcpy(dims, x->dims, sizeof dims);
    dims[x->n_dims - 1] = width;
    n->out[0] = rk_new(ctx, x->dtype, x->n_dims, dims);
}

static rk_tensor *resized(rk_ctx *ctx, const rk_op *op, rk_tensor *x, int64_t width)
{
    rk_node n = {.op = op, .n_in = 1, .in = {x}, .attr = &width};
    return rk_apply1(ctx, &n);
}

static void fold_forward(rk_ctx *ctx, rk_node *n)
{
    run(ctx, n->in[0], n->out[0], fold_rows, n->in[0]->data, n->out[0]->data, true);
}

static void fold_backward(rk_ctx *ctx, rk_node *n)
{
    bool fresh;
    void *dx = rk_grad_fresh(ctx, n->in[0], &fresh);
    run(ctx, n->in[0], n->out[0], repeat_rows, rk_grad(ctx, n->out[0]), dx, fresh);
}

const rk_op rk_op_fold = {
    .name = "fold",
    .shape = resize,
    .on[RK_CPU] = {fold_forward, fold_backward},
    .attr_bytes = sizeof(int64_t),
};

rk_tensor *rk_fold(rk_ctx *ctx, rk_tensor *x, int64_t width)
{
    return resized(ctx, &rk_op_fold, x, width);
}

static void repeat_forward(rk_ctx *ctx, rk_node *n)
{
    run(ctx, n->out[0], n->in[0], repeat_rows, n->in[0]->data, n->out[0]->data, true);
}

static void repeat_backward(rk_ctx *ctx, rk_node *n)
{
    bool fresh;
    void *dx = rk_grad_fresh(ctx, n->in[0], &fresh);
    run(ctx, n->out[0], n->in[0], fold_rows, rk_grad(ctx, n->out[0]), dx, fresh);
}

const rk_op rk_op_repeat = {
    .name = "repeat",
    .shape = resize,
    .on[RK_CPU] = {repeat_forward, repeat_backward},
    .attr_bytes = sizeof(int64_t),
};

rk_tensor *rk_repeat(rk_ctx *ctx, rk_tensor *x, int64_t width)
{
    return resized(ctx, &rk_op_repeat, x, width);
}
