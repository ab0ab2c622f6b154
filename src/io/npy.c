/* npy.c: .npy version 1.0 as NumPy writes it (numpy/lib/format.py): "\x93NUMPY", version, u16
 * header length, a Python dict literal padded with spaces to a multiple of 64 and ended by a
 * newline, data.
 *
 * The reader takes the literal as NumPy prints it, key by key in that order. It evaluates nothing,
 * and other spellings of the same dict are refused rather than guessed at. */
#include "io/npy.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/num.h"
#include "io/reader.h"

enum { ALIGN = 64, PREFIX_BYTES = 10 };
static const char magic[] = "\x93NUMPY\x01";

static bool take_text(rk_reader *r, const char *text)
{
    const size_t n = strlen(text);
    return n <= r->left && memcmp(r->p, text, n) == 0 && rk_read_bytes(r, n, NULL);
}

/* Decimal digits, at least one, below 2^63. */
static bool take_dim(rk_reader *r, int64_t *dim)
{
    const size_t before = r->left;
    *dim = 0;
    for (; r->left > 0 && *r->p >= '0' && *r->p <= '9'; rk_read_bytes(r, 1, NULL))
        if (!rk_mul_i64_ok(*dim, 10, dim) || __builtin_add_overflow(*dim, *r->p - '0', dim))
            return false;
    return r->left < before;
}

/* "(3,)" or "(2, 3)". */
static bool take_shape(rk_reader *r, rk_npy *f)
{
    if (!take_text(r, "(") || !take_dim(r, &f->dims[0]) || !take_text(r, ","))
        return false;
    f->n_dims = 1;
    if (take_text(r, " ")) {
        f->n_dims = 2;
        if (!take_dim(r, &f->dims[1]))
            return false;
    }
    return take_text(r, ")");
}

/* What a reader takes. */
typedef struct types {
    const rk_npy_type *at;
    int n;
    const char *wanted;
} types;

static bool take_type(rk_reader *h, const types *t, int *type)
{
    char text[16];
    for (*type = 0; *type < t->n; ++*type) {
        snprintf(text, sizeof text, "'%s', ", t->at[*type].descr);
        if (take_text(h, text))
            return true;
    }
    return false;
}

static rk_status read_dict(rk_npy *f, rk_reader h, const types *t, rk_error *err)
{
    const char *const name = f->map.name;
    if (!take_text(&h, "{'descr': "))
        return rk_fail(err, RK_ERR_FORMAT, "%s: npy header: expected {'descr': first", name);
    if (!take_type(&h, t, &f->type))
        return rk_fail(err, RK_ERR_UNSUPPORTED, "%s: npy array of another type, expected %s", name,
                       t->wanted);
    if (!take_text(&h, "'fortran_order': False, "))
        return rk_fail(err, RK_ERR_UNSUPPORTED, "%s: npy array not in C order", name);
    if (!take_text(&h, "'shape': ") || !take_shape(&h, f))
        return rk_fail(err, RK_ERR_UNSUPPORTED, "%s: npy shape: expected one or two dimensions",
                       name);
    take_text(&h, ", "); /* before the brace, as NumPy has it */
    bool ok = take_text(&h, "}");
    while (take_text(&h, " "))
        continue;
    ok = ok && take_text(&h, "\n") && h.left == 0;
    return ok ? RK_OK : rk_fail(err, RK_ERR_FORMAT, "%s: npy header: expected its end", name);
}

static rk_status check_data(rk_npy *f, const rk_reader *r, size_t element, rk_error *err)
{
    size_t bytes = element;
    for (int d = 0; d < f->n_dims; d++)
        if (!rk_mul_ok(bytes, (size_t)f->dims[d], &bytes))
            return rk_fail(err, RK_ERR_FORMAT, "%s: npy shape overflows", f->map.name);
    if (bytes != r->left)
        return rk_fail(err, RK_ERR_FORMAT, "%s: %zu bytes of npy data, its shape needs %zu",
                       f->map.name, r->left, bytes);
    if ((uintptr_t)r->p % element != 0)
        return rk_fail(err, RK_ERR_UNSUPPORTED, "%s: npy data are not aligned to %zu bytes",
                       f->map.name, element);
    f->bytes = r->p;
    return RK_OK;
}

