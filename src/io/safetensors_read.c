/* safetensors_read.c: the header is scanned once, straight into the tensor table.
 *
 * Memory is bounded by the header's length and taken before the scan: a tensor's entry has at least
 * ENTRY_BYTES_MIN bytes, and a decoded string with its NUL is no longer than its quoted form. The
 * header's grammar has a fixed depth, so nothing recurses. One array of pointers serves twice:
 * sorted by offset it shows holes and overlaps, sorted by name it finds duplicates and answers
 * look-ups. A hash table would look up faster but can be filled with colliding names. */
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "io/impostor.h"
#include "io/json_scan.h"
#include "io/reader.h"
#include "io/safetensors.h"

enum {
    HEADER_BYTES_MAX = 100 * 1000 * 1000, /* as the format's own library has it */
    ENTRY_BYTES_MIN = 50, /* "":{"dtype":"U8","shape":[],"data_offsets":[0,0]} and a comma */
    META_PAIRS_MAX = 65536,
    NAME_SHOWN = 80, /* characters of a tensor's name in an error message */
};

struct rk_st {
    rk_map map;
    const unsigned char *data; /* the byte after the header */
    size_t data_bytes;
    char *strings; /* names, keys and values, each with its NUL */
    size_t strings_used;
    rk_file_tensor *tensors;
    size_t n_tensors, n_tensors_max;
    const rk_file_tensor **sorted; /* by name once the file is open */
    rk_pair *meta;                 /* sorted by key once the file is open */
    size_t n_meta, n_meta_max;
    void *moved; /* copies of the tensors that are not aligned in the file */
};

/* Rows are the dtypes of the format; those that rk_dtype lacks have RK_DTYPE_COUNT. */
static const struct {
    char name[12];
    rk_dtype dtype;
} dtypes[] = {
    {"F32", RK_F32},
    {"F64", RK_F64},
    {"BF16", RK_BF16},
    {"F16", RK_F16},
    {"I32", RK_I32},
    {"I64", RK_I64},
    {"U8", RK_U8},
    {"BOOL", RK_DTYPE_COUNT},
    {"I8", RK_DTYPE_COUNT},
    {"I16", RK_DTYPE_COUNT},
    {"U16", RK_DTYPE_COUNT},
    {"U32", RK_DTYPE_COUNT},
    {"U64", RK_DTYPE_COUNT},
    {"C64", RK_DTYPE_COUNT},
    {"F4", RK_DTYPE_COUNT},
    {"F6_E2M3", RK_DTYPE_COUNT},
    {"F6_E3M2", RK_DTYPE_COUNT},
    {"F8_E4M3", RK_DTYPE_COUNT},
    {"F8_E5M2", RK_DTYPE_COUNT},
    {"F8_E8M0", RK_DTYPE_COUNT},
};

const char *rk_st_dtype_name(rk_dtype t)
{
    for (size_t i = 0; i < RK_COUNT(dtypes); i++)
        if (dtypes[i].dtype == t)
            return dtypes[i].name;
    return "?";
}

/* Fail where the scanner has stopped, with what it expected there. */
static rk_status fail_scan(const rk_st *f, const rk_json_scan *s, rk_error *err)
{
    const long at = (long)(s->p - f->map.data);
    if (s->p == s->end)
        return rk_fail(err, RK_ERR_FORMAT, "%s: the header ends at byte %ld, expected %s",
                       f->map.name, at, s->expected);
    return rk_fail(err, RK_ERR_FORMAT, "%s: header, byte %ld: found 0x%02x, expected %s",
                   f->map.name, at, *s->p, s->expected);
}

/* Fail with a message about a tensor: "FILE: tensor 'NAME': ...". */
static rk_status fail_tensor(const rk_st *f, const char *name, rk_status code, const char *what,
                             rk_error *err)
{
    return rk_fail(err, code, "%s: tensor '%.*s': %s", f->map.name, NAME_SHOWN, name, what);
}

