/* op_medium.c: rows of mediums behind the rows of tokens (docs/rrwkv.md): made, given what stands before
 * them, and averaged. Sums go token after token and medium after medium, so that wherever a prompt is split
 * the bits are the same. Work is cut by the rows of the batch. */
#include <string.h>

#include "tensor/medium.h"

typedef struct job {
    rk_ctx *ctx;
    const rk_node *n;
    const rk_kernels *kern;
    const rk_medium_rows *rows;
    int64_t width;
    const void *dy, *dstate; /* of the two results */
    void *dx[3];             /* of the inputs; NULL: not wanted */
    unsigned char *scratch;
} job;

static job job_of(rk_ctx *ctx, const rk_node *n)
{
    const rk_tensor *state = n->out[1];
    return (job){.ctx = ctx,
                 .n = n,
                 .kern = rk_ctx_kernels(ctx, state->dtype),
                 .rows = n->attr,
                 .width = state->dims[1],
                 .scratch = n->scratch};
}

/* Row t of batch row b of a tensor or gradient (B, T + M, C); of one (B, C), its row b. */
static void *row_at(const job *j, const void *data, int64_t b, int64_t t)
{
    return rk_at(j->n->out[1], data, (b * rk_medium_row_count(j->rows) + t) * j->width);
}
static void *state_at(const job *j, const void *data, int64_t b)
{
    return rk_at(j->n->out[1], data, b * j->width);
}
static size_t row_bytes(const job *j)
{
    return rk_reals(j->n->out[1], j->width);
}
static void add_to(const job *j, const void *x, void *to)
{
    j->kern->axpy(j->width, 1.0, x, to);
}

/* Rows behind the mediums that are there. */
static void clear_rest(const job *j, void *y, int64_t b)
{
    const int64_t end = rk_medium_end(j->rows, b), all = rk_medium_row_count(j->rows);
    memset(row_at(j, y, b, end), 0, (size_t)(all - end) * row_bytes(j));
}

/* The sum that a row was given, at its beginning; an empty one where another sequence begins. */
static void begin_block(const job *j, const rk_medium_block *k, const rk_tensor *given, int64_t b,
                        void *sum)
{
    if (k->first == 0)
        memcpy(sum, state_at(j, given->data, b), row_bytes(j));
    else if (k->slot == 0)
        memset(sum, 0, row_bytes(j));
}

/* Its gradient, from that of the sum before the block, which is then another sequence's. */
static void give_back(const job *j, const rk_medium_block *k, int64_t b, void *dgiven, void *g)
{
    if (k->slot > 0)
        return;
    if (dgiven && k->first == 0)
        add_to(j, g, state_at(j, dgiven, b));
    memset(g, 0, row_bytes(j));
}

/* Every task of a backward has two rows of scratch, for what goes back through the state and for sums. */
static void *spare_row(const job *j, int64_t b, int64_t i)
{
    return rk_at(j->n->out[1], j->scratch, (2 * b + i) * j->width);
}
static void backward_of(rk_ctx *ctx, rk_node *n, rk_range_fn *rows)
{
    job j = job_of(ctx, n);
    j.dy = rk_grad(ctx, n->out[0]);
    j.dstate = rk_grad(ctx, n->out[1]);
    for (int i = 0; i < n->n_in; i++)
        j.dx[i] = n->in[i] ? rk_grad(ctx, n->in[i]) : NULL;
    rk_parallel(ctx, n->out[1]->dims[0], 1, rows, &j);
}

/* The shapes of all three: results (B, T + M, C) and as the state. */
static void shapes(rk_ctx *ctx, rk_node *n, const rk_tensor *state, bool ok, const char *expected)
{
    const rk_medium_rows *rows = n->attr;
    ok = ok && rows->walk && state->dims[0] == rows->walk->dims[0];
    if (!rk_expect_plain(ctx, n) || !rk_expect(ctx, n, ok, expected))
        return;
    n->scratch_bwd_bytes = 2 * rk_tensor_bytes(state);
    n->n_out = 2;
    n->out[0] =
        rk_new(ctx, state->dtype, 3,
               (const int64_t[]){state->dims[0], rk_medium_row_count(rows), state->dims[1]});
    n->out[1] = rk_new_like(ctx, state);
}

static rk_tensor *apply(rk_ctx *ctx, rk_node *n, rk_tensor **state_out)
{
    *state_out = NULL;
    if (!rk_apply(ctx, n))
        return NULL;
    *state_out = n->out[1];
    return n->out[0];
}

