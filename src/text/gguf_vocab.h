/* gguf_vocab.h: vocabularies within GGUF files: those of RWKV, and those with merges (gguf_merges.h).
 *
 * tokenizer.ggml.model is "rwkv"; tokenizer.ggml.tokens holds each token's bytes as Python prints
 * a bytes literal, without quotes; tokenizer.ggml.token_type says which ids have no text. Source:
 * ggml-org/llama.cpp, convert_hf_to_gguf.py and src/llama-vocab.cpp. */
#ifndef RK_TEXT_GGUF_VOCAB_H
#define RK_TEXT_GGUF_VOCAB_H

#include "io/gguf.h"

/* Append the tokenizer's vocabulary, as one of n_ids tokens, which is at least as many as it has. */
void rk_gguf_put_vocab(rk_gguf_meta *m, const rk_tokenizer *t, int64_t n_ids);
/* The vocabulary that a GGUF file holds; *out is NULL where it holds none.
 * Errors  RK_ERR_UNSUPPORTED: one of another kind than "rwkv" and "gpt2"; RK_ERR_FORMAT: file, token, what is
 *         wrong; RK_ERR_NOMEM. */
rk_status rk_gguf_get_vocab(rk_tokenizer **out, const rk_file *f, rk_error *err);

#endif
