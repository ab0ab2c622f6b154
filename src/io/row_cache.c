/* row_cache.c: places for rows in a ring by age, and a table that says where each row is.
 *
 * Missing rows that follow each other in the file and in what is asked for are read by one call.
 * The table has an entry for every row of the file instead of hashing: 4 bytes beside the hundreds that a
 * row has, of which pages are touched as rows are. */
#include "io/row_cache.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"

enum { ALIGN = 64, ROWS_OF_A_TASK = 64 };

typedef struct place {
    int32_t row, newer, older; /* neighbours in age */
    uint32_t fetch;            /* that asked for it last */
} place;

struct rk_row_cache {
    pthread_mutex_t turn;
    const rk_map *map;
    size_t at, row_bytes; /* of row 0 in the file */
    int64_t n_rows, capacity, n_held;
    unsigned char *data; /* (capacity) rows */
    place *places;       /* (capacity) */
    int32_t *place_of;   /* (n_rows): place + 1, 0: not held */
    int32_t *missing;    /* (capacity): places to be filled */
    int64_t n_missing;
    int32_t newest, oldest;
    uint32_t fetch; /* counts, from 1 on */
    rk_row_stats stats;
};

size_t rk_row_cache_bytes(size_t row_bytes, int64_t n_rows, int64_t capacity)
{
    return sizeof(rk_row_cache) + (size_t)capacity * (row_bytes + sizeof(place) + sizeof(int32_t)) +
           (size_t)n_rows * sizeof(int32_t);
}

rk_status rk_row_cache_new(rk_row_cache **out, const rk_map *map, const void *rows,
                           size_t row_bytes, int64_t n_rows, int64_t capacity, rk_error *err)
{
    rk_row_cache *c = calloc(1, sizeof *c);
    const bool turn = c && pthread_mutex_init(&c->turn, NULL) == 0;
    if (turn) {
        c->map = map;
        c->at = (size_t)((const unsigned char *)rows - map->data);
        c->row_bytes = row_bytes;
        c->n_rows = n_rows;
        c->capacity = rk_min_i64(capacity, n_rows);
        c->newest = c->oldest = -1;
        c->data = aligned_alloc(ALIGN, rk_align_up((size_t)c->capacity * row_bytes, ALIGN));
        c->places = malloc((size_t)c->capacity * sizeof *c->places);
        c->place_of = calloc((size_t)n_rows, sizeof *c->place_of);
        c->missing = malloc((size_t)c->capacity * sizeof *c->missing);
    }
    if (turn && c->data && c->places && c->place_of && c->missing) {
        *out = c;
        return RK_OK;
    }
    if (turn)
        rk_row_cache_free(c);
    else
        free(c);
    return rk_fail(err, RK_ERR_NOMEM, "%s: out of memory for %" PRId64 " rows of %zu bytes",
                   map->name, capacity, row_bytes);
}

void rk_row_cache_free(rk_row_cache *c)
{
    if (!c)
        return;
    pthread_mutex_destroy(&c->turn);
    free(c->data);
    free(c->places);
    free(c->place_of);
    free(c->missing);
    free(c);
}

void rk_row_cache_lock(rk_row_cache *c)
{
    pthread_mutex_lock(&c->turn);
}

void rk_row_cache_unlock(rk_row_cache *c)
{
    pthread_mutex_unlock(&c->turn);
}

/* ---- by age ---- */

static void unlink_place(rk_row_cache *c, int32_t i)
{
    const place *p = &c->places[i];
    if (p->newer >= 0)
        c->places[p->newer].older = p->older;
    else
        c->newest = p->older;
    if (p->older >= 0)
        c->places[p->older].newer = p->newer;
    else
        c->oldest = p->newer;
}

static void link_newest(rk_row_cache *c, int32_t i)
{
    place *p = &c->places[i];
    p->newer = -1;
    p->older = c->newest;
    p->fetch = c->fetch;
    if (c->newest >= 0)
        c->places[c->newest].newer = i;
    else
        c->oldest = i;
    c->newest = i;
}

/* A place for a row that is not held: an empty one, or the oldest row's. Rows that this fetch wants, too, are the
 * last to go, from the end of its list; before them it returns -1 unless it must. */
static int32_t take_place(rk_row_cache *c, bool must)
{
    if (c->n_held < c->capacity)
        return (int32_t)c->n_held++;
    const int32_t i = c->oldest;
    if (c->places[i].fetch == c->fetch && !must)
        return -1;
    c->place_of[c->places[i].row] = 0;
    unlink_place(c, i);
    return i;
}

static void forget_all(rk_row_cache *c)
{
    for (int32_t i = c->newest; i >= 0; i = c->places[i].older)
        c->place_of[c->places[i].row] = 0;
    c->newest = c->oldest = -1;
    c->n_held = 0;
}

/* ---- fetching ---- */

static void *data_of(const rk_row_cache *c, int32_t i)
{
    return c->data + (size_t)i * c->row_bytes;
}

