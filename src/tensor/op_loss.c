/* op_loss.c: cross-entropy from hidden rows and the head, over blocks of the vocabulary.
 *
 * Logits exist for one block of rows and columns at a time: forward keeps a running maximum and sum
 * per row, backward computes the block again, turns it into its gradient in place, and adds its two
 * products to the gradients of the hidden rows and of the head. Holding all logits would take 4 V
 * bytes a token (V = 65536: 256 KiB), more than everything else. The price is one product more.
 *
 * That product is saved where the caller announces the gradient of the loss: forward keeps all
 * logits of a few hundred rows, and when their softmax sums are known goes over them once more for
 * the gradients, with the same bits. Fewer rows would not do: the head's gradient is read and
 * written once for each block of rows.
 *
 * Rows whose target does not count take no part: where there are such, the others are copied side by
 * side, a block at a time, so that a loss on a few answers costs no more than their rows. */
#include <math.h>
#include <string.h>

#include "base/num.h"
#include "tensor/factor.h"

enum { BLOCK_ROWS = 1024, BLOCK_COLS = 1024 };
enum { HELD = 1 << 25, HELD_ROWS_MIN = 128 }; /* logits of an announced gradient */

typedef struct loss_attr {
    double l2wrap, seed;
    bool announced; /* forward computes the gradients, for this seed */
    rk_tensor *best;
} loss_attr;

/* Rows and columns of the largest block, its logits' place in the scratch, the product's behind.
 * announced: the blocks of a row of them lie one after the other. */
typedef struct loss_sizes {
    int64_t rows, cols, width, block_rows, block_cols;
    bool announced;
    size_t logits_bytes;
    size_t list_bytes; /* of the rows that count, or of their targets */
    size_t rows_bytes; /* of the hidden rows of a block side by side, or of their gradients */
} loss_sizes;

static const loss_attr *attr_of(const rk_node *n)
{
    return n->attr;
}

static loss_sizes sizes_of(const rk_node *n)
{
    loss_sizes s = {
        .rows = rk_tensor_rows(n->in[0]), .cols = n->in[1]->dims[0], .width = n->in[1]->dims[1]};
    s.block_rows = rk_min_i64(s.rows, BLOCK_ROWS);
    s.block_cols = rk_min_i64(s.cols, BLOCK_COLS);
    s.announced = attr_of(n)->announced;
    if (s.announced)
        s.block_rows = rk_min_i64(s.block_rows, HELD / rk_max_i64(s.cols, 1));
    s.logits_bytes = rk_align_up(
        rk_reals(n->in[0], s.block_rows * (s.announced ? s.cols : s.block_cols)), RK_ARENA_ALIGN);
    s.list_bytes = rk_align_up((size_t)s.rows * sizeof(int32_t), RK_ARENA_ALIGN);
    s.rows_bytes = rk_align_up(rk_reals(n->in[0], s.block_rows * s.width), RK_ARENA_ALIGN);
    return s;
}

static rk_factor head_of(const rk_node *n)
{
    return rk_factor_of(n->in[1], RK_OUT_IN);
}

static size_t products_scratch(const rk_ctx *ctx, const rk_node *n, loss_sizes s)
{
    rk_factor block = head_of(n);
    block.out = s.block_cols;
    const size_t bytes[] = {
        rk_factor_scratch(ctx, &block, s.block_rows),
        rk_factor_back_scratch(ctx, &block, s.block_rows),
        rk_gemm_scratch_on(ctx, n->in[0]->dtype,
                           (rk_gemm_shape){s.block_cols, s.width, s.block_rows})};
    size_t most = 0;
    for (size_t i = 0; i < RK_COUNT(bytes); i++)
        most = bytes[i] > most ? bytes[i] : most;
    return most;
}

/* Beside f32 a head that gets no gradient may have any type. */
static bool is_head(const rk_tensor *head, rk_dtype real)
{
    if (real == RK_F64)
        return head->dtype == RK_F64;
    return real == RK_F32 &&
           (rk_is_float(head->dtype) || head->dtype == RK_RANGED ||
            (rk_dtype_is_blocks(head->dtype) && head->dims[1] % rk_dtype_block(head->dtype) == 0));
}

