/* task_distill.h: learning from a teacher, a model with the same vocabulary (arXiv 2501.15570, 2505.03005). */
#ifndef RK_TRAIN_TASK_DISTILL_H
#define RK_TRAIN_TASK_DISTILL_H

#include "train/task.h"

/* The tasks "align", each layer's first mixer against the teacher's on the teacher's own input, and
 * "distill", the divergence of the next token, of p->task; windows are those of next-token.
 * Errors  RK_ERR_ARG: no teacher; one with fewer tokens, or for align of another shape than base; those of
 *         rk_model_open and rk_next_token_open. */
rk_status rk_distill_open(rk_task **out, rk_run_params *p, const rk_model *base, rk_error *err);

/* A layer of an aligned student: how far what its mixer gives is from what the teacher's does, over the
 * length of that; 0 where the layer is kept. */
typedef struct rk_alignment {
    double distance;
} rk_alignment;

/* Each layer's (n_layer), on windows that are held out. t: of the task align.
 * Errors  RK_ERR_ARG: there are none; those of a forward. */
rk_status rk_distill_alignment(const rk_task *t, const rk_model *student, rk_engine *e,
                               rk_alignment *layers, rk_error *err);

#endif
