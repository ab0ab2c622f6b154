/* checksum.h: XXH3-64 of bytes as they pass, and of a file. It finds torn writes and flipped bits;
 * it is no defence against somebody who wants a collision. */
#ifndef RK_IO_CHECKSUM_H
#define RK_IO_CHECKSUM_H

#include "base/error.h"

typedef struct rk_checksum rk_checksum;

/* NULL when memory ran out. */
rk_checksum *rk_checksum_new(void);
void rk_checksum_free(rk_checksum *c);
void rk_checksum_add(rk_checksum *c, const void *bytes, size_t n);
/* Of everything added so far. */
uint64_t rk_checksum_value(const rk_checksum *c);

uint64_t rk_checksum_bytes(const void *bytes, size_t n);
/* Of a file, read (not mapped) from begin to end. bytes (may be NULL) receives its length. After a
 * failure both are those of what was read. */
rk_status rk_checksum_file(const char *path, uint64_t *sum, uint64_t *bytes, rk_error *err);

#endif
