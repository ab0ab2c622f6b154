/* state.h: what a model keeps of the tokens it has read, as its architecture declares it.
 *
 * A layer's state has parts, each of a kind. The kind says where a part lies while streams are
 * computed and what copying, taking back and saving it means; infer/state.h does all that. */
#ifndef RK_MODEL_STATE_H
#define RK_MODEL_STATE_H

#include "tensor/ctx.h"

typedef enum rk_state_kind {
    RK_STATE_PLAIN,  /* of constant size; a forward sees the parts of all streams as one tensor */
    RK_STATE_MATRIX, /* of constant size, and large: a forward reads and writes it where its stream
                      * keeps it (rk_streams in tensor.h) */
    RK_STATE_TOKENS, /* grows by one row (shape) with each token; lies with its stream, too
                      * (rk_growing) */
} rk_state_kind;

/* Which layers have a part: all, those with a mixer of the architecture's, those that are kept as they
 * were in a transformer (rk_hparams.kept); or none, where it belongs to the stem, which replaces it in
 * rk_forward.state: it lies with layer 0, and blocks do not see it. */
typedef enum rk_state_where { RK_IN_ALL, RK_IN_MIXERS, RK_IN_KEPT, RK_IN_STEM } rk_state_where;

/* A part of a layer's state: f32 (B, shape), every element of which starts at `initial`, or as the
 * parameter of scope TUNED says that stands at offset `tuned` of the layer struct (0: none). That
 * one is value-major, whatever the state is. One that grows is f32 (B, tokens, shape) and starts
 * without tokens. */
typedef struct rk_state_spec {
    const char *name;
    const char *shape; /* as rk_param_spec.shape */
    rk_state_kind kind;
    double initial;
    size_t tuned;
    bool key_major;     /* (H, N key, N value) */
    bool zero_if_tuned; /* starts at 0 in a model with tuned states */
    rk_state_where in;
} rk_state_spec;

/* One tensor of a model's state: a part of a layer. */
typedef struct rk_state_entry {
    const rk_state_spec *spec;
    int64_t layer;
    int n_dims;
    int64_t dims[RK_MAX_DIMS - 2]; /* for one stream; of one that grows, for one token */
    int64_t count;                 /* their product */
    int64_t at;                    /* its first element's place among those of constant size; of one
                                    * that grows, among those of a token */
} rk_state_entry;

static inline bool rk_state_grows(const rk_state_entry *p)
{
    return p->spec->kind == RK_STATE_TOKENS;
}

/* The parts of a model's state, layer by layer; they belong to the model. */
typedef struct rk_state_layout {
    rk_state_entry *parts;
    int n_parts;
    int *places;   /* (n_layer, arch->n_state): a part's place among them; -1: a layer has it not */
    int64_t count; /* elements of a stream's state before it has read tokens, */
    int64_t token_count; /* and what each token adds */
} rk_state_layout;

/* Elements of a part of a stream that has read n_tokens. */
static inline int64_t rk_state_entry_count(const rk_state_entry *p, int64_t n_tokens)
{
    return p->count * (rk_state_grows(p) ? n_tokens : 1);
}

/* Dimensions of a part for `batch` streams, of one that grows with n_tokens rows each; returns their
 * number. */
int rk_state_dims(const rk_state_entry *p, int64_t batch, int64_t n_tokens, int64_t *dims);

typedef struct rk_model rk_model;
typedef struct rk_arch rk_arch;
typedef struct rk_param_spec rk_param_spec;

/* The place of part i of rk_arch.state in a layer; -1: it has none. */
int rk_state_part_at(const rk_model *m, int64_t layer, int i);

/* The row of the parameter that a part begins with, where models have it; NULL: there is none. */
const rk_param_spec *rk_state_tuned_param(const rk_arch *arch, const rk_state_spec *spec);
/* Is this the name of a parameter that state tuning leaves (rk_role_facts.beside), of any architecture? */
bool rk_state_is_tuned_name(const char *name);

/* Of a model whose architecture and sizes are set. */
rk_status rk_state_layout_init(rk_state_layout *l, const rk_model *m, rk_error *err);
void rk_state_layout_deinit(rk_state_layout *l);

/* Bytes of the state of a stream that has read n_tokens. */
static inline size_t rk_state_layout_bytes(const rk_state_layout *l, int64_t n_tokens)
{
    return (size_t)(l->count + n_tokens * l->token_count) * sizeof(float);
}

/* What a stream begins with: (layout.count) floats; and as the tensors of `batch` streams, those
 * that grow with no rows, (batch, 0, shape). */
void rk_model_initial_state(const rk_model *m, float *state);
void rk_model_new_state(rk_ctx *ctx, const rk_model *m, rk_dtype real, int64_t batch,
                        rk_tensor **state);

#endif