/* A string of the header, decoded into f->strings and NUL-terminated. Names appear in error
 * messages, so they may hold no control characters; metadata values may, but no NUL. */
static rk_status scan_string(rk_st *f, rk_json_scan *s, bool is_name, const char **out,
                             rk_error *err)
{
    char *const to = f->strings + f->strings_used;
    size_t n;
    if (!rk_json_string(s, to, &n))
        return fail_scan(f, s, err);
    for (size_t i = 0; i < n; i++)
        if (to[i] == '\0' || (is_name && ((unsigned char)to[i] < 0x20 || to[i] == 0x7f)))
            return rk_fail(err, RK_ERR_FORMAT, "%s: header: control character 0x%02x in a string",
                           f->map.name, (unsigned char)to[i]);
    to[n] = '\0';
    f->strings_used += n + 1;
    *out = to;
    return RK_OK;
}

/* Read a name that is not kept. */
static rk_status scan_word(rk_st *f, rk_json_scan *s, const char **out, rk_error *err)
{
    const size_t used = f->strings_used;
    const rk_status st = scan_string(f, s, true, out, err);
    f->strings_used = used;
    return st;
}

static rk_status take(const rk_st *f, rk_json_scan *s, char c, rk_error *err)
{
    return rk_json_take(s, c) ? RK_OK : fail_scan(f, s, err);
}

/* Read the members of an object up to its closing brace; the opening one has been read. fn reads a
 * value. */
typedef rk_status member_fn(rk_st *f, rk_json_scan *s, const char *key, void *user, rk_error *err);

static rk_status scan_members(rk_st *f, rk_json_scan *s, bool keep_keys, member_fn *fn, void *user,
                              rk_error *err)
{
    const char *key = "";
    rk_status st;
    if (rk_json_peek_take(s, '}'))
        return RK_OK;
    do {
        st = keep_keys ? scan_string(f, s, true, &key, err) : scan_word(f, s, &key, err);
        if (st == RK_OK)
            st = take(f, s, ':', err);
        if (st == RK_OK)
            st = fn(f, s, key, user, err);
        if (st != RK_OK)
            return st;
    } while (rk_json_peek_take(s, ','));
    return take(f, s, '}', err);
}

/* ---------------------------------------------------------------------------- one tensor's entry
 */

/* What its members say; seen has a bit for each of them. */
typedef struct entry {
    rk_file_tensor *t;
    unsigned seen;
    uint64_t begin, end;
} entry;

static rk_status scan_dtype(rk_st *f, rk_json_scan *s, entry *e, rk_error *err)
{
    const char *name;
    const rk_status st = scan_word(f, s, &name, err);
    if (st != RK_OK)
        return st;
    for (size_t i = 0; i < RK_COUNT(dtypes); i++) {
        if (strcmp(name, dtypes[i].name) != 0)
            continue;
        e->t->dtype = dtypes[i].dtype;
        if (dtypes[i].dtype != RK_DTYPE_COUNT)
            return RK_OK;
        return rk_fail(err, RK_ERR_UNSUPPORTED,
                       "%s: tensor '%.*s': dtype %s is not supported (F32 F64 BF16 F16 I32 I64 U8 "
                       "are)",
                       f->map.name, NAME_SHOWN, e->t->name, name);
    }
    return rk_fail(err, RK_ERR_FORMAT, "%s: tensor '%.*s': unknown dtype '%.20s'", f->map.name,
                   NAME_SHOWN, e->t->name, name);
}

static rk_status scan_shape(rk_st *f, rk_json_scan *s, entry *e, rk_error *err)
{
    uint64_t dim;
    rk_status st = take(f, s, '[', err);
    if (st != RK_OK || rk_json_peek_take(s, ']'))
        return st;
    do {
        if (!rk_json_uint(s, &dim))
            return fail_scan(f, s, err);
        if (dim > INT64_MAX)
            return fail_tensor(f, e->t->name, RK_ERR_FORMAT, "a dimension is above 2^63 - 1", err);
        if (e->t->n_dims == RK_FILE_DIMS_MAX)
            return fail_tensor(f, e->t->name, RK_ERR_UNSUPPORTED,
                               "it has more than eight dimensions", err);
        e->t->dims[e->t->n_dims++] = (int64_t)dim;
    } while (rk_json_peek_take(s, ','));
    return take(f, s, ']', err);
}

