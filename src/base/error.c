/* error.c: failing with an error message. A message longer than the buffer is truncated: its
 * beginning says what matters, and an error must not need memory. */
#include "error.h"

#include <stdarg.h>
#include <stdio.h>

/* Names in files may hold what a terminal obeys: bytes below a space, DEL, and in UTF-8 c2 80 to c2 9f. */
static void hide_controls(unsigned char *text)
{
    for (; *text; text++)
        if (*text < ' ' || *text == 0x7f)
            *text = '?';
        else if (*text == 0xc2 && text[1] >= 0x80 && text[1] < 0xa0)
            text[0] = text[1] = '?';
}

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
    hide_controls((unsigned char *)err->msg);
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
