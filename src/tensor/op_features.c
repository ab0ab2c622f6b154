/* op_features.c: a kernel path beside the recurrence of RWKV-7: vectors to features and back. Work is cut
 * by heads of tokens; what the features are made of are constants. */
#include <string.h>

#include "base/num.h"
#include "tensor/op.h"

/* The reference alone has these kernels. */
static const rk_kernels *kernels_of(const rk_tensor *t)
{
    return t->dtype == RK_F64 ? &rk_kernels_ref_f64 : &rk_kernels_ref_f32;
}

static bool has_dims(const rk_tensor *t, int64_t a, int64_t b, int64_t c)
{
    return t && t->n_dims == 3 && t->dims[0] == a && t->dims[1] == b && t->dims[2] == c;
}

/* ---- features ---- */

enum { R, K, V, NA, A, W, U, UV, PI, GAMMA, SCALE, BASIS, FEATURES_IN };

typedef struct features_job {
    const rk_kernels *kern;
    rk_features f;
    rk_features_grads g;
    unsigned char *scratch;
    size_t thread_bytes;
} features_job;

static double removal_of(const rk_node *n)
{
    return *(const double *)n->attr;
}

static size_t thread_bytes(const rk_node *n)
{
    return rk_align_up(kernels_of(n->in[R])->features_scratch(n->in[R]->dims[3], n->in[U]->dims[1]),
                       RK_ARENA_ALIGN);
}

static void features_shape(rk_ctx *ctx, rk_node *n)
{
    const rk_tensor *r = n->in[R], *u = n->in[U];
    bool ok = r->n_dims == 4 && u && u->n_dims == 3;
    for (int i = K; ok && i <= W; i++)
        ok = n->in[i] && rk_tensor_same_shape(n->in[i], r);
    const int64_t h = ok ? r->dims[2] : 0, size = ok ? r->dims[3] : 0, m = ok ? u->dims[1] : 0;
    for (int i = U; ok && i <= PI; i++)
        ok = has_dims(n->in[i], h, m, size);
    ok = ok && n->in[GAMMA] && rk_tensor_count(n->in[GAMMA]) == h && n->in[SCALE] &&
         rk_tensor_count(n->in[SCALE]) == 3 * h &&
         (!n->in[BASIS] || has_dims(n->in[BASIS], h, m, m));
    if (!rk_expect(ctx, n, ok,
                   "(B,T,H,N) six times, (H,M,N) three times, (H), (H,3) and (H,M,M)") ||
        !rk_expect_plain(ctx, n))
        return;
    n->scratch_bytes = thread_bytes(n) * (size_t)rk_pool_n_threads(ctx->pool);
    n->scratch_bwd_bytes = n->scratch_bytes + rk_tensor_bytes(r);
    n->n_out = RK_FEATURES_OUT;
    const int64_t dims[] = {r->dims[0], r->dims[1], h, m};
    for (int i = 0; i < RK_FEATURES_OUT; i++)
        n->out[i] = rk_new(ctx, r->dtype, 4, dims);
}

static void *data_of(const rk_tensor *t)
{
    return t ? t->data : NULL;
}

static features_job features_job_of(const rk_node *n)
{
    const rk_tensor *r = n->in[R];
    features_job j = {.kern = kernels_of(r),
                      .f = {.heads = r->dims[2],
                            .size = r->dims[3],
                            .n_features = n->in[U]->dims[1],
                            .r = r->data,
                            .k = n->in[K]->data,
                            .v = n->in[V]->data,
                            .na = n->in[NA]->data,
                            .a = n->in[A]->data,
                            .w = n->in[W]->data,
                            .u = n->in[U]->data,
                            .uv = n->in[UV]->data,
                            .pi = n->in[PI]->data,
                            .gamma = n->in[GAMMA]->data,
                            .scale = n->in[SCALE]->data,
                            .basis = data_of(n->in[BASIS]),
                            .removal = removal_of(n)},
                      .scratch = n->scratch,
                      .thread_bytes = thread_bytes(n)};
    for (int i = 0; i < RK_FEATURES_OUT; i++)
        j.f.out[i] = n->out[i]->data;
    return j;
}

/* Heads of all tokens. */
static int64_t n_heads(const rk_tensor *t)
{
    return t->dims[0] * t->dims[1] * t->dims[2];
}

static void features_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const features_job *j = arg;
    j->kern->features(&j->f, lo, hi, j->scratch + (size_t)worker * j->thread_bytes);
}

static void features_forward(rk_ctx *ctx, rk_node *n)
{
    features_job j = features_job_of(n);
    rk_parallel(ctx, n_heads(n->in[R]), 1, features_piece, &j);
}

static void features_bwd_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const features_job *j = arg;
    j->kern->features_bwd(&j->f, &j->g, lo, hi, j->scratch + (size_t)worker * j->thread_bytes);
}

