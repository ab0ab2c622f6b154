/* op_medium_mix.c: what goes into a product where mediums are looked back at: a row mixed with the one before it, and
 * a part of the mediums' mean. One pass: training keeps the result alone. */
#include "tensor/op.h"

/* in prev, x (..., C), mix (C), z (..., C), mix_z (C); out prev + (x - prev) mix + z mix_z */
enum { PREV, X, MIX, Z, MIX_Z, N_IN };

static void mix_shape(rk_ctx *ctx, rk_node *n)
{
    const rk_tensor *x = n->in[PREV];
    const int64_t width = rk_tensor_cols(x);
    bool ok = true;
    for (int i = X; ok && i < N_IN; i++)
        ok = n->in[i] && (i == MIX || i == MIX_Z ? rk_tensor_count(n->in[i]) == width
                                                 : rk_tensor_same_shape(n->in[i], x));
    if (!rk_expect_plain(ctx, n) ||
        !rk_expect(ctx, n, ok, "(..., C), (..., C), C elements and both again"))
        return;
    n->n_out = 1;
    n->out[0] = rk_new_like(ctx, x);
}

typedef struct job {
    const rk_node *n;
    const rk_kernels *kern;
    int64_t rows, width;
    const void *dy;
    void *dx[N_IN]; /* NULL: not wanted */
} job;

static job job_of(const rk_ctx *ctx, const rk_node *n)
{
    const rk_tensor *x = n->in[PREV];
    return (job){.n = n,
                 .kern = rk_ctx_kernels(ctx, x->dtype),
                 .rows = rk_tensor_rows(x),
                 .width = rk_tensor_cols(x)};
}

/* Element `at` of an input. */
static void *in_at(const job *j, int i, int64_t at)
{
    return rk_at(j->n->in[i], j->n->in[i]->data, at);
}

static void over_rows(rk_ctx *ctx, job *j, rk_range_fn *fn)
{
    const int64_t grain = RK_GRAIN_FLAT / j->width;
    rk_parallel(ctx, j->rows, grain > 0 ? grain : 1, fn, j);
}

static void mix_rows(void *arg, int64_t lo, int64_t hi, int worker)
{
    const job *j = arg;
    (void)worker;
    for (int64_t at = lo * j->width; at < hi * j->width; at += j->width) {
        void *y = rk_at(j->n->out[0], j->n->out[0]->data, at);
        j->kern->lerp(j->width, in_at(j, PREV, at), in_at(j, X, at), in_at(j, MIX, 0), y);
        j->kern->mul_add(j->width, in_at(j, Z, at), in_at(j, MIX_Z, 0), y);
    }
}

static void mix_forward(rk_ctx *ctx, rk_node *n)
{
    job j = job_of(ctx, n);
    over_rows(ctx, &j, mix_rows);
}

static void mix_rows_bwd(void *arg, int64_t lo, int64_t hi, int worker)
{
    const job *j = arg;
    const rk_tensor *like = j->n->in[PREV];
    (void)worker;
    for (int64_t at = lo * j->width; at < hi * j->width; at += j->width) {
        const void *dy = rk_at(like, j->dy, at);
        j->kern->lerp_bwd(j->width, in_at(j, PREV, at), in_at(j, X, at), in_at(j, MIX, 0), dy,
                          rk_at(like, j->dx[PREV], at), rk_at(like, j->dx[X], at), NULL);
        if (j->dx[Z])
            j->kern->mul_add(j->width, dy, in_at(j, MIX_Z, 0), rk_at(like, j->dx[Z], at));
    }
}

/* Sums over rows, in order, for channels [lo, hi) of what all rows share. */
static void mix_shared_bwd(void *arg, int64_t lo, int64_t hi, int worker)
{
    const job *j = arg;
    const rk_tensor *like = j->n->in[PREV];
    (void)worker;
    for (int64_t at = lo; at < j->rows * j->width; at += j->width) {
        const void *dy = rk_at(like, j->dy, at);
        if (j->dx[MIX])
            j->kern->lerp_bwd(hi - lo, in_at(j, PREV, at), in_at(j, X, at), in_at(j, MIX, lo), dy,
                              NULL, NULL, rk_at(like, j->dx[MIX], lo));
        if (j->dx[MIX_Z])
            j->kern->mul_add(hi - lo, dy, in_at(j, Z, at), rk_at(like, j->dx[MIX_Z], lo));
    }
}

static void mix_backward(rk_ctx *ctx, rk_node *n)
{
    job j = job_of(ctx, n);
    j.dy = rk_grad(ctx, n->out[0]);
    for (int i = 0; i < N_IN; i++)
        j.dx[i] = rk_grad(ctx, n->in[i]);
    over_rows(ctx, &j, mix_rows_bwd);
    if (j.dx[MIX] || j.dx[MIX_Z])
        rk_parallel(ctx, j.width, RK_GRAIN_COLS, mix_shared_bwd, &j);
}

const rk_op rk_op_medium_mix = {
    .name = "medium_mix",
    .shape = mix_shape,
    .on[RK_CPU] = {mix_forward, mix_backward},
};

rk_tensor *rk_medium_mix(rk_ctx *ctx, const rk_medium_mix_in *in)
{
    rk_node n = {
        .op = &rk_op_medium_mix, .n_in = N_IN, .in = {in->prev, in->x, in->mix, in->z, in->mix_z}};
    return rk_apply1(ctx, &n);
}
