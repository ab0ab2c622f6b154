/* text_input.h: a text that a command measures: a file, mapped, or all of stdin. */
#ifndef RK_CLI_TEXT_INPUT_H
#define RK_CLI_TEXT_INPUT_H

#include "base/buf.h"
#include "io/map.h"

typedef struct rk_text_input {
    const char *text; /* (n) behind a byte order mark, not NUL-terminated */
    size_t n;
    const char *name; /* the path or "stdin", for sentences */
    rk_map map;
    rk_buf piped; /* what came from stdin */
} rk_text_input;

/* path: "-" is stdin. A byte order mark in front is passed over and, unless quiet, said. out is to
 * be closed whatever the result.
 * Errors  those of rk_map_open; RK_ERR_FORMAT: no bytes; RK_ERR_UNSUPPORTED: UTF-16. */
rk_status rk_text_input_open(rk_text_input *out, const char *path, bool quiet, rk_error *err);
/* A zeroed one is fine. */
void rk_text_input_close(rk_text_input *t);

#endif
