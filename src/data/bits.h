/* bits.h: one bit a token, the first in the lowest bit of the first byte: does it count in the loss?
 * NULL stands for bits that are all set. */
#ifndef RK_DATA_BITS_H
#define RK_DATA_BITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline size_t rk_bits_bytes(int64_t n)
{
    return (size_t)((n + 7) / 8);
}

static inline bool rk_bits_at(const unsigned char *bits, int64_t i)
{
    return !bits || (bits[i / 8] >> (i % 8) & 1) != 0;
}

static inline void rk_bits_put(unsigned char *bits, int64_t i, bool value)
{
    const unsigned char bit = (unsigned char)(1u << (i % 8));
    bits[i / 8] = (unsigned char)(value ? bits[i / 8] | bit : bits[i / 8] & ~bit);
}

/* Set bits [first, first + n), whole bytes at a time where there are some. */
void rk_bits_fill(unsigned char *bits, int64_t first, int64_t n, bool value);
/* Copy n bits that begin with bit 0 of from (NULL: ones) to bits [first, ...). */
void rk_bits_copy(unsigned char *bits, int64_t first, const unsigned char *from, int64_t n);
/* How many of bits [0, n) are set. */
int64_t rk_bits_count(const unsigned char *bits, int64_t n);

#endif
