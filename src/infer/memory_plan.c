/* memory_plan.c: bytes of parts, and a choice among few ways to hold them.
 *
 * What the process takes already is measured and not guessed, scratch comes from planning the largest forward, and
 * weights from the shapes of tensors; so a plan is a sum, and no table of experience. */
#include "infer/memory_plan.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/memory.h"
#include "base/num.h"
#include "infer/engine.h"
#include "infer/scheduler.h"
#include "infer/token_rows.h"
#include "model/pack.h"

enum {
    EMB_ROWS = 1000,        /* that RWKV-Lite holds, */
    EMB_ROWS_LEAST = 16,    /* and those without which most tokens would be read again */
    HEAD_ROWS_LEAST = 256,  /* of the head, at once */
    RECORDS_LEAST = 64,     /* of a layer */
    RECORDS_AT_ONCE = 512,  /* that a prompt reads of a sparse channel mix */
    HEAD_AT_ONCE = 2 << 20, /* bytes of it */
    AROUND = 2 << 20,       /* pages around those that pass, of files held in pieces of this size */
    OWN = 512 * 1024,       /* tables of tensors, stacks, what lies around what is allocated */
};

/* ---- parts ---- */

static bool is_tied(const rk_model *m)
{
    return rk_residence_table(m) == m->head->matrix;
}

/* Bytes of a parameter once a session is made, and whether they are in the file's pages or will be the
 * process's own; 0: they are there already, or it has none. */
static size_t param_bytes(const rk_model *m, const rk_memory_parts *parts, int64_t i)
{
    const rk_param *p = &m->params[i];
    const size_t packed = parts->packs ? rk_model_packed_bytes(m, i) : 0;
    if (!p->used)
        return 0;
    if (!p->tensor.data && p->role == RK_ROLE_PLANES)
        return (size_t)rk_tensor_count(&p->tensor);
    if (!p->tensor.data)
        return (size_t)rk_tensor_count(&p->tensor) * rk_dtype_bytes(parts->type);
    if (packed > 0)
        return packed;
    return m->file && rk_file_map_of(m->file, p->tensor.data) ? rk_tensor_bytes(&p->tensor) : 0;
}

static size_t block_bytes(const rk_model *m, const rk_memory_parts *parts, int64_t layer)
{
    size_t bytes = 0;
    for (int64_t i = 0; i < m->n_params; i++)
        if (!rk_param_of_model(m->params[i].spec) && m->params[i].layer == layer &&
            m->params[i].role != RK_ROLE_RECORDS)
            bytes += param_bytes(m, parts, i);
    return bytes;
}

static size_t row_bytes(const rk_tensor *t, rk_dtype type)
{
    return t->data ? rk_residence_row_bytes(t) : (size_t)t->dims[1] * rk_dtype_bytes(type);
}

void rk_memory_parts_of(const rk_model *m, rk_dtype type, bool packs, rk_memory_parts *out)
{
    const rk_tensor *emb = rk_residence_table(m), *head = m->head->matrix;
    *out = (rk_memory_parts){.type = type,
                             .packs = packs,
                             .emb_row = row_bytes(emb, type),
                             .head_row = row_bytes(head, type)};
    for (int64_t i = 0; i < m->n_params; i++) {
        const rk_param *p = &m->params[i];
        const size_t bytes = param_bytes(m, out, i);
        if (packs && rk_model_packed_bytes(m, i) > 0 && rk_tensor_bytes(&p->tensor) > out->packing)
            out->packing = rk_tensor_bytes(&p->tensor);
        if (p->role == RK_ROLE_RECORDS) {
            out->records += bytes;
            out->record = bytes / (size_t)p->tensor.dims[0];
        }
        if (!rk_param_of_model(p->spec))
            continue;
        if (&p->tensor == head)
            out->head += bytes;
        else if (&p->tensor == emb)
            out->emb += bytes;
        else if (p->role == RK_ROLE_CLUSTERS)
            out->clusters += rk_tensor_rows(&p->tensor) > 1 ? bytes : 0;
        else
            out->rest += bytes;
    }
    for (int64_t l = 0; l < m->hp.n_layer; l++)
        out->blocks += block_bytes(m, out, l);
}

