/* state_pairs.h: initial states of low rank: U V^T of each head in place of a whole matrix. */
#ifndef RK_TUNE_STATE_PAIRS_H
#define RK_TUNE_STATE_PAIRS_H

#include "model/model.h"

/* Put U and V (H, N, rank) of every layer behind m's parameters, U normal with a deviation of 0.02 and V zero,
 * and let training begin streams with S0 + U V^T, S0 being the model's initial state, which stays.
 * Errors  RK_ERR_UNSUPPORTED: states that are no matrices; RK_ERR_ARG: a rank above N. */
rk_status rk_state_pairs_attach(rk_model *m, int64_t rank, uint64_t seed, rk_error *err);
/* S0 + U V^T of a layer as it is now, (H, N, N). */
void rk_state_pairs_sum(const rk_model *m, int64_t layer, const rk_tensor *s0, float *to);

#endif
