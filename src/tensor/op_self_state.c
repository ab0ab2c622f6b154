/* op_self_state.c: a channel mix that reads the state of the recurrence beside it: Meta-State's Self-State
 * Encoder (arXiv 2504.08247, of which neither equations nor code are known; docs/meta-state.md).
 *
 * For each of some heads the token's own channels are a query q of unit length, the head's state is a
 * matrix that is multiplied with it, and what comes out is normalised and added to the same channels:
 *
 *     z = x,  z[block h] += gamma_h norm(S_t q),  q = x[block h] / |x[block h]|
 *
 * S_t q for all tokens is the recurrence read with q in the place of r, so the kernels are those of wkv7;
 * its inputs are gathered head by head, and only the heads that are asked are computed again. A single
 * token needs no recurrence: the state that it left, or found, is in memory. */
#include <string.h>

#include "base/num.h"
#include "tensor/row_pieces.h"
#include "tensor/runs.h"

enum { X, GAMMA, STATE, W, K, V, A, B, N_IN };
enum { N_STREAMS = B - W + 1 }; /* inputs of the recurrence but r */

typedef struct job {
    const rk_ctx *ctx;
    const rk_kernels *kern;
    const rk_node *n;
    const rk_self_state_form *form;
    int64_t batch, steps, width, asked, heads, size, slots;
    bool single, by_steps, cuts;
    void *q, *u, *stats; /* (B, M, T, N) twice, (B, M, T): rstd of u */
    void *saved;         /* states at the segments, or NULL */
    unsigned char *mine; /* scratch of the threads, */
    size_t thread_bytes; /* of each */
    size_t kernel_bytes;
    /* backward */
    const void *dz;
    rk_grad_rows dx;
    void *du, *dq, *dgamma; /* (B, M, T, N) twice, (piece, M N) */
    void *dstate, *din[N_STREAMS];
    rk_row_pieces pieces;
} job;

/* ---- shapes and places ---- */

/* Arrays (T, N) of a thread: the recurrence's inputs with r, and y; in backward the gradients of these. */
enum { IN_R, IN_W, IN_K, IN_V, IN_A, IN_B, OUT_Y, N_ARRAYS };
/* Matrices (N, N) of a thread: the running state, one that nobody reads. */
enum { N_SQUARES = 2 };

static int64_t elements(const job *j)
{
    return j->batch * j->asked * j->steps * j->size;
}

static job job_of(const rk_ctx *ctx, const rk_node *n)
{
    const rk_tensor *x = n->in[X], *s = n->in[STATE];
    job j = {.ctx = ctx,
             .kern = rk_ctx_kernels(ctx, x->dtype),
             .n = n,
             .form = n->attr,
             .batch = x->dims[0],
             .steps = x->dims[1],
             .width = x->dims[2],
             .heads = s->dims[1],
             .size = s->dims[2],
             .slots = rk_run_slots(ctx, x->dims[1]),
             .single = !n->in[W]};
    j.asked = j.form->n_heads;
    j.kernel_bytes = rk_align_up(j.kern->wkv7_scratch(j.size), RK_ARENA_ALIGN);
    return j;
}

static size_t array_bytes(const job *j)
{
    return rk_align_up(rk_reals(j->n->in[X], j->steps * j->size), RK_ARENA_ALIGN);
}
static size_t square_bytes(const job *j)
{
    return rk_align_up(rk_reals(j->n->in[X], j->size * j->size), RK_ARENA_ALIGN);
}
/* One row more, for what a row's head adds. */
static size_t thread_bytes(const job *j, int arrays)
{
    const size_t row = rk_align_up(rk_reals(j->n->in[X], j->size), RK_ARENA_ALIGN);
    return row + (j->single ? 0
                            : j->kernel_bytes + (size_t)arrays * array_bytes(j) +
                                  N_SQUARES * square_bytes(j));
}

