/* pth_write.c: the archive is written from front to back: what is only known afterwards, an entry's
 * checksum, follows it in a data descriptor and is repeated in the directory at the end. */
#include "io/pth.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/num.h"

enum { DATA_ALIGN = 64, LOCAL_BYTES = 30, EXTRA_HEAD = 4, EXTRA_PADDING = 0x4246 };
static const char *const top = "archive/";

/* ---- numbers in little-endian ---- */

static void add_le(rk_buf *b, uint64_t x, int bytes)
{
    for (; bytes > 0; bytes--, x >>= 8) {
        const unsigned char c = (unsigned char)x;
        rk_buf_add(b, &c, 1);
    }
}

/* CRC-32 of zip (polynomial 0xedb88320), four bits at a time. */
typedef struct crc {
    uint32_t value;
} crc;

static void crc_add(void *user, const void *bytes, size_t n)
{
    static const uint32_t table[16] = {0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac,
                                       0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
                                       0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
                                       0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c};
    crc *c = user;
    uint32_t x = ~c->value;
    for (size_t i = 0; i < n; i++) {
        x ^= ((const unsigned char *)bytes)[i];
        x = x >> 4 ^ table[x & 15];
        x = x >> 4 ^ table[x & 15];
    }
    c->value = ~x;
}

/* ---- the pickle ---- */

static void put_text(rk_buf *b, const char *s)
{
    const size_t n = strlen(s);
    rk_buf_puts(b, "X");
    add_le(b, n, 4);
    rk_buf_add(b, s, n);
}

static void put_int(rk_buf *b, int64_t x)
{
    if (x <= INT32_MAX) {
        rk_buf_puts(b, "J");
        add_le(b, (uint64_t)x, 4);
    } else { /* 9 bytes: the sign has one of its own */
        rk_buf_add(b, "\x8a\x09", 2);
        add_le(b, (uint64_t)x, 8);
        add_le(b, 0, 1);
    }
}

static const char *storage_of(rk_dtype t)
{
    static const struct {
        rk_dtype dtype;
        const char *name;
    } rows[] = {{RK_F32, "FloatStorage"}, {RK_F64, "DoubleStorage"}, {RK_BF16, "BFloat16Storage"},
                {RK_F16, "HalfStorage"},  {RK_I32, "IntStorage"},    {RK_I64, "LongStorage"},
                {RK_U8, "ByteStorage"}};
    for (size_t i = 0; i < RK_COUNT(rows); i++)
        if (rows[i].dtype == t)
            return rows[i].name;
    return NULL;
}

static void put_tensor(rk_buf *b, const rk_file_tensor *t, int64_t key)
{
    char text[24];
    int64_t count = 1;
    for (int d = 0; d < t->n_dims; d++)
        count *= t->dims[d];
    snprintf(text, sizeof text, "%lld", (long long)key);
    put_text(b, t->name);
    rk_buf_puts(b, "ctorch._utils\n_rebuild_tensor_v2\n((");
    put_text(b, "storage");
    rk_buf_printf(b, "ctorch\n%s\n", storage_of(t->dtype));
    put_text(b, text);
    put_text(b, "cpu");
    put_int(b, count);
    rk_buf_puts(b, "tQ");
    put_int(b, 0);
    rk_buf_puts(b, "(");
    for (int d = 0; d < t->n_dims; d++)
        put_int(b, t->dims[d]);
    rk_buf_puts(b, "t(");
    for (int d = 0; d < t->n_dims; d++) {
        count = t->dims[d] > 0 ? count / t->dims[d] : 0;
        put_int(b, count);
    }
    rk_buf_puts(b, "t\x89"
                   "ccollections\nOrderedDict\n)RtR");
}

static void make_pickle(rk_buf *b, const rk_file_contents *c)
{
    rk_buf_puts(b, "\x80\x02}(");
    for (int64_t i = 0; i < c->n_tensors; i++)
        put_tensor(b, &c->tensors[i], i);
    rk_buf_puts(b, "u.");
}

/* ---- the archive ---- */

