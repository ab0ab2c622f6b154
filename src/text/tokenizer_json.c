/* tokenizer_json.c: reading tokenizer.json.
 *
 * The file is walked without building a tree: first the members of an object are found and passed
 * over, then each is read by the function that knows it. Whatever would make other tokens than this
 * library does is refused by name: a vocabulary that is slightly wrong makes a model that is
 * slightly wrong. Not read because it changes no token: version, decoder, truncation and padding
 * (which are about batches), unk_token and fuse_unk (all bytes are known). Source:
 * huggingface/tokenizers, tokenizers/src/{models/bpe,pre_tokenizers/byte_level,
 * tokenizer/added_vocabulary}. */
#include "text/tokenizer_json.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "io/checksum.h"
#include "io/json_scan.h"
#include "text/utf8.h"

enum {
    DEPTH_MAX = 64,
    MEMBERS_MAX = 8, /* of an object that are asked for */
    SHOWN = 40,      /* bytes of a string that an error message shows */
};

/* Where the members of an object lie; p is NULL where one is missing. */
typedef struct members {
    rk_json_scan at[MEMBERS_MAX];
} members;

typedef struct reader {
    const char *name;
    const unsigned char *begin;
    rk_error *err;
    rk_bpe *b;
    rk_texts *texts;
    char *string;        /* room for any string of the file */
    size_t n;            /* bytes of the last one */
    uint64_t ids_max;    /* ids are below: no more than bytes, as there are no holes */
    uint8_t *is_special; /* (ids_max) */
    int32_t *words;      /* (n_words) hash table of the texts: id + 1 */
    uint64_t word_mask;
    rk_merge *merges;
    int64_t n_merges, merges_room;
    rk_vocab raw, normal; /* added tokens */
} reader;

/* ---- error messages ---- */

/* Fail with the scanner's position and what it expected there. */
static rk_status syntax(const reader *r, const rk_json_scan *s)
{
    return rk_fail(r->err, RK_ERR_FORMAT, "%s: byte %zu: expected %s", r->name,
                   (size_t)(s->p - r->begin), s->expected ? s->expected : "a value");
}

static rk_status out_of_memory(const reader *r)
{
    return rk_fail(r->err, RK_ERR_NOMEM, "%s: out of memory", r->name);
}

#define REFUSE(r, code, ...) rk_fail((r)->err, code, __VA_ARGS__)

static rk_status take(const reader *r, rk_json_scan *s, char c)
{
    return rk_json_take(s, c) ? RK_OK : syntax(r, s);
}

/* Read the next string into r->string; shown() makes it printable. */
static rk_status take_string(reader *r, rk_json_scan *s)
{
    return rk_json_string(s, r->string, &r->n) ? RK_OK : syntax(r, s);
}

/* The string for an error message: its beginning, whole characters, without control characters. */
static const char *shown(reader *r)
{
    size_t n = 0;
    while (n < r->n && n < SHOWN) {
        const int length = rk_utf8_classify((const unsigned char *)r->string + n, r->n - n);
        if ((unsigned char)r->string[n] < 0x20 || r->string[n] == 0x7f)
            r->string[n] = '?';
        n += (size_t)length;
    }
    r->string[n] = '\0';
    return r->string;
}

static bool string_is(const reader *r, const char *text)
{
    return r->n == strlen(text) && memcmp(r->string, text, r->n) == 0;
}

/* ---- objects ---- */

static rk_status find_member(reader *r, rk_json_scan *s, const char *object,
                             const char *const *keys, size_t n_keys, members *found)
{
    rk_status st = take_string(r, s);
    if (st == RK_OK)
        st = take(r, s, ':');
    for (size_t i = 0; i < n_keys && st == RK_OK; i++)
        if (string_is(r, keys[i])) {
            if (found->at[i].p)
                return REFUSE(r, RK_ERR_FORMAT, "%s: '%s' occurs twice in %s", r->name, keys[i],
                              object);
            found->at[i] = *s;
        }
    return st != RK_OK || rk_json_skip(s, DEPTH_MAX) ? st : syntax(r, s);
}

/* Walk the object at s, which error messages call `object`, and note where its members begin. */
static rk_status find_members(reader *r, rk_json_scan *s, const char *object,
                              const char *const *keys, size_t n_keys, members *found)
{
    *found = (members){0};
    rk_status st = take(r, s, '{');
    if (st != RK_OK || rk_json_peek_take(s, '}'))
        return st;
    do
        st = find_member(r, s, object, keys, n_keys, found);
    while (st == RK_OK && rk_json_peek_take(s, ','));
    return st == RK_OK ? take(r, s, '}') : st;
}

