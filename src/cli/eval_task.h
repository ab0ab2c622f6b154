/* eval_task.h: `rwkv eval --task`. */
#ifndef RK_CLI_EVAL_TASK_H
#define RK_CLI_EVAL_TASK_H

#include "cli/command.h"
#include "cli/interrupt.h"

typedef struct rk_eval_task {
    const char *model, *task;
    int64_t n, batch, seed;
    rk_opt_named params;
} rk_eval_task;

/* Measure, and make the report's object. */
rk_status rk_eval_task_run(const rk_eval_task *o, const rk_common_options *common,
                           rk_interrupt *interrupt, json_t **out, rk_error *err);

#endif
