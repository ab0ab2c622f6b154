/* prompt.h: the text that a command begins with. */
#ifndef RK_CLI_PROMPT_H
#define RK_CLI_PROMPT_H

#include "base/buf.h"
#include "cli/options.h"

typedef struct rk_prompt_source {
    const char *text; /* "-": stdin; NULL: not given */
    const char *file; /* "-": stdin; NULL: not given */
    bool escapes;     /* \n \t \r \0 \\ \' \" \xHH stand for bytes */
    bool exact;       /* every byte counts: a byte order mark is text, too */
    bool quiet;       /* do not say what is waited for and passed over */
} rk_prompt_source;

/* Append the prompt's bytes to out: the text, the file, else stdin. Where that is a terminal,
 * stderr says what is waited for. A byte order mark in front is passed over and said.
 * Errors  RK_ERR_ARG: both given, or an escape that is none; RK_ERR_UNSUPPORTED: UTF-16;
 *         RK_ERR_IO, RK_ERR_NOMEM. */
rk_status rk_prompt_read(const rk_prompt_source *source, rk_buf *out, rk_error *err);

/* Check the texts of --stop, and with escapes replace them by what they stand for, which lies in
 * store.
 * Errors  RK_ERR_ARG: an empty text, an escape that is none, or \0, which ends a text;
 *         RK_ERR_NOMEM. */
rk_status rk_prompt_stops(rk_opt_list *stops, bool escapes, rk_buf *store, rk_error *err);

#endif