/* Whether the value at s is this word, such as null. */
static bool value_is(rk_json_scan s, const char *word)
{
    const size_t n = strlen(word);
    while (s.p < s.end && (*s.p == ' ' || *s.p == '\t' || *s.p == '\n' || *s.p == '\r'))
        s.p++;
    return (size_t)(s.end - s.p) >= n && memcmp(s.p, word, n) == 0;
}

/* An object's member "type"; what is no object, or has none, is refused. */
static rk_status expect_type(reader *r, rk_json_scan s, const char *object, const char *want)
{
    static const char *const keys[] = {"type"};
    members m;
    rk_status st = find_members(r, &s, object, keys, 1, &m);
    if (st == RK_OK && !m.at[0].p)
        return REFUSE(r, RK_ERR_FORMAT, "%s: no type in %s, expected %s", r->name, object, want);
    if (st == RK_OK)
        st = take_string(r, &m.at[0]);
    return st != RK_OK || string_is(r, want)
               ? st
               : REFUSE(r, RK_ERR_UNSUPPORTED, "%s: %s is '%s', expected %s", r->name, object,
                        shown(r), want);
}

/* Members that may be missing or have one of two values, because others would change tokens. */
typedef struct fixed {
    const char *key, *value, *other;
} fixed;

static rk_status expect_fixed(reader *r, rk_json_scan s, const char *object, const fixed *rows,
                              size_t n_rows)
{
    const char *keys[MEMBERS_MAX] = {0};
    members m;
    for (size_t i = 0; i < n_rows; i++)
        keys[i] = rows[i].key;
    const rk_status st = find_members(r, &s, object, keys, n_rows, &m);
    for (size_t i = 0; i < n_rows && st == RK_OK; i++)
        if (m.at[i].p && !value_is(m.at[i], rows[i].value) && !value_is(m.at[i], rows[i].other))
            return REFUSE(r, RK_ERR_UNSUPPORTED, "%s: %s has a %s that is not read, expected %s",
                          r->name, object, rows[i].key, rows[i].value);
    return st;
}

/* ---- texts of ids ---- */

/* Byte-level vocabularies write each byte as a character: the printable ones of Latin-1 as
 * themselves, the others as U+0100 and up, in order. -1: no such character. */
static int byte_of_code(uint32_t code)
{
    if ((code >= 33 && code <= 126) || (code >= 161 && code <= 172) || (code >= 174 && code <= 255))
        return (int)code;
    const uint32_t i = code - 256;
    return code < 256 || i >= 68 ? -1 : i <= 32 ? (int)i : i <= 66 ? (int)(127 + (i - 33)) : 173;
}

/* Append the bytes that r->string[from, to) stands for to the texts; false when it is no such
 * string. */
static bool add_bytes(reader *r, size_t from, size_t to)
{
    const unsigned char *const p = (const unsigned char *)r->string;
    for (size_t at = from; at < to;) {
        const int length = rk_utf8_classify(p + at, to - at);
        const int byte = length > 0 ? byte_of_code(rk_utf8_decode(p + at, length)) : -1;
        if (byte < 0)
            return false;
        r->texts->bytes[r->texts->n_bytes++] = (unsigned char)byte;
        at += (size_t)length;
    }
    return true;
}

static uint64_t hash_of(const unsigned char *bytes, size_t n)
{
    return rk_checksum_bytes(bytes, n);
}

/* The slot of the token with these bytes, or the empty one where it would be. */
static int32_t *word_slot(const reader *r, const unsigned char *bytes, size_t n)
{
    for (uint64_t i = hash_of(bytes, n);; i++) {
        int32_t *slot = &r->words[i & r->word_mask];
        if (*slot == 0)
            return slot;
        const struct rk_text text = r->texts->of_id[*slot - 1];
        if (text.n == n && memcmp(r->texts->bytes + text.at, bytes, n) == 0)
            return slot;
    }
}

/* The token with the bytes at the end of the texts from `from` on, -1 when there is none. */
static int32_t find_word(const reader *r, size_t from)
{
    return *word_slot(r, r->texts->bytes + from, r->texts->n_bytes - from) - 1;
}

