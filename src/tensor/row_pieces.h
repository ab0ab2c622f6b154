/* row_pieces.h: rows cut into pieces for backward passes that leave sums over all rows.
 *
 * A piece is a few rows of one sequence. The task of a piece adds its rows up in a vector of its own
 * while they lie in the cache; the vectors of all pieces are added in order afterwards. The cut
 * depends on the length of a sequence alone, so micro-batches continue the same sums
 * (docs/numerics.md). */
#ifndef RK_ROW_PIECES_H
#define RK_ROW_PIECES_H

#include "tensor/op.h"

typedef struct rk_row_pieces {
    int64_t rows, steps;     /* in all, of a sequence */
    int64_t per_sequence, n; /* pieces */
} rk_row_pieces;

/* `steps` rows a sequence. */
rk_row_pieces rk_row_pieces_of(int64_t rows, int64_t steps);
/* Rows [*lo, *hi) of piece i. */
void rk_row_piece_at(const rk_row_pieces *p, int64_t i, int64_t *lo, int64_t *hi);
/* out[c] += the pieces' sums (n, width) of channel c, for reals of like's type; out may be NULL. */
void rk_add_pieces(rk_ctx *ctx, const rk_tensor *like, const rk_row_pieces *p, int64_t width,
                   const void *sums, void *out);

#endif
