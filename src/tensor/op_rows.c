/* op_rows.c: ops over the last dimension: softmax, L2 normalisation, layer, group and RMS norm. */
#include <string.h>

#include "base/num.h"
#include "tensor/row_pieces.h"

typedef struct rows_job {
    const rk_kernels *kern;
    const rk_node *n;
    int64_t rows, cols;
    const void *dy; /* of backward */
    rk_grad_rows dx;
    rk_row_pieces pieces; /* their sums for dw and db */
    void *dw, *db;
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
    j.dx = rk_grad_rows_of(ctx, n->in[0], j.rows, NULL);
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

static void rowwise_shape(rk_ctx *ctx, rk_node *n)
{
    rows_shape(ctx, n);
}

static void rowwise_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const rows_job *j = arg;
    const rk_tensor *x = j->n->in[0];
    const int64_t at = lo * j->cols;
    (void)worker;
    (j->n->op == &rk_op_softmax ? j->kern->softmax : j->kern->l2norm)(
        hi - lo, j->cols, rk_at(x, x->data, at), rk_at(x, j->n->out[0]->data, at));
}

static void rowwise_forward(rk_ctx *ctx, rk_node *n)
{
    rows_job j = job_of(ctx, n);
    rk_parallel(ctx, j.rows, RK_GRAIN_ROWS, rowwise_piece, &j);
}

static void rowwise_bwd_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const rows_job *j = arg;
    const bool softmax = j->n->op == &rk_op_softmax;
    const rk_tensor *t = softmax ? j->n->out[0] : j->n->in[0];
    const int64_t at = lo * j->cols;
    (void)worker;
    (softmax ? j->kern->softmax_bwd : j->kern->l2norm_bwd)(hi - lo, j->cols, rk_at(t, t->data, at),
                                                           rk_at(t, j->dy, at),
                                                           rk_grad_rows_at(&j->dx, lo, hi));
}

static void rowwise_backward(rk_ctx *ctx, rk_node *n)
{
    rows_job j = bwd_job_of(ctx, n);
    rk_parallel(ctx, j.rows, RK_GRAIN_ROWS, rowwise_bwd_piece, &j);
}

const rk_op rk_op_softmax = {
    .name = "softmax",
    .shape = rowwise_shape,
    .on[RK_CPU] = {rowwise_forward, rowwise_backward},
};
const rk_op rk_op_l2norm = {
    .name = "l2norm",
    .shape = rowwise_shape,
    .on[RK_CPU] = {rowwise_forward, rowwise_backward},
};

rk_tensor *rk_softmax(rk_ctx *ctx, rk_tensor *x)
{
    rk_node n = {.op = &rk_op_softmax, .n_in = 1, .in = {x}};
    return rk_apply1(ctx, &n);
}

rk_tensor *rk_l2norm(rk_ctx *ctx, rk_tensor *x)
{
    rk_node n = {.op = &rk_op_l2norm, .n_in = 1, .in = {x}};
    return rk_apply1(ctx, &n);
}

/* ---- layer and group norm: saved are mean and rstd of every group ---- */

typedef struct norm_attr {
    int64_t groups;
    double eps;
} norm_attr;

static rk_row_pieces pieces_of(const rk_tensor *x)
{
    const int64_t rows = rk_tensor_rows(x);
    return rk_row_pieces_of(rows, x->n_dims > 2 ? x->dims[x->n_dims - 2] : rows);
}

static void norm_shape(rk_ctx *ctx, rk_node *n)
{
    const norm_attr *a = n->attr;
    const int64_t groups = a->groups, cols = rk_tensor_cols(n->in[0]);
    if (!rk_expect(ctx, n, n->in[1] && n->in[2], "weight and bias") || !rk_expect_plain(ctx, n) ||
        !rk_expect(ctx, n,
                   groups > 0 && cols % groups == 0 && rk_tensor_count(n->in[1]) == cols &&
                       rk_tensor_count(n->in[2]) == cols,
                   "weight and bias of the last dimension, which the groups divide"))
        return;
    n->saved_bytes = rk_reals(n->in[0], rk_tensor_rows(n->in[0]) * groups * 2);
    n->scratch_bwd_bytes = 2 * rk_reals(n->in[0], pieces_of(n->in[0]).n * cols);
    rows_shape(ctx, n);
}

static void norm_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const rows_job *j = arg;
    const rk_node *n = j->n;
    const rk_tensor *x = n->in[0];
    const norm_attr *a = n->attr;
    const int64_t groups = a->groups;
    (void)worker;
    j->kern->norm(hi - lo, groups, j->cols / groups, rk_at(x, x->data, lo * j->cols),
                  n->in[1]->data, n->in[2]->data, a->eps, rk_at(x, n->out[0]->data, lo * j->cols),
                  rk_at(x, n->saved, lo * groups * 2));
}

static void norm_forward(rk_ctx *ctx, rk_node *n)
{
    rows_job j = job_of(ctx, n);
    rk_parallel(ctx, j.rows, RK_GRAIN_ROWS, norm_piece, &j);
}

