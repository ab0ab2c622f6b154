/* op_shape.c: views, copies of views, joining, and the sum of all elements. */
#include <string.h>

#include "base/num.h"
#include "tensor/op.h"

/* ---- views ---- */

static rk_tensor *view_of(rk_ctx *ctx, rk_tensor *t)
{
    if (rk_ctx_failed(ctx) || !t)
        return NULL;
    rk_tensor *v = rk_arena_alloc(&ctx->meta, sizeof *v);
    if (!v) {
        rk_ctx_fail(ctx, RK_ERR_NOMEM, "out of memory for a view");
        return NULL;
    }
    *v = *t;
    v->base = t->base ? t->base : t;
    v->grad = NULL;
    v->has_grad = false;
    v->grad_unset = 0;
    return v;
}

/* Move the view's first element by `elements`. */
static void advance(rk_tensor *v, int64_t elements)
{
    v->offset += elements;
    v->data = rk_at(v, v->data, elements);
}

rk_tensor *rk_view(rk_ctx *ctx, rk_tensor *t, int n_dims, const int64_t *dims)
{
    rk_tensor *v = view_of(ctx, t);
    if (!v)
        return NULL;
    const rk_tensor shape = rk_tensor_over(t->dtype, n_dims, dims, NULL);
    if (!rk_tensor_is_contiguous(t) || rk_tensor_count(&shape) != rk_tensor_count(t)) {
        char a[64], b[64];
        rk_ctx_fail(ctx, RK_ERR_ARG, "view: %s as %s: not contiguous, or other counts",
                    rk_tensor_describe(t, a, sizeof a), rk_tensor_describe(&shape, b, sizeof b));
        return NULL;
    }
    v->n_dims = n_dims;
    memcpy(v->dims, shape.dims, sizeof v->dims);
    memcpy(v->strides, shape.strides, sizeof v->strides);
    return v;
}

rk_tensor *rk_slice(rk_ctx *ctx, rk_tensor *t, int dim, int64_t lo, int64_t hi)
{
    rk_tensor *v = view_of(ctx, t);
    if (!v)
        return NULL;
    if (dim < 0 || dim >= t->n_dims || lo < 0 || lo > hi || hi > t->dims[dim]) {
        char a[64];
        rk_ctx_fail(ctx, RK_ERR_ARG, "slice: [%lld, %lld) of dimension %d of %s", (long long)lo,
                    (long long)hi, dim, rk_tensor_describe(t, a, sizeof a));
        return NULL;
    }
    v->dims[dim] = hi - lo;
    advance(v, lo * t->strides[dim]);
    return v;
}

rk_tensor *rk_index(rk_ctx *ctx, rk_tensor *t, int64_t i)
{
    rk_tensor *v = rk_slice(ctx, t, 0, i, i + 1);
    if (!v)
        return NULL;
    v->n_dims--;
    memmove(v->dims, v->dims + 1, (size_t)v->n_dims * sizeof v->dims[0]);
    memmove(v->strides, v->strides + 1, (size_t)v->n_dims * sizeof v->strides[0]);
    return v;
}

rk_tensor *rk_transpose(rk_ctx *ctx, rk_tensor *t, int a, int b)
{
    rk_tensor *v = view_of(ctx, t);
    if (!v)
        return NULL;
    if (a < 0 || b < 0 || a >= t->n_dims || b >= t->n_dims) {
        rk_ctx_fail(ctx, RK_ERR_ARG, "transpose: dimensions %d and %d of %d", a, b, t->n_dims);
        return NULL;
    }
    v->dims[a] = t->dims[b];
    v->dims[b] = t->dims[a];
    v->strides[a] = t->strides[b];
    v->strides[b] = t->strides[a];
    return v;
}

/* ---- strided copies: element by element, with the last dimension in one call where it is dense
 * ---- */

typedef enum copy_kind { COPY, ADD } copy_kind;

