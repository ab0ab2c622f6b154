/* examples.h: passes over examples of a batch. */
#ifndef RK_TRAIN_EXAMPLES_H
#define RK_TRAIN_EXAMPLES_H

#include "train/task.h"

/* A model, its task and its options, as a pass sees them; batch NULL while planning. */
typedef struct rk_examples {
    const rk_model *model;
    const rk_task *task;
    const rk_train_params *p;
    const rk_batch *batch;
    double share; /* of a loss in the mean whose gradient is wanted */
} rk_examples;

/* What passes add up to: `counted` losses, and metrics of n examples. */
typedef struct rk_example_sums {
    int64_t n, counted;
    double loss, metrics[RK_TASK_METRICS_MAX];
} rk_example_sums;

/* Add the losses and metrics of examples [first, first + n) of the batch; with the backward pass, the
 * gradients of the losses times `share`, too. Errors are the context's. */
void rk_examples_forward(rk_ctx *ctx, const rk_examples *j, int64_t first, int64_t n,
                         rk_example_sums *to);
void rk_examples_backward(rk_ctx *ctx, const rk_examples *j, int64_t first, int64_t n,
                          rk_example_sums *to);

/* ---- another model within a pass, such as a teacher ---- */

/* What of a context belongs to the model that learns: the tape, its adapters, whoever watches its states. */
typedef struct rk_aside {
    bool recording;
    const struct rk_adapting *adapting;
    void (*watch)(void *user, int64_t layer, const rk_recurrence *x);
} rk_aside;
rk_aside rk_step_aside(rk_ctx *ctx);
void rk_come_back(rk_ctx *ctx, rk_aside was);

#endif
