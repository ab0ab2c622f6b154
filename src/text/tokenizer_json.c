/* tokenizer_json.c: reading tokenizer.json.
 *
 * The file is walked without building a tree (json_object.h). Whatever would make other tokens than this
 * library does is refused by name: a vocabulary that is slightly wrong makes a model that is
 * slightly wrong. Not read because it changes no token: version, decoder, truncation and padding
 * (which are about batches), fuse_unk. Source:
 * huggingface/tokenizers, tokenizers/src/{models/bpe,pre_tokenizers,tokenizer/added_vocabulary}. */
#include "text/tokenizer_json.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "text/bpe_build.h"
#include "text/json_object.h"

typedef struct reader {
    rk_json_in in;
    rk_bpe_build u;
    rk_about_text *about;
    bool ignore_merges;
    /* the steps of the pre-tokenizer, in the order of the file */
    const char *steps[RK_PRE_PATTERNS_MAX]; /* into patterns, or one of those by type */
    rk_buf patterns[RK_PRE_PATTERNS_MAX];
    int n_steps;
    bool byte_level, in_sequence;
    rk_buf bos;       /* the token that a template puts in front; empty: none */
    bool behind_text; /* of a template: its text has been met */
} reader;

/* ---- tokens ---- */

static rk_status take_id(reader *r, rk_json_scan *s, uint64_t *id)
{
    return rk_json_uint(s, id) ? RK_OK : rk_json_syntax(&r->in, s);
}

static rk_status read_word(reader *r, rk_json_scan *s)
{
    uint64_t id = 0;
    rk_status st = rk_json_take_string(&r->in, s);
    if (st == RK_OK)
        st = rk_json_take_char(&r->in, s, ':');
    if (st == RK_OK)
        st = take_id(r, s, &id);
    return st == RK_OK ? rk_bpe_build_token(&r->u, id, r->in.string, r->in.n) : st;
}

/* model.vocab: an object of tokens and their ids. */
static rk_status read_words(reader *r, rk_json_scan s)
{
    rk_status st = rk_json_take_char(&r->in, &s, '{');
    if (st == RK_OK && !rk_json_peek_take(&s, '}')) {
        do
            st = read_word(r, &s);
        while (st == RK_OK && rk_json_peek_take(&s, ','));
        if (st == RK_OK)
            st = rk_json_take_char(&r->in, &s, '}');
    }
    return st;
}

/* ---- merges ---- */

/* ["a", "b"]: the second is read behind the first. */
static rk_status read_merge_pair(reader *r, rk_json_scan *s)
{
    rk_json_in second = r->in;
    rk_status st = rk_json_take_string(&r->in, s);
    second.string = r->in.string + r->in.n + 1;
    if (st == RK_OK)
        st = rk_json_take_char(&r->in, s, ',');
    if (st == RK_OK)
        st = rk_json_take_string(&second, s);
    if (st == RK_OK)
        st = rk_json_take_char(&r->in, s, ']');
    return st == RK_OK ? rk_bpe_build_merge(&r->u, r->in.string, r->in.n, second.string, second.n)
                       : st;
}

static rk_status read_merge(void *user, rk_json_scan *s)
{
    reader *r = user;
    if (rk_json_peek_take(s, '['))
        return read_merge_pair(r, s);
    const rk_status st = rk_json_take_string(&r->in, s);
    return st == RK_OK ? rk_bpe_build_merge_text(&r->u, r->in.string, r->in.n) : st;
}

/* ---- the model ---- */

enum { VOCAB, MERGES, UNKNOWN, IGNORE_MERGES, MODEL_KEYS };

