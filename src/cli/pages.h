/* pages.h: the tables of commands and options in the forms that other programs read: a manual page,
 * completion for shells. */
#ifndef RK_CLI_PAGES_H
#define RK_CLI_PAGES_H

#include "cli/command.h"

/* A page is a row: its name, and what appends it. commands ends with NULL. */
typedef struct rk_page {
    const char *name; /* "man", "bash", "zsh" */
    void (*put)(const rk_command *const *commands, rk_buf *out);
} rk_page;

/* Ends with a row whose name is NULL. */
extern const rk_page rk_pages[];

#endif
