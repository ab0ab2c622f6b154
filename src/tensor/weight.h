/* weight.h: the weight of a linear layer: a matrix of any type, a low-rank pair in place of it or
 * added to it, and adapters, which add to either what was trained beside it.
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

typedef struct rk_weight {
    rk_tensor *matrix; /* NULL: the low-rank pair replaces it */
    rk_layout layout;
    const rk_low_rank *low_rank; /* NULL: none */
    /* The products with this weight and with the one behind it are one, of records (sparse_mix.h); NULL:
     * they are not. */
    const struct rk_sparse_mix *records;
    int adapted_as; /* where adapters of this weight stand in rk_adapted_rows.of; 0: it has none */
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

/* ---- adapters ---- */

/* What is added to the products of one weight. Kinds are in nn/adapter.h. Most are products of two
 * steps, whose first ones are computed beside those of the weight; others compute rows to be added by
 * operations of their own. */
typedef struct rk_adapter rk_adapter;
struct rk_adapter {
    const rk_adapter *next; /* another one of the same weight; NULL: the last */
    /* scale up(down(x)). down (rank, in), or NULL: element k of `rank` is the sum of those x_i where
     * i mod rank is k. up (out, rank), or as `layout` says; where it has fewer outputs than the weight
     * they are repeated. NULL: `added` is there in its place. */
    rk_tensor *down, *up;
    int64_t rank;
    rk_layout layout; /* of up */
    double scale;
    /* Rows (..., out) that are added for x (..., in). */
    rk_tensor *(*added)(rk_ctx *ctx, const rk_adapter *a, const rk_weight *w, rk_tensor *x);
    /* (out): what the sum, this adapter's part included and the caller's summand not, is multiplied with;
     * NULL: nothing. */
    rk_tensor *(*gain)(rk_ctx *ctx, const rk_adapter *a, const rk_weight *w);
    rk_tensor *magnitude;  /* (out): the same once more, trained; NULL: none */
    rk_tensor *tensors[2]; /* of `added` and `gain` */
    double dropout;        /* of x, while recording */
    uint64_t index;        /* which keys its draws */
};

/* Adapters of the streams [lo, hi) of a forward. */
typedef struct rk_adapted_rows {
    const rk_adapter *const *of; /* by rk_weight.adapted_as; NULL where a weight has none */
    int64_t lo, hi;
} rk_adapted_rows;

/* Those of all streams of a forward, in order and apart; while a tape records, of all alike. */
struct rk_adapting {
    const rk_adapted_rows *rows;
    int n;
    int64_t n_streams;
};

/* The inputs of output o of a matrix of any type, (in) in f32. */
void rk_matrix_row(const rk_tensor *w, rk_layout layout, int64_t o, float *row);

/* A matrix of any type as reals, which operations of all kinds take; f32 and f64 are returned as they
 * are. No gradient goes through it otherwise. */
rk_tensor *rk_as_reals(rk_ctx *ctx, rk_tensor *w);

/* The matrix (out, in) that a weight with its adapters is, made by operations, for those who need more
 * than its products: the matrix itself where nothing is added.
 * Fails with RK_ERR_UNSUPPORTED where an adapter is no product of two steps. */
rk_tensor *rk_weight_matrix(rk_ctx *ctx, const rk_weight *w);
/* Does a stream of this forward have an adapter of this weight? */
bool rk_weight_is_adapted(const rk_ctx *ctx, const rk_weight *w);

#endif
