/* medium.h: the mixes of RRWKV, RWKV-4 with mediums that look back (docs/rrwkv.md). Rows are those of tokens
 * and mediums (tensor/ops.h); tensors are called as in checkpoints, without their "medium_". */
#ifndef RK_NN_MEDIUM_H
#define RK_NN_MEDIUM_H

#include "nn/rwkv4.h"

/* sigmoid(up relu(down n)) n; without weights, n. */
typedef struct rk_squeeze {
    rk_weight down, up; /* (E,C), (C,E) */
    /* (B,E,C), (B,C,E): the same for each row of a batch, where their gradients are wanted; else NULL */
    rk_tensor *down_rows, *up_rows;
} rk_squeeze;

/* For both mixes of a layer, whose gradients then add up row by row of the batch and not mix by mix: an order
 * that the size of a micro-batch does not change. */
rk_squeeze rk_squeeze_rows(rk_ctx *ctx, const rk_squeeze *p, int64_t batch);

/* What looks back beside RWKV-4's time mix; NULL: that does not. */
typedef struct rk_medium_time_mix {
    rk_tensor *decay, *tau;           /* (C): of the mediums' average, how much of it is taken */
    rk_tensor *mix_k, *mix_v, *mix_r; /* (C): how much of their mean goes to each input */
} rk_medium_time_mix;

typedef struct rk_medium_channel_mix {
    rk_tensor *mix_k, *mix_r; /* (C) */
} rk_medium_channel_mix;

typedef struct rk_medium_state {
    rk_rwkv4_state tokens;
    rk_tensor *average; /* (B, 3, C) of mediums as aa, bb, pp of tokens; replaced, as the others */
    rk_tensor *sum;     /* (B, C) of what was squeezed */
} rk_medium_state;

/* As rk_rwkv4_time_mix_forward. */
rk_tensor *rk_medium_time_mix_forward(rk_ctx *ctx, const rk_rwkv4_time_mix *p,
                                      const rk_medium_time_mix *back, const rk_squeeze *squeeze,
                                      const rk_medium_rows *rows, rk_tensor *x, rk_tensor *residual,
                                      rk_medium_state *s);

/* As rk_gated_channel_mix_forward, of RK_MIX_CURRENT. */
rk_tensor *rk_medium_channel_mix_forward(rk_ctx *ctx, const rk_gated_channel_mix *p,
                                         const rk_medium_channel_mix *back,
                                         const rk_squeeze *squeeze, const rk_medium_rows *rows,
                                         rk_tensor *x, rk_tensor *residual, rk_tensor **shift,
                                         rk_tensor **sum);

#endif