/* Bytes of q, u and the states of segments, in this order; those of stats stand before the last. */
static size_t kept_bytes(const job *j, bool with_states)
{
    const rk_tensor *x = j->n->in[X];
    size_t bytes = 2 * rk_align_up(rk_reals(x, elements(j)), RK_ARENA_ALIGN) +
                   rk_align_up(rk_reals(x, j->batch * j->asked * j->steps), RK_ARENA_ALIGN);
    if (with_states && !j->single)
        bytes += rk_reals(x, j->batch * j->asked * j->slots * j->size * j->size);
    return bytes;
}

static void lay_out(job *j, void *kept, bool with_states)
{
    const rk_tensor *x = j->n->in[X];
    unsigned char *at = kept;
    j->q = at;
    at += rk_align_up(rk_reals(x, elements(j)), RK_ARENA_ALIGN);
    j->u = at;
    at += rk_align_up(rk_reals(x, elements(j)), RK_ARENA_ALIGN);
    j->stats = at;
    at += rk_align_up(rk_reals(x, j->batch * j->asked * j->steps), RK_ARENA_ALIGN);
    j->saved = with_states && !j->single ? at : NULL;
}

static bool form_fits(const job *j)
{
    const rk_self_state_form *f = j->form;
    if (f->n_heads < 1 || f->n_heads > RK_SELF_STATE_HEADS || j->size > j->width)
        return false;
    for (int i = 0; i < f->n_heads; i++)
        for (int k = 0; k <= i; k++)
            if (f->heads[i] < 0 || f->heads[i] >= j->heads || (k < i && f->heads[k] == f->heads[i]))
                return false;
    return true;
}

static void self_state_shape(rk_ctx *ctx, rk_node *n)
{
    const rk_tensor *x = n->in[X], *s = n->in[STATE], *g = n->in[GAMMA];
    bool ok = x && x->n_dims == 3 && g && s && s->n_dims == 4 && s->dims[0] == x->dims[0] &&
              s->dims[2] == s->dims[3] && (n->in[W] || x->dims[1] == 1);
    for (int i = W; ok && n->in[W] && i < N_IN; i++) {
        const rk_tensor *t = n->in[i];
        ok = t && t->n_dims == 4 && t->dims[0] == x->dims[0] && t->dims[1] == x->dims[1] &&
             t->dims[2] == s->dims[1] && t->dims[3] == s->dims[3];
    }
    if (!rk_expect_plain(ctx, n) ||
        !rk_expect(ctx, n, ok, "(B,T,C), a gain, (B,H,N,N) and, of several tokens, (B,T,H,N)"))
        return;
    const job j = job_of(ctx, n);
    if (!rk_expect(ctx, n, form_fits(&j) && rk_tensor_count(g) == j.asked * j.size,
                   "heads that differ and exist, no wider than C, and a gain for each channel"))
        return;
    const size_t threads = (size_t)rk_pool_n_threads(ctx->pool), align = RK_ARENA_ALIGN;
    const rk_row_pieces pieces = rk_row_pieces_of(j.batch * j.steps, j.steps);
    n->saved_bytes = kept_bytes(&j, true);
    n->scratch_bytes = threads * thread_bytes(&j, N_ARRAYS) + kept_bytes(&j, false) + align;
    n->scratch_bwd_bytes = threads * thread_bytes(&j, 2 * N_ARRAYS) +
                           2 * rk_align_up(rk_reals(x, elements(&j)), align) +
                           rk_reals(x, pieces.n * j.asked * j.size) + align;
    n->n_out = 1;
    n->out[0] = rk_new_like(ctx, x);
}

/* The first channel of the block of the i-th head asked. */
static int64_t block_of(const job *j, int64_t i)
{
    const int64_t h = j->form->heads[i], n = j->form->n_read;
    return (n > 0 && h >= n ? h - n : h) % (j->width / j->size) * j->size;
}
static void *row_of(const job *j, const void *data, int64_t row, int64_t i)
{
    return rk_at(j->n->in[X], data, row * j->width + block_of(j, i));
}
/* Token t of the i-th head asked of batch row b, in an array (B, M, T, width). */
static int64_t place(const job *j, int64_t b, int64_t i, int64_t t)
{
    return (b * j->asked + i) * j->steps + t;
}
static void *vector_of(const job *j, const void *array, int64_t b, int64_t i, int64_t t)
{
    return rk_at(j->n->in[X], array, place(j, b, i, t) * j->size);
}
/* Where a head's token t begins in the recurrence's inputs. */
static int64_t input_at(const job *j, int64_t b, int64_t i, int64_t t)
{
    return ((b * j->steps + t) * j->heads + j->form->heads[i]) * j->size;
}

