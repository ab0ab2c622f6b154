/* op_product.c: matmul, row_matmul and embedding.
 *
 * Products are always packed ones (gemm.h), in both directions. */
#include <string.h>

#include "base/num.h"
#include "tensor/factor.h"

/* ---- matmul: a product per batch entry ---- */

/* The last two dimensions of a view, at batch entry i. */
static rk_matrix batch_matrix(const rk_tensor *t, const void *data, int64_t i)
{
    const int d = t->n_dims;
    int64_t at = 0;
    for (int b = d - 3; b >= 0; b--) {
        at += i % t->dims[b] * t->strides[b];
        i /= t->dims[b];
    }
    return (rk_matrix){rk_at(t, data, at), t->dtype, t->strides[d - 2], t->strides[d - 1]};
}

static rk_matrix transposed(rk_matrix m)
{
    return (rk_matrix){m.data, m.dtype, m.col_stride, m.row_stride};
}

static bool has_unit_stride(const rk_tensor *t)
{
    return t->strides[t->n_dims - 1] == 1 || t->strides[t->n_dims - 2] == 1;
}

static void matmul_shape(rk_ctx *ctx, rk_node *n)
{
    const rk_tensor *a = n->in[0], *b = n->in[1];
    const int d = a->n_dims;
    int64_t dims[RK_MAX_DIMS];
    bool ok = b && d >= 2 && b->n_dims == d && a->dtype == b->dtype &&
              (a->dtype == RK_F32 || a->dtype == RK_F64) && a->dims[d - 1] == b->dims[d - 2] &&
              has_unit_stride(a) && has_unit_stride(b);
    for (int i = 0; ok && i < d - 2; i++)
        ok = a->dims[i] == b->dims[i];
    if (!rk_expect(ctx, n, ok, "(batch..., M, K) and (batch..., K, N) of one real type"))
        return;
    memcpy(dims, a->dims, sizeof dims);
    dims[d - 1] = b->dims[d - 1];
    const int64_t m = a->dims[d - 2], k = a->dims[d - 1], c = dims[d - 1];
    const size_t da =
        rk_gemm_scratch_on(ctx, a->dtype, (rk_gemm_shape){rk_max_i64(m, k), rk_max_i64(m, k), c});
    const size_t db =
        rk_gemm_scratch_on(ctx, a->dtype, (rk_gemm_shape){rk_max_i64(k, c), rk_max_i64(k, c), m});
    n->scratch_bytes = rk_gemm_scratch_on(ctx, a->dtype, (rk_gemm_shape){m, c, k});
    n->scratch_bwd_bytes = da > db ? da : db;
    n->n_out = 1;
    n->out[0] = rk_new(ctx, a->dtype, d, dims);
}

static int64_t batches(const rk_tensor *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->n_dims - 2; i++)
        n *= t->dims[i];
    return n;
}

/* C += A B into a strided view: where its columns are dense, as the transposed product. */
static void product_into(rk_ctx *ctx, const rk_node *node, rk_gemm_shape s, rk_matrix a,
                         rk_matrix b, rk_matrix c, void *data, bool accumulate)
{
    const rk_dtype real = node->in[0]->dtype;
    if (c.col_stride == 1)
        rk_gemm_on(ctx, real, node->scratch, s, a, b, data, c.row_stride, accumulate);
    else
        rk_gemm_on(ctx, real, node->scratch, (rk_gemm_shape){s.n, s.m, s.k}, transposed(b),
                   transposed(a), data, c.col_stride, accumulate);
}

static void matmul_forward(rk_ctx *ctx, rk_node *n)
{
    const rk_tensor *a = n->in[0], *b = n->in[1], *c = n->out[0];
    const int d = a->n_dims;
    const rk_gemm_shape s = {a->dims[d - 2], b->dims[d - 1], a->dims[d - 1]};
    for (int64_t i = 0; i < batches(a); i++)
        rk_gemm_on(ctx, a->dtype, n->scratch, s, batch_matrix(a, a->data, i),
                   batch_matrix(b, b->data, i), rk_at(c, c->data, i * s.m * s.n), s.n, false);
}

/* Where batch entry i of a view's gradient begins. */
static void *batch_grad(const rk_tensor *t, void *grad, int64_t i)
{
    const size_t at = (size_t)((const unsigned char *)batch_matrix(t, grad, i).data -
                               (const unsigned char *)grad);
    return (unsigned char *)grad + at;
}

