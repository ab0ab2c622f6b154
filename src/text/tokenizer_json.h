/* tokenizer_json.h: vocabularies from the tokenizer.json of Hugging Face's `tokenizers`, of the
 * kind that GPT-NeoX-20B has and RWKV-4 Pile uses: byte-level BPE, normal form C, GPT-2's pattern.
 */
#ifndef RK_TEXT_TOKENIZER_JSON_H
#define RK_TEXT_TOKENIZER_JSON_H

#include "text/bpe.h"

/* Fills *b and *texts, which are zero before; the caller frees what they hold, whatever the result.
 * Special tokens have an id and no text: they are found in what is encoded, and not printed.
 * Errors  RK_ERR_FORMAT: no such file; RK_ERR_UNSUPPORTED: of a kind that is not read;
 *         RK_ERR_NOMEM. */
rk_status rk_tokenizer_json_read(rk_bpe *b, rk_texts *texts, const void *text, size_t n,
                                 const char *name, rk_error *err);

#endif