/* The matrix that batch row b was given for a head. One that lies with its stream is where the recurrence
 * found it, and behind a single token where it left it. */
static const void *given_state(const job *j, int64_t b, int64_t i)
{
    const rk_tensor *s = j->n->in[STATE];
    const int64_t square = j->size * j->size, h = j->form->heads[i];
    if (s->streams)
        return s->streams->from[b] + s->streams->offset + h * square;
    return rk_at(s, s->data, (b * j->heads + h) * square);
}

static void *array_of(const job *j, int worker, int i)
{
    return j->mine + (size_t)worker * j->thread_bytes + j->kernel_bytes +
           N_SQUARES * square_bytes(j) + (size_t)i * array_bytes(j);
}
static void *square_of(const job *j, int worker, int i)
{
    return j->mine + (size_t)worker * j->thread_bytes + j->kernel_bytes +
           (size_t)i * square_bytes(j);
}
/* The last row of a thread's scratch. */
static void *spare_row(const job *j, int worker)
{
    return j->mine + (size_t)(worker + 1) * j->thread_bytes -
           rk_align_up(rk_reals(j->n->in[X], j->size), RK_ARENA_ALIGN);
}

/* ---- what the states answer ---- */

/* u = S q. */
static void ask(const job *j, const void *state, const void *q, void *u)
{
    const int64_t n = j->size;
    j->kern->gemv_dot(1, n, n, q, n, state, j->n->in[X]->dtype, n, u, n, false);
}

/* The head's columns of the recurrence's inputs, and what it is asked at each token: this token's query, or,
 * where states are read before their token, the next one's. */
static void gather(const job *j, int64_t b, int64_t i, const int32_t *begins, int worker)
{
    const rk_tensor *x = j->n->in[X];
    const size_t row = rk_reals(x, j->size);
    for (int64_t t = 0; t < j->steps; t++) {
        for (int k = 0; k < N_STREAMS; k++)
            memcpy(rk_at(x, array_of(j, worker, IN_W + k), t * j->size),
                   rk_at(x, j->n->in[W + k]->data, input_at(j, b, i, t)), row);
        void *r = rk_at(x, array_of(j, worker, IN_R), t * j->size);
        const int64_t when = t + j->form->before;
        if (when < j->steps && (!begins || when == t || !begins[when]))
            memcpy(r, vector_of(j, j->q, b, i, when), row);
        else
            memset(r, 0, row);
    }
}

static rk_wkv7_args args_at(const job *j, int64_t b, int64_t i, const rk_run *run, int worker)
{
    const rk_tensor *x = j->n->in[X];
    const int64_t at = run->first * j->size, square = j->size * j->size;
    rk_wkv7_args a = {.n_steps = run->n, .head_size = j->size, .stride = j->size};
    a.r = rk_at(x, array_of(j, worker, IN_R), at);
    a.w = rk_at(x, array_of(j, worker, IN_W), at);
    a.k = rk_at(x, array_of(j, worker, IN_K), at);
    a.v = rk_at(x, array_of(j, worker, IN_V), at);
    a.a = rk_at(x, array_of(j, worker, IN_A), at);
    a.b = rk_at(x, array_of(j, worker, IN_B), at);
    a.y = rk_at(x, array_of(j, worker, OUT_Y), at);
    a.state = square_of(j, worker, 0);
    a.saved =
        rk_at(x, j->saved, ((b * j->asked + i) * j->slots + rk_run_slot(run, j->slots)) * square);
    return a;
}

