/* bpe.c: encoding by merges.
 *
 * Pieces of text repeat: a table of the pieces seen in this call holds the tokens of the short
 * ones, and most of a text is found there. Other pieces are merged: short ones by searching the
 * lowest rank again and again, which for a dozen bytes is the fastest way, longer ones with a heap,
 * so that a piece of n bytes takes O(n log n) time. */
#include "text/bpe.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/num.h"
#include "io/checksum.h"
#include "text/nfc.h"
#include "text/utf8.h"

enum {
    N_BYTES = 256,
    ID_BITS = 20, /* of ids and ranks: RK_VOCAB_IDS_MAX */
    NO_RANK = 1 << ID_BITS,
    SHORT_PIECE = 32,  /* bytes of a piece that is merged without a heap */
    SEEN_BYTES = 16,   /* of a piece in the table of those seen */
    SEEN_IDS = 3,      /* and its most tokens: 32 bytes an entry */
    N_SEEN = 4096,     /* 128 KiB */
    SEEN_WORTH = 1024, /* bytes of a text that is worth such a table */
};
_Static_assert(RK_VOCAB_IDS_MAX == 1 << ID_BITS, "a pair and its rank fit 64 bits");
_Static_assert((int)RK_BPE_GROWTH == (int)RK_NFC_GROWTH, "a token has at least a byte");

#define EMPTY_SLOT UINT64_MAX

/* ---- pairs and their ranks ---- */

static uint64_t pair_key(int32_t left, int32_t right)
{
    return (uint64_t)left << ID_BITS | (uint64_t)right;
}

static uint64_t mix(uint64_t x)
{
    x *= UINT64_C(0x9e3779b97f4a7c15);
    return x ^ x >> 32;
}

/* The rank of a pair, NO_RANK when it is not merged. A slot holds the key above its rank. */
static int32_t rank_of(const rk_bpe *b, int32_t left, int32_t right)
{
    const uint64_t key = pair_key(left, right);
    for (uint64_t i = mix(key);; i++) {
        const uint64_t slot = b->pairs[i & b->slot_mask];
        if (slot >> ID_BITS == key)
            return (int32_t)(slot & (NO_RANK - 1));
        if (slot == EMPTY_SLOT)
            return NO_RANK;
    }
}

/* False when the pair is there already. */
static bool add_pair(rk_bpe *b, uint64_t key, int64_t rank)
{
    uint64_t i = mix(key);
    for (; b->pairs[i & b->slot_mask] != EMPTY_SLOT; i++)
        if (b->pairs[i & b->slot_mask] >> ID_BITS == key)
            return false;
    b->pairs[i & b->slot_mask] = key << ID_BITS | (uint64_t)rank;
    return true;
}

static void fill_byte_ranks(rk_bpe *b)
{
    for (int i = 0; i < N_BYTES * N_BYTES; i++) {
        const int32_t left = b->byte_id[i / N_BYTES], right = b->byte_id[i % N_BYTES];
        b->byte_ranks[i] = left < 0 || right < 0 ? NO_RANK : rank_of(b, left, right);
    }
}

rk_status rk_bpe_init(rk_bpe *b, const rk_merge *merges, int64_t n, int64_t *twin, rk_error *err)
{
    uint64_t n_slots = 2;
    while (n_slots < 3 * (uint64_t)n / 2)
        n_slots *= 2;
    b->slot_mask = n_slots - 1;
    b->n_merges = n;
    b->pairs = malloc(n_slots * sizeof *b->pairs);
    b->made = malloc(((size_t)n + 1) * sizeof *b->made);
    b->byte_ranks = malloc((size_t)N_BYTES * N_BYTES * sizeof *b->byte_ranks);
    if (!b->pairs || !b->made || !b->byte_ranks)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for %lld merges", (long long)n);
    memset(b->pairs, 0xff, n_slots * sizeof *b->pairs);
    for (int64_t i = 0; i < n; i++) {
        b->made[i] = merges[i].made;
        if (!add_pair(b, pair_key(merges[i].left, merges[i].right), *twin = i))
            return rk_fail(err, RK_ERR_ARG, "merge %lld repeats an earlier one", (long long)i);
    }
    fill_byte_ranks(b);
    return RK_OK;
}

void rk_bpe_deinit(rk_bpe *b)
{
    free(b->pairs);
    free(b->made);
    free(b->byte_ranks);
    free(b->words);
    rk_trie_deinit(&b->raw);
    rk_trie_deinit(&b->normal);
    rk_pre_tokenizer_free(b->pre);
    *b = (rk_bpe){0};
}

