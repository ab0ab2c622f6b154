/* distill.h: what a student begins with. */
#ifndef RK_TRAIN_DISTILL_H
#define RK_TRAIN_DISTILL_H

#include "train/run.h"

/* Words of --init, in the order of rk_distill_options.start. */
enum { RK_STUDENT_COPY, RK_STUDENT_COPY_SCALED, RK_STUDENT_RANDOM };

/* What a run begins with beside its options; zero: with what they name. */
typedef struct rk_distill_begun {
    char *path;       /* of the model that was made for it; to be freed */
    bool made;        /* here and now, */
    bool made_folder; /* and the run's folder, too */
} rk_distill_begun;

/* Where p has a teacher and no model to begin with: make one of p's architecture and the teacher's sizes, its
 * body the teacher's and its mixers as p->distill.start says, and let p begin with it. Where p->distill.layers
 * says so, layers are the teacher's as they are: of that model, or of the student that p begins with. It lies
 * in p->dir as start.safetensors, unless a run that goes on has it there. Else nothing happens.
 * Errors  RK_ERR_ARG: sizes or layers that do not fit; RK_ERR_UNSUPPORTED: nothing is known of how to copy;
 *         those of rk_model_open, rk_model_save and rk_hybrid_choose. Nothing is then left in p->dir. */
rk_status rk_distill_start(rk_run_params *p, const rk_run_env *env, rk_distill_begun *begun,
                           rk_error *err);
/* After a run: where it did not get as far as having a folder of its own, what was made is removed. */
void rk_distill_end(rk_distill_begun *begun, const rk_run_params *p);

#endif
