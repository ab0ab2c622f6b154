/* failalloc.c: a library to preload, whose FAILALLOC-th allocation (malloc, calloc, realloc,
 * aligned_alloc, posix_memalign) finds no memory.
 *
 * FAILALLOC_REPORT names a file that receives, when the program ends, the number of allocations and
 * how many blocks were not given back. */
#define _GNU_SOURCE /* RTLD_NEXT */
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

/* A preloaded library has nowhere else to keep them. */
static atomic_long n_calls, n_live;
static atomic_int reporting;

static int is_time(void)
{
    const char *at = getenv("FAILALLOC");
    return atomic_fetch_add(&n_calls, 1) + 1 == (at ? atol(at) : -1);
}

static void *counted(void *p)
{
    if (p)
        atomic_fetch_add(&n_live, 1);
    return p;
}

__attribute__((destructor)) static void report(void)
{
    const long calls = atomic_load(&n_calls), live = atomic_load(&n_live);
    const char *path = getenv("FAILALLOC_REPORT");
    FILE *f = path && !atomic_exchange(&reporting, 1) ? fopen(path, "w") : NULL;
    if (!f)
        return;
    fprintf(f, "%ld %ld\n", calls, live);
    fclose(f);
}

/* The allocator itself, under the names by which glibc offers it to those who replace malloc: dlsym
 * would allocate before anything is known. */
extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t),
    *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

void *malloc(size_t n)
{
    return is_time() ? (errno = ENOMEM, NULL) : counted(__libc_malloc(n));
}

void *calloc(size_t n, size_t size)
{
    return is_time() ? (errno = ENOMEM, NULL) : counted(__libc_calloc(n, size));
}

void *realloc(void *p, size_t n)
{
    if (is_time())
        return errno = ENOMEM, NULL;
    void *moved = __libc_realloc(p, n);
    return p ? moved : counted(moved);
}

void *aligned_alloc(size_t align, size_t n)
{
    return is_time() ? (errno = ENOMEM, NULL) : counted(__libc_memalign(align, n));
}

int posix_memalign(void **out, size_t align, size_t n)
{
    void *p = is_time() ? NULL : counted(__libc_memalign(align, n));
    if (!p)
        return ENOMEM;
    *out = p;
    return 0;
}

void free(void *p)
{
    if (p)
        atomic_fetch_sub(&n_live, 1);
    __libc_free(p);
}
