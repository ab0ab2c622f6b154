/* noise.h: the gradient noise scale: how large a batch pays, in sequences.
 *
 * The simple scale of McCandlish and others, "An empirical model of large-batch training" (arXiv
 * 1812.06162, appendix A.1): with gradients g of batches of b < B sequences,
 *     |G|^2 = (B |g_B|^2 - b |g_b|^2) / (B - b),  S = (|g_b|^2 - |g_B|^2) / (1/b - 1/B)
 * are unbiased estimates of the true gradient's square and of the trace of the covariance of one
 * sequence's; the scale is S / |G|^2. Both are noisy, so running means of them are divided. A batch much
 * smaller than the scale averages too little, one much larger spends tokens that save no steps. */
#ifndef RK_TRAIN_NOISE_H
#define RK_TRAIN_NOISE_H

#include <stdint.h>

/* Running means of |G|^2 and S over some fifty steps; zeros to begin with. */
typedef struct rk_noise {
    double grad, spread;
} rk_noise;

/* small, whole: mean square norm of the gradients of `slices` equal parts of a batch, each a mean over
 * its sequences, and that of the whole batch of `batch` sequences. */
void rk_noise_add(rk_noise *n, int64_t batch, int64_t slices, double small, double whole);
/* NAN where the means do not tell. */
double rk_noise_scale(const rk_noise *n);

#endif
