/* bits.c: runs of bits. */
#include "data/bits.h"

#include <string.h>

void rk_bits_fill(unsigned char *bits, int64_t first, int64_t n, bool value)
{
    for (; n > 0 && first % 8; first++, n--)
        rk_bits_put(bits, first, value);
    memset(bits + first / 8, value ? 0xff : 0, (size_t)(n / 8));
    for (int64_t i = n / 8 * 8; i < n; i++)
        rk_bits_put(bits, first + i, value);
}

void rk_bits_copy(unsigned char *bits, int64_t first, const unsigned char *from, int64_t n)
{
    if (!from)
        rk_bits_fill(bits, first, n, true);
    for (int64_t i = 0; from && i < n; i++)
        rk_bits_put(bits, first + i, rk_bits_at(from, i));
}

int64_t rk_bits_count(const unsigned char *bits, int64_t n)
{
    int64_t count = 0;
    for (int64_t i = 0; i < n / 8 && bits; i++)
        count += __builtin_popcount(bits[i]);
    for (int64_t i = n / 8 * 8; i < n && bits; i++)
        count += rk_bits_at(bits, i);
    return bits ? count : n;
}