static rk_status index_words(reader *r)
{
    uint64_t n_slots = 2;
    while (n_slots < 2 * (uint64_t)r->texts->n_ids)
        n_slots *= 2;
    r->word_mask = n_slots - 1;
    r->words = calloc(n_slots, sizeof *r->words);
    if (!r->words)
        return out_of_memory(r);
    for (int64_t id = 0; id < r->texts->n_ids; id++) {
        const struct rk_text text = r->texts->of_id[id];
        if (text.n == 0)
            continue;
        int32_t *slot = word_slot(r, r->texts->bytes + text.at, text.n);
        if (*slot)
            return REFUSE(r, RK_ERR_FORMAT,
                          "%s: token %" PRId64 " has the same bytes as token %" PRId32, r->name, id,
                          *slot - 1);
        *slot = (int32_t)id + 1;
    }
    return RK_OK;
}

static rk_status take_id(const reader *r, rk_json_scan *s, int32_t *id)
{
    uint64_t x;
    if (!rk_json_uint(s, &x))
        return syntax(r, s);
    *id = (int32_t)x;
    return x < r->ids_max
               ? RK_OK
               : REFUSE(r, RK_ERR_FORMAT, "%s: an id of %" PRIu64 ", expected at most %" PRIu64,
                        r->name, x, r->ids_max - 1);
}

/* The bytes at the end of the texts from `from` on are the text of an id. */
static rk_status set_text(const reader *r, int32_t id, size_t from)
{
    rk_texts *const t = r->texts;
    const size_t n = t->n_bytes - from;
    if (n == 0 || n > RK_VOCAB_TOKEN_MAX)
        return REFUSE(r, RK_ERR_FORMAT, "%s: token %" PRId32 " has %zu bytes, expected 1 .. %d",
                      r->name, id, n, RK_VOCAB_TOKEN_MAX);
    if (t->of_id[id].n > 0)
        return REFUSE(r, RK_ERR_FORMAT, "%s: id %" PRId32 " was given before", r->name, id);
    t->of_id[id] = (struct rk_text){(uint32_t)from, (uint32_t)n};
    t->n_ids = rk_max_i64(t->n_ids, (int64_t)id + 1);
    t->longest = n > t->longest ? n : t->longest;
    return RK_OK;
}

static rk_status read_word(reader *r, rk_json_scan *s)
{
    const size_t from = r->texts->n_bytes;
    int32_t id = 0;
    rk_status st = take_string(r, s);
    if (st == RK_OK && !add_bytes(r, 0, r->n))
        return REFUSE(r, RK_ERR_FORMAT, "%s: token '%s' has a character that stands for no byte",
                      r->name, shown(r));
    if (st == RK_OK)
        st = take(r, s, ':');
    if (st == RK_OK)
        st = take_id(r, s, &id);
    return st == RK_OK ? set_text(r, id, from) : st;
}

/* model.vocab: an object of tokens and their ids. */
static rk_status read_words(reader *r, rk_json_scan s)
{
    rk_status st = take(r, &s, '{');
    if (st == RK_OK && !rk_json_peek_take(&s, '}')) {
        do
            st = read_word(r, &s);
        while (st == RK_OK && rk_json_peek_take(&s, ','));
        if (st == RK_OK)
            st = take(r, &s, '}');
    }
    return st == RK_OK ? index_words(r) : st;
}

/* ---- merges ---- */

/* One half of a merge, r->string[from, to): its bytes go behind the texts. */
static rk_status read_half(reader *r, size_t from, size_t to, int32_t *id)
{
    const size_t begin = r->texts->n_bytes;
    *id = add_bytes(r, from, to) && r->texts->n_bytes > begin ? find_word(r, begin) : -1;
    if (*id >= 0)
        return RK_OK;
    memmove(r->string, r->string + from, to - from);
    r->n = to - from;
    return REFUSE(r, RK_ERR_FORMAT, "%s: merge %" PRId64 " is of '%s', which is no token", r->name,
                  r->n_merges, shown(r));
}