/* The id of the token that stands for bytes without one; known once the tokens are read. */
static rk_status find_unknown(reader *r, rk_json_scan words, rk_json_scan unknown)
{
    rk_json_members m;
    rk_status st;
    if (!unknown.p || rk_json_value_is(unknown, "null"))
        return RK_OK;
    st = rk_json_take_string(&r->in, &unknown);
    char *key = st == RK_OK ? strdup(r->in.string) : NULL;
    if (!key)
        return st == RK_OK ? rk_fail(r->in.err, RK_ERR_NOMEM, "%s: out of memory", r->in.name) : st;
    const char *const keys[] = {key};
    uint64_t id = 0;
    st = rk_json_find_members(&r->in, &words, "vocab", keys, 1, &m);
    if (st == RK_OK && m.at[0].p && rk_json_uint(&m.at[0], &id) && id < r->u.ids_max)
        r->u.unknown = (int32_t)id;
    free(key);
    return st;
}

static rk_status read_model(reader *r, rk_json_scan s)
{
    static const char *const keys[MODEL_KEYS] = {"vocab", "merges", "unk_token", "ignore_merges"};
    static const rk_json_fixed rows[] = {{"dropout", "null", "null"},
                                         {"continuing_subword_prefix", "null", "\"\""},
                                         {"end_of_word_suffix", "null", "\"\""},
                                         {"byte_fallback", "false", "false"},
                                         {"ignore_merges", "false", "true"}};
    rk_json_members m = {0};
    rk_status st = rk_json_expect_type(&r->in, s, "model", "BPE");
    if (st == RK_OK)
        st = rk_json_expect_fixed(&r->in, s, "model", rows, RK_COUNT(rows));
    if (st == RK_OK)
        st = rk_json_find_members(&r->in, &s, "model", keys, MODEL_KEYS, &m);
    for (size_t i = 0; i <= MERGES && st == RK_OK; i++)
        if (!m.at[i].p)
            return RK_JSON_REFUSE(&r->in, RK_ERR_FORMAT, "%s: no %s in model", r->in.name, keys[i]);
    if (st == RK_OK)
        st = read_words(r, m.at[VOCAB]);
    if (st == RK_OK)
        st = find_unknown(r, m.at[VOCAB], m.at[UNKNOWN]);
    if (st == RK_OK)
        st = rk_bpe_build_index(&r->u);
    r->ignore_merges = m.at[IGNORE_MERGES].p && rk_json_value_is(m.at[IGNORE_MERGES], "true");
    return st == RK_OK ? rk_json_each(&r->in, &m.at[MERGES], read_merge, r) : st;
}

/* ---- added tokens ---- */

static rk_status read_added_token(void *user, rk_json_scan *s)
{
    static const char *const keys[] = {"id", "content", "normalized", "special"};
    static const rk_json_fixed rows[] = {{"single_word", "false", "false"},
                                         {"lstrip", "false", "false"},
                                         {"rstrip", "false", "false"}};
    reader *r = user;
    rk_json_members m;
    uint64_t id = 0;
    rk_status st = rk_json_expect_fixed(&r->in, *s, "an added token", rows, RK_COUNT(rows));
    if (st == RK_OK)
        st = rk_json_find_members(&r->in, s, "an added token", keys, RK_COUNT(keys), &m);
    for (size_t i = 0; i < RK_COUNT(keys) && st == RK_OK; i++)
        if (!m.at[i].p)
            return RK_JSON_REFUSE(&r->in, RK_ERR_FORMAT, "%s: no %s in an added token", r->in.name,
                                  keys[i]);
    if (st == RK_OK)
        st = take_id(r, &m.at[0], &id);
    if (st == RK_OK)
        st = rk_json_take_string(&r->in, &m.at[1]);
    return st == RK_OK ? rk_bpe_build_added(&r->u, id, r->in.string, r->in.n,
                                            rk_json_value_is(m.at[3], "true") ? RK_TOKEN_CONTROL
                                                                              : RK_TOKEN_ADDED,
                                            rk_json_value_is(m.at[2], "true"))
                       : st;
}

/* ---- what happens to a text before the merges ---- */

