/* killat.c: a library to preload, which kills its process (SIGKILL) at the KILLAT-th call that
 * changes files: write, fsync, rename, link, unlink, mkdir, rmdir, ftruncate.
 *
 * The call does not happen, but of a write the first half does, as on a machine that stops. Dying
 * before call n + 1 is dying after call n, so going through all n sees both sides of every call.
 * KILLAT_REPORT names a file that receives the name of the call at which it died; without KILLAT,
 * the number of calls, when the program ends. */
#define _GNU_SOURCE /* RTLD_NEXT */
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static atomic_long n_calls; /* a preloaded library has nowhere else to keep it */

/* The next definition of a function: the real one. */
static void find_real(void *function, const char *name)
{
    *(void **)function = dlsym(RTLD_NEXT, name);
}

static void report(const char *text)
{
    ssize_t (*real_write)(int, const void *, size_t);
    const char *path = getenv("KILLAT_REPORT");
    const int fd = path ? open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666) : -1;
    if (fd < 0)
        return;
    find_real(&real_write, "write");
    if (real_write(fd, text, strlen(text)) < 0)
        abort();
    close(fd);
}

static int is_time(void)
{
    const char *at = getenv("KILLAT");
    return atomic_fetch_add(&n_calls, 1) + 1 == (at ? atol(at) : -1);
}

static void die(const char *call)
{
    report(call);
    kill(getpid(), SIGKILL);
}

__attribute__((destructor)) static void report_count(void)
{
    char text[32];
    snprintf(text, sizeof text, "%ld", atomic_load(&n_calls));
    if (!getenv("KILLAT"))
        report(text);
}

ssize_t write(int fd, const void *bytes, size_t n)
{
    ssize_t (*real)(int, const void *, size_t);
    find_real(&real, "write");
    if (is_time()) {
        if (real(fd, bytes, n / 2) < 0)
            abort();
        die("write");
    }
    return real(fd, bytes, n);
}

#define INTERPOSE(name, parameters, arguments)                                                     \
    int name parameters                                                                            \
    {                                                                                              \
        int(*real) parameters;                                                                     \
        find_real(&real, #name);                                                                   \
        if (is_time())                                                                             \
            die(#name);                                                                            \
        return real arguments;                                                                     \
    }

INTERPOSE(fsync, (int fd), (fd))
INTERPOSE(ftruncate, (int fd, off_t n), (fd, n))
INTERPOSE(rename, (const char *from, const char *to), (from, to))
INTERPOSE(link, (const char *from, const char *to), (from, to))
INTERPOSE(unlink, (const char *path), (path))
INTERPOSE(rmdir, (const char *path), (path))
INTERPOSE(mkdir, (const char *path, mode_t mode), (path, mode))
