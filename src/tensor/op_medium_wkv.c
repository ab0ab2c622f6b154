/* op_medium_wkv.c: RWKV-4's recurrence where mediums stand behind the tokens (docs/rrwkv.md): over the tokens
 * with a read at the end of each block, and over the mediums.
 *
 * Both run the kernels of wkv4 block by block. A medium's read is a step whose push is thrown away; what a
 * block reads of the mediums is a step whose own token has no weight, u = -1e30. The backward pass keeps the
 * state at the beginning of each block and runs the tokens of a block again. Work is cut by batch row and
 * channels. */
#include <string.h>

#include "base/num.h"
#include "tensor/medium.h"

enum { K, V, W, STATE, U_OR_Y, N_IN };

typedef struct job {
    const rk_node *n;
    const rk_kernels *kern;
    const rk_medium_rows *rows;
    int64_t width, pieces; /* of channels */
    unsigned char *spare;  /* (B, 3, A): a state that is thrown away */
    unsigned char *given;  /* (B, A): what a block reads */
    /* (3, A): exponents with which a gradient of zero has no weight; the state of no mediums. */
    unsigned char *ended, *nothing;
    unsigned char *no_bonus, *zeros; /* (A): a bonus that is none; a key and a value of no token */
    unsigned char *again; /* (B, segments of T, 3, A): states of a block that is run again */
    const void *dy;
    void *dk, *dv, *dw, *dgiven, *dy_in; /* dgiven, dy_in may be NULL */
    void *du, *dstate;                   /* in scratch, (B, A) and (B, 3, A) */
    void *dspare;                        /* (B, 3, A) likewise, for steps that are thrown away */
} job;

/* Channels [c0, c1) of batch row b. */
typedef struct task {
    int64_t b, c0, c1;
} task;

static int64_t segments_of(const rk_medium_rows *rows)
{
    return rk_ceil_div(rows->n_tokens, RK_WKV_SEGMENT);
}

static job job_of(const rk_ctx *ctx, const rk_node *n)
{
    const rk_tensor *k = n->in[K];
    return (job){.n = n,
                 .kern = rk_ctx_kernels(ctx, k->dtype),
                 .rows = n->attr,
                 .width = k->dims[2],
                 .pieces = rk_ceil_div(k->dims[2], RK_GRAIN_COLS)};
}

static task task_of(const job *j, int64_t i)
{
    const int64_t c0 = i % j->pieces * RK_GRAIN_COLS;
    return (task){i / j->pieces, c0, rk_min_i64(c0 + RK_GRAIN_COLS, j->width)};
}

/* ---- shapes and scratch ---- */

static bool expect_shapes(rk_ctx *ctx, rk_node *n, bool ok)
{
    const rk_medium_rows *rows = n->attr;
    const rk_tensor *k = n->in[K], *w = n->in[W], *s = n->in[STATE];
    ok = ok && rk_medium_fits(rows, k) && n->in[V] && rk_tensor_same_shape(n->in[V], k) && w &&
         rk_tensor_count(w) == k->dims[0] * k->dims[2] && s && s->n_dims == 3 &&
         s->dims[0] == k->dims[0] && s->dims[1] == 3 && s->dims[2] == k->dims[2];
    return rk_expect_plain(ctx, n) &&
           rk_expect(ctx, n, ok, "rows of tokens and mediums (B,T+M,A), (B,A) and (B,3,A)");
}

static void make_results(rk_ctx *ctx, rk_node *n)
{
    const rk_medium_rows *rows = n->attr;
    const rk_tensor *k = n->in[K], *s = n->in[STATE];
    const size_t state = rk_tensor_bytes(s), row = rk_reals(k, k->dims[2]);
    n->saved_bytes = (size_t)(rows->n_mediums + 1) * state;
    n->scratch_bytes = state + rk_reals(k, k->dims[0] * k->dims[2]) + 8 * row;
    n->scratch_bwd_bytes = n->scratch_bytes + (2 + (size_t)segments_of(rows)) * state +
                           2 * rk_reals(k, k->dims[0] * k->dims[2]) + 2 * rk_tensor_bytes(k);
    n->n_out = 2;
    n->out[0] = rk_new_like(ctx, k);
    n->out[1] = rk_new_like(ctx, s);
}

/* The next `bytes` of scratch. */
static unsigned char *take(unsigned char **at, size_t bytes)
{
    unsigned char *p = *at;
    *at += bytes;
    return p;
}

static void *filled(const rk_tensor *like, int64_t n, double x, void *to)
{
    for (int64_t i = 0; i < n; i++)
        if (like->dtype == RK_F64)
            ((double *)to)[i] = x;
        else
            ((float *)to)[i] = (float)x;
    return to;
}

