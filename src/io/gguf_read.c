/* gguf_read.c: the container of llama.cpp (ggml-org/ggml, docs/gguf.md), versions 2 and 3.
 *
 * Counts and lengths are 64 bits wide and may be hostile: nothing is allocated according to them,
 * every item must be present before the next one is read, and every iteration of a loop consumes
 * bytes of the reader. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "io/gguf.h"
#include "io/reader.h"

enum {
    ALIGN_DEFAULT = 32,
    ALIGN_MAX = 1 << 16,
    DIMS_MAX = 4,
    KEY_MAX = 255,
    NAME_MAX_BYTES = 127,
    TEXT_MAX = 1 << 20, /* of a metadata string that is kept; tokenizers sit in arrays */
};

/* ggml's numbers. Where rk_dtype is RK_DTYPE_COUNT the type is known by name only. */
static const struct {
    const char *name;
    rk_dtype dtype;
} types[] = {
    [0] = {"F32", RK_F32},
    [1] = {"F16", RK_F16},
    [2] = {"Q4_0", RK_Q4_0},
    [3] = {"Q4_1", RK_Q4_1},
    [6] = {"Q5_0", RK_Q5_0},
    [7] = {"Q5_1", RK_Q5_1},
    [8] = {"Q8_0", RK_Q8_0},
    [9] = {"Q8_1", RK_DTYPE_COUNT},
    [10] = {"Q2_K", RK_Q2_K},
    [11] = {"Q3_K", RK_Q3_K},
    [12] = {"Q4_K", RK_Q4_K},
    [13] = {"Q5_K", RK_Q5_K},
    [14] = {"Q6_K", RK_Q6_K},
    [15] = {"Q8_K", RK_DTYPE_COUNT},
    [16] = {"IQ2_XXS", RK_DTYPE_COUNT},
    [17] = {"IQ2_XS", RK_DTYPE_COUNT},
    [18] = {"IQ3_XXS", RK_DTYPE_COUNT},
    [19] = {"IQ1_S", RK_DTYPE_COUNT},
    [20] = {"IQ4_NL", RK_DTYPE_COUNT},
    [21] = {"IQ3_S", RK_DTYPE_COUNT},
    [22] = {"IQ2_S", RK_DTYPE_COUNT},
    [23] = {"IQ4_XS", RK_DTYPE_COUNT},
    [24] = {"I8", RK_DTYPE_COUNT},
    [25] = {"I16", RK_DTYPE_COUNT},
    [26] = {"I32", RK_I32},
    [27] = {"I64", RK_I64},
    [28] = {"F64", RK_F64},
    [29] = {"IQ1_M", RK_DTYPE_COUNT},
    [30] = {"BF16", RK_BF16},
    [34] = {"TQ1_0", RK_DTYPE_COUNT},
    [35] = {"TQ2_0", RK_DTYPE_COUNT},
    [39] = {"MXFP4", RK_DTYPE_COUNT},
    [40] = {"NVFP4", RK_DTYPE_COUNT},
    [41] = {"Q1_0", RK_DTYPE_COUNT},
    [42] = {"Q2_0", RK_DTYPE_COUNT},
};

uint32_t rk_gguf_type(rk_dtype t)
{
    for (uint32_t i = 0; i < RK_COUNT(types); i++)
        if (types[i].name && types[i].dtype == t)
            return i;
    return UINT32_MAX;
}

/* Metadata types by their number: bytes of a value, and how it is written in decimal. */
typedef enum kind { UNSIGNED, SIGNED, REAL, BOOLEAN, STRING, ARRAY } kind;
static const struct {
    size_t bytes;
    kind kind;
} values[] = {{1, UNSIGNED}, {1, SIGNED}, {2, UNSIGNED}, {2, SIGNED}, {4, UNSIGNED},
              {4, SIGNED},   {4, REAL},   {1, BOOLEAN},  {0, STRING}, {0, ARRAY},
              {8, UNSIGNED}, {8, SIGNED}, {8, REAL}};

typedef struct gguf {
    rk_file *file;
    const rk_map *map;
    rk_reader r;
    uint64_t n_tensors, n_pairs;
    size_t alignment;
} gguf;

static rk_status fail_cut(const gguf *g, const char *what, rk_error *err)
{
    return rk_fail(err, RK_ERR_FORMAT, "%s: the file ends within %s", rk_file_name(g->file), what);
}