static rk_status add_step(reader *r, const char *pattern, size_t n)
{
    if (r->n_steps == RK_PRE_PATTERNS_MAX)
        return RK_JSON_REFUSE(&r->in, RK_ERR_UNSUPPORTED,
                              "%s: its pre_tokenizer has more than %d patterns", r->in.name,
                              RK_PRE_PATTERNS_MAX);
    rk_buf *b = &r->patterns[r->n_steps];
    rk_buf_add(b, pattern, n);
    if (b->failed)
        return rk_fail(r->in.err, RK_ERR_NOMEM, "%s: out of memory", r->in.name);
    r->steps[r->n_steps++] = b->data;
    return RK_OK;
}

/* {"type": "ByteLevel"}: GPT-2's pattern, unless use_regex is false. */
static rk_status take_byte_level(reader *r, rk_json_scan s)
{
    static const char *const keys[] = {"use_regex"};
    static const rk_json_fixed rows[] = {{"add_prefix_space", "false", "false"},
                                         {"use_regex", "true", "false"}};
    rk_json_members m;
    rk_status st = rk_json_expect_fixed(&r->in, s, "pre_tokenizer", rows, RK_COUNT(rows));
    if (st == RK_OK)
        st = rk_json_find_members(&r->in, &s, "pre_tokenizer", keys, RK_COUNT(keys), &m);
    r->byte_level = true;
    return st != RK_OK || (m.at[0].p && rk_json_value_is(m.at[0], "false"))
               ? st
               : add_step(r, rk_pattern_gpt2, strlen(rk_pattern_gpt2));
}

/* {"type": "Digits", "individual_digits": true} */
static rk_status take_digits(reader *r, rk_json_scan s)
{
    static const rk_json_fixed rows[] = {{"individual_digits", "true", "true"}};
    const rk_status st = rk_json_expect_fixed(&r->in, s, "pre_tokenizer", rows, RK_COUNT(rows));
    return st == RK_OK ? add_step(r, rk_pattern_digits, strlen(rk_pattern_digits)) : st;
}

/* {"type": "Split", "pattern": {"Regex": ...}, "behavior": "Isolated", "invert": false} */
static rk_status take_split(reader *r, rk_json_scan s)
{
    static const char *const keys[] = {"pattern"}, *const kinds[] = {"Regex"};
    static const rk_json_fixed rows[] = {{"behavior", "\"Isolated\"", "\"Isolated\""},
                                         {"invert", "false", "false"}};
    rk_json_members m;
    rk_status st = rk_json_expect_fixed(&r->in, s, "pre_tokenizer", rows, RK_COUNT(rows));
    if (st == RK_OK)
        st = rk_json_find_members(&r->in, &s, "pre_tokenizer", keys, 1, &m);
    if (st == RK_OK && !m.at[0].p)
        return RK_JSON_REFUSE(&r->in, RK_ERR_FORMAT, "%s: no pattern in pre_tokenizer", r->in.name);
    if (st == RK_OK) {
        s = m.at[0];
        st = rk_json_find_members(&r->in, &s, "pattern", kinds, 1, &m);
    }
    if (st == RK_OK && !m.at[0].p)
        return RK_JSON_REFUSE(&r->in, RK_ERR_UNSUPPORTED,
                              "%s: the pattern of its pre_tokenizer is no Regex", r->in.name);
    if (st == RK_OK)
        st = rk_json_take_string(&r->in, &m.at[0]);
    return st == RK_OK ? add_step(r, r->in.string, r->in.n) : st;
}

static rk_status take_sequence(reader *r, rk_json_scan s);

static const struct {
    const char *type;
    rk_status (*take)(reader *r, rk_json_scan s);
} pre_tokenizers[] = {{"ByteLevel", take_byte_level},
                      {"Digits", take_digits},
                      {"Split", take_split},
                      {"Sequence", take_sequence}};

