/* rwkv7.h: the mixers of RWKV-7, for any architecture that has them in its blocks. */
#ifndef RK_NN_RWKV7_H
#define RK_NN_RWKV7_H

#include "nn/grouped.h"

/* Tensors by their checkpoint names. Without x_g, g1 and g2 there is no gate, without ln_x_w and ln_x_b
 * no group norm. */
typedef struct rk_rwkv7_time_mix {
    rk_tensor *x_r, *x_w, *x_k, *x_v, *x_a, *x_g; /* (C) mixes */
    rk_tensor *w0, *a0, *v0;                      /* (C) */
    rk_weight w1, w2, a1, a2, v1, v2, g1, g2;     /* (C,r), (r,C) */
    rk_tensor *k_k, *k_a, *r_k;                   /* (C), (C), (H,N) */
    rk_weight receptance, key, value, output;     /* (C,C), or (D,C) and (C,D), see below */
    rk_tensor *ln_x_w, *ln_x_b;                   /* (C) */
    rk_feature_path path;                         /* without u: there is none */
} rk_rwkv7_time_mix;

typedef struct rk_rwkv7_time_mix_io {
    rk_tensor *shift;   /* (B, C): in the row before, out the last row */
    rk_tensor *wkv;     /* (B, H, N, N): the recurrent state, replaced */
    rk_tensor *path;    /* (B, H, M, M): that of the path beside it, replaced */
    rk_tensor *v_first; /* NULL in the first layer, which leaves its value here */
    rk_wkv7_in *read;   /* as in rk_rwkv7_heads_in */
} rk_rwkv7_time_mix_io;

/* residual (NULL: nothing) + time mix of x (B, T, C), the normalised input. Heads may be more or fewer than
 * C / N: D = H N channels. Those of key and value that receptance does not have (behind r_k's H) are states
 * that nobody reads here. */
rk_tensor *rk_rwkv7_time_mix_forward(rk_ctx *ctx, const rk_rwkv7_time_mix *p, rk_tensor *x,
                                     rk_tensor *residual, const rk_rwkv7_form *form,
                                     rk_rwkv7_time_mix_io *io);

/* The same with reads of attention in the place of mixes and projections: RAD-RWKV7's (arXiv 2505.03005).
 * Of p's tensors those of the shift are not looked at; form->scale says what becomes of y without a group
 * norm. */
rk_tensor *rk_rwkv7_grouped_mix_forward(rk_ctx *ctx, const rk_rwkv7_time_mix *p,
                                        const rk_grouped_reads *own, rk_tensor *x,
                                        rk_tensor *residual, const rk_rwkv7_form *form,
                                        rk_rwkv7_time_mix_io *io);

typedef struct rk_rwkv7_channel_mix {
    rk_tensor *x_k;            /* (C) */
    rk_weight key, value;      /* (F,C), (C,F) */
    rk_tensor *s_emb, *s0;     /* DeepEmbed, all five or none: (V,D D), (F) */
    rk_weight s_emb_x, s1, s2; /* (D D,C), (C,D), (D,F) */
} rk_rwkv7_channel_mix;

/* residual + W_v (relu(W_k x')^2 * s) with x' the shifted mix; *shift as above. s is 1, or with
 * DeepEmbed s0 + x s1 M s2, where M (D,D) belongs to the token: the elements of s_emb[id] +
 * s_emb_x emb. ids (B,T) and emb (B,T,C) are read for it alone. */
rk_tensor *rk_rwkv7_channel_mix_forward(rk_ctx *ctx, const rk_rwkv7_channel_mix *p, rk_tensor *ids,
                                        rk_tensor *emb, rk_tensor *x, rk_tensor *residual,
                                        rk_tensor **shift);

#endif
