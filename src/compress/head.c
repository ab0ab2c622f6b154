/* head.c: the text is read once. What the whole head is given, and what it makes of that, is kept for each of its
 * tokens: inputs, and the probability of each cluster, which a small product then learns by the divergence
 * from these. It begins as the mean of the clusters' rows and the logarithm of their number, which is right
 * where the rows of a cluster are alike. */
#include "compress/head.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "base/random.h"
#include "compress/remade.h"
#include "compress/token_clusters.h"
#include "infer/engine.h"
#include "infer/session.h"
#include "model/clusters.h"

enum { PIECE = 64, BATCH = 256, POSITIONS_OF_A_TASK = 8 };

typedef struct work {
    const rk_model *host;
    rk_clusters *clusters;
    int64_t n, width, k;   /* positions, channels, clusters */
    float *x;              /* (n, width) inputs of the head */
    float *target;         /* (n, k) */
    int64_t seen;          /* positions whose inputs are there */
    float *weight, *bias;  /* (k, width), (k) */
    float *first, *second; /* moments of both, (k, width + 1) */
    float *diff;           /* (BATCH, k) */
    double *kl;            /* of the positions of a batch */
    int64_t *rows;         /* of the head that they read, */
    float *scores;         /* (threads, k) */
    double *log_q;         /* (threads, k) */
    int32_t *order;        /* (threads, k) */
    const int64_t *batch;  /* positions */
    int64_t n_batch, step;
    double rate;
} work;

/* ---- the text ---- */

static void observe(void *user, const rk_tensor *w, const rk_tensor *x)
{
    work *j = user;
    const int64_t n = rk_tensor_rows(x);
    if (w->data != j->host->head->matrix->data || rk_tensor_cols(x) != j->width ||
        j->seen + n > j->n)
        return;
    memcpy(j->x + j->seen * j->width, x->data, (size_t)(n * j->width) * sizeof *j->x);
    j->seen += n;
}

/* The probability of each cluster. */
static void take_target(const work *j, const float *logits, float *target)
{
    const rk_clusters *c = j->clusters;
    float most = logits[0];
    double sum = 0;
    for (int64_t t = 1; t < c->n_vocab; t++)
        most = fmaxf(most, logits[t]);
    for (int64_t k = 0; k < c->n; k++) {
        double own = 0;
        for (int32_t t = c->begin[k]; t < c->begin[k + 1]; t++)
            own += (double)expf(logits[c->tokens[t]] - most);
        target[k] = (float)own;
        sum += own;
    }
    for (int64_t k = 0; k < c->n; k++)
        target[k] = (float)((double)target[k] / sum);
}

static rk_status read_text(work *j, const rk_head_options *o, rk_session *s, float *logits,
                           rk_error *err)
{
    rk_status st = RK_OK;
    s->scheduler.ctx.observe = observe;
    s->scheduler.ctx.observe_user = j;
    for (int64_t at = 0; at < j->n && st == RK_OK;) {
        const int64_t in_window = o->ctx_len - at % o->ctx_len;
        const int64_t n = rk_min_i64(rk_min_i64(PIECE, in_window), j->n - at);
        if (at % o->ctx_len == 0)
            rk_session_reset(s);
        if (o->abort && o->abort(o->abort_user))
            return rk_fail(err, RK_ERR_ABORTED, "stopped on request");
        st = rk_session_eval_all(s, o->tokens + at, n, logits, err);
        for (int64_t i = 0; i < n && st == RK_OK; i++)
            take_target(j, logits + i * j->clusters->n_vocab, j->target + (at + i) * j->k);
        at += n;
        if (o->progress)
            o->progress(o->progress_user, at, j->n + o->steps * BATCH);
    }
    return st;
}

static rk_status read_all(work *j, rk_engine *e, const rk_head_options *o, rk_error *err)
{
    float *logits = malloc((size_t)(PIECE * j->host->hp.n_vocab) * sizeof *logits);
    rk_session *s = NULL;
    rk_status st = logits ? rk_session_new(&s, j->host, e, err)
                          : rk_fail(err, RK_ERR_NOMEM, "out of memory for a text");
    if (st == RK_OK)
        st = read_text(j, o, s, logits, err);
    rk_session_free(s);
    free(logits);
    if (st == RK_OK && j->seen != j->n)
        st = rk_fail(err, RK_ERR_UNSUPPORTED, "the head's inputs were not seen");
    return st;
}

/* ---- learning ---- */

static float dot(int64_t n, const float *x, const float *y)
{
    float part[8] = {0}, sum = 0;
    int64_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (int l = 0; l < 8; l++)
            part[l] += x[i + l] * y[i + l];
    for (; i < n; i++)
        sum += x[i] * y[i];
    for (int l = 0; l < 8; l++)
        sum += part[l];
    return sum;
}

