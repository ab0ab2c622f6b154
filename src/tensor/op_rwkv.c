/* op_rwkv.c: token shift with mixes, and the three pieces of an RWKV-7 time mix that lie between
 * its matrix products: prepare, the wkv7 recurrence, output. They are large on purpose:
 * element-wise passes over activations cost as much as the products when each step of the equations
 * is one. */
#include <string.h>

#include "base/num.h"
#include "tensor/row_pieces.h"

/* ---- token shift: in x, shift, mu[0 .. n); out (n,B,T,C) and the next shift ---- */

enum { MU = 2 };

typedef struct shift_job {
    const rk_kernels *kern;
    const rk_node *n;
    int64_t steps, width, stride; /* T, C, B T C */
    rk_row_pieces pieces;
    int n_mix;
    const void *mu[RK_MAX_IN];
    const void *dy; /* of backward */
    rk_grad_rows dx;
    void *dmu, *dshift; /* dmu (mix, piece, C): sums of pieces */
} shift_job;

static void shift_mix_shape(rk_ctx *ctx, rk_node *n)
{
    const rk_tensor *x = n->in[0], *shift = n->in[1];
    const int n_mix = n->n_in - MU;
    bool ok = shift && x->n_dims == 3 && shift->n_dims == 2 && shift->dims[0] == x->dims[0] &&
              shift->dims[1] == x->dims[2];
    for (int q = 0; ok && q < n_mix; q++)
        ok = n->in[MU + q] && rk_tensor_count(n->in[MU + q]) == x->dims[2];
    if (!rk_expect_plain(ctx, n) || !rk_expect(ctx, n, ok, "(B,T,C), (B,C) and mixes of C"))
        return;
    const int64_t dims[] = {n_mix, x->dims[0], x->dims[1], x->dims[2]};
    n->scratch_bwd_bytes =
        rk_reals(x, n_mix * rk_row_pieces_of(rk_tensor_rows(x), x->dims[1]).n * x->dims[2]);
    n->n_out = 2;
    n->out[0] = rk_new(ctx, x->dtype, 4, dims);
    n->out[1] = rk_new_like(ctx, shift);
}

static shift_job shift_job_of(rk_ctx *ctx, const rk_node *n)
{
    const rk_tensor *x = n->in[0];
    shift_job j = {.kern = rk_ctx_kernels(ctx, x->dtype),
                   .n = n,
                   .steps = x->dims[1],
                   .width = x->dims[2],
                   .stride = rk_tensor_count(x),
                   .pieces = rk_row_pieces_of(rk_tensor_rows(x), x->dims[1]),
                   .n_mix = n->n_in - MU};
    for (int q = 0; q < j.n_mix; q++)
        j.mu[q] = n->in[MU + q]->data;
    return j;
}

/* The row before row t of a sequence that begins at element `at` of x. */
static const void *row_before(const shift_job *j, int64_t at, int64_t t)
{
    const rk_tensor *x = j->n->in[0];
    if (t > 0)
        return rk_at(x, x->data, at + (t - 1) * j->width);
    return rk_at(x, j->n->in[1]->data, at / j->steps);
}

static void shift_piece(void *arg, int64_t i, int64_t end, int worker)
{
    const shift_job *j = arg;
    const rk_tensor *x = j->n->in[0];
    int64_t lo, hi;
    (void)end;
    (void)worker;
    rk_row_piece_at(&j->pieces, i, &lo, &hi);
    const int64_t b = lo / j->steps, first = b * j->steps, c = j->width, at = first * c;
    j->kern->shift_mix(lo - first, hi - first, c, rk_at(x, x->data, at), row_before(j, at, 0),
                       j->n_mix, j->mu, rk_at(x, j->n->out[0]->data, at), j->stride);
    if (hi == first + j->steps)
        memcpy(rk_at(x, j->n->out[1]->data, b * c), rk_at(x, x->data, (hi - 1) * c),
               rk_reals(x, c));
}

static void shift_mix_forward(rk_ctx *ctx, rk_node *n)
{
    shift_job j = shift_job_of(ctx, n);
    rk_parallel(ctx, j.pieces.n, 1, shift_piece, &j);
}

