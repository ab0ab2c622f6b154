/* op_linear.h: a node of the op linear: several independent matrix products. */
#ifndef RK_OP_LINEAR_H
#define RK_OP_LINEAR_H

#include "tensor/op.h"

/* Inputs of a node, three for each product in turn: x (..., in), the matrix, and a summand (..., out)
 * to which the product is added, or NULL. An output that the caller has allocated is written in
 * place, which is not allowed while a tape records; it may be the summand itself. */
enum { RK_LINEAR_X, RK_LINEAR_W, RK_LINEAR_ADD, RK_LINEAR_INPUTS };

typedef struct rk_linear_attr {
    rk_layout layout[RK_LINEARS_MAX];
    rk_unary after[RK_LINEARS_MAX];
    /* Products that hang together, in the short class and without a tape: this one is added to rows of
     * product joins - 1, before the function after that; x is the result of product reads - 1. 0: of
     * none. Results that another product names are memory of the caller's. */
    int joins[RK_LINEARS_MAX], reads[RK_LINEARS_MAX];
} rk_linear_attr;

#endif
