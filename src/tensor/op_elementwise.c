/* op_elementwise.c: unary functions, add, mul, lerp, scale, dropout.
 *
 * The second operand may be a row (trailing dimensions) or one element: the first operand is then
 * seen as `repeat` rows of that many elements, and its gradient is a sum over rows in order. */
#include <math.h>

#include "base/num.h"
#include "base/random.h"
#include "tensor/op.h"

/* ---- shapes ---- */

/* How often y's elements repeat in x; 0 when they do not fit. */
static int64_t repeats(const rk_tensor *x, const rk_tensor *y)
{
    const int64_t n = rk_tensor_count(y);
    if (n == 1)
        return rk_tensor_count(x);
    if (n == 0 || y->n_dims > x->n_dims)
        return 0;
    for (int d = 1; d <= y->n_dims; d++)
        if (y->dims[y->n_dims - d] != x->dims[x->n_dims - d])
            return 0;
    return rk_tensor_count(x) / n;
}

static void like_first(rk_ctx *ctx, rk_node *n)
{
    n->n_out = 1;
    n->out[0] = rk_new_like(ctx, n->in[0]);
}

/* A binary op's inputs fit; the second operand's repeat count is derived where it is needed. */
static void binary_shape(rk_ctx *ctx, rk_node *n)
{
    if (rk_expect(ctx, n, n->in[1] != NULL, "two inputs") && rk_expect_plain(ctx, n) &&
        rk_expect(ctx, n, repeats(n->in[0], n->in[1]) > 0,
                  "the second with the shape or trailing dimensions of the first"))
        like_first(ctx, n);
}

/* ---- running over pieces ---- */

typedef struct piece_job {
    const rk_kernels *kern;
    const rk_node *n;
    void *const *p; /* arrays that the function names itself */
    int64_t row;    /* elements of a row of the second operand */
} piece_job;

/* Flat pieces where shapes are equal, whole rows where the second operand repeats. */
static void over_pieces(rk_ctx *ctx, const rk_node *n, void *const *p, int64_t row, rk_range_fn *fn)
{
    const int64_t count = rk_tensor_count(n->in[0]);
    piece_job job = {rk_ctx_kernels(ctx, n->in[0]->dtype), n, p, row};
    if (row == count)
        rk_parallel(ctx, count, RK_GRAIN_FLAT, fn, &job);
    else
        rk_parallel(ctx, count / row, rk_max_i64(1, RK_GRAIN_FLAT / row), fn, &job);
}

/* Call body for each run of elements: `at` in the first operand, `at2` in the second, `len`.
 * Names bear no parentheses where they are declared. NOLINTBEGIN(bugprone-macro-parentheses) */
#define FOR_RUNS(job, lo, hi, at, at2, len)                                                        \
    const bool flat_ = (job)->row == rk_tensor_count((job)->n->in[0]);                             \
    int64_t at2 = flat_ ? (lo) : 0;                                                                \
    const int64_t len = flat_ ? (hi) - (lo) : (job)->row;                                          \
    for (int64_t run_ = (lo), at = flat_ ? (lo) : (lo) * (job)->row; run_ < (hi);                  \
         run_ += flat_ ? len : 1, at += len, at2 = flat_ ? at : 0)
/* NOLINTEND(bugprone-macro-parentheses) */

/* ---- unary ---- */

static void unary_shape(rk_ctx *ctx, rk_node *n)
{
    if (rk_expect_plain(ctx, n))
        like_first(ctx, n);
}

static rk_unary function_of(const rk_node *n)
{
    return *(const rk_unary *)n->attr;
}

static void unary_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const piece_job *j = arg;
    const rk_tensor *x = j->n->in[0], *y = j->n->out[0];
    (void)worker;
    j->kern->unary(function_of(j->n), hi - lo, rk_at(x, x->data, lo), rk_at(y, y->data, lo));
}

static void unary_forward(rk_ctx *ctx, rk_node *n)
{
    over_pieces(ctx, n, NULL, rk_tensor_count(n->in[0]), unary_piece);
}

static void unary_bwd_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const piece_job *j = arg;
    const rk_tensor *x = j->n->in[0], *y = j->n->out[0];
    (void)worker;
    j->kern->unary_bwd(function_of(j->n), hi - lo, rk_at(x, x->data, lo), rk_at(y, y->data, lo),
                       rk_at(x, j->p[0], lo), rk_grad_rows_at(j->p[1], lo, hi));
}

