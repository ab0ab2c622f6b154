/* data_info.c: `rwkv data info`: what a data file holds, whichever format it has. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "cli/command.h"
#include "data/corpus.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

typedef struct info_options {
    rk_common_options common;
    const char *file, *tokenizer, *chat_format;
    bool check, json;
} info_options;

#define AT(member) offsetof(info_options, member)

static const rk_option rows[] = {
    {NULL, 0, RK_OPT_OPERAND, "FILE", AT(file), 0, 0, RK_REQUIRED,
     "text (.txt, .jsonl) or tokens (.bin, .npy)"},
    {"tokenizer", 0, RK_OPT_TEXT, "NAME", AT(tokenizer), 0, 0, "the file's",
     "of text, or of tokens that do not say: byte, world, or a vocabulary file"},
    {"vocab", 0, RK_OPT_TEXT, "NAME", AT(tokenizer), 0, 0, NULL, "the same as --tokenizer"},
    {"template", 0, RK_OPT_TEXT, "NAME", AT(chat_format), 0, 0, RK_CHAT_DEFAULT,
     "of messages, prompts and responses; none: prompt and response as they are"},
    {"check", 0, RK_OPT_FLAG, NULL, AT(check), 0, 0, NULL,
     "read all: are the ids those of the vocabulary, and the checksums those of packing?"},
    {"json", 0, RK_OPT_FLAG, NULL, AT(json), 0, 0, NULL, "one object"},
    RK_COMMON_ROWS(info_options, common),
};

static int info_main(int argc, char **argv);

const rk_command rk_cmd_data_info = {
    .name = "data info",
    .summary = "show what a data file holds",
    .usage = "FILE [--tokenizer NAME] [--check] [--json]",
    .options = {rows, RK_COUNT(rows)},
    .examples = "  rwkv data info notes.jsonl --tokenizer world\n"
                "  rwkv data info all.bin --check --json",
    .main = info_main,
};

/* What is known of a file. */
typedef struct facts {
    rk_corpus *corpus;
    rk_tokenizer *tok; /* NULL: not known */
    const char *name;  /* of the vocabulary; NULL: not known */
    int64_t n_vocab;   /* 0: not known */
    bool text;         /* whose tokens were made with tok, or are its bytes */
    bool checked;
} facts;

/* Text whose tokenizer is not given is counted in bytes. */
static rk_status read_text(facts *f, const info_options *o, rk_error *err)
{
    const bool chat = !o->chat_format || strcmp(o->chat_format, "none") != 0;
    rk_text_how how = {0};
    rk_status st = rk_tokenizer_new(&f->tok, o->tokenizer ? o->tokenizer : "byte", err);
    if (st == RK_OK && chat)
        st = rk_chat_format_find(&how.chat, o->chat_format ? o->chat_format : RK_CHAT_DEFAULT, err);
    how.tokenizer = f->tok;
    f->text = true;
    f->name = o->tokenizer;
    f->n_vocab = o->tokenizer ? rk_tokenizer_n_vocab(f->tok) : 0;
    return st == RK_OK ? rk_corpus_encode(&f->corpus, o->file, &how, o->tokenizer != NULL, err)
                       : st;
}

/* The vocabulary that a packed file names may be a file that is not here: then its tokens stay ids. */
static rk_status read_packed(facts *f, const info_options *o, rk_error *err)
{
    rk_status st = rk_corpus_open(&f->corpus, o->file, err);
    if (st != RK_OK)
        return st;
    const rk_packed_about *a = &f->corpus->about;
    f->name = o->tokenizer ? o->tokenizer : *a->tokenizer ? a->tokenizer : NULL;
    f->n_vocab = a->n_vocab;
    if (o->tokenizer)
        st = rk_tokenizer_new(&f->tok, o->tokenizer, err);
    else if (f->name)
        rk_tokenizer_new(&f->tok, f->name, NULL);
    if (f->tok)
        f->n_vocab = rk_max_i64(f->n_vocab, rk_tokenizer_n_vocab(f->tok));
    return st;
}

static rk_status read_facts(facts *f, const info_options *o, rk_error *err)
{
    const rk_data_format *format;
    rk_status st = rk_data_format_of(&format, o->file, err);
    if (st == RK_OK)
        st = format->open ? read_packed(f, o, err) : read_text(f, o, err);
    if (st == RK_OK && o->check && f->n_vocab)
        st = rk_corpus_check_ids(f->corpus, f->n_vocab, err);
    if (st == RK_OK && o->check)
        st = rk_corpus_check_sums(f->corpus, err);
    f->checked = o->check;
    return st;
}

enum { SHOWN = 32 };