static void cross_entropy_shape(rk_ctx *ctx, rk_node *n)
{
    const rk_tensor *h = n->in[0], *head = n->in[1], *targets = n->in[2];
    const bool ok = head && targets && h->n_dims >= 2 && head->n_dims == 2 &&
                    targets->dtype == RK_I32 && rk_tensor_cols(h) == head->dims[1] &&
                    rk_tensor_count(targets) == rk_tensor_rows(h) && rk_tensor_is_contiguous(h) &&
                    rk_tensor_is_contiguous(head) && rk_tensor_is_contiguous(targets) &&
                    is_head(head, h->dtype);
    if (!rk_expect(ctx, n, ok, "hidden rows, a head of their width and an i32 target a row"))
        return;
    if (attr_of(n)->announced) {
        rk_grad_make(ctx, n->in[0]);
        rk_grad_make(ctx, n->in[1]);
    }
    const loss_sizes s = sizes_of(n);
    const size_t block = s.logits_bytes + 2 * (s.list_bytes + s.rows_bytes);
    n->saved_bytes = rk_align_up((size_t)s.rows * sizeof(rk_ce_row), RK_ARENA_ALIGN);
    n->scratch_bytes = block + n->saved_bytes + products_scratch(ctx, n, s);
    n->scratch_bwd_bytes = s.announced ? 0 : block + products_scratch(ctx, n, s);
    n->n_out = 1;
    n->out[0] = rk_new(ctx, h->dtype, h->n_dims - 1, h->dims);
}

/* "Row" is here the place of a row among those that count. */
typedef struct loss_job {
    const rk_kernels *kern;
    const rk_node *n;
    loss_sizes s;
    int64_t n_rows;
    int32_t *rows;          /* (n_rows): where each stands among all */
    const int32_t *targets; /* (n_rows) */
    rk_ce_row *state;       /* (n_rows) */
    const void *dloss;      /* of all rows; NULL: the announced seed */
    void *dh, *dhead;
    bool first_h, first_head; /* nothing was added to these yet */

    int64_t row0, col0, block_cols; /* the block at hand */
    char *held;                     /* logits of all columns at hand */
    void *logits;                   /* those of the block, of them */
    void *block_h, *block_dh;       /* the rows at hand and their gradients */
    void *side_h, *side_dh;         /* memory for both, where they do not lie side by side */
    void *products;                 /* their scratch */
} loss_job;

static bool all_count(const loss_job *j)
{
    return j->n_rows == j->s.rows;
}

/* List the rows that count. */
static void find_rows(loss_job *j, int32_t *targets)
{
    const int32_t *all = j->n->in[2]->data;
    for (int64_t i = 0; i < j->s.rows; i++) {
        if (all[i] < 0)
            continue;
        j->rows[j->n_rows] = (int32_t)i;
        targets[j->n_rows++] = all[i];
    }
    j->targets = targets;
}

/* The scratch of either direction, of which nothing but the lists is filled. */
static loss_job job_of(const rk_ctx *ctx, const rk_node *n)
{
    loss_job j = {.kern = rk_ctx_kernels(ctx, n->in[0]->dtype), .n = n, .s = sizes_of(n)};
    unsigned char *at = n->scratch;
    j.held = n->scratch;
    j.rows = (void *)(at += j.s.logits_bytes);
    int32_t *targets = (void *)(at += j.s.list_bytes);
    j.side_h = at += j.s.list_bytes;
    j.side_dh = at += j.s.rows_bytes;
    j.products = at + j.s.rows_bytes;
    find_rows(&j, targets);
    return j;
}

/* ---- rows of a block side by side ---- */

static void copy_rows(const loss_job *j, int64_t n, void *all, void *side, bool to_side)
{
    const rk_tensor *h = j->n->in[0];
    const size_t bytes = rk_reals(h, j->s.width);
    for (int64_t i = 0; i < n; i++) {
        void *in_all = rk_at(h, all, j->rows[j->row0 + i] * j->s.width);
        void *in_side = rk_at(h, side, i * j->s.width);
        memcpy(to_side ? in_side : in_all, to_side ? in_all : in_side, bytes);
    }
}

static void begin_rows(loss_job *j, int64_t n)
{
    const rk_tensor *h = j->n->in[0];
    const int64_t at = j->row0 * j->s.width;
    j->block_h = all_count(j) ? rk_at(h, h->data, at) : j->side_h;
    j->block_dh = all_count(j) || !j->dh ? rk_at(h, j->dh, at) : j->side_dh;
    if (all_count(j))
        return;
    copy_rows(j, n, h->data, j->side_h, true);
    if (j->dh && !j->first_h)
        copy_rows(j, n, j->dh, j->side_dh, true);
}

static void end_rows(const loss_job *j, int64_t n)
{
    if (!all_count(j) && j->dh)
        copy_rows(j, n, j->dh, j->side_dh, false);
}

/* ---- blocks ---- */

/* The head's rows at hand. */
static rk_factor head_block(const loss_job *j)
{
    const rk_factor head = head_of(j->n);
    return rk_factor_part(&head, j->col0, j->block_cols);
}

