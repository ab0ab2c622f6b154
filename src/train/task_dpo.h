/* task_dpo.h: pairs of answers, of which one is preferred (arXiv 2305.18290). */
#ifndef RK_TRAIN_TASK_DPO_H
#define RK_TRAIN_TASK_DPO_H

#include "train/task.h"

/* The task "dpo": a model learns to prefer what is chosen more than a reference does, which stays as it is:
 * p->distill.reference, or the model that the run begins with. An example is a pair.
 * Errors  RK_ERR_ARG: nothing to begin with; too few pairs; a reference of other tokens; those of
 *         rk_pairs_read and rk_model_open. */
rk_status rk_dpo_open(rk_task **out, rk_run_params *p, const rk_model *base, rk_error *err);

#endif
