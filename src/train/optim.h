/* optim.h: the update of a model's parameters from their gradients, by groups. */
#ifndef RK_TRAIN_OPTIM_H
#define RK_TRAIN_OPTIM_H

#include "tensor/ctx.h"

/* A parameter with what its update needs; the arrays have its tensor's n elements. */
typedef struct rk_update {
    int64_t n;
    float *weight, *grad, *m, *v;
    double lr_scale; /* of its group */
    bool decay;      /* its group decays */
} rk_update;

/* AdamW with decoupled decay: `a` holds the step's rates; the groups' factors come on top. */
void rk_optim_adamw(rk_ctx *ctx, const rk_update *u, int64_t n, const rk_adamw *a);
/* SGD with momentum, which uses m alone. */
void rk_optim_sgd(rk_ctx *ctx, const rk_update *u, int64_t n, double lr, double momentum,
                  double weight_decay, double grad_scale);
/* Euclidean norm of all gradients: sums of squares of fixed pieces, added in order. partial has
 * room for rk_optim_norm_parts values. *at (may be NULL) is the first parameter whose gradient is
 * not finite, or -1. */
int64_t rk_optim_norm_parts(const rk_update *u, int64_t n);
double rk_optim_grad_norm(rk_ctx *ctx, const rk_update *u, int64_t n, double *partial, int64_t *at);

#endif
