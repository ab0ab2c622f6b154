/* op_attention.c: causal softmax attention with grouped key heads and rotary embedding.
 *
 * First each token's query, key and value are given their biases and turned, the latter two straight into
 * the state; then queries go through the keys in blocks with a running maximum (ref/attention.h), so that
 * memory grows with T and never with its square. In the long class a task is a few tokens of a key head
 * and goes through all keys; in the short class the keys are cut into parts, which are tasks of their own,
 * so that one stream with a long history has work for all threads. Where blocks and parts are cut depends
 * on the places of keys alone. The backward pass of a key head of a row is one task: it adds to the
 * gradients of keys in the order of queries. */
#include <string.h>

#include "kernels/blocks.h"
#include "tensor/rotary.h"
#include "tensor/row_pieces.h"
#include "tensor/runs.h"

/* in q (B,T,H,N), k, v (B,T,G,N), their biases or NULL, keys and values (B,P,G,N) or growing; out y (B,T,H,N)
 * and keys and values with T more rows */
enum { Q, K, V, Q_BIAS, K_BIAS, V_BIAS, KEYS, VALUES, ATTENTION_IN };
enum { Y, KEYS_OUT, VALUES_OUT, ATTENTION_OUT };

enum { TASK_ROWS = 256 }; /* queries of a task in the long class */
_Static_assert((int)RK_ATTEND_KEYS == (int)RK_PAGE_ROWS, "a block of keys lies in a page");

typedef struct attention_attr {
    double theta, scale;
} attention_attr;

typedef struct attention_job {
    const rk_kernels *kern;
    const rk_ctx *ctx;
    const rk_node *n;
    int64_t batch, steps, heads, groups, size; /* B, T, H, G, N */
    int64_t given;                             /* P; 0 where states grow */
    int64_t n_parts, task_tokens;
    unsigned char *turned;       /* q with its bias, turned: (B,T,H,N) */
    void *rates;                 /* of rotation */
    unsigned char *angles, *row; /* of each thread, (N); and (G,N), where states grow */
    unsigned char *outs, *stats; /* what tasks leave: of each thread or part */
    unsigned char *scratch;      /* of each thread, for kernels */
    size_t angles_bytes, row_bytes, scratch_bytes, scratch_bwd_bytes;
    const void *dy;
    unsigned char *dq, *dk, *dv; /* of what is turned: (B,T,H,N), (B,P+T,G,N) twice */
    void *dx[V + 1];
    rk_row_pieces pieces; /* and their sums for the biases */
    unsigned char *sums[V + 1];
} attention_job;

static int64_t per_group(const attention_job *j)
{
    return j->heads / j->groups;
}

/* Channels of a token of q, k or v. */
static int64_t width_of(const attention_job *j, int which)
{
    return (which == Q ? j->heads : j->groups) * j->size;
}

static attention_job job_of(rk_ctx *ctx, const rk_node *n)
{
    const rk_tensor *q = n->in[Q], *keys = n->in[KEYS];
    attention_job j = {.kern = rk_ctx_kernels(ctx, q->dtype),
                       .ctx = ctx,
                       .n = n,
                       .batch = q->dims[0],
                       .steps = q->dims[1],
                       .heads = q->dims[2],
                       .size = q->dims[3],
                       .groups = n->in[K]->dims[2],
                       .given = keys->growing ? 0 : keys->dims[1],
                       .n_parts = ctx->long_class ? 1 : RK_ATTEND_PARTS};
    j.task_tokens = rk_max_i64(1, j.steps);
    if (ctx->long_class)
        j.task_tokens = rk_min_i64(j.task_tokens, rk_max_i64(1, TASK_ROWS / per_group(&j)));
    const rk_attend task = {.rows = j.task_tokens * per_group(&j), .size = j.size};
    const rk_attend all = {.rows = j.steps * per_group(&j), .size = j.size};
    j.angles_bytes = rk_align_up(rk_reals(q, j.size), RK_ARENA_ALIGN);
    j.row_bytes = keys->growing ? rk_align_up(rk_reals(q, width_of(&j, K)), RK_ARENA_ALIGN) : 0;
    j.scratch_bytes = rk_align_up(j.kern->attend_scratch(&task), RK_ARENA_ALIGN);
    j.scratch_bwd_bytes = rk_align_up(j.kern->attend_bwd_scratch(&all), RK_ARENA_ALIGN);
    return j;
}

