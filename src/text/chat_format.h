/* chat_format.h: the prompt format of a conversation, as a model was trained on it.
 *
 *     System: TEXT\n\nUser: QUESTION\n\nAssistant: ANSWER\n\nUser: ...
 *
 * is that of the World and G1 models; other families have other words in the same places, so a
 * format is a row of words. */
#ifndef RK_TEXT_CHAT_FORMAT_H
#define RK_TEXT_CHAT_FORMAT_H

#include "base/buf.h"

typedef enum rk_think {
    RK_THINK_PLAIN, /* no thinking section */
    RK_THINK_ON,    /* the answer begins inside "<think" */
    RK_THINK_OFF,   /* an empty thinking section precedes the answer */
} rk_think;

enum { RK_CHAT_STOPS_MAX = 2 };

typedef struct rk_chat_format {
    const char *name, *help;
    const char *system, *user, *bot;     /* what stands before each text */
    const char *stop[RK_CHAT_STOPS_MAX]; /* an answer ends before these; NULL: no more */
    double temp, top_p, presence_penalty, frequency_penalty; /* the family's recommended sampling */
} rk_chat_format;

/* Ends with a row whose name is NULL. */
extern const rk_chat_format rk_chat_formats[];

/* RK_ERR_ARG lists the names there are. */
rk_status rk_chat_format_find(const rk_chat_format **out, const char *name, rk_error *err);
/* Guess the format by the name of the model's file and the size of its vocabulary. */
const rk_chat_format *rk_chat_format_guess(const char *file, int64_t n_vocab);

/* Append the system text that begins a conversation; nothing for a text that is empty when cleaned.
 */
void rk_chat_put_system(rk_buf *out, const rk_chat_format *f, const char *text, size_t n);
/* Append a question and the words before its answer. No space follows: the model generates it. */
void rk_chat_put_question(rk_buf *out, const rk_chat_format *f, const char *text, size_t n,
                          rk_think think);
/* Append what ends an answer. */
void rk_chat_put_end(rk_buf *out);
/* The beginning of a thinking section that is put before the answer, "<think", so that it can be
 * shown; "" for the other modes. */
const char *rk_chat_shown_thought(rk_think think);

#endif
