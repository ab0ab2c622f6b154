/* dot8_layout.h: where things lie in a packed group of 16 rows.
 *
 * A group is a sequence of units, 64 inputs of each row, or 256 for the K formats, all in lines of
 * 64 bytes. The numbers of a block of 32 inputs are quads, 4 neighbouring inputs of each row, row
 * after row: 64 numbers. Quad j and quad j + 4 share a line of nibbles; what five and six bits have
 * more stands in lines of its own behind.
 *
 *   32-element formats   d[2][16] f16, m[2][16] f16 (if any), then two blocks of numbers
 *   K formats            d[16] f16, m[16] f16, scales[8][16], minima[8][16], then eight blocks;
 *                        Q6_K has scales[16][16], one for each half of a block, and no minima
 *
 * Numbers are stored without sign: a Q8_0 number q as q + 128. */
#ifndef RK_KERNELS_DOT8_LAYOUT_H
#define RK_KERNELS_DOT8_LAYOUT_H

#include "base/inline.h"
#include "kernels/dot8.h"

enum {
    DOT8_LINE = 64,     /* a quad of 16 rows, in 8 bits */
    DOT8_HALVES = 32,   /* 16 numbers of f16 */
    DOT8_K_SCALES = 64, /* where they begin in a unit of a K format */
    DOT8_K_MINIMA = 64 + 128,
    DOT8_K_CODES = 64 + 256,
    DOT8_QUADS = 8 /* of a block */
};

/* Bits of a number. */
RK_INLINE int dot8_bits(rk_dtype t)
{
    return t == RK_Q8_0                                   ? 8
           : t == RK_Q6_K                                 ? 6
           : t == RK_Q5_0 || t == RK_Q5_1 || t == RK_Q5_K ? 5
                                                          : 4;
}
RK_INLINE bool dot8_is_k(rk_dtype t)
{
    return t == RK_Q4_K || t == RK_Q5_K || t == RK_Q6_K;
}
/* Are minima stored? Else they follow from the scale: the numbers of a symmetric format of b bits
 * are q - 2^(b - 1). Q8_0 has none: its numbers are taken with their sign. */
RK_INLINE bool dot8_stores_minima(rk_dtype t)
{
    return t == RK_Q4_1 || t == RK_Q5_1 || t == RK_Q4_K || t == RK_Q5_K;
}
/* Scales of a block: one, or one for each half. */
RK_INLINE int dot8_halves(rk_dtype t)
{
    return t == RK_Q6_K ? 2 : 1;
}
RK_INLINE int dot8_unit(rk_dtype t)
{
    return dot8_is_k(t) ? 256 : 64;
}
/* Bytes of a block's numbers. */
RK_INLINE int dot8_block_bytes(rk_dtype t)
{
    return dot8_bits(t) * DOT8_LINE;
}
RK_INLINE int dot8_codes_at(rk_dtype t)
{
    return dot8_is_k(t) ? DOT8_K_CODES : dot8_stores_minima(t) ? 4 * DOT8_HALVES : 2 * DOT8_HALVES;
}
RK_INLINE int dot8_unit_bytes(rk_dtype t)
{
    return dot8_codes_at(t) + dot8_unit(t) / RK_X8_BLOCK * dot8_block_bytes(t);
}

#endif
