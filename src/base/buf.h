/* buf.h: a growing byte string, always NUL-terminated; after an allocation fails it keeps that
 * fact in `failed` and ignores further writes, so callers check once. */
#ifndef RK_BASE_BUF_H
#define RK_BASE_BUF_H

#include <stdarg.h>

#include "error.h"

typedef struct rk_buf {
    char *data; /* NULL while empty */
    size_t len, cap;
    bool failed;
} rk_buf;

void rk_buf_deinit(rk_buf *b);
void rk_buf_clear(rk_buf *b);
void rk_buf_add(rk_buf *b, const void *bytes, size_t n);
/* Room for n more bytes behind the last one, for a caller who then adds to len what was written there and
 * a NUL; NULL when memory ran out. */
char *rk_buf_room(rk_buf *b, size_t n);
void rk_buf_puts(rk_buf *b, const char *s);
void rk_buf_printf(rk_buf *b, const char *fmt, ...) RK_PRINTF(2, 3);

#endif
