/* records.c: where the records of a sparse channel mix lie: in the pages of their tensor, or in a cache. */
#include "base/num.h"
#include "tensor/sparse_mix.h"

static size_t record_bytes(const rk_sparse_mix *m)
{
    const rk_tensor *t = m->records;
    return (size_t)(2 * t->dims[2]) * rk_dtype_bytes(t->dtype);
}

const void *rk_records_range(const rk_sparse_mix *m, int64_t lo, int64_t n)
{
    (void)n;
    return (const char *)m->records->data + (size_t)lo * record_bytes(m);
}

void rk_records_used(const rk_sparse_mix *m, int64_t lo, int64_t n)
{
    const size_t record = record_bytes(m);
    const char *at = rk_records_range(m, lo, n);
    const int64_t next = rk_min_i64(n, m->records->dims[0] - lo - n);
    if (!m->map)
        return;
    rk_map_will_need(m->map, at + (size_t)n * record, (size_t)next * record);
    rk_map_drop_around(m->map, at, (size_t)n * record);
}

void rk_records_begin(const rk_sparse_mix *m)
{
    if (m->cache)
        rk_row_cache_lock(m->cache);
}

void rk_records_end(const rk_sparse_mix *m)
{
    if (m->cache)
        rk_row_cache_unlock(m->cache);
}

rk_status rk_records_fetch(const rk_sparse_mix *m, rk_pool *pool, const int32_t *list, int64_t n,
                           const void **at, int64_t *n_found, rk_error *err)
{
    if (m->cache)
        return rk_row_cache_fetch(m->cache, pool, list, n, at, n_found, err);
    for (int64_t i = 0; i < n; i++)
        at[i] = rk_records_range(m, list[i], 1);
    *n_found = n;
    return RK_OK;
}
