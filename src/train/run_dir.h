/* run_dir.h: the folder of a training run. */
#ifndef RK_TRAIN_RUN_DIR_H
#define RK_TRAIN_RUN_DIR_H

#include "model/model.h"
#include "train/run_options.h"

/* The model that a run began with, where that was made for it. */
#define RK_RUN_START "start.safetensors"

/* May a run begin here? Errors  RK_ERR_ARG: the folder holds a run and resume is not set, or the
 * name is taken by something that is no folder. */
rk_status rk_run_dir_check(const char *dir, bool resume, rk_error *err);
/* Make the folder, and those above it, unless they are there, take it for this process alone
 * (*lock, held until it is closed or the process ends) and remove what dead writers left in it.
 * Errors  those of rk_run_dir_check; RK_ERR_IO: also when another process has it. */
rk_status rk_run_dir_enter(const char *dir, bool resume, int *lock, rk_error *err);
/* DIR/config.json: the model's sizes, then the options. */
/* After what came to nothing: a folder that holds no run loses file, a path in it (NULL: none), and is removed
 * where it was made for the run and is empty. */
void rk_run_dir_abandon(const char *dir, const char *file, bool made_folder);
rk_status rk_run_dir_write_config(const rk_run_params *p, const rk_model *m,
                                  const rk_run_options *o, int64_t n_params, const char *numerics,
                                  rk_error *err);

#endif