static rk_status scan_offsets(rk_st *f, rk_json_scan *s, entry *e, rk_error *err)
{
    if (rk_json_take(s, '[') && rk_json_uint(s, &e->begin) && rk_json_take(s, ',') &&
        rk_json_uint(s, &e->end) && rk_json_take(s, ']'))
        return RK_OK;
    return fail_scan(f, s, err);
}

static rk_status scan_entry_member(rk_st *f, rk_json_scan *s, const char *key, void *user,
                                   rk_error *err)
{
    static const struct {
        const char *key;
        rk_status (*scan)(rk_st *, rk_json_scan *, entry *, rk_error *);
    } members[] = {{"dtype", scan_dtype}, {"shape", scan_shape}, {"data_offsets", scan_offsets}};
    entry *e = user;
    for (size_t i = 0; i < RK_COUNT(members); i++) {
        if (strcmp(key, members[i].key) != 0)
            continue;
        if (e->seen & 1u << i)
            return rk_fail(err, RK_ERR_FORMAT, "%s: tensor '%.*s': '%s' occurs twice", f->map.name,
                           NAME_SHOWN, e->t->name, key);
        e->seen |= 1u << i;
        return members[i].scan(f, s, e, err);
    }
    return rk_fail(err, RK_ERR_FORMAT,
                   "%s: tensor '%.*s': found '%.40s', expected dtype, shape, data_offsets",
                   f->map.name, NAME_SHOWN, e->t->name, key);
}

/* Do dtype, shape and offsets agree with each other and with the file? */
static rk_status place_tensor(const rk_st *f, const entry *e, rk_error *err)
{
    rk_file_tensor *t = e->t;
    if (e->seen != 7)
        return fail_tensor(f, t->name, RK_ERR_FORMAT, "expected dtype, shape and data_offsets",
                           err);
    if (!rk_file_shape_bytes(t->dtype, t->n_dims, t->dims, &t->bytes))
        return fail_tensor(f, t->name, RK_ERR_FORMAT, "its shape overflows", err);
    if (e->begin > e->end || e->end > f->data_bytes)
        return rk_fail(err, RK_ERR_FORMAT,
                       "%s: tensor '%.*s': data_offsets [%" PRIu64 ", %" PRIu64
                       "] do not lie in order within the %zu bytes of data",
                       f->map.name, NAME_SHOWN, t->name, e->begin, e->end, f->data_bytes);
    if (e->end - e->begin != t->bytes)
        return rk_fail(err, RK_ERR_FORMAT,
                       "%s: tensor '%.*s': data_offsets span %" PRIu64
                       " bytes, dtype and shape need %zu",
                       f->map.name, NAME_SHOWN, t->name, e->end - e->begin, t->bytes);
    t->data = f->data + e->begin;
    return RK_OK;
}

/* -------------------------------------------------------------------------------------- the header
 */

static rk_status scan_meta_pair(rk_st *f, rk_json_scan *s, const char *key, void *user,
                                rk_error *err)
{
    const char *value;
    (void)user;
    const rk_status st = scan_string(f, s, false, &value, err);
    if (st != RK_OK)
        return st;
    if (f->n_meta == META_PAIRS_MAX)
        return rk_fail(err, RK_ERR_FORMAT, "%s: __metadata__ has more than %d entries", f->map.name,
                       META_PAIRS_MAX);
    if (f->n_meta == f->n_meta_max) {
        const size_t n = f->n_meta_max ? 2 * f->n_meta_max : 16;
        rk_pair *grown = realloc(f->meta, n * sizeof *grown);
        if (!grown)
            return rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", f->map.name);
        f->meta = grown;
        f->n_meta_max = n;
    }
    f->meta[f->n_meta++] = (rk_pair){key, value};
    return RK_OK;
}

