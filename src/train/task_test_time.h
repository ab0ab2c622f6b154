/* task_test_time.h: learning an initial state while problems are being solved (docs/state-tuning.md). */
#ifndef RK_TRAIN_TASK_TEST_TIME_H
#define RK_TRAIN_TASK_TEST_TIME_H

#include "train/task.h"

/* The task of p->test_time: each step draws chains for the same problems from the state as it is then, and
 * their examples are those chains, which so depend on the model and on their number. It writes
 * test-time.json beside the state when the last step is done.
 * Errors  RK_ERR_ARG: no base, no problems; those of rk_problems_init; later those of rk_prober_open. */
rk_status rk_test_time_open(rk_task **out, rk_run_params *p, const rk_model *base, rk_error *err);

#endif
