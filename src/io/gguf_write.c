/* gguf_write.c: the header is made in memory, then the tensors are copied to the output. The bytes
 * depend on the contents alone. */
#include <inttypes.h>
#include <string.h>

#include "base/num.h"
#include "io/gguf.h"

enum { DATA_ALIGN = 32, DIMS_MAX = 4, NAME_BYTES_MAX = 63 }; /* of llama.cpp's own reader */

static void add_u32(rk_buf *b, uint32_t x)
{
    rk_buf_add(b, &x, sizeof x);
}

static void add_u64(rk_buf *b, uint64_t x)
{
    rk_buf_add(b, &x, sizeof x);
}

static void add_string(rk_buf *b, const char *s, size_t n)
{
    add_u64(b, n);
    rk_buf_add(b, s, n);
}

/* ---- metadata ---- */

static void begin_pair(rk_gguf_meta *m, const char *key, uint32_t type)
{
    add_string(&m->bytes, key, strlen(key));
    add_u32(&m->bytes, type);
    m->n_pairs++;
}

void rk_gguf_put_u32(rk_gguf_meta *m, const char *key, uint32_t x)
{
    begin_pair(m, key, RK_GGUF_U32);
    add_u32(&m->bytes, x);
}

void rk_gguf_put_f32(rk_gguf_meta *m, const char *key, float x)
{
    begin_pair(m, key, RK_GGUF_F32);
    rk_buf_add(&m->bytes, &x, sizeof x);
}

void rk_gguf_put_bool(rk_gguf_meta *m, const char *key, bool x)
{
    const unsigned char byte = x;
    begin_pair(m, key, RK_GGUF_BOOL);
    rk_buf_add(&m->bytes, &byte, sizeof byte);
}

void rk_gguf_put_string(rk_gguf_meta *m, const char *key, const char *s)
{
    begin_pair(m, key, RK_GGUF_STRING);
    add_string(&m->bytes, s, strlen(s));
}

void rk_gguf_put_raw(rk_gguf_meta *m, const rk_file_raw *raw)
{
    add_string(&m->bytes, raw->key, strlen(raw->key));
    rk_buf_add(&m->bytes, raw->data, raw->bytes);
    m->n_pairs++;
}

void rk_gguf_begin_array(rk_gguf_meta *m, const char *key, uint32_t type, uint64_t n)
{
    begin_pair(m, key, RK_GGUF_ARRAY);
    add_u32(&m->bytes, type);
    add_u64(&m->bytes, n);
}

void rk_gguf_add_string(rk_gguf_meta *m, const char *bytes, size_t n)
{
    add_string(&m->bytes, bytes, n);
}

/* ---- tensors ---- */

static rk_status tensor_bytes(const rk_file_tensor *t, size_t *bytes, rk_error *err)
{
    if (rk_gguf_type(t->dtype) == UINT32_MAX)
        return rk_fail(err, RK_ERR_UNSUPPORTED, "tensor '%s': GGUF has no %s", t->name,
                       rk_dtype_name(t->dtype));
    if (t->n_dims > DIMS_MAX || strlen(t->name) > NAME_BYTES_MAX)
        return rk_fail(err, RK_ERR_UNSUPPORTED,
                       "tensor '%s': %d dimensions and a name of %zu bytes, GGUF has at most %d "
                       "and %d",
                       t->name, t->n_dims, strlen(t->name), DIMS_MAX, NAME_BYTES_MAX);
    if (!rk_file_shape_bytes(t->dtype, t->n_dims, t->dims, bytes))
        return rk_fail(err, RK_ERR_ARG,
                       "tensor '%s': its shape overflows or is no whole number of blocks of %s",
                       t->name, rk_dtype_name(t->dtype));
    return RK_OK;
}