/* "a b" */
static rk_status read_merge_string(reader *r, rk_json_scan *s, rk_merge *m)
{
    rk_status st = take_string(r, s);
    if (st != RK_OK)
        return st;
    const size_t n = r->n;
    const char *space = memchr(r->string, ' ', n);
    if (!space || memchr(space + 1, ' ', n - (size_t)(space + 1 - r->string)))
        return REFUSE(r, RK_ERR_FORMAT,
                      "%s: merge %" PRId64 " is '%s', expected two tokens and a "
                      "space between them",
                      r->name, r->n_merges, shown(r));
    const size_t half = (size_t)(space - r->string);
    st = read_half(r, 0, half, &m->left);
    return st == RK_OK ? read_half(r, half + 1, n, &m->right) : st;
}

/* ["a", "b"] */
static rk_status read_merge_pair(reader *r, rk_json_scan *s, rk_merge *m)
{
    rk_status st = take_string(r, s);
    if (st == RK_OK)
        st = read_half(r, 0, r->n, &m->left);
    if (st == RK_OK)
        st = take(r, s, ',');
    if (st == RK_OK)
        st = take_string(r, s);
    if (st == RK_OK)
        st = read_half(r, 0, r->n, &m->right);
    return st == RK_OK ? take(r, s, ']') : st;
}

static rk_status keep_merge(reader *r, rk_merge m)
{
    if (r->n_merges == RK_VOCAB_IDS_MAX - 1)
        return REFUSE(r, RK_ERR_FORMAT, "%s: more than %d merges", r->name, RK_VOCAB_IDS_MAX - 1);
    if (r->n_merges == r->merges_room) {
        const int64_t room = r->merges_room ? 2 * r->merges_room : 1024;
        rk_merge *merges = realloc(r->merges, (size_t)room * sizeof *merges);
        if (!merges)
            return out_of_memory(r);
        r->merges = merges;
        r->merges_room = room;
    }
    r->merges[r->n_merges++] = m;
    return RK_OK;
}

/* The bytes of both halves lie behind the texts while the token that they make is looked for. */
static rk_status read_merge(reader *r, rk_json_scan *s)
{
    const size_t begin = r->texts->n_bytes;
    rk_merge m = {0};
    const rk_status st =
        rk_json_peek_take(s, '[') ? read_merge_pair(r, s, &m) : read_merge_string(r, s, &m);
    if (st != RK_OK)
        return st;
    m.made = find_word(r, begin);
    r->texts->n_bytes = begin;
    if (m.made < 0)
        return REFUSE(r, RK_ERR_FORMAT,
                      "%s: merge %" PRId64 " joins tokens %" PRId32 " and %" PRId32
                      " to what is no token",
                      r->name, r->n_merges, m.left, m.right);
    return keep_merge(r, m);
}

static rk_status read_merges(reader *r, rk_json_scan s)
{
    rk_status st = take(r, &s, '[');
    if (st != RK_OK)
        return st;
    if (!rk_json_peek_take(&s, ']')) {
        do
            st = read_merge(r, &s);
        while (st == RK_OK && rk_json_peek_take(&s, ','));
        if (st == RK_OK)
            st = take(r, &s, ']');
    }
    int64_t twin = 0;
    if (st == RK_OK)
        st = rk_bpe_init(r->b, r->merges, r->n_merges, &twin, r->err);
    return st == RK_ERR_ARG ? REFUSE(r, RK_ERR_FORMAT,
                                     "%s: merge %" PRId64 " repeats an earlier one", r->name, twin)
                            : st;
}

/* ---- the model ---- */

/* Bytes that occur in UTF-8. Those that do not need no token. */
static rk_status find_bytes(reader *r)
{
    for (int c = 0; c < 256; c++) {
        const unsigned char byte = (unsigned char)c;
        r->b->byte_id[c] = *word_slot(r, &byte, 1) - 1;
        if (r->b->byte_id[c] < 0 && c != 0xc0 && c != 0xc1 && c < 0xf5)
            return REFUSE(r, RK_ERR_FORMAT,
                          "%s: its vocabulary has no token for the single byte 0x%02x", r->name,
                          (unsigned)c);
    }
    return RK_OK;
}

