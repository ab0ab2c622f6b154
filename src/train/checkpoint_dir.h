/* checkpoint_dir.h: the checkpoints in a run folder, told from what others keep there.
 *
 * A folder "checkpoint-N" is the run's own when it is a real folder, no link, and nothing lies in
 * it but plain files under the names of a checkpoint. Nothing else is ever removed or renamed. */
#ifndef RK_TRAIN_CHECKPOINT_DIR_H
#define RK_TRAIN_CHECKPOINT_DIR_H

#include "base/log.h"

typedef struct rk_step_list {
    int64_t *at; /* falling; the caller's to free */
    int64_t n, max;
} rk_step_list;

/* "DIR/checkpoint-STEP"; to be freed. NULL when memory ran out. */
char *rk_checkpoint_dir_path(const char *dir, int64_t step);
/* The steps of all entries of DIR with such a name, whatever they are. */
rk_status rk_checkpoint_dir_list(const char *dir, rk_step_list *l, rk_error *err);

/* May a checkpoint of this step be written to path? Yes where nothing is, or the run's own one of
 * the same step. Errors  RK_ERR_ARG: something else is there. */
rk_status rk_checkpoint_dir_check(const char *path, int64_t step, rk_error *err);
/* Remove the run's own checkpoints of steps up to `step` but the newest two. What cannot be removed
 * stays, with a warning. */
void rk_checkpoint_dir_trim(const char *dir, int64_t step, const rk_log *log);

/* Steps done, and those that will be saved: every `every`, and the last. */
typedef struct rk_save_steps {
    int64_t done, every, last;
} rk_save_steps;
/* Before a run makes its steps. Where it is resumed, its own checkpoints of later steps, which are
 * damaged (else it would have gone on from them), get the ending ".damaged".
 * Errors  RK_ERR_ARG: something that is not the run's own has a name that a checkpoint will need;
 *         RK_ERR_IO. */
rk_status rk_checkpoint_dir_clear(const char *dir, const rk_save_steps *s, bool resumed,
                                  const rk_log *log, rk_error *err);
/* Does DIR hold a checkpoint of any run? */
bool rk_checkpoint_dir_holds_any(const char *dir);

#endif
