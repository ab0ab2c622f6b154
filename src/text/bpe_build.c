/* bpe_build.c: tokens are found by their bytes through a hash table; merges are looked up in it as they
 * come, so that one of an unknown token is refused where it stands. Bytes of a name that is looked for
 * lie behind the texts for as long as that takes. */
#include "text/bpe_build.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "io/checksum.h"
#include "text/byte_level.h"
#include "text/utf8.h"

enum { SHOWN = 40 }; /* bytes of a text that an error message shows */

static rk_status out_of_memory(const rk_bpe_build *u)
{
    return RK_BUILD_REFUSE(u, RK_ERR_NOMEM, "%s: out of memory", u->name);
}

/* A text for an error message: its beginning, whole characters, without control characters. */
static const char *shown(const char *text, size_t n, char room[SHOWN + RK_UTF8_MAX + 1])
{
    size_t at = 0;
    while (at < n && at < SHOWN) {
        const int length = rk_utf8_classify((const unsigned char *)text + at, n - at);
        const unsigned char c = (unsigned char)text[at];
        memcpy(room + at, text + at, length > 0 ? (size_t)length : 1);
        if (c < 0x20 || c == 0x7f || length <= 0)
            room[at] = '?';
        at += length > 0 ? (size_t)length : 1;
    }
    room[at] = '\0';
    return room;
}

rk_status rk_bpe_build_init(rk_bpe_build *u, size_t n_bytes, uint64_t ids_max)
{
    rk_texts *const t = u->texts;
    u->ids_max = ids_max < RK_VOCAB_IDS_MAX ? ids_max : RK_VOCAB_IDS_MAX;
    u->room = n_bytes;
    u->unknown = -1;
    t->bytes = malloc(n_bytes + 1);
    t->of_id = calloc((size_t)u->ids_max + 1, sizeof *t->of_id);
    t->kinds = calloc((size_t)u->ids_max + 1, 1);
    return t->bytes && t->of_id && t->kinds ? RK_OK : out_of_memory(u);
}

void rk_bpe_build_deinit(rk_bpe_build *u)
{
    free(u->words);
    free(u->merges);
    free(u->raw.tokens);
    free(u->normal.tokens);
}

/* ---- tokens ---- */

static rk_status check_id(const rk_bpe_build *u, uint64_t id)
{
    return id < u->ids_max ? RK_OK
                           : RK_BUILD_REFUSE(u, RK_ERR_FORMAT,
                                             "%s: an id of %" PRIu64 ", expected at most %" PRIu64,
                                             u->name, id, u->ids_max - 1);
}

/* The bytes at the end of the texts from `from` on are the text of an id. */
static rk_status set_text(const rk_bpe_build *u, uint64_t id, size_t from)
{
    rk_texts *const t = u->texts;
    const size_t n = t->n_bytes - from;
    if (n == 0 || n > RK_VOCAB_TOKEN_MAX)
        return RK_BUILD_REFUSE(u, RK_ERR_FORMAT,
                               "%s: token %" PRIu64 " has %zu bytes, expected 1 .. %d", u->name, id,
                               n, RK_VOCAB_TOKEN_MAX);
    if (t->of_id[id].n > 0)
        return RK_BUILD_REFUSE(u, RK_ERR_FORMAT, "%s: id %" PRIu64 " was given before", u->name,
                               id);
    t->of_id[id] = (struct rk_text){(uint32_t)from, (uint32_t)n};
    t->n_ids = rk_max_i64(t->n_ids, (int64_t)id + 1);
    t->longest = n > t->longest ? n : t->longest;
    return RK_OK;
}

/* Put the bytes that a text stands for behind the texts; false where it is no such text. */
static bool add_bytes(const rk_bpe_build *u, const char *text, size_t n)
{
    rk_texts *const t = u->texts;
    if (n / 2 > u->room - t->n_bytes && n > u->room - t->n_bytes)
        return false;
    const int64_t added =
        rk_byte_level_decode((const unsigned char *)text, n, t->bytes + t->n_bytes);
    t->n_bytes += added > 0 ? (size_t)added : 0;
    return added >= 0;
}

rk_status rk_bpe_build_token(rk_bpe_build *u, uint64_t id, const char *text, size_t n)
{
    char room[SHOWN + RK_UTF8_MAX + 1];
    const size_t from = u->texts->n_bytes;
    const rk_status st = check_id(u, id);
    if (st != RK_OK)
        return st;
    if (!add_bytes(u, text, n))
        return RK_BUILD_REFUSE(u, RK_ERR_FORMAT,
                               "%s: token '%s' has a character that stands for no byte", u->name,
                               shown(text, n, room));
    return set_text(u, id, from);
}

/* The token with the bytes at the end of the texts from `from` on, -1 when there is none. */
static int32_t find_word(const rk_bpe_build *u, size_t from)
{
    const rk_texts *t = u->texts;
    return *rk_bpe_word(u->words, u->word_mask, t, t->bytes + from, t->n_bytes - from) - 1;
}

