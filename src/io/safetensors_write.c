/* safetensors_write.c: the header is made in memory, then the tensors are copied to the output.
 *
 * The bytes depend on the contents alone: no time, no order of a hash table. Data begin at a
 * multiple of 64, so that a reader's mapping has every tensor of 64-byte multiples aligned for
 * vector loads. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/num.h"
#include "io/json_line.h"
#include "io/safetensors.h"

enum { DATA_ALIGN = 64, LENGTH_BYTES = 8 };

static rk_status tensor_bytes(const rk_file_tensor *t, size_t *bytes, rk_error *err)
{
    if (t->n_dims < 0 || t->n_dims > RK_FILE_DIMS_MAX)
        return rk_fail(err, RK_ERR_ARG, "tensor '%s': %d dimensions, expected 0 to %d", t->name,
                       t->n_dims, RK_FILE_DIMS_MAX);
    if (rk_dtype_is_blocks(t->dtype))
        return rk_fail(err, RK_ERR_UNSUPPORTED, "tensor '%s': safetensors has no %s", t->name,
                       rk_dtype_name(t->dtype));
    if (!rk_file_shape_bytes(t->dtype, t->n_dims, t->dims, bytes))
        return rk_fail(err, RK_ERR_ARG, "tensor '%s': its shape overflows", t->name);
    return RK_OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static rk_status check_sorted(const char *const *names, size_t n, rk_error *err)
{
    for (size_t i = 0; i < n; i++)
        if ((i > 0 && strcmp(names[i - 1], names[i]) == 0) || strcmp(names[i], "__metadata__") == 0)
            return rk_fail(err, RK_ERR_ARG, "tensor '%s': the name is taken", names[i]);
    return RK_OK;
}

static rk_status check_names(const rk_file_contents *c, rk_error *err)
{
    const size_t n = (size_t)c->n_tensors;
    const char **names = malloc((n + 1) * sizeof *names);
    if (!names)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for %zu names", n);
    for (size_t i = 0; i < n; i++)
        names[i] = c->tensors[i].name;
    qsort(names, n, sizeof *names, by_name);
    const rk_status st = check_sorted(names, n, err);
    free(names);
    return st;
}

static void put_meta(rk_buf *h, const rk_file_contents *c)
{
    rk_buf_puts(h, "\"__metadata__\":{");
    for (int64_t i = 0; i < c->n_meta; i++) {
        if (i > 0)
            rk_buf_puts(h, ",");
        rk_json_quote(h, c->meta[i].key, strlen(c->meta[i].key));
        rk_buf_puts(h, ":");
        rk_json_quote(h, c->meta[i].value, strlen(c->meta[i].value));
    }
    rk_buf_puts(h, "}");
}

static void put_entry(rk_buf *h, const rk_file_tensor *t, uint64_t begin, uint64_t end)
{
    rk_json_quote(h, t->name, strlen(t->name));
    rk_buf_printf(h, ":{\"dtype\":\"%s\",\"shape\":[", rk_st_dtype_name(t->dtype));
    for (int d = 0; d < t->n_dims; d++)
        rk_buf_printf(h, "%s%" PRId64, d > 0 ? "," : "", t->dims[d]);
    rk_buf_printf(h, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", begin, end);
}

/* The header with its padding, and the bytes of data that follow it. */
static rk_status make_header(const rk_file_contents *c, rk_buf *h, size_t *data_bytes,
                             rk_error *err)
{
    size_t at = 0;
    rk_status st = check_names(c, err);
    rk_buf_puts(h, "{");
    if (c->n_meta > 0)
        put_meta(h, c);
    for (int64_t i = 0; i < c->n_tensors && st == RK_OK; i++) {
        const size_t begin = at;
        size_t bytes;
        st = tensor_bytes(&c->tensors[i], &bytes, err);
        if (st == RK_OK && !rk_add_ok(at, bytes, &at))
            st = rk_fail(err, RK_ERR_ARG, "tensor '%s': the file's size overflows",
                         c->tensors[i].name);
        if (i > 0 || c->n_meta > 0)
            rk_buf_puts(h, ",");
        if (st == RK_OK)
            put_entry(h, &c->tensors[i], begin, at);
    }
    rk_buf_puts(h, "}");
    while ((LENGTH_BYTES + h->len) % DATA_ALIGN != 0 && !h->failed)
        rk_buf_puts(h, " ");
    *data_bytes = at;
    if (st == RK_OK && h->failed)
        st = rk_fail(err, RK_ERR_NOMEM, "out of memory for a safetensors header");
    return st;
}

rk_status rk_st_file_bytes(const rk_file_contents *c, uint64_t *bytes, rk_error *err)
{
    size_t data_bytes = 0;
    rk_buf header = {0};
    const rk_status st = make_header(c, &header, &data_bytes, err);
    *bytes = LENGTH_BYTES + (uint64_t)header.len + data_bytes;
    rk_buf_deinit(&header);
    return st;
}

static rk_status put_tensor(rk_out *out, const rk_file_contents *c, int64_t i, rk_error *err)
{
    const rk_file_tensor *t = &c->tensors[i];
    const uint64_t before = rk_out_bytes(out);
    size_t bytes;
    rk_status st = tensor_bytes(t, &bytes, err);
    if (st == RK_OK && c->source)
        st = c->source(c->user, i, out, err);
    else if (st == RK_OK)
        rk_out_write(out, t->data, bytes);
    if (st == RK_OK && rk_out_ok(out) && rk_out_bytes(out) - before != bytes)
        st = rk_fail(err, RK_ERR_ARG, "tensor '%s': %" PRIu64 " bytes were given, expected %zu",
                     t->name, rk_out_bytes(out) - before, bytes);
    return st;
}

rk_status rk_st_put(rk_out *out, const rk_file_contents *c, rk_error *err)
{
    size_t data_bytes;
    rk_buf header = {0};
    rk_status st = make_header(c, &header, &data_bytes, err);
    if (st == RK_OK) {
        unsigned char length[LENGTH_BYTES];
        for (int i = 0; i < LENGTH_BYTES; i++)
            length[i] = (unsigned char)((uint64_t)header.len >> (8 * i));
        rk_out_write(out, length, sizeof length);
        rk_out_write(out, header.data, header.len);
    }
    rk_buf_deinit(&header);
    /* An output that has failed says so at its commit; the rest of the work can be saved. */
    for (int64_t i = 0; i < c->n_tensors && st == RK_OK && rk_out_ok(out); i++)
        st = put_tensor(out, c, i, err);
    return st;
}

rk_status rk_st_write(const char *path, const rk_file_contents *c, bool overwrite,
                      uint64_t *checksum, rk_error *err)
{
    uint64_t bytes = 0;
    rk_out *out = NULL;
    rk_status st = rk_st_file_bytes(c, &bytes, err);
    if (st == RK_OK)
        st = rk_check_free_space(path, bytes, err);
    if (st == RK_OK)
        st = rk_out_open(&out, path, overwrite, err);
    if (st == RK_OK)
        st = rk_st_put(out, c, err);
    if (st != RK_OK) {
        rk_out_abort(out);
        return st;
    }
    if (checksum)
        *checksum = rk_out_checksum(out);
    return rk_out_commit(out, err);
}
