/* memory.h: what a trainer holds beside a step's arena: weights, what it keeps for those that are
 * trained, their gradients.
 *
 * Of a model that is made new all weights are held here; of one that was opened from a file those that
 * are trained, in f32, while the others stay in the file's pages as they are. */
#ifndef RK_TRAIN_MEMORY_H
#define RK_TRAIN_MEMORY_H

#include "train/checkpoint.h"
#include "train/optim.h"

/* What is kept for a parameter that is trained, beside its gradient: the states of the optimiser, then
 * its running mean (ema.h). */
typedef struct rk_train_keeps {
    const rk_optimizer *optimizer;
    bool average;
    int levels;         /* gradients beside the first */
    bool state_moments; /* running means that go with states (tune/state_step.h) */
} rk_train_keeps;

/* Arrays of all parameters that have them, under a common name. */
typedef struct rk_train_kept {
    rk_named_array *at;
    int64_t n, n_floats;
} rk_train_kept;

typedef struct rk_train_memory {
    rk_train_keeps keeps;
    float *floats;                /* weights, what is kept, the gradient, one more for each level */
    float *grad;                  /* in it */
    float *state_moments;         /* in it; NULL: none */
    int64_t n_weights, n_trained; /* floats of the weights; of the gradient */
    rk_named_array *weights;
    int64_t n_weight_arrays;
    rk_train_kept kept[RK_RUN_STATES_MAX];
    int n_kept;
    rk_update *update; /* of the parameters that are trained and used */
    int64_t n_update;
} rk_train_memory;

/* rk_param.trained says what is trained. */
size_t rk_train_memory_bytes(const rk_model *m, const rk_train_keeps *keeps);
/* Parameters that are held get their tensors' memory here, and those of a model that was opened from a
 * file their values: the file's, or where it lacks them their initial ones with this seed. On failure *t
 * is as after rk_train_memory_deinit. */
rk_status rk_train_memory_init(rk_train_memory *t, rk_model *m, const rk_train_keeps *keeps,
                               uint64_t seed, rk_error *err);
void rk_train_memory_deinit(rk_train_memory *t);
/* What a checkpoint holds of it. */
void rk_train_memory_arrays(const rk_train_memory *t, rk_run_arrays *out);

#endif