static rk_status scan_header_member(rk_st *f, rk_json_scan *s, const char *key, void *user,
                                    rk_error *err)
{
    bool *meta_seen = user;
    const bool is_meta = strcmp(key, "__metadata__") == 0;
    if (is_meta && *meta_seen)
        return rk_fail(err, RK_ERR_FORMAT, "%s: __metadata__ occurs twice", f->map.name);
    *meta_seen = *meta_seen || is_meta;
    if (is_meta && rk_json_peek_null(s))
        return RK_OK;
    rk_status st = take(f, s, '{', err);
    if (st != RK_OK)
        return st;
    if (is_meta)
        return scan_members(f, s, true, scan_meta_pair, NULL, err);
    assert(f->n_tensors < f->n_tensors_max);
    entry e = {.t = &f->tensors[f->n_tensors]};
    *e.t = (rk_file_tensor){.name = key};
    st = scan_members(f, s, false, scan_entry_member, &e, err);
    if (st == RK_OK)
        st = place_tensor(f, &e, err);
    if (st == RK_OK)
        f->n_tensors++;
    return st;
}

static rk_status scan_header(rk_st *f, const unsigned char *header, size_t n, rk_error *err)
{
    bool meta_seen = false;
    rk_json_scan s = {.p = header, .end = header + n};
    f->n_tensors_max = n / ENTRY_BYTES_MIN + 1; /* one more for an entry that proves too short */
    f->tensors = malloc(f->n_tensors_max * sizeof *f->tensors);
    f->strings = malloc(n + 1);
    if (!f->tensors || !f->strings)
        return rk_fail(err, RK_ERR_NOMEM, "%s: no memory for a header of %zu bytes", f->map.name,
                       n);
    rk_status st = take(f, &s, '{', err);
    if (st == RK_OK)
        st = scan_members(f, &s, true, scan_header_member, &meta_seen, err);
    if (st == RK_OK && !rk_json_at_end(&s))
        st = fail_scan(f, &s, err);
    return st;
}

static rk_status find_header(rk_st *f, const unsigned char **header, size_t *n, rk_error *err)
{
    uint64_t length;
    rk_reader r = {f->map.data, f->map.size};
    if (!rk_read_u64le(&r, &length))
        return rk_fail(err, RK_ERR_FORMAT, "%s: %zu bytes are too short for a safetensors file",
                       f->map.name, f->map.size);
    if (length > HEADER_BYTES_MAX || !rk_read_bytes(&r, (size_t)length, header))
        return rk_fail(err, RK_ERR_FORMAT,
                       "%s: no safetensors file: header of %" PRIu64
                       " bytes, the file has %zu left and at most %d are allowed",
                       f->map.name, length, r.left, HEADER_BYTES_MAX);
    *n = (size_t)length;
    f->data = r.p;
    f->data_bytes = r.left;
    return RK_OK;
}

/* ------------------------------------------------------------------------------- the whole's sense
 */

