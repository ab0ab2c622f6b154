/* token_stream.c: spans, and which documents are held out. */
#include "data/token_stream.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "base/random.h"
#include "data/bits.h"
#include "io/checksum.h"

enum { FEW_DOCUMENTS = 20 };

void rk_token_stream_deinit(rk_token_stream *s)
{
    free(s->spans);
    *s = (rk_token_stream){0};
}

static rk_status grow(rk_token_stream *s, rk_error *err)
{
    const int64_t max = rk_max_i64(16, 2 * s->max);
    rk_span *spans = realloc(s->spans, (size_t)max * sizeof *spans);
    if (!spans)
        return rk_fail(err, RK_ERR_NOMEM, "%s: out of memory for %" PRId64 " documents",
                       s->corpus->path, max);
    s->spans = spans;
    s->max = max;
    return RK_OK;
}

rk_status rk_token_stream_add(rk_token_stream *s, int64_t first, int64_t n, rk_error *err)
{
    const bool joins = !s->apart && s->n_spans > 0 && s->spans[s->n_spans].first == first;
    if (n == 0)
        return RK_OK;
    if (!joins && s->n_spans + 2 > s->max) {
        const rk_status st = grow(s, err);
        if (st != RK_OK)
            return st;
    }
    if (!joins)
        s->spans[s->n_spans++] = (rk_span){first, s->n};
    s->n += n;
    s->spans[s->n_spans] = (rk_span){first + n, s->n};
    return RK_OK;
}

/* The span that holds a token. */
static int64_t span_of(const rk_token_stream *s, int64_t token)
{
    int64_t lo = 0, hi = s->n_spans;
    while (hi - lo > 1) {
        const int64_t mid = lo + (hi - lo) / 2;
        if (s->spans[mid].at <= token)
            lo = mid;
        else
            hi = mid;
    }
    return lo;
}

/* Which of n tokens of the corpus a document begins with. */
static void mark_beginnings(const rk_corpus *c, int64_t first, int64_t n, bool *begins)
{
    int64_t lo = 0, hi = c->n_docs; /* the first document that begins at or behind `first` */
    while (lo < hi) {
        const int64_t mid = lo + (hi - lo) / 2;
        if (c->start(c, mid) < first)
            lo = mid + 1;
        else
            hi = mid;
    }
    memset(begins, 0, (size_t)n * sizeof *begins);
    for (int64_t at; lo < c->n_docs && (at = c->start(c, lo) - first) < n; lo++)
        begins[at] = true;
}

void rk_token_stream_read(const rk_token_stream *s, int64_t start, int64_t n, int32_t *ids,
                          bool *counts, bool *begins)
{
    for (int64_t i = span_of(s, start), done = 0, take; done < n; i++, done += take) {
        const int64_t skip = start + done - s->spans[i].at, first = s->spans[i].first + skip;
        take = rk_min_i64(n - done, s->spans[i + 1].at - start - done);
        rk_ids_read(s->corpus->type, s->corpus->ids, first, take, ids + done);
        for (int64_t k = 0; k < take; k++)
            counts[done + k] = rk_bits_at(s->corpus->mask, first + k);
        if (begins)
            mark_beginnings(s->corpus, first, take, begins + done);
        rk_corpus_drop(s->corpus, first, take);
    }
}

/* The bits of a span, as a span that begins with its own byte has them. */
static void add_bits(rk_checksum *c, const unsigned char *mask, int64_t first, int64_t n)
{
    enum { BITS = 4096 };
    unsigned char bits[BITS / 8];
    for (int64_t at = 0; at < n; at += BITS) {
        const int64_t take = rk_min_i64(BITS, n - at);
        memset(bits, 0, sizeof bits);
        for (int64_t i = 0; i < take; i++)
            rk_bits_put(bits, i, rk_bits_at(mask, first + at + i));
        rk_checksum_add(c, bits, rk_bits_bytes(take));
    }
}

