/* medium.c: where the blocks of a row end and which mediums stand behind them.
 *
 * All that depends on places is decided here, once for a forward: a walk is data, and operations go through
 * its blocks forwards and backwards without knowing of intervals or of sequences that begin inside a row. */
#include "tensor/medium.h"

#include <math.h>

#include "base/num.h"
#include "base/random.h"
#include "tensor/runs.h"

/* Where a row stands: mediums finished, tokens of the block that is not. */
typedef struct medium_place {
    int64_t known, filled;
} medium_place;

enum { KNOWN_MAX = 1 << 24 }; /* whole numbers that f32 counts */

static double real_at(const rk_tensor *t, int64_t i)
{
    return t->dtype == RK_F64 ? ((const double *)t->data)[i] : (double)((const float *)t->data)[i];
}

static void put_real(rk_tensor *t, int64_t i, int64_t x)
{
    if (t->dtype == RK_F64)
        ((double *)t->data)[i] = (double)x;
    else
        ((float *)t->data)[i] = (float)x;
}

/* A whole number below `below`, whatever a state from outside says. */
static int64_t count_at(const rk_tensor *t, int64_t i, int64_t below)
{
    const double x = real_at(t, i);
    return x >= 0 && x < (double)below ? (int64_t)x : 0;
}

/* Tokens of the shortest block, and of the one behind so many mediums. */
static int64_t shortest(rk_medium_places p)
{
    return p.random ? rk_ceil_div(p.interval, 2) : p.interval;
}
static int64_t length_of(rk_medium_places p, int64_t known)
{
    const uint64_t more =
        p.random ? rk_rng_below(0, RK_RNG_MEDIUM, (uint64_t)known, 0, (uint64_t)p.interval) : 0;
    return shortest(p) + (int64_t)more;
}

static medium_place place_at(const rk_tensor *place, int64_t b, rk_medium_places p)
{
    const int64_t known = count_at(place, 2 * b, KNOWN_MAX);
    return (medium_place){known, count_at(place, 2 * b + 1, length_of(p, known))};
}

/* The blocks of a row, which begins at `given` and ends at *at. to (blocks, RK_WALK_FIELDS), or NULL: only
 * counted. Returns how many mediums there are. */
static int64_t walk_row(const int32_t *begins, int64_t n_tokens, rk_medium_places p,
                        medium_place given, medium_place *at, int32_t *to)
{
    int64_t n = 0;
    bool anew = true; /* no medium of this call belongs to the sequence */
    *at = given;
    for (int64_t t = 0; t < n_tokens;) {
        const int64_t length = length_of(p, at->known), full = t + length - at->filled;
        const int64_t end = rk_sequence_end(begins, t, rk_min_i64(full, n_tokens));
        const bool finished = end == full;
        if (to) {
            to[RK_WALK_END] = (int32_t)end;
            to[RK_WALK_KNOWN] = (int32_t)at->known;
            to[RK_WALK_LENGTH] = (int32_t)length;
            to[RK_WALK_SLOT] = anew ? 0 : (int32_t)n;
            to[RK_WALK_MEDIUM] = finished ? (int32_t)n : -1;
            to += RK_WALK_FIELDS;
        }
        n += finished;
        *at = finished ? (medium_place){rk_min_i64(at->known + 1, KNOWN_MAX - 1), 0}
                       : (medium_place){at->known, at->filled + end - t};
        anew = end < n_tokens && begins && begins[end];
        if (anew)
            *at = (medium_place){0, 0};
        t = end;
    }
    return n;
}

/* Those of the row that has most. Training takes what the shape alone allows, so that rows of a micro-batch
 * do not hang on its others. */
static int64_t mediums_of(const rk_ctx *ctx, const rk_tensor *place, int64_t n_tokens,
                          rk_medium_places p)
{
    int64_t most = 0;
    if (ctx->planning || ctx->recording)
        return rk_ceil_div(n_tokens, shortest(p));
    for (int64_t b = 0; b < place->dims[0]; b++) {
        medium_place at;
        const int64_t n =
            walk_row(rk_begins_of(ctx, b, n_tokens), n_tokens, p, place_at(place, b, p), &at, NULL);
        most = rk_max_i64(most, n);
    }
    return most;
}

rk_medium_rows rk_medium_walk(rk_ctx *ctx, rk_tensor *place, int64_t n_tokens, rk_medium_places p,
                              rk_tensor **after)
{
    rk_medium_rows r = {.n_tokens = n_tokens};
    *after = NULL;
    if (rk_ctx_failed(ctx))
        return r;
    r.n_mediums = mediums_of(ctx, place, n_tokens, p);
    const int64_t blocks = r.n_mediums + (ctx->begins ? n_tokens : 1);
    r.walk = rk_new(ctx, RK_I32, 3, (const int64_t[]){place->dims[0], blocks, RK_WALK_FIELDS});
    *after = rk_new_like(ctx, place);
    for (int64_t b = 0; !rk_ctx_failed(ctx) && !ctx->planning && b < place->dims[0]; b++) {
        medium_place at;
        walk_row(rk_begins_of(ctx, b, n_tokens), n_tokens, p, place_at(place, b, p), &at,
                 (int32_t *)r.walk->data + b * blocks * RK_WALK_FIELDS);
        put_real(*after, 2 * b, at.known);
        put_real(*after, 2 * b + 1, at.filled);
    }
    return r;
}

bool rk_medium_fits(const rk_medium_rows *r, const rk_tensor *x)
{
    return r->walk && r->walk->dims[0] == x->dims[0] && x->n_dims == 3 &&
           x->dims[1] == rk_medium_row_count(r);
}

static const int32_t *row_of(const rk_medium_rows *r, int64_t b)
{
    return (const int32_t *)r->walk->data + b * r->walk->dims[1] * RK_WALK_FIELDS;
}

int64_t rk_medium_n_blocks(const rk_medium_rows *r, int64_t b)
{
    const int32_t *at = row_of(r, b);
    int64_t n = 1;
    for (; at[RK_WALK_END] < r->n_tokens; at += RK_WALK_FIELDS)
        n++;
    return n;
}

rk_medium_block rk_medium_block_at(const rk_medium_rows *r, int64_t b, int64_t i)
{
    const int32_t *at = row_of(r, b) + i * RK_WALK_FIELDS;
    return (rk_medium_block){.first = i ? (at - RK_WALK_FIELDS)[RK_WALK_END] : 0,
                             .end = at[RK_WALK_END],
                             .known = at[RK_WALK_KNOWN],
                             .length = at[RK_WALK_LENGTH],
                             .slot = at[RK_WALK_SLOT],
                             .medium = at[RK_WALK_MEDIUM]};
}

int64_t rk_medium_end(const rk_medium_rows *r, int64_t b)
{
    int64_t n = 0;
    for (int64_t i = rk_medium_n_blocks(r, b); i-- > 0;)
        n = rk_max_i64(n, rk_medium_block_at(r, b, i).medium + 1);
    return r->n_tokens + n;
}