/* ---- memory ---- */

/* The next piece of `count` reals in scratch; NULL while its size is counted. */
static unsigned char *take(const attention_job *j, size_t *used, int64_t count)
{
    unsigned char *at = j->n->scratch ? (unsigned char *)j->n->scratch + *used : NULL;
    *used += rk_align_up(rk_reals(j->n->in[Q], count), RK_ARENA_ALIGN);
    return at;
}

/* What both directions need; returns its bytes. */
static size_t take_common(attention_job *j, size_t scratch_bytes)
{
    const int64_t threads = rk_pool_n_threads(j->ctx->pool);
    size_t used = 0;
    j->turned = take(j, &used, j->batch * j->steps * j->heads * j->size);
    j->rates = take(j, &used, j->size);
    j->angles = j->n->scratch ? (unsigned char *)j->n->scratch + used : NULL;
    used += j->angles_bytes * (size_t)threads;
    j->row = j->n->scratch ? (unsigned char *)j->n->scratch + used : NULL;
    used += j->row_bytes * (size_t)threads;
    j->scratch = j->n->scratch ? (unsigned char *)j->n->scratch + used : NULL;
    used += scratch_bytes * (size_t)threads;
    return used;
}

static size_t take_forward(attention_job *j)
{
    const int64_t tasks =
        j->n_parts == 1 ? rk_pool_n_threads(j->ctx->pool) : j->n_parts * j->batch * j->groups;
    const int64_t rows = tasks * j->task_tokens * per_group(j);
    size_t used = take_common(j, j->scratch_bytes);
    j->outs = take(j, &used, rows * j->size);
    j->stats = take(j, &used, rows * 2);
    return used;
}

static size_t take_backward(attention_job *j)
{
    const int64_t tokens = j->batch * j->steps;
    size_t used = take_common(j, j->scratch_bwd_bytes);
    j->pieces = rk_row_pieces_of(tokens, j->steps);
    j->dq = take(j, &used, tokens * width_of(j, Q));
    j->dk = take(j, &used, (tokens + j->batch * j->given) * width_of(j, K));
    j->dv = take(j, &used, (tokens + j->batch * j->given) * width_of(j, V));
    for (int i = Q; i <= V; i++)
        j->sums[i] = take(j, &used, j->n->in[Q_BIAS + i] ? j->pieces.n * width_of(j, i) : 0);
    return used;
}

/* ---- shapes ---- */

/* Is t, a state, (B, P, G, N) or growing by T rows? */
static bool is_rows(const rk_tensor *t, const rk_tensor *k)
{
    return t && t->n_dims == 4 && t->dims[0] == k->dims[0] && t->dims[2] == k->dims[2] &&
           t->dims[3] == k->dims[3] && (!t->growing || t->dims[1] == k->dims[1]);
}

static bool is_bias(const rk_tensor *t, const rk_tensor *x)
{
    return !t || rk_tensor_count(t) == x->dims[2] * x->dims[3];
}

static bool fits(const rk_node *n)
{
    const rk_tensor *q = n->in[Q], *k = n->in[K], *v = n->in[V];
    return q->n_dims == 4 && k && k->n_dims == 4 && v && rk_tensor_same_shape(k, v) &&
           q->dims[0] == k->dims[0] && q->dims[1] == k->dims[1] && q->dims[3] == k->dims[3] &&
           k->dims[2] > 0 && q->dims[2] % k->dims[2] == 0 && is_bias(n->in[Q_BIAS], q) &&
           is_bias(n->in[K_BIAS], k) && is_bias(n->in[V_BIAS], v) && is_rows(n->in[KEYS], k) &&
           is_rows(n->in[VALUES], k) && !n->in[KEYS]->growing == !n->in[VALUES]->growing &&
           n->in[KEYS]->dims[1] == n->in[VALUES]->dims[1];
}

