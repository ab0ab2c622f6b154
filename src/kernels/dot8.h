/* dot8.h: matrix products of weights in blocks with activations rounded to 8 bits.
 *
 * An input row is cut into blocks of 32 whose elements share a scale; the product of a block is a
 * sum of small integers, which is exact, and one fused multiply-add brings it into the output:
 *
 *   y += (d dx) sum(q x),  and where a format has minima  y += m (dx sum(x)),
 *
 * block after block in order. So an output's bits depend neither on the instruction set, nor on how
 * many rows are computed together, nor on threads.
 *
 * Weights are packed first: 16 rows (outputs) side by side, so that a vector register holds the
 * same inputs of as many rows as it has lanes, and no sum across lanes is ever needed. The packed
 * form has the numbers and scales of the file, a few percent more bytes where scales are taken out
 * of their six bits. */
#ifndef RK_KERNELS_DOT8_H
#define RK_KERNELS_DOT8_H

#include "base/dtype.h"
#include "base/error.h"

enum { RK_DOT8_ROWS = 16, RK_X8_BLOCK = 32 };

/* 32 inputs of one row. */
typedef struct rk_x8 {
    int8_t q[RK_X8_BLOCK];
    float d;       /* x is d q; NaN when an x is not finite, the q are then 0 */
    float sum;     /* d times the sum of q */
    int32_t total; /* of the q */
    int32_t first; /* the same of the first 16 */
} rk_x8;

/* A matrix of n outputs by k inputs, packed. */
typedef struct rk_dot8_matrix {
    rk_dtype dtype;
    int64_t n, k;
    const unsigned char *data; /* aligned to 64: groups of 16 rows, rk_dot8_group_bytes each */
    bool columns;              /* the same numbers in another order: see below */
} rk_dot8_matrix;

/* Is there a packed form of this type? */
bool rk_dot8_has(rk_dtype t);
size_t rk_dot8_group_bytes(rk_dtype t, int64_t k); /* of a matrix that is not in columns */
size_t rk_dot8_bytes(const rk_dot8_matrix *w);     /* of all groups */
static inline int64_t rk_dot8_groups(int64_t n)
{
    return (n + RK_DOT8_ROWS - 1) / RK_DOT8_ROWS;
}
/* What can be packed by itself: groups, or in columns blocks of inputs. Pieces [lo, hi) of `rows`
 * (n, k), as they lie in a file, to packed, where all of w begins. */
int64_t rk_dot8_pieces(const rk_dot8_matrix *w);
void rk_dot8_pack(const rk_dot8_matrix *w, const void *rows, int64_t lo, int64_t hi,
                  unsigned char *packed);
/* Blocks of an input row of k elements: those behind the end are zero. */
int64_t rk_x8_blocks(rk_dtype t, int64_t k);

/* ---- columns: for inputs of which many are zero ----
 *
 * A relu leaves most inputs of the matrix behind it exactly zero, and a weight that meets a zero
 * need not be read. In columns the weights of an input lie side by side, for some hundred outputs,
 * and only those of inputs that are not zero are read. The integer sums lack nothing but zeros, so
 * the bits are those of the other form. */

/* Is there such a form of a matrix? Its outputs must be a multiple of 64, or of 128 in 4 bits, its
 * inputs of 64 or 256. */
bool rk_dot8_has_columns(rk_dtype t, int64_t n, int64_t k);
/* The outputs, a divisor of all, that one call of columns() should compute. */
int64_t rk_dot8_outputs_at_once(const rk_dot8_matrix *w, int n_threads);

/* What is left of a rounded row when its zeros are gathered out, for matrices of one form. */
typedef struct rk_x8_left {
    int32_t n; /* inputs, a multiple of 4: zeros fill up */
    int32_t total;
    float d, sum;
} rk_x8_left; /* of a block */
typedef struct rk_x8_sparse {
    rk_x8_left *blocks; /* (k / 32) */
    int32_t *offset; /* of each input's line in a tile of the matrix; some more follow the last */
    int8_t *q;       /* the inputs */
} rk_x8_sparse;
/* Gather one row, whose blocks lie `stride` apart, into memory of rk_x8_sparse_bytes(k), aligned to
 * 4. */
size_t rk_x8_sparse_bytes(int64_t k);
rk_x8_sparse rk_x8_gather(const rk_dot8_matrix *w, const rk_x8 *x, int64_t stride, void *memory);

/* Some groups of a matrix: n of them, the first one and each `step`-th after it. */
typedef struct rk_dot8_some {
    int64_t first, step, n;
} rk_dot8_some;

/* The loops of one instruction set. */
typedef struct rk_dot8_kernels {
    const char *name;
    /* Rows of x that are computed together: block b of row r lies at (r / tile * blocks + b) * tile
     * + r % tile of the rounded inputs. A single row has tiles of one. */
    int64_t tile;
    /* Round one row of k elements to `blocks` blocks, `stride` apart. */
    void (*round)(int64_t k, const float *x, int64_t blocks, rk_x8 *out, int64_t stride);
    /* y[row][j] (+)= x . w_j for `rows` rows of rounded x and the outputs of some groups. A single
     * row passes four of them together, as fast as memory delivers: faster when they lie apart, and
     * the next call's go on where these end. scratch, for more rows: rk_dot8_scratch(k) bytes,
     * aligned to 64. */
    void (*product)(const rk_dot8_matrix *w, rk_dot8_some groups, const rk_x8 *x, int64_t rows,
                    float *y, int64_t ldy, bool accumulate, void *scratch);
    /* The same of a matrix in columns for few rows of gathered x, one behind the other, and a
     * multiple of rk_dot8_outputs_at_once outputs: reads what they need. */
    void (*columns)(const rk_dot8_matrix *w, int64_t g0, int64_t g1, const rk_x8_sparse *x,
                    int64_t rows, float *y, int64_t ldy, bool accumulate);
} rk_dot8_kernels;

/* Bytes that rounded inputs take, and those of a thread's scratch. */
size_t rk_x8_bytes(const rk_dot8_kernels *kern, rk_dtype t, int64_t rows, int64_t k);
size_t rk_dot8_scratch(int64_t k);

/* The best of this CPU. All have the same bits, so there is nothing to choose. */
const rk_dot8_kernels *rk_dot8_best(void);
/* The i-th that this CPU runs, NULL past the end; 0 is the reference. For tests. */
const rk_dot8_kernels *rk_dot8_at(int i);

#endif
