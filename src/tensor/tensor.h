/* tensor.h: an array with a type and a shape, and the views that share its storage. */
#ifndef RK_TENSOR_H
#define RK_TENSOR_H

#include "base/dtype.h"
#include "base/error.h"
#include "kernels/dot8.h"

enum { RK_MAX_DIMS = 5 };

/* Where the states of several streams lie, each in memory of its owner: stream b's is read at
 * from[b] + offset, and its next one is written to to[b] + offset, which may be the same. */
typedef struct rk_streams {
    float *const *from, *const *to; /* NULL while planning */
    int64_t offset;
} rk_streams;

/* Where a state lies that grows by rows: in pages of RK_PAGE_ROWS, each stream's its own. A row is of heads,
 * and in a page the rows of a head follow one another: who reads a head reads in order. */
enum { RK_PAGE_ROWS = 64 };
typedef struct rk_growing {
    unsigned char *const *const *pages; /* of each stream; NULL while planning */
    const int64_t *n_before;            /* rows of each stream before those that are added */
    size_t offset;                      /* of the first row in a page */
    size_t row_bytes, head_bytes;       /* from row to row of a head, from head to head */
    rk_dtype type; /* of the elements as they lie there; the tensor itself is f32 */
} rk_growing;

/* Row-major, PyTorch order. A view has the root tensor in `base` and shares its data and gradient;
 * transposing and slicing make views whose strides are not those of a contiguous tensor. */
typedef struct rk_tensor {
    rk_dtype dtype;
    int n_dims;
    int64_t dims[RK_MAX_DIMS];
    int64_t strides[RK_MAX_DIMS]; /* in elements */
    void *data;                   /* NULL while planning */
    struct rk_tensor *base;       /* NULL unless a view */
    int64_t offset;               /* of a view's first element from its base's */
    bool requires_grad;
    bool has_grad;       /* grad was asked for; its memory exists unless planning */
    void *grad;          /* as data; of a root tensor only, see rk_grad */
    uint64_t grad_unset; /* parts of grad not written to yet, see rk_grad_fresh */
    const rk_streams
        *streams; /* of a state (B, ...) instead of data: only wkv6, wkv7, self_state and copy
                   * take these */
    const rk_growing *growing; /* of a state (B, T, ...) that T rows are added to, instead of data:
                                * see rk_growing_row */
    const rk_dot8_matrix *packed; /* the same matrix laid out for 8-bit activations, or NULL */
    const struct rk_ranges
        *ranges; /* of an RK_RANGED matrix (out, in) (kernels/ranges.h); else NULL */
} rk_tensor;

/* A contiguous shape over memory of the caller's. */
rk_tensor rk_tensor_over(rk_dtype dtype, int n_dims, const int64_t *dims, void *data);
int64_t rk_tensor_count(const rk_tensor *t);
size_t rk_tensor_bytes(const rk_tensor *t);
bool rk_tensor_is_contiguous(const rk_tensor *t);
bool rk_tensor_same_shape(const rk_tensor *a, const rk_tensor *b);
/* Size of the last dimension, and the product of all others. */
int64_t rk_tensor_cols(const rk_tensor *t);
int64_t rk_tensor_rows(const rk_tensor *t);
/* Does it lie with its streams, and not in memory of the context's? */
static inline bool rk_tensor_is_streams(const rk_tensor *t)
{
    return t->streams || t->growing;
}
/* Row i of head h of stream b of a growing state: one from before for i < n_before[b], and from there on what
 * is added, which whoever computes it writes there first. */
static inline void *rk_growing_row(const rk_tensor *t, int64_t b, int64_t i, int64_t h)
{
    const rk_growing *g = t->growing;
    return g->pages[b][i / RK_PAGE_ROWS] + g->offset + (size_t)h * g->head_bytes +
           (size_t)(i % RK_PAGE_ROWS) * g->row_bytes;
}
/* "f32 (2,3,4)" into buf, for messages; returns buf. */
const char *rk_tensor_describe(const rk_tensor *t, char *buf, size_t size);

#endif
