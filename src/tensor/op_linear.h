/* op_linear.h: a node of the op linear: several products that do not wait for each other. */
#ifndef RK_OP_LINEAR_H
#define RK_OP_LINEAR_H

#include "tensor/op.h"

/* Its inputs are those of the first product, then those of the next: x (..., in), a matrix, and what
 * the product is added to (..., out) or NULL. An output that is there already is written to: not
 * while recording, and it may be that summand. */
enum { RK_LINEAR_X, RK_LINEAR_W, RK_LINEAR_ADD, RK_LINEAR_INPUTS };

typedef struct rk_linear_attr {
    rk_layout layout[RK_LINEARS_MAX];
    rk_unary after[RK_LINEARS_MAX];
} rk_linear_attr;

#endif
