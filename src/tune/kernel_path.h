/* kernel_path.h: a kernel path for an RWKV-7 model, calibrated on text (arXiv 2504.05097;
 * docs/state-tuning.md). */
#ifndef RK_TUNE_KERNEL_PATH_H
#define RK_TUNE_KERNEL_PATH_H

#include "tune/state.h"

/* Tokens that are enough to calibrate on. */
enum { RK_KERNEL_TOKENS = 4096 };

typedef struct rk_kernel_text {
    const int32_t *tokens; /* (n), windows of ctx_len, each from the model's initial state */
    int64_t n, ctx_len;
} rk_kernel_text;

/* Write what a model that is opened with it (rk_open_options.beside) has beside m's own parameters: support
 * vectors by k-means of the keys and values that the text leads to, the width of the Gaussian, the matrix
 * that leads back from features by ridge regression; gains and states of 0; with basis, unit matrices for
 * what the features are expressed in. The same text gives the same bytes for any number of threads.
 * Errors  RK_ERR_UNSUPPORTED: m is no RWKV-7; RK_ERR_ARG: fewer tokens than there are support vectors. */
rk_status rk_kernel_path_write(const rk_model *m, rk_engine *e, const rk_kernel_text *text,
                               const rk_state_tuning *o, bool basis, const char *path,
                               rk_error *err);

#endif
