/* residence.c: caches and pages of a model that is not held whole.
 *
 * A block that passes is used in the pages of the file's mapping and dropped behind it: what the system has
 * read ahead is its own memory until it is touched, so the process holds one block, and the system's copy of
 * the next is the second buffer. A buffer of our own, filled by a thread, was the alternative: it copies
 * every byte once more, counts twice, and needs weights whose place changes under those who read them. */
#include "model/residence.h"

#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "kernels/blocks.h"
#include "kernels/ranges.h"
#include "model/pack.h"
#include "tensor/ops.h"
#include "tensor/sparse_mix.h"

/* ---- what can be limited ---- */

static const rk_map *map_of(const rk_model *m, const rk_tensor *t)
{
    return m->file && t->data && !t->packed ? rk_file_map_of(m->file, t->data) : NULL;
}

const rk_tensor *rk_residence_table(const rk_model *m)
{
    for (int64_t i = 0; i < m->n_params; i++)
        if (rk_param_of_model(m->params[i].spec) && m->params[i].used &&
            rk_param_is_table(&m->params[i]))
            return &m->params[i].tensor;
    return m->head->matrix;
}

bool rk_residence_can_cache(const rk_model *m, const rk_tensor *table)
{
    return table->n_dims == 2 && rk_tensor_is_contiguous(table) && table->dtype != RK_F64 &&
           table->dims[0] <= INT32_MAX && map_of(m, table);
}

/* Does a parameter's place in the file go with its layer? Records have ways of their own. */
static bool is_of_layer(const rk_param *p, int64_t layer)
{
    return !rk_param_of_model(p->spec) && p->layer == layer && p->tensor.data &&
           p->role != RK_ROLE_RECORDS;
}

bool rk_residence_can_pass(const rk_model *m)
{
    if (!m->file)
        return false;
    for (int64_t i = 0; i < m->n_params; i++)
        if (rk_dtype_is_blocks(m->params[i].tensor.dtype))
            return false;
    return true;
}

bool rk_residence_can_cache_records(const rk_model *m)
{
    for (int64_t l = 0; l < m->hp.n_layer && m->hp.ffn_records; l++) {
        const rk_tensor *t = m->mixes[l].records;
        if (!rk_tensor_is_contiguous(t) || !map_of(m, t))
            return false;
    }
    return m->hp.ffn_records != 0;
}

bool rk_residence_can_cut_head(const rk_model *m)
{
    const rk_tensor *t = m->head->matrix;
    return !rk_dtype_is_blocks(t->dtype) && rk_residence_can_cache(m, t);
}

size_t rk_residence_row_bytes(const rk_tensor *table)
{
    return rk_tensor_bytes(table) / (size_t)table->dims[0];
}

/* ---- made and freed ---- */

/* A tensor that was brought in, and its place in the file. */
typedef struct rk_moved {
    rk_tensor *tensor;
    void *from;
} rk_moved;

void rk_residence_free(struct rk_residence *r)
{
    if (!r)
        return;
    for (int64_t l = 0; l < RK_LAYERS_MAX; l++)
        rk_row_cache_free(r->records[l]);
    rk_row_cache_free(r->emb);
    free(r->moved);
    free(r->memory);
    free(r);
}

void rk_model_drop_pages(const rk_model *m)
{
    const rk_map *last = NULL;
    for (int64_t i = 0; i < m->n_params; i++) {
        const rk_map *map = map_of(m, &m->params[i].tensor);
        if (map && map != last)
            rk_map_drop(map, map->data, map->size);
        last = map;
    }
}

static rk_status make_cache(rk_row_cache **out, const rk_model *m, const rk_tensor *table,
                            int64_t rows, rk_error *err)
{
    if (rows == 0 || !rk_residence_can_cache(m, table))
        return RK_OK;
    return rk_row_cache_new(out, map_of(m, table), table->data, rk_residence_row_bytes(table),
                            table->dims[0], rows, err);
}

/* Records come through these caches from now on; NULL: from where they lie. */
static void use_records(rk_model *m, const struct rk_residence *r)
{
    for (int64_t l = 0; l < m->hp.n_layer && m->hp.ffn_records; l++) {
        m->mixes[l].cache = r ? r->records[l] : NULL;
        m->mixes[l].map = m->mixes[l].cache ? map_of(m, m->mixes[l].records) : NULL;
    }
}