/* The first tokens as text that JSON can hold; empty where they are but numbers. */
static void first_text(const facts *f, rk_buf *out)
{
    rk_buf bytes = {0};
    rk_utf8_stream s = {0};
    for (int64_t i = 0; f->tok && i < rk_min_i64(SHOWN, f->corpus->n); i++) {
        size_t n = 0;
        const char *text =
            rk_tokenizer_bytes(f->tok, (int32_t)rk_ids_at(f->corpus->type, f->corpus->ids, i), &n);
        rk_buf_add(&bytes, text, n);
    }
    char *room = rk_buf_room(out, 3 * (bytes.len + 1) + 3);
    if (room && bytes.data) {
        size_t n = rk_utf8_push(&s, (const unsigned char *)bytes.data, bytes.len, room);
        n += rk_utf8_flush(&s, room + n);
        out->len += n;
        out->data[out->len] = '\0';
    }
    rk_buf_deinit(&bytes);
}

static rk_status print_json(const facts *f, rk_error *err)
{
    const rk_corpus *c = f->corpus;
    json_t *j = json_pack("{s:s, s:s, s:I}", "file", c->path, "format", c->format->name,
                          "documents", (json_int_t)c->n_docs);
    if (j && f->text && !f->name)
        json_object_set_new(j, "bytes", json_integer(c->n));
    if (j && (!f->text || f->name)) {
        json_object_set_new(j, "tokens", json_integer(c->n));
        json_object_set_new(j, "counted", json_integer(rk_corpus_n_counted(c)));
        json_object_set_new(j, "dtype", json_string(rk_id_kinds[c->type].name));
        json_t *ids = json_array();
        for (int64_t i = 0; i < rk_min_i64(SHOWN, c->n); i++)
            json_array_append_new(ids, json_integer(rk_ids_at(c->type, c->ids, i)));
        json_object_set_new(j, "ids", ids);
    }
    if (j && *c->about.task)
        json_object_set_new(j, "task", json_string(c->about.task));
    if (j && f->name)
        json_object_set_new(j, "tokenizer", json_string(f->name));
    if (j && f->n_vocab)
        json_object_set_new(j, "n_vocab", json_integer(f->n_vocab));
    if (j && f->tok) {
        rk_buf text = {0};
        first_text(f, &text);
        json_object_set_new(j, "text", json_stringn(text.data ? text.data : "", text.len));
        rk_buf_deinit(&text);
    }
    if (j && f->checked)
        json_object_set_new(j, "checked", json_true());
    return rk_command_json(j, err);
}

/* One line, with escapes for what would break it. */
static void print_quoted(const char *text, size_t n)
{
    putchar('"');
    for (size_t i = 0; i < n; i++)
        if (text[i] == '\n')
            fputs("\\n", stdout);
        else if ((unsigned char)text[i] < 0x20 || text[i] == '"' || text[i] == '\\')
            printf("\\x%02x", (unsigned char)text[i]);
        else
            putchar(text[i]);
    putchar('"');
}

static void print_beginning(const facts *f)
{
    const rk_corpus *c = f->corpus;
    rk_buf text = {0};
    printf("begins     ");
    first_text(f, &text);
    if (f->tok)
        print_quoted(text.data ? text.data : "", text.len);
    for (int64_t i = 0; !f->tok && i < rk_min_i64(SHOWN, c->n); i++)
        printf("%s%" PRId64, i ? "," : "", rk_ids_at(c->type, c->ids, i));
    puts("");
    rk_buf_deinit(&text);
}

static void print(const facts *f)
{
    const rk_corpus *c = f->corpus;
    printf("file       %s\nformat     %s: %s\ndocuments  %" PRId64 "\n", c->path, c->format->name,
           c->format->help, c->n_docs);
    if (f->text && !f->name) {
        printf("bytes      %" PRId64 "\n", c->n);
    } else {
        const double share = 100.0 * (double)rk_corpus_n_counted(c) / (double)rk_max_i64(c->n, 1);
        printf("tokens     %" PRId64 ", %s; %.1f %% count in the loss\n", c->n,
               rk_id_kinds[c->type].name, share);
    }
    if (*c->about.task)
        printf("task       %s\n", c->about.task);
    if (f->name && f->n_vocab)
        printf("vocabulary %s, %" PRId64 " ids\n", f->name, f->n_vocab);
    else if (f->n_vocab)
        printf("vocabulary %" PRId64 " ids\n", f->n_vocab);
    else
        printf("vocabulary %s\n", f->text ? "--tokenizer counts tokens" : "not known");
    print_beginning(f);
    if (f->checked)
        printf("checked    %s\n", c->has_about ? "ids and checksums are right"
                                  : f->n_vocab ? "ids are right; there are no checksums"
                                               : "the file is whole; there are no checksums");
}

static rk_status info(const info_options *o, rk_error *err)
{
    facts f = {0};
    rk_command_note_mark(&o->common, o->file);
    rk_status st = read_facts(&f, o, err);
    if (st == RK_OK && o->json)
        st = print_json(&f, err);
    else if (st == RK_OK)
        print(&f);
    rk_tokenizer_free(f.tok);
    rk_corpus_close(f.corpus);
    return st;
}

static int info_main(int argc, char **argv)
{
    info_options o = {0};
    int status = 0;
    rk_error err = {0};
    if (!rk_command_options(&rk_cmd_data_info, argc, argv, &o, &status))
        return status;
    return info(&o, &err) == RK_OK ? 0 : rk_command_fail(&err);
}
