/* tensor_file.c: the table of containers, and the table of tensors that each of them fills.
 *
 * Rows are added in the order of the file; an index sorted by name answers look-ups and finds
 * duplicates. A hash table would look up faster but can be filled with colliding names. */
#include "io/tensor_file.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/num.h"
#include "io/impostor.h"
#include "io/shards.h"

enum { PROBE_BYTES = 4096, NAME_SHOWN = 80, ALIGN = 64, COPY_PIECE = 4 << 20 };

/* In the order in which they are tried; safetensors, which has no magic number, comes last. */
static const rk_file_format *const formats[] = {&rk_format_pth, &rk_format_old_pth, &rk_format_gguf,
                                                &rk_format_rwkvcpp, &rk_format_safetensors};

/* Memory of rk_file_alloc. */
typedef struct owned {
    struct owned *next;
    void *data;
} owned;

struct rk_file {
    const char *container;
    rk_map map; /* without data where the file consists of other files (shards) */
    char *name;
    rk_file_tensor *tensors;
    const rk_file_tensor **sorted; /* by name, once finished */
    int64_t n_tensors, tensors_room;
    rk_pair *meta;
    int64_t n_meta, meta_room;
    rk_file_raw *raw;
    int64_t n_raw, raw_room;
    rk_arena strings; /* names, keys and values */
    owned *memory;
    rk_file **parts;
    int64_t n_parts, parts_room;
};

/* ---- building ---- */

rk_status rk_file_new(rk_file **out, const char *container, const char *name, rk_error *err)
{
    rk_file *f = calloc(1, sizeof *f);
    if (f) {
        f->container = container;
        f->name = strdup(name);
    }
    if (!f || !f->name || rk_arena_init(&f->strings, RK_ARENA_GROWING, 4096, err) != RK_OK) {
        rk_file_close(f);
        return rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", name);
    }
    *out = f;
    return RK_OK;
}

void rk_file_close(rk_file *f)
{
    if (!f)
        return;
    for (int64_t i = 0; i < f->n_parts; i++)
        rk_file_close(f->parts[i]);
    for (owned *b = f->memory, *next; b; b = next) {
        next = b->next;
        free(b->data);
        free(b);
    }
    rk_arena_deinit(&f->strings);
    rk_map_close(&f->map);
    free(f->parts);
    free(f->raw);
    free(f->meta);
    free(f->sorted);
    free(f->tensors);
    free(f->name);
    free(f);
}

/* Room for one more element of an array of `size` bytes an element. */
static rk_status grow(const rk_file *f, void **array, int64_t n, int64_t *room, size_t size,
                      rk_error *err)
{
    if (n < *room)
        return RK_OK;
    const int64_t more = rk_max_i64(2 * *room, 16);
    void *p = realloc(*array, (size_t)more * size);
    if (!p)
        return rk_fail(err, RK_ERR_NOMEM, "%s: out of memory for its tables", f->name);
    *array = p;
    *room = more;
    return RK_OK;
}

rk_status rk_file_own(rk_file *f, rk_file *part, rk_error *err)
{
    void *array = f->parts;
    const rk_status st = grow(f, &array, f->n_parts, &f->parts_room, sizeof *f->parts, err);
    f->parts = array;
    if (st == RK_OK)
        f->parts[f->n_parts++] = part;
    return st;
}

static const char *keep_string(rk_file *f, const char *s, rk_error *err)
{
    const size_t n = strlen(s) + 1;
    char *copy = rk_arena_alloc(&f->strings, n);
    if (!copy) {
        rk_fail(err, RK_ERR_NOMEM, "%s: out of memory for its names", f->name);
        return NULL;
    }
    return memcpy(copy, s, n);
}

bool rk_file_shape_bytes(rk_dtype dtype, int n_dims, const int64_t *dims, size_t *bytes)
{
    const int64_t block = rk_dtype_block(dtype);
    size_t n = rk_dtype_bytes(dtype);
    bool fits = true, zero = false;
    if (block > 1 && (n_dims == 0 || dims[n_dims - 1] % block != 0))
        return false;
    for (int d = 0; d < n_dims; d++) {
        const int64_t size = d == n_dims - 1 ? dims[d] / block : dims[d];
        zero = zero || size == 0;
        fits = fits && size >= 0 && rk_mul_ok(n, (size_t)size, &n);
    }
    *bytes = zero ? 0 : n;
    return fits || zero;
}

/* The dimensions as they lie in memory. */
static void stored_dims(const rk_file_tensor *t, int64_t *dims)
{
    const int n = t->n_dims;
    memcpy(dims, t->dims, sizeof t->dims);
    if (t->exchanged && n >= 2) {
        dims[n - 1] = t->dims[n - 2];
        dims[n - 2] = t->dims[n - 1];
    }
}