/* ---- medium_insert: in x (B,T,C), start (B,C), pool (B,C) ---- */

enum { X, START, POOL };

static void insert_shape(rk_ctx *ctx, rk_node *n)
{
    const rk_medium_rows *rows = n->attr;
    const rk_tensor *x = n->in[X], *start = n->in[START], *pool = n->in[POOL];
    const bool ok = start && pool && x->n_dims == 3 && x->dims[1] == rows->n_tokens &&
                    pool->n_dims == 2 && pool->dims[1] == x->dims[2] &&
                    rk_tensor_same_shape(start, pool);
    shapes(ctx, n, pool, ok, "(B,T,C), (B,C) and (B,C)");
}

static void *token_at(const job *j, const void *data, int64_t b, int64_t t)
{
    return rk_at(j->n->out[1], data, (b * j->rows->n_tokens + t) * j->width);
}

static void insert_rows(void *arg, int64_t lo, int64_t hi, int worker)
{
    const job *j = arg;
    const rk_tensor *x = j->n->in[X], *start = j->n->in[START];
    void *y = j->n->out[0]->data;
    (void)worker;
    for (int64_t b = lo; b < hi; b++) {
        void *pool = state_at(j, j->n->out[1]->data, b);
        memcpy(row_at(j, y, b, 0), token_at(j, x->data, b, 0),
               (size_t)j->rows->n_tokens * row_bytes(j));
        for (int64_t i = 0, n = rk_medium_n_blocks(j->rows, b); i < n; i++) {
            const rk_medium_block k = rk_medium_block_at(j->rows, b, i);
            begin_block(j, &k, j->n->in[POOL], b, pool);
            for (int64_t t = k.first; t < k.end; t++)
                add_to(j, token_at(j, x->data, b, t), pool);
            if (k.medium < 0)
                continue;
            void *m = row_at(j, y, b, j->rows->n_tokens + k.medium);
            memcpy(m, state_at(j, start->data, b), row_bytes(j));
            j->kern->axpy(j->width, 1.0 / (double)k.length, pool, m);
            memset(pool, 0, row_bytes(j));
        }
        clear_rest(j, y, b);
    }
}

static void insert_forward(rk_ctx *ctx, rk_node *n)
{
    job j = job_of(ctx, n);
    rk_parallel(ctx, n->out[1]->dims[0], 1, insert_rows, &j);
}

/* From a medium to its start and to the pool, which it has emptied. */
static void insert_medium_bwd(const job *j, int64_t b, const rk_medium_block *k, void *g)
{
    const void *dm = row_at(j, j->dy, b, j->rows->n_tokens + k->medium);
    if (j->dx[START])
        add_to(j, dm, state_at(j, j->dx[START], b));
    memset(g, 0, row_bytes(j));
    j->kern->axpy(j->width, 1.0 / (double)k->length, dm, g);
}

static void insert_rows_bwd(void *arg, int64_t lo, int64_t hi, int worker)
{
    const job *j = arg;
    (void)worker;
    for (int64_t b = lo; b < hi; b++) {
        void *g = spare_row(j, b, 0);
        memcpy(g, state_at(j, j->dstate, b), row_bytes(j));
        for (int64_t i = rk_medium_n_blocks(j->rows, b); i-- > 0;) {
            const rk_medium_block k = rk_medium_block_at(j->rows, b, i);
            if (k.medium >= 0)
                insert_medium_bwd(j, b, &k, g);
            for (int64_t t = k.first; j->dx[X] && t < k.end; t++) {
                add_to(j, row_at(j, j->dy, b, t), token_at(j, j->dx[X], b, t));
                add_to(j, g, token_at(j, j->dx[X], b, t));
            }
            give_back(j, &k, b, j->dx[POOL], g);
        }
    }
}

static void insert_backward(rk_ctx *ctx, rk_node *n)
{
    backward_of(ctx, n, insert_rows_bwd);
}

const rk_op rk_op_medium_insert = {
    .name = "medium_insert",
    .shape = insert_shape,
    .on[RK_CPU] = {insert_forward, insert_backward},
    .attr_bytes = sizeof(rk_medium_rows),
};

rk_tensor *rk_medium_insert(rk_ctx *ctx, const rk_medium_rows *rows, rk_tensor *x, rk_tensor *start,
                            rk_tensor *pool, rk_tensor **pool_out)
{
    rk_node n = {.op = &rk_op_medium_insert, .n_in = 3, .in = {x, start, pool}, .attr = rows};
    return apply(ctx, &n, pool_out);
}

