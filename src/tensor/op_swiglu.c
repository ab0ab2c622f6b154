/* op_swiglu.c: the gate of a channel mix, silu(gate) up, in one pass over memory (Shazeer 2020, arXiv
 * 2002.05202). */
#include "tensor/op.h"

static void swiglu_shape(rk_ctx *ctx, rk_node *n)
{
    n->n_out = 1;
    if (rk_expect(ctx, n, n->in[1] && rk_tensor_same_shape(n->in[0], n->in[1]), "one shape") &&
        rk_expect_plain(ctx, n))
        n->out[0] = rk_new_like(ctx, n->in[0]);
}

typedef struct swiglu_job {
    const rk_kernels *kern;
    const rk_node *n;
    const void *dy;
    rk_grad_rows dgate, dup;
} swiglu_job;

static void swiglu_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const swiglu_job *j = arg;
    const rk_tensor *gate = j->n->in[0];
    (void)worker;
    j->kern->swiglu(hi - lo, rk_at(gate, gate->data, lo), rk_at(gate, j->n->in[1]->data, lo),
                    rk_at(gate, j->n->out[0]->data, lo));
}

static void swiglu_forward(rk_ctx *ctx, rk_node *n)
{
    swiglu_job j = {.kern = rk_ctx_kernels(ctx, n->in[0]->dtype), .n = n};
    rk_parallel(ctx, rk_tensor_count(n->in[0]), RK_GRAIN_FLAT, swiglu_piece, &j);
}

static void swiglu_bwd_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const swiglu_job *j = arg;
    const rk_tensor *gate = j->n->in[0];
    (void)worker;
    j->kern->swiglu_bwd(hi - lo, rk_at(gate, gate->data, lo), rk_at(gate, j->n->in[1]->data, lo),
                        rk_at(gate, j->dy, lo), rk_grad_rows_at(&j->dgate, lo, hi),
                        rk_grad_rows_at(&j->dup, lo, hi));
}

static void swiglu_backward(rk_ctx *ctx, rk_node *n)
{
    const int64_t count = rk_tensor_count(n->in[0]);
    swiglu_job j = {.kern = rk_ctx_kernels(ctx, n->in[0]->dtype), .n = n};
    j.dy = rk_grad(ctx, n->out[0]);
    j.dgate = rk_grad_rows_of(ctx, n->in[0], count, NULL);
    j.dup = n->in[1] == n->in[0] ? j.dgate : rk_grad_rows_of(ctx, n->in[1], count, NULL);
    rk_parallel(ctx, count, RK_GRAIN_FLAT, swiglu_bwd_piece, &j);
}

const rk_op rk_op_swiglu = {
    .name = "swiglu",
    .shape = swiglu_shape,
    .on[RK_CPU] = {swiglu_forward, swiglu_backward},
};

rk_tensor *rk_swiglu(rk_ctx *ctx, rk_tensor *gate, rk_tensor *up)
{
    rk_node n = {.op = &rk_op_swiglu, .n_in = 2, .in = {gate, up}};
    return rk_apply1(ctx, &n);
}