static void unary_backward(rk_ctx *ctx, rk_node *n)
{
    const int64_t count = rk_tensor_count(n->in[0]);
    rk_grad_rows dx = rk_grad_rows_of(ctx, n->in[0], count, NULL);
    void *p[] = {rk_grad(ctx, n->out[0]), &dx};
    over_pieces(ctx, n, p, count, unary_bwd_piece);
}

const rk_op rk_op_unary = {
    .name = "unary",
    .shape = unary_shape,
    .on[RK_CPU] = {unary_forward, unary_backward},
    .attr_bytes = sizeof(rk_unary),
};

rk_tensor *rk_unary_op(rk_ctx *ctx, rk_unary op, rk_tensor *x)
{
    rk_node n = {.op = &rk_op_unary, .n_in = 1, .in = {x}, .attr = &op};
    return rk_apply1(ctx, &n);
}

/* ---- add and mul ---- */

static double one_element(const rk_tensor *t)
{
    return t->dtype == RK_F64 ? *(const double *)t->data : (double)*(const float *)t->data;
}

/* One element is a factor or summand of everything: rows of 1 would be a call per element. */
static void scalar_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const piece_job *j = arg;
    const rk_tensor *x = j->n->in[0], *z = j->n->out[0];
    const double y = one_element(j->n->in[1]);
    (void)worker;
    if (j->n->op == &rk_op_mul) {
        j->kern->scale(hi - lo, y, rk_at(x, x->data, lo), rk_at(z, z->data, lo));
        return;
    }
    for (int64_t i = lo; i < hi; i++) {
        if (x->dtype == RK_F64)
            ((double *)z->data)[i] = ((const double *)x->data)[i] + y;
        else
            ((float *)z->data)[i] = ((const float *)x->data)[i] + (float)y;
    }
}

static void binary_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const piece_job *j = arg;
    const rk_tensor *x = j->n->in[0], *y = j->n->in[1], *z = j->n->out[0];
    void (*fn)(int64_t, const void *, const void *, void *) =
        j->n->op == &rk_op_add ? j->kern->add : j->kern->mul;
    (void)worker;
    FOR_RUNS(j, lo, hi, at, at2, len)
    fn(len, rk_at(x, x->data, at), rk_at(y, y->data, at2), rk_at(z, z->data, at));
}

static void binary_forward(rk_ctx *ctx, rk_node *n)
{
    const int64_t count = rk_tensor_count(n->in[0]), row = rk_tensor_count(n->in[1]);
    if (row == 1 && count > 1)
        over_pieces(ctx, n, NULL, count, scalar_piece);
    else
        over_pieces(ctx, n, NULL, row, binary_piece);
}
/* p: dz, other factor, gradient: gradient += dz * other (mul), or += dz (add: other is NULL), the
 * other factor repeating. */
static void product_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const piece_job *j = arg;
    const rk_tensor *x = j->n->in[0];
    (void)worker;
    FOR_RUNS(j, lo, hi, at, at2, len)
    {
        if (j->p[1])
            j->kern->mul_add(len, rk_at(x, j->p[0], at), rk_at(x, j->p[1], at2),
                             rk_at(x, j->p[2], at));
        else
            j->kern->axpy(len, 1.0, rk_at(x, j->p[0], at), rk_at(x, j->p[2], at));
    }
}

/* The same into the repeating operand: sums over rows, in order, for channels [lo, hi). */
static void column_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const piece_job *j = arg;
    const rk_tensor *x = j->n->in[0];
    const int64_t rows = rk_tensor_count(x) / j->row;
    (void)worker;
    if (!j->p[1]) {
        j->kern->add_rows(rows, hi - lo, j->row, rk_at(x, j->p[0], lo), rk_at(x, j->p[2], lo));
        return;
    }
    for (int64_t r = 0; r < rows; r++)
        j->kern->mul_add(hi - lo, rk_at(x, j->p[0], r * j->row + lo),
                         rk_at(x, j->p[1], r * j->row + lo), rk_at(x, j->p[2], lo));
}

static void binary_backward(rk_ctx *ctx, rk_node *n)
{
    const bool is_mul = n->op == &rk_op_mul;
    const int64_t row = rk_tensor_count(n->in[1]);
    void *dz = rk_grad(ctx, n->out[0]), *dx = rk_grad(ctx, n->in[0]), *dy = rk_grad(ctx, n->in[1]);
    void *px[] = {dz, is_mul ? n->in[1]->data : NULL, dx};
    void *py[] = {dz, is_mul ? n->in[0]->data : NULL, dy};
    piece_job job = {rk_ctx_kernels(ctx, n->in[0]->dtype), n, py, row};
    if (dx)
        over_pieces(ctx, n, px, row, product_piece);
    if (dy)
        rk_parallel(ctx, row, row == rk_tensor_count(n->in[0]) ? RK_GRAIN_FLAT : RK_GRAIN_COLS,
                    column_piece, &job);
}
const rk_op rk_op_add = {
    .name = "add",
    .shape = binary_shape,
    .on[RK_CPU] = {binary_forward, binary_backward},
};
const rk_op rk_op_mul = {
    .name = "mul",
    .shape = binary_shape,
    .on[RK_CPU] = {binary_forward, binary_backward},
};

