/* buf.c: a growing byte string. Capacity doubles, so n bytes written one by one cost O(n). */
#include "buf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "num.h"

enum { CAP_MIN = 64 };

void rk_buf_deinit(rk_buf *b)
{
    free(b->data);
    *b = (rk_buf){0};
}

void rk_buf_clear(rk_buf *b)
{
    b->len = 0;
    if (b->data)
        b->data[0] = '\0';
}

/* Room for n more bytes and the NUL. */
static bool reserve(rk_buf *b, size_t n)
{
    size_t need, cap = b->cap ? b->cap : CAP_MIN;
    if (b->failed || !rk_add_ok(b->len, n, &need) || !rk_add_ok(need, 1, &need)) {
        b->failed = true;
        return false;
    }
    if (need <= b->cap)
        return true;
    while (cap < need)
        cap = cap <= SIZE_MAX / 2 ? 2 * cap : need;
    char *data = realloc(b->data, cap);
    if (!data) {
        b->failed = true;
        return false;
    }
    b->data = data;
    b->cap = cap;
    return true;
}

void rk_buf_add(rk_buf *b, const void *bytes, size_t n)
{
    if (!reserve(b, n))
        return;
    if (n)
        memcpy(b->data + b->len, bytes, n);
    b->len += n;
    b->data[b->len] = '\0';
}

char *rk_buf_room(rk_buf *b, size_t n)
{
    return reserve(b, n) ? b->data + b->len : NULL;
}

void rk_buf_puts(rk_buf *b, const char *s)
{
    rk_buf_add(b, s, strlen(s));
}

void rk_buf_printf(rk_buf *b, const char *fmt, ...)
{
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    const int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (n < 0)
        b->failed = true;
    else if (reserve(b, (size_t)n)) {
        vsnprintf(b->data + b->len, (size_t)n + 1, fmt, again);
        b->len += (size_t)n;
    }
    va_end(again);
}
