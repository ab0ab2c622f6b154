/* calibrate.h: mean squares of the activations that each matrix is multiplied with, over a text.
 *
 * An error in a weight counts by the square of the activation that it is multiplied with, so the
 * mean square of each input is the weight of the squared errors of its column (arXiv 2210.17323 has
 * the reasoning; llama.cpp calls it an importance matrix). */
#ifndef RK_COMPRESS_CALIBRATE_H
#define RK_COMPRESS_CALIBRATE_H

#include "base/progress.h"
#include "format/format.h"

typedef struct rk_calibration rk_calibration;

/* Evaluate tokens (n) of a text in windows of ctx_len, each from the model's initial state.
 * Memory  a double for each input of each matrix.
 * Errors  RK_ERR_ARG: fewer than two tokens, or ids outside the vocabulary; RK_ERR_ABORTED. */
rk_status rk_calibrate(rk_calibration **out, const rk_model *m, rk_engine *e, const int32_t *tokens,
                       int64_t n, int64_t ctx_len, rk_progress_fn *progress, void *user,
                       rk_error *err);
void rk_calibration_free(rk_calibration *c);
/* Mean squares (inputs of the matrix), all above zero; NULL: the parameter is no factor of a
 * product with the text's activations (the embedding). */
const float *rk_calibration_of(const rk_calibration *c, const rk_param *p);

#endif
