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
 * written once for each block of rows. */
#include <math.h>
#include <string.h>

#include "base/num.h"
#include "tensor/factor.h"

enum { BLOCK_ROWS = 1024, BLOCK_COLS = 1024 };
enum { HELD = 1 << 25, HELD_ROWS_MIN = 128 }; /* logits of an announced gradient */

typedef struct loss_attr {
    double l2wrap, seed;
    bool announced; /* forward computes the gradients, for this seed */
} loss_attr;

/* Rows and columns of the largest block, its logits' place in the scratch, the product's behind.
 * announced: the blocks of a row of them lie one after the other. */
typedef struct loss_sizes {
    int64_t rows, cols, width, block_rows, block_cols;
    bool announced;
    size_t logits_bytes;
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
           (rk_is_float(head->dtype) ||
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
    n->saved_bytes = (size_t)s.rows * sizeof(rk_ce_row);
    n->scratch_bytes =
        s.logits_bytes + products_scratch(ctx, n, s) + rk_align_up(n->saved_bytes, RK_ARENA_ALIGN);
    n->scratch_bwd_bytes = s.announced ? 0 : s.logits_bytes + products_scratch(ctx, n, s);
    n->n_out = 1;
    n->out[0] = rk_new(ctx, h->dtype, h->n_dims - 1, h->dims);
}

typedef struct loss_job {
    const rk_kernels *kern;
    const rk_node *n;
    loss_sizes s;
    int64_t row0, col0, block_cols; /* the block at hand */
    char *held;                     /* logits of all columns at hand */
    void *logits;                   /* those of the block, of them */
    rk_ce_row *state;               /* (rows) */
    const void *dloss;              /* NULL: the announced seed */
    void *dh, *dhead;
    bool first_h, first_head; /* nothing was added to these yet */
} loss_job;

/* The head's rows at hand. */
static rk_factor head_block(const loss_job *j)
{
    const rk_factor head = head_of(j->n);
    return rk_factor_part(&head, j->col0, j->block_cols);
}

/* Logits of rows [row0, row0 + rows) and columns [col0, col0 + cols). */
static void block_logits(rk_ctx *ctx, const loss_job *j, void *scratch, int64_t rows)
{
    const rk_tensor *h = j->n->in[0];
    const rk_factor head = head_block(j);
    rk_factor_product(ctx, scratch, rows, rk_at(h, h->data, j->row0 * j->s.width), &head, j->logits,
                      j->block_cols, false);
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

typedef void loss_block_fn(rk_ctx *ctx, loss_job *j, void *scratch, int64_t rows);

static void for_columns(rk_ctx *ctx, loss_job *j, void *scratch, int64_t rows, loss_block_fn *fn)
{
    const rk_tensor *h = j->n->in[0];
    for (j->col0 = 0; j->col0 < j->s.cols && !rk_ctx_failed(ctx); j->col0 += j->s.block_cols) {
        j->block_cols = rk_min_i64(j->s.block_cols, j->s.cols - j->col0);
        j->logits = rk_at(h, j->held, j->s.announced ? rows * j->col0 : 0);
        fn(ctx, j, scratch, rows);
    }
}

/* Call `fn` and then, when it is not NULL, `then` on all blocks of each row of blocks. */
static void for_blocks(rk_ctx *ctx, loss_job *j, void *scratch, loss_block_fn *fn,
                       loss_block_fn *then)
{
    for (j->row0 = 0; j->row0 < j->s.rows && !rk_ctx_failed(ctx); j->row0 += j->s.block_rows) {
        const int64_t rows = rk_min_i64(j->s.block_rows, j->s.rows - j->row0);
        for_columns(ctx, j, scratch, rows, fn);
        if (then)
            for_columns(ctx, j, scratch, rows, then);
    }
}

static void forward_block(rk_ctx *ctx, loss_job *j, void *scratch, int64_t rows)
{
    block_logits(ctx, j, scratch, rows);
    rk_parallel(ctx, rows, RK_GRAIN_ROWS, forward_rows, j);
}

/* The announced gradient as a real of the loss. */
static double seed_of(const rk_node *n)
{
    const double seed = attr_of(n)->seed;
    return n->in[0]->dtype == RK_F64 ? seed : (double)(float)seed;
}

static double dloss_of(const loss_job *j, int64_t row)
{
    if (!j->dloss)
        return seed_of(j->n);
    return j->n->in[0]->dtype == RK_F64 ? ((const double *)j->dloss)[row]
                                        : (double)((const float *)j->dloss)[row];
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
        const double scale = dloss_of(j, i);
        j->kern->ce_grad(1, j->block_cols, j->block_cols, j->col0,
                         rk_at(h, j->logits, r * j->block_cols), targets + i, j->state + i, scale,
                         attr_of(j->n)->l2wrap);
    }
}

/* Logits become their gradients, which go into the products. */
static void gradient_block(rk_ctx *ctx, loss_job *j, void *scratch, int64_t rows)
{
    rk_parallel(ctx, rows, RK_GRAIN_ROWS, backward_rows, j);
    if (rk_ctx_failed(ctx))
        return;
    const rk_tensor *h = j->n->in[0];
    const rk_factor head = head_block(j);
    const int64_t c = j->s.width, cols = j->block_cols;
    void *dh = rk_at(h, j->dh, j->row0 * c), *dhead = rk_at(h, j->dhead, j->col0 * c);
    if (dh)
        rk_factor_product_back(ctx, scratch, rows, j->logits, &head, dh,
                               !j->first_h || j->col0 > 0);
    if (dhead)
        rk_gemm_on(ctx, h->dtype, scratch, (rk_gemm_shape){cols, c, rows},
                   (rk_matrix){j->logits, h->dtype, 1, cols},
                   (rk_matrix){rk_at(h, h->data, j->row0 * c), h->dtype, c, 1}, dhead, c,
                   !j->first_head || j->row0 > 0);
}

static void backward_block(rk_ctx *ctx, loss_job *j, void *scratch, int64_t rows)
{
    block_logits(ctx, j, scratch, rows);
    gradient_block(ctx, j, scratch, rows);
}

static void take_gradients(rk_ctx *ctx, loss_job *j, rk_node *n)
{
    j->dh = rk_grad_fresh(ctx, n->in[0], &j->first_h);
    j->dhead = rk_grad_fresh(ctx, n->in[1], &j->first_head);
}

static void cross_entropy_forward(rk_ctx *ctx, rk_node *n)
{
    loss_job j = {.kern = rk_ctx_kernels(ctx, n->in[0]->dtype), .n = n, .s = sizes_of(n)};
    const int32_t *targets = n->in[2]->data;
    unsigned char *at = n->scratch;
    j.held = n->scratch;
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
    if (j.s.announced)
        take_gradients(ctx, &j, n);
    for_blocks(ctx, &j, at + j.s.logits_bytes + rk_align_up(n->saved_bytes, RK_ARENA_ALIGN),
               forward_block, j.s.announced ? gradient_block : NULL);
    for (int64_t i = 0; i < j.s.rows; i++) {
        const rk_ce_row *r = &j.state[i];
        const double loss = targets[i] < 0 ? 0.0 : r->max + log(r->sum) - r->target;
        if (n->out[0]->dtype == RK_F64)
            ((double *)n->out[0]->data)[i] = loss;
        else
            ((float *)n->out[0]->data)[i] = (float)loss;
    }
}

/* What was announced must come. */
static void check_seed(rk_ctx *ctx, const loss_job *j)
{
    const double seed = seed_of(j->n);
    for (int64_t i = 0; i < j->s.rows; i++)
        if (dloss_of(j, i) != seed) {
            rk_ctx_fail(ctx, RK_ERR_ARG,
                        "cross_entropy: the gradient of row %lld is %g, announced %g", (long long)i,
                        dloss_of(j, i), seed);
            return;
        }
}

static void cross_entropy_backward(rk_ctx *ctx, rk_node *n)
{
    loss_job j = {.kern = rk_ctx_kernels(ctx, n->in[0]->dtype),
                  .n = n,
                  .s = sizes_of(n),
                  .held = n->scratch,
                  .state = n->saved,
                  .dloss = rk_grad(ctx, n->out[0])};
    if (j.s.announced) {
        check_seed(ctx, &j);
        return;
    }
    take_gradients(ctx, &j, n);
    for_blocks(ctx, &j, (unsigned char *)n->scratch + j.s.logits_bytes, backward_block, NULL);
}

const rk_op rk_op_cross_entropy = {
    .name = "cross_entropy",
    .shape = cross_entropy_shape,
    .on[RK_CPU] = {cross_entropy_forward, cross_entropy_backward},
    .attr_bytes = sizeof(loss_attr),
};

rk_tensor *rk_cross_entropy(rk_ctx *ctx, rk_tensor *hidden, rk_tensor *head, rk_tensor *targets,
                            double l2wrap)
{
    return rk_cross_entropy_seeded(ctx, hidden, head, targets, l2wrap, 0.0);
}

rk_tensor *rk_cross_entropy_seeded(rk_ctx *ctx, rk_tensor *hidden, rk_tensor *head,
                                   rk_tensor *targets, double l2wrap, double seed)
{
    const bool announced = ctx->recording && seed != 0.0 && head &&
                           HELD / rk_max_i64(head->dims[0], 1) >= HELD_ROWS_MIN;
    rk_node n = {.op = &rk_op_cross_entropy,
                 .n_in = 3,
                 .in = {hidden, head, targets},
                 .attr = &(loss_attr){l2wrap, seed, announced}};
    return rk_apply1(ctx, &n);
}
