/* pickle.h: reads the pickle of a PyTorch state_dict, which is a program, without running anything.
 *
 * It knows the opcodes and names that torch.save writes for a dictionary of tensors, and for one that
 * holds such a dictionary beside other plain values ({"model": ..., "optimizer": ...}), which are
 * those that torch.load takes with weights_only; it refuses all others by name. The result is a description of each tensor; their storages are entries of the
 * archive. */
#ifndef RK_IO_PICKLE_H
#define RK_IO_PICKLE_H

#include "base/dtype.h"
#include "base/error.h"

enum { RK_PICKLE_DIMS_MAX = 8, RK_PICKLE_BYTES_MAX = 1 << 20 };

typedef struct rk_pickle_text {
    const char *s; /* in the pickle; not NUL-terminated */
    size_t n;
} rk_pickle_text;

typedef struct rk_pickle_tensor {
    rk_pickle_text name;
    rk_pickle_text key; /* of its storage */
    rk_dtype dtype;     /* RK_DTYPE_COUNT: one that is not read */
    int64_t numel;      /* elements of the storage */
    int64_t offset;
    int n_dims;
    int64_t dims[RK_PICKLE_DIMS_MAX], strides[RK_PICKLE_DIMS_MAX];
} rk_pickle_tensor;

/* Called for each tensor of the dictionary, in its order. */
typedef rk_status rk_pickle_fn(void *user, const rk_pickle_tensor *t, rk_error *err);

/* Read a pickle of at most RK_PICKLE_BYTES_MAX bytes; name is the file's, for error messages.
 * Errors  RK_ERR_FORMAT: it is damaged, or no dictionary of tensors; RK_ERR_UNSUPPORTED: an opcode,
 *         a name or a type that no such dictionary needs; RK_ERR_NOMEM; what fn returns. */
rk_status rk_pickle_read(const unsigned char *bytes, size_t n, const char *name, rk_pickle_fn *fn,
                         void *user, rk_error *err);

#endif