static unsigned char *lay_out(job *j)
{
    const rk_tensor *k = j->n->in[K];
    const size_t row = rk_reals(k, j->width);
    unsigned char *at = j->n->scratch;
    j->spare = take(&at, rk_tensor_bytes(j->n->in[STATE]));
    j->given = take(&at, rk_reals(k, k->dims[0] * j->width));
    j->ended = filled(k, 3 * j->width, 1e30, take(&at, 3 * row));
    j->nothing = filled(k, 2 * j->width, 0, take(&at, 2 * row));
    filled(k, j->width, -1e30, take(&at, row));
    j->no_bonus = filled(k, j->width, -1e30, take(&at, row));
    j->zeros = filled(k, j->width, 0, take(&at, row));
    return at;
}

/* ---- places ---- */

static void *row_at(const job *j, const void *data, int64_t b, int64_t t)
{
    return rk_at(j->n->in[K], data, (b * rk_medium_row_count(j->rows) + t) * j->width);
}
static void *vector_at(const job *j, const void *data, int64_t b)
{
    return rk_at(j->n->in[K], data, b * j->width);
}
static void *state_at(const job *j, const void *data, int64_t b)
{
    return rk_at(j->n->in[K], data, 3 * b * j->width);
}
/* The state before a block, kept for the backward pass; NULL without a tape. */
static void *saved_at(const job *j, int64_t b, int64_t slot)
{
    return rk_at(j->n->in[K], j->n->saved, (b * (j->rows->n_mediums + 1) + slot) * 3 * j->width);
}

/* The channels of a task in `parts` rows of a state or gradient: to = from, 0 where from is NULL, += with
 * `add`. */
static void channels(const job *j, const task *p, int parts, const void *from, void *to, bool add)
{
    const rk_tensor *k = j->n->in[K];
    const int64_t n = p->c1 - p->c0;
    for (int64_t at = p->c0; at < parts * j->width; at += j->width) {
        if (!from)
            memset(rk_at(k, to, at), 0, rk_reals(k, n));
        else if (add)
            j->kern->axpy(n, 1.0, rk_at(k, from, at), rk_at(k, to, at));
        else
            memcpy(rk_at(k, to, at), rk_at(k, from, at), rk_reals(k, n));
    }
}

/* The state before a block, from what its row was given where that is where it begins. */
static void begin_block(const job *j, const task *p, const rk_medium_block *k, void *state)
{
    if (k->slot == 0)
        channels(j, p, 3, state_at(j, j->n->in[STATE]->data, p->b), state, false);
}

/* What a block passes to the state that it was given. */
static void give_back(const job *j, const task *p, const rk_medium_block *k)
{
    void *g = state_at(j, j->dstate, p->b);
    if (k->slot > 0)
        return;
    if (j->dgiven)
        channels(j, p, 3, g, state_at(j, j->dgiven, p->b), true);
    channels(j, p, 3, NULL, g, false);
}

/* n steps from row t on of keys and values, with this bonus, from and into `state`. */
static rk_wkv4_args steps(const job *j, const task *p, int64_t t, int64_t n, const void *bonus,
                          void *state, void *saved)
{
    return (rk_wkv4_args){.n_steps = n,
                          .width = j->width,
                          .c0 = p->c0,
                          .c1 = p->c1,
                          .k = row_at(j, j->n->in[K]->data, p->b, t),
                          .v = row_at(j, j->n->in[V]->data, p->b, t),
                          .w = vector_at(j, j->n->in[W]->data, p->b),
                          .u = bonus,
                          .y = row_at(j, j->n->out[0]->data, p->b, t),
                          .state = state,
                          .saved = saved};
}

static rk_wkv4_grads grads_of(const job *j, const task *p, int64_t t, const void *dy, void *dstate)
{
    return (rk_wkv4_grads){.dy = dy,
                           .dk = row_at(j, j->dk, p->b, t),
                           .dv = row_at(j, j->dv, p->b, t),
                           .dw = vector_at(j, j->dw, p->b),
                           .du = vector_at(j, j->du, p->b),
                           .dstate = dstate};
}

/* The rows of mediums that are not there. */
static void clear_rest(const job *j, const task *p)
{
    for (int64_t t = rk_medium_end(j->rows, p->b); t < rk_medium_row_count(j->rows); t++)
        channels(j, p, 1, NULL, row_at(j, j->n->out[0]->data, p->b, t), false);
}

