/* model.h: what an architecture is, and a model: its parameters in table order.
 *
 * An architecture is one file and one row in arch.c. Its table of parameters (checkpoint name,
 * shape formula, role, initialisation, learning rate, place in its structs) is all that loading,
 * saving, initialising and grouping walk. Its forward takes named inputs and a state to named
 * outputs and the next state, in every shape: training (B,T), prefill (1,T), decoding (1,1) and
 * (B,1). */
#ifndef RK_MODEL_H
#define RK_MODEL_H

#include "io/safetensors.h"
#include "model/role.h"
#include "model/sizes.h"
#include "model/state.h"

enum { RK_PARAM_NAME_MAX = 64, RK_STATE_MAX = 10 };

typedef enum rk_scope {
    /* Of the model: */
    RK_SCOPE_MODEL,    /* once; `field` is an offset into the architecture's top struct */
    RK_SCOPE_LN0,      /* the same, but for models with rk_hparams.ln0_fused, which have none */
    RK_SCOPE_TIED,     /* the same, where the head is the table of embeddings (rk_hparams.tied), */
    RK_SCOPE_UNTIED,   /* and where it is not; */
    RK_SCOPE_CLUSTERS, /* for models with rk_hparams.n_clusters, */
    RK_SCOPE_NO_CLUSTERS, /* and for those without; */
    RK_SCOPE_LAYER, /* "blocks.%d.": in every layer; `field` is an offset into its layer struct */
    RK_SCOPE_SOME,  /* the same, in layers where rk_arch.has says so */
    RK_SCOPE_MIXER, /* the same, in layers that are not kept (rk_hparams.kept), */
    RK_SCOPE_KEPT,  /* and in those that are */
    RK_SCOPE_LATER, /* as MIXER, but the first of them does not use it: a file may lack it or hold a dummy */
    RK_SCOPE_TUNED,       /* as MIXER, where rk_hparams.tuned_state says so, else nowhere */
    RK_SCOPE_TUNED_SHIFT, /* the same of rk_hparams.tuned_shift, */
    RK_SCOPE_TUNED_BASIS, /* of rk_hparams.tuned_basis */
} rk_scope;

/* Where an initial value goes: the parameter, its place, the random stream. */
typedef struct rk_init {
    const rk_hparams *hp;
    int64_t layer, index; /* index: number of the parameter, which keys its random draws */
    uint64_t seed;
    int64_t rows, cols; /* of the matrix; a vector is one row */
    float *x;
    double arg;              /* of the table's row: a gain, an exponent, a constant */
    const atomic_int *abort; /* non-zero: stop with RK_ERR_ABORTED; may be NULL */
} rk_init;
typedef rk_status rk_init_fn(const rk_init *p, rk_error *err);

typedef struct rk_param_spec {
    const char *name;  /* "blocks.%d.att.w0"; %d is the layer, and what stands before it the same in
                        * all rows of an architecture */
    const char *shape; /* a letter a dimension, of the rows of sizes; digits are themselves */
    rk_role role;
    rk_scope scope;
    size_t
        field; /* offset in the top or layer struct: of an rk_weight where the role is one, else of
                   * an rk_tensor * */
    rk_init_fn *init;
    double init_arg;
    double lr_scale;
} rk_param_spec;

typedef struct rk_model rk_model;

/* ---- forward: what a model takes and gives, and its parts ----
 *
 *   stem -> block 0 .. block n_layer - 1 -> head
 *
 * The stem turns the inputs into the residual stream, blocks add to it, the head turns it into the
 * outputs. forward.c runs them; an architecture brings the parts. */

enum { RK_IO_MAX = 4, RK_CARRY_MAX = 2 };

/* A tensor that a model takes, gives, or hands from block to block: B streams, T tokens of each,
 * then sizes by their letters. */
typedef struct rk_io_spec {
    const char *name;
    const char *shape; /* "BT", "BTC" */
    bool ids;          /* i32; else reals */
} rk_io_spec;

