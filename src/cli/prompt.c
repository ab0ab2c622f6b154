/* prompt.c: a prompt from an argument, a file or stdin, with or without escapes. */
#include "cli/prompt.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

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

static rk_status read_raw(const rk_prompt_source *source, rk_buf *out, rk_error *err)
{
    if (source->text && source->file)
        return rk_fail(err, RK_ERR_ARG, "a prompt by -p or by -f, not by both");
    if (source->file)
        return read_file(source->file, out, err);
    if (!source->text || !strcmp(source->text, "-"))
        return read_stream(stdin, "stdin", out, err);
    rk_buf_puts(out, source->text);
    return RK_OK;
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

static rk_status unescape(const rk_buf *raw, rk_buf *out, rk_error *err)
{
    const char *p = raw->data, *end = p + raw->len;
    while (p < end) {
        const char *const began = p;
        int byte = (unsigned char)*p++;
        if (byte == '\\')
            byte = escape(&p, end);
        if (byte < 0)
            return rk_fail(err, RK_ERR_ARG,
                           "escape at byte %td of the prompt: expected \\n \\t \\r \\0 \\\\ \\' "
                           "\\\" or \\xHH",
                           began - raw->data);
        rk_buf_add(out, &(char){(char)byte}, 1);
    }
    return RK_OK;
}

rk_status rk_prompt_read(const rk_prompt_source *source, rk_buf *out, rk_error *err)
{
    rk_buf raw = {0};
    rk_status st = read_raw(source, source->escapes ? &raw : out, err);
    if (st == RK_OK && raw.len > 0)
        st = unescape(&raw, out, err);
    if (st == RK_OK && (raw.failed || out->failed))
        st = rk_fail(err, RK_ERR_NOMEM, "out of memory for the prompt");
    rk_buf_deinit(&raw);
    return st;
}
