/* line.c: libedit on a terminal, getline elsewhere.
 *
 * At the prompt Ctrl-C and Ctrl-Z are keys of the editor and no signals: a handler could reach
 * nothing but globals. libedit knows wide characters only in a UTF-8 locale, so where the user's is
 * none (a bare container's, say) that of the C library is taken for characters. */
#include "cli/line.h"

#include <errno.h>
#include <histedit.h>
#include <langinfo.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wchar.h>

enum { HISTORY_LINES = 1000 };

struct rk_line {
    bool terminal;
    EditLine *edit;   /* NULL: getline */
    History *history; /* beside edit */
    HistEvent event;
    const char *prompt;
    bool interrupted;
    rk_buf file; /* of the history; empty: it is not kept */
    char *plain; /* of getline */
    size_t plain_room;
};

/* ---- libedit ---- */

static rk_line *line_of(EditLine *edit)
{
    void *data = NULL;
    el_get(edit, EL_CLIENTDATA, &data);
    return data;
}

static char *prompt_of(EditLine *edit)
{
    const union {
        const char *ours;
        char *theirs; /* which is not written to */
    } prompt = {line_of(edit)->prompt};
    return prompt.theirs;
}

static unsigned char on_interrupt(EditLine *edit, int key)
{
    (void)key;
    line_of(edit)->interrupted = true;
    return CC_EOF;
}

/* As the terminal would have done; the handler of EL_SIGNAL puts it right before and after. */
static unsigned char on_suspend(EditLine *edit, int key)
{
    (void)edit;
    (void)key;
    kill(0, SIGTSTP);
    return CC_REDISPLAY;
}

static bool has_utf8(void)
{
    if (setlocale(LC_CTYPE, "") && !strcmp(nl_langinfo(CODESET), "UTF-8"))
        return true;
    return setlocale(LC_CTYPE, "C.UTF-8") != NULL;
}

static bool edits(const rk_line *l)
{
    const char *term = getenv("TERM");
    return l->terminal && isatty(STDOUT_FILENO) && term && strcmp(term, "dumb") != 0 && has_utf8();
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
    el_set(l->edit, EL_SIGNAL, 1); /* resizing; the terminal is put right before a signal acts */
    el_set(l->edit, EL_SETTY, "-d", "-isig", NULL);
    /* wide, because el_set copies the words and never frees them */
    el_wset(l->edit, EL_ADDFN, L"rwkv-interrupt", L"drop the line", on_interrupt);
    el_wset(l->edit, EL_ADDFN, L"rwkv-suspend", L"stop for the shell", on_suspend);
    el_set(l->edit, EL_BIND, "^Z", "rwkv-suspend", NULL);
    el_set(l->edit, EL_BIND, "^C", "rwkv-interrupt", NULL);
    el_set(l->edit, EL_BIND, "^R", "em-inc-search-prev", NULL);
    el_set(l->edit, EL_BIND, "\\e[1;5C", "em-next-word", NULL); /* Ctrl and arrows */
    el_set(l->edit, EL_BIND, "\\e[1;5D", "ed-prev-word", NULL);
}

/* ---- history ---- */

/* The name of the file, its folders made; empty when there can be none. */
static void find_history(rk_buf *out)
{
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    if (state && *state == '/')
        rk_buf_printf(out, "%s", state);
    else if (home && *home == '/')
        rk_buf_printf(out, "%s/.local/state", home);
    else
        return;
    rk_buf_puts(out, "/rwkv/history");
    for (char *p = out->failed ? NULL : strchr(out->data + 1, '/'); p; p = strchr(p + 1, '/')) {
        *p = '\0';
        mkdir(out->data, 0700);
        *p = '/';
    }
}

/* Kept line by line, so that no way to end loses any. */
static void remember(rk_line *l, const rk_buf *text)
{
    if (!l->edit || text->len == 0 || text->failed)
        return;
    history(l->history, &l->event, H_ENTER, text->data);
    if (l->file.len > 0 && !l->file.failed)
        history(l->history, &l->event, H_SAVE, l->file.data);
}

/* ---- made and freed ---- */

