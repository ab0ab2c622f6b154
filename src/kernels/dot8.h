/* dot8.h: products of quantised weights with activations rounded to 8 bits.
 *
 * A row of activations is cut into blocks of 32 elements that share a scale; the product of a block
 * with a block of weights is a sum of small integers, which is exact, and one fused multiply-add
 * brings it into the output:
 *
 *   y += (d dx) sum(q x),  and where a format has minima  y += m (dx sum(x)),
 *
 * where q and d are a block's numbers and scale, x and dx those of the activations, block after
 * block in order. So an output's bits depend neither on the instruction set, nor on how many rows
 * are computed together, nor on threads.
 *
 * Weights are packed first: 16 rows (outputs) are interleaved, so that a vector register holds the
 * same input of as many rows as it has lanes, and no sum across lanes is ever needed. The packed
 * form has the numbers and scales of the file; scales stored in 6 bits become bytes, which adds a
 * few percent. */
#ifndef RK_KERNELS_DOT8_H
#define RK_KERNELS_DOT8_H

#include "base/dtype.h"
#include "base/error.h"

enum { RK_DOT8_ROWS = 16, RK_X8_BLOCK = 32 };

/* A block of 32 activations of one row, rounded to 8 bits. */
typedef struct rk_x8 {
    int8_t q[RK_X8_BLOCK];
    float d;       /* x is d q; NaN when an x is not finite, the q are then 0 */
    float sum;     /* d * total */
    int32_t total; /* sum of the q */
    int32_t first; /* sum of the first 16 q */
} rk_x8;

/* A matrix of n outputs by k inputs, packed. */
typedef struct rk_dot8_matrix {
    rk_dtype dtype;
    int64_t n, k;
    const unsigned char *data; /* aligned to 64: groups of 16 rows, rk_dot8_group_bytes each */
    bool columns;              /* packed for sparse activations: see below */
} rk_dot8_matrix;

/* Is there a packed form of this type? */
bool rk_dot8_has(rk_dtype t);
size_t rk_dot8_group_bytes(rk_dtype t, int64_t k); /* of a matrix that is not in columns */
size_t rk_dot8_bytes(const rk_dot8_matrix *w);     /* of all groups */
static inline int64_t rk_dot8_groups(int64_t n)
{
    return (n + RK_DOT8_ROWS - 1) / RK_DOT8_ROWS;
}
/* Groups can be packed independently of each other, in the columns form blocks of inputs: pieces
 * [0, rk_dot8_pieces(w)). Pack pieces [lo, hi) of `rows`, the bytes of the whole matrix (n, k) as a
 * file has them, into `packed`, the beginning of the packed matrix. */
int64_t rk_dot8_pieces(const rk_dot8_matrix *w);
void rk_dot8_pack(const rk_dot8_matrix *w, const void *rows, int64_t lo, int64_t hi,
                  unsigned char *packed);
/* Blocks of a row of k activations, padded with zeros to what the type's packing needs. */
int64_t rk_x8_blocks(rk_dtype t, int64_t k);

/* ---- columns: for activations of which many are zero ----
 *
 * relu^2 makes most inputs of ffn.value exactly zero, and a weight that is multiplied by zero need
 * not be read. In columns the weights of one input are neighbours, for some hundred outputs, and
 * only those of inputs that are not zero are read. The integer sums lack nothing but zeros, so the
 * bits are those of the other form. */

/* Does a matrix have this form? Its outputs must be a multiple of 64, or of 128 in 4 bits, its
 * inputs of 64 or 256. */
bool rk_dot8_has_columns(rk_dtype t, int64_t n, int64_t k);
/* How many outputs, a divisor of all, one call of columns() should compute. */
int64_t rk_dot8_outputs_at_once(const rk_dot8_matrix *w, int n_threads);

/* The inputs of a rounded row that are not zero, block by block, for matrices of one form. */
typedef struct rk_x8_left {
    int32_t n; /* inputs that are kept, a multiple of 4, padded with zeros */
    int32_t total;
    float d, sum;
} rk_x8_left; /* of a block */
typedef struct rk_x8_sparse {
    rk_x8_left *blocks; /* (k / 32) */
    int32_t *offset; /* (kept inputs, then padding) bytes from a tile's start to the input's line */
    int8_t *q;       /* (kept inputs) their 8-bit values */
} rk_x8_sparse;
/* Gather one row x, whose blocks lie `stride` apart, into memory of rk_x8_sparse_bytes(k), aligned
 * to 4. */
size_t rk_x8_sparse_bytes(int64_t k);
rk_x8_sparse rk_x8_gather(const rk_dot8_matrix *w, const rk_x8 *x, int64_t stride, void *memory);

/* Some groups of a matrix: n of them, from `first` on in steps of `step`. */
typedef struct rk_dot8_some {
    int64_t first, step, n;
} rk_dot8_some;

/* The loops of one instruction set. */
typedef struct rk_dot8_kernels {
    const char *name;
    /* Rows of x that are computed together, so their blocks are interleaved: block b of row r lies
     * at (r / tile * blocks + b) * tile + r % tile of the rounded inputs. A single row has tiles of
     * one. */
    int64_t tile;
    /* Round one row x (k) to `blocks` blocks, which lie `stride` apart in `out`. */
    void (*round)(int64_t k, const float *x, int64_t blocks, rk_x8 *out, int64_t stride);
    /* y[row][j] (+)= x . w_j for `rows` rows of rounded x and the outputs j of some groups; y has
     * ldy elements a row. A single row is multiplied with four groups at a time, as fast as memory
     * delivers them: faster when the four lie apart, so that the hardware prefetches four streams,
     * and the next call continues each of them. scratch, for more rows: rk_dot8_scratch(k) bytes,
     * aligned to 64. */
    void (*product)(const rk_dot8_matrix *w, rk_dot8_some groups, const rk_x8 *x, int64_t rows,
                    float *y, int64_t ldy, bool accumulate, void *scratch);
    /* The same for a matrix in columns and few rows of gathered x, one row's data behind the
     * other's; outputs of groups [g0, g1), a multiple of rk_dot8_outputs_at_once. Reads only the
     * weights of inputs that are not zero. */
    void (*columns)(const rk_dot8_matrix *w, int64_t g0, int64_t g1, const rk_x8_sparse *x,
                    int64_t rows, float *y, int64_t ldy, bool accumulate);
} rk_dot8_kernels;

/* Bytes of `rows` rounded rows, and of the scratch that each thread needs. */
size_t rk_x8_bytes(const rk_dot8_kernels *kern, rk_dtype t, int64_t rows, int64_t k);
size_t rk_dot8_scratch(int64_t k);

/* The fastest kernels of this CPU. All give the same bits, so no option chooses between them. */
const rk_dot8_kernels *rk_dot8_best(void);
/* The i-th that this CPU runs, NULL past the end; 0 is the reference. For tests. */
const rk_dot8_kernels *rk_dot8_at(int i);

#endif
