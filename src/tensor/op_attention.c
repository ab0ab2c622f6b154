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
 * and keys and values with T more rows. Without k and v only y, and keys and values hold the T rows. */
enum { Q, K, V, Q_BIAS, K_BIAS, V_BIAS, KEYS, VALUES, ATTENTION_IN };
enum { Y, KEYS_OUT, VALUES_OUT, ATTENTION_OUT };

enum { TASK_ROWS = 256 }; /* queries of a task in the long class */
_Static_assert((int)RK_ATTEND_KEYS == (int)RK_PAGE_ROWS, "a block of keys lies in a page");

typedef struct attention_attr {
    double theta, scale;
    bool mapped; /* query heads name their key heads */
    int16_t key_head[RK_ATTENTION_HEADS_MAX];
} attention_attr;

typedef struct attention_job {
    const rk_kernels *kern;
    const rk_ctx *ctx;
    const rk_node *n;
    int64_t batch, steps, heads, groups, size; /* B, T, H, G, N */
    int64_t given;                             /* rows from before; 0 where states grow */
    int64_t units, per_unit; /* query heads that read the same key head, together */
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

static const attention_attr *attr_of(const attention_job *j)
{
    return j->n->attr;
}

/* Are there rows to be added? */
static bool appends(const rk_node *n)
{
    return n->in[K] != NULL;
}

/* The key head that a unit reads. */
static int64_t key_head(const attention_job *j, int64_t unit)
{
    return attr_of(j)->mapped ? attr_of(j)->key_head[unit] : unit;
}

/* Keys or values, with the rows of this call. */
static rk_tensor *rows_of(const attention_job *j, int which)
{
    const int i = which == K ? 0 : 1;
    return appends(j->n) ? j->n->out[KEYS_OUT + i] : j->n->in[KEYS + i];
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
                       .groups = keys->dims[2],
                       .n_parts = ctx->long_class ? 1 : RK_ATTEND_PARTS};
    if (!keys->growing)
        j.given = keys->dims[1] - (appends(n) ? 0 : j.steps);
    j.units = attr_of(&j)->mapped ? j.heads : j.groups;
    j.per_unit = j.heads / j.units;
    j.task_tokens = rk_max_i64(1, j.steps);
    if (ctx->long_class)
        j.task_tokens = rk_min_i64(j.task_tokens, rk_max_i64(1, TASK_ROWS / j.per_unit));
    const rk_attend task = {.rows = j.task_tokens * j.per_unit, .size = j.size};
    const rk_attend all = {.rows = j.steps * j.per_unit, .size = j.size};
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
        j->n_parts == 1 ? rk_pool_n_threads(j->ctx->pool) : j->n_parts * j->batch * j->units;
    const int64_t rows = tasks * j->task_tokens * j->per_unit;
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
    /* Where rows are added, their gradients go on in those of the results; else they may not be wanted. */
    const int64_t spare = appends(j->n) ? 0 : tokens + j->batch * j->given;
    j->dk = take(j, &used, spare * width_of(j, K));
    j->dv = take(j, &used, spare * width_of(j, V));
    for (int i = Q; i <= V; i++)
        j->sums[i] = take(j, &used, j->n->in[Q_BIAS + i] ? j->pieces.n * width_of(j, i) : 0);
    return used;
}

/* ---- shapes ---- */

/* Is t, a state, (B, P, G, N) or growing by T rows? */
static bool is_rows(const rk_node *n, const rk_tensor *t)
{
    const rk_tensor *q = n->in[Q], *keys = n->in[KEYS];
    const int64_t least = appends(n) ? 0 : q->dims[1];
    return t && t->n_dims == 4 && t->dims[0] == q->dims[0] && t->dims[2] > 0 &&
           t->dims[3] == q->dims[3] &&
           (t->growing ? t->dims[1] == q->dims[1] : t->dims[1] >= least) &&
           rk_tensor_same_shape(t, keys) && !t->growing == !keys->growing;
}

