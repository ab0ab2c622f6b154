/* lm.h: the parts that language models share: a stem of tokens (embedding and ln0), a block of two
 * mixers behind layer norms, and a head (ln_out). The projection to the vocabulary, rk_model.head,
 * is left to the caller: a loss never holds all logits, and decoding wants the last row's only. */
#ifndef RK_MODEL_LM_H
#define RK_MODEL_LM_H

#include "model/init.h"

typedef struct rk_lm_top {
    rk_tensor *emb, *ln0_w, *ln0_b, *ln_out_w, *ln_out_b; /* ln0: NULL where it is fused */
    rk_weight head;
    /* Of a hierarchical head (clusters.h), else NULL: (K, C), (K), (V). The rows of its `head` lie as
     * rk_clusters.tokens says. */
    rk_tensor *head_l1, *head_l1_bias, *head_clusters;
} rk_lm_top;

/* What the layer struct of an architecture with rk_lm_block begins with. */
typedef struct rk_lm_layer {
    rk_tensor *ln1_w, *ln1_b, *ln2_w, *ln2_b; /* (C) */
} rk_lm_layer;

/* Rows of a parameter table: before the blocks', at their beginning, and behind them. */
#define RK_LM_TOP(f) RK_SCOPE_MODEL, offsetof(rk_lm_top, f)
#define RK_LM_LN0(f) RK_SCOPE_LN0, offsetof(rk_lm_top, f)
#define RK_LM_FIRST_PARAMS                                                                         \
    {"emb.weight", "VC", RK_ROLE_EMB, RK_LM_TOP(emb), rk_init_uniform, 1e-4, 1},                   \
        {"blocks.0.ln0.weight", "C", RK_ROLE_VECTOR, RK_LM_LN0(ln0_w), rk_init_constant, 1, 1},    \
    {                                                                                              \
        "blocks.0.ln0.bias", "C", RK_ROLE_VECTOR, RK_LM_LN0(ln0_b), rk_init_constant, 0, 1         \
    }
#define RK_LM_LAYER(f) RK_SCOPE_LAYER, offsetof(rk_lm_layer, f)
#define RK_LM_BLOCK_PARAMS                                                                         \
    {"blocks.%d.ln1.weight", "C", RK_ROLE_VECTOR, RK_LM_LAYER(ln1_w), rk_init_constant, 1, 1},     \
        {"blocks.%d.ln1.bias", "C", RK_ROLE_VECTOR, RK_LM_LAYER(ln1_b), rk_init_constant, 0, 1},   \
        {"blocks.%d.ln2.weight", "C", RK_ROLE_VECTOR, RK_LM_LAYER(ln2_w), rk_init_constant, 1, 1}, \
    {                                                                                              \
        "blocks.%d.ln2.bias", "C", RK_ROLE_VECTOR, RK_LM_LAYER(ln2_b), rk_init_constant, 0, 1      \
    }
/* The head's rows, token by token or cluster by cluster. */
#define RK_LM_ROWS "head_l2.weight"
#define RK_LM_WHOLE(f) RK_SCOPE_NO_CLUSTERS, offsetof(rk_lm_top, f)
#define RK_LM_CLUSTERS(f) RK_SCOPE_CLUSTERS, offsetof(rk_lm_top, f)
#define RK_LM_LAST_PARAMS                                                                            \
    {"ln_out.weight", "C", RK_ROLE_VECTOR, RK_LM_TOP(ln_out_w), rk_init_constant, 1, 1},             \
        {"ln_out.bias", "C", RK_ROLE_VECTOR, RK_LM_TOP(ln_out_b), rk_init_constant, 0, 1},           \
        {"head.weight", "VC", RK_ROLE_HEAD, RK_LM_WHOLE(head), rk_init_orthogonal_tall, 0.5, 1},     \
        {RK_LM_ROWS, "VC", RK_ROLE_HEAD, RK_LM_CLUSTERS(head), rk_init_constant, 0, 1},              \
        {"head_l1.weight", "qC", RK_ROLE_CLUSTERS, RK_LM_CLUSTERS(head_l1), rk_init_constant, 0, 1}, \
        {"head_l1.bias",                                                                             \
         "q",                                                                                        \
         RK_ROLE_CLUSTERS,                                                                           \
         RK_LM_CLUSTERS(head_l1_bias),                                                               \
         rk_init_constant,                                                                           \
         0,                                                                                          \
         1},                                                                                         \
    {                                                                                                \
        "head_clusters", "V", RK_ROLE_CLUSTERS, RK_LM_CLUSTERS(head_clusters), rk_init_constant,     \
            0, 1                                                                                     \
    }

/* "ids" (B, T) in, "hidden" (B, T, C) out. */
enum { RK_LM_N_INPUTS = 1, RK_LM_N_OUTPUTS = 1 };
extern const rk_io_spec rk_lm_inputs[RK_LM_N_INPUTS], rk_lm_outputs[RK_LM_N_OUTPUTS];

rk_stem_fn rk_lm_stem;
/* x += time_mix(ln1(x)); x += channel_mix(ln2(x)), the mixers of the architecture. */
rk_block_fn rk_lm_block;
rk_head_fn rk_lm_head;

/* Members of an rk_arch: inputs, outputs and what its top holds, for one with a block and a head of its own; and the
 * parts above, too. BlinkDL/RWKV-LM trains all of them with L2Wrap. */
#define RK_LM_FACE                                                                                 \
    .top_bytes = sizeof(rk_lm_top), .inputs = rk_lm_inputs, .n_inputs = RK_LM_N_INPUTS,            \
    .outputs = rk_lm_outputs, .n_outputs = RK_LM_N_OUTPUTS, .l2wrap = 1e-4
#define RK_LM_PARTS RK_LM_FACE, .block = rk_lm_block, .head = rk_lm_head

#endif
