/* op_rows.c: ops over the last dimension: softmax, L2 normalisation, layer and group norm. */
#include "base/num.h"
#include "tensor/op.h"

typedef struct rows_job {
    const rk_kernels *kern;
    const rk_node *n;
    int64_t rows, cols;
    void *dy, *dx, *dw, *db; /* gradients, where a direction needs them */
} rows_job;

static rows_job job_of(rk_ctx *ctx, const rk_node *n)
{
    return (rows_job){.kern = rk_ctx_kernels(ctx, n->in[0]->dtype),
                      .n = n,
                      .rows = rk_tensor_rows(n->in[0]),
                      .cols = rk_tensor_cols(n->in[0])};
}

static rows_job bwd_job_of(rk_ctx *ctx, const rk_node *n)
{
    rows_job j = job_of(ctx, n);
    j.dy = rk_grad(ctx, n->out[0]);
    j.dx = rk_grad(ctx, n->in[0]);
    return j;
}

static void rows_shape(rk_ctx *ctx, rk_node *n)
{
    n->n_out = 1;
    if (rk_expect_plain(ctx, n))
        n->out[0] = rk_new_like(ctx, n->in[0]);
}

/* ---- softmax and L2 normalisation: the gradient of one is a function of y, of the other of x ----
 */

void rk_rowwise_shape(rk_ctx *ctx, rk_node *n)
{
    rows_shape(ctx, n);
}

static void rowwise_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const rows_job *j = arg;
    const rk_tensor *x = j->n->in[0];
    const int64_t at = lo * j->cols;
    (void)worker;
    (j->n->op == RK_OP_SOFTMAX ? j->kern->softmax : j->kern->l2norm)(
        hi - lo, j->cols, rk_at(x, x->data, at), rk_at(x, j->n->out[0]->data, at));
}

void rk_rowwise_forward(rk_ctx *ctx, rk_node *n)
{
    rows_job j = job_of(ctx, n);
    rk_parallel(ctx, j.rows, RK_GRAIN_ROWS, rowwise_piece, &j);
}

static void rowwise_bwd_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const rows_job *j = arg;
    const bool softmax = j->n->op == RK_OP_SOFTMAX;
    const rk_tensor *t = softmax ? j->n->out[0] : j->n->in[0];
    const int64_t at = lo * j->cols;
    (void)worker;
    (softmax ? j->kern->softmax_bwd : j->kern->l2norm_bwd)(
        hi - lo, j->cols, rk_at(t, t->data, at), rk_at(t, j->dy, at), rk_at(t, j->dx, at));
}

void rk_rowwise_backward(rk_ctx *ctx, rk_node *n)
{
    rows_job j = bwd_job_of(ctx, n);
    rk_parallel(ctx, j.rows, RK_GRAIN_ROWS, rowwise_bwd_piece, &j);
}

rk_tensor *rk_softmax(rk_ctx *ctx, rk_tensor *x)
{
    rk_node n = {.op = RK_OP_SOFTMAX, .n_in = 1, .in = {x}};
    return rk_apply1(ctx, &n);
}

rk_tensor *rk_l2norm(rk_ctx *ctx, rk_tensor *x)
{
    rk_node n = {.op = RK_OP_L2NORM, .n_in = 1, .in = {x}};
    return rk_apply1(ctx, &n);
}

/* ---- layer and group norm: saved are mean and rstd of every group ---- */

void rk_norm_shape(rk_ctx *ctx, rk_node *n)
{
    const int64_t groups = n->attr.norm.groups, cols = rk_tensor_cols(n->in[0]);
    if (!rk_expect(ctx, n, n->in[1] && n->in[2], "weight and bias") || !rk_expect_plain(ctx, n) ||
        !rk_expect(ctx, n,
                   groups > 0 && cols % groups == 0 && rk_tensor_count(n->in[1]) == cols &&
                       rk_tensor_count(n->in[2]) == cols,
                   "weight and bias of the last dimension, which the groups divide"))
        return;
    n->saved_bytes = rk_reals(n->in[0], rk_tensor_rows(n->in[0]) * groups * 2);
    n->scratch_bwd_bytes = rk_reals(n->in[0], cols);
    rows_shape(ctx, n);
}

static void norm_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const rows_job *j = arg;
    const rk_node *n = j->n;
    const rk_tensor *x = n->in[0];
    const int64_t groups = n->attr.norm.groups;
    (void)worker;
    j->kern->norm(hi - lo, groups, j->cols / groups, rk_at(x, x->data, lo * j->cols),
                  n->in[1]->data, n->in[2]->data, n->attr.norm.eps,
                  rk_at(x, n->out[0]->data, lo * j->cols), rk_at(x, n->saved, lo * groups * 2));
}

void rk_norm_forward(rk_ctx *ctx, rk_node *n)
{
    rows_job j = job_of(ctx, n);
    rk_parallel(ctx, j.rows, RK_GRAIN_ROWS, norm_piece, &j);
}

static void norm_bwd_x_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const rows_job *j = arg;
    const rk_node *n = j->n;
    const rk_tensor *x = n->in[0];
    const int64_t groups = n->attr.norm.groups, at = lo * j->cols;
    (void)worker;
    j->kern->norm_bwd_x(hi - lo, groups, j->cols / groups, rk_at(x, x->data, at), n->in[1]->data,
                        rk_at(x, n->saved, lo * groups * 2), rk_at(x, j->dy, at),
                        rk_at(x, j->dx, at));
}

static void norm_bwd_w_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const rows_job *j = arg;
    const rk_node *n = j->n;
    const int64_t groups = n->attr.norm.groups;
    (void)worker;
    j->kern->norm_bwd_w(j->rows, groups, j->cols / groups, lo, hi, n->in[0]->data, n->saved, j->dy,
                        j->dw, j->db);
}

void rk_norm_backward(rk_ctx *ctx, rk_node *n)
{
    rows_job j = bwd_job_of(ctx, n);
    j.dw = rk_grad_or(ctx, n->in[1], n->scratch);
    j.db = rk_grad_or(ctx, n->in[2], n->scratch);
    if (j.dx)
        rk_parallel(ctx, j.rows, RK_GRAIN_ROWS, norm_bwd_x_piece, &j);
    if (j.dw != n->scratch || j.db != n->scratch)
        rk_parallel(ctx, j.cols, RK_GRAIN_COLS, norm_bwd_w_piece, &j);
}

rk_tensor *rk_norm(rk_ctx *ctx, rk_tensor *x, rk_tensor *w, rk_tensor *b, int64_t groups,
                   double eps)
{
    rk_node n = {.op = RK_OP_NORM, .n_in = 3, .in = {x, w, b}};
    n.attr.norm.groups = groups;
    n.attr.norm.eps = eps;
    return rk_apply1(ctx, &n);
}