static rk_tensor *binary(rk_ctx *ctx, const rk_op *op, rk_tensor *x, rk_tensor *y)
{
    rk_node n = {.op = op, .n_in = 2, .in = {x, y}};
    return rk_apply1(ctx, &n);
}
rk_tensor *rk_add(rk_ctx *ctx, rk_tensor *x, rk_tensor *y)
{
    return binary(ctx, &rk_op_add, x, y);
}
rk_tensor *rk_mul(rk_ctx *ctx, rk_tensor *x, rk_tensor *y)
{
    return binary(ctx, &rk_op_mul, x, y);
}

/* ---- lerp ---- */

static void lerp_shape(rk_ctx *ctx, rk_node *n)
{
    if (rk_expect(ctx, n, n->in[1] && n->in[2], "three inputs") && rk_expect_plain(ctx, n) &&
        rk_expect(ctx, n, rk_tensor_same_shape(n->in[0], n->in[1]), "two equal shapes") &&
        rk_expect(ctx, n, repeats(n->in[0], n->in[2]) > 0,
                  "a weight with the shape or trailing dimensions of the first"))
        like_first(ctx, n);
}

static void lerp_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const piece_job *j = arg;
    const rk_node *n = j->n;
    const rk_tensor *x = n->in[0];
    (void)worker;
    FOR_RUNS(j, lo, hi, at, at2, len)
    j->kern->lerp(len, rk_at(x, x->data, at), rk_at(x, n->in[1]->data, at),
                  rk_at(x, n->in[2]->data, at2), rk_at(x, n->out[0]->data, at));
}

static void lerp_forward(rk_ctx *ctx, rk_node *n)
{
    over_pieces(ctx, n, NULL, rk_tensor_count(n->in[2]), lerp_piece);
}

/* p: dz, dx, dy, dw; dw only where it does not repeat. */
static void lerp_bwd_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const piece_job *j = arg;
    const rk_node *n = j->n;
    const rk_tensor *x = n->in[0];
    (void)worker;
    FOR_RUNS(j, lo, hi, at, at2, len)
    j->kern->lerp_bwd(len, rk_at(x, x->data, at), rk_at(x, n->in[1]->data, at),
                      rk_at(x, n->in[2]->data, at2), rk_at(x, j->p[0], at), rk_at(x, j->p[1], at),
                      rk_at(x, j->p[2], at), NULL);
}

static void lerp_bwd_weight_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const piece_job *j = arg;
    const rk_node *n = j->n;
    const rk_tensor *x = n->in[0];
    const int64_t rows = rk_tensor_count(x) / j->row;
    (void)worker;
    for (int64_t r = 0; r < rows; r++) {
        const int64_t at = r * j->row + lo;
        j->kern->lerp_bwd(hi - lo, rk_at(x, x->data, at), rk_at(x, n->in[1]->data, at),
                          rk_at(x, n->in[2]->data, lo), rk_at(x, j->p[0], at), NULL, NULL,
                          rk_at(x, j->p[3], lo));
    }
}

static void lerp_backward(rk_ctx *ctx, rk_node *n)
{
    const int64_t row = rk_tensor_count(n->in[2]);
    void *p[] = {rk_grad(ctx, n->out[0]), rk_grad(ctx, n->in[0]), rk_grad(ctx, n->in[1]),
                 rk_grad(ctx, n->in[2])};
    piece_job job = {rk_ctx_kernels(ctx, n->in[0]->dtype), n, p, row};
    if (p[1] || p[2])
        over_pieces(ctx, n, p, row, lerp_bwd_piece);
    if (p[3])
        rk_parallel(ctx, row, RK_GRAIN_COLS, lerp_bwd_weight_piece, &job);
}

const rk_op rk_op_lerp = {
    .name = "lerp",
    .shape = lerp_shape,
    .on[RK_CPU] = {lerp_forward, lerp_backward},
};

rk_tensor *rk_lerp(rk_ctx *ctx, rk_tensor *x, rk_tensor *y, rk_tensor *w)
{
    rk_node n = {.op = &rk_op_lerp, .n_in = 3, .in = {x, y, w}};
    return rk_apply1(ctx, &n);
}

