/* textdata.h: training text as a list of documents.
 *
 * A byte order mark in front of a file is none of its text. A .txt file is one document, its bytes as
 * they are. A .jsonl file holds one object a line whose
 * member "text" is a document; other members are checked and ignored, blank lines skipped. */
#ifndef RK_IO_TEXTDATA_H
#define RK_IO_TEXTDATA_H

#include "base/error.h"

/* Borrowed from the rk_textdata; not NUL-terminated, any bytes. */
typedef struct rk_document {
    const char *text;
    size_t bytes;
} rk_document;

typedef struct rk_textdata rk_textdata;

/* Open files and list their documents in order. .txt stays in the file's pages; the texts of .jsonl
 * are decoded into memory of at most the file's size.
 * Errors  RK_ERR_ARG: a name that ends in neither .txt nor .jsonl; RK_ERR_FORMAT: file, line, what
 *         was expected, or no document at all; RK_ERR_UNSUPPORTED: UTF-16; RK_ERR_IO, RK_ERR_NOMEM. */
rk_status rk_textdata_open(rk_textdata **out, const char *const *paths, int64_t n_paths,
                           rk_error *err);
/* One file's bytes, which stay until rk_textdata_close; its kind is decided by the ending of name.
 */
rk_status rk_textdata_open_memory(rk_textdata **out, const void *data, size_t bytes,
                                  const char *name, rk_error *err);
void rk_textdata_close(rk_textdata *d);

int64_t rk_textdata_count(const rk_textdata *d);
rk_document rk_textdata_at(const rk_textdata *d, int64_t i);
/* Sum over the documents. */
size_t rk_textdata_bytes(const rk_textdata *d);
/* Are the files still as they were when opened? (rk_map_check) */
rk_status rk_textdata_check(const rk_textdata *d, rk_error *err);

#endif
