/* reader.h: a cursor over bytes that knows how many are left. A read that does not fit returns
 * false and moves nothing. Numbers are little-endian. */
#ifndef RK_IO_READER_H
#define RK_IO_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct rk_reader {
    const unsigned char *p;
    size_t left;
} rk_reader;

/* n bytes where they lie; *bytes may be NULL to skip them. */
static inline bool rk_read_bytes(rk_reader *r, size_t n, const unsigned char **bytes)
{
    if (n > r->left)
        return false;
    if (bytes)
        *bytes = r->p;
    r->p += n;
    r->left -= n;
    return true;
}

static inline bool rk_read_uint_le(rk_reader *r, size_t n, uint64_t *out)
{
    const unsigned char *b;
    if (!rk_read_bytes(r, n, &b))
        return false;
    *out = 0;
    for (size_t i = 0; i < n; i++)
        *out |= (uint64_t)b[i] << (8 * i);
    return true;
}

static inline bool rk_read_u8(rk_reader *r, uint8_t *out)
{
    uint64_t x;
    if (!rk_read_uint_le(r, 1, &x))
        return false;
    *out = (uint8_t)x;
    return true;
}

static inline bool rk_read_u16le(rk_reader *r, uint16_t *out)
{
    uint64_t x;
    if (!rk_read_uint_le(r, 2, &x))
        return false;
    *out = (uint16_t)x;
    return true;
}

static inline bool rk_read_u32le(rk_reader *r, uint32_t *out)
{
    uint64_t x;
    if (!rk_read_uint_le(r, 4, &x))
        return false;
    *out = (uint32_t)x;
    return true;
}

static inline bool rk_read_u64le(rk_reader *r, uint64_t *out)
{
    return rk_read_uint_le(r, 8, out);
}

#endif