/* ---- what is held ---- */

/* Blocks that stay; *most: the largest one of the others. */
static size_t blocks_held(const rk_model *m, const rk_memory_parts *parts, int64_t n_held,
                          size_t *most)
{
    size_t held = 0;
    for (int64_t l = 0; l < m->hp.n_layer; l++) {
        const size_t bytes = block_bytes(m, parts, l);
        if (l < n_held)
            held += bytes;
        else if (bytes > *most)
            *most = bytes;
    }
    return held;
}

/* Embeddings that are held where not all of them are. */
static int64_t emb_rows_of(const rk_model *m)
{
    return rk_min_i64(m->hp.emb_rows > 0 ? m->hp.emb_rows : EMB_ROWS, m->hp.n_vocab);
}

static size_t emb_held(const rk_model *m, const rk_memory_parts *parts, const rk_hold *h)
{
    return h->emb_rows > 0
               ? rk_row_cache_bytes(parts->emb_row, rk_residence_table(m)->dims[0], h->emb_rows)
               : parts->emb;
}

/* Of a head that passes nothing stays, and *most grows to a piece. */
static size_t head_held(const rk_model *m, const rk_memory_parts *parts, const rk_hold *h,
                        size_t *most)
{
    if (h->head_at_once == 0)
        return parts->head;
    const size_t piece =
        (size_t)rk_min_i64(h->head_at_once, m->head->matrix->dims[0]) * parts->head_row;
    *most = piece > *most ? piece : *most;
    return 0;
}

static size_t records_held(const rk_model *m, const rk_memory_parts *parts, const rk_hold *h)
{
    const int64_t f = m->hp.dim_ffn;
    if (parts->records == 0 || h->records == 0)
        return parts->records;
    return (size_t)m->hp.n_layer * rk_row_cache_bytes(parts->record, f, rk_min_i64(h->records, f));
}

/* What passes does so one after the other: the largest piece of it counts. */
size_t rk_memory_held(const rk_model *m, const rk_memory_parts *parts, const rk_hold *h)
{
    size_t passing = 0;
    const size_t blocks = blocks_held(m, parts, h->layers, &passing);
    const size_t head = head_held(m, parts, h, &passing);
    if (h->records > 0 && passing < RECORDS_AT_ONCE * parts->record)
        passing = RECORDS_AT_ONCE * parts->record;
    return parts->clusters + parts->rest + parts->packing + emb_held(m, parts, h) + head +
           records_held(m, parts, h) + blocks + passing + (passing > 0 ? AROUND : 0);
}

/* ---- choosing ---- */

/* Rows of this size that fill `room` bytes, from `least` to `most` of them. */
static int64_t rows_in(size_t room, size_t row, int64_t least, int64_t most)
{
    return rk_min_i64(rk_max_i64((int64_t)(room / row), least), most);
}

/* Does it fit with h? */
static bool try_hold(const rk_model *m, const rk_memory_parts *parts, size_t room, rk_hold h,
                     rk_memory_plan *p)
{
    p->hold = h;
    p->weights = rk_memory_held(m, parts, &h);
    return p->weights <= room;
}

/* Bytes that a row more takes in a cache. */
static size_t row_cost(size_t row)
{
    return rk_row_cache_bytes(row, 0, 2) - rk_row_cache_bytes(row, 0, 1);
}

/* Let *rows grow to `most` as far as there is room; a row more takes `row` bytes. */
static void grow(size_t left, size_t row, int64_t most, int64_t *rows)
{
    if (*rows < most)
        *rows = rk_min_i64(most, *rows + (int64_t)(left / row));
}

/* Caches as large as there is room beside what p holds: records, then embeddings, of which a token reads one; and the
 * head stays if it fits as a whole. */