static rk_status read_array(rk_npy *f, const types *t, rk_error *err)
{
    rk_reader r = {f->map.data, f->map.size}, header;
    uint8_t minor;
    uint16_t length;
    if (!take_text(&r, magic) || !rk_read_u8(&r, &minor) || minor != 0)
        return rk_fail(err, RK_ERR_FORMAT, "%s: no npy file of version 1.0", f->map.name);
    if (!rk_read_u16le(&r, &length) || !rk_read_bytes(&r, length, &header.p))
        return rk_fail(err, RK_ERR_FORMAT, "%s: the npy header is cut off", f->map.name);
    header.left = length;
    const rk_status st = read_dict(f, header, t, err);
    return st == RK_OK ? check_data(f, &r, t->at[f->type].bytes, err) : st;
}

static const rk_npy_type f32 = {"<f4", sizeof(float)};
static const types f32_alone = {&f32, 1, "'<f4'"};

static rk_status read_or_close(rk_npy *f, const types *t, rk_error *err)
{
    const rk_status st = read_array(f, t, err);
    if (st == RK_OK && t == &f32_alone)
        f->data = f->bytes;
    if (st != RK_OK)
        rk_npy_close(f);
    return st;
}

rk_status rk_npy_open(rk_npy *f, const char *path, rk_error *err)
{
    *f = (rk_npy){0};
    const rk_status st = rk_map_open(&f->map, path, err);
    return st == RK_OK ? read_or_close(f, &f32_alone, err) : st;
}

rk_status rk_npy_open_types(rk_npy *f, const char *path, const rk_npy_type *at, int n,
                            const char *wanted, rk_error *err)
{
    const types t = {at, n, wanted};
    *f = (rk_npy){0};
    const rk_status st = rk_map_open(&f->map, path, err);
    return st == RK_OK ? read_or_close(f, &t, err) : st;
}

rk_status rk_npy_open_memory(rk_npy *f, const void *data, size_t bytes, const char *name,
                             rk_error *err)
{
    *f = (rk_npy){0};
    const rk_status st = rk_map_memory(&f->map, data, bytes, name, err);
    return st == RK_OK ? read_or_close(f, &f32_alone, err) : st;
}

void rk_npy_close(rk_npy *f)
{
    rk_map_close(&f->map);
    *f = (rk_npy){.map = f->map};
}

/* The dict, padded so that the data begin at a multiple of ALIGN. */
static void make_dict(rk_buf *b, int n_dims, const int64_t *dims)
{
    rk_buf_printf(b, "{'descr': '<f4', 'fortran_order': False, 'shape': (%" PRId64 ",", dims[0]);
    if (n_dims == 2)
        rk_buf_printf(b, " %" PRId64, dims[1]);
    rk_buf_puts(b, "), }");
    while ((PREFIX_BYTES + b->len + 1) % ALIGN != 0 && !b->failed)
        rk_buf_puts(b, " ");
    rk_buf_puts(b, "\n");
}

rk_status rk_npy_put_header(rk_out *out, int n_dims, const int64_t *dims, rk_error *err)
{
    rk_buf dict = {0};
    if (n_dims < 1 || n_dims > 2 || dims[0] < 0 || dims[n_dims - 1] < 0)
        return rk_fail(err, RK_ERR_ARG, "npy: %d dimensions, expected one or two, none negative",
                       n_dims);
    make_dict(&dict, n_dims, dims);
    if (dict.failed) {
        rk_buf_deinit(&dict);
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for an npy header");
    }
    const unsigned char rest[] = {0, (unsigned char)dict.len, (unsigned char)(dict.len >> 8)};
    rk_out_write(out, magic, strlen(magic));
    rk_out_write(out, rest, sizeof rest);
    rk_out_write(out, dict.data, dict.len);
    rk_buf_deinit(&dict);
    return RK_OK;
}

rk_status rk_npy_write(const char *path, const float *data, int n_dims, const int64_t *dims,
                       bool overwrite, rk_error *err)
{
    rk_out *out = NULL;
    rk_status st = rk_out_open(&out, path, overwrite, err);
    if (st == RK_OK)
        st = rk_npy_put_header(out, n_dims, dims, err);
    if (st != RK_OK) {
        rk_out_abort(out);
        return st;
    }
    size_t bytes = sizeof *data;
    for (int d = 0; d < n_dims; d++)
        bytes *= (size_t)dims[d]; /* an array in memory cannot overflow */
    rk_out_write(out, data, bytes);
    return rk_out_commit(out, err);
}