/* Divergence, what a token would read, and the gradient by the scores, of positions of the batch. */
static void judge(void *arg, int64_t task, int worker)
{
    const work *j = arg;
    const int64_t lo = task * POSITIONS_OF_A_TASK,
                  hi = rk_min_i64(lo + POSITIONS_OF_A_TASK, j->n_batch);
    float *scores = j->scores + worker * j->k;
    double *log_q = j->log_q + worker * j->k;
    int32_t *order = j->order + worker * j->k;
    for (int64_t i = lo; i < hi; i++) {
        const float *x = j->x + j->batch[i] * j->width, *target = j->target + j->batch[i] * j->k;
        double kl = 0;
        for (int64_t k = 0; k < j->k; k++)
            scores[k] = dot(j->width, x, j->weight + k * j->width) + j->bias[k];
        const int64_t chosen = rk_clusters_choose(j->clusters, scores, log_q, order);
        for (int64_t k = 0; k < j->k; k++) {
            const double p = (double)target[k];
            kl += p > 0 ? p * (log(p) - log_q[k]) : 0;
            j->diff[i * j->k + k] = (float)((exp(log_q[k]) - p) / (double)j->n_batch);
        }
        j->kl[i] = kl;
        j->rows[i] = 0;
        for (int64_t k = 0; k < chosen; k++)
            j->rows[i] += j->clusters->begin[order[k] + 1] - j->clusters->begin[order[k]];
    }
}

static void adam(const work *j, float *x, float grad, float *first, float *second)
{
    const double b1 = 0.9, b2 = 0.99, t = (double)j->step + 1;
    *first = (float)(b1 * (double)*first + (1 - b1) * (double)grad);
    *second = (float)(b2 * (double)*second + (1 - b2) * (double)grad * (double)grad);
    const double m = (double)*first / (1 - pow(b1, t)), v = (double)*second / (1 - pow(b2, t));
    *x -= (float)(j->rate * m / (sqrt(v) + 1e-12));
}

/* A step on a cluster's row and bias. */
static void learn(void *arg, int64_t k, int worker)
{
    const work *j = arg;
    const int64_t width = j->width;
    float *first = j->first + k * (width + 1), *second = j->second + k * (width + 1);
    float *w = j->weight + k * width, bias = 0, grad[PIECE];
    (void)worker;
    for (int64_t lo = 0; lo < width; lo += PIECE) {
        const int64_t n = rk_min_i64(PIECE, width - lo);
        memset(grad, 0, sizeof grad);
        for (int64_t i = 0; i < j->n_batch; i++) {
            const float d = j->diff[i * j->k + k], *x = j->x + j->batch[i] * width + lo;
            for (int64_t c = 0; c < n; c++)
                grad[c] += d * x[c];
        }
        for (int64_t c = 0; c < n; c++)
            adam(j, &w[lo + c], grad[c], &first[lo + c], &second[lo + c]);
    }
    for (int64_t i = 0; i < j->n_batch; i++)
        bias += j->diff[i * j->k + k];
    adam(j, &j->bias[k], bias, &first[width], &second[width]);
}

/* Mean divergence and share of rows over all positions. */
static void judge_all(work *j, rk_pool *pool, double *kl, double *rows)
{
    int64_t batch[BATCH];
    double sum = 0, read = 0;
    j->batch = batch;
    for (int64_t at = 0; at < j->n; at += BATCH) {
        j->n_batch = rk_min_i64(BATCH, j->n - at);
        for (int64_t i = 0; i < j->n_batch; i++)
            batch[i] = at + i;
        rk_pool_run_whole(pool, rk_ceil_div(j->n_batch, POSITIONS_OF_A_TASK), judge, j);
        for (int64_t i = 0; i < j->n_batch; i++) {
            sum += j->kl[i];
            read += (double)j->rows[i];
        }
    }
    *kl = sum / (double)j->n;
    *rows = read / (double)j->n / (double)j->clusters->n_vocab;
}

/* Rates are shares of the size of the weights, and fall to 0. */
static rk_status learn_all(work *j, const rk_head_options *o, rk_pool *pool, rk_error *err)
{
    int64_t batch[BATCH];
    double squares = 0;
    for (int64_t i = 0; i < j->k * j->width; i++)
        squares += (double)j->weight[i] * (double)j->weight[i];
    const double size = sqrt(squares / (double)(j->k * j->width));
    for (j->step = 0; j->step < o->steps; j->step++) {
        if (o->abort && o->abort(o->abort_user))
            return rk_fail(err, RK_ERR_ABORTED, "stopped on request");
        j->batch = batch;
        j->n_batch = BATCH;
        for (int64_t i = 0; i < BATCH; i++)
            batch[i] = (int64_t)rk_rng_below(o->seed, RK_RNG_CLUSTER, (uint64_t)j->step + 1,
                                             (uint64_t)i, (uint64_t)j->n);
        j->rate = 0.03 * size * (1 - (double)j->step / (double)o->steps);
        rk_pool_run_whole(pool, BATCH / POSITIONS_OF_A_TASK, judge, j);
        rk_pool_run_whole(pool, j->k, learn, j);
        if (o->progress)
            o->progress(o->progress_user, j->n + (j->step + 1) * BATCH, j->n + o->steps * BATCH);
    }
    return RK_OK;
}

