/* session.h: what a session is made of, for the files of this layer. */
#ifndef RK_INFER_SESSION_H
#define RK_INFER_SESSION_H

#include "infer/state.h"
#include "io/safetensors.h"

enum { RK_SHORT_MAX = 16 }; /* tokens of a call of the short class, docs/numerics.md */

struct rk_session {
    const rk_model *model;
    rk_engine *engine;
    rk_ctx ctx;        /* scratch of a chunk; its data arena is as large as planned */
    rk_state *state;   /* after the last call that succeeded */
    rk_state *next;    /* being made by a call of several tokens; then the state before that call */
    rk_tensor **parts; /* of a forward */
    int64_t batch_max; /* streams that the scratch is planned for */
};

/* rk_session_eval with the scores after each of the last n_rows tokens; logits (n_rows, n_vocab).
 */
rk_status rk_session_eval_rows(rk_session *s, const int32_t *tokens, int64_t n, float *logits,
                               int64_t n_rows, rk_error *err);
/* rk_session_eval without scores, which no abort stops: for few tokens. */
rk_status rk_session_eval_whole(rk_session *s, const int32_t *tokens, int64_t n, rk_error *err);
/* Take back the call that evaluated last, with nothing done to the session since: one that
 * succeeded and read two tokens or more, or rk_session_eval_whole. Costs nothing. */
void rk_session_undo(rk_session *s);

/* rk_session_state_save with n more pairs in the metadata, and without overwriting if so asked. */
rk_status rk_session_state_write(const rk_session *s, const char *path, const rk_pair *more,
                                 size_t n, bool overwrite, rk_error *err);
/* rk_session_state_load from a file that is open. */
rk_status rk_session_state_read(rk_session *s, const rk_st *f, bool force, rk_error *err);

#endif