/* Logits of rows [row0, row0 + rows) and columns [col0, col0 + cols). */
static void block_logits(rk_ctx *ctx, const loss_job *j, int64_t rows)
{
    const rk_factor head = head_block(j);
    rk_factor_product(ctx, j->products, rows, j->block_h, &head, j->logits, j->block_cols, false);
}

static void forward_rows(void *arg, int64_t lo, int64_t hi, int worker)
{
    const loss_job *j = arg;
    (void)worker;
    j->kern->ce_block(hi - lo, j->block_cols, j->block_cols, j->col0,
                      rk_at(j->n->in[0], j->logits, lo * j->block_cols), j->targets + j->row0 + lo,
                      j->state + j->row0 + lo);
}

typedef void loss_block_fn(rk_ctx *ctx, loss_job *j, int64_t rows);

static void for_columns(rk_ctx *ctx, loss_job *j, int64_t rows, loss_block_fn *fn)
{
    const rk_tensor *h = j->n->in[0];
    for (j->col0 = 0; j->col0 < j->s.cols && !rk_ctx_failed(ctx); j->col0 += j->s.block_cols) {
        j->block_cols = rk_min_i64(j->s.block_cols, j->s.cols - j->col0);
        j->logits = rk_at(h, j->held, j->s.announced ? rows * j->col0 : 0);
        fn(ctx, j, rows);
    }
}

/* Call `fn` and then, when it is not NULL, `then` on all blocks of each row of blocks. */
static void for_blocks(rk_ctx *ctx, loss_job *j, loss_block_fn *fn, loss_block_fn *then)
{
    for (j->row0 = 0; j->row0 < j->n_rows && !rk_ctx_failed(ctx); j->row0 += j->s.block_rows) {
        const int64_t rows = rk_min_i64(j->s.block_rows, j->n_rows - j->row0);
        begin_rows(j, rows);
        for_columns(ctx, j, rows, fn);
        if (then)
            for_columns(ctx, j, rows, then);
        end_rows(j, rows);
    }
}

static void forward_block(rk_ctx *ctx, loss_job *j, int64_t rows)
{
    block_logits(ctx, j, rows);
    rk_parallel(ctx, rows, RK_GRAIN_ROWS, forward_rows, j);
}

/* The announced gradient as a real of the loss. */
static double seed_of(const rk_node *n)
{
    const double seed = attr_of(n)->seed;
    return n->in[0]->dtype == RK_F64 ? seed : (double)(float)seed;
}

/* i: among all rows. */
static double dloss_of(const loss_job *j, int64_t i)
{
    if (!j->dloss)
        return seed_of(j->n);
    return j->n->in[0]->dtype == RK_F64 ? ((const double *)j->dloss)[i]
                                        : (double)((const float *)j->dloss)[i];
}

/* Each row has its own upstream gradient, so rows go one by one. */
static void backward_rows(void *arg, int64_t lo, int64_t hi, int worker)
{
    const loss_job *j = arg;
    const rk_tensor *h = j->n->in[0];
    (void)worker;
    for (int64_t r = lo; r < hi; r++) {
        const int64_t i = j->row0 + r;
        const double scale = dloss_of(j, j->rows[i]);
        j->kern->ce_grad(1, j->block_cols, j->block_cols, j->col0,
                         rk_at(h, j->logits, r * j->block_cols), j->targets + i, j->state + i,
                         scale, attr_of(j->n)->l2wrap);
    }
}

/* Logits become their gradients, which go into the products. */
static void gradient_block(rk_ctx *ctx, loss_job *j, int64_t rows)
{
    rk_parallel(ctx, rows, RK_GRAIN_ROWS, backward_rows, j);
    if (rk_ctx_failed(ctx))
        return;
    const rk_tensor *h = j->n->in[0];
    const rk_factor head = head_block(j);
    const int64_t c = j->s.width, cols = j->block_cols;
    if (j->dh)
        rk_factor_product_back(ctx, j->products, rows, j->logits, &head, j->block_dh,
                               !j->first_h || j->col0 > 0);
    if (j->dhead)
        rk_gemm_on(ctx, h->dtype, j->products, (rk_gemm_shape){cols, c, rows},
                   (rk_matrix){j->logits, h->dtype, 1, cols},
                   (rk_matrix){j->block_h, h->dtype, c, 1}, rk_at(h, j->dhead, j->col0 * c), c,
                   !j->first_head || j->row0 > 0);
}

static void backward_block(rk_ctx *ctx, loss_job *j, int64_t rows)
{
    block_logits(ctx, j, rows);
    gradient_block(ctx, j, rows);
}

