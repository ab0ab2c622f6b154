/* test_util.h: what the tests of every layer share. Include it first: it brings in cmocka.
 *
 *     static void test_thing(void **state)
 *     {
 *         (void)state;
 *         test_ctx t = test_begin(1);              // seed of its random arrays
 *         for (int64_t n = 1; n < 70; n++) {
 *             test_shape(&t, "n %" PRId64, n);     // printed by a failure
 *             const float *x = test_uniform(&t, n, -1, 1);
 *             float *want = test_alloc_f32(&t, n), *got = test_alloc_f32(&t, n);
 *             ...
 *             test_close(&t, "y", want, got, n, 1e-6f);
 *             test_reset(&t);                      // frees the arrays
 *         }
 *         test_end(&t);                            // and removes the temporary folders
 *     }
 *
 * Arrays are exact heap blocks, so that the address sanitizer sees a read past the end. */
#ifndef RK_TEST_UTIL_H
#define RK_TEST_UTIL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka needs the four above */
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "base/num.h"
#include "base/random.h"

typedef struct test_list {
    char **items;
    size_t n, cap;
} test_list;

typedef struct test_ctx {
    uint64_t seed;
    uint64_t n_arrays; /* arrays drawn so far: each has its own stream */
    char shape[160];
    test_list blocks, dirs;
} test_ctx;

static inline test_ctx test_begin(uint64_t seed)
{
    return (test_ctx){.seed = seed};
}

static inline void test_list_add(test_list *l, char *item)
{
    if (!item)
        fail_msg("out of memory");
    if (l->n == l->cap) {
        l->cap = l->cap ? 2 * l->cap : 16;
        l->items = realloc(l->items, l->cap * sizeof *l->items);
        if (!l->items)
            fail_msg("out of memory");
    }
    l->items[l->n++] = item;
}

/* -------------------------------------------------------------------------------------- arrays */

/* Bytes of memory until test_reset; not cleared. */
static inline void *test_alloc(test_ctx *t, size_t bytes)
{
    char *p = malloc(bytes);
    if (!p && bytes == 0)
        p = malloc(1);
    test_list_add(&t->blocks, p);
    return p;
}

static inline void *test_copy(test_ctx *t, const void *data, size_t bytes)
{
    void *p = test_alloc(t, bytes);
    if (bytes)
        memcpy(p, data, bytes);
    return p;
}

static inline float *test_alloc_f32(test_ctx *t, int64_t n)
{
    return test_alloc(t, (size_t)n * sizeof(float));
}
static inline double *test_alloc_f64(test_ctx *t, int64_t n)
{
    return test_alloc(t, (size_t)n * sizeof(double));
}
static inline float *test_copy_f32(test_ctx *t, const float *x, int64_t n)
{
    return test_copy(t, x, (size_t)n * sizeof *x);
}
static inline double *test_copy_f64(test_ctx *t, const double *x, int64_t n)
{
    return test_copy(t, x, (size_t)n * sizeof *x);
}

/* (n) numbers in [low, high); the same for the same seed and number of arrays drawn before. */
static inline double *test_uniform_f64(test_ctx *t, int64_t n, double low, double high)
{
    double *x = test_alloc_f64(t, n);
    const uint64_t step = t->n_arrays++;
    for (int64_t i = 0; i < n; i++)
        x[i] = low + (high - low) * rk_rng_f64(t->seed, RK_RNG_TEST, step, (uint64_t)i);
    return x;
}
static inline float *test_uniform(test_ctx *t, int64_t n, float low, float high)
{
    float *x = test_alloc_f32(t, n);
    const uint64_t step = t->n_arrays++;
    for (int64_t i = 0; i < n; i++)
        x[i] = low + (high - low) * rk_rng_f32(t->seed, RK_RNG_TEST, step, (uint64_t)i);
    return x;
}
/* (n) token ids in [0, n_vocab). */
static inline int32_t *test_tokens(test_ctx *t, int64_t n, int64_t n_vocab)
{
    int32_t *ids = test_alloc(t, (size_t)n * sizeof *ids);
    const uint64_t step = t->n_arrays++, below = (uint64_t)n_vocab;
    for (int64_t i = 0; i < n; i++)
        ids[i] = (int32_t)rk_rng_below(t->seed, RK_RNG_TEST, step, (uint64_t)i, below);
    return ids;
}

/* Is this a run under the thread sanitizer? It is slow, and threads know no architecture: one of them
 * stands for all. */
static inline bool test_threads_only(void)
{
    const char *sanitize = getenv("RK_SANITIZE");
    return sanitize && !strcmp(sanitize, "thread");
}

static inline void test_sleep_ms(int ms)
{
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000L}, NULL);
}

/* ------------------------------------------------------------------------------------ closeness */

/* Say what is being tested; failures print it. */
static inline void test_shape(test_ctx *t, const char *fmt, ...) RK_PRINTF(2, 3);
static inline void test_shape(test_ctx *t, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(t->shape, sizeof t->shape, fmt, args);
    va_end(args);
}

/* Whether |got - want| <= tol * max(1, |want|); equal infinities are close and NaN never is. */
static inline bool test_is_close(double want, double got, double tol)
{
    return want == got || fabs(got - want) <= tol * fmax(1.0, fabs(want));
}