/* Does a text that a model was trained on lack this byte in all likelihood? Those that UTF-8 does not
 * have, the first ones of planes that hold next to nothing, and control characters. Vocabularies that
 * were trained without being given all bytes have no tokens for them. */
static bool is_rare(int c)
{
    return c == 0xc0 || c == 0xc1 || c >= 0xf1 || c == 0x7f ||
           (c < 0x20 && c != '\t' && c != '\n' && c != '\r');
}

static rk_status find_bytes(const rk_bpe_build *u)
{
    for (int c = 0; c < 256; c++) {
        const unsigned char byte = (unsigned char)c;
        const int32_t id = *rk_bpe_word(u->words, u->word_mask, u->texts, &byte, 1) - 1;
        u->b->byte_id[c] = id < 0 ? u->unknown : id;
        if (id < 0 && !is_rare(c))
            return RK_BUILD_REFUSE(u, RK_ERR_FORMAT,
                                   "%s: its vocabulary has no token for the single byte 0x%02x",
                                   u->name, (unsigned)c);
    }
    return RK_OK;
}

rk_status rk_bpe_build_index(rk_bpe_build *u)
{
    const rk_texts *const t = u->texts;
    uint64_t n_slots = 2;
    while (n_slots < 2 * (uint64_t)t->n_ids)
        n_slots *= 2;
    u->word_mask = n_slots - 1;
    u->words = calloc(n_slots, sizeof *u->words);
    if (!u->words)
        return out_of_memory(u);
    for (int64_t id = 0; id < t->n_ids; id++) {
        const struct rk_text text = t->of_id[id];
        if (text.n == 0)
            continue;
        int32_t *slot = rk_bpe_word(u->words, u->word_mask, t, t->bytes + text.at, text.n);
        if (*slot)
            return RK_BUILD_REFUSE(u, RK_ERR_FORMAT,
                                   "%s: token %" PRId64 " has the same bytes as token %" PRId32,
                                   u->name, id, *slot - 1);
        *slot = (int32_t)id + 1;
    }
    return find_bytes(u);
}

/* ---- merges ---- */

/* One half of a merge: its bytes go behind the texts. */
static rk_status read_half(rk_bpe_build *u, const char *text, size_t n, int32_t *id)
{
    char room[SHOWN + RK_UTF8_MAX + 1];
    const size_t begin = u->texts->n_bytes;
    *id = add_bytes(u, text, n) && u->texts->n_bytes > begin ? find_word(u, begin) : -1;
    return *id >= 0 ? RK_OK
                    : RK_BUILD_REFUSE(u, RK_ERR_FORMAT,
                                      "%s: merge %" PRId64 " is of '%s', which is no token",
                                      u->name, u->n_merges, shown(text, n, room));
}

static rk_status keep_merge(rk_bpe_build *u, rk_merge m)
{
    if (u->n_merges == RK_VOCAB_IDS_MAX - 1)
        return RK_BUILD_REFUSE(u, RK_ERR_FORMAT, "%s: more than %d merges", u->name,
                               RK_VOCAB_IDS_MAX - 1);
    if (u->n_merges == u->merges_room) {
        const int64_t room = u->merges_room ? 2 * u->merges_room : 1024;
        rk_merge *merges = realloc(u->merges, (size_t)room * sizeof *merges);
        if (!merges)
            return out_of_memory(u);
        u->merges = merges;
        u->merges_room = room;
    }
    u->merges[u->n_merges++] = m;
    return RK_OK;
}

/* The bytes of both halves lie behind the texts while the token that they make is looked for. */
rk_status rk_bpe_build_merge(rk_bpe_build *u, const char *left, size_t n_left, const char *right,
                             size_t n_right)
{
    const size_t begin = u->texts->n_bytes;
    rk_merge m = {0};
    rk_status st = read_half(u, left, n_left, &m.left);
    if (st == RK_OK)
        st = read_half(u, right, n_right, &m.right);
    if (st == RK_OK)
        m.made = find_word(u, begin);
    u->texts->n_bytes = begin;
    if (st == RK_OK && m.made < 0)
        st = RK_BUILD_REFUSE(u, RK_ERR_FORMAT,
                             "%s: merge %" PRId64 " joins tokens %" PRId32 " and %" PRId32
                             " to what is no token",
                             u->name, u->n_merges, m.left, m.right);
    return st == RK_OK ? keep_merge(u, m) : st;
}

rk_status rk_bpe_build_merge_text(rk_bpe_build *u, const char *text, size_t n)
{
    char room[SHOWN + RK_UTF8_MAX + 1];
    const char *space = memchr(text, ' ', n);
    const size_t half = space ? (size_t)(space - text) : 0;
    if (!space || memchr(space + 1, ' ', n - half - 1))
        return RK_BUILD_REFUSE(u, RK_ERR_FORMAT,
                               "%s: merge %" PRId64 " is '%s', expected two tokens and a space "
                               "between them",
                               u->name, u->n_merges, shown(text, n, room));
    return rk_bpe_build_merge(u, text, half, space + 1, n - half - 1);
}

