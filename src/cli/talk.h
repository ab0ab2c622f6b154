/* talk.h: a conversation with a model, any point of which can be gone back to without reading a
 * token again: every turn keeps the recurrent state before it and before its answer, and a draft's
 * beside it.
 *
 * Seams lie where the reference encodes them: before a question text is read that the model has
 * not seen yet, which is what a stop string held back and the blank line that ends a turn. */
#ifndef RK_CLI_TALK_H
#define RK_CLI_TALK_H

#include "cli/generate.h"
#include "cli/meter.h"
#include "cli/options.h"
#include "infer/session.h"
#include "model/model.h"
#include "text/chat_format.h"

enum { RK_TALKS_MAX = 16 };

typedef struct rk_talk_params {
    rk_session *session;       /* borrowed; belongs to the talks while they are there */
    rk_speculator *speculator; /* of the session, the same; NULL: without a draft */
    const rk_model *model;
    const rk_tokenizer *tokenizer;
    const rk_chat_format *format;
    rk_meter *meter; /* of a long question; NULL: none */
} rk_talk_params;

/* Several talks, one of which is the current one. */
typedef struct rk_talks rk_talks;

rk_status rk_talks_new(rk_talks **out, const rk_talk_params *p, rk_error *err);
void rk_talks_free(rk_talks *t);

/* Read a message in the words of the format, which may be empty, so that an answer can begin.
 * RK_ERR_ABORTED leaves all as it was. */
rk_status rk_talks_ask(rk_talks *t, const rk_buf *message, rk_think think, rk_error *err);
/* Generate the answer to the last question, or another one: the state goes back to where it began.
 * g: as rk_generate; its tokenizer, n_vocab, speculator and hold are set here, the format's stop
 * strings join its own, and emit gets the text without the space that it begins with. sampler is
 * the speculator's where there is one. made is to be released. Errors  RK_ERR_ARG: nothing has been
 * asked. */
rk_status rk_talks_answer(rk_talks *t, const rk_generate_params *g, rk_sampler *sampler,
                          rk_generated *made, rk_error *err);
/* Take the last turn back. RK_ERR_ARG: there is none. */
rk_status rk_talks_undo(rk_talks *t, rk_error *err);
/* A new talk in place of the current one, that begins with a system text or with nothing. */
rk_status rk_talks_begin(rk_talks *t, const char *system, rk_error *err);
/* Add messages in the words of the format, which are read with the next question. */
rk_status rk_talks_add(rk_talks *t, const rk_buf *messages, rk_error *err);
/* Go on in a copy of this talk, which stays as it is. Errors  RK_ERR_ARG: there are too many. */
rk_status rk_talks_fork(rk_talks *t, rk_error *err);
/* Go to talk i, from 0. RK_ERR_ARG: there is none. */
rk_status rk_talks_switch(rk_talks *t, int64_t i, rk_error *err);
int rk_talks_current(const rk_talks *t);
int rk_talks_count(const rk_talks *t);
/* Tokens read so far, those of the answers among them; and answers begun in the current talk,
 * which a saved talk remembers. */
int64_t rk_talks_n_read(const rk_talks *t);
int64_t rk_talks_n_answers(const rk_talks *t);
/* A state file that also holds the text that has not been read yet, so that what is said next gives
 * the same bits after loading; any state file is the beginning of a talk, and one of a text is saved
 * as it was while nothing has been read after it. A file that is refused changes nothing. RK_ERR_ARG: the file to save exists, and overwrite is not set. */
rk_status rk_talks_save(const rk_talks *t, const char *path, bool overwrite, rk_error *err);
rk_status rk_talks_load(rk_talks *t, const char *path, rk_state_reading how, rk_error *err);

#endif
