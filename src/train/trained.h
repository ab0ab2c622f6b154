/* trained.h: which parameters of a model are trained, and at which rates. */
#ifndef RK_TRAIN_TRAINED_H
#define RK_TRAIN_TRAINED_H

#include "base/buf.h"
#include "model/model.h"

/* Set rk_param.trained of every parameter as train_only and freeze of p say: lists of words with
 * commas between them, each a shell pattern on the names of parameters, or without wildcards a group
 * (rk_trained_groups). Freezing wins.
 * Of a model that was opened from a file, what is trained becomes f32 without data, until the trainer
 * gives it its own: the file's values, or where the file lacks it (rk_param.added) its initial ones.
 * Errors  RK_ERR_ARG: a word names no parameter; nothing is left to train; what is trained is in blocks
 *         in its file. */
rk_status rk_trained_set(rk_model *m, const rk_train_params *p, rk_error *err);

/* Set rk_param.lr_scale of every parameter: as the architecture's table has it, or as lr_scale of p says, a
 * list of such words with =FACTOR behind each, the last one that means a parameter counting.
 * Errors  RK_ERR_ARG: a word names no parameter, or its factor is no number from 0 to 1e6. */
rk_status rk_lr_scales_set(rk_model *m, const rk_train_params *p, rk_error *err);

/* The groups of a model, with commas between them: the parts of a block and of the model that its
 * parameter table names ("att", "emb") and what parameters are for ("low-rank"). */
void rk_trained_groups(const rk_model *m, rk_buf *out);

/* Is this group one of the words? */
bool rk_trained_names(const char *words, const char *group);

/* Elements of the parameters that are trained, or that are frozen: used, but not trained. */
int64_t rk_trained_count(const rk_model *m, bool trained);

#endif
