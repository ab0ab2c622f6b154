/* bpe.h: byte-level byte-pair encoding: a text is cut into pieces (pre_tokenizer.h), and in each
 * neighbours are merged, lowest rank first.
 *
 * A vocabulary of this kind has texts of ids (rk_texts), a table of merges, and added tokens that
 * are found in the text before anything else: the raw ones as it stands, the others when it is in
 * normal form. What is no UTF-8 becomes U+FFFD before the text is cut, as it does where a text is
 * decoded for `tokenizers` (llama.cpp puts one for each byte, not one for each broken character). */
#ifndef RK_TEXT_BPE_H
#define RK_TEXT_BPE_H

#include "text/pre_tokenizer.h"
#include "text/trie.h"

enum {
    RK_BPE_GROWTH = 3, /* a text has at most so many tokens a byte: normal form may need them */
};

typedef struct rk_merge {
    int32_t left, right, made;
} rk_merge;

typedef struct rk_bpe {
    uint64_t *pairs; /* (n_slots) a hash table of pairs and their ranks */
    uint64_t slot_mask;
    int32_t
        *byte_ranks; /* (256, 256) the ranks of pairs of single bytes, which are asked for most */
    int32_t *made;   /* (n_merges) the token that the merge of each rank makes */
    int64_t n_merges;
    int32_t byte_id[256]; /* -1: the byte is left out */
    rk_trie raw, normal;  /* added tokens */
    const rk_pre_row *row;
    rk_pre_tokenizer *pre;
    bool nfc;              /* texts are brought to normal form C */
    int32_t *words;        /* a hash table of the normal tokens: id + 1; NULL: pieces are merged */
    uint64_t word_mask;    /*   even where they are tokens */
    const rk_texts *texts; /* what words is about */
} rk_bpe;

/* n merges in the order of their ranks, all ids below RK_VOCAB_IDS_MAX; borrowed for the call.
 * b->byte_id is given; the rest is left to the caller.
 * Errors  RK_ERR_ARG: *twin is the rank of a pair that has been merged before; RK_ERR_NOMEM. */
rk_status rk_bpe_init(rk_bpe *b, const rk_merge *merges, int64_t n, int64_t *twin, rk_error *err);
void rk_bpe_deinit(rk_bpe *b);
/* The merges in the order of their ranks, to be freed; NULL: memory ran out. */
rk_merge *rk_bpe_merges(const rk_bpe *b);
/* As rk_tokenizer_encode. plain: tokens that look like control tokens are text. */
int64_t rk_bpe_encode(const rk_bpe *b, const char *text, size_t n, bool plain, int32_t *ids,
                      int64_t max);
/* The added token whose text is these bytes; -1: none is. */
int32_t rk_bpe_added(const rk_bpe *b, const char *text, size_t n);
/* The slot of the normal token with these bytes in a table of words, or the empty one where it would
 * be. */
int32_t *rk_bpe_word(int32_t *words, uint64_t mask, const rk_texts *t, const unsigned char *bytes,
                     size_t n);
size_t rk_bpe_memory(const rk_bpe *b);

#endif
