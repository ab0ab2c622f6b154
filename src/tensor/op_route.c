/* op_route.c: which blocks of a channel mix's inner channels a token uses: those whose scores are largest on
 * average. The mean of a block's scores is the score of the mean of its keys, so no other matrix is needed,
 * and what is not chosen becomes 0, which the product behind it need not read.
 *
 * Blocks are chosen among those of one generation: what a model grows by does not compete with what it had. */
#include <math.h>
#include <string.h>

#include "base/num.h"
#include "tensor/op.h"

/* in p (..., T, F); out (..., T, F); saved, for each row and block: its score, where the backward pass asks
 * for it, and a byte: is it chosen? */

typedef struct job {
    const rk_kernels *kern;
    const rk_node *n;
    const rk_route_form *form;
    int64_t cols, blocks;  /* F, blocks of all generations */
    double *scores;        /* (rows, blocks) */
    unsigned char *chosen; /* the same */
    /* Backward. */
    const void *dy;
    rk_grad_rows dx;
    double pull;     /* of the balance, at one position */
    double *shares;  /* (sequences, blocks) of positions that chose a block */
    double *dscores; /* (rows, blocks) */
    char *mine;      /* (threads, 2 block) reals */
} job;

static int64_t first_of(const rk_route_form *f, int g)
{
    return g > 0 ? f->ends[g - 1] : 0;
}

static int64_t blocks_of(const rk_route_form *f, int g)
{
    return rk_ceil_div(f->ends[g] - first_of(f, g), f->block);
}

