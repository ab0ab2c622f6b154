/* prompt.h: the text that a command begins with. */
#ifndef RK_CLI_PROMPT_H
#define RK_CLI_PROMPT_H

#include "base/buf.h"

typedef struct rk_prompt_source {
    const char *text; /* "-": stdin; NULL: not given */
    const char *file; /* NULL: not given */
    bool escapes;     /* \n \t \r \0 \\ \' \" \xHH stand for bytes */
} rk_prompt_source;

/* Append the prompt's bytes to out: the text, the file, else stdin.
 * Errors  RK_ERR_ARG: both given, or an escape that is none; RK_ERR_IO, RK_ERR_NOMEM. */
rk_status rk_prompt_read(const rk_prompt_source *source, rk_buf *out, rk_error *err);

#endif