static void features_backward(rk_ctx *ctx, rk_node *n)
{
    features_job j = features_job_of(n);
    void *spare = j.scratch + j.thread_bytes * (size_t)rk_pool_n_threads(ctx->pool);
    for (int i = 0; i < RK_FEATURES_OUT; i++)
        j.g.dout[i] = rk_grad(ctx, n->out[i]);
    j.g.dr = rk_grad_or(ctx, n->in[R], spare);
    j.g.dk = rk_grad_or(ctx, n->in[K], spare);
    j.g.dv = rk_grad_or(ctx, n->in[V], spare);
    j.g.dna = rk_grad_or(ctx, n->in[NA], spare);
    j.g.da = rk_grad_or(ctx, n->in[A], spare);
    j.g.dw = rk_grad_or(ctx, n->in[W], spare);
    rk_parallel(ctx, n_heads(n->in[R]), 1, features_bwd_piece, &j);
}

const rk_op rk_op_features = {
    .name = "features",
    .shape = features_shape,
    .on[RK_CPU] = {features_forward, features_backward},
    .attr_bytes = sizeof(double),
};

rk_wkv7_in rk_features_of(rk_ctx *ctx, const rk_features_in *in)
{
    const rk_feature_path *p = in->path;
    rk_node n = {.op = &rk_op_features,
                 .n_in = FEATURES_IN,
                 .in = {in->r, in->k, in->v, in->na, in->a, in->w, p->u, p->uv, p->pi, p->gamma,
                        p->scale, p->basis},
                 .attr = &in->removal};
    if (rk_ctx_failed(ctx) || !rk_apply(ctx, &n))
        return (rk_wkv7_in){0};
    return (rk_wkv7_in){.r = n.out[RK_FEATURES_R],
                        .w = n.out[RK_FEATURES_W],
                        .k = n.out[RK_FEATURES_K],
                        .v = n.out[RK_FEATURES_V],
                        .a = n.out[RK_FEATURES_A],
                        .b = n.out[RK_FEATURES_B]};
}

/* ---- back ---- */

enum { X, READ, ALPHA, BACK_IN };

typedef struct back_job {
    const rk_kernels *kern;
    rk_features_back b;
    const void *dout;
    void *dx, *dalpha;
    int64_t rows;
} back_job;

static void features_read_shape(rk_ctx *ctx, rk_node *n)
{
    const rk_tensor *x = n->in[X], *q = n->in[READ], *alpha = n->in[ALPHA];
    const bool ok = x->n_dims == 4 && q && q->n_dims == 3 && q->dims[0] == x->dims[2] &&
                    q->dims[2] == x->dims[3] && alpha && rk_tensor_count(alpha) == x->dims[2];
    if (!rk_expect(ctx, n, ok, "(B,T,H,M), (H,N,M) and (H)") || !rk_expect_plain(ctx, n))
        return;
    const int64_t dims[] = {x->dims[0], x->dims[1], x->dims[2], q->dims[1]};
    n->n_out = 1;
    n->out[0] = rk_new(ctx, x->dtype, 4, dims);
}

static back_job back_job_of(const rk_node *n)
{
    const rk_tensor *x = n->in[X];
    return (back_job){.kern = kernels_of(x),
                      .b = {.heads = x->dims[2],
                            .size = n->in[READ]->dims[1],
                            .n_features = x->dims[3],
                            .x = x->data,
                            .matrix = n->in[READ]->data,
                            .alpha = n->in[ALPHA]->data,
                            .out = n->out[0]->data},
                      .rows = x->dims[0] * x->dims[1]};
}

static void back_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const back_job *j = arg;
    (void)worker;
    j->kern->features_read(&j->b, lo, hi);
}

static void features_read_forward(rk_ctx *ctx, rk_node *n)
{
    back_job j = back_job_of(n);
    rk_parallel(ctx, n_heads(n->in[X]), 1, back_piece, &j);
}

static void back_bwd_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const back_job *j = arg;
    (void)worker;
    j->kern->features_read_bwd(&j->b, j->dout, lo, hi, j->dx);
}

/* Gradients of gains, head by head: row after row, so that micro-batches continue the same sums. */
static void gain_bwd_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const back_job *j = arg;
    (void)worker;
    for (int64_t h = lo; h < hi; h++)
        for (int64_t row = 0; row < j->rows; row++) {
            const double slope = j->kern->features_gain_bwd(&j->b, j->dout, row * j->b.heads + h);
            if (j->kern->real == RK_F64)
                ((double *)j->dalpha)[h] += slope;
            else
                ((float *)j->dalpha)[h] += (float)slope;
        }
}

static void features_read_backward(rk_ctx *ctx, rk_node *n)
{
    back_job j = back_job_of(n);
    j.dout = rk_grad(ctx, n->out[0]);
    j.dx = rk_grad(ctx, n->in[X]);
    j.dalpha = rk_grad(ctx, n->in[ALPHA]);
    if (j.dx)
        rk_parallel(ctx, n_heads(n->in[X]), 1, back_bwd_piece, &j);
    if (j.dalpha)
        rk_parallel(ctx, j.b.heads, 1, gain_bwd_piece, &j);
}

const rk_op rk_op_features_read = {
    .name = "features_read",
    .shape = features_read_shape,
    .on[RK_CPU] = {features_read_forward, features_read_backward},
};

rk_tensor *rk_features_back_op(rk_ctx *ctx, const rk_feature_path *path, rk_tensor *y)
{
    rk_node n = {.op = &rk_op_features_read, .n_in = BACK_IN, .in = {y, path->read, path->alpha}};
    return y ? rk_apply1(ctx, &n) : NULL;
}