static rk_status make_records(struct rk_residence *r, const rk_model *m, rk_error *err)
{
    rk_status st = RK_OK;
    if (r->hold.records == 0 || !rk_residence_can_cache_records(m))
        return RK_OK;
    for (int64_t l = 0; l < m->hp.n_layer && st == RK_OK; l++) {
        const rk_tensor *t = m->mixes[l].records;
        st = rk_row_cache_new(&r->records[l], map_of(m, t), t->data, rk_residence_row_bytes(t),
                              t->dims[0], r->hold.records, err);
    }
    return st;
}

static void put_back(const struct rk_residence *r)
{
    for (int64_t i = 0; r && i < r->n_moved; i++)
        r->moved[i].tensor->data = r->moved[i].from;
}

rk_status rk_model_hold(rk_model *m, const rk_hold *hold, rk_error *err)
{
    struct rk_residence *r = calloc(1, sizeof *r);
    use_records(m, NULL);
    put_back(m->residence);
    rk_residence_free(m->residence);
    m->residence = NULL;
    if (!r)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for caches");
    r->hold = *hold;
    if (!rk_residence_can_pass(m))
        r->hold.layers = m->hp.n_layer;
    if (!rk_residence_can_cut_head(m))
        r->hold.head_at_once = 0;
    rk_status st = make_cache(&r->emb, m, rk_residence_table(m), hold->emb_rows, err);
    if (st == RK_OK)
        st = make_records(r, m, err);
    if (st != RK_OK) {
        rk_residence_free(r);
        return st;
    }
    m->residence = r;
    use_records(m, r);
    rk_model_drop_pages(m);
    return RK_OK;
}

/* ---- bringing in ---- */

/* Is it to be in memory all the time? What is packed comes from the file once more. */
static bool is_held(const rk_model *m, int64_t i)
{
    const struct rk_residence *r = m->residence;
    const rk_param *p = &m->params[i];
    if (!p->used || !map_of(m, &p->tensor) || rk_model_packed_bytes(m, i) > 0)
        return false;
    if (p->role == RK_ROLE_RECORDS)
        return !r->records[p->layer];
    if (!rk_param_of_model(p->spec))
        return p->layer < r->hold.layers;
    if (&p->tensor == m->head->matrix)
        return r->hold.head_at_once == 0;
    return !r->emb || &p->tensor != rk_residence_table(m);
}

static size_t held_bytes(const rk_model *m)
{
    size_t bytes = 0;
    for (int64_t i = 0; i < m->n_params; i++)
        if (is_held(m, i))
            bytes += rk_align_up(rk_tensor_bytes(&m->params[i].tensor), RK_ARENA_ALIGN);
    return bytes;
}

static rk_status bring(struct rk_residence *r, const rk_map *map, rk_tensor *t, void *to,
                       rk_error *err)
{
    const size_t at = (size_t)((const unsigned char *)t->data - map->data);
    const rk_status st = rk_map_read(map, at, to, rk_tensor_bytes(t), err);
    if (st != RK_OK)
        return st;
    r->moved[r->n_moved++] = (rk_moved){t, t->data};
    t->data = to;
    return rk_map_check(map, err);
}

rk_status rk_model_bring_in(rk_model *m, rk_error *err)
{
    struct rk_residence *r = m->residence;
    const size_t bytes = held_bytes(m);
    rk_status st = RK_OK;
    r->moved = calloc((size_t)m->n_params, sizeof *r->moved);
    r->memory = aligned_alloc(RK_ARENA_ALIGN, bytes + RK_ARENA_ALIGN);
    unsigned char *at = r->memory;
    if (!r->moved || !at)
        return rk_fail(err, RK_ERR_NOMEM, "%s: out of memory for %zu bytes", rk_file_name(m->file),
                       bytes);
    for (int64_t i = 0; i < m->n_params && st == RK_OK; i++) {
        rk_tensor *t = &m->params[i].tensor;
        if (!is_held(m, i))
            continue;
        st = bring(r, map_of(m, t), t, at, err);
        at += rk_align_up(rk_tensor_bytes(t), RK_ARENA_ALIGN);
    }
    return st;
}