/* ---- medium_previous: in x (B,T+M,C), shift (B,C) ---- */

enum { SHIFT = 1 };

static void previous_shape(rk_ctx *ctx, rk_node *n)
{
    const rk_medium_rows *rows = n->attr;
    const rk_tensor *x = n->in[X], *shift = n->in[SHIFT];
    const bool ok =
        shift && rk_medium_fits(rows, x) && shift->n_dims == 2 && shift->dims[1] == x->dims[2];
    shapes(ctx, n, shift, ok, "(B,T+M,C) and (B,C)");
}

static void previous_rows(void *arg, int64_t lo, int64_t hi, int worker)
{
    const job *j = arg;
    const void *x = j->n->in[X]->data;
    void *y = j->n->out[0]->data;
    (void)worker;
    for (int64_t b = lo; b < hi; b++) {
        for (int64_t i = 0, n = rk_medium_n_blocks(j->rows, b); i < n; i++) {
            const rk_medium_block k = rk_medium_block_at(j->rows, b, i);
            memcpy(row_at(j, y, b, k.first),
                   k.slot ? row_at(j, x, b, k.first - 1) : state_at(j, j->n->in[SHIFT]->data, b),
                   row_bytes(j));
            memcpy(row_at(j, y, b, k.first + 1), row_at(j, x, b, k.first),
                   (size_t)(k.end - k.first - 1) * row_bytes(j));
            if (k.medium >= 0)
                memcpy(row_at(j, y, b, j->rows->n_tokens + k.medium), row_at(j, x, b, k.end - 1),
                       row_bytes(j));
        }
        clear_rest(j, y, b);
        memcpy(state_at(j, j->n->out[1]->data, b), row_at(j, x, b, j->rows->n_tokens - 1),
               row_bytes(j));
    }
}

static void previous_forward(rk_ctx *ctx, rk_node *n)
{
    job j = job_of(ctx, n);
    rk_parallel(ctx, n->out[1]->dims[0], 1, previous_rows, &j);
}

static void previous_block_bwd(const job *j, int64_t b, const rk_medium_block *k)
{
    const void *first = row_at(j, j->dy, b, k->first);
    if (k->slot == 0 && j->dx[SHIFT])
        add_to(j, first, state_at(j, j->dx[SHIFT], b));
    if (!j->dx[X])
        return;
    if (k->slot > 0)
        add_to(j, first, row_at(j, j->dx[X], b, k->first - 1));
    for (int64_t t = k->first; t + 1 < k->end; t++)
        add_to(j, row_at(j, j->dy, b, t + 1), row_at(j, j->dx[X], b, t));
    if (k->medium >= 0)
        add_to(j, row_at(j, j->dy, b, j->rows->n_tokens + k->medium),
               row_at(j, j->dx[X], b, k->end - 1));
}

static void previous_rows_bwd(void *arg, int64_t lo, int64_t hi, int worker)
{
    const job *j = arg;
    (void)worker;
    for (int64_t b = lo; b < hi; b++) {
        if (j->dx[X])
            add_to(j, state_at(j, j->dstate, b), row_at(j, j->dx[X], b, j->rows->n_tokens - 1));
        for (int64_t i = 0, n = rk_medium_n_blocks(j->rows, b); i < n; i++) {
            const rk_medium_block k = rk_medium_block_at(j->rows, b, i);
            previous_block_bwd(j, b, &k);
        }
    }
}

static void previous_backward(rk_ctx *ctx, rk_node *n)
{
    backward_of(ctx, n, previous_rows_bwd);
}

const rk_op rk_op_medium_previous = {
    .name = "medium_previous",
    .shape = previous_shape,
    .on[RK_CPU] = {previous_forward, previous_backward},
    .attr_bytes = sizeof(rk_medium_rows),
};

rk_tensor *rk_medium_previous(rk_ctx *ctx, const rk_medium_rows *rows, rk_tensor *x,
                              rk_tensor *shift, rk_tensor **shift_out)
{
    rk_node n = {.op = &rk_op_medium_previous, .n_in = 2, .in = {x, shift}, .attr = rows};
    return apply(ctx, &n, shift_out);
}

/* ---- medium_mean: in sum (B,C), e (B,M,C) or NULL ---- */

enum { SUM, E };