/* Token after token, so that several give the bits of one after the other (the short class). */
static void run_by_steps(const job *j, int64_t b, int64_t i, const rk_run *run, int worker)
{
    void *state = square_of(j, worker, 0);
    for (int64_t t = run->first; t < run->first + run->n; t++) {
        const rk_run one = {t, 1, false};
        const rk_wkv7_args a = args_at(j, b, i, &one, worker);
        const void *q = vector_of(j, j->q, b, i, t);
        void *u = vector_of(j, j->u, b, i, t);
        if (j->form->before)
            ask(j, state, q, u);
        j->kern->wkv7(&a, j->mine + (size_t)worker * j->thread_bytes);
        if (!j->form->before)
            ask(j, state, q, u);
    }
}

/* All at once. What is read before its token stands one row further on; the first of a sequence asks what the
 * row was given. */
static void run_at_once(const job *j, int64_t b, int64_t i, const rk_run *run, int worker)
{
    rk_wkv7_args a = args_at(j, b, i, run, worker);
    if (!a.saved && j->ctx->long_class && run->n <= RK_WKV_SEGMENT)
        a.saved = square_of(j, worker, 1); /* as in op_rwkv.c: the order of the long class */
    j->kern->wkv7(&a, j->mine + (size_t)worker * j->thread_bytes);
}

/* Where prompts may be split (docs/numerics.md): there, too, what is read before its token is asked of the state
 * itself, so that a split changes no bit. Training does not split. */
enum { SPLIT = 64 };
static bool is_cut(const job *j, int64_t t)
{
    return j->cuts && t % SPLIT == 0;
}

static void run_in_pieces(const job *j, int64_t b, int64_t i, const rk_run *run, int worker)
{
    const int64_t end = run->first + run->n;
    for (int64_t t = run->first, to; t < end; t = to) {
        to = j->cuts ? rk_min_i64(end, (t / SPLIT + 1) * SPLIT) : end;
        const rk_run piece = {t, to - t, run->anew && t == run->first};
        if (is_cut(j, t))
            ask(j, square_of(j, worker, 0), vector_of(j, j->q, b, i, t),
                vector_of(j, j->u, b, i, t));
        run_at_once(j, b, i, &piece, worker);
    }
}

static void take_answers(const job *j, int64_t b, int64_t i, const int32_t *begins, int worker)
{
    const rk_tensor *x = j->n->in[X];
    for (int64_t t = 0; t < j->steps; t++) {
        const bool first = t == 0 || (begins && begins[t]);
        void *u = vector_of(j, j->u, b, i, t);
        if (is_cut(j, t))
            continue;
        if (j->form->before && first)
            ask(j, given_state(j, b, i), vector_of(j, j->q, b, i, t), u);
        else
            memcpy(u, rk_at(x, array_of(j, worker, OUT_Y), (t - j->form->before) * j->size),
                   rk_reals(x, j->size));
    }
}

static void ask_head(void *arg, int64_t lo, int64_t hi, int worker)
{
    const job *j = arg;
    for (int64_t at = lo; at < hi; at++) {
        const int64_t b = at / j->asked, i = at % j->asked;
        const int32_t *begins = rk_begins_of(j->ctx, b, j->steps);
        for (int64_t t = 0; t < j->steps; t++)
            j->kern->l2norm(1, j->size, row_of(j, j->n->in[X]->data, b * j->steps + t, i),
                            vector_of(j, j->q, b, i, t));
        if (j->single) {
            ask(j, given_state(j, b, i), vector_of(j, j->q, b, i, 0), vector_of(j, j->u, b, i, 0));
            continue;
        }
        gather(j, b, i, begins, worker);
        rk_run run;
        for (int64_t t = 0; rk_run_from(begins, j->steps, t, &run); t = run.first + run.n) {
            if (run.anew || t == 0)
                memcpy(square_of(j, worker, 0), given_state(j, b, i),
                       rk_reals(j->n->in[X], j->size * j->size));
            (j->by_steps ? run_by_steps : run_in_pieces)(j, b, i, &run, worker);
        }
        if (!j->by_steps)
            take_answers(j, b, i, begins, worker);
    }
}

/* ---- what is added ---- */