/* Wanted are the rows of ids that are held, the first one most of all. */
static void keep_wanted(rk_row_cache *c, const int32_t *ids, int64_t n)
{
    for (int64_t k = n - 1; k >= 0; k--) {
        const int32_t i = c->place_of[ids[k]] - 1;
        if (i < 0)
            continue;
        unlink_place(c, i);
        link_newest(c, i);
    }
}

/* Place of a row, one that is to be filled where it is not held; -1: there is none left for this fetch. */
static int32_t find(rk_row_cache *c, int32_t row, bool must)
{
    int32_t i = c->place_of[row] - 1;
    if (i >= 0) {
        unlink_place(c, i);
        link_newest(c, i);
        c->stats.hits++;
        return i;
    }
    i = take_place(c, must);
    if (i < 0)
        return -1;
    c->places[i].row = row;
    c->place_of[row] = i + 1;
    link_newest(c, i);
    c->missing[c->n_missing++] = i;
    c->stats.misses++;
    c->stats.bytes_read += (int64_t)c->row_bytes;
    return i;
}

/* Reading what is missing, in tasks; the first error counts. */
typedef struct filling {
    rk_row_cache *c;
    atomic_int failed;
    pthread_mutex_t turn; /* of err */
    rk_error err;
} filling;

static int32_t row_of(const rk_row_cache *c, int64_t missing)
{
    return c->places[c->missing[missing]].row;
}

/* Places of the rows from missing[k] on that follow each other in the file; returns how many. */
static int64_t run_from(const rk_row_cache *c, int64_t k, int64_t end, void **to)
{
    int64_t n = 0;
    do {
        to[n] = data_of(c, c->missing[k + n]);
        n++;
    } while (k + n < end && row_of(c, k + n) == row_of(c, k) + n);
    return n;
}

static void fill_some(void *arg, int64_t task, int worker)
{
    filling *f = arg;
    const rk_row_cache *c = f->c;
    const int64_t lo = task * ROWS_OF_A_TASK, hi = rk_min_i64(lo + ROWS_OF_A_TASK, c->n_missing);
    rk_error err;
    (void)worker;
    for (int64_t k = lo, n; k < hi && !atomic_load(&f->failed); k += n) {
        void *to[ROWS_OF_A_TASK];
        n = run_from(c, k, hi, to);
        if (rk_map_read_rows(c->map, c->at + (size_t)row_of(c, k) * c->row_bytes, to, n,
                             c->row_bytes, &err) == RK_OK)
            continue;
        pthread_mutex_lock(&f->turn);
        f->err = err;
        atomic_store(&f->failed, 1);
        pthread_mutex_unlock(&f->turn);
    }
}

static rk_status fill(rk_row_cache *c, rk_pool *pool, rk_error *err)
{
    filling f = {.c = c, .turn = PTHREAD_MUTEX_INITIALIZER};
    const int64_t n = rk_ceil_div(c->n_missing, ROWS_OF_A_TASK);
    if (pool && n > 1)
        rk_pool_run_whole(pool, n, fill_some, &f);
    for (int64_t i = 0; i < n && !(pool && n > 1); i++)
        fill_some(&f, i, 0);
    pthread_mutex_destroy(&f.turn);
    if (!atomic_load(&f.failed))
        return c->n_missing > 0 ? rk_map_check(c->map, err) : RK_OK;
    return rk_fail(err, f.err.code, "%s", f.err.msg);
}

/* Counts of fetches that have come round must not be taken for this one. */
static void begin_fetch(rk_row_cache *c)
{
    if (++c->fetch != 0)
        return;
    for (int32_t i = c->newest; i >= 0; i = c->places[i].older)
        c->places[i].fetch = 0;
    c->fetch = 1;
}

rk_status rk_row_cache_fetch(rk_row_cache *c, rk_pool *pool, const int32_t *ids, int64_t n,
                             const void **rows, int64_t *n_found, rk_error *err)
{
    /* A list that is too long gives its later rows up for so many of its first ones, so that pieces are not
     * too small. */
    const int64_t least = rk_max_i64(c->capacity / 4, 1);
    int64_t k = 0;
    c->n_missing = 0;
    begin_fetch(c);
    keep_wanted(c, ids, n);
    for (; k < n; k++) {
        const int32_t i = find(c, ids[k], k < least);
        if (i < 0)
            break;
        rows[k] = data_of(c, i);
    }
    const rk_status st = fill(c, pool, err);
    if (st != RK_OK)
        forget_all(c);
    *n_found = k;
    return st;
}

int64_t rk_row_cache_oldest(const rk_row_cache *c)
{
    return c->oldest < 0 ? -1 : c->places[c->oldest].row;
}

rk_row_stats rk_row_cache_stats(const rk_row_cache *c)
{
    rk_row_stats s = c->stats;
    s.held = c->n_held;
    return s;
}

int64_t rk_row_cache_capacity(const rk_row_cache *c)
{
    return c->capacity;
}
