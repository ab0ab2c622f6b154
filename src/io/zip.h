/* zip.h: the uncompressed entries of a zip archive in memory, zip64 included.
 *
 * torch.save writes such an archive. Compressed entries are refused: tensors are used where they
 * are in the mapping, and no small file can expand to a large one. */
#ifndef RK_IO_ZIP_H
#define RK_IO_ZIP_H

#include "base/error.h"
#include "io/map.h"

typedef struct rk_zip_entry {
    const char *name; /* not NUL-terminated */
    size_t name_bytes;
    const unsigned char *data;
    size_t bytes;
} rk_zip_entry;

typedef struct rk_zip {
    rk_zip_entry *entries; /* sorted by name */
    size_t n;
} rk_zip;

/* Read the central directory and find every entry's data.
 * Errors  RK_ERR_FORMAT: no archive, wrong sizes or offsets, a name twice; RK_ERR_UNSUPPORTED:
 *         compressed or encrypted entries, archives of several parts; RK_ERR_NOMEM. */
rk_status rk_zip_open(rk_zip *z, const rk_map *map, rk_error *err);
void rk_zip_close(rk_zip *z);
/* NULL when there is none of this name. */
const rk_zip_entry *rk_zip_find(const rk_zip *z, const char *name, size_t name_bytes);

#endif
