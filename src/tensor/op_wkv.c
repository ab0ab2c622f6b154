/* op_wkv.c: the recurrences of RWKV-4, -5 and -6. Work is cut by batch row and head, or by channels.
 * Gradients of vectors that all rows share are computed for each row and then added row after row,
 * so that micro-batches add up to the same bits. */
#include <string.h>

#include "base/num.h"
#include "tensor/op.h"
#include "tensor/runs.h"

/* ---- wkv6: in r, k, v (B,T,H,N), d the same or (B,H,N), u (H,N) or (B,H,N), state (B,H,N,N); out
 * y, state ---- */

enum { R, K, V, D, U, STATE, WKV6_IN };

typedef struct wkv6_job {
    const rk_kernels *kern;
    const rk_ctx *ctx;
    const rk_node *n;
    int64_t steps, heads, size, slots; /* T, H, N, kept states of a row */
    bool constant, rows_of_u;          /* d (B,H,N); u (B,H,N) */
    size_t scratch_bytes;              /* of one thread */
    unsigned char *scratch;
    const void *dy;
    void *dx[U], *du, *dstate; /* du (B,H,N) and dstate (B,H,N,N) in scratch */
    void *dgiven;              /* the gradient of the state that was given; NULL: none is wanted */
} wkv6_job;

static wkv6_job wkv6_job_of(const rk_ctx *ctx, const rk_node *n)
{
    const rk_tensor *r = n->in[R];
    const rk_kernels *kern = rk_ctx_kernels(ctx, r->dtype);
    return (wkv6_job){.kern = kern,
                      .ctx = ctx,
                      .n = n,
                      .steps = r->dims[1],
                      .heads = r->dims[2],
                      .size = r->dims[3],
                      .slots = rk_run_slots(ctx, r->dims[1]),
                      .constant = n->in[D]->n_dims == 3,
                      .rows_of_u = n->in[U]->n_dims == 3,
                      .scratch_bytes = rk_align_up(kern->wkv6_scratch(r->dims[3]), RK_ARENA_ALIGN),
                      .scratch = n->scratch};
}

/* Of (B,H,N): what u has, and a decay that is the same at every token. */
static size_t wkv6_rows_bytes(const wkv6_job *j)
{
    const rk_tensor *r = j->n->in[R];
    return rk_align_up(rk_reals(r, r->dims[0] * j->heads * j->size), RK_ARENA_ALIGN);
}

static bool is_per_row(const rk_tensor *t, const rk_tensor *r)
{
    return t->n_dims == 3 && t->dims[0] == r->dims[0] && t->dims[1] == r->dims[2] &&
           t->dims[2] == r->dims[3];
}

static void wkv6_shape(rk_ctx *ctx, rk_node *n)
{
    const rk_tensor *r = n->in[R], *s = n->in[STATE], *u = n->in[U];
    bool ok = r->n_dims == 4 && s && s->n_dims == 4 && s->dims[0] == r->dims[0] &&
              s->dims[1] == r->dims[2] && s->dims[2] == r->dims[3] && s->dims[3] == r->dims[3] &&
              u && (is_per_row(u, r) || rk_tensor_count(u) == r->dims[2] * r->dims[3]);
    for (int i = K; ok && i < D; i++)
        ok = n->in[i] && rk_tensor_same_shape(n->in[i], r);
    ok = ok && n->in[D] && (is_per_row(n->in[D], r) || rk_tensor_same_shape(n->in[D], r));
    if (!rk_expect_plain(ctx, n) ||
        !rk_expect(ctx, n, ok, "(B,T,H,N) four times, (H,N) and (B,H,N,N)"))
        return;
    const wkv6_job j = wkv6_job_of(ctx, n);
    const size_t threads = (size_t)rk_pool_n_threads(ctx->pool);
    n->saved_bytes = rk_reals(r, r->dims[0] * j.heads * j.slots * j.size * j.size);
    n->scratch_bytes = j.scratch_bytes * threads;
    n->scratch_bwd_bytes =
        n->scratch_bytes + rk_tensor_bytes(s) + rk_tensor_bytes(r) + 2 * wkv6_rows_bytes(&j);
    n->n_out = 2;
    n->out[0] = rk_new_like(ctx, r);
    n->out[1] = rk_new_state_like(ctx, s);
}

/* Arguments for a piece of the row of head i % H of batch row i / H; *at is their place in
 * (B,T,H,N). */