static rk_status take_pre_tokenizer(void *user, rk_json_scan *s)
{
    reader *r = user;
    const rk_json_scan begin = *s;
    const rk_status st = rk_json_take_type(&r->in, begin, "pre_tokenizer", "ByteLevel");
    if (st != RK_OK)
        return st;
    if (r->byte_level)
        return RK_JSON_REFUSE(&r->in, RK_ERR_UNSUPPORTED,
                              "%s: its pre_tokenizer goes on after ByteLevel", r->in.name);
    for (size_t i = 0; i < RK_COUNT(pre_tokenizers); i++)
        if (rk_json_string_is(&r->in, pre_tokenizers[i].type)) {
            const rk_status taken = pre_tokenizers[i].take(r, begin);
            return taken != RK_OK || rk_json_skip(s, RK_JSON_DEPTH_MAX) ? taken
                                                                        : rk_json_syntax(&r->in, s);
        }
    return RK_JSON_REFUSE(
        &r->in, RK_ERR_UNSUPPORTED,
        "%s: pre_tokenizer is '%s', expected ByteLevel, Digits, Split or Sequence", r->in.name,
        rk_json_shown(&r->in));
}

/* {"type": "Sequence", "pretokenizers": [...]}; one within another is no known family's. */
static rk_status take_sequence(reader *r, rk_json_scan s)
{
    static const char *const keys[] = {"pretokenizers"};
    rk_json_members m;
    const rk_status st = rk_json_find_members(&r->in, &s, "pre_tokenizer", keys, 1, &m);
    if (st != RK_OK)
        return st;
    if (!m.at[0].p || r->in_sequence)
        return RK_JSON_REFUSE(
            &r->in, RK_ERR_UNSUPPORTED,
            "%s: its pre_tokenizer is a Sequence without pretokenizers, or within "
            "another",
            r->in.name);
    r->in_sequence = true;
    return rk_json_each(&r->in, &m.at[0], take_pre_tokenizer, r);
}

static bool has_patterns(const reader *r, const rk_pre_row *row)
{
    for (int i = 0; i < RK_PRE_PATTERNS_MAX; i++) {
        const char *mine = i < r->n_steps ? r->steps[i] : NULL;
        if (!mine != !row->patterns[i] || (mine && strcmp(mine, row->patterns[i]) != 0))
            return false;
    }
    return true;
}

/* The row of these patterns: one whose sign is a token, else one with the same normal form, else the
 * first. */
static rk_status find_row(reader *r)
{
    int best = 0;
    char names[128];
    for (const rk_pre_row *row = rk_pre_rows; row->name; row++) {
        const bool sign = row->sign && rk_bpe_added(r->u.b, row->sign, strlen(row->sign)) >= 0;
        const int fits = 1 + (row->nfc == r->u.b->nfc) + 2 * sign;
        if (has_patterns(r, row) && (sign || !row->sign) && fits > best) {
            best = fits;
            r->u.b->row = row;
        }
    }
    rk_pre_row_names(names, sizeof names);
    return best > 0 ? RK_OK
                    : RK_JSON_REFUSE(&r->in, RK_ERR_UNSUPPORTED,
                                     "%s: its pre_tokenizer cuts texts by a pattern that is not "
                                     "known; those of %s are",
                                     r->in.name, names);
}

static rk_status read_pre_tokenizer(reader *r, rk_json_scan s)
{
    const rk_status st = take_pre_tokenizer(r, &s);
    return st != RK_OK || r->byte_level
               ? st
               : RK_JSON_REFUSE(&r->in, RK_ERR_UNSUPPORTED,
                                "%s: its pre_tokenizer ends without ByteLevel", r->in.name);
}

static rk_status read_normalizer(reader *r, rk_json_scan s)
{
    if (rk_json_value_is(s, "null"))
        return RK_OK;
    r->u.b->nfc = true;
    return rk_json_expect_type(&r->in, s, "normalizer", "NFC");
}

/* ---- what is put around a text ---- */

