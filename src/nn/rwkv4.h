/* rwkv4.h: the time mixes of RWKV-4, -5 and -6; their channel mix is in nn/shift.h. Tensors are
 * called as in checkpoints. */
#ifndef RK_NN_RWKV4_H
#define RK_NN_RWKV4_H

#include "nn/grouped.h"
#include "nn/shift.h"

/* ---- RWKV-4 (arXiv 2305.13048) ---- */

typedef struct rk_rwkv4_time_mix {
    rk_tensor *time_decay, *time_first;              /* (C) */
    rk_tensor *time_mix_k, *time_mix_v, *time_mix_r; /* (C) */
    rk_weight key, value, receptance, output;        /* (C,C) */
} rk_rwkv4_time_mix;

typedef struct rk_rwkv4_state {
    rk_tensor *shift, *aa, *bb, *pp; /* (B, C) each; replaced */
} rk_rwkv4_state;

/* residual + W_o (sigmoid(W_r x_r) * wkv). */
rk_tensor *rk_rwkv4_time_mix_forward(rk_ctx *ctx, const rk_rwkv4_time_mix *p, rk_tensor *x,
                                     rk_tensor *residual, rk_rwkv4_state *s);

/* Its steps, for mixes that do more. -e^decay for each row of a batch; what rk_wkv4 takes; and the state that
 * it leaves. */
rk_tensor *rk_rwkv4_decay(rk_ctx *ctx, rk_tensor *decay, int64_t batch);
rk_wkv4_in rk_rwkv4_recurrence(rk_ctx *ctx, const rk_rwkv4_time_mix *p, rk_tensor *k, rk_tensor *v,
                               const rk_rwkv4_state *s);
void rk_rwkv4_take_state(rk_ctx *ctx, rk_tensor *state, rk_rwkv4_state *s);

/* ---- RWKV-5 (arXiv 2404.05892), in the forms that were released ---- */

typedef struct rk_rwkv5_time_mix {
    rk_tensor *time_mix_k, *time_mix_v, *time_mix_r, *time_mix_g; /* (C); g NULL: no gate */
    rk_tensor *time_decay;                          /* (H,N), or (H) for a whole head */
    rk_tensor *time_faaaa, *time_first;             /* the same; one of them, first: its log */
    rk_weight receptance, key, value, gate, output; /* (C,C) */
    rk_tensor *ln_x_w, *ln_x_b;                     /* (C) */
} rk_rwkv5_time_mix;

typedef struct rk_rwkv5_sizes {
    int64_t n_head, head_size;
    double ln_x_eps;
} rk_rwkv5_sizes;

/* residual + W_o (groupnorm(wkv) * silu(W_g x_g)); *shift (B,C), *wkv (B,H,N key,N value). */
rk_tensor *rk_rwkv5_time_mix_forward(rk_ctx *ctx, const rk_rwkv5_time_mix *p, rk_rwkv5_sizes sizes,
                                     rk_tensor *x, rk_tensor *residual, rk_tensor **shift,
                                     rk_tensor **wkv);

/* ---- RWKV-6 (arXiv 2404.05892) ---- */

typedef struct rk_rwkv6_time_mix {
    rk_tensor *maa_x, *maa_w, *maa_k, *maa_v, *maa_r, *maa_g; /* (C) */
    rk_weight maa_w1;                                         /* (C,5m): order w,k,v,r,g */
    rk_tensor *maa_w2;                                        /* (5,m,C) */
    rk_tensor *decay;                                         /* (C) */
    rk_weight decay_w1, decay_w2;                             /* (C,w), (w,C) */
    rk_tensor *faaaa;                                         /* (H,N) */
    rk_weight receptance, key, value, gate, output;           /* (C,C) */
    rk_tensor *ln_x_w, *ln_x_b;                               /* (C) */
} rk_rwkv6_time_mix;

/* As RWKV-5 with mixes and decay that depend on the data. */
rk_tensor *rk_rwkv6_time_mix_forward(rk_ctx *ctx, const rk_rwkv6_time_mix *p, rk_rwkv5_sizes sizes,
                                     rk_tensor *x, rk_tensor *residual, rk_tensor **shift,
                                     rk_tensor **wkv);

/* The same with the reads of grouped-query attention, as QRWKV6 has it (Recursal's QRWKV6-32B): the token
 * itself is read with what was before it, k times 1 - w, the sum over the root of a head, a sigmoid gate
 * and no group norm. Of p the mixes, which are in the order r, k, v, w, g, the decay and the weights. */
rk_tensor *rk_rwkv6_grouped_mix_forward(rk_ctx *ctx, const rk_rwkv6_time_mix *p,
                                        const rk_grouped_reads *own, rk_tensor *x,
                                        rk_tensor *residual, rk_tensor **shift, rk_tensor **wkv);

#endif