static void forward_of(rk_ctx *ctx, rk_node *n, rk_range_fn *pieces)
{
    job j = job_of(ctx, n);
    lay_out(&j);
    memcpy(n->out[1]->data, n->in[STATE]->data, rk_tensor_bytes(n->in[STATE]));
    rk_parallel(ctx, n->in[K]->dims[0] * j.pieces, 1, pieces, &j);
}

/* Gradients of what all rows share are computed for each row and added row after row. */
static void backward_of(rk_ctx *ctx, rk_node *n, rk_tensor *bonus, rk_tensor *y,
                        rk_range_fn *pieces)
{
    job j = job_of(ctx, n);
    const rk_tensor *k = n->in[K], *state = n->in[STATE];
    const size_t vectors = rk_reals(k, k->dims[0] * j.width);
    unsigned char *at = lay_out(&j);
    void *du = bonus ? rk_grad(ctx, bonus) : NULL;
    j.dstate = take(&at, rk_tensor_bytes(state));
    j.dspare = take(&at, rk_tensor_bytes(state));
    j.again = take(&at, (size_t)segments_of(j.rows) * rk_tensor_bytes(state));
    j.du = memset(take(&at, vectors), 0, vectors);
    j.dw = rk_grad_or(ctx, n->in[W], take(&at, vectors));
    j.dk = rk_grad_or(ctx, n->in[K], take(&at, rk_tensor_bytes(k)));
    j.dv = rk_grad_or(ctx, n->in[V], take(&at, rk_tensor_bytes(k)));
    j.dy_in = y ? rk_grad(ctx, y) : NULL;
    j.dgiven = rk_grad(ctx, n->in[STATE]);
    j.dy = rk_grad(ctx, n->out[0]);
    memcpy(j.dstate, rk_grad(ctx, n->out[1]), rk_tensor_bytes(state));
    rk_parallel(ctx, k->dims[0] * j.pieces, 1, pieces, &j);
    for (int64_t b = 0; du && !rk_ctx_failed(ctx) && b < k->dims[0]; b++)
        j.kern->axpy(j.width, 1.0, vector_at(&j, j.du, b), du);
}

/* ---- medium_wkv: in k, v (B,T+M,A), w (B,A), state (B,3,A), u (A) ---- */

static void wkv_shape(rk_ctx *ctx, rk_node *n)
{
    const rk_tensor *k = n->in[K], *u = n->in[U_OR_Y];
    if (expect_shapes(ctx, n, k->n_dims == 3 && u && rk_tensor_count(u) == k->dims[2]))
        make_results(ctx, n);
}

/* A medium's read of what the tokens have left. */
static rk_wkv4_args read_step(const job *j, const task *p, int64_t medium, const void *state)
{
    void *spare = state_at(j, j->spare, p->b);
    channels(j, p, 3, state, spare, false);
    return steps(j, p, j->rows->n_tokens + medium, 1, j->n->in[U_OR_Y]->data, spare, NULL);
}

static void wkv_pieces(void *arg, int64_t lo, int64_t hi, int worker)
{
    const job *j = arg;
    (void)worker;
    for (int64_t i = lo; i < hi; i++) {
        const task p = task_of(j, i);
        void *state = state_at(j, j->n->out[1]->data, p.b);
        for (int64_t at = 0, n = rk_medium_n_blocks(j->rows, p.b); at < n; at++) {
            const rk_medium_block k = rk_medium_block_at(j->rows, p.b, at);
            begin_block(j, &p, &k, state);
            if (j->n->saved)
                channels(j, &p, 3, state, saved_at(j, p.b, k.slot), false);
            rk_wkv4_args a =
                steps(j, &p, k.first, k.end - k.first, j->n->in[U_OR_Y]->data, state, NULL);
            j->kern->wkv4(&a);
            if (k.medium < 0)
                continue;
            a = read_step(j, &p, k.medium, state);
            j->kern->wkv4(&a);
        }
        clear_rest(j, &p);
    }
}

static void wkv_forward(rk_ctx *ctx, rk_node *n)
{
    forward_of(ctx, n, wkv_pieces);
}

/* What a medium's read passes to the state behind the block. */
static void read_step_bwd(const job *j, const task *p, int64_t medium, const void *behind)
{
    const int64_t t = j->rows->n_tokens + medium;
    void *g = state_at(j, j->dspare, p->b);
    rk_wkv4_args a = steps(j, p, t, 1, j->n->in[U_OR_Y]->data, j->ended, (void *)behind);
    channels(j, p, 3, NULL, g, false);
    const rk_wkv4_grads d = grads_of(j, p, t, row_at(j, j->dy, p->b, t), g);
    j->kern->wkv4_bwd(&a, &d);
    channels(j, p, 3, g, state_at(j, j->dstate, p->b), true);
}

