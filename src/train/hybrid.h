/* hybrid.h: which layers of a student keep the attention of its teacher. */
#ifndef RK_TRAIN_HYBRID_H
#define RK_TRAIN_HYBRID_H

#include "model/model.h"
#include "train/run.h"

/* What --layers says of a model of n_layer layers: "all" are converted, or those of a list ("0-3,5"), or
 * "auto:N": all but N. *kept are the others; *n_auto is N, and then *kept is empty.
 * Errors  RK_ERR_ARG: it is none of these, or names a layer that is not there. */
rk_status rk_hybrid_parse(const char *layers, int64_t n_layer, rk_layer_set *kept, int64_t *n_auto,
                          rk_error *err);

/* The n layers of an aligned student whose mixers are furthest from the teacher's: the distance of what
 * they give, over the length of what the teacher gives, on held-out windows of p's data. Says them to
 * env->out.
 * Errors  RK_ERR_ARG: no window is held out, or the student has too few layers; those of the task align. */
rk_status rk_hybrid_choose(const rk_run_params *p, const rk_run_env *env, const rk_model *student,
                           int64_t n, rk_layer_set *kept, rk_error *err);

#endif
