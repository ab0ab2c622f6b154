/* cluster_head.c: clusters are scored as any product, chosen row by row, and each chosen cluster of a row is a
 * task. The rows of the whole head are read where they lie, one dot product each, which has the bits that
 * the whole product has for a few rows. */
#include "infer/cluster_head.h"

#include "model/clusters.h"
#include "model/lm.h"

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

static void spread(void *arg, int64_t lo, int64_t hi, int worker)
{
    const job *j = arg;
    const int64_t n = j->c->n;
    (void)worker;
    for (int64_t r = lo; r < hi; r++)
        rk_clusters_spread(j->c, j->log_q + r * n, j->order + r * n, j->n_chosen[r],
                           j->y + r * j->c->n_vocab);
}

/* An adapter of the head would need all its rows. */
static bool is_adapted(const rk_ctx *ctx, const rk_weight *head)
{
    const struct rk_adapting *s = ctx->adapting;
    for (int i = 0; s && head->adapted_as > 0 && i < s->n; i++)
        if (s->rows[i].of[head->adapted_as])
            return true;
    return false;
}

void rk_cluster_head(rk_ctx *ctx, const rk_model *m, rk_tensor *rows, float *y)
{
    const rk_lm_top *top = m->top;
    const rk_clusters *c = m->clusters;
    if (is_adapted(ctx, m->head))
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
    rk_parallel(ctx, n * j.most, 1, score, &j);
    rk_parallel(ctx, n, 1, spread, &j);
}
