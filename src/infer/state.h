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
/* What a stream begins with. */
void rk_state_reset(rk_state *s);
/* Both of one model. */
void rk_state_copy(rk_state *to, const rk_state *from);

/* All of it as bytes: the parts one after the other, f32. */
size_t rk_state_bytes(const rk_state *s);
void rk_state_get(const rk_state *s, void *buf);
void rk_state_set(rk_state *s, const void *buf);
/* Part i of the layout, (count). */
float *rk_state_part_data(const rk_state *s, int i);

/* The states of n streams in a forward: what it reads, and where it leaves what follows, which may
 * be the same. Both are NULL while planning. */
typedef struct rk_states {
    int64_t n;
    rk_state *const *before, *const *after;
} rk_states;
/* The tensors (n, shape) of their parts for a forward: parts (n_parts) of the layout. Failures are
 * the context's. */
void rk_states_gather(rk_ctx *ctx, const rk_model *m, const rk_states *s, rk_tensor **parts);
/* What the forward left in parts, into the states behind it. */
void rk_states_scatter(const rk_model *m, const rk_states *s, rk_tensor *const *parts);

#endif
