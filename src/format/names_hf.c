/* names_hf.c: the names of Hugging Face folders: transformers' RWKV-4 and -7, the remote-code
 * classes of RWKV-5 and -6, fla's RWKV-6 and -7, and ports that mix their words.
 *
 * Reading goes by rule: words are replaced part by part ("layers" is "blocks" everywhere), then the
 * rows handle what is stored in another way. Writing has a table an architecture. Sources:
 * huggingface/transformers, convert_rwkv_checkpoint_to_hf.py, and for RWKV-7 (not released yet)
 * models/rwkv7 there and in rwkv-rs/transformers-rwkv; fla-org/flash-linear-attention,
 * utils/convert_from_rwkv7.py and convert_from_rwkv6.py. */
#include <string.h>

#include "base/num.h"
#include "format/config_hf.h"
#include "format/scheme.h"

#define SAME(canonical, hf)                                                                        \
    {                                                                                              \
        canonical, hf, RK_FORM_SAME, 0, NULL, false                                                \
    }
#define VECTOR(canonical, hf)                                                                      \
    {                                                                                              \
        canonical, hf, RK_FORM_SAME, 0, ".", false                                                 \
    }
#define EXCHANGED(canonical, hf)                                                                   \
    {                                                                                              \
        canonical, hf, RK_FORM_EXCHANGED, 0, NULL, false                                           \
    }
#define PIECE(canonical, hf, i)                                                                    \
    {                                                                                              \
        canonical, hf, RK_FORM_PIECE, i, NULL, false                                               \
    }

/* ---- reading ---- */

static const rk_scheme_word words[] = {
    {"model", ""},
    {"rwkv", ""},
    {"rwkv7", ""},
    {"_forward_module", ""},
    {"module", ""},
    {"_orig_mod", ""},
    {"layers", "blocks"},
    {"attention", "att"},
    {"attn", "att"},
    {"self_attn", "att"},
    {"linear_attn", "att"},
    {"time_mixer", "att"},
    {"feed_forward", "ffn"},
    {"channel_mixer", "ffn"},
    {"mlp", "ffn"},
    {"embeddings", "emb"},
    {"embed_tokens", "emb"},
    {"lm_head", "head"},
    {"pre_ln", "ln0"},
    {"pre_norm", "ln0"},
    {"attn_norm", "ln1"},
    {"input_layernorm", "ln1"},
    {"ffn_norm", "ln2"},
    {"post_attention_layernorm", "ln2"},
    {"norm", "ln_out"},
    {"g_norm", "ln_x"},
    {"r_proj", "receptance"},
    {"k_proj", "key"},
    {"v_proj", "value"},
    {"o_proj", "output"},
    {"g_proj", "gate"},
    {"time_mix_key", "time_mix_k"},
    {"time_mix_value", "time_mix_v"},
    {"time_mix_receptance", "time_mix_r"},
    {"time_mix_gate", "time_mix_g"},
    {NULL, NULL},
};

/* A low-rank part of fla: two linear weights and, but for the gate, a bias. */
#define LORA(letter)                                                                               \
    EXCHANGED("blocks.%d.att." letter "1", "blocks.%d.att." letter "_lora.lora.0.weight"),         \
        EXCHANGED("blocks.%d.att." letter "2", "blocks.%d.att." letter "_lora.lora.2.weight"),     \
        SAME("blocks.%d.att." letter "0", "blocks.%d.att." letter "_lora.lora.2.bias")

/* The same as two linear layers under the canonical names. */
#define LINEAR(letter)                                                                             \
    EXCHANGED("blocks.%d.att." letter "1", "blocks.%d.att." letter "1.weight"),                    \
        EXCHANGED("blocks.%d.att." letter "2", "blocks.%d.att." letter "2.weight")

#define X_X "blocks.%d.att.x_x"
#define X_BIAS "blocks.%d.att.x_bias"

