/* line.c: libedit on a terminal, getline elsewhere.
 *
 * At the prompt Ctrl-C and Ctrl-Z are keys of the editor and no signals: a handler could reach
 * nothing but globals. libedit knows wide characters only in a UTF-8 locale, so where the user's is
 * none (a bare container's, say) that of the C library is taken for characters. */
#include "cli/line.h"

#include <errno.h>
#include <histedit.h>
#include <langinfo.h>
#include <limits.h>
#include <locale.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>
#include <wchar.h>

enum { HISTORY_LINES = 1000, SIZE_MS = 250 };

/* Terminals put marks around a paste when they are asked to, and stop when the line is read. */
static const char paste_on[] = "\x1b[?2004h", paste_off[] = "\x1b[?2004l";
static const wchar_t paste_end[] = L"\x1b[201~";

struct rk_line {
    bool terminal;
    EditLine *edit;   /* NULL: getline */
    History *history; /* beside edit */
    HistEvent event;
    const char *prompt;
    const char *const *words; /* for Tab; NULL: none */
    int columns;              /* of the terminal, when the line was drawn */
    bool interrupted;
    rk_buf file; /* of the history; empty: it is not kept */
    char *plain; /* of getline */
    size_t plain_room;
};

/* ---- the terminal as it was ----
 *
 * While an answer is computed keys are not shown, and while a line is typed pastes have marks. A signal that ends or
 * stops the program takes both back first. Its handler reaches nothing but globals. */

static struct termios keys_shown, keys_hidden;
static volatile sig_atomic_t are_hidden, marks_pastes;

static void put(const char *text)
{
    const ssize_t n = write(STDOUT_FILENO, text, strlen(text));
    (void)n; /* there is nobody to tell */
}

/* In the background the terminal is somebody else's, and setting it would stop the program. */
static bool has_terminal(void)
{
    return tcgetpgrp(STDIN_FILENO) == getpgrp();
}

void rk_line_give_back(void)
{
    if (!has_terminal())
        return;
    if (marks_pastes)
        put(paste_off);
    if (are_hidden)
        tcsetattr(STDIN_FILENO, TCSANOW, &keys_shown);
}

static void take_again(void)
{
    if (!has_terminal())
        return;
    if (marks_pastes)
        put(paste_on);
    if (are_hidden)
        tcsetattr(STDIN_FILENO, TCSANOW, &keys_hidden);
}

/* The signal does what it would have done; behind SIGTSTP the program may go on. */
static void on_signal(int number)
{
    const int kept = errno;
    struct sigaction again, plain = {.sa_handler = SIG_DFL};
    sigset_t one;
    rk_line_give_back();
    sigemptyset(&one);
    sigaddset(&one, number);
    sigaction(number, &plain, &again);
    pthread_sigmask(SIG_UNBLOCK, &one, NULL);
    raise(number);
    pthread_sigmask(SIG_BLOCK, &one, NULL);
    sigaction(number, &again, NULL);
    take_again();
    errno = kept;
}

