/* state_step.h: what state tuning does around an update: to the gradient before it, to the basis of a
 * kernel path's features behind it. It watches what recurrences read in the forward of a step. */
#ifndef RK_TUNE_STATE_STEP_H
#define RK_TUNE_STATE_STEP_H

#include "tune/state.h"

/* What a checkpoint calls the moments: "rr.blocks.0.att.time_state". */
#define RK_STATE_MOMENTS_NAME "rr"

typedef struct rk_state_step rk_state_step;

/* For a model whose trained parameters have data and gradients. moments: where o->precondition is set, the
 * running means of r r^T, an array of the parameter's shape for each of role STATE that is trained, in the
 * order of parameters, all in one piece; they belong to the caller, who keeps them with a run.
 * Errors  RK_ERR_UNSUPPORTED: precondition of states that are no matrices; RK_ERR_NOMEM. */
rk_status rk_state_step_new(rk_state_step **out, rk_model *m, const rk_state_tuning *o,
                            uint64_t seed, float *moments, rk_error *err);
void rk_state_step_free(rk_state_step *s);
/* Elements of the moments. */
int64_t rk_state_step_moments(const rk_model *m);

/* Before the forwards of a step; then each forward between these. */
void rk_state_step_begin(rk_state_step *s, int64_t step);
void rk_state_step_watch(rk_state_step *s, rk_ctx *ctx, bool on);
/* Before the update, of gradients that are complete; and behind it. */
void rk_state_step_gradient(rk_state_step *s);
void rk_state_step_update(rk_state_step *s);

#endif
