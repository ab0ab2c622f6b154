/* packed_writer.h: a packed file that grows (packed.h), in a folder beside it, so that writing can stop
 * and go on at any place that has been saved.
 *
 *     OUT.bin.packing/    bin, lengths, mask   what has been appended
 *                         state.json           how much of it counts, and where its source was
 *
 * Nothing is under the final names before all of it is: OUT.bin is the last. */
#ifndef RK_DATA_PACKED_WRITER_H
#define RK_DATA_PACKED_WRITER_H

#include "base/pool.h"
#include "data/packed.h"
#include "data/token_list.h"

typedef struct rk_packed_writer rk_packed_writer;

/* Where in its source a writer has come. What the numbers mean is the caller's business. */
typedef struct rk_packed_place {
    int64_t file, at, line;
} rk_packed_place;

typedef struct rk_packed_head {
    const char *path;      /* ends in ".bin" */
    const char *tokenizer; /* NULL: none */
    const char *task;      /* as of rk_packed_about; NULL: none */
    uint64_t tokenizer_checksum;
    int64_t n_vocab;
    uint64_t
        source; /* of everything that the contents depend on: writing goes on where it is the same */
    bool overwrite;
} rk_packed_head;

/* Begin, or go on behind *place, which is all 0 at the beginning, and behind every file where all has been
 * appended. *resumed: something was there.
 * Errors  RK_ERR_ARG: a name without .bin; one of the outputs exists; another process writes it;
 *         RK_ERR_IO, RK_ERR_NOMEM. */
rk_status rk_packed_writer_open(rk_packed_writer **out, const rk_packed_head *head,
                                rk_packed_place *place, bool *resumed, rk_error *err);
/* Append documents; the last one goes on where the list does not end it. */
rk_status rk_packed_writer_add(rk_packed_writer *w, const rk_token_list *l, rk_error *err);
/* All that was appended is to be there when writing goes on from here. */
rk_status rk_packed_writer_save(rk_packed_writer *w, const rk_packed_place *place, rk_error *err);
/* Write the index, sum up, give the files their names. what (may be NULL) gets what NAME.json says, its
 * sums aside. Errors  RK_ERR_FORMAT: there is no document; RK_ERR_IO, RK_ERR_NOMEM. */
rk_status rk_packed_writer_finish(rk_packed_writer *w, rk_pool *pool, rk_packed_about *what,
                                  rk_error *err);
/* The folder stays, for going on. NULL is fine. */
void rk_packed_writer_close(rk_packed_writer *w);
/* The same without the folder, where nothing would go on from it. */
void rk_packed_writer_discard(rk_packed_writer *w);

#endif
