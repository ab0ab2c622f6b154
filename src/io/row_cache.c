/* row_cache.c: places for rows in a ring by age, and a table that says where each row is.
 *
 * The table has an entry for every row of the file instead of hashing: 4 bytes beside the hundreds that a
 * row has, of which pages are touched as rows are. */
#include "io/row_cache.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"

enum { ALIGN = 64 };

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
    int32_t newest, oldest;
    uint32_t fetch; /* counts, from 1 on */
    rk_row_stats stats;
};

size_t rk_row_cache_bytes(size_t row_bytes, int64_t n_rows, int64_t capacity)
{
    return sizeof(rk_row_cache) + (size_t)capacity * (row_bytes + sizeof(place)) +
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
    }
    if (turn && c->data && c->places && c->place_of) {
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

/* A place for a row that is not held: an empty one, or the oldest row's; -1 where this fetch wants all that
 * are held. */
static int32_t take_place(rk_row_cache *c)
{
    if (c->n_held < c->capacity)
        return (int32_t)c->n_held++;
    const int32_t i = c->oldest;
    if (c->places[i].fetch == c->fetch)
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

/* Bring a row that is not held into place i. */
static rk_status bring_in(rk_row_cache *c, int32_t row, int32_t i, rk_error *err)
{
    const rk_status st =
        rk_map_read(c->map, c->at + (size_t)row * c->row_bytes, data_of(c, i), c->row_bytes, err);
    if (st != RK_OK)
        return st;
    c->places[i].row = row;
    c->place_of[row] = i + 1;
    link_newest(c, i);
    c->stats.misses++;
    c->stats.bytes_read += (int64_t)c->row_bytes;
    return RK_OK;
}

/* Place of a row, brought in where it is not held; -1: there is none left for this fetch. */
static rk_status find(rk_row_cache *c, int32_t row, int32_t *i, rk_error *err)
{
    *i = c->place_of[row] - 1;
    if (*i < 0) {
        *i = take_place(c);
        return *i < 0 ? RK_OK : bring_in(c, row, *i, err);
    }
    unlink_place(c, *i);
    link_newest(c, *i);
    c->stats.hits++;
    return RK_OK;
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

rk_status rk_row_cache_fetch(rk_row_cache *c, const int32_t *ids, int64_t n, const void **rows,
                             int64_t *n_found, rk_error *err)
{
    const int64_t misses = c->stats.misses;
    rk_status st = RK_OK;
    int64_t k = 0;
    begin_fetch(c);
    for (; k < n; k++) {
        int32_t i = -1;
        st = find(c, ids[k], &i, err);
        if (st != RK_OK || i < 0)
            break;
        rows[k] = data_of(c, i);
    }
    if (st == RK_OK && c->stats.misses > misses)
        st = rk_map_check(c->map, err);
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
