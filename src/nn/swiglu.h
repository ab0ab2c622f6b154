/* swiglu.h: the channel mix of transformers (arXiv 2002.05202): no token shift, and a gate. */
#ifndef RK_NN_SWIGLU_H
#define RK_NN_SWIGLU_H

#include "tensor/ops.h"

typedef struct rk_swiglu_mix {
    rk_weight gate, up, down; /* (F,C), (F,C), (C,F) */
} rk_swiglu_mix;

/* residual + W_down(silu(W_gate x) * (W_up x)) */
rk_tensor *rk_swiglu_mix_forward(rk_ctx *ctx, const rk_swiglu_mix *p, rk_tensor *x,
                                 rk_tensor *residual);

#endif
