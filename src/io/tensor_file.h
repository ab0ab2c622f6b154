/* tensor_file.h: a file of named tensors, whatever its container.
 *
 * A container is a file that defines an rk_file_format and one row in tensor_file.c: it finds the
 * tensors and the metadata in a mapped file. Code that reads a model never asks which container it
 * is. Tensors stay in the mapping; those that are not at a multiple of their element's size are
 * copied one by one, and the pages they came from are released. */
#ifndef RK_IO_TENSOR_FILE_H
#define RK_IO_TENSOR_FILE_H

#include "base/dtype.h"
#include "base/error.h"
#include "io/atomic_file.h"
#include "io/map.h"

enum { RK_FILE_DIMS_MAX = 8 };

typedef struct rk_file_tensor {
    const char *name;
    rk_dtype dtype;
    int n_dims;                     /* 0: a scalar */
    int64_t dims[RK_FILE_DIMS_MAX]; /* PyTorch order: the last one varies fastest in memory */
    const void *data; /* aligned to its element; in the mapping wherever the file allows that */
    size_t bytes;
    bool exchanged;     /* the last two dimensions are exchanged: memory holds the transpose */
    const char *origin; /* set by rk_scheme_export: the name it had; else NULL */
} rk_file_tensor;

typedef struct rk_pair {
    const char *key, *value;
} rk_pair;

/* A metadata value of a GGUF file with its type, for values that text cannot represent. */
typedef struct rk_file_raw {
    const char *key;
    const unsigned char *data; /* a 32-bit type, then the value; where it lies in the file */
    size_t bytes;
} rk_file_raw;

typedef struct rk_file rk_file;

/* Open a file of any container, told by its first bytes, or a folder or index of several files
 * (shards.h), and check all of it that is read here: tables, offsets, shapes, sizes, unique names.
 * Memory  at most 64 MiB + 4 times the file, mapping included.
 * Errors  RK_ERR_FORMAT: file, tensor, found, expected; RK_ERR_UNSUPPORTED: valid, but nothing here
 *         reads it; RK_ERR_IO, RK_ERR_NOMEM. */
rk_status rk_file_open(rk_file **out, const char *path, rk_error *err);
/* The same of one file only: folders and indexes are refused, so that no index leads to another. */
rk_status rk_file_open_single(rk_file **out, const char *path, rk_error *err);
/* From bytes that stay until rk_file_close; name is for error messages. */
rk_status rk_file_open_memory(rk_file **out, const void *data, size_t bytes, const char *name,
                              rk_error *err);
void rk_file_close(rk_file *f);

/* Tensors in the order of the file. */
int64_t rk_file_count(const rk_file *f);
const rk_file_tensor *rk_file_at(const rk_file *f, int64_t i);
/* NULL when there is none of this name. */
const rk_file_tensor *rk_file_find(const rk_file *f, const char *name);
/* The value of a metadata key, NULL when absent; all pairs in the order of the file. Numbers are
 * written in decimal, arrays and structures are left out (they are the container's own business).
 */
const char *rk_file_meta(const rk_file *f, const char *key);
int64_t rk_file_meta_count(const rk_file *f);
rk_pair rk_file_meta_at(const rk_file *f, int64_t i);
/* The value of a key of a GGUF file, arrays included, as checked bytes. NULL for other files. */
const rk_file_raw *rk_file_raw_find(const rk_file *f, const char *key);
int64_t rk_file_raw_count(const rk_file *f);
const rk_file_raw *rk_file_raw_at(const rk_file *f, int64_t i);
/* The path; the name of the container ("safetensors"); whether the file still holds what was opened
 * (rk_map_check). */
const char *rk_file_name(const rk_file *f);
/* Does it come from rk_file_open_memory, so that its name is no path? */
bool rk_file_is_memory(const rk_file *f);
const char *rk_file_container(const rk_file *f);
rk_status rk_file_check(const rk_file *f, rk_error *err);

/* Tell the system that the whole pages of these bytes of a tensor are not needed any more; they
 * stay readable. */
