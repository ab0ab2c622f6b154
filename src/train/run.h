/* run.h: a whole training run: data, model, steps, validation, checkpoints, log, curve. */
#ifndef RK_TRAIN_RUN_H
#define RK_TRAIN_RUN_H

#include <stdio.h>

#include "base/log.h"
#include "train/task.h"

/* The surroundings of a run: none of it changes a result. */
typedef struct rk_run_env {
    rk_engine *engine;
    const rk_log *log; /* warnings */
    FILE *out;         /* progress; NULL: silent */
    int (*signal)(
        void *user); /* the signal that asks to stop, 0 while there is none; may be NULL */
    void *signal_user;
} rk_run_env;

typedef struct rk_run_result {
    int64_t step, n_params;
    double loss;               /* of the last step; NAN when none was made */
    double val_loss, val_also; /* NAN without validation; val_also in the task's other unit */
    const char *also;          /* that unit's name; NULL: there is none */
    double ema_val_loss;       /* of the running means of the weights; NAN without them */
    double val_metrics[RK_TASK_METRICS_MAX]; /* the task's, where there is a val_loss */
    int signal; /* that ended the run, after saving; 0 when it is done */
} rk_run_result;

/* Train model m, which has no data yet, on a task: what rk_run_train does with those that p names.
 * Both are borrowed. */
rk_status rk_run_task(rk_model *m, const rk_task *task, const rk_run_params *p,
                      const rk_run_env *env, rk_run_result *result, rk_error *err);

/* Train as p says in folder p->dir. When a signal asks, the step is finished and a checkpoint
 * saved. Errors  those of reading data, of rk_trainer_new, of writing; RK_ERR_ARG: the folder holds
 * a run and p->resume is not set, or an option differs from the first call's; RK_ERR_NUMERIC: five
 *         steps in a row gave no finite gradient. */
rk_status rk_run_train(const rk_run_params *p, const rk_run_env *env, rk_run_result *result,
                       rk_error *err);

#endif