size_t rk_bpe_memory(const rk_bpe *b)
{
    return (b->slot_mask + 1) * sizeof *b->pairs + rk_trie_memory(&b->raw) +
           rk_trie_memory(&b->normal) + (b->words ? (b->word_mask + 1) * sizeof *b->words : 0) +
           (b->pre ? rk_pre_tokenizer_memory(b->pre) : 0);
}

/* The table of pairs has them all; each lies there with its rank. */
rk_merge *rk_bpe_merges(const rk_bpe *b)
{
    rk_merge *merges = calloc((size_t)b->n_merges + 1, sizeof *merges);
    for (uint64_t i = 0; merges && i <= b->slot_mask; i++) {
        const uint64_t slot = b->pairs[i], key = slot >> ID_BITS;
        const int64_t rank = (int64_t)(slot & (NO_RANK - 1));
        if (slot != EMPTY_SLOT)
            merges[rank] = (rk_merge){(int32_t)(key >> ID_BITS), (int32_t)(key & (NO_RANK - 1)),
                                      b->made[rank]};
    }
    return merges;
}

/* ---- tokens by their bytes ---- */

int32_t *rk_bpe_word(int32_t *words, uint64_t mask, const rk_texts *t, const unsigned char *bytes,
                     size_t n)
{
    for (uint64_t i = rk_checksum_bytes(bytes, n);; i++) {
        int32_t *slot = &words[i & mask];
        if (*slot == 0)
            return slot;
        const struct rk_text text = t->of_id[*slot - 1];
        if (text.n == n && memcmp(t->bytes + text.at, bytes, n) == 0)
            return slot;
    }
}

int32_t rk_bpe_added(const rk_bpe *b, const char *text, size_t n)
{
    const rk_trie *tries[] = {&b->raw, &b->normal};
    int32_t id = -1;
    for (size_t i = 0; i < RK_COUNT(tries) && n > 0; i++)
        if (rk_trie_longest(tries[i], (const unsigned char *)text, n, &id) == n)
            return id;
    return -1;
}

/* ---- one call of encode ---- */

/* A piece that has been encoded. */
typedef struct seen {
    uint64_t bytes[SEEN_BYTES / 8];
    uint8_t n_bytes, n_ids; /* 0: empty */
    int32_t ids[SEEN_IDS];
} seen;

/* Two neighbours that may be merged. */
typedef struct candidate {
    int32_t rank, left, right;
    size_t at;
} candidate;

typedef struct link {
    int32_t id; /* -1: merged into the one before */
    size_t before, after;
} link;

typedef struct job {
    const rk_bpe *b;
    int32_t *ids;
    int64_t n_ids, max;
    seen *seen; /* (N_SEEN), or NULL */
    bool plain;
    rk_pre_scratch scratch;
    /* of long pieces */
    candidate *heap;
    link *links;
    size_t n_heap, room;
    bool failed;
} job;

static void emit(job *j, int32_t id)
{
    if (j->n_ids < j->max)
        j->ids[j->n_ids] = id;
    j->n_ids++;
}

/* ---- merging: short pieces ---- */

/* The bytes of a piece that have tokens. */
static size_t keep_known(const rk_bpe *b, const unsigned char *p, size_t n, unsigned char *kept)
{
    size_t n_kept = 0;
    for (size_t i = 0; i < n; i++)
        if (b->byte_id[p[i]] >= 0)
            kept[n_kept++] = p[i];
    return n_kept;
}

/* Merge the bytes of a piece of n <= SHORT_PIECE to tokens; returns their number. rank[i] is that
 * of the tokens i and i + 1. */
static size_t merge_short(const rk_bpe *b, const unsigned char *text, size_t n, int32_t *id)
{
    int32_t rank[SHORT_PIECE];
    unsigned char p[SHORT_PIECE];
    n = keep_known(b, text, n, p);
    for (size_t i = 0; i < n; i++)
        id[i] = b->byte_id[p[i]];
    for (size_t i = 0; i + 1 < n; i++)
        rank[i] = b->byte_ranks[p[i] << 8 | p[i + 1]];
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++)
            best = rank[i] < rank[best] ? i : best;
        if (rank[best] == NO_RANK)
            break;
        id[best] = b->made[rank[best]];
        n--;
        memmove(id + best + 1, id + best + 2, (n - best - 1) * sizeof *id);
        memmove(rank + best, rank + best + 1, (n - best - 1) * sizeof *rank);
        if (best > 0)
            rank[best - 1] = rank_of(b, id[best - 1], id[best]);
        if (best + 1 < n)
            rank[best] = rank_of(b, id[best], id[best + 1]);
    }
    return n;
}

