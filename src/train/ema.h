/* ema.h: running means of the weights that are trained (--ema): steadier than the weights themselves
 * while the learning rate is high. */
#ifndef RK_TRAIN_EMA_H
#define RK_TRAIN_EMA_H

#include "train/optim.h"

/* What a checkpoint calls them: "ema.emb.weight". */
#define RK_EMA_NAME "ema"

/* Begin with the weights as they are. */
void rk_ema_begin(const rk_update *u, int64_t n);
/* mean += (1 - d) (weight - mean) after update `count`, with d = min(decay, count / (count + 9)): the
 * mean of few weights forgets where training began. */
void rk_ema_update(rk_ctx *ctx, const rk_update *u, int64_t n, double decay, int64_t count);
/* Let the model's tensors show the means (on) or the weights again. */
void rk_ema_show(const rk_update *u, int64_t n, bool on);

#endif
