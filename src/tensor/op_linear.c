/* op_linear.c: matrix products, one or several independent ones in a node.
 *
 * Packed quantised weights are multiplied with activations rounded to 8 bits. Those products, and
 * all of the short class (at most 16 tokens of a stream), are computed one output at a time, in one
 * parallel region for all products of a node (by_output.c). The others are packed products
 * (factor.h). Gradients are always packed products: dx with the weight, dw with one sum over the
 * rows in order, so that micro-batches add up to the same bits. A node of several products has the
 * bits of nodes one after the other: its backward goes from the last to the first, as the tape
 * does. */
#include <string.h>

#include "base/num.h"
#include "tensor/factor.h"
#include "tensor/op_linear.h"

enum { X = RK_LINEAR_X, W = RK_LINEAR_W, ADD = RK_LINEAR_ADD };

static const rk_linear_attr *attr_of(const rk_node *n)
{
    return n->attr;
}

static int n_products(const rk_node *n)
{
    return n->n_in / RK_LINEAR_INPUTS;
}

static rk_tensor *input(const rk_node *n, int i, int which)
{
    return n->in[i * RK_LINEAR_INPUTS + which];
}

static rk_layout layout_of(const rk_node *n, int i)
{
    return attr_of(n)->layout[i];
}

static rk_factor factor_of(const rk_node *n, int i)
{
    return rk_factor_of(input(n, i, W), layout_of(n, i));
}

static rk_product product_of(const rk_node *n, int i)
{
    const rk_tensor *x = input(n, i, X), *w = input(n, i, W);
    const rk_factor f = factor_of(n, i);
    return (rk_product){.x = x,
                        .w = w,
                        .y = n->out[i],
                        .rows = rk_tensor_rows(x),
                        .in = f.in,
                        .out = f.out,
                        .accumulate = input(n, i, ADD) != NULL,
                        .dots = (layout_of(n, i) == RK_OUT_IN) != rk_is_transposed(w),
                        .after = attr_of(n)->after[i],
                        .joins = attr_of(n)->joins[i],
                        .reads = attr_of(n)->reads[i]};
}

/* Saved are the products with a function after them. Bytes of one; 0: it is the result itself. */
static size_t kept_bytes(const rk_product *p)
{
    if (p->after == RK_UNARY_NONE)
        return 0;
    return rk_align_up(rk_reals(p->x, p->rows * p->out), RK_ARENA_ALIGN);
}

static int products_of(const rk_node *n, rk_product *p)
{
    char *kept = n->saved;
    for (int i = 0; i < n_products(n); i++) {
        p[i] = product_of(n, i);
        if (!kept || p[i].after == RK_UNARY_NONE)
            continue;
        p[i].before = kept;
        kept += kept_bytes(&p[i]);
    }
    return n_products(n);
}

/* ---- shapes ---- */

static bool types_fit(const rk_tensor *x, const rk_tensor *w)
{
    if (x->dtype == RK_F64)
        return w->dtype == RK_F64;
    return x->dtype == RK_F32 && (rk_is_float(w->dtype) || rk_dtype_is_quantised(w->dtype));
}

static bool lies_well(const rk_tensor *w)
{
    return rk_tensor_is_contiguous(w) || rk_is_transposed(w);
}

/* Fills in product i; what is expected of its inputs where they do not fit, else NULL. */
static const char *misfit(const rk_node *n, int i, rk_product *p)
{
    const rk_tensor *x = input(n, i, X), *w = input(n, i, W);
    if (!x || !w || w->n_dims != 2 || x->n_dims == 0)
        return "an input and a matrix";
    if (!types_fit(x, w) || !rk_tensor_is_contiguous(x) || !lies_well(w))
        return "contiguous reals";
    *p = product_of(n, i);
    if (rk_tensor_cols(x) != p->in)
        return "the weight's inputs in the last dimension";
    if (rk_dtype_is_blocks(w->dtype) && (!p->dots || p->in % rk_dtype_block(w->dtype) != 0))
        return "blocks along the inputs";
    if (w->dtype == RK_RANGED && (!p->dots || !w->ranges))
        return "bytes along the inputs, and their ranges";
    return NULL;
}

static bool fits(rk_ctx *ctx, const rk_node *n, int i, rk_product *p)
{
    const char *expected = misfit(n, i, p);
    if (expected) {
        const rk_node alone = {.op = n->op, .n_in = 2, .in = {input(n, i, X), input(n, i, W)}};
        rk_unexpected(ctx, &alone, expected);
    }
    return !expected;
}