static const void *gain_of(const job *j, int64_t i)
{
    return rk_at(j->n->in[X], j->n->in[GAMMA]->data, i * j->size);
}

static void add_rows(void *arg, int64_t lo, int64_t hi, int worker)
{
    const job *j = arg;
    const rk_tensor *x = j->n->in[X];
    void *e = spare_row(j, worker), *z = j->n->out[0]->data;
    memcpy(rk_at(x, z, lo * j->width), rk_at(x, x->data, lo * j->width),
           rk_reals(x, (hi - lo) * j->width));
    for (int64_t row = lo; row < hi; row++)
        for (int64_t i = 0; i < j->asked; i++) {
            const int64_t b = row / j->steps, t = row % j->steps;
            const void *u = vector_of(j, j->u, b, i, t);
            if (j->form->norm)
                j->kern->rms_norm(1, j->size, u, gain_of(j, i), RK_SELF_STATE_EPS, e,
                                  rk_at(x, j->stats, place(j, b, i, t)));
            else
                j->kern->mul(j->size, u, gain_of(j, i), e);
            void *to = row_of(j, z, row, i);
            j->kern->add(j->size, to, e, to);
        }
}

static void self_state_forward(rk_ctx *ctx, rk_node *n)
{
    job j = job_of(ctx, n);
    const size_t threads = (size_t)rk_pool_n_threads(ctx->pool);
    j.mine = n->scratch;
    j.thread_bytes = thread_bytes(&j, N_ARRAYS);
    if (j.single)
        j.kernel_bytes = 0;
    lay_out(&j, n->saved ? n->saved : j.mine + threads * j.thread_bytes, n->saved != NULL);
    j.by_steps = !j.saved && !ctx->long_class && j.steps <= RK_WKV_SEGMENT;
    j.cuts = j.form->before && !j.by_steps && !ctx->recording && !ctx->recomputed;
    rk_parallel(ctx, j.batch * j.asked, 1, ask_head, &j);
    rk_parallel(ctx, j.batch * j.steps, RK_GRAIN_ROWS, add_rows, &j);
}

/* ---- backward ---- */

/* From what was added to the answers, and to the gain. */
static void back_rows(void *arg, int64_t p, int64_t end, int worker)
{
    const job *j = arg;
    const rk_tensor *x = j->n->in[X];
    int64_t lo, hi;
    (void)end;
    (void)worker;
    rk_row_piece_at(&j->pieces, p, &lo, &hi);
    void *dx = rk_grad_rows_at(&j->dx, lo, hi);
    void *sums = rk_at(x, j->dgamma, p * j->asked * j->size);
    memset(sums, 0, rk_reals(x, j->asked * j->size));
    if (dx)
        j->kern->axpy((hi - lo) * j->width, 1.0, rk_at(x, j->dz, lo * j->width), dx);
    for (int64_t row = lo; row < hi; row++)
        for (int64_t i = 0; i < j->asked; i++) {
            const int64_t b = row / j->steps, t = row % j->steps;
            const void *de = row_of(j, j->dz, row, i), *u = vector_of(j, j->u, b, i, t);
            const void *stats = rk_at(x, j->stats, place(j, b, i, t));
            void *du = vector_of(j, j->du, b, i, t), *dg = rk_at(x, sums, i * j->size);
            memset(du, 0, rk_reals(x, j->size));
            if (j->form->norm) {
                j->kern->rms_norm_bwd_x(1, j->size, u, gain_of(j, i), stats, de, du);
                j->kern->rms_norm_bwd_w(1, j->size, u, stats, de, dg);
            } else {
                j->kern->mul_add(j->size, de, gain_of(j, i), du);
                j->kern->mul_add(j->size, de, u, dg);
            }
        }
}

static double real_at(const rk_tensor *like, const void *x, int64_t i)
{
    return like->dtype == RK_F64 ? ((const double *)x)[i] : (double)((const float *)x)[i];
}

