/* op_distill.c: what a model that learns from another one is compared by: its rows with the other's, and
 * its distribution of the next token with the other's, over the whole vocabulary.
 *
 * The logits of both exist for one block of rows at a time, and never for all: a block is as large as
 * fits in HELD numbers. Forward keeps nothing but the losses; backward computes the logits again, unless
 * the caller announces the gradient of the losses, as for cross-entropy (op_loss.c): then forward goes on
 * to the gradients while it has the logits, with the same bits. */
#include <math.h>
#include <string.h>

#include "base/num.h"
#include "tensor/factor.h"

/* ---- distance: in x, y (..., C), which has no gradient; out (...) ---- */

static void distance_shape(rk_ctx *ctx, rk_node *n)
{
    const rk_tensor *x = n->in[0], *y = n->in[1];
    if (!rk_expect(ctx, n, x && y && x->n_dims >= 2 && rk_tensor_same_shape(x, y),
                   "two tensors of rows") ||
        !rk_expect_plain(ctx, n))
        return;
    n->n_out = 1;
    n->out[0] = rk_new(ctx, x->dtype, x->n_dims - 1, x->dims);
}

static double real_at(const rk_tensor *t, const void *data, int64_t i)
{
    return t->dtype == RK_F64 ? ((const double *)data)[i] : (double)((const float *)data)[i];
}

static void put_real(const rk_tensor *t, void *data, int64_t i, double x)
{
    if (t->dtype == RK_F64)
        ((double *)data)[i] = x;
    else
        ((float *)data)[i] = (float)x;
}

static double scale_of(const rk_node *n)
{
    return *(const double *)n->attr;
}

/* Row i of x - y: its length. */
static double length_of(const rk_node *n, int64_t i)
{
    const rk_tensor *x = n->in[0];
    const int64_t c = rk_tensor_cols(x);
    double squares = 0;
    for (int64_t e = i * c; e < (i + 1) * c; e++) {
        const double d = real_at(x, x->data, e) - real_at(x, n->in[1]->data, e);
        squares += d * d;
    }
    return sqrt(squares);
}

static void distance_rows(void *arg, int64_t lo, int64_t hi, int worker)
{
    const rk_node *n = arg;
    (void)worker;
    for (int64_t i = lo; i < hi; i++)
        put_real(n->out[0], n->out[0]->data, i, scale_of(n) * length_of(n, i));
}

static void distance_forward(rk_ctx *ctx, rk_node *n)
{
    rk_parallel(ctx, rk_tensor_rows(n->in[0]), RK_GRAIN_ROWS, distance_rows, n);
}

typedef struct distance_back {
    const rk_node *n;
    const void *dy;
    void *dx;
} distance_back;

/* (x - y) over its length; where that is 0 there is no slope. */
static void distance_back_rows(void *arg, int64_t lo, int64_t hi, int worker)
{
    const distance_back *j = arg;
    const rk_node *n = j->n;
    const rk_tensor *x = n->in[0];
    const int64_t c = rk_tensor_cols(x);
    void *dx = j->dx;
    (void)worker;
    for (int64_t i = lo; i < hi; i++) {
        const double length = length_of(n, i);
        const double by = real_at(x, j->dy, i) * scale_of(n) / (length > 0 ? length : 1);
        for (int64_t e = i * c; e < (i + 1) * c; e++)
            put_real(x, dx, e,
                     real_at(x, dx, e) +
                         by * (real_at(x, x->data, e) - real_at(x, n->in[1]->data, e)));
    }
}

static void distance_backward(rk_ctx *ctx, rk_node *n)
{
    distance_back j = {n, rk_grad(ctx, n->out[0]), rk_grad(ctx, n->in[0])};
    if (j.dx)
        rk_parallel(ctx, rk_tensor_rows(n->in[0]), RK_GRAIN_ROWS, distance_back_rows, &j);
}

