/* saved.h: what a state file holds beside the state, so that a text or a conversation continues from it
 * with the bits of one that was never interrupted. */
#ifndef RK_CLI_SAVED_H
#define RK_CLI_SAVED_H

#include "base/buf.h"
#include "infer/session.h"

typedef struct rk_saved {
    bool begins; /* loaded from tuned states: a text begins here */
    /* of a conversation */
    bool talk;
    int64_t n_answers;
    rk_buf unread; /* text that has not been evaluated yet */
    /* of a text */
    rk_buf unshown; /* generated and held back: what may become a stop string, and behind it the
                     * beginning of a character */
    int32_t next;   /* a token that was drawn and not evaluated; -1: none */
    float *logits;  /* (n_vocab) after the last token; NULL: not known */
    bool draws;     /* the text was sampled: seed, step and counts are valid */
    uint64_t seed, step;
    float *counts; /* (n_vocab) as rk_sampler_remember gives them */
} rk_saved;

/* Load a state, and what the file says beside it; a file of an older version says less. `out` is to
 * be released whatever the result; a failure leaves the session as it was.
 * Errors  those of rk_session_state_load. */
rk_status rk_saved_load(rk_saved *out, rk_session *s, const char *path, rk_state_reading how,
                        rk_error *err);
/* Save the session's state with it. Errors  RK_ERR_ARG: the file exists, and overwrite is not set. */
rk_status rk_saved_write(const rk_saved *k, const rk_session *s, const char *path, bool overwrite,
                         rk_error *err);
void rk_saved_deinit(rk_saved *k);

#endif