typedef struct archive {
    rk_out *out;
    rk_buf directory;
    rk_buf
        record; /* the record being written; like the directory it remembers that memory ran out */
    uint64_t n_entries;
    uint64_t offset; /* of the entry being written */
    char name[48];
    crc crc;
} archive;

/* The header of an entry whose data will begin at a multiple of DATA_ALIGN. */
static void begin_entry(archive *a, const char *name)
{
    rk_buf *head = &a->record;
    rk_buf_clear(head);
    snprintf(a->name, sizeof a->name, "%s%s", top, name);
    a->offset = rk_out_bytes(a->out);
    a->crc.value = 0;
    const size_t n = strlen(a->name);
    const size_t fixed = (size_t)a->offset + LOCAL_BYTES + n + EXTRA_HEAD;
    const size_t padding = rk_align_up(fixed, DATA_ALIGN) - fixed;
    add_le(head, 0x04034b50, 4);
    add_le(head, 45, 2);     /* zip64 is known */
    add_le(head, 1 << 3, 2); /* a descriptor follows */
    add_le(head, 0, 2);      /* stored */
    add_le(head, 0, 2);      /* time */
    add_le(head, 0x21, 2);   /* date: 1980-01-01 */
    add_le(head, 0, 12);     /* checksum and sizes */
    add_le(head, n, 2);
    add_le(head, EXTRA_HEAD + padding, 2);
    rk_buf_puts(head, a->name);
    add_le(head, EXTRA_PADDING, 2);
    add_le(head, padding, 2);
    for (size_t i = 0; i < padding; i++)
        rk_buf_add(head, "Z", 1);
    rk_out_write(a->out, head->data, head->len);
    rk_out_tap(a->out, crc_add, &a->crc);
}

static uint64_t or_marker(uint64_t x)
{
    return x < 0xffffffff ? x : 0xffffffff;
}

/* Descriptor, and the entry's row of the directory. */
static void end_entry(archive *a, uint64_t bytes)
{
    const bool wide = bytes >= 0xffffffff, far = a->offset >= 0xffffffff;
    rk_buf *tail = &a->record, *d = &a->directory;
    rk_buf_clear(tail);
    rk_out_tap(a->out, NULL, NULL);
    add_le(tail, 0x08074b50, 4);
    add_le(tail, a->crc.value, 4);
    add_le(tail, bytes, wide ? 8 : 4);
    add_le(tail, bytes, wide ? 8 : 4);
    rk_out_write(a->out, tail->data, tail->len);

    add_le(d, 0x02014b50, 4);
    add_le(d, 45, 2);
    add_le(d, 45, 2);
    add_le(d, 1 << 3, 2);
    add_le(d, 0, 2);
    add_le(d, 0, 2);
    add_le(d, 0x21, 2);
    add_le(d, a->crc.value, 4);
    add_le(d, or_marker(bytes), 4);
    add_le(d, or_marker(bytes), 4);
    add_le(d, strlen(a->name), 2);
    add_le(d, (wide || far) ? (uint64_t)(4 + 16 * wide + 8 * far) : 0, 2);
    add_le(d, 0, 10); /* comment, disk, attributes */
    add_le(d, or_marker(a->offset), 4);
    rk_buf_puts(d, a->name);
    if (wide || far) {
        add_le(d, 1, 2);
        add_le(d, (uint64_t)(16 * wide + 8 * far), 2);
        for (int i = 0; i < 2 && wide; i++)
            add_le(d, bytes, 8);
        if (far)
            add_le(d, a->offset, 8);
    }
    a->n_entries++;
}

static void put_entry(archive *a, const char *name, const void *bytes, size_t n)
{
    begin_entry(a, name);
    rk_out_write(a->out, bytes, n);
    end_entry(a, n);
}

