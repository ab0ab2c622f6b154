/* chat.h: what the files of `rwkv chat` share: its options, the conversation, and the commands that begin
 * with a slash. */
#ifndef RK_CLI_CHAT_H
#define RK_CLI_CHAT_H

#include "cli/adapter_in.h"
#include "cli/command.h"
#include "cli/draft.h"
#include "cli/interrupt.h"
#include "cli/line.h"
#include "cli/messages.h"
#include "cli/prompt.h"
#include "cli/sampling.h"
#include "cli/state_in.h"
#include "cli/talk.h"

enum { CHAT_WORDS_MAX = 63 };

typedef struct chat_options {
    rk_common_options common;
    const char *model, *vocab, *system, *format, *messages;
    const char *user_name, *assistant_name;
    rk_state_in state_in;
    rk_adapter_in adapter;
    rk_draft_options draft;
    rk_prompt_source first;
    int64_t n_tokens, logprobs;
    int think; /* rk_think; -1: the format's */
    bool ignore_eos, json, no_history, no_display_prompt;
    rk_sampling_options sampling;
    rk_opt_list stop;
} chat_options;

/* Rows of the options that /set can change. */
/* clang-format off */
#define CHAT_ANSWER_ROWS \
    {"n-predict", 'n', RK_OPT_INT, "N", offsetof(chat_options, n_tokens), -1, 1e12, "2048", \
     "tokens of an answer at most; -1: until it ends"}, \
    {"think", 0, RK_OPT_CHOICE, "plain|on|off", offsetof(chat_options, think), 0, 0, "the format's", \
     "for models that reason first: on opens a <think> block, off puts an empty one before the answer"}, \
    RK_SAMPLING_ROWS(chat_options, sampling, "the format's", "the format's", "the format's", \
                     "the format's")
/* clang-format on */

typedef struct chat {
    chat_options o;
    rk_interrupt *interrupt; /* during a computation; else NULL */
    rk_engine *engine;
    rk_model *model;
    rk_tokenizer *tokenizer;
    rk_session *session;
    rk_adapters *adapters; /* NULL: none */
    rk_sampler *sampler;   /* of the current answer or the last one */
    rk_draft draft;
    rk_chat_format format;
    rk_buf system;         /* the format's own system text */
    rk_messages *messages; /* of --messages; NULL: none */
    rk_talks *talks;
    rk_line *line;
    rk_meter meter; /* progress of a long prefill */
    rk_buf text;    /* of the current line */
    rk_buf answer;  /* kept for --json */
    rk_buf stops;   /* the texts of --stop */
    bool terminal;  /* stdin and stdout are one */
    bool colours;
    bool quits;
    int signal;                  /* that ends the program; 0: none */
    char *kept[RK_OPT_LIST_MAX]; /* values of /set that options point to */
    int n_kept;
    char *words[CHAT_WORDS_MAX + 1]; /* that Tab completes */
    int n_words;
} chat;

/* ---- chat.c ---- */

/* A remark of the program, on stderr. */
void chat_note(const chat *c, const char *text);
/* Evaluate a formatted message and answer it; NULL: answer the last one again. Keys typed meanwhile
 * wait for the next prompt. */
rk_status chat_compute(chat *c, const rk_buf *message, rk_error *err);

/* ---- chat_commands.c ---- */

/* Run a command; text: what follows the slash. Errors  RK_ERR_ARG: there is no such command, or its
 * argument is wrong. */
rk_status chat_command(chat *c, const char *text, rk_error *err);
/* Give the line editor the commands and the names of settings, for Tab. */
rk_status chat_put_words(chat *c, rk_error *err);

#endif
