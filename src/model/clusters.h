/* clusters.h: the tokens of a model in clusters, for a head that scores few of them exactly (the hierarchical
 * head of RWKV-Lite, arXiv 2412.10856).
 *
 * A small product gives each cluster a score; q is their softmax. The likeliest clusters are chosen, and
 * their tokens have the scores l of the whole head. What is left of the probability goes to the others:
 * with S the sum of exp(l) over the chosen and P that of their q, cluster j has S q_j / P in all, an n_j-th
 * of it for each of its n_j tokens. After a softmax the chosen have P together and each other cluster
 * exactly q_j. */
#ifndef RK_MODEL_CLUSTERS_H
#define RK_MODEL_CLUSTERS_H

#include <stdint.h>

#include "base/error.h"

typedef struct rk_clusters {
    int64_t n, n_vocab;
    int32_t *begin; /* (n + 1): where the tokens of each begin */
    /* (n_vocab), rising within a cluster: the order in which the head's rows lie. */
    int32_t *tokens;
    double *log_size; /* (n) of the number of tokens */
    /* Chosen are the likeliest until they have this share of q, but at least so many, at most so many. */
    double share;
    int64_t min, max;
} rk_clusters;

/* cluster_of (n_vocab): the cluster of each token, as files have it.
 * Errors  RK_ERR_FORMAT: no whole number below n, or a cluster without tokens; RK_ERR_NOMEM. */
rk_status rk_clusters_new(rk_clusters **out, int64_t n, int64_t n_vocab, const float *cluster_of,
                          rk_error *err);
void rk_clusters_free(rk_clusters *c);

/* log_q (n) = log softmax of scores (n); order (n): the chosen ones, the likeliest first, then the others.
 * Returns how many are chosen. */
int64_t rk_clusters_choose(const rk_clusters *c, const float *scores, double *log_q,
                           int32_t *order);
/* Logits (n_vocab) of the tokens of order[n_chosen] to its end, from those of the chosen before. */
void rk_clusters_spread(const rk_clusters *c, const double *log_q, const int32_t *order,
                        int64_t n_chosen, float *logits);

#endif
