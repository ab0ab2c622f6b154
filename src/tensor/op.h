/* op.h: what an operation is, and how one is applied, recorded and run backwards.
 *
 * An op is a row: a name, a shape rule, and for each backend a forward and a backward function. It
 * stands in its own file; op_list.h lists them all. Inside this layer only; model code calls ops.h.
 * A row that is not listed can be applied as well: rk_apply asks the node for it. */
#ifndef RK_OP_H
#define RK_OP_H

#include "tensor/ctx.h"
#include "tensor/op_list.h"
#include "tensor/ops.h"

enum { RK_MAX_IN = 48, RK_MAX_OUT = 16 }; /* those of RK_LINEARS_MAX products */

typedef struct rk_op rk_op;

struct rk_node {
    const rk_op *op;
    rk_node *prev; /* the node recorded before */
    int n_in, n_out;
    rk_tensor *in[RK_MAX_IN]; /* NULL where an input is optional and absent */
    rk_tensor *out[RK_MAX_OUT];
    rk_tensor *begins; /* the context's when the node was recorded (rk_ctx.begins) */
    rk_tensor *heir;   /* NULL, or an input that is added to out[0]: its gradient may begin in the
                      * memory of out[0]'s */
    void *saved;       /* saved_bytes that forward keeps for backward; NULL when not recording */
    void *scratch;     /* during forward and backward only */
    size_t saved_bytes, scratch_bytes, scratch_bwd_bytes; /* asked for by the shape rule */
    /* What the op is told beside its inputs, a type of its own file: lives while rk_apply runs, and
     * is copied where the node goes on the tape. */
    const void *attr;
};

/* What one backend does of an op. */
typedef struct rk_op_on {
    void (*forward)(rk_ctx *ctx, rk_node *n);
    /* Add to the gradients (rk_grad) of those inputs that need one. NULL: never recorded. */
    void (*backward)(rk_ctx *ctx, rk_node *n);
} rk_op_on;

struct rk_op {
    const char *name;
    /* Check the inputs (rk_ctx_fail with a sentence), make the outputs with rk_new, fill in the
     * bytes of saved and scratch. Reads shapes and types, and no data: a plan has none. */
    void (*shape)(rk_ctx *ctx, rk_node *n);
    rk_op_on on[RK_N_BACKENDS];
    size_t attr_bytes; /* size of the type that a node's attr points to */
    bool is_segment;   /* made of other ops: run by plans too, and recorded whatever its inputs */
};

/* The rows of op_list.h: rk_op_unary, rk_op_add ... */
#define RK_DECLARE_OP(name) extern const rk_op rk_op_##name;
RK_OP_LIST(RK_DECLARE_OP)
#undef RK_DECLARE_OP
/* The i-th of them, NULL past the end. */
const rk_op *rk_op_at(int i);

/* Shape rule, memory, forward, tape. False after a failure. */
bool rk_apply(rk_ctx *ctx, rk_node *n);
/* As rk_apply, for ops of one output. */
rk_tensor *rk_apply1(rk_ctx *ctx, rk_node *n);

/* Fail with the op's name, its first two inputs and what was expected of them. */
void rk_unexpected(rk_ctx *ctx, const rk_node *n, const char *expected);
/* Shape-rule helper: that, unless ok, which is returned. Inline, for analysers to see it. */
static inline bool rk_expect(rk_ctx *ctx, const rk_node *n, bool ok, const char *expected)
{
    if (!ok)
        rk_unexpected(ctx, n, expected);
    return ok;
}
/* Every input that is present is contiguous and of the real type of the first one. */
bool rk_expect_plain(rk_ctx *ctx, const rk_node *n);
/* What a weight may be beside f32 activations. */
static inline bool rk_is_float(rk_dtype t)
{
    return t == RK_F32 || t == RK_BF16 || t == RK_F16;
}
/* Bytes of n reals of t's dtype. */
static inline size_t rk_reals(const rk_tensor *t, int64_t n)
{
    return (size_t)n * rk_dtype_bytes(t->dtype);
}
/* Address of element i of contiguous memory of t's dtype; NULL stays NULL. */
static inline void *rk_at(const rk_tensor *t, const void *data, int64_t i)
{
    return data ? (unsigned char *)data + (size_t)i * rk_dtype_bytes(t->dtype) : NULL;
}

/* A matrix that lies transposed in its file is a view with exchanged strides. */
static inline bool rk_is_transposed(const rk_tensor *w)
{
    return w->strides[0] == 1 && w->strides[1] == w->dims[0] && w->dims[0] > 1;
}

/* A product as it is computed: y (+)= x w, and a function of that. */
typedef struct rk_product {
    const rk_tensor *x, *w;
    rk_tensor *y;
    int64_t rows, in, out;
    bool accumulate;
    bool dots;        /* a row of w in memory holds the inputs of one output */
    rk_unary after;   /* y is that of the product; RK_UNARY_NONE: the product itself */
    void *before;     /* (rows, out): where the product is kept, for backward; NULL: nowhere */
    int joins, reads; /* as in rk_linear_attr */
} rk_product;

/* by_output.c. Are the inputs rounded to 8 bits? */
bool rk_product_is_8bit(const rk_ctx *ctx, const rk_tensor *x, const rk_tensor *w);
/* n <= RK_LINEARS_MAX of them, computed output by output in one parallel region, with this much
 * scratch. */
size_t rk_products_scratch(const rk_ctx *ctx, const rk_product *p, int n);
void rk_products_run(rk_ctx *ctx, const rk_product *p, int n, void *scratch);

/* Each row of a state (B, ...) consists of `parts` equal parts, such as heads. Where part i of all
 * B * parts is after this step; what it was before is copied there unless it lies there already. */
void *rk_state_place(const rk_tensor *before, const rk_tensor *after, int64_t parts, int64_t i);

/* The gradient of an input that tasks of some rows each add to. Where nothing was added to it yet, a
 * task clears its rows just before its kernel adds to them, which keeps them in the cache. */
typedef struct rk_grad_rows {
    void *data;
    size_t row_bytes;
    bool fresh;
} rk_grad_rows;
/* That of t, which may be NULL, or `spare` memory in its place. */
rk_grad_rows rk_grad_rows_of(rk_ctx *ctx, rk_tensor *t, int64_t rows, void *spare);
/* Rows [lo, hi), ready to be added to; NULL stays NULL. */
void *rk_grad_rows_at(const rk_grad_rows *g, int64_t lo, int64_t hi);

/* The gradient of t, or `spare` memory for kernels that write all gradients whether needed or not.
 */
static inline void *rk_grad_or(rk_ctx *ctx, rk_tensor *t, void *spare)
{
    void *grad = rk_grad(ctx, t);
    return grad ? grad : spare;
}

enum {
    RK_GRAIN_ROWS = 16,  /* rows of a task in row-wise ops */
    RK_GRAIN_COLS = 64,  /* channels of a task in sums over rows */
    RK_GRAIN_FLAT = 8192 /* elements of a task in element-wise ops */
};

#endif
