/* tokenizer_json.h: vocabularies in the tokenizer.json of Hugging Face's `tokenizers`: byte-level BPE
 * whose pieces are cut by the patterns of a row of pre_tokenizer.h, as GPT-NeoX-20B (RWKV-4 Pile),
 * Qwen2, Llama-3 and SmolLM2 have it. */
#ifndef RK_TEXT_TOKENIZER_JSON_H
#define RK_TEXT_TOKENIZER_JSON_H

#include "text/about_text.h"
#include "text/bpe.h"

enum { RK_TOKENIZER_JSON_MAX = 64 << 20 /* bytes */ };

/* Fills *b, *texts and *about, which are zero before; the caller frees what they hold, whatever the
 * result. Errors  RK_ERR_FORMAT: no such file; RK_ERR_UNSUPPORTED: of a kind that is not read;
 *         RK_ERR_NOMEM. */
rk_status rk_tokenizer_json_read(rk_bpe *b, rk_texts *texts, rk_about_text *about, const void *text,
                                 size_t n, const char *name, rk_error *err);

/* Append a tokenizer.json of a vocabulary; the tokenizer_config.json that lies beside it, with the tokens
 * that begin and end texts and the chat template; and the generation_config.json, with the stops. */
void rk_tokenizer_json_write(rk_buf *out, const rk_bpe *b, const rk_texts *texts,
                             const rk_about_text *about);
void rk_tokenizer_config_write(rk_buf *out, const rk_bpe *b, const rk_texts *texts,
                               const rk_about_text *about);
void rk_generation_config_write(rk_buf *out, const rk_about_text *about);

#endif
