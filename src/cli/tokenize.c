/* tokenize.c: `rwkv tokenize`: text to token ids and back. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/num.h"
#include "cli/command.h"
#include "cli/messages.h"
#include "cli/prompt.h"
#include "text/chat_template.h"
#include "text/utf8.h"

typedef struct tokenize_options {
    rk_common_options common;
    const char *vocab, *decode, *messages, *format;
    rk_prompt_source text;
    bool json;
} tokenize_options;

#define AT(member) offsetof(tokenize_options, member)

static const rk_option rows[] = {
    {"vocab", 0, RK_OPT_TEXT, "NAME", AT(vocab), 0, 0, "world",
     "byte, world, or a vocabulary file"},
    {"tokenizer", 0, RK_OPT_TEXT, "NAME", AT(vocab), 0, 0, NULL, "the same as --vocab"},
    {"encode", 0, RK_OPT_TEXT, "TEXT", AT(text.text), 0, 0, "stdin", "the text; - is stdin"},
    {"file", 'f', RK_OPT_TEXT, "FILE", AT(text.file), 0, 0, NULL, "the text from a file"},
    {"escape", 'e', RK_OPT_FLAG, NULL, AT(text.escapes), 0, 0, NULL,
     "read \\n \\t \\xHH and the like in the text"},
    {"decode", 0, RK_OPT_TEXT, "1,2,3", AT(decode), 0, 0, NULL, "token ids to decode into text"},
    {"messages", 0, RK_OPT_TEXT, "FILE", AT(messages), 0, 0, NULL,
     "a conversation in JSON, as chat has it, up to where the answer begins"},
    {"template", 0, RK_OPT_TEXT, "NAME", AT(format), 0, 0, "the vocabulary's, else world",
     "chat format of --messages"},
    {"json", 0, RK_OPT_FLAG, NULL, AT(json), 0, 0, NULL,
     "one object: tokens, and of --decode the text"},
    RK_COMMON_ROWS(tokenize_options, common),
};

static int tokenize_main(int argc, char **argv);

const rk_command rk_cmd_tokenize = {
    .name = "tokenize",
    .summary = "turn text into token ids, or ids into text",
    .usage = "[--vocab NAME] [--encode TEXT | -f FILE | --messages FILE | --decode IDS] [--json]",
    .options = {rows, RK_COUNT(rows)},
    .examples = "  rwkv tokenize --vocab world --encode \"Hello world\"\n"
                "  rwkv tokenize --decode 33155,40213",
    .main = tokenize_main,
};

static json_t *array_of(const int32_t *ids, int64_t n)
{
    json_t *a = json_array();
    for (int64_t i = 0; i < n; i++)
        json_array_append_new(a, json_integer(ids[i]));
    return a;
}

static rk_status print_ids(const tokenize_options *o, const int32_t *ids, int64_t n, rk_error *err)
{
    if (o->json)
        return rk_command_json(json_pack("{s:o}", "tokens", array_of(ids, n)), err);
    for (int64_t i = 0; i < n; i++)
        printf("%d%c", ids[i], i + 1 < n ? ',' : '\n');
    return RK_OK;
}

static rk_status encode(const tokenize_options *o, const rk_tokenizer *t, rk_error *err)
{
    rk_buf text = {0};
    rk_status st = rk_prompt_read(&o->text, &text, err);
    if (st != RK_OK)
        return st;
    const double begin = rk_now_s();
    int32_t *ids = NULL;
    int64_t n = 0;
    st = rk_tokenizer_encode_all(t, text.data, text.len, &ids, &n, err);
    if (st == RK_OK && o->common.verbose)
        fprintf(stderr, "%zu bytes, %lld tokens, %.1f MB/s\n", text.len, (long long)n,
                (double)text.len / 1e6 / (rk_now_s() - begin));
    if (st == RK_OK)
        st = print_ids(o, ids, n, err);
    free(ids);
    rk_buf_deinit(&text);
    return st;
}

/* The format of --template, else the vocabulary's, else World's. */
static rk_status find_format(const tokenize_options *o, rk_chat_format *f, rk_buf *room,
                             const rk_tokenizer *t, rk_error *err)
{
    const rk_chat_format *row = NULL;
    bool found = false;
    rk_status st = RK_OK;
    if (!o->format)
        st = rk_chat_template_format(f, &found, room, t, err);
    if (st != RK_OK || found)
        return st;
    st = rk_chat_format_find(&row, o->format ? o->format : RK_CHAT_DEFAULT, err);
    if (st != RK_OK)
        return st;
    *f = *row;
    return rk_chat_template_fill(f, room, t, err);
}

