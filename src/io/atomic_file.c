/* atomic_file.c: the write protocol for files; directories are in atomic_dir.c.
 *
 * Without overwriting, the final name is made by link, which fails when the name is taken; looking
 * first and renaming then would lose a file that appears in between. File systems without hard
 * links get just that, because there is nothing better. The temporary file is named after the
 * process, not nameless (O_TMPFILE): it must be replaceable by rename, which a nameless file is
 * not. */
#define _XOPEN_SOURCE 700 /* realpath */
#include "io/atomic_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/checksum.h"
#include "io/path.h"

enum { BUFFER_BYTES = 256 * 1024, TEMPORARIES_MAX = 100 };

struct rk_out {
    char *path;   /* the final name; symbolic links resolved */
    char *tmp;    /* NULL: a device or pipe, which is written directly */
    char *parent; /* the directory both lie in; known early, so that commit takes no memory */
    int fd;
    bool overwrite;
    int failed; /* errno of the first failing write, 0 while all is well */
    uint64_t n_bytes;
    rk_checksum *checksum;
    void (*tap)(void *user, const void *bytes, size_t n);
    void *tap_user;
    size_t used;
    unsigned char buffer[BUFFER_BYTES];
};

static void out_free(rk_out *o)
{
    if (o->fd >= 0)
        close(o->fd);
    rk_checksum_free(o->checksum);
    free(o->path);
    free(o->tmp);
    free(o->parent);
    free(o);
}