/* ---- scale ---- */

static void scale_shape(rk_ctx *ctx, rk_node *n)
{
    unary_shape(ctx, n);
}

static double factor_of(const rk_node *n)
{
    return *(const double *)n->attr;
}

static void scale_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const piece_job *j = arg;
    const rk_tensor *x = j->n->in[0];
    (void)worker;
    j->kern->scale(hi - lo, factor_of(j->n), rk_at(x, x->data, lo),
                   rk_at(x, j->n->out[0]->data, lo));
}

static void scale_forward(rk_ctx *ctx, rk_node *n)
{
    over_pieces(ctx, n, NULL, rk_tensor_count(n->in[0]), scale_piece);
}

static void scale_bwd_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const piece_job *j = arg;
    const rk_tensor *x = j->n->in[0];
    (void)worker;
    j->kern->axpy(hi - lo, factor_of(j->n), rk_at(x, j->p[0], lo), rk_at(x, j->p[1], lo));
}

static void scale_backward(rk_ctx *ctx, rk_node *n)
{
    void *p[] = {rk_grad(ctx, n->out[0]), rk_grad(ctx, n->in[0])};
    over_pieces(ctx, n, p, rk_tensor_count(n->in[0]), scale_bwd_piece);
}

const rk_op rk_op_scale = {
    .name = "scale",
    .shape = scale_shape,
    .on[RK_CPU] = {scale_forward, scale_backward},
    .attr_bytes = sizeof(double),
};

rk_tensor *rk_scale(rk_ctx *ctx, rk_tensor *x, double factor)
{
    rk_node n = {.op = &rk_op_scale, .n_in = 1, .in = {x}, .attr = &factor};
    return rk_apply1(ctx, &n);
}

/* ---- dropout: the mask is kept as reals (0 or 1/(1-p)), so backward is a product; where no
 * backward follows it is made in the result ---- */

typedef struct dropout_attr {
    double p;
    uint64_t index;
} dropout_attr;

static void dropout_shape(rk_ctx *ctx, rk_node *n)
{
    unary_shape(ctx, n);
    n->saved_bytes = rk_tensor_bytes(n->in[0]);
}

typedef struct dropout_job {
    const rk_ctx *ctx;
    const rk_node *n;
} dropout_job;

static void dropout_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const dropout_job *j = arg;
    const rk_tensor *x = j->n->in[0];
    const dropout_attr *a = j->n->attr;
    const double p = a->p;
    void *mask = j->n->saved ? j->n->saved : j->n->out[0]->data;
    const int64_t before = j->ctx->first_row * (rk_tensor_count(x) / x->dims[0]);
    (void)worker;
    for (int64_t i = lo; i < hi; i++) {
        const uint64_t index = (a->index << 40) + (uint64_t)(before + i);
        const bool drop = rk_rng_f64(j->ctx->seed, RK_RNG_DROPOUT, j->ctx->step, index) < p;
        const double m = drop ? 0.0 : 1.0 / (1.0 - p);
        if (x->dtype == RK_F64)
            ((double *)mask)[i] = m;
        else
            ((float *)mask)[i] = (float)m;
    }
    rk_ctx_kernels(j->ctx, x->dtype)
        ->mul(hi - lo, rk_at(x, x->data, lo), rk_at(x, mask, lo), rk_at(x, j->n->out[0]->data, lo));
}

static void dropout_forward(rk_ctx *ctx, rk_node *n)
{
    dropout_job job = {ctx, n};
    rk_parallel(ctx, rk_tensor_count(n->in[0]), RK_GRAIN_FLAT, dropout_piece, &job);
}

static void dropout_backward(rk_ctx *ctx, rk_node *n)
{
    void *p[] = {rk_grad(ctx, n->out[0]), n->saved, rk_grad(ctx, n->in[0])};
    over_pieces(ctx, n, p, rk_tensor_count(n->in[0]), product_piece);
}

const rk_op rk_op_dropout = {
    .name = "dropout",
    .shape = dropout_shape,
    .on[RK_CPU] = {dropout_forward, dropout_backward},
    .attr_bytes = sizeof(dropout_attr),
};

rk_tensor *rk_dropout(rk_ctx *ctx, rk_tensor *x, double p, uint64_t index)
{
    rk_node n = {.op = &rk_op_dropout, .n_in = 1, .in = {x}, .attr = &(dropout_attr){p, index}};
    if (!x || p == 0.0 || !(ctx->recording || ctx->recomputed))
        return x;
    return rk_apply1(ctx, &n);
}
