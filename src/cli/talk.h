/* talk.h: a conversation with a model, any point of which can be gone back to without reading a
 * token again: every turn keeps the recurrent state before it and before its answer.
 *
 * Formats are those of the World and G1 models (BlinkDL/RWKV-LM, RWKV-v7/RWKV7-G1x-templates.txt):
 *
 *     System: TEXT\n\nUser: TEXT\n\nAssistant: ANSWER\n\nUser: ...
 *
 * Seams lie where the reference encodes them: before "User:" text is read that the model has not
 * seen yet, which is what a stop string held back and the blank line that ends a turn. */
#ifndef RK_CLI_TALK_H
#define RK_CLI_TALK_H

#include "cli/generate.h"
#include "model/model.h"

enum { RK_TALK_TURNS_MAX = 32, RK_TALKS_MAX = 16 }; /* turns that can be taken back; talks */

typedef enum rk_think {
    RK_THINK_PLAIN, /* nothing is said about it */
    RK_THINK_ON,    /* the answer begins inside "<think" */
    RK_THINK_OFF,   /* an empty thought stands before it */
} rk_think;

typedef struct rk_talk_params {
    rk_session *session; /* borrowed; belongs to the talks while they are there */
    const rk_model *model;
    const rk_tokenizer *tokenizer;
    const char *user, *bot; /* "User", "Assistant" */
} rk_talk_params;

typedef struct rk_talks rk_talks;

rk_status rk_talks_new(rk_talks **out, const rk_talk_params *p, rk_error *err);
void rk_talks_free(rk_talks *t);

/* Read what the user says, so that an answer can begin. RK_ERR_ABORTED leaves all as it was. */
rk_status rk_talks_ask(rk_talks *t, const char *text, rk_think think, rk_error *err);
/* Generate the answer to the last question, or another one: the state goes back to where it began.
 * g: as rk_generate; its tokenizer, n_vocab, stop, hold and emit are set here; emit gets the text
 * without the space that it begins with.
 * Errors  RK_ERR_ARG: nothing has been asked. */
rk_status rk_talks_answer(rk_talks *t, rk_generate_params g, rk_sampler *sampler, rk_end *end,
                          rk_error *err);
/* Take the last turn back. RK_ERR_ARG: there is none. */
rk_status rk_talks_undo(rk_talks *t, rk_error *err);
/* A new talk that begins with a system text, or with nothing. */
rk_status rk_talks_begin(rk_talks *t, const char *system, rk_error *err);
/* Go on in a copy of this talk, which stays as it is. Errors  RK_ERR_ARG: there are too many. */
rk_status rk_talks_fork(rk_talks *t, rk_error *err);
/* Go to talk i, from 0. */
rk_status rk_talks_switch(rk_talks *t, int i, rk_error *err);
int rk_talks_current(const rk_talks *t);
int rk_talks_count(const rk_talks *t);
/* Save the state, with everything that has been said read; load one as the beginning of this talk.
 */
rk_status rk_talks_save(rk_talks *t, const char *path, rk_error *err);
rk_status rk_talks_load(rk_talks *t, const char *path, bool force, rk_error *err);

#endif
