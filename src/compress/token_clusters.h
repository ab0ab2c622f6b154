/* token_clusters.h: a model's tokens in clusters by their embeddings: principal directions, k-means. */
#ifndef RK_COMPRESS_TOKEN_CLUSTERS_H
#define RK_COMPRESS_TOKEN_CLUSTERS_H

#include "base/pool.h"
#include "tensor/tensor.h"

/* Which cluster each row of the table emb (V, C) is in, from 0; *n: how many there are, before: how many are
 * asked for. Embeddings are seen along their RK_CLUSTER_DIRECTIONS principal directions at most. A cluster
 * above four times the mean size is cut in two, again and again; none is empty. The same for any number of
 * threads.
 * Errors  RK_ERR_ARG: more clusters than tokens; RK_ERR_NUMERIC: a number is not finite; RK_ERR_NOMEM. */
enum { RK_CLUSTER_DIRECTIONS = 200 };
rk_status rk_token_clusters(const rk_tensor *emb, uint64_t seed, rk_pool *pool, int64_t *n,
                            int32_t *cluster_of, rk_error *err);

#endif