/* A string's bytes where they lie. */
static bool read_string(rk_reader *r, const unsigned char **bytes, size_t *n)
{
    uint64_t length = 0;
    if (!rk_read_u64le(r, &length) || length > r->left)
        return false;
    *n = (size_t)length;
    return rk_read_bytes(r, *n, bytes);
}

/* A string as text of at most max bytes, without NULs. */
static rk_status read_text(gguf *g, size_t max, const char *what, char *out, rk_error *err)
{
    const unsigned char *bytes = NULL;
    size_t n = 0;
    if (!read_string(&g->r, &bytes, &n))
        return fail_cut(g, what, err);
    if (n > max || memchr(bytes, 0, n))
        return rk_fail(err, RK_ERR_FORMAT, "%s: %s has %zu bytes or a NUL, expected at most %zu",
                       rk_file_name(g->file), what, n, max);
    memcpy(out, bytes, n);
    out[n] = '\0';
    return RK_OK;
}

bool rk_gguf_array_has(const rk_file_raw *raw, const char *s)
{
    const unsigned char *bytes = NULL;
    uint32_t array = 0, type = 0;
    uint64_t n = 0;
    size_t length = 0;
    rk_reader r = raw ? (rk_reader){raw->data, raw->bytes} : (rk_reader){0};
    if (!rk_read_u32le(&r, &array) || array != RK_GGUF_ARRAY || !rk_read_u32le(&r, &type) ||
        type != RK_GGUF_STRING || !rk_read_u64le(&r, &n))
        return false;
    while (read_string(&r, &bytes, &length))
        if (length == strlen(s) && !memcmp(bytes, s, length))
            return true;
    return false;
}

/* ---- metadata ---- */

static rk_status skip_array(gguf *g, const char *key, rk_error *err)
{
    uint32_t type = 0;
    uint64_t n = 0, bytes = 0;
    if (!rk_read_u32le(&g->r, &type) || !rk_read_u64le(&g->r, &n))
        return fail_cut(g, "an array", err);
    if (type >= RK_COUNT(values) || values[type].kind == ARRAY)
        return rk_fail(err, RK_ERR_FORMAT,
                       "%s: key '%s': an array of type %" PRIu32 ", expected numbers or strings",
                       rk_file_name(g->file), key, type);
    if (values[type].kind != STRING) {
        if (!rk_mul_ok(n, values[type].bytes, &bytes) || !rk_read_bytes(&g->r, bytes, NULL))
            return fail_cut(g, "an array", err);
        return RK_OK;
    }
    for (uint64_t i = 0; i < n; i++) {
        const unsigned char *text = NULL;
        size_t length = 0;
        if (!read_string(&g->r, &text, &length))
            return fail_cut(g, "an array of strings", err);
    }
    return RK_OK;
}

static rk_status read_number(gguf *g, const char *key, uint32_t type, rk_error *err)
{
    char text[64];
    uint64_t bits = 0;
    const size_t bytes = values[type].bytes;
    if (!rk_read_uint_le(&g->r, bytes, &bits))
        return fail_cut(g, "a value", err);
    const int unused = 64 - 8 * (int)bytes;
    if (values[type].kind == SIGNED) { /* extend the sign */
        const uint64_t sign = UINT64_C(1) << (8 * bytes - 1);
        snprintf(text, sizeof text, "%" PRId64, (int64_t)((bits ^ sign) - sign));
    } else if (values[type].kind == REAL && unused == 0) {
        double x;
        memcpy(&x, &bits, sizeof x);
        snprintf(text, sizeof text, "%.17g", x);
    } else if (values[type].kind == REAL) {
        const uint32_t half = (uint32_t)bits;
        float x;
        memcpy(&x, &half, sizeof x);
        snprintf(text, sizeof text, "%.9g", (double)x);
    } else {
        snprintf(text, sizeof text, "%" PRIu64, bits);
    }
    return rk_file_add_meta(g->file, key, text, err);
}

/* A string that is kept is short; a longer one, or one with a NUL, is passed over. */
static rk_status read_string_value(gguf *g, const char *key, rk_error *err)
{
    const unsigned char *bytes = NULL;
    size_t n = 0;
    if (!read_string(&g->r, &bytes, &n))
        return fail_cut(g, "a string", err);
    if (n > TEXT_MAX || memchr(bytes, 0, n))
        return RK_OK;
    char *text = rk_file_alloc(g->file, n + 1, err);
    if (!text)
        return RK_ERR_NOMEM;
    memcpy(text, bytes, n);
    text[n] = '\0';
    return rk_file_add_meta(g->file, key, text, err);
}

