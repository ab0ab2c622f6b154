/* op_product.c: linear, matmul and embedding.
 *
 * Weights in blocks that are packed meet inputs in 8 bits (op_linears.c). Of the others, a linear
 * of the long class is a packed product (gemm.h); of the short class, at most 16 tokens of a
 * stream, each output is a sum of one fixed order whatever the number of rows (gemv). Gradients are
 * always packed products: of x with the weight, of the weight with one chain over the rows in
 * order, which makes a batch computed in pieces add up to the same bits. */
#include <string.h>

#include "base/num.h"
#include "kernels/blocks.h"
#include "kernels/gemm.h"
#include "tensor/op.h"

static size_t product_scratch(const rk_ctx *ctx, rk_dtype dtype, int64_t m, int64_t n, int64_t k)
{
    return rk_gemm_scratch(rk_ctx_kernels(ctx, dtype), rk_pool_n_threads(ctx->pool),
                           (rk_gemm_shape){m, n, k});
}

/* C (m,n) (+)= A B with the context's kernels, in the scratch of the node. */
static void product(rk_ctx *ctx, const rk_node *node, rk_gemm_shape s, rk_matrix a, rk_matrix b,
                    void *c, int64_t ldc, bool accumulate)
{
    const rk_dtype real = node->in[0]->dtype;
    rk_gemm(rk_ctx_kernels(ctx, real), ctx->pool, node->scratch, s, a, b, c, ldc, accumulate,
            ctx->round_bf16);
    if (ctx->abort && atomic_load_explicit(ctx->abort, memory_order_relaxed))
        rk_ctx_fail(ctx, RK_ERR_ABORTED, "stopped on request");
}

/* ---- linear ---- */

typedef struct linear_sizes {
    int64_t rows, in, out;
} linear_sizes;

static rk_layout layout_of(const rk_node *n)
{
    return *(const rk_layout *)n->attr;
}

static linear_sizes sizes_of(const rk_node *n)
{
    const bool out_in = layout_of(n) == RK_OUT_IN;
    return (linear_sizes){rk_tensor_rows(n->in[0]), n->in[1]->dims[out_in ? 1 : 0],
                          n->in[1]->dims[out_in ? 0 : 1]};
}

/* Does a row in memory hold the inputs of one output? */
static bool rows_are_outputs(const rk_node *n)
{
    return (layout_of(n) == RK_OUT_IN) != rk_is_transposed(n->in[1]);
}

/* The weight as (in, out), or transposed. */
static rk_matrix weight_of(const rk_node *n, bool transposed)
{
    const rk_tensor *w = n->in[1];
    const bool out_in = (layout_of(n) == RK_OUT_IN) != transposed;
    const int64_t rows = w->strides[out_in ? 1 : 0], cols = w->strides[out_in ? 0 : 1];
    return (rk_matrix){w->data, w->dtype, rows, cols};
}

/* The product as rk_products_run takes it. */
static rk_product product_of(const rk_node *n)
{
    const linear_sizes s = sizes_of(n);
    return (rk_product){.x = n->in[0],
                        .w = n->in[1],
                        .y = n->out[0],
                        .accumulate = n->in[2] != NULL,
                        .dots = rows_are_outputs(n),
                        .rows = s.rows,
                        .in = s.in,
                        .out = s.out,
                        .after = RK_UNARY_NONE};
}

/* Is it computed output by output? Else as a packed product of f32. */
static bool by_output(const rk_ctx *ctx, const rk_node *n)
{
    return !ctx->long_class || rk_product_is_8bit(ctx, n->in[0], n->in[1]);
}

/* ---- weights in blocks, inputs in f32: some rows at a time become floats, which are multiplied as
 * floats are, so the bits are those of the model in f32 ---- */

enum { BLOCK_ROWS = 256, WIDEN_ROWS = 16 };

static size_t widened_bytes(linear_sizes s)
{
    return rk_align_up((size_t)(BLOCK_ROWS * s.in) * sizeof(float), RK_ARENA_ALIGN);
}

typedef struct blocks_job {
    const rk_tensor *w;
    int64_t in, row0; /* the piece's first row */
    float *widened;
} blocks_job;

static void widen_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const blocks_job *j = arg;
    const size_t row_bytes =
        (size_t)(j->in / rk_dtype_block(j->w->dtype)) * rk_dtype_bytes(j->w->dtype);
    (void)worker;
    rk_blocks_widen(j->w->dtype, (hi - lo) * j->in,
                    (const char *)j->w->data + (size_t)(j->row0 + lo) * row_bytes,
                    j->widened + lo * j->in);
}

