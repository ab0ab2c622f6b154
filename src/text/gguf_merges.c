/* gguf_merges.c: a vocabulary with merges from the metadata of a GGUF file and into them. */
#include "text/gguf_merges.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "text/bpe_build.h"
#include "text/byte_level.h"
#include "text/gguf_keys.h"

bool rk_gguf_open_array(const rk_file *f, const char *key, uint32_t type, rk_reader *r, uint64_t *n)
{
    const rk_file_raw *raw = rk_file_raw_find(f, key);
    uint32_t array = 0, elements = 0;
    *r = raw ? (rk_reader){raw->data, raw->bytes} : (rk_reader){0};
    return raw && rk_read_u32le(r, &array) && array == RK_GGUF_ARRAY &&
           rk_read_u32le(r, &elements) && elements == type && rk_read_u64le(r, n);
}

typedef struct source {
    const rk_file *f;
    rk_bpe_build u;
    rk_about_text *about;
    rk_reader tokens, merges;
    const unsigned char *kinds; /* NULL: all tokens are normal */
    uint64_t n_tokens, n_merges;
} source;

static bool next_text(rk_reader *r, const char **text, size_t *n)
{
    uint64_t length = 0;
    const unsigned char *bytes = NULL;
    if (!rk_read_u64le(r, &length) || !rk_read_bytes(r, (size_t)length, &bytes))
        return false;
    *text = (const char *)bytes;
    *n = (size_t)length;
    return true;
}

static uint32_t kind_of(const source *s, uint64_t id)
{
    uint32_t kind = RK_GGUF_NORMAL;
    if (s->kinds)
        memcpy(&kind, s->kinds + 4 * id, sizeof kind);
    return kind;
}

static rk_status cut_short(const source *s, const char *what, uint64_t i)
{
    return rk_fail(s->u.err, RK_ERR_FORMAT, "%s: its vocabulary ends at %s %" PRIu64, s->u.name,
                   what, i);
}

/* Is an added token looked for in the text's normal form? Their ids rise, and so do those asked for. */
static bool is_normalised(rk_reader *ids, uint64_t id)
{
    uint32_t next = 0;
    while (ids->left >= sizeof next) {
        memcpy(&next, ids->p, sizeof next);
        if (next >= id)
            return next == id;
        rk_read_u32le(ids, &next);
    }
    return false;
}

/* The tokens twice: first those that merges may be of, then the others. */
static rk_status read_tokens(source *s, bool normal)
{
    rk_reader r = s->tokens, normalised;
    uint64_t n_normalised = 0;
    rk_status st = RK_OK;
    if (!rk_gguf_open_array(s->f, RK_GGUF_NORMALISED, RK_GGUF_I32, &normalised, &n_normalised))
        normalised = (rk_reader){0};
    for (uint64_t id = 0; id < s->n_tokens && st == RK_OK; id++) {
        const uint32_t kind = kind_of(s, id);
        const bool is_normal = kind == RK_GGUF_NORMAL || kind == RK_GGUF_BYTE;
        const char *text = NULL;
        size_t n = 0;
        if (!next_text(&r, &text, &n))
            return cut_short(s, "token", id);
        if (is_normal != normal)
            continue;
        st = normal ? rk_bpe_build_token(&s->u, id, text, n)
                    : rk_bpe_build_added(&s->u, id, text, n,
                                         kind == RK_GGUF_USER     ? RK_TOKEN_ADDED
                                         : kind == RK_GGUF_UNUSED ? RK_TOKEN_UNUSED
                                                                  : RK_TOKEN_CONTROL,
                                         is_normalised(&normalised, id));
    }
    return st;
}

static rk_status read_merges(source *s)
{
    rk_status st = RK_OK;
    for (uint64_t i = 0; i < s->n_merges && st == RK_OK; i++) {
        const char *text = NULL;
        size_t n = 0;
        st = next_text(&s->merges, &text, &n) ? rk_bpe_build_merge_text(&s->u, text, n)
                                              : cut_short(s, "merge", i);
    }
    return st;
}