static rk_status check_row(const rk_file *f, const rk_file_tensor *t, rk_error *err)
{
    int64_t dims[RK_FILE_DIMS_MAX];
    size_t bytes = 0;
    stored_dims(t, dims);
    if (t->name[0] == '\0')
        return rk_fail(err, RK_ERR_FORMAT, "%s: a tensor without a name", f->name);
    for (const char *c = t->name; *c; c++) /* names appear in error messages */
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            return rk_fail(err, RK_ERR_FORMAT, "%s: control character 0x%02x in a tensor's name",
                           f->name, (unsigned)(unsigned char)*c);
    if (!rk_file_shape_bytes(t->dtype, t->n_dims, dims, &bytes))
        return rk_fail(err, RK_ERR_FORMAT,
                       "%s: tensor '%.*s': its shape overflows or is no whole number of blocks",
                       f->name, NAME_SHOWN, t->name);
    if (bytes != t->bytes)
        return rk_fail(err, RK_ERR_FORMAT,
                       "%s: tensor '%.*s': found %zu bytes, its %s shape needs %zu", f->name,
                       NAME_SHOWN, t->name, t->bytes, rk_dtype_name(t->dtype), bytes);
    return RK_OK;
}

rk_status rk_file_add(rk_file *f, const rk_file_tensor *t, rk_error *err)
{
    void *array = f->tensors;
    rk_status st = check_row(f, t, err);
    if (st == RK_OK && f->n_tensors == RK_FILE_TENSORS_MAX)
        st = rk_fail(err, RK_ERR_FORMAT, "%s: more than %d tensors", f->name, RK_FILE_TENSORS_MAX);
    if (st == RK_OK)
        st = grow(f, &array, f->n_tensors, &f->tensors_room, sizeof *f->tensors, err);
    f->tensors = array;
    if (st != RK_OK)
        return st;
    rk_file_tensor *row = &f->tensors[f->n_tensors];
    *row = *t;
    row->name = keep_string(f, t->name, err);
    f->n_tensors += row->name != NULL;
    return row->name ? RK_OK : RK_ERR_NOMEM;
}

void rk_file_remove(rk_file *f, const char *name)
{
    int64_t kept = 0;
    for (int64_t i = 0; i < f->n_tensors; i++)
        if (strcmp(f->tensors[i].name, name) != 0)
            f->tensors[kept++] = f->tensors[i];
    f->n_tensors = kept;
}

rk_status rk_file_add_meta(rk_file *f, const char *key, const char *value, rk_error *err)
{
    void *array = f->meta;
    if (f->n_meta == RK_FILE_META_MAX)
        return rk_fail(err, RK_ERR_FORMAT, "%s: more than %d pairs of metadata", f->name,
                       RK_FILE_META_MAX);
    const rk_status st = grow(f, &array, f->n_meta, &f->meta_room, sizeof *f->meta, err);
    f->meta = array;
    if (st != RK_OK)
        return st;
    rk_pair *pair = &f->meta[f->n_meta];
    *pair = (rk_pair){keep_string(f, key, err), keep_string(f, value, err)};
    f->n_meta += pair->key && pair->value;
    return pair->key && pair->value ? RK_OK : RK_ERR_NOMEM;
}

rk_status rk_file_add_raw(rk_file *f, const rk_file_raw *raw, rk_error *err)
{
    void *array = f->raw;
    if (f->n_raw == RK_FILE_RAW_MAX)
        return rk_fail(err, RK_ERR_FORMAT, "%s: more than %d pairs of metadata", f->name,
                       RK_FILE_RAW_MAX);
    const rk_status st = grow(f, &array, f->n_raw, &f->raw_room, sizeof *f->raw, err);
    f->raw = array;
    if (st != RK_OK)
        return st;
    const char *key = keep_string(f, raw->key, err);
    if (!key)
        return RK_ERR_NOMEM;
    f->raw[f->n_raw++] = (rk_file_raw){key, raw->data, raw->bytes};
    return RK_OK;
}

void *rk_file_alloc(rk_file *f, size_t bytes, rk_error *err)
{
    owned *b = malloc(sizeof *b);
    void *data = b && bytes <= SIZE_MAX / 2
                     ? aligned_alloc(ALIGN, rk_align_up(bytes + (bytes == 0), ALIGN))
                     : NULL;
    if (!data) {
        free(b);
        rk_fail(err, RK_ERR_NOMEM, "%s: no memory for %zu bytes of a tensor", f->name, bytes);
        return NULL;
    }
    *b = (owned){f->memory, data};
    f->memory = b;
    return data;
}