static bool make_output(rk_ctx *ctx, rk_node *n, int i, rk_product *p)
{
    const rk_tensor *x = input(n, i, X), *add = input(n, i, ADD);
    int64_t dims[RK_MAX_DIMS];
    memcpy(dims, x->dims, sizeof dims);
    dims[x->n_dims - 1] = p->out;
    if (!n->out[i])
        n->out[i] = rk_new(ctx, x->dtype, x->n_dims, dims);
    p->y = n->out[i];
    return p->y && rk_expect(ctx, n,
                             !add || (add->dtype == x->dtype && rk_tensor_is_contiguous(add) &&
                                      rk_tensor_same_shape(add, p->y)),
                             "a summand of the result's shape");
}

static bool by_output(const rk_ctx *ctx, const rk_product *p)
{
    return !ctx->long_class || rk_product_is_8bit(ctx, p->x, p->w);
}

/* Products of the long class come one after the other, all others at once. */
static size_t forward_scratch(const rk_ctx *ctx, const rk_node *n, const rk_product *p)
{
    const int count = n_products(n);
    size_t most = 0;
    if (!ctx->long_class)
        return rk_products_scratch(ctx, p, count);
    for (int i = 0; i < count; i++) {
        const rk_factor f = factor_of(n, i);
        const size_t bytes = by_output(ctx, &p[i]) ? rk_products_scratch(ctx, &p[i], 1)
                                                   : rk_factor_scratch(ctx, &f, p[i].rows);
        most = bytes > most ? bytes : most;
    }
    return most;
}

/* The shape of the product that is the gradient of a weight, in the weight's order in memory. */
static rk_gemm_shape weight_shape(const rk_product *p)
{
    return p->dots ? (rk_gemm_shape){p->out, p->in, p->rows}
                   : (rk_gemm_shape){p->in, p->out, p->rows};
}

/* Of one product: the gradient before the function, and what its products take. */
static size_t backward_scratch(const rk_ctx *ctx, const rk_node *n, int i, const rk_product *p)
{
    const rk_factor f = factor_of(n, i);
    size_t dx = 0, dw = 0;
    if (p->x->requires_grad)
        dx = rk_factor_back_scratch(ctx, &f, p->rows);
    if (p->w->requires_grad)
        dw = rk_gemm_scratch_on(ctx, p->x->dtype, weight_shape(p));
    return kept_bytes(p) + (dx > dw ? dx : dw);
}

static void linear_shape(rk_ctx *ctx, rk_node *n)
{
    rk_product p[RK_LINEARS_MAX];
    n->n_out = n_products(n);
    for (int i = 0; i < n->n_out; i++) {
        if (!fits(ctx, n, i, &p[i]) || !make_output(ctx, n, i, &p[i]))
            return;
        if (!ctx->recording)
            continue;
        const size_t back = backward_scratch(ctx, n, i, &p[i]);
        n->saved_bytes += kept_bytes(&p[i]);
        n->scratch_bwd_bytes = back > n->scratch_bwd_bytes ? back : n->scratch_bwd_bytes;
    }
    n->heir = p[0].after == RK_UNARY_NONE ? input(n, 0, ADD) : NULL;
    n->scratch_bytes = forward_scratch(ctx, n, p);
}

/* ---- forward ---- */

typedef struct flat_job {
    const rk_kernels *kern;
    const rk_tensor *y; /* whose type the elements have */
    rk_unary op;
    const void *from, *dy;
    void *to;
} flat_job;

static void copy_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const flat_job *j = arg;
    (void)worker;
    memcpy(rk_at(j->y, j->to, lo), rk_at(j->y, j->from, lo), rk_reals(j->y, hi - lo));
}

static void unary_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const flat_job *j = arg;
    (void)worker;
    j->kern->unary(j->op, hi - lo, rk_at(j->y, j->from, lo), rk_at(j->y, j->to, lo));
}

static void flat(rk_ctx *ctx, rk_range_fn *fn, flat_job j)
{
    j.kern = rk_ctx_kernels(ctx, j.y->dtype);
    rk_parallel(ctx, rk_tensor_count(j.y), RK_GRAIN_FLAT, fn, &j);
}