/* ---- the start ---- */

static void begin_product(const work *j, float *row)
{
    const rk_weight *head = j->host->head;
    const rk_clusters *c = j->clusters;
    for (int64_t k = 0; k < j->k; k++) {
        float *w = j->weight + k * j->width;
        const float share = 1.0f / (float)(c->begin[k + 1] - c->begin[k]);
        for (int32_t t = c->begin[k]; t < c->begin[k + 1]; t++) {
            rk_matrix_row(head->matrix, head->layout, c->tokens[t], row);
            for (int64_t i = 0; i < j->width; i++)
                w[i] += share * row[i];
        }
        j->bias[k] = (float)c->log_size[k];
    }
}

/* What was learned, unless the start was better. */
static rk_status make_product(work *j, const rk_head_options *o, rk_engine *e, rk_head_facts *facts,
                              rk_error *err)
{
    const size_t count = (size_t)(j->k * (j->width + 1));
    rk_pool *pool = rk_engine_pool(e);
    float *start = malloc(count * sizeof *start);
    double rows;
    if (!start)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for a head");
    begin_product(j, j->scores);
    memcpy(start, j->weight, count * sizeof *start);
    rk_engine_lock(e);
    judge_all(j, pool, &facts->kl_start, &facts->rows);
    rk_status st = learn_all(j, o, pool, err);
    if (st == RK_OK) {
        judge_all(j, pool, &facts->kl, &rows);
        if (facts->kl < facts->kl_start)
            facts->rows = rows;
        else {
            memcpy(j->weight, start, count * sizeof *start);
            facts->kl = facts->kl_start;
        }
        if (!isfinite(facts->kl))
            st = rk_fail(err, RK_ERR_NUMERIC, "the model gives numbers that are not finite");
    }
    rk_engine_unlock(e);
    free(start);
    return st;
}

/* ---- the model ---- */

static void free_work(work *j)
{
    void *const all[] = {j->x,  j->target, j->weight, j->first, j->second, j->diff,
                         j->kl, j->rows,   j->scores, j->log_q, j->order};
    for (size_t i = 0; i < RK_COUNT(all); i++)
        free(all[i]);
    rk_clusters_free(j->clusters);
}

static rk_status take_memory(work *j, int64_t threads, rk_error *err)
{
    const size_t n = (size_t)j->n, k = (size_t)j->k, width = (size_t)j->width;
    const size_t of_threads = (size_t)threads * (k > width ? k : width);
    j->x = malloc(n * width * sizeof *j->x);
    j->target = malloc(n * k * sizeof *j->target);
    j->weight = calloc(k * (width + 1), sizeof *j->weight);
    j->bias = j->weight ? j->weight + k * width : NULL;
    j->first = calloc(k * (width + 1), sizeof *j->first);
    j->second = calloc(k * (width + 1), sizeof *j->second);
    j->diff = malloc(BATCH * k * sizeof *j->diff);
    j->kl = malloc(BATCH * sizeof *j->kl);
    j->rows = malloc(BATCH * sizeof *j->rows);
    j->scores = malloc(of_threads * sizeof *j->scores);
    j->log_q = malloc(of_threads * sizeof *j->log_q);
    j->order = malloc(of_threads * sizeof *j->order);
    const bool ok = j->x && j->target && j->weight && j->first && j->second && j->diff && j->kl &&
                    j->rows && j->scores && j->log_q && j->order;
    return ok ? RK_OK : rk_fail(err, RK_ERR_NOMEM, "out of memory for %" PRId64 " positions", j->n);
}

