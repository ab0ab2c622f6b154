/* weight.c: products of activations with weights, each computed as the sum of the weight's terms.
 *
 * The products with all matrices and with the first matrix of every low-rank pair and adapter are one
 * group, a single node of the op linear. Those with the second matrices follow in groups of their own
 * and are added to the sums. With a matrix alone there is one node and no overhead.
 *
 * An adapter works on the rows of the streams that it belongs to. Without a tape they are slices of the
 * product, which it changes in place; streams with other adapters are other rows of the same group.
 *
 * In decoding the second matrices of adapters are in the first group, too: each task adds them to the
 * outputs that it has just computed (by_output.c), so that an adapter costs no fork and join. */
#include "tensor/weight.h"

#include <assert.h>
#include <string.h>

#include "tensor/factor.h"
#include "tensor/op_linear.h"

/* ---- groups ---- */

/* Products computed by one node, and where their results are stored. */
typedef struct group {
    rk_node n;
    rk_linear_attr attr;
    rk_tensor **to[RK_LINEARS_MAX];
    int n_products;
} group;

static bool needs_grad(const rk_node *n, int i)
{
    for (int q = 0; q < RK_LINEAR_INPUTS; q++) {
        const rk_tensor *in = n->in[i * RK_LINEAR_INPUTS + q];
        if (in && in->requires_grad)
            return true;
    }
    return false;
}

static void group_run(rk_ctx *ctx, group *g)
{
    g->n.op = &rk_op_linear;
    g->n.n_in = g->n_products * RK_LINEAR_INPUTS;
    g->n.attr = &g->attr;
    const bool ok = g->n_products > 0 && rk_apply(ctx, &g->n);
    for (int i = 0; i < g->n_products; i++) {
        *g->to[i] = ok ? g->n.out[i] : NULL;
        if (ok && ctx->recording) /* a gradient for this product only where it needs one itself */
            g->n.out[i]->requires_grad = needs_grad(&g->n, i);
    }
}

/* A product of x and a matrix, added to `add` (may be NULL), in memory `into` (may be NULL). */
typedef struct job {
    rk_tensor *x, *matrix;
    rk_layout layout;
    rk_unary after;
    rk_tensor *add, *into;
    rk_tensor **to;   /* receives the result */
    int joins, reads; /* as in rk_linear_attr */
} job;

/* Returns its number in the group. */
static int group_add(rk_ctx *ctx, group *g, const job *j)
{
    if (g->n_products == RK_LINEARS_MAX) {
        group_run(ctx, g);
        *g = (group){0};
    }
    const int i = g->n_products++;
    rk_tensor **inputs = g->n.in + i * RK_LINEAR_INPUTS;
    inputs[RK_LINEAR_X] = j->x;
    inputs[RK_LINEAR_W] = j->matrix;
    inputs[RK_LINEAR_ADD] = j->add;
    g->attr.layout[i] = j->layout;
    g->attr.after[i] = j->after;
    g->attr.joins[i] = j->joins;
    g->attr.reads[i] = j->reads;
    g->n.out[i] = j->into;
    g->to[i] = j->to;
    return i;
}

/* ---- products ---- */

/* A product whose terms are being summed. */
typedef struct product {
    const rk_weight *w;
    rk_tensor *x, *y; /* input; sum of the terms so far, NULL: none yet */
    rk_unary after;   /* activation applied to the sum */
    bool own;         /* y was allocated here, not by the caller */
    bool adapted;     /* adapters add to it when the group has been computed */
    rk_tensor *add;   /* the caller's summand, which no gain multiplies; NULL: none */
    rk_tensor *into;
    rk_tensor *room; /* where the matrix's product is to be, named before it is made; NULL: into */
    int at;          /* number of that product in its group */
    rk_tensor *low;  /* x times the first matrix of the low-rank pair (..., rank) */
} product;

/* The activation, where this is the last term that a node computes. */
static rk_unary after_term(const product *p, bool last)
{
    return last && !p->adapted ? p->after : RK_UNARY_NONE;
}

