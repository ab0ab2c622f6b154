/* corpus.h: documents as tokens, whatever file they come from.
 *
 * What is packed stays in the pages of its file; text becomes tokens in memory. A format is a row of a
 * table: how a path of it is recognised, and what opens it. */
#ifndef RK_DATA_CORPUS_H
#define RK_DATA_CORPUS_H

#include "data/packed.h"
#include "data/text_file.h"

typedef struct rk_corpus rk_corpus;

typedef struct rk_data_format {
    const char *name, *help;
    bool (*is)(const char *path);
    /* Fill c, whose path is set; what was taken before a failure is released by rk_corpus_close. NULL:
     * the format is text. */
    rk_status (*open)(rk_corpus *c, rk_error *err);
} rk_data_format;

/* Ends with a row whose name is NULL. */
extern const rk_data_format rk_data_formats[];
/* Errors  RK_ERR_ARG: it is none of them; lists what there is. */
rk_status rk_data_format_of(const rk_data_format **out, const char *path, rk_error *err);

struct rk_corpus {
    const rk_data_format *format;
    char *path; /* of the tokens */
    rk_id_type type;
    const void *ids; /* (n) */
    size_t ids_at;   /* where they begin in the file */
    int64_t n, n_docs;
    const unsigned char *mask; /* (n) bits (bits.h) */
    /* First token of document i; of n_docs: n. */
    int64_t (*start)(const rk_corpus *c, int64_t i);
    bool has_about;
    rk_packed_about about;
    /* for the formats */
    rk_map bin, idx, mask_file;
    const unsigned char *offsets, *docs; /* tables of the index, not aligned */
    int64_t n_sequences;                 /* that offsets has */
    int64_t doc_tokens;                  /* of documents of equal length */
    rk_token_list list;
};

/* A packed file. Its index is checked, its ids are not (rk_corpus_check_ids).
 * Errors  RK_ERR_ARG: a format of text, or none; RK_ERR_FORMAT, RK_ERR_UNSUPPORTED: file, byte, what
 *         is wrong; RK_ERR_IO, RK_ERR_NOMEM. */
rk_status rk_corpus_open(rk_corpus **out, const char *path, rk_error *err);
/* Text, encoded. how->ends is as asked for, or as the file's kind has it where as_kind is set. */
rk_status rk_corpus_encode(rk_corpus **out, const char *path, const rk_text_how *how, bool as_kind,
                           rk_error *err);
void rk_corpus_close(rk_corpus *c);

/* Are all ids below n_vocab? Reads the whole file, once.
 * Errors  RK_ERR_FORMAT: file and byte of the first that is not, and its value. */
rk_status rk_corpus_check_ids(const rk_corpus *c, int64_t n_vocab, rk_error *err);
/* Compare all pieces with the checksums of NAME.json, where there is one.
 * Errors  RK_ERR_FORMAT: file and bytes of the first piece that differs. */
rk_status rk_corpus_check_sums(const rk_corpus *c, rk_error *err);
/* Are the files as they were when opened? (rk_map_check) */
rk_status rk_corpus_check(const rk_corpus *c, rk_error *err);
/* Tokens that count. */
int64_t rk_corpus_n_counted(const rk_corpus *c);
/* Tell the system that tokens [first, first + n) are not needed for now. */
void rk_corpus_drop(const rk_corpus *c, int64_t first, int64_t n);

/* ---- the formats ---- */

bool rk_megatron_is(const char *path);
rk_status rk_megatron_open(rk_corpus *c, rk_error *err);
bool rk_npy_ids_is(const char *path);
rk_status rk_npy_ids_open(rk_corpus *c, rk_error *err);
bool rk_llmc_is(const char *path);
rk_status rk_llmc_open(rk_corpus *c, rk_error *err);
/* The same for bytes in memory; for Megatron's, the index and the tokens. */
rk_status rk_megatron_open_memory(rk_corpus **out, const void *idx, size_t idx_bytes,
                                  const void *bin, size_t bin_bytes, rk_error *err);
rk_status rk_llmc_open_memory(rk_corpus **out, const void *data, size_t bytes, rk_error *err);

/* First token of document i where all have doc_tokens. */
int64_t rk_corpus_start_equal(const rk_corpus *c, int64_t i);

#endif