static rk_wkv6_args wkv6_args(const wkv6_job *j, int64_t i, const rk_run *run, int64_t *at)
{
    const rk_node *n = j->n;
    const rk_tensor *r = n->in[R];
    const int64_t square = j->size * j->size, head = i % j->heads;
    *at = ((i / j->heads * j->steps + run->first) * j->heads + head) * j->size;
    rk_wkv6_args a = {.n_steps = run->n, .head_size = j->size, .stride = j->heads * j->size};
    a.d_stride = j->constant ? 0 : a.stride;
    a.r = rk_at(r, n->in[R]->data, *at);
    a.k = rk_at(r, n->in[K]->data, *at);
    a.v = rk_at(r, n->in[V]->data, *at);
    a.d = rk_at(r, n->in[D]->data, j->constant ? i * j->size : *at);
    a.u = rk_at(r, n->in[U]->data, (j->rows_of_u ? i : head) * j->size);
    a.y = rk_at(r, n->out[0]->data, *at);
    a.state = rk_at(r, n->out[1]->data, i * square);
    a.saved = rk_at(r, n->saved, (i * j->slots + rk_run_slot(run, j->slots)) * square);
    return a;
}

/* The state that the row was given. */
static void *wkv6_given(const wkv6_job *j, int64_t i)
{
    const rk_tensor *s = j->n->in[STATE];
    return rk_at(s, s->data, i * j->size * j->size);
}

static void wkv6_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const wkv6_job *j = arg;
    const size_t square = rk_reals(j->n->in[R], j->size * j->size);
    for (int64_t i = lo; i < hi; i++) {
        const int32_t *begins = rk_begins_of(j->ctx, i / j->heads, j->steps);
        void *state = rk_state_place(j->n->in[STATE], j->n->out[1], j->heads, i);
        rk_run run;
        for (int64_t at, t = 0; rk_run_from(begins, j->steps, t, &run); t = run.first + run.n) {
            rk_wkv6_args a = wkv6_args(j, i, &run, &at);
            if (run.anew && t > 0)
                memcpy(state, wkv6_given(j, i), square);
            a.state = state;
            j->kern->wkv6(&a, j->scratch + (size_t)worker * j->scratch_bytes);
        }
    }
}

static void wkv6_forward(rk_ctx *ctx, rk_node *n)
{
    wkv6_job j = wkv6_job_of(ctx, n);
    rk_parallel(ctx, n->in[R]->dims[0] * j.heads, 1, wkv6_piece, &j);
}

/* What a sequence passes to the state that it began with goes to the state that was given. */
static void wkv6_bwd_run(const wkv6_job *j, int64_t i, const rk_run *run, void *scratch)
{
    const rk_tensor *r = j->n->in[R];
    const int64_t square = j->size * j->size;
    int64_t at;
    const rk_wkv6_args a = wkv6_args(j, i, run, &at);
    const rk_wkv6_grads g = {.dy = rk_at(r, j->dy, at),
                             .dr = rk_at(r, j->dx[R], at),
                             .dk = rk_at(r, j->dx[K], at),
                             .dv = rk_at(r, j->dx[V], at),
                             .dd = rk_at(r, j->dx[D], j->constant ? i * j->size : at),
                             .du = rk_at(r, j->du, i * j->size),
                             .dstate = rk_at(r, j->dstate, i * square)};
    j->kern->wkv6_bwd(&a, &g, scratch);
    if (!run->anew)
        return;
    if (j->dgiven)
        j->kern->axpy(square, 1.0, g.dstate, rk_at(r, j->dgiven, i * square));
    memset(g.dstate, 0, rk_reals(r, square));
}

static void wkv6_bwd_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const wkv6_job *j = arg;
    for (int64_t i = lo; i < hi; i++) {
        const int32_t *begins = rk_begins_of(j->ctx, i / j->heads, j->steps);
        rk_run run;
        for (int64_t t = j->steps; rk_run_before(begins, t, &run); t = run.first)
            wkv6_bwd_run(j, i, &run, j->scratch + (size_t)worker * j->scratch_bytes);
    }
}

/* dst += the rows of src (rows, n), row after row. */
static void add_rows(const rk_kernels *kern, const rk_tensor *like, int64_t rows, int64_t n,
                     const void *src, void *dst)
{
    for (int64_t i = 0; dst && i < rows; i++)
        kern->axpy(n, 1.0, rk_at(like, src, i * n), dst);
}

