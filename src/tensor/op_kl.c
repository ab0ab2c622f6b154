/* op_kl.c: how far apart two distributions over the last dimension are.
 *
 * KL(p || q) = sum_j p_j (log p_j - log q_j) of p = softmax(a) and q = softmax(b), row by row. With d the
 * gradient of a row's divergence K: db = d (q - p), da = d p (log p - log q - K). Sums are double. */
#include <math.h>

#include "tensor/op.h"

enum { A, B, N_INPUTS };

static double at(const rk_tensor *t, const void *data, int64_t i)
{
    return t->dtype == RK_F64 ? ((const double *)data)[i] : (double)((const float *)data)[i];
}

static void add(const rk_tensor *t, void *data, int64_t i, double x)
{
    if (t->dtype == RK_F64)
        ((double *)data)[i] += x;
    else
        ((float *)data)[i] = (float)((double)((const float *)data)[i] + x);
}

static void kl_shape(rk_ctx *ctx, rk_node *n)
{
    const rk_tensor *a = n->in[A], *b = n->in[B];
    n->n_out = 1;
    if (!rk_expect(ctx, n, b && a->n_dims >= 2 && rk_tensor_same_shape(a, b),
                   "two tensors of scores of one shape") ||
        !rk_expect_plain(ctx, n))
        return;
    n->saved_bytes = 2 * (size_t)rk_tensor_rows(a) * sizeof(double);
    n->out[0] = rk_new(ctx, a->dtype, a->n_dims - 1, a->dims);
}

/* log sum_j exp(x_j) of a row. */
static double log_sum(const rk_tensor *t, int64_t row)
{
    const int64_t n = rk_tensor_cols(t), first = row * n;
    double max = -HUGE_VAL, sum = 0.0;
    for (int64_t j = 0; j < n; j++)
        max = fmax(max, at(t, t->data, first + j));
    for (int64_t j = 0; j < n; j++)
        sum += exp(at(t, t->data, first + j) - max);
    return max + log(sum);
}

static void forward_rows(void *arg, int64_t lo, int64_t hi, int worker)
{
    const rk_node *n = arg;
    const rk_tensor *a = n->in[A], *b = n->in[B];
    double *saved = n->saved;
    (void)worker;
    for (int64_t row = lo; row < hi; row++) {
        const int64_t cols = rk_tensor_cols(a);
        const double la = log_sum(a, row), lb = log_sum(b, row);
        double sum = 0.0;
        for (int64_t i = row * cols; i < (row + 1) * cols; i++) {
            const double lp = at(a, a->data, i) - la;
            sum += exp(lp) * (lp - (at(b, b->data, i) - lb));
        }
        if (a->dtype == RK_F64)
            ((double *)n->out[0]->data)[row] = sum;
        else
            ((float *)n->out[0]->data)[row] = (float)sum;
        if (saved) {
            saved[2 * row] = la;
            saved[2 * row + 1] = lb;
        }
    }
}

static void kl_forward(rk_ctx *ctx, rk_node *n)
{
    rk_parallel(ctx, rk_tensor_rows(n->in[A]), 1, forward_rows, n);
}

typedef struct backward_job {
    const rk_node *n;
    const void *d;
    void *da, *db; /* NULL: not needed */
} backward_job;

static void backward_rows(void *arg, int64_t lo, int64_t hi, int worker)
{
    const backward_job *j = arg;
    const rk_node *n = j->n;
    const rk_tensor *a = n->in[A], *b = n->in[B], *out = n->out[0];
    const int64_t cols = rk_tensor_cols(a);
    const double *saved = n->saved;
    (void)worker;
    for (int64_t row = lo; row < hi; row++) {
        const double d = at(out, j->d, row), all = at(out, out->data, row);
        for (int64_t i = row * cols; i < (row + 1) * cols; i++) {
            const double lp = at(a, a->data, i) - saved[2 * row];
            const double lq = at(b, b->data, i) - saved[2 * row + 1], p = exp(lp);
            if (j->da)
                add(a, j->da, i, d * p * (lp - lq - all));
            if (j->db)
                add(b, j->db, i, d * (exp(lq) - p));
        }
    }
}

static void kl_backward(rk_ctx *ctx, rk_node *n)
{
    backward_job j = {n, rk_grad(ctx, n->out[0]), rk_grad(ctx, n->in[A]), rk_grad(ctx, n->in[B])};
    rk_parallel(ctx, rk_tensor_rows(n->in[A]), 1, backward_rows, &j);
}

const rk_op rk_op_kl = {
    .name = "kl",
    .shape = kl_shape,
    .on[RK_CPU] = {kl_forward, kl_backward},
};

rk_tensor *rk_kl(rk_ctx *ctx, rk_tensor *a, rk_tensor *b)
{
    rk_node n = {.op = &rk_op_kl, .n_in = N_INPUTS, .in = {a, b}};
    return rk_apply1(ctx, &n);
}