static void attention_shape(rk_ctx *ctx, rk_node *n)
{
    const attention_attr *a = n->attr;
    const rk_tensor *q = n->in[Q], *keys = n->in[KEYS];
    if (!rk_expect_plain(ctx, n) ||
        !rk_expect(ctx, n, fits(n),
                   "(B,T,H,N), (B,T,G,N) twice, G dividing H, and keys and values (B,P,G,N)") ||
        !rk_expect(ctx, n, a->theta == 0 || q->dims[3] % 2 == 0, "heads of even size") ||
        !rk_expect(ctx, n, !ctx->begins || (!keys->growing && keys->dims[1] == 0),
                   "no tokens from before where sequences begin inside a row") ||
        !rk_expect(ctx, n, !ctx->recording || !keys->growing,
                   "keys and values as tensors where gradients are wanted"))
        return;
    attention_job j = job_of(ctx, n);
    const int64_t dims[] = {j.batch, j.given + j.steps, j.groups, j.size};
    n->saved_bytes = rk_reals(q, j.batch * j.steps * j.heads * 2);
    n->scratch_bytes = take_forward(&j);
    n->scratch_bwd_bytes = take_backward(&j);
    n->n_out = ATTENTION_OUT;
    n->out[Y] = rk_new_like(ctx, q);
    for (int i = KEYS; i <= VALUES; i++)
        n->out[KEYS_OUT + i - KEYS] =
            keys->growing ? rk_new_state_like(ctx, n->in[i]) : rk_new(ctx, q->dtype, 4, dims);
}

/* ---- queries, keys and values of tokens ---- */

/* Tokens of row b that were read before. */
static int64_t before_of(const attention_job *j, int64_t b)
{
    const rk_growing *g = j->n->in[KEYS]->growing;
    return g ? g->n_before[b] : j->given;
}

/* The first token of the sequence that token t of a row belongs to. */
static int64_t sequence_begin(const int32_t *begins, int64_t t)
{
    while (begins && t > 0 && !begins[t])
        t--;
    return begins ? t : 0;
}

static void *row_of(const attention_job *j, int which, int64_t b, int64_t t)
{
    const rk_tensor *rows = j->n->out[which == K ? KEYS_OUT : VALUES_OUT];
    if (rows->growing)
        return rk_growing_row(rows, b, before_of(j, b) + t);
    return rk_at(rows, rows->data, (b * rows->dims[1] + j->given + t) * width_of(j, which));
}

/* Add the bias of q, k or v of token i = b T + t, and turn it where angles are given. */
static void settle(const attention_job *j, int which, int64_t i, const void *angles, void *y)
{
    const rk_tensor *x = j->n->in[which], *bias = j->n->in[Q_BIAS + which];
    const int64_t width = width_of(j, which);
    const void *from = rk_at(x, x->data, i * width);
    if (bias)
        j->kern->add(width, from, bias->data, y);
    else
        memcpy(y, from, rk_reals(x, width));
    if (angles)
        j->kern->rotary(width / j->size, j->size, angles, rk_at(x, angles, j->size / 2), false, y,
                        y);
}

/* Key or value of token i into its row of the state, which may round it. */
static void settle_row(const attention_job *j, int which, int64_t i, const void *angles, int worker)
{
    const int64_t b = i / j->steps, t = i % j->steps, width = width_of(j, which);
    const rk_growing *g = j->n->in[KEYS]->growing;
    void *to = row_of(j, which, b, t), *row = j->row + (size_t)worker * j->row_bytes;
    if (!g || g->type == RK_F32) {
        settle(j, which, i, angles, to);
        return;
    }
    settle(j, which, i, angles, row);
    if (rk_dtype_is_blocks(g->type))
        rk_blocks_narrow(g->type, width, row, NULL, to);
    else
        j->kern->narrow(width, row, to, g->type);
}

/* Those of token i of the batch; NULL where nothing is turned. */
static const void *angles_of(const attention_job *j, int64_t i, int worker)
{
    const int64_t b = i / j->steps, t = i % j->steps;
    const attention_attr *a = j->n->attr;
    void *angles = j->angles + (size_t)worker * j->angles_bytes;
    if (a->theta == 0)
        return NULL;
    const int64_t begin = sequence_begin(rk_begins_of(j->ctx, b, j->steps), t);
    rk_rotary_angles(j->n->in[Q]->dtype, j->size, j->rates, (double)(before_of(j, b) + t - begin),
                     angles);
    return angles;
}

static void *turned_at(const attention_job *j, int64_t i)
{
    return rk_at(j->n->in[Q], j->turned, i * width_of(j, Q));
}

