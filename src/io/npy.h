/* npy.h: NumPy's .npy, version 1.0, C order, one or two dimensions: little-endian f32, or what a reader
 * says it takes. */
#ifndef RK_IO_NPY_H
#define RK_IO_NPY_H

#include "io/atomic_file.h"
#include "io/map.h"

typedef struct rk_npy {
    rk_map map;
    int n_dims; /* 1 or 2 */
    int64_t dims[2];
    int type;          /* of those that the reader takes, which one */
    const void *bytes; /* the elements, in the mapping */
    const float *data; /* the same, of an f32 array */
} rk_npy;

/* What NumPy calls a type, "<f4", and the bytes of an element. */
typedef struct rk_npy_type {
    const char *descr;
    size_t bytes;
} rk_npy_type;

/* Errors  RK_ERR_FORMAT: not such a file; RK_ERR_UNSUPPORTED: another version, dtype, order or
 *         rank; RK_ERR_IO, RK_ERR_NOMEM. On failure *f is as after rk_npy_close. */
rk_status rk_npy_open(rk_npy *f, const char *path, rk_error *err);
/* The same for an array of one of n types. wanted names them for the message. */
rk_status rk_npy_open_types(rk_npy *f, const char *path, const rk_npy_type *types, int n,
                            const char *wanted, rk_error *err);
/* Bytes that stay until rk_npy_close, 4-byte aligned. */
rk_status rk_npy_open_memory(rk_npy *f, const void *data, size_t bytes, const char *name,
                             rk_error *err);
void rk_npy_close(rk_npy *f);

/* The header of an array whose elements follow with rk_out_write. */
rk_status rk_npy_put_header(rk_out *out, int n_dims, const int64_t *dims, rk_error *err);
/* A whole file by the protocol of atomic_file.h. */
rk_status rk_npy_write(const char *path, const float *data, int n_dims, const int64_t *dims,
                       bool overwrite, rk_error *err);

#endif
