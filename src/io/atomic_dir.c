/* atomic_dir.c: directories that appear complete, and free space on the disk.
 *
 * rename cannot replace a directory that holds files, and exchanging two names in one step is a
 * system call of Linux only. Checkpoints are named by their step, so a name that is taken is rare:
 * the old directory is moved aside, which leaves a moment with neither under the name, and a reader
 * then finds the checkpoint before it. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "io/atomic_file.h"
#include "io/path.h"

enum { DIRECTORIES_MAX = 100 };

static rk_status sync_path(const char *path, int flags, rk_error *err)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC | flags);
    int why = fd < 0 || fsync(fd) != 0 ? errno : 0;
    if (fd >= 0)
        close(fd);
    /* Some file systems cannot sync directories; there is nothing else to try. */
    if (why == 0 || (why == EINVAL && (flags & O_DIRECTORY)))
        return RK_OK;
    return rk_fail(err, RK_ERR_IO, "%s: cannot sync it: %s", path, strerror(why));
}

rk_status rk_dir_sync(const char *path, rk_error *err)
{
    return sync_path(path, O_DIRECTORY, err);
}

/* Call fn with the path of every entry of a directory, until one fails. A directory that does not
 * exist has none. */
typedef rk_status entry_fn(void *user, const char *dir, const char *name, const char *path,
                           rk_error *err);

static rk_status visit(DIR *d, const char *dir, entry_fn *fn, void *user, rk_error *err)
{
    const struct dirent *e;
    rk_status st = RK_OK;
    while (st == RK_OK && (errno = 0, e = readdir(d))) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        char *path = rk_path_join(dir, e->d_name);
        st = path ? fn(user, dir, e->d_name, path, err)
                  : rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", dir);
        free(path);
    }
    if (st == RK_OK && errno != 0)
        st = rk_fail(err, RK_ERR_IO, "%s: %s", dir, strerror(errno));
    return st;
}

static rk_status for_each_entry(const char *dir, entry_fn *fn, void *user, rk_error *err)
{
    DIR *d = opendir(dir);
    if (!d && errno == ENOENT)
        return RK_OK;
    if (!d)
        return rk_fail(err, RK_ERR_IO, "%s: %s", dir, strerror(errno));
    const rk_status st = visit(d, dir, fn, user, err);
    closedir(d);
    return st;
}

static rk_status sync_entry(void *user, const char *dir, const char *name, const char *path,
                            rk_error *err)
{
    (void)user;
    (void)dir;
    (void)name;
    return sync_path(path, 0, err);
}

static rk_status remove_entry(void *user, const char *dir, const char *name, const char *path,
                              rk_error *err)
{
    (void)user;
    (void)name;
    if (unlink(path) != 0 && errno != ENOENT)
        return rk_fail(err, RK_ERR_IO, "%s: cannot remove it from %s: %s", path, dir,
                       strerror(errno));
    return RK_OK;
}

rk_status rk_dir_remove(const char *path, rk_error *err)
{
    const rk_status st = for_each_entry(path, remove_entry, NULL, err);
    if (st != RK_OK)
        return st;
    if (rmdir(path) != 0 && errno != ENOENT)
        return rk_fail(err, RK_ERR_IO, "%s: cannot remove it: %s", path, strerror(errno));
    return RK_OK;
}

typedef struct written_names {
    const char *const *at;
    size_t n;
} written_names;

/* Is this the temporary name of something that is written under one of the names? */
static bool is_leftover(const written_names *names, const char *name)
{
    if (!rk_path_is_temporary(name, "tmp") && !rk_path_is_temporary(name, "old"))
        return false;
    for (size_t i = 0; i < names->n; i++) {
        const size_t n = strlen(names->at[i]);
        if (strncmp(name, names->at[i], n) != 0)
            continue;
        const bool numbered = names->at[i][n - 1] == '-';
        const size_t digits = numbered ? strspn(name + n, "0123456789") : 0;
        if (name + n + digits == strrchr(name, '.') && (digits > 0) == numbered)
            return true;
    }
    return false;
}

