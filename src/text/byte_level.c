/* byte_level.c: GPT-2's way to write bytes as printable characters. */
#include "text/byte_level.h"

#include "text/utf8.h"

enum { LATIN_GAP = 68 }; /* bytes that are not written as themselves */

static bool is_plain(uint32_t code)
{
    return (code >= 33 && code <= 126) || (code >= 161 && code <= 172) ||
           (code >= 174 && code <= 255);
}

int rk_byte_level_byte(uint32_t code)
{
    if (is_plain(code))
        return (int)code;
    const uint32_t i = code - 256; /* bytes 0 to 32, 127 to 160 and 173, in this order */
    return code < 256 || i >= LATIN_GAP ? -1
           : i <= 32                    ? (int)i
           : i <= 66                    ? (int)(127 + (i - 33))
                                        : 173;
}

static uint32_t code_of(unsigned char byte)
{
    if (is_plain(byte))
        return byte;
    return 256u + (byte <= 32 ? byte : byte == 173 ? LATIN_GAP - 1 : 33u + (byte - 127u));
}

int64_t rk_byte_level_decode(const unsigned char *text, size_t n, unsigned char *out)
{
    int64_t n_out = 0;
    for (size_t at = 0; at < n;) {
        const int length = rk_utf8_classify(text + at, n - at);
        const int byte = length > 0 ? rk_byte_level_byte(rk_utf8_decode(text + at, length)) : -1;
        if (byte < 0)
            return -1;
        out[n_out++] = (unsigned char)byte;
        at += (size_t)length;
    }
    return n_out;
}

void rk_byte_level_encode(rk_buf *out, const unsigned char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        unsigned char character[RK_UTF8_MAX];
        rk_buf_add(out, character, rk_utf8_encode(code_of(bytes[i]), character));
    }
}