/* Dimensions are written fastest first; a scalar has one. */
static void put_entry(rk_buf *h, const rk_file_tensor *t, uint64_t offset)
{
    add_string(h, t->name, strlen(t->name));
    add_u32(h, t->n_dims > 0 ? (uint32_t)t->n_dims : 1);
    for (int d = t->n_dims - 1; d >= 0; d--)
        add_u64(h, (uint64_t)t->dims[d]);
    if (t->n_dims == 0)
        add_u64(h, 1);
    add_u32(h, rk_gguf_type(t->dtype));
    add_u64(h, offset);
}

static void pad(rk_buf *h)
{
    while (h->len % DATA_ALIGN != 0 && !h->failed)
        rk_buf_add(h, "", 1);
}

static rk_status make_header(rk_buf *h, const rk_file_contents *c, const rk_gguf_meta *m,
                             size_t *data_bytes, rk_error *err)
{
    size_t at = 0, bytes = 0;
    rk_status st = RK_OK;
    rk_buf_puts(h, "GGUF");
    add_u32(h, 3);
    add_u64(h, (uint64_t)c->n_tensors);
    add_u64(h, m->n_pairs);
    rk_buf_add(h, m->bytes.data, m->bytes.len);
    for (int64_t i = 0; i < c->n_tensors && st == RK_OK; i++) {
        st = tensor_bytes(&c->tensors[i], &bytes, err);
        put_entry(h, &c->tensors[i], at);
        if (st == RK_OK && (!rk_add_ok(at, bytes, &at) || at > SIZE_MAX - DATA_ALIGN))
            st = rk_fail(err, RK_ERR_ARG, "tensor '%s': the file's size overflows",
                         c->tensors[i].name);
        at = rk_align_up(at, DATA_ALIGN);
    }
    pad(h);
    *data_bytes = at;
    if (st == RK_OK && (h->failed || m->bytes.failed))
        st = rk_fail(err, RK_ERR_NOMEM, "out of memory for a GGUF header");
    return st;
}

static rk_status put_tensor(rk_out *out, const rk_file_contents *c, int64_t i, rk_error *err)
{
    static const char zeros[DATA_ALIGN] = {0};
    const uint64_t before = rk_out_bytes(out);
    size_t bytes = 0;
    rk_status st = tensor_bytes(&c->tensors[i], &bytes, err);
    if (st == RK_OK && c->source)
        st = c->source(c->user, i, out, err);
    else if (st == RK_OK)
        rk_out_write(out, c->tensors[i].data, bytes);
    if (st == RK_OK && rk_out_ok(out) && rk_out_bytes(out) - before != bytes)
        st = rk_fail(err, RK_ERR_ARG, "tensor '%s': %" PRIu64 " bytes were given, expected %zu",
                     c->tensors[i].name, rk_out_bytes(out) - before, bytes);
    rk_out_write(out, zeros, rk_align_up(bytes, DATA_ALIGN) - bytes);
    return st;
}

static rk_status put_file(rk_out *out, const rk_buf *header, const rk_file_contents *c,
                          rk_error *err)
{
    rk_status st = RK_OK;
    rk_out_write(out, header->data, header->len);
    for (int64_t i = 0; i < c->n_tensors && st == RK_OK && rk_out_ok(out); i++)
        st = put_tensor(out, c, i, err);
    return st;
}

rk_status rk_gguf_write(const char *path, const rk_file_contents *c, const rk_gguf_meta *m,
                        bool overwrite, rk_error *err)
{
    rk_buf header = {0};
    rk_out *out = NULL;
    size_t data_bytes = 0;
    rk_status st = make_header(&header, c, m, &data_bytes, err);
    if (st == RK_OK)
        st = rk_check_free_space(path, header.len + data_bytes, err);
    if (st == RK_OK)
        st = rk_out_open(&out, path, overwrite, err);
    if (st == RK_OK)
        st = put_file(out, &header, c, err);
    rk_buf_deinit(&header);
    if (st != RK_OK) {
        rk_out_abort(out);
        return st;
    }
    return rk_out_commit(out, err);
}
