/* op_preference.c: direct preference optimisation (arXiv 2305.18290): by how much a model prefers one answer
 * to another, compared with a model that stays as it is.
 *
 *     D = (log p - log p_ref)(chosen) - (log p - log p_ref)(rejected)
 *     loss = (1 - eps) softplus(-beta D) + eps softplus(beta D),  or  max(0, 1 - beta D)
 *
 * Log-probabilities are sums over an answer's tokens, given as losses of each, in which what does not
 * count is 0. Sums are double, in order. */
#include <math.h>

#include "tensor/op.h"

enum { POLICY, REFERENCE, N_INPUTS };
enum { CHOSEN, REJECTED, N_ANSWERS };

static double at(const rk_tensor *t, const void *data, int64_t i)
{
    return t->dtype == RK_F64 ? ((const double *)data)[i] : (double)((const float *)data)[i];
}

static void put(const rk_tensor *t, void *data, int64_t i, double x)
{
    if (t->dtype == RK_F64)
        ((double *)data)[i] = x;
    else
        ((float *)data)[i] = (float)x;
}

static const rk_preference_how *how_of(const rk_node *n)
{
    return n->attr;
}

static void preference_shape(rk_ctx *ctx, rk_node *n)
{
    const rk_tensor *a = n->in[POLICY], *b = n->in[REFERENCE];
    n->n_out = 1;
    if (!rk_expect(ctx, n,
                   a && b && a->n_dims == 3 && a->dims[1] == N_ANSWERS &&
                       rk_tensor_same_shape(a, b),
                   "losses of the tokens of two answers, of two models") ||
        !rk_expect_plain(ctx, n))
        return;
    n->out[0] = rk_new(ctx, a->dtype, 1, a->dims);
}

double rk_preference_margin(const rk_tensor *policy, const rk_tensor *reference, int64_t pair)
{
    const int64_t n = policy->dims[2];
    double sum[N_ANSWERS] = {0, 0};
    for (int64_t a = 0; a < N_ANSWERS; a++)
        for (int64_t i = 0; i < n; i++) {
            const int64_t e = (pair * N_ANSWERS + a) * n + i;
            sum[a] += at(reference, reference->data, e) - at(policy, policy->data, e);
        }
    return sum[CHOSEN] - sum[REJECTED];
}

static double softplus(double x)
{
    return fmax(x, 0.0) + log1p(exp(-fabs(x)));
}

static double sigmoid(double x)
{
    return 1.0 / (1.0 + exp(-x));
}

static double loss_of(const rk_preference_how *h, double d)
{
    if (h->hinge)
        return fmax(0.0, 1.0 - h->beta * d);
    return (1.0 - h->smoothing) * softplus(-h->beta * d) + h->smoothing * softplus(h->beta * d);
}

/* Of the loss, with respect to D. */
static double slope_of(const rk_preference_how *h, double d)
{
    if (h->hinge)
        return 1.0 - h->beta * d > 0.0 ? -h->beta : 0.0;
    return h->beta *
           (h->smoothing * sigmoid(h->beta * d) - (1.0 - h->smoothing) * sigmoid(-h->beta * d));
}

static void forward_pairs(void *arg, int64_t lo, int64_t hi, int worker)
{
    const rk_node *n = arg;
    (void)worker;
    for (int64_t i = lo; i < hi; i++)
        put(n->out[0], n->out[0]->data, i,
            loss_of(how_of(n), rk_preference_margin(n->in[POLICY], n->in[REFERENCE], i)));
}

static void preference_forward(rk_ctx *ctx, rk_node *n)
{
    rk_parallel(ctx, n->in[POLICY]->dims[0], 1, forward_pairs, n);
}

typedef struct backward_job {
    const rk_node *n;
    const void *d;
    void *grad;
} backward_job;

/* D falls with the losses of what is chosen and rises with those of what is rejected. */
static void backward_pairs(void *arg, int64_t lo, int64_t hi, int worker)
{
    const backward_job *j = arg;
    const rk_tensor *p = j->n->in[POLICY];
    const int64_t each = p->dims[2];
    (void)worker;
    for (int64_t i = lo; i < hi; i++) {
        const double d = at(p, j->d, i) *
                         slope_of(how_of(j->n), rk_preference_margin(p, j->n->in[REFERENCE], i));
        for (int64_t e = 0; e < N_ANSWERS * each; e++) {
            const int64_t k = i * N_ANSWERS * each + e;
            put(p, j->grad, k, at(p, j->grad, k) + (e < each ? -d : d));
        }
    }
}

static void preference_backward(rk_ctx *ctx, rk_node *n)
{
    backward_job j = {n, rk_grad(ctx, n->out[0]), rk_grad(ctx, n->in[POLICY])};
    if (j.grad)
        rk_parallel(ctx, n->in[POLICY]->dims[0], 1, backward_pairs, &j);
}

const rk_op rk_op_preference = {
    .name = "preference",
    .shape = preference_shape,
    .on[RK_CPU] = {preference_forward, preference_backward},
    .attr_bytes = sizeof(rk_preference_how),
};

rk_tensor *rk_preference(rk_ctx *ctx, rk_tensor *policy, rk_tensor *reference,
                         const rk_preference_how *how)
{
    rk_preference_how copy = *how;
    rk_node n = {
        .op = &rk_op_preference, .n_in = N_INPUTS, .in = {policy, reference}, .attr = &copy};
    return rk_apply1(ctx, &n);
}
