/* op_sparse_mix.c: the sparse channel mix of sparse_mix.h.
 *
 * In the short class each row has a list of its neurons. The records of all lists are asked for at once, and
 * each is read for all rows that need it before the next: dot products by pieces of neurons, then sums by
 * pieces of outputs, each of which is one chain over the neurons in order. In the long class nearly every
 * record is active for some row: all stream by in blocks through packed products, and what a row did not
 * choose is made zero between the two.
 *
 * The operation has no gradient, so it is no row of op_list.h: training takes whole matrices. */
#include "tensor/sparse_mix.h"

#include <math.h>
#include <string.h>

#include "base/num.h"
#include "tensor/factor.h"

enum {
    OUTPUTS_HIDDEN = 16, /* of M1, of a task */
    OUTPUTS_MLP = 64,    /* of M2 */
    NEURONS_GUESS = 128, /* of z~ */
    NEURONS = 256,       /* whose records a task reads before the next row's */
    COLUMNS = 32,        /* a piece of outputs is a multiple of these */
    BLOCK = 512          /* neurons of a packed product */
};

typedef struct job {
    rk_ctx *ctx;
    const rk_kernels *kern;
    const rk_sparse_mix *m;
    int64_t rows, f, c, h; /* h: 0 without A */
    int64_t columns;       /* of a piece */
    const float *x;        /* (rows, C) */
    const float *factor;   /* (rows, F); NULL: none */
    float *y;              /* (rows, C) */
    float *hidden;         /* (rows, h) */
    float *guess, *mlp;    /* (rows, F): z~; M2 relu(M1 x), then z^2 of the list's neurons */
    int32_t *list;         /* (rows, F) */
    int32_t *n_list;       /* (rows) */
    int32_t *any;          /* (F): the neurons of all lists */
    const void **at;       /* (F): records */
    const void **found;    /* (F): those of a fetch, */
    int64_t lo, hi;        /* which are of the neurons from lo to hi */
    float *block;          /* (rows, BLOCK) */
    void *gemm;
} job;

/* ---- predictors ---- */

int64_t rk_sparse_mix_kept(const rk_sparse_mix *m)
{
    const int64_t f = m->records->dims[0];
    const double p = (double)((const float *)m->limits->data)[1];
    return rk_min_i64((int64_t)llround((1 - p) * (double)f), f);
}

void rk_sparse_mix_guess(const rk_kernels *kern, const rk_sparse_mix *m, const float *x, int64_t lo,
                         int64_t n, float *z)
{
    const int64_t bits = m->planes->dims[0], f = m->planes->dims[1], row = m->planes->dims[2];
    const int64_t c = m->records->dims[2];
    const float *scale = m->plane_scale->data, *offset = m->plane_offset->data;
    const float all = (float)kern->sum(c, x);
    float part[NEURONS_GUESS];
    for (int64_t i = 0; i < n; i++)
        z[i] = offset[lo + i] * all;
    for (int64_t b = 0; b < bits; b++)
        for (int64_t i = 0; i < n; i += NEURONS_GUESS) {
            const int64_t some = rk_min_i64(n - i, NEURONS_GUESS);
            const int64_t first = b * f + lo + i;
            kern->sum_where(some, c, x, (const uint8_t *)m->planes->data + first * row, row, part);
            for (int64_t k = 0; k < some; k++)
                z[i + k] += scale[first + k] * (2 * part[k] - all);
        }
}

/* Integers in the order of floats. */
static uint32_t key_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits >> 31 ? ~bits : bits | 0x80000000u;
}

/* The key of the n-th largest, 1 <= n <= f, digit by digit; *ties: how many of those that are equal to it are
 * among the n. */
static uint32_t nth_key(int64_t f, const float *z, int64_t n, int64_t *ties)
{
    enum { DIGIT = 8, VALUES = 1 << DIGIT };
    uint32_t key = 0, known = 0;
    for (int shift = 32 - DIGIT; shift >= 0; shift -= DIGIT) {
        int64_t count[VALUES] = {0};
        int digit = VALUES - 1;
        for (int64_t i = 0; i < f; i++) {
            const uint32_t k = key_of(z[i]);
            if ((k & known) == key)
                count[k >> shift & (VALUES - 1)]++;
        }
        for (; count[digit] < n; digit--)
            n -= count[digit];
        key |= (uint32_t)digit << shift;
        known |= (uint32_t)(VALUES - 1) << shift;
    }
    *ties = n;
    return key;
}

