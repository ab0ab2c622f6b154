/* line.c: libedit on a terminal whose characters are UTF-8, getline elsewhere. */
#include "cli/line.h"

#include <errno.h>
#include <histedit.h>
#include <langinfo.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { HISTORY_LINES = 1000 };

struct rk_line {
    bool terminal;
    EditLine *edit;   /* NULL: getline */
    History *history; /* beside edit */
    HistEvent event;
    const char *prompt;
    char *plain; /* of getline */
    size_t plain_room;
};

static char *prompt_of(EditLine *edit)
{
    void *data = NULL;
    el_get(edit, EL_CLIENTDATA, &data);
    return (char *)(uintptr_t)((const rk_line *)data)->prompt;
}

static bool edits(const rk_line *l)
{
    const char *term = getenv("TERM");
    return l->terminal && isatty(STDOUT_FILENO) && term && strcmp(term, "dumb") != 0 &&
           setlocale(LC_CTYPE, "") && !strcmp(nl_langinfo(CODESET), "UTF-8");
}

static void start_editing(rk_line *l)
{
    l->edit = el_init("rwkv", stdin, stdout, stderr);
    l->history = l->edit ? history_init() : NULL;
    if (!l->history) {
        if (l->edit)
            el_end(l->edit);
        l->edit = NULL;
        return;
    }
    history(l->history, &l->event, H_SETSIZE, HISTORY_LINES);
    history(l->history, &l->event, H_SETUNIQUE, 1);
    el_set(l->edit, EL_CLIENTDATA, l);
    el_set(l->edit, EL_PROMPT_ESC, prompt_of, '\1');
    el_set(l->edit, EL_EDITOR, "emacs");
    el_set(l->edit, EL_HIST, history, l->history);
    el_set(l->edit, EL_SIGNAL, 1); /* the terminal is put right before a signal acts */
}

rk_status rk_line_new(rk_line **out, rk_error *err)
{
    rk_line *l = calloc(1, sizeof *l);
    if (!l)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory");
    l->terminal = isatty(STDIN_FILENO);
    l->prompt = "";
    if (edits(l))
        start_editing(l);
    *out = l;
    return RK_OK;
}

void rk_line_free(rk_line *l)
{
    if (!l)
        return;
    if (l->edit)
        el_end(l->edit);
    if (l->history)
        history_end(l->history);
    free(l->plain);
    free(l);
}

bool rk_line_is_terminal(const rk_line *l)
{
    return l->terminal;
}

/* One line as it was typed, newline and all; NULL at the end. */
static const char *next_line(rk_line *l, size_t *n, rk_error *err)
{
    if (l->edit) {
        int count = 0;
        const char *text = el_gets(l->edit, &count);
        *n = text && count > 0 ? (size_t)count : 0;
        return *n > 0 ? text : NULL;
    }
    if (l->terminal) {
        fputs(l->prompt, stdout);
        fflush(stdout);
    }
    errno = 0;
    const ssize_t count = getline(&l->plain, &l->plain_room, stdin);
    if (count < 0 && ferror(stdin))
        rk_fail(err, RK_ERR_IO, "stdin: %s", strerror(errno));
    *n = count < 0 ? 0 : (size_t)count;
    return count < 0 ? NULL : l->plain;
}

rk_status rk_line_read(rk_line *l, const char *prompt, rk_buf *out, bool *end, rk_error *err)
{
    rk_error failed = {0};
    bool more = true;
    rk_buf_clear(out);
    *end = false;
    l->prompt = prompt;
    while (more) {
        size_t n = 0;
        const char *text = next_line(l, &n, &failed);
        if (!text) {
            *end = out->len == 0;
            break;
        }
        while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == '\r'))
            n--;
        more = n > 0 && text[n - 1] == '\\';
        rk_buf_add(out, text, more ? n - 1 : n);
        if (more)
            rk_buf_puts(out, "\n");
        l->prompt = "";
    }
    if (l->edit && out->len > 0 && !out->failed)
        history(l->history, &l->event, H_ENTER, out->data);
    if (failed.code)
        return rk_fail(err, failed.code, "%s", failed.msg);
    return out->failed ? rk_fail(err, RK_ERR_NOMEM, "out of memory for a line") : RK_OK;
}
