/* zip.c: after PKWARE's APPNOTE.TXT 6.3. The directory at the end names the entries; where an
 * entry's data begin only its own header tells, whose name and extra field have lengths of their
 * own. */
#include "io/zip.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "io/reader.h"

enum {
    END_BYTES = 22,
    COMMENT_MAX = 65535,
    END64_BYTES = 56,
    LOCATOR_BYTES = 20,
    CENTRAL_BYTES = 46,
    LOCAL_BYTES = 30,
    NAME_SHOWN = 80,
    EXTRA_ZIP64 = 1,
    FLAG_ENCRYPTED = 1,
};
#define END_MAGIC 0x06054b50u
#define END64_MAGIC 0x06064b50u
#define LOCATOR_MAGIC 0x07064b50u
#define CENTRAL_MAGIC 0x02014b50u
#define LOCAL_MAGIC 0x04034b50u

typedef struct directory {
    uint64_t count, bytes, offset;
} directory;

static rk_status fail(const rk_map *map, const char *what, rk_error *err)
{
    return rk_fail(err, RK_ERR_FORMAT, "%s: zip archive: %s", map->name, what);
}

/* n bytes at an offset of the file, as a reader; false when they are not there. */
static bool at(const rk_map *map, uint64_t offset, uint64_t n, rk_reader *r)
{
    if (offset > map->size || n > map->size - offset)
        return false;
    *r = (rk_reader){map->data + offset, (size_t)n};
    return true;
}

/* The numbers of widths 2, 4 and 8 that a record consists of; its length has been checked. */
static uint64_t take(rk_reader *r, size_t width)
{
    uint64_t x = 0;
    rk_read_uint_le(r, width, &x);
    return x;
}

/* ---- the end of the archive ---- */

static bool find_end(const rk_map *map, size_t *place)
{
    if (map->size < END_BYTES)
        return false;
    const size_t last = map->size - END_BYTES;
    const size_t first = last > COMMENT_MAX ? last - COMMENT_MAX : 0;
    for (size_t p = last + 1; p-- > first;) {
        rk_reader r = {map->data + p, map->size - p};
        if (take(&r, 4) == END_MAGIC) {
            *place = p;
            return true;
        }
    }
    return false;
}

static rk_status read_end64(const rk_map *map, size_t end, directory *d, rk_error *err)
{
    rk_reader r = {0};
    if (end < LOCATOR_BYTES || !at(map, end - LOCATOR_BYTES, LOCATOR_BYTES, &r) ||
        take(&r, 4) != LOCATOR_MAGIC)
        return fail(map, "its zip64 locator is missing", err);
    take(&r, 4);
    const uint64_t place = take(&r, 8);
    if (!at(map, place, END64_BYTES, &r) || take(&r, 4) != END64_MAGIC)
        return fail(map, "its zip64 end record is not where the locator says", err);
    take(&r, 8); /* its size, versions, disks, entries of this disk */
    take(&r, 4);
    take(&r, 8);
    take(&r, 8);
    d->count = take(&r, 8);
    d->bytes = take(&r, 8);
    d->offset = take(&r, 8);
    return RK_OK;
}

static rk_status read_end(const rk_map *map, directory *d, rk_error *err)
{
    size_t place = 0;
    rk_reader r = {0};
    if (!find_end(map, &place))
        return fail(map, "its end record is missing: the file may have been cut", err);
    at(map, place, END_BYTES, &r);
    take(&r, 4);
    const uint64_t disk = take(&r, 4);
    take(&r, 2);
    d->count = take(&r, 2);
    d->bytes = take(&r, 4);
    d->offset = take(&r, 4);
    if (d->count == 0xffff || d->bytes == 0xffffffff || d->offset == 0xffffffff)
        return read_end64(map, place, d, err);
    return disk == 0
               ? RK_OK
               : rk_fail(err, RK_ERR_UNSUPPORTED, "%s: zip archive of several parts", map->name);
}

/* ---- entries ---- */

typedef struct place {
    uint64_t packed, bytes, offset;
    unsigned flags, method;
} place;

/* Numbers that did not fit 32 bits follow in an extra field, in this order. */
static bool read_extra(rk_reader r, place *p)
{
    uint64_t *const wide[] = {&p->bytes, &p->packed, &p->offset};
    while (r.left >= 4) {
        const uint64_t id = take(&r, 2), n = take(&r, 2);
        const unsigned char *body = NULL;
        if (!rk_read_bytes(&r, n, &body))
            return false;
        rk_reader inner = {body, n};
        for (size_t i = 0; id == EXTRA_ZIP64 && i < RK_COUNT(wide); i++)
            if (*wide[i] == 0xffffffff && !rk_read_u64le(&inner, wide[i]))
                return false;
    }
    return true;
}

static rk_status check_entry(const rk_map *map, const rk_zip_entry *e, const place *p,
                             rk_error *err)
{
    const int shown = e->name_bytes < NAME_SHOWN ? (int)e->name_bytes : NAME_SHOWN;
    if (p->method != 0 || (p->flags & FLAG_ENCRYPTED))
        return rk_fail(err, RK_ERR_UNSUPPORTED,
                       "%s: zip archive: entry '%.*s' is %s, expected stored as it is", map->name,
                       shown, e->name, p->method ? "compressed" : "encrypted");
    if (p->packed != p->bytes)
        return rk_fail(err, RK_ERR_FORMAT,
                       "%s: zip archive: entry '%.*s': %" PRIu64 " bytes stored as %" PRIu64,
                       map->name, shown, e->name, p->bytes, p->packed);
    return RK_OK;
}

