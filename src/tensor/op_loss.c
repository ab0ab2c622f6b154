/* op_loss.c: cross-entropy from hidden rows and the head, over blocks of the vocabulary.
 *
 * Logits exist for one block of rows and columns at a time: forward keeps a running maximum and sum
 * per row, backward computes the block again, turns it into its gradient in place, and adds its two
 * products to the gradients of the hidden rows and of the head. Holding all logits would take 4 V
 * bytes a token (V = 65536: 256 KiB), more than everything else. The price is one product more. */
#include <math.h>
#include <string.h>

#include "base/num.h"
#include "kernels/gemm.h"
#include "tensor/op.h"

enum { BLOCK_ROWS = 1024, BLOCK_COLS = 1024 };

/* Rows and columns of the largest block, its logits' place in the scratch, the product's behind. */
typedef struct loss_sizes {
    int64_t rows, cols, width, block_rows, block_cols;
    size_t logits_bytes;
} loss_sizes;

static loss_sizes sizes_of(const rk_node *n)
{
    loss_sizes s = {
        .rows = rk_tensor_rows(n->in[0]), .cols = n->in[1]->dims[0], .width = n->in[1]->dims[1]};
    s.block_rows = rk_min_i64(s.rows, BLOCK_ROWS);
    s.block_cols = rk_min_i64(s.cols, BLOCK_COLS);
    s.logits_bytes = rk_align_up(rk_reals(n->in[0], s.block_rows * s.block_cols), RK_ARENA_ALIGN);
    return s;
}

static size_t products_scratch(const rk_ctx *ctx, const rk_node *n, loss_sizes s)
{
    const rk_gemm_shape shapes[] = {{s.block_rows, s.block_cols, s.width},
                                    {s.block_rows, s.width, s.block_cols},
                                    {s.block_cols, s.width, s.block_rows}};
    size_t most = 0;
    for (size_t i = 0; i < RK_COUNT(shapes); i++) {
        const size_t bytes = rk_gemm_scratch(rk_ctx_kernels(ctx, n->in[0]->dtype),
                                             rk_pool_n_threads(ctx->pool), shapes[i]);
        most = bytes > most ? bytes : most;
    }
    return most;
}

void rk_cross_entropy_shape(rk_ctx *ctx, rk_node *n)
{
    const rk_tensor *h = n->in[0], *head = n->in[1], *targets = n->in[2];
    const bool ok = head && targets && h->n_dims >= 2 && head->n_dims == 2 &&
                    targets->dtype == RK_I32 && rk_tensor_cols(h) == head->dims[1] &&
                    rk_tensor_count(targets) == rk_tensor_rows(h) && rk_tensor_is_contiguous(h) &&
                    rk_tensor_is_contiguous(head) && rk_tensor_is_contiguous(targets) &&
                    (h->dtype == RK_F64 ? head->dtype == RK_F64
                                        : h->dtype == RK_F32 && rk_is_float(head->dtype));
    if (!rk_expect(ctx, n, ok, "hidden rows, a head of their width and an i32 target a row"))
        return;
    const loss_sizes s = sizes_of(n);
    n->saved_bytes = (size_t)s.rows * sizeof(rk_ce_row);
    n->scratch_bytes =
        s.logits_bytes + products_scratch(ctx, n, s) + rk_align_up(n->saved_bytes, RK_ARENA_ALIGN);
    n->scratch_bwd_bytes = s.logits_bytes + products_scratch(ctx, n, s);
    n->n_out = 1;
    n->out[0] = rk_new(ctx, h->dtype, h->n_dims - 1, h->dims);
}

typedef struct loss_job {
    const rk_kernels *kern;
    const rk_node *n;
    loss_sizes s;
    int64_t row0, col0, block_cols; /* the block at hand */
    void *logits;
    rk_ce_row *state; /* (rows) */
    const void *dloss;
    void *dh, *dhead;
    bool first_h, first_head; /* nothing was added to these yet */
} loss_job;

/* Logits of rows [row0, row0 + rows) and columns [col0, col0 + cols). */
static void block_logits(rk_ctx *ctx, const loss_job *j, void *scratch, int64_t rows)
{
    const rk_tensor *h = j->n->in[0], *head = j->n->in[1];
    const int64_t c = j->s.width;
    rk_gemm(j->kern, ctx->pool, scratch, (rk_gemm_shape){rows, j->block_cols, c},
            (rk_matrix){rk_at(h, h->data, j->row0 * c), h->dtype, c, 1},
            (rk_matrix){rk_at(head, head->data, j->col0 * c), head->dtype, 1, c}, j->logits,
            j->block_cols, false, ctx->round_bf16);
}

static void forward_rows(void *arg, int64_t lo, int64_t hi, int worker)
{
    const loss_job *j = arg;
    const int32_t *targets = j->n->in[2]->data;
    (void)worker;
    j->kern->ce_block(hi - lo, j->block_cols, j->block_cols, j->col0,
                      rk_at(j->n->in[0], j->logits, lo * j->block_cols), targets + j->row0 + lo,
                      j->state + j->row0 + lo);
}