static void settle_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const attention_job *j = arg;
    for (int64_t i = lo; i < hi; i++) {
        const void *angles = angles_of(j, i, worker);
        settle(j, Q, i, angles, turned_at(j, i));
        settle_row(j, K, i, angles, worker);
        settle_row(j, V, i, NULL, worker);
    }
}

static void settle_queries_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const attention_job *j = arg;
    for (int64_t i = lo; i < hi; i++)
        settle(j, Q, i, angles_of(j, i, worker), turned_at(j, i));
}

/* Rows from before, of tensors, to where those of this call follow them. */
static void copy_given(const attention_job *j)
{
    for (int i = 0; i < 2 && j->given > 0; i++) {
        const rk_tensor *from = j->n->in[KEYS + i], *to = j->n->out[KEYS_OUT + i];
        const int64_t count = j->given * width_of(j, K);
        for (int64_t b = 0; b < j->batch; b++)
            memcpy(rk_at(to, to->data, b * to->dims[1] * width_of(j, K)),
                   rk_at(from, from->data, b * count), rk_reals(from, count));
    }
}

/* ---- forward ---- */

static rk_attend_rows rows_at(const attention_job *j, int which, int64_t b, int64_t g,
                              int64_t begin)
{
    const rk_tensor *rows = j->n->out[which == K ? KEYS_OUT : VALUES_OUT];
    const int64_t width = width_of(j, which);
    const rk_growing *growing = rows->growing;
    if (growing)
        return (rk_attend_rows){.pages = growing->pages[b],
                                .offset = growing->offset +
                                          growing->row_bytes / (size_t)j->groups * (size_t)g,
                                .row_bytes = growing->row_bytes,
                                .type = growing->type};
    return (rk_attend_rows){
        .data = rk_at(rows, rows->data, (b * rows->dims[1] + begin) * width + g * j->size),
        .row_bytes = rk_reals(rows, width),
        .type = rows->dtype};
}

/* Tokens [from, to) of a row, of one sequence, and the queries of key head g. */
static rk_attend attend_args(const attention_job *j, int64_t b, int64_t g, int64_t from, int64_t to)
{
    const rk_tensor *q = j->n->in[Q];
    const int64_t begin = sequence_begin(rk_begins_of(j->ctx, b, j->steps), from);
    const int64_t at = ((b * j->steps + from) * j->heads + g * per_group(j)) * j->size;
    rk_attend a = {.rows = (to - from) * per_group(j),
                   .heads = per_group(j),
                   .size = j->size,
                   .first = before_of(j, b) + from - begin + 1,
                   .ldq = width_of(j, Q),
                   .ldo = width_of(j, Q),
                   .scale = ((const attention_attr *)j->n->attr)->scale,
                   .n_parts = j->n_parts};
    a.k = rows_at(j, K, b, g, begin);
    a.v = rows_at(j, V, b, g, begin);
    a.q = rk_at(q, j->turned, at);
    a.out = rk_at(q, j->n->out[Y]->data, at);
    a.stats = rk_at(q, j->n->saved, at / j->size * 2);
    return a;
}

/* Where a task leaves the results of its queries. */
static void *outs_at(const attention_job *j, int64_t task)
{
    return rk_at(j->n->in[Q], j->outs, task * j->task_tokens * per_group(j) * j->size);
}
static void *stats_at(const attention_job *j, int64_t task)
{
    return rk_at(j->n->in[Q], j->stats, task * j->task_tokens * per_group(j) * 2);
}

/* Some tokens and a key head. */
static void tile_piece(void *arg, int64_t i, int64_t end, int worker)
{
    const attention_job *j = arg;
    const int64_t tiles = rk_ceil_div(j->steps, j->task_tokens);
    const int64_t b = i / tiles / j->groups, g = i / tiles % j->groups;
    const int64_t lo = i % tiles * j->task_tokens, hi = rk_min_i64(j->steps, lo + j->task_tokens);
    void *out = outs_at(j, worker), *stats = stats_at(j, worker);
    (void)end;
    for (int64_t from = lo, to; from < hi; from = to) {
        to = rk_sequence_end(rk_begins_of(j->ctx, b, j->steps), from, hi);
        const rk_attend a = attend_args(j, b, g, from, to);
        j->kern->attend(&a, out, stats, j->scratch + (size_t)worker * j->scratch_bytes);
        j->kern->attend_merge(&a, out, stats);
    }
}

