/* weight.h: what inputs are multiplied with: a matrix of any type, a low-rank pair in its place or
 * beside it, and what tuning makes of both.
 *
 * Models hold weights and multiply with them (rk_linear, rk_linears in ops.h); what a weight is made
 * of is not known to them. Quantised matrices, low rank and adapters meet in weight.c. */
#ifndef RK_WEIGHT_H
#define RK_WEIGHT_H

#include "tensor/ctx.h"

/* How a matrix is stored: `linear` weights (out, in), low-rank ones (in, out). */
typedef enum rk_layout { RK_OUT_IN, RK_IN_OUT } rk_layout;

/* A product through few dimensions, scale * between(x down) up, and diagonal * x. */
typedef struct rk_low_rank {
    rk_tensor *down, *up; /* to (rank) and from there, both as `layout` says, of any type */
    rk_layout layout;
    rk_unary between;    /* RK_UNARY_NONE: a product of two matrices; relu^2 in RWKV-Lite */
    rk_tensor *diagonal; /* (out), as many as inputs; NULL: none */
    double scale;        /* of what comes through the pair */
} rk_low_rank;

typedef struct rk_adapter rk_adapter;

typedef struct rk_weight {
    rk_tensor *matrix; /* NULL: the pair stands in its place */
    rk_layout layout;
    const rk_low_rank *low_rank; /* NULL: none */
    const rk_adapter *adapter;   /* NULL: none */
} rk_weight;

static inline rk_weight rk_weight_of(rk_tensor *matrix, rk_layout layout)
{
    return (rk_weight){.matrix = matrix, .layout = layout};
}

/* Is there one? Models leave out what some of them do not have. */
static inline bool rk_weight_is_there(const rk_weight *w)
{
    return w->matrix || w->low_rank;
}

/* What a weight is multiplied as: the sum of its terms. */
enum { RK_PAIRS_MAX = 2 };
typedef struct rk_terms {
    rk_tensor *matrix; /* NULL: none */
    rk_layout layout;
    const rk_low_rank *pair[RK_PAIRS_MAX]; /* n_pairs */
    int n_pairs;
} rk_terms;

/* Trained for a weight that stays as it is. Forms stand in nn/adapter.h: each replaces or adds
 * terms, with ops of its own where it takes any. */
struct rk_adapter {
    void (*apply)(rk_ctx *ctx, const rk_adapter *a, rk_terms *t);
    rk_low_rank pair;  /* of forms that add one */
    rk_tensor *tensor; /* of forms that change the matrix */
};

#endif
