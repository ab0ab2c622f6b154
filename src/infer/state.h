/* state.h: the state of one stream, as an object.
 *
 * What it is made of stands in the model's layout (model/state.h). Whoever goes on from a state,
 * keeps it, takes it back or saves it goes through these functions and knows no part of it. */
#ifndef RK_INFER_STATE_H
#define RK_INFER_STATE_H

#include "model/model.h"

typedef struct rk_state rk_state;

/* Memory for a state, untouched: it is to be reset, set or copied to. */
rk_status rk_state_new(rk_state **out, const rk_model *m, rk_error *err);
void rk_state_free(rk_state *s);
/* How what grows with the tokens is kept, of a state without tokens. Copies of it have the same.
 * Errors  RK_ERR_UNSUPPORTED: the model's heads have no whole blocks of the type. */
typedef struct rk_state_cache {
    rk_dtype type; /* of elements: f32, f16, q8_0 */
    int64_t n_max; /* tokens; 0: no limit */
} rk_state_cache;
rk_status rk_state_set_cache(rk_state *s, const rk_state_cache *c, rk_error *err);
/* How many more tokens fit; INT64_MAX where there is no limit. And do n?
 * Errors  RK_ERR_ARG, with the numbers. */
int64_t rk_state_room(const rk_state *s);
rk_status rk_state_check_room(const rk_state *s, int64_t n, rk_error *err);
/* What a stream begins with. */
void rk_state_reset(rk_state *s);
/* Both of one model. What has grown with the tokens is shared and not copied. Errors
 * RK_ERR_NOMEM: `to` is as it was; without parts that grow there is none. */
rk_status rk_state_copy(rk_state *to, const rk_state *from, rk_error *err);
/* Give back what has grown, where the state is not needed any more but the object is. */
void rk_state_drop(rk_state *s);

/* All of it as bytes: the parts of the layout one after the other, f32; those that grow with a row
 * for each token.
 * Errors  RK_ERR_ARG: bytes are no number that a state of the model has; RK_ERR_NOMEM. The state is
 *         then as it was. */
size_t rk_state_bytes(const rk_state *s);
/* Tokens that the parts that grow hold; 0 where none does. */
int64_t rk_state_n_tokens(const rk_state *s);
void rk_state_get(const rk_state *s, void *buf);
rk_status rk_state_set(rk_state *s, const void *buf, size_t bytes, rk_error *err);

/* ---- in a forward ---- */

/* The states of n streams: what a forward of n_tokens tokens each reads, and where it leaves what
 * follows, which may be the same. Both are NULL while planning. */
typedef struct rk_states {
    int64_t n, n_tokens;
    rk_state *const *before, *const *after;
} rk_states;
/* The tensors of their parts for a forward: parts (n_parts) of the layout. Failures are the
 * context's, and leave the states as they were. */
void rk_states_gather(rk_ctx *ctx, const rk_model *m, const rk_states *s, rk_tensor **parts);
/* What the forward left in parts, into the states behind it. */
void rk_states_scatter(const rk_model *m, const rk_states *s, rk_tensor *const *parts);

#endif