/* sigmoid(s) > theta where s is above this. */
static float mlp_limit(const rk_sparse_mix *m)
{
    const double theta = (double)((const float *)m->limits->data)[0];
    return (float)(log(theta) - log1p(-theta));
}

int64_t rk_sparse_mix_select(const rk_sparse_mix *m, const float *guess, const float *mlp,
                             int32_t *list)
{
    const int64_t f = m->records->dims[0], kept = guess ? rk_sparse_mix_kept(m) : 0;
    const float limit = mlp_limit(m);
    int64_t n = 0, ties = 0;
    const uint32_t least = kept > 0 ? nth_key(f, guess, kept, &ties) : 0;
    for (int64_t i = 0; i < f; i++) {
        bool active = !guess && !mlp;
        if (kept > 0) {
            const uint32_t key = key_of(guess[i]);
            active = key > least || (key == least && ties-- > 0);
        }
        if (active || (mlp && mlp[i] > limit))
            list[n++] = (int32_t)i;
    }
    return n;
}

static int64_t hidden_tasks(const job *j)
{
    return rk_ceil_div(j->h, OUTPUTS_HIDDEN);
}

static void hidden_piece(const job *j, int64_t i)
{
    const rk_tensor *w = j->m->fc1;
    const int64_t lo = i * OUTPUTS_HIDDEN, n = rk_min_i64(j->h - lo, OUTPUTS_HIDDEN);
    j->kern->gemv_dot(j->rows, n, j->c, j->x, j->c, rk_at(w, w->data, lo * j->c), w->dtype, j->c,
                      j->hidden + lo, j->h, false);
    for (int64_t r = 0; r < j->rows; r++)
        for (int64_t k = lo; k < lo + n; k++)
            j->hidden[r * j->h + k] = fmaxf(j->hidden[r * j->h + k], 0);
}

/* What depends on x alone: the hidden layer of A, and z~. */
static void first_layer(void *arg, int64_t lo, int64_t hi, int worker)
{
    const job *j = arg;
    const int64_t n_hidden = hidden_tasks(j), pieces = rk_ceil_div(j->f, NEURONS_GUESS);
    (void)worker;
    for (int64_t i = lo; i < hi; i++) {
        if (i < n_hidden) {
            hidden_piece(j, i);
            continue;
        }
        const int64_t r = (i - n_hidden) / pieces, first = (i - n_hidden) % pieces * NEURONS_GUESS;
        rk_sparse_mix_guess(j->kern, j->m, j->x + r * j->c, first,
                            rk_min_i64(j->f - first, NEURONS_GUESS), j->guess + r * j->f + first);
    }
}

static void second_layer(void *arg, int64_t lo, int64_t hi, int worker)
{
    const job *j = arg;
    const rk_tensor *w = j->m->fc2;
    (void)worker;
    j->kern->gemv_dot(j->rows, hi - lo, j->h, j->hidden, j->h, rk_at(w, w->data, lo * j->h),
                      w->dtype, j->h, j->mlp + lo, j->f, false);
}

static void select_rows(void *arg, int64_t lo, int64_t hi, int worker)
{
    const job *j = arg;
    (void)worker;
    for (int64_t r = lo; r < hi; r++)
        j->n_list[r] =
            (int32_t)rk_sparse_mix_select(j->m, j->m->planes ? j->guess + r * j->f : NULL,
                                          j->m->fc1 ? j->mlp + r * j->f : NULL, j->list + r * j->f);
}

static void predict(job *j)
{
    const int64_t pieces = j->m->planes ? rk_ceil_div(j->f, NEURONS_GUESS) : 0;
    rk_parallel(j->ctx, hidden_tasks(j) + j->rows * pieces, 1, first_layer, j);
    if (j->m->fc1)
        rk_parallel(j->ctx, j->f, OUTPUTS_MLP, second_layer, j);
    rk_parallel(j->ctx, j->rows, 1, select_rows, j);
}