static inline void test_close_f64(const test_ctx *t, const char *what, const double *want,
                                  const double *got, int64_t n, double tol)
{
    for (int64_t i = 0; i < n; i++)
        if (!test_is_close(want[i], got[i], tol))
            fail_msg("%s [%" PRId64 "] of %" PRId64 ": want %.17g, got %.17g, tol %g; seed %" PRIu64
                     ", %s",
                     what, i, n, want[i], got[i], tol, t->seed, t->shape);
}
static inline void test_close(const test_ctx *t, const char *what, const float *want,
                              const float *got, int64_t n, float tol)
{
    for (int64_t i = 0; i < n; i++)
        if (!test_is_close((double)want[i], (double)got[i], (double)tol))
            fail_msg("%s [%" PRId64 "] of %" PRId64 ": want %.9g, got %.9g, tol %g; seed %" PRIu64
                     ", %s",
                     what, i, n, (double)want[i], (double)got[i], (double)tol, t->seed, t->shape);
}
/* Bit for bit. */
static inline void test_same(const test_ctx *t, const char *what, const void *want, const void *got,
                             size_t bytes)
{
    const unsigned char *w = want, *g = got;
    for (size_t i = 0; i < bytes; i++)
        if (w[i] != g[i])
            fail_msg("%s: byte %zu of %zu: want 0x%02x, got 0x%02x; seed %" PRIu64 ", %s", what, i,
                     bytes, w[i], g[i], t->seed, t->shape);
}
/* A call of the library that must succeed: prints its sentence when it does not. */
static inline void test_ok(rk_status st, const rk_error *err)
{
    if (st != RK_OK)
        fail_msg("status %d: %s", (int)st, err->msg);
}

/* ----------------------------------------------------------------------------- files and folders
 */

/* "dir/name", until test_reset. */
static inline char *test_path(test_ctx *t, const char *dir, const char *name)
{
    const size_t bytes = strlen(dir) + strlen(name) + 2;
    char *path = test_alloc(t, bytes);
    snprintf(path, bytes, "%s/%s", dir, name);
    return path;
}

/* A new empty folder, until test_end. */
static inline const char *test_temp_dir(test_ctx *t)
{
    const char *base = getenv("TMPDIR");
    char *name = test_path(t, base ? base : "/tmp", "rk-test-XXXXXX");
    if (!mkdtemp(name))
        fail_msg("%s: %s", name, strerror(errno));
    test_list_add(&t->dirs, strdup(name));
    return t->dirs.items[t->dirs.n - 1];
}

static inline void test_remove_tree(const char *path)
{
    char inner[4096];
    struct stat info;
    DIR *d = lstat(path, &info) == 0 && S_ISDIR(info.st_mode) ? opendir(path) : NULL;
    for (struct dirent *e; d && (e = readdir(d));) {
        const int n = snprintf(inner, sizeof inner, "%s/%s", path, e->d_name);
        if (strcmp(e->d_name, ".") && strcmp(e->d_name, "..") && n < (int)sizeof inner)
            test_remove_tree(inner);
    }
    if (d)
        closedir(d);
    remove(path);
}

static inline void test_write_file(const char *path, const void *bytes, size_t n)
{
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(bytes, 1, n, f) != n || fclose(f) != 0)
        fail_msg("%s: %s", path, strerror(errno));
}

/* All bytes of a file and a NUL after them, until test_reset; n may be NULL. */
static inline char *test_read_file(test_ctx *t, const char *path, size_t *n)
{
    struct stat info;
    FILE *f = fopen(path, "rb");
    if (!f || fstat(fileno(f), &info) != 0)
        fail_msg("%s: %s", path, strerror(errno));
    const size_t bytes = (size_t)info.st_size;
    char *data = test_alloc(t, bytes + 1);
    if (fread(data, 1, bytes, f) != bytes)
        fail_msg("%s: shorter than it was", path);
    fclose(f);
    data[bytes] = '\0';
    if (n)
        *n = bytes;
    return data;
}

#ifdef RK_SOURCE_DIR
/* A file of the source tree, "tests/data/x". */
static inline const char *test_source(test_ctx *t, const char *name)
{
    return test_path(t, RK_SOURCE_DIR, name);
}
#endif

/* ----------------------------------------------------------------------------------------- ends */

static inline void test_reset(test_ctx *t)
{
    for (size_t i = 0; i < t->blocks.n; i++)
        free(t->blocks.items[i]);
    t->blocks.n = 0;
}

static inline void test_end(test_ctx *t)
{
    test_reset(t);
    for (size_t i = 0; i < t->dirs.n; i++) {
        test_remove_tree(t->dirs.items[i]);
        free(t->dirs.items[i]);
    }
    free(t->blocks.items);
    free(t->dirs.items);
    *t = (test_ctx){.seed = t->seed};
}

#ifdef RK_SOURCE_DIR
/* A file of the folder of shared material (RK_SHARED, or beside the source tree), which need not be
 * there: the test is then skipped. */
static inline const char *test_shared(test_ctx *t, const char *name)
{
    const char *dir = getenv("RK_SHARED");
    const char *path = test_path(t, dir ? dir : RK_SOURCE_DIR "/../shared", name);
    if (access(path, R_OK) != 0) {
        print_message("skipped: %s is not here\n", path);
        test_end(t);
        skip();
    }
    return path;
}
#endif

static inline size_t test_file_bytes(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && info.st_size > 0 ? (size_t)info.st_size : 0;
}

/* From here on the process gets no more than `more` bytes beyond what it has, mapped files
 * included; with more = 0 as many as it likes. Sanitizers need address space of their own. */
static inline void test_cap_memory(size_t more)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    (void)more;
#else
    struct rlimit limit;
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%ld", &pages), 1);
    fclose(f);
    assert_int_equal(getrlimit(RLIMIT_AS, &limit), 0);
    limit.rlim_cur = more ? (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE) + more : limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_AS, &limit), 0);
#endif
}

#endif
