/* token_rows.c: pages of rows that states share.
 *
 * A page knows how many of its rows are spoken for. A state that ends there has them all behind it
 * and may speak for more; one that ends before, because another went on from the same place, may
 * not, unless it is alone with the page. That is asked and answered by one atomic exchange, so
 * copies of a state may go on in different threads. */
#include "infer/token_rows.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "kernels/blocks.h"

struct rk_page {
    atomic_int n_users;
    atomic_int n_taken; /* rows */
    unsigned char *data;
};

static size_t page_bytes(const rk_token_rows *r)
{
    return rk_token_rows_bytes(r->type, r->layout->token_count * RK_PAGE_ROWS);
}

static rk_page *page_new(const rk_token_rows *r, int64_t n_taken, rk_error *err)
{
    const size_t bytes = rk_align_up(page_bytes(r), RK_ARENA_ALIGN);
    rk_page *p = calloc(1, sizeof *p);
    if (p) {
        atomic_init(&p->n_users, 1);
        atomic_init(&p->n_taken, (int)n_taken);
        p->data = aligned_alloc(RK_ARENA_ALIGN, bytes);
    }
    if (!p || !p->data) {
        free(p);
        rk_fail(err, RK_ERR_NOMEM, "out of memory for a state: %zu bytes for %d tokens", bytes,
                RK_PAGE_ROWS);
        return NULL;
    }
    return p;
}

static void page_drop(rk_page *p)
{
    if (atomic_fetch_sub(&p->n_users, 1) > 1)
        return;
    free(p->data);
    free(p);
}

static bool is_alone(rk_page *p)
{
    return atomic_load(&p->n_users) == 1;
}

/* A state that has the first n rows behind it wants to write up to row `end`. */
static bool page_take(rk_page *p, int64_t n, int64_t end)
{
    int taken = (int)n;
    if (atomic_compare_exchange_strong(&p->n_taken, &taken, (int)end))
        return true;
    if (!is_alone(p))
        return false;
    atomic_store(&p->n_taken, (int)end);
    return true;
}

/* A row of a head in the page at data. */
static unsigned char *row_of(const rk_token_rows *r, unsigned char *data, const rk_state_entry *p,
                             int64_t head, int64_t row)
{
    const int64_t at = (head * RK_PAGE_ROWS + row % RK_PAGE_ROWS) * rk_token_rows_size(p);
    return data + rk_token_rows_offset(r->type, p) + rk_token_rows_bytes(r->type, at);
}

/* The first n rows, of all parts. */
static void copy_rows(const rk_token_rows *r, int64_t n, unsigned char *to, unsigned char *from)
{
    for (int i = 0; i < r->layout->n_parts; i++) {
        const rk_state_entry *p = &r->layout->parts[i];
        const int64_t size = rk_token_rows_size(p);
        for (int64_t h = 0; h < p->count / size && rk_state_grows(p); h++)
            memcpy(row_of(r, to, p, h, 0), row_of(r, from, p, h, 0),
                   rk_token_rows_bytes(r->type, n * size));
    }
}

/* ---- rows ---- */

void rk_token_rows_deinit(rk_token_rows *r)
{
    rk_token_rows_truncate(r, 0);
    free(r->pages);
    free(r->data);
}

void rk_token_rows_truncate(rk_token_rows *r, int64_t n)
{
    const int64_t n_pages = rk_ceil_div(n, RK_PAGE_ROWS);
    r->n = n;
    while (r->n_pages > n_pages)
        page_drop(r->pages[--r->n_pages]);
}

static rk_status make_room(rk_token_rows *r, int64_t n_pages, rk_error *err)
{
    if (n_pages <= r->pages_max)
        return RK_OK;
    const int64_t max = rk_max_i64(n_pages, 2 * r->pages_max);
    rk_page **pages = realloc(r->pages, (size_t)max * sizeof *pages);
    r->pages = pages ? pages : r->pages;
    unsigned char **data = realloc(r->data, (size_t)max * sizeof *data);
    r->data = data ? data : r->data;
    if (!pages || !data)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for a state's pages");
    r->pages_max = max;
    return RK_OK;
}

static void put_page(rk_token_rows *r, int64_t i, rk_page *p)
{
    r->pages[i] = p;
    r->data[i] = p->data;
}

rk_status rk_token_rows_copy(rk_token_rows *to, const rk_token_rows *from, rk_error *err)
{
    const int64_t n_pages = rk_ceil_div(from->n, RK_PAGE_ROWS);
    if (to == from)
        return RK_OK;
    const rk_status st = make_room(to, n_pages, err);
    if (st != RK_OK)
        return st;
    /* Pages of `from` that `to` has had are now its own: it may write on in the last. */
    rk_token_rows_truncate(to, 0);
    if (from->n % RK_PAGE_ROWS && is_alone(from->pages[n_pages - 1]))
        atomic_store(&from->pages[n_pages - 1]->n_taken, (int)(from->n % RK_PAGE_ROWS));
    for (int64_t i = 0; i < n_pages; i++) {
        atomic_fetch_add(&from->pages[i]->n_users, 1);
        put_page(to, i, from->pages[i]);
    }
    to->type = from->type;
    to->n_max = from->n_max;
    to->n = from->n;
    to->n_pages = n_pages;
    return RK_OK;
}

