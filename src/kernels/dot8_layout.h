/* dot8_layout.h: where things lie in a packed group of 16 rows.
 *
 * A group is a sequence of units, 64 inputs of each row, or 256 for the K formats, all in lines of
 * 64 bytes. The numbers of a block of 32 inputs are quads, 4 neighbouring inputs of each row, row
 * after row: 64 numbers. Numbers of 8 bits have a line for each quad. Of others the lower 4 bits,
 * or 2 of less than 4, stand in lines that quads share, and what they have more in such lines
 * behind:
 *
 *   4 bits   quads j and j + 4 in line j
 *   2 bits   quads 0 to 3 in the first line, 4 to 7 in the second
 *   1 bit    all quads in one line
 *
 *   32-element formats   d[2][16] f16, m[2][16] f16 (if any), then two blocks of numbers
 *   K formats            d[16] f16, m[16] f16, scales[8][16], minima[8][16], then eight blocks;
 * those with a scale for each half of a block have scales[16][16], Q2_K with the minima in the
 * upper four bits
 *
 * Numbers are stored without sign: a number q of a format without minima as q + 2^(bits - 1). */
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
           : t == RK_Q3_K                                 ? 3
           : t == RK_Q2_K                                 ? 2
                                                          : 4;
}
/* How many of less than 8 stand in the lines in front, and in those behind. */
RK_INLINE int dot8_lower(int bits)
{
    return bits < 4 ? 2 : 4;
}
RK_INLINE int dot8_upper(int bits)
{
    return bits - dot8_lower(bits);
}
/* Of lines of so many bits a number, the one where quad j is, and how far up in its bytes. */
RK_INLINE int dot8_line(int width, int j)
{
    return width == 4 ? j % 4 : width == 2 ? j / 4 : 0;
}
RK_INLINE int dot8_shift(int width, int j)
{
    return width == 4 ? j / 4 * 4 : width == 2 ? j % 4 * 2 : j;
}
RK_INLINE bool dot8_is_k(rk_dtype t)
{
    return t >= RK_Q2_K && t <= RK_Q6_K;
}
/* Has the format minima? Else its numbers are symmetric. */
RK_INLINE bool dot8_stores_minima(rk_dtype t)
{
    return t == RK_Q4_1 || t == RK_Q5_1 || t == RK_Q2_K || t == RK_Q4_K || t == RK_Q5_K;
}
/* Scales of a block: one, or one for each half. */
RK_INLINE int dot8_halves(rk_dtype t)
{
    return t == RK_Q2_K || t == RK_Q3_K || t == RK_Q6_K ? 2 : 1;
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

/* ---- columns ----
 *
 * Outputs in strips of 64, or 128 of 4 bits, and up to four strips in a tile: what is read of an
 * input at a time. Longer pieces would be better for memory, but fewer fit into the first cache. A
 * tile is a sequence of units, one block of 32 inputs, or eight for Q4_K, of its n outputs:
 *
 *   32-element formats   d[n] f16, m[n] f16 (if any), then the lines of 32 inputs
 *   Q4_K                 d[n] f16, m[n] f16, scales[8][n], minima[8][n], 256 lines
 *
 * A line, one input, is 64 bytes for every strip. A byte is output o of its strip in the low half
 * and, with 4 bits, output 64 + o in the high one. They lie in such an order that four lines whose
 * bytes are interleaved, in every 16 bytes by themselves, are the quads of the strip's groups. */

RK_INLINE int dot8_strip(rk_dtype t)
{
    return dot8_bits(t) == 8 ? 64 : 128;
}
/* Outputs of each tile of a matrix of n. */
RK_INLINE int dot8_tile(rk_dtype t, int64_t n)
{
    int strips = 4;
    while (n / dot8_strip(t) % strips != 0)
        strips--;
    return strips * dot8_strip(t);
}
RK_INLINE int dot8_columns_unit(rk_dtype t)
{
    return dot8_is_k(t) ? 256 : 32;
}
/* Which byte of a line output o of a tile is. */
RK_INLINE int dot8_place(rk_dtype t, int o)
{
    return o / dot8_strip(t) * DOT8_LINE + 16 * (o / 4 % 4) + 4 * (o % 64 / 16) + o % 4;
}

/* Inputs ahead whose lines are asked for. */
enum { DOT8_AHEAD = 32 };

/* What of a tile belongs to a block of 32 inputs. */
typedef struct dot8_columns {
    int n;                                /* outputs of the tile */
    int line;                             /* bytes of an input */
    const unsigned char *d, *m;           /* n halves each */
    const unsigned char *scales, *minima; /* n bytes each, of Q4_K */
    const unsigned char *lines;
} dot8_columns;

RK_INLINE int dot8_columns_lines(rk_dtype t, int n)
{
    return ((dot8_stores_minima(t) ? 4 : 2) + (dot8_is_k(t) ? 16 : 0)) * n;
}
RK_INLINE int dot8_columns_unit_bytes(rk_dtype t, int n)
{
    return dot8_columns_lines(t, n) + dot8_columns_unit(t) * (n / dot8_strip(t) * DOT8_LINE);
}
/* Block b of a unit at `unit` of a tile of n outputs. */
RK_INLINE dot8_columns dot8_columns_in(rk_dtype t, const unsigned char *unit, int n, int b)
{
    const int line = n / dot8_strip(t) * DOT8_LINE;
    return (dot8_columns){.n = n,
                          .line = line,
                          .d = unit,
                          .m = unit + 2 * n,
                          .scales = unit + (4 + b) * n,
                          .minima = unit + (12 + b) * n,
                          .lines = unit + dot8_columns_lines(t, n) + b * RK_X8_BLOCK * line};
}
/* The tile that output o lies in. */
RK_INLINE const unsigned char *dot8_tile_of(rk_dtype t, const rk_dot8_matrix *w, int64_t o)
{
    const int n = dot8_tile(t, w->n);
    return w->data + o / n * (w->k / dot8_columns_unit(t)) * dot8_columns_unit_bytes(t, n);
}
/* Block b of a tile of n outputs. */
RK_INLINE dot8_columns dot8_columns_of(rk_dtype t, const unsigned char *tile, int n, int64_t b)
{
    const int per_unit = dot8_columns_unit(t) / RK_X8_BLOCK;
    return dot8_columns_in(t, tile + b / per_unit * dot8_columns_unit_bytes(t, n), n,
                           (int)(b % per_unit));
}

#endif
