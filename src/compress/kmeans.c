/* kmeans.c: plain k-means of some thousand points. */
#include "compress/kmeans.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "base/random.h"

/* In 8 interleaved sums, which compilers make vectors of. */
static float squared_distance(int64_t n, const float *x, const float *y)
{
    float part[8] = {0}, sum = 0;
    int64_t j = 0;
    for (; j + 8 <= n; j += 8)
        for (int l = 0; l < 8; l++)
            part[l] += (x[j + l] - y[j + l]) * (x[j + l] - y[j + l]);
    for (; j < n; j++)
        sum += (x[j] - y[j]) * (x[j] - y[j]);
    for (int l = 0; l < 8; l++)
        sum += part[l];
    return sum;
}

static bool all_finite(const rk_kmeans *q)
{
    for (int64_t i = 0; i < q->n * q->dim; i++)
        if (!isfinite(q->x[i]))
            return false;
    return true;
}

/* A point with a probability proportional to its distance from the nearest centre so far; any, where all
 * are on centres. */
static int64_t choose(const rk_kmeans *q, const float *nearest, uint64_t seed, int64_t step)
{
    double sum = 0;
    for (int64_t i = 0; i < q->n; i++)
        sum += (double)nearest[i];
    if (!(sum > 0))
        return (int64_t)rk_rng_below(seed, RK_RNG_CLUSTER, (uint64_t)step, 0, (uint64_t)q->n);
    double left = sum * rk_rng_f64(seed, RK_RNG_CLUSTER, (uint64_t)step, 0);
    for (int64_t i = 0; i < q->n; i++)
        if ((left -= (double)nearest[i]) < 0)
            return i;
    return q->n - 1;
}

static void begin(const rk_kmeans *q, float *nearest, uint64_t seed)
{
    for (int64_t i = 0; i < q->n; i++)
        nearest[i] = 1.0f; /* the first one: all alike */
    for (int64_t c = 0; c < q->k; c++) {
        float *centre = q->centres + c * q->dim;
        const int64_t at = choose(q, nearest, seed, c);
        memcpy(centre, q->x + at * q->dim, (size_t)q->dim * sizeof *centre);
        for (int64_t i = 0; i < q->n; i++) {
            const float d = squared_distance(q->dim, q->x + i * q->dim, centre);
            nearest[i] = c == 0 || d < nearest[i] ? d : nearest[i];
        }
    }
}

static int64_t nearest_centre(const rk_kmeans *q, const float *x)
{
    int64_t best = 0;
    float least = INFINITY;
    for (int64_t c = 0; c < q->k; c++) {
        const float d = squared_distance(q->dim, x, q->centres + c * q->dim);
        if (d < least) {
            least = d;
            best = c;
        }
    }
    return best;
}

enum { POINTS_OF_A_TASK = 64 };

typedef struct labelling {
    const rk_kmeans *q;
    int32_t *labels;
} labelling;

static void label_some(void *arg, int64_t task, int worker)
{
    const labelling *l = arg;
    const rk_kmeans *q = l->q;
    const int64_t lo = task * POINTS_OF_A_TASK, hi = rk_min_i64(lo + POINTS_OF_A_TASK, q->n);
    (void)worker;
    for (int64_t i = lo; i < hi; i++)
        l->labels[i] = (int32_t)nearest_centre(q, q->x + i * q->dim);
}

void rk_kmeans_label(const rk_kmeans *q, int32_t *labels)
{
    labelling l = {q, labels};
    const int64_t tasks = rk_ceil_div(q->n, POINTS_OF_A_TASK);
    if (q->pool)
        rk_pool_run_whole(q->pool, tasks, label_some, &l);
    for (int64_t i = 0; i < tasks && !q->pool; i++)
        label_some(&l, i, 0);
}

/* Centres become the means of the points that are nearest to them; one without points stays. */
static void improve(const rk_kmeans *q, double *sums, int64_t *counts, int32_t *labels)
{
    memset(sums, 0, (size_t)(q->k * q->dim) * sizeof *sums);
    memset(counts, 0, (size_t)q->k * sizeof *counts);
    rk_kmeans_label(q, labels);
    for (int64_t i = 0; i < q->n; i++) {
        const float *x = q->x + i * q->dim;
        const int64_t c = labels[i];
        counts[c]++;
        for (int64_t j = 0; j < q->dim; j++)
            sums[c * q->dim + j] += (double)x[j];
    }
    for (int64_t i = 0; i < q->k * q->dim; i++)
        if (counts[i / q->dim] > 0)
            q->centres[i] = (float)(sums[i] / (double)counts[i / q->dim]);
}

bool rk_kmeans_run(const rk_kmeans *q, int n_iterations, uint64_t seed)
{
    float *nearest = malloc((size_t)q->n * sizeof *nearest);
    double *sums = malloc((size_t)(q->k * q->dim) * sizeof *sums);
    int64_t *counts = malloc((size_t)q->k * sizeof *counts);
    int32_t *labels = malloc((size_t)q->n * sizeof *labels);
    const bool ok = nearest && sums && counts && labels && all_finite(q);
    if (ok)
        begin(q, nearest, seed);
    for (int i = 0; ok && i < n_iterations; i++)
        improve(q, sums, counts, labels);
    free(labels);
    free(nearest);
    free(sums);
    free(counts);
    return ok;
}

/* Keep x among the n least, which are in order. */
static void insert(double *least, int n, double x)
{
    if (!(x < least[n - 1]))
        return;
    int at = n - 1;
    for (; at > 0 && least[at - 1] > x; at--)
        least[at] = least[at - 1];
    least[at] = x;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

bool rk_kmeans_distance(const rk_kmeans *q, int nth, double *out)
{
    enum { NTH_MAX = 16 };
    const int n = (int)rk_min_i64(rk_min_i64(nth, q->k), NTH_MAX);
    double *all = malloc((size_t)q->n * sizeof *all);
    if (!all)
        return false;
    for (int64_t i = 0; i < q->n; i++) {
        double least[NTH_MAX];
        for (int l = 0; l < n; l++)
            least[l] = (double)INFINITY;
        for (int64_t c = 0; c < q->k; c++)
            insert(least, n,
                   (double)squared_distance(q->dim, q->x + i * q->dim, q->centres + c * q->dim));
        all[i] = least[n - 1];
    }
    qsort(all, (size_t)q->n, sizeof *all, by_value);
    *out = all[q->n / 2];
    free(all);
    return true;
}
