/* weight.c: products of activations with weights, each computed as the sum of the weight's terms.
 *
 * The products with all matrices and with the first matrix of every low-rank pair are one group, a
 * single node of the op linear. The products with the second matrices follow in a second group and are
 * added to the sums; a weight with two pairs needs a third. Without low-rank pairs there is one node
 * and no overhead. */
#include "tensor/weight.h"

#include <assert.h>
#include <string.h>

#include "tensor/op_linear.h"

/* ---- terms ---- */

static rk_terms terms_of(rk_ctx *ctx, const rk_weight *w)
{
    rk_terms t = {.matrix = w->matrix, .layout = w->layout};
    if (w->low_rank)
        t.pair[t.n_pairs++] = w->low_rank;
    if (w->adapter)
        w->adapter->apply(ctx, w->adapter, &t);
    return t;
}

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

static void group_add(rk_ctx *ctx, group *g, const rk_linears_in *in, rk_tensor *add,
                      rk_tensor *into, rk_tensor **to)
{
    if (g->n_products == RK_LINEARS_MAX) {
        group_run(ctx, g);
        *g = (group){0};
    }
    const int i = g->n_products++;
    rk_tensor **inputs = g->n.in + i * RK_LINEAR_INPUTS;
    inputs[RK_LINEAR_X] = in->x;
    inputs[RK_LINEAR_W] = in->w.matrix;
    inputs[RK_LINEAR_ADD] = add;
    g->attr.layout[i] = in->w.layout;
    g->attr.after[i] = in->after;
    g->n.out[i] = into;
    g->to[i] = to;
}

/* ---- products ---- */

/* A product whose terms are being summed. */
typedef struct product {
    rk_tensor *x, *y; /* input; sum of the terms so far, NULL: none yet */
    rk_terms terms;
    rk_unary after; /* activation applied to the sum */
    bool own;       /* y was allocated here, not by the caller */
    rk_tensor *into;
    rk_tensor *low[RK_PAIRS_MAX]; /* x times the first matrix of each pair (..., rank) */
} product;

static rk_unary after_term(const product *p, int terms_left)
{
    return terms_left == 0 ? p->after : RK_UNARY_NONE;
}

/* Products with the matrices and with the first matrices of the pairs. */
static void begin(rk_ctx *ctx, group *g, product *p)
{
    const rk_terms *t = &p->terms;
    if (t->matrix || t->n_pairs == 0) { /* without either the op reports the error */
        const rk_linears_in in = {
            p->x, {t->matrix, t->layout, NULL, NULL}, after_term(p, t->n_pairs)};
        group_add(ctx, g, &in, p->y, p->into, &p->y);
        p->own = true;
    }
    for (int q = 0; q < t->n_pairs; q++) {
        const rk_low_rank *pair = t->pair[q];
        const rk_linears_in in = {p->x, {pair->down, pair->layout, NULL, NULL}, pair->between};
        group_add(ctx, g, &in, NULL, NULL, &p->low[q]);
    }
}

/* Product with the second matrix of pair q. Without a tape it is added to the sum in place. */
static void go_on(rk_ctx *ctx, group *g, product *p, int q)
{
    if (q >= p->terms.n_pairs)
        return;
    const rk_low_rank *pair = p->terms.pair[q];
    rk_tensor *low = p->low[q];
    if (pair->scale != 1)
        low = rk_scale(ctx, low, pair->scale);
    if (pair->diagonal) {
        rk_tensor *along = rk_mul(ctx, p->x, pair->diagonal);
        p->y = p->y ? rk_add(ctx, along, p->y) : along;
        p->own = true;
    }
    const rk_linears_in in = {
        low, {pair->up, pair->layout, NULL, NULL}, after_term(p, p->terms.n_pairs - 1 - q)};
    rk_tensor *in_place = p->own && !ctx->recording ? p->y : NULL;
    group_add(ctx, g, &in, p->y, p->into ? p->into : in_place, &p->y);
    p->own = true;
}

static void multiply(rk_ctx *ctx, product *p, int n)
{
    group g = {0};
    int n_pairs = 0;
    for (int i = 0; i < n; i++) {
        begin(ctx, &g, &p[i]);
        n_pairs = p[i].terms.n_pairs > n_pairs ? p[i].terms.n_pairs : n_pairs;
    }
    group_run(ctx, &g);
    for (int q = 0; q < n_pairs && !rk_ctx_failed(ctx); q++) {
        g = (group){0};
        for (int i = 0; i < n; i++)
            go_on(ctx, &g, &p[i], q);
        group_run(ctx, &g);
    }
}

void rk_linears(rk_ctx *ctx, const rk_linears_in *in, int n, rk_tensor **out)
{
    product p[RK_LINEARS_MAX];
    assert(n <= RK_LINEARS_MAX);
    for (int i = 0; i < n; i++)
        p[i] = (product){.x = in[i].x, .terms = terms_of(ctx, &in[i].w), .after = in[i].after};
    multiply(ctx, p, n);
    for (int i = 0; i < n; i++)
        out[i] = rk_ctx_failed(ctx) ? NULL : p[i].y;
}

rk_tensor *rk_linear(rk_ctx *ctx, rk_tensor *x, rk_weight w, rk_tensor *add)
{
    product p = {.x = x, .y = add, .terms = terms_of(ctx, &w), .after = RK_UNARY_NONE};
    multiply(ctx, &p, 1);
    return rk_ctx_failed(ctx) ? NULL : p.y;
}

void rk_linear_into(rk_ctx *ctx, rk_tensor *x, rk_weight w, rk_tensor *y)
{
    product p = {.x = x, .terms = terms_of(ctx, &w), .after = RK_UNARY_NONE, .into = y};
    multiply(ctx, &p, 1);
}
