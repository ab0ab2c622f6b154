/* op_previous.c: the row before each row, for mixes that look at it as a whole. */
#include <string.h>

#include "tensor/op.h"
#include "tensor/runs.h"

/* in x (B,T,C), shift (B,C); out (B,T,C) */

static void previous_shape(rk_ctx *ctx, rk_node *n)
{
    const rk_tensor *x = n->in[0], *shift = n->in[1];
    const bool ok = x->n_dims == 3 && shift && shift->n_dims == 2 && shift->dims[0] == x->dims[0] &&
                    shift->dims[1] == x->dims[2];
    if (!rk_expect_plain(ctx, n) || !rk_expect(ctx, n, ok, "(B,T,C) and (B,C)"))
        return;
    n->n_out = 1;
    n->out[0] = rk_new_like(ctx, x);
}

typedef struct previous_job {
    const rk_ctx *ctx;
    const rk_node *n;
    const rk_kernels *kern;
    int64_t steps, width;
    const void *dy;
    void *dx, *dshift; /* may be NULL */
} previous_job;

static previous_job job_of(const rk_ctx *ctx, const rk_node *n)
{
    const rk_tensor *x = n->in[0];
    return (previous_job){.ctx = ctx,
                          .n = n,
                          .kern = rk_ctx_kernels(ctx, x->dtype),
                          .steps = x->dims[1],
                          .width = x->dims[2]};
}

static void forward_rows(void *arg, int64_t lo, int64_t hi, int worker)
{
    const previous_job *j = arg;
    const rk_tensor *x = j->n->in[0];
    const int64_t c = j->width;
    (void)worker;
    for (int64_t b = lo; b < hi; b++) {
        const int32_t *begins = rk_begins_of(j->ctx, b, j->steps);
        for (int64_t from = 0, to; from < j->steps; from = to) {
            to = rk_sequence_end(begins, from, j->steps);
            const int64_t at = (b * j->steps + from) * c;
            char *out = rk_at(x, j->n->out[0]->data, at);
            memcpy(out, rk_at(x, j->n->in[1]->data, b * c), rk_reals(x, c));
            memcpy(out + rk_reals(x, c), rk_at(x, x->data, at), rk_reals(x, (to - from - 1) * c));
        }
    }
}

static void previous_forward(rk_ctx *ctx, rk_node *n)
{
    previous_job j = job_of(ctx, n);
    rk_parallel(ctx, n->in[0]->dims[0], 1, forward_rows, &j);
}

static void backward_rows(void *arg, int64_t lo, int64_t hi, int worker)
{
    const previous_job *j = arg;
    const rk_tensor *x = j->n->in[0];
    const int64_t c = j->width;
    (void)worker;
    for (int64_t b = lo; b < hi; b++) {
        const int32_t *begins = rk_begins_of(j->ctx, b, j->steps);
        for (int64_t from = 0, to; from < j->steps; from = to) {
            to = rk_sequence_end(begins, from, j->steps);
            const int64_t at = (b * j->steps + from) * c;
            if (j->dshift)
                j->kern->axpy(c, 1.0, rk_at(x, j->dy, at), rk_at(x, j->dshift, b * c));
            if (j->dx)
                j->kern->axpy((to - from - 1) * c, 1.0, rk_at(x, j->dy, at + c),
                              rk_at(x, j->dx, at));
        }
    }
}

static void previous_backward(rk_ctx *ctx, rk_node *n)
{
    previous_job j = job_of(ctx, n);
    j.dy = rk_grad(ctx, n->out[0]);
    j.dx = rk_grad(ctx, n->in[0]);
    j.dshift = rk_grad(ctx, n->in[1]);
    rk_parallel(ctx, n->in[0]->dims[0], 1, backward_rows, &j);
}

const rk_op rk_op_previous = {
    .name = "previous",
    .shape = previous_shape,
    .on[RK_CPU] = {previous_forward, previous_backward},
};

rk_tensor *rk_previous(rk_ctx *ctx, rk_tensor *x, rk_tensor *shift)
{
    rk_node n = {.op = &rk_op_previous, .n_in = 2, .in = {x, shift}};
    return rk_apply1(ctx, &n);
}