/* The directory and both forms of the end record. */
static void put_directory(archive *a)
{
    const uint64_t offset = rk_out_bytes(a->out), bytes = a->directory.len;
    rk_buf *end = &a->record;
    rk_buf_clear(end);
    rk_out_write(a->out, a->directory.data, a->directory.len);
    add_le(end, 0x06064b50, 4);
    add_le(end, 44, 8);
    add_le(end, 45, 2);
    add_le(end, 45, 2);
    add_le(end, 0, 8);
    add_le(end, a->n_entries, 8);
    add_le(end, a->n_entries, 8);
    add_le(end, bytes, 8);
    add_le(end, offset, 8);
    add_le(end, 0x07064b50, 4);
    add_le(end, 0, 4);
    add_le(end, offset + bytes, 8);
    add_le(end, 1, 4);
    add_le(end, 0x06054b50, 4);
    add_le(end, 0, 4);
    add_le(end, a->n_entries < 0xffff ? a->n_entries : 0xffff, 2);
    add_le(end, a->n_entries < 0xffff ? a->n_entries : 0xffff, 2);
    add_le(end, or_marker(bytes), 4);
    add_le(end, or_marker(offset), 4);
    add_le(end, 0, 2);
    rk_out_write(a->out, end->data, end->len);
}

static rk_status put_data(archive *a, const rk_file_contents *c, int64_t i, size_t bytes,
                          rk_error *err)
{
    char name[32];
    rk_status st = RK_OK;
    snprintf(name, sizeof name, "data/%lld", (long long)i);
    begin_entry(a, name);
    const uint64_t before = rk_out_bytes(a->out);
    if (c->source)
        st = c->source(c->user, i, a->out, err);
    else
        rk_out_write(a->out, c->tensors[i].data, bytes);
    if (st == RK_OK && rk_out_ok(a->out) && rk_out_bytes(a->out) - before != bytes)
        st =
            rk_fail(err, RK_ERR_ARG, "tensor '%s': %llu bytes were given, expected %zu",
                    c->tensors[i].name, (unsigned long long)(rk_out_bytes(a->out) - before), bytes);
    end_entry(a, bytes);
    return st;
}

static rk_status check_contents(const rk_file_contents *c, uint64_t *bytes, rk_error *err)
{
    *bytes = 1 << 16;
    for (int64_t i = 0; i < c->n_tensors; i++) {
        const rk_file_tensor *t = &c->tensors[i];
        size_t n = 0;
        if (!storage_of(t->dtype))
            return rk_fail(err, RK_ERR_UNSUPPORTED, "tensor '%s': PyTorch has no %s", t->name,
                           rk_dtype_name(t->dtype));
        if (!rk_file_shape_bytes(t->dtype, t->n_dims, t->dims, &n))
            return rk_fail(err, RK_ERR_ARG, "tensor '%s': its shape overflows", t->name);
        *bytes += n + 512;
    }
    return RK_OK;
}

static rk_status put_archive(archive *a, const rk_file_contents *c, rk_error *err)
{
    rk_buf pickle = {0};
    rk_status st = RK_OK;
    make_pickle(&pickle, c);
    if (!pickle.failed)
        put_entry(a, "data.pkl", pickle.data, pickle.len);
    put_entry(a, "byteorder", "little", 6);
    for (int64_t i = 0; i < c->n_tensors && st == RK_OK && rk_out_ok(a->out); i++) {
        size_t bytes = 0;
        rk_file_shape_bytes(c->tensors[i].dtype, c->tensors[i].n_dims, c->tensors[i].dims, &bytes);
        st = put_data(a, c, i, bytes, err);
    }
    put_entry(a, "version", "3\n", 2);
    put_directory(a);
    if (st == RK_OK && (pickle.failed || a->directory.failed || a->record.failed))
        st = rk_fail(err, RK_ERR_NOMEM, "out of memory for a table of %lld tensors",
                     (long long)c->n_tensors);
    rk_buf_deinit(&pickle);
    return st;
}

rk_status rk_pth_write(const char *path, const rk_file_contents *c, bool overwrite, rk_error *err)
{
    archive a = {0};
    uint64_t bytes = 0;
    rk_status st = check_contents(c, &bytes, err);
    if (st == RK_OK)
        st = rk_check_free_space(path, bytes, err);
    if (st == RK_OK)
        st = rk_out_open(&a.out, path, overwrite, err);
    if (st == RK_OK)
        st = put_archive(&a, c, err);
    rk_buf_deinit(&a.directory);
    rk_buf_deinit(&a.record);
    if (st != RK_OK) {
        rk_out_abort(a.out);
        return st;
    }
    return rk_out_commit(a.out, err);
}
