/* names_tf.c: transformers (model/transformer.h) under the names of Hugging Face, which are the canonical
 * ones of such architectures, and under llama.cpp's.
 *
 * What no tensor shows comes from config.json or the GGUF file's metadata. llama.cpp turns neighbouring
 * pairs of a llama model's q and k, where all others turn pairs half a head apart: its files have the
 * rows of these in another order. Source: ggml-org/llama.cpp, convert_hf_to_gguf.py (permute) and
 * src/llama-arch.cpp. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "format/config_tf.h"
#include "format/scheme.h"

#define SAME(canonical, foreign)                                                                   \
    {                                                                                              \
        canonical, foreign, RK_FORM_SAME, 0, NULL, false                                           \
    }
#define PAIRS(canonical, foreign)                                                                  \
    {                                                                                              \
        canonical, foreign, RK_FORM_PAIRS, 0, NULL, false                                          \
    }

/* ---- Hugging Face ---- */

/* The canonical names, so no row changes one; a config.json beside the file is what is added. */
static bool detect_hf(const rk_file *f)
{
    const rk_arch *arch = strcmp(rk_file_container(f), "gguf") != 0 ? rk_arch_detect(f) : NULL;
    const char *prefix = "";
    return arch && rk_arch_layers(arch, &prefix) > 0 && !strncmp(prefix, "model.", 6);
}

static const rk_scheme_row rows_hf[] = {SAME("*", "*")};
const rk_scheme rk_scheme_tf = {.name = "Hugging Face",
                                .detect = detect_hf,
                                .rows = rows_hf,
                                .n_rows = RK_COUNT(rows_hf),
                                .finish = rk_tf_config_apply};

/* ---- llama.cpp ---- */

#define MODEL_ROWS                                                                                 \
    SAME("model.embed_tokens.weight", "token_embd.weight"),                                        \
        SAME("model.norm.weight", "output_norm.weight"), SAME("lm_head.weight", "output.weight"),  \
        SAME("model.layers.%d.input_layernorm.weight", "blk.%d.attn_norm.weight"),                 \
        SAME("model.layers.%d.post_attention_layernorm.weight", "blk.%d.ffn_norm.weight"),         \
        SAME("model.layers.%d.mlp.gate_proj.weight", "blk.%d.ffn_gate.weight"),                    \
        SAME("model.layers.%d.mlp.up_proj.weight", "blk.%d.ffn_up.weight"),                        \
        SAME("model.layers.%d.mlp.down_proj.weight", "blk.%d.ffn_down.weight"),                    \
        SAME("model.layers.%d.self_attn.v_proj.weight", "blk.%d.attn_v.weight"),                   \
        SAME("model.layers.%d.self_attn.o_proj.weight", "blk.%d.attn_output.weight")

static const rk_scheme_row rows_qwen2[] = {
    MODEL_ROWS,
    SAME("model.layers.%d.self_attn.q_proj.weight", "blk.%d.attn_q.weight"),
    SAME("model.layers.%d.self_attn.k_proj.weight", "blk.%d.attn_k.weight"),
    SAME("model.layers.%d.self_attn.q_proj.bias", "blk.%d.attn_q.bias"),
    SAME("model.layers.%d.self_attn.k_proj.bias", "blk.%d.attn_k.bias"),
    SAME("model.layers.%d.self_attn.v_proj.bias", "blk.%d.attn_v.bias"),
};

static const rk_scheme_row rows_llama[] = {
    MODEL_ROWS,
    PAIRS("model.layers.%d.self_attn.q_proj.weight", "blk.%d.attn_q.weight"),
    PAIRS("model.layers.%d.self_attn.k_proj.weight", "blk.%d.attn_k.weight"),
};

static const rk_scheme_number numbers[] = {
    {"context_length", "n_positions", 0},
    {"embedding_length", "n_embd", 0},
    {"block_count", "n_layer", 0},
    {"feed_forward_length", "dim_ffn", 0},
    {"attention.head_count", "n_head", 0},
    {"attention.head_count_kv", "n_kv_head", 0},
    {"attention.key_length", "head_size", 0},
    {"attention.value_length", "head_size", 0},
    {"attention.layer_norm_rms_epsilon", "rms_eps", 0},
    {"rope.dimension_count", "head_size", 0},
    {"rope.freq_base", "rope_theta", 0},
    {"vocab_size", "n_vocab", 0},
};