static rk_status read_model(reader *r, rk_json_scan s)
{
    static const char *const keys[] = {"vocab", "merges"};
    static const fixed rows[] = {{"dropout", "null", "null"},
                                 {"continuing_subword_prefix", "null", "\"\""},
                                 {"end_of_word_suffix", "null", "\"\""},
                                 {"byte_fallback", "false", "false"},
                                 {"ignore_merges", "false", "false"}};
    members m = {0};
    rk_status st = expect_type(r, s, "model", "BPE");
    if (st == RK_OK)
        st = expect_fixed(r, s, "model", rows, RK_COUNT(rows));
    if (st == RK_OK)
        st = find_members(r, &s, "model", keys, RK_COUNT(keys), &m);
    for (size_t i = 0; i < RK_COUNT(keys) && st == RK_OK; i++)
        if (!m.at[i].p)
            return REFUSE(r, RK_ERR_FORMAT, "%s: no %s in model", r->name, keys[i]);
    if (st == RK_OK)
        st = read_words(r, m.at[0]);
    if (st == RK_OK)
        st = find_bytes(r);
    return st == RK_OK ? read_merges(r, m.at[1]) : st;
}

/* ---- added tokens ---- */

/* An added token may be in the vocabulary, with the same text. */
static rk_status place_added(reader *r, int32_t id)
{
    rk_texts *const t = r->texts;
    const size_t from = t->n_bytes;
    const struct rk_text known = t->of_id[id];
    if (known.n == 0) {
        memcpy(t->bytes + from, r->string, r->n);
        t->n_bytes += r->n;
        return set_text(r, id, from);
    }
    return known.n == r->n && memcmp(t->bytes + known.at, r->string, r->n) == 0
               ? RK_OK
               : REFUSE(r, RK_ERR_FORMAT,
                        "%s: added token '%s' has the id %" PRId32 " of another token", r->name,
                        shown(r), id);
}

static rk_status keep_added(reader *r, int32_t id, bool normalized, bool special)
{
    const rk_status st = place_added(r, id);
    rk_vocab *const v = normalized ? &r->normal : &r->raw;
    if (st != RK_OK)
        return st;
    rk_token *tokens = v->tokens;
    if ((v->n_tokens & (v->n_tokens + 1)) == 0) /* 0, 1, 3, 7 ...: the room is used up */
        tokens = realloc(tokens, 2 * (size_t)(v->n_tokens + 1) * sizeof *tokens);
    if (!tokens)
        return out_of_memory(r);
    v->tokens = tokens;
    v->tokens[v->n_tokens++] = (rk_token){.bytes = r->texts->bytes + r->texts->of_id[id].at,
                                          .n = r->texts->of_id[id].n,
                                          .id = id,
                                          .line = id};
    r->is_special[id] = special;
    return RK_OK;
}

static rk_status read_added_token(reader *r, rk_json_scan *s)
{
    static const char *const keys[] = {"id", "content", "normalized", "special"};
    static const fixed rows[] = {{"single_word", "false", "false"},
                                 {"lstrip", "false", "false"},
                                 {"rstrip", "false", "false"}};
    members m;
    int32_t id = 0;
    rk_status st = expect_fixed(r, *s, "an added token", rows, RK_COUNT(rows));
    if (st == RK_OK)
        st = find_members(r, s, "an added token", keys, RK_COUNT(keys), &m);
    for (size_t i = 0; i < RK_COUNT(keys) && st == RK_OK; i++)
        if (!m.at[i].p)
            return REFUSE(r, RK_ERR_FORMAT, "%s: no %s in an added token", r->name, keys[i]);
    if (st == RK_OK)
        st = take_id(r, &m.at[0], &id);
    if (st == RK_OK)
        st = take_string(r, &m.at[1]);
    return st == RK_OK ? keep_added(r, id, value_is(m.at[2], "true"), value_is(m.at[3], "true"))
                       : st;
}

static rk_status read_added(reader *r, rk_json_scan s)
{
    rk_status st = take(r, &s, '[');
    if (st != RK_OK || rk_json_peek_take(&s, ']'))
        return st;
    do
        st = read_added_token(r, &s);
    while (st == RK_OK && rk_json_peek_take(&s, ','));
    return st == RK_OK ? take(r, &s, ']') : st;
}

static rk_status index_added(reader *r, rk_vocab *v, rk_trie *trie)
{
    const rk_status st = v->n_tokens > 0 ? rk_vocab_sort(v, r->name, r->err) : RK_OK;
    return st == RK_OK ? rk_trie_init(trie, v, r->err) : st;
}

/* ---- the file ---- */

static rk_status expect_no_holes(const reader *r)
{
    for (int64_t id = 0; id < r->texts->n_ids; id++)
        if (r->texts->of_id[id].n == 0)
            return REFUSE(r, RK_ERR_FORMAT,
                          "%s: no token has the id %" PRId64 ", the highest is %" PRId64, r->name,
                          id, r->texts->n_ids - 1);
    return RK_OK;
}

