/* chat_template.h: which chat format a vocabulary's template is, and the system text that it puts in front
 * of a talk that has none. Templates are programs in Jinja; none is run, families are recognised. */
#ifndef RK_TEXT_CHAT_TEMPLATE_H
#define RK_TEXT_CHAT_TEMPLATE_H

#include "text/chat_format.h"
#include "text/tokenizer.h"

/* The format of the vocabulary's template; *out is NULL where it has none, or is RWKV's own. *f gets what
 * the template says of it, of which the system text lies in room.
 * Errors  RK_ERR_UNSUPPORTED: its template is none that is known; RK_ERR_NOMEM. */
rk_status rk_chat_template_format(rk_chat_format *f, bool *found, rk_buf *room,
                                  const rk_tokenizer *t, rk_error *err);
/* The name of the format that the vocabulary's template is; NULL: it has none that is known. */
const char *rk_chat_template_name(const rk_tokenizer *t);
/* The format of conversations in data: that of this name, else the template's, else RK_CHAT_DEFAULT, with
 * what the template says of it; t may be NULL. *out is f, whose system text lies in room, or NULL for the
 * name "none".
 * Errors  RK_ERR_ARG lists the names there are; RK_ERR_NOMEM. */
rk_status rk_chat_template_choose(const rk_chat_format **out, rk_chat_format *f, rk_buf *room,
                                  const char *name, const rk_tokenizer *t, rk_error *err);
/* What the vocabulary's template says of a format that was chosen otherwise, if that is its own. */
rk_status rk_chat_template_fill(rk_chat_format *f, rk_buf *room, const rk_tokenizer *t,
                                rk_error *err);

#endif