const rk_op rk_op_distance = {
    .name = "distance",
    .shape = distance_shape,
    .on[RK_CPU] = {distance_forward, distance_backward},
    .attr_bytes = sizeof(double),
};

rk_tensor *rk_distance(rk_ctx *ctx, rk_tensor *x, rk_tensor *y, double scale)
{
    rk_node n = {.op = &rk_op_distance, .n_in = 2, .in = {x, y}, .attr = &scale};
    return rk_apply1(ctx, &n);
}

/* ---- divergence: in hidden, head, the teacher's two, targets ---- */

enum { HIDDEN, HEAD, T_HIDDEN, T_HEAD, TARGETS, KL_IN };
enum { HELD = 1 << 24, BLOCK_ROWS = 1024, HELD_ROWS_MIN = 64 };

typedef struct kl_attr {
    double kl_weight, ce_weight, seed;
    bool adaptive;
    bool announced; /* forward computes the gradients, for this seed */
} kl_attr;

static const kl_attr *attr_of(const rk_node *n)
{
    return n->attr;
}

typedef struct kl_sizes {
    int64_t rows, vocab, block; /* all rows; columns; rows of a block */
    size_t logits_bytes;        /* of one model's block */
    size_t thread_bytes;        /* a row of a thread's own */
} kl_sizes;

static kl_sizes sizes_of(const rk_node *n)
{
    kl_sizes s = {.rows = rk_tensor_rows(n->in[HIDDEN]), .vocab = n->in[HEAD]->dims[0]};
    s.block = rk_max_i64(1, rk_min_i64(BLOCK_ROWS, HELD / rk_max_i64(1, 2 * s.vocab)));
    s.block = rk_min_i64(s.block, s.rows);
    s.logits_bytes = rk_align_up(rk_reals(n->in[HIDDEN], s.block * s.vocab), RK_ARENA_ALIGN);
    s.thread_bytes = rk_align_up(rk_reals(n->in[HIDDEN], s.vocab), RK_ARENA_ALIGN);
    return s;
}

/* The head's rows; of the teacher's as many as the other has. */
static rk_factor head_of(const rk_node *n, int which)
{
    const rk_factor all = rk_factor_of(n->in[which], RK_OUT_IN);
    return rk_factor_part(&all, 0, n->in[HEAD]->dims[0]);
}

static size_t products_scratch(const rk_ctx *ctx, const rk_node *n, kl_sizes s)
{
    const rk_factor own = head_of(n, HEAD), other = head_of(n, T_HEAD);
    const size_t bytes[] = {
        rk_factor_scratch(ctx, &own, s.block), rk_factor_scratch(ctx, &other, s.block),
        rk_factor_back_scratch(ctx, &own, s.block),
        rk_gemm_scratch_on(ctx, n->in[HIDDEN]->dtype, (rk_gemm_shape){s.vocab, own.in, s.block})};
    size_t most = 0;
    for (size_t i = 0; i < RK_COUNT(bytes); i++)
        most = bytes[i] > most ? bytes[i] : most;
    return most;
}

/* Beside f32 a head that gets no gradient may have any type. */
static bool is_head(const rk_tensor *hidden, const rk_tensor *head)
{
    if (!hidden || !head || head->n_dims != 2 || !rk_tensor_is_contiguous(head) ||
        !rk_tensor_is_contiguous(hidden) || rk_tensor_cols(hidden) != head->dims[1])
        return false;
    if (hidden->dtype == RK_F64)
        return head->dtype == RK_F64;
    return rk_is_float(head->dtype) || head->dtype == RK_RANGED ||
           (rk_dtype_is_blocks(head->dtype) && head->dims[1] % rk_dtype_block(head->dtype) == 0);
}