/* Gradients that no block is going to begin are zero. */
static void take_gradients(rk_ctx *ctx, loss_job *j, rk_node *n)
{
    j->dh = rk_grad_fresh(ctx, n->in[0], &j->first_h);
    j->dhead = rk_grad_fresh(ctx, n->in[1], &j->first_head);
    if (j->dh && j->first_h && !all_count(j))
        memset(j->dh, 0, rk_tensor_bytes(n->in[0]));
    if (j->dhead && j->first_head && j->n_rows == 0)
        memset(j->dhead, 0, rk_tensor_bytes(n->in[1]));
}

/* ---- the operation ---- */

static void check_targets(rk_ctx *ctx, const loss_job *j)
{
    for (int64_t i = 0; i < j->n_rows; i++)
        if (j->targets[i] >= j->s.cols) {
            rk_ctx_fail(ctx, RK_ERR_ARG, "target %lld is %d: expected below %lld",
                        (long long)j->rows[i], j->targets[i], (long long)j->s.cols);
            return;
        }
}

static void put_real(const rk_tensor *t, int64_t i, double x)
{
    if (t->dtype == RK_F64)
        ((double *)t->data)[i] = x;
    else
        ((float *)t->data)[i] = (float)x;
}

/* Losses, and the likeliest ids where they are asked for. */
static void put_results(const loss_job *j)
{
    const rk_tensor *loss = j->n->out[0], *best = attr_of(j->n)->best;
    for (int64_t i = 0; i < j->s.rows; i++) {
        put_real(loss, i, 0.0);
        if (best)
            ((int32_t *)best->data)[i] = RK_NO_TARGET;
    }
    for (int64_t i = 0; i < j->n_rows; i++) {
        const rk_ce_row *r = &j->state[i];
        put_real(loss, j->rows[i], r->max + log(r->sum) - r->target);
        if (best)
            ((int32_t *)best->data)[j->rows[i]] = (int32_t)r->argmax;
    }
}

static void cross_entropy_forward(rk_ctx *ctx, rk_node *n)
{
    loss_job j = job_of(ctx, n);
    check_targets(ctx, &j);
    if (rk_ctx_failed(ctx))
        return;
    j.state = n->saved ? n->saved : j.products;
    j.products = (unsigned char *)j.products + n->saved_bytes;
    for (int64_t i = 0; i < j.n_rows; i++)
        j.state[i] = (rk_ce_row){.max = -HUGE_VAL};
    if (j.s.announced)
        take_gradients(ctx, &j, n);
    for_blocks(ctx, &j, forward_block, j.s.announced ? gradient_block : NULL);
    put_results(&j);
}

/* What was announced must come. */
static void check_seed(rk_ctx *ctx, const rk_node *n)
{
    const loss_job j = {.n = n, .dloss = rk_grad(ctx, n->out[0])};
    const double seed = seed_of(n);
    for (int64_t i = 0; i < rk_tensor_rows(n->in[0]); i++)
        if (dloss_of(&j, i) != seed) {
            rk_ctx_fail(ctx, RK_ERR_ARG,
                        "cross_entropy: the gradient of row %lld is %g, announced %g", (long long)i,
                        dloss_of(&j, i), seed);
            return;
        }
}

static void cross_entropy_backward(rk_ctx *ctx, rk_node *n)
{
    if (attr_of(n)->announced) {
        check_seed(ctx, n);
        return;
    }
    loss_job j = job_of(ctx, n);
    j.state = n->saved;
    j.dloss = rk_grad(ctx, n->out[0]);
    take_gradients(ctx, &j, n);
    for_blocks(ctx, &j, backward_block, NULL);
}

const rk_op rk_op_cross_entropy = {
    .name = "cross_entropy",
    .shape = cross_entropy_shape,
    .on[RK_CPU] = {cross_entropy_forward, cross_entropy_backward},
    .attr_bytes = sizeof(loss_attr),
};

rk_tensor *rk_cross_entropy_of(rk_ctx *ctx, const rk_cross_entropy_in *in)
{
    const bool announced = ctx->recording && in->seed != 0.0 && in->head &&
                           HELD / rk_max_i64(in->head->dims[0], 1) >= HELD_ROWS_MIN;
    rk_node n = {.op = &rk_op_cross_entropy,
                 .n_in = 3,
                 .in = {in->hidden, in->head, in->targets},
                 .attr = &(loss_attr){in->l2wrap, in->seed, announced, in->best}};
    return rk_apply1(ctx, &n);
}

rk_tensor *rk_cross_entropy(rk_ctx *ctx, rk_tensor *hidden, rk_tensor *head, rk_tensor *targets,
                            double l2wrap)
{
    const rk_cross_entropy_in in = {hidden, head, targets, .l2wrap = l2wrap};
    return rk_cross_entropy_of(ctx, &in);
}