static void shift_bwd_piece(void *arg, int64_t i, int64_t end, int worker)
{
    const shift_job *j = arg;
    const rk_tensor *x = j->n->in[0];
    int64_t lo, hi;
    (void)end;
    (void)worker;
    rk_row_piece_at(&j->pieces, i, &lo, &hi);
    const int64_t b = lo / j->steps, first = b * j->steps, c = j->width, at = first * c;
    if (rk_grad_rows_at(&j->dx, lo, hi))
        j->kern->shift_mix_bwd_x(lo - first, hi - first, j->steps, c, j->n_mix, j->mu,
                                 rk_at(x, j->dy, at), j->stride, rk_at(x, j->dx.data, at));
    void *dmu[RK_MAX_IN];
    for (int q = 0; q < j->n_mix; q++) {
        dmu[q] = rk_at(x, j->dmu, (q * j->pieces.n + i) * c);
        memset(dmu[q], 0, rk_reals(x, c));
    }
    j->kern->shift_mix_bwd_mu(
        hi - lo, c, 0, c, rk_at(x, x->data, lo * c), row_before(j, at, lo - first), j->n_mix, j->mu,
        rk_at(x, j->dy, lo * c), j->stride, dmu, lo == first ? rk_at(x, j->dshift, b * c) : NULL);
}

/* The shift state is the last row of x. */
static void add_shift_grad(const shift_job *j, const void *dlast)
{
    const rk_tensor *x = j->n->in[0];
    for (int64_t b = 0; b < x->dims[0]; b++)
        j->kern->axpy(j->width, 1.0, rk_at(x, dlast, b * j->width),
                      rk_at(x, j->dx.data, ((b + 1) * j->steps - 1) * j->width));
}

static void shift_mix_backward(rk_ctx *ctx, rk_node *n)
{
    const rk_tensor *x = n->in[0];
    shift_job j = shift_job_of(ctx, n);
    /* Gradients are asked for before the first loop: after an abort there are none to be had. */
    const void *dlast = rk_grad(ctx, n->out[1]);
    void *dmu[RK_MAX_IN] = {NULL};
    j.dy = rk_grad(ctx, n->out[0]);
    j.dx = rk_grad_rows_of(ctx, n->in[0], j.pieces.rows, NULL);
    j.dshift = rk_grad(ctx, n->in[1]);
    j.dmu = n->scratch;
    for (int q = 0; q < j.n_mix; q++)
        dmu[q] = rk_grad(ctx, n->in[MU + q]);
    rk_parallel(ctx, j.pieces.n, 1, shift_bwd_piece, &j);
    if (j.dx.data && !rk_ctx_failed(ctx))
        add_shift_grad(&j, dlast);
    for (int q = 0; q < j.n_mix; q++)
        rk_add_pieces(ctx, x, &j.pieces, j.width, rk_at(x, j.dmu, q * j.pieces.n * j.width),
                      dmu[q]);
}

const rk_op rk_op_shift_mix = {
    .name = "shift_mix",
    .shape = shift_mix_shape,
    .on[RK_CPU] = {shift_mix_forward, shift_mix_backward},
};

rk_tensor *rk_shift_mix(rk_ctx *ctx, rk_tensor *x, rk_tensor *shift, rk_tensor *const *mu,
                        int n_mix, rk_tensor **shift_out)
{
    rk_node n = {.op = &rk_op_shift_mix, .n_in = MU + n_mix, .in = {x, shift}};
    if (n_mix < 1 || MU + n_mix > RK_MAX_IN) {
        rk_ctx_fail(ctx, RK_ERR_ARG, "shift_mix: %d mixes, expected 1 to %d", n_mix,
                    RK_MAX_IN - MU);
        return NULL;
    }
    memcpy(n.in + MU, mu, (size_t)n_mix * sizeof *mu);
    if (!rk_apply(ctx, &n))
        return NULL;
    *shift_out = n.out[1];
    return n.out[0];
}

