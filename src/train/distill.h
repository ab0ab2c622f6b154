/* distill.h: what a student begins with. */
#ifndef RK_TRAIN_DISTILL_H
#define RK_TRAIN_DISTILL_H

#include "train/run_options.h"

/* Words of --init, in the order of rk_distill_options.start. */
enum { RK_STUDENT_COPY, RK_STUDENT_COPY_SCALED, RK_STUDENT_RANDOM };

/* Where p has a teacher and no model to begin with: make one of p's architecture and the teacher's sizes, its
 * body the teacher's and its mixers as p->distill.start says, and let p begin with it. It lies in p->dir as
 * start.safetensors, unless a run that goes on has it there. *path is to be freed. Else nothing happens.
 * Errors  RK_ERR_ARG: sizes that do not fit; RK_ERR_UNSUPPORTED: nothing is known of how to copy;
 *         those of rk_model_open and rk_model_save. */
rk_status rk_distill_start(rk_run_params *p, char **path, rk_error *err);

#endif