static const char *arch_meta(const rk_file *f, const char *key)
{
    char name[64];
    snprintf(name, sizeof name, "%s.%s", rk_file_meta(f, "general.architecture"), key);
    return rk_file_meta(f, name);
}

/* Is there such a key with another value than the one that changes nothing? */
static bool is_set(const rk_file *f, const char *key, const char *without)
{
    const char *value = arch_meta(f, key);
    return value && strcmp(value, without) != 0;
}

/* What llama.cpp would do with the positions that is not done here. */
static rk_status check_rope(const rk_file *f, rk_error *err)
{
    static const struct {
        const char *key, *without;
    } keys[] = {{"rope.scaling.type", "none"},
                {"rope.scale_linear", "1"},
                {"rope.scaling.factor", "1"},
                {"attention.sliding_window", "0"},
                {"expert_count", "0"}};
    for (size_t i = 0; i < RK_COUNT(keys); i++)
        if (is_set(f, keys[i].key, keys[i].without))
            return rk_fail(err, RK_ERR_UNSUPPORTED, "%s: %s is '%.32s', which is not computed here",
                           rk_file_name(f), keys[i].key, arch_meta(f, keys[i].key));
    if (rk_file_find(f, "rope_freqs.weight"))
        return rk_fail(err, RK_ERR_UNSUPPORTED,
                       "%s: tensor 'rope_freqs.weight' scales the rotary embedding, which is not "
                       "computed here",
                       rk_file_name(f));
    return RK_OK;
}

/* RK_FORM_PAIRS asks for the size of a head. */
static rk_status state_head_size(rk_file *out, const rk_file *f, rk_error *err)
{
    const char *said = arch_meta(f, "attention.key_length"), *n = arch_meta(f, "embedding_length"),
               *heads = arch_meta(f, "attention.head_count");
    const int64_t n_head = heads ? strtoll(heads, NULL, 10) : 0;
    const int64_t size = said              ? strtoll(said, NULL, 10)
                         : n && n_head > 0 ? strtoll(n, NULL, 10) / n_head
                                           : 0;
    char text[32];
    snprintf(text, sizeof text, "%" PRId64, size);
    return size > 0 ? rk_file_add_meta(out, RK_FORM_HEAD_SIZE, text, err)
                    : rk_fail(err, RK_ERR_FORMAT, "%s: nothing says how many heads it has",
                              rk_file_name(f));
}

/* Wavelengths have a usual base there. */
static rk_status begin(rk_file *out, const rk_file *f, rk_error *err)
{
    rk_status st = check_rope(f, err);
    if (st == RK_OK)
        st = state_head_size(out, f, err);
    return st == RK_OK && !arch_meta(f, "rope.freq_base")
               ? rk_file_add_meta(out, "rope_theta", "10000", err)
               : st;
}

static bool is_gguf(const rk_file *f, const char *name)
{
    const char *arch = rk_file_meta(f, "general.architecture");
    return !strcmp(rk_file_container(f), "gguf") && arch && !strcmp(arch, name);
}

static bool detect_qwen2(const rk_file *f)
{
    return is_gguf(f, "qwen2");
}

static bool detect_llama(const rk_file *f)
{
    return is_gguf(f, "llama");
}

const rk_scheme rk_scheme_gguf_qwen2 = {
    .name = "gguf",
    .detect = detect_qwen2,
    .begin = begin,
    .rows = rows_qwen2,
    .n_rows = RK_COUNT(rows_qwen2),
    .numbers = numbers,
    .n_numbers = RK_COUNT(numbers),
};

const rk_scheme rk_scheme_gguf_llama = {
    .name = "gguf",
    .detect = detect_llama,
    .begin = begin,
    .rows = rows_llama,
    .n_rows = RK_COUNT(rows_llama),
    .numbers = numbers,
    .n_numbers = RK_COUNT(numbers),
};