static void catch_signals(void)
{
    static const int numbers[] = {SIGTERM, SIGHUP, SIGQUIT, SIGTSTP};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        struct sigaction before;
        if (sigaction(numbers[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
            sigaction(numbers[i],
                      &(struct sigaction){.sa_handler = on_signal, .sa_flags = SA_RESTART}, NULL);
    }
}

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

/* As the terminal would have done, which the shell gets as it was. */
static unsigned char on_suspend(EditLine *edit, int key)
{
    (void)key;
    el_set(edit, EL_PREP_TERM, 0);
    kill(0, SIGTSTP);
    el_set(edit, EL_PREP_TERM, 1);
    return CC_REDISPLAY;
}

/* ---- a window of another size ----
 *
 * libedit notes the new size and draws nothing. A signal handler that does nothing is enough to be
 * told: it ends the wait, and then the size is asked for. */

static void on_resize(int number)
{
    (void)number;
}

static int columns_now(void)
{
    struct winsize size;
    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

/* Rows from the beginning of the prompt down to the cursor, in a terminal that has wrapped the text
 * anew. */
static int rows_to_cursor(const rk_line *l, int columns)
{
    const LineInfo *line = el_line(l->edit);
    int row = 0, column = 0;
    bool hidden = false;
    for (const char *p = l->prompt; *p; p++) {
        hidden = hidden != (*p == '\1');
        column += !hidden && *p != '\1';
    }
    for (const char *p = line->buffer; p < line->cursor; p++) {
        column += ((unsigned char)*p & 0xc0) != 0x80; /* a character, not a byte of its rest */
        if (*p == '\n' || column > columns) {
            row++;
            column = *p != '\n';
        }
    }
    return row;
}

static void redraw_resized(rk_line *l)
{
    const int columns = columns_now();
    if (columns <= 0 || columns == l->columns)
        return;
    l->columns = columns;
    const int rows = rows_to_cursor(l, columns);
    if (rows > 0)
        printf("\x1b[%dA", rows);
    fputs("\r\x1b[J", stdout);
    fflush(stdout);
    el_resize(l->edit);
    el_set(l->edit, EL_REFRESH);
}

/* The signal of a new size may come just before the wait, or to another thread: the size is also looked at
 * now and then. */
static void wait_for_key(rk_line *l)
{
    struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};
    int n;
    while ((n = poll(&p, 1, SIZE_MS)) == 0 || (n < 0 && errno == EINTR))
        redraw_resized(l);
}

/* A character of the terminal; bytes that are none are dropped. As libedit's own, but for resizing.
 */
static int read_key(EditLine *edit, wchar_t *c)
{
    char bytes[MB_LEN_MAX];
    size_t n = 0;
    for (;;) {
        wait_for_key(line_of(edit));
        const ssize_t got = read(STDIN_FILENO, &bytes[n], 1);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return (int)got;
        mbstate_t state = {0};
        size_t used = mbrtowc(c, bytes, ++n, &state);
        if (used == (size_t)-1 && n > 1) { /* the last byte may begin another one */
            bytes[0] = bytes[n - 1];
            n = 1;
            state = (mbstate_t){0};
            used = mbrtowc(c, bytes, n, &state);
        }
        if (used == (size_t)-1)
            n = 0;
        else if (used != (size_t)-2)
            return 1;
    }
}

/* Take a paste in up to the mark of its end: what a terminal sends for a line's end becomes a line
 * feed, other control characters but tabs are dropped, and line feeds at the end. */
static unsigned char on_paste(EditLine *edit, int key)
{
    enum { END = 6 }; /* length of paste_end */
    wchar_t *text = NULL;
    size_t n = 0, room = 0;
    (void)key;
    for (wchar_t c; el_wgetc(edit, &c) == 1;) {
        if (n + 1 >= room) {
            wchar_t *grown = realloc(text, (room = 2 * room + 256) * sizeof *text);
            if (!grown)
                break;
            text = grown;
        }
        text[n++] = c;
        if (n >= END && !wmemcmp(text + n - END, paste_end, END)) {
            n -= END;
            break;
        }
    }
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        const bool crlf = text[i] == L'\n' && i > 0 && text[i - 1] == L'\r';
        const wchar_t c = text[i] == L'\r' ? L'\n' : text[i];
        if (!crlf && (c >= L' ' || c == L'\n' || c == L'\t') && c != 0x7f)
            text[kept++] = c;
    }
    while (kept > 0 && text[kept - 1] == L'\n')
        kept--;
    if (text)
        text[kept] = L'\0';
    const bool ok = kept == 0 || el_winsertstr(edit, text) == 0;
    free(text);
    return ok ? CC_REFRESH : CC_ERROR;
}

/* How far two texts are the same. */
static size_t common(const char *a, const char *b)
{
    size_t n = 0;
    while (a[n] && a[n] == b[n])
        n++;
    return n;
}

/* Up to where a word that begins with the n bytes typed is offered: its next blank. */
static size_t offered(const char *word, size_t n)
{
    return n + strcspn(word + n, " ");
}

/* The longest beginning that all words share which begin with what is typed; a blank behind it
 * where there is one word only. */
static bool complete(const rk_line *l, const char *typed, size_t n, rk_buf *out)
{
    const char *first = NULL;
    size_t shared = 0;
    bool only = true;
    for (const char *const *w = l->words; w && *w; w++) {
        if (strncmp(*w, typed, n) != 0)
            continue;
        const size_t end = offered(*w, n);
        if (!first) {
            first = *w;
            shared = end;
            continue;
        }
        const size_t same = common(first, *w);
        only = only && same >= shared && end == shared;
        shared = same < shared ? same : shared;
        shared = end < shared ? end : shared;
    }
    if (!first || n == 0)
        return false;
    rk_buf_add(out, first + n, shared - n);
    if (only)
        rk_buf_puts(out, " ");
    return !out->failed && out->len > 0;
}

static unsigned char on_tab(EditLine *edit, int key)
{
    const LineInfo *typed = el_line(edit);
    rk_buf more = {0};
    (void)key;
    const bool found =
        typed->cursor == typed->lastchar &&
        complete(line_of(edit), typed->buffer, (size_t)(typed->cursor - typed->buffer), &more) &&
        el_insertstr(edit, more.data) == 0;
    rk_buf_deinit(&more);
    return found ? CC_REFRESH : CC_ERROR;
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
    el_set(l->edit, EL_SIGNAL, 1); /* the terminal is put right before a signal acts */
    el_set(l->edit, EL_GETCFN, read_key);
    sigaction(SIGWINCH, &(struct sigaction){.sa_handler = on_resize}, NULL); /* no SA_RESTART */
    l->columns = columns_now();
    el_set(l->edit, EL_SETTY, "-d", "-isig", NULL);
    /* wide, because el_set copies the words and never frees them */
    el_wset(l->edit, EL_ADDFN, L"rwkv-interrupt", L"drop the line", on_interrupt);
    el_wset(l->edit, EL_ADDFN, L"rwkv-suspend", L"stop for the shell", on_suspend);
    el_set(l->edit, EL_BIND, "^Z", "rwkv-suspend", NULL);
    el_set(l->edit, EL_BIND, "^C", "rwkv-interrupt", NULL);
    el_wset(l->edit, EL_ADDFN, L"rwkv-paste", L"take a paste in", on_paste);
    el_wset(l->edit, EL_ADDFN, L"rwkv-complete", L"complete a command", on_tab);
    el_set(l->edit, EL_BIND, "\\e[200~", "rwkv-paste", NULL);
    el_set(l->edit, EL_BIND, "^I", "rwkv-complete", NULL);
    el_set(l->edit, EL_BIND, "^W", "ed-delete-prev-word", NULL);
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
    if (l->terminal)
        catch_signals();
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

void rk_line_set_words(rk_line *l, const char *const *words)
{
    l->words = words;
}

/* What is typed stays in the terminal's queue. */
void rk_line_hide_keys(rk_line *l)
{
    if (!l->terminal || are_hidden || tcgetattr(STDIN_FILENO, &keys_shown) != 0)
        return;
    keys_hidden = keys_shown;
    keys_hidden.c_lflag &= ~(tcflag_t)ECHO;
    are_hidden = true;
    if (tcsetattr(STDIN_FILENO, TCSANOW, &keys_hidden) != 0)
        are_hidden = false;
}

void rk_line_show_keys(void)
{
    const bool hidden = are_hidden;
    are_hidden = false;
    if (hidden && has_terminal())
        tcsetattr(STDIN_FILENO, TCSANOW, &keys_shown);
}

/* ---- reading ---- */

/* libedit's line; Ctrl-C begins it again, or ends when nothing was typed. NULL: no line. */
static const char *edited_line(rk_line *l, size_t *n, bool continues, rk_line_end *end)
{
    for (;;) {
        int count = 0;
        l->interrupted = false;
        marks_pastes = true;
        fputs(paste_on, stdout);
        fflush(stdout);
        l->columns = columns_now();
        const char *text = el_gets(l->edit, &count);
        fputs(paste_off, stdout);
        fflush(stdout);
        marks_pastes = false;
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
