/* state.c: one stream's state, and the way of many into a forward and back.
 *
 * Parts of constant size lie in one buffer, in the order of the layout; rows that come with tokens
 * lie in pages (token_rows.h). Matrices, which are nearly all of a recurrent state, stay in the
 * buffer while a forward runs, and rows in their pages: an operation reads and writes each stream's
 * where it lies. The small rest is gathered into tensors (B, ...) and scattered behind the forward. */
#include "infer/state.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "infer/token_rows.h"

struct rk_state {
    const rk_model *model;
    float *fixed; /* (layout.count) */
    rk_token_rows rows;
};

rk_status rk_state_new(rk_state **out, const rk_model *m, rk_error *err)
{
    rk_state *s = calloc(1, sizeof *s);
    *out = NULL;
    if (s) {
        s->model = m;
        s->rows.layout = &m->state;
        s->fixed = calloc((size_t)m->state.count + 1, sizeof *s->fixed); /* there may be none */
    }
    if (!s || !s->fixed) {
        rk_state_free(s);
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for a state of %" PRId64 " reals",
                       m->state.count);
    }
    *out = s;
    return RK_OK;
}

void rk_state_free(rk_state *s)
{
    if (!s)
        return;
    rk_token_rows_deinit(&s->rows);
    free(s->fixed);
    free(s);
}

void rk_state_reset(rk_state *s)
{
    rk_model_initial_state(s->model, s->fixed);
    rk_token_rows_truncate(&s->rows, 0);
}

rk_status rk_state_set_cache(rk_state *s, const rk_state_cache *c, rk_error *err)
{
    const rk_status st = rk_token_rows_check_type(&s->model->state, c->type, err);
    if (st != RK_OK)
        return st;
    rk_token_rows_truncate(&s->rows, 0);
    s->rows.type = c->type;
    s->rows.n_max = s->model->state.token_count > 0 ? c->n_max : 0;
    return RK_OK;
}

int64_t rk_state_room(const rk_state *s)
{
    return s->rows.n_max > 0 ? s->rows.n_max - s->rows.n : INT64_MAX;
}

rk_status rk_state_check_room(const rk_state *s, int64_t n, rk_error *err)
{
    return rk_token_rows_check_room(&s->rows, n, err);
}

static size_t fixed_bytes(const rk_state *s)
{
    return (size_t)s->model->state.count * sizeof(float);
}

rk_status rk_state_copy(rk_state *to, const rk_state *from, rk_error *err)
{
    const rk_status st = rk_token_rows_copy(&to->rows, &from->rows, err);
    if (st == RK_OK)
        memcpy(to->fixed, from->fixed, fixed_bytes(from));
    return st;
}

void rk_state_drop(rk_state *s)
{
    rk_token_rows_truncate(&s->rows, 0);
}

/* ---- as bytes ---- */

int64_t rk_state_n_tokens(const rk_state *s)
{
    return s->rows.n;
}

size_t rk_state_bytes(const rk_state *s)
{
    return rk_state_layout_bytes(&s->model->state, s->rows.n);
}

void rk_state_get(const rk_state *s, void *buf)
{
    const rk_state_layout *l = &s->model->state;
    float *at = buf;
    for (int i = 0; i < l->n_parts; i++) {
        const rk_state_entry *p = &l->parts[i];
        if (rk_state_grows(p))
            rk_token_rows_get(&s->rows, p, at);
        else
            memcpy(at, s->fixed + p->at, (size_t)p->count * sizeof *at);
        at += rk_state_entry_count(p, s->rows.n);
    }
}

/* For a number of tokens that s has. */
static void set_parts(rk_state *s, const float *at)
{
    const rk_state_layout *l = &s->model->state;
    for (int i = 0; i < l->n_parts; i++) {
        const rk_state_entry *p = &l->parts[i];
        if (rk_state_grows(p))
            rk_token_rows_set(&s->rows, p, at);
        else
            memcpy(s->fixed + p->at, at, (size_t)p->count * sizeof *at);
        at += rk_state_entry_count(p, s->rows.n);
    }
}

static rk_status check_bytes(const rk_state *s, size_t bytes, rk_error *err)
{
    const size_t fixed = fixed_bytes(s), each = rk_state_layout_bytes(&s->model->state, 1) - fixed;
    if (each == 0 && bytes != fixed)
        return rk_fail(err, RK_ERR_ARG, "a buffer of %zu bytes for a state of %zu", bytes, fixed);
    if (each > 0 && (bytes < fixed || (bytes - fixed) % each != 0))
        return rk_fail(err, RK_ERR_ARG,
                       "a buffer of %zu bytes for a state of %zu and %zu for each token", bytes,
                       fixed, each);
    return RK_OK;
}

/* Through rows of their own, so that a failure leaves those there are. */
rk_status rk_state_set(rk_state *s, const void *buf, size_t bytes, rk_error *err)
{
    const rk_state_layout *l = &s->model->state;
    rk_token_rows rows = {.layout = l, .type = s->rows.type, .n_max = s->rows.n_max};
    rk_status st = check_bytes(s, bytes, err);
    if (st == RK_OK && l->token_count > 0)
        st = rk_token_rows_resize(
            &rows, ((int64_t)(bytes / sizeof(float)) - l->count) / l->token_count, err);
    if (st != RK_OK) {
        rk_token_rows_deinit(&rows);
        return st;
    }
    rk_token_rows_deinit(&s->rows);
    s->rows = rows;
    set_parts(s, buf);
    return RK_OK;
}

