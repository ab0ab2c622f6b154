/* checksum.c: XXH3-64 of the xxHash library, compiled in from its header: nothing to link, and the
 * library's names stay out of ours. XXH3 runs at memory speed, so every output can carry one. */
#define XXH_INLINE_ALL
#include "io/checksum.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

struct rk_checksum {
    XXH3_state_t *state; /* from the library, which knows its alignment */
};

rk_checksum *rk_checksum_new(void)
{
    rk_checksum *c = malloc(sizeof *c);
    if (!c)
        return NULL;
    c->state = XXH3_createState();
    if (!c->state) {
        free(c);
        return NULL;
    }
    XXH3_64bits_reset(c->state);
    return c;
}

void rk_checksum_free(rk_checksum *c)
{
    if (c)
        XXH3_freeState(c->state);
    free(c);
}

void rk_checksum_add(rk_checksum *c, const void *bytes, size_t n)
{
    XXH3_64bits_update(c->state, bytes, n);
}

uint64_t rk_checksum_value(const rk_checksum *c)
{
    return XXH3_64bits_digest(c->state);
}

uint64_t rk_checksum_bytes(const void *bytes, size_t n)
{
    return XXH3_64bits(bytes, n);
}

static rk_status add_file(rk_checksum *c, int fd, const char *path, uint64_t *bytes, rk_error *err)
{
    enum { PIECE = 64 * 1024 };
    unsigned char piece[PIECE];
    *bytes = 0;
    for (;;) {
        const ssize_t n = read(fd, piece, PIECE);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return rk_fail(err, RK_ERR_IO, "%s: %s", path, strerror(errno));
        if (n == 0)
            return RK_OK;
        rk_checksum_add(c, piece, (size_t)n);
        *bytes += (uint64_t)n;
    }
}

rk_status rk_checksum_file(const char *path, uint64_t *sum, uint64_t *bytes, rk_error *err)
{
    uint64_t n = 0;
    rk_checksum *c = rk_checksum_new();
    if (!c)
        return rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", path);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    const rk_status st = fd < 0 ? rk_fail(err, RK_ERR_IO, "%s: %s", path, strerror(errno))
                                : add_file(c, fd, path, &n, err);
    if (fd >= 0)
        close(fd);
    *sum = rk_checksum_value(c);
    if (bytes)
        *bytes = n;
    rk_checksum_free(c);
    return st;
}
