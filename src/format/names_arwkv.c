/* names_arwkv.c: the names of llama.cpp's GGUF files of transformers with a recurrence in the place of
 * attention: arwkv7 and rwkv6qwen2. Source: ggml-org/llama.cpp, the RWKV part of its converter and
 * src/models/. Low-rank matrices are stored there as linear weights, (out, in); of rwkv6qwen2's five mixes
 * the parts of two are in each other's place. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "format/scheme_forms.h"

#define MIXER7 "model.layers.%d.self_attn.time_mixer."
#define MIXER6 "model.layers.%d.self_attn."
#define FIRST7 "model.layers.0.self_attn.time_mixer."
#define FUSED "blk.%d.time_mix_lerp_fused.weight"

/* clang-format off */
#define SAME(canonical, gguf) {canonical, gguf, RK_FORM_SAME, 0, NULL, false}
#define VECTOR(canonical, gguf) {canonical, gguf, RK_FORM_SAME, 0, ".", false}
#define LATER(canonical, gguf, form, dims) {canonical, gguf, form, 0, dims, true}
#define EXCHANGED(canonical, gguf) {canonical, gguf, RK_FORM_EXCHANGED, 0, NULL, false}
#define SWAPPED(canonical, gguf) {canonical, gguf, RK_FORM_SWAPPED, 0, NULL, false}
#define PIECE(canonical, i) {canonical, FUSED, RK_FORM_PIECE, i, NULL, false}
#define LAST_PIECE(canonical, i) {canonical, FUSED, RK_FORM_LAST_PIECE, i, NULL, false}

#define MODEL_ROWS                                                                    \
    SAME("model.embed_tokens.weight", "token_embd.weight"),                           \
    SAME("model.norm.weight", "output_norm.weight"),                                  \
    SAME("lm_head.weight", "output.weight"),                                          \
    SAME("model.layers.%d.input_layernorm.weight", "blk.%d.attn_norm.weight"),        \
    SAME("model.layers.%d.post_attention_layernorm.weight", "blk.%d.ffn_norm.weight"), \
    SAME("model.layers.%d.mlp.gate_proj.weight", "blk.%d.ffn_gate.weight"),           \
    SAME("model.layers.%d.mlp.up_proj.weight", "blk.%d.ffn_up.weight"),               \
    SAME("model.layers.%d.mlp.down_proj.weight", "blk.%d.ffn_down.weight")

/* No limit of positions; token shift in the mixer alone; heads of softmax attention: none. */
#define MODEL_NUMBERS                                                                 \
    {"context_length", NULL, 1 << 20},                                                \
    {"embedding_length", "n_embd", 0},                                                \
    {"block_count", "n_layer", 0},                                                    \
    {"feed_forward_length", "dim_ffn", 0},                                            \
    {"attention.layer_norm_rms_epsilon", "rms_eps", 0},                               \
    {"wkv.head_size", "head_size", 0},                                                \
    {"token_shift_count", NULL, 1},                                                   \
    {"attention.head_count", NULL, 0},                                                \
    {"vocab_size", "n_vocab", 0}
/* clang-format on */

static bool is_gguf(const rk_file *f, const char *name)
{
    const char *arch = rk_file_meta(f, "general.architecture");
    return !strcmp(rk_file_container(f), "gguf") && arch && !strcmp(arch, name);
}

/* ---- arwkv7 ---- */

static const rk_scheme_row rows7[] = {
    MODEL_ROWS,
    PIECE(MIXER7 "x_r", 0),
    PIECE(MIXER7 "x_w", 1),
    PIECE(MIXER7 "x_k", 2),
    PIECE(MIXER7 "x_v", 3),
    PIECE(MIXER7 "x_a", 4),
    LAST_PIECE(MIXER7 "x_g", 5),
    VECTOR(MIXER7 "w0", "blk.%d.time_mix_w0.weight"),
    EXCHANGED(MIXER7 "w1", "blk.%d.time_mix_w1.weight"),
    EXCHANGED(MIXER7 "w2", "blk.%d.time_mix_w2.weight"),
    VECTOR(MIXER7 "a0", "blk.%d.time_mix_a0.weight"),
    EXCHANGED(MIXER7 "a1", "blk.%d.time_mix_a1.weight"),
    EXCHANGED(MIXER7 "a2", "blk.%d.time_mix_a2.weight"),
    LATER(MIXER7 "v0", "blk.%d.time_mix_v0.weight", RK_FORM_SAME, "."),
    LATER(MIXER7 "v1", "blk.%d.time_mix_v1.weight", RK_FORM_EXCHANGED, NULL),
    LATER(MIXER7 "v2", "blk.%d.time_mix_v2.weight", RK_FORM_EXCHANGED, NULL),
    EXCHANGED(MIXER7 "g1", "blk.%d.time_mix_g1.weight"),
    EXCHANGED(MIXER7 "g2", "blk.%d.time_mix_g2.weight"),
    VECTOR(MIXER7 "k_k", "blk.%d.time_mix_k_k.weight"),
    VECTOR(MIXER7 "k_a", "blk.%d.time_mix_k_a.weight"),
    {MIXER7 "r_k", "blk.%d.time_mix_r_k.weight", RK_FORM_HEADS, 0, ".", false},
    SAME(MIXER7 "receptance.weight", "blk.%d.time_mix_receptance.weight"),
    SAME(MIXER7 "key.weight", "blk.%d.time_mix_key.weight"),
    SAME(MIXER7 "value.weight", "blk.%d.time_mix_value.weight"),
    SAME(MIXER7 "output.weight", "blk.%d.time_mix_output.weight"),
    VECTOR(MIXER7 "ln_x.weight", "blk.%d.time_mix_ln.weight"),
    VECTOR(MIXER7 "ln_x.bias", "blk.%d.time_mix_ln.bias"),
};