static int by_place(const void *a, const void *b)
{
    const rk_file_tensor *x = *(const rk_file_tensor *const *)a,
                         *y = *(const rk_file_tensor *const *)b;
    const uintptr_t xp = (uintptr_t)x->data, yp = (uintptr_t)y->data;
    /* An empty tensor comes before the one that begins where it lies. */
    return xp != yp ? (xp > yp) - (xp < yp) : (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

static int by_name(const void *a, const void *b)
{
    const rk_file_tensor *x = *(const rk_file_tensor *const *)a,
                         *y = *(const rk_file_tensor *const *)b;
    return strcmp(x->name, y->name);
}

static int by_key(const void *a, const void *b)
{
    const rk_pair *x = a, *y = b;
    return strcmp(x->key, y->key);
}

static rk_status check_coverage(const rk_st *f, rk_error *err)
{
    size_t at = 0;
    for (size_t i = 0; i < f->n_tensors; i++) {
        const rk_file_tensor *t = f->sorted[i];
        const size_t begin = (size_t)((const unsigned char *)t->data - f->data);
        if (begin != at)
            return rk_fail(err, RK_ERR_FORMAT,
                           "%s: tensor '%.*s' begins at data byte %zu, expected %zu: %s",
                           f->map.name, NAME_SHOWN, t->name, begin, at,
                           begin < at ? "it overlaps another" : "there is a hole before it");
        at += t->bytes;
    }
    if (at != f->data_bytes)
        return rk_fail(err, RK_ERR_FORMAT, "%s: tensors end at data byte %zu of %zu", f->map.name,
                       at, f->data_bytes);
    return RK_OK;
}

static rk_status check_unique(const rk_st *f, rk_error *err)
{
    for (size_t i = 1; i < f->n_tensors; i++)
        if (strcmp(f->sorted[i - 1]->name, f->sorted[i]->name) == 0)
            return fail_tensor(f, f->sorted[i]->name, RK_ERR_FORMAT, "the name occurs twice", err);
    for (size_t i = 1; i < f->n_meta; i++)
        if (strcmp(f->meta[i - 1].key, f->meta[i].key) == 0)
            return rk_fail(err, RK_ERR_FORMAT, "%s: __metadata__: '%.*s' occurs twice", f->map.name,
                           NAME_SHOWN, f->meta[i].key);
    return RK_OK;
}

static rk_status check_table(rk_st *f, rk_error *err)
{
    f->sorted = malloc((f->n_tensors + 1) * sizeof *f->sorted);
    if (!f->sorted)
        return rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", f->map.name);
    for (size_t i = 0; i < f->n_tensors; i++)
        f->sorted[i] = &f->tensors[i];
    qsort(f->sorted, f->n_tensors, sizeof *f->sorted, by_place);
    const rk_status st = check_coverage(f, err);
    if (st != RK_OK)
        return st;
    qsort(f->sorted, f->n_tensors, sizeof *f->sorted, by_name);
    if (f->n_meta > 0)
        qsort(f->meta, f->n_meta, sizeof *f->meta, by_key);
    return check_unique(f, err);
}

static bool is_aligned(const rk_file_tensor *t)
{
    return (uintptr_t)t->data % rk_dtype_bytes(t->dtype) == 0;
}

/* Files whose header was not padded, or that mix element sizes, hold tensors which no pointer of
 * their type may point at. Those are copied once. */
static rk_status align_tensors(rk_st *f, rk_error *err)
{
    size_t bytes = 0, used = 0;
    for (size_t i = 0; i < f->n_tensors; i++)
        if (!is_aligned(&f->tensors[i]))
            bytes += rk_align_up(f->tensors[i].bytes, sizeof(double));
    if (bytes == 0)
        return RK_OK;
    f->moved = malloc(bytes);
    if (!f->moved)
        return rk_fail(err, RK_ERR_NOMEM, "%s: no memory to align %zu bytes of tensors",
                       f->map.name, bytes);
    for (size_t i = 0; i < f->n_tensors; i++) {
        rk_file_tensor *t = &f->tensors[i];
        if (is_aligned(t))
            continue;
        t->data = memcpy((char *)f->moved + used, t->data, t->bytes);
        used += rk_align_up(t->bytes, sizeof(double));
    }
    return RK_OK;
}

/* ---- public calls ---- */

static rk_status read_tables(rk_st *f, rk_error *err)
{
    const unsigned char *header = NULL;
    size_t n = 0;
    rk_status st = find_header(f, &header, &n, err);
    if (st == RK_OK)
        st = scan_header(f, header, n, err);
    return st == RK_OK ? check_table(f, err) : st;
}

static void free_tables(rk_st *f)
{
    free(f->strings);
    free(f->tensors);
    free(f->sorted);
    free(f->meta);
    free(f->moved);
}

/* Takes ownership of the map. */
static rk_status open_mapped(rk_st **out, rk_map *map, rk_error *err)
{
    rk_st *f = calloc(1, sizeof *f);
    if (!f) {
        const rk_status st = rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", map->name);
        rk_map_close(map);
        return st;
    }
    f->map = *map;
    rk_status st = read_tables(f, err);
    if (st == RK_ERR_FORMAT) /* perhaps it is no such file at all */
        rk_refuse_impostor(f->map.data, f->map.size, f->map.name, err);
    if (st == RK_OK)
        st = align_tensors(f, err);
    if (st == RK_OK)
        *out = f;
    else
        rk_st_close(f);
    return st;
}

rk_status rk_st_open(rk_st **out, const char *path, rk_error *err)
{
    rk_map map;
    const rk_status st = rk_map_open(&map, path, err);
    return st == RK_OK ? open_mapped(out, &map, err) : st;
}

rk_status rk_st_open_memory(rk_st **out, const void *data, size_t bytes, const char *name,
                            rk_error *err)
{
    rk_map map;
    const rk_status st = rk_map_memory(&map, data, bytes, name, err);
    return st == RK_OK ? open_mapped(out, &map, err) : st;
}

void rk_st_close(rk_st *f)
{
    if (!f)
        return;
    rk_map_close(&f->map);
    free_tables(f);
    free(f);
}

int64_t rk_st_count(const rk_st *f)
{
    return (int64_t)f->n_tensors;
}

const rk_file_tensor *rk_st_at(const rk_st *f, int64_t i)
{
    return &f->tensors[i];
}

const rk_file_tensor *rk_st_find(const rk_st *f, const char *name)
{
    const rk_file_tensor key = {.name = name}, *p = &key;
    const rk_file_tensor **found = bsearch(&p, f->sorted, f->n_tensors, sizeof *f->sorted, by_name);
    return found ? *found : NULL;
}

const char *rk_st_meta(const rk_st *f, const char *key)
{
    const rk_pair wanted = {.key = key};
    const rk_pair *found =
        f->n_meta ? bsearch(&wanted, f->meta, f->n_meta, sizeof *f->meta, by_key) : NULL;
    return found ? found->value : NULL;
}

int64_t rk_st_meta_count(const rk_st *f)
{
    return (int64_t)f->n_meta;
}

rk_pair rk_st_meta_at(const rk_st *f, int64_t i)
{
    return f->meta[i];
}

const char *rk_st_name(const rk_st *f)
{
    return f->map.name;
}

rk_status rk_st_check(const rk_st *f, rk_error *err)
{
    return rk_map_check(&f->map, err);
}

/* ---- as a container ---- */

/* Eight bytes of a length that a header may have, and the header's brace, perhaps behind spaces. */
static bool probe(const unsigned char *bytes, size_t n)
{
    rk_reader r = {bytes, n};
    uint64_t length = 0;
    if (!rk_read_u64le(&r, &length) || length > HEADER_BYTES_MAX)
        return false;
    rk_json_scan s = {r.p, r.p + r.left, NULL};
    return rk_json_peek_take(&s, '{');
}

static rk_status add_all(rk_file *f, const rk_st *from, rk_error *err)
{
    rk_status st = RK_OK;
    for (size_t i = 0; i < from->n_tensors && st == RK_OK; i++)
        st = rk_file_add(f, &from->tensors[i], err);
    for (size_t i = 0; i < from->n_meta && st == RK_OK; i++)
        st = rk_file_add_meta(f, from->meta[i].key, from->meta[i].value, err);
    return st;
}

static rk_status read_container(rk_file *f, const rk_map *map, rk_error *err)
{
    /* The map stays f's; tensors that are not aligned are copied by f. */
    rk_st from = {.map = *map};
    rk_status st = read_tables(&from, err);
    if (st == RK_OK)
        st = add_all(f, &from, err);
    free_tables(&from);
    return st;
}

const rk_file_format rk_format_safetensors = {"safetensors", probe, read_container};
