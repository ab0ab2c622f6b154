/* data.c: from documents to windows.
 *
 * An epoch visits every window of a grid of ctx_len once, in a pseudo-random order, and each epoch
 * shifts the grid by another random phase, so that a token meets every position of a window in the
 * end. Against starts drawn independently this leaves nothing unseen in the first epochs (drawing
 * with replacement misses 37 % in one epoch and 14 % in two), which is where small runs live;
 * against the cubic order of BlinkDL/RWKV-LM it needs no prime and moves the grid.
 *
 * The order is a keyed permutation: a four-round Feistel network on the smallest even number of
 * bits that holds the number of windows, walked until it lands inside. Nothing is stored, so that
 * any window of any step can be asked for alone and resuming needs no more than the step's number.
 */
#include "train/data.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "base/random.h"
#include "io/checksum.h"
#include "io/textdata.h"
#include "text/bpe.h"

enum { FEW_DOCUMENTS = 20, NARROW_VOCAB_MAX = 65536 };

/* What the draws of an epoch are for; the low word of a Feistel index is the half it scrambles. */
enum { DRAW_PHASE = 4 };

/* ------------------------------------------------------------------------------------ reading */

static bool row_reserve(rk_token_row *r, int64_t more)
{
    if (more <= r->max - r->n)
        return true;
    const int64_t max = rk_max_i64(r->n + more, 2 * r->max);
    size_t bytes;
    if (!rk_mul_ok((size_t)max, r->id_bytes, &bytes))
        return false;
    void *ids = realloc(r->ids, bytes);
    if (!ids)
        return false;
    r->ids = ids;
    r->max = max;
    return true;
}

/* There is room. */
static void row_push(rk_token_row *r, int32_t id)
{
    if (r->id_bytes == sizeof(uint16_t))
        ((uint16_t *)r->ids)[r->n++] = (uint16_t)id;
    else
        ((int32_t *)r->ids)[r->n++] = id;
}

/* Bytes of n tokens. */
static size_t row_bytes(const rk_token_row *r, int64_t n)
{
    return (size_t)n * r->id_bytes;
}

enum { PIECE = 1 << 16 };

/* The encoder writes 32 bits an id, so text goes through it in pieces, which end at a line's end
 * where the second half of a piece has one. */
static size_t piece_bytes(const char *text, size_t left)
{
    if (left <= PIECE)
        return left;
    for (size_t n = PIECE; n > PIECE / 2; n--)
        if (text[n - 1] == '\n')
            return n;
    return PIECE;
}

static rk_status row_append_text(rk_token_row *r, const rk_tokenizer *tok, rk_document doc,
                                 rk_error *err)
{
    enum { ROOM = RK_BPE_GROWTH * PIECE };
    int32_t *ids = malloc(ROOM * sizeof *ids);
    if (!ids)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for tokens");
    for (size_t done = 0; done < doc.bytes;) {
        const size_t take = piece_bytes(doc.text + done, doc.bytes - done);
        const int64_t n = rk_tokenizer_encode(tok, doc.text + done, take, ids, ROOM);
        if (n < 0 || !row_reserve(r, n)) {
            free(ids);
            return rk_fail(err, RK_ERR_NOMEM, "out of memory for %" PRId64 " tokens", r->n + n);
        }
        for (int64_t i = 0; i < n; i++)
            row_push(r, ids[i]);
        done += take;
    }
    free(ids);
    return RK_OK;
}

static rk_status row_append(rk_token_row *r, const rk_tokenizer *tok, rk_document doc, bool ends,
                            rk_error *err)
{
    const rk_status st = row_append_text(r, tok, doc, err);
    if (st != RK_OK || !ends)
        return st;
    if (!row_reserve(r, 1))
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for tokens");
    row_push(r, 0);
    return RK_OK;
}

/* Mark round(n * frac) of n documents, at least one when frac > 0: the front of a Fisher-Yates
 * shuffle. */