/* The tokens of a block again, for the states among them, and back. */
static void tokens_bwd(const job *j, const task *p, const rk_medium_block *k)
{
    const rk_tensor *like = j->n->in[K];
    void *again = rk_at(like, j->again, p->b * segments_of(j->rows) * 3 * j->width);
    void *state = state_at(j, j->spare, p->b);
    channels(j, p, 3, saved_at(j, p->b, k->slot), state, false);
    rk_wkv4_args a = steps(j, p, k->first, k->end - k->first, j->n->in[U_OR_Y]->data, state, again);
    j->kern->wkv4(&a); /* its results are written a second time, the same */
    if (k->medium >= 0)
        read_step_bwd(j, p, k->medium, state);
    const rk_wkv4_grads d =
        grads_of(j, p, k->first, row_at(j, j->dy, p->b, k->first), state_at(j, j->dstate, p->b));
    j->kern->wkv4_bwd(&a, &d);
}

static void wkv_pieces_bwd(void *arg, int64_t lo, int64_t hi, int worker)
{
    const job *j = arg;
    (void)worker;
    for (int64_t i = lo; i < hi; i++) {
        const task p = task_of(j, i);
        for (int64_t at = rk_medium_n_blocks(j->rows, p.b); at-- > 0;) {
            const rk_medium_block k = rk_medium_block_at(j->rows, p.b, at);
            tokens_bwd(j, &p, &k);
            give_back(j, &p, &k);
        }
    }
}

static void wkv_backward(rk_ctx *ctx, rk_node *n)
{
    backward_of(ctx, n, n->in[U_OR_Y], NULL, wkv_pieces_bwd);
}

const rk_op rk_op_medium_wkv = {
    .name = "medium_wkv",
    .shape = wkv_shape,
    .on[RK_CPU] = {wkv_forward, wkv_backward},
    .attr_bytes = sizeof(rk_medium_rows),
};

static rk_tensor *apply(rk_ctx *ctx, rk_node *n, rk_tensor **state_out)
{
    *state_out = NULL;
    if (!rk_apply(ctx, n))
        return NULL;
    *state_out = n->out[1];
    return n->out[0];
}

rk_tensor *rk_medium_wkv(rk_ctx *ctx, const rk_medium_rows *rows, const rk_wkv4_in *in,
                         rk_tensor **state_out)
{
    rk_node n = {.op = &rk_op_medium_wkv,
                 .n_in = N_IN,
                 .in = {in->k, in->v, in->w, in->state, in->u},
                 .attr = rows};
    return apply(ctx, &n, state_out);
}

/* ---- medium_read: in k, v (B,T+M,A), w (B,A), state (B,3,A), y (B,T+M,A) ---- */

static void read_shape(rk_ctx *ctx, rk_node *n)
{
    const rk_tensor *k = n->in[K], *y = n->in[U_OR_Y];
    if (expect_shapes(ctx, n, k->n_dims == 3 && y && rk_tensor_same_shape(y, k)))
        make_results(ctx, n);
}

/* The step at the end of a block: it reads what there was before and pushes the medium; without a medium it
 * reads alone. */
static rk_wkv4_args block_step(const job *j, const task *p, const rk_medium_block *k, void *state)
{
    rk_wkv4_args a = steps(j, p, j->rows->n_tokens + k->medium, 1, j->no_bonus, state, NULL);
    a.y = vector_at(j, j->given, p->b);
    if (k->medium < 0)
        a.k = a.v = j->zeros;
    return a;
}

/* The channels of a row into all rows of a block and that of its medium; `row` NULL: those of y. */
static void put_rows(const job *j, const task *p, const rk_medium_block *k, const void *row)
{
    const void *y = j->n->in[U_OR_Y]->data;
    void *out = j->n->out[0]->data;
    const int64_t medium = j->rows->n_tokens + k->medium;
    for (int64_t t = k->first; t < k->end; t++)
        channels(j, p, 1, row ? row : row_at(j, y, p->b, t), row_at(j, out, p->b, t), false);
    if (k->medium >= 0)
        channels(j, p, 1, row ? row : row_at(j, y, p->b, medium), row_at(j, out, p->b, medium),
                 false);
}

