/* json_line.c: JSON is written by a few formats; no tree has to be built first. */
#include "io/json_line.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/json_scan.h"

void rk_json_quote(rk_buf *b, const char *s, size_t n)
{
    const unsigned char *p = (const unsigned char *)s, *const end = p + n;
    rk_buf_puts(b, "\"");
    while (p < end) {
        const size_t length = rk_json_utf8_length(p, (size_t)(end - p));
        if (length == 0)
            rk_buf_puts(b, "\xef\xbf\xbd"); /* U+FFFD */
        else if (*p == '"' || *p == '\\')
            rk_buf_printf(b, "\\%c", *p);
        else if (*p < 0x20)
            rk_buf_printf(b, "\\u%04x", *p);
        else
            rk_buf_add(b, p, length);
        p += length > 0 ? length : 1;
    }
    rk_buf_puts(b, "\"");
}

void rk_json_begin(rk_buf *b)
{
    rk_buf_puts(b, "{");
}

void rk_json_end(rk_buf *b)
{
    rk_buf_puts(b, "}");
}

static void member(rk_buf *b, const char *key)
{
    if (b->len > 0 && b->data[b->len - 1] != '{')
        rk_buf_puts(b, ", ");
    rk_json_quote(b, key, strlen(key));
    rk_buf_puts(b, ": ");
}

void rk_json_int(rk_buf *b, const char *key, int64_t value)
{
    member(b, key);
    rk_buf_printf(b, "%" PRId64, value);
}

void rk_json_num(rk_buf *b, const char *key, double value)
{
    member(b, key);
    if (isfinite(value))
        rk_buf_printf(b, "%.9g", value);
    else
        rk_buf_puts(b, "null");
}

void rk_json_bool(rk_buf *b, const char *key, bool value)
{
    member(b, key);
    rk_buf_puts(b, value ? "true" : "false");
}

void rk_json_str(rk_buf *b, const char *key, const char *value)
{
    member(b, key);
    rk_json_quote(b, value, strlen(value));
}

struct rk_line_log {
    char *path;
    int fd;
};

static rk_status fail_errno(const rk_line_log *l, rk_error *err)
{
    return rk_fail(err, RK_ERR_IO, "%s: %s", l->path, strerror(errno));
}

/* Cut the file after its last newline. A torn line is short, so going back byte by byte will do. */
static rk_status cut_torn_line(const rk_line_log *l, rk_error *err)
{
    char c;
    off_t end = lseek(l->fd, 0, SEEK_END);
    const off_t size = end;
    if (end < 0)
        return fail_errno(l, err);
    while (end > 0) {
        if (pread(l->fd, &c, 1, end - 1) != 1)
            return fail_errno(l, err);
        if (c == '\n')
            break;
        end--;
    }
    if (end < size && ftruncate(l->fd, end) != 0)
        return fail_errno(l, err);
    return RK_OK;
}

rk_status rk_line_log_open(rk_line_log **out, const char *path, rk_error *err)
{
    rk_status st;
    struct stat info;
    rk_line_log *l = calloc(1, sizeof *l);
    if (!l)
        return rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", path);
    l->fd = -1;
    l->path = strdup(path);
    if (!l->path) {
        st = rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", path);
        goto fail;
    }
    l->fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (l->fd < 0 || fstat(l->fd, &info) != 0) {
        st = fail_errno(l, err);
        goto fail;
    }
    st = S_ISREG(info.st_mode) ? cut_torn_line(l, err) : RK_OK;
    if (st != RK_OK)
        goto fail;
    *out = l;
    return RK_OK;

fail:
    rk_line_log_close(l);
    return st;
}

/* One write for the whole line: what a crash leaves is at most one line without its end. */
rk_status rk_line_log_append(rk_line_log *l, const char *line, size_t n, rk_error *err)
{
    rk_buf b = {0};
    rk_buf_add(&b, line, n);
    rk_buf_puts(&b, "\n");
    const size_t all = n + 1;
    const ssize_t done = b.failed ? 0 : write(l->fd, b.data, all);
    const bool failed = b.failed;
    rk_buf_deinit(&b);
    if (failed)
        return rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", l->path);
    if (done < 0)
        return fail_errno(l, err);
    if ((size_t)done != all)
        return rk_fail(err, RK_ERR_IO, "%s: only %zd of %zu bytes could be written", l->path, done,
                       all);
    return RK_OK;
}

rk_status rk_line_log_sync(rk_line_log *l, rk_error *err)
{
    return fsync(l->fd) == 0 || errno == EINVAL ? RK_OK : fail_errno(l, err);
}

void rk_line_log_close(rk_line_log *l)
{
    if (!l)
        return;
    if (l->fd >= 0)
        close(l->fd);
    free(l->path);
    free(l);
}