static void divergence_shape(rk_ctx *ctx, rk_node *n)
{
    const rk_tensor *h = n->in[HIDDEN], *t = n->in[T_HIDDEN], *targets = n->in[TARGETS];
    const bool ok = is_head(h, n->in[HEAD]) && is_head(t, n->in[T_HEAD]) && targets &&
                    h->n_dims >= 2 && h->dtype == t->dtype && targets->dtype == RK_I32 &&
                    rk_tensor_rows(h) == rk_tensor_rows(t) &&
                    rk_tensor_count(targets) == rk_tensor_rows(h) &&
                    n->in[HEAD]->dims[0] <= n->in[T_HEAD]->dims[0];
    if (!rk_expect(ctx, n, ok,
                   "hidden rows and a head of two models, the second with as many tokens at least, "
                   "and an i32 target a row"))
        return;
    if (attr_of(n)->announced) {
        rk_grad_make(ctx, n->in[HIDDEN]);
        rk_grad_make(ctx, n->in[HEAD]);
    }
    const kl_sizes s = sizes_of(n);
    const size_t all = 2 * s.logits_bytes + s.thread_bytes * (size_t)rk_pool_n_threads(ctx->pool) +
                       products_scratch(ctx, n, s);
    n->scratch_bytes = all;
    n->scratch_bwd_bytes = attr_of(n)->announced ? 0 : all;
    n->n_out = 1;
    n->out[0] = rk_new(ctx, h->dtype, h->n_dims - 1, h->dims);
}

typedef struct kl_job {
    const rk_kernels *kern;
    const rk_node *n;
    kl_sizes s;
    bool losses, gradients; /* what is wanted */
    const void *dloss;      /* of all rows; NULL: the announced seed */
    void *dh, *dhead;
    bool first_h, first_head; /* nothing was added to these yet */
    int64_t row0;             /* the block at hand */
    unsigned char *own, *other, *threads, *products;
} kl_job;

static kl_job job_of(const rk_ctx *ctx, const rk_node *n)
{
    kl_job j = {.kern = rk_ctx_kernels(ctx, n->in[HIDDEN]->dtype), .n = n, .s = sizes_of(n)};
    j.own = n->scratch;
    j.other = j.own + j.s.logits_bytes;
    j.threads = j.other + j.s.logits_bytes;
    j.products = j.threads + j.s.thread_bytes * (size_t)rk_pool_n_threads(ctx->pool);
    return j;
}

/* What the row's loss is multiplied with on its way down. */
static double slope_of(const kl_job *j, int64_t row)
{
    const double seed = attr_of(j->n)->seed;
    if (j->dloss)
        return real_at(j->n->in[HIDDEN], j->dloss, row);
    return j->n->in[HIDDEN]->dtype == RK_F64 ? seed : (double)(float)seed;
}

static double lse_of(const rk_ce_row *r)
{
    return r->max + log(r->sum);
}

/* sum p d, where p is the teacher's distribution and d = its logits less the other's. */
static double dot(const rk_tensor *like, int64_t n, const void *p, const void *d)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += real_at(like, p, i) * real_at(like, d, i);
    return sum;
}

/* ---- both directions, weighed by where the two differ ---- */

static const double least = 1e-8, most = 1e3, half = 0.5;

/* The likeliest tokens that together have half: those above a probability, and the first `n_equal` of those
 * that have it. */
typedef struct top_set {
    double above;
    int64_t n_equal;
} top_set;

static double mass_from(const rk_tensor *like, int64_t n, const void *p, double x)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        const double pi = real_at(like, p, i);
        sum += pi >= x ? pi : 0;
    }
    return sum;
}

