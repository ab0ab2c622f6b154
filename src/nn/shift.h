/* shift.h: token shift, for the mixers that look at the row before as a whole. */
#ifndef RK_NN_SHIFT_H
#define RK_NN_SHIFT_H

#include "tensor/ops.h"

/* The row before each row of x (B, T, C); before the first one it is *shift (B, C), which becomes
 * the last row of x. */
rk_tensor *rk_previous_rows(rk_ctx *ctx, rk_tensor *x, rk_tensor **shift);

/* A parameter repeated for each of `batch` rows, (batch, elements). Computing from these copies adds
 * the parameter's gradient up row after row, an order that the size of a micro-batch does not
 * change. */
rk_tensor *rk_for_each_row(rk_ctx *ctx, rk_tensor *param, int64_t batch);

/* The channel mix of RWKV-4, -5 and -6 (arXiv 2305.13048, 2404.05892): tensors by their checkpoint
 * names. */
typedef struct rk_gated_channel_mix {
    rk_tensor *mix_k, *mix_r;         /* (C) */
    rk_weight key, receptance, value; /* (F,C), (C,C), (C,F) */
} rk_gated_channel_mix;

/* What a mix weighs: the row itself (4, 5) or the one before (6). */
typedef enum rk_mix_of { RK_MIX_CURRENT, RK_MIX_PREVIOUS } rk_mix_of;

/* x mixed with the row before, channel by channel. */
rk_tensor *rk_mix_rows(rk_ctx *ctx, rk_mix_of of, rk_tensor *x, rk_tensor *prev, rk_tensor *mix);

/* residual + sigmoid(W_r x_r) * (W_v relu(W_k x_k)^2); *shift as above. */
rk_tensor *rk_gated_channel_mix_forward(rk_ctx *ctx, const rk_gated_channel_mix *p, rk_mix_of of,
                                        rk_tensor *x, rk_tensor *residual, rk_tensor **shift);
/* The same of inputs that are mixed already. */
rk_tensor *rk_gated_channel_mix_of(rk_ctx *ctx, const rk_gated_channel_mix *p, rk_tensor *xk,
                                   rk_tensor *xr, rk_tensor *residual);

#endif
