/* tensor.c: shapes and strides. */
#include "tensor/tensor.h"

#include <inttypes.h>
#include <stdio.h>

rk_tensor rk_tensor_over(rk_dtype dtype, int n_dims, const int64_t *dims, void *data)
{
    rk_tensor t = {.dtype = dtype, .n_dims = n_dims, .data = data};
    int64_t stride = 1;
    for (int d = n_dims - 1; d >= 0; d--) {
        t.dims[d] = dims[d];
        t.strides[d] = stride;
        stride *= dims[d];
    }
    return t;
}

int64_t rk_tensor_count(const rk_tensor *t)
{
    int64_t n = 1;
    for (int d = 0; d < t->n_dims; d++)
        n *= t->dims[d];
    return n;
}

size_t rk_tensor_bytes(const rk_tensor *t)
{
    return (size_t)(rk_tensor_count(t) / rk_dtype_block(t->dtype)) * rk_dtype_bytes(t->dtype);
}

bool rk_tensor_is_contiguous(const rk_tensor *t)
{
    int64_t stride = 1;
    for (int d = t->n_dims - 1; d >= 0; d--) {
        if (t->dims[d] != 1 && t->strides[d] != stride)
            return false;
        stride *= t->dims[d];
    }
    return true;
}

bool rk_tensor_same_shape(const rk_tensor *a, const rk_tensor *b)
{
    if (a->n_dims != b->n_dims)
        return false;
    for (int d = 0; d < a->n_dims; d++)
        if (a->dims[d] != b->dims[d])
            return false;
    return true;
}

int64_t rk_tensor_cols(const rk_tensor *t)
{
    return t->n_dims ? t->dims[t->n_dims - 1] : 1;
}

int64_t rk_tensor_rows(const rk_tensor *t)
{
    int64_t n = 1;
    for (int d = 0; d < t->n_dims - 1; d++)
        n *= t->dims[d];
    return n;
}

const char *rk_tensor_describe(const rk_tensor *t, char *buf, size_t size)
{
    size_t at = (size_t)snprintf(buf, size, "%s (", rk_dtype_name(t->dtype));
    for (int d = 0; d < t->n_dims && at < size; d++)
        at += (size_t)snprintf(buf + at, size - at, "%s%" PRId64, d ? "," : "", t->dims[d]);
    if (at < size)
        snprintf(buf + at, size - at, ")");
    return buf;
}