static rk_status check_host(const rk_model *host, const rk_head_options *o, rk_error *err)
{
    if (host->clusters)
        return rk_fail(err, RK_ERR_UNSUPPORTED, "%s: has a hierarchical head already",
                       rk_model_name(host));
    if (!rk_size_find(host->arch, "n_clusters"))
        return rk_fail(err, RK_ERR_UNSUPPORTED,
                       "%s models have no hierarchical head here; those of rwkv4, rwkv5, rwkv6 and "
                       "rwkv7 can have one",
                       host->arch->name);
    if (o->n_clusters < 2 || o->n_clusters > host->hp.n_vocab)
        return rk_fail(err, RK_ERR_ARG, "%" PRId64 " clusters, expected 2 to n_vocab, %" PRId64,
                       o->n_clusters, host->hp.n_vocab);
    if (o->n_tokens < o->n_clusters)
        return rk_fail(err, RK_ERR_ARG,
                       "a text of %" PRId64 " tokens, expected at least one for each of %" PRId64
                       " clusters",
                       o->n_tokens, o->n_clusters);
    return RK_OK;
}

static void put(const rk_model *m, const char *name, const float *x)
{
    const rk_param *p = rk_model_param(m, name);
    memcpy(p->tensor.data, x, rk_tensor_bytes(&p->tensor));
}

/* The head's rows, cluster by cluster. */
static void put_rows(const rk_model *m, const work *j)
{
    const rk_weight *head = j->host->head;
    float *rows = m->head->matrix->data;
    for (int64_t i = 0; i < j->clusters->n_vocab; i++)
        rk_matrix_row(head->matrix, head->layout, j->clusters->tokens[i], rows + i * j->width);
}

static rk_status put_all(rk_model **out, const work *j, int64_t emb_rows, const float *cluster_of,
                         rk_error *err)
{
    rk_hparams hp = j->host->hp;
    hp.n_clusters = j->k;
    hp.emb_rows = emb_rows > 0 ? emb_rows : hp.emb_rows;
    const rk_status st = rk_remade_new(out, j->host, &hp, err);
    if (st != RK_OK)
        return st;
    put(*out, "head_l1.weight", j->weight);
    put(*out, "head_l1.bias", j->bias);
    put(*out, "head_clusters", cluster_of);
    put_rows(*out, j);
    return RK_OK;
}

void rk_head_unpack(rk_model *made, const rk_model *host)
{
    const rk_clusters *c = host->clusters;
    float *rows = made->head->matrix->data;
    for (int64_t i = 0; c && i < c->n_vocab; i++)
        rk_matrix_row(host->head->matrix, RK_OUT_IN, i, rows + c->tokens[i] * host->hp.n_embd);
}

static void take_sizes(const rk_clusters *c, rk_head_facts *facts)
{
    facts->n_clusters = c->n;
    facts->smallest = c->n_vocab;
    facts->largest = 0;
    for (int64_t k = 0; k < c->n; k++) {
        const int64_t n = c->begin[k + 1] - c->begin[k];
        facts->smallest = rk_min_i64(facts->smallest, n);
        facts->largest = rk_max_i64(facts->largest, n);
    }
}

/* Clusters of the embeddings, numbers as files have them. */
static rk_status make_clusters(work *j, rk_engine *e, const rk_head_options *o, float *cluster_of,
                               rk_error *err)
{
    const rk_param *emb = rk_model_param(j->host, "emb.weight");
    const int64_t n_vocab = j->host->hp.n_vocab;
    int32_t *of = malloc((size_t)n_vocab * sizeof *of);
    j->k = o->n_clusters;
    rk_engine_lock(e);
    rk_status st = of ? rk_token_clusters(&emb->tensor, o->seed, rk_engine_pool(e), &j->k, of, err)
                      : rk_fail(err, RK_ERR_NOMEM, "out of memory for clusters");
    rk_engine_unlock(e);
    for (int64_t t = 0; t < n_vocab && st == RK_OK; t++)
        cluster_of[t] = (float)of[t];
    free(of);
    return st == RK_OK ? rk_clusters_new(&j->clusters, j->k, n_vocab, cluster_of, err) : st;
}

rk_status rk_head_new(rk_model **out, const rk_model *host, rk_engine *e, const rk_head_options *o,
                      rk_head_facts *facts, rk_error *err)
{
    work j = {.host = host, .n = o->n_tokens, .width = host->hp.n_embd};
    float *cluster_of = malloc((size_t)host->hp.n_vocab * sizeof *cluster_of);
    *out = NULL;
    rk_status st = cluster_of ? check_host(host, o, err)
                              : rk_fail(err, RK_ERR_NOMEM, "out of memory for clusters");
    if (st == RK_OK)
        st = make_clusters(&j, e, o, cluster_of, err);
    if (st == RK_OK)
        st = take_memory(&j, rk_pool_n_threads(rk_engine_pool(e)), err);
    if (st == RK_OK)
        st = read_all(&j, e, o, err);
    if (st == RK_OK)
        st = make_product(&j, o, e, facts, err);
    if (st == RK_OK) {
        take_sizes(j.clusters, facts);
        st = put_all(out, &j, o->emb_rows, cluster_of, err);
    }
    free_work(&j);
    free(cluster_of);
    return st;
}
