/* memory.h: what a trainer holds beside a step's arena: weights, what its optimiser keeps for those
 * that are trained, their gradients.
 *
 * Of a model that is made new all weights are held here; of one that was opened from a file those that
 * are trained, in f32, while the others stay in the file's pages as they are. */
#ifndef RK_TRAIN_MEMORY_H
#define RK_TRAIN_MEMORY_H

#include "train/checkpoint.h"
#include "train/optim.h"

typedef struct rk_train_memory {
    const rk_optimizer *optimizer;
    float *floats; /* weights, the optimiser's states, the gradient, one more for each level */
    float *grad;   /* in it */
    int64_t n_weights, n_trained; /* floats of the weights; of the gradient and of each state */
    rk_named_array *weights, *states[RK_OPTIM_STATES_MAX];
    int64_t n_weight_arrays, n_state_arrays; /* of each state */
    rk_update *update;                       /* of the parameters that are trained and used */
    int64_t n_update;
} rk_train_memory;

/* levels: gradients beside the first. rk_param.trained says what is trained. */
size_t rk_train_memory_bytes(const rk_model *m, const rk_optimizer *o, int levels);
/* Parameters that are held get their tensors' memory here, those of a file their values. On failure
 * *t is as after rk_train_memory_deinit. */
rk_status rk_train_memory_init(rk_train_memory *t, rk_model *m, const rk_optimizer *o, int levels,
                               rk_error *err);
void rk_train_memory_deinit(rk_train_memory *t);

#endif
