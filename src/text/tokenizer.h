/* tokenizer.h: what the rest of the library and the tests need of tokenizers beyond rk.h. */
#ifndef RK_TEXT_TOKENIZER_H
#define RK_TEXT_TOKENIZER_H

#include "text/vocab.h"

/* From the text of a vocabulary in memory, borrowed for the call; name is for sentences. */
rk_status rk_tokenizer_new_memory(rk_tokenizer **out, const void *text, size_t n, const char *name,
                                  rk_error *err);
/* Takes what v holds, whatever the result. */
rk_status rk_tokenizer_new_vocab(rk_tokenizer **out, rk_vocab *v, rk_error *err);
/* Bytes of the longest token. */
size_t rk_tokenizer_token_max(const rk_tokenizer *t);
/* Bytes of memory it holds. */
size_t rk_tokenizer_memory(const rk_tokenizer *t);

#endif
