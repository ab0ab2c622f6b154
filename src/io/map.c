/* map.c: files mapped read-only and private.
 *
 * The descriptor stays open, because only fstat of the same inode can tell that its content
 * changed: another file renamed over the name is harmless, the mapping keeps the old one. Reading a
 * page that has been cut off the file raises SIGBUS. A check before each access cannot prevent it
 * (the cut may come right after), and reading everything into memory would cost twice the memory,
 * so the program's handler turns the signal into a message. */
/* posix_madvise of the C library does nothing for pages that are not needed any more.
 * NOLINTNEXTLINE(bugprone-reserved-identifier) */
#define _DEFAULT_SOURCE
#include "io/map.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/num.h"

static rk_status open_regular(rk_map *m, struct stat *info, rk_error *err)
{
    /* Without O_NONBLOCK the open of a pipe waits for its writer. */
    m->fd = open(m->name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (m->fd < 0 || fstat(m->fd, info) != 0)
        return rk_fail(err, RK_ERR_IO, "%s: %s", m->name, strerror(errno));
    if (!S_ISREG(info->st_mode))
        return rk_fail(err, RK_ERR_FORMAT, "%s: is %s, expected a regular file", m->name,
                       S_ISDIR(info->st_mode) ? "a directory" : "a pipe or device");
    if (info->st_size == 0)
        return rk_fail(err, RK_ERR_FORMAT, "%s: the file is empty", m->name);
    if ((uintmax_t)info->st_size > SIZE_MAX / 2)
        return rk_fail(err, RK_ERR_UNSUPPORTED, "%s: %jd bytes are more than can be mapped",
                       m->name, (intmax_t)info->st_size);
    return RK_OK;
}

static rk_status map_whole(rk_map *m, const struct stat *info, rk_error *err)
{
    const size_t size = (size_t)info->st_size;
    void *p = mmap(NULL, size, PROT_READ, MAP_PRIVATE, m->fd, 0);
    if (p == MAP_FAILED)
        return rk_fail(err, RK_ERR_IO, "%s: cannot map its %zu bytes: %s", m->name, size,
                       strerror(errno));
    m->data = p;
    m->size = size;
    m->mtime = info->st_mtim;
    return RK_OK;
}

rk_status rk_map_open(rk_map *m, const char *path, rk_error *err)
{
    struct stat info;
    *m = (rk_map){.fd = -1, .name = strdup(path)};
    if (!m->name)
        return rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", path);
    rk_status st = open_regular(m, &info, err);
    if (st == RK_OK)
        st = map_whole(m, &info, err);
    if (st != RK_OK)
        rk_map_close(m);
    return st;
}

rk_status rk_map_memory(rk_map *m, const void *data, size_t bytes, const char *name, rk_error *err)
{
    *m = (rk_map){.fd = -1};
    if (bytes == 0)
        return rk_fail(err, RK_ERR_FORMAT, "%s: no bytes", name);
    m->name = strdup(name);
    if (!m->name)
        return rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", name);
    m->data = data;
    m->size = bytes;
    return RK_OK;
}

void rk_map_close(rk_map *m)
{
    /* A zeroed map has descriptor 0, which is not its own: what was opened has a name. */
    if (m->name && m->fd >= 0) {
        if (m->data) {
            /* NOLINTNEXTLINE(performance-no-int-to-ptr): munmap takes no pointer to const */
            munmap((void *)(uintptr_t)m->data, m->size);
        }
        close(m->fd);
    }
    free(m->name);
    *m = (rk_map){.fd = -1};
}

void rk_map_drop(const rk_map *m, const void *from, size_t bytes)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    const uintptr_t lo = ((uintptr_t)from + page - 1) / page * page;
    const uintptr_t hi = ((uintptr_t)from + bytes) / page * page;
    if (m->name && m->fd >= 0 && lo < hi)
        /* NOLINTNEXTLINE(performance-no-int-to-ptr): madvise takes no pointer to const */
        madvise((void *)lo, hi - lo, MADV_DONTNEED);
}

void rk_map_drop_around(const rk_map *m, const void *from, size_t bytes)
{
    /* A fault brings in what the system already holds around it: 64 KiB by default, more where it holds files in
     * larger pieces, and never beyond what a page of page tables covers. */
    enum { AROUND = 2 * 1024 * 1024 };
    const uintptr_t first = (uintptr_t)m->data, end = first + m->size;
    const uintptr_t lo = (uintptr_t)from / AROUND * AROUND;
    const uintptr_t hi = rk_align_up((uintptr_t)from + bytes, AROUND);
    const size_t at = lo > first ? lo - first : 0;
    rk_map_drop(m, m->data + at, (hi < end ? hi - first : m->size) - at);
}

