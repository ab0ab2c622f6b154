/* token_stream.h: a part of a corpus, held out or not, as one row of tokens. Nothing is copied: it is a list
 * of spans of the corpus. */
#ifndef RK_DATA_TOKEN_STREAM_H
#define RK_DATA_TOKEN_STREAM_H

#include "data/corpus.h"

typedef struct rk_span {
    int64_t first; /* token of the corpus */
    int64_t at;    /* and of the stream */
} rk_span;

typedef struct rk_token_stream {
    const rk_corpus *corpus;
    rk_span *spans; /* (n_spans + 1), the last one at the end */
    int64_t n_spans, max;
    int64_t n;  /* tokens */
    bool apart; /* spans are documents, and neighbours stay apart */
} rk_token_stream;

void rk_token_stream_deinit(rk_token_stream *s);
/* Append tokens [first, first + n) of the corpus. RK_ERR_NOMEM. */
rk_status rk_token_stream_add(rk_token_stream *s, int64_t first, int64_t n, rk_error *err);
/* n tokens from `start` on, whether they count, and (may be NULL) whether a document begins with them. */
void rk_token_stream_read(const rk_token_stream *s, int64_t start, int64_t n, int32_t *ids,
                          bool *counts, bool *begins);
/* Of the tokens as they lie in the corpus, and of what does not count. */
rk_status rk_token_stream_checksum(const rk_token_stream *s, uint64_t *sum, rk_error *err);

/* How a corpus is split. */
typedef struct rk_split {
    double val_frac; /* in [0, 1) */
    uint64_t seed;
    bool apart; /* documents stay apart */
} rk_split;
/* Held out are: the last tokens of fewer than 20 documents, else whole documents chosen by seed.
 * Documents that stay apart are held out whole. */
rk_status rk_split_corpus(rk_token_stream *train, rk_token_stream *val, const rk_corpus *c,
                          const rk_split *how, rk_error *err);

#endif
