/* world_vocab.h: the RWKV World vocabulary as data, in the form that tools/make_world_vocab.py
 * writes and rk_vocab_unpack reads. */
#ifndef RK_TEXT_WORLD_VOCAB_H
#define RK_TEXT_WORLD_VOCAB_H

#include <stdint.h>

typedef struct rk_packed_vocab {
    uint32_t n_tokens;     /* ids 1 .. n_tokens, in the order (length, bytes) */
    uint32_t token_bytes;  /* of all tokens unpacked */
    uint32_t packed_bytes; /* in words */
    /* Per token, in the order of bytes: length shared with the one before, length of the rest, the
     * rest. Lowest byte of a word first. */
    const uint64_t *words;
} rk_packed_vocab;

extern const rk_packed_vocab rk_world_vocab;

#endif