static rk_status find_row(source *s)
{
    char names[128];
    const char *pre = rk_file_meta(s->f, RK_GGUF_PRE);
    s->u.b->row = pre ? rk_pre_row_named(pre) : NULL;
    rk_pre_row_names(names, sizeof names);
    if (s->u.b->row) {
        const char *nfc = rk_file_meta(s->f, RK_GGUF_NORMALISER);
        s->u.b->nfc = nfc ? strcmp(nfc, "NFC") == 0 : s->u.b->row->nfc;
        return RK_OK;
    }
    return pre ? rk_fail(
                     s->u.err, RK_ERR_UNSUPPORTED,
                     "%s: its vocabulary cuts texts as '%.32s' does, which is not known; %s are",
                     s->u.name, pre, names)
               : rk_fail(s->u.err, RK_ERR_UNSUPPORTED,
                         "%s: no " RK_GGUF_PRE
                         " says how its vocabulary cuts texts, expected one of "
                         "%s",
                         s->u.name, names);
}

static rk_status open_arrays(source *s)
{
    rk_reader kinds;
    uint64_t n_kinds = 0;
    if (!rk_gguf_open_array(s->f, RK_GGUF_TOKENS, RK_GGUF_STRING, &s->tokens, &s->n_tokens))
        return rk_fail(s->u.err, RK_ERR_FORMAT, "%s: no array of strings " RK_GGUF_TOKENS,
                       s->u.name);
    if (!rk_gguf_open_array(s->f, RK_GGUF_MERGES, RK_GGUF_STRING, &s->merges, &s->n_merges))
        return rk_fail(s->u.err, RK_ERR_FORMAT, "%s: no array of strings " RK_GGUF_MERGES,
                       s->u.name);
    if (s->n_tokens < 1 || s->n_tokens > RK_VOCAB_IDS_MAX || s->tokens.left > RK_VOCAB_TEXT_MAX)
        return rk_fail(s->u.err, RK_ERR_FORMAT,
                       "%s: a vocabulary of %" PRIu64 " tokens in %zu bytes, expected at most %d "
                       "in %d",
                       s->u.name, s->n_tokens, s->tokens.left, RK_VOCAB_IDS_MAX, RK_VOCAB_TEXT_MAX);
    if (!rk_file_raw_find(s->f, RK_GGUF_TYPES))
        return RK_OK;
    if (!rk_gguf_open_array(s->f, RK_GGUF_TYPES, RK_GGUF_I32, &kinds, &n_kinds) ||
        n_kinds != s->n_tokens)
        return rk_fail(s->u.err, RK_ERR_FORMAT,
                       "%s: " RK_GGUF_TYPES " is no array of %" PRIu64 " i32, one for each token",
                       s->u.name, s->n_tokens);
    s->kinds = kinds.p;
    return RK_OK;
}

/* ---- where texts begin and end ---- */

static rk_status take_id(const source *s, const char *key, int32_t *id)
{
    const char *text = rk_file_meta(s->f, key);
    char *end = NULL;
    if (!text)
        return RK_OK;
    const long long x = strtoll(text, &end, 10);
    if (end == text || *end || x < 0 || x >= (long long)s->n_tokens)
        return rk_fail(s->u.err, RK_ERR_FORMAT,
                       "%s: %s is '%.20s', expected the id of one of its %" PRIu64 " tokens",
                       s->u.name, key, text, s->n_tokens);
    *id = (int32_t)x;
    return RK_OK;
}

/* Stops beyond those that other programs know. */
static void take_stops(const source *s)
{
    rk_reader r;
    uint64_t n = 0;
    uint32_t id = 0;
    if (rk_gguf_open_array(s->f, RK_GGUF_STOPS, RK_GGUF_I32, &r, &n))
        for (uint64_t i = 0; i < n && rk_read_u32le(&r, &id); i++)
            if (id < s->n_tokens)
                rk_about_text_stop(s->about, (int32_t)id);
}