void rk_file_drop(const rk_file *f, const void *from, size_t bytes);
/* The same of all pages that reading these bytes has brought in (rk_map_drop_around). */
void rk_file_drop_around(const rk_file *f, const void *from, size_t bytes);
/* The mapping that a tensor's data lie in; NULL: they were copied. */
const rk_map *rk_file_map_of(const rk_file *f, const void *data);

/* ---- writing ---- */

/* A file to be written. Tensors lie in the file in the order given; of a rk_file_tensor a writer
 * reads name, dtype and shape (not exchanged), and its data when there is no source. */
typedef struct rk_file_contents {
    const rk_file_tensor *tensors;
    int64_t n_tensors;
    const rk_pair *meta;
    int64_t n_meta;
    /* Write the bytes of tensors[i] to out with rk_out_write, in as many pieces as suit it; the
     * writer checks their number. NULL: tensors[i].data. */
    rk_status (*source)(void *user, int64_t i, rk_out *out, rk_error *err);
    void *user;
} rk_file_contents;

/* ---- for the implementation of containers ---- */

typedef struct rk_file_format {
    const char *name;
    /* Do these first n bytes (at most 4096) begin such a file? */
    bool (*probe)(const unsigned char *bytes, size_t n);
    /* Add tensors and metadata of the mapped bytes to f. On failure what was added is dropped. */
    rk_status (*read)(rk_file *f, const rk_map *map, rk_error *err);
} rk_file_format;

enum { RK_FILE_TENSORS_MAX = 1 << 18, RK_FILE_META_MAX = 1 << 16, RK_FILE_RAW_MAX = 1 << 12 };

/* An empty file, for one that consists of parts of others; name is for error messages. */
rk_status rk_file_new(rk_file **out, const char *container, const char *name, rk_error *err);
/* f's tensors may point into `part` from now on: f closes it, and rk_file_check checks it, too. */
rk_status rk_file_own(rk_file *f, rk_file *part, rk_error *err);
/* Copy a tensor's row; the name is copied, the data are not. Duplicate names are found by
 * rk_file_finish. bytes is checked against dtype and dims.
 * Errors  RK_ERR_FORMAT: the shape overflows, is no whole number of blocks a row, or its bytes are
 *         not t->bytes; RK_ERR_NOMEM. */
rk_status rk_file_add(rk_file *f, const rk_file_tensor *t, rk_error *err);
/* Take a tensor out again, before rk_file_finish. */
void rk_file_remove(rk_file *f, const char *name);
/* Copy a pair; n_value bytes that may hold no NUL. */
rk_status rk_file_add_meta(rk_file *f, const char *key, const char *value, rk_error *err);
/* Keep a value where it lies; the key is copied. */
rk_status rk_file_add_raw(rk_file *f, const rk_file_raw *raw, rk_error *err);
/* Memory, 64-byte aligned, that lives as long as f; NULL and an error when there is none. */
void *rk_file_alloc(rk_file *f, size_t bytes, rk_error *err);
/* For containers whose data begin where their tables end: move every tensor's data by `bytes`, then
 * refuse those that share bytes. */
rk_status rk_file_shift(rk_file *f, size_t bytes, rk_error *err);
/* Is t (NULL: no) n x cols numbers of f32, f64, bf16 or f16; cols 1: a vector of n? */
bool rk_file_are_numbers(const rk_file_tensor *t, int64_t n, int64_t cols);
/* Element i of such a tensor. */
float rk_file_number(const rk_file_tensor *t, int64_t i);
/* Sort the names, refuse duplicates, copy what is not aligned. */
rk_status rk_file_finish(rk_file *f, rk_error *err);
/* Bytes of a shape of a type. False: it overflows, or a row is no whole number of blocks. */
bool rk_file_shape_bytes(rk_dtype dtype, int n_dims, const int64_t *dims, size_t *bytes);

extern const rk_file_format rk_format_pth, rk_format_old_pth, rk_format_gguf, rk_format_rwkvcpp,
    rk_format_safetensors;

#endif