/* Does anything but the choice follow from the scores? */
static bool keeps_scores(const rk_route_form *f)
{
    return f->gate || f->balance > 0.0;
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

/* Positions of a sequence. */
static int64_t steps_of(const rk_tensor *x)
{
    return x->n_dims > 1 ? x->dims[x->n_dims - 2] : 1;
}

static int64_t sequences_of(const rk_tensor *x)
{
    return rk_tensor_rows(x) / rk_max_i64(steps_of(x), 1);
}

/* Of a thread's two rows of a block. */
static size_t thread_bytes(const job *j)
{
    return 2 * rk_reals(j->n->in[0], rk_min_i64(j->form->block, j->cols));
}

static void route_shape(rk_ctx *ctx, rk_node *n)
{
    if (!rk_expect_plain(ctx, n) || !rk_expect(ctx, n, form_fits(n->attr, rk_tensor_cols(n->in[0])),
                                               "generations that end with the columns"))
        return;
    const job j = job_of(ctx, n);
    const size_t places = (size_t)(rk_tensor_rows(n->in[0]) * j.blocks);
    const size_t scored = places * (sizeof *j.scores + 1);
    n->saved_bytes = keeps_scores(j.form) ? scored : places;
    n->scratch_bytes = scored;
    if (keeps_scores(j.form))
        n->scratch_bwd_bytes =
            (places + (size_t)(sequences_of(n->in[0]) * j.blocks)) * sizeof(double) +
            thread_bytes(&j) * (size_t)rk_pool_n_threads(ctx->pool);
    n->n_out = 1;
    n->out[0] = rk_new_like(ctx, n->in[0]);
}

static void find_saved(job *j, void *saved)
{
    const int64_t rows = rk_tensor_rows(j->n->in[0]);
    if (keeps_scores(j->form)) {
        j->scores = saved;
        j->chosen = (unsigned char *)(j->scores + rows * j->blocks);
    } else {
        j->chosen = saved;
    }
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

/* A block of a row: its place among all of the row, its columns. */
typedef struct piece {
    int64_t row, at, lo, n;
    int worker;
} piece;

/* Call fn for each block of a row. */
static void for_each_block(const job *j, int64_t row, int worker,
                           void (*fn)(const job *j, const piece *b))
{
    const rk_route_form *f = j->form;
    piece b = {.row = row, .at = row * j->blocks, .worker = worker};
    for (int g = 0; g < f->n_generations; g++)
        for (b.lo = first_of(f, g); b.lo < f->ends[g]; b.lo += f->block, b.at++) {
            b.n = rk_min_i64(f->block, f->ends[g] - b.lo);
            fn(j, &b);
        }
}

static void *part(const job *j, const void *data, const piece *b)
{
    return rk_at(j->n->in[0], data, b->row * j->cols + b->lo);
}

static void fill(const rk_tensor *like, void *x, int64_t n, double value)
{
    for (int64_t i = 0; i < n; i++) {
        if (like->dtype == RK_F64)
            ((double *)x)[i] = value;
        else
            ((float *)x)[i] = (float)value;
    }
}

static double gate_of(const job *j, const piece *b)
{
    return 1.0 / (1.0 + exp(-j->scores[b->at]));
}

static void score_block(const job *j, const piece *b)
{
    j->scores[b->at] = j->kern->sum(b->n, part(j, j->n->in[0]->data, b)) / (double)b->n;
}

static void put_block(const job *j, const piece *b)
{
    void *y = part(j, j->n->out[0]->data, b);
    if (!j->chosen[b->at]) {
        memset(y, 0, rk_reals(j->n->in[0], b->n));
        return;
    }
    j->kern->unary(RK_RELU2, b->n, part(j, j->n->in[0]->data, b), y);
    if (j->form->gate)
        j->kern->scale(b->n, gate_of(j, b), y, y);
}

static void forward_rows(void *arg, int64_t lo, int64_t hi, int worker)
{
    const job *j = arg;
    const rk_route_form *f = j->form;
    for (int64_t row = lo; row < hi; row++) {
        int64_t at = row * j->blocks;
        for_each_block(j, row, worker, score_block);
        for (int g = 0; g < f->n_generations; at += blocks_of(f, g++))
            choose(j->scores + at, blocks_of(f, g), f->best, j->chosen + at);
        for_each_block(j, row, worker, put_block);
    }
}

static void route_forward(rk_ctx *ctx, rk_node *n)
{
    job j = job_of(ctx, n);
    const int64_t rows = rk_tensor_rows(n->in[0]);
    j.scores = n->scratch;
    j.chosen = (unsigned char *)(j.scores + rows * j.blocks);
    if (n->saved)
        find_saved(&j, n->saved);
    rk_parallel(ctx, rows, RK_GRAIN_ROWS, forward_rows, &j);
}

/* ---- backward ---- */

static void back_block(const job *j, const piece *b)
{
    if (j->chosen[b->at])
        j->kern->unary_bwd(RK_RELU2, b->n, part(j, j->n->in[0]->data, b),
                           part(j, j->n->out[0]->data, b), part(j, j->dy, b),
                           part(j, j->dx.data, b));
}

/* The gate's share: relu(p)^2 has the gate as a factor, and the score that the gate is of is the mean of p.
 * Returns the gradient of the score. */
static double back_gated(const job *j, const piece *b, void *spare)
{
    const double gate = gate_of(j, b);
    const void *y = part(j, j->n->out[0]->data, b), *dy = part(j, j->dy, b);
    j->kern->mul(b->n, y, dy, spare);
    const double along = j->kern->sum(b->n, spare);
    j->kern->scale(b->n, gate, dy, spare);
    j->kern->unary_bwd(RK_RELU2, b->n, part(j, j->n->in[0]->data, b), y, spare,
                       part(j, j->dx.data, b));
    return along * (1.0 - gate);
}

/* Gradients d of the scores of a generation's n blocks at one position. The balance is n sum_b f_b P_b, f_b the
 * share of a sequence's positions that chose block b, through which no gradient goes, and P_b the mean over
 * them of softmax(scores)_b. */
static void pull_scores(const job *j, const double *scores, const double *share, int64_t n,
                        double *d)
{
    double most = scores[0], sum = 0.0, mean = 0.0;
    for (int64_t b = 1; b < n; b++)
        most = fmax(most, scores[b]);
    for (int64_t b = 0; b < n; b++)
        sum += d[b] = exp(scores[b] - most);
    for (int64_t b = 0; b < n; b++)
        mean += (d[b] /= sum) * share[b];
    for (int64_t b = 0; b < n; b++)
        d[b] *= j->pull * (double)n * (share[b] - mean);
}

static void pull_row(const job *j, int64_t row)
{
    const double *share = j->shares + row / steps_of(j->n->in[0]) * j->blocks;
    int64_t at = 0;
    for (int g = 0; g < j->form->n_generations; at += blocks_of(j->form, g++))
        pull_scores(j, j->scores + row * j->blocks + at, share + at, blocks_of(j->form, g),
                    j->dscores + row * j->blocks + at);
}

/* The mean's gradient goes to each of what it is of. */
static void back_scored(const job *j, const piece *b)
{
    char *spare = j->mine + (size_t)b->worker * thread_bytes(j);
    void *ones = spare + thread_bytes(j) / 2;
    double d = j->dscores[b->at];
    if (j->chosen[b->at] && j->form->gate)
        d += back_gated(j, b, spare);
    else
        back_block(j, b);
    fill(j->n->in[0], ones, b->n, 1.0);
    j->kern->axpy(b->n, d / (double)b->n, ones, part(j, j->dx.data, b));
}

static void backward_rows(void *arg, int64_t lo, int64_t hi, int worker)
{
    const job *j = arg;
    if (!rk_grad_rows_at(&j->dx, lo, hi))
        return;
    for (int64_t row = lo; row < hi; row++) {
        if (keeps_scores(j->form))
            pull_row(j, row);
        for_each_block(j, row, worker, keeps_scores(j->form) ? back_scored : back_block);
    }
}

static void share_rows(void *arg, int64_t lo, int64_t hi, int worker)
{
    const job *j = arg;
    const int64_t steps = steps_of(j->n->in[0]);
    (void)worker;
    for (int64_t s = lo; s < hi; s++)
        for (int64_t b = 0; b < j->blocks; b++) {
            int64_t n = 0;
            for (int64_t t = 0; t < steps; t++)
                n += j->chosen[(s * steps + t) * j->blocks + b];
            j->shares[s * j->blocks + b] = (double)n / (double)steps;
        }
}

static void route_backward(rk_ctx *ctx, rk_node *n)
{
    job j = job_of(ctx, n);
    const int64_t rows = rk_tensor_rows(n->in[0]), sequences = sequences_of(n->in[0]);
    find_saved(&j, n->saved);
    j.dy = rk_grad(ctx, n->out[0]);
    j.dx = rk_grad_rows_of(ctx, n->in[0], rows, NULL);
    if (keeps_scores(j.form)) {
        j.pull = j.form->balance * ctx->loss_share;
        j.dscores = n->scratch;
        j.shares = j.dscores + rows * j.blocks;
        j.mine = (char *)(j.shares + sequences * j.blocks);
        rk_parallel(ctx, sequences, 1, share_rows, &j);
    }
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