/* A file PATH.tmp-PID, or PATH.tmp-PID-N while another output of this process has that name. */
static rk_status open_temporary(rk_out *o, rk_error *err)
{
    o->parent = rk_path_parent(o->path);
    if (!o->parent)
        return rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", o->path);
    for (int i = 0; i < TEMPORARIES_MAX; i++) {
        o->tmp = rk_path_temporary(o->path, "tmp", i);
        if (!o->tmp)
            return rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", o->path);
        o->fd = open(o->tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (o->fd >= 0)
            return RK_OK;
        const int why = errno;
        free(o->tmp);
        o->tmp = NULL;
        if (why != EEXIST)
            return rk_fail(err, RK_ERR_IO, "%s: cannot create a file beside it: %s", o->path,
                           strerror(why));
    }
    return rk_fail(err, RK_ERR_IO, "%s: %d temporary files of that name are there already", o->path,
                   TEMPORARIES_MAX);
}

/* Decide by what exists under the name: nothing, a file, or a device or pipe to write into. */
static rk_status open_target(rk_out *o, const char *path, rk_error *err)
{
    struct stat info;
    if (stat(path, &info) != 0)
        o->path = strdup(path);
    else if (S_ISDIR(info.st_mode))
        return rk_fail(err, RK_ERR_ARG, "%s: is a directory, expected a file name", path);
    else if (S_ISREG(info.st_mode) && !o->overwrite)
        return rk_fail(err, RK_ERR_ARG, "%s: exists already and is not overwritten unasked", path);
    else
        o->path = S_ISREG(info.st_mode) ? realpath(path, NULL) : strdup(path);
    if (!o->path)
        return rk_fail(err, errno == ENOMEM ? RK_ERR_NOMEM : RK_ERR_IO, "%s: %s", path,
                       strerror(errno));
    if (stat(path, &info) != 0 || S_ISREG(info.st_mode))
        return open_temporary(o, err);
    o->fd = open(path, O_WRONLY | O_CLOEXEC);
    return o->fd >= 0 ? RK_OK : rk_fail(err, RK_ERR_IO, "%s: %s", path, strerror(errno));
}

rk_status rk_out_open(rk_out **out, const char *path, bool overwrite, rk_error *err)
{
    rk_out *o = malloc(sizeof *o);
    if (!o)
        return rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", path);
    o->path = o->tmp = o->parent = NULL;
    o->fd = -1;
    o->overwrite = overwrite;
    o->failed = 0;
    o->n_bytes = 0;
    o->used = 0;
    o->tap = NULL;
    o->checksum = rk_checksum_new();
    const rk_status st = o->checksum ? open_target(o, path, err)
                                     : rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", path);
    if (st == RK_OK)
        *out = o;
    else
        out_free(o);
    return st;
}

static void write_all(rk_out *o, const unsigned char *p, size_t n)
{
    while (n > 0 && !o->failed) {
        const ssize_t done = write(o->fd, p, n);
        if (done < 0 && errno != EINTR)
            o->failed = errno;
        if (done > 0) {
            p += done;
            n -= (size_t)done;
        }
    }
}

static void flush(rk_out *o)
{
    write_all(o, o->buffer, o->used);
    o->used = 0;
}

bool rk_out_write(rk_out *o, const void *bytes, size_t n)
{
    if (o->failed || n == 0)
        return !o->failed;
    rk_checksum_add(o->checksum, bytes, n);
    if (o->tap)
        o->tap(o->tap_user, bytes, n);
    o->n_bytes += n;
    if (n > BUFFER_BYTES - o->used)
        flush(o);
    if (n >= BUFFER_BYTES) {
        write_all(o, bytes, n);
    } else {
        memcpy(o->buffer + o->used, bytes, n);
        o->used += n;
    }
    return !o->failed;
}

void rk_out_tap(rk_out *o, void (*fn)(void *user, const void *bytes, size_t n), void *user)
{
    o->tap = fn;
    o->tap_user = user;
}

bool rk_out_ok(const rk_out *o)
{
    return !o->failed;
}

uint64_t rk_out_bytes(const rk_out *o)
{
    return o->n_bytes;
}

uint64_t rk_out_checksum(const rk_out *o)
{
    return rk_checksum_value(o->checksum);
}

/* Flush all bytes to the disk and close the descriptor. The result of close counts because network
 * file systems report a full disk there. */
static rk_status finish_writing(rk_out *o, rk_error *err)
{
    flush(o);
    if (!o->failed && o->tmp && fsync(o->fd) != 0)
        o->failed = errno;
    if (close(o->fd) != 0 && !o->failed)
        o->failed = errno;
    o->fd = -1;
    if (o->failed)
        return rk_fail(err, RK_ERR_IO, "%s: writing failed: %s", o->path, strerror(o->failed));
    return RK_OK;
}

/* Give it the final name without replacing another file. */
static rk_status name_new(const rk_out *o, rk_error *err)
{
    struct stat info;
    if (link(o->tmp, o->path) == 0) {
        unlink(o->tmp);
        return RK_OK;
    }
    const int why = errno;
    if (why == EEXIST || lstat(o->path, &info) == 0)
        return rk_fail(err, RK_ERR_ARG, "%s: a file of that name has appeared meanwhile", o->path);
    if ((why == EPERM || why == EOPNOTSUPP || why == ENOSYS) && rename(o->tmp, o->path) == 0)
        return RK_OK;
    return rk_fail(err, RK_ERR_IO, "%s: cannot name it: %s", o->path, strerror(why));
}

static rk_status name_output(const rk_out *o, rk_error *err)
{
    if (!o->overwrite)
        return name_new(o, err);
    if (rename(o->tmp, o->path) != 0)
        return rk_fail(err, RK_ERR_IO, "%s: cannot rename %s to it: %s", o->path, o->tmp,
                       strerror(errno));
    return RK_OK;
}

rk_status rk_out_commit(rk_out *o, rk_error *err)
{
    rk_status st = finish_writing(o, err);
    if (st != RK_OK || !o->tmp)
        goto done;
    st = name_output(o, err);
    if (st != RK_OK)
        goto done;
    free(o->tmp); /* it has its final name: there is nothing to remove */
    o->tmp = NULL;
    st = rk_dir_sync(o->parent, err);
done:
    rk_out_abort(o);
    return st;
}

void rk_out_abort(rk_out *o)
{
    if (!o)
        return;
    if (o->tmp)
        unlink(o->tmp);
    out_free(o);
}
