/* decorrelate.h: the rule of decorrelated backpropagation (arXiv 2405.02385): a matrix R in front of a
 * layer whose outputs x = R z get uncorrelated elements of unit variance, learned without gradients. */
#ifndef RK_TUNE_DECORRELATE_H
#define RK_TUNE_DECORRELATE_H

#include <stdbool.h>
#include <stdint.h>

typedef struct rk_decorrelation {
    int64_t m;
    double rate, kappa; /* eps; 0: correlations alone, 1: variances alone */
    double least;       /* no update below this mean square of the correlations */
} rk_decorrelation;

/* One update R <- R - rate D R with D = (1 - kappa) C + kappa diag(v): sums (m, m) is the sum of x x^T of n
 * vectors x = R z, and of C, their mean, the diagonal is in v, less 1, and 0 in C itself. sums becomes
 * (I - rate D)^-1, with which a matrix that multiplies x keeps what it did: S <- S sums.
 * work (2 m, m). False: nothing was changed, since the correlations are small enough, or I - rate D is singular. */
bool rk_decorrelate(const rk_decorrelation *d, double *sums, int64_t n, double *work, float *r);

#endif
