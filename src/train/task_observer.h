/* task_observer.h: learning to tell the states of a larger model (tune/observer.h). */
#ifndef RK_TRAIN_TASK_OBSERVER_H
#define RK_TRAIN_TASK_OBSERVER_H

#include "train/task.h"

/* Tokens that the teacher goes on for from a state, to compare what it says. */
enum { RK_OBSERVER_NEXT = 16 };

/* The task of p->teacher and --data: windows of text, each read up to a position that is drawn. Decides the
 * architecture, n_vocab and head_size of the new model.
 * Errors  RK_ERR_ARG: no teacher, no data, a model to begin with; those of opening the teacher, of
 *         rk_model_vocabulary, of rk_dataset_init; later, when the model is there, of rk_observer_of. */
rk_status rk_observer_open(rk_task **out, rk_run_params *p, const rk_model *base, rk_error *err);

#endif
