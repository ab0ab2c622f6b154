/* pre_tokenizer.h: how a text is cut into pieces before merges: patterns applied one after the
 * other, each to every piece that those before have made. What a pattern matches is a piece, and so
 * is what lies between two matches.
 *
 * A row has the name that llama.cpp writes into GGUF files (tokenizer.ggml.pre) and the patterns as
 * they stand in a tokenizer.json. */
#ifndef RK_TEXT_PRE_TOKENIZER_H
#define RK_TEXT_PRE_TOKENIZER_H

#include "base/error.h"

enum { RK_PRE_PATTERNS_MAX = 2 };

typedef struct rk_pre_row {
    const char *name;
    const char *patterns[RK_PRE_PATTERNS_MAX]; /* NULL: no more */
    const char *sign; /* a token that tells it from rows with the same patterns; NULL: none does */
    bool nfc;         /* the family's texts are brought to normal form C first */
    bool ignore_merges; /* a piece that is a token needs no merges */
    bool bos;           /* a text begins with the token bos, unless the file says otherwise */
} rk_pre_row;

/* Ends with a row whose name is NULL. */
extern const rk_pre_row rk_pre_rows[];

/* GPT-2's pattern, and single digits, which a tokenizer.json names by their types. */
extern const char rk_pattern_gpt2[], rk_pattern_digits[];

/* NULL: there is none. */
const rk_pre_row *rk_pre_row_named(const char *name);
/* The names, for messages: "gpt-2, smollm, ...". */
void rk_pre_row_names(char *out, size_t bytes);

/* A row's patterns, compiled: immutable. */
typedef struct rk_pre_tokenizer rk_pre_tokenizer;
/* Errors  RK_ERR_NOMEM. */
rk_status rk_pre_tokenizer_new(rk_pre_tokenizer **out, const rk_pre_row *row, rk_error *err);
void rk_pre_tokenizer_free(rk_pre_tokenizer *t);
size_t rk_pre_tokenizer_memory(const rk_pre_tokenizer *t);

/* What one caller needs to match; zero to begin. */
typedef struct rk_pre_scratch {
    void *match[RK_PRE_PATTERNS_MAX];
} rk_pre_scratch;
void rk_pre_scratch_deinit(rk_pre_scratch *s);

/* Hand the pieces of n bytes of UTF-8 to piece(), in order. False: memory ran out. */
bool rk_pre_tokenize(const rk_pre_tokenizer *t, rk_pre_scratch *s, const unsigned char *p, size_t n,
                     void (*piece)(void *user, const unsigned char *p, size_t n), void *user);

#endif