/* In the short class: a part of the keys, a key head, all tokens. The parts of a head lie one after the
 * other; a sequence's begin at that of its first token. */
static void part_piece(void *arg, int64_t i, int64_t end, int worker)
{
    const attention_job *j = arg;
    const int64_t head = i / j->n_parts, part = i % j->n_parts;
    const int64_t b = head / j->groups, g = head % j->groups;
    (void)end;
    for (int64_t from = 0, to; from < j->steps; from = to) {
        to = rk_sequence_end(rk_begins_of(j->ctx, b, j->steps), from, j->steps);
        rk_attend a = attend_args(j, b, g, from, to);
        const int64_t at = from * j->n_parts * per_group(j) + part * a.rows;
        a.part = part;
        j->kern->attend_few(&a, rk_at(j->n->in[Q], outs_at(j, head * j->n_parts), at * j->size),
                            rk_at(j->n->in[Q], stats_at(j, head * j->n_parts), at * 2),
                            j->scratch + (size_t)worker * j->scratch_bytes);
    }
}

static void merge_piece(void *arg, int64_t head, int64_t end, int worker)
{
    const attention_job *j = arg;
    const int64_t b = head / j->groups, g = head % j->groups;
    (void)end;
    (void)worker;
    for (int64_t from = 0, to; from < j->steps; from = to) {
        to = rk_sequence_end(rk_begins_of(j->ctx, b, j->steps), from, j->steps);
        const rk_attend a = attend_args(j, b, g, from, to);
        const int64_t at = from * j->n_parts * per_group(j);
        j->kern->attend_merge(&a, rk_at(j->n->in[Q], outs_at(j, head * j->n_parts), at * j->size),
                              rk_at(j->n->in[Q], stats_at(j, head * j->n_parts), at * 2));
    }
}

static void attention_forward(rk_ctx *ctx, rk_node *n)
{
    attention_job j = job_of(ctx, n);
    const int64_t heads = j.batch * j.groups;
    take_forward(&j);
    rk_rotary_rates(n->in[Q]->dtype, j.size, ((const attention_attr *)n->attr)->theta, j.rates);
    copy_given(&j);
    rk_parallel(ctx, j.batch * j.steps, RK_GRAIN_ROWS, settle_piece, &j);
    if (ctx->long_class) {
        rk_parallel(ctx, heads * rk_ceil_div(j.steps, j.task_tokens), 1, tile_piece, &j);
        return;
    }
    rk_parallel(ctx, heads * j.n_parts, 1, part_piece, &j);
    rk_parallel(ctx, heads, 1, merge_piece, &j);
}

/* ---- backward ---- */

static void attend_bwd_piece(void *arg, int64_t head, int64_t end, int worker)
{
    const attention_job *j = arg;
    const rk_tensor *q = j->n->in[Q];
    const int64_t b = head / j->groups, g = head % j->groups, all = j->given + j->steps;
    (void)end;
    for (int64_t from = 0, to; from < j->steps; from = to) {
        to = rk_sequence_end(rk_begins_of(j->ctx, b, j->steps), from, j->steps);
        const rk_attend a = attend_args(j, b, g, from, to);
        const int64_t at = ((b * j->steps + from) * j->heads + g * per_group(j)) * j->size;
        const int64_t key = ((b * all + from) * j->groups + g) * j->size;
        const rk_attend_grads grads = {.dy = rk_at(q, j->dy, at),
                                       .dq = rk_at(q, j->dq, at),
                                       .dk = rk_at(q, j->dk, key),
                                       .dv = rk_at(q, j->dv, key),
                                       .ld = width_of(j, K)};
        j->kern->attend_bwd(&a, &grads, j->scratch + (size_t)worker * j->scratch_bwd_bytes);
    }
}

/* The gradients of q, k or v of token i, turned back. */
static void unsettle(const attention_job *j, int which, int64_t i, const void *angles, void *sums)
{
    const rk_tensor *q = j->n->in[Q];
    const int64_t width = width_of(j, which), b = i / j->steps, t = i % j->steps;
    unsigned char *const from = which == Q ? j->dq : which == K ? j->dk : j->dv;
    const int64_t row = which == Q ? i : b * (j->given + j->steps) + j->given + t;
    void *d = rk_at(q, from, row * width);
    if (angles)
        j->kern->rotary(width / j->size, j->size, angles, rk_at(q, angles, j->size / 2), true, d,
                        d);
    if (j->dx[which])
        j->kern->axpy(width, 1.0, d, rk_at(q, j->dx[which], i * width));
    if (sums)
        j->kern->axpy(width, 1.0, d, sums);
}

