/* op.h: the op table, and how a row of it is applied, recorded and run backwards.
 *
 * A row holds a name, a shape rule, a forward and a backward function. Adding an op is a row in
 * op.c, a declaration in ops.h and a file. Inside this layer only; model code calls ops.h. */
#ifndef RK_OP_H
#define RK_OP_H

#include "tensor/ctx.h"
#include "tensor/ops.h"

enum { RK_MAX_IN = 24, RK_MAX_OUT = 8 };

typedef enum rk_op_id {
    RK_OP_UNARY,
    RK_OP_ADD,
    RK_OP_MUL,
    RK_OP_LERP,
    RK_OP_SCALE,
    RK_OP_SUM,
    RK_OP_COPY,
    RK_OP_CONCAT,
    RK_OP_DROPOUT,
    RK_OP_SOFTMAX,
    RK_OP_L2NORM,
    RK_OP_NORM,
    RK_OP_EMBEDDING,
    RK_OP_LINEAR,
    RK_OP_LINEARS,
    RK_OP_MATMUL,
    RK_OP_ROW_MATMUL,
    RK_OP_CROSS_ENTROPY,
    RK_OP_SHIFT_MIX,
    RK_OP_WKV4,
    RK_OP_WKV6,
    RK_OP_WKV7,
    RK_OP_RWKV7_PREPARE,
    RK_OP_RWKV7_OUTPUT,
    RK_OP_RWKV7_HEADS,
    RK_OP_RECOMPUTE,
    RK_OP_COUNT
} rk_op_id;

struct rk_node {
    rk_op_id op;
    rk_node *prev; /* the node recorded before */
    int n_in, n_out;
    rk_tensor *in[RK_MAX_IN]; /* NULL where an input is optional and absent */
    rk_tensor *out[RK_MAX_OUT];
    rk_tensor *heir; /* NULL, or the input whose gradient is, among other terms, that of out[0]:
                      * it may take over its memory */
    void *saved;     /* saved_bytes that forward keeps for backward; NULL when not recording */
    void *scratch;   /* during forward and backward only */
    size_t saved_bytes, scratch_bytes, scratch_bwd_bytes; /* asked for by the shape rule */
    union {
        rk_unary unary;
        int dim;
        double factor;
        struct {
            double p;
            uint64_t index;
        } dropout;
        struct {
            int64_t groups;
            double eps;
        } norm;
        rk_layout layout;
        struct {
            rk_layout layout[RK_LINEARS_MAX];
            rk_unary after[RK_LINEARS_MAX];
        } linears;
        struct {
            double l2wrap, seed;
            bool announced; /* forward computes the gradients, for this seed */
        } loss;
        struct {
            rk_segment_fn *fn;
            void *user;
        } recompute;
    } attr;
};

typedef struct rk_op {
    const char *name;
    /* Check the inputs (rk_ctx_fail with a sentence), make the outputs with rk_new, fill in the
     * bytes of saved and scratch. */
    void (*shape)(rk_ctx *ctx, rk_node *n);
    void (*forward)(rk_ctx *ctx, rk_node *n);
    /* Add to the gradients (rk_grad) of those inputs that need one. */
    void (*backward)(rk_ctx *ctx, rk_node *n);
} rk_op;

extern const rk_op rk_ops[RK_OP_COUNT];

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

/* A product that is computed output by output (op_linears.c): y (+)= after(x w). */
typedef struct rk_product {
    const rk_tensor *x, *w;
    rk_tensor *y;
    int64_t rows, in, out;
    bool accumulate;
    bool dots;      /* a row of w in memory holds the inputs of one output */
    rk_unary after; /* or RK_UNARY_NONE */
} rk_product;
/* Are the inputs rounded to 8 bits? */
bool rk_product_is_8bit(const rk_ctx *ctx, const rk_tensor *x, const rk_tensor *w);
/* n <= RK_LINEARS_MAX of them in one parallel region, with this much scratch. */
size_t rk_products_scratch(const rk_ctx *ctx, const rk_product *p, int n);
void rk_products_run(rk_ctx *ctx, const rk_product *p, int n, void *scratch);

/* Part i of `parts` equal ones of each row of a state (B, ...), i counted over all rows: where it
 * is, with what came before copied there unless it is that already. */
void *rk_state_part(const rk_tensor *before, const rk_tensor *after, int64_t parts, int64_t i);

/* The gradient of an input as pieces of rows write it: those that come first clear their own part
 * before a kernel adds to it, while it lies in the cache. */
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

/* What rows are made of; add and mul, softmax and l2norm are one family each. */
#define RK_OP_FAMILY(name)                                                                         \
    void rk_##name##_shape(rk_ctx *ctx, rk_node *n);                                               \
    void rk_##name##_forward(rk_ctx *ctx, rk_node *n);                                             \
    void rk_##name##_backward(rk_ctx *ctx, rk_node *n)
RK_OP_FAMILY(unary);
RK_OP_FAMILY(binary);
RK_OP_FAMILY(lerp);
RK_OP_FAMILY(scale);
RK_OP_FAMILY(sum);
RK_OP_FAMILY(copy);
RK_OP_FAMILY(concat);
RK_OP_FAMILY(dropout);
RK_OP_FAMILY(rowwise);
RK_OP_FAMILY(norm);
RK_OP_FAMILY(embedding);
RK_OP_FAMILY(linear);
RK_OP_FAMILY(linears);
RK_OP_FAMILY(matmul);
RK_OP_FAMILY(row_matmul);
RK_OP_FAMILY(cross_entropy);
RK_OP_FAMILY(shift_mix);
RK_OP_FAMILY(wkv4);
RK_OP_FAMILY(wkv6);
RK_OP_FAMILY(wkv7);
RK_OP_FAMILY(rwkv7_prepare);
RK_OP_FAMILY(rwkv7_output);
RK_OP_FAMILY(rwkv7_heads);
RK_OP_FAMILY(recompute);
#undef RK_OP_FAMILY

#endif
