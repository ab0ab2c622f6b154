/* grow_run.h: a training run with a larger model that goes on where another run stands (tune/grow.h). */
#ifndef RK_TRAIN_GROW_RUN_H
#define RK_TRAIN_GROW_RUN_H

#include "base/log.h"
#include "tune/grow.h"

typedef struct rk_grown_info {
    int64_t step;          /* of the checkpoint */
    int64_t before, after; /* parameters */
} rk_grown_info;

/* How the larger run is trained; a member that is negative is as in the run before. */
typedef struct rk_grown_training {
    bool freeze_old; /* new parts alone */
    int64_t rewarm;  /* rk_train_params.rewarm */
    double lr, lr_final;
} rk_grown_training;

/* Make the folder `to`, which must not hold a run, from the newest checkpoint in `dir`: start.safetensors is the
 * larger model, and the checkpoint of the same step holds moments that are zero where it is new, the options of
 * the run but for those of `with`, and that new parts count their updates from now on.
 * Errors  RK_ERR_ARG: no checkpoint; a run that trains adapters, states or a part of its model; those of
 *         rk_grow_new; RK_ERR_FORMAT: what files say; RK_ERR_IO, RK_ERR_NOMEM. */
rk_status rk_grow_run(const char *dir, const char *to, const rk_growth *how,
                      const rk_grown_training *with, const rk_log *log, rk_grown_info *info,
                      rk_error *err);

#endif
