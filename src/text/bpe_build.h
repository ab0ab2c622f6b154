/* bpe_build.h: putting a vocabulary with merges together, for the readers of the files that hold
 * one: tokens, then merges, then added tokens. What is wrong is said with the file's name. */
#ifndef RK_TEXT_BPE_BUILD_H
#define RK_TEXT_BPE_BUILD_H

#include "text/bpe.h"

typedef struct rk_bpe_build {
    const char *name; /* of the file, for messages */
    rk_error *err;
    rk_bpe *b;
    rk_texts *texts;
    uint64_t ids_max; /* ids are below */
    size_t room;      /* bytes of all texts and of one more */
    int32_t unknown;  /* what a byte without a token becomes; -1: nothing */
    int32_t *words;   /* hash table of the texts: id + 1 */
    uint64_t word_mask;
    rk_merge *merges;
    int64_t n_merges, merges_room;
    rk_vocab raw, normal; /* added tokens */
} rk_bpe_build;

#define RK_BUILD_REFUSE(u, code, ...) rk_fail((u)->err, code, __VA_ARGS__)

/* Take memory: texts of n_bytes in all, and ids below ids_max, which is cut to RK_VOCAB_IDS_MAX. name,
 * err, b and texts are set, and *b and *texts zero. */
rk_status rk_bpe_build_init(rk_bpe_build *u, size_t n_bytes, uint64_t ids_max);
void rk_bpe_build_deinit(rk_bpe_build *u);

/* A normal token, in the characters that stand for its bytes. */
rk_status rk_bpe_build_token(rk_bpe_build *u, uint64_t id, const char *text, size_t n);
/* After the last normal token. */
rk_status rk_bpe_build_index(rk_bpe_build *u);
/* The next merge, of two tokens as they are written. */
rk_status rk_bpe_build_merge(rk_bpe_build *u, const char *left, size_t n_left, const char *right,
                             size_t n_right);
/* "a b" */
rk_status rk_bpe_build_merge_text(rk_bpe_build *u, const char *text, size_t n);
/* An added token, or one without use, as it stands in a text. It may be a normal token of the same
 * text. */
rk_status rk_bpe_build_added(rk_bpe_build *u, uint64_t id, const char *text, size_t n,
                             rk_token_kind kind, bool normalised);
/* After all: the tables, but for the patterns. */
rk_status rk_bpe_build_tables(rk_bpe_build *u, bool ignore_merges);

#endif
