/* rwkvcpp_read.c: the container of RWKV/rwkv.cpp (docs/FILE_FORMAT.md there).
 *
 * Six 32-bit numbers, then records up to the end of the file: dimensions (fastest first), name,
 * data; nothing is aligned. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "io/reader.h"
#include "io/tensor_file.h"

enum {
    MAGIC = 0x67676d66, /* "ggmf" */
    VERSION_PLAIN = 100,
    VERSION_BLOCKS = 101,
    DIMS_MAX = 3,
    NAME_MAX_BYTES = 256,
};

/* By the format's number; those that it has dropped or never wrote have RK_DTYPE_COUNT. */
static const rk_dtype types[] = {RK_F32,         RK_F16,         RK_Q4_0, RK_Q4_1, RK_DTYPE_COUNT,
                                 RK_DTYPE_COUNT, RK_DTYPE_COUNT, RK_Q5_0, RK_Q5_1, RK_Q8_0};

typedef struct record {
    uint32_t n_dims, name_bytes, type;
} record;

static rk_status fail_cut(const rk_file *f, const rk_map *map, const rk_reader *r, const char *what,
                          rk_error *err)
{
    return rk_fail(err, RK_ERR_FORMAT, "%s: the file ends at byte %zu within %s", rk_file_name(f),
                   map->size, r->left ? what : "a record");
}

static rk_status read_dims(const rk_file *f, rk_reader *r, const record *rec, rk_file_tensor *t,
                           rk_error *err)
{
    t->n_dims = (int)rec->n_dims;
    for (uint32_t d = 0; d < rec->n_dims; d++) {
        uint32_t size = 0;
        if (!rk_read_u32le(r, &size) || size == 0 || size > INT32_MAX)
            return rk_fail(err, RK_ERR_FORMAT,
                           "%s: a tensor's dimension is %" PRIu32 ", expected 1 to %d",
                           rk_file_name(f), size, INT32_MAX);
        t->dims[rec->n_dims - 1 - d] = size;
    }
    return RK_OK;
}

static rk_status check_record(const rk_file *f, const record *rec, uint32_t version, rk_error *err)
{
    if (rec->n_dims < 1 || rec->n_dims > DIMS_MAX)
        return rk_fail(err, RK_ERR_FORMAT,
                       "%s: a tensor of %" PRIu32 " dimensions, expected 1 to %d", rk_file_name(f),
                       rec->n_dims, DIMS_MAX);
    if (rec->name_bytes < 1 || rec->name_bytes > NAME_MAX_BYTES)
        return rk_fail(err, RK_ERR_FORMAT, "%s: a name of %" PRIu32 " bytes, expected 1 to %d",
                       rk_file_name(f), rec->name_bytes, NAME_MAX_BYTES);
    if (rec->type >= RK_COUNT(types) || types[rec->type] == RK_DTYPE_COUNT)
        return rk_fail(err, RK_ERR_UNSUPPORTED,
                       "%s: a tensor of data type %" PRIu32 ", expected 0-3 or 7-9",
                       rk_file_name(f), rec->type);
    if (rk_dtype_is_blocks(types[rec->type]) && version != VERSION_BLOCKS)
        return rk_fail(err, RK_ERR_FORMAT,
                       "%s: %s data in a file of version %" PRIu32 ", expected %d", rk_file_name(f),
                       rk_dtype_name(types[rec->type]), version, VERSION_BLOCKS);
    return RK_OK;
}

static rk_status read_record(rk_file *f, const rk_map *map, rk_reader *r, uint32_t version,
                             rk_error *err)
{
    record rec;
    rk_file_tensor t = {0};
    const unsigned char *name = NULL, *data = NULL;
    char text[NAME_MAX_BYTES + 1];
    if (!rk_read_u32le(r, &rec.n_dims) || !rk_read_u32le(r, &rec.name_bytes) ||
        !rk_read_u32le(r, &rec.type))
        return fail_cut(f, map, r, "a record's numbers", err);
    rk_status st = check_record(f, &rec, version, err);
    if (st == RK_OK && r->left < rec.n_dims * sizeof(uint32_t))
        return fail_cut(f, map, r, "a tensor's dimensions", err);
    if (st == RK_OK)
        st = read_dims(f, r, &rec, &t, err);
    if (st != RK_OK)
        return st;
    if (!rk_read_bytes(r, rec.name_bytes, &name))
        return fail_cut(f, map, r, "a tensor's name", err);
    memcpy(text, name, rec.name_bytes);
    text[rec.name_bytes] = '\0';
    if (strlen(text) != rec.name_bytes)
        return rk_fail(err, RK_ERR_FORMAT, "%s: control character 0x00 in a tensor's name",
                       rk_file_name(f));
    t.name = text;
    t.dtype = types[rec.type];
    if (!rk_file_shape_bytes(t.dtype, t.n_dims, t.dims, &t.bytes))
        return rk_fail(err, RK_ERR_FORMAT,
                       "%s: tensor '%s': its shape overflows or is no whole number of blocks",
                       rk_file_name(f), text);
    if (!rk_read_bytes(r, t.bytes, &data))
        return rk_fail(err, RK_ERR_FORMAT,
                       "%s: tensor '%s': its shape needs %zu bytes, the file has %zu left",
                       rk_file_name(f), text, t.bytes, r->left);
    t.data = data;
    return rk_file_add(f, &t, err);
}

static rk_status read_header(rk_file *f, rk_reader *r, uint32_t *version, rk_error *err)
{
    static const char *const names[] = {"n_vocab", "n_embd", "n_layer", "data_type"};
    uint32_t magic = 0, x = 0;
    rk_status st = RK_OK;
    rk_read_u32le(r, &magic);
    if (!rk_read_u32le(r, version) || r->left < sizeof names / sizeof *names * sizeof x)
        return rk_fail(err, RK_ERR_FORMAT, "%s: the file ends within its header", rk_file_name(f));
    if (*version != VERSION_PLAIN && *version != VERSION_BLOCKS)
        return rk_fail(err, RK_ERR_UNSUPPORTED, "%s: version %" PRIu32 ", expected %d or %d",
                       rk_file_name(f), *version, VERSION_PLAIN, VERSION_BLOCKS);
    for (size_t i = 0; i < RK_COUNT(names) && st == RK_OK; i++) {
        char text[16];
        rk_read_u32le(r, &x);
        snprintf(text, sizeof text, "%" PRIu32, x);
        st = rk_file_add_meta(f, names[i], text, err);
    }
    return st;
}

static rk_status read_container(rk_file *f, const rk_map *map, rk_error *err)
{
    rk_reader r = {map->data, map->size};
    uint32_t version = 0;
    rk_status st = read_header(f, &r, &version, err);
    while (st == RK_OK && r.left > 0)
        st = read_record(f, map, &r, version, err);
    return st;
}

static bool probe(const unsigned char *bytes, size_t n)
{
    rk_reader r = {bytes, n};
    uint32_t magic = 0;
    return rk_read_u32le(&r, &magic) && magic == MAGIC;
}

const rk_file_format rk_format_rwkvcpp = {"rwkv.cpp", probe, read_container};