/* ---- wkv7: in r, w, k, v, a, b (B,T,H,N), state (B,H,N,N); out y, state ---- */

enum { WKV_STATE = 6 };

typedef struct wkv_job {
    const rk_kernels *kern;
    const rk_node *n;
    int64_t steps, heads, size, segments; /* T, H, N, ceil(T/16) */
    size_t scratch_bytes;                 /* of one thread: the kernel's, and a state */
    bool long_class;
    unsigned char *scratch;
    const void *dy;
    void *dx[WKV_STATE];
    bool fresh[WKV_STATE]; /* dx that nothing was added to yet */
    void *dstate;          /* dstate (B,H,N,N): scratch, in and out */
} wkv_job;

static wkv_job wkv_job_of(const rk_ctx *ctx, const rk_node *n)
{
    const rk_tensor *r = n->in[0];
    const rk_kernels *kern = rk_ctx_kernels(ctx, r->dtype);
    return (wkv_job){.kern = kern,
                     .n = n,
                     .steps = r->dims[1],
                     .heads = r->dims[2],
                     .size = r->dims[3],
                     .segments = rk_ceil_div(r->dims[1], RK_WKV_SEGMENT),
                     .scratch_bytes =
                         rk_align_up(kern->wkv7_scratch(r->dims[3]), RK_ARENA_ALIGN) +
                         rk_align_up(rk_reals(r, r->dims[3] * r->dims[3]), RK_ARENA_ALIGN),
                     .long_class = ctx->long_class,
                     .scratch = n->scratch};
}

static void wkv7_shape(rk_ctx *ctx, rk_node *n)
{
    const rk_tensor *r = n->in[0], *s = n->in[WKV_STATE];
    bool ok = r->n_dims == 4 && s && s->n_dims == 4 && s->dims[0] == r->dims[0] &&
              s->dims[1] == r->dims[2] && s->dims[2] == r->dims[3] && s->dims[3] == r->dims[3];
    for (int i = 1; ok && i < WKV_STATE; i++)
        ok = n->in[i] && rk_tensor_same_shape(n->in[i], r);
    if (!rk_expect_plain(ctx, n) || !rk_expect(ctx, n, ok, "(B,T,H,N) six times and (B,H,N,N)"))
        return;
    const wkv_job j = wkv_job_of(ctx, n);
    n->saved_bytes = rk_reals(r, r->dims[0] * j.heads * j.segments * j.size * j.size);
    n->scratch_bytes = j.scratch_bytes * (size_t)rk_pool_n_threads(ctx->pool);
    n->scratch_bwd_bytes = n->scratch_bytes + rk_tensor_bytes(s) + rk_tensor_bytes(r);
    n->n_out = 2;
    n->out[0] = rk_new_like(ctx, r);
    n->out[1] = rk_new_state_like(ctx, s);
}

/* Arguments for head i % H of batch row i / H. */
static rk_wkv7_args wkv_args(const wkv_job *j, int64_t i)
{
    const rk_node *n = j->n;
    const rk_tensor *r = n->in[0];
    const int64_t stride = j->heads * j->size, square = j->size * j->size;
    const int64_t at = (i / j->heads * j->steps * j->heads + i % j->heads) * j->size;
    rk_wkv7_args a = {.n_steps = j->steps, .head_size = j->size, .stride = stride};
    a.r = rk_at(r, n->in[0]->data, at);
    a.w = rk_at(r, n->in[1]->data, at);
    a.k = rk_at(r, n->in[2]->data, at);
    a.v = rk_at(r, n->in[3]->data, at);
    a.a = rk_at(r, n->in[4]->data, at);
    a.b = rk_at(r, n->in[5]->data, at);
    a.y = rk_at(r, n->out[0]->data, at);
    a.state = rk_at(r, n->out[1]->data, i * square);
    a.saved = rk_at(r, n->saved, i * j->segments * square);
    return a;
}

/* Without memory for saved states the kernel may take a few steps in the order of the short class.
 * In the long class, in a recomputed segment or at the end of a prompt, it must not: it saves its
 * state behind its scratch, where nothing reads it. */
