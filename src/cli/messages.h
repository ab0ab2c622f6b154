/* messages.h: a conversation in a file of JSON, as programs that talk to a server keep it:
 *
 *     [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who came?"}]
 *
 * or an object with these as "messages" and with "tools", each of which has a name, a description
 * and parameters (a JSON schema), alone or under "function". Roles are system, user, assistant and
 * tool; an assistant may have "tool_calls", each with a name and arguments. */
#ifndef RK_CLI_MESSAGES_H
#define RK_CLI_MESSAGES_H

#include "text/chat_format.h"

typedef struct rk_messages rk_messages;

/* Errors  RK_ERR_FORMAT: no JSON, or no conversation; names the message. RK_ERR_IO, RK_ERR_NOMEM.
 */
rk_status rk_messages_open(rk_messages **out, const char *path, bool quiet, rk_error *err);
void rk_messages_free(rk_messages *m);

/* Are there tools, calls or outputs of tools? */
bool rk_messages_have_tools(const rk_messages *m);
/* Does the last one wait for an answer? */
bool rk_messages_ask(const rk_messages *m);
/* Append them, each with what ends it.
 * Errors  RK_ERR_ARG: the format has no tools; RK_ERR_NOMEM. */
rk_status rk_messages_put(rk_buf *out, const rk_messages *m, const rk_chat_format *f,
                          rk_error *err);

/* Append the output of a tool: JSON, or else text, which is one string of it.
 * Errors  RK_ERR_ARG: the format has no tools; RK_ERR_NOMEM. */
rk_status rk_messages_put_output(rk_buf *out, const rk_chat_format *f, const char *text, size_t n,
                                 rk_error *err);

#endif
