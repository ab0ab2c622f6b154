/* swiglu.c: two products that read the same rows, the gate, and the product back. */
#include "nn/swiglu.h"

rk_tensor *rk_swiglu_mix_forward(rk_ctx *ctx, const rk_swiglu_mix *p, rk_tensor *x,
                                 rk_tensor *residual)
{
    const rk_linears_in in[] = {{x, p->gate, RK_UNARY_NONE}, {x, p->up, RK_UNARY_NONE}};
    rk_tensor *out[2] = {NULL};
    rk_linears(ctx, in, 2, out);
    return rk_linear(ctx, rk_swiglu(ctx, out[0], out[1]), p->down, residual);
}