static void wkv_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const wkv_job *j = arg;
    for (int64_t i = lo; i < hi; i++) {
        unsigned char *scratch = j->scratch + (size_t)worker * j->scratch_bytes;
        rk_wkv7_args a = wkv_args(j, i);
        if (j->long_class && j->segments == 1 && !a.saved)
            a.saved = scratch + rk_align_up(j->kern->wkv7_scratch(j->size), RK_ARENA_ALIGN);
        a.state = rk_state_place(j->n->in[WKV_STATE], j->n->out[1], j->heads, i);
        j->kern->wkv7(&a, scratch);
    }
}

static void wkv7_forward(rk_ctx *ctx, rk_node *n)
{
    wkv_job j = wkv_job_of(ctx, n);
    rk_parallel(ctx, n->in[0]->dims[0] * j.heads, 1, wkv_piece, &j);
}

/* Clear one head's columns of a gradient, from element `at` on. */
static void clear_head(const wkv_job *j, void *grad, int64_t at)
{
    const rk_tensor *r = j->n->in[0];
    for (int64_t t = 0; t < j->steps; t++, at += j->heads * j->size)
        memset(rk_at(r, grad, at), 0, rk_reals(r, j->size));
}

static void wkv_bwd_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const wkv_job *j = arg;
    const rk_tensor *r = j->n->in[0];
    for (int64_t i = lo; i < hi; i++) {
        const rk_wkv7_args a = wkv_args(j, i);
        const int64_t at = (i / j->heads * j->steps * j->heads + i % j->heads) * j->size;
        const rk_wkv7_grads g = {.dy = rk_at(r, j->dy, at),
                                 .dr = rk_at(r, j->dx[0], at),
                                 .dw = rk_at(r, j->dx[1], at),
                                 .dk = rk_at(r, j->dx[2], at),
                                 .dv = rk_at(r, j->dx[3], at),
                                 .da = rk_at(r, j->dx[4], at),
                                 .db = rk_at(r, j->dx[5], at),
                                 .dstate = rk_at(r, j->dstate, i * j->size * j->size)};
        for (int q = 0; q < WKV_STATE; q++)
            if (j->fresh[q])
                clear_head(j, j->dx[q], at);
        j->kern->wkv7_bwd(&a, &g, j->scratch + (size_t)worker * j->scratch_bytes);
    }
}

static void wkv7_backward(rk_ctx *ctx, rk_node *n)
{
    wkv_job j = wkv_job_of(ctx, n);
    rk_tensor *state = n->in[WKV_STATE];
    const size_t threads = (size_t)rk_pool_n_threads(ctx->pool);
    void *dstate_in = rk_grad(ctx, state);
    j.dy = rk_grad(ctx, n->out[0]);
    j.dstate = j.scratch + j.scratch_bytes * threads;
    for (int i = 0; i < WKV_STATE; i++) {
        j.dx[i] = rk_grad_fresh(ctx, n->in[i], &j.fresh[i]);
        if (!j.dx[i])
            j.dx[i] = (unsigned char *)j.dstate + rk_tensor_bytes(state);
    }
    memcpy(j.dstate, rk_grad(ctx, n->out[1]), rk_tensor_bytes(state));
    rk_parallel(ctx, n->in[0]->dims[0] * j.heads, 1, wkv_bwd_piece, &j);
    if (dstate_in && !rk_ctx_failed(ctx))
        j.kern->axpy(rk_tensor_count(state), 1.0, j.dstate, dstate_in);
}

const rk_op rk_op_wkv7 = {
    .name = "wkv7",
    .shape = wkv7_shape,
    .on[RK_CPU] = {wkv7_forward, wkv7_backward},
};

rk_tensor *rk_wkv7(rk_ctx *ctx, const rk_wkv7_in *in, rk_tensor **state_out)
{
    rk_node n = {.op = &rk_op_wkv7,
                 .n_in = WKV_STATE + 1,
                 .in = {in->r, in->w, in->k, in->v, in->a, in->b, in->state}};
    if (!rk_apply(ctx, &n))
        return NULL;
    *state_out = n.out[1];
    return n.out[0];
}