static void wkv6_backward(rk_ctx *ctx, rk_node *n)
{
    wkv6_job j = wkv6_job_of(ctx, n);
    rk_tensor *r = n->in[R], *state = n->in[STATE];
    const int64_t batch = r->dims[0], width = j.heads * j.size;
    void *du = rk_grad(ctx, n->in[U]);
    j.dgiven = rk_grad(ctx, state);
    j.dy = rk_grad(ctx, n->out[0]);
    j.dstate = j.scratch + j.scratch_bytes * (size_t)rk_pool_n_threads(ctx->pool);
    j.du = (unsigned char *)j.dstate + rk_tensor_bytes(state);
    unsigned char *spare = (unsigned char *)j.du + wkv6_rows_bytes(&j);
    unsigned char *spare_rows = spare + rk_tensor_bytes(r);
    for (int i = R; i < U; i++)
        j.dx[i] = rk_grad_or(ctx, n->in[i], i == D && j.constant ? spare_rows : spare);
    if (j.rows_of_u && du)
        j.du = du; /* every row has its own */
    else
        memset(j.du, 0, rk_reals(r, batch * width));
    memcpy(j.dstate, rk_grad(ctx, n->out[1]), rk_tensor_bytes(state));
    rk_parallel(ctx, batch * j.heads, 1, wkv6_bwd_piece, &j);
    if (rk_ctx_failed(ctx))
        return;
    if (j.du != du)
        add_rows(j.kern, r, batch, width, j.du, du);
    if (j.dgiven)
        j.kern->axpy(rk_tensor_count(state), 1.0, j.dstate, j.dgiven);
}

const rk_op rk_op_wkv6 = {
    .name = "wkv6",
    .shape = wkv6_shape,
    .on[RK_CPU] = {wkv6_forward, wkv6_backward},
};

rk_tensor *rk_wkv6(rk_ctx *ctx, const rk_wkv6_in *in, rk_tensor **state_out)
{
    rk_node n = {
        .op = &rk_op_wkv6, .n_in = WKV6_IN, .in = {in->r, in->k, in->v, in->d, in->u, in->state}};
    rk_ctx_watch(ctx, &(rk_recurrence){.r = in->r, .k = in->k, .v = in->v});
    if (!rk_apply(ctx, &n))
        return NULL;
    *state_out = n.out[1];
    return n.out[0];
}

/* ---- wkv4: in k, v (B,T,A), w (B,A), u (A), state (B,3,A); out y, state ---- */

enum { K4, V4, W4, U4, STATE4, WKV4_IN };

typedef struct wkv4_job {
    const rk_kernels *kern;
    const rk_ctx *ctx;
    const rk_node *n;
    int64_t steps, width, slots, pieces; /* kept states and pieces of channels of a row */
    const void *dy;
    void *dk, *dv, *dw, *du, *dstate; /* dw (B,A); du (B,A) and dstate in scratch */
    void *dgiven;                     /* the gradient of the state that was given; may be NULL */
    void *ended;                      /* (3,A): the state behind a sequence that nothing follows */
} wkv4_job;

static wkv4_job wkv4_job_of(const rk_ctx *ctx, const rk_node *n)
{
    const rk_tensor *k = n->in[K4];
    return (wkv4_job){.kern = rk_ctx_kernels(ctx, k->dtype),
                      .ctx = ctx,
                      .n = n,
                      .steps = k->dims[1],
                      .width = k->dims[2],
                      .slots = rk_run_slots(ctx, k->dims[1]),
                      .pieces = rk_ceil_div(k->dims[2], RK_GRAIN_COLS)};
}