static rk_status encode_talk(const tokenize_options *o, const rk_messages *m, const rk_tokenizer *t,
                             rk_error *err)
{
    rk_chat_format f = {0};
    rk_buf room = {0}, text = {0};
    int32_t *ids = NULL;
    int64_t n = 0;
    rk_status st = find_format(o, &f, &room, t, err);
    if (st == RK_OK)
        st = rk_messages_put(&text, m, &f, err);
    if (st == RK_OK && rk_messages_ask(m))
        rk_chat_put_answer(&text, &f, f.think);
    if (st == RK_OK)
        st = (f.marked ? rk_tokenizer_encode_marked_all
                       : rk_tokenizer_encode_all)(t, text.data, text.len, &ids, &n, err);
    if (st == RK_OK)
        st = print_ids(o, ids, n, err);
    free(ids);
    rk_buf_deinit(&text);
    rk_buf_deinit(&room);
    return st;
}

static rk_status encode_messages(const tokenize_options *o, const rk_tokenizer *t, rk_error *err)
{
    rk_messages *m = NULL;
    rk_status st = rk_messages_open(&m, o->messages, o->common.quiet, err);
    if (st == RK_OK)
        st = encode_talk(o, m, t, err);
    rk_messages_free(m);
    return st;
}

/* Bytes as JSON can hold them: what is no UTF-8 becomes U+FFFD. NULL when memory ran out. */
static json_t *json_of_bytes(const rk_buf *bytes)
{
    rk_utf8_stream s = {0};
    char *text = malloc(3 * (bytes->len + 1) + 3);
    if (!text)
        return NULL;
    size_t n = rk_utf8_push(&s, (const unsigned char *)bytes->data, bytes->len, text);
    n += rk_utf8_flush(&s, text + n);
    json_t *json = json_stringn(text, n);
    free(text);
    return json;
}

static rk_status decode(const tokenize_options *o, const rk_tokenizer *t, rk_error *err)
{
    const int64_t n_vocab = rk_tokenizer_n_vocab(t);
    rk_buf out = {0};
    json_t *ids = json_array();
    rk_status st = RK_OK;
    for (const char *p = o->decode; *p && st == RK_OK;) {
        char *end = NULL; /* a comma is followed by an id */
        size_t n = 0;
        const long long id = strtoll(p, &end, 10);
        if (end == p || id < 0 || id >= n_vocab || (*end && (*end != ',' || !end[1])))
            st = rk_fail(err, RK_ERR_ARG, "--decode: '%.20s' is no id from 0 to %lld", p,
                         (long long)n_vocab - 1);
        if (st != RK_OK)
            break;
        const char *bytes = rk_tokenizer_bytes(t, (int32_t)id, &n);
        json_array_append_new(ids, json_integer(id));
        rk_buf_add(&out, bytes, n);
        p = end + (*end == ',');
    }
    if (st == RK_OK && !o->json)
        fwrite(out.data, 1, out.len, stdout);
    if (st == RK_OK && o->json)
        st = rk_command_json(json_pack("{s:O, s:o}", "tokens", ids, "text", json_of_bytes(&out)),
                             err);
    json_decref(ids);
    rk_buf_deinit(&out);
    return st;
}

static int tokenize_main(int argc, char **argv)
{
    tokenize_options o = {.vocab = "world", .text.exact = true};
    rk_tokenizer *t = NULL;
    int status = 0;
    rk_error err = {0};
    if (!rk_command_options(&rk_cmd_tokenize, argc, argv, &o, &status))
        return status;
    o.text.quiet = o.common.quiet;
    rk_command_note_mark(&o.common, o.vocab);
    rk_status st = rk_tokenizer_new(&t, o.vocab, &err);
    const int n_asked = (o.decode != NULL) + (o.messages != NULL) + (o.text.text || o.text.file);
    if (st == RK_OK && n_asked > 1)
        st = rk_fail(&err, RK_ERR_ARG, "either a text to encode, or --messages, or --decode");
    if (st == RK_OK)
        st = o.decode     ? decode(&o, t, &err)
             : o.messages ? encode_messages(&o, t, &err)
                          : encode(&o, t, &err);
    rk_tokenizer_free(t);
    return st == RK_OK ? 0 : rk_command_fail(&err);
}