/* u = S q: dq += S^T du, dS += du q^T. dstate may be NULL. */
static void ask_back(const job *j, const void *state, const void *q, const void *du, void *dq,
                     void *dstate)
{
    const rk_tensor *x = j->n->in[X];
    const int64_t n = j->size;
    j->kern->gemv_axpy(1, n, n, du, n, state, x->dtype, n, dq, n, true);
    for (int64_t i = 0; dstate && i < n; i++)
        j->kern->axpy(n, real_at(x, du, i), q, rk_at(x, dstate, i * n));
}

/* The gradient of the state that batch row b was given for a head. */
static void *given_grad(const job *j, int64_t b, int64_t i)
{
    return rk_at(j->n->in[X], j->dstate, (b * j->heads + j->form->heads[i]) * j->size * j->size);
}

/* The gradients of the answers, in the places where the kernel gave them. */
static void gather_back(const job *j, int64_t b, int64_t i, const int32_t *begins, int worker)
{
    const rk_tensor *x = j->n->in[X];
    const size_t row = rk_reals(x, j->size);
    for (int k = 0; k < OUT_Y; k++)
        memset(array_of(j, worker, N_ARRAYS + k), 0, array_bytes(j));
    for (int64_t t = 0; t < j->steps; t++) {
        const int64_t when = t + j->form->before;
        void *dy = rk_at(x, array_of(j, worker, N_ARRAYS + OUT_Y), t * j->size);
        if (when < j->steps && (!begins || when == t || !begins[when]))
            memcpy(dy, vector_of(j, j->du, b, i, when), row);
        else
            memset(dy, 0, row);
    }
}

static void run_back(const job *j, int64_t b, int64_t i, const rk_run *run, int worker)
{
    const rk_tensor *x = j->n->in[X];
    const int64_t at = run->first * j->size, square = j->size * j->size;
    void *of[N_ARRAYS];
    for (int k = 0; k < N_ARRAYS; k++)
        of[k] = rk_at(x, array_of(j, worker, N_ARRAYS + k), at);
    const rk_wkv7_args a = args_at(j, b, i, run, worker);
    const rk_wkv7_grads g = {.dy = of[OUT_Y],
                             .dr = of[IN_R],
                             .dw = of[IN_W],
                             .dk = of[IN_K],
                             .dv = of[IN_V],
                             .da = of[IN_A],
                             .db = of[IN_B],
                             .dstate = square_of(j, worker, 0)};
    j->kern->wkv7_bwd(&a, &g, j->mine + (size_t)worker * j->thread_bytes);
    if (!run->anew && run->first > 0)
        return;
    if (j->dstate)
        j->kern->axpy(square, 1.0, g.dstate, given_grad(j, b, i));
    memset(g.dstate, 0, rk_reals(x, square));
}

/* What the kernel left, to where it belongs: each head is asked by one task. */
static void scatter_back(const job *j, int64_t b, int64_t i, const int32_t *begins, int worker)
{
    const rk_tensor *x = j->n->in[X];
    for (int64_t t = 0; t < j->steps; t++) {
        void *dq = vector_of(j, j->dq, b, i, t);
        for (int k = 0; k < N_STREAMS; k++)
            if (j->din[k])
                j->kern->axpy(j->size, 1.0,
                              rk_at(x, array_of(j, worker, N_ARRAYS + IN_W + k), t * j->size),
                              rk_at(x, j->din[k], input_at(j, b, i, t)));
        if (j->form->before && (t == 0 || (begins && begins[t])))
            ask_back(j, given_state(j, b, i), vector_of(j, j->q, b, i, t),
                     vector_of(j, j->du, b, i, t), dq, given_grad(j, b, i));
        else
            j->kern->axpy(
                j->size, 1.0,
                rk_at(x, array_of(j, worker, N_ARRAYS + IN_R), (t - j->form->before) * j->size),
                dq);
    }
}

