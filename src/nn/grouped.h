/* grouped.h: heads as grouped-query attention has them (arXiv 2305.13245), for recurrences that took its
 * place and kept its projections: fewer heads of keys and values than of queries, biases, and maybe a
 * rotary embedding. */
#ifndef RK_NN_GROUPED_H
#define RK_NN_GROUPED_H

#include "tensor/ops.h"

typedef struct rk_grouped_reads {
    int64_t n_head, n_kv_head;           /* H, G */
    rk_tensor *q_bias, *k_bias, *v_bias; /* H N, G N, G N elements; NULL: none */
    rk_weight gate;                      /* (H N, C), a whole gate; without matrix: none */
    rk_tensor *positions;                /* (B, T); NULL: no rotary embedding */
    double theta;                        /* of that */
} rk_grouped_reads;

/* (B, T, n N) as (B, T, n, N), and back; NULL stays NULL. */
rk_tensor *rk_as_heads(rk_ctx *ctx, rk_tensor *x, int64_t n);
rk_tensor *rk_as_rows(rk_ctx *ctx, rk_tensor *x);
/* Receptances (B, T, H N), keys and values (B, T, G N) as they come out of their products, into (B, T, H,
 * N): biases added, receptances and keys turned, and each head of keys and values as often as it is
 * read, one beside the other. */
void rk_grouped_heads(rk_ctx *ctx, const rk_grouped_reads *p, rk_tensor **r, rk_tensor **k,
                      rk_tensor **v);

#endif