/* Let the last page, which is not full, have room for rows up to `end` of it. */
static rk_status extend_last(rk_token_rows *r, int64_t end, rk_error *err)
{
    const int64_t last = r->n_pages - 1, n = r->n % RK_PAGE_ROWS;
    if (page_take(r->pages[last], n, end))
        return RK_OK;
    rk_page *own = page_new(r, end, err);
    if (!own)
        return RK_ERR_NOMEM;
    copy_rows(r, n, own->data, r->data[last]);
    page_drop(r->pages[last]);
    put_page(r, last, own);
    return RK_OK;
}

rk_status rk_token_rows_check_room(const rk_token_rows *r, int64_t n, rk_error *err)
{
    if (r->n_max == 0 || n <= r->n_max - r->n)
        return RK_OK;
    return rk_fail(err, RK_ERR_FULL,
                   "the context is full: it holds %" PRId64 " tokens (--ctx-size), %" PRId64
                   " are read, and %" PRId64 " more do not fit",
                   r->n_max, r->n, n);
}

rk_status rk_token_rows_check_type(const rk_state_layout *l, rk_dtype type, rk_error *err)
{
    const int64_t block = rk_dtype_block(type);
    for (int i = 0; i < l->n_parts; i++) {
        const rk_state_entry *p = &l->parts[i];
        const int64_t size = rk_token_rows_size(p);
        if (rk_state_grows(p) && size % block != 0)
            return rk_fail(err, RK_ERR_UNSUPPORTED,
                           "a cache of %s needs heads of a multiple of %" PRId64
                           ", the model's are of %" PRId64,
                           rk_dtype_name(type), block, size);
    }
    return RK_OK;
}

rk_status rk_token_rows_reserve(rk_token_rows *r, int64_t n, rk_error *err)
{
    const int64_t end = r->n + n, n_pages = rk_ceil_div(end, RK_PAGE_ROWS);
    rk_token_rows_truncate(r, r->n); /* what a call that failed has left behind */
    rk_status st = rk_token_rows_check_room(r, n, err);
    if (st == RK_OK)
        st = make_room(r, n_pages, err);
    if (st == RK_OK && r->n % RK_PAGE_ROWS)
        st = extend_last(r, rk_min_i64(RK_PAGE_ROWS, r->n % RK_PAGE_ROWS + n), err);
    while (st == RK_OK && r->n_pages < n_pages) {
        const int64_t begin = r->n_pages * RK_PAGE_ROWS;
        rk_page *p = page_new(r, rk_min_i64(RK_PAGE_ROWS, end - begin), err);
        if (!p)
            return RK_ERR_NOMEM;
        put_page(r, r->n_pages++, p);
    }
    return st;
}

rk_status rk_token_rows_resize(rk_token_rows *r, int64_t n, rk_error *err)
{
    rk_token_rows_truncate(r, 0);
    const rk_status st = rk_token_rows_reserve(r, n, err);
    if (st == RK_OK)
        r->n = n;
    return st;
}

/* ---- in one piece ---- */

/* n elements as they lie in a page, and back. */
static void widen(rk_dtype type, int64_t n, const void *x, float *y)
{
    if (rk_dtype_is_blocks(type))
        rk_blocks_widen(type, n, x, y);
    else
        rk_kernels_ref_f32.widen(n, x, type, y);
}

static void narrow(rk_dtype type, int64_t n, const float *x, void *y)
{
    if (rk_dtype_is_blocks(type))
        rk_blocks_narrow(type, n, x, NULL, y);
    else
        rk_kernels_ref_f32.narrow(n, x, y, type);
}

void rk_token_rows_get(const rk_token_rows *r, const rk_state_entry *p, float *x)
{
    const int64_t size = rk_token_rows_size(p);
    for (int64_t i = 0; i < r->n; i++)
        for (int64_t h = 0; h < p->count / size; h++, x += size)
            widen(r->type, size, row_of(r, r->data[i / RK_PAGE_ROWS], p, h, i), x);
}

void rk_token_rows_set(rk_token_rows *r, const rk_state_entry *p, const float *x)
{
    const int64_t size = rk_token_rows_size(p);
    for (int64_t i = 0; i < r->n; i++)
        for (int64_t h = 0; h < p->count / size; h++, x += size)
            narrow(r->type, size, x, row_of(r, r->data[i / RK_PAGE_ROWS], p, h, i));
}
