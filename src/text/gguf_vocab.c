/* gguf_vocab.c: a vocabulary to the metadata of a GGUF file and back; one with merges through
 * gguf_merges.c. */
#include "text/gguf_vocab.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "text/gguf_keys.h"
#include "text/gguf_merges.h"
#include "text/literal.h"
#include "text/tokenizer.h"

/* ---- writing ---- */

/* As Python prints bytes: in single quotes, but in double ones where only single ones occur. */
static void escape(rk_buf *b, const unsigned char *s, size_t n)
{
    const bool single = memchr(s, '\'', n) != NULL, both = single && memchr(s, '"', n) != NULL;
    for (size_t i = 0; i < n; i++)
        if (s[i] == '\\' || (s[i] == '\'' && both))
            rk_buf_printf(b, "\\%c", s[i]);
        else if (s[i] == '\t' || s[i] == '\n' || s[i] == '\r')
            rk_buf_puts(b, s[i] == '\t' ? "\\t" : s[i] == '\n' ? "\\n" : "\\r");
        else if (s[i] < 0x20 || s[i] >= 0x7f)
            rk_buf_printf(b, "\\x%02x", s[i]);
        else
            rk_buf_add(b, (const char *)s + i, 1);
}

/* What stands for an id without text, and its kind. */
static int32_t put_empty(rk_buf *b, int64_t id)
{
    if (id > 0)
        rk_buf_printf(b, "[PAD%" PRId64 "]", id);
    else
        rk_buf_puts(b, "<s>");
    return id > 0 ? RK_GGUF_UNUSED : RK_GGUF_CONTROL;
}

void rk_gguf_put_vocab(rk_gguf_meta *m, const rk_tokenizer *t, int64_t n_ids)
{
    rk_buf text = {0}, kinds = {0};
    if (rk_tokenizer_has_merges(t)) {
        rk_gguf_put_merges(m, rk_tokenizer_bpe(t), rk_tokenizer_texts(t), rk_tokenizer_about(t),
                           n_ids);
        return;
    }
    rk_gguf_put_string(m, RK_GGUF_MODEL, "rwkv");
    rk_gguf_begin_array(m, RK_GGUF_TOKENS, RK_GGUF_STRING, (uint64_t)n_ids);
    for (int64_t id = 0; id < n_ids; id++) {
        size_t n;
        const char *bytes = rk_tokenizer_bytes(t, (int32_t)id, &n);
        int32_t kind = RK_GGUF_NORMAL;
        rk_buf_clear(&text);
        if (n > 0)
            escape(&text, (const unsigned char *)bytes, n);
        else
            kind = put_empty(&text, id);
        rk_gguf_add_string(m, text.data, text.len);
        rk_buf_add(&kinds, &kind, sizeof kind);
    }
    rk_gguf_begin_array(m, RK_GGUF_TYPES, RK_GGUF_I32, (uint64_t)n_ids);
    rk_buf_add(&m->bytes, kinds.data, kinds.len);
    m->bytes.failed = m->bytes.failed || text.failed || kinds.failed;
    rk_buf_deinit(&text);
    rk_buf_deinit(&kinds);
}

/* ---- reading ---- */

typedef struct vocab_job {
    const rk_file *f;
    rk_reader tokens, kinds;
    uint64_t n;
    bool has_kinds;
} vocab_job;

