/* token_list.c: arrays that double. */
#include "data/token_list.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "data/bits.h"

void rk_token_list_init(rk_token_list *l, rk_id_type type)
{
    *l = (rk_token_list){.type = type};
}

void rk_token_list_deinit(rk_token_list *l)
{
    free(l->ids);
    free(l->counts);
    free(l->ends);
    *l = (rk_token_list){.type = l->type};
}

void rk_token_list_clear(rk_token_list *l)
{
    free(l->counts);
    l->counts = NULL;
    l->n = l->n_docs = 0;
    l->failed = false;
}

static size_t ids_bytes(const rk_token_list *l, int64_t n)
{
    return (size_t)n * rk_id_kinds[l->type].bytes;
}

static bool grow_ids(rk_token_list *l, int64_t max)
{
    size_t bytes;
    if (!rk_mul_ok((size_t)max, rk_id_kinds[l->type].bytes, &bytes))
        return false;
    void *ids = realloc(l->ids, bytes);
    if (!ids)
        return false;
    l->ids = ids;
    unsigned char *counts = l->counts ? realloc(l->counts, rk_bits_bytes(max)) : NULL;
    if (l->counts && !counts)
        return false;
    l->counts = counts;
    l->max = max;
    return true;
}

static bool reserve(rk_token_list *l, int64_t more)
{
    if (!l->failed && more > l->max - l->n)
        l->failed = !grow_ids(l, rk_max_i64(l->n + more, 2 * l->max));
    return !l->failed;
}

/* From here on tokens may not count. */
static bool need_counts(rk_token_list *l)
{
    if (!l->counts && (l->counts = malloc(rk_bits_bytes(rk_max_i64(l->max, 1)))))
        rk_bits_fill(l->counts, 0, l->n, true);
    l->failed = l->failed || !l->counts;
    return !l->failed;
}

void rk_token_list_add(rk_token_list *l, const int32_t *ids, int64_t n, bool count)
{
    if (!reserve(l, n) || (!count && !need_counts(l)))
        return;
    if (l->type == RK_ID_U16)
        for (int64_t i = 0; i < n; i++)
            ((uint16_t *)l->ids)[l->n + i] = (uint16_t)ids[i];
    else
        memcpy((int32_t *)l->ids + l->n, ids, (size_t)n * sizeof *ids);
    if (l->counts)
        rk_bits_fill(l->counts, l->n, n, count);
    l->n += n;
}

static bool grow_ends(rk_token_list *l)
{
    const int64_t max = rk_max_i64(16, 2 * l->docs_max);
    int64_t *ends = realloc(l->ends, (size_t)max * sizeof *ends);
    if (!ends)
        return false;
    l->ends = ends;
    l->docs_max = max;
    return true;
}

static void add_end(rk_token_list *l, int64_t end)
{
    if (!l->failed && l->n_docs == l->docs_max)
        l->failed = !grow_ends(l);
    if (!l->failed)
        l->ends[l->n_docs++] = end;
}

void rk_token_list_end(rk_token_list *l)
{
    add_end(l, l->n);
}

void rk_token_list_join(rk_token_list *l, const rk_token_list *more)
{
    l->failed = l->failed || more->failed;
    if (!reserve(l, more->n) || (more->counts && !need_counts(l)))
        return;
    if (more->n > 0)
        memcpy((char *)l->ids + ids_bytes(l, l->n), more->ids, ids_bytes(l, more->n));
    if (l->counts)
        rk_bits_copy(l->counts, l->n, more->counts, more->n);
    for (int64_t i = 0; i < more->n_docs; i++)
        add_end(l, l->n + more->ends[i]);
    l->n += more->n;
}

void rk_token_list_shrink(rk_token_list *l)
{
    if (l->n > 0 && l->n < l->max)
        grow_ids(l, l->n); /* where that fails the list stays as it is */
}

rk_status rk_token_list_check(const rk_token_list *l, rk_error *err)
{
    return l->failed ? rk_fail(err, RK_ERR_NOMEM, "out of memory for %" PRId64 " tokens", l->n)
                     : RK_OK;
}
