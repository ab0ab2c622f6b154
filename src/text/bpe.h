/* bpe.h: byte-level byte-pair encoding: GPT-2's split, then merges of neighbours, lowest rank
 * first.
 *
 * A vocabulary of this kind has texts of ids (rk_texts), a table of merges, and added tokens that
 * are found in the text before anything else: the raw ones as it stands, the others when it is in
 * normal form. */
#ifndef RK_TEXT_BPE_H
#define RK_TEXT_BPE_H

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
    int32_t byte_id[256];
    rk_trie raw, normal; /* added tokens */
} rk_bpe;

/* n merges in the order of their ranks, all ids below RK_VOCAB_IDS_MAX; borrowed for the call.
 * b->byte_id is given, -1 where a byte has no token; the added tokens are left to the caller.
 * Errors  RK_ERR_ARG: *twin is the rank of a pair that has been merged before; RK_ERR_NOMEM. */
rk_status rk_bpe_init(rk_bpe *b, const rk_merge *merges, int64_t n, int64_t *twin, rk_error *err);
void rk_bpe_deinit(rk_bpe *b);
/* As rk_tokenizer_encode. */
int64_t rk_bpe_encode(const rk_bpe *b, const char *text, size_t n, int32_t *ids, int64_t max);
size_t rk_bpe_memory(const rk_bpe *b);

#endif