/* ---- embeddings ---- */

static void widen_row(rk_ctx *ctx, const rk_tensor *table, const void *row, float *y)
{
    if (rk_dtype_is_blocks(table->dtype))
        rk_blocks_widen(table->dtype, table->dims[1], row, y);
    else
        ctx->kernels->widen(table->dims[1], row, table->dtype, y);
}

/* In pieces of what fits into the cache at once. */
static rk_status fetch_rows(rk_ctx *ctx, rk_row_cache *c, const rk_tensor *table,
                            const int32_t *ids, int64_t n, float *y, rk_error *err)
{
    enum { AT_ONCE = 64 };
    const void *rows[AT_ONCE];
    rk_status st = RK_OK;
    rk_row_cache_lock(c);
    while (n > 0 && st == RK_OK) {
        int64_t found = 0;
        st = rk_row_cache_fetch(c, ctx->pool, ids, rk_min_i64(n, AT_ONCE), rows, &found, err);
        for (int64_t i = 0; i < found && st == RK_OK; i++, y += table->dims[1])
            widen_row(ctx, table, rows[i], y);
        ids += found;
        n -= found;
    }
    rk_row_cache_unlock(c);
    return st;
}

static bool are_rows(rk_ctx *ctx, const rk_tensor *table, const rk_tensor *ids)
{
    const int32_t *id = ids->data;
    for (int64_t i = 0; i < rk_tensor_count(ids); i++)
        if (id[i] < 0 || id[i] >= table->dims[0]) {
            rk_ctx_fail(ctx, RK_ERR_ARG, "token %lld is %d: expected 0 to %lld", (long long)i,
                        id[i], (long long)table->dims[0] - 1);
            return false;
        }
    return true;
}

rk_tensor *rk_model_embed(rk_ctx *ctx, const rk_model *m, rk_tensor *table, rk_tensor *ids)
{
    rk_row_cache *c = m->residence ? m->residence->emb : NULL;
    rk_error err = {0};
    if (!c || ctx->recording || rk_ctx_failed(ctx))
        return rk_embedding(ctx, table, ids);
    int64_t dims[RK_MAX_DIMS];
    memcpy(dims, ids->dims, sizeof dims);
    dims[ids->n_dims] = table->dims[1];
    rk_tensor *y = rk_new(ctx, RK_F32, ids->n_dims + 1, dims);
    if (!y || ctx->planning || !are_rows(ctx, table, ids))
        return y;
    const rk_status st = fetch_rows(ctx, c, table, ids->data, rk_tensor_count(ids), y->data, &err);
    if (st != RK_OK)
        rk_ctx_fail(ctx, st, "%s", err.msg);
    return y;
}

/* ---- blocks ---- */

static bool passes(const rk_ctx *ctx, const rk_model *m, int64_t layer)
{
    return m->residence && !ctx->planning && layer >= m->residence->hold.layers;
}

static void ask_for(const rk_model *m, int64_t layer)
{
    for (int64_t i = 0; i < m->n_params; i++) {
        const rk_tensor *t = &m->params[i].tensor;
        const rk_map *map = is_of_layer(&m->params[i], layer) ? map_of(m, t) : NULL;
        if (map)
            rk_map_will_need(map, t->data, rk_tensor_bytes(t));
    }
}

/* The next block that passes is read while this one is computed, and the first one behind the last. */
void rk_residence_enter(const rk_ctx *ctx, const rk_model *m, int64_t layer)
{
    const int64_t next = layer + 1 < m->hp.n_layer ? layer + 1 : 0;
    if (m->residence && !ctx->planning && m->residence->hold.layers < m->hp.n_layer)
        ask_for(m, rk_max_i64(next, m->residence->hold.layers));
}

void rk_residence_leave(const rk_ctx *ctx, const rk_model *m, int64_t layer)
{
    if (!passes(ctx, m, layer))
        return;
    for (int64_t i = 0; i < m->n_params; i++) {
        const rk_tensor *t = &m->params[i].tensor;
        const rk_map *map = is_of_layer(&m->params[i], layer) ? map_of(m, t) : NULL;
        if (map)
            rk_map_drop_around(map, t->data, rk_tensor_bytes(t));
    }
}

