/* row_cache.h: rows of a table that stays in its file, the last used ones in memory.
 *
 * Rows are read, not mapped: a page of a mapped file counts as memory of the process and brings fifteen
 * others with it, a row that is read takes its own bytes. What is held is bounded, and the row that was not
 * asked for the longest time goes first (LRU). Of rows that are asked for together, those that are held count
 * as asked for first: a list that is longer than the cache still finds them. */
#ifndef RK_IO_ROW_CACHE_H
#define RK_IO_ROW_CACHE_H

#include "base/pool.h"
#include "io/map.h"

typedef struct rk_row_cache rk_row_cache;

typedef struct rk_row_stats {
    int64_t hits, misses; /* rows asked for that were held, and that were not */
    int64_t bytes_read;
    int64_t held; /* rows, now; never more than the capacity */
} rk_row_stats;

/* rows: where row 0 of n_rows lies in the mapping, which outlives the cache; they follow each other.
 * capacity: rows held at most, 1 at least.
 * Errors  RK_ERR_NOMEM. */
rk_status rk_row_cache_new(rk_row_cache **out, const rk_map *map, const void *rows,
                           size_t row_bytes, int64_t n_rows, int64_t capacity, rk_error *err);
void rk_row_cache_free(rk_row_cache *c);
/* Memory that such a cache takes once it is full. */
size_t rk_row_cache_bytes(size_t row_bytes, int64_t n_rows, int64_t capacity);

/* Whoever fetches holds the cache from the first fetch until the rows are used. */
void rk_row_cache_lock(rk_row_cache *c);
void rk_row_cache_unlock(rk_row_cache *c);
/* Bring in the rows of the first *n_found ids of n, as many as fit at once, 1 at least; ids may repeat.
 * rows[i] is row ids[i], until the next fetch. Whoever has more ids goes on with those behind. pool reads
 * several at a time; NULL: one after the other.
 * Errors  RK_ERR_IO: the file is not what it was, or the system's reason; the cache is then empty. */
rk_status rk_row_cache_fetch(rk_row_cache *c, rk_pool *pool, const int32_t *ids, int64_t n,
                             const void **rows, int64_t *n_found, rk_error *err);
/* The held row that goes next, -1: none is held. For tests. */
int64_t rk_row_cache_oldest(const rk_row_cache *c);
rk_row_stats rk_row_cache_stats(const rk_row_cache *c);
int64_t rk_row_cache_capacity(const rk_row_cache *c);

#endif
