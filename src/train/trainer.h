/* trainer.h: what the training loop asks of a trainer beyond rk.h. */
#ifndef RK_TRAIN_TRAINER_H
#define RK_TRAIN_TRAINER_H

#include "train/checkpoint.h"
#include "train/examples.h"
#include "train/task.h"
#include "tune/state.h"

/* What is trained on what, and how. All three are borrowed and outlive the trainer. */
typedef struct rk_training {
    rk_model *model; /* its tensors get memory and initial values from the trainer */
    const rk_task *task;
    const rk_train_params *params; /* the model's sizes in it are not looked at */
    const rk_state_tuning *state;  /* what is done about states beside updates; NULL: nothing */
} rk_training;

typedef struct rk_train_plan {
    size_t bytes; /* that rk_trainer_open will take */
    /* That training everything would take beside: weights that a file has now, gradients, what is kept,
     * activations. */
    size_t saved;
    size_t mapped;               /* of the model's file: what is frozen and stays there */
    int64_t n_trained, n_frozen; /* elements of parameters */
} rk_train_plan;

/* What rk_trainer_open will take with this engine. Errors  those of rk_trainer_new; RK_ERR_ARG: the
 * task has no field that an input of the model asks for. */
rk_status rk_training_plan(const rk_training *s, rk_engine *e, rk_train_plan *plan, rk_error *err);
rk_status rk_trainer_open(rk_trainer **out, const rk_training *s, rk_engine *e, rk_error *err);
/* One update from the task's examples of this step. metrics (n_metrics of the task, may be NULL):
 * means over the batch. */
rk_status rk_trainer_next(rk_trainer *t, rk_step_info *info, double *metrics, rk_error *err);
/* Add the losses and metrics of n examples that are held out, from the first-th on. */
rk_status rk_trainer_held_out(rk_trainer *t, int64_t first, int64_t n, rk_example_sums *to,
                              rk_error *err);

/* Are the options within their ranges? Fills in those that follow from others. The rest of them is
 * looked at when the model and the data are there.
 * Errors  RK_ERR_ARG: which one, what it may be. */
rk_status rk_train_settle(rk_train_params *p, rk_error *err);
/* The model that rk_trainer_new makes for these options, its tensors without data, or that of
 * p->init_from, whose architecture p then has. */
rk_status rk_train_model(rk_model **out, rk_train_params *p, rk_error *err);
/* Fill in what the options leave to the recipe of an architecture; NULL: of one that there is not. */
void rk_train_recipe(rk_train_params *p, const rk_arch *arch);
/* Bytes that rk_trainer_new will take with this engine. */
rk_status rk_trainer_plan(const rk_train_params *p, rk_engine *e, size_t *bytes, rk_error *err);
/* Are there quantised weights, so that the model's file must be a GGUF? */
bool rk_trainer_keeps_blocks(const rk_trainer *t);
/* The arrays that a checkpoint holds; they are the trainer's. */
void rk_trainer_arrays(const rk_trainer *t, rk_run_arrays *out);
/* Are there running means of the weights? */
bool rk_trainer_has_average(const rk_trainer *t);
/* Steps made, as the schedule and the random numbers see them. */
void rk_trainer_set_step(rk_trainer *t, int64_t step);
int64_t rk_trainer_step_count(const rk_trainer *t);
/* What the noise scale comes from, which goes on with a run. */
void rk_trainer_set_noise(rk_trainer *t, rk_noise noise);
rk_noise rk_trainer_noise(const rk_trainer *t);
/* Multiply-adds of the matrix products of one token forward, those of the head included. */
int64_t rk_trainer_products(const rk_trainer *t);

#endif
