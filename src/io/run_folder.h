/* run_folder.h: which weights of a folder that a training run works in are the latest.
 *
 * A run writes its model when it ends or is stopped, always after a checkpoint of the same step. One
 * that is killed leaves checkpoints only, and beside them, where it had been resumed, the model of
 * the time before. */
#ifndef RK_IO_RUN_FOLDER_H
#define RK_IO_RUN_FOLDER_H

#include "io/tensor_file.h"

/* The step of the newest "checkpoint-N" that is later than the folder's model; -1: none. */
int64_t rk_run_folder_later(const char *folder, bool has_model);
/* Its weights. Where the run trains a part of them, the rest is that of the model, which is the file
 * at model_path (NULL: there is none).
 * Errors  those of rk_file_open; RK_ERR_UNSUPPORTED: the rest is in blocks, under other names. */
rk_status rk_run_folder_open(rk_file **out, const char *folder, int64_t step,
                             const char *model_path, rk_error *err);

#endif
