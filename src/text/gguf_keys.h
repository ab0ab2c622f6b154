/* gguf_keys.h: what llama.cpp calls the parts of a vocabulary in a GGUF file's metadata, and what only
 * we write there. */
#ifndef RK_TEXT_GGUF_KEYS_H
#define RK_TEXT_GGUF_KEYS_H

#define RK_GGUF_MODEL "tokenizer.ggml.model"
#define RK_GGUF_PRE "tokenizer.ggml.pre"
#define RK_GGUF_TOKENS "tokenizer.ggml.tokens"
#define RK_GGUF_TYPES "tokenizer.ggml.token_type"
#define RK_GGUF_MERGES "tokenizer.ggml.merges"
#define RK_GGUF_BOS "tokenizer.ggml.bos_token_id"
#define RK_GGUF_EOS "tokenizer.ggml.eos_token_id"
#define RK_GGUF_EOT "tokenizer.ggml.eot_token_id"
#define RK_GGUF_EOM "tokenizer.ggml.eom_token_id"
#define RK_GGUF_ADD_BOS "tokenizer.ggml.add_bos_token"
#define RK_GGUF_TEMPLATE "tokenizer.chat_template"
/* The ids that end a text, eos among them; "NFC" or "none" where it is not that of the row of
 * tokenizer.ggml.pre; the added tokens that are looked for in normal form. */
#define RK_GGUF_STOPS "tokenizer.rwkv.stop_ids"
#define RK_GGUF_NORMALISER "tokenizer.rwkv.normalizer"
#define RK_GGUF_NORMALISED "tokenizer.rwkv.normalized_ids"

/* Kinds of tokens. */
enum {
    RK_GGUF_NORMAL = 1,
    RK_GGUF_CONTROL = 3,
    RK_GGUF_USER = 4,
    RK_GGUF_UNUSED = 5,
    RK_GGUF_BYTE = 6
};

#endif
