/* trainer.h: what the training loop asks of a trainer beyond rk.h. */
#ifndef RK_TRAIN_TRAINER_H
#define RK_TRAIN_TRAINER_H

#include "train/checkpoint.h"

/* Bytes that rk_trainer_new will take with this engine. */
rk_status rk_trainer_plan(const rk_train_params *p, rk_engine *e, size_t *bytes, rk_error *err);
/* Number of arrays and the arrays: which 0 weights, 1 first moments, 2 second moments. */
int64_t rk_trainer_arrays(rk_trainer *t, int which, const rk_named_array **out);
/* Steps made, as the schedule and the random numbers see them. */
void rk_trainer_set_step(rk_trainer *t, int64_t step);
int64_t rk_trainer_step_count(const rk_trainer *t);
/* Multiply-adds of the matrix products of one token forward, those of the head included. */
int64_t rk_trainer_products(const rk_trainer *t);

#endif
