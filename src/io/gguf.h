/* gguf.h: writing llama.cpp's container (ggml-org/ggml, docs/gguf.md, version 3). Reading is
 * tensor_file.h's. */
#ifndef RK_IO_GGUF_H
#define RK_IO_GGUF_H

#include "base/buf.h"
#include "io/tensor_file.h"

/* Types of values, by the format's numbers. */
enum {
    RK_GGUF_U16 = 2,
    RK_GGUF_U32 = 4,
    RK_GGUF_I32 = 5,
    RK_GGUF_F32 = 6,
    RK_GGUF_BOOL = 7,
    RK_GGUF_STRING = 8,
    RK_GGUF_ARRAY = 9
};

/* Metadata being put together; zeroed at the start, to be released with rk_buf_deinit(&m.bytes),
 * whose `failed` tells whether memory ran out. */
typedef struct rk_gguf_meta {
    rk_buf bytes;
    uint64_t n_pairs;
} rk_gguf_meta;

void rk_gguf_put_u32(rk_gguf_meta *m, const char *key, uint32_t x);
void rk_gguf_put_f32(rk_gguf_meta *m, const char *key, float x);
void rk_gguf_put_bool(rk_gguf_meta *m, const char *key, bool x);
void rk_gguf_put_string(rk_gguf_meta *m, const char *key, const char *s);
/* A value of another GGUF file. */
void rk_gguf_put_raw(rk_gguf_meta *m, const rk_file_raw *raw);
/* An array of n values of a type, which follow: strings by rk_gguf_add_string, numbers as their
 * little-endian bytes by rk_buf_add(&m->bytes, ...). */
void rk_gguf_begin_array(rk_gguf_meta *m, const char *key, uint32_t type, uint64_t n);
void rk_gguf_add_string(rk_gguf_meta *m, const char *bytes, size_t n);

/* Is this value, which may be NULL, an array of strings with s among them? */
bool rk_gguf_array_has(const rk_file_raw *raw, const char *s);

/* The format's number of a tensor's type; UINT32_MAX: it has none. */
uint32_t rk_gguf_type(rk_dtype t);

/* Write a GGUF file; metadata come from m, c->meta is not written. The same contents give the same
 * bytes; the file appears whole or not at all.
 * Errors  RK_ERR_UNSUPPORTED: a type, or more dimensions, than the format has; RK_ERR_ARG: a shape
 *         overflows, the file exists; RK_ERR_IO, RK_ERR_NOMEM. */
rk_status rk_gguf_write(const char *path, const rk_file_contents *c, const rk_gguf_meta *m,
                        bool overwrite, rk_error *err);

#endif