static rk_status find_data(const rk_map *map, rk_zip_entry *e, const place *p, rk_error *err)
{
    rk_reader r = {0}, data = {0};
    if (!at(map, p->offset, LOCAL_BYTES, &r) || take(&r, 4) != LOCAL_MAGIC)
        return fail(map, "an entry's header is not where the directory says", err);
    rk_read_bytes(&r, 22, NULL);
    const uint64_t name = take(&r, 2), extra = take(&r, 2);
    const uint64_t start = p->offset + LOCAL_BYTES + name + extra;
    rk_reader own = {0};
    if (name != e->name_bytes || !at(map, p->offset + LOCAL_BYTES, name, &own) ||
        memcmp(own.p, e->name, e->name_bytes) != 0)
        return fail(map, "an entry's header has another name than the directory", err);
    if (!at(map, start, p->bytes, &data))
        return rk_fail(err, RK_ERR_FORMAT,
                       "%s: zip archive: entry '%.*s': %" PRIu64 " bytes at byte %" PRIu64
                       ", the file has %zu",
                       map->name, e->name_bytes < NAME_SHOWN ? (int)e->name_bytes : NAME_SHOWN,
                       e->name, p->bytes, start, map->size);
    e->data = data.p;
    e->bytes = data.left;
    return RK_OK;
}

static rk_status read_entry(const rk_map *map, rk_reader *r, rk_zip_entry *e, rk_error *err)
{
    place p = {0};
    const unsigned char *fixed = NULL, *name = NULL, *extra = NULL;
    if (!rk_read_bytes(r, CENTRAL_BYTES, &fixed))
        return fail(map, "its directory ends within an entry", err);
    rk_reader f = {fixed, CENTRAL_BYTES};
    if (take(&f, 4) != CENTRAL_MAGIC)
        return fail(map, "its directory holds something else than entries", err);
    take(&f, 4); /* versions */
    p.flags = (unsigned)take(&f, 2);
    p.method = (unsigned)take(&f, 2);
    take(&f, 8); /* time, checksum */
    p.packed = take(&f, 4);
    p.bytes = take(&f, 4);
    const size_t name_bytes = (size_t)take(&f, 2), extra_bytes = (size_t)take(&f, 2);
    const size_t comment_bytes = (size_t)take(&f, 2);
    take(&f, 8); /* disk, attributes */
    p.offset = take(&f, 4);
    if (!rk_read_bytes(r, name_bytes, &name) || !rk_read_bytes(r, extra_bytes, &extra) ||
        !rk_read_bytes(r, comment_bytes, NULL) || !read_extra((rk_reader){extra, extra_bytes}, &p))
        return fail(map, "its directory ends within an entry", err);
    *e = (rk_zip_entry){.name = (const char *)name, .name_bytes = name_bytes};
    const rk_status st = check_entry(map, e, &p, err);
    return st == RK_OK ? find_data(map, e, &p, err) : st;
}

static int by_name(const void *a, const void *b)
{
    const rk_zip_entry *x = a, *y = b;
    const size_t n = x->name_bytes < y->name_bytes ? x->name_bytes : y->name_bytes;
    const int c = memcmp(x->name, y->name, n);
    return c ? c : (x->name_bytes > y->name_bytes) - (x->name_bytes < y->name_bytes);
}

static rk_status read_entries(rk_zip *z, const rk_map *map, rk_reader *r, rk_error *err)
{
    const size_t n = z->n;
    rk_status st = RK_OK;
    for (size_t i = 0; i < n && st == RK_OK; i++)
        st = read_entry(map, r, &z->entries[i], err);
    if (st != RK_OK)
        return st;
    qsort(z->entries, n, sizeof *z->entries, by_name);
    for (size_t i = 1; i < n; i++)
        if (by_name(&z->entries[i - 1], &z->entries[i]) == 0)
            return fail(map, "two entries have one name", err);
    return RK_OK;
}

rk_status rk_zip_open(rk_zip *z, const rk_map *map, rk_error *err)
{
    directory d = {0};
    rk_reader r = {0};
    *z = (rk_zip){0};
    rk_status st = read_end(map, &d, err);
    if (st != RK_OK)
        return st;
    if (!at(map, d.offset, d.bytes, &r))
        return fail(map, "its directory does not lie in the file", err);
    if (d.count > d.bytes / CENTRAL_BYTES)
        return fail(map, "its directory is too short for its entries", err);
    z->n = (size_t)d.count;
    z->entries = calloc(z->n + 1, sizeof *z->entries);
    if (!z->entries)
        return rk_fail(err, RK_ERR_NOMEM, "%s: out of memory for its entries", map->name);
    st = read_entries(z, map, &r, err);
    if (st != RK_OK)
        rk_zip_close(z);
    return st;
}

void rk_zip_close(rk_zip *z)
{
    free(z->entries);
    *z = (rk_zip){0};
}

const rk_zip_entry *rk_zip_find(const rk_zip *z, const char *name, size_t name_bytes)
{
    const rk_zip_entry key = {.name = name, .name_bytes = name_bytes};
    return z->n ? bsearch(&key, z->entries, z->n, sizeof key, by_name) : NULL;
}