static bool *choose_held_out(int64_t n, double frac, uint64_t seed)
{
    const int64_t n_held = frac > 0.0 ? rk_max_i64(1, (int64_t)llround((double)n * frac)) : 0;
    bool *held = calloc((size_t)n, sizeof *held);
    int64_t *order = malloc((size_t)n * sizeof *order);
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
        held[chosen] = true;
    }
    free(order);
    return held;
}

static rk_status read_documents(rk_dataset *d, const rk_textdata *text, const rk_tokenizer *tok,
                                const bool *held, bool ends, rk_error *err)
{
    rk_status st = RK_OK;
    for (int64_t i = 0; i < rk_textdata_count(text) && st == RK_OK; i++)
        st = row_append(held && held[i] ? &d->val : &d->train, tok, rk_textdata_at(text, i), ends,
                        err);
    return st;
}

/* Move the last share of the tokens from train to val. */
static rk_status split_tail(rk_dataset *d, double frac, rk_error *err)
{
    const int64_t n_train = (int64_t)((double)d->train.n * (1.0 - frac));
    const int64_t n_val = d->train.n - n_train;
    if (frac == 0.0 || n_val == 0)
        return RK_OK;
    if (!row_reserve(&d->val, n_val))
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for %" PRId64 " tokens", n_val);
    memcpy(d->val.ids, (char *)d->train.ids + row_bytes(&d->train, n_train),
           row_bytes(&d->val, n_val));
    d->val.n = n_val;
    d->train.n = n_train;
    return RK_OK;
}

static rk_status read_parts(rk_dataset *d, const rk_data_params *p, const rk_textdata *text,
                            const rk_tokenizer *tok, rk_error *err)
{
    const int64_t n = rk_textdata_count(text);
    const size_t len = strlen(p->path);
    const bool ends = len >= 6 && !strcmp(p->path + len - 6, ".jsonl");
    if (n < FEW_DOCUMENTS) {
        const rk_status st = read_documents(d, text, tok, NULL, ends, err);
        return st == RK_OK ? split_tail(d, p->val_frac, err) : st;
    }
    bool *held = choose_held_out(n, p->val_frac, p->seed);
    if (!held)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for %" PRId64 " documents", n);
    const rk_status st = read_documents(d, text, tok, held, ends, err);
    free(held);
    return st;
}

/* Give back what growing took too much; a realloc that fails leaves the row as it is. */
static void row_shrink(rk_token_row *r)
{
    void *ids = r->n > 0 ? realloc(r->ids, row_bytes(r, r->n)) : NULL;
    if (!ids)
        return;
    r->ids = ids;
    r->max = r->n;
}

static rk_status check_sizes(const rk_dataset *d, const rk_data_params *p, rk_error *err)
{
    if (d->train.n <= d->ctx_len)
        return rk_fail(err, RK_ERR_ARG,
                       "%s: %" PRId64 " tokens to train on, a window of --ctx-len %" PRId64
                       " needs %" PRId64,
                       p->path, d->train.n, d->ctx_len, d->ctx_len + 1);
    if (p->val_frac > 0.0 && d->val.n <= d->ctx_len)
        return rk_fail(err, RK_ERR_ARG,
                       "%s: --val-frac %g holds out %" PRId64
                       " tokens, a window of --ctx-len %" PRId64 " needs "
                       "%" PRId64 "; --val-frac 0 goes without validation",
                       p->path, p->val_frac, d->val.n, d->ctx_len, d->ctx_len + 1);
    return RK_OK;
}

static uint64_t parts_checksum(const rk_dataset *d)
{
    const uint64_t sums[4] = {(uint64_t)d->train.n, (uint64_t)d->val.n,
                              rk_checksum_bytes(d->train.ids, row_bytes(&d->train, d->train.n)),
                              rk_checksum_bytes(d->val.ids, row_bytes(&d->val, d->val.n))};
    return rk_checksum_bytes(sums, sizeof sums);
}