/* The ids of a span, whose pages are given back on the way. */
static void add_ids(rk_checksum *c, const rk_corpus *corpus, int64_t first, int64_t n)
{
    enum { IDS = 1 << 22 };
    const size_t bytes = rk_id_kinds[corpus->type].bytes;
    for (int64_t at = 0; at < n; at += IDS) {
        const int64_t take = rk_min_i64(IDS, n - at);
        rk_checksum_add(c, (const char *)corpus->ids + (size_t)(first + at) * bytes,
                        (size_t)take * bytes);
        rk_corpus_drop(corpus, first + at, take);
    }
}

rk_status rk_token_stream_checksum(const rk_token_stream *s, uint64_t *sum, rk_error *err)
{
    rk_checksum *c = rk_checksum_new();
    if (!c)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for a checksum of the data");
    for (int64_t i = 0; i < s->n_spans; i++)
        add_ids(c, s->corpus, s->spans[i].first, s->spans[i + 1].at - s->spans[i].at);
    for (int64_t i = 0; i < s->n_spans && s->corpus->mask; i++)
        add_bits(c, s->corpus->mask, s->spans[i].first, s->spans[i + 1].at - s->spans[i].at);
    *sum = rk_checksum_value(c);
    rk_checksum_free(c);
    return RK_OK;
}

/* ---- splitting ---- */

/* round(n * frac) of n documents, at least one when frac > 0: the front of a Fisher-Yates shuffle, as
 * bits; to be freed. */
static unsigned char *choose_held_out(int64_t n, double frac, uint64_t seed)
{
    const int64_t share = rk_max_i64(1, (int64_t)llround((double)n * frac));
    const int64_t n_held = frac > 0.0 ? rk_min_i64(n, share) : 0;
    unsigned char *held = calloc(rk_bits_bytes(n), 1);
    int64_t *order = calloc((size_t)n, sizeof *order);
    if (!held || !order) {
        free(held);
        free(order);
        return NULL;
    }
    for (int64_t i = 0; i < n; i++)
        order[i] = i;
    for (int64_t i = 0; i < n_held; i++) {
        const int64_t j =
            i + (int64_t)rk_rng_below(seed, RK_RNG_SPLIT, 0, (uint64_t)i, (uint64_t)(n - i));
        const int64_t chosen = order[j];
        order[j] = order[i];
        rk_bits_put(held, chosen, true);
    }
    free(order);
    return held;
}

static rk_status add_document(rk_token_stream *s, int64_t i, rk_error *err)
{
    const int64_t first = s->corpus->start(s->corpus, i);
    return rk_token_stream_add(s, first, s->corpus->start(s->corpus, i + 1) - first, err);
}

static rk_status split_documents(rk_token_stream *train, rk_token_stream *val,
                                 const unsigned char *held, rk_error *err)
{
    rk_status st = RK_OK;
    for (int64_t i = 0; i < train->corpus->n_docs && st == RK_OK; i++)
        st = add_document(rk_bits_at(held, i) ? val : train, i, err);
    return st;
}

static rk_status split_tail(rk_token_stream *train, rk_token_stream *val, double frac,
                            rk_error *err)
{
    const int64_t n = train->corpus->n;
    const int64_t n_train = frac > 0.0 ? (int64_t)((double)n * (1.0 - frac)) : n;
    const rk_status st = rk_token_stream_add(train, 0, n_train, err);
    return st == RK_OK ? rk_token_stream_add(val, n_train, n - n_train, err) : st;
}

rk_status rk_split_corpus(rk_token_stream *train, rk_token_stream *val, const rk_corpus *c,
                          const rk_split *how, rk_error *err)
{
    *train = *val = (rk_token_stream){.corpus = c, .apart = how->apart};
    if (c->n_docs < FEW_DOCUMENTS && !how->apart)
        return split_tail(train, val, how->val_frac, err);
    unsigned char *held = choose_held_out(c->n_docs, how->val_frac, how->seed);
    if (!held)
        return rk_fail(err, RK_ERR_NOMEM, "%s: out of memory for %" PRId64 " documents", c->path,
                       c->n_docs);
    const rk_status st = split_documents(train, val, held, err);
    free(held);
    return st;
}
