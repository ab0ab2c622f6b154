/* tokenizer.h: what the rest of the library and the tests need of tokenizers beyond rk.h. */
#ifndef RK_TEXT_TOKENIZER_H
#define RK_TEXT_TOKENIZER_H

#include "text/about_text.h"

/* From the text of a vocabulary in memory, of either kind, borrowed for the call; name is for error
 * messages. */
rk_status rk_tokenizer_new_memory(rk_tokenizer **out, const void *text, size_t n, const char *name,
                                  rk_error *err);
/* Takes what v holds, whatever the result. */
rk_status rk_tokenizer_new_vocab(rk_tokenizer **out, rk_vocab *v, rk_error *err);
/* What a tokenizer with merges consists of. */
typedef struct rk_vocab_parts {
    rk_bpe *bpe;
    rk_texts *texts;
    rk_about_text *about;
} rk_vocab_parts;

/* One with merges, of parts that read() fills; whatever it leaves is freed after a failure. */
rk_status rk_tokenizer_new_parts(rk_tokenizer **out,
                                 rk_status (*read)(void *user, const rk_vocab_parts *p,
                                                   rk_error *err),
                                 void *user, rk_error *err);
/* For writers; NULL where it encodes by the longest match. */
const rk_bpe *rk_tokenizer_bpe(const rk_tokenizer *t);
const rk_texts *rk_tokenizer_texts(const rk_tokenizer *t);
const rk_about_text *rk_tokenizer_about(const rk_tokenizer *t);

/* All tokens of a text, to be freed; NULL after a failure.
 * Errors  RK_ERR_NOMEM. */
rk_status rk_tokenizer_encode_all(const rk_tokenizer *t, const char *bytes, size_t n, int32_t **ids,
                                  int64_t *n_ids, rk_error *err);
/* Put the token that texts of this vocabulary begin with, where there is one, before all tokens of a
 * text, which are allocated; freed and NULL after a failure.
 * Errors  RK_ERR_NOMEM. */
rk_status rk_tokenizer_begin_text(const rk_tokenizer *t, int32_t **ids, int64_t *n_ids,
                                  rk_error *err);
/* As rk_tokenizer_encode of a formatted talk: what stands between two bytes FF is a control token, or
 * text where there is no such token; nothing else is one. */
int64_t rk_tokenizer_encode_marked(const rk_tokenizer *t, const char *bytes, size_t n, int32_t *ids,
                                   int64_t max);
/* As rk_tokenizer_encode_all. */
rk_status rk_tokenizer_encode_marked_all(const rk_tokenizer *t, const char *bytes, size_t n,
                                         int32_t **ids, int64_t *n_ids, rk_error *err);
/* Whether it encodes by merges and not by the longest match. */
bool rk_tokenizer_has_merges(const rk_tokenizer *t);
/* Bytes of the longest token. */
size_t rk_tokenizer_token_max(const rk_tokenizer *t);
/* Bytes of memory it holds. */
size_t rk_tokenizer_memory(const rk_tokenizer *t);

/* rk_decoder_push of a byte that comes from elsewhere. */
const char *rk_decoder_push_byte(rk_decoder *d, char byte, size_t *n);
/* The beginning of a character, which waits for the tokens that complete it: n bytes, at most 3. */
const char *rk_decoder_begun(const rk_decoder *d, size_t *n);

#endif
