/* token_clusters.c: the directions are eigenvectors of the covariance of the embeddings, which are seen along them
 * with their mean, as in the paper's code. */
#include "compress/token_clusters.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "compress/eigen.h"
#include "compress/kmeans.h"
#include "tensor/weight.h"

enum { ITERATIONS = 25, ROWS_OF_A_TASK = 16 };

typedef struct work {
    int64_t n, width, dim; /* tokens, channels, directions */
    const rk_tensor *emb;
    float *x;           /* (n, width) */
    double *mean;       /* (width) */
    double *covariance; /* (width, width) */
    double *directions; /* (width, width), rows */
    float *seen;        /* (n, dim) */
} work;

static void widen(void *arg, int64_t task, int worker)
{
    const work *w = arg;
    const int64_t lo = task * ROWS_OF_A_TASK, hi = rk_min_i64(lo + ROWS_OF_A_TASK, w->n);
    (void)worker;
    for (int64_t t = lo; t < hi; t++)
        rk_matrix_row(w->emb, RK_OUT_IN, t, w->x + t * w->width);
}

/* Some rows of the covariance, from the diagonal on; each sum in the order of the tokens. */
static void covary(void *arg, int64_t task, int worker)
{
    const work *w = arg;
    const int64_t lo = task * ROWS_OF_A_TASK, hi = rk_min_i64(lo + ROWS_OF_A_TASK, w->width);
    (void)worker;
    for (int64_t t = 0; t < w->n; t++) {
        const float *x = w->x + t * w->width;
        for (int64_t i = lo; i < hi; i++) {
            const double xi = (double)x[i] - w->mean[i];
            double *row = w->covariance + i * w->width;
            for (int64_t j = i; j < w->width; j++)
                row[j] += xi * ((double)x[j] - w->mean[j]);
        }
    }
}

static void see(void *arg, int64_t task, int worker)
{
    const work *w = arg;
    const int64_t lo = task * ROWS_OF_A_TASK, hi = rk_min_i64(lo + ROWS_OF_A_TASK, w->n);
    (void)worker;
    for (int64_t t = lo; t < hi; t++)
        for (int64_t d = 0; d < w->dim; d++) {
            const float *x = w->x + t * w->width;
            const double *v = w->directions + d * w->width;
            double sum = 0;
            for (int64_t i = 0; i < w->width; i++)
                sum += (double)x[i] * v[i];
            w->seen[t * w->dim + d] = (float)sum;
        }
}

static rk_status find_directions(work *w, rk_pool *pool, rk_error *err)
{
    double *values = malloc((size_t)w->width * sizeof *values);
    if (!values)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for eigenvalues");
    rk_pool_run_whole(pool, rk_ceil_div(w->n, ROWS_OF_A_TASK), widen, w);
    for (int64_t t = 0; t < w->n; t++)
        for (int64_t i = 0; i < w->width; i++)
            w->mean[i] += (double)w->x[t * w->width + i];
    for (int64_t i = 0; i < w->width; i++)
        w->mean[i] /= (double)w->n;
    rk_pool_run_whole(pool, rk_ceil_div(w->width, ROWS_OF_A_TASK), covary, w);
    for (int64_t i = 0; i < w->width; i++)
        for (int64_t j = 0; j < i; j++)
            w->covariance[i * w->width + j] = w->covariance[j * w->width + i];
    const rk_status st = rk_eigen(w->width, w->covariance, values, w->directions, err);
    if (st == RK_OK)
        rk_pool_run_whole(pool, rk_ceil_div(w->n, ROWS_OF_A_TASK), see, w);
    free(values);
    return st;
}

static rk_status see_all(work *w, rk_pool *pool, rk_error *err)
{
    const size_t square = (size_t)(w->width * w->width);
    w->x = malloc((size_t)(w->n * w->width) * sizeof *w->x);
    w->seen = malloc((size_t)(w->n * w->dim) * sizeof *w->seen);
    w->mean = calloc((size_t)w->width, sizeof *w->mean);
    w->covariance = calloc(square, sizeof *w->covariance);
    w->directions = malloc(square * sizeof *w->directions);
    const bool ok = w->x && w->seen && w->mean && w->covariance && w->directions;
    const rk_status st =
        ok ? find_directions(w, pool, err)
           : rk_fail(err, RK_ERR_NOMEM, "out of memory for %" PRId64 " embeddings", w->n);
    free(w->directions);
    free(w->covariance);
    free(w->mean);
    free(w->x);
    return st;
}

/* ---- clusters ---- */

static rk_status group(const work *w, int64_t n_clusters, uint64_t seed, rk_pool *pool, int32_t *of,
                       rk_error *err)
{
    float *centres = malloc((size_t)(n_clusters * w->dim) * sizeof *centres);
    const rk_kmeans k = {
        .n = w->n, .dim = w->dim, .k = n_clusters, .x = w->seen, .centres = centres, .pool = pool};
    const bool ok = centres && rk_kmeans_run(&k, ITERATIONS, seed);
    if (ok)
        rk_kmeans_label(&k, of);
    free(centres);
    return ok ? RK_OK : rk_fail(err, RK_ERR_NOMEM, "out of memory for clusters");
}

