/* json_scan.c: the scanner. jansson is not used where the input may be hostile and large: its tree
 * takes about eighteen times the bytes of a safetensors header (measured), which breaks the bound
 * of four. */
#include "io/json_scan.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool fail(rk_json_scan *s, const char *expected)
{
    s->expected = expected;
    return false;
}

static void skip_space(rk_json_scan *s)
{
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\n' || *s->p == '\r'))
        s->p++;
}

bool rk_json_peek_take(rk_json_scan *s, char c)
{
    skip_space(s);
    if (s->p == s->end || *s->p != (unsigned char)c)
        return false;
    s->p++;
    return true;
}

bool rk_json_take(rk_json_scan *s, char c)
{
    static const char marks[] = "{}[]:,";
    static const char *const names[] = {"'{'", "'}'", "'['", "']'", "':'", "','"};
    return rk_json_peek_take(s, c) || fail(s, names[strchr(marks, c) - marks]);
}

bool rk_json_at_end(rk_json_scan *s)
{
    skip_space(s);
    return s->p == s->end || fail(s, "the end");
}

/* Bytes of the character that begins with c, 0 when none does. */
static size_t utf8_bytes(unsigned char c)
{
    return c < 0x80 ? 1 : c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;
}

size_t rk_json_utf8_length(const unsigned char *p, size_t left)
{
    /* The second byte's range excludes overlong forms, surrogates and what is above U+10FFFF. */
    const unsigned char c = left > 0 ? p[0] : 0xff;
    const size_t n = utf8_bytes(c);
    if (n == 0 || n > left)
        return 0;
    const unsigned char low = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
    const unsigned char high = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
    if (n > 1 && (p[1] < low || p[1] > high))
        return 0;
    for (size_t i = 2; i < n; i++)
        if (p[i] < 0x80 || p[i] > 0xbf)
            return 0;
    return n;
}

static void put(char *out, size_t *n, uint32_t byte)
{
    if (out)
        out[*n] = (char)(unsigned char)byte;
    ++*n;
}

/* Four hexadecimal digits. */
static bool hex4(rk_json_scan *s, uint32_t *out)
{
    static const char digits[] = "0123456789abcdefABCDEF";
    *out = 0;
    for (int i = 0; i < 4; i++, s->p++) {
        const char *d = s->p < s->end ? memchr(digits, *s->p, sizeof digits - 1) : NULL;
        if (!d)
            return fail(s, "four hexadecimal digits");
        const uint32_t x = (uint32_t)(d - digits);
        *out = *out * 16 + (x < 16 ? x : x - 6);
    }
    return true;
}

/* What follows "\u", as UTF-8. A character beyond U+FFFF is written as two surrogates. */
static bool unicode_escape(rk_json_scan *s, char *out, size_t *n)
{
    uint32_t c, low;
    if (!hex4(s, &c))
        return false;
    if (c >= 0xdc00 && c < 0xe000)
        return fail(s, "a high surrogate before this low one");
    if (c >= 0xd800 && c < 0xdc00) {
        if (s->end - s->p < 2 || s->p[0] != '\\' || s->p[1] != 'u')
            return fail(s, "a low surrogate");
        s->p += 2;
        if (!hex4(s, &low))
            return false;
        if (low < 0xdc00 || low >= 0xe000)
            return fail(s, "a low surrogate");
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
    }
    static const struct {
        uint32_t limit;
        unsigned char mark;
    } forms[] = {{0x80, 0}, {0x800, 0xc0}, {0x10000, 0xe0}, {0x110000, 0xf0}};
    size_t more = 0; /* bytes after the first */
    while (c >= forms[more].limit)
        more++;
    put(out, n, forms[more].mark | (c >> (6 * more)));
    while (more-- > 0)
        put(out, n, 0x80 | ((c >> (6 * more)) & 0x3f));
    return true;
}

/* What follows a backslash. */
static bool escape(rk_json_scan *s, char *out, size_t *n)
{
    static const char letters[] = "\"\\/bfnrtu", meanings[] = "\"\\/\b\f\n\r\t";
    const char *l = s->p < s->end ? memchr(letters, *s->p, sizeof letters - 1) : NULL;
    if (!l)
        return fail(s, "one of \"\\/bfnrtu after a backslash");
    s->p++;
    if (*l == 'u')
        return unicode_escape(s, out, n);
    put(out, n, (unsigned char)meanings[l - letters]);
    return true;
}

/* Characters that stand for themselves, copied in one piece. */
static bool plain_run(rk_json_scan *s, char *out, size_t *n)
{
    const unsigned char *from = s->p;
    while (s->p < s->end && *s->p != '"' && *s->p != '\\') {
        const size_t length = rk_json_utf8_length(s->p, (size_t)(s->end - s->p));
        if (*s->p < 0x20)
            return fail(s, "an escape for a control character");
        if (length == 0)
            return fail(s, "UTF-8");
        s->p += length;
    }
    if (out)
        memcpy(out + *n, from, (size_t)(s->p - from));
    *n += (size_t)(s->p - from);
    return true;
}