static void mean_shape(rk_ctx *ctx, rk_node *n)
{
    const rk_medium_rows *rows = n->attr;
    const rk_tensor *e = n->in[E], *sum = n->in[SUM];
    const bool ok =
        sum->n_dims == 2 && (e ? e->n_dims == 3 && e->dims[0] == sum->dims[0] &&
                                     e->dims[1] == rows->n_mediums && e->dims[2] == sum->dims[1]
                               : rows->n_mediums == 0);
    shapes(ctx, n, sum, ok, "(B,C) and (B,M,C)");
}

static void *medium_at(const job *j, const void *data, int64_t b, int64_t medium)
{
    return rk_at(j->n->out[1], data, (b * j->rows->n_mediums + medium) * j->width);
}

/* The mean into the rows of a block and into that of its medium. */
static void put_mean(const job *j, int64_t b, const rk_medium_block *k, const void *sum)
{
    void *y = j->n->out[0]->data, *first = row_at(j, y, b, k->first);
    memset(first, 0, row_bytes(j));
    if (k->known)
        j->kern->axpy(j->width, 1.0 / (double)k->known, sum, first);
    for (int64_t t = k->first + 1; t < k->end; t++)
        memcpy(row_at(j, y, b, t), first, row_bytes(j));
    if (k->medium >= 0)
        memcpy(row_at(j, y, b, j->rows->n_tokens + k->medium), first, row_bytes(j));
}

static void mean_rows(void *arg, int64_t lo, int64_t hi, int worker)
{
    const job *j = arg;
    (void)worker;
    for (int64_t b = lo; b < hi; b++) {
        void *sum = state_at(j, j->n->out[1]->data, b);
        for (int64_t i = 0, n = rk_medium_n_blocks(j->rows, b); i < n; i++) {
            const rk_medium_block k = rk_medium_block_at(j->rows, b, i);
            begin_block(j, &k, j->n->in[SUM], b, sum);
            put_mean(j, b, &k, sum);
            if (k.medium >= 0)
                add_to(j, medium_at(j, j->n->in[E]->data, b, k.medium), sum);
        }
        clear_rest(j, j->n->out[0]->data, b);
    }
}

static void mean_forward(rk_ctx *ctx, rk_node *n)
{
    job j = job_of(ctx, n);
    rk_parallel(ctx, n->out[1]->dims[0], 1, mean_rows, &j);
}

/* What the rows of a block and its medium say of the sum before it. */
static void mean_block_bwd(const job *j, int64_t b, const rk_medium_block *k, void *g, void *sum)
{
    if (k->known == 0)
        return;
    memset(sum, 0, row_bytes(j));
    for (int64_t t = k->first; t < k->end; t++)
        add_to(j, row_at(j, j->dy, b, t), sum);
    if (k->medium >= 0)
        add_to(j, row_at(j, j->dy, b, j->rows->n_tokens + k->medium), sum);
    j->kern->axpy(j->width, 1.0 / (double)k->known, sum, g);
}

static void mean_rows_bwd(void *arg, int64_t lo, int64_t hi, int worker)
{
    const job *j = arg;
    (void)worker;
    for (int64_t b = lo; b < hi; b++) {
        void *g = spare_row(j, b, 0);
        memcpy(g, state_at(j, j->dstate, b), row_bytes(j));
        for (int64_t i = rk_medium_n_blocks(j->rows, b); i-- > 0;) {
            const rk_medium_block k = rk_medium_block_at(j->rows, b, i);
            if (k.medium >= 0 && j->dx[E])
                add_to(j, g, medium_at(j, j->dx[E], b, k.medium));
            mean_block_bwd(j, b, &k, g, spare_row(j, b, 1));
            give_back(j, &k, b, j->dx[SUM], g);
        }
    }
}

static void mean_backward(rk_ctx *ctx, rk_node *n)
{
    backward_of(ctx, n, mean_rows_bwd);
}

const rk_op rk_op_medium_mean = {
    .name = "medium_mean",
    .shape = mean_shape,
    .on[RK_CPU] = {mean_forward, mean_backward},
    .attr_bytes = sizeof(rk_medium_rows),
};

rk_tensor *rk_medium_mean(rk_ctx *ctx, const rk_medium_rows *rows, rk_tensor *e, rk_tensor *sum,
                          rk_tensor **sum_out)
{
    rk_node n = {.op = &rk_op_medium_mean, .n_in = 2, .in = {sum, e}, .attr = rows};
    return apply(ctx, &n, sum_out);
}