/* ---- the head in pieces ---- */

static bool head_passes(const rk_model *m)
{
    return m->residence && m->residence->hold.head_at_once > 0;
}

static unsigned char *head_row(const rk_model *m, int64_t row)
{
    const rk_tensor *w = m->head->matrix;
    return (unsigned char *)w->data + (size_t)row * rk_residence_row_bytes(w);
}

int64_t rk_residence_head_rows(const rk_model *m)
{
    return head_passes(m) ? m->residence->hold.head_at_once : m->head->matrix->dims[0];
}

void rk_residence_head_used(const rk_model *m, int64_t lo, int64_t n)
{
    const rk_tensor *w = m->head->matrix;
    if (head_passes(m))
        rk_map_drop_around(map_of(m, w), head_row(m, lo), (size_t)n * rk_residence_row_bytes(w));
}

void rk_residence_head_next(const rk_model *m, int64_t lo, int64_t n)
{
    const rk_tensor *w = m->head->matrix;
    if (head_passes(m) && lo < w->dims[0])
        rk_map_will_need(map_of(m, w), head_row(m, lo), (size_t)n * rk_residence_row_bytes(w));
}

/* Columns [lo, lo + n) of the scores, which go to y where they are a row, and else by way of `piece`. */
static void head_piece(rk_ctx *ctx, const rk_model *m, rk_tensor *rows, int64_t lo, int64_t n,
                       float *piece, rk_tensor *y)
{
    const rk_tensor *w = m->head->matrix;
    const int64_t n_rows = rk_tensor_rows(rows), n_vocab = w->dims[0];
    const int64_t part[2] = {n, w->dims[1]}, scores[2] = {n_rows, n};
    unsigned char *at = w->data ? head_row(m, lo) : NULL;
    float *to = n_rows == 1 && y->data ? (float *)y->data + lo : piece;
    rk_tensor matrix = rk_tensor_over(w->dtype, 2, part, at);
    const rk_ranges ranges = w->ranges ? rk_ranges_from(w->ranges, lo) : (rk_ranges){0};
    matrix.ranges = w->ranges ? &ranges : NULL;
    rk_tensor out = rk_tensor_over(RK_F32, 2, scores, to);
    rk_linear_into(ctx, rows, rk_weight_of(&matrix, RK_OUT_IN), &out);
    if (ctx->planning || rk_ctx_failed(ctx))
        return;
    for (int64_t r = 0; r < n_rows && to == piece; r++)
        memcpy((float *)y->data + r * n_vocab + lo, piece + r * n, (size_t)n * sizeof *piece);
    rk_residence_head_next(m, lo + n, rk_min_i64(n, n_vocab - lo - n));
    rk_residence_head_used(m, lo, n);
}

void rk_model_head_into(rk_ctx *ctx, const rk_model *m, rk_tensor *rows, rk_tensor *y)
{
    const int64_t at_once = rk_residence_head_rows(m), n_vocab = m->head->matrix->dims[0];
    if (at_once >= n_vocab || rk_ctx_failed(ctx)) {
        rk_linear_into(ctx, rows, *m->head, y);
        return;
    }
    if (rk_weight_is_adapted(ctx, m->head)) {
        rk_ctx_fail(ctx, RK_ERR_UNSUPPORTED,
                    "an adapter of the head needs all of it in memory: more than --mem-max allows");
        return;
    }
    const int64_t n_rows = rk_tensor_rows(rows);
    float *piece =
        n_rows > 1 ? rk_ctx_alloc(ctx, (size_t)(n_rows * at_once) * sizeof *piece) : NULL;
    for (int64_t lo = 0; lo < n_vocab && !rk_ctx_failed(ctx); lo += at_once) {
        const rk_arena_mark mark = rk_arena_get_mark(&ctx->data);
        head_piece(ctx, m, rows, lo, rk_min_i64(at_once, n_vocab - lo), piece, y);
        rk_arena_release(&ctx->data, mark);
    }
}
