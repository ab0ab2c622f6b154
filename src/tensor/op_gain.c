/* op_gain.c: what DoRA multiplies outputs with: x / |W + scale B A| of every row of the matrix.
 *
 * |W + s B A|^2 = |W|^2 + 2 s B (A W^T) + s^2 B (A A^T) B^T, row by row: W itself is not needed, only
 * its rows' squares and its product with A. The norm counts as a constant: only x gets a gradient
 * (arXiv 2402.09353, section 4.3). */
#include <math.h>

#include "tensor/op.h"

enum { X, SQUARES, B, AW, AA, N_INPUTS };

static double at(const rk_tensor *t, int64_t i)
{
    return t->dtype == RK_F64 ? ((const double *)t->data)[i] : (double)((const float *)t->data)[i];
}

static void put(const rk_tensor *t, void *data, int64_t i, double x)
{
    if (t->dtype == RK_F64)
        ((double *)data)[i] = x;
    else
        ((float *)data)[i] = (float)x;
}

static void gain_shape(rk_ctx *ctx, rk_node *n)
{
    const int64_t out = n->in[SQUARES] ? rk_tensor_count(n->in[SQUARES]) : 0;
    const int64_t rank = n->in[AA] ? n->in[AA]->dims[0] : 0;
    n->n_out = 1;
    if (!rk_expect_plain(ctx, n) ||
        !rk_expect(ctx, n,
                   rk_tensor_count(n->in[X]) == out && rk_tensor_count(n->in[B]) == out * rank &&
                       rk_tensor_count(n->in[AW]) == out * rank &&
                       rk_tensor_count(n->in[AA]) == rank * rank,
                   "a number and a square of each output, (out, r), (r, out), (r, r)"))
        return;
    n->out[0] = rk_new_like(ctx, n->in[X]);
}

/* |W + s B A| of row o. */
static double norm_of(const rk_node *n, int64_t o)
{
    const double s = *(const double *)n->attr;
    const int64_t out = rk_tensor_count(n->in[SQUARES]), rank = n->in[AA]->dims[0];
    double sum = at(n->in[SQUARES], o);
    for (int64_t k = 0; k < rank; k++) {
        const double b = at(n->in[B], o * rank + k);
        double row = 0.0;
        for (int64_t l = 0; l < rank; l++)
            row += at(n->in[AA], k * rank + l) * at(n->in[B], o * rank + l);
        sum += b * (2.0 * s * at(n->in[AW], k * out + o) + s * s * row);
    }
    return sqrt(fmax(sum, 1e-30));
}

static void forward_rows(void *arg, int64_t lo, int64_t hi, int worker)
{
    const rk_node *n = arg;
    (void)worker;
    for (int64_t o = lo; o < hi; o++)
        put(n->out[0], n->out[0]->data, o, at(n->in[X], o) / norm_of(n, o));
}

static void gain_forward(rk_ctx *ctx, rk_node *n)
{
    rk_parallel(ctx, rk_tensor_count(n->out[0]), RK_GRAIN_ROWS, forward_rows, n);
}

static void gain_backward(rk_ctx *ctx, rk_node *n)
{
    void *dm = rk_grad(ctx, n->in[X]);
    rk_tensor dy = *n->out[0];
    dy.data = rk_grad(ctx, n->out[0]);
    if (!dm || !dy.data)
        return;
    rk_tensor sum = *n->in[X];
    sum.data = dm;
    for (int64_t o = 0; o < rk_tensor_count(&sum); o++)
        put(&sum, dm, o, at(&sum, o) + at(&dy, o) / norm_of(n, o));
}

const rk_op rk_op_gain = {
    .name = "gain",
    .shape = gain_shape,
    .on[RK_CPU] = {gain_forward, gain_backward},
    .attr_bytes = sizeof(double),
};

rk_tensor *rk_gain(rk_ctx *ctx, const rk_gain_in *in)
{
    rk_node n = {.op = &rk_op_gain,
                 .n_in = N_INPUTS,
                 .in = {in->x, in->squares, in->b, in->aw, in->aa},
                 .attr = &in->scale};
    return rk_apply1(ctx, &n);
}