static void norm_bwd_piece(void *arg, int64_t i, int64_t end, int worker)
{
    const rows_job *j = arg;
    const rk_node *n = j->n;
    const rk_tensor *x = n->in[0];
    const int64_t groups = ((const norm_attr *)n->attr)->groups, size = j->cols / groups;
    int64_t lo, hi;
    (void)end;
    (void)worker;
    rk_row_piece_at(&j->pieces, i, &lo, &hi);
    const void *xs = rk_at(x, x->data, lo * j->cols), *dy = rk_at(x, j->dy, lo * j->cols);
    const void *stats = rk_at(x, n->saved, lo * groups * 2);
    void *dx = rk_grad_rows_at(&j->dx, lo, hi);
    if (dx)
        j->kern->norm_bwd_x(hi - lo, groups, size, xs, n->in[1]->data, stats, dy, dx);
    void *dw = rk_at(x, j->dw, i * j->cols), *db = rk_at(x, j->db, i * j->cols);
    memset(dw, 0, rk_reals(x, j->cols));
    memset(db, 0, rk_reals(x, j->cols));
    j->kern->norm_bwd_w(hi - lo, groups, size, 0, j->cols, xs, stats, dy, dw, db);
}

static void norm_backward(rk_ctx *ctx, rk_node *n)
{
    const rk_tensor *x = n->in[0];
    rows_job j = bwd_job_of(ctx, n);
    /* Gradients are asked for before the first loop: after an abort there are none to be had. */
    void *dw = rk_grad(ctx, n->in[1]), *db = rk_grad(ctx, n->in[2]);
    j.pieces = pieces_of(x);
    j.dw = n->scratch;
    j.db = rk_at(x, n->scratch, j.pieces.n * j.cols);
    rk_parallel(ctx, j.pieces.n, 1, norm_bwd_piece, &j);
    rk_add_pieces(ctx, x, &j.pieces, j.cols, j.dw, dw);
    rk_add_pieces(ctx, x, &j.pieces, j.cols, j.db, db);
}

const rk_op rk_op_norm = {
    .name = "norm",
    .shape = norm_shape,
    .on[RK_CPU] = {norm_forward, norm_backward},
    .attr_bytes = sizeof(norm_attr),
};

rk_tensor *rk_norm(rk_ctx *ctx, rk_tensor *x, rk_tensor *w, rk_tensor *b, int64_t groups,
                   double eps)
{
    rk_node n = {.op = &rk_op_norm, .n_in = 3, .in = {x, w, b}, .attr = &(norm_attr){groups, eps}};
    return rk_apply1(ctx, &n);
}

/* ---- RMS norm: saved is rstd of every row ---- */

typedef struct rms_attr {
    double eps;
} rms_attr;

static void rms_shape(rk_ctx *ctx, rk_node *n)
{
    const int64_t cols = rk_tensor_cols(n->in[0]);
    if (!rk_expect(ctx, n, n->in[1] != NULL, "a weight") || !rk_expect_plain(ctx, n) ||
        !rk_expect(ctx, n, rk_tensor_count(n->in[1]) == cols, "a weight of the last dimension"))
        return;
    n->saved_bytes = rk_reals(n->in[0], rk_tensor_rows(n->in[0]));
    n->scratch_bwd_bytes = rk_reals(n->in[0], pieces_of(n->in[0]).n * cols);
    rows_shape(ctx, n);
}

static void rms_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const rows_job *j = arg;
    const rk_node *n = j->n;
    const rk_tensor *x = n->in[0];
    (void)worker;
    j->kern->rms_norm(hi - lo, j->cols, rk_at(x, x->data, lo * j->cols), n->in[1]->data,
                      ((const rms_attr *)n->attr)->eps, rk_at(x, n->out[0]->data, lo * j->cols),
                      rk_at(x, n->saved, lo));
}

static void rms_forward(rk_ctx *ctx, rk_node *n)
{
    rows_job j = job_of(ctx, n);
    rk_parallel(ctx, j.rows, RK_GRAIN_ROWS, rms_piece, &j);
}

static void rms_bwd_piece(void *arg, int64_t i, int64_t end, int worker)
{
    const rows_job *j = arg;
    const rk_node *n = j->n;
    const rk_tensor *x = n->in[0];
    int64_t lo, hi;
    (void)end;
    (void)worker;
    rk_row_piece_at(&j->pieces, i, &lo, &hi);
    const void *xs = rk_at(x, x->data, lo * j->cols), *dy = rk_at(x, j->dy, lo * j->cols);
    const void *stats = rk_at(x, n->saved, lo);
    void *dx = rk_grad_rows_at(&j->dx, lo, hi), *dw = rk_at(x, j->dw, i * j->cols);
    if (dx)
        j->kern->rms_norm_bwd_x(hi - lo, j->cols, xs, n->in[1]->data, stats, dy, dx);
    memset(dw, 0, rk_reals(x, j->cols));
    j->kern->rms_norm_bwd_w(hi - lo, j->cols, xs, stats, dy, dw);
}

static void rms_backward(rk_ctx *ctx, rk_node *n)
{
    rows_job j = bwd_job_of(ctx, n);
    void *dw = rk_grad(ctx, n->in[1]);
    j.pieces = pieces_of(n->in[0]);
    j.dw = n->scratch;
    rk_parallel(ctx, j.pieces.n, 1, rms_bwd_piece, &j);
    rk_add_pieces(ctx, n->in[0], &j.pieces, j.cols, j.dw, dw);
}

const rk_op rk_op_rms_norm = {
    .name = "rms_norm",
    .shape = rms_shape,
    .on[RK_CPU] = {rms_forward, rms_backward},
    .attr_bytes = sizeof(rms_attr),
};

rk_tensor *rk_rms_norm(rk_ctx *ctx, rk_tensor *x, rk_tensor *w, double eps)
{
    rk_node n = {.op = &rk_op_rms_norm, .n_in = 2, .in = {x, w}, .attr = &(rms_attr){eps}};
    return rk_apply1(ctx, &n);
}