/* ---- finishing ---- */

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const rk_file_tensor *const *)a)->name,
                  (*(const rk_file_tensor *const *)b)->name);
}

static int by_place(const void *a, const void *b)
{
    const rk_file_tensor *x = *(const rk_file_tensor *const *)a;
    const rk_file_tensor *y = *(const rk_file_tensor *const *)b;
    const uintptr_t p = (uintptr_t)x->data, q = (uintptr_t)y->data;
    return p != q ? (p > q) - (p < q) : (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

/* The index, not sorted yet. */
static rk_status make_index(rk_file *f, rk_error *err)
{
    free(f->sorted);
    f->sorted = malloc(((size_t)f->n_tensors + 1) * sizeof *f->sorted);
    if (!f->sorted)
        return rk_fail(err, RK_ERR_NOMEM, "%s: out of memory for its index", f->name);
    for (int64_t i = 0; i < f->n_tensors; i++)
        f->sorted[i] = &f->tensors[i];
    return RK_OK;
}

rk_status rk_file_shift(rk_file *f, size_t bytes, rk_error *err)
{
    for (int64_t i = 0; i < f->n_tensors; i++)
        f->tensors[i].data = (const unsigned char *)f->tensors[i].data + bytes;
    const rk_status st = make_index(f, err);
    if (st != RK_OK)
        return st;
    qsort(f->sorted, (size_t)f->n_tensors, sizeof *f->sorted, by_place);
    for (int64_t i = 1; i < f->n_tensors; i++) {
        const rk_file_tensor *a = f->sorted[i - 1], *b = f->sorted[i];
        if ((uintptr_t)a->data + a->bytes > (uintptr_t)b->data)
            return rk_fail(err, RK_ERR_FORMAT, "%s: tensors '%.*s' and '%.*s' overlap", f->name,
                           NAME_SHOWN, a->name, NAME_SHOWN, b->name);
    }
    return RK_OK;
}

/* Elements of block formats begin with a 16-bit scale; kernels load the rest bytewise. */
static size_t alignment_of(rk_dtype t)
{
    return rk_dtype_is_blocks(t) ? sizeof(uint16_t) : rk_dtype_bytes(t);
}

static rk_status align_tensor(rk_file *f, rk_file_tensor *t, rk_error *err)
{
    if ((uintptr_t)t->data % alignment_of(t->dtype) == 0)
        return RK_OK;
    unsigned char *copy = rk_file_alloc(f, t->bytes, err);
    if (!copy)
        return RK_ERR_NOMEM;
    const unsigned char *from = t->data;
    for (size_t at = 0; at < t->bytes; at += COPY_PIECE) {
        const size_t n = t->bytes - at < COPY_PIECE ? t->bytes - at : COPY_PIECE;
        memcpy(copy + at, from + at, n);
        rk_map_drop(&f->map, from + at, n);
    }
    t->data = copy;
    return RK_OK;
}

rk_status rk_file_finish(rk_file *f, rk_error *err)
{
    rk_status st = make_index(f, err);
    if (st != RK_OK)
        return st;
    qsort(f->sorted, (size_t)f->n_tensors, sizeof *f->sorted, by_name);
    for (int64_t i = 1; i < f->n_tensors; i++)
        if (!strcmp(f->sorted[i - 1]->name, f->sorted[i]->name))
            return rk_fail(err, RK_ERR_FORMAT, "%s: tensor '%.*s' occurs twice", f->name,
                           NAME_SHOWN, f->sorted[i]->name);
    for (int64_t i = 0; i < f->n_tensors && st == RK_OK; i++)
        st = align_tensor(f, &f->tensors[i], err);
    return st;
}

/* ---- opening ---- */

static const rk_file_format *format_of(const rk_map *map)
{
    const size_t n = map->size < PROBE_BYTES ? map->size : PROBE_BYTES;
    for (size_t i = 0; i < RK_COUNT(formats); i++)
        if (formats[i]->probe(map->data, n))
            return formats[i];
    return NULL;
}

/* Takes the map over. */
static rk_status open_mapped(rk_file **out, rk_map *map, rk_error *err)
{
    const rk_file_format *format = format_of(map);
    rk_file *f = NULL;
    rk_status st = format ? rk_file_new(&f, format->name, map->name, err)
                          : rk_refuse_impostor(map->data, map->size, map->name, err);
    if (!format && st == RK_OK)
        st = rk_fail(err, RK_ERR_FORMAT, "%s: its first bytes are those of no model file",
                     map->name);
    if (st != RK_OK) {
        rk_map_close(map);
        return st;
    }
    f->map = *map;
    st = format->read(f, &f->map, err);
    if (st == RK_OK)
        st = rk_file_finish(f, err);
    if (st == RK_OK)
        *out = f;
    else
        rk_file_close(f);
    return st;
}

rk_status rk_file_open_single(rk_file **out, const char *path, rk_error *err)
{
    rk_map map;
    const rk_status st = rk_map_open(&map, path, err);
    return st == RK_OK ? open_mapped(out, &map, err) : st;
}

rk_status rk_file_open(rk_file **out, const char *path, rk_error *err)
{
    return rk_shards_is(path) ? rk_shards_open(out, path, err)
                              : rk_file_open_single(out, path, err);
}

rk_status rk_file_open_memory(rk_file **out, const void *data, size_t bytes, const char *name,
                              rk_error *err)
{
    rk_map map;
    const rk_status st = rk_map_memory(&map, data, bytes, name, err);
    return st == RK_OK ? open_mapped(out, &map, err) : st;
}

/* ---- asking ---- */

int64_t rk_file_count(const rk_file *f)
{
    return f->n_tensors;
}

const rk_file_tensor *rk_file_at(const rk_file *f, int64_t i)
{
    return &f->tensors[i];
}

const rk_file_tensor *rk_file_find(const rk_file *f, const char *name)
{
    const rk_file_tensor key = {.name = name}, *p = &key;
    const rk_file_tensor **found =
        bsearch(&p, f->sorted, (size_t)f->n_tensors, sizeof *f->sorted, by_name);
    return found ? *found : NULL;
}

const char *rk_file_meta(const rk_file *f, const char *key)
{
    for (int64_t i = 0; i < f->n_meta; i++)
        if (!strcmp(f->meta[i].key, key))
            return f->meta[i].value;
    return NULL;
}

int64_t rk_file_meta_count(const rk_file *f)
{
    return f->n_meta;
}

rk_pair rk_file_meta_at(const rk_file *f, int64_t i)
{
    return f->meta[i];
}

const rk_file_raw *rk_file_raw_find(const rk_file *f, const char *key)
{
    for (int64_t i = 0; i < f->n_raw; i++)
        if (!strcmp(f->raw[i].key, key))
            return &f->raw[i];
    return NULL;
}

int64_t rk_file_raw_count(const rk_file *f)
{
    return f->n_raw;
}

const rk_file_raw *rk_file_raw_at(const rk_file *f, int64_t i)
{
    return &f->raw[i];
}

const char *rk_file_name(const rk_file *f)
{
    return f->name;
}

bool rk_file_is_memory(const rk_file *f)
{
    return f->map.data && f->map.fd < 0;
}

const char *rk_file_container(const rk_file *f)
{
    return f->container;
}

const rk_map *rk_file_map_of(const rk_file *f, const void *data)
{
    const unsigned char *p = data;
    const rk_map *found = NULL;
    if (f->map.data && p >= f->map.data && p < f->map.data + f->map.size)
        return &f->map;
    for (int64_t i = 0; i < f->n_parts && !found; i++)
        found = rk_file_map_of(f->parts[i], data);
    return found;
}

void rk_file_drop(const rk_file *f, const void *from, size_t bytes)
{
    const rk_map *map = rk_file_map_of(f, from);
    if (map)
        rk_map_drop(map, from, bytes);
}

void rk_file_drop_around(const rk_file *f, const void *from, size_t bytes)
{
    const rk_map *map = rk_file_map_of(f, from);
    if (map)
        rk_map_drop_around(map, from, bytes);
}

rk_status rk_file_check(const rk_file *f, rk_error *err)
{
    rk_status st = f->map.data ? rk_map_check(&f->map, err) : RK_OK;
    for (int64_t i = 0; i < f->n_parts && st == RK_OK; i++)
        st = rk_file_check(f->parts[i], err);
    return st;
}

float rk_file_number(const rk_file_tensor *t, int64_t i)
{
    const char *at = (const char *)t->data + (size_t)i * rk_dtype_bytes(t->dtype);
    uint16_t half;
    float x;
    double d;
    if (t->dtype == RK_F32) {
        memcpy(&x, at, sizeof x);
        return x;
    }
    if (t->dtype == RK_F64) {
        memcpy(&d, at, sizeof d);
        return (float)d;
    }
    memcpy(&half, at, sizeof half);
    return t->dtype == RK_BF16 ? rk_bf16_to_f32(half) : rk_f16_to_f32(half);
}

bool rk_file_are_numbers(const rk_file_tensor *t, int64_t n, int64_t cols)
{
    if (!t ||
        (t->dtype != RK_F32 && t->dtype != RK_F64 && t->dtype != RK_BF16 && t->dtype != RK_F16))
        return false;
    return cols == 1 ? t->n_dims == 1 && t->dims[0] == n
                     : t->n_dims == 2 && t->dims[0] == n && t->dims[1] == cols && !t->exchanged;
}