/* ---- in a forward ---- */

/* Where the streams have what stays with them; all NULL while planning. */
typedef struct places {
    float **from, **to;     /* the buffers of constant size */
    unsigned char ***pages; /* and pages, */
    int64_t *n_before;      /* with so many rows, */
    rk_dtype type;          /* of such elements */
} places;

static void *stream_array(rk_ctx *ctx, const rk_states *s, size_t size)
{
    void *p = rk_arena_alloc(&ctx->meta, (size_t)s->n * size);
    if (!p)
        rk_ctx_fail(ctx, RK_ERR_NOMEM, "out of memory for %" PRId64 " streams", s->n);
    return p;
}

/* Room for the rows of the tokens that come, behind those from before. */
static void make_rows(rk_ctx *ctx, const rk_states *s, places *at)
{
    rk_error err = {0};
    at->type = s->before[0]->rows.type;
    for (int64_t b = 0; b < s->n && err.code == RK_OK; b++) {
        rk_token_rows *rows = &s->after[b]->rows;
        if (s->before[b]->rows.type != at->type)
            rk_fail(&err, RK_ERR_ARG, "streams with caches of %s and %s in one call",
                    rk_dtype_name(at->type), rk_dtype_name(s->before[b]->rows.type));
        else if (rk_token_rows_copy(rows, &s->before[b]->rows, &err) == RK_OK)
            rk_token_rows_reserve(rows, s->n_tokens, &err);
        at->pages[b] = rows->data;
        at->n_before[b] = rows->n;
    }
    if (err.code != RK_OK)
        rk_ctx_fail(ctx, err.code, "%s", err.msg);
}

static places places_of(rk_ctx *ctx, const rk_model *m, const rk_states *s)
{
    places at = {0};
    if (ctx->planning)
        return at;
    at.from = stream_array(ctx, s, sizeof *at.from);
    at.to = stream_array(ctx, s, sizeof *at.to);
    for (int64_t b = 0; at.from && at.to && b < s->n; b++) {
        at.from[b] = s->before[b]->fixed;
        at.to[b] = s->after[b]->fixed;
    }
    if (m->state.token_count == 0)
        return at;
    at.pages = stream_array(ctx, s, sizeof *at.pages);
    at.n_before = stream_array(ctx, s, sizeof *at.n_before);
    if (at.pages && at.n_before)
        make_rows(ctx, s, &at);
    return at;
}

static rk_tensor *gather_plain(rk_ctx *ctx, const rk_states *s, const rk_state_entry *p, int n_dims,
                               const int64_t *dims)
{
    rk_tensor *t = rk_new(ctx, RK_F32, n_dims, dims);
    for (int64_t b = 0; t && s->before && b < s->n; b++)
        memcpy((float *)t->data + b * p->count, s->before[b]->fixed + p->at,
               (size_t)p->count * sizeof(float));
    return t;
}

static rk_tensor *gather(rk_ctx *ctx, const rk_states *s, const places *at, const rk_state_entry *p)
{
    int64_t dims[RK_MAX_DIMS];
    const int64_t size = rk_token_rows_size(p);
    const int n = rk_state_dims(p, s->n, s->n_tokens, dims);
    switch (p->spec->kind) {
    case RK_STATE_MATRIX:
        return rk_new_streams(ctx, n, dims, (rk_streams){at->from, at->to, p->at});
    case RK_STATE_TOKENS:
        return rk_new_growing(
            ctx, n, dims,
            (rk_growing){.pages = (unsigned char *const *const *)at->pages,
                         .n_before = at->n_before,
                         .offset = rk_token_rows_offset(at->type, p),
                         .row_bytes = rk_token_rows_bytes(at->type, size),
                         .head_bytes = rk_token_rows_bytes(at->type, size * RK_PAGE_ROWS),
                         .type = at->type});
    case RK_STATE_PLAIN:
        break;
    }
    return gather_plain(ctx, s, p, n, dims);
}

void rk_states_gather(rk_ctx *ctx, const rk_model *m, const rk_states *s, rk_tensor **parts)
{
    const places at = places_of(ctx, m, s);
    for (int i = 0; i < m->state.n_parts && !rk_ctx_failed(ctx); i++)
        parts[i] = gather(ctx, s, &at, &m->state.parts[i]);
}

void rk_states_scatter(const rk_model *m, const rk_states *s, rk_tensor *const *parts)
{
    for (int64_t b = 0; b < s->n && m->state.token_count > 0; b++)
        s->after[b]->rows.n += s->n_tokens;
    for (int i = 0; i < m->state.n_parts; i++) {
        const rk_state_entry *p = &m->state.parts[i];
        if (p->spec->kind != RK_STATE_PLAIN)
            continue; /* it is where it belongs */
        for (int64_t b = 0; b < s->n; b++)
            memcpy(s->after[b]->fixed + p->at, (const float *)parts[i]->data + b * p->count,
                   (size_t)p->count * sizeof(float));
    }
}
