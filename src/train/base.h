/* base.h: a model file that training begins with. */
#ifndef RK_TRAIN_BASE_H
#define RK_TRAIN_BASE_H

#include "model/model.h"

/* Open p->init_from, whose architecture and sizes are not to contradict p's; p then has its
 * architecture. Where p->train_only has the words "state" or "state-shift", the model gets these
 * parameters if its file has none.
 * Errors  RK_ERR_ARG: p has another one already; those of rk_model_open. */
rk_status rk_base_open(rk_model **out, rk_train_params *p, rk_error *err);
/* Is the head such as losses are computed with? That of a model with clusters is not, of a teacher's neither.
 * Errors  RK_ERR_UNSUPPORTED. */
rk_status rk_base_check_head(const rk_model *m, rk_error *err);
/* Of names, types, shapes and bytes of the file's tensors: what a run that began with it needs to find
 * again, whatever the file is called. */
rk_status rk_base_checksum(const rk_model *m, uint64_t *checksum, rk_error *err);
/* Let the checksum of a task's data depend on the weights of a model that it learns from, too. */
rk_status rk_base_mix(const rk_model *m, uint64_t *checksum, rk_error *err);

#endif