/* Those without tokens go: numbers follow each other. Returns how many are left; size (n). */
static int64_t close_up(int64_t n_tokens, int64_t n, int32_t *of, int64_t *size, int32_t *number)
{
    int64_t left = 0;
    memset(size, 0, (size_t)n * sizeof *size);
    for (int64_t t = 0; t < n_tokens; t++)
        size[of[t]]++;
    for (int64_t j = 0; j < n; j++) {
        number[j] = (int32_t)left;
        if (size[j] > 0)
            size[left++] = size[j];
    }
    for (int64_t t = 0; t < n_tokens; t++)
        of[t] = number[of[t]];
    return left;
}

/* A token and how much nearer it is to the first of two centres. */
typedef struct leaning {
    double x;
    int64_t at;
} leaning;

static int by_leaning(const void *a, const void *b)
{
    const leaning *p = a, *q = b;
    return p->x != q->x ? (p->x < q->x ? -1 : 1) : (p->at > q->at) - (p->at < q->at);
}

/* Two centres' shares (n) of 0 and 1: by distance, or halves where one would get less than an eighth. */
static bool share_out(const rk_kmeans *k, int32_t *half)
{
    leaning *all = malloc((size_t)k->n * sizeof *all);
    int64_t second = 0;
    if (!all)
        return false;
    rk_kmeans_label(k, half);
    for (int64_t i = 0; i < k->n; i++) {
        all[i] = (leaning){0, i};
        second += half[i];
        for (int64_t d = 0; d < k->dim; d++)
            all[i].x += (double)k->x[i * k->dim + d] *
                        ((double)k->centres[k->dim + d] - (double)k->centres[d]);
    }
    if (8 * rk_min_i64(second, k->n - second) < k->n) {
        qsort(all, (size_t)k->n, sizeof *all, by_leaning);
        for (int64_t i = 0; i < k->n; i++)
            half[all[i].at] = i >= k->n / 2;
    }
    free(all);
    return true;
}

/* Cluster j in two: the second one becomes `to`. */
static rk_status cut(const work *w, int64_t j, int64_t to, int64_t size, uint64_t seed, int32_t *of,
                     rk_error *err)
{
    float *x = malloc((size_t)(size * w->dim + 2 * w->dim) * sizeof *x);
    int32_t *half = malloc((size_t)size * sizeof *half);
    int64_t n = 0;
    for (int64_t t = 0; x && t < w->n; t++)
        if (of[t] == j)
            memcpy(x + n++ * w->dim, w->seen + t * w->dim, (size_t)w->dim * sizeof *x);
    const rk_kmeans k = {
        .n = size, .dim = w->dim, .k = 2, .x = x, .centres = x ? x + size * w->dim : NULL};
    const bool ok =
        x && half && rk_kmeans_run(&k, ITERATIONS, seed + (uint64_t)to) && share_out(&k, half);
    n = 0;
    for (int64_t t = 0; ok && t < w->n; t++)
        if (of[t] == j)
            of[t] = half[n++] ? (int32_t)to : (int32_t)j;
    free(half);
    free(x);
    return ok ? RK_OK : rk_fail(err, RK_ERR_NOMEM, "out of memory for clusters");
}

static rk_status cut_large(const work *w, int64_t *n, uint64_t seed, int32_t *of, rk_error *err)
{
    const int64_t cap = rk_max_i64(4 * w->n / *n, 1);
    int64_t *size = malloc((size_t)w->n * sizeof *size);
    int32_t *number = malloc((size_t)w->n * sizeof *number);
    rk_status st =
        size && number ? RK_OK : rk_fail(err, RK_ERR_NOMEM, "out of memory for clusters");
    if (st == RK_OK)
        *n = close_up(w->n, *n, of, size, number);
    for (int64_t j = 0; j < *n && st == RK_OK; j++)
        while (size[j] > cap && st == RK_OK) {
            st = cut(w, j, *n, size[j], seed, of, err);
            size[j] = size[*n] = 0;
            for (int64_t t = 0; t < w->n; t++) {
                size[j] += of[t] == j;
                size[*n] += of[t] == *n;
            }
            ++*n;
        }
    free(number);
    free(size);
    return st;
}

rk_status rk_token_clusters(const rk_tensor *emb, uint64_t seed, rk_pool *pool, int64_t *n,
                            int32_t *cluster_of, rk_error *err)
{
    work w = {.n = emb->dims[0], .width = emb->dims[1], .emb = emb};
    w.dim = rk_min_i64(w.width, RK_CLUSTER_DIRECTIONS);
    if (*n < 1 || *n > w.n)
        return rk_fail(err, RK_ERR_ARG, "%" PRId64 " clusters of %" PRId64 " tokens", *n, w.n);
    rk_status st = see_all(&w, pool, err);
    if (st == RK_OK)
        st = group(&w, *n, seed, pool, cluster_of, err);
    if (st == RK_OK)
        st = cut_large(&w, n, seed, cluster_of, err);
    free(w.seen);
    return st;
}