/* dst (=, +=) src over equal dims; pointers are to first elements. */
static void strided(const rk_kernels *kern, const rk_tensor *shape, int dim, const int64_t *ds,
                    const int64_t *ss, void *dst, const void *src, copy_kind kind)
{
    const int64_t n = shape->n_dims ? shape->dims[dim] : 1;
    const bool last = dim >= shape->n_dims - 1;
    if (last && (n == 1 || (ds[dim] == 1 && ss[dim] == 1))) {
        if (kind == COPY)
            memcpy(dst, src, (size_t)n * rk_dtype_bytes(shape->dtype));
        else
            kern->axpy(n, 1.0, src, dst);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        void *d = rk_at(shape, dst, i * ds[dim]);
        const void *s = rk_at(shape, src, i * ss[dim]);
        if (!last)
            strided(kern, shape, dim + 1, ds, ss, d, s, kind);
        else if (kind == COPY)
            memcpy(d, s, rk_dtype_bytes(shape->dtype));
        else
            kern->axpy(1, 1.0, s, d);
    }
}

typedef struct strided_job {
    const rk_kernels *kern;
    const rk_tensor *shape;
    const int64_t *ds, *ss;
    void *dst;
    const void *src;
    copy_kind kind;
} strided_job;

static void strided_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const strided_job *j = arg;
    rk_tensor part = *j->shape;
    (void)worker;
    part.dims[0] = hi - lo;
    strided(j->kern, &part, 0, j->ds, j->ss, rk_at(&part, j->dst, lo * j->ds[0]),
            rk_at(&part, j->src, lo * j->ss[0]), j->kind);
}

static void copy_strided(rk_ctx *ctx, const rk_tensor *shape, const int64_t *ds, const int64_t *ss,
                         void *dst, const void *src, copy_kind kind)
{
    strided_job job = {rk_ctx_kernels(ctx, shape->dtype), shape, ds, ss, dst, src, kind};
    const int64_t inner = rk_tensor_count(shape) / rk_max_i64(1, shape->dims[0]);
    rk_parallel(ctx, shape->dims[0], rk_max_i64(1, RK_GRAIN_FLAT / rk_max_i64(1, inner)),
                strided_piece, &job);
}

/* ---- copy ---- */

static void copy_shape(rk_ctx *ctx, rk_node *n)
{
    n->n_out = 1;
    if (rk_expect(ctx, n, n->in[0]->n_dims > 0, "at least one dimension"))
        n->out[0] = rk_new_like(ctx, n->in[0]);
}

/* A state that lies with its streams. */
static void copy_streams(const rk_node *n)
{
    const rk_tensor *x = n->in[0];
    const int64_t count = rk_tensor_count(x) / x->dims[0];
    for (int64_t b = 0; b < x->dims[0]; b++)
        memcpy(rk_at(x, n->out[0]->data, b * count), x->streams->from[b] + x->streams->offset,
               rk_reals(x, count));
}

static void copy_forward(rk_ctx *ctx, rk_node *n)
{
    if (n->in[0]->streams) {
        copy_streams(n);
        return;
    }
    copy_strided(ctx, n->out[0], n->out[0]->strides, n->in[0]->strides, n->out[0]->data,
                 n->in[0]->data, COPY);
}

static void copy_backward(rk_ctx *ctx, rk_node *n)
{
    copy_strided(ctx, n->out[0], n->in[0]->strides, n->out[0]->strides, rk_grad(ctx, n->in[0]),
                 rk_grad(ctx, n->out[0]), ADD);
}

const rk_op rk_op_copy = {
    .name = "copy",
    .shape = copy_shape,
    .on[RK_CPU] = {copy_forward, copy_backward},
};

rk_tensor *rk_copy(rk_ctx *ctx, rk_tensor *x)
{
    rk_node n = {.op = &rk_op_copy, .n_in = 1, .in = {x}};
    return rk_apply1(ctx, &n);
}

/* ---- concat ---- */

static int dim_of(const rk_node *n)
{
    return *(const int *)n->attr;
}

static void concat_shape(rk_ctx *ctx, rk_node *n)
{
    const int dim = dim_of(n);
    rk_tensor shape = *n->in[0];
    n->n_out = 1;
    if (!rk_expect(ctx, n, dim >= 0 && dim < shape.n_dims, "a dimension that exists"))
        return;
    shape.dims[dim] = 0;
    for (int i = 0; i < n->n_in; i++) {
        rk_tensor other = *n->in[i];
        shape.dims[dim] += other.dims[dim];
        other.dims[dim] = shape.dims[dim];
        if (!rk_expect(ctx, n, other.dtype == shape.dtype && rk_tensor_same_shape(&other, &shape),
                       "shapes that agree but for one dimension"))
            return;
    }
    n->out[0] = rk_new(ctx, shape.dtype, shape.n_dims, shape.dims);
}