/* Products with the matrix and with the first matrix of the pair. */
static void begin(rk_ctx *ctx, group *g, product *p)
{
    const rk_low_rank *pair = p->w->low_rank;
    if (p->w->matrix || !pair) { /* without either the op reports the error */
        p->at = group_add(ctx, g,
                          &(job){.x = p->x,
                                 .matrix = p->w->matrix,
                                 .layout = p->w->layout,
                                 .after = after_term(p, !pair),
                                 .add = p->y,
                                 .into = p->room ? p->room : p->into,
                                 .to = &p->y});
        p->own = true;
    }
    if (pair)
        group_add(ctx, g,
                  &(job){.x = p->x,
                         .matrix = pair->down,
                         .layout = pair->layout,
                         .after = pair->between,
                         .to = &p->low});
}

/* Product with the second matrix of the pair. Without a tape it is added to the sum in place. */
static void go_on(rk_ctx *ctx, group *g, product *p)
{
    const rk_low_rank *pair = p->w->low_rank;
    if (!pair)
        return;
    rk_tensor *low = pair->scale != 1 ? rk_scale(ctx, p->low, pair->scale) : p->low;
    if (pair->diagonal) {
        rk_tensor *along = rk_mul(ctx, p->x, pair->diagonal);
        p->y = p->y ? rk_add(ctx, along, p->y) : along;
        p->own = true;
    }
    rk_tensor *in_place = p->own && !ctx->recording ? p->y : NULL;
    group_add(ctx, g,
              &(job){.x = low,
                     .matrix = pair->up,
                     .layout = pair->layout,
                     .after = after_term(p, true),
                     .add = p->y,
                     .into = p->into ? p->into : in_place,
                     .to = &p->y});
    p->own = true;
}

/* ---- adapters ---- */

/* An adapter at work on some rows of a product. */
typedef struct branch {
    product *p;
    const rk_adapter *a;
    int64_t lo, hi; /* rows */
    bool all;
    int round;      /* its place in its chain: those of one round add to different rows */
    bool joins;     /* both steps are in the group of the matrix */
    int at;         /* number of the first step in its group */
    rk_tensor *low; /* (rows, rank) */
    rk_tensor *sum; /* where its product goes */
} branch;

static const rk_adapter *adapter_of(const rk_weight *w, const rk_adapted_rows *r)
{
    return w->adapted_as > 0 ? r->of[w->adapted_as] : NULL;
}

/* Branches of a product into b, which may be NULL; returns how many there are. */
static int branches_of(const rk_ctx *ctx, product *p, branch *b)
{
    const struct rk_adapting *s = ctx->adapting;
    int n = 0;
    for (int i = 0; s && p->x && i < s->n; i++) {
        const int64_t rows = rk_tensor_rows(p->x) / s->n_streams;
        int round = 0;
        for (const rk_adapter *a = adapter_of(p->w, &s->rows[i]); a; a = a->next, n++, round++)
            if (b)
                b[n] = (branch){.p = p,
                                .a = a,
                                .lo = s->rows[i].lo * rows,
                                .hi = s->rows[i].hi * rows,
                                .all = s->rows[i].hi - s->rows[i].lo == s->n_streams,
                                .round = round};
    }
    p->adapted = n > 0;
    return n;
}

/* The branch's rows of x or y. */
static rk_tensor *rows_of(rk_ctx *ctx, const branch *b, rk_tensor *t)
{
    if (!t || b->all)
        return t;
    const int64_t flat[2] = {rk_tensor_rows(t), rk_tensor_cols(t)};
    assert(!ctx->recording);
    return rk_slice(ctx, rk_view(ctx, t, 2, flat), 0, b->lo, b->hi);
}

static void set_rows(rk_ctx *ctx, const branch *b, rk_tensor *rows)
{
    if (b->all && !b->p->into) {
        b->p->y = rows;
        return;
    }
    rk_tensor *to = rows_of(ctx, b, b->p->y);
    if (to && rows && !ctx->planning && !rk_ctx_failed(ctx))
        memcpy(to->data, rows->data, rk_tensor_bytes(to));
}

static void add_rows(rk_ctx *ctx, const branch *b, rk_tensor *rows)
{
    set_rows(ctx, b, rk_add(ctx, rows_of(ctx, b, b->p->y), rows));
}

/* Memory for rows of x's shape with other widths. */
static rk_tensor *room_for(rk_ctx *ctx, const rk_tensor *x, int64_t width)
{
    int64_t dims[RK_MAX_DIMS];
    if (!x)
        return NULL;
    memcpy(dims, x->dims, sizeof dims);
    dims[x->n_dims - 1] = width;
    return rk_new(ctx, x->dtype, x->n_dims, dims);
}

