/* text_file.h: files of text, cut into chunks that become tokens independently of each other.
 *
 * A byte order mark in front of a file is none of its text. A .txt file is one document, its bytes as
 * they are. A .jsonl file holds a document a line (record.h); blank lines are skipped. Where chunks
 * and, within them, the pieces that go through the encoder begin follows from the file alone, so the
 * tokens of a file are always the same, whoever encodes which chunk when. */
#ifndef RK_DATA_TEXT_FILE_H
#define RK_DATA_TEXT_FILE_H

#include "data/record.h"
#include "data/token_list.h"
#include "io/map.h"

/* How text becomes tokens. */
typedef struct rk_text_how {
    const rk_tokenizer *tokenizer;
    const rk_chat_format *chat; /* as of rk_record_how */
    bool ends;                  /* the end token of the vocabulary follows each document */
    bool pairs; /* two lines stand for one of the file (pairs.h); last of rk_record_how */
} rk_text_how;

struct rk_text_kind;
typedef struct rk_text_file {
    rk_map map;
    size_t begin; /* behind the byte order mark */
    const struct rk_text_kind *kind;
} rk_text_file;

/* Where a chunk begins. */
typedef struct rk_text_place {
    size_t at;
    int64_t line; /* from 1, of .jsonl */
} rk_text_place;

typedef struct rk_text_chunk {
    const rk_text_file *file;
    rk_text_place from;
    size_t bytes;
} rk_text_chunk;

/* A file whose name ends in .txt or .jsonl.
 * Errors  RK_ERR_ARG: another name; RK_ERR_UNSUPPORTED: UTF-16; those of rk_map_open. */
rk_status rk_text_file_open(rk_text_file *f, const char *path, rk_error *err);
/* Bytes that stay until the file is closed. */
rk_status rk_text_file_open_memory(rk_text_file *f, const void *data, size_t bytes,
                                   const char *name, rk_error *err);
void rk_text_file_close(rk_text_file *f);
/* Does the name end in .txt or .jsonl? */
bool rk_text_file_is(const char *path);
/* Does an end token follow its documents where nothing else is asked for? Not a .txt, which is the text. */
bool rk_text_file_ends(const rk_text_file *f);

rk_text_place rk_text_file_begin(const rk_text_file *f);
/* The chunk at a place, which then is that of the next; false: there is none. */
bool rk_text_file_next(const rk_text_file *f, rk_text_place *place, rk_text_chunk *chunk);

/* What encoding needs beside its input; one for each thread. */
typedef struct rk_text_encoder {
    rk_record record;
    int32_t *ids;
} rk_text_encoder;
rk_status rk_text_encoder_init(rk_text_encoder *e, rk_error *err);
void rk_text_encoder_deinit(rk_text_encoder *e);
/* Append the chunk's tokens. Errors  those of rk_record_read, RK_ERR_NOMEM. */
rk_status rk_text_chunk_encode(const rk_text_chunk *c, const rk_text_how *how, rk_text_encoder *e,
                               rk_token_list *out, rk_error *err);

/* A whole file. Errors  RK_ERR_FORMAT: it holds no document; those of rk_text_chunk_encode, and of
 * rk_map_check. */
rk_status rk_text_file_encode(const rk_text_file *f, const rk_text_how *how, rk_token_list *out,
                              rk_error *err);

#endif
