/* state.c: one stream's state, and the way of many into a forward and back.
 *
 * Parts of constant size lie in one buffer, in the order of the layout. Matrices, which are nearly
 * all of a state, stay in it while a forward runs: an operation reads and writes each stream's where
 * it lies. The small rest is gathered into tensors (B, ...) and scattered behind the forward. */
#include "infer/state.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct rk_state {
    const rk_model *model;
    float *fixed; /* (layout.count) */
};

rk_status rk_state_new(rk_state **out, const rk_model *m, rk_error *err)
{
    rk_state *s = calloc(1, sizeof *s);
    *out = NULL;
    if (s) {
        s->model = m;
        s->fixed = calloc((size_t)m->state.count, sizeof *s->fixed);
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
    free(s->fixed);
    free(s);
}

void rk_state_reset(rk_state *s)
{
    rk_model_initial_state(s->model, s->fixed);
}

void rk_state_copy(rk_state *to, const rk_state *from)
{
    memcpy(to->fixed, from->fixed, rk_state_bytes(from));
}

/* ---- as bytes ---- */

size_t rk_state_bytes(const rk_state *s)
{
    return (size_t)s->model->state.count * sizeof *s->fixed;
}

void rk_state_get(const rk_state *s, void *buf)
{
    memcpy(buf, s->fixed, rk_state_bytes(s));
}

void rk_state_set(rk_state *s, const void *buf)
{
    memcpy(s->fixed, buf, rk_state_bytes(s));
}

float *rk_state_part_data(const rk_state *s, int i)
{
    return s->fixed + s->model->state.parts[i].at;
}

/* ---- in a forward ---- */

/* Where the streams' matrices are read and written; both NULL while planning. */
static rk_streams matrices(rk_ctx *ctx, const rk_states *s)
{
    float **from = rk_arena_alloc(&ctx->meta, (size_t)s->n * sizeof *from);
    float **to = rk_arena_alloc(&ctx->meta, (size_t)s->n * sizeof *to);
    if (!from || !to)
        rk_ctx_fail(ctx, RK_ERR_NOMEM, "out of memory for %" PRId64 " streams", s->n);
    for (int64_t b = 0; from && to && s->before && b < s->n; b++) {
        from[b] = s->before[b]->fixed;
        to[b] = s->after[b]->fixed;
    }
    return (rk_streams){from, to, 0};
}

static rk_tensor *gather_plain(rk_ctx *ctx, const rk_states *s, const rk_state_part *p,
                               const int64_t *dims)
{
    rk_tensor *t = rk_new(ctx, RK_F32, 1 + p->n_dims, dims);
    for (int64_t b = 0; t && s->before && b < s->n; b++)
        memcpy((float *)t->data + b * p->count, s->before[b]->fixed + p->at,
               (size_t)p->count * sizeof(float));
    return t;
}

void rk_states_gather(rk_ctx *ctx, const rk_model *m, const rk_states *s, rk_tensor **parts)
{
    rk_streams where = matrices(ctx, s);
    for (int i = 0; i < m->state.n_parts && !rk_ctx_failed(ctx); i++) {
        const rk_state_part *p = &m->state.parts[i];
        int64_t dims[RK_MAX_DIMS] = {s->n};
        memcpy(dims + 1, p->dims, (size_t)p->n_dims * sizeof *dims);
        where.offset = p->at;
        parts[i] = p->spec->kind == RK_STATE_MATRIX
                       ? rk_new_streams(ctx, 1 + p->n_dims, dims, where)
                       : gather_plain(ctx, s, p, dims);
    }
}

void rk_states_scatter(const rk_model *m, const rk_states *s, rk_tensor *const *parts)
{
    for (int i = 0; i < m->state.n_parts; i++) {
        const rk_state_part *p = &m->state.parts[i];
        if (p->spec->kind != RK_STATE_PLAIN)
            continue; /* it is where it belongs */
        for (int64_t b = 0; b < s->n; b++)
            memcpy(s->after[b]->fixed + p->at, (const float *)parts[i]->data + b * p->count,
                   (size_t)p->count * sizeof(float));
    }
}
