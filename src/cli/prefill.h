/* prefill.h: prefill that can be stopped, keeping the tokens evaluated so far. */
#ifndef RK_CLI_PREFILL_H
#define RK_CLI_PREFILL_H

#include "cli/meter.h"
#include "rk.h"

/* Tokens of a piece, after which it can be stopped. */
enum { RK_PREFILL_PIECE = 128 };

/* Feed tokens (n), n >= 1, to the session, and to the speculator (of the session; may be NULL)
 * after it. The bits are those of one rk_session_eval.
 *
 * logits  (n_vocab) after the last token.
 * meter   is shown how far it is; may be NULL.
 * *n_read tokens that the session's state holds in the end: n, or fewer after a failure.
 * Errors  those of rk_session_eval; RK_ERR_ABORTED keeps the state of the *n_read tokens. */
rk_status rk_prefill(rk_session *s, rk_speculator *speculator, const int32_t *tokens, int64_t n,
                     float *logits, rk_meter *meter, int64_t *n_read, rk_error *err);

#endif