/* Call `rows_fn` on every block after computing its logits, then `then` when it is not NULL. */
static void for_blocks(rk_ctx *ctx, loss_job *j, void *scratch, rk_range_fn *rows_fn,
                       void (*then)(rk_ctx *, const loss_job *, void *, int64_t))
{
    for (j->row0 = 0; j->row0 < j->s.rows; j->row0 += j->s.block_rows) {
        const int64_t rows = rk_min_i64(j->s.block_rows, j->s.rows - j->row0);
        for (j->col0 = 0; j->col0 < j->s.cols; j->col0 += j->s.block_cols) {
            j->block_cols = rk_min_i64(j->s.block_cols, j->s.cols - j->col0);
            block_logits(ctx, j, scratch, rows);
            rk_parallel(ctx, rows, RK_GRAIN_ROWS, rows_fn, j);
            if (rk_ctx_failed(ctx))
                return;
            if (then)
                then(ctx, j, scratch, rows);
        }
    }
}

void rk_cross_entropy_forward(rk_ctx *ctx, rk_node *n)
{
    loss_job j = {.kern = rk_ctx_kernels(ctx, n->in[0]->dtype), .n = n, .s = sizes_of(n)};
    const int32_t *targets = n->in[2]->data;
    unsigned char *at = n->scratch;
    j.logits = at;
    j.state = (void *)(at + j.s.logits_bytes);
    if (n->saved)
        j.state = n->saved;
    for (int64_t i = 0; i < j.s.rows; i++) {
        j.state[i] = (rk_ce_row){.max = -HUGE_VAL};
        if (targets[i] >= j.s.cols)
            rk_ctx_fail(ctx, RK_ERR_ARG, "target %lld is %d: expected below %lld", (long long)i,
                        targets[i], (long long)j.s.cols);
    }
    if (rk_ctx_failed(ctx))
        return;
    for_blocks(ctx, &j, at + j.s.logits_bytes + rk_align_up(n->saved_bytes, RK_ARENA_ALIGN),
               forward_rows, NULL);
    for (int64_t i = 0; i < j.s.rows; i++) {
        const rk_ce_row *r = &j.state[i];
        const double loss = targets[i] < 0 ? 0.0 : r->max + log(r->sum) - r->target;
        if (n->out[0]->dtype == RK_F64)
            ((double *)n->out[0]->data)[i] = loss;
        else
            ((float *)n->out[0]->data)[i] = (float)loss;
    }
}

/* Each row has its own upstream gradient, so rows go one by one. */
static void backward_rows(void *arg, int64_t lo, int64_t hi, int worker)
{
    const loss_job *j = arg;
    const rk_tensor *h = j->n->in[0];
    const int32_t *targets = j->n->in[2]->data;
    (void)worker;
    for (int64_t r = lo; r < hi; r++) {
        const int64_t i = j->row0 + r;
        const double scale = h->dtype == RK_F64 ? ((const double *)j->dloss)[i]
                                                : (double)((const float *)j->dloss)[i];
        j->kern->ce_grad(1, j->block_cols, j->block_cols, j->col0,
                         rk_at(h, j->logits, r * j->block_cols), targets + i, j->state + i, scale,
                         j->n->attr.l2wrap);
    }
}

static void backward_products(rk_ctx *ctx, const loss_job *j, void *scratch, int64_t rows)
{
    const rk_tensor *h = j->n->in[0], *head = j->n->in[1];
    const int64_t c = j->s.width, cols = j->block_cols;
    void *dh = rk_at(h, j->dh, j->row0 * c), *dhead = rk_at(head, j->dhead, j->col0 * c);
    if (dh)
        rk_gemm(j->kern, ctx->pool, scratch, (rk_gemm_shape){rows, c, cols},
                (rk_matrix){j->logits, h->dtype, cols, 1},
                (rk_matrix){rk_at(head, head->data, j->col0 * c), head->dtype, c, 1}, dh, c,
                !j->first_h || j->col0 > 0, ctx->round_bf16);
    if (dhead)
        rk_gemm(j->kern, ctx->pool, scratch, (rk_gemm_shape){cols, c, rows},
                (rk_matrix){j->logits, h->dtype, 1, cols},
                (rk_matrix){rk_at(h, h->data, j->row0 * c), h->dtype, c, 1}, dhead, c,
                !j->first_head || j->row0 > 0, ctx->round_bf16);
}

void rk_cross_entropy_backward(rk_ctx *ctx, rk_node *n)
{
    loss_job j = {.kern = rk_ctx_kernels(ctx, n->in[0]->dtype),
                  .n = n,
                  .s = sizes_of(n),
                  .logits = n->scratch,
                  .state = n->saved,
                  .dloss = rk_grad(ctx, n->out[0])};
    j.dh = rk_grad_fresh(ctx, n->in[0], &j.first_h);
    j.dhead = rk_grad_fresh(ctx, n->in[1], &j.first_head);
    for_blocks(ctx, &j, (unsigned char *)n->scratch + j.s.logits_bytes, backward_rows,
               backward_products);
}

rk_tensor *rk_cross_entropy(rk_ctx *ctx, rk_tensor *hidden, rk_tensor *head, rk_tensor *targets,
                            double l2wrap)
{
    rk_node n = {
        .op = RK_OP_CROSS_ENTROPY, .n_in = 3, .in = {hidden, head, targets}, .attr.l2wrap = l2wrap};
    return rk_apply1(ctx, &n);
}
