/* cluster_head.c: clusters are scored as any product and chosen row by row. The head's rows lie cluster by cluster,
 * so that each chosen cluster is a small product over rows that follow each other. These are cut into pieces,
 * which are computed together, or cluster by cluster where the head does not stay in memory: the pages of each are
 * given back before those of the next come. */
#include "infer/cluster_head.h"

#include "base/num.h"
#include "kernels/ranges.h"
#include "model/clusters.h"
#include "model/lm.h"
#include "model/residence.h"
#include "tensor/op.h"

enum { PIECE = 64, PIECES = 256 }; /* rows of a piece, pieces of a list at most */

/* Rows [lo, lo + n) of the head for row r of the inputs. */
typedef struct piece {
    int64_t r, lo, n;
} piece;

typedef struct job {
    rk_ctx *ctx;
    const rk_model *m;
    const rk_clusters *c;
    const rk_tensor *x, *w; /* (n, C); (V, C), cluster by cluster */
    rk_x29 *scaled;         /* of a head of bytes with ranges: what they take in the place of x, */
    rk_ranged_sums *sums;   /* (n), and its sums; else NULL */
    const float *scores;    /* (n, K) */
    double *log_q;          /* (n, K) */
    int32_t *order;         /* (n, K) */
    int32_t *n_chosen;      /* (n) */
    float *y;               /* (n, V) */
    piece *pieces;          /* (PIECES) */
    int64_t n_pieces, n_listed; /* rows in all of them, */
    int64_t most;               /* at most */
} job;

static void choose(void *arg, int64_t lo, int64_t hi, int worker)
{
    const job *j = arg;
    const int64_t n = j->c->n;
    (void)worker;
    for (int64_t r = lo; r < hi; r++)
        j->n_chosen[r] = (int32_t)rk_clusters_choose(j->c, j->scores + r * n, j->log_q + r * n,
                                                     j->order + r * n);
}

/* A piece of a head of bytes with ranges. */
static void score_bytes(const job *j, const piece *p, float *part)
{
    const int64_t width = rk_tensor_cols(j->x), blocks = rk_ranges_blocks(width);
    const rk_ranges r = rk_ranges_from(j->w->ranges, p->lo);
    int64_t dots[PIECE];
    j->ctx->kernels->bytes_dot(1, p->n, width, j->scaled + p->r * blocks, blocks,
                               (const uint8_t *)j->w->data + p->lo * width, width, dots, PIECE);
    rk_ranges_finish(&r, p->n, dots, &j->sums[p->r], part, false);
}

static void score_pieces(void *arg, int64_t lo, int64_t hi, int worker)
{
    const job *j = arg;
    const int64_t width = rk_tensor_cols(j->x);
    (void)worker;
    for (int64_t i = lo; i < hi; i++) {
        const piece *p = &j->pieces[i];
        float *y = j->y + p->r * j->c->n_vocab, part[PIECE];
        if (j->scaled)
            score_bytes(j, p, part);
        else
            j->ctx->kernels->gemv_dot(1, p->n, width, (const float *)j->x->data + p->r * width,
                                      width, rk_at(j->w, j->w->data, p->lo * width), j->w->dtype,
                                      width, part, PIECE, false);
        for (int64_t k = 0; k < p->n; k++)
            y[j->c->tokens[p->lo + k]] = part[k];
    }
}

/* Compute what is listed; rows that pass follow each other. */
static void flush_list(job *j)
{
    if (j->n_pieces == 0)
        return;
    rk_parallel(j->ctx, j->n_pieces, 1, score_pieces, j);
    rk_residence_head_used(j->m, j->pieces[0].lo, j->n_listed);
    j->n_pieces = j->n_listed = 0;
}

static void list_piece(job *j, int64_t r, int64_t lo, int64_t n)
{
    if (j->n_pieces == PIECES || j->n_listed + n > j->most)
        flush_list(j);
    j->pieces[j->n_pieces++] = (piece){r, lo, n};
    j->n_listed += n;
}

static void score_row(job *j, int64_t r)
{
    const rk_clusters *c = j->c;
    for (int64_t at = 0; at < j->n_chosen[r]; at++) {
        const int32_t cluster = j->order[r * c->n + at];
        const int64_t end = c->begin[cluster + 1];
        for (int64_t lo = c->begin[cluster]; lo < end; lo += PIECE)
            list_piece(j, r, lo, rk_min_i64(end - lo, PIECE));
        if (j->most < c->n_vocab)
            flush_list(j);
    }
}

static void ask_for(const job *j, int64_t r)
{
    const rk_clusters *c = j->c;
    for (int64_t at = 0; at < j->n_chosen[r]; at++) {
        const int32_t cluster = j->order[r * c->n + at];
        rk_residence_head_next(j->m, c->begin[cluster], c->begin[cluster + 1] - c->begin[cluster]);
    }
}

static void score(job *j, int64_t n)
{
    for (int64_t r = 0; r < n; r++) {
        ask_for(j, r);
        score_row(j, r);
    }
    flush_list(j);
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

/* What a head of bytes with ranges is multiplied with. */
static void scale_input(rk_ctx *ctx, job *j)
{
    const int64_t n = rk_tensor_rows(j->x), width = rk_tensor_cols(j->x);
    const int64_t blocks = rk_ranges_blocks(width);
    const float *x = j->x->data;
    if (j->w->dtype != RK_RANGED)
        return;
    j->scaled = rk_ctx_alloc(ctx, (size_t)(n * blocks) * sizeof *j->scaled);
    j->sums = rk_ctx_alloc(ctx, (size_t)n * sizeof *j->sums);
    for (int64_t r = 0; r < n && j->scaled && j->sums; r++)
        rk_ranges_scale(ctx->kernels, j->w->ranges, width, x + r * width, j->scaled + r * blocks,
                        &j->sums[r]);
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
    piece *pieces = rk_ctx_alloc(ctx, PIECES * sizeof *pieces);
    if (rk_ctx_failed(ctx))
        return;
    job j = {.ctx = ctx,
             .m = m,
             .c = c,
             .x = rows,
             .w = m->head->matrix,
             .scores = scores->data,
             .log_q = log_q->data,
             .order = order->data,
             .n_chosen = n_chosen->data,
             .y = y,
             .pieces = pieces,
             .most = rk_residence_head_rows(m)};
    scale_input(ctx, &j);
    if (rk_ctx_failed(ctx) || ctx->planning)
        return;
    rk_parallel(ctx, n, 1, choose, &j);
    score(&j, n);
    rk_parallel(ctx, n, 1, spread, &j);
}