static void grow_caches(const rk_model *m, const rk_memory_parts *parts, size_t room,
                        rk_memory_plan *p)
{
    const size_t record = (size_t)m->hp.n_layer * row_cost(parts->record);
    rk_hold h = p->hold;
    if (h.records > 0)
        grow(room - p->weights, record, m->hp.dim_ffn, &h.records);
    try_hold(m, parts, room, h, p);
    if (h.emb_rows > 0)
        grow(room - p->weights, row_cost(parts->emb_row), emb_rows_of(m), &h.emb_rows);
    try_hold(m, parts, room, h, p);
    const rk_hold passing = h;
    if (m->hp.n_clusters > 0)
        h.head_at_once = 0;
    if (!try_hold(m, parts, room, h, p))
        try_hold(m, parts, room, passing, p);
}

/* Rows of the head that pass together. */
static int64_t head_piece(const rk_model *m, const rk_memory_parts *parts)
{
    return rows_in(HEAD_AT_ONCE, parts->head_row, HEAD_ROWS_LEAST, m->hp.n_vocab) / 64 * 64;
}

/* The least of what can come through caches; of chosen clusters that pass few rows are read. */
static void least_caches(const rk_model *m, const rk_memory_parts *parts, rk_hold *h)
{
    h->emb_rows = rk_min_i64(h->emb_rows, EMB_ROWS_LEAST);
    if (rk_residence_can_cache_records(m))
        h->records = rk_min_i64(RECORDS_LEAST, m->hp.dim_ffn);
    if (m->hp.n_clusters > 0 && rk_residence_can_cut_head(m))
        h->head_at_once = head_piece(m, parts);
}

/* What passes: the head in pieces, then as few blocks as will do. */
static void let_pass(const rk_model *m, const rk_memory_parts *parts, size_t room, rk_hold h,
                     rk_memory_plan *p)
{
    if (rk_residence_can_cut_head(m))
        h.head_at_once = head_piece(m, parts);
    if (h.head_at_once > 0 && rk_residence_can_cache(m, rk_residence_table(m)))
        h.emb_rows = rk_min_i64(EMB_ROWS_LEAST, emb_rows_of(m));
    while (!try_hold(m, parts, room, h, p) && h.layers > 0 && rk_residence_can_pass(m))
        h.layers--;
}

bool rk_memory_choose(const rk_model *m, const rk_memory_parts *parts, size_t room,
                      rk_memory_plan *p)
{
    rk_hold h = {.layers = m->hp.n_layer};
    p->whole = try_hold(m, parts, room, h, p);
    if (p->whole)
        return true;
    if (!is_tied(m) && rk_residence_can_cache(m, rk_residence_table(m)))
        h.emb_rows = emb_rows_of(m);
    if (try_hold(m, parts, room, h, p))
        return true;
    least_caches(m, parts, &h);
    if (!try_hold(m, parts, room, h, p))
        let_pass(m, parts, room, h, p);
    if (p->weights > room)
        return false;
    grow_caches(m, parts, room, p);
    return true;
}

/* ---- of a process ---- */

/* Scratch of the largest forwards, as the model is held now. */
static rk_status scratch_bytes(const rk_model *m, rk_engine *e, int64_t n_streams, size_t *bytes,
                               rk_error *err)
{
    rk_scheduler q;
    rk_status st = rk_scheduler_init(&q, m, e, err);
    if (st != RK_OK)
        return st;
    if (n_streams > 1)
        st = rk_scheduler_reserve(&q, n_streams, 1, err);
    *bytes = q.ctx.data.size;
    rk_scheduler_deinit(&q);
    return st;
}

/* A stream has two states, and what grows with its tokens once. */
static size_t states_bytes(const rk_model *m, rk_engine *e, const rk_memory_limit *limit)
{
    const rk_state_cache cache = rk_engine_cache(e);
    const size_t plain = (size_t)m->state.count * sizeof(float);
    const size_t grown = rk_token_rows_bytes(
        cache.type, m->state.token_count * rk_ceil_div(cache.n_max, RK_PAGE_ROWS) * RK_PAGE_ROWS);
    return (size_t)(2 * limit->n_streams + limit->n_states) * plain +
           (size_t)limit->n_streams * grown;
}