/* Between the bits of two numbers there are at most 62 steps, and 30 between those of floats. */
static top_set find_top(const rk_tensor *like, int64_t n, const void *p)
{
    double lo = 0, hi = 1; /* half or more from lo on, less from hi on */
    if (mass_from(like, n, p, hi) >= half)
        lo = hi;
    for (int i = 0; i < 64 && lo < hi; i++) {
        const double mid = lo > 0 ? sqrt(lo) * sqrt(hi) : hi / 65536;
        if (!(mid > lo && mid < hi))
            break;
        if (mass_from(like, n, p, mid) >= half)
            lo = mid;
        else
            hi = mid;
    }
    double least_in = HUGE_VAL, sum = 0;
    for (int64_t i = 0; i < n; i++) {
        const double pi = real_at(like, p, i);
        if (pi >= lo && pi < least_in)
            least_in = pi;
    }
    top_set t = {.above = least_in};
    for (int64_t i = 0; i < n; i++)
        sum += real_at(like, p, i) > least_in ? real_at(like, p, i) : 0;
    for (; sum < half && t.n_equal < n; t.n_equal++)
        sum += least_in;
    return t;
}

/* Is token i one of them? Asked in order; *equal counts those that have the probability itself. */
static bool in_top(const top_set *t, double p, int64_t *equal)
{
    return p > t->above || (p == t->above && (*equal)++ < t->n_equal);
}

typedef struct both_ways {
    double forth, back, alpha, gaps; /* the two divergences; the share; the sum that it is of */
    top_set top;
} both_ways;

static both_ways measure(const rk_tensor *like, int64_t n, const void *teacher, const void *own)
{
    both_ways m = {.top = find_top(like, n, teacher)};
    double head = 0;
    int64_t equal = 0;
    for (int64_t i = 0; i < n; i++) {
        const double p = real_at(like, teacher, i), q = real_at(like, own, i);
        const double a = fmax(p, least), b = fmax(q, least), gap = fabs(p - q);
        m.forth += a * log(a / b);
        m.back += b * log(b / a);
        m.gaps += gap;
        head += in_top(&m.top, p, &equal) ? gap : 0;
    }
    m.alpha = m.gaps < least ? half : head / m.gaps;
    return m;
}

/* Of the loss with respect to q, the own probability. */
static double slope_at(const both_ways *m, double p, double q, bool top)
{
    const double a = fmax(p, least), b = fmax(q, least);
    double slope = 0;
    if (q > least && m->forth < most)
        slope -= m->alpha * a / b;
    if (q > least && m->back < most)
        slope += (1 - m->alpha) * (log(b / a) + 1);
    if (m->gaps >= least && p != q)
        slope += (fmin(m->forth, most) - fmin(m->back, most)) * (q > p ? 1 : -1) *
                 ((top ? 1 : 0) - m->alpha) / m->gaps;
    return slope;
}

/* The gradient of the logits in the place of the own probabilities, that of the cross-entropy too. */
static void put_slopes(const rk_tensor *like, int64_t n, const both_ways *m, const void *teacher,
                       void *own, double weight, double ce_weight)
{
    double mean = 0;
    int64_t equal = 0;
    for (int64_t i = 0; i < n; i++) {
        const double p = real_at(like, teacher, i), q = real_at(like, own, i);
        mean += q * slope_at(m, p, q, in_top(&m->top, p, &equal));
    }
    equal = 0;
    for (int64_t i = 0; i < n; i++) {
        const double p = real_at(like, teacher, i), q = real_at(like, own, i);
        const double slope = slope_at(m, p, q, in_top(&m->top, p, &equal));
        put_real(like, own, i, q * (weight * (slope - mean) + ce_weight));
    }
}

/* As one_row, of which it is the rest: the logits become probabilities, and these the gradient. */
static void adaptive_row(const kl_job *j, int64_t row, void *own, void *other, rk_ce_row *mine,
                         rk_ce_row *theirs)
{
    const rk_tensor *h = j->n->in[HIDDEN];
    const kl_attr *a = attr_of(j->n);
    const int64_t vocab = j->s.vocab;
    const int32_t target = ((const int32_t *)j->n->in[TARGETS]->data)[row], none = (int32_t)vocab;
    j->kern->ce_grad(1, vocab, vocab, 0, other, &none, theirs, 1.0, 0.0);
    j->kern->ce_grad(1, vocab, vocab, 0, own, &none, mine, 1.0, 0.0);
    const both_ways m = measure(h, vocab, other, own);
    if (j->losses)
        put_real(h, j->n->out[0]->data, row,
                 a->kl_weight *
                         (m.alpha * fmin(m.forth, most) + (1 - m.alpha) * fmin(m.back, most)) +
                     a->ce_weight * (lse_of(mine) - mine->target));
    if (!j->gradients)
        return;
    const double slope = slope_of(j, row);
    put_slopes(h, vocab, &m, other, own, slope * a->kl_weight, slope * a->ce_weight);
    if (a->ce_weight != 0.0)
        put_real(h, own, target, real_at(h, own, target) - slope * a->ce_weight);
}

