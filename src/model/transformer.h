/* transformer.h: what models with the body of a transformer share, under the names of Hugging Face: a
 * table of embeddings, blocks of two mixers behind RMS norms, the second a SwiGLU channel mix, a norm
 * and a head, which may be the table again. The first mixer is the architecture's: softmax attention
 * here, a recurrence where one was put in its place; layers that are kept of the transformer
 * (rk_hparams.kept) have attention there, too. */
#ifndef RK_MODEL_TRANSFORMER_H
#define RK_MODEL_TRANSFORMER_H

#include "model/init.h"
#include "nn/swiglu.h"

typedef struct rk_tf_top {
    rk_tensor *emb; /* NULL where the head is the table, too */
    rk_tensor *norm;
    rk_weight head; /* (V, C) */
} rk_tf_top;

/* What the layer struct of an architecture with rk_tf_block begins with. */
typedef struct rk_tf_layer {
    rk_tensor *norm1, *norm2; /* (C) */
    rk_swiglu_mix mlp;
} rk_tf_layer;

/* Softmax attention: (Q,C), (K,C), (K,C), (C,Q), where Q are the channels of all heads and K those of
 * the heads that keys and values have; biases may be NULL. */
typedef struct rk_tf_attention_layer {
    rk_weight q, k, v, o;
    rk_tensor *q_bias, *k_bias, *v_bias;
} rk_tf_attention_layer;

/* Heads of softmax attention. */
typedef struct rk_tf_heads {
    int64_t n, n_kv, size; /* of queries, of keys and values; channels of one */
    double theta;          /* of the rotary embedding */
} rk_tf_heads;

/* Places in rk_hparams.own; those of an architecture that has more begin at RK_TF_OWN. */
enum { RK_TF_KV_HEADS, RK_TF_DIM_Q, RK_TF_DIM_KV, RK_TF_THETA, RK_TF_POSITIONS, RK_TF_OWN };

/* Rows of a parameter table: before the blocks', at their beginning, those of softmax attention in a
 * layer struct with a member `attention`, and behind the blocks. Initial values are transformers'. */
#define RK_TF_STD 0.02
#define RK_TF_TOP(scope, f) scope, offsetof(rk_tf_top, f)
#define RK_TF_LAYER(f) RK_SCOPE_LAYER, offsetof(rk_tf_layer, f)
#define RK_TF_NAME "model.layers.%d."
/* clang-format off */
#define RK_TF_FIRST_PARAMS \
    {"model.embed_tokens.weight", "VC", RK_ROLE_EMB, RK_TF_TOP(RK_SCOPE_UNTIED, emb), \
     rk_init_normal, RK_TF_STD, 1}, \
    {"model.embed_tokens.weight", "VC", RK_ROLE_TIED, RK_TF_TOP(RK_SCOPE_TIED, head), \
     rk_init_normal, RK_TF_STD, 1}
#define RK_TF_BLOCK_PARAMS \
    {RK_TF_NAME "input_layernorm.weight", "C", RK_ROLE_VECTOR, RK_TF_LAYER(norm1), \
     rk_init_constant, 1, 1}, \
    {RK_TF_NAME "post_attention_layernorm.weight", "C", RK_ROLE_VECTOR, RK_TF_LAYER(norm2), \
     rk_init_constant, 1, 1}, \
    {RK_TF_NAME "mlp.gate_proj.weight", "FC", RK_ROLE_FFN_IN, RK_TF_LAYER(mlp.gate), \
     rk_init_normal, RK_TF_STD, 1}, \
    {RK_TF_NAME "mlp.up_proj.weight", "FC", RK_ROLE_FFN_IN, RK_TF_LAYER(mlp.up), \
     rk_init_normal, RK_TF_STD, 1}, \
    {RK_TF_NAME "mlp.down_proj.weight", "CF", RK_ROLE_FFN_DOWN, RK_TF_LAYER(mlp.down), \
     rk_init_normal, RK_TF_STD, 1}
#define RK_TF_ATTENTION_PARAMS(type) RK_TF_ATTENTION_PARAMS_IN(RK_SCOPE_LAYER, type)
#define RK_TF_BIAS_PARAMS(type) RK_TF_BIAS_PARAMS_IN(RK_SCOPE_LAYER, type)
#define RK_TF_ATTENTION_PARAMS_IN(scope, type) \
    {RK_TF_NAME "self_attn.q_proj.weight", "QC", RK_ROLE_ATT_READ, scope, \
     offsetof(type, attention.q), rk_init_normal, RK_TF_STD, 1}, \
    {RK_TF_NAME "self_attn.k_proj.weight", "KC", RK_ROLE_ATT_WRITE, scope, \
     offsetof(type, attention.k), rk_init_normal, RK_TF_STD, 1}, \
    {RK_TF_NAME "self_attn.v_proj.weight", "KC", RK_ROLE_ATT_WRITE, scope, \
     offsetof(type, attention.v), rk_init_normal, RK_TF_STD, 1}, \
    {RK_TF_NAME "self_attn.o_proj.weight", "CQ", RK_ROLE_ATT_OUT, scope, \
     offsetof(type, attention.o), rk_init_normal, RK_TF_STD, 1}
