/* data_pack.c: `rwkv data pack`: files of text to one file of tokens, which training maps. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/num.h"
#include "base/pool.h"
#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/meter.h"
#include "data/pack.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

typedef struct pack_options {
    rk_common_options common;
    rk_opt_words in;
    const char *out, *tokenizer, *chat_format;
    int boundary; /* rk_boundary */
    bool force, json;
} pack_options;

#define AT(member) offsetof(pack_options, member)

static const rk_option rows[] = {
    {NULL, 0, RK_OPT_WORDS, "IN...", AT(in), 0, 0, RK_REQUIRED,
     "text (.txt, .jsonl) or tokens (.bin, .npy)"},
    {"output", 'o', RK_OPT_TEXT, "OUT.bin", AT(out), 0, 0, RK_REQUIRED,
     "tokens; OUT.idx, OUT.json and, where tokens do not count, OUT.mask go beside it"},
    {"tokenizer", 0, RK_OPT_TEXT, "NAME", AT(tokenizer), 0, 0, "that of packed files, else world",
     "byte, world, or a vocabulary file"},
    {"vocab", 0, RK_OPT_TEXT, "NAME", AT(tokenizer), 0, 0, NULL, "the same as --tokenizer"},
    {"doc-boundary", 0, RK_OPT_CHOICE, "auto|token|none", AT(boundary), 0, 0, "auto",
     "token 0, or what ends a text in the vocabulary, behind each document; auto: of text, unless "
     "one .txt is all there is"},
    {"template", 0, RK_OPT_TEXT, "NAME", AT(chat_format), 0, 0,
     "the vocabulary's, else " RK_CHAT_DEFAULT,
     "of messages, prompts and responses: those of chat; none: prompt and response as they are"},
    {"force", 0, RK_OPT_FLAG, NULL, AT(force), 0, 0, NULL, "overwrite existing outputs"},
    {"json", 0, RK_OPT_FLAG, NULL, AT(json), 0, 0, NULL, "print the result as one JSON object"},
    RK_COMMON_ROWS(pack_options, common),
};

static int pack_main(int argc, char **argv);

const rk_command rk_cmd_data_pack = {
    .name = "data pack",
    .summary = "turn text into one file of tokens; go on after a stop",
    .usage = "IN... -o OUT.bin [--tokenizer NAME] [options]",
    .options = {rows, RK_COUNT(rows)},
    .examples = "  rwkv data pack books.txt talks.jsonl -o all.bin --tokenizer world\n"
                "  rwkv data pack shard-*.jsonl -o all.bin --tokenizer byte -t 4",
    .main = pack_main,
};

/* The tokens that come out. */
typedef struct vocabulary {
    rk_tokenizer *tok; /* NULL: packed files that name none that is here */
    char name[256];
    int64_t n_vocab;
} vocabulary;

/* What is asked for, else what packed inputs have, else world. */
static rk_status find_vocabulary(vocabulary *v, const pack_options *o, rk_error *err)
{
    rk_packed_about about = {0};
    bool packed = false;
    rk_status st = RK_OK;
    for (int i = 0; i < o->in.n && st == RK_OK && !packed; i++) {
        bool text;
        const rk_data_options one = {.paths = {o->in.at[i]}, .n_paths = 1};
        st = rk_data_vocabulary(&about, &packed, &text, &one, err);
    }
    const bool asked = o->tokenizer || !packed;
    snprintf(v->name, sizeof v->name, "%s",
             o->tokenizer ? o->tokenizer
             : packed     ? about.tokenizer
                          : "world");
    if (st == RK_OK && *v->name)
        st = rk_tokenizer_new(&v->tok, v->name, asked ? err : NULL);
    if (!asked) /* of tokens the number of ids is enough */
        st = RK_OK;
    v->n_vocab = v->tok ? rk_tokenizer_n_vocab(v->tok) : about.n_vocab;
    rk_packed_about_deinit(&about);
    return st;
}

static rk_status print(const pack_options *o, const rk_pack_result *r, double seconds,
                       rk_error *err)
{
    if (o->json)
        return rk_command_json(json_pack("{s:s, s:I, s:I, s:I, s:s}", "file", o->out, "documents",
                                         (json_int_t)r->n_docs, "tokens", (json_int_t)r->n_tokens,
                                         "counted", (json_int_t)r->n_counted, "status",
                                         r->signal ? "interrupted" : "done"),
                               err);
    if (!o->common.quiet && !r->signal)
        fprintf(stderr,
                "%s: %" PRId64 " documents, %" PRId64 " tokens, %.1f %% of which count; %.1f s\n",
                o->out, r->n_docs, r->n_tokens,
                100.0 * (double)r->n_counted / (double)rk_max_i64(r->n_tokens, 1), seconds);
    if (!o->common.quiet && r->signal)
        fprintf(stderr, "%s: stopped; the same command goes on\n", o->out);
    return RK_OK;
}

static rk_status pack(const pack_options *o, rk_interrupt *interrupt, rk_pool *pool, int *signal,
                      rk_error *err)
{
    vocabulary v = {0};
    const rk_chat_format *chat = NULL;
    rk_chat_format format;
    rk_buf room = {0};
    const double begun = rk_now_s();
    rk_meter meter = rk_meter_begin("packing", "MB", 1e6, o->common.quiet);
    const rk_log log = rk_command_log(&o->common);
    rk_pack_result result = {0};
    rk_status st = find_vocabulary(&v, o, err);
    if (st == RK_OK)
        st = rk_chat_template_choose(&chat, &format, &room, o->chat_format, v.tok, err);
    const rk_pack_params p = {.paths = o->in.at,
                              .n_paths = o->in.n,
                              .out = o->out,
                              .tokenizer_name = v.name,
                              .tokenizer = v.tok,
                              .n_vocab = v.n_vocab,
                              .boundary = (rk_boundary)o->boundary,
                              .chat = chat,
                              .overwrite = o->force};
    const rk_pack_env env = {.pool = pool,
                             .log = &log,
                             .progress = rk_meter_progress,
                             .progress_user = &meter,
                             .signal = rk_interrupt_signal,
                             .signal_user = interrupt};
    if (st == RK_OK)
        st = rk_pack(&p, &env, &result, err);
    rk_meter_end(&meter);
    *signal = result.signal;
    rk_tokenizer_free(v.tok);
    rk_buf_deinit(&room);
    return st == RK_OK ? print(o, &result, rk_now_s() - begun, err) : st;
}

static int pack_main(int argc, char **argv)
{
    pack_options o = {0};
    rk_interrupt *interrupt = NULL;
    rk_pool *pool = NULL;
    rk_error err = {0};
    int status = 0, signal = 0;
    if (!rk_command_options(&rk_cmd_data_pack, argc, argv, &o, &status)) {
        free(o.in.at);
        return status;
    }
    for (int i = 0; i < o.in.n; i++)
        rk_command_note_mark(&o.common, o.in.at[i]);
    rk_status st = rk_interrupt_open(&interrupt, &err);
    if (st == RK_OK)
        st = rk_pool_new(&pool, (int)o.common.n_threads, NULL, NULL, NULL, &err);
    if (st == RK_OK)
        st = pack(&o, interrupt, pool, &signal, &err);
    rk_pool_free(pool);
    rk_interrupt_close(interrupt);
    free(o.in.at);
    return st != RK_OK ? rk_command_fail(&err) : signal ? 128 + signal : 0;
}
