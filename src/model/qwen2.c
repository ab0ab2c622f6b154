/* qwen2.c: Qwen2 and Qwen2.5 (arXiv 2407.10671, 2412.15115), and Llama (arXiv 2302.13971, 2307.09288),
 * which is the same without biases: transformers with grouped-query attention, a rotary embedding whose
 * pairs are half a head apart, RMS norms and SwiGLU. Source: huggingface/transformers, models/qwen2
 * and models/llama. */
#include "base/num.h"
#include "model/transformer.h"

typedef struct layer {
    rk_tf_layer body;
    rk_tf_attention_layer attention;
} layer;

/* Name, shape, place, initial value and its argument, factor of the learning rate. */
static const rk_param_spec qwen2_params[] = {
    RK_TF_FIRST_PARAMS,       RK_TF_BLOCK_PARAMS, RK_TF_ATTENTION_PARAMS(layer),
    RK_TF_BIAS_PARAMS(layer), RK_TF_LAST_PARAMS,
};

static const rk_param_spec llama_params[] = {
    RK_TF_FIRST_PARAMS,
    RK_TF_BLOCK_PARAMS,
    RK_TF_ATTENTION_PARAMS(layer),
    RK_TF_LAST_PARAMS,
};

enum { KEYS, VALUES, N_STATE };
static const rk_state_spec state[N_STATE] = {
    RK_TF_KEYS(RK_IN_ALL),
    RK_TF_VALUES(RK_IN_ALL),
};

/* The body alone shows nothing of what may have been put beside or around attention: files with more
 * are refused by the names of their tensors. */
static bool is_transformer(const rk_file *f)
{
    return rk_file_find(f, "model.layers.0.self_attn.q_proj.weight") &&
           rk_file_find(f, "model.layers.0.mlp.gate_proj.weight");
}

static bool detect_qwen2(const rk_file *f)
{
    return is_transformer(f) && rk_file_find(f, "model.layers.0.self_attn.q_proj.bias");
}

static bool detect_llama(const rk_file *f)
{
    return is_transformer(f) && !rk_file_find(f, "model.layers.0.self_attn.q_proj.bias");
}

static rk_tensor *attend(rk_ctx *ctx, const rk_model *m, int64_t l, rk_tensor *x,
                         rk_tensor *residual, rk_block_io *io)
{
    const layer *p = rk_model_layer(m, l);
    const rk_tf_heads heads = rk_tf_heads_of(&m->hp);
    return rk_tf_attention(ctx, &heads, &p->attention, x, residual, &io->state[KEYS],
                           &io->state[VALUES]);
}

static const rk_size_spec qwen2_sizes[] = {RK_TF_RMS_EPS(1e-6), RK_TF_ROPE_THETA(1000000)};
static const rk_size_spec llama_sizes[] = {RK_TF_RMS_EPS(1e-5), RK_TF_ROPE_THETA(10000)};
static const rk_size_table qwen2_table = {qwen2_sizes, RK_COUNT(qwen2_sizes)},
                           llama_table = {llama_sizes, RK_COUNT(llama_sizes)};

const rk_arch rk_arch_qwen2 = {
    .name = "qwen2",
    .params = qwen2_params,
    .n_params = RK_COUNT(qwen2_params),
    .state = state,
    .n_state = N_STATE,
    .layer_bytes = sizeof(layer),
    .detect = detect_qwen2,
    .sizes = {&rk_tf_sizes_first, &rk_tf_sizes_heads, &rk_tf_sizes_last, &qwen2_table},
    .settle = rk_tf_settle,
    RK_TF_PARTS,
    .time_mix = attend,
};

const rk_arch rk_arch_llama = {
    .name = "llama",
    .params = llama_params,
    .n_params = RK_COUNT(llama_params),
    .state = state,
    .n_state = N_STATE,
    .layer_bytes = sizeof(layer),
    .detect = detect_llama,
    .sizes = {&rk_tf_sizes_first, &rk_tf_sizes_heads, &rk_tf_sizes_last, &llama_table},
    .settle = rk_tf_settle,
    RK_TF_PARTS,
    .time_mix = attend,
};
