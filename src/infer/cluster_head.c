/* cluster_head.c: clusters are scored as any product, chosen row by row, and each chosen cluster of a row is a
 * task. The rows of the whole head are read where they lie, one dot product each, which has the bits that
 * the whole product has for a few rows; or they come through a cache, some thousand at a time. */
#include "infer/cluster_head.h"

#include "model/clusters.h"
#include "model/lm.h"
#include "model/residence.h"

enum { AT_ONCE = 2048, GRAIN = 64 }; /* rows that a cache is asked for; of a task */

typedef struct job {
    const rk_clusters *c;
    const rk_kernels *kern;
    const rk_tensor *x, *w; /* (n, C); (V, C) */
    const float *scores;    /* (n, K) */
    double *log_q;          /* (n, K) */
    int32_t *order;         /* (n, K) */
    int32_t *n_chosen;      /* (n) */
    float *y;               /* (n, V) */
    int64_t most;           /* chosen clusters of a row at most */
} job;

bool rk_cluster_head_is_there(const rk_model *m)
{
    return m->clusters && !rk_dtype_is_blocks(m->head->matrix->dtype) &&
           rk_tensor_is_contiguous(m->head->matrix);
}

static void choose(void *arg, int64_t lo, int64_t hi, int worker)
{
    const job *j = arg;
    const int64_t n = j->c->n;
    (void)worker;
    for (int64_t r = lo; r < hi; r++)
        j->n_chosen[r] = (int32_t)rk_clusters_choose(j->c, j->scores + r * n, j->log_q + r * n,
                                                     j->order + r * n);
}

static void score(void *arg, int64_t lo, int64_t hi, int worker)
{
    const job *j = arg;
    const rk_clusters *c = j->c;
    const int64_t width = rk_tensor_cols(j->x);
    const size_t row_bytes = (size_t)width * rk_dtype_bytes(j->w->dtype);
    (void)worker;
    for (int64_t i = lo; i < hi; i++) {
        const int64_t r = i / j->most, at = i % j->most;
        if (at >= j->n_chosen[r])
            continue;
        const int32_t cluster = j->order[r * c->n + at];
        for (int32_t t = c->begin[cluster]; t < c->begin[cluster + 1]; t++) {
            const int64_t token = c->tokens[t];
            j->kern->gemv_dot(1, 1, width, (const float *)j->x->data + r * width, width,
                              (const char *)j->w->data + (size_t)token * row_bytes, j->w->dtype,
                              width, j->y + r * c->n_vocab + token, 1, false);
        }
    }
}

/* ---- through a cache ---- */

/* Tokens of one row's chosen clusters. */
typedef struct listed {
    const job *j;
    rk_row_cache *cache;
    int64_t r, n;
    int32_t *tokens;   /* (AT_ONCE) */
    const void **rows; /* of tokens[from], and on */
    int64_t from;
} listed;

static void score_listed(void *arg, int64_t lo, int64_t hi, int worker)
{
    const listed *l = arg;
    const job *j = l->j;
    const int64_t width = rk_tensor_cols(j->x);
    (void)worker;
    for (int64_t i = lo; i < hi; i++)
        j->kern->gemv_dot(1, 1, width, (const float *)j->x->data + l->r * width, width, l->rows[i],
                          j->w->dtype, width, j->y + l->r * j->c->n_vocab + l->tokens[l->from + i],
                          1, false);
}

/* Score what is listed, in pieces of what the cache holds at once. */
static void flush_list(rk_ctx *ctx, listed *l)
{
    rk_error err = {0};
    rk_status st = RK_OK;
    int64_t found = 0;
    for (l->from = 0; l->from < l->n && !rk_ctx_failed(ctx); l->from += found) {
        st = rk_row_cache_fetch(l->cache, ctx->pool, l->tokens + l->from, l->n - l->from, l->rows,
                                &found, &err);
        if (st != RK_OK)
            rk_ctx_fail(ctx, st, "%s", err.msg);
        else
            rk_parallel(ctx, found, GRAIN, score_listed, l);
    }
    l->n = 0;
}

static void score_row(rk_ctx *ctx, listed *l)
{
    const job *j = l->j;
    const rk_clusters *c = j->c;
    for (int64_t at = 0; at < j->n_chosen[l->r]; at++) {
        const int32_t cluster = j->order[l->r * c->n + at];
        for (int32_t t = c->begin[cluster]; t < c->begin[cluster + 1]; t++) {
            l->tokens[l->n++] = c->tokens[t];
            if (l->n == AT_ONCE)
                flush_list(ctx, l);
        }
    }
    flush_list(ctx, l);
}

static void score_through(rk_ctx *ctx, const job *j, int64_t n, rk_row_cache *cache)
{
    listed l = {.j = j, .cache = cache};
    l.tokens = rk_arena_alloc(&ctx->meta, AT_ONCE * sizeof *l.tokens);
    l.rows = rk_arena_alloc(&ctx->meta, AT_ONCE * sizeof *l.rows);
    if (!l.tokens || !l.rows) {
        rk_ctx_fail(ctx, RK_ERR_NOMEM, "out of memory for the tokens of clusters");
        return;
    }
    rk_row_cache_lock(cache);
    for (l.r = 0; l.r < n && !rk_ctx_failed(ctx); l.r++)
        score_row(ctx, &l);
    rk_row_cache_unlock(cache);
}

static void spread(void *arg, int64_t lo, int64_t hi, int worker)
{
    const job *j = arg;
    const int64_t n = j->c->n;
    (void)worker;
    for (int64_t r = lo; r < hi; r++)
        rk_clusters_spread(j->c, j->log_q + r * n, j->order + r * n, j->n_chosen[r],
                           j->y + r * j->c->n_vocab);
}

void rk_cluster_head(rk_ctx *ctx, const rk_model *m, rk_tensor *rows, float *y)
{
    const rk_lm_top *top = m->top;
    const rk_clusters *c = m->clusters;
    if (rk_weight_is_adapted(ctx, m->head)) /* which needs all its rows */
        rk_ctx_fail(ctx, RK_ERR_UNSUPPORTED,
                    "an adapter of the head is not computed beside a hierarchical head");
    if (rk_ctx_failed(ctx))
        return;
    const int64_t n = rk_tensor_rows(rows), each[2] = {n, c->n};
    rk_tensor *scores = rk_linear(ctx, rows, rk_weight_of(top->head_l1, RK_OUT_IN), NULL);
    scores = rk_add(ctx, scores, top->head_l1_bias);
    rk_tensor *log_q = rk_new(ctx, RK_F64, 2, each), *order = rk_new(ctx, RK_I32, 2, each);
    rk_tensor *n_chosen = rk_new(ctx, RK_I32, 1, each);
    if (rk_ctx_failed(ctx) || ctx->planning)
        return;
    job j = {.c = c,
             .kern = ctx->kernels,
             .x = rows,
             .w = m->head->matrix,
             .scores = scores->data,
             .log_q = log_q->data,
             .order = order->data,
             .n_chosen = n_chosen->data,
             .y = y,
             .most = c->max < c->n ? c->max : c->n};
    rk_parallel(ctx, n, 1, choose, &j);
    rk_row_cache *cache = m->residence ? m->residence->head : NULL;
    if (cache)
        score_through(ctx, &j, n, cache);
    else
        rk_parallel(ctx, n * j.most, 1, score, &j);
    rk_parallel(ctx, n, 1, spread, &j);
}