static bool is_bias(const rk_tensor *t, int64_t count)
{
    return !t || rk_tensor_count(t) == count;
}

/* k or v, or neither. */
static bool is_added(const rk_node *n, const rk_tensor *t, const rk_tensor *bias)
{
    const rk_tensor *q = n->in[Q], *keys = n->in[KEYS];
    if (!t)
        return !appends(n) && !bias;
    return t->n_dims == 4 && t->dims[0] == q->dims[0] && t->dims[1] == q->dims[1] &&
           t->dims[2] == keys->dims[2] && t->dims[3] == q->dims[3] &&
           is_bias(bias, t->dims[2] * t->dims[3]);
}

static bool has_key_heads(const rk_node *n)
{
    const attention_attr *a = n->attr;
    const int64_t heads = n->in[Q]->dims[2], groups = n->in[KEYS]->dims[2];
    if (!a->mapped)
        return heads % groups == 0;
    for (int64_t h = 0; h < heads; h++)
        if (h >= RK_ATTENTION_HEADS_MAX || a->key_head[h] < 0 || a->key_head[h] >= groups)
            return false;
    return true;
}

static bool fits(const rk_node *n)
{
    const rk_tensor *q = n->in[Q];
    return q->n_dims == 4 && n->in[KEYS] && is_rows(n, n->in[KEYS]) && is_rows(n, n->in[VALUES]) &&
           is_added(n, n->in[K], n->in[K_BIAS]) && is_added(n, n->in[V], n->in[V_BIAS]) &&
           is_bias(n->in[Q_BIAS], q->dims[2] * q->dims[3]) && has_key_heads(n);
}

static void attention_shape(rk_ctx *ctx, rk_node *n)
{
    const attention_attr *a = n->attr;
    const rk_tensor *q = n->in[Q], *keys = n->in[KEYS];
    if (!rk_expect_plain(ctx, n) ||
        !rk_expect(ctx, n, fits(n),
                   "(B,T,H,N), (B,T,G,N) twice, G dividing H, and keys and values (B,P,G,N)") ||
        !rk_expect(ctx, n, a->theta == 0 || q->dims[3] % 2 == 0, "heads of even size") ||
        !rk_expect(ctx, n,
                   !ctx->begins ||
                       (!keys->growing && keys->dims[1] == (appends(n) ? 0 : q->dims[1])),
                   "no tokens from before where sequences begin inside a row") ||
        !rk_expect(ctx, n, !ctx->recording || !keys->growing,
                   "keys and values as tensors where gradients are wanted"))
        return;
    attention_job j = job_of(ctx, n);
    const int64_t dims[] = {j.batch, j.given + j.steps, j.groups, j.size};
    n->saved_bytes = rk_reals(q, j.batch * j.steps * j.heads * 2);
    n->scratch_bytes = take_forward(&j);
    n->scratch_bwd_bytes = take_backward(&j);
    n->n_out = appends(n) ? ATTENTION_OUT : Y + 1;
    n->out[Y] = rk_new_like(ctx, q);
    for (int i = KEYS_OUT; i < n->n_out; i++)
        n->out[i] = keys->growing ? rk_new_state_like(ctx, n->in[KEYS + i - KEYS_OUT])
                                  : rk_new(ctx, q->dtype, 4, dims);
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

/* x (N) as a state keeps it. */
static void store(const attention_job *j, rk_dtype type, const void *x, void *to)
{
    if (rk_dtype_is_blocks(type))
        rk_blocks_narrow(type, j->size, x, NULL, to);
    else
        j->kern->narrow(j->size, x, to, type);
}

/* Key or value of token i into its row of the state, which may round it. */
static void settle_row(const attention_job *j, int which, int64_t i, const void *angles, int worker)
{
    const rk_tensor *rows = rows_of(j, which);
    const int64_t b = i / j->steps, t = i % j->steps;
    if (!rows->growing) {
        const int64_t at = b * rows->dims[1] + j->given + t;
        settle(j, which, i, angles, rk_at(rows, rows->data, at * width_of(j, which)));
        return;
    }
    void *row = j->row + (size_t)worker * j->row_bytes;
    settle(j, which, i, angles, row);
    for (int64_t g = 0; g < j->groups; g++)
        store(j, rows->growing->type, rk_at(rows, row, g * j->size),
              rk_growing_row(rows, b, before_of(j, b) + t, g));
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
        if (j->dy || !appends(j->n))
            continue; /* backward, or there are none */
        settle_row(j, K, i, angles, worker);
        settle_row(j, V, i, NULL, worker);
    }
}