static void unsettle_piece(void *arg, int64_t piece, int64_t end, int worker)
{
    const attention_job *j = arg;
    const rk_tensor *q = j->n->in[Q];
    void *sums[V + 1] = {NULL};
    int64_t lo, hi;
    (void)end;
    rk_row_piece_at(&j->pieces, piece, &lo, &hi);
    for (int which = Q; which <= V; which++)
        if (j->n->in[Q_BIAS + which]) {
            sums[which] = rk_at(q, j->sums[which], piece * width_of(j, which));
            memset(sums[which], 0, rk_reals(q, width_of(j, which)));
        }
    for (int64_t i = lo; i < hi; i++) {
        const void *angles = angles_of(j, i, worker);
        unsettle(j, Q, i, angles, sums[Q]);
        unsettle(j, K, i, angles, sums[K]);
        unsettle(j, V, i, NULL, sums[V]);
    }
}

/* What the rows from before pass on to the state that was given. */
static void add_given(const attention_job *j, const unsigned char *d, void *grad)
{
    const rk_tensor *q = j->n->in[Q];
    const int64_t width = width_of(j, K), count = j->given * width;
    for (int64_t b = 0; grad && b < j->batch; b++)
        j->kern->axpy(count, 1.0, rk_at(q, d, b * (j->given + j->steps) * width),
                      rk_at(q, grad, b * count));
}

static void attention_backward(rk_ctx *ctx, rk_node *n)
{
    attention_job j = job_of(ctx, n);
    void *dbias[V + 1], *dkeys = rk_grad(ctx, n->in[KEYS]), *dvalues = rk_grad(ctx, n->in[VALUES]);
    take_backward(&j);
    j.n_parts = 1;
    for (int i = Q; i <= V; i++) {
        j.dx[i] = rk_grad(ctx, n->in[i]);
        dbias[i] = rk_grad(ctx, n->in[Q_BIAS + i]);
    }
    j.dy = rk_grad(ctx, n->out[Y]);
    memset(j.dq, 0, rk_tensor_bytes(n->in[Q]));
    memcpy(j.dk, rk_grad(ctx, n->out[KEYS_OUT]), rk_tensor_bytes(n->out[KEYS_OUT]));
    memcpy(j.dv, rk_grad(ctx, n->out[VALUES_OUT]), rk_tensor_bytes(n->out[VALUES_OUT]));
    rk_rotary_rates(n->in[Q]->dtype, j.size, ((const attention_attr *)n->attr)->theta, j.rates);
    rk_parallel(ctx, j.batch * j.steps, RK_GRAIN_ROWS, settle_queries_piece, &j);
    rk_parallel(ctx, j.batch * j.groups, 1, attend_bwd_piece, &j);
    rk_parallel(ctx, j.pieces.n, 1, unsettle_piece, &j);
    if (rk_ctx_failed(ctx))
        return;
    add_given(&j, j.dk, dkeys);
    add_given(&j, j.dv, dvalues);
    for (int i = Q; i <= V; i++)
        rk_add_pieces(ctx, n->in[Q], &j.pieces, width_of(&j, i), j.sums[i], dbias[i]);
}

const rk_op rk_op_attention = {
    .name = "attention",
    .shape = attention_shape,
    .on[RK_CPU] = {attention_forward, attention_backward},
    .attr_bytes = sizeof(attention_attr),
};

rk_tensor *rk_attention(rk_ctx *ctx, const rk_attention_in *in, rk_tensor **keys_out,
                        rk_tensor **values_out)
{
    rk_node n = {
        .op = &rk_op_attention,
        .n_in = ATTENTION_IN,
        .in = {in->q, in->k, in->v, in->q_bias, in->k_bias, in->v_bias, in->keys, in->values},
        .attr = &(attention_attr){in->theta, in->scale}};
    if (!rk_apply(ctx, &n))
        return NULL;
    *keys_out = n.out[KEYS_OUT];
    *values_out = n.out[VALUES_OUT];
    return n.out[Y];
}
