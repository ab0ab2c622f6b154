/* op_cases.h: every operation on inputs of odd sizes. The tests of tensor/ and `rwkv selftest` are
 * questions asked of all rows.
 *
 * A row names its op, lists its inputs and builds outputs from them. A run makes the inputs, builds
 * the outputs, reduces them to one number and goes back. The number, called the loss here, is the
 * sum over all outputs of each element times a constant of its own. Inputs are functions of (seed,
 * input, element), so runs of two types compute the same function of the same numbers. */
#ifndef RK_OP_CASES_H
#define RK_OP_CASES_H

#include "tensor/op.h"

enum { RK_CASE_IN = 20, RK_CASE_OUT = 6 };

typedef struct rk_case_input {
    int64_t dims[RK_MAX_DIMS]; /* up to the first 0; none: no more inputs */
    double low, high;          /* reals between them, which f32 holds */
    rk_dtype stored;           /* RK_F32: the run's type. Else a weight without a gradient */
    int64_t ids_below;         /* not 0: i32 from 0 to below this */
    bool negatives;            /* every third id is -1 */
} rk_case_input;

typedef struct rk_op_case {
    const char *name;
    const rk_op *op; /* that the row is about: a recorded run has it on its tape */
    void (*build)(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out);
    int arg; /* of build: a function, a layout, a number of groups */
    rk_case_input in[RK_CASE_IN];
} rk_op_case;

/* The i-th row, NULL past the end. */
const rk_op_case *rk_op_case_at(int i);
int rk_op_case_inputs(const rk_op_case *c);
/* Can input i have a gradient? */
bool rk_op_case_is_real(const rk_op_case *c, int i);

typedef struct rk_case_options {
    rk_dtype real; /* RK_F32 or RK_F64 */
    uint64_t seed;
    bool long_class, forward_only;
    bool recompute;     /* the outputs are built by a segment that backward runs again */
    unsigned frozen;    /* bit i: input i needs no gradient */
    unsigned moved;     /* bit i: input i is moved by `step` along the direction */
    uint64_t direction; /* which of the random directions */
    double step;
} rk_case_options;

typedef struct rk_case_run {
    const rk_op_case *c;
    int n_in, n_out;
    rk_tensor *in[RK_CASE_IN], *out[RK_CASE_OUT];
    double loss;
    bool has_op; /* the row's op was recorded */
} rk_case_run;

/* Reset the context and run a row in it; a failure is in the context. Tensors live until its next
 * reset. */
void rk_op_case_run(rk_ctx *ctx, const rk_op_case *c, const rk_case_options *o, rk_case_run *r);

/* How far the gradient of the inputs `which` and central differences along a direction are apart,
 * relative to the larger of the difference and the length of the terms that add up to the slope. */
double rk_op_case_gradient_error(rk_ctx *ctx, const rk_op_case *c, uint64_t seed, unsigned which,
                                 uint64_t direction);

#endif
