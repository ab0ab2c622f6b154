/* medium.h: going through the blocks of a row with mediums (ops.h). Inside this layer only. */
#ifndef RK_TENSOR_MEDIUM_H
#define RK_TENSOR_MEDIUM_H

#include "tensor/op.h"

/* Tokens [first, end) of a row; the others as the fields of a walk. */
typedef struct rk_medium_block {
    int64_t first, end, known, length, slot, medium;
} rk_medium_block;

/* Of every row: tokens with the mediums behind them. */
static inline int64_t rk_medium_row_count(const rk_medium_rows *r)
{
    return r->n_tokens + r->n_mediums;
}
/* Is this the walk of such rows for the batch of x (B, T + M, ..)? */
bool rk_medium_fits(const rk_medium_rows *r, const rk_tensor *x);
/* How many blocks row b has, and block i of them. */
int64_t rk_medium_n_blocks(const rk_medium_rows *r, int64_t b);
rk_medium_block rk_medium_block_at(const rk_medium_rows *r, int64_t b, int64_t i);
/* The first row of b behind its tokens that is no medium's. */
int64_t rk_medium_end(const rk_medium_rows *r, int64_t b);

#endif
