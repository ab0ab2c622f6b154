/* op_elementwise.c: unary functions, add, mul, lerp, scale, dropout.
 *
 * The second operand may be a row (trailing dimensions) or one element: the first operand is then
 * seen as rows of that many elements, and the gradient of the second is a sum over these rows in
 * order. */
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

typedef struct runs_job runs_job;
/* n elements from `at` on of the first operand, and from `at2` on of the second. */
typedef void run_fn(const runs_job *j, int64_t at, int64_t at2, int64_t n);

/* Arrays are of the first operand's type. */
struct runs_job {
    const rk_kernels *kern;
    const rk_node *n;
    int64_t count, row; /* elements of the first operand; of the second, which repeats */
    run_fn *run;
    /* of backward */
    const void *dz;        /* gradient of the result */
    const void *other;     /* what dz is multiplied with, or NULL */
    void *dx, *dy, *dw;    /* gradients of the operands; NULL where none is needed */
    rk_grad_rows dx_fresh; /* that of the first one where pieces begin it */
};

static runs_job runs_job_of(const rk_ctx *ctx, const rk_node *n, int64_t row)
{
    return (runs_job){.kern = rk_ctx_kernels(ctx, n->in[0]->dtype),
                      .n = n,
                      .count = rk_tensor_count(n->in[0]),
                      .row = row};
}

static void run_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const runs_job *j = arg;
    (void)worker;
    if (j->row == j->count)
        j->run(j, lo, lo, hi - lo);
    else
        for (int64_t r = lo; r < hi; r++)
            j->run(j, r * j->row, 0, j->row);
}

/* Flat pieces where counts are equal, whole rows where the second operand repeats. */
static void over_runs(rk_ctx *ctx, runs_job *j, run_fn *run)
{
    j->run = run;
    if (j->row == j->count)
        rk_parallel(ctx, j->count, RK_GRAIN_FLAT, run_piece, j);
    else
        rk_parallel(ctx, j->count / j->row, rk_max_i64(1, RK_GRAIN_FLAT / j->row), run_piece, j);
}

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

static void unary_run(const runs_job *j, int64_t at, int64_t at2, int64_t n)
{
    const rk_tensor *x = j->n->in[0], *y = j->n->out[0];
    (void)at2;
    j->kern->unary(function_of(j->n), n, rk_at(x, x->data, at), rk_at(y, y->data, at));
}

static void unary_forward(rk_ctx *ctx, rk_node *n)
{
    runs_job j = runs_job_of(ctx, n, rk_tensor_count(n->in[0]));
    over_runs(ctx, &j, unary_run);
}

static void unary_bwd_run(const runs_job *j, int64_t at, int64_t at2, int64_t n)
{
    const rk_tensor *x = j->n->in[0], *y = j->n->out[0];
    (void)at2;
    j->kern->unary_bwd(function_of(j->n), n, rk_at(x, x->data, at), rk_at(y, y->data, at),
                       rk_at(x, j->dz, at), rk_grad_rows_at(&j->dx_fresh, at, at + n));
}

static void unary_backward(rk_ctx *ctx, rk_node *n)
{
    runs_job j = runs_job_of(ctx, n, rk_tensor_count(n->in[0]));
    j.dx_fresh = rk_grad_rows_of(ctx, n->in[0], j.count, NULL);
    j.dz = rk_grad(ctx, n->out[0]);
    over_runs(ctx, &j, unary_bwd_run);
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

static bool is_mul(const rk_node *n)
{
    return n->op == &rk_op_mul;
}

static double one_element(const rk_tensor *t)
{
    return t->dtype == RK_F64 ? *(const double *)t->data : (double)*(const float *)t->data;
}

/* A second operand of one element: as rows of 1 it would cost a call for each element. */
static void scalar_run(const runs_job *j, int64_t at, int64_t at2, int64_t n)
{
    const rk_tensor *x = j->n->in[0], *z = j->n->out[0];
    const double y = one_element(j->n->in[1]);
    (void)at2;
    if (is_mul(j->n)) {
        j->kern->scale(n, y, rk_at(x, x->data, at), rk_at(z, z->data, at));
        return;
    }
    for (int64_t i = at; i < at + n; i++) {
        if (x->dtype == RK_F64)
            ((double *)z->data)[i] = ((const double *)x->data)[i] + y;
        else
            ((float *)z->data)[i] = ((const float *)x->data)[i] + (float)y;
    }
}

static void binary_run(const runs_job *j, int64_t at, int64_t at2, int64_t n)
{
    const rk_tensor *x = j->n->in[0], *y = j->n->in[1], *z = j->n->out[0];
    (is_mul(j->n) ? j->kern->mul : j->kern->add)(n, rk_at(x, x->data, at), rk_at(y, y->data, at2),
                                                 rk_at(z, z->data, at));
}

static void binary_forward(rk_ctx *ctx, rk_node *n)
{
    runs_job j = runs_job_of(ctx, n, rk_tensor_count(n->in[1]));
    const bool scalar = j.row == 1 && j.count > 1;
    if (scalar)
        j.row = j.count;
    over_runs(ctx, &j, scalar ? scalar_run : binary_run);
}

/* dx += dz * other, or += dz where there is no other; `other` repeats. */
static void product_run(const runs_job *j, int64_t at, int64_t at2, int64_t n)
{
    const rk_tensor *x = j->n->in[0];
    if (j->other)
        j->kern->mul_add(n, rk_at(x, j->dz, at), rk_at(x, j->other, at2), rk_at(x, j->dx, at));
    else
        j->kern->axpy(n, 1.0, rk_at(x, j->dz, at), rk_at(x, j->dx, at));
}

/* The same into the repeating operand: sums over rows, in order, for channels [lo, hi). */
static void column_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const runs_job *j = arg;
    const rk_tensor *x = j->n->in[0];
    const int64_t rows = j->count / j->row;
    (void)worker;
    if (!j->other) {
        j->kern->add_rows(rows, hi - lo, j->row, rk_at(x, j->dz, lo), rk_at(x, j->dy, lo));
        return;
    }
    for (int64_t r = 0; r < rows; r++)
        j->kern->mul_add(hi - lo, rk_at(x, j->dz, r * j->row + lo),
                         rk_at(x, j->other, r * j->row + lo), rk_at(x, j->dy, lo));
}