/* ---- short class: lists ---- */

/* The first place of a row's list whose neuron is at least f. */
static int64_t place_of(const job *j, int64_t r, int64_t f)
{
    const int32_t *list = j->list + r * j->f;
    int64_t lo = 0, hi = j->n_list[r];
    while (lo < hi) {
        const int64_t mid = lo + (hi - lo) / 2;
        if (list[mid] < f)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static int64_t unite(const job *j)
{
    int64_t n = 0;
    memset(j->any, 0, (size_t)j->f * sizeof *j->any);
    for (int64_t r = 0; r < j->rows; r++)
        for (int64_t i = 0; i < j->n_list[r]; i++)
            j->any[j->list[r * j->f + i]] = 1;
    for (int64_t f = 0; f < j->f; f++)
        if (j->any[f])
            j->any[n++] = (int32_t)f;
    return n;
}

/* z^2 of the neurons of a piece for all rows, in the place of A's scores. */
static void read_keys(void *arg, int64_t lo, int64_t hi, int worker)
{
    const job *j = arg;
    const rk_dtype type = j->m->records->dtype;
    (void)worker;
    for (int64_t r = 0; r < j->rows; r++) {
        const int64_t first = place_of(j, r, j->lo + lo), n = place_of(j, r, j->lo + hi) - first;
        const void *rows[NEURONS];
        float *z = j->mlp + r * j->f + first;
        for (int64_t i = 0; i < n; i++)
            rows[i] = j->at[j->list[r * j->f + first + i]];
        j->kern->gather_dot(n, j->c, j->x + r * j->c, rows, type, z);
        for (int64_t i = 0; i < n; i++)
            z[i] = z[i] <= 0 ? 0 : z[i] * z[i]; /* NaN passes */
        for (int64_t i = 0; i < n && j->factor; i++)
            z[i] *= j->factor[r * j->f + j->list[r * j->f + first + i]];
    }
}

/* Add columns [lo, hi) of the values of a row's neurons below `end`, from place *at on. */
static void add_values(const job *j, int64_t r, int64_t *at, int64_t end, int64_t lo, int64_t hi)
{
    const rk_tensor *t = j->m->records;
    const int32_t *list = j->list + r * j->f;
    const void *rows[NEURONS];
    float scale[NEURONS];
    int64_t n = 0;
    for (; *at < j->n_list[r] && list[*at] < end; (*at)++) {
        const float z = j->mlp[r * j->f + *at];
        if (z == 0)
            continue;
        scale[n] = z;
        rows[n++] = rk_at(t, j->at[list[*at]], j->c + lo);
    }
    j->kern->gather_axpy(n, hi - lo, scale, rows, t->dtype, j->y + r * j->c + lo);
}

enum { ROWS_AT_ONCE = 64 }; /* whose places are kept */

static void read_values(void *arg, int64_t lo, int64_t hi, int worker)
{
    const job *j = arg;
    (void)worker;
    for (int64_t r0 = 0; r0 < j->rows; r0 += ROWS_AT_ONCE) {
        int64_t at[ROWS_AT_ONCE];
        const int64_t n = rk_min_i64(j->rows - r0, ROWS_AT_ONCE);
        for (int64_t r = 0; r < n; r++) {
            at[r] = place_of(j, r0 + r, j->lo);
            if (j->lo == 0)
                memset(j->y + (r0 + r) * j->c + lo, 0, (size_t)(hi - lo) * sizeof *j->y);
        }
        for (int64_t f = j->lo; f < j->hi; f += NEURONS)
            for (int64_t r = 0; r < n; r++)
                add_values(j, r0 + r, &at[r], rk_min_i64(f + NEURONS, j->hi), lo, hi);
    }
}

/* The records of neurons list[0 .. n), as many as can be had at once; returns how many. */
static int64_t fetch_some(job *j, const int32_t *list, int64_t n)
{
    rk_error err = {0};
    int64_t found = 0;
    const rk_status st = rk_records_fetch(j->m, j->ctx->pool, list, n, j->found, &found, &err);
    if (st != RK_OK)
        rk_ctx_fail(j->ctx, st, "%s", err.msg);
    for (int64_t i = 0; i < found && st == RK_OK; i++)
        j->at[list[i]] = j->found[i];
    return found;
}

/* In pieces of the records that a cache holds at once; the chains go on from piece to piece. */
static void by_lists(job *j)
{
    const int64_t n = unite(j);
    int64_t done = 0;
    rk_records_begin(j->m);
    do {
        done += fetch_some(j, j->any + done, n - done);
        if (rk_ctx_failed(j->ctx))
            break;
        j->lo = j->hi;
        j->hi = done < n ? j->any[done] : j->f;
        rk_parallel(j->ctx, j->hi - j->lo, NEURONS, read_keys, j);
        rk_parallel(j->ctx, j->c, j->columns, read_values, j);
    } while (done < n && !rk_ctx_failed(j->ctx));
    rk_records_end(j->m);
}

/* ---- long class: all records, masked ---- */

/* 1 in the place of z~ where a neuron is active. */
static void mark_rows(void *arg, int64_t lo, int64_t hi, int worker)
{
    const job *j = arg;
    (void)worker;
    for (int64_t r = lo; r < hi; r++) {
        memset(j->guess + r * j->f, 0, (size_t)j->f * sizeof *j->guess);
        for (int64_t i = 0; i < j->n_list[r]; i++)
            j->guess[r * j->f + j->list[r * j->f + i]] = 1;
    }
}

typedef struct block_job {
    const job *j;
    int64_t first, n;
} block_job;

static void mask_rows(void *arg, int64_t lo, int64_t hi, int worker)
{
    const block_job *b = arg;
    const job *j = b->j;
    (void)worker;
    for (int64_t r = lo; r < hi; r++) {
        float *z = j->block + r * b->n;
        j->kern->unary(RK_RELU2, b->n, z, z);
        for (int64_t i = 0; i < b->n; i++)
            z[i] = j->guess[r * j->f + b->first + i] != 0 ? z[i] : 0;
        if (j->factor)
            j->kern->mul(b->n, z, j->factor + r * j->f + b->first, z);
    }
}

static void by_blocks(job *j)
{
    const rk_dtype type = j->m->records->dtype;
    rk_parallel(j->ctx, j->rows, 1, mark_rows, j);
    for (int64_t lo = 0; lo < j->f && !rk_ctx_failed(j->ctx); lo += BLOCK) {
        block_job b = {j, lo, rk_min_i64(j->f - lo, BLOCK)};
        const void *key = rk_records_range(j->m, lo, b.n);
        const void *value = rk_at(j->m->records, key, j->c);
        rk_gemm_on(j->ctx, RK_F32, j->gemm, (rk_gemm_shape){j->rows, b.n, j->c},
                   (rk_matrix){j->x, RK_F32, j->c, 1}, (rk_matrix){key, type, 1, 2 * j->c},
                   j->block, b.n, false);
        rk_parallel(j->ctx, j->rows, RK_GRAIN_ROWS, mask_rows, &b);
        rk_gemm_on(j->ctx, RK_F32, j->gemm, (rk_gemm_shape){j->rows, j->c, b.n},
                   (rk_matrix){j->block, RK_F32, b.n, 1}, (rk_matrix){value, type, 2 * j->c, 1},
                   j->y, j->c, lo > 0);
        rk_records_used(j->m, lo, b.n);
    }
}

/* ---- the operation ---- */

/* Gives out scratch; with base NULL it only counts. */
typedef struct room {
    char *base;
    size_t used;
} room;

static void *take(room *r, int64_t n, size_t size)
{
    void *at = r->base ? r->base + r->used : NULL;
    r->used += rk_align_up((size_t)n * size, RK_ARENA_ALIGN);
    return at;
}

static size_t gemm_bytes(const rk_ctx *ctx, const job *j)
{
    const int64_t n = rk_min_i64(j->f, BLOCK);
    const size_t a = rk_gemm_scratch_on(ctx, RK_F32, (rk_gemm_shape){j->rows, n, j->c});
    const size_t b = rk_gemm_scratch_on(ctx, RK_F32, (rk_gemm_shape){j->rows, j->c, n});
    return a > b ? a : b;
}

static job job_of(rk_ctx *ctx, const rk_node *n, room *r)
{
    const rk_sparse_mix *m = n->attr;
    const rk_tensor *x = n->in[0];
    job j = {.ctx = ctx,
             .kern = ctx->kernels,
             .m = m,
             .rows = rk_tensor_rows(x),
             .f = m->records->dims[0],
             .c = m->records->dims[2],
             .h = m->fc1 ? m->fc1->dims[0] : 0,
             .x = x->data,
             .factor = n->in[1] ? n->in[1]->data : NULL,
             .y = n->out[0] ? n->out[0]->data : NULL};
    /* Pieces of outputs change no bit: an output is a chain of its own. */
    j.columns = rk_ceil_div(rk_ceil_div(j.c, rk_pool_n_threads(ctx->pool)), COLUMNS) * COLUMNS;
    j.hidden = take(r, j.rows * j.h, sizeof *j.hidden);
    j.guess = take(r, j.rows * j.f, sizeof *j.guess);
    j.mlp = take(r, j.rows * j.f, sizeof *j.mlp);
    j.list = take(r, j.rows * j.f, sizeof *j.list);
    j.n_list = take(r, j.rows, sizeof *j.n_list);
    if (ctx->long_class) {
        j.block = take(r, j.rows * BLOCK, sizeof *j.block);
        j.gemm = take(r, (int64_t)gemm_bytes(ctx, &j), 1);
    } else {
        j.any = take(r, j.f, sizeof *j.any);
        j.at = take(r, j.f, sizeof *j.at);
        j.found = take(r, j.f, sizeof *j.found);
    }
    return j;
}

static void sparse_mix_shape(rk_ctx *ctx, rk_node *n)
{
    const rk_sparse_mix *m = n->attr;
    const rk_tensor *x = n->in[0];
    room r = {0};
    n->n_out = 1;
    if (!rk_expect(ctx, n,
                   x->dtype == RK_F32 && rk_tensor_is_contiguous(x) &&
                       rk_tensor_cols(x) == m->records->dims[2],
                   "contiguous f32 with the records' inputs in the last dimension"))
        return;
    const rk_tensor *factor = n->in[1];
    if (factor && !rk_expect(ctx, n,
                             factor->dtype == RK_F32 && rk_tensor_is_contiguous(factor) &&
                                 rk_tensor_cols(factor) == m->records->dims[0] &&
                                 rk_tensor_rows(factor) == rk_tensor_rows(x),
                             "factors in contiguous f32, one for each neuron of each row"))
        return;
    n->out[0] = rk_new_like(ctx, x);
    job_of(ctx, n, &r);
    n->scratch_bytes = r.used;
}

static void sparse_mix_run(rk_ctx *ctx, rk_node *n)
{
    room r = {.base = n->scratch};
    job j = job_of(ctx, n, &r);
    predict(&j);
    if (rk_ctx_failed(ctx))
        return;
    if (ctx->long_class)
        by_blocks(&j);
    else
        by_lists(&j);
}

static const rk_op op_sparse_mix = {
    .name = "sparse channel mix",
    .shape = sparse_mix_shape,
    .on[RK_CPU] = {sparse_mix_run, NULL},
};

rk_tensor *rk_sparse_mix_forward(rk_ctx *ctx, const rk_sparse_mix *m, rk_tensor *x,
                                 rk_tensor *factor)
{
    if (ctx->recording && x && x->requires_grad)
        rk_ctx_fail(ctx, RK_ERR_UNSUPPORTED,
                    "a channel mix of records has no gradient: expected a model with whole "
                    "matrices, which `rwkv compress dense` makes");
    rk_node n = {.op = &op_sparse_mix, .n_in = factor ? 2 : 1, .in = {x, factor}, .attr = m};
    return rk_apply1(ctx, &n);
}
