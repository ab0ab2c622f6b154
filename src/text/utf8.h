/* utf8.h: well-formed UTF-8 (Unicode standard, table 3-7), one character or a stream at a time. */
#ifndef RK_TEXT_UTF8_H
#define RK_TEXT_UTF8_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum { RK_UTF8_MAX = 4 };

/* How the n >= 1 bytes at p begin: the length (1..4) of a well-formed character, 0 when they are
 * all the beginning of one that needs more bytes, -1 when no character begins so. */
int rk_utf8_classify(const unsigned char *p, size_t n);
/* The code point of the well-formed character of so many bytes at p. */
uint32_t rk_utf8_decode(const unsigned char *p, int length);
/* The bytes of a code point; 0 when it has none (a surrogate, or above U+10FFFF). */
size_t rk_utf8_encode(uint32_t code, unsigned char out[RK_UTF8_MAX]);
/* Bytes at the front of a text that are well-formed. */
size_t rk_utf8_valid(const unsigned char *text, size_t n);
/* Bytes of what can never become a character at p: one, or the beginning of a longer one. */
size_t rk_utf8_broken(const unsigned char *p, size_t n);
/* Append the text, with each maximal part of what can never become a character as U+FFFD. */
void rk_utf8_add(rk_buf *out, const unsigned char *text, size_t n);

/* A stream cut at any place; zero to begin. */
typedef struct rk_utf8_stream {
    unsigned char pending[RK_UTF8_MAX]; /* the beginning of a character */
    size_t n;
} rk_utf8_stream;

/* The whole characters that n more bytes complete, with each maximal part of what can never become
 * a character as U+FFFD. out has room for 3 * (n + 1) bytes; returns the bytes written. */
size_t rk_utf8_push(rk_utf8_stream *s, const unsigned char *bytes, size_t n, char *out);
/* The end: a character that was begun is U+FFFD. At most 3 bytes. */
size_t rk_utf8_flush(rk_utf8_stream *s, char *out);

#endif
