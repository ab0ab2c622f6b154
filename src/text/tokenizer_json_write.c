/* tokenizer_json_write.c: a vocabulary with merges as `tokenizers` and transformers open it, and as
 * tokenizer_json.c reads it again.
 *
 * `tokenizers` gives added tokens the numbers behind those of model.vocab, whatever ids the file names, so
 * one that stands among the others is in model.vocab as well. Ids without use at the end are padding of
 * a model's table and are left out; one in between is written as a special token. */
#include "text/tokenizer_json.h"

#include <inttypes.h>
#include <stdlib.h>

#include "io/json_line.h"
#include "text/byte_level.h"

typedef struct writer {
    rk_buf *out;
    const rk_bpe *b;
    const rk_texts *texts;
    const rk_about_text *about;
    rk_buf text;            /* of one token */
    int64_t n_words, n_ids; /* ids of model.vocab, and of all that is written */
} writer;

static int kind_of(const writer *w, int64_t id)
{
    return w->texts->kinds[id] & RK_TOKEN_KIND;
}

/* The characters of a token, appended to w->text. */
static void add_text(writer *w, int64_t id)
{
    const struct rk_text t = w->texts->of_id[id];
    if (kind_of(w, id) == RK_TOKEN_NORMAL)
        rk_byte_level_encode(&w->text, w->texts->bytes + t.at, t.n);
    else
        rk_buf_add(&w->text, w->texts->bytes + t.at, t.n);
}

static void put_text(writer *w)
{
    rk_json_quote(w->out, w->text.data, w->text.len);
    w->out->failed = w->out->failed || w->text.failed;
    rk_buf_clear(&w->text);
}

static void put_token(writer *w, int64_t id)
{
    add_text(w, id);
    put_text(w);
}

static void put_bool(rk_buf *out, const char *key, bool x)
{
    rk_buf_printf(out, "\"%s\": %s", key, x ? "true" : "false");
}

static void put_added(writer *w)
{
    const char *before = "\n";
    rk_buf_puts(w->out, "  \"added_tokens\": [");
    for (int64_t id = 0; id < w->n_ids; id++) {
        if (kind_of(w, id) == RK_TOKEN_NORMAL)
            continue;
        rk_buf_printf(w->out, "%s    {\"id\": %" PRId64 ", \"content\": ", before, id);
        put_token(w, id);
        rk_buf_puts(w->out, ", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, ");
        put_bool(w->out, "normalized", w->texts->kinds[id] & RK_TOKEN_NORMALISED);
        rk_buf_puts(w->out, ", ");
        put_bool(w->out, "special", kind_of(w, id) != RK_TOKEN_ADDED);
        rk_buf_puts(w->out, "}");
        before = ",\n";
    }
    rk_buf_puts(w->out, "\n  ],\n");
}

/* A step as the families' own files have it; GPT-2's pattern is ByteLevel's own. */
static void put_step(writer *w, const char *pattern)
{
    if (pattern == rk_pattern_digits) {
        rk_buf_puts(w->out, "{\"type\": \"Digits\", \"individual_digits\": true}, ");
    } else if (pattern != rk_pattern_gpt2) {
        rk_buf_puts(w->out, "{\"type\": \"Split\", \"pattern\": {\"Regex\": ");
        rk_buf_puts(&w->text, pattern);
        put_text(w);
        rk_buf_puts(w->out, "}, \"behavior\": \"Isolated\", \"invert\": false}, ");
    }
}

