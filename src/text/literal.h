/* literal.h: a Python string literal as repr() writes it, turned into bytes; nothing is evaluated.
 */
#ifndef RK_TEXT_LITERAL_H
#define RK_TEXT_LITERAL_H

#include <stdbool.h>
#include <stddef.h>

/* Decode '...', "...", b'...' or b"..." that fills all n bytes at s. A str becomes UTF-8. out has
 * room for n bytes. On failure *reason says why, in a few words. */
bool rk_literal_decode(const unsigned char *s, size_t n, unsigned char *out, size_t *n_out,
                       const char **reason);
/* The inside of a b'...' whose quotes have been taken off, so that either may stand within. */
bool rk_literal_decode_inside(const unsigned char *s, size_t n, unsigned char *out, size_t *n_out,
                              const char **reason);

#endif