/* One call of a forward. */
typedef struct rk_forward {
    rk_tensor *in[RK_IO_MAX];  /* as rk_arch.inputs lists them */
    rk_tensor *out[RK_IO_MAX]; /* as rk_arch.outputs: filled in */
    rk_tensor **state;         /* the parts of rk_model.state: before the tokens, then after */
    double dropout;            /* after each residual addition, while recording */
    bool recompute;            /* keep each block's results only; backward computes it again */
    bool detached;             /* what blocks hand on (rk_arch.carry) has no gradient */
    /* Nobody reads what the states have grown by, so that it need not outlive its block: they may come out
     * as they went in. */
    bool drop_rows;
} rk_forward;

/* What a block works on, in place. */
typedef struct rk_block_io {
    rk_tensor *x; /* (B, T, C) the residual stream */
    /* As rk_arch.carry: the first block with a mixer of the architecture's leaves them, those behind it read
     * them. */
    rk_tensor *carry[RK_CARRY_MAX];
    rk_tensor *given[RK_IO_MAX]; /* what the stem leaves for all blocks; only read */
    /* Of this layer, as rk_arch.state: before the tokens, then after; NULL what it does not have. */
    rk_tensor *state[RK_STATE_MAX];
} rk_block_io;

typedef void rk_stem_fn(rk_ctx *ctx, const rk_model *m, const rk_forward *f, rk_block_io *io);
typedef void rk_block_fn(rk_ctx *ctx, const rk_model *m, int64_t layer, double dropout,
                         rk_block_io *io);
typedef void rk_head_fn(rk_ctx *ctx, const rk_model *m, rk_tensor *x, rk_forward *f);
/* residual + mix(x), where x (B, T, C) is the normalised residual stream. */
typedef rk_tensor *rk_mixer_fn(rk_ctx *ctx, const rk_model *m, int64_t layer, rk_tensor *x,
                               rk_tensor *residual, rk_block_io *io);

/* Sizes of the model that is made of a file's, which hp holds: those that are given, n of them, and those that
 * the file cannot show. */
typedef rk_status rk_adopt_fn(rk_hparams *hp, const rk_size *given, int64_t n, rk_error *err);

typedef struct rk_arch {
    const char *name;
    bool old; /* files of it are read; new models are not made of it */
    /* Its parameters come first, its layer struct begins this one's; NULL: none. With a base, all
     * of `params` belong to layers. */
    const struct rk_arch *base;
    const rk_param_spec *params;
    int n_params;
    const rk_state_spec *state;
    int n_state;
    size_t top_bytes, layer_bytes;
    /* Does a layer of a model of these sizes have this parameter of scope SOME? NULL: there are none. */
    bool (*has)(const rk_hparams *hp, const rk_param_spec *spec, int64_t layer);
    /* Is this file one of mine? By tensor names alone. */
    bool (*detect)(const rk_file *f);
    /* Models of this architecture may be opened as ones of mine (rk_open_options.as), whose parameters of
     * scope SOME they lack; NULL: of none. */
    const struct rk_arch *adopts;
    rk_adopt_fn *adopt;
    const rk_size_table *sizes[RK_SIZE_TABLES]; /* in this order; NULL behind the last */
    rk_settle_fn *settle;
    const rk_io_spec *inputs, *outputs, *carry;
    int n_inputs, n_outputs, n_carry;
    rk_stem_fn *stem;
    rk_block_fn *block;
    rk_head_fn *head;
    rk_mixer_fn *time_mix, *channel_mix; /* of a block made of two mixers, rk_lm_block */
    double l2wrap; /* of its recipe: pull on the largest logit in training (ops.h); 0: none */
} rk_arch;

/* Run the whole model over tokens: fills f->out and replaces f->state. Without a tape each block
 * runs in a scope of its own, so memory does not grow with depth. Returns the first output; NULL
 * after a failure, also when an input is missing or of another type. */
rk_tensor *rk_model_forward(rk_ctx *ctx, const rk_model *m, rk_forward *f);
/* The parts of a layer's state among those of a forward, as a block takes them. */
void rk_block_take_state(const rk_model *m, int64_t layer, rk_tensor *const *state,
                         rk_block_io *io);