#define RK_TF_BIAS_PARAMS_IN(scope, type) \
    {RK_TF_NAME "self_attn.q_proj.bias", "Q", RK_ROLE_VECTOR, scope, \
     offsetof(type, attention.q_bias), rk_init_constant, 0, 1}, \
    {RK_TF_NAME "self_attn.k_proj.bias", "K", RK_ROLE_VECTOR, scope, \
     offsetof(type, attention.k_bias), rk_init_constant, 0, 1}, \
    {RK_TF_NAME "self_attn.v_proj.bias", "K", RK_ROLE_VECTOR, scope, \
     offsetof(type, attention.v_bias), rk_init_constant, 0, 1}
#define RK_TF_LAST_PARAMS \
    {"model.norm.weight", "C", RK_ROLE_VECTOR, RK_TF_TOP(RK_SCOPE_MODEL, norm), \
     rk_init_constant, 1, 1}, \
    {"lm_head.weight", "VC", RK_ROLE_HEAD, RK_TF_TOP(RK_SCOPE_UNTIED, head), \
     rk_init_normal, RK_TF_STD, 1}
/* clang-format on */

/* Layers, channels and those inside the channel mix; heads; tokens, whether the head is the table, and
 * for how many positions the model was made.
 * An architecture has rows of its own for rms_eps (rk_hparams.ln_eps) and rope_theta, whose usual
 * values differ: */
extern const rk_size_table rk_tf_sizes_first, rk_tf_sizes_heads, rk_tf_sizes_last;
#define RK_TF_RMS_EPS(x)                                                                           \
    {                                                                                              \
        "rms_eps", RK_REAL(ln_eps), 0, {0, 1}, {rk_size_constant, x},                              \
            {RK_FROM_STATED, NULL, 0, 0},                                                          \
        {                                                                                          \
            "rms-eps", #x, "eps of RMS norms"                                                      \
        }                                                                                          \
    }
#define RK_TF_ROPE_THETA(x)                                                                        \
    {                                                                                              \
        "rope_theta", RK_OWN_REAL(RK_TF_THETA), 0, {1, 1e12}, {rk_size_constant, x},               \
            {RK_FROM_STATED, NULL, 0, 0},                                                          \
        {                                                                                          \
            "rope-theta", #x, "base of the rotary embedding's wavelengths"                         \
        }                                                                                          \
    }
/* Of a layer that is kept in an architecture whose other layers have no rotary embedding: metadata, where it
 * is not the usual one. */
#define RK_TF_KEPT_THETA                                                                           \
    {                                                                                              \
        "rope_theta", RK_OWN_REAL(RK_TF_THETA), 0, {1, 1e12}, {rk_size_constant, 1000000},         \
            {RK_FROM_META, NULL, 0, 0}, RK_NO_OPTION                                               \
    }
/* Heads of the sizes above: those that keys and values have divide them. */
rk_settle_fn rk_tf_settle;
/* What a file shows of heads whose number h->n it states: rows of q and k in layer `layer`.
 * Errors  RK_ERR_FORMAT: they do not fit each other. */
rk_status rk_tf_settle_file(rk_tf_heads *h, int64_t dim_q, int64_t dim_kv, int64_t layer,
                            const rk_file *file, rk_error *err);
/* Do heads fit each other? Errors  `code`, with `where` at its beginning. */
rk_status rk_tf_check_heads(const rk_tf_heads *h, const char *where, rk_status code, rk_error *err);

/* The states that attention has, in layers where `which` says. */
#define RK_TF_KEYS(which)                                                                          \
    {                                                                                              \
        .name = "att.keys", .shape = "GD", .kind = RK_STATE_TOKENS, .in = (which)                  \
    }
#define RK_TF_VALUES(which)                                                                        \
    {                                                                                              \
        .name = "att.values", .shape = "GD", .kind = RK_STATE_TOKENS, .in = (which)                \
    }

rk_stem_fn rk_tf_stem;
/* x += time_mix(norm1(x)); x += channel_mix(norm2(x)). */
rk_block_fn rk_tf_block;
rk_head_fn rk_tf_head;
/* SwiGLU, of a layer struct that begins with rk_tf_layer. */
rk_mixer_fn rk_tf_mlp;
/* Those of the sizes above. */
rk_tf_heads rk_tf_heads_of(const rk_hparams *hp);
/* What attention takes: the projections of x, and the keys and values before. */
rk_attention_in rk_tf_attention_of(rk_ctx *ctx, const rk_tf_heads *h,
                                   const rk_tf_attention_layer *p, rk_tensor *x, rk_tensor *keys,
                                   rk_tensor *values);
/* residual + attention(x); keys and values (B,T,G,D) grow. */
rk_tensor *rk_tf_attention(rk_ctx *ctx, const rk_tf_heads *h, const rk_tf_attention_layer *p,
                           rk_tensor *x, rk_tensor *residual, rk_tensor **keys, rk_tensor **values);

/* The parts above as members of an rk_arch. */
extern const rk_io_spec rk_tf_inputs[1], rk_tf_outputs[1];
#define RK_TF_PARTS                                                                                \
    .top_bytes = sizeof(rk_tf_top), .inputs = rk_tf_inputs, .n_inputs = 1,                         \
    .outputs = rk_tf_outputs, .n_outputs = 1, .stem = rk_tf_stem, .block = rk_tf_block,            \
    .head = rk_tf_head, .channel_mix = rk_tf_mlp

#endif
