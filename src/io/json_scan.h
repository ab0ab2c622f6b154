/* json_scan.h: a strict JSON scanner over bytes, for readers that know what they expect.
 *
 * It builds no tree: a reader asks for the next token and gets it or a failure, so hostile input
 * cannot cost memory beyond what the reader keeps of it. RFC 8259; the caller limits numbers and
 * nesting; strings must be UTF-8. */
#ifndef RK_IO_JSON_SCAN_H
#define RK_IO_JSON_SCAN_H

#include "base/error.h"

typedef struct rk_json_scan {
    const unsigned char *p, *end;
    const char *expected; /* after a failure: what was expected at p */
} rk_json_scan;

/* Skip white space and take the character c, which is one of {}[]:, */
bool rk_json_take(rk_json_scan *s, char c);
/* The same where c may be absent; its absence is no failure. */
bool rk_json_peek_take(rk_json_scan *s, char c);
/* Take null where it comes next; its absence is no failure. */
bool rk_json_peek_null(rk_json_scan *s);
/* Take true or false where it comes next; its absence is no failure. */
bool rk_json_peek_bool(rk_json_scan *s, bool *out);
/* A string, decoded to out, which has room for the rest of the input and may be NULL; *n its bytes.
 * No NUL is added. */
bool rk_json_string(rk_json_scan *s, char *out, size_t *n);
/* An unsigned integer without sign, fraction, exponent or leading zeros. */
bool rk_json_uint(rk_json_scan *s, uint64_t *out);
/* Any number of at most 63 characters that a double can hold. */
bool rk_json_number(rk_json_scan *s, double *out);
/* Check and skip any value, nested at most depth_max deep. */
bool rk_json_skip(rk_json_scan *s, int depth_max);
/* Nothing but white space is left. */
bool rk_json_at_end(rk_json_scan *s);

/* Bytes of the UTF-8 character at p, 0 when none begins there (truncated, overlong, a surrogate,
 * above U+10FFFF). */
size_t rk_json_utf8_length(const unsigned char *p, size_t left);

#endif