static void blocks_forward(rk_ctx *ctx, rk_node *n, linear_sizes s)
{
    const rk_tensor *x = n->in[0], *y = n->out[0];
    blocks_job j = {.w = n->in[1], .in = s.in};
    void *behind = (char *)n->scratch + product_scratch(ctx, RK_F32, s.rows, BLOCK_ROWS, s.in);
    j.widened = behind;
    for (; j.row0 < s.out && !rk_ctx_failed(ctx); j.row0 += BLOCK_ROWS) {
        const int64_t rows = rk_min_i64(BLOCK_ROWS, s.out - j.row0);
        rk_parallel(ctx, rows, WIDEN_ROWS, widen_piece, &j);
        product(ctx, n, (rk_gemm_shape){s.rows, rows, s.in}, (rk_matrix){x->data, RK_F32, s.in, 1},
                (rk_matrix){j.widened, RK_F32, 1, s.in}, (float *)y->data + j.row0, s.out,
                n->in[2] != NULL);
    }
}

static size_t forward_scratch(const rk_ctx *ctx, const rk_node *n, linear_sizes s)
{
    const rk_product p = product_of(n);
    if (by_output(ctx, n))
        return rk_products_scratch(ctx, &p, 1);
    if (rk_dtype_is_blocks(n->in[1]->dtype))
        return product_scratch(ctx, RK_F32, s.rows, BLOCK_ROWS, s.in) + widened_bytes(s);
    return product_scratch(ctx, n->in[0]->dtype, s.rows, s.out, s.in);
}

static void linear_shape(rk_ctx *ctx, rk_node *n)
{
    const rk_tensor *x = n->in[0], *w = n->in[1], *add = n->in[2];
    if (!rk_expect(ctx, n, w && w->n_dims == 2 && x->n_dims > 0, "an input and a matrix"))
        return;
    const linear_sizes s = sizes_of(n);
    const bool types = x->dtype == RK_F64 ? w->dtype == RK_F64
                                          : x->dtype == RK_F32 && (rk_is_float(w->dtype) ||
                                                                   rk_dtype_is_blocks(w->dtype));
    if (!rk_expect(ctx, n,
                   types && rk_tensor_is_contiguous(x) &&
                       (rk_tensor_is_contiguous(w) || (rk_is_transposed(w) && !w->requires_grad)),
                   "contiguous reals") ||
        !rk_expect(ctx, n, rk_tensor_cols(x) == s.in, "the weight's inputs in the last dimension"))
        return;
    if (rk_dtype_is_blocks(w->dtype) &&
        !rk_expect(ctx, n, rows_are_outputs(n) && s.in % rk_dtype_block(w->dtype) == 0,
                   "blocks along the inputs"))
        return;
    int64_t dims[RK_MAX_DIMS];
    memcpy(dims, x->dims, sizeof dims);
    dims[x->n_dims - 1] = s.out;
    n->n_out = 1;
    if (!n->out[0])
        n->out[0] = rk_new(ctx, x->dtype, x->n_dims, dims);
    n->heir = n->in[2];
    if (!n->out[0] || !rk_expect(ctx, n,
                                 !add || (add->dtype == x->dtype && rk_tensor_is_contiguous(add) &&
                                          rk_tensor_same_shape(add, n->out[0])),
                                 "a summand of the result's shape"))
        return;
    n->scratch_bytes = forward_scratch(ctx, n, s);
    const size_t dx = product_scratch(ctx, x->dtype, s.rows, s.in, s.out);
    const size_t dw = layout_of(n) == RK_OUT_IN
                          ? product_scratch(ctx, x->dtype, s.out, s.in, s.rows)
                          : product_scratch(ctx, x->dtype, s.in, s.out, s.rows);
    n->scratch_bwd_bytes = dx > dw ? dx : dw;
}

/* y = the summand, before the product is added to it. */
static void copy_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const rk_node *n = arg;
    const rk_tensor *y = n->out[0], *add = n->in[2];
    (void)worker;
    memcpy(rk_at(y, y->data, lo), rk_at(y, add->data, lo), rk_reals(y, hi - lo));
}

static void linear_forward(rk_ctx *ctx, rk_node *n)
{
    const linear_sizes s = sizes_of(n);
    const rk_tensor *x = n->in[0], *y = n->out[0];
    if (ctx->observe)
        ctx->observe(ctx->observe_user, n->in[1], x);
    if (n->in[2])
        rk_parallel(ctx, rk_tensor_count(y), RK_GRAIN_FLAT, copy_piece, n);
    if (by_output(ctx, n)) {
        const rk_product p = product_of(n);
        rk_products_run(ctx, &p, 1, n->scratch);
    } else if (rk_dtype_is_blocks(n->in[1]->dtype)) {
        blocks_forward(ctx, n, s);
    } else {
        product(ctx, n, (rk_gemm_shape){s.rows, s.out, s.in},
                (rk_matrix){x->data, x->dtype, s.in, 1}, weight_of(n, false), y->data, s.out,
                n->in[2] != NULL);
    }
}