/* An element of a template: {"SpecialToken": {"id": T}} or {"Sequence": ...}. One token may stand in front
 * of the text. */
static rk_status take_part(void *user, rk_json_scan *s)
{
    static const char *const keys[] = {"SpecialToken", "Sequence"}, *const ids[] = {"id"};
    reader *r = user;
    rk_json_members m;
    rk_status st = rk_json_find_members(&r->in, s, "a template", keys, RK_COUNT(keys), &m);
    if (st != RK_OK)
        return st;
    if (m.at[1].p) {
        r->behind_text = true;
        return RK_OK;
    }
    if (!m.at[0].p || r->behind_text || r->bos.len > 0)
        return RK_JSON_REFUSE(&r->in, RK_ERR_UNSUPPORTED,
                              "%s: its post_processor puts more around a text than one token in "
                              "front of it",
                              r->in.name);
    rk_json_scan token = m.at[0];
    st = rk_json_find_members(&r->in, &token, "a template", ids, 1, &m);
    if (st == RK_OK && !m.at[0].p)
        return RK_JSON_REFUSE(&r->in, RK_ERR_FORMAT, "%s: no id in a template", r->in.name);
    if (st == RK_OK)
        st = rk_json_take_string(&r->in, &m.at[0]);
    if (st == RK_OK)
        rk_buf_add(&r->bos, r->in.string, r->in.n);
    return st == RK_OK && r->bos.failed
               ? rk_fail(r->in.err, RK_ERR_NOMEM, "%s: out of memory", r->in.name)
               : st;
}

static rk_status take_template(reader *r, rk_json_scan s)
{
    static const char *const keys[] = {"single"};
    rk_json_members m;
    const rk_status st = rk_json_find_members(&r->in, &s, "post_processor", keys, 1, &m);
    if (st == RK_OK && !m.at[0].p)
        return RK_JSON_REFUSE(&r->in, RK_ERR_FORMAT, "%s: no single in post_processor", r->in.name);
    return st == RK_OK ? rk_json_each(&r->in, &m.at[0], take_part, r) : st;
}

static rk_status take_post_processor(void *user, rk_json_scan *s);

static rk_status take_processors(reader *r, rk_json_scan s)
{
    static const char *const keys[] = {"processors"};
    rk_json_members m;
    const rk_status st = rk_json_find_members(&r->in, &s, "post_processor", keys, 1, &m);
    if (st == RK_OK && !m.at[0].p)
        return RK_JSON_REFUSE(&r->in, RK_ERR_FORMAT, "%s: no processors in post_processor",
                              r->in.name);
    return st == RK_OK ? rk_json_each(&r->in, &m.at[0], take_post_processor, r) : st;
}

/* ByteLevel moves the offsets of tokens and no token. */
static rk_status take_post_processor(void *user, rk_json_scan *s)
{
    reader *r = user;
    const rk_json_scan begin = *s;
    rk_status st = rk_json_take_type(&r->in, begin, "post_processor", "ByteLevel");
    const bool sequence = st == RK_OK && rk_json_string_is(&r->in, "Sequence");
    const bool template = st == RK_OK && rk_json_string_is(&r->in, "TemplateProcessing");
    if (st == RK_OK && !sequence && !template && !rk_json_string_is(&r->in, "ByteLevel"))
        return RK_JSON_REFUSE(
            &r->in, RK_ERR_UNSUPPORTED,
            "%s: post_processor is '%s', expected ByteLevel, TemplateProcessing or "
            "Sequence",
            r->in.name, rk_json_shown(&r->in));
    if (st == RK_OK && !rk_json_skip(s, RK_JSON_DEPTH_MAX))
        return rk_json_syntax(&r->in, s);
    if (st == RK_OK && template)
        st = take_template(r, begin);
    return st == RK_OK && sequence ? take_processors(r, begin) : st;
}

