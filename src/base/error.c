/* error.c: failing with an error message. A message longer than the buffer is truncated: its
 * beginning says what matters, and an error must not need memory. */
#include "error.h"

#include <stdarg.h>
#include <stdio.h>

/* In parentheses, past the macro of the same name. */
rk_status(rk_fail)(rk_error *err, rk_status code, const char *fmt, ...)
{
    if (!err)
        return code;
    err->code = code;
    va_list args;
    va_start(args, fmt);
    vsnprintf(err->msg, sizeof err->msg, fmt, args);
    va_end(args);
    return code;
}

int rk_exit_status(rk_status code)
{
    switch (code) {
    case RK_OK:
        return 0;
    case RK_ERR_ARG:
    case RK_ERR_FORMAT:
    case RK_ERR_UNSUPPORTED:
    case RK_ERR_FULL:
        return 2;
    case RK_ERR_IO:
    case RK_ERR_NOMEM:
    case RK_ERR_ABORTED:
    case RK_ERR_NUMERIC:
        return 1;
    }
    return 1;
}
