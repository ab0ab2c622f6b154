/* op_rwkv.c: token shift with mixes, and the three pieces of an RWKV-7 time mix that lie between
 * its matrix products: prepare, the wkv7 recurrence, output. They are large on purpose:
 * element-wise passes over activations cost as much as the products when each step of the equations
 * is one. */
#include <string.h>

#include "base/num.h"
#include "tensor/row_pieces.h"
#include "tensor/runs.h"

/* ---- token shift: in x, shift, mu[0 .. n); out (n,B,T,C) and the next shift ---- */

enum { MU = 2 };

typedef struct shift_job {
    const rk_kernels *kern;
    const rk_ctx *ctx;
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
                   .ctx = ctx,
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

/* Rows [lo, hi) of all of which none but the first begins a sequence. */
typedef struct shift_rows {
    int64_t b, first; /* the row of the batch, where it begins */
    int64_t lo, hi;
    bool anew;  /* the first begins one, as it does at `first` */
    bool ended; /* the next row, of the same row of the batch, begins one */
} shift_rows;

/* Those of [*lo, hi) that come first; *lo goes behind them. */
static shift_rows next_rows(const shift_job *j, int64_t *lo, int64_t hi)
{
    shift_rows r = {.b = *lo / j->steps, .first = *lo / j->steps * j->steps, .lo = *lo, .hi = hi};
    const int32_t *begins = rk_begins_of(j->ctx, r.b, j->steps);
    r.anew = r.lo == r.first || (begins && begins[r.lo - r.first]);
    r.hi = r.first + rk_sequence_end(begins, r.lo - r.first, r.hi - r.first);
    r.ended = begins && r.hi < r.first + j->steps && begins[r.hi - r.first];
    *lo = r.hi;
    return r;
}

/* What stands before the rows. */
static const void *row_before(const shift_job *j, const shift_rows *r)
{
    const rk_tensor *x = j->n->in[0];
    return r->anew ? rk_at(x, j->n->in[1]->data, r->b * j->width)
                   : rk_at(x, x->data, (r->lo - 1) * j->width);
}

static void shift_piece(void *arg, int64_t i, int64_t end, int worker)
{
    const shift_job *j = arg;
    const rk_tensor *x = j->n->in[0];
    const int64_t c = j->width;
    int64_t lo, hi;
    (void)end;
    (void)worker;
    rk_row_piece_at(&j->pieces, i, &lo, &hi);
    while (lo < hi) {
        const shift_rows r = next_rows(j, &lo, hi);
        j->kern->shift_mix(0, r.hi - r.lo, c, rk_at(x, x->data, r.lo * c), row_before(j, &r),
                           j->n_mix, j->mu, rk_at(x, j->n->out[0]->data, r.lo * c), j->stride);
        if (r.hi == r.first + j->steps)
            memcpy(rk_at(x, j->n->out[1]->data, r.b * c), rk_at(x, x->data, (r.hi - 1) * c),
                   rk_reals(x, c));
    }
}

static void shift_mix_forward(rk_ctx *ctx, rk_node *n)
{
    shift_job j = shift_job_of(ctx, n);
    rk_parallel(ctx, j.pieces.n, 1, shift_piece, &j);
}

/* Gradients of the mixes, and where `dprev` is not NULL that of the row before. */
static void add_mix_grads(const shift_job *j, const shift_rows *r, void *const *dmu, void *dprev)
{
    const rk_tensor *x = j->n->in[0];
    const int64_t c = j->width, at = r->lo * c;
    j->kern->shift_mix_bwd_mu(r->hi - r->lo, c, 0, c, rk_at(x, x->data, at), row_before(j, r),
                              j->n_mix, j->mu, rk_at(x, j->dy, at), j->stride, dmu, dprev);
}

static void shift_bwd_piece(void *arg, int64_t i, int64_t end, int worker)
{
    const shift_job *j = arg;
    const rk_tensor *x = j->n->in[0];
    const int64_t c = j->width;
    int64_t lo, hi;
    (void)end;
    (void)worker;
    rk_row_piece_at(&j->pieces, i, &lo, &hi);
    const bool has_dx = rk_grad_rows_at(&j->dx, lo, hi);
    void *dmu[RK_MAX_IN];
    for (int q = 0; q < j->n_mix; q++) {
        dmu[q] = rk_at(x, j->dmu, (q * j->pieces.n + i) * c);
        memset(dmu[q], 0, rk_reals(x, c));
    }
    while (lo < hi) {
        const shift_rows r = next_rows(j, &lo, hi);
        const int64_t at = r.first * c, from = r.lo - r.first, to = r.hi - r.first;
        if (has_dx)
            j->kern->shift_mix_bwd_x(from, to, r.ended ? to : j->steps, c, j->n_mix, j->mu,
                                     rk_at(x, j->dy, at), j->stride, rk_at(x, j->dx.data, at));
        add_mix_grads(j, &r, dmu, r.lo == r.first ? rk_at(x, j->dshift, r.b * c) : NULL);
    }
}

/* What sequences that begin inside a row pass to the row's shift. Pieces of a row, of which several may
 * hold such a beginning, cannot add to it side by side. The gradients of the mixes are done: what is
 * added to the pieces' sums here is not read. */
static void add_inner_shift_grads(const shift_job *j)
{
    const rk_tensor *x = j->n->in[0];
    void *dmu[RK_MAX_IN];
    for (int q = 0; q < j->n_mix; q++)
        dmu[q] = rk_at(x, j->dmu, q * j->pieces.n * j->width);
    for (int64_t b = 0; j->dshift && b < x->dims[0]; b++) {
        const int32_t *begins = rk_begins_of(j->ctx, b, j->steps);
        for (int64_t t = 1; begins && t < j->steps; t++) {
            const int64_t at = b * j->steps + t;
            const shift_rows r = {b, b * j->steps, at, at + 1, true, false};
            if (begins[t])
                add_mix_grads(j, &r, dmu, rk_at(x, j->dshift, b * j->width));
        }
    }
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
    if (!rk_ctx_failed(ctx))
        add_inner_shift_grads(&j);
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

/* ---- wkv7: in r, w, k, v, a, b (B,T,H,N), state (B,H,N,N), hop (H,N,N) or none; out y, state ---- */

enum { WKV_STATE = 6, WKV_HOP, WKV_IN };

typedef struct wkv_job {
    const rk_kernels *kern;
    const rk_ctx *ctx;
    const rk_node *n;
    int64_t steps, heads, size, slots; /* T, H, N, kept states of a row */
    size_t scratch_bytes;              /* of one thread: the kernel's, and a state */
    bool long_class;
    unsigned char *scratch;
    const void *dy;
    void *dx[WKV_STATE];
    bool fresh[WKV_STATE]; /* dx that nothing was added to yet */
    void *dstate;          /* dstate (B,H,N,N): scratch, in and out */
    void *dgiven;          /* the gradient of the state that was given; NULL: none is wanted */
    void *dhop;            /* (B,H,N,N): that of hop, row by row */
} wkv_job;

/* Two-hop reading is of the reference alone. */
static const rk_kernels *wkv7_kernels(const rk_ctx *ctx, const rk_node *n)
{
    const rk_dtype real = n->in[0]->dtype;
    if (!n->in[WKV_HOP])
        return rk_ctx_kernels(ctx, real);
    return real == RK_F64 ? &rk_kernels_ref_f64 : &rk_kernels_ref_f32;
}

/* Bytes of the kernel's scratch. */
static size_t wkv7_kernel_scratch(const rk_node *n, const rk_kernels *kern)
{
    const int64_t size = n->in[0]->dims[3];
    return rk_align_up(n->in[WKV_HOP] ? kern->wkv7_hop_scratch(size) : kern->wkv7_scratch(size),
                       RK_ARENA_ALIGN);
}

static wkv_job wkv_job_of(const rk_ctx *ctx, const rk_node *n)
{
    const rk_tensor *r = n->in[0];
    const rk_kernels *kern = wkv7_kernels(ctx, n);
    return (wkv_job){.kern = kern,
                     .ctx = ctx,
                     .n = n,
                     .steps = r->dims[1],
                     .heads = r->dims[2],
                     .size = r->dims[3],
                     .slots = rk_run_slots(ctx, r->dims[1]),
                     .scratch_bytes =
                         wkv7_kernel_scratch(n, kern) +
                         rk_align_up(rk_reals(r, r->dims[3] * r->dims[3]), RK_ARENA_ALIGN),
                     .long_class = ctx->long_class,
                     .scratch = n->scratch};
}

static bool hop_fits(const rk_node *n)
{
    const rk_tensor *r = n->in[0], *hop = n->in[WKV_HOP];
    return !hop || (hop->n_dims == 3 && hop->dims[0] == r->dims[2] && hop->dims[1] == r->dims[3] &&
                    hop->dims[2] == r->dims[3]);
}

static void wkv7_shape(rk_ctx *ctx, rk_node *n)
{
    const rk_tensor *r = n->in[0], *s = n->in[WKV_STATE];
    bool ok = r->n_dims == 4 && s && s->n_dims == 4 && s->dims[0] == r->dims[0] &&
              s->dims[1] == r->dims[2] && s->dims[2] == r->dims[3] && s->dims[3] == r->dims[3];
    for (int i = 1; ok && i < WKV_STATE; i++)
        ok = n->in[i] && rk_tensor_same_shape(n->in[i], r);
    if (!rk_expect_plain(ctx, n) ||
        !rk_expect(ctx, n, ok && hop_fits(n),
                   "(B,T,H,N) six times, (B,H,N,N), and (H,N,N) or none"))
        return;
    const wkv_job j = wkv_job_of(ctx, n);
    n->saved_bytes = rk_reals(r, r->dims[0] * j.heads * j.slots * j.size * j.size);
    n->scratch_bytes = j.scratch_bytes * (size_t)rk_pool_n_threads(ctx->pool);
    n->scratch_bwd_bytes = n->scratch_bytes + rk_tensor_bytes(s) + rk_tensor_bytes(r);
    if (n->in[WKV_HOP])
        n->scratch_bwd_bytes += RK_ARENA_ALIGN + rk_tensor_bytes(s);
    n->n_out = 2;
    n->out[0] = rk_new_like(ctx, r);
    n->out[1] = rk_new_state_like(ctx, s);
}

/* The element where token t of head i % H of batch row i / H begins. */
static int64_t wkv_place(const wkv_job *j, int64_t i, int64_t t)
{
    return ((i / j->heads * j->steps + t) * j->heads + i % j->heads) * j->size;
}

/* Arguments for a piece of this head's row. */
static rk_wkv7_args wkv_args(const wkv_job *j, int64_t i, const rk_run *run)
{
    const rk_node *n = j->n;
    const rk_tensor *r = n->in[0];
    const int64_t stride = j->heads * j->size, square = j->size * j->size;
    const int64_t at = wkv_place(j, i, run->first);
    rk_wkv7_args a = {.n_steps = run->n, .head_size = j->size, .stride = stride};
    a.r = rk_at(r, n->in[0]->data, at);
    a.w = rk_at(r, n->in[1]->data, at);
    a.k = rk_at(r, n->in[2]->data, at);
    a.v = rk_at(r, n->in[3]->data, at);
    a.a = rk_at(r, n->in[4]->data, at);
    a.b = rk_at(r, n->in[5]->data, at);
    a.y = rk_at(r, n->out[0]->data, at);
    a.state = rk_at(r, n->out[1]->data, i * square);
    a.saved = rk_at(r, n->saved, (i * j->slots + rk_run_slot(run, j->slots)) * square);
    return a;
}

/* The state that the row was given. */
static void *wkv_given(const wkv_job *j, int64_t i)
{
    const rk_tensor *s = j->n->in[WKV_STATE];
    return rk_at(s, s->data, i * j->size * j->size);
}

/* The matrix between the readings of this head. */
static const void *hop_of(const wkv_job *j, int64_t i)
{
    const rk_tensor *hop = j->n->in[WKV_HOP];
    return rk_at(hop, hop->data, i % j->heads * j->size * j->size);
}

/* Without memory for saved states the kernel may take a few steps in the order of the short class.
 * In the long class, in a recomputed segment or at the end of a prompt, it must not: it saves its
 * state behind its scratch, where nothing reads it. */
static void wkv_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const wkv_job *j = arg;
    const size_t square = rk_reals(j->n->in[0], j->size * j->size);
    unsigned char *scratch = j->scratch + (size_t)worker * j->scratch_bytes;
    void *unread = scratch + wkv7_kernel_scratch(j->n, j->kern);
    for (int64_t i = lo; i < hi; i++) {
        const int32_t *begins = rk_begins_of(j->ctx, i / j->heads, j->steps);
        void *state = rk_state_place(j->n->in[WKV_STATE], j->n->out[1], j->heads, i);
        rk_run run;
        for (int64_t t = 0; rk_run_from(begins, j->steps, t, &run); t = run.first + run.n) {
            rk_wkv7_args a = wkv_args(j, i, &run);
            if (j->long_class && run.n <= RK_WKV_SEGMENT && !a.saved)
                a.saved = unread;
            if (run.anew && t > 0)
                memcpy(state, wkv_given(j, i), square);
            a.state = state;
            if (j->n->in[WKV_HOP])
                j->kern->wkv7_hop(&a, hop_of(j, i), scratch);
            else
                j->kern->wkv7(&a, scratch);
        }
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

/* What a sequence passes to the state that it began with goes to the state that was given. */
static void wkv_bwd_run(const wkv_job *j, int64_t i, const rk_run *run, void *scratch)
{
    const rk_tensor *r = j->n->in[0];
    const int64_t at = wkv_place(j, i, run->first), square = j->size * j->size;
    const rk_wkv7_args a = wkv_args(j, i, run);
    const rk_wkv7_grads g = {.dy = rk_at(r, j->dy, at),
                             .dr = rk_at(r, j->dx[0], at),
                             .dw = rk_at(r, j->dx[1], at),
                             .dk = rk_at(r, j->dx[2], at),
                             .dv = rk_at(r, j->dx[3], at),
                             .da = rk_at(r, j->dx[4], at),
                             .db = rk_at(r, j->dx[5], at),
                             .dstate = rk_at(r, j->dstate, i * square)};
    if (j->n->in[WKV_HOP])
        j->kern->wkv7_hop_bwd(&a, &g, hop_of(j, i), rk_at(r, j->dhop, i * square), scratch);
    else
        j->kern->wkv7_bwd(&a, &g, scratch);
    if (!run->anew)
        return;
    if (j->dgiven)
        j->kern->axpy(square, 1.0, g.dstate, rk_at(r, j->dgiven, i * square));
    memset(g.dstate, 0, rk_reals(r, square));
}

static void wkv_bwd_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const wkv_job *j = arg;
    for (int64_t i = lo; i < hi; i++) {
        const int32_t *begins = rk_begins_of(j->ctx, i / j->heads, j->steps);
        rk_run run;
        for (int q = 0; q < WKV_STATE; q++)
            if (j->fresh[q])
                clear_head(j, j->dx[q], wkv_place(j, i, 0));
        for (int64_t t = j->steps; rk_run_before(begins, t, &run); t = run.first)
            wkv_bwd_run(j, i, &run, j->scratch + (size_t)worker * j->scratch_bytes);
    }
}

/* The rows' terms of hop's gradient, row after row. */
static void add_hop_grad(rk_ctx *ctx, const wkv_job *j)
{
    rk_tensor *hop = j->n->in[WKV_HOP];
    void *grad = hop ? rk_grad(ctx, hop) : NULL;
    const int64_t count = grad ? rk_tensor_count(hop) : 0;
    for (int64_t b = 0; count > 0 && b < j->n->in[0]->dims[0]; b++)
        j->kern->axpy(count, 1.0, rk_at(hop, j->dhop, b * count), grad);
}

static void wkv7_backward(rk_ctx *ctx, rk_node *n)
{
    wkv_job j = wkv_job_of(ctx, n);
    rk_tensor *state = n->in[WKV_STATE];
    const size_t threads = (size_t)rk_pool_n_threads(ctx->pool);
    j.dgiven = rk_grad(ctx, state);
    j.dy = rk_grad(ctx, n->out[0]);
    j.dstate = j.scratch + j.scratch_bytes * threads;
    for (int i = 0; i < WKV_STATE; i++) {
        j.dx[i] = rk_grad_fresh(ctx, n->in[i], &j.fresh[i]);
        if (!j.dx[i])
            j.dx[i] = (unsigned char *)j.dstate + rk_tensor_bytes(state);
    }
    memcpy(j.dstate, rk_grad(ctx, n->out[1]), rk_tensor_bytes(state));
    if (n->in[WKV_HOP]) {
        j.dhop = (unsigned char *)j.dstate +
                 rk_align_up(rk_tensor_bytes(state) + rk_tensor_bytes(n->in[0]), RK_ARENA_ALIGN);
        memset(j.dhop, 0, rk_tensor_bytes(state));
    }
    rk_parallel(ctx, n->in[0]->dims[0] * j.heads, 1, wkv_bwd_piece, &j);
    add_hop_grad(ctx, &j);
    if (j.dgiven && !rk_ctx_failed(ctx))
        j.kern->axpy(rk_tensor_count(state), 1.0, j.dstate, j.dgiven);
}

const rk_op rk_op_wkv7 = {
    .name = "wkv7",
    .shape = wkv7_shape,
    .on[RK_CPU] = {wkv7_forward, wkv7_backward},
};

rk_tensor *rk_wkv7(rk_ctx *ctx, const rk_wkv7_in *in, rk_tensor **state_out)
{
    rk_node n = {.op = &rk_op_wkv7,
                 .n_in = WKV_IN,
                 .in = {in->r, in->w, in->k, in->v, in->a, in->b, in->state, in->hop}};
    if (!rk_apply(ctx, &n))
        return NULL;
    *state_out = n.out[1];
    return n.out[0];
}
