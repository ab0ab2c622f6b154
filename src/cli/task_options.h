/* task_options.h: the options of commands that draw samples: the parameters of all synthetic tasks, by
 * the tables of their generators. */
#ifndef RK_CLI_TASK_OPTIONS_H
#define RK_CLI_TASK_OPTIONS_H

#include "cli/command.h"
#include "train/synthetic/synthetic.h"

/* Append a row for each parameter, once where several tasks have it; offset is that of an rk_opt_named.
 * Which of them a task has, their ranges and defaults say rk_synthetic_init and `rwkv data task --list`. */
void rk_task_rows(rk_option_room *room, size_t offset);
/* What was given, RK_SYN_PARAMS_MAX at most.
 * Errors  RK_ERR_ARG: more than any task has. */
rk_status rk_task_params(const rk_opt_named *given, rk_size *params, int64_t *n, rk_error *err);
/* The task `name` with the parameters that were given.
 * Errors  RK_ERR_ARG: there is none, or its samples are not drawn; those of rk_synthetic_init. */
rk_status rk_task_generator(rk_synthetic *out, const char *name, const rk_opt_named *given,
                            rk_error *err);

#endif