static const rk_scheme_number numbers7[] = {
    MODEL_NUMBERS,
    {"attention.decay_lora_rank", "rank_w", 0},
    {"attention.iclr_lora_rank", "rank_a", 0},
    {"attention.value_residual_mix_lora_rank", "rank_v", 0},
    {"attention.gate_lora_rank", "rank_g", 0},
};

static bool detect7(const rk_file *f)
{
    return is_gguf(f, "arwkv7");
}

static rk_status add_dummies(rk_file *foreign, const rk_file *canonical, rk_error *err)
{
    return rk_gguf_add_dummies(foreign, canonical, FIRST7, err);
}

static rk_status restore_unused(rk_file *out, const rk_file *foreign, rk_error *err)
{
    return rk_gguf_restore_unused(out, foreign, FIRST7, err);
}

const rk_scheme rk_scheme_gguf_arwkv7 = {
    .name = "gguf",
    .detect = detect7,
    .rows = rows7,
    .n_rows = RK_COUNT(rows7),
    .has_dummies = rk_gguf_has_dummies,
    .finish = restore_unused,
    .complete = add_dummies,
    .numbers = numbers7,
    .n_numbers = RK_COUNT(numbers7),
};

/* ---- rwkv6qwen2 ---- */

static const rk_scheme_row rows6[] = {
    MODEL_ROWS,
    VECTOR(MIXER6 "time_maa_x", "blk.%d.time_mix_lerp_x.weight"),
    PIECE(MIXER6 "time_maa_w", 0),
    PIECE(MIXER6 "time_maa_k", 1),
    PIECE(MIXER6 "time_maa_v", 2),
    PIECE(MIXER6 "time_maa_r", 3),
    PIECE(MIXER6 "time_maa_g", 4),
    SWAPPED(MIXER6 "time_maa_w1", "blk.%d.time_mix_w1.weight"),
    SWAPPED(MIXER6 "time_maa_w2", "blk.%d.time_mix_w2.weight"),
    VECTOR(MIXER6 "time_decay", "blk.%d.time_mix_decay.weight"),
    EXCHANGED(MIXER6 "time_decay_w1", "blk.%d.time_mix_decay_w1.weight"),
    EXCHANGED(MIXER6 "time_decay_w2", "blk.%d.time_mix_decay_w2.weight"),
    SAME(MIXER6 "q_proj.weight", "blk.%d.time_mix_receptance.weight"),
    SAME(MIXER6 "k_proj.weight", "blk.%d.time_mix_key.weight"),
    SAME(MIXER6 "v_proj.weight", "blk.%d.time_mix_value.weight"),
    SAME(MIXER6 "q_proj.bias", "blk.%d.time_mix_receptance.bias"),
    SAME(MIXER6 "k_proj.bias", "blk.%d.time_mix_key.bias"),
    SAME(MIXER6 "v_proj.bias", "blk.%d.time_mix_value.bias"),
    SAME(MIXER6 "gate.weight", "blk.%d.time_mix_gate.weight"),
    SAME(MIXER6 "o_proj.weight", "blk.%d.time_mix_output.weight"),
};

static const rk_scheme_number numbers6[] = {
    MODEL_NUMBERS,
    {"attention.head_count_kv", "n_kv_head", 0},
    {"time_mix_extra_dim", "rank_m", 0},
    {"time_decay_extra_dim", "rank_w", 0},
};

static bool detect6(const rk_file *f)
{
    return is_gguf(f, "rwkv6qwen2");
}

static int64_t number_of(const rk_file *f, const char *key)
{
    const char *value = rk_file_meta(f, key);
    return value ? strtoll(value, NULL, 10) : 0;
}

/* How many heads there are is said by the size of one. */
static rk_status state_heads(rk_file *out, const rk_file *f, rk_error *err)
{
    const int64_t size = number_of(f, "rwkv6qwen2.wkv.head_size");
    const int64_t n = number_of(f, "rwkv6qwen2.embedding_length");
    char text[32];
    if (size < 1 || n < size)
        return rk_fail(err, RK_ERR_FORMAT,
                       "%s: rwkv6qwen2.wkv.head_size is %" PRId64
                       ", expected 1 to the embedding_length of %" PRId64,
                       rk_file_name(f), size, n);
    snprintf(text, sizeof text, "%" PRId64, n / size);
    return rk_file_add_meta(out, "n_head", text, err);
}

const rk_scheme rk_scheme_gguf_rwkv6qwen2 = {
    .name = "gguf",
    .detect = detect6,
    .begin = state_heads,
    .rows = rows6,
    .n_rows = RK_COUNT(rows6),
    .numbers = numbers6,
    .n_numbers = RK_COUNT(numbers6),
};