/* The first step. */
static void branch_begin(rk_ctx *ctx, group *g, branch *b)
{
    const rk_adapter *a = b->a;
    if (!a->up)
        return;
    rk_tensor *x = rk_dropout(ctx, rows_of(ctx, b, b->p->x), a->dropout, a->index);
    if (a->down)
        b->at = group_add(ctx, g,
                          &(job){.x = x,
                                 .matrix = a->down,
                                 .layout = RK_OUT_IN,
                                 .after = RK_UNARY_NONE,
                                 .into = b->joins ? room_for(ctx, x, a->rank) : NULL,
                                 .to = &b->low});
    else
        b->low = rk_fold(ctx, x, a->rank);
}

static int64_t outputs_of(const rk_tensor *matrix, rk_layout layout)
{
    return matrix->dims[layout == RK_OUT_IN ? 0 : 1];
}

static bool is_repeated(const branch *b)
{
    const rk_weight *w = b->p->w;
    const int64_t outputs = w->matrix ? outputs_of(w->matrix, w->layout)
                                      : outputs_of(w->low_rank->up, w->low_rank->layout);
    return outputs_of(b->a->up, b->a->layout) < outputs;
}

/* The second step, added to the product. */
static void branch_go_on(rk_ctx *ctx, group *g, branch *b)
{
    const rk_adapter *a = b->a;
    if (!a->up || !b->p->y || b->joins)
        return;
    rk_tensor *y = rows_of(ctx, b, b->p->y);
    const bool repeated = is_repeated(b), in_place = !ctx->recording && b->p->own;
    group_add(ctx, g,
              &(job){.x = a->scale != 1 ? rk_scale(ctx, b->low, a->scale) : b->low,
                     .matrix = a->up,
                     .layout = a->layout,
                     .after = RK_UNARY_NONE,
                     .add = repeated ? NULL : y,
                     .into = !repeated && in_place ? y : NULL,
                     .to = b->all && !repeated ? &b->p->y : &b->sum});
}

/* add + gain (y - add): the sums before have the order that they have without a gain. */
static void branch_gain(rk_ctx *ctx, branch *b)
{
    rk_tensor *y = rows_of(ctx, b, b->p->y), *add = rows_of(ctx, b, b->p->add);
    rk_tensor *const gains[2] = {b->a->gain(ctx, b->a, b->p->w), b->a->magnitude};
    for (int i = 0; i < 2; i++)
        if (gains[i])
            y = add ? rk_lerp(ctx, add, y, gains[i]) : rk_mul(ctx, y, gains[i]);
    set_rows(ctx, b, y);
}

/* What is no product. */
static void branch_end(rk_ctx *ctx, branch *b)
{
    const rk_adapter *a = b->a;
    if (a->up && is_repeated(b))
        add_rows(ctx, b, rk_repeat(ctx, b->sum, rk_tensor_cols(b->p->y)));
    if (a->added)
        add_rows(ctx, b, a->added(ctx, a, b->p->w, rows_of(ctx, b, b->p->x)));
    if (a->gain && !rk_ctx_failed(ctx))
        branch_gain(ctx, b);
}

/* One branch of every row's chain at a time: the sums have the order of the chain. */
static void adapt(rk_ctx *ctx, product *p, int n, branch *b, int n_branches)
{
    bool more = n_branches > 0;
    for (int round = 0; more && !rk_ctx_failed(ctx); round++) {
        group g = {0};
        more = false;
        for (int i = 0; i < n_branches; i++)
            if (b[i].round == round)
                branch_go_on(ctx, &g, &b[i]);
        group_run(ctx, &g);
        for (int i = 0; i < n_branches && !rk_ctx_failed(ctx); i++)
            if (b[i].round == round)
                branch_end(ctx, &b[i]);
            else
                more = more || b[i].round > round;
    }
    for (int i = 0; i < n; i++) {
        if (p[i].adapted && p[i].after != RK_UNARY_NONE)
            p[i].y = rk_unary_op(ctx, p[i].after, p[i].y);
    }
}

