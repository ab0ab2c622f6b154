/* init.h: initial values that parameter tables name (BlinkDL/RWKV-LM, RWKV-v7/train_temp). With L
 * layers, layer l, channel n of C: r01 = l/(L-1) (0 when L = 1), r10 = 1 - l/L, z = n/C,
 * lin = n/(C-1) - 0.5, zeta = ((n mod N) - (N-1)/2)/((N-1)/2), zz = zeta |zeta|; `arg` is the
 * table's. */
#ifndef RK_INIT_H
#define RK_INIT_H

#include "model/model.h"

rk_init_fn rk_init_constant; /* arg */
rk_init_fn rk_init_uniform;  /* in [-arg, arg) */
rk_init_fn rk_init_normal;   /* of deviation arg */
rk_init_fn rk_init_linear;   /* in [-arg, arg) / sqrt(C): torch's linear layers */
rk_init_fn rk_init_w0;       /* -6 + 6 (n/(C-1))^(1 + r01^0.3) + 0.5 + 2.5 zz */
rk_init_fn rk_init_a0;       /* -0.19 + 0.3 zz + 0.4 lin */
rk_init_fn rk_init_slope;    /* arg - 0.4 lin */
rk_init_fn rk_init_k_k;      /* arg - 0.1 lin */
rk_init_fn rk_init_ln_x;     /* ((1 + l)/L)^arg */
/* Of the versions before: mixes that weigh the row itself, and those that weigh the one before. */
rk_init_fn rk_init_share;   /* z^(arg r10) */
rk_init_fn rk_init_share_v; /* z^(arg r10) + 0.3 r01 */
rk_init_fn rk_init_maa;     /* 1 - z^(arg r10) */
rk_init_fn rk_init_maa_v;   /* 1 - (z^(arg r10) + 0.3 r01) */
rk_init_fn rk_init_maa_k;   /* 1 - (z^(arg r10) + 0.4 r01), and 0.6: ARWKV-7's */
rk_init_fn rk_init_maa_v6;
rk_init_fn rk_init_w0_plain; /* -7 + 5 (n/(C-1))^(0.85 + r01^0.5) + 0.5: likewise */
rk_init_fn rk_init_maa_ffn;  /* 1 - z^(r10^arg) */
/* By the place n of an element among all, n/(all - 1): */
rk_init_fn rk_init_decay4; /* -5 + 8 (n/(C-1))^(0.7 + 1.3 r01) */
rk_init_fn rk_init_decay6; /* -6 + 5 (n/(all-1))^(0.7 + 1.3 r01) */
rk_init_fn rk_init_first4; /* log 0.3 + 0.5 ((n + 1) mod 3 - 1) */
rk_init_fn rk_init_faaaa;  /* r01 (1 - n/(all-1)) + 0.1 ((n + 1) mod 3 - 1) */
/* Orthonormal along the shorter side, times arg: QR of a normal matrix, signs of R's diagonal made
 * positive. tall multiplies by sqrt(rows/cols) where rows > cols. */
rk_init_fn rk_init_orthogonal;
rk_init_fn rk_init_orthogonal_tall;

#endif