static rk_status read_pair(gguf *g, rk_error *err)
{
    char key[KEY_MAX + 1];
    uint32_t type = 0;
    rk_status st = read_text(g, KEY_MAX, "a key", key, err);
    if (st != RK_OK)
        return st;
    if (!rk_read_u32le(&g->r, &type))
        return fail_cut(g, "a value's type", err);
    if (type >= RK_COUNT(values))
        return rk_fail(err, RK_ERR_FORMAT,
                       "%s: key '%s': a value of type %" PRIu32 ", expected 0 to %zu",
                       rk_file_name(g->file), key, type, RK_COUNT(values) - 1);
    if (rk_file_raw_find(g->file, key))
        return rk_fail(err, RK_ERR_FORMAT, "%s: key '%s' occurs twice", rk_file_name(g->file), key);
    const unsigned char *const begin = g->r.p - sizeof type;
    if (values[type].kind == STRING)
        st = read_string_value(g, key, err);
    else if (values[type].kind == ARRAY)
        st = skip_array(g, key, err);
    else
        st = read_number(g, key, type, err);
    const rk_file_raw raw = {key, begin, (size_t)(g->r.p - begin)};
    return st == RK_OK ? rk_file_add_raw(g->file, &raw, err) : st;
}

static rk_status read_alignment(gguf *g, rk_error *err)
{
    const char *text = rk_file_meta(g->file, "general.alignment");
    int64_t n = ALIGN_DEFAULT;
    if (text && (sscanf(text, "%" SCNd64, &n) != 1 || n < 1 || n > ALIGN_MAX || (n & (n - 1))))
        return rk_fail(err, RK_ERR_FORMAT,
                       "%s: general.alignment is '%.32s', expected a power of two from 1 to %d",
                       rk_file_name(g->file), text, ALIGN_MAX);
    g->alignment = (size_t)n;
    return RK_OK;
}

/* One file of several, which llama-gguf-split makes, lacks tensors of the others. */
static rk_status refuse_split(const gguf *g, rk_error *err)
{
    const char *count = rk_file_meta(g->file, "split.count");
    const char *number = rk_file_meta(g->file, "split.no");
    if (!count || strtol(count, NULL, 10) <= 1)
        return RK_OK;
    return rk_fail(err, RK_ERR_UNSUPPORTED,
                   "%s: file %ld of a model in %.8s; llama-gguf-split --merge makes one of them",
                   rk_file_name(g->file), (number ? strtol(number, NULL, 10) : 0) + 1, count);
}

/* ---- tensors ---- */

static rk_status read_shape(gguf *g, rk_file_tensor *t, rk_error *err)
{
    uint32_t n = 0;
    if (!rk_read_u32le(&g->r, &n))
        return fail_cut(g, "a tensor's shape", err);
    if (n < 1 || n > DIMS_MAX)
        return rk_fail(err, RK_ERR_FORMAT,
                       "%s: tensor '%s' has %" PRIu32 " dimensions, expected 1 to %d",
                       rk_file_name(g->file), t->name, n, DIMS_MAX);
    t->n_dims = (int)n;
    for (uint32_t d = 0; d < n; d++) {
        uint64_t size = 0;
        if (!rk_read_u64le(&g->r, &size))
            return fail_cut(g, "a tensor's shape", err);
        if (size > INT64_MAX)
            return rk_fail(err, RK_ERR_FORMAT, "%s: tensor '%s' has a dimension of %" PRIu64,
                           rk_file_name(g->file), t->name, size);
        t->dims[n - 1 - d] = (int64_t)size;
    }
    return RK_OK;
}

