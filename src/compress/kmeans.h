/* kmeans.h: k-means: k-means++ (Arthur and Vassilvitskii, SODA 2007) and Lloyd's iterations. */
#ifndef RK_COMPRESS_KMEANS_H
#define RK_COMPRESS_KMEANS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/pool.h"

typedef struct rk_kmeans {
    int64_t n, dim, k;
    const float *x; /* (n, dim) */
    float *centres; /* (k, dim), k <= n */
    rk_pool *pool;  /* for distances; NULL: the caller's thread alone. No result depends on it */
} rk_kmeans;

/* Fill in the centres. False: no memory, or a value is not finite. */
bool rk_kmeans_run(const rk_kmeans *q, int n_iterations, uint64_t seed);
/* The nearest centre of each x, the first of several: (n). */
void rk_kmeans_label(const rk_kmeans *q, int32_t *labels);
/* The median over x of the squared distance to the nth nearest centre. False as above. */
bool rk_kmeans_distance(const rk_kmeans *q, int nth, double *out);

#endif