extern const rk_arch *const rk_archs[]; /* ends with NULL */
extern const rk_arch rk_arch_rwkv4, rk_arch_rwkv5_0, rk_arch_rwkv5_0_first, rk_arch_rwkv5_1,
    rk_arch_rwkv5_1_first, rk_arch_rwkv5_first, rk_arch_rwkv5, rk_arch_rwkv6, rk_arch_rwkv7,
    rk_arch_rwkv7a, rk_arch_rwkv7_kernel, rk_arch_qwen2, rk_arch_llama, rk_arch_arwkv7,
    rk_arch_rwkv6qwen2, rk_arch_rwkv7qwen2, rk_arch_wuneng, rk_arch_meta7, rk_arch_rrwkv;
/* NULL when there is none of this name. */
const rk_arch *rk_arch_find(const char *name);
/* That which a file under canonical names is of; NULL: of none here. */
const rk_arch *rk_arch_detect(const rk_file *f);

typedef struct rk_param {
    char name[RK_PARAM_NAME_MAX];
    const rk_param_spec *spec;
    int64_t layer;   /* 0 for those of the model */
    rk_role role;    /* the table's; a matrix of one row is a vector to all who hold and save it */
    bool used;       /* false: what layer 0 stores but does not compute with */
    bool trained;    /* by a trainer, whose the values are then, and not the file's */
    bool added;      /* the model's file does not hold it: it starts with its initial value */
    double lr_scale; /* of its learning rate in training: the table's, or what options say */
    const float
        *initial; /* what it begins with in place of the table's, where it is added; may be NULL */
    rk_tensor tensor;
    void *owned; /* the tensor's memory where it is the parameter's own; else NULL */
} rk_param;

struct rk_model {
    const rk_arch *arch;
    rk_hparams hp;
    rk_param *params; /* those of the model before the layers, the layers, those after */
    int64_t n_params; /* entries of params */
    void *top;        /* the architecture's top struct */
    void *layers;     /* n_layer of its layer structs */
    rk_low_rank
        *pairs; /* RK_PAIR_KINDS for each layer; those of matrices that are whole are not used */
    struct rk_sparse_mix
        *mixes; /* of each layer, where the channel mix is in records; else not used */
    /* (V, C), of the top struct; its matrix may be the table of embeddings, too. Its rows lie by clusters, not by
     * tokens, where there are some. */
    rk_weight *head;
    struct rk_clusters *clusters; /* of a hierarchical head, once it is opened; NULL: none */
    int n_weights; /* that adapters may be added to: the largest rk_weight.adapted_as */
    const struct rk_adapting *adapting; /* adapters that are trained with it; NULL: none */
    /* Where in params U (H, N, rank) of each layer is, and V behind it, whose product is added to the matrices
     * that streams begin with in training (tune/state_pairs.h); NULL: there are none. */
    int64_t *state_pairs;
    rk_state_layout state;
    int64_t ctx_len;
    uint64_t fingerprint, base_fingerprint; /* the second without what was opened beside its file */
    rk_file *file; /* that weights are mapped from; NULL for a trainer's model */
    void *owned;   /* memory of tensors that are not in the file's pages */
    struct rk_residence
        *residence;         /* what of the file is held (residence.h); NULL: all that is used */
    struct rk_packs *packs; /* matrices laid out again, see pack.h; NULL: none yet */
    struct rk_ranges
        *ranges; /* of parameters whose matrices are bytes (format/ranges.h); others are not used */
};

/* A model of the given sizes whose tensors have shapes but no data yet. */
rk_status rk_model_new(rk_model **out, const rk_arch *arch, const rk_hparams *hp, rk_error *err);
/* Initial values for every parameter; the tensors must be f32 with data. Stops with RK_ERR_ABORTED
 * when *abort (may be NULL) becomes non-zero. */
