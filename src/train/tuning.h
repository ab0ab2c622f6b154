/* tuning.h: what a run that tunes adds to one that trains a model: adapters beside its matrices, initial
 * states, and the files that are saved in the model's place. */
#ifndef RK_TRAIN_TUNING_H
#define RK_TRAIN_TUNING_H

#include "compress/in_memory.h"
#include "train/task.h"

typedef struct rk_tuning rk_tuning;

/* Fill in what p leaves to the method: rates, and the words of what is trained. Nothing happens where
 * no method is asked for. Before the model is opened.
 * Errors  RK_ERR_ARG: an unknown method, no model to begin with, an option that goes with no tuning. */
rk_status rk_tuning_settle(rk_run_params *p, rk_error *err);
/* Where states begin with what has to be made first, a kernel path that is calibrated on the task's
 * examples, or the state of a prompt: make it, as p->dir/start.pth, unless a run that goes on has it, and
 * open *m again with it. Else nothing happens.
 * Errors  those of rk_kernel_path_write, rk_state_of_tokens, rk_base_open. */
rk_status rk_tuning_start(rk_model **m, const rk_task *task, rk_run_params *p, rk_engine *e,
                          rk_error *err);
/* Put adapters beside m, with what they begin with. m's parameters refer to memory of *out, which is
 * freed after m's trainer. *out is NULL where nothing is tuned.
 * Errors  those of rk_tune_make, rk_tune_start. */
rk_status rk_tuning_begin(rk_tuning **out, rk_model *m, const rk_task *task, const rk_run_params *p,
                          rk_engine *e, rk_error *err);
void rk_tuning_free(rk_tuning *t);
/* Matrices that are quantised lose the start values of their adapters first. */
void rk_tuning_quantise(rk_tuning *t, rk_quantise_options *o);
/* After that, or where nothing is quantised: what adapters ask of the matrices as they are now. */
rk_status rk_tuning_quantised(rk_tuning *t, const rk_model *m, rk_error *err);
/* What m has learned into folder dir: adapter_config.json and adapter_model.safetensors, and state.pth. t
 * may be NULL. */
rk_status rk_tuning_save(const rk_tuning *t, const rk_model *m, const rk_run_params *p,
                         const char *dir, rk_error *err);
/* Seconds that the start of the adapters took. */
double rk_tuning_seconds(const rk_tuning *t);

#endif
