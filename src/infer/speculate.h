/* speculate.h: what talks and tests need of a speculator beyond rk.h. */
#ifndef RK_INFER_SPECULATE_H
#define RK_INFER_SPECULATE_H

#include "rk.h"

/* Draw with another sampler from here on. After a failure it is still the one before. */
rk_status rk_speculator_sampler_set(rk_speculator *sp, rk_sampler *sampler, rk_error *err);

/* The state after the tokens fed, the draft's included, to go back to whatever has been done to
 * the session since. Neither computes anything: the guesses at hand survive a get, and what set
 * leaves is to be settled like what feed leaves.
 *
 * buf     filled by get of a speculator of the same models; its bytes mean nothing elsewhere.
 * Errors  RK_ERR_ARG: bytes is not state_bytes. */
size_t rk_speculator_state_bytes(const rk_speculator *sp);
rk_status rk_speculator_state_get(const rk_speculator *sp, void *buf, size_t bytes, rk_error *err);
rk_status rk_speculator_state_set(rk_speculator *sp, const void *buf, size_t bytes, rk_error *err);
/* The session has been given a state that the speculator knows nothing of: tokens fed before do not
 * count, and the draft is where it began. */
void rk_speculator_reset(rk_speculator *sp);

/* Guess as many tokens as allowed in every pass, whether it pays or not. */
void rk_speculator_always(rk_speculator *sp);

#endif
