/* wuneng.h: state heads and middle heads beside softmax attention (arXiv 2504.19191, of which no code is
 * known): the heads of a recurrence as RWKV-7 has them, and heads that read one attention head and one
 * state head at the same token. The mixer of a layer is
 *
 *     y = W_o A + W_s R + W_m M        A attention heads, R state heads, M middle heads
 *
 * and with W_s = W_m = 0 the host's own. */
#ifndef RK_NN_WUNENG_H
#define RK_NN_WUNENG_H

#include "tensor/ops.h"

enum { RK_WUNENG_TAPS_MAX = 8 };

/* D = H_s N channels of H_s state heads. Options without their tensors are off. */
typedef struct rk_state_heads {
    rk_tensor *x_r, *x_w, *x_k, *x_v, *x_a, *x_g; /* (C) mixes */
    rk_weight receptance, key, value;             /* (D, C) */
    rk_tensor *w0, *a0;                           /* (D) */
    rk_weight w1, w2, a1, a2;                     /* (C, r), (r, D) */
    rk_tensor *k_k, *k_a;                         /* (D) */
    rk_tensor *taps;            /* (m, D): of the receptances of the last m tokens */
    rk_tensor *ln_x_w, *ln_x_b; /* (D) */
    rk_tensor *hop;             /* (H_s, N, N): two-hop reading */
    rk_tensor *v0, *r_k;        /* (D), (H_s, N): value residual, bonus */
    rk_weight v1, v2, g1, g2;   /* and the gate's */
} rk_state_heads;

typedef struct rk_state_heads_io {
    int64_t n_head, head_size;
    double removal;   /* factor of what a state removes; 1 as in RWKV-7 */
    rk_tensor *value; /* (B, T, in) that values are projected from; NULL: from x */
    rk_tensor *shift; /* (B, C): the row before, replaced by the last one */
    rk_tensor *wkv;   /* (B, H_s, N, N), replaced */
    rk_tensor *
        history; /* (B, m - 1, D): receptances of the tokens before, the last one first; replaced */
    rk_tensor
        *v_first; /* for the value residual: NULL in the first such layer, which leaves its value */
} rk_state_heads_io;

/* R (B, T, D) of x (B, T, C), the normalised input. */
rk_tensor *rk_state_heads_forward(rk_ctx *ctx, const rk_state_heads *p, rk_tensor *x,
                                  rk_state_heads_io *io);

/* How a middle head joins its attention head a (d) and its state head s (N). */
typedef enum rk_middle_mode {
    RK_MIDDLE_GATE,   /* g a + (1 - g) U s, g = sigmoid(W [a; s] + b) */
    RK_MIDDLE_CONCAT, /* W [a; s] */
    RK_MIDDLE_ADD,    /* a + U s */
    RK_MIDDLE_QUERY,  /* attention with the query q + U s */
    RK_MIDDLE_MODES
} rk_middle_mode;

/* Of H_m heads. A mode's tensors are there, the others are not. */
typedef struct rk_middle_heads {
    rk_tensor *join;           /* (H_m, d, d + N): concat's or gate's W */
    rk_tensor *up;             /* (H_m, d, N) */
    rk_tensor *bias;           /* (H_m, d) */
    const int32_t (*pairs)[2]; /* (H_m): attention head, state head */
} rk_middle_heads;

/* M (B, T, H_m d) of attention (B, T, H, d) and state heads (B, T, H_s, N); not RK_MIDDLE_QUERY. */
rk_tensor *rk_middle_heads_forward(rk_ctx *ctx, const rk_middle_heads *p, rk_middle_mode mode,
                                   rk_tensor *attention, rk_tensor *states);
/* The queries q + U s of RK_MIDDLE_QUERY, (B, T, H_m, d) of q (B, T, H, d). */
rk_tensor *rk_middle_queries(rk_ctx *ctx, const rk_middle_heads *p, rk_tensor *q,
                             rk_tensor *states);

#endif
