/* records.c: where the records of a sparse channel mix lie: in the pages of their tensor. */
#include "tensor/sparse_mix.h"

const void *rk_records_range(const rk_sparse_mix *m, int64_t lo, int64_t n)
{
    const rk_tensor *t = m->records;
    (void)n;
    return (const char *)t->data + (size_t)(lo * 2 * t->dims[2]) * rk_dtype_bytes(t->dtype);
}

void rk_records_fetch(const rk_sparse_mix *m, const int32_t *list, int64_t n, const void **at)
{
    for (int64_t i = 0; i < n; i++)
        at[list[i]] = rk_records_range(m, list[i], 1);
}
