/* split.c: GPT-2's pattern, written out by hand.
 *
 * At each place one of four things begins: a contraction, a run of one class of characters with a
 * space before it, or white space, which leaves its last character to what follows. A regular
 * expression library would bring patterns that are not needed, match limits and a compiler; it is
 * due when a vocabulary with another pattern is to be read. */
#include "text/split.h"

#include <string.h>
#include <utf8proc.h>

#include "base/num.h"
#include "text/utf8.h"

enum { OTHER, SPACE, LETTER, NUMBER }; /* classes of characters */

static int class_of_code(utf8proc_int32_t c)
{
    const int category = utf8proc_get_property(c)->category;
    if (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO)
        return LETTER;
    if (category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO)
        return NUMBER;
    return c == 0x85 || (category >= UTF8PROC_CATEGORY_ZS && category <= UTF8PROC_CATEGORY_ZP)
               ? SPACE
               : OTHER;
}

static int class_of_ascii(unsigned char c)
{
    if ((unsigned char)((c | 0x20) - 'a') < 26)
        return LETTER;
    if ((unsigned char)(c - '0') < 10)
        return NUMBER;
    return c == ' ' || (c >= '\t' && c <= '\r') ? SPACE : OTHER;
}

/* The class of the character at p, and its bytes. */
static int class_at(const unsigned char *p, size_t n, size_t *bytes)
{
    *bytes = 1;
    if (p[0] < 0x80)
        return class_of_ascii(p[0]);
    const int length = rk_utf8_classify(p, n);
    if (length < 2)
        return OTHER;
    *bytes = (size_t)length;
    return class_of_code((utf8proc_int32_t)rk_utf8_decode(p, length));
}

static size_t contraction(const unsigned char *p, size_t n)
{
    static const char *const rows[] = {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"};
    for (size_t i = 0; i < RK_COUNT(rows); i++) {
        const size_t length = strlen(rows[i]);
        if (length <= n && memcmp(p, rows[i], length) == 0)
            return length;
    }
    return 0;
}

/* White space to the end of the text, or all of it but its last character, if there are two. */
static size_t white_space(const unsigned char *p, size_t n)
{
    size_t at = 0, last = 0, bytes;
    while (at < n && class_at(p + at, n - at, &bytes) == SPACE) {
        last = at;
        at += bytes;
    }
    return at < n && last > 0 ? last : at;
}

size_t rk_split_gpt2(const unsigned char *p, size_t n)
{
    const size_t short_form = p[0] == '\'' ? contraction(p, n) : 0;
    size_t at = p[0] == ' ' && n > 1, bytes;
    if (short_form)
        return short_form;
    const int class = class_at(p + at, n - at, &bytes);
    if (class == SPACE)
        return white_space(p, n);
    do
        at += bytes;
    while (at < n && class_at(p + at, n - at, &bytes) == class);
    return at;
}