/* Room for the branches of n products; NULL where there are none, and after a failure. */
static branch *find_branches(rk_ctx *ctx, product *p, int n, int *n_branches)
{
    *n_branches = 0;
    if (!ctx->adapting)
        return NULL;
    for (int i = 0; i < n; i++)
        *n_branches += branches_of(ctx, &p[i], NULL);
    if (*n_branches == 0)
        return NULL;
    branch *b = rk_arena_alloc(&ctx->meta, (size_t)*n_branches * sizeof *b), *at = b;
    if (!b) {
        rk_ctx_fail(ctx, RK_ERR_NOMEM, "out of memory for %d adapters", *n_branches);
        *n_branches = 0;
    }
    for (int i = 0; b && i < n; i++)
        at += branches_of(ctx, &p[i], at);
    return b;
}

/* ---- adapters whose steps are in the group of the matrix ---- */

static bool can_join(const branch *b)
{
    const rk_adapter *a = b->a;
    const rk_weight *w = b->p->w;
    return a->up && a->scale == 1 && w->matrix && !w->low_rank && !is_repeated(b);
}

/* Which of the branches can join, in each chain those before the first that cannot, or that ends with
 * a gain; and which products nothing else is to be done for afterwards. Returns how many products the
 * group has with them. */
static int find_joining(product *p, int n, branch *b, int n_branches)
{
    bool open = false;
    int count = n;
    for (int i = 0; i < n; i++)
        p[i].adapted = false;
    for (int i = 0; i < n_branches; i++) {
        open = b[i].joins = (open || b[i].round == 0) && can_join(&b[i]);
        open = open && !b[i].a->gain;
        b[i].p->adapted = b[i].p->adapted || !open;
        if (b[i].a->up)
            count += (b[i].a->down != NULL) + b[i].joins;
    }
    return count;
}

/* Decoding has one group for all, where they fit in. */
static bool all_join(const rk_ctx *ctx, product *p, int n, branch *b, int n_branches)
{
    if (n_branches == 0 || ctx->recording || ctx->long_class)
        return false;
    const bool fit = find_joining(p, n, b, n_branches) <= RK_LINEARS_MAX;
    for (int i = 0; i < n_branches && !fit; i++) {
        b[i].joins = false;
        b[i].p->adapted = true;
    }
    return fit;
}

static void branch_join(rk_ctx *ctx, group *g, branch *b)
{
    if (!b->joins)
        return;
    const bool later = b->a->down;
    rk_tensor *y = rows_of(ctx, b, b->p->room);
    group_add(ctx, g,
              &(job){.x = later ? g->n.out[b->at] : b->low,
                     .matrix = b->a->up,
                     .layout = b->a->layout,
                     .after = RK_UNARY_NONE,
                     .add = y,
                     .into = y,
                     .to = &b->sum,
                     .joins = b->p->at + 1,
                     .reads = later ? b->at + 1 : 0});
}

/* First steps come first in the list of tasks: second ones read them. */
static void begin_joined(rk_ctx *ctx, group *g, product *p, int n, branch *b, int n_branches)
{
    for (int i = 0; i < n_branches; i++)
        branch_begin(ctx, g, &b[i]);
    for (int i = 0; i < n_branches; i++) {
        product *to = b[i].p;
        if (b[i].joins && !to->room)
            to->room = to->into ? to->into
                                : room_for(ctx, to->x, outputs_of(to->w->matrix, to->w->layout));
    }
    for (int i = 0; i < n; i++)
        begin(ctx, g, &p[i]);
    for (int i = 0; i < n_branches && !rk_ctx_failed(ctx); i++)
        branch_join(ctx, g, &b[i]);
}

/* ---- all of it ---- */

/* The group with all matrices. Returns whether low-rank pairs go on. */
static bool begin_all(rk_ctx *ctx, product *p, int n, branch *b, int n_branches)
{
    group g = {0};
    bool pairs = false;
    for (int i = 0; i < n; i++)
        pairs = pairs || p[i].w->low_rank;
    if (all_join(ctx, p, n, b, n_branches))
        begin_joined(ctx, &g, p, n, b, n_branches);
    else {
        for (int i = 0; i < n; i++)
            begin(ctx, &g, &p[i]);
        for (int i = 0; i < n_branches; i++)
            branch_begin(ctx, &g, &b[i]);
    }
    group_run(ctx, &g);
    return pairs;
}

static void multiply(rk_ctx *ctx, product *p, int n)
{
    int n_branches;
    branch *b = find_branches(ctx, p, n, &n_branches);
    const bool pairs = begin_all(ctx, p, n, b, n_branches);
    if (pairs && !rk_ctx_failed(ctx)) {
        group g = {0};
        for (int i = 0; i < n; i++)
            go_on(ctx, &g, &p[i]);
        group_run(ctx, &g);
    }
    adapt(ctx, p, n, b, n_branches);
}