static void back_head(void *arg, int64_t lo, int64_t hi, int worker)
{
    const job *j = arg;
    const rk_tensor *x = j->n->in[X];
    for (int64_t at = lo; at < hi; at++) {
        const int64_t b = at / j->asked, i = at % j->asked;
        const int32_t *begins = rk_begins_of(j->ctx, b, j->steps);
        memset(vector_of(j, j->dq, b, i, 0), 0, rk_reals(x, j->steps * j->size));
        if (j->single) {
            ask_back(j, given_state(j, b, i), vector_of(j, j->q, b, i, 0),
                     vector_of(j, j->du, b, i, 0), vector_of(j, j->dq, b, i, 0),
                     given_grad(j, b, i));
            continue;
        }
        gather(j, b, i, begins, worker);
        gather_back(j, b, i, begins, worker);
        memset(square_of(j, worker, 0), 0, rk_reals(x, j->size * j->size));
        rk_run run;
        for (int64_t t = j->steps; rk_run_before(begins, t, &run); t = run.first)
            run_back(j, b, i, &run, worker);
        scatter_back(j, b, i, begins, worker);
    }
}

/* From the queries to the channels that they are made of, which heads may share. */
static void back_queries(void *arg, int64_t p, int64_t end, int worker)
{
    const job *j = arg;
    int64_t lo, hi;
    (void)end;
    (void)worker;
    rk_row_piece_at(&j->pieces, p, &lo, &hi);
    for (int64_t row = lo; row < hi; row++)
        for (int64_t i = 0; i < j->asked; i++)
            j->kern->l2norm_bwd(1, j->size, row_of(j, j->n->in[X]->data, row, i),
                                vector_of(j, j->dq, row / j->steps, i, row % j->steps),
                                row_of(j, j->dx.data, row, i));
}

static void self_state_backward(rk_ctx *ctx, rk_node *n)
{
    job j = job_of(ctx, n);
    const rk_tensor *x = n->in[X];
    const size_t threads = (size_t)rk_pool_n_threads(ctx->pool);
    const size_t all = rk_align_up(rk_reals(x, elements(&j)), RK_ARENA_ALIGN);
    lay_out(&j, n->saved, true);
    j.mine = n->scratch;
    j.thread_bytes = thread_bytes(&j, 2 * N_ARRAYS);
    if (j.single)
        j.kernel_bytes = 0;
    j.du = j.mine + threads * j.thread_bytes;
    j.dq = (unsigned char *)j.du + all;
    j.dgamma = (unsigned char *)j.dq + all;
    j.pieces = rk_row_pieces_of(j.batch * j.steps, j.steps);
    /* Gradients are asked for before the first loop: after an abort there are none to be had. */
    void *dgain = rk_grad(ctx, n->in[GAMMA]);
    j.dz = rk_grad(ctx, n->out[0]);
    j.dx = rk_grad_rows_of(ctx, n->in[X], j.pieces.rows, NULL);
    j.dstate = rk_grad(ctx, n->in[STATE]);
    for (int k = 0; k < N_STREAMS; k++)
        j.din[k] = n->in[W + k] ? rk_grad(ctx, n->in[W + k]) : NULL;
    rk_parallel(ctx, j.pieces.n, 1, back_rows, &j);
    rk_parallel(ctx, j.batch * j.asked, 1, back_head, &j);
    if (j.dx.data)
        rk_parallel(ctx, j.pieces.n, 1, back_queries, &j);
    rk_add_pieces(ctx, x, &j.pieces, j.asked * j.size, j.dgamma, dgain);
}

const rk_op rk_op_self_state = {
    .name = "self_state",
    .shape = self_state_shape,
    .on[RK_CPU] = {self_state_forward, self_state_backward},
    .attr_bytes = sizeof(rk_self_state_form),
};

rk_tensor *rk_self_state(rk_ctx *ctx, const rk_self_state_in *in)
{
    rk_node n = {.op = &rk_op_self_state,
                 .n_in = N_IN,
                 .in = {[X] = in->x, [GAMMA] = in->gamma, [STATE] = in->state},
                 .attr = &in->form};
    if (in->wkv) {
        n.in[W] = in->wkv->w;
        n.in[K] = in->wkv->k;
        n.in[V] = in->wkv->v;
        n.in[A] = in->wkv->a;
        n.in[B] = in->wkv->b;
    }
    return rk_apply1(ctx, &n);
}
