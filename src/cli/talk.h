/* talk.h: conversations with a model that can return to earlier turns without evaluating a token again:
 * each turn keeps the recurrent state before the question and before the answer, and the draft
 * model's with it.
 *
 * Texts are encoded piece by piece as the reference does: a stop string that was held back and the
 * blank line that ends a turn are evaluated together with the next question. */
#ifndef RK_CLI_TALK_H
#define RK_CLI_TALK_H

#include "cli/generate.h"
#include "cli/meter.h"
#include "cli/options.h"
#include "infer/session.h"
#include "model/model.h"
#include "text/chat_format.h"

enum {
    RK_TALKS_MAX = 16,
    RK_TALK_TURNS_LEAST = 4,                           /* that can be undone, */
    RK_TALK_STATES_LEAST = 2 * RK_TALK_TURNS_LEAST + 3 /* and the states of a talk of so many */
};

typedef struct rk_talk_params {
    rk_session *session;       /* borrowed; not to be used otherwise meanwhile */
    rk_speculator *speculator; /* of the session, the same; NULL: without a draft */
    const rk_model *model;
    const rk_tokenizer *tokenizer;
    const rk_chat_format *format;
    rk_meter *meter; /* of a long question; NULL: none */
    bool few_turns;  /* keep the states of few turns, to save memory */
} rk_talk_params;

/* Several conversations, one of which is the current one. */
typedef struct rk_talks rk_talks;

rk_status rk_talks_new(rk_talks **out, const rk_talk_params *p, rk_error *err);
void rk_talks_free(rk_talks *t);

/* Evaluate a message, formatted by the chat format and perhaps empty, up to where the answer begins.
 * RK_ERR_ABORTED leaves everything unchanged. */
rk_status rk_talks_ask(rk_talks *t, const rk_buf *message, rk_think think, rk_error *err);
/* Generate the answer to the last question, or another one: the state returns to where it begins.
 * g: as rk_generate; its tokenizer, n_vocab, speculator and hold are set here, the format's stop
 * strings join its own, and emit gets the text without the space that it begins with. sampler is
 * the speculator's where there is one. made is to be released. Errors  RK_ERR_ARG: nothing has been
 * asked. */
rk_status rk_talks_answer(rk_talks *t, const rk_generate_params *g, rk_sampler *sampler,
                          rk_generated *made, rk_error *err);
/* Remove the last turn. RK_ERR_ARG: there is none. */
rk_status rk_talks_undo(rk_talks *t, rk_error *err);
/* Start the current conversation anew, with a system text, or the format's own where it is empty. */
rk_status rk_talks_begin(rk_talks *t, const char *system, rk_error *err);
/* Add formatted messages, which are evaluated with the next question. */
rk_status rk_talks_add(rk_talks *t, const rk_buf *messages, rk_error *err);
/* Continue in a copy of this conversation. Errors  RK_ERR_ARG: there are too many. */
rk_status rk_talks_fork(rk_talks *t, rk_error *err);
/* Switch to conversation i, from 0. RK_ERR_ARG: there is none. */
rk_status rk_talks_switch(rk_talks *t, int64_t i, rk_error *err);
int rk_talks_current(const rk_talks *t);
int rk_talks_count(const rk_talks *t);
/* Tokens evaluated so far, answers included; and answers begun in the current conversation, a number
 * that is saved with it. */
int64_t rk_talks_n_read(const rk_talks *t);
int64_t rk_talks_n_answers(const rk_talks *t);
/* A state file that also holds the text that has not been evaluated yet, so that the next answer has
 * the same bits after loading. Any state file can be loaded, and one of `rwkv run` is saved again
 * unchanged while nothing has been evaluated after it. A file that is refused changes nothing. RK_ERR_ARG: the file to save exists, and overwrite is not set. */
rk_status rk_talks_save(const rk_talks *t, const char *path, bool overwrite, rk_error *err);
rk_status rk_talks_load(rk_talks *t, const char *path, rk_state_reading how, rk_error *err);

#endif
