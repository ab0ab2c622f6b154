/* pre_tokenizer.c: the table of patterns, and PCRE2 that runs them.
 *
 * PCRE2's \s has U+180E, which is no white space in Unicode, so \s and \S are written out before a
 * pattern is compiled. The rest means the same in PCRE2, in the Oniguruma that `tokenizers` uses, and
 * in what llama.cpp makes of it, but for the letters that (?i:'s) takes: the long s is one in the
 * former two. Sources: huggingface/tokenizers, tokenizers/src/pre_tokenizers/{split,byte_level}.rs;
 * ggml-org/llama.cpp, src/llama-vocab.cpp and src/unicode.cpp.
 *
 * Time. None of the patterns nests one repetition in another, and at each place where a match fails
 * late, which is in front of white space, the next alternative takes all that was looked at: a text
 * costs a time proportional to its length, whatever it holds. So there is no limit to backtracking,
 * which would make a valid text of many blanks fail.
 *
 * GPT-2's pattern is the one step that is done by hand (split.c): that takes half the time. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/pre_tokenizer.h"

#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "text/split.h"

/* White space as Unicode has it, within [ ]. */
#define SPACE "\\t-\\r\\x{85}\\p{Z}"

#define SHORT_FORMS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define BLANKS "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define WORDS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"
#define SIGNS "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"

