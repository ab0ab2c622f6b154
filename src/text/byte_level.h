/* byte_level.h: the characters that byte-level vocabularies write for bytes: the printable ones of
 * Latin-1 stand for themselves, the other bytes are U+0100 and up, in order. */
#ifndef RK_TEXT_BYTE_LEVEL_H
#define RK_TEXT_BYTE_LEVEL_H

#include "base/buf.h"

/* The byte of a character; -1: it stands for none. */
int rk_byte_level_byte(uint32_t code);
/* Turn the n bytes of UTF-8 at text to the bytes that they stand for, in out, which has room for n;
 * returns their number, or -1 where a character stands for none. */
int64_t rk_byte_level_decode(const unsigned char *text, size_t n, unsigned char *out);
/* Append the characters that stand for n bytes. */
void rk_byte_level_encode(rk_buf *out, const unsigned char *bytes, size_t n);

#endif
