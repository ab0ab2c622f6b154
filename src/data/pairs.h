/* pairs.h: preferences: a .jsonl file of which each line is {"prompt": P, "chosen": A, "rejected": B}, each a text
 * or a list of messages. Answers that are lists of several are whole conversations, prompt included. A "system"
 * text may stand before all; other members are passed over. Each answer is encoded as the documents of record.h
 * are: prompt and answer in the chat format, the last answer alone counting, and what ends it. */
#ifndef RK_DATA_PAIRS_H
#define RK_DATA_PAIRS_H

#include "data/text_file.h"

enum { RK_PAIR_CHOSEN, RK_PAIR_REJECTED, RK_PAIR_ANSWERS };

typedef struct rk_pairs {
    rk_token_list list; /* ids of 32 bits; documents 2 i and 2 i + 1 are those of pair i */
    int64_t n;
    uint64_t checksum;
} rk_pairs;

/* Read files, one behind the other.
 * Errors  RK_ERR_ARG: a name that does not end in .jsonl; RK_ERR_FORMAT: file and line, what is missing;
 *         those of rk_text_file_open and rk_text_file_encode. *p is then as after rk_pairs_deinit. */
rk_status rk_pairs_read(rk_pairs *p, const char *const *paths, int n_paths, const rk_text_how *how,
                        rk_error *err);
/* The bytes of one, whose name ends in .jsonl. */
rk_status rk_pairs_read_memory(rk_pairs *p, const void *data, size_t bytes, const char *name,
                               const rk_text_how *how, rk_error *err);
void rk_pairs_deinit(rk_pairs *p);

/* Pair i as rows of n tokens and what each is to be followed by (ids, targets: (RK_PAIR_ANSWERS, n)); -1
 * is no target: the prompt's, and what stands behind an answer. A prompt that is too long loses its
 * beginning, in both rows alike, and an answer that has no room at all its end. */
void rk_pairs_get(const rk_pairs *p, int64_t i, int64_t n, int32_t *ids, int32_t *targets);

#endif