/* Row r of the block: its loss, and in the place of its logits their gradient. */
static void one_row(const kl_job *j, int64_t r, void *difference)
{
    const rk_tensor *h = j->n->in[HIDDEN];
    const kl_attr *a = attr_of(j->n);
    const int64_t row = j->row0 + r, vocab = j->s.vocab;
    const int32_t target = ((const int32_t *)j->n->in[TARGETS]->data)[row];
    const int32_t none = (int32_t)vocab; /* of no column, but counted */
    void *own = rk_at(h, j->own, r * vocab), *other = rk_at(h, j->other, r * vocab);
    rk_ce_row mine = {.max = -HUGE_VAL}, theirs = {.max = -HUGE_VAL};
    if (target < 0) {
        memset(own, 0, rk_reals(h, vocab));
        if (j->losses)
            put_real(j->n->out[0], j->n->out[0]->data, row, 0.0);
        return;
    }
    j->kern->ce_block(1, vocab, vocab, 0, own, &target, &mine);
    j->kern->ce_block(1, vocab, vocab, 0, other, &none, &theirs);
    if (a->adaptive) {
        adaptive_row(j, row, own, other, &mine, &theirs);
        return;
    }
    memcpy(difference, other, rk_reals(h, vocab));
    j->kern->axpy(vocab, -1.0, own, difference);
    j->kern->ce_grad(1, vocab, vocab, 0, other, &none, &theirs, 1.0, 0.0);
    if (j->losses) {
        const double kl = dot(h, vocab, other, difference) - lse_of(&theirs) + lse_of(&mine);
        put_real(j->n->out[0], j->n->out[0]->data, row,
                 a->kl_weight * kl + a->ce_weight * (lse_of(&mine) - mine.target));
    }
    if (!j->gradients)
        return;
    const double slope = slope_of(j, row);
    j->kern->ce_grad(1, vocab, vocab, 0, own, &none, &mine, slope * (a->kl_weight + a->ce_weight),
                     0.0);
    j->kern->axpy(vocab, -slope * a->kl_weight, other, own);
    if (a->ce_weight != 0.0)
        put_real(h, own, target, real_at(h, own, target) - slope * a->ce_weight);
}

static void block_rows(void *arg, int64_t lo, int64_t hi, int worker)
{
    const kl_job *j = arg;
    for (int64_t r = lo; r < hi; r++)
        one_row(j, r, j->threads + (size_t)worker * j->s.thread_bytes);
}

static void block_logits(rk_ctx *ctx, const kl_job *j, int64_t rows, int hidden, void *logits)
{
    const rk_tensor *h = j->n->in[hidden];
    const rk_factor head = head_of(j->n, hidden + 1);
    rk_factor_product(ctx, j->products, rows, rk_at(h, h->data, j->row0 * head.in), &head, logits,
                      j->s.vocab, false);
}