rk_status rk_map_check(const rk_map *m, rk_error *err)
{
    struct stat now;
    if (m->fd < 0)
        return RK_OK;
    if (fstat(m->fd, &now) != 0)
        return rk_fail(err, RK_ERR_IO, "%s: %s", m->name, strerror(errno));
    if ((uintmax_t)now.st_size != m->size)
        return rk_fail(err, RK_ERR_IO, "%s: the file was %s while in use: %jd bytes, it had %zu",
                       m->name, (uintmax_t)now.st_size < m->size ? "cut" : "extended",
                       (intmax_t)now.st_size, m->size);
    if (now.st_mtim.tv_sec != m->mtime.tv_sec || now.st_mtim.tv_nsec != m->mtime.tv_nsec)
        return rk_fail(err, RK_ERR_IO, "%s: the file was written to while in use", m->name);
    return RK_OK;
}

rk_status rk_map_read(const rk_map *m, size_t at, void *to, size_t bytes, rk_error *err)
{
    size_t done = 0;
    if (m->fd < 0) {
        memcpy(to, m->data + at, bytes);
        return RK_OK;
    }
    while (done < bytes) {
        const ssize_t n =
            pread(m->fd, (unsigned char *)to + done, bytes - done, (off_t)(at + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return rk_fail(err, RK_ERR_IO, "%s: %s", m->name, strerror(errno));
        if (n == 0)
            break;
        done += (size_t)n;
    }
    if (done == bytes)
        return RK_OK;
    const rk_status st = rk_map_check(m, err);
    return st != RK_OK ? st
                       : rk_fail(err, RK_ERR_IO, "%s: %zu bytes at %zu, %zu could be read", m->name,
                                 bytes, at, done);
}

/* One call for as many rows as a vector holds; what it left is read row by row. */
rk_status rk_map_read_rows(const rk_map *m, size_t at, void *const *to, int64_t n, size_t row_bytes,
                           rk_error *err)
{
    enum { ROWS = 64 };
    rk_status st = RK_OK;
    for (int64_t lo = 0; lo < n && st == RK_OK;) {
        struct iovec rows[ROWS];
        const int64_t some = rk_min_i64(n - lo, ROWS);
        for (int64_t i = 0; i < some; i++)
            rows[i] = (struct iovec){to[lo + i], row_bytes};
        const ssize_t got = m->fd < 0 || some == 1 ? 0
                                                   : preadv(m->fd, rows, (int)some,
                                                            (off_t)(at + (size_t)lo * row_bytes));
        const int64_t whole = got > 0 ? (int64_t)((size_t)got / row_bytes) : 0;
        for (int64_t i = lo + whole; i < lo + some && st == RK_OK; i++)
            st = rk_map_read(m, at + (size_t)i * row_bytes, to[i], row_bytes, err);
        lo += some;
    }
    return st;
}

void rk_map_will_need(const rk_map *m, const void *from, size_t bytes)
{
    if (m->fd >= 0) /* a hint: whether it was taken makes no difference */
        (void)posix_fadvise(m->fd, (off_t)((const unsigned char *)from - m->data), (off_t)bytes,
                            POSIX_FADV_WILLNEED);
}

/* What follows runs in a signal handler: no stdio, no allocation, only open, read, write. */

/* One line of /proc/self/maps: "begin-end perms offset device inode      path". */
typedef struct map_line {
    char text[4096 + 128];
    size_t n; /* longer lines lose their end */
} map_line;

/* The hexadecimal number at *p, which moves past it. */
static uintptr_t hex_number(const char **p)
{
    static const char digits[] = "0123456789abcdef";
    uintptr_t x = 0;
    for (;; (*p)++) {
        const char *d = **p ? strchr(digits, **p) : NULL;
        if (!d)
            return x;
        x = x * 16 + (uintptr_t)(d - digits);
    }
}

/* The path of a mapping that holds addr, else NULL. Anonymous memory has no path. */
static const char *path_of_line(const map_line *l, uintptr_t addr)
{
    const char *p = l->text;
    const uintptr_t begin = hex_number(&p);
    if (*p++ != '-')
        return NULL;
    const uintptr_t end = hex_number(&p);
    return addr >= begin && addr < end ? strchr(p, '/') : NULL;
}

/* Read byte by byte into lines; the table is short and this happens once in a process's life. */
static bool next_line(int fd, map_line *l)
{
    char c;
    l->n = 0;
    while (read(fd, &c, 1) == 1 && c != '\n')
        if (l->n < sizeof l->text - 1)
            l->text[l->n++] = c;
    l->text[l->n] = '\0';
    return l->n > 0;
}

static void say(const char *s)
{
    if (write(STDERR_FILENO, s, strlen(s)) < 0)
        return; /* stderr does not work either */
}

bool rk_map_report_fault(const void *addr, const char *prefix)
{
    map_line line;
    const char *path = NULL;
    const int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    while (!path && next_line(fd, &line))
        path = path_of_line(&line, (uintptr_t)addr);
    close(fd);
    if (!path)
        return false;
    say(prefix);
    say(": ");
    say(path);
    say(": the file was cut or replaced while in use, or its disk failed\n");
    return true;
}
