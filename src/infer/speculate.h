/* speculate.h: what conversations and tests need of a speculator beyond rk.h. */
#ifndef RK_INFER_SPECULATE_H
#define RK_INFER_SPECULATE_H

#include "rk.h"

/* Use another sampler from now on. After a failure it is still the one before. */
rk_status rk_speculator_sampler_set(rk_speculator *sp, rk_sampler *sampler, rk_error *err);

/* The state after the tokens fed, the draft's included, so that the session can return to it
 * whatever is done to it meanwhile. Neither get nor set computes anything: draft tokens stay valid
 * after a get, and after a set rk_speculator_settle is needed as after rk_speculator_feed. */
typedef struct rk_speculator_state rk_speculator_state;
/* Memory for one, to be filled by get. */
rk_status rk_speculator_state_new(rk_speculator_state **out, const rk_speculator *sp,
                                  rk_error *err);
void rk_speculator_state_free(rk_speculator_state *k);
/* Its size, without what tokens add to a state that grows with them. */
size_t rk_speculator_state_bytes(const rk_speculator *sp);
/* Of one speculator, or of others of the same models. Errors  RK_ERR_NOMEM, only where a state grows
 * with the tokens: after a set the tokens fed are still those before it. */
rk_status rk_speculator_state_get(const rk_speculator *sp, rk_speculator_state *k, rk_error *err);
rk_status rk_speculator_state_set(rk_speculator *sp, const rk_speculator_state *k, rk_error *err);
/* The session has been given a state that the speculator does not know: tokens fed before do not
 * count, and the draft is at its initial state. */
void rk_speculator_reset(rk_speculator *sp);

/* Draft as many tokens as allowed in every pass, whether it pays or not. */
void rk_speculator_always(rk_speculator *sp);

#endif