/* The gradients of the logits go into the products. */
static void block_back(rk_ctx *ctx, const kl_job *j, int64_t rows)
{
    const rk_tensor *h = j->n->in[HIDDEN];
    const rk_factor head = head_of(j->n, HEAD);
    const int64_t c = head.in, vocab = j->s.vocab;
    if (j->dh)
        rk_factor_product_back(ctx, j->products, rows, j->own, &head, rk_at(h, j->dh, j->row0 * c),
                               !j->first_h);
    if (j->dhead)
        rk_gemm_on(ctx, h->dtype, j->products, (rk_gemm_shape){vocab, c, rows},
                   (rk_matrix){j->own, h->dtype, 1, vocab},
                   (rk_matrix){rk_at(h, h->data, j->row0 * c), h->dtype, c, 1}, j->dhead, c,
                   !j->first_head || j->row0 > 0);
}

static void for_blocks(rk_ctx *ctx, kl_job *j)
{
    for (j->row0 = 0; j->row0 < j->s.rows && !rk_ctx_failed(ctx); j->row0 += j->s.block) {
        const int64_t rows = rk_min_i64(j->s.block, j->s.rows - j->row0);
        block_logits(ctx, j, rows, HIDDEN, j->own);
        block_logits(ctx, j, rows, T_HIDDEN, j->other);
        rk_parallel(ctx, rows, 1, block_rows, j);
        if (j->gradients && !rk_ctx_failed(ctx))
            block_back(ctx, j, rows);
    }
}

static void take_gradients(rk_ctx *ctx, kl_job *j, rk_node *n)
{
    j->gradients = true;
    j->dh = rk_grad_fresh(ctx, n->in[HIDDEN], &j->first_h);
    j->dhead = rk_grad_fresh(ctx, n->in[HEAD], &j->first_head);
}

static void divergence_forward(rk_ctx *ctx, rk_node *n)
{
    kl_job j = job_of(ctx, n);
    const int32_t *targets = n->in[TARGETS]->data;
    for (int64_t i = 0; i < j.s.rows; i++)
        if (targets[i] >= j.s.vocab) {
            rk_ctx_fail(ctx, RK_ERR_ARG, "target %lld is %d: expected below %lld", (long long)i,
                        targets[i], (long long)j.s.vocab);
            return;
        }
    j.losses = true;
    if (attr_of(n)->announced)
        take_gradients(ctx, &j, n);
    for_blocks(ctx, &j);
}

/* What was announced must come. */
static void check_seed(rk_ctx *ctx, const rk_node *n)
{
    const kl_job j = {.n = n}, came = {.n = n, .dloss = rk_grad(ctx, n->out[0])};
    for (int64_t i = 0; i < rk_tensor_rows(n->in[HIDDEN]); i++)
        if (slope_of(&came, i) != slope_of(&j, i)) {
            rk_ctx_fail(ctx, RK_ERR_ARG, "divergence: the gradient of row %lld is %g, announced %g",
                        (long long)i, slope_of(&came, i), slope_of(&j, i));
            return;
        }
}

static void divergence_backward(rk_ctx *ctx, rk_node *n)
{
    if (attr_of(n)->announced) {
        check_seed(ctx, n);
        return;
    }
    kl_job j = job_of(ctx, n);
    j.dloss = rk_grad(ctx, n->out[0]);
    take_gradients(ctx, &j, n);
    for_blocks(ctx, &j);
}

const rk_op rk_op_divergence = {
    .name = "divergence",
    .shape = divergence_shape,
    .on[RK_CPU] = {divergence_forward, divergence_backward},
    .attr_bytes = sizeof(kl_attr),
};

rk_tensor *rk_divergence(rk_ctx *ctx, const rk_divergence_in *in)
{
    const bool announced = ctx->recording && in->seed != 0.0 && in->head &&
                           HELD / rk_max_i64(2 * in->head->dims[0], 1) >= HELD_ROWS_MIN;
    rk_node n = {.op = &rk_op_divergence,
                 .n_in = KL_IN,
                 .in = {in->hidden, in->head, in->teacher_hidden, in->teacher_head, in->targets},
                 .attr =
                     &(kl_attr){in->kl_weight, in->ce_weight, in->seed, in->adaptive, announced}};
    return rk_apply1(ctx, &n);
}