/* Rows from before, of tensors, to where those of this call follow them. */
static void copy_given(const attention_job *j)
{
    for (int i = 0; i < 2 && j->given > 0 && appends(j->n); i++) {
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
    const rk_tensor *rows = rows_of(j, which);
    const int64_t width = width_of(j, which);
    const rk_growing *growing = rows->growing;
    if (growing)
        return (rk_attend_rows){.pages = growing->pages[b],
                                .offset = growing->offset + growing->head_bytes * (size_t)g,
                                .row_bytes = growing->row_bytes,
                                .type = growing->type};
    return (rk_attend_rows){
        .data = rk_at(rows, rows->data, (b * rows->dims[1] + begin) * width + g * j->size),
        .row_bytes = rk_reals(rows, width),
        .type = rows->dtype};
}

/* Tokens [from, to) of a row, of one sequence, and the queries of a unit. */
static rk_attend attend_args(const attention_job *j, int64_t b, int64_t unit, int64_t from,
                             int64_t to)
{
    const rk_tensor *q = j->n->in[Q];
    const int64_t begin = sequence_begin(rk_begins_of(j->ctx, b, j->steps), from);
    const int64_t at = ((b * j->steps + from) * j->heads + unit * j->per_unit) * j->size;
    rk_attend a = {.rows = (to - from) * j->per_unit,
                   .heads = j->per_unit,
                   .size = j->size,
                   .first = before_of(j, b) + from - begin + 1,
                   .ldq = width_of(j, Q),
                   .ldo = width_of(j, Q),
                   .scale = attr_of(j)->scale,
                   .n_parts = j->n_parts};
    a.k = rows_at(j, K, b, key_head(j, unit), begin);
    a.v = rows_at(j, V, b, key_head(j, unit), begin);
    a.q = rk_at(q, j->turned, at);
    a.out = rk_at(q, j->n->out[Y]->data, at);
    a.stats = rk_at(q, j->n->saved, at / j->size * 2);
    return a;
}

/* Where a task leaves the results of its queries. */
static void *outs_at(const attention_job *j, int64_t task)
{
    return rk_at(j->n->in[Q], j->outs, task * j->task_tokens * j->per_unit * j->size);
}
static void *stats_at(const attention_job *j, int64_t task)
{
    return rk_at(j->n->in[Q], j->stats, task * j->task_tokens * j->per_unit * 2);
}

/* Some tokens and a unit. */
static void tile_piece(void *arg, int64_t i, int64_t end, int worker)
{
    const attention_job *j = arg;
    const int64_t tiles = rk_ceil_div(j->steps, j->task_tokens);
    const int64_t b = i / tiles / j->units, unit = i / tiles % j->units;
    const int64_t lo = i % tiles * j->task_tokens, hi = rk_min_i64(j->steps, lo + j->task_tokens);
    void *out = outs_at(j, worker), *stats = stats_at(j, worker);
    (void)end;
    for (int64_t from = lo, to; from < hi; from = to) {
        to = rk_sequence_end(rk_begins_of(j->ctx, b, j->steps), from, hi);
        const rk_attend a = attend_args(j, b, unit, from, to);
        j->kern->attend(&a, out, stats, j->scratch + (size_t)worker * j->scratch_bytes);
        j->kern->attend_merge(&a, out, stats);
    }
}

/* In the short class: a part of the keys for unit `at` of the batch, all tokens. The parts of a unit lie one
 * after the other; a sequence's begin at that of its first token. */
static void compute_part(const attention_job *j, int64_t at, int64_t part, int worker)
{
    const rk_tensor *q = j->n->in[Q];
    const int64_t b = at / j->units;
    for (int64_t from = 0, to; from < j->steps; from = to) {
        to = rk_sequence_end(rk_begins_of(j->ctx, b, j->steps), from, j->steps);
        rk_attend a = attend_args(j, b, at % j->units, from, to);
        const int64_t row = from * j->n_parts * j->per_unit + part * a.rows;
        a.part = part;
        j->kern->attend_few(&a, rk_at(q, outs_at(j, at * j->n_parts), row * j->size),
                            rk_at(q, stats_at(j, at * j->n_parts), row * 2),
                            j->scratch + (size_t)worker * j->scratch_bytes);
    }
}

static void merge_parts(const attention_job *j, int64_t at)
{
    const rk_tensor *q = j->n->in[Q];
    const int64_t b = at / j->units;
    for (int64_t from = 0, to; from < j->steps; from = to) {
        to = rk_sequence_end(rk_begins_of(j->ctx, b, j->steps), from, j->steps);
        const rk_attend a = attend_args(j, b, at % j->units, from, to);
        const int64_t row = from * j->n_parts * j->per_unit;
        j->kern->attend_merge(&a, rk_at(q, outs_at(j, at * j->n_parts), row * j->size),
                              rk_at(q, stats_at(j, at * j->n_parts), row * 2));
    }
}

static void part_piece(void *arg, int64_t i, int64_t end, int worker)
{
    const attention_job *j = arg;
    (void)end;
    compute_part(j, i / j->n_parts, i % j->n_parts, worker);
}

static void merge_piece(void *arg, int64_t at, int64_t end, int worker)
{
    (void)end;
    (void)worker;
    merge_parts(arg, at);
}

/* All parts of a unit: the same bits, and a fork and a join less. */
static void unit_piece(void *arg, int64_t at, int64_t end, int worker)
{
    const attention_job *j = arg;
    (void)end;
    for (int64_t part = 0; part < j->n_parts; part++)
        compute_part(j, at, part, worker);
    merge_parts(j, at);
}

/* Have the threads enough to do without sharing a unit's keys, or is there one part of them alone? */
static bool are_units_enough(const attention_job *j)
{
    int64_t longest = 0;
    for (int64_t b = 0; b < j->batch; b++)
        longest = rk_max_i64(longest, before_of(j, b) + j->steps);
    return longest <= RK_ATTEND_RUN * RK_ATTEND_KEYS ||
           j->batch * j->units >= 4 * rk_pool_n_threads(j->ctx->pool);
}

static void attend_short(rk_ctx *ctx, attention_job *j)
{
    const int64_t units = j->batch * j->units;
    if (are_units_enough(j)) {
        rk_parallel(ctx, units, 1, unit_piece, j);
        return;
    }
    rk_parallel(ctx, units * j->n_parts, 1, part_piece, j);
    rk_parallel(ctx, units, 1, merge_piece, j);
}

static void attention_forward(rk_ctx *ctx, rk_node *n)
{
    attention_job j = job_of(ctx, n);
    const int64_t tiles = rk_ceil_div(j.steps, j.task_tokens);
    take_forward(&j);
    rk_rotary_rates(n->in[Q]->dtype, j.size, attr_of(&j)->theta, j.rates);
    copy_given(&j);
    rk_parallel(ctx, j.batch * j.steps, RK_GRAIN_ROWS, settle_piece, &j);
    if (ctx->long_class)
        rk_parallel(ctx, j.batch * j.units * tiles, 1, tile_piece, &j);
    else
        attend_short(ctx, &j);
}

/* ---- backward ---- */

static void attend_bwd_unit(const attention_job *j, int64_t b, int64_t unit, int worker)
{
    const rk_tensor *q = j->n->in[Q];
    const int64_t all = j->given + j->steps, g = key_head(j, unit);
    for (int64_t from = 0, to; from < j->steps; from = to) {
        to = rk_sequence_end(rk_begins_of(j->ctx, b, j->steps), from, j->steps);
        const rk_attend a = attend_args(j, b, unit, from, to);
        const int64_t at = ((b * j->steps + from) * j->heads + unit * j->per_unit) * j->size;
        const int64_t key = ((b * all + from) * j->groups + g) * j->size;
        const rk_attend_grads grads = {.dy = rk_at(q, j->dy, at),
                                       .dq = rk_at(q, j->dq, at),
                                       .dk = rk_at(q, j->dk, key),
                                       .dv = rk_at(q, j->dv, key),
                                       .ld = width_of(j, K)};
        j->kern->attend_bwd(&a, &grads, j->scratch + (size_t)worker * j->scratch_bwd_bytes);
    }
}

/* All that reads a key head of a row, in order. */
static void attend_bwd_piece(void *arg, int64_t head, int64_t end, int worker)
{
    const attention_job *j = arg;
    (void)end;
    for (int64_t unit = 0; unit < j->units; unit++)
        if (key_head(j, unit) == head % j->groups)
            attend_bwd_unit(j, head / j->groups, unit, worker);
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
        if (!appends(j->n))
            continue;
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

/* The gradients of keys and values with the rows of this call go on in the memory that they have. */
static void take_key_grads(rk_ctx *ctx, attention_job *j)
{
    if (appends(j->n)) {
        j->dk = rk_grad(ctx, rows_of(j, K));
        j->dv = rk_grad(ctx, rows_of(j, V));
        return;
    }
    memset(j->dk, 0, rk_tensor_bytes(rows_of(j, K)));
    memset(j->dv, 0, rk_tensor_bytes(rows_of(j, V)));
    j->dk = rk_grad_or(ctx, rows_of(j, K), j->dk);
    j->dv = rk_grad_or(ctx, rows_of(j, V), j->dv);
}

static void attention_backward(rk_ctx *ctx, rk_node *n)
{
    attention_job j = job_of(ctx, n);
    const bool adds = appends(n);
    void *dbias[V + 1], *dkeys = adds ? rk_grad(ctx, n->in[KEYS]) : NULL;
    void *dvalues = adds ? rk_grad(ctx, n->in[VALUES]) : NULL;
    take_backward(&j);
    take_key_grads(ctx, &j);
    j.n_parts = 1;
    for (int i = Q; i <= V; i++) {
        j.dx[i] = rk_grad(ctx, n->in[i]);
        dbias[i] = rk_grad(ctx, n->in[Q_BIAS + i]);
    }
    j.dy = rk_grad(ctx, n->out[Y]);
    memset(j.dq, 0, rk_tensor_bytes(n->in[Q]));
    rk_rotary_rates(n->in[Q]->dtype, j.size, attr_of(&j)->theta, j.rates);
    rk_parallel(ctx, j.batch * j.steps, RK_GRAIN_ROWS, settle_piece, &j);
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
    attention_attr attr = {.theta = in->theta, .scale = in->scale, .mapped = in->key_heads};
    rk_node n = {
        .op = &rk_op_attention,
        .n_in = ATTENTION_IN,
        .in = {in->q, in->k, in->v, in->q_bias, in->k_bias, in->v_bias, in->keys, in->values},
        .attr = &attr};
    for (int64_t h = 0;
         in->key_heads && in->q && h < rk_min_i64(in->q->dims[2], RK_ATTENTION_HEADS_MAX); h++)
        attr.key_head[h] = (int16_t)in->key_heads[h];
    if (!rk_apply(ctx, &n))
        return NULL;
    *keys_out = n.n_out > KEYS_OUT ? n.out[KEYS_OUT] : in->keys;
    *values_out = n.n_out > KEYS_OUT ? n.out[VALUES_OUT] : in->values;
    return n.out[Y];
}
