/* literal.c: the part of Python's string literals that repr() produces.
 *
 * Accepted escapes: \\ \' \" \n \r \t \xHH, and in a str \uXXXX \UXXXXXXXX. In a str \xHH is a code
 * point, in bytes a byte. Everything that repr() would have escaped must be. No escape is shorter
 * than the bytes it stands for, so the output fits where the input did. */
#include "text/literal.h"

#include <stdint.h>

#include "text/utf8.h"

typedef struct literal {
    const unsigned char *p, *end; /* between the quotes, what is left */
    unsigned char *out;
    unsigned char quote; /* 0: either may stand within */
    bool is_bytes;
    const char *reason;
} literal;

static bool fail(literal *l, const char *reason)
{
    l->reason = reason;
    return false;
}

static int hex_digit(unsigned char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The n hexadecimal digits of \x, \u and \U. */
static bool put_number(literal *l, int n)
{
    uint32_t code = 0;
    for (; n > 0; n--, l->p++) {
        const int digit = l->p < l->end ? hex_digit(*l->p) : -1;
        if (digit < 0)
            return fail(l, "an escape lacks hexadecimal digits");
        code = code << 4 | (uint32_t)digit;
    }
    if (l->is_bytes) {
        *l->out++ = (unsigned char)code;
        return true;
    }
    const size_t length = rk_utf8_encode(code, l->out);
    if (length == 0)
        return fail(l, "an escape names a surrogate or a code point above U+10FFFF");
    l->out += length;
    return true;
}

static bool put_escape(literal *l)
{
    if (l->p == l->end)
        return fail(l, "it ends inside an escape");
    const unsigned char c = *l->p++;
    switch (c) {
    case '\\':
    case '\'':
    case '"':
        *l->out++ = c;
        return true;
    case 'n':
        *l->out++ = '\n';
        return true;
    case 'r':
        *l->out++ = '\r';
        return true;
    case 't':
        *l->out++ = '\t';
        return true;
    case 'x':
        return put_number(l, 2);
    case 'u':
    case 'U':
        if (!l->is_bytes)
            return put_number(l, c == 'u' ? 4 : 8);
    }
    return fail(l, "an unknown escape");
}

static bool put_character(literal *l)
{
    const unsigned char c = *l->p;
    if (l->quote && c == l->quote)
        return fail(l, "an unescaped quote inside");
    if (c < 0x20 || c == 0x7f)
        return fail(l, "an unescaped control character");
    if (l->is_bytes && c >= 0x80)
        return fail(l, "an unescaped byte above 127 in a bytes literal");
    const int length = rk_utf8_classify(l->p, (size_t)(l->end - l->p));
    if (length <= 0)
        return fail(l, "bytes that are not UTF-8");
    for (int i = 0; i < length; i++)
        *l->out++ = *l->p++;
    return true;
}

static bool decode(literal *l, unsigned char *out, size_t *n_out, const char **reason)
{
    l->out = out;
    while (l->p < l->end) {
        const bool ok = *l->p == '\\' ? (l->p++, put_escape(l)) : put_character(l);
        if (!ok) {
            *reason = l->reason;
            return false;
        }
    }
    *n_out = (size_t)(l->out - out);
    return true;
}

bool rk_literal_decode(const unsigned char *s, size_t n, unsigned char *out, size_t *n_out,
                       const char **reason)
{
    const bool is_bytes = n > 0 && s[0] == 'b';
    const unsigned char *const open = s + is_bytes;
    if (n < 2u + is_bytes || (*open != '\'' && *open != '"') || s[n - 1] != *open) {
        *reason = "no literal in quotes";
        return false;
    }
    literal l = {.p = open + 1, .end = s + n - 1, .quote = *open, .is_bytes = is_bytes};
    return decode(&l, out, n_out, reason);
}

bool rk_literal_decode_inside(const unsigned char *s, size_t n, unsigned char *out, size_t *n_out,
                              const char **reason)
{
    literal l = {.p = s, .end = s + n, .is_bytes = true};
    return decode(&l, out, n_out, reason);
}
