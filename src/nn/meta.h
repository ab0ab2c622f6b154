/* meta.h: Meta-State's channel mix: RWKV-7's, whose keys also see what states of the recurrence beside it
 * answer to the token (arXiv 2504.08247; docs/meta-state.md). */
#ifndef RK_NN_META_H
#define RK_NN_META_H

#include "tensor/ops.h"

typedef struct rk_meta_mix {
    rk_tensor *x_k;       /* (C) */
    rk_weight key, value; /* (n, C), (C, n): what n parameter tokens look for and give */
    rk_tensor *gamma;     /* (H_m N); NULL: no state is asked, and this is RWKV-7's channel mix */
} rk_meta_mix;

typedef struct rk_meta_mix_io {
    rk_tensor *shift; /* (B, C): in the row before, out the last row */
    rk_tensor *state; /* as rk_self_state takes them */
    const rk_wkv7_in *wkv;
    const rk_self_state_form *asks;
    const rk_route_form *route; /* NULL: every parameter token takes part */
} rk_meta_mix_io;

/* residual + channel mix of x (B, T, C), the normalised input. */
rk_tensor *rk_meta_mix_forward(rk_ctx *ctx, const rk_meta_mix *p, rk_tensor *x, rk_tensor *residual,
                               rk_meta_mix_io *io);

#endif
