/* chat_format.h: the prompt format of a conversation, as a model was trained on it.
 *
 *     System: TEXT\n\nUser: QUESTION\n\nAssistant: ANSWER\n\nUser: ...
 *
 * is that of the World and G1 models; other families have other words in the same places, so a
 * format is a row of words. A message is written as  before NAME after TEXT end.
 *
 * A control token is written between two bytes FF, which no UTF-8 has: rk_tokenizer_encode_marked puts
 * in its id, or its text where the vocabulary has no such token. Texts have U+FFFD in their place, so that
 * nobody can say a control token. */
#ifndef RK_TEXT_CHAT_FORMAT_H
#define RK_TEXT_CHAT_FORMAT_H

#include "base/buf.h"

typedef enum rk_think {
    RK_THINK_PLAIN, /* no thinking section */
    RK_THINK_ON,    /* the answer begins inside "<think" */
    RK_THINK_OFF,   /* an empty thinking section precedes the answer */
} rk_think;

typedef enum rk_chat_role {
    RK_CHAT_SYSTEM,
    RK_CHAT_USER,
    RK_CHAT_ASSISTANT,
    RK_CHAT_TOOL, /* what a tool has returned */
    RK_CHAT_ROLES
} rk_chat_role;

/* How texts are cleaned. */
typedef enum rk_chat_cleaning {
    RK_CHAT_TIGHT, /* line feeds only, no blank lines, nothing around the text */
    RK_CHAT_LINES, /* line feeds only, no blanks at the ends of lines and of the text; the user's
                    * without empty lines */
    RK_CHAT_EXACT, /* as it is, but for the byte FF */
} rk_chat_cleaning;

/* How tools, their calls and what they return are written (cli/messages.h). */
typedef enum rk_chat_tools {
    RK_CHAT_NO_TOOLS,
    RK_CHAT_TOOLS_MARKDOWN,
    RK_CHAT_TOOLS_TAGS, /* <tool_call>, <tool_response>: ChatML */
} rk_chat_tools;

#define RK_CHAT_MARK "\xff"

enum { RK_CHAT_STOPS_MAX = 2, RK_CHAT_NAME_MAX = 64, RK_CHAT_STOP_BYTES = RK_CHAT_NAME_MAX + 16 };

/* Copied and changed where a user gives the roles names of their own. */
typedef struct rk_chat_format {
    const char *name, *help;
    const char *before, *after, *end;
    const char *roles[RK_CHAT_ROLES]; /* "": the text stands alone; NULL: there is no such role */
    rk_chat_cleaning cleaning;
    const char *no_thoughts;             /* an empty thinking section, without its last ">" */
    const char *stop[RK_CHAT_STOPS_MAX]; /* an answer ends before these, '%' being the user's name;
                                          * NULL: no more */
    double temp, top_p, presence_penalty, frequency_penalty; /* the family's recommended sampling */
    rk_chat_tools tools;
    const char *begin;     /* stands before all messages; NULL: nothing */
    const char *system;    /* the system text of a talk that is given none; NULL: none */
    const char *thoughts;  /* opens a thinking section; NULL: "<think" */
    rk_think think;        /* what is meant where nobody says */
    bool marked;           /* control tokens are marked, and texts have no such marks */
    bool only_answers_end; /* other messages have no end */
    bool drops_thoughts;   /* of an answer that was said, what lies before </think> is left out */
} rk_chat_format;

/* Ends with a row whose name is NULL. */
extern const rk_chat_format rk_chat_formats[];
/* Where nothing is known of the model. */
#define RK_CHAT_DEFAULT "world"
/* The one that has tools. */
#define RK_CHAT_WITH_TOOLS "function_calling"

/* RK_ERR_ARG lists the names there are. */
rk_status rk_chat_format_find(const rk_chat_format **out, const char *name, rk_error *err);
/* Guess the format by the name of the model's file and the size of its vocabulary. */
const rk_chat_format *rk_chat_format_guess(const char *file, int64_t n_vocab);
/* Give a role another name, borrowed.
 * Errors  RK_ERR_ARG: it is empty, too long or of several lines, or the format's role has none. */
rk_status rk_chat_format_rename(rk_chat_format *f, rk_chat_role role, const char *name,
                                rk_error *err);
/* Stop text i; false: there are no more. */
bool rk_chat_format_stop(const rk_chat_format *f, int i, char out[RK_CHAT_STOP_BYTES]);

/* The text of the control token that ends an answer; false: it is no control token. */
bool rk_chat_format_end(const rk_chat_format *f, const char **text, size_t *n);

/* Append a text as the format has those of this role. */
void rk_chat_clean(rk_buf *out, const rk_chat_format *f, rk_chat_role role, const char *text,
                   size_t n);
/* Append a message whose text is clean, which the format has a role for. */
void rk_chat_put(rk_buf *out, const rk_chat_format *f, rk_chat_role role, const char *text,
                 size_t n);
/* Append the system text that begins a conversation; nothing for a text that is empty when cleaned.
 */
void rk_chat_put_system(rk_buf *out, const rk_chat_format *f, const char *text, size_t n);
/* Append what a conversation begins with: the system text, or the format's own where it is empty. */
void rk_chat_put_begin(rk_buf *out, const rk_chat_format *f, const char *system, size_t n);
/* Append what a message begins with. */
void rk_chat_put_opening(rk_buf *out, const rk_chat_format *f, rk_chat_role role);
/* Append a message as it was said. */
void rk_chat_put_message(rk_buf *out, const rk_chat_format *f, rk_chat_role role, const char *text,
                         size_t n);
/* Append what an answer begins with. No space ends it: the model generates that. */
void rk_chat_put_answer(rk_buf *out, const rk_chat_format *f, rk_think think);
/* Append what ends an answer. */
void rk_chat_put_end(rk_buf *out, const rk_chat_format *f);
/* The beginning of a thinking section that is put before the answer, such as "<think", so that it can be
 * shown; "" for the other modes. */
const char *rk_chat_shown_thought(const rk_chat_format *f, rk_think think);

#endif