/* ---- merging: long pieces ---- */

static bool comes_first(const candidate *a, const candidate *b)
{
    return a->rank < b->rank || (a->rank == b->rank && a->at < b->at);
}

static void heap_push(job *j, candidate c)
{
    size_t i = j->n_heap++;
    for (; i > 0 && comes_first(&c, &j->heap[(i - 1) / 2]); i = (i - 1) / 2)
        j->heap[i] = j->heap[(i - 1) / 2];
    j->heap[i] = c;
}

static candidate heap_pop(job *j)
{
    const candidate top = j->heap[0], last = j->heap[--j->n_heap];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < j->n_heap; i = child) {
        child += child + 1 < j->n_heap && comes_first(&j->heap[child + 1], &j->heap[child]);
        if (!comes_first(&j->heap[child], &last))
            break;
        j->heap[i] = j->heap[child];
    }
    j->heap[i] = last;
    return top;
}

/* The link at and the one after it, when they can be merged. */
static void propose(job *j, size_t at, size_t n)
{
    const size_t after = j->links[at].after;
    if (after >= n)
        return;
    const candidate c = {rank_of(j->b, j->links[at].id, j->links[after].id), j->links[at].id,
                         j->links[after].id, at};
    if (c.rank != NO_RANK)
        heap_push(j, c);
}

/* A candidate is stale when one of its two has been merged with another since. */
static void merge_links(job *j, const candidate *c, size_t n)
{
    link *const l = &j->links[c->at];
    const size_t gone = l->after;
    if (l->id != c->left || gone >= n || j->links[gone].id != c->right)
        return;
    l->id = j->b->made[c->rank];
    j->links[gone].id = -1;
    l->after = j->links[gone].after;
    if (l->after < n)
        j->links[l->after].before = c->at;
    if (l->before < n)
        propose(j, l->before, n);
    propose(j, c->at, n);
}

/* Each merge takes a candidate and adds at most two, and there are fewer than n merges. */
static bool reserve(job *j, size_t n)
{
    if (n <= j->room)
        return true;
    free(j->links);
    free(j->heap);
    j->links = malloc(n * sizeof *j->links);
    j->heap = malloc(2 * n * sizeof *j->heap);
    j->room = j->links && j->heap ? n : 0;
    return j->room > 0;
}

static void encode_long(job *j, const unsigned char *p, size_t n_bytes)
{
    size_t n = 0;
    if (!reserve(j, n_bytes)) {
        j->failed = true;
        return;
    }
    assert(j->n_heap == 0); /* the merges of the piece before have emptied it */
    for (size_t i = 0; i < n_bytes; i++)
        if (j->b->byte_id[p[i]] >= 0) {
            j->links[n] = (link){j->b->byte_id[p[i]], n - 1, n + 1};
            n++;
        }
    if (n > 0)
        j->links[0].before = n;
    for (size_t i = 0; i < n; i++)
        propose(j, i, n);
    while (j->n_heap > 0) {
        const candidate c = heap_pop(j);
        merge_links(j, &c, n);
    }
    for (size_t i = 0; i < n; i = j->links[i].after)
        emit(j, j->links[i].id);
}

/* ---- pieces ---- */

static void encode_short(job *j, seen *s, const unsigned char *p, size_t n)
{
    int32_t id[SHORT_PIECE];
    const size_t n_ids = merge_short(j->b, p, n, id);
    for (size_t i = 0; i < n_ids; i++)
        emit(j, id[i]);
    if (!s || n_ids > SEEN_IDS)
        return;
    s->n_bytes = (uint8_t)n;
    s->n_ids = (uint8_t)n_ids;
    memcpy(s->ids, id, n_ids * sizeof *id);
}

/* A piece of at most SEEN_BYTES, where there is a table of pieces. */
static void encode_seen(job *j, const unsigned char *p, size_t n)
{
    uint64_t key[SEEN_BYTES / 8] = {0};
    memcpy(key, p, n);
    seen *s = &j->seen[mix(mix(key[0]) + key[1]) % N_SEEN];
    if (s->n_bytes == n && s->bytes[0] == key[0] && s->bytes[1] == key[1]) {
        for (int i = 0; i < s->n_ids; i++)
            emit(j, s->ids[i]);
        return;
    }
    s->n_bytes = 0;
    memcpy(s->bytes, key, sizeof key);
    encode_short(j, s, p, n);
}

