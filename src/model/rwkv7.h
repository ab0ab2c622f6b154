/* rwkv7.h: the tensors of an RWKV-7 model where forward finds them. */
#ifndef RK_RWKV7_H
#define RK_RWKV7_H

#include "model/model.h"

typedef struct rwkv7_top {
    rk_tensor *emb, *ln0_w, *ln0_b, *ln_out_w, *ln_out_b, *head;
} rwkv7_top;

typedef struct rwkv7_layer {
    rk_tensor *ln1_w, *ln1_b, *ln2_w, *ln2_b;
    rk_tensor *x_r, *x_w, *x_k, *x_v, *x_a, *x_g;                    /* (C) mixes */
    rk_tensor *w0, *w1, *w2, *a0, *a1, *a2, *v0, *v1, *v2, *g1, *g2; /* low-rank (C,r), (r,C) */
    rk_tensor *k_k, *k_a, *r_k;
    rk_tensor *receptance, *key, *value, *output, *ln_x_w, *ln_x_b;
    rk_tensor *ffn_x_k, *ffn_key, *ffn_value;
} rwkv7_layer;

#endif
