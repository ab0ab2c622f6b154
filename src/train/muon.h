/* muon.h: a row of the table of optimisers: momentum that is made orthogonal for the matrices of the
 * blocks, AdamW for all else. */
#ifndef RK_TRAIN_MUON_H
#define RK_TRAIN_MUON_H

#include "train/optim.h"

int rk_muon_n_states(const rk_param *p);
void rk_muon_update(rk_ctx *ctx, const rk_update *u, int64_t n, const rk_optim_step *s);
size_t rk_muon_scratch(const rk_kernels *kern, const rk_model *m);

#endif