static void axpy_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    void *const *p = arg; /* kernels, tensor, source, destination */
    const rk_kernels *kern = p[0];
    const rk_tensor *t = p[1];
    (void)worker;
    kern->axpy(hi - lo, 1.0, rk_at(t, p[2], lo), rk_at(t, p[3], lo));
}

static void linear_backward(rk_ctx *ctx, rk_node *n)
{
    const linear_sizes s = sizes_of(n);
    const rk_tensor *x = n->in[0], *y = n->out[0];
    bool first_x, first_w;
    void *dy = rk_grad(ctx, n->out[0]), *dx = rk_grad_fresh(ctx, n->in[0], &first_x);
    void *dw = rk_grad_fresh(ctx, n->in[1], &first_w), *dadd = rk_grad(ctx, n->in[2]);
    const rk_matrix out = {dy, y->dtype, s.out, 1}, out_t = {dy, y->dtype, 1, s.out};
    const rk_matrix in = {x->data, x->dtype, s.in, 1}, in_t = {x->data, x->dtype, 1, s.in};
    if (dx)
        product(ctx, n, (rk_gemm_shape){s.rows, s.in, s.out}, out, weight_of(n, true), dx, s.in,
                !first_x);
    if (dw && layout_of(n) == RK_OUT_IN)
        product(ctx, n, (rk_gemm_shape){s.out, s.in, s.rows}, out_t, in, dw, s.in, !first_w);
    else if (dw)
        product(ctx, n, (rk_gemm_shape){s.in, s.out, s.rows}, in_t, out, dw, s.out, !first_w);
    if (dadd && dadd != dy) { /* it may have taken over dy */
        union {
            const void *in;
            void *p;
        } kern = {rk_ctx_kernels(ctx, y->dtype)}, shape = {y};
        void *p[] = {kern.p, shape.p, dy, dadd};
        rk_parallel(ctx, rk_tensor_count(y), RK_GRAIN_FLAT, axpy_piece, p);
    }
}

const rk_op rk_op_linear = {
    .name = "linear",
    .shape = linear_shape,
    .on[RK_CPU] = {linear_forward, linear_backward},
    .attr_bytes = sizeof(rk_layout),
};

rk_tensor *rk_linear(rk_ctx *ctx, rk_tensor *x, rk_tensor *w, rk_layout layout, rk_tensor *add)
{
    rk_node n = {.op = &rk_op_linear, .n_in = 3, .in = {x, w, add}, .attr = &layout};
    return rk_apply1(ctx, &n);
}

void rk_linear_into(rk_ctx *ctx, rk_tensor *x, rk_tensor *w, rk_layout layout, rk_tensor *y)
{
    rk_node n = {.op = &rk_op_linear, .n_in = 3, .in = {x, w}, .out = {y}, .attr = &layout};
    rk_apply(ctx, &n);
}

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
    const size_t da = product_scratch(ctx, a->dtype, rk_max_i64(m, k), rk_max_i64(m, k), c);
    const size_t db = product_scratch(ctx, a->dtype, rk_max_i64(k, c), rk_max_i64(k, c), m);
    n->scratch_bytes = product_scratch(ctx, a->dtype, m, c, k);
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
    if (c.col_stride == 1)
        product(ctx, node, s, a, b, data, c.row_stride, accumulate);
    else
        product(ctx, node, (rk_gemm_shape){s.n, s.m, s.k}, transposed(b), transposed(a), data,
                c.col_stride, accumulate);
}

static void matmul_forward(rk_ctx *ctx, rk_node *n)
{
    const rk_tensor *a = n->in[0], *b = n->in[1], *c = n->out[0];
    const int d = a->n_dims;
    const rk_gemm_shape s = {a->dims[d - 2], b->dims[d - 1], a->dims[d - 1]};
    for (int64_t i = 0; i < batches(a); i++)
        product(ctx, n, s, batch_matrix(a, a->data, i), batch_matrix(b, b->data, i),
                rk_at(c, c->data, i * s.m * s.n), s.n, false);
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
    if (!rk_expect(
            ctx, n,
            ids && table->n_dims == 2 && ids->n_dims < RK_MAX_DIMS && ids->dtype == RK_I32 &&
                rk_tensor_is_contiguous(ids) && rk_tensor_is_contiguous(table) &&
                (rk_is_float(table->dtype) || table->dtype == RK_F64 || is_rows_of_blocks(table)),
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
    const int64_t c = table->dims[1], block = rk_dtype_block(table->dtype);
    if (!are_ids(ctx, ids, table->dims[0]))
        return;
    for (int64_t i = 0; i < rk_tensor_count(ids); i++) {
        const void *row = rk_at(table, table->data, ((const int32_t *)ids->data)[i] * (c / block));
        void *out = rk_at(y, y->data, i * c);
        if (block > 1)
            rk_blocks_widen(table->dtype, c, row, out);
        else
            rk_ctx_kernels(ctx, y->dtype)->widen(c, row, table->dtype, out);
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