static rk_status read_about(source *s)
{
    static const char *const more[] = {RK_GGUF_EOT, RK_GGUF_EOM};
    rk_about_text *a = s->about;
    const char *adds = rk_file_meta(s->f, RK_GGUF_ADD_BOS);
    const char *jinja = rk_file_meta(s->f, RK_GGUF_TEMPLATE);
    rk_status st = take_id(s, RK_GGUF_BOS, &a->bos);
    if (st == RK_OK)
        st = take_id(s, RK_GGUF_EOS, &a->eos);
    rk_about_text_stop(a, a->eos);
    for (size_t i = 0; i < 2 && st == RK_OK; i++) {
        int32_t id = -1;
        st = take_id(s, more[i], &id);
        rk_about_text_stop(a, id);
    }
    take_stops(s);
    a->adds_bos = a->bos >= 0 && (adds ? strcmp(adds, "1") == 0 : s->u.b->row->bos);
    if (jinja)
        rk_buf_puts(&a->chat_template, jinja);
    return st == RK_OK && a->chat_template.failed
               ? rk_fail(s->u.err, RK_ERR_NOMEM, "%s: out of memory", s->u.name)
               : st;
}

static rk_status read_all(source *s)
{
    rk_status st = rk_bpe_build_init(&s->u, s->tokens.left + s->merges.left, s->n_tokens);
    if (st == RK_OK)
        st = read_tokens(s, true);
    if (st == RK_OK)
        st = rk_bpe_build_index(&s->u);
    if (st == RK_OK)
        st = read_merges(s);
    if (st == RK_OK)
        st = read_tokens(s, false);
    if (st == RK_OK)
        st = rk_bpe_build_tables(&s->u, s->u.b->row->ignore_merges);
    if (st == RK_OK)
        st = read_about(s);
    return st == RK_OK ? rk_pre_tokenizer_new(&s->u.b->pre, s->u.b->row, s->u.err) : st;
}

rk_status rk_gguf_read_merges(rk_bpe *b, rk_texts *texts, rk_about_text *about, const rk_file *f,
                              rk_error *err)
{
    source s = {
        .f = f, .u = {.name = rk_file_name(f), .err = err, .b = b, .texts = texts}, .about = about};
    rk_status st = find_row(&s);
    if (st == RK_OK)
        st = open_arrays(&s);
    if (st == RK_OK)
        st = read_all(&s);
    rk_bpe_build_deinit(&s.u);
    return st;
}

/* ---- writing ---- */

/* What stands for an id without text; no two are equal. */
static void put_pad(rk_buf *b, int64_t id)
{
    rk_buf_printf(b, "[PAD%" PRId64 "]", id);
}

static int32_t put_token(rk_buf *b, const rk_texts *t, int64_t id)
{
    static const int32_t kinds[] = {[RK_TOKEN_NORMAL] = RK_GGUF_NORMAL,
                                    [RK_TOKEN_ADDED] = RK_GGUF_USER,
                                    [RK_TOKEN_CONTROL] = RK_GGUF_CONTROL,
                                    [RK_TOKEN_UNUSED] = RK_GGUF_UNUSED};
    const int kind = id < t->n_ids ? t->kinds[id] & RK_TOKEN_KIND : RK_TOKEN_UNUSED;
    if (id >= t->n_ids) {
        put_pad(b, id);
        return RK_GGUF_UNUSED;
    }
    const unsigned char *bytes = t->bytes + t->of_id[id].at;
    if (kind == RK_TOKEN_NORMAL)
        rk_byte_level_encode(b, bytes, t->of_id[id].n);
    else
        rk_buf_add(b, bytes, t->of_id[id].n);
    return kinds[kind];
}