static void hide_special(const reader *r)
{
    for (int64_t id = 0; id < r->texts->n_ids; id++)
        if (r->is_special[id])
            r->texts->of_id[id].n = 0;
}

enum { ADDED, NORMALIZER, PRE_TOKENIZER, POST_PROCESSOR, MODEL, N_KEYS };

/* What happens to a text around the merges. */
static rk_status expect_surroundings(reader *r, const members *m)
{
    static const fixed rows[] = {{"add_prefix_space", "false", "false"},
                                 {"use_regex", "true", "true"}};
    rk_status st = expect_type(r, m->at[MODEL], "model", "BPE");
    if (st == RK_OK)
        st = expect_type(r, m->at[NORMALIZER], "normalizer", "NFC");
    if (st == RK_OK)
        st = expect_type(r, m->at[PRE_TOKENIZER], "pre_tokenizer", "ByteLevel");
    if (st == RK_OK)
        st = expect_fixed(r, m->at[PRE_TOKENIZER], "pre_tokenizer", rows, RK_COUNT(rows));
    if (st == RK_OK && m->at[POST_PROCESSOR].p && !value_is(m->at[POST_PROCESSOR], "null"))
        st = expect_type(r, m->at[POST_PROCESSOR], "post_processor", "ByteLevel");
    return st;
}

static rk_status read_file(reader *r, rk_json_scan s)
{
    static const char *const keys[N_KEYS] = {"added_tokens", "normalizer", "pre_tokenizer",
                                             "post_processor", "model"};
    members m;
    rk_status st = find_members(r, &s, "the file", keys, N_KEYS, &m);
    if (st == RK_OK && !rk_json_at_end(&s))
        st = syntax(r, &s);
    for (size_t i = 0; i < N_KEYS && st == RK_OK; i++)
        if (!m.at[i].p && i != ADDED && i != POST_PROCESSOR)
            return REFUSE(r, RK_ERR_FORMAT, "%s: no %s, expected a tokenizer.json", r->name,
                          keys[i]);
    if (st == RK_OK)
        st = expect_surroundings(r, &m);
    if (st == RK_OK)
        st = read_model(r, m.at[MODEL]);
    if (st == RK_OK && m.at[ADDED].p)
        st = read_added(r, m.at[ADDED]);
    if (st == RK_OK)
        st = expect_no_holes(r);
    if (st == RK_OK)
        st = index_added(r, &r->raw, &r->b->raw);
    if (st == RK_OK)
        st = index_added(r, &r->normal, &r->b->normal);
    if (st == RK_OK)
        hide_special(r);
    return st;
}

/* A failure leaves it as it is. */
static void *cut(void *p, size_t bytes)
{
    void *less = realloc(p, bytes);
    if (!less)
        return p;
    return less;
}

/* What was allocated for any file is cut to what this one needs. */
static void trim(rk_texts *t)
{
    t->bytes = cut(t->bytes, t->n_bytes + 1);
    t->of_id = cut(t->of_id, (size_t)t->n_ids * sizeof *t->of_id);
}

rk_status rk_tokenizer_json_read(rk_bpe *b, rk_texts *texts, const void *text, size_t n,
                                 const char *name, rk_error *err)
{
    reader r = {.name = name, .begin = text, .err = err, .b = b, .texts = texts};
    if (n > RK_VOCAB_TEXT_MAX)
        return rk_fail(err, RK_ERR_FORMAT, "%s: %zu bytes, a vocabulary has 1 .. %d", name, n,
                       RK_VOCAB_TEXT_MAX);
    r.ids_max = n < RK_VOCAB_IDS_MAX ? n : RK_VOCAB_IDS_MAX;
    texts->bytes = malloc(n + 1);
    texts->of_id = calloc(r.ids_max, sizeof *texts->of_id);
    r.string = malloc(n + 1);
    r.is_special = calloc(r.ids_max, 1);
    const rk_status st =
        texts->bytes && texts->of_id && r.string && r.is_special
            ? read_file(&r, (rk_json_scan){.p = text, .end = (const unsigned char *)text + n})
            : out_of_memory(&r);
    free(r.string);
    free(r.is_special);
    free(r.words);
    free(r.merges);
    free(r.raw.tokens);
    free(r.normal.tokens);
    if (st == RK_OK)
        trim(texts);
    return st;
}