rk_status rk_dataset_init(rk_dataset *d, const rk_data_params *p, const rk_tokenizer *tok,
                          rk_error *err)
{
    *d = (rk_dataset){.ctx_len = p->ctx_len, .seed = p->seed};
    d->train.id_bytes = d->val.id_bytes =
        rk_tokenizer_n_vocab(tok) > NARROW_VOCAB_MAX ? sizeof(int32_t) : sizeof(uint16_t);
    rk_textdata *text = NULL;
    rk_status st = rk_textdata_open(&text, &p->path, 1, err);
    if (st == RK_OK)
        st = read_parts(d, p, text, tok, err);
    if (st == RK_OK)
        st = rk_textdata_check(text, err);
    rk_textdata_close(text);
    if (st == RK_OK)
        st = check_sizes(d, p, err);
    if (st != RK_OK) {
        rk_dataset_deinit(d);
        return st;
    }
    row_shrink(&d->train);
    row_shrink(&d->val);
    d->checksum = parts_checksum(d);
    return RK_OK;
}

void rk_dataset_deinit(rk_dataset *d)
{
    free(d->train.ids);
    free(d->val.ids);
    *d = (rk_dataset){0};
}

/* ------------------------------------------------------------------------------------ windows */

static void copy_window(const rk_dataset *d, const rk_token_row *r, int64_t start, int32_t *ids)
{
    for (int64_t i = 0; i <= d->ctx_len; i++)
        ids[i] = rk_token_row_at(r, start + i);
}

/* x in [0, 2^(2 bits)) -> [0, 2^(2 bits)), one to one. */
static uint64_t feistel(uint64_t seed, uint64_t epoch, unsigned bits, uint64_t x)
{
    const uint64_t mask = (UINT64_C(1) << bits) - 1;
    uint64_t left = x >> bits, right = x & mask;
    for (uint64_t round = 0; round < DRAW_PHASE; round++) {
        const uint64_t f = rk_rng_u32(seed, RK_RNG_DATA, epoch, round << 32 | right);
        const uint64_t next = left ^ (f & mask);
        left = right;
        right = next;
    }
    return left << bits | right;
}

/* Where x in [0, n) goes in the order of this epoch. */
static uint64_t permute(uint64_t seed, uint64_t epoch, uint64_t n, uint64_t x)
{
    unsigned bits = 1;
    while (bits < 31 && UINT64_C(1) << (2 * bits) < n)
        bits++;
    do
        x = feistel(seed, epoch, bits, x);
    while (x >= n);
    return x;
}

/* The grid of an epoch has as many windows as fit at every phase, at least one; the phase is any at
 * which the last window, with the token after it, is still inside. */
void rk_dataset_window(const rk_dataset *d, uint64_t index, int32_t *ids)
{
    const int64_t n = d->train.n, ctx = d->ctx_len;
    const int64_t n_windows = rk_max_i64(1, (n - ctx) / ctx);
    const uint64_t epoch = index / (uint64_t)n_windows;
    const uint64_t phase = rk_rng_below(d->seed, RK_RNG_DATA, epoch, (uint64_t)DRAW_PHASE << 32,
                                        (uint64_t)(n - n_windows * ctx));
    const uint64_t place =
        permute(d->seed, epoch, (uint64_t)n_windows, index % (uint64_t)n_windows);
    copy_window(d, &d->train, (int64_t)phase + (int64_t)place * ctx, ids);
}

int64_t rk_dataset_n_val(const rk_dataset *d)
{
    return d->val.n > 0 ? (d->val.n - 1) / d->ctx_len : 0;
}

void rk_dataset_val_window(const rk_dataset *d, int64_t i, int32_t *ids)
{
    copy_window(d, &d->val, i * d->ctx_len, ids);
}

double rk_dataset_val_bytes_per_token(const rk_dataset *d, const rk_tokenizer *tok)
{
    const int64_t n = rk_dataset_n_val(d) * d->ctx_len;
    uint64_t bytes = 0;
    for (int64_t i = 1; i <= n; i++) {
        size_t len = 0;
        rk_tokenizer_bytes(tok, rk_token_row_at(&d->val, i), &len);
        bytes += len;
    }
    return n > 0 ? (double)bytes / (double)n : 0.0;
}
