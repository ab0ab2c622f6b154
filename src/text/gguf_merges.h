/* gguf_merges.h: vocabularies with merges within GGUF files.
 *
 * tokenizer.ggml.model is "gpt2", tokenizer.ggml.pre names a row of pre_tokenizer.h. Normal tokens are
 * written in the characters that stand for bytes, added ones (control, user-defined) as they stand in a
 * text. Source: ggml-org/llama.cpp, conversion/base.py and src/llama-vocab.cpp. */
#ifndef RK_TEXT_GGUF_MERGES_H
#define RK_TEXT_GGUF_MERGES_H

#include "io/gguf.h"
#include "io/reader.h"
#include "text/about_text.h"

/* The arrays and numbers of the file's metadata. Errors  RK_ERR_FORMAT: file, token or merge, what is
 * wrong; RK_ERR_UNSUPPORTED: no row of that name; RK_ERR_NOMEM. */
rk_status rk_gguf_read_merges(rk_bpe *b, rk_texts *texts, rk_about_text *about, const rk_file *f,
                              rk_error *err);
/* Append the same, as one of n_ids tokens, which is at least as many as it has, with all that says where
 * texts begin and end. */
void rk_gguf_put_merges(rk_gguf_meta *m, const rk_bpe *b, const rk_texts *texts,
                        const rk_about_text *about, int64_t n_ids);
/* The elements of an array of a type; the container has checked that they are there. */
bool rk_gguf_open_array(const rk_file *f, const char *key, uint32_t type, rk_reader *r,
                        uint64_t *n);

#endif