static rk_status refuse(const rk_model *m, const rk_memory_limit *limit, size_t least,
                        rk_error *err)
{
    return rk_fail(err, RK_ERR_ARG,
                   "--mem-max: %.1f MB are too little for %s: the least that works is %.1f MB",
                   (double)limit->bytes / 1e6, m->file ? rk_file_name(m->file) : "the model",
                   (double)(least / 100000 + 1) / 10);
}

/* Measure, choose, hold; what is held changes the scratch that is needed. */
static rk_status settle(rk_model *m, rk_engine *e, const rk_memory_limit *limit,
                        const rk_memory_parts *parts, rk_memory_plan *p, bool *fits, rk_error *err)
{
    rk_status st = scratch_bytes(m, e, limit->n_streams, &p->scratch, err);
    if (st != RK_OK)
        return st;
    const size_t taken = p->base + p->states + p->scratch + p->more;
    *fits = rk_memory_choose(m, parts, limit->bytes > taken ? limit->bytes - taken : 0, p);
    p->total = taken + p->weights;
    return p->whole && !m->residence ? RK_OK : rk_model_hold(m, &p->hold, err);
}

rk_status rk_model_limit(rk_model *m, rk_engine *e, const rk_memory_limit *limit, rk_memory_plan *p,
                         rk_error *err)
{
    rk_memory now;
    rk_memory_parts parts;
    bool fits = false;
    *p = (rk_memory_plan){.states = states_bytes(m, e, limit), .more = limit->more};
    if (m->state.token_count > 0 && rk_engine_cache(e).n_max == 0)
        return rk_fail(err, RK_ERR_UNSUPPORTED,
                       "--mem-max: the state of a model with attention grows with its tokens; "
                       "--ctx-size N says how far");
    rk_model_drop_pages(m);
    if (!rk_memory_now(&now))
        return rk_fail(err, RK_ERR_UNSUPPORTED,
                       "--mem-max: this system does not tell what a process takes");
    p->base = now.resident + OWN;
    rk_memory_parts_of(m, RK_F16, rk_engine_dot8(e) != NULL, &parts);
    rk_status st = settle(m, e, limit, &parts, p, &fits, err);
    if (st == RK_OK && !p->whole)
        st = settle(m, e, limit, &parts, p, &fits, err);
    if (st == RK_OK && (!fits || now.peak > limit->bytes))
        st = refuse(m, limit, now.peak > p->total ? now.peak : p->total, err);
    return st == RK_OK && m->residence ? rk_model_bring_in(m, err) : st;
}

/* ---- in words ---- */

static int add_rows(char *text, size_t size, const char *name, int64_t n, int64_t all)
{
    return snprintf(text, size, "%" PRId64 " of %" PRId64 " %s, ", n, all, name);
}

void rk_memory_describe(const rk_model *m, const rk_memory_plan *p, char text[RK_MEMORY_TEXT_MAX])
{
    const rk_hold *h = &p->hold;
    const int64_t n_vocab = m->hp.n_vocab;
    int at = 0;
    if (p->whole) {
        snprintf(text, RK_MEMORY_TEXT_MAX, "all of it in memory");
        return;
    }
    if (h->emb_rows > 0)
        at += add_rows(text, RK_MEMORY_TEXT_MAX, "embeddings", h->emb_rows, n_vocab);
    if (h->records > 0)
        at += add_rows(text + at, RK_MEMORY_TEXT_MAX - (size_t)at, "neurons of each layer",
                       h->records, m->hp.dim_ffn);
    if (h->head_at_once > 0)
        at += snprintf(text + at, RK_MEMORY_TEXT_MAX - (size_t)at,
                       "head %" PRId64 " rows at a time, ", h->head_at_once);
    snprintf(text + at, RK_MEMORY_TEXT_MAX - (size_t)at,
             "%" PRId64 " of %" PRId64 " blocks in memory%s", h->layers, m->hp.n_layer,
             h->layers < m->hp.n_layer ? ", the others read for each token" : "");
}
