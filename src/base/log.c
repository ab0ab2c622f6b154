/* log.c: passes one line to the callback. Lines are formatted on the stack and truncated when
 * longer, so that logging works where memory has run out. */
#include "log.h"

#include <stdarg.h>
#include <stdio.h>

enum { LINE_BYTES = 1024 };

void rk_log_line(const rk_log *log, rk_log_level level, const char *fmt, ...)
{
    if (!log->fn || level < log->level)
        return;
    char line[LINE_BYTES];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    log->fn(log->user, level, line);
}