static void long_product(rk_ctx *ctx, const rk_node *n, int i, const rk_product *p)
{
    const rk_factor f = factor_of(n, i);
    void *to = p->before ? p->before : p->y->data;
    rk_factor_product(ctx, n->scratch, p->rows, p->x->data, &f, to, p->out, p->accumulate);
    if (p->after != RK_UNARY_NONE)
        flat(ctx, unary_piece, (flat_job){.y = p->y, .op = p->after, .from = to, .to = p->y->data});
}

static void linear_forward(rk_ctx *ctx, rk_node *n)
{
    rk_product p[RK_LINEARS_MAX];
    const int count = products_of(n, p);
    for (int i = 0; i < count; i++) {
        const rk_tensor *add = input(n, i, ADD);
        void *to = p[i].before ? p[i].before : p[i].y->data;
        if (ctx->observe)
            ctx->observe(ctx->observe_user, p[i].w, p[i].x);
        if (add && add->data != to)
            flat(ctx, copy_piece, (flat_job){.y = p[i].y, .from = add->data, .to = to});
    }
    if (!ctx->long_class)
        rk_products_run(ctx, p, count, n->scratch);
    for (int i = 0; i < count && ctx->long_class; i++)
        if (by_output(ctx, &p[i]))
            rk_products_run(ctx, &p[i], 1, n->scratch);
        else
            long_product(ctx, n, i, &p[i]);
}

/* ---- backward ---- */

static void unary_bwd_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const flat_job *j = arg;
    void *dx = rk_at(j->y, j->to, lo);
    (void)worker;
    memset(dx, 0, rk_reals(j->y, hi - lo));
    j->kern->unary_bwd(j->op, hi - lo, rk_at(j->y, j->from, lo), rk_at(j->y, j->y->data, lo),
                       rk_at(j->y, j->dy, lo), dx);
}

static void add_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const flat_job *j = arg;
    (void)worker;
    j->kern->axpy(hi - lo, 1.0, rk_at(j->y, j->from, lo), rk_at(j->y, j->to, lo));
}

/* dw (+)= x^T d, in the order of w. */
static void weight_gradient(rk_ctx *ctx, void *scratch, const rk_product *p, const void *d,
                            void *dw, bool accumulate)
{
    const rk_dtype real = p->x->dtype;
    const rk_matrix x = {p->x->data, real, p->in, 1}, x_t = {p->x->data, real, 1, p->in};
    const rk_matrix y = {d, real, p->out, 1}, y_t = {d, real, 1, p->out};
    const rk_gemm_shape s = weight_shape(p);
    if (p->dots)
        rk_gemm_on(ctx, real, scratch, s, y_t, x, dw, s.n, accumulate);
    else
        rk_gemm_on(ctx, real, scratch, s, x_t, y, dw, s.n, accumulate);
}

/* All gradients are asked for before the first loop: after an abort there are none to be had. */
static void product_backward(rk_ctx *ctx, const rk_node *n, int i, const rk_product *p)
{
    bool first_x, first_w;
    void *dy = rk_grad(ctx, n->out[i]), *dx = rk_grad_fresh(ctx, input(n, i, X), &first_x);
    void *dw = rk_grad_fresh(ctx, input(n, i, W), &first_w), *dadd = rk_grad(ctx, input(n, i, ADD));
    const rk_factor f = factor_of(n, i);
    char *behind = (char *)n->scratch + kept_bytes(p);
    const void *d = dy; /* the gradient of the product */
    if (p->before) {
        flat(ctx, unary_bwd_piece,
             (flat_job){.y = p->y, .op = p->after, .from = p->before, .dy = dy, .to = n->scratch});
        d = n->scratch;
    }
    if (dx)
        rk_factor_product_back(ctx, behind, p->rows, d, &f, dx, !first_x);
    if (dw)
        weight_gradient(ctx, behind, p, d, dw, !first_w);
    if (dadd && dadd != d) /* it may have taken over dy */
        flat(ctx, add_piece, (flat_job){.y = p->y, .from = d, .to = dadd});
}

static void linear_backward(rk_ctx *ctx, rk_node *n)
{
    rk_product p[RK_LINEARS_MAX];
    for (int i = products_of(n, p) - 1; i >= 0; i--)
        if (n->out[i]->requires_grad)
            product_backward(ctx, n, i, &p[i]);
}

const rk_op rk_op_linear = {
    .name = "linear",
    .shape = linear_shape,
    .on[RK_CPU] = {linear_forward, linear_backward},
    .attr_bytes = sizeof(rk_linear_attr),
};