static const rk_scheme_row read_rows[] = {
    LORA("w"),
    LORA("a"),
    LORA("v"),
    LORA("g"),
    LINEAR("w"),
    LINEAR("a"),
    LINEAR("v"),
    LINEAR("g"),
    SAME("blocks.0.ln0.*", "embedding_norm.*"),
    PIECE("blocks.%d.att.x_r", X_X, 0),
    PIECE("blocks.%d.att.x_w", X_X, 1),
    PIECE("blocks.%d.att.x_k", X_X, 2),
    PIECE("blocks.%d.att.x_v", X_X, 3),
    PIECE("blocks.%d.att.x_a", X_X, 4),
    PIECE("blocks.%d.att.x_g", X_X, 5),
    /* fla's rwkv6 */
    SAME("blocks.%d.att.time_maa_x", "blocks.%d.att.x_proj.0.mu"),
    {"blocks.%d.att.time_maa_w1", "blocks.%d.att.x_proj.0.linear.weight", RK_FORM_FLA6_MAA_W1, 0,
     NULL, false},
    {"blocks.%d.att.time_maa_w2", "blocks.%d.att.x_proj.2.weight", RK_FORM_FLA6_MAA_W2, 0, NULL,
     false},
    PIECE("blocks.%d.att.time_maa_r", X_BIAS, 0),
    PIECE("blocks.%d.att.time_maa_w", X_BIAS, 1),
    PIECE("blocks.%d.att.time_maa_k", X_BIAS, 2),
    PIECE("blocks.%d.att.time_maa_v", X_BIAS, 3),
    PIECE("blocks.%d.att.time_maa_g", X_BIAS, 4),
    SAME("blocks.%d.att.receptance.weight", "blocks.%d.att.receptance.linear.weight"),
    SAME("blocks.%d.att.key.weight", "blocks.%d.att.key.linear.weight"),
    SAME("blocks.%d.att.value.weight", "blocks.%d.att.value.linear.weight"),
    SAME("blocks.%d.att.gate.weight", "blocks.%d.att.gate.linear.weight"),
    EXCHANGED("blocks.%d.att.time_decay_w1", "blocks.%d.att.w_proj.linear.lora.0.weight"),
    EXCHANGED("blocks.%d.att.time_decay_w2", "blocks.%d.att.w_proj.linear.lora.2.weight"),
    SAME("blocks.%d.att.time_decay", "blocks.%d.att.w_proj.linear.lora.2.bias"),
    SAME("blocks.%d.att.time_faaaa", "blocks.%d.att.bonus"),
    SAME("blocks.%d.ffn.key.weight", "blocks.%d.ffn.key.linear.weight"),
    SAME("blocks.%d.ffn.time_maa_k", "blocks.%d.ffn.key.mu"),
    SAME("blocks.%d.ffn.receptance.weight", "blocks.%d.ffn.receptance.linear.weight"),
    SAME("blocks.%d.ffn.time_maa_r", "blocks.%d.ffn.receptance.mu"),
};

/* By what the embedding is called: every port has another word for it, or a prefix. */
static bool detect(const rk_file *f)
{
    return !rk_file_find(f, "emb.weight") && strcmp(rk_file_container(f), "gguf") != 0 &&
           strcmp(rk_file_container(f), "rwkv.cpp") != 0;
}

const rk_scheme rk_scheme_hf = {.name = "Hugging Face",
                                .detect = detect,
                                .words = words,
                                .rows = read_rows,
                                .n_rows = RK_COUNT(read_rows),
                                .finish = rk_hf_read_config};

/* ---- writing ---- */

#define HF_ROWS                                                                                    \
    SAME("emb.weight", "rwkv.embeddings.weight"), SAME("head.weight", "head.weight"),              \
        SAME("ln_out.*", "rwkv.ln_out.*"), SAME("blocks.%d.ln0.*", "rwkv.blocks.%d.pre_ln.*"),     \
        SAME("blocks.%d.att.time_mix_k", "rwkv.blocks.%d.attention.time_mix_key"),                 \
        SAME("blocks.%d.att.time_mix_v", "rwkv.blocks.%d.attention.time_mix_value"),               \
        SAME("blocks.%d.att.time_mix_r", "rwkv.blocks.%d.attention.time_mix_receptance"),          \
        SAME("blocks.%d.att.time_mix_g", "rwkv.blocks.%d.attention.time_mix_gate"),                \
        SAME("blocks.%d.ffn.time_mix_k", "rwkv.blocks.%d.feed_forward.time_mix_key"),              \
        SAME("blocks.%d.ffn.time_mix_r", "rwkv.blocks.%d.feed_forward.time_mix_receptance"),       \
        SAME("blocks.%d.att.*", "rwkv.blocks.%d.attention.*"),                                     \
        SAME("blocks.%d.ffn.*", "rwkv.blocks.%d.feed_forward.*"),                                  \
        SAME("blocks.%d.*", "rwkv.blocks.%d.*")

static const rk_scheme_row hf_rows[] = {HF_ROWS};
const rk_scheme rk_scheme_hf_classes = {
    .name = "Hugging Face", .rows = hf_rows, .n_rows = RK_COUNT(hf_rows)};