static void read_block(const job *j, const task *p, const rk_medium_block *k, void *state)
{
    void *spare = state_at(j, j->spare, p->b);
    if (k->known == 0) /* whatever the state began with */
        channels(j, p, 3, j->nothing, state, false);
    else if (j->n->saved)
        channels(j, p, 3, state, saved_at(j, p->b, k->slot), false);
    if (k->medium < 0)
        channels(j, p, 3, state, spare, false);
    const rk_wkv4_args a = block_step(j, p, k, k->medium < 0 ? spare : state);
    j->kern->wkv4(&a);
    put_rows(j, p, k, k->known ? a.y : NULL);
}

static void read_pieces(void *arg, int64_t lo, int64_t hi, int worker)
{
    const job *j = arg;
    (void)worker;
    for (int64_t i = lo; i < hi; i++) {
        const task p = task_of(j, i);
        void *state = state_at(j, j->n->out[1]->data, p.b);
        for (int64_t at = 0, n = rk_medium_n_blocks(j->rows, p.b); at < n; at++) {
            const rk_medium_block k = rk_medium_block_at(j->rows, p.b, at);
            begin_block(j, &p, &k, state);
            read_block(j, &p, &k, state);
        }
        clear_rest(j, &p);
    }
}

static void read_forward(rk_ctx *ctx, rk_node *n)
{
    forward_of(ctx, n, read_pieces);
}

/* The gradient of what a block has read, summed up in `sum`, or passed on to y. */
static void collect(const job *j, const task *p, const rk_medium_block *k, void *sum)
{
    const int64_t medium = j->rows->n_tokens + k->medium;
    channels(j, p, 1, NULL, sum, false);
    for (int64_t t = k->first; t < k->end + (k->medium >= 0); t++) {
        const int64_t row = t < k->end ? t : medium;
        if (k->known)
            channels(j, p, 1, row_at(j, j->dy, p->b, row), sum, true);
        else if (j->dy_in)
            channels(j, p, 1, row_at(j, j->dy, p->b, row), row_at(j, j->dy_in, p->b, row), true);
    }
}

/* behind: the state after the block's medium. Where there is none the step goes back alone, beside what comes
 * from behind it. */
static void read_block_bwd(const job *j, const task *p, const rk_medium_block *k,
                           const void *behind)
{
    void *sum = state_at(j, j->again, p->b), *g = state_at(j, j->dstate, p->b);
    void *alone = state_at(j, j->dspare, p->b);
    rk_wkv4_args a = block_step(j, p, k, k->medium < 0 ? j->ended : (void *)behind);
    rk_wkv4_grads d = grads_of(j, p, j->rows->n_tokens + rk_max_i64(k->medium, 0), sum, g);
    collect(j, p, k, sum);
    a.saved = k->known ? saved_at(j, p->b, k->slot) : j->nothing;
    if (k->medium < 0) {
        if (k->known == 0)
            return;
        channels(j, p, 3, NULL, alone, false);
        d.dstate = alone;
        d.dk = d.dv = state_at(j, j->spare, p->b);
    }
    j->kern->wkv4_bwd(&a, &d);
    if (k->medium < 0)
        channels(j, p, 3, alone, g, true);
}

static void read_pieces_bwd(void *arg, int64_t lo, int64_t hi, int worker)
{
    const job *j = arg;
    (void)worker;
    for (int64_t i = lo; i < hi; i++) {
        const task p = task_of(j, i);
        const void *behind = state_at(j, j->n->out[1]->data, p.b);
        for (int64_t at = rk_medium_n_blocks(j->rows, p.b); at-- > 0;) {
            const rk_medium_block k = rk_medium_block_at(j->rows, p.b, at);
            read_block_bwd(j, &p, &k, behind);
            if (k.known == 0) /* nothing depends on what there was */
                channels(j, &p, 3, NULL, state_at(j, j->dstate, p.b), false);
            give_back(j, &p, &k);
            behind = k.slot > 0 ? saved_at(j, p.b, k.slot) : j->ended;
        }
    }
}

static void read_backward(rk_ctx *ctx, rk_node *n)
{
    backward_of(ctx, n, NULL, n->in[U_OR_Y], read_pieces_bwd);
}

const rk_op rk_op_medium_read = {
    .name = "medium_read",
    .shape = read_shape,
    .on[RK_CPU] = {read_forward, read_backward},
    .attr_bytes = sizeof(rk_medium_rows),
};

rk_tensor *rk_medium_read(rk_ctx *ctx, const rk_medium_rows *rows, const rk_medium_read_in *in,
                          rk_tensor **state_out)
{
    rk_node n = {.op = &rk_op_medium_read,
                 .n_in = N_IN,
                 .in = {in->k, in->v, in->w, in->state, in->y},
                 .attr = rows};
    return apply(ctx, &n, state_out);
}