rk_status rk_model_init(rk_model *m, uint64_t seed, const atomic_int *abort, rk_error *err);
/* The initial values of one parameter, params[i], into `to`. */
rk_status rk_param_init(const rk_model *m, int64_t i, uint64_t seed, float *to,
                        const atomic_int *abort, rk_error *err);
/* Put n parameters behind those of the architecture, such as adapters': no file holds them. Of each the
 * name, spec, layer, initial values (n elements, which outlive the model) and its tensor's shape are
 * taken. Parameters move: pointers to them and to their tensors are to be asked for again. */
rk_status rk_model_add_params(rk_model *m, const rk_param *added, int64_t n, rk_error *err);
/* Of its file; "the model" where it has none. */
const char *rk_model_name(const rk_model *m);
/* NULL when there is none of this name. */
rk_param *rk_model_param(const rk_model *m, const char *name);
/* Is a row's parameter what streams begin with, which a model has or not? */
static inline bool rk_param_is_tuned(const rk_param_spec *spec)
{
    return spec->scope == RK_SCOPE_TUNED || spec->scope == RK_SCOPE_TUNED_SHIFT;
}
/* Does a row's parameter belong to the model and not to a layer? */
static inline bool rk_param_of_model(const rk_param_spec *spec)
{
    return spec->scope <= RK_SCOPE_NO_CLUSTERS;
}
/* What stands before the layer in the names of an architecture's parameters, "blocks."; returns its
 * length. */
size_t rk_arch_layers(const rk_arch *arch, const char **prefix);
/* The layer in a name that begins like those of the architecture's layers; *rest is what stands behind
 * it and a dot. Another name: -1, and *rest is all of it. */
int64_t rk_arch_layer_of(const rk_arch *arch, const char *name, const char **rest);
/* A row's name with its layer in place of %d; name has RK_PARAM_NAME_MAX bytes. */
void rk_param_name(const rk_param_spec *spec, int64_t layer, char *name);
/* The struct of a layer, which begins with that of the architecture's base. */
static inline void *rk_model_layer(const rk_model *m, int64_t layer)
{
    return (char *)m->layers + (size_t)layer * m->arch->layer_bytes;
}
/* Bytes of weights and state that decoding one token reads and writes: every weight once as it is
 * held, packed or as the file has it, less what meets zeros and is not read; one row of each table,
 * the state read and written. */
int64_t rk_model_bytes_per_token(const rk_model *m);
/* All weights of the file, with low-rank matrices in 8 bits (34 bytes for 32): what is asked of
 * memory by those who read every weight and change no large matrix. */
int64_t rk_model_lean_bytes_per_token(const rk_model *m);
/* Multiply-adds of the matrix products of a token, the head's apart (*head, may be NULL). */
int64_t rk_model_products(const rk_model *m, int64_t *head);
/* What the model multiplies with where this parameter is the matrix, which is where a low-rank pair
 * or an adapter goes; NULL when its role is another. */
rk_weight *rk_param_weight(const rk_model *m, const rk_param *p);

/* ---- a parameter by its role ---- */

/* Subject to weight decay? */
static inline bool rk_param_decays(const rk_param *p)
{
    return rk_roles[p->spec->role].decays;
}
/* A table of which a token needs one row. */
static inline bool rk_param_is_table(const rk_param *p)
{
    return rk_roles[p->role].table;
}
/* A matrix that inputs are multiplied with. */
static inline bool rk_param_is_product(const rk_param *p)
{
    return p->used && rk_roles[p->role].product;
}
/* One whose inputs or outputs are few. */
static inline bool rk_param_is_low_rank(const rk_param *p)
{
    return p->used && rk_roles[p->role].low_rank;
}
/* A whole matrix of a block. */
static inline bool rk_param_is_hidden(const rk_param *p)
{
    return p->used && rk_roles[p->role].hidden;
}
/* The dimension of a product's inputs. */
static inline int rk_param_inputs(const rk_param *p)
{
    return rk_roles[p->role].layout == RK_OUT_IN ? 1 : 0;
}

#endif