static const rk_scheme_row rows7[] = {
    SAME("emb.weight", "rwkv7.emb.weight"),
    SAME("head.weight", "head.weight"),
    SAME("ln_out.*", "rwkv7.ln_out.*"),
    SAME("blocks.%d.*", "rwkv7.blocks.%d.*"),
};

/* Layer 0 has v0, v1 and v2 there, which nothing reads; a model without them gets zeros. */
static rk_status add_unused(rk_file *foreign, const rk_file *canonical, rk_error *err)
{
    static const struct {
        const char *name, *like;
        rk_scheme_row row;
    } unused[] = {
        {"blocks.0.att.v0", "blocks.1.att.v0", SAME("", "rwkv7.blocks.0.att.v0")},
        {"blocks.0.att.v1", "blocks.1.att.v1", SAME("", "rwkv7.blocks.0.att.v1")},
        {"blocks.0.att.v2", "blocks.1.att.v2", SAME("", "rwkv7.blocks.0.att.v2")},
    };
    rk_status st = RK_OK;
    for (size_t i = 0; i < RK_COUNT(unused) && st == RK_OK; i++) {
        const rk_file_tensor *like = rk_file_find(canonical, unused[i].like);
        if (!like || rk_file_find(canonical, unused[i].name))
            continue;
        rk_file_tensor t = *like;
        void *zeros = rk_file_alloc(foreign, t.bytes, err);
        if (!zeros)
            return RK_ERR_NOMEM;
        memset(zeros, 0, t.bytes);
        t.name = unused[i].name;
        t.origin = NULL;
        t.data = zeros;
        t.exchanged = false;
        st = rk_scheme_add_row(foreign, &t, &unused[i].row, err);
    }
    return st;
}

const rk_scheme rk_scheme_transformers7 = {
    .name = "Hugging Face", .rows = rows7, .n_rows = RK_COUNT(rows7), .complete = add_unused};

#define FLA_LORA(letter)                                                                           \
    EXCHANGED("blocks.%d.att." letter "1", "model.layers.%d.attn." letter "_lora.lora.0.weight"),  \
        EXCHANGED("blocks.%d.att." letter "2",                                                     \
                  "model.layers.%d.attn." letter "_lora.lora.2.weight"),                           \
        VECTOR("blocks.%d.att." letter "0", "model.layers.%d.attn." letter "_lora.lora.2.bias")

#define FLA_V(digit, part, form, dims)                                                             \
    {                                                                                              \
        "blocks.%d.att.v" digit, "model.layers.%d.attn.v_lora.lora." part, form, 0, dims, true     \
    }

static const rk_scheme_row fla7_rows[] = {
    SAME("emb.weight", "model.embeddings.weight"),
    SAME("head.weight", "lm_head.weight"),
    SAME("ln_out.*", "model.norm.*"),
    SAME("blocks.%d.ln0.*", "model.layers.%d.pre_norm.*"),
    SAME("blocks.%d.ln1.*", "model.layers.%d.attn_norm.*"),
    SAME("blocks.%d.ln2.*", "model.layers.%d.ffn_norm.*"),
    FLA_LORA("w"),
    FLA_LORA("a"),
    FLA_LORA("g"),
    FLA_V("1", "0.weight", RK_FORM_EXCHANGED, NULL),
    FLA_V("2", "2.weight", RK_FORM_EXCHANGED, NULL),
    FLA_V("0", "2.bias", RK_FORM_SAME, "."),
    VECTOR("blocks.%d.att.k_k", "model.layers.%d.attn.k_k"),
    VECTOR("blocks.%d.att.k_a", "model.layers.%d.attn.k_a"),
    SAME("blocks.%d.att.receptance.weight", "model.layers.%d.attn.r_proj.weight"),
    SAME("blocks.%d.att.key.weight", "model.layers.%d.attn.k_proj.weight"),
    SAME("blocks.%d.att.value.weight", "model.layers.%d.attn.v_proj.weight"),
    SAME("blocks.%d.att.output.weight", "model.layers.%d.attn.o_proj.weight"),
    SAME("blocks.%d.att.ln_x.*", "model.layers.%d.attn.g_norm.*"),
    SAME("blocks.%d.att.*", "model.layers.%d.attn.*"), /* r_k (H, N), x_r .. x_g (1, 1, C) */
    VECTOR("blocks.%d.ffn.x_k", "model.layers.%d.ffn.x_k"),
    SAME("blocks.%d.ffn.*", "model.layers.%d.ffn.*"),
};
const rk_scheme rk_scheme_fla7 = {.name = "fla", .rows = fla7_rows, .n_rows = RK_COUNT(fla7_rows)};
