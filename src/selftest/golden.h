/* golden.h: a small model of known weights for RWKV-4, -5, -6, -7 and -7a, and what it must
 * compute.
 *
 * The weights come from a linear congruential generator, so nothing is stored; the results were
 * computed in double by another implementation, gradients by fourth-order central differences. The
 * tests and `rwkv selftest` compare with them. */
#ifndef RK_GOLDEN_H
#define RK_GOLDEN_H

#include "model/model.h"

enum {
    RK_GOLDEN_TOKENS = 5,
    RK_GOLDEN_VOCAB = 11,
    RK_GOLDEN_STATE = 2 * RK_STATE_MAX, /* tensors of its state, at most */
};

typedef struct rk_golden rk_golden;

/* The i-th golden model, NULL past the end; and its architecture's name. */
const rk_golden *rk_golden_at(int i);
const char *rk_golden_name(const rk_golden *g);
/* The model with tensors of RK_F64 or RK_F32; rk_model_close frees it. */
rk_status rk_golden_model(rk_model **out, const rk_golden *g, rk_dtype real, rk_error *err);

/* Largest distances from what is known, each relative to max(1, |known|). */
typedef struct rk_golden_error {
    double weights; /* sum of all parameters, the last parameter */
    double logits, loss, state, grads;
    const char *worst_grad; /* its name */
} rk_golden_error;

/* The mean loss of the five tokens from the first state; beside it their logits and the state after
 * them, RK_GOLDEN_STATE tensors at most. */
rk_tensor *rk_golden_loss(rk_ctx *ctx, rk_model *m, rk_tensor **logits, rk_tensor **state);
/* Forward, loss and backward of the five tokens in a context that runs; recording is switched on.
 */
rk_status rk_golden_compare(rk_ctx *ctx, const rk_golden *g, rk_model *m, rk_golden_error *out,
                            rk_error *err);

#endif
