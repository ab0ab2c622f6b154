/* packed.h: what belongs to a packed file NAME.bin beside the tokens: NAME.idx where documents end
 * (corpus_megatron.c), NAME.mask which tokens count (bits.h; only where some do not), and NAME.json,
 * which holds what a Megatron file cannot: the vocabulary, and checksums of pieces of the others. */
#ifndef RK_DATA_PACKED_H
#define RK_DATA_PACKED_H

#include "base/buf.h"
#include "data/ids.h"

/* Bytes that a checksum is of. */
enum { RK_PACKED_PIECE = 16 * 1024 * 1024 };

/* XXH3-64 of the pieces of a file, in order. */
typedef struct rk_piece_sums {
    uint64_t *at;
    int64_t n, max;
} rk_piece_sums;

typedef struct rk_packed_about {
    char tokenizer[256]; /* "byte", "world", a file's name; "": none is known */
    char task[256];      /* a synthetic task and its parameters; "": it is of none */
    uint64_t tokenizer_checksum;
    int64_t n_vocab; /* 0: not known */
    rk_id_type type;
    int64_t n_docs, n_tokens, n_counted;
    rk_piece_sums bin, idx, mask;
} rk_packed_about;

void rk_packed_about_deinit(rk_packed_about *a);
/* NAME with another ending for the path NAME.bin; to be freed. NULL when memory ran out. */
char *rk_packed_sister(const char *path, const char *ending);
/* Of the ids and texts of a vocabulary, so that it is known under another name. */
rk_status rk_packed_tokenizer_checksum(const rk_tokenizer *t, uint64_t *sum, rk_error *err);
/* Of all pieces of all files. */
uint64_t rk_packed_checksum(const rk_packed_about *a);

bool rk_piece_sums_add(rk_piece_sums *s, uint64_t sum);
/* The object of NAME.json, with a line feed. */
void rk_packed_about_put(rk_buf *out, const rk_packed_about *a);
/* Read it. *found is false where the file is not there, or is another program's.
 * Errors  RK_ERR_FORMAT: file, byte, what was expected; those of rk_map_open. */
rk_status rk_packed_about_read(rk_packed_about *a, const char *path, bool *found, rk_error *err);
rk_status rk_packed_about_parse(rk_packed_about *a, const void *text, size_t n, const char *name,
                                bool *found, rk_error *err);

#endif
