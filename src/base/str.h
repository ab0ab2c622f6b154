/* str.h: what C's strings lack. */
#ifndef RK_BASE_STR_H
#define RK_BASE_STR_H

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static inline bool rk_ends_with(const char *s, const char *end)
{
    const size_t n = strlen(s), e = strlen(end);
    return n >= e && !strcmp(s + n - e, end);
}

/* A space, a tab, or what ends a line. */
static inline bool rk_is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Append a word to a list with commas, as far as there is room. */
static inline void rk_str_list(char *list, size_t size, const char *word)
{
    const size_t n = strlen(list);
    snprintf(list + n, size - n, "%s%s", n ? ", " : "", word);
}

#endif
