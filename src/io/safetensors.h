/* safetensors.h: reading and writing the safetensors container.
 *
 * A file is an 8-byte little-endian header length, the header (JSON: tensor name -> dtype, shape,
 * data_offsets; "__metadata__" -> strings), then the tensors' bytes, row-major, without holes. */
#ifndef RK_IO_SAFETENSORS_H
#define RK_IO_SAFETENSORS_H

#include "io/tensor_file.h"

typedef struct rk_st rk_st;

/* Open and check everything: offsets, shapes and dtypes agree, tensors neither overlap nor leave
 * holes, names are unique. Takes at most four times the file's size in memory, mapping included.
 * Errors  RK_ERR_FORMAT: file, tensor, found, expected; RK_ERR_UNSUPPORTED: a valid dtype that
 *         rk_dtype lacks; RK_ERR_IO, RK_ERR_NOMEM. */
rk_status rk_st_open(rk_st **out, const char *path, rk_error *err);
/* From bytes that stay until rk_st_close; name is for error messages. */
rk_status rk_st_open_memory(rk_st **out, const void *data, size_t bytes, const char *name,
                            rk_error *err);
void rk_st_close(rk_st *f);

/* Tensors in the order of the header. */
int64_t rk_st_count(const rk_st *f);
const rk_file_tensor *rk_st_at(const rk_st *f, int64_t i);
/* NULL when there is none of this name. */
const rk_file_tensor *rk_st_find(const rk_st *f, const char *name);
/* The value of a metadata key, NULL when absent; and all pairs, sorted by key. */
const char *rk_st_meta(const rk_st *f, const char *key);
int64_t rk_st_meta_count(const rk_st *f);
rk_pair rk_st_meta_at(const rk_st *f, int64_t i);
/* The path, and whether the file is still as it was when opened (rk_map_check). */
const char *rk_st_name(const rk_st *f);
rk_status rk_st_check(const rk_st *f, rk_error *err);

/* "F32", "BF16", ...: the format's name of a dtype. */
const char *rk_st_dtype_name(rk_dtype t);

/* Bytes of the whole file. RK_ERR_ARG: a shape overflows or a name occurs twice. */
rk_status rk_st_file_bytes(const rk_file_contents *c, uint64_t *bytes, rk_error *err);
/* Append the file to an output that is open. The same contents give the same bytes; the header is
 * padded with spaces so that the data begin at a multiple of 64. */
rk_status rk_st_put(rk_out *out, const rk_file_contents *c, rk_error *err);
/* The whole protocol of atomic_file.h, after a look at the free space. checksum (may be NULL)
 * receives the file's XXH3-64. */
rk_status rk_st_write(const char *path, const rk_file_contents *c, bool overwrite,
                      uint64_t *checksum, rk_error *err);

#endif
