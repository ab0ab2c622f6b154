/* split.h: the pieces into which GPT-2's pattern cuts a text before merges are applied:
 *
 *     's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+  */
#ifndef RK_TEXT_SPLIT_H
#define RK_TEXT_SPLIT_H

#include <stddef.h>

/* Bytes of the first piece of the n >= 1 bytes at p. A byte that begins no UTF-8 character counts
 * as a character that is neither letter, number nor space. */
size_t rk_split_gpt2(const unsigned char *p, size_t n);

#endif
