/* line.h: lines of input: with editing and history on a terminal, plain ones from a pipe or a file. */
#ifndef RK_CLI_LINE_H
#define RK_CLI_LINE_H

#include "base/buf.h"

typedef struct rk_line rk_line;

typedef enum rk_line_end {
    RK_LINE_MORE,        /* a line was read */
    RK_LINE_EOF,         /* there was none */
    RK_LINE_INTERRUPTED, /* Ctrl-C on an empty line */
} rk_line_end;

/* remembers: lines go into the user's history file, $XDG_STATE_HOME/rwkv/history or
 * ~/.local/state/rwkv/history, and come from there. It is no error when that cannot be. */
rk_status rk_line_new(rk_line **out, bool remembers, rk_error *err);
void rk_line_free(rk_line *l);
/* Lines that Tab completes a beginning of: whole commands and their first words, "/set", "/set
 * temp"; ends with NULL. Borrowed. */
void rk_line_set_words(rk_line *l, const char *const *words);

/* Keys that are typed while something else is shown: not echoed, and there at the next prompt.
 * Between hide and show Ctrl-C is a signal as always. Of a pipe they do nothing. */
void rk_line_hide_keys(rk_line *l);
void rk_line_show_keys(void);
/* The terminal as it was before the program, for one that ends at once; safe in a signal handler. */
void rk_line_give_back(void);

/* Is it a terminal? */
bool rk_line_is_terminal(const rk_line *l);
/* Replace out by the next line without its newline. A line that ends in a backslash goes on in the
 * next, and lines between two of """ are one; so are those of a paste, where the terminal tells one.
 * prompt is shown on a terminal only; what stands
 * between two \1 in it takes no room on the screen. Ctrl-C drops what was typed. */
rk_status rk_line_read(rk_line *l, const char *prompt, rk_buf *out, rk_line_end *end,
                       rk_error *err);

#endif
