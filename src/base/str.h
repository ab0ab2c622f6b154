/* str.h: what C's strings lack. */
#ifndef RK_BASE_STR_H
#define RK_BASE_STR_H

#include <stdbool.h>
#include <string.h>

static inline bool rk_ends_with(const char *s, const char *end)
{
    const size_t n = strlen(s), e = strlen(end);
    return n >= e && !strcmp(s + n - e, end);
}

#endif