static rk_status read_token(vocab_job *j, int32_t id, rk_vocab *v, rk_error *err)
{
    uint64_t length = 0;
    uint32_t kind = id == 0 ? RK_GGUF_CONTROL : RK_GGUF_NORMAL; /* a file that does not say */
    const unsigned char *text = NULL;
    const char *reason = "";
    rk_token *token = &v->tokens[v->n_tokens];
    if (!rk_read_u64le(&j->tokens, &length) || !rk_read_bytes(&j->tokens, (size_t)length, &text) ||
        (j->has_kinds && !rk_read_u32le(&j->kinds, &kind)))
        return rk_fail(err, RK_ERR_FORMAT, "%s: its vocabulary ends at token %" PRId32,
                       rk_file_name(j->f), id);
    if (kind == RK_GGUF_CONTROL || kind == RK_GGUF_UNUSED)
        return RK_OK;
    size_t n = 0;
    *token = (rk_token){.bytes = v->bytes + v->n_bytes, .id = id, .line = id};
    if (!rk_literal_decode_inside(text, (size_t)length, v->bytes + v->n_bytes, &n, &reason) ||
        n == 0 || n > RK_VOCAB_TOKEN_MAX)
        return rk_fail(err, RK_ERR_FORMAT, "%s: token %" PRId32 " of its vocabulary: %s",
                       rk_file_name(j->f), id, *reason ? reason : "it is empty or too long");
    token->n = (uint32_t)n;
    v->n_bytes += n;
    v->n_tokens++;
    return RK_OK;
}

static rk_status read_tokens(vocab_job *j, rk_vocab *v, rk_error *err)
{
    rk_status st = rk_vocab_new(v, j->tokens.left, (int64_t)j->n, err);
    v->n_ids = (int64_t)j->n;
    for (uint64_t id = 0; id < j->n && st == RK_OK; id++)
        st = read_token(j, (int32_t)id, v, err);
    return st == RK_OK ? rk_vocab_finish(v, rk_file_name(j->f), err) : st;
}

static rk_status read_merges(void *user, const rk_vocab_parts *p, rk_error *err)
{
    return rk_gguf_read_merges(p->bpe, p->texts, p->about, user, err);
}

rk_status rk_gguf_get_vocab(rk_tokenizer **out, const rk_file *f, rk_error *err)
{
    vocab_job j = {.f = f};
    rk_vocab v = {0};
    uint64_t n_kinds = 0;
    const char *model = rk_file_meta(f, RK_GGUF_MODEL);
    *out = NULL;
    if (!model || !strcmp(model, "no_vocab") || !strcmp(model, "none"))
        return RK_OK;
    if (strcmp(model, "gpt2") == 0)
        return rk_tokenizer_new_parts(out, read_merges, (void *)(uintptr_t)f, err);
    if (strcmp(model, "rwkv") != 0)
        return rk_fail(
            err, RK_ERR_UNSUPPORTED,
            "%s: its vocabulary is of kind '%.32s', expected rwkv or gpt2; --vocab names another",
            rk_file_name(f), model);
    if (!rk_gguf_open_array(f, RK_GGUF_TOKENS, RK_GGUF_STRING, &j.tokens, &j.n))
        return rk_fail(err, RK_ERR_FORMAT, "%s: no array of strings %s", rk_file_name(f),
                       RK_GGUF_TOKENS);
    if (j.n < 1 || j.n > RK_VOCAB_IDS_MAX || j.tokens.left > RK_VOCAB_TEXT_MAX)
        return rk_fail(err, RK_ERR_FORMAT,
                       "%s: a vocabulary of %" PRIu64 " tokens in %zu bytes, expected at most %d "
                       "in %d",
                       rk_file_name(f), j.n, j.tokens.left, RK_VOCAB_IDS_MAX, RK_VOCAB_TEXT_MAX);
    j.has_kinds = rk_file_raw_find(f, RK_GGUF_TYPES) != NULL;
    if (j.has_kinds &&
        (!rk_gguf_open_array(f, RK_GGUF_TYPES, RK_GGUF_I32, &j.kinds, &n_kinds) || n_kinds != j.n))
        return rk_fail(err, RK_ERR_FORMAT,
                       "%s: %s is no array of %" PRIu64 " i32, one for each token", rk_file_name(f),
                       RK_GGUF_TYPES, j.n);
    const rk_status st = read_tokens(&j, &v, err);
    if (st == RK_OK)
        return rk_tokenizer_new_vocab(out, &v, err);
    rk_vocab_deinit(&v);
    return st;
}
