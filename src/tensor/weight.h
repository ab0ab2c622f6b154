/* weight.h: the weight of a linear layer: a matrix of any type, a low-rank pair in place of it or
 * added to it, and an adapter, which changes either.
 *
 * Models hold weights and multiply activations with them (rk_linear, rk_linears in ops.h) without
 * knowing which of these a weight consists of. weight.c turns it into matrix products. */
#ifndef RK_WEIGHT_H
#define RK_WEIGHT_H

#include "tensor/ctx.h"

/* How a matrix is stored: (out, in) as torch's linear layers, or (in, out), as low-rank pairs. */
typedef enum rk_layout { RK_OUT_IN, RK_IN_OUT } rk_layout;

/* A low-rank product: y = scale * between(x down) up + diagonal * x. */
typedef struct rk_low_rank {
    rk_tensor *down, *up; /* (in, rank) and (rank, out), or as `layout` says; of any type */
    rk_layout layout;
    rk_unary between;    /* activation between the two; RK_UNARY_NONE, or relu^2 in RWKV-Lite */
    rk_tensor *diagonal; /* (out), where in == out; NULL: none */
    double scale;        /* of the pair's result, not of the diagonal's */
} rk_low_rank;

typedef struct rk_adapter rk_adapter;

typedef struct rk_weight {
    rk_tensor *matrix; /* NULL: the low-rank pair replaces it */
    rk_layout layout;
    const rk_low_rank *low_rank; /* NULL: none */
    const rk_adapter *adapter;   /* NULL: none */
} rk_weight;

static inline rk_weight rk_weight_of(rk_tensor *matrix, rk_layout layout)
{
    return (rk_weight){.matrix = matrix, .layout = layout};
}

/* Does the model have this weight? Some models lack optional ones. */
static inline bool rk_weight_is_there(const rk_weight *w)
{
    return w->matrix || w->low_rank;
}

/* A weight as a sum of terms, each a product with the same input. */
enum { RK_PAIRS_MAX = 2 };
typedef struct rk_terms {
    rk_tensor *matrix; /* NULL: none */
    rk_layout layout;
    const rk_low_rank *pair[RK_PAIRS_MAX]; /* n_pairs */
    int n_pairs;
} rk_terms;

/* Trained parameters that modify a frozen weight. Kinds of adapters are in nn/adapter.h: apply adds
 * terms or replaces them, with operations of its own where it needs any. */
struct rk_adapter {
    void (*apply)(rk_ctx *ctx, const rk_adapter *a, rk_terms *t);
    rk_low_rank pair;  /* of kinds that add one */
    rk_tensor *tensor; /* of kinds that change the matrix */
};

#endif