static void matmul_backward(rk_ctx *ctx, rk_node *n)
{
    const rk_tensor *a = n->in[0], *b = n->in[1], *c = n->out[0];
    const int d = a->n_dims;
    const int64_t m = a->dims[d - 2], k = a->dims[d - 1], cols = b->dims[d - 1];
    void *dc = rk_grad(ctx, n->out[0]), *da = rk_grad(ctx, n->in[0]), *db = rk_grad(ctx, n->in[1]);
    for (int64_t i = 0; i < batches(a); i++) {
        const rk_matrix ma = batch_matrix(a, a->data, i), mb = batch_matrix(b, b->data, i);
        const rk_matrix mc = batch_matrix(c, dc, i);
        if (da)
            product_into(ctx, n, (rk_gemm_shape){m, k, cols}, mc, transposed(mb), ma,
                         batch_grad(a, da, i), true);
        if (db)
            product_into(ctx, n, (rk_gemm_shape){k, cols, m}, transposed(ma), mc, mb,
                         batch_grad(b, db, i), true);
    }
}

const rk_op rk_op_matmul = {
    .name = "matmul",
    .shape = matmul_shape,
    .on[RK_CPU] = {matmul_forward, matmul_backward},
};

rk_tensor *rk_matmul(rk_ctx *ctx, rk_tensor *a, rk_tensor *b)
{
    rk_node n = {.op = &rk_op_matmul, .n_in = 2, .in = {a, b}};
    return rk_apply1(ctx, &n);
}

/* ---- row_matmul: small products, one a row ---- */

static double real_at(const rk_tensor *t, int64_t i)
{
    return t->dtype == RK_F64 ? ((const double *)t->data)[i] : (double)((const float *)t->data)[i];
}

typedef struct row_matmul_job {
    const rk_kernels *kern;
    const rk_node *n;
    int64_t in, out;
    void *dy, *dx, *dm;
} row_matmul_job;

static row_matmul_job row_matmul_job_of(rk_ctx *ctx, const rk_node *n)
{
    const rk_tensor *x = n->in[0];
    return (row_matmul_job){.kern = rk_ctx_kernels(ctx, x->dtype),
                            .n = n,
                            .in = rk_tensor_cols(x),
                            .out = rk_tensor_cols(n->out[0])};
}

static void row_matmul_shape(rk_ctx *ctx, rk_node *n)
{
    const rk_tensor *x = n->in[0], *m = n->in[1];
    int64_t dims[RK_MAX_DIMS];
    const int last = x->n_dims - 1;
    bool ok = m && last >= 0 && m->n_dims == x->n_dims && m->dims[last] % x->dims[last] == 0;
    for (int d = 0; ok && d < last; d++)
        ok = m->dims[d] == x->dims[d];
    if (!rk_expect(ctx, n, ok, "(..., K) and (..., K N)") || !rk_expect_plain(ctx, n))
        return;
    memcpy(dims, x->dims, sizeof dims);
    dims[last] = m->dims[last] / x->dims[last];
    n->n_out = 1;
    n->out[0] = rk_new(ctx, x->dtype, x->n_dims, dims);
}

static void row_matmul_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const row_matmul_job *j = arg;
    const rk_tensor *x = j->n->in[0], *m = j->n->in[1], *y = j->n->out[0];
    (void)worker;
    for (int64_t r = lo; r < hi; r++)
        j->kern->gemv_axpy(1, j->out, j->in, rk_at(x, x->data, r * j->in), j->in,
                           rk_at(m, m->data, r * j->in * j->out), m->dtype, j->out,
                           rk_at(y, y->data, r * j->out), j->out, false);
}

static void row_matmul_forward(rk_ctx *ctx, rk_node *n)
{
    row_matmul_job j = row_matmul_job_of(ctx, n);
    rk_parallel(ctx, rk_tensor_rows(n->in[0]), RK_GRAIN_ROWS, row_matmul_piece, &j);
}

static void row_matmul_bwd_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const row_matmul_job *j = arg;
    const rk_tensor *x = j->n->in[0], *m = j->n->in[1];
    (void)worker;
    for (int64_t r = lo; r < hi; r++) {
        const int64_t at = r * j->in * j->out;
        const void *dy = rk_at(x, j->dy, r * j->out);
        if (j->dx)
            j->kern->gemv_dot(1, j->in, j->out, dy, j->out, rk_at(m, m->data, at), m->dtype, j->out,
                              rk_at(x, j->dx, r * j->in), j->in, true);
        for (int64_t i = 0; j->dm && i < j->in; i++)
            j->kern->axpy(j->out, real_at(x, r * j->in + i), dy, rk_at(m, j->dm, at + i * j->out));
    }
}

static void row_matmul_backward(rk_ctx *ctx, rk_node *n)
{
    row_matmul_job j = row_matmul_job_of(ctx, n);
    j.dy = rk_grad(ctx, n->out[0]);
    j.dx = rk_grad(ctx, n->in[0]);
    j.dm = rk_grad(ctx, n->in[1]);
    rk_parallel(ctx, rk_tensor_rows(n->in[0]), RK_GRAIN_ROWS, row_matmul_bwd_piece, &j);
}