static void wkv4_shape(rk_ctx *ctx, rk_node *n)
{
    const rk_tensor *k = n->in[K4], *s = n->in[STATE4], *w = n->in[W4], *u = n->in[U4];
    const bool ok = k->n_dims == 3 && n->in[V4] && rk_tensor_same_shape(n->in[V4], k) && w && u &&
                    rk_tensor_count(w) == k->dims[0] * k->dims[2] &&
                    rk_tensor_count(u) == k->dims[2] && s && s->n_dims == 3 &&
                    s->dims[0] == k->dims[0] && s->dims[1] == 3 && s->dims[2] == k->dims[2];
    if (!rk_expect_plain(ctx, n) || !rk_expect(ctx, n, ok, "(B,T,A) twice, (B,A), (A) and (B,3,A)"))
        return;
    const wkv4_job j = wkv4_job_of(ctx, n);
    n->saved_bytes = rk_reals(k, k->dims[0] * j.slots * 3 * j.width);
    n->scratch_bwd_bytes =
        rk_tensor_bytes(s) + 2 * rk_reals(k, k->dims[0] * j.width) + 2 * rk_tensor_bytes(k);
    if (ctx->begins)
        n->scratch_bwd_bytes += rk_reals(k, 3 * j.width);
    n->n_out = 2;
    n->out[0] = rk_new_like(ctx, k);
    n->out[1] = rk_new_like(ctx, s);
}

/* Arguments for channels i % pieces of a piece of batch row i / pieces, which is `row`. */
static rk_wkv4_args wkv4_args(const wkv4_job *j, int64_t i, const rk_run *run)
{
    const rk_node *n = j->n;
    const rk_tensor *k = n->in[K4];
    const int64_t c0 = i % j->pieces * RK_GRAIN_COLS, row = i / j->pieces;
    const int64_t at = (row * j->steps + run->first) * j->width;
    rk_wkv4_args a = {.n_steps = run->n,
                      .width = j->width,
                      .c0 = c0,
                      .c1 = rk_min_i64(c0 + RK_GRAIN_COLS, j->width),
                      .w = rk_at(k, n->in[W4]->data, row * j->width),
                      .u = n->in[U4]->data};
    a.k = rk_at(k, n->in[K4]->data, at);
    a.v = rk_at(k, n->in[V4]->data, at);
    a.y = rk_at(k, n->out[0]->data, at);
    a.state = rk_at(k, n->out[1]->data, row * 3 * j->width);
    a.saved = rk_at(k, n->saved, (row * j->slots + rk_run_slot(run, j->slots)) * 3 * j->width);
    return a;
}

/* Of the three parts of a row of a state or its gradient, the channels of `a`: to = 0 where `from` is
 * NULL, to += from with `add`, else to = from. */
static void wkv4_channels(const wkv4_job *j, const rk_wkv4_args *a, const void *from, void *to,
                          bool add)
{
    const rk_tensor *k = j->n->in[K4];
    const int64_t n = a->c1 - a->c0;
    for (int64_t at = a->c0; at < 3 * j->width; at += j->width) {
        if (!from)
            memset(rk_at(k, to, at), 0, rk_reals(k, n));
        else if (add)
            j->kern->axpy(n, 1.0, rk_at(k, from, at), rk_at(k, to, at));
        else
            memcpy(rk_at(k, to, at), rk_at(k, from, at), rk_reals(k, n));
    }
}

/* The state that a row of the batch was given. */
static void *wkv4_given(const wkv4_job *j, int64_t row)
{
    const rk_tensor *s = j->n->in[STATE4];
    return rk_at(s, s->data, row * 3 * j->width);
}

static void wkv4_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const wkv4_job *j = arg;
    (void)worker;
    for (int64_t i = lo; i < hi; i++) {
        const int64_t row = i / j->pieces;
        const int32_t *begins = rk_begins_of(j->ctx, row, j->steps);
        rk_run run;
        for (int64_t t = 0; rk_run_from(begins, j->steps, t, &run); t = run.first + run.n) {
            const rk_wkv4_args a = wkv4_args(j, i, &run);
            if (run.anew && t > 0)
                wkv4_channels(j, &a, wkv4_given(j, row), a.state, false);
            j->kern->wkv4(&a);
        }
    }
}

static void wkv4_forward(rk_ctx *ctx, rk_node *n)
{
    wkv4_job j = wkv4_job_of(ctx, n);
    memcpy(n->out[1]->data, n->in[STATE4]->data, rk_tensor_bytes(n->in[STATE4]));
    rk_parallel(ctx, n->in[K4]->dims[0] * j.pieces, 1, wkv4_piece, &j);
}

/* The state after a piece, of which the kernel reads the exponents. */
static void *wkv4_after(const wkv4_job *j, int64_t row, const rk_run *next)
{
    const rk_tensor *k = j->n->in[K4];
    const int64_t wide = 3 * j->width;
    if (!next)
        return rk_at(k, j->n->out[1]->data, row * wide);
    return next->anew
               ? j->ended
               : rk_at(k, j->n->saved, (row * j->slots + rk_run_slot(next, j->slots)) * wide);
}

