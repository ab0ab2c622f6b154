/* op_route.c: which blocks of a channel mix's inner channels a token uses: those whose scores are largest on
 * average. The mean of a block's scores is the score of the mean of its keys, so no other matrix is needed,
 * and what is not chosen becomes 0, which the product behind it need not read.
 *
 * Blocks are chosen among those of one generation: what a model grows by does not compete with what it had. */
#include <string.h>

#include "base/num.h"
#include "tensor/op.h"

/* in p (..., F); out (..., F); saved, a byte for each row and block: is it chosen? */

typedef struct job {
    const rk_kernels *kern;
    const rk_node *n;
    const rk_route_form *form;
    int64_t cols, blocks;  /* F, blocks of all generations */
    double *scores;        /* (rows, blocks) */
    unsigned char *chosen; /* the same */
    const void *dy;
    rk_grad_rows dx;
} job;

static int64_t first_of(const rk_route_form *f, int g)
{
    return g > 0 ? f->ends[g - 1] : 0;
}

static int64_t blocks_of(const rk_route_form *f, int g)
{
    return rk_ceil_div(f->ends[g] - first_of(f, g), f->block);
}

static job job_of(rk_ctx *ctx, const rk_node *n)
{
    const rk_tensor *x = n->in[0];
    job j = {.kern = rk_ctx_kernels(ctx, x->dtype), .n = n, .form = n->attr};
    j.cols = rk_tensor_cols(x);
    for (int g = 0; g < j.form->n_generations; g++)
        j.blocks += blocks_of(j.form, g);
    return j;
}

static bool form_fits(const rk_route_form *f, int64_t cols)
{
    bool ok = f->block > 0 && f->best > 0 && f->n_generations > 0 &&
              f->n_generations <= RK_ROUTE_GENERATIONS;
    for (int g = 0; ok && g < f->n_generations; g++)
        ok = f->ends[g] > first_of(f, g);
    return ok && f->ends[f->n_generations - 1] == cols;
}

static void route_shape(rk_ctx *ctx, rk_node *n)
{
    if (!rk_expect_plain(ctx, n) || !rk_expect(ctx, n, form_fits(n->attr, rk_tensor_cols(n->in[0])),
                                               "generations that end with the columns"))
        return;
    const job j = job_of(ctx, n);
    const size_t places = (size_t)(rk_tensor_rows(n->in[0]) * j.blocks);
    n->saved_bytes = places;
    n->scratch_bytes = places * (sizeof *j.scores + 1);
    n->n_out = 1;
    n->out[0] = rk_new_like(ctx, n->in[0]);
}

/* Mark the largest of n scores, the first of equal ones. */
static void choose(const double *score, int64_t n, int64_t best, unsigned char *chosen)
{
    memset(chosen, 0, (size_t)n);
    for (int64_t i = 0; i < rk_min_i64(best, n); i++) {
        int64_t at = -1;
        for (int64_t b = 0; b < n; b++)
            if (!chosen[b] && (at < 0 || score[b] > score[at]))
                at = b;
        chosen[at] = 1;
    }
}

/* Call fn for each block of a row: its place among all of the row, its first column, its columns. */
static void for_each_block(const job *j, int64_t row,
                           void (*fn)(const job *j, int64_t row, int64_t block, int64_t lo,
                                      int64_t n))
{
    const rk_route_form *f = j->form;
    int64_t at = 0;
    for (int g = 0; g < f->n_generations; g++)
        for (int64_t lo = first_of(f, g); lo < f->ends[g]; lo += f->block)
            fn(j, row, at++, lo, rk_min_i64(f->block, f->ends[g] - lo));
}

static void *part(const job *j, const void *data, int64_t row, int64_t lo)
{
    return rk_at(j->n->in[0], data, row * j->cols + lo);
}

static void score_block(const job *j, int64_t row, int64_t block, int64_t lo, int64_t n)
{
    j->scores[row * j->blocks + block] =
        j->kern->sum(n, part(j, j->n->in[0]->data, row, lo)) / (double)n;
}

static void put_block(const job *j, int64_t row, int64_t block, int64_t lo, int64_t n)
{
    void *y = part(j, j->n->out[0]->data, row, lo);
    if (j->chosen[row * j->blocks + block])
        j->kern->unary(RK_RELU2, n, part(j, j->n->in[0]->data, row, lo), y);
    else
        memset(y, 0, rk_reals(j->n->in[0], n));
}

static void forward_rows(void *arg, int64_t lo, int64_t hi, int worker)
{
    const job *j = arg;
    const rk_route_form *f = j->form;
    (void)worker;
    for (int64_t row = lo; row < hi; row++) {
        int64_t at = row * j->blocks;
        for_each_block(j, row, score_block);
        for (int g = 0; g < f->n_generations; at += blocks_of(f, g++))
            choose(j->scores + at, blocks_of(f, g), f->best, j->chosen + at);
        for_each_block(j, row, put_block);
    }
}

static void route_forward(rk_ctx *ctx, rk_node *n)
{
    job j = job_of(ctx, n);
    const int64_t rows = rk_tensor_rows(n->in[0]);
    j.scores = n->scratch;
    j.chosen = n->saved ? n->saved : (unsigned char *)(j.scores + rows * j.blocks);
    rk_parallel(ctx, rows, RK_GRAIN_ROWS, forward_rows, &j);
}

static void back_block(const job *j, int64_t row, int64_t block, int64_t lo, int64_t n)
{
    if (j->chosen[row * j->blocks + block])
        j->kern->unary_bwd(RK_RELU2, n, part(j, j->n->in[0]->data, row, lo),
                           part(j, j->n->out[0]->data, row, lo), part(j, j->dy, row, lo),
                           part(j, j->dx.data, row, lo));
}

static void backward_rows(void *arg, int64_t lo, int64_t hi, int worker)
{
    const job *j = arg;
    (void)worker;
    if (rk_grad_rows_at(&j->dx, lo, hi))
        for (int64_t row = lo; row < hi; row++)
            for_each_block(j, row, back_block);
}

static void route_backward(rk_ctx *ctx, rk_node *n)
{
    job j = job_of(ctx, n);
    const int64_t rows = rk_tensor_rows(n->in[0]);
    j.chosen = n->saved;
    j.dy = rk_grad(ctx, n->out[0]);
    j.dx = rk_grad_rows_of(ctx, n->in[0], rows, NULL);
    rk_parallel(ctx, rows, RK_GRAIN_ROWS, backward_rows, &j);
}

const rk_op rk_op_route = {
    .name = "route",
    .shape = route_shape,
    .on[RK_CPU] = {route_forward, route_backward},
    .attr_bytes = sizeof(rk_route_form),
};

rk_tensor *rk_route(rk_ctx *ctx, rk_tensor *p, const rk_route_form *form)
{
    rk_node n = {.op = &rk_op_route, .n_in = 1, .in = {p}, .attr = form};
    return rk_apply1(ctx, &n);
}