static rk_status find_bos(reader *r)
{
    if (r->bos.len == 0)
        return RK_OK;
    r->about->bos = rk_bpe_added(r->u.b, r->bos.data, r->bos.len);
    r->about->adds_bos = r->about->bos >= 0;
    return r->about->adds_bos
               ? RK_OK
               : RK_JSON_REFUSE(
                     &r->in, RK_ERR_FORMAT,
                     "%s: its post_processor puts '%.40s' in front of a text, which is no "
                     "added token",
                     r->in.name, r->bos.data);
}

/* ---- the file ---- */

enum { ADDED, NORMALIZER, PRE_TOKENIZER, POST_PROCESSOR, MODEL, N_KEYS };

static rk_status read_members(reader *r, rk_json_members *m)
{
    const rk_json_scan post = m->at[POST_PROCESSOR];
    rk_json_scan around = post;
    rk_status st = rk_json_expect_type(&r->in, m->at[MODEL], "model", "BPE");
    if (st == RK_OK)
        st = read_normalizer(r, m->at[NORMALIZER]);
    if (st == RK_OK)
        st = read_pre_tokenizer(r, m->at[PRE_TOKENIZER]);
    if (st == RK_OK && post.p && !rk_json_value_is(post, "null"))
        st = take_post_processor(r, &around);
    if (st == RK_OK)
        st = read_model(r, m->at[MODEL]);
    if (st == RK_OK && m->at[ADDED].p)
        st = rk_json_each(&r->in, &m->at[ADDED], read_added_token, r);
    return st;
}

static rk_status read_file(reader *r, rk_json_scan s)
{
    static const char *const keys[N_KEYS] = {"added_tokens", "normalizer", "pre_tokenizer",
                                             "post_processor", "model"};
    rk_json_members m;
    rk_status st = rk_json_find_members(&r->in, &s, "the file", keys, N_KEYS, &m);
    if (st == RK_OK && !rk_json_at_end(&s))
        st = rk_json_syntax(&r->in, &s);
    for (size_t i = 0; i < N_KEYS && st == RK_OK; i++)
        if (!m.at[i].p && i != ADDED && i != POST_PROCESSOR)
            return RK_JSON_REFUSE(&r->in, RK_ERR_FORMAT, "%s: no %s, expected a tokenizer.json",
                                  r->in.name, keys[i]);
    if (st == RK_OK)
        st = read_members(r, &m);
    if (st == RK_OK)
        st = rk_bpe_build_tables(&r->u, r->ignore_merges);
    if (st == RK_OK)
        st = find_row(r);
    if (st == RK_OK)
        st = find_bos(r);
    return st == RK_OK ? rk_pre_tokenizer_new(&r->u.b->pre, r->u.b->row, r->in.err) : st;
}

rk_status rk_tokenizer_json_read(rk_bpe *b, rk_texts *texts, rk_about_text *about, const void *text,
                                 size_t n, const char *name, rk_error *err)
{
    reader r = {.in = {.name = name, .begin = text, .err = err},
                .u = {.name = name, .err = err, .b = b, .texts = texts},
                .about = about};
    if (n > RK_TOKENIZER_JSON_MAX)
        return rk_fail(err, RK_ERR_FORMAT, "%s: %zu bytes, a tokenizer.json has at most %d", name,
                       n, RK_TOKENIZER_JSON_MAX);
    r.in.string = malloc(n + 3); /* a NUL behind each of a pair */
    rk_status st = r.in.string ? rk_bpe_build_init(&r.u, n, n)
                               : rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", name);
    if (st == RK_OK)
        st = read_file(&r, (rk_json_scan){.p = text, .end = (const unsigned char *)text + n});
    free(r.in.string);
    rk_bpe_build_deinit(&r.u);
    rk_buf_deinit(&r.bos);
    for (int i = 0; i < RK_PRE_PATTERNS_MAX; i++)
        rk_buf_deinit(&r.patterns[i]);
    return st;
}
