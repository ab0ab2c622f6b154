/* init.h: initial values that parameter tables name (BlinkDL/RWKV-LM, RWKV-v7/train_temp). With L
 * layers, layer l, channel n of C: r01 = l/(L-1) (0 when L = 1), r10 = 1 - l/L, z = n/C,
 * lin = n/(C-1) - 0.5, zeta = ((n mod N) - (N-1)/2)/((N-1)/2), zz = zeta |zeta|; `arg` is the
 * table's. */
#ifndef RK_INIT_H
#define RK_INIT_H

#include "model/model.h"

rk_init_fn rk_init_constant; /* arg */
rk_init_fn rk_init_uniform;  /* in [-arg, arg) */
rk_init_fn rk_init_mix;      /* 1 - z^(arg r10) */
rk_init_fn rk_init_mix_ffn;  /* 1 - z^(r10^arg) */
rk_init_fn rk_init_w0;       /* -6 + 6 (n/(C-1))^(1 + r01^0.3) + 0.5 + 2.5 zz */
rk_init_fn rk_init_a0;       /* -0.19 + 0.3 zz + 0.4 lin */
rk_init_fn rk_init_slope;    /* arg - 0.4 lin */
rk_init_fn rk_init_k_k;      /* arg - 0.1 lin */
rk_init_fn rk_init_ln_x;     /* ((1 + l)/L)^arg */
/* Orthonormal along the shorter side, times arg: QR of a normal matrix, signs of R's diagonal made
 * positive. tall multiplies by sqrt(rows/cols) where rows > cols. */
rk_init_fn rk_init_orthogonal;
rk_init_fn rk_init_orthogonal_tall;

#endif
