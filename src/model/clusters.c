/* clusters.c: which clusters are chosen, and what the others get. Numbers stay near 1 whatever is added to all
 * logits: one maximum is taken over all chosen tokens and added again. */
#include "model/clusters.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "base/num.h"

void rk_clusters_free(rk_clusters *c)
{
    if (!c)
        return;
    free(c->begin);
    free(c->tokens);
    free(c->log_size);
    free(c);
}

/* Count into begin[cluster + 1]. */
static rk_status count(rk_clusters *c, const float *cluster_of, rk_error *err)
{
    for (int64_t t = 0; t < c->n_vocab; t++) {
        const float x = cluster_of[t];
        if (!(x >= 0 && x < (float)c->n && x == floorf(x)))
            return rk_fail(err, RK_ERR_FORMAT,
                           "token %" PRId64 " is in cluster %g, expected a whole number from 0 to "
                           "%" PRId64,
                           t, (double)x, c->n - 1);
        c->begin[(int64_t)x + 1]++;
    }
    for (int64_t j = 0; j < c->n; j++) {
        if (c->begin[j + 1] == 0)
            return rk_fail(err, RK_ERR_FORMAT, "cluster %" PRId64 " has no tokens", j);
        c->log_size[j] = log((double)c->begin[j + 1]);
        c->begin[j + 1] += c->begin[j];
    }
    return RK_OK;
}

rk_status rk_clusters_new(rk_clusters **out, int64_t n, int64_t n_vocab, const float *cluster_of,
                          rk_error *err)
{
    rk_clusters *c = calloc(1, sizeof *c);
    int32_t *at = calloc((size_t)n, sizeof *at);
    if (c) {
        *c = (rk_clusters){.n = n, .n_vocab = n_vocab, .share = 0.95, .min = 3, .max = 100};
        c->begin = calloc((size_t)n + 1, sizeof *c->begin);
        c->tokens = calloc((size_t)n_vocab, sizeof *c->tokens);
        c->log_size = calloc((size_t)n, sizeof *c->log_size);
    }
    rk_status st = at && c && c->begin && c->tokens && c->log_size
                       ? count(c, cluster_of, err)
                       : rk_fail(err, RK_ERR_NOMEM, "out of memory for clusters of tokens");
    for (int64_t t = 0; t < n_vocab && st == RK_OK; t++) {
        const int64_t j = (int64_t)cluster_of[t];
        c->tokens[c->begin[j] + at[j]++] = (int32_t)t;
    }
    free(at);
    if (st == RK_OK)
        *out = c;
    else
        rk_clusters_free(c);
    return st;
}

/* ---- choosing ---- */

static void log_softmax(int64_t n, const float *scores, double *out)
{
    double most = (double)scores[0], sum = 0;
    for (int64_t i = 1; i < n; i++)
        most = fmax(most, (double)scores[i]);
    for (int64_t i = 0; i < n; i++)
        sum += exp((double)scores[i] - most);
    for (int64_t i = 0; i < n; i++)
        out[i] = (double)scores[i] - most - log(sum);
}

/* Does a stand before b? The first one where they are alike. */
static bool is_before(const double *log_q, int32_t a, int32_t b)
{
    return log_q[a] != log_q[b] ? log_q[a] > log_q[b] : a < b;
}

int64_t rk_clusters_choose(const rk_clusters *c, const float *scores, double *log_q, int32_t *order)
{
    const int64_t max = rk_min_i64(c->max, c->n);
    double sum = 0;
    int64_t m = 0;
    log_softmax(c->n, scores, log_q);
    for (int64_t i = 0; i < c->n; i++)
        order[i] = (int32_t)i;
    while (m < max && (m < c->min || sum < c->share)) {
        int64_t best = m;
        for (int64_t i = m + 1; i < c->n; i++)
            if (is_before(log_q, order[i], order[best]))
                best = i;
        const int32_t j = order[best];
        order[best] = order[m];
        order[m++] = j;
        sum += exp(log_q[j]);
    }
    return m;
}

/* ---- the others ---- */

/* log of the sum of exp over the tokens of the chosen; *chosen: of their q. */
static double log_sum(const rk_clusters *c, const double *log_q, const int32_t *order,
                      int64_t n_chosen, const float *logits, double *chosen)
{
    double most = -(double)INFINITY, sum = 0, q = 0;
    for (int64_t i = 0; i < n_chosen; i++)
        for (int32_t t = c->begin[order[i]]; t < c->begin[order[i] + 1]; t++)
            most = fmax(most, (double)logits[c->tokens[t]]);
    for (int64_t i = 0; i < n_chosen; i++) {
        q += exp(log_q[order[i]]);
        for (int32_t t = c->begin[order[i]]; t < c->begin[order[i] + 1]; t++)
            sum += exp((double)logits[c->tokens[t]] - most);
    }
    *chosen = log(q);
    return most + log(sum);
}

void rk_clusters_spread(const rk_clusters *c, const double *log_q, const int32_t *order,
                        int64_t n_chosen, float *logits)
{
    double chosen;
    const double all = log_sum(c, log_q, order, n_chosen, logits, &chosen);
    for (int64_t i = n_chosen; i < c->n; i++) {
        const int32_t j = order[i];
        const float each = (float)(all + log_q[j] - chosen - c->log_size[j]);
        for (int32_t t = c->begin[j]; t < c->begin[j + 1]; t++)
            logits[c->tokens[t]] = each;
    }
}