static rk_status remove_leftover(void *user, const char *dir, const char *name, const char *path,
                                 rk_error *err)
{
    struct stat info;
    if (!is_leftover(user, name))
        return RK_OK;
    if (lstat(path, &info) == 0 && S_ISDIR(info.st_mode))
        return rk_dir_remove(path, err);
    return remove_entry(NULL, dir, name, path, err);
}

rk_status rk_dir_remove_leftovers(const char *path, const char *const *names, size_t n,
                                  rk_error *err)
{
    written_names written = {names, n};
    return for_each_entry(path, remove_leftover, &written, err);
}

/* Find a name PATH.KIND-PID that is free by making it: make returns 0 or sets errno. */
static rk_status claim(char **out, const char *path, const char *kind, rk_error *err)
{
    int why = 0;
    for (int i = 0; i < DIRECTORIES_MAX; i++) {
        char *name = rk_path_temporary(path, kind, i);
        if (!name)
            return rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", path);
        if (mkdir(name, 0777) == 0) {
            *out = name;
            return RK_OK;
        }
        why = errno;
        free(name);
        if (why != EEXIST)
            break;
    }
    return rk_fail(err, RK_ERR_IO, "%s: cannot make a directory beside it: %s", path,
                   strerror(why));
}

rk_status rk_dir_begin(char **tmp, const char *path, rk_error *err)
{
    return claim(tmp, path, "tmp", err);
}

/* Rename tmp to path. A directory of that name is moved onto an empty one made for it, *old. */
static rk_status take_name(const char *tmp, const char *path, char **old, rk_error *err)
{
    if (rename(tmp, path) == 0)
        return RK_OK;
    if (errno != ENOTEMPTY && errno != EEXIST)
        return rk_fail(err, RK_ERR_IO, "%s: cannot rename %s to it: %s", path, tmp,
                       strerror(errno));
    const rk_status st = claim(old, path, "old", err);
    if (st != RK_OK)
        return st;
    if (rename(path, *old) == 0 && rename(tmp, path) == 0)
        return RK_OK;
    const int why = errno;
    rename(*old, path); /* back, if it was moved at all */
    rmdir(*old);        /* still the empty one, if it was not */
    return rk_fail(err, RK_ERR_IO, "%s: cannot replace it: %s", path, strerror(why));
}

static rk_status sync_all(const char *dir, rk_error *err)
{
    const rk_status st = for_each_entry(dir, sync_entry, NULL, err);
    return st == RK_OK ? rk_dir_sync(dir, err) : st;
}

rk_status rk_dir_commit(char *tmp, const char *path, rk_error *err)
{
    char *old = NULL, *parent = rk_path_parent(path);
    rk_status st =
        parent ? sync_all(tmp, err) : rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", path);
    if (st == RK_OK)
        st = take_name(tmp, path, &old, err);
    if (st != RK_OK) {
        rk_dir_abort(tmp);
        tmp = NULL;
        goto done;
    }
    st = rk_dir_sync(parent, err);
    if (st == RK_OK && old)
        st = rk_dir_remove(old, err);
done:
    free(parent);
    free(old);
    free(tmp);
    return st;
}

void rk_dir_abort(char *tmp)
{
    if (tmp)
        rk_dir_remove(tmp, NULL); /* what cannot be removed is a leftover for the next run */
    free(tmp);
}

rk_status rk_check_free_space(const char *path, uint64_t bytes, rk_error *err)
{
    const double mib = 1024.0 * 1024.0;
    struct statvfs fs;
    char *parent = rk_path_parent(path);
    if (!parent)
        return rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", path);
    const bool known = statvfs(parent, &fs) == 0;
    free(parent);
    if (!known)
        return rk_fail(err, RK_ERR_IO, "%s: no free space known: %s", path, strerror(errno));
    const uint64_t unit = fs.f_frsize > 0 ? fs.f_frsize : 1;
    if (fs.f_bavail < bytes / unit + 1 && bytes > 0)
        return rk_fail(err, RK_ERR_IO, "%s: needs %.1f MiB, the disk has %.1f MiB free", path,
                       (double)bytes / mib, (double)fs.f_bavail * (double)unit / mib);
    return RK_OK;
}
