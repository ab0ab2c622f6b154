/* dot8_layout.h: where things lie in a packed group of 16 rows.
 *
 * A group is a sequence of units: the weights of 64 inputs of each row, or of 256 for the K
 * formats. Everything is stored in lines of 64 bytes. The numbers of a block of 32 inputs are cut
 * into eight quads; quad j has inputs 4j to 4j + 3 of row 0, then those of row 1, and so on: 4 x 16
 * = 64 numbers. In 8 bits each quad fills a line. Narrower numbers are split into bit planes: a
 * lower plane of 4 bits a number (2 bits for Q2_K and Q3_K), and an upper plane of the bits that
 * remain. A plane packs several quads into one line, each shifted to bits of its own:
 *
 *   plane of 4 bits   quads j and j + 4 in line j
 *   plane of 2 bits   quads 0 to 3 in the first line, 4 to 7 in the second
 *   plane of 1 bit    all quads in one line
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
    DOT8_LINE = 64,     /* bytes of a quad: 4 inputs of 16 rows, in 8 bits */
    DOT8_HALVES = 32,   /* bytes of 16 f16 */
    DOT8_K_SCALES = 64, /* where the scales begin in a unit of a K format */
    DOT8_K_MINIMA = 64 + 128,
    DOT8_K_CODES = 64 + 256,
    DOT8_QUADS = 8 /* quads of a block */
};

/* Bits of a stored number. */
RK_INLINE int dot8_bits(rk_dtype t)
{
    return t == RK_Q8_0                                   ? 8
           : t == RK_Q6_K                                 ? 6
           : t == RK_Q5_0 || t == RK_Q5_1 || t == RK_Q5_K ? 5
           : t == RK_Q3_K                                 ? 3
           : t == RK_Q2_K                                 ? 2
                                                          : 4;
}
/* Bits of a number (of less than 8) in the lower plane, and in the upper plane. */
RK_INLINE int dot8_lower(int bits)
{
    return bits < 4 ? 2 : 4;
}
RK_INLINE int dot8_upper(int bits)
{
    return bits - dot8_lower(bits);
}
/* In a plane of `width` bits a number: the line that holds quad j, and how far its bits are shifted
 * to the left there. */
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
/* Does the format have minima? If not, its numbers are symmetric around zero. */
RK_INLINE bool dot8_stores_minima(rk_dtype t)
{
    return t == RK_Q4_1 || t == RK_Q5_1 || t == RK_Q2_K || t == RK_Q4_K || t == RK_Q5_K;
}
/* Scales per block of 32: one, or one for each half. */
RK_INLINE int dot8_halves(rk_dtype t)
{
    return t == RK_Q2_K || t == RK_Q3_K || t == RK_Q6_K ? 2 : 1;
}
RK_INLINE int dot8_unit(rk_dtype t)
{
    return dot8_is_k(t) ? 256 : 64;
}
/* Bytes of the numbers of a block of 32, all 16 rows. */
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
 * Outputs are grouped in strips of 64, or 128 in 4 bits, and up to four strips make a tile: what is
 * read of one input in one piece. Longer pieces would suit memory better, but fewer fit into the
 * first-level cache. A tile is a sequence of units, one block of 32 inputs, or eight for Q4_K, of
 * its n outputs:
 *
 *   32-element formats   d[n] f16, m[n] f16 (if any), then the lines of 32 inputs
 *   Q4_K                 d[n] f16, m[n] f16, scales[8][n], minima[8][n], 256 lines
 *
 * A line, one input, is 64 bytes for every strip. A byte is output o of its strip in the low half
 * and, in 4 bits, output 64 + o in the high one. Their order is such that interleaving the bytes of
 * four lines, separately in every 16 bytes, gives the quads of the strip's groups. */

RK_INLINE int dot8_strip(rk_dtype t)
{
    return dot8_bits(t) == 8 ? 64 : 128;
}
/* Outputs of each tile of a matrix of n outputs. */
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
/* The byte of a line that holds output o of a tile. */
RK_INLINE int dot8_place(rk_dtype t, int o)
{
    return o / dot8_strip(t) * DOT8_LINE + 16 * (o / 4 % 4) + 4 * (o % 64 / 16) + o % 4;
}

/* How many inputs ahead lines are prefetched. */
enum { DOT8_AHEAD = 32 };

/* The part of a tile that belongs to a block of 32 inputs. */
typedef struct dot8_columns {
    int n;                                /* outputs of the tile */
    int line;                             /* bytes of one input's line */
    const unsigned char *d, *m;           /* (n) f16 each */
    const unsigned char *scales, *minima; /* (n) bytes each, of Q4_K */
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