static void binary_backward(rk_ctx *ctx, rk_node *n)
{
    runs_job j = runs_job_of(ctx, n, rk_tensor_count(n->in[1]));
    j.dz = rk_grad(ctx, n->out[0]);
    j.dx = rk_grad(ctx, n->in[0]);
    j.dy = rk_grad(ctx, n->in[1]);
    j.other = is_mul(n) ? n->in[1]->data : NULL;
    if (j.dx)
        over_runs(ctx, &j, product_run);
    j.other = is_mul(n) ? n->in[0]->data : NULL;
    if (j.dy)
        rk_parallel(ctx, j.row, j.row == j.count ? RK_GRAIN_FLAT : RK_GRAIN_COLS, column_piece, &j);
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

static void lerp_run(const runs_job *j, int64_t at, int64_t at2, int64_t n)
{
    const rk_tensor *x = j->n->in[0];
    j->kern->lerp(n, rk_at(x, x->data, at), rk_at(x, j->n->in[1]->data, at),
                  rk_at(x, j->n->in[2]->data, at2), rk_at(x, j->n->out[0]->data, at));
}

static void lerp_forward(rk_ctx *ctx, rk_node *n)
{
    runs_job j = runs_job_of(ctx, n, rk_tensor_count(n->in[2]));
    over_runs(ctx, &j, lerp_run);
}

static void lerp_bwd_run(const runs_job *j, int64_t at, int64_t at2, int64_t n)
{
    const rk_tensor *x = j->n->in[0];
    j->kern->lerp_bwd(n, rk_at(x, x->data, at), rk_at(x, j->n->in[1]->data, at),
                      rk_at(x, j->n->in[2]->data, at2), rk_at(x, j->dz, at), rk_at(x, j->dx, at),
                      rk_at(x, j->dy, at), NULL);
}

/* The weight repeats: sums over rows, in order, for channels [lo, hi). */
static void lerp_bwd_weight_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const runs_job *j = arg;
    const rk_node *n = j->n;
    const rk_tensor *x = n->in[0];
    (void)worker;
    for (int64_t r = 0; r < j->count / j->row; r++) {
        const int64_t at = r * j->row + lo;
        j->kern->lerp_bwd(hi - lo, rk_at(x, x->data, at), rk_at(x, n->in[1]->data, at),
                          rk_at(x, n->in[2]->data, lo), rk_at(x, j->dz, at), NULL, NULL,
                          rk_at(x, j->dw, lo));
    }
}

static void lerp_backward(rk_ctx *ctx, rk_node *n)
{
    runs_job j = runs_job_of(ctx, n, rk_tensor_count(n->in[2]));
    j.dz = rk_grad(ctx, n->out[0]);
    j.dx = rk_grad(ctx, n->in[0]);
    j.dy = rk_grad(ctx, n->in[1]);
    j.dw = rk_grad(ctx, n->in[2]);
    if (j.dx || j.dy)
        over_runs(ctx, &j, lerp_bwd_run);
    if (j.dw)
        rk_parallel(ctx, j.row, RK_GRAIN_COLS, lerp_bwd_weight_piece, &j);
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

static double factor_of(const rk_node *n)
{
    return *(const double *)n->attr;
}

static void scale_run(const runs_job *j, int64_t at, int64_t at2, int64_t n)
{
    const rk_tensor *x = j->n->in[0];
    (void)at2;
    j->kern->scale(n, factor_of(j->n), rk_at(x, x->data, at), rk_at(x, j->n->out[0]->data, at));
}

static void scale_forward(rk_ctx *ctx, rk_node *n)
{
    runs_job j = runs_job_of(ctx, n, rk_tensor_count(n->in[0]));
    over_runs(ctx, &j, scale_run);
}

static void scale_bwd_run(const runs_job *j, int64_t at, int64_t at2, int64_t n)
{
    const rk_tensor *x = j->n->in[0];
    (void)at2;
    j->kern->axpy(n, factor_of(j->n), rk_at(x, j->dz, at), rk_at(x, j->dx, at));
}

static void scale_backward(rk_ctx *ctx, rk_node *n)
{
    runs_job j = runs_job_of(ctx, n, rk_tensor_count(n->in[0]));
    j.dz = rk_grad(ctx, n->out[0]);
    j.dx = rk_grad(ctx, n->in[0]);
    over_runs(ctx, &j, scale_bwd_run);
}

const rk_op rk_op_scale = {
    .name = "scale",
    .shape = unary_shape,
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
    dropout_job j = {ctx, n};
    rk_parallel(ctx, rk_tensor_count(n->in[0]), RK_GRAIN_FLAT, dropout_piece, &j);
}

static void dropout_backward(rk_ctx *ctx, rk_node *n)
{
    runs_job j = runs_job_of(ctx, n, rk_tensor_count(n->in[0]));
    j.dz = rk_grad(ctx, n->out[0]);
    j.other = n->saved;
    j.dx = rk_grad(ctx, n->in[0]);
    over_runs(ctx, &j, product_run);
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