static void concat_forward(rk_ctx *ctx, rk_node *n)
{
    const rk_tensor *out = n->out[0];
    int64_t at = 0;
    for (int i = 0; i < n->n_in; i++) {
        const rk_tensor *x = n->in[i];
        copy_strided(ctx, x, out->strides, x->strides,
                     rk_at(out, out->data, at * out->strides[dim_of(n)]), x->data, COPY);
        at += x->dims[dim_of(n)];
    }
}

static void concat_backward(rk_ctx *ctx, rk_node *n)
{
    const rk_tensor *out = n->out[0];
    int64_t at = 0;
    for (int i = 0; i < n->n_in; i++) {
        rk_tensor *x = n->in[i];
        void *dx = rk_grad(ctx, x);
        if (dx)
            copy_strided(ctx, x, x->strides, out->strides, dx,
                         rk_at(out, rk_grad(ctx, n->out[0]), at * out->strides[dim_of(n)]), ADD);
        at += x->dims[dim_of(n)];
    }
}

const rk_op rk_op_concat = {
    .name = "concat",
    .shape = concat_shape,
    .on[RK_CPU] = {concat_forward, concat_backward},
    .attr_bytes = sizeof(int),
};

rk_tensor *rk_concat(rk_ctx *ctx, rk_tensor *const *x, int n_in, int dim)
{
    rk_node n = {.op = &rk_op_concat, .n_in = n_in, .attr = &dim};
    if (n_in < 1 || n_in > RK_MAX_IN)
        rk_ctx_fail(ctx, RK_ERR_ARG, "concat of %d tensors: expected 1 to %d", n_in, RK_MAX_IN);
    for (int i = 0; i < n_in && !rk_ctx_failed(ctx); i++) {
        if (!x[i])
            rk_ctx_fail(ctx, RK_ERR_ARG, "concat: input %d is missing", i);
        n.in[i] = x[i];
    }
    return rk_apply1(ctx, &n);
}

/* ---- sum: fixed pieces, added in order ---- */

static const int64_t ONE[] = {1};

static void sum_shape(rk_ctx *ctx, rk_node *n)
{
    n->n_out = 1;
    if (!rk_expect_plain(ctx, n))
        return;
    n->scratch_bytes =
        (size_t)rk_ceil_div(rk_tensor_count(n->in[0]), RK_GRAIN_FLAT) * sizeof(double);
    n->out[0] = rk_new(ctx, n->in[0]->dtype, 1, ONE);
}

typedef struct sum_job {
    const rk_kernels *kern;
    const rk_tensor *x;
    double *part;
} sum_job;

static void sum_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const sum_job *j = arg;
    (void)worker;
    j->part[lo / RK_GRAIN_FLAT] = j->kern->sum(hi - lo, rk_at(j->x, j->x->data, lo));
}

static void sum_forward(rk_ctx *ctx, rk_node *n)
{
    const rk_tensor *x = n->in[0];
    const int64_t count = rk_tensor_count(x);
    sum_job job = {rk_ctx_kernels(ctx, x->dtype), x, n->scratch};
    double total = 0.0;
    rk_parallel(ctx, count, RK_GRAIN_FLAT, sum_piece, &job);
    for (int64_t i = 0; i < rk_ceil_div(count, RK_GRAIN_FLAT); i++)
        total += job.part[i];
    if (x->dtype == RK_F64)
        *(double *)n->out[0]->data = total;
    else
        *(float *)n->out[0]->data = (float)total;
}

static void sum_backward(rk_ctx *ctx, rk_node *n)
{
    const int64_t count = rk_tensor_count(n->in[0]);
    void *dx = rk_grad(ctx, n->in[0]);
    const void *dy = rk_grad(ctx, n->out[0]);
    if (!dx || !dy)
        return;
    if (n->in[0]->dtype == RK_F64)
        for (int64_t i = 0; i < count; i++)
            ((double *)dx)[i] += *(const double *)dy;
    else
        for (int64_t i = 0; i < count; i++)
            ((float *)dx)[i] += *(const float *)dy;
}

const rk_op rk_op_sum = {
    .name = "sum",
    .shape = sum_shape,
    .on[RK_CPU] = {sum_forward, sum_backward},
};

rk_tensor *rk_sum(rk_ctx *ctx, rk_tensor *x)
{
    rk_node n = {.op = &rk_op_sum, .n_in = 1, .in = {x}};
    return rk_apply1(ctx, &n);
}
