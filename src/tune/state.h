/* state.h: state tuning: a model whose weights are frozen learns what its streams begin with. */
#ifndef RK_TUNE_STATE_H
#define RK_TUNE_STATE_H

#include "model/model.h"

/* Write what streams of the model begin with, the parameters of rk_param_is_tuned, as a .pth file in f32
 * and under their own names: "blocks.N.att.time_state" (head, value, key); of RWKV-4 (n_embd), the sum aa,
 * with bb as "blocks.N.att.time_state_sum", both at pp = 0; "blocks.N.att.ts_state" (n_embd) where the
 * shift is tuned too. The file is replaced as a whole.
 * Errors  RK_ERR_ARG: the model has no such parameters; those of rk_pth_write. */
rk_status rk_state_save_tuned(const rk_model *m, const char *path, rk_error *err);

#endif