static void put_pre_tokenizer(writer *w)
{
    bool own = false;
    rk_buf_puts(w->out, "  \"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": [");
    for (int i = 0; i < RK_PRE_PATTERNS_MAX && w->b->row->patterns[i]; i++) {
        put_step(w, w->b->row->patterns[i]);
        own = own || w->b->row->patterns[i] == rk_pattern_gpt2;
    }
    rk_buf_puts(w->out,
                "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": true, ");
    put_bool(w->out, "use_regex", own);
    rk_buf_puts(w->out, "}]},\n");
}

static void put_post_processor(writer *w)
{
    static const char byte_level[] = "{\"type\": \"ByteLevel\", \"add_prefix_space\": true, "
                                     "\"trim_offsets\": false, \"use_regex\": true}";
    if (!w->about->adds_bos) {
        rk_buf_printf(w->out, "  \"post_processor\": %s,\n", byte_level);
        return;
    }
    rk_buf_printf(w->out,
                  "  \"post_processor\": {\"type\": \"Sequence\", \"processors\": [%s, {\"type\": "
                  "\"TemplateProcessing\", \"single\": [{\"SpecialToken\": {\"id\": ",
                  byte_level);
    put_token(w, w->about->bos);
    rk_buf_puts(w->out,
                ", \"type_id\": 0}}, {\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}], "
                "\"pair\": [{\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}, {\"Sequence\": "
                "{\"id\": \"B\", \"type_id\": 1}}], \"special_tokens\": {");
    put_token(w, w->about->bos);
    rk_buf_puts(w->out, ": {\"id\": ");
    put_token(w, w->about->bos);
    rk_buf_printf(w->out, ", \"ids\": [%" PRId32 "], \"tokens\": [", w->about->bos);
    put_token(w, w->about->bos);
    rk_buf_puts(w->out, "]}}}]},\n");
}

/* What a byte without a token becomes; -1: nothing. */
static int32_t unknown_of(const writer *w)
{
    for (int c = 0; c < 256; c++) {
        const int32_t id = w->b->byte_id[c];
        if (id >= 0 && w->texts->of_id[id].n != 1)
            return id;
    }
    return -1;
}

static void put_words(writer *w)
{
    rk_buf_puts(w->out, "    \"vocab\": {");
    for (int64_t id = 0; id < w->n_words; id++) {
        rk_buf_puts(w->out, id > 0 ? ",\n      " : "\n      ");
        put_token(w, id);
        rk_buf_printf(w->out, ": %" PRId64, id);
    }
    rk_buf_puts(w->out, "\n    },\n");
}

static void put_merges(writer *w)
{
    rk_merge *merges = rk_bpe_merges(w->b);
    rk_buf_puts(w->out, "    \"merges\": [");
    for (int64_t i = 0; merges && i < w->b->n_merges; i++) {
        rk_buf_puts(w->out, i > 0 ? ",\n      " : "\n      ");
        add_text(w, merges[i].left);
        rk_buf_puts(&w->text, " ");
        add_text(w, merges[i].right);
        put_text(w);
    }
    rk_buf_puts(w->out, "\n    ]\n");
    w->out->failed = w->out->failed || !merges;
    free(merges);
}

static void put_model(writer *w)
{
    const int32_t unknown = unknown_of(w);
    rk_buf_puts(w->out,
                "  \"model\": {\n    \"type\": \"BPE\", \"dropout\": null, \"unk_token\": ");
    if (unknown >= 0)
        put_token(w, unknown);
    else
        rk_buf_puts(w->out, "null");
    rk_buf_puts(w->out, ", \"continuing_subword_prefix\": \"\", \"end_of_word_suffix\": \"\", "
                        "\"fuse_unk\": false, \"byte_fallback\": false, ");
    put_bool(w->out, "ignore_merges", w->b->words != NULL);
    rk_buf_puts(w->out, ",\n");
    put_words(w);
    put_merges(w);
    rk_buf_puts(w->out, "  }\n}\n");
}

static void count_ids(writer *w)
{
    for (int64_t id = 0; id < w->texts->n_ids; id++) {
        w->n_words = kind_of(w, id) == RK_TOKEN_NORMAL ? id + 1 : w->n_words;
        w->n_ids = kind_of(w, id) == RK_TOKEN_UNUSED ? w->n_ids : id + 1;
    }
}

void rk_tokenizer_json_write(rk_buf *out, const rk_bpe *b, const rk_texts *texts,
                             const rk_about_text *about)
{
    writer w = {.out = out, .b = b, .texts = texts, .about = about};
    count_ids(&w);
    rk_buf_puts(out, "{\n  \"version\": \"1.0\", \"truncation\": null, \"padding\": null,\n");
    put_added(&w);
    rk_buf_printf(out, "  \"normalizer\": %s,\n", b->nfc ? "{\"type\": \"NFC\"}" : "null");
    put_pre_tokenizer(&w);
    put_post_processor(&w);
    rk_buf_puts(out, "  \"decoder\": {\"type\": \"ByteLevel\", \"add_prefix_space\": true, "
                     "\"trim_offsets\": true, \"use_regex\": true},\n");
    put_model(&w);
    rk_buf_deinit(&w.text);
}

/* ---- the pages beside it ---- */

static void put_named(writer *w, const char *key, int32_t id)
{
    if (id < 0)
        return;
    rk_buf_printf(w->out, ",\n  \"%s\": ", key);
    put_token(w, id);
}

void rk_tokenizer_config_write(rk_buf *out, const rk_bpe *b, const rk_texts *texts,
                               const rk_about_text *about)
{
    writer w = {.out = out, .b = b, .texts = texts, .about = about};
    rk_buf_puts(out, "{\n  \"tokenizer_class\": \"PreTrainedTokenizerFast\"");
    put_named(&w, "bos_token", about->bos);
    put_named(&w, "eos_token", about->eos);
    rk_buf_puts(out, ",\n  ");
    put_bool(out, "add_bos_token", about->adds_bos);
    rk_buf_puts(out, ",\n  \"clean_up_tokenization_spaces\": false");
    if (about->chat_template.len > 0) {
        rk_buf_puts(out, ",\n  \"chat_template\": ");
        rk_json_quote(out, about->chat_template.data, about->chat_template.len);
    }
    rk_buf_puts(out, "\n}\n");
    rk_buf_deinit(&w.text);
}

void rk_generation_config_write(rk_buf *out, const rk_about_text *about)
{
    rk_buf_puts(out, "{\n");
    if (about->bos >= 0)
        rk_buf_printf(out, "  \"bos_token_id\": %" PRId32 ",\n", about->bos);
    rk_buf_puts(out, "  \"eos_token_id\": [");
    for (int i = 0; i < about->n_stops; i++)
        rk_buf_printf(out, "%s%" PRId32, i > 0 ? ", " : "", about->stops[i]);
    rk_buf_puts(out, "]\n}\n");
}
