/* utf8.c: well-formed UTF-8.
 *
 * A byte is appended to the pending ones and the whole is judged again. Because every proper prefix
 * was judged a possible beginning, a byte that does not fit ends a maximal subpart: one U+FFFD
 * stands for what was pending, and the byte begins anew. A table-driven automaton does the same in
 * fewer steps; at the speed of tokens its tables are not worth explaining. */
#include "text/utf8.h"

#include <string.h>

static const char replacement[] = "\xef\xbf\xbd"; /* U+FFFD */
enum { REPLACEMENT_BYTES = sizeof replacement - 1 };

/* Bytes of the character that begins with this byte; 0: none does. */
static size_t length_of_lead(unsigned char c)
{
    if (c < 0x80)
        return 1;
    if (c < 0xc2 || c > 0xf4)
        return 0;
    return c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
}

/* The second byte is narrowed after four leads: no overlong forms, surrogates, or > U+10FFFF. */
static int second_fits(unsigned char lead, unsigned char c)
{
    const unsigned char low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    const unsigned char high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    return c >= low && c <= high;
}

int rk_utf8_classify(const unsigned char *p, size_t n)
{
    const size_t length = length_of_lead(p[0]);
    if (length == 0 || (length > 1 && n > 1 && !second_fits(p[0], p[1])))
        return -1;
    for (size_t i = 2; i < length && i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return -1;
    return n < length ? 0 : (int)length;
}

uint32_t rk_utf8_decode(const unsigned char *p, int length)
{
    static const unsigned char payload[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    uint32_t code = p[0] & payload[length];
    for (int i = 1; i < length; i++)
        code = code << 6 | (p[i] & 0x3f);
    return code;
}

size_t rk_utf8_encode(uint32_t code, unsigned char out[RK_UTF8_MAX])
{
    static const unsigned char lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
    if (code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
        return 0;
    if (code < 0x80) {
        out[0] = (unsigned char)code;
        return 1;
    }
    const size_t n = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i > 0; i--, code >>= 6)
        out[i] = (unsigned char)(0x80 | (code & 0x3f));
    out[0] = (unsigned char)(lead[n] | code);
    return n;
}

size_t rk_utf8_valid(const unsigned char *text, size_t n)
{
    size_t at = 0;
    while (at < n) {
        const int length = text[at] < 0x80 ? 1 : rk_utf8_classify(text + at, n - at);
        if (length <= 0)
            break;
        at += (size_t)length;
    }
    return at;
}

size_t rk_utf8_broken(const unsigned char *p, size_t n)
{
    size_t bytes = 1;
    while (bytes < n && rk_utf8_classify(p, bytes + 1) == 0)
        bytes++;
    return bytes;
}

void rk_utf8_add(rk_buf *out, const unsigned char *text, size_t n)
{
    for (size_t at = 0; at < n;) {
        const size_t valid = rk_utf8_valid(text + at, n - at);
        rk_buf_add(out, text + at, valid);
        at += valid;
        if (at == n)
            return;
        rk_buf_puts(out, replacement);
        at += rk_utf8_broken(text + at, n - at);
    }
}

size_t rk_utf8_push(rk_utf8_stream *s, const unsigned char *bytes, size_t n, char *out)
{
    char *const begin = out;
    for (size_t i = 0; i < n; i++) {
        s->pending[s->n++] = bytes[i];
        int length = rk_utf8_classify(s->pending, s->n);
        if (length < 0 && s->n > 1) {
            out += rk_utf8_flush(s, out);
            s->pending[s->n++] = bytes[i];
            length = rk_utf8_classify(s->pending, s->n);
        }
        if (length < 0)
            out += rk_utf8_flush(s, out);
        if (length > 0) {
            memcpy(out, s->pending, s->n);
            out += s->n;
            s->n = 0;
        }
    }
    return (size_t)(out - begin);
}

size_t rk_utf8_flush(rk_utf8_stream *s, char *out)
{
    if (s->n == 0)
        return 0;
    s->n = 0;
    memcpy(out, replacement, REPLACEMENT_BYTES);
    return REPLACEMENT_BYTES;
}