/* Where a piece that is a token needs no merges: is it one? */
static bool encode_whole(job *j, const unsigned char *p, size_t n)
{
    const rk_bpe *const b = j->b;
    if (n > b->texts->longest)
        return false;
    const int32_t id = *rk_bpe_word(b->words, b->word_mask, b->texts, p, n) - 1;
    if (id >= 0)
        emit(j, id);
    return id >= 0;
}

static void encode_piece(void *user, const unsigned char *p, size_t n)
{
    job *j = user;
    if (j->b->words && encode_whole(j, p, n))
        return;
    if (n <= SEEN_BYTES && j->seen)
        encode_seen(j, p, n);
    else if (n <= SHORT_PIECE)
        encode_short(j, NULL, p, n);
    else
        encode_long(j, p, n);
}

/* ---- texts ---- */

typedef void text_fn(job *j, const unsigned char *p, size_t n);

static void encode_pieces(job *j, const unsigned char *p, size_t n)
{
    if (!rk_pre_tokenize(j->b->pre, &j->scratch, p, n, encode_piece, j))
        j->failed = true;
}

/* <|...|>, and the same with the wide bars of DeepSeek: what stands for the beginning and the end of
 * messages, whether a file calls it special or not. */
static bool looks_special(const unsigned char *p, size_t n)
{
    static const char bar[] = "\xef\xbd\x9c";
    const size_t wide = sizeof bar - 1;
    return (n > 4 && p[0] == '<' && p[1] == '|' && p[n - 2] == '|' && p[n - 1] == '>') ||
           (n > 2 * wide + 2 && p[0] == '<' && !memcmp(p + 1, bar, wide) &&
            !memcmp(p + n - 1 - wide, bar, wide) && p[n - 1] == '>');
}

static bool is_control(const rk_bpe *b, int32_t id, const unsigned char *p, size_t n)
{
    return (b->texts->kinds[id] & RK_TOKEN_KIND) == RK_TOKEN_CONTROL || looks_special(p, n);
}

/* What lies between the added tokens of a trie goes to between, in order with them. */
static void walk_added(job *j, const rk_trie *added, text_fn *between, const unsigned char *p,
                       size_t n)
{
    size_t begin = 0, length;
    int32_t id;
    for (size_t at = 0; at < n; at += length ? length : 1) {
        length = added->one[p[at]] ? rk_trie_longest(added, p + at, n - at, &id) : 0;
        if (length == 0 || (j->plain && is_control(j->b, id, p + at, length))) {
            length = 0;
            continue;
        }
        between(j, p + begin, at - begin);
        emit(j, id);
        begin = at + length;
    }
    between(j, p + begin, n - begin);
}

static void encode_normal(job *j, const unsigned char *p, size_t n)
{
    walk_added(j, &j->b->normal, encode_pieces, p, n);
}

/* A text that is in normal form, or is to be UTF-8 alone and is, is used where it is. */
static void encode_raw(job *j, const unsigned char *p, size_t n)
{
    rk_buf normal = {0};
    if (n == 0 || (j->b->nfc ? rk_nfc_settled(p, n) : rk_utf8_valid(p, n)) == n) {
        encode_normal(j, p, n);
        return;
    }
    if (j->b->nfc)
        rk_nfc_add(&normal, p, n);
    else
        rk_utf8_add(&normal, p, n);
    j->failed = j->failed || normal.failed;
    if (!j->failed)
        encode_normal(j, (const unsigned char *)normal.data, normal.len);
    rk_buf_deinit(&normal);
}

int64_t rk_bpe_encode(const rk_bpe *b, const char *text, size_t n, bool plain, int32_t *ids,
                      int64_t max)
{
    job j = {.b = b, .ids = ids, .max = max, .plain = plain};
    if (n >= SEEN_WORTH)
        j.seen = calloc(N_SEEN, sizeof *j.seen);
    walk_added(&j, &b->raw, encode_raw, (const unsigned char *)text, n);
    free(j.seen);
    free(j.heap);
    free(j.links);
    rk_pre_scratch_deinit(&j.scratch);
    return j.failed ? -1 : j.n_ids;
}