static void put_tokens(rk_gguf_meta *m, const rk_texts *t, int64_t n_ids)
{
    rk_buf text = {0}, kinds = {0};
    rk_gguf_begin_array(m, RK_GGUF_TOKENS, RK_GGUF_STRING, (uint64_t)n_ids);
    for (int64_t id = 0; id < n_ids; id++) {
        rk_buf_clear(&text);
        const int32_t kind = put_token(&text, t, id);
        rk_gguf_add_string(m, text.data, text.len);
        rk_buf_add(&kinds, &kind, sizeof kind);
    }
    rk_gguf_begin_array(m, RK_GGUF_TYPES, RK_GGUF_I32, (uint64_t)n_ids);
    rk_buf_add(&m->bytes, kinds.data, kinds.len);
    m->bytes.failed = m->bytes.failed || text.failed || kinds.failed;
    rk_buf_deinit(&text);
    rk_buf_deinit(&kinds);
}

static void put_merge_texts(rk_gguf_meta *m, const rk_bpe *b, const rk_texts *t)
{
    rk_merge *merges = rk_bpe_merges(b);
    rk_buf text = {0};
    rk_gguf_begin_array(m, RK_GGUF_MERGES, RK_GGUF_STRING, (uint64_t)b->n_merges);
    for (int64_t i = 0; merges && i < b->n_merges; i++) {
        rk_buf_clear(&text);
        put_token(&text, t, merges[i].left);
        rk_buf_puts(&text, " ");
        put_token(&text, t, merges[i].right);
        rk_gguf_add_string(m, text.data, text.len);
    }
    m->bytes.failed = m->bytes.failed || text.failed || !merges;
    rk_buf_deinit(&text);
    free(merges);
}

static void put_ids(rk_gguf_meta *m, const char *key, const rk_buf *ids)
{
    if (ids->len == 0)
        return;
    rk_gguf_begin_array(m, key, RK_GGUF_I32, ids->len / sizeof(int32_t));
    rk_buf_add(&m->bytes, ids->data, ids->len);
    m->bytes.failed = m->bytes.failed || ids->failed;
}

static void put_normalised(rk_gguf_meta *m, const rk_texts *t)
{
    rk_buf ids = {0};
    for (int32_t id = 0; id < t->n_ids; id++)
        if (t->kinds[id] & RK_TOKEN_NORMALISED)
            rk_buf_add(&ids, &id, sizeof id);
    put_ids(m, RK_GGUF_NORMALISED, &ids);
    rk_buf_deinit(&ids);
}

/* eot is what ends a turn where that is not what ends a text: the second stop, if there is one. llama.cpp
 * takes token 11 for what is missing, so all are said. */
static void put_about(rk_gguf_meta *m, const rk_about_text *a)
{
    const int32_t eos = a->eos >= 0 ? a->eos : a->stops[0];
    rk_buf ids = {0};
    rk_gguf_put_u32(m, RK_GGUF_BOS, (uint32_t)(a->bos >= 0 ? a->bos : eos));
    rk_gguf_put_u32(m, RK_GGUF_EOS, (uint32_t)eos);
    rk_gguf_put_bool(m, RK_GGUF_ADD_BOS, a->adds_bos);
    for (int i = 0; i < a->n_stops; i++)
        rk_buf_add(&ids, &a->stops[i], sizeof a->stops[i]);
    if (a->n_stops > 1 || a->eos != a->stops[0])
        put_ids(m, RK_GGUF_STOPS, &ids);
    if (a->chat_template.len > 0)
        rk_gguf_put_string(m, RK_GGUF_TEMPLATE, a->chat_template.data);
    rk_buf_deinit(&ids);
}

void rk_gguf_put_merges(rk_gguf_meta *m, const rk_bpe *b, const rk_texts *texts,
                        const rk_about_text *about, int64_t n_ids)
{
    rk_gguf_put_string(m, RK_GGUF_MODEL, "gpt2");
    rk_gguf_put_string(m, RK_GGUF_PRE, b->row->name);
    put_tokens(m, texts, n_ids);
    put_merge_texts(m, b, texts);
    if (b->nfc != b->row->nfc)
        rk_gguf_put_string(m, RK_GGUF_NORMALISER, b->nfc ? "NFC" : "none");
    put_normalised(m, texts);
    put_about(m, about);
}