static rk_status read_type(gguf *g, rk_file_tensor *t, rk_error *err)
{
    uint32_t type = 0;
    if (!rk_read_u32le(&g->r, &type))
        return fail_cut(g, "a tensor's type", err);
    const char *name = type < RK_COUNT(types) ? types[type].name : NULL;
    if (!name)
        return rk_fail(err, RK_ERR_FORMAT,
                       "%s: tensor '%s' is of type %" PRIu32 ", which ggml does not have",
                       rk_file_name(g->file), t->name, type);
    if (types[type].dtype == RK_DTYPE_COUNT)
        return rk_fail(err, RK_ERR_UNSUPPORTED, "%s: tensor '%s' is of type %s, which is not read",
                       rk_file_name(g->file), t->name, name);
    t->dtype = types[type].dtype;
    if (!rk_file_shape_bytes(t->dtype, t->n_dims, t->dims, &t->bytes))
        return rk_fail(err, RK_ERR_FORMAT,
                       "%s: tensor '%s': its shape overflows or is no whole number of blocks of %s",
                       rk_file_name(g->file), t->name, name);
    return RK_OK;
}

/* Data begin behind the last tensor's entry, so offsets are kept in `data` until then. */
static rk_status read_tensor(gguf *g, rk_error *err)
{
    char name[NAME_MAX_BYTES + 1];
    rk_file_tensor t = {.name = name};
    uint64_t offset = 0;
    rk_status st = read_text(g, NAME_MAX_BYTES, "a tensor's name", name, err);
    if (st == RK_OK)
        st = read_shape(g, &t, err);
    if (st == RK_OK)
        st = read_type(g, &t, err);
    if (st != RK_OK)
        return st;
    if (!rk_read_u64le(&g->r, &offset))
        return fail_cut(g, "a tensor's offset", err);
    if (offset % g->alignment != 0 || offset > g->map->size || t.bytes > g->map->size - offset)
        return rk_fail(err, RK_ERR_FORMAT,
                       "%s: tensor '%s': %zu bytes at offset %" PRIu64
                       " of the data, expected a multiple of %zu within the file",
                       rk_file_name(g->file), name, t.bytes, offset, g->alignment);
    t.data = g->map->data + offset;
    return rk_file_add(g->file, &t, err);
}

static rk_status place_tensors(gguf *g, rk_error *err)
{
    const size_t header = g->map->size - g->r.left, start = rk_align_up(header, g->alignment);
    const size_t bytes = start < g->map->size ? g->map->size - start : 0;
    for (int64_t i = 0; i < rk_file_count(g->file); i++) {
        const rk_file_tensor *t = rk_file_at(g->file, i);
        const size_t offset = (size_t)((const unsigned char *)t->data - g->map->data);
        if (offset > bytes || t->bytes > bytes - offset)
            return rk_fail(err, RK_ERR_FORMAT,
                           "%s: tensor '%s': %zu bytes at offset %zu of the data, which has %zu",
                           rk_file_name(g->file), t->name, t->bytes, offset, bytes);
    }
    return rk_file_shift(g->file, start, err);
}

static rk_status read_header(gguf *g, rk_error *err)
{
    uint32_t magic = 0, version = 0;
    rk_read_u32le(&g->r, &magic);
    if (!rk_read_u32le(&g->r, &version))
        return fail_cut(g, "its header", err);
    if (version != 2 && version != 3)
        return rk_fail(err, RK_ERR_UNSUPPORTED, "%s: GGUF version %" PRIu32 "%s, expected 2 or 3",
                       rk_file_name(g->file), version,
                       (version & 0xffff) == 0 && version ? " (big-endian?)" : "");
    if (!rk_read_u64le(&g->r, &g->n_tensors) || !rk_read_u64le(&g->r, &g->n_pairs))
        return fail_cut(g, "its header", err);
    return RK_OK;
}

static rk_status read_container(rk_file *f, const rk_map *map, rk_error *err)
{
    gguf g = {.file = f, .map = map, .r = {map->data, map->size}, .alignment = ALIGN_DEFAULT};
    rk_status st = read_header(&g, err);
    for (uint64_t i = 0; i < g.n_pairs && st == RK_OK; i++)
        st = read_pair(&g, err);
    if (st == RK_OK)
        st = read_alignment(&g, err);
    if (st == RK_OK)
        st = refuse_split(&g, err);
    for (uint64_t i = 0; i < g.n_tensors && st == RK_OK; i++)
        st = read_tensor(&g, err);
    return st == RK_OK ? place_tensors(&g, err) : st;
}

static bool probe(const unsigned char *bytes, size_t n)
{
    return n >= 4 && !memcmp(bytes, "GGUF", 4);
}

const rk_file_format rk_format_gguf = {"gguf", probe, read_container};