const rk_op rk_op_row_matmul = {
    .name = "row_matmul",
    .shape = row_matmul_shape,
    .on[RK_CPU] = {row_matmul_forward, row_matmul_backward},
};

rk_tensor *rk_row_matmul(rk_ctx *ctx, rk_tensor *x, rk_tensor *m)
{
    rk_node n = {.op = &rk_op_row_matmul, .n_in = 2, .in = {x, m}};
    return rk_apply1(ctx, &n);
}

/* ---- embedding ---- */

static bool is_rows_of_blocks(const rk_tensor *table)
{
    return rk_dtype_is_blocks(table->dtype) && table->dims[1] % rk_dtype_block(table->dtype) == 0;
}

static void embedding_shape(rk_ctx *ctx, rk_node *n)
{
    const rk_tensor *table = n->in[0], *ids = n->in[1];
    int64_t dims[RK_MAX_DIMS];
    if (!rk_expect(ctx, n,
                   ids && table->n_dims == 2 && ids->n_dims < RK_MAX_DIMS && ids->dtype == RK_I32 &&
                       rk_tensor_is_contiguous(ids) && rk_tensor_is_contiguous(table) &&
                       (rk_is_float(table->dtype) || table->dtype == RK_F64 || table->ranges ||
                        is_rows_of_blocks(table)),
                   "a table and i32 ids"))
        return;
    memcpy(dims, ids->dims, sizeof dims);
    dims[ids->n_dims] = table->dims[1];
    n->n_out = 1;
    n->out[0] = rk_new(ctx, table->dtype == RK_F64 ? RK_F64 : RK_F32, ids->n_dims + 1, dims);
}

static bool are_ids(rk_ctx *ctx, const rk_tensor *ids, int64_t n_rows)
{
    for (int64_t i = 0; i < rk_tensor_count(ids); i++) {
        const int32_t id = ((const int32_t *)ids->data)[i];
        if (id < 0 || id >= n_rows) {
            rk_ctx_fail(ctx, RK_ERR_ARG, "token %lld is %d: expected 0 to %lld", (long long)i, id,
                        (long long)n_rows - 1);
            return false;
        }
    }
    return true;
}

static void embedding_forward(rk_ctx *ctx, rk_node *n)
{
    const rk_tensor *table = n->in[0], *ids = n->in[1], *y = n->out[0];
    const int64_t c = table->dims[1];
    const rk_factor rows = rk_factor_of(table, RK_OUT_IN);
    if (!are_ids(ctx, ids, table->dims[0]))
        return;
    for (int64_t i = 0; i < rk_tensor_count(ids); i++) {
        const rk_factor row = rk_factor_part(&rows, ((const int32_t *)ids->data)[i], 1);
        void *out = rk_at(y, y->data, i * c);
        if (rk_dtype_is_quantised(table->dtype))
            rk_factor_widen(&row, out);
        else
            rk_ctx_kernels(ctx, y->dtype)->widen(c, row.data, table->dtype, out);
    }
}

typedef struct scatter_job {
    const rk_kernels *kern;
    const rk_node *n;
    void *dy, *dtable;
} scatter_job;

/* Channels [lo, hi) of every token, in order. */
static void scatter_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const scatter_job *j = arg;
    const rk_tensor *y = j->n->out[0], *ids = j->n->in[1];
    const int64_t c = j->n->in[0]->dims[1];
    (void)worker;
    for (int64_t i = 0; i < rk_tensor_count(ids); i++)
        j->kern->axpy(hi - lo, 1.0, rk_at(y, j->dy, i * c + lo),
                      rk_at(y, j->dtable, ((const int32_t *)ids->data)[i] * c + lo));
}

static void embedding_backward(rk_ctx *ctx, rk_node *n)
{
    scatter_job job = {rk_ctx_kernels(ctx, n->out[0]->dtype), n, rk_grad(ctx, n->out[0]),
                       rk_grad(ctx, n->in[0])};
    if (job.dtable)
        rk_parallel(ctx, n->in[0]->dims[1], RK_GRAIN_COLS, scatter_piece, &job);
}

const rk_op rk_op_embedding = {
    .name = "embedding",
    .shape = embedding_shape,
    .on[RK_CPU] = {embedding_forward, embedding_backward},
};

rk_tensor *rk_embedding(rk_ctx *ctx, rk_tensor *table, rk_tensor *ids)
{
    rk_node n = {.op = &rk_op_embedding, .n_in = 2, .in = {table, ids}};
    return rk_apply1(ctx, &n);
}