void rk_linears(rk_ctx *ctx, const rk_linears_in *in, int n, rk_tensor **out)
{
    product p[RK_LINEARS_MAX];
    assert(n <= RK_LINEARS_MAX);
    for (int i = 0; i < n; i++)
        p[i] = (product){.x = in[i].x, .w = &in[i].w, .after = in[i].after};
    multiply(ctx, p, n);
    for (int i = 0; i < n; i++)
        out[i] = rk_ctx_failed(ctx) ? NULL : p[i].y;
}

rk_tensor *rk_linear(rk_ctx *ctx, rk_tensor *x, rk_weight w, rk_tensor *add)
{
    product p = {.x = x, .y = add, .add = add, .w = &w, .after = RK_UNARY_NONE};
    multiply(ctx, &p, 1);
    return rk_ctx_failed(ctx) ? NULL : p.y;
}

void rk_linear_into(rk_ctx *ctx, rk_tensor *x, rk_weight w, rk_tensor *y)
{
    product p = {.x = x, .w = &w, .after = RK_UNARY_NONE, .into = y};
    multiply(ctx, &p, 1);
}

/* ---- the whole matrix ---- */

void rk_matrix_row(const rk_tensor *w, rk_layout layout, int64_t o, float *row)
{
    const rk_factor f = rk_factor_of(w, layout), part = rk_factor_part(&f, o, 1);
    if (rk_dtype_is_quantised(f.dtype)) {
        rk_factor_widen(&part, row);
        return;
    }
    for (int64_t i = 0; i < f.in; i++) {
        const int64_t at = i * f.in_stride;
        switch (f.dtype) {
        case RK_BF16:
            row[i] = rk_bf16_to_f32(((const uint16_t *)part.data)[at]);
            break;
        case RK_F16:
            row[i] = rk_f16_to_f32(((const uint16_t *)part.data)[at]);
            break;
        case RK_F64:
            row[i] = (float)((const double *)part.data)[at];
            break;
        default:
            row[i] = ((const float *)part.data)[at];
        }
    }
}

rk_tensor *rk_as_reals(rk_ctx *ctx, rk_tensor *w)
{
    if (!w || w->dtype == RK_F32 || w->dtype == RK_F64)
        return w;
    const int64_t rows[1] = {w->dims[0]};
    rk_tensor *ids = rk_new(ctx, RK_I32, 1, rows);
    for (int64_t i = 0; ids && ids->data && i < rows[0]; i++)
        ((int32_t *)ids->data)[i] = (int32_t)i;
    return rk_embedding(ctx, w, ids);
}

/* scale up down, (out, in). */
static rk_tensor *product_of(rk_ctx *ctx, const rk_adapter *a, const rk_tensor *w)
{
    rk_tensor *up = a->up;
    if (a->layout == RK_IN_OUT)
        up = rk_copy(ctx, rk_transpose(ctx, rk_repeat(ctx, up, w->dims[0]), 0, 1));
    rk_tensor *all = a->down ? rk_matmul(ctx, up, a->down) : rk_repeat(ctx, up, w->dims[1]);
    return a->scale != 1 ? rk_scale(ctx, all, a->scale) : all;
}

rk_tensor *rk_weight_matrix(rk_ctx *ctx, const rk_weight *w)
{
    const struct rk_adapting *s = ctx->adapting;
    const rk_adapter *a = s && s->n > 0 ? adapter_of(w, &s->rows[0]) : NULL;
    rk_tensor *all = a ? rk_as_reals(ctx, w->matrix) : w->matrix;
    for (; a && !rk_ctx_failed(ctx); a = a->next)
        if (a->up && !a->gain && w->layout == RK_OUT_IN)
            all = rk_add(ctx, product_of(ctx, a, all), all);
        else
            rk_ctx_fail(
                ctx, RK_ERR_UNSUPPORTED,
                "this kind of adapter is not computed for a whole matrix, such as the head's");
    return rk_ctx_failed(ctx) ? NULL : all;
}

bool rk_weight_is_adapted(const rk_ctx *ctx, const rk_weight *w)
{
    const struct rk_adapting *s = ctx->adapting;
    for (int i = 0; s && i < s->n; i++)
        if (adapter_of(w, &s->rows[i]))
            return true;
    return false;
}