const char rk_pattern_gpt2[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+"
                               "|\\s+(?!\\S)|\\s+";
const char rk_pattern_digits[] = "\\p{N}";
static const char qwen2[] = SHORT_FORMS WORDS "\\p{N}" SIGNS BLANKS;
static const char qwen35[] = SHORT_FORMS "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}"
                                         "| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*" BLANKS;
static const char llama3[] = SHORT_FORMS WORDS "\\p{N}{1,3}" SIGNS BLANKS;

#define GPT2 rk_pattern_gpt2
#define DIGITS rk_pattern_digits
#define R1_SIGN                                                                                    \
    "<\xef\xbd\x9c"                                                                                \
    "Assistant"                                                                                    \
    "\xef\xbd\x9c>"

/* Of rows with the same patterns, and no sign that is found, the first is meant. */
const rk_pre_row rk_pre_rows[] = {
    {.name = "gpt-2", .patterns = {GPT2}},
    {.name = "mpt",
     .patterns = {GPT2},
     .nfc = true}, /* GPT-NeoX-20B's, which RWKV-4 Pile has too */
    {.name = "smollm", .patterns = {DIGITS, GPT2}},
    {.name = "starcoder", .patterns = {DIGITS, GPT2}, .sign = "<pr_status>"},
    {.name = "refact", .patterns = {DIGITS, GPT2}, .sign = "<fim_prefix>"},
    {.name = "llama-bpe", .patterns = {llama3}, .ignore_merges = true, .bos = true},
    {.name = "qwen2", .patterns = {qwen2}, .nfc = true},
    {.name = "deepseek-r1-qwen", .patterns = {qwen2}, .nfc = true, .sign = R1_SIGN},
    {.name = "qwen35", .patterns = {qwen35}},
    {0},
};

const rk_pre_row *rk_pre_row_named(const char *name)
{
    for (const rk_pre_row *r = rk_pre_rows; r->name; r++)
        if (strcmp(r->name, name) == 0)
            return r;
    return NULL;
}

void rk_pre_row_names(char *out, size_t bytes)
{
    size_t n = 0;
    *out = '\0';
    for (const rk_pre_row *r = rk_pre_rows; r->name && n < bytes; r++)
        n += (size_t)snprintf(out + n, bytes - n, "%s%s", n ? ", " : "", r->name);
}

/* ---- compiling ---- */

struct rk_pre_tokenizer {
    const rk_pre_row *row;
    pcre2_code *code[RK_PRE_PATTERNS_MAX]; /* NULL: by hand, or no such pattern */
    pcre2_match_context *limits;
    int n;
};

/* The pattern with \s and \S written out. */
static void write_out(rk_buf *b, const char *pattern)
{
    bool within = false; /* [ ] */
    for (const char *p = pattern; *p; p++) {
        if (p[0] == '\\' && (p[1] == 's' || p[1] == 'S')) {
            rk_buf_puts(b, within ? SPACE : p[1] == 's' ? "[" SPACE "]" : "[^" SPACE "]");
            p++;
            continue;
        }
        if (*p == '[' || *p == ']')
            within = *p == '[';
        rk_buf_add(b, p, p[0] == '\\' && p[1] ? 2 : 1);
        p += p[0] == '\\' && p[1];
    }
}

/* What has been compiled may lack machine code, where a system forbids to make it: it is interpreted then. */
static pcre2_code *compile(const char *pattern)
{
    rk_buf b = {0};
    int number = 0;
    size_t at = 0;
    pcre2_code *code = NULL;
    write_out(&b, pattern);
    if (!b.failed)
        code = pcre2_compile((PCRE2_SPTR)b.data, b.len, PCRE2_UTF | PCRE2_UCP | PCRE2_NO_UTF_CHECK,
                             &number, &at, NULL);
    rk_buf_deinit(&b);
    if (code)
        pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
    return code;
}

static rk_status compile_all(rk_pre_tokenizer *t, rk_error *err)
{
    t->limits = pcre2_match_context_create(NULL);
    if (!t->limits)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for a pattern");
    pcre2_set_match_limit(t->limits, UINT32_MAX);
    for (; t->n < RK_PRE_PATTERNS_MAX && t->row->patterns[t->n]; t->n++) {
        const char *pattern = t->row->patterns[t->n];
        if (pattern == rk_pattern_gpt2)
            continue;
        t->code[t->n] = compile(pattern);
        if (!t->code[t->n])
            return rk_fail(err, RK_ERR_NOMEM, "out of memory for a pattern");
    }
    return RK_OK;
}

rk_status rk_pre_tokenizer_new(rk_pre_tokenizer **out, const rk_pre_row *row, rk_error *err)
{
    rk_pre_tokenizer *t = calloc(1, sizeof *t);
    if (!t)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for a pattern");
    t->row = row;
    const rk_status st = compile_all(t, err);
    if (st == RK_OK)
        *out = t;
    else
        rk_pre_tokenizer_free(t);
    return st;
}

void rk_pre_tokenizer_free(rk_pre_tokenizer *t)
{
    if (!t)
        return;
    for (int i = 0; i < RK_PRE_PATTERNS_MAX; i++)
        pcre2_code_free(t->code[i]);
    pcre2_match_context_free(t->limits);
    free(t);
}

size_t rk_pre_tokenizer_memory(const rk_pre_tokenizer *t)
{
    size_t bytes = sizeof *t;
    for (int i = 0; i < t->n; i++) {
        size_t size = 0, jit = 0;
        if (t->code[i]) {
            pcre2_pattern_info(t->code[i], PCRE2_INFO_SIZE, &size);
            pcre2_pattern_info(t->code[i], PCRE2_INFO_JITSIZE, &jit);
        }
        bytes += size + jit;
    }
    return bytes;
}

/* ---- matching ---- */

void rk_pre_scratch_deinit(rk_pre_scratch *s)
{
    for (int i = 0; i < RK_PRE_PATTERNS_MAX; i++)
        pcre2_match_data_free(s->match[i]);
    *s = (rk_pre_scratch){0};
}

typedef struct cutting {
    const rk_pre_tokenizer *t;
    rk_pre_scratch *s;
    void (*piece)(void *user, const unsigned char *p, size_t n);
    void *user;
} cutting;

static bool cut(const cutting *c, int step, const unsigned char *p, size_t n);

static bool cut_by_hand(const cutting *c, int step, const unsigned char *p, size_t n)
{
    bool ok = true;
    for (size_t at = 0, length; at < n && ok; at += length) {
        length = rk_split_gpt2(p + at, n - at);
        ok = cut(c, step + 1, p + at, length);
    }
    return ok;
}

static bool cut_by_pattern(const cutting *c, int step, const unsigned char *p, size_t n)
{
    const pcre2_code *code = c->t->code[step];
    if (!c->s->match[step])
        c->s->match[step] = pcre2_match_data_create(1, NULL);
    pcre2_match_data *match = c->s->match[step];
    if (!match)
        return false;
    const size_t *found = pcre2_get_ovector_pointer(match);
    for (size_t at = 0; at < n;) {
        const int got = pcre2_match(code, p, n, at, PCRE2_NO_UTF_CHECK, match, c->t->limits);
        const bool none = got == PCRE2_ERROR_NOMATCH;
        const size_t begin = none ? n : found[0], end = none ? n : found[1];
        if ((got < 0 && !none) || (!none && end <= begin))
            return false;
        if (begin > at && !cut(c, step + 1, p + at, begin - at))
            return false;
        if (end > begin && !cut(c, step + 1, p + begin, end - begin))
            return false;
        at = end;
    }
    return true;
}

/* The steps from this one on. */
static bool cut(const cutting *c, int step, const unsigned char *p, size_t n)
{
    if (step == c->t->n) {
        c->piece(c->user, p, n);
        return true;
    }
    return c->t->code[step] ? cut_by_pattern(c, step, p, n) : cut_by_hand(c, step, p, n);
}

bool rk_pre_tokenize(const rk_pre_tokenizer *t, rk_pre_scratch *s, const unsigned char *p, size_t n,
                     void (*piece)(void *user, const unsigned char *p, size_t n), void *user)
{
    const cutting c = {t, s, piece, user};
    return cut(&c, 0, p, n);
}
