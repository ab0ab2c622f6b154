/* line.h: a line from whoever talks to the program: with editing and history on a terminal, plainly
 * from a pipe or a file. */
#ifndef RK_CLI_LINE_H
#define RK_CLI_LINE_H

#include "base/buf.h"

typedef struct rk_line rk_line;

rk_status rk_line_new(rk_line **out, rk_error *err);
void rk_line_free(rk_line *l);
/* Is it a terminal? */
bool rk_line_is_terminal(const rk_line *l);
/* Replace out by the next line without its newline; a line that ends in a backslash goes on in the
 * next. prompt is shown on a terminal only. *end: there was none. */
rk_status rk_line_read(rk_line *l, const char *prompt, rk_buf *out, bool *end, rk_error *err);

#endif