/* Take a word of letters where it comes next. */
static bool peek_word(rk_json_scan *s, const char *word)
{
    const size_t n = strlen(word);
    skip_space(s);
    if ((size_t)(s->end - s->p) < n || memcmp(s->p, word, n) != 0)
        return false;
    s->p += n;
    return true;
}

bool rk_json_peek_null(rk_json_scan *s)
{
    return peek_word(s, "null");
}

bool rk_json_peek_bool(rk_json_scan *s, bool *out)
{
    *out = peek_word(s, "true");
    return *out || peek_word(s, "false");
}

bool rk_json_string(rk_json_scan *s, char *out, size_t *n)
{
    *n = 0;
    if (!rk_json_peek_take(s, '"'))
        return fail(s, "a string");
    for (;;) {
        if (!plain_run(s, out, n))
            return false;
        if (s->p == s->end)
            return fail(s, "the string's closing quote");
        if (*s->p++ == '"')
            return true;
        if (!escape(s, out, n))
            return false;
    }
}

bool rk_json_uint(rk_json_scan *s, uint64_t *out)
{
    skip_space(s);
    const unsigned char *first = s->p;
    *out = 0;
    for (; s->p < s->end && *s->p >= '0' && *s->p <= '9'; s->p++)
        if (__builtin_mul_overflow(*out, 10u, out) ||
            __builtin_add_overflow(*out, (uint64_t)(*s->p - '0'), out))
            return fail(s, "an integer below 2^64");
    if (s->p == first)
        return fail(s, "an unsigned integer");
    if (*first == '0' && s->p - first > 1)
        return fail(s, "no zero before other digits");
    /* NOLINTNEXTLINE(bugprone-not-null-terminated-result): strchr would find a NUL byte as well */
    if (s->p < s->end && memchr(".eE", *s->p, 3))
        return fail(s, "an integer without fraction or exponent");
    return true;
}

static size_t digits(rk_json_scan *s)
{
    const unsigned char *first = s->p;
    while (s->p < s->end && *s->p >= '0' && *s->p <= '9')
        s->p++;
    return (size_t)(s->p - first);
}

/* One character out of a set, when it comes next. */
static bool one_of(rk_json_scan *s, const char *set)
{
    /* NOLINTNEXTLINE(bugprone-not-null-terminated-result): strchr would find a NUL byte as well */
    if (s->p == s->end || !memchr(set, *s->p, strlen(set)))
        return false;
    s->p++;
    return true;
}

static bool skip_number(rk_json_scan *s)
{
    one_of(s, "-");
    if (!one_of(s, "0") && digits(s) == 0)
        return fail(s, "a value");
    if (one_of(s, ".") && digits(s) == 0)
        return fail(s, "digits after the point");
    if (one_of(s, "eE")) {
        one_of(s, "+-");
        if (digits(s) == 0)
            return fail(s, "digits of the exponent");
    }
    return true;
}

bool rk_json_number(rk_json_scan *s, double *out)
{
    char text[64] = "";
    skip_space(s);
    const unsigned char *const first = s->p;
    if (!skip_number(s))
        return false;
    const size_t n = (size_t)(s->p - first);
    if (n < sizeof text)
        memcpy(text, first, n);
    *out = strtod(text, NULL);
    if (n < sizeof text && isfinite(*out))
        return true;
    s->p = first;
    return fail(s, "a number of fewer digits");
}

static bool skip_word(rk_json_scan *s)
{
    bool flag = false;
    return rk_json_peek_bool(s, &flag) || rk_json_peek_null(s) || skip_number(s);
}

static bool skip_value(rk_json_scan *s, int depth);

/* What follows an opening bracket: members up to the closing one, with keys in an object. */
static bool skip_members(rk_json_scan *s, char close, int depth)
{
    size_t n;
    if (depth == 0)
        return fail(s, "values nested less deeply");
    if (rk_json_peek_take(s, close))
        return true;
    do {
        if (close == '}' && (!rk_json_string(s, NULL, &n) || !rk_json_take(s, ':')))
            return false;
        if (!skip_value(s, depth - 1))
            return false;
    } while (rk_json_peek_take(s, ','));
    return rk_json_take(s, close);
}

static bool skip_value(rk_json_scan *s, int depth)
{
    size_t n;
    if (rk_json_peek_take(s, '{'))
        return skip_members(s, '}', depth);
    if (rk_json_peek_take(s, '['))
        return skip_members(s, ']', depth);
    if (s->p < s->end && *s->p == '"')
        return rk_json_string(s, NULL, &n);
    return skip_word(s);
}

bool rk_json_skip(rk_json_scan *s, int depth_max)
{
    return skip_value(s, depth_max);
}
