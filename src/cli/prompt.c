/* prompt.c: a prompt from an argument, a file or stdin, with or without escapes. */
#include "cli/prompt.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "io/text_mark.h"

static rk_status read_stream(FILE *f, const char *name, rk_buf *out, rk_error *err)
{
    char piece[4096];
    size_t n;
    errno = 0;
    while ((n = fread(piece, 1, sizeof piece, f)) > 0)
        rk_buf_add(out, piece, n);
    if (ferror(f))
        return rk_fail(err, RK_ERR_IO, "%s: %s", name, strerror(errno));
    return RK_OK;
}

static rk_status read_file(const char *path, rk_buf *out, rk_error *err)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        return rk_fail(err, RK_ERR_IO, "%s: %s", path, strerror(errno));
    const rk_status st = read_stream(f, path, out, err);
    fclose(f);
    return st;
}

/* Where the prompt comes from; NULL: from the command line. */
static const char *place_of(const rk_prompt_source *s)
{
    const char *given = s->file ? s->file : s->text;
    if (!given || !strcmp(given, "-"))
        return "stdin";
    return s->file;
}

static rk_status read_stdin(const rk_prompt_source *source, rk_buf *out, rk_error *err)
{
    if (isatty(STDIN_FILENO) && !source->quiet)
        fputs("rwkv: reading the text from the keyboard; Ctrl-D on a line of its own ends it\n",
              stderr);
    return read_stream(stdin, "stdin", out, err);
}

/* The text or the file begins behind its byte order mark. */
static rk_status pass_mark(const rk_prompt_source *source, const char *place, rk_buf *out,
                           size_t from, rk_error *err)
{
    size_t mark = 0;
    if (out->failed || out->len == from || source->exact)
        return RK_OK;
    const rk_status st = rk_text_begin(out->data + from, out->len - from, place, &mark, err);
    if (mark == 0)
        return st;
    memmove(out->data + from, out->data + from + mark, out->len - from - mark + 1);
    out->len -= mark;
    if (!source->quiet)
        fprintf(stderr, "rwkv: %s: the byte order mark in front is passed over\n", place);
    return st;
}

static rk_status read_raw(const rk_prompt_source *source, rk_buf *out, rk_error *err)
{
    const char *place = place_of(source);
    const size_t from = out->len;
    if (source->text && source->file)
        return rk_fail(err, RK_ERR_ARG, "a prompt by -p or by -f, not by both");
    if (!place) {
        rk_buf_puts(out, source->text);
        return RK_OK;
    }
    const bool from_stdin = !source->file || !strcmp(source->file, "-");
    const rk_status st =
        from_stdin ? read_stdin(source, out, err) : read_file(source->file, out, err);
    return st == RK_OK ? pass_mark(source, place, out, from, err) : st;
}

static int hex_digit(char c)
{
    static const char digits[] = "0123456789abcdef0123456789ABCDEF";
    const char *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) % 16 : -1;
}

/* The byte that the escape behind a backslash stands for; -1 when it is none. *p moves past it. */
static int escape(const char **p, const char *end)
{
    static const char names[] = "ntr0\\'\"", bytes[] = "\n\t\r\0\\'\"";
    const int c = *p < end ? *(*p)++ : '\0';
    const char *at = c ? strchr(names, c) : NULL;
    if (at)
        return bytes[at - names];
    if (c != 'x' || end - *p < 2)
        return -1;
    const int high = hex_digit((*p)[0]), low = hex_digit((*p)[1]);
    *p += 2;
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/* what: "the prompt"; for sentences. */
static rk_status unescape(const char *raw, size_t n, const char *what, rk_buf *out, rk_error *err)
{
    const char *p = raw, *end = raw + n;
    while (p < end) {
        const char *const began = p;
        int byte = (unsigned char)*p++;
        if (byte == '\\')
            byte = escape(&p, end);
        if (byte < 0)
            return rk_fail(err, RK_ERR_ARG,
                           "escape at byte %td of %s: expected \\n \\t \\r \\0 \\\\ \\' \\\" or "
                           "\\xHH",
                           began - raw, what);
        rk_buf_add(out, &(char){(char)byte}, 1);
    }
    return RK_OK;
}

rk_status rk_prompt_read(const rk_prompt_source *source, rk_buf *out, rk_error *err)
{
    rk_buf raw = {0};
    rk_status st = read_raw(source, source->escapes ? &raw : out, err);
    if (st == RK_OK && raw.len > 0)
        st = unescape(raw.data, raw.len, "the prompt", out, err);
    if (st == RK_OK && (raw.failed || out->failed))
        st = rk_fail(err, RK_ERR_NOMEM, "out of memory for the prompt");
    rk_buf_deinit(&raw);
    return st;
}

/* Append the text that a --stop stands for, and a NUL. */
static rk_status put_stop(const char *stop, bool escapes, rk_buf *store, rk_error *err)
{
    const size_t from = store->len;
    rk_status st = RK_OK;
    if (escapes)
        st = unescape(stop, strlen(stop), "--stop", store, err);
    else
        rk_buf_puts(store, stop);
    if (st == RK_OK && !store->failed && store->len == from)
        return rk_fail(err, RK_ERR_ARG, "--stop: the text is empty");
    if (st == RK_OK && !store->failed && memchr(store->data + from, '\0', store->len - from))
        return rk_fail(err, RK_ERR_ARG, "--stop '%s': no text holds a byte of value 0", stop);
    rk_buf_add(store, "", 1);
    return st;
}

rk_status rk_prompt_stops(rk_opt_list *stops, bool escapes, rk_buf *store, rk_error *err)
{
    size_t at[RK_OPT_LIST_MAX];
    rk_status st = RK_OK;
    for (int i = 0; i < stops->n && st == RK_OK; i++) {
        at[i] = store->len;
        st = put_stop(stops->at[i], escapes, store, err);
    }
    if (st == RK_OK && store->failed)
        st = rk_fail(err, RK_ERR_NOMEM, "out of memory for --stop");
    for (int i = 0; i < stops->n && st == RK_OK; i++)
        stops->at[i] = store->data + at[i];
    return st;
}
