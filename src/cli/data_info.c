/* data_info.c: `rwkv data info`: what a data file holds. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/num.h"
#include "cli/command.h"
#include "io/textdata.h"
#include "text/tokenizer.h"

typedef struct info_options {
    rk_common_options common;
    const char *file, *tokenizer;
    bool json;
} info_options;

#define AT(member) offsetof(info_options, member)

static const rk_option rows[] = {
    {NULL, 0, RK_OPT_OPERAND, "FILE", AT(file), 0, 0, RK_REQUIRED, ".txt or .jsonl"},
    {"tokenizer", 0, RK_OPT_TEXT, "NAME", AT(tokenizer), 0, 0, NULL,
     "count the tokens of text: byte, world, or a vocabulary file"},
    {"vocab", 0, RK_OPT_TEXT, "NAME", AT(tokenizer), 0, 0, NULL, "the same as --tokenizer"},
    {"json", 0, RK_OPT_FLAG, NULL, AT(json), 0, 0, NULL, "one object"},
    RK_COMMON_ROWS(info_options, common),
};

static int info_main(int argc, char **argv);

const rk_command rk_cmd_data_info = {
    .name = "data info",
    .summary = "show what a data file holds",
    .usage = "FILE [--tokenizer NAME] [--json]",
    .options = {rows, RK_COUNT(rows)},
    .examples = "  rwkv data info notes.jsonl --tokenizer world\n"
                "  rwkv data info shakespeare.txt --json",
    .main = info_main,
};

/* *n: tokens of all documents; -1 without a tokenizer. */
static rk_status count_tokens(int64_t *n, const rk_textdata *d, const char *tokenizer,
                              rk_error *err)
{
    rk_tokenizer *t = NULL;
    *n = -1;
    if (!tokenizer)
        return RK_OK;
    const rk_status st = rk_tokenizer_new(&t, tokenizer, err);
    if (st != RK_OK)
        return st;
    *n = 0;
    for (int64_t i = 0; i < rk_textdata_count(d); i++) {
        const rk_document doc = rk_textdata_at(d, i);
        *n += rk_tokenizer_encode(t, doc.text, doc.bytes, NULL, 0);
    }
    rk_tokenizer_free(t);
    return RK_OK;
}

static rk_status print(const info_options *o, const rk_textdata *d, int64_t n_tokens, rk_error *err)
{
    const int64_t n_docs = rk_textdata_count(d);
    if (o->json) {
        json_t *j = json_pack("{s:s, s:I, s:I}", "file", o->file, "documents", (json_int_t)n_docs,
                              "bytes", (json_int_t)rk_textdata_bytes(d));
        if (j && n_tokens >= 0)
            json_object_set_new(j, "tokens", json_integer(n_tokens));
        return rk_command_json(j, err);
    }
    printf("%s: %" PRId64 " document%s, %zu bytes of text\n", o->file, n_docs,
           n_docs == 1 ? "" : "s", rk_textdata_bytes(d));
    if (n_tokens >= 0)
        printf("tokens of %s: %" PRId64 "\n", o->tokenizer, n_tokens);
    return RK_OK;
}

static rk_status info(const info_options *o, rk_error *err)
{
    rk_textdata *d = NULL;
    int64_t n_tokens = 0;
    rk_status st = rk_textdata_open(&d, &o->file, 1, err);
    if (st == RK_OK)
        st = count_tokens(&n_tokens, d, o->tokenizer, err);
    if (st == RK_OK)
        st = print(o, d, n_tokens, err);
    rk_textdata_close(d);
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
