/* stop.h: ending a text at the first of some strings.
 *
 * What may be the beginning of a stop string is held back until it is certain not to be one, so a
 * stop string is never shown, however the text is cut into pieces. */
#ifndef RK_TEXT_STOP_H
#define RK_TEXT_STOP_H

#include "base/buf.h"
#include "base/error.h"

typedef struct rk_stop rk_stop;

/* n >= 0 strings, copied. Errors  RK_ERR_ARG: an empty one; RK_ERR_NOMEM. */
rk_status rk_stop_new(rk_stop **out, const char *const *strings, int64_t n, rk_error *err);
void rk_stop_free(rk_stop *s);
/* Begin another text. */
void rk_stop_reset(rk_stop *s);
/* Append to out what n more bytes make certain. Returns the index of the stop string that was
 * completed first (the longest, then the lowest, of those that end together), -1 while there is
 * none. From then on bytes are ignored until a reset. */
int64_t rk_stop_push(rk_stop *s, const char *bytes, size_t n, rk_buf *out);
/* Is any text held back? */
bool rk_stop_holds(const rk_stop *s);
/* The end of the text: append what is held back. */
void rk_stop_flush(rk_stop *s, rk_buf *out);

#endif