/* What a sequence passes to the state that it began with goes to the state that was given. next: the
 * piece behind this one; NULL: none. */
static void wkv4_bwd_run(const wkv4_job *j, int64_t i, const rk_run *run, const rk_run *next)
{
    const rk_tensor *k = j->n->in[K4];
    const int64_t row = i / j->pieces, at = (row * j->steps + run->first) * j->width;
    rk_wkv4_args a = wkv4_args(j, i, run);
    const rk_wkv4_grads g = {.dy = rk_at(k, j->dy, at),
                             .dk = rk_at(k, j->dk, at),
                             .dv = rk_at(k, j->dv, at),
                             .dw = rk_at(k, j->dw, row * j->width),
                             .du = rk_at(k, j->du, row * j->width),
                             .dstate = rk_at(k, j->dstate, row * 3 * j->width)};
    a.state = wkv4_after(j, row, next);
    j->kern->wkv4_bwd(&a, &g);
    if (!run->anew)
        return;
    if (j->dgiven)
        wkv4_channels(j, &a, g.dstate, rk_at(k, j->dgiven, row * 3 * j->width), true);
    wkv4_channels(j, &a, NULL, g.dstate, false);
}

static void wkv4_bwd_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const wkv4_job *j = arg;
    (void)worker;
    for (int64_t i = lo; i < hi; i++) {
        const int32_t *begins = rk_begins_of(j->ctx, i / j->pieces, j->steps);
        rk_run run, next;
        for (int64_t t = j->steps; rk_run_before(begins, t, &run); next = run, t = run.first)
            wkv4_bwd_run(j, i, &run, t < j->steps ? &next : NULL);
    }
}

/* Exponents with which a gradient of zero has no weight. */
static void *no_exponents(const rk_tensor *like, int64_t n, void *to)
{
    for (int64_t i = 0; i < n; i++)
        if (like->dtype == RK_F64)
            ((double *)to)[i] = 1e30;
        else
            ((float *)to)[i] = 1e30f;
    return to;
}

static void wkv4_backward(rk_ctx *ctx, rk_node *n)
{
    wkv4_job j = wkv4_job_of(ctx, n);
    rk_tensor *k = n->in[K4], *state = n->in[STATE4];
    const int64_t batch = k->dims[0];
    const size_t rows = rk_reals(k, batch * j.width);
    void *du = rk_grad(ctx, n->in[U4]);
    unsigned char *scratch = n->scratch;
    j.dgiven = rk_grad(ctx, state);
    j.dy = rk_grad(ctx, n->out[0]);
    j.dstate = scratch;
    j.du = scratch + rk_tensor_bytes(state);
    j.dw = rk_grad_or(ctx, n->in[W4], (unsigned char *)j.du + rows + 2 * rk_tensor_bytes(k));
    j.dk = rk_grad_or(ctx, k, (unsigned char *)j.du + rows);
    j.dv = rk_grad_or(ctx, n->in[V4], (unsigned char *)j.du + rows + rk_tensor_bytes(k));
    if (ctx->begins)
        j.ended =
            no_exponents(k, 3 * j.width, (unsigned char *)j.du + 2 * rows + 2 * rk_tensor_bytes(k));
    memset(j.du, 0, rows);
    memcpy(j.dstate, rk_grad(ctx, n->out[1]), rk_tensor_bytes(state));
    rk_parallel(ctx, batch * j.pieces, 1, wkv4_bwd_piece, &j);
    if (rk_ctx_failed(ctx))
        return;
    add_rows(j.kern, k, batch, j.width, j.du, du);
    if (j.dgiven)
        j.kern->axpy(rk_tensor_count(state), 1.0, j.dstate, j.dgiven);
}

const rk_op rk_op_wkv4 = {
    .name = "wkv4",
    .shape = wkv4_shape,
    .on[RK_CPU] = {wkv4_forward, wkv4_backward},
};

rk_tensor *rk_wkv4(rk_ctx *ctx, const rk_wkv4_in *in, rk_tensor **state_out)
{
    rk_node n = {.op = &rk_op_wkv4, .n_in = WKV4_IN, .in = {in->k, in->v, in->w, in->u, in->state}};
    if (!rk_apply(ctx, &n))
        return NULL;
    *state_out = n.out[1];
    return n.out[0];
}