/* ---- added tokens ---- */

/* An added token may be in the vocabulary, with the same text. */
static rk_status place_added(rk_bpe_build *u, uint64_t id, const char *text, size_t n)
{
    char room[SHOWN + RK_UTF8_MAX + 1];
    rk_texts *const t = u->texts;
    const size_t from = t->n_bytes;
    const struct rk_text known = t->of_id[id];
    if (known.n == 0 && n <= u->room - from) {
        memcpy(t->bytes + from, text, n);
        t->n_bytes += n;
        return set_text(u, id, from);
    }
    return known.n == n && memcmp(t->bytes + known.at, text, n) == 0
               ? RK_OK
               : RK_BUILD_REFUSE(u, RK_ERR_FORMAT,
                                 "%s: added token '%s' has the id %" PRIu64 " of another token",
                                 u->name, shown(text, n, room), id);
}

static rk_status keep_added(rk_bpe_build *u, rk_vocab *v, int32_t id)
{
    rk_token *tokens = v->tokens;
    if ((v->n_tokens & (v->n_tokens + 1)) == 0) /* 0, 1, 3, 7 ...: the room is used up */
        tokens = realloc(tokens, 2 * (size_t)(v->n_tokens + 1) * sizeof *tokens);
    if (!tokens)
        return out_of_memory(u);
    v->tokens = tokens;
    v->tokens[v->n_tokens++] = (rk_token){.bytes = u->texts->bytes + u->texts->of_id[id].at,
                                          .n = u->texts->of_id[id].n,
                                          .id = id,
                                          .line = id};
    return RK_OK;
}

rk_status rk_bpe_build_added(rk_bpe_build *u, uint64_t id, const char *text, size_t n,
                             rk_token_kind kind, bool normalised)
{
    rk_status st = check_id(u, id);
    if (st == RK_OK)
        st = place_added(u, id, text, n);
    if (st != RK_OK)
        return st;
    u->texts->kinds[id] = (uint8_t)(kind | (normalised ? RK_TOKEN_NORMALISED : 0));
    return kind == RK_TOKEN_UNUSED ? RK_OK
                                   : keep_added(u, normalised ? &u->normal : &u->raw, (int32_t)id);
}

/* ---- the end ---- */

static rk_status expect_no_holes(const rk_bpe_build *u)
{
    for (int64_t id = 0; id < u->texts->n_ids; id++)
        if (u->texts->of_id[id].n == 0)
            return RK_BUILD_REFUSE(u, RK_ERR_FORMAT,
                                   "%s: no token has the id %" PRId64 ", the highest is %" PRId64,
                                   u->name, id, u->texts->n_ids - 1);
    return RK_OK;
}

static rk_status index_added(const rk_bpe_build *u, rk_vocab *v, rk_trie *trie)
{
    const rk_status st = v->n_tokens > 0 ? rk_vocab_sort(v, u->name, u->err) : RK_OK;
    return st == RK_OK ? rk_trie_init(trie, v, u->err) : st;
}

static rk_status index_merges(const rk_bpe_build *u)
{
    int64_t twin = 0;
    const rk_status st = rk_bpe_init(u->b, u->merges, u->n_merges, &twin, u->err);
    return st == RK_ERR_ARG
               ? RK_BUILD_REFUSE(u, RK_ERR_FORMAT, "%s: merge %" PRId64 " repeats an earlier one",
                                 u->name, twin)
               : st;
}

/* A failure leaves it as it is. */
static void *cut(void *p, size_t bytes)
{
    void *less = realloc(p, bytes);
    return less ? less : p;
}

/* What was allocated for any file is cut to what this one needs. */
static void trim(rk_texts *t)
{
    t->bytes = cut(t->bytes, t->n_bytes + 1);
    t->of_id = cut(t->of_id, (size_t)t->n_ids * sizeof *t->of_id);
    t->kinds = cut(t->kinds, (size_t)t->n_ids);
}

rk_status rk_bpe_build_tables(rk_bpe_build *u, bool ignore_merges)
{
    rk_status st = index_merges(u);
    if (st == RK_OK)
        st = expect_no_holes(u);
    if (st == RK_OK)
        st = index_added(u, &u->raw, &u->b->raw);
    if (st == RK_OK)
        st = index_added(u, &u->normal, &u->b->normal);
    if (st != RK_OK)
        return st;
    u->b->texts = u->texts;
    if (ignore_merges) {
        u->b->words = u->words;
        u->b->word_mask = u->word_mask;
        u->words = NULL;
    }
    trim(u->texts);
    return RK_OK;
}