rk_status rk_line_new(rk_line **out, bool remembers, rk_error *err)
{
    rk_line *l = calloc(1, sizeof *l);
    if (!l)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory");
    l->terminal = isatty(STDIN_FILENO);
    l->prompt = "";
    if (edits(l))
        start_editing(l);
    if (l->edit && remembers)
        find_history(&l->file);
    if (l->file.len > 0 && !l->file.failed)
        history(l->history, &l->event, H_LOAD, l->file.data);
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
    rk_buf_deinit(&l->file);
    free(l->plain);
    free(l);
}

bool rk_line_is_terminal(const rk_line *l)
{
    return l->terminal;
}

/* ---- reading ---- */

/* libedit's line; Ctrl-C begins it again, or ends when nothing was typed. NULL: no line. */
static const char *edited_line(rk_line *l, size_t *n, bool continues, rk_line_end *end)
{
    for (;;) {
        int count = 0;
        l->interrupted = false;
        const char *text = el_gets(l->edit, &count);
        const LineInfo *typed = el_line(l->edit);
        const bool empty = typed->lastchar == typed->buffer;
        if (text && count > 0 && !l->interrupted) {
            *n = (size_t)count;
            return text;
        }
        if (l->interrupted)
            fputs("^C", stdout);
        putchar('\n');
        fflush(stdout);
        *end = l->interrupted ? RK_LINE_INTERRUPTED : RK_LINE_EOF;
        if (!l->interrupted || empty || continues)
            return NULL;
    }
}

/* One line as it was typed, newline and all; NULL at the end. */
static const char *next_line(rk_line *l, size_t *n, bool continues, rk_line_end *end, rk_error *err)
{
    if (l->edit)
        return edited_line(l, n, continues, end);
    if (l->terminal)
        for (const char *p = l->prompt, *q; *p; p = q + (*q == '\1')) {
            q = p + strcspn(p, "\1");
            if (*p != '\x1b')
                fwrite(p, 1, (size_t)(q - p), stdout);
        }
    fflush(stdout);
    errno = 0;
    const ssize_t count = getline(&l->plain, &l->plain_room, stdin);
    if (count < 0 && ferror(stdin))
        rk_fail(err, RK_ERR_IO, "stdin: %s", strerror(errno));
    else if (count < 0 && l->terminal)
        putchar('\n');
    *n = count < 0 ? 0 : (size_t)count;
    *end = RK_LINE_EOF;
    return count < 0 ? NULL : l->plain;
}

/* Append a line; true when another one belongs to it. */
static bool append(rk_buf *out, const char *text, size_t n, bool *quoted)
{
    static const char mark[] = "\"\"\"";
    const size_t n_mark = sizeof mark - 1;
    while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == '\r'))
        n--;
    if (!*quoted && out->len == 0 && n >= n_mark && !memcmp(text, mark, n_mark)) {
        *quoted = true;
        text += n_mark;
        n -= n_mark;
    }
    const bool closes = *quoted && n >= n_mark && !memcmp(text + n - n_mark, mark, n_mark);
    const bool goes_on = !*quoted && n > 0 && text[n - 1] == '\\';
    if (*quoted && n == 0 && out->len == 0)
        return true; /* the mark stood on a line of its own */
    rk_buf_add(out, text, n - (closes ? n_mark : goes_on ? 1 : 0));
    const bool more = *quoted ? !closes : goes_on;
    if (more)
        rk_buf_puts(out, "\n");
    return more;
}

rk_status rk_line_read(rk_line *l, const char *prompt, rk_buf *out, rk_line_end *end, rk_error *err)
{
    rk_error failed = {0};
    bool more = true, quoted = false, any = false;
    rk_buf_clear(out);
    l->prompt = prompt;
    while (more) {
        size_t n = 0;
        const char *text = next_line(l, &n, any, end, &failed);
        if (!text)
            break;
        any = true;
        more = append(out, text, n, &quoted);
        l->prompt = ". ";
    }
    if (any && more && *end == RK_LINE_INTERRUPTED)
        rk_buf_clear(out); /* the lines that were to be one */
    if (any)
        *end = RK_LINE_MORE;
    remember(l, out);
    if (failed.code)
        return rk_fail(err, failed.code, "%s", failed.msg);
    return out->failed ? rk_fail(err, RK_ERR_NOMEM, "out of memory for a line") : RK_OK;
}
