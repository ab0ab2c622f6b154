/* rwkv4.c: the time mix of RWKV-4. */
#include "nn/rwkv4.h"

/* (B, 3, C) of the three parts of a state. */
static rk_tensor *join_state(rk_ctx *ctx, const rk_rwkv4_state *s)
{
    if (rk_ctx_failed(ctx))
        return NULL;
    const int64_t one[] = {s->aa->dims[0], 1, s->aa->dims[1]};
    rk_tensor *const parts[] = {rk_view(ctx, s->aa, 3, one), rk_view(ctx, s->bb, 3, one),
                                rk_view(ctx, s->pp, 3, one)};
    return rk_concat(ctx, parts, 3, 1);
}

static rk_tensor *part(rk_ctx *ctx, rk_tensor *state, int64_t i)
{
    return rk_copy(ctx, rk_index(ctx, rk_transpose(ctx, state, 0, 1), i));
}

rk_tensor *rk_rwkv4_time_mix_forward(rk_ctx *ctx, const rk_rwkv4_time_mix *p, rk_tensor *x,
                                     rk_tensor *residual, rk_rwkv4_state *s)
{
    rk_tensor *prev = rk_previous_rows(ctx, x, &s->shift);
    rk_tensor *xk = rk_mix_rows(ctx, RK_MIX_CURRENT, x, prev, p->time_mix_k);
    rk_tensor *xv = rk_mix_rows(ctx, RK_MIX_CURRENT, x, prev, p->time_mix_v);
    rk_tensor *xr = rk_mix_rows(ctx, RK_MIX_CURRENT, x, prev, p->time_mix_r);
    const rk_linears_in reads[] = {{xr, p->receptance, RK_SIGMOID},
                                   {xk, p->key, RK_UNARY_NONE},
                                   {xv, p->value, RK_UNARY_NONE}};
    rk_tensor *q[3];
    rk_linears(ctx, reads, 3, q);
    rk_tensor *decay = rk_for_each_row(ctx, p->time_decay, x ? x->dims[0] : 1);
    const rk_wkv4_in in = {
        .k = q[1],
        .v = q[2],
        .w = rk_scale(ctx, rk_unary_op(ctx, RK_EXP, decay), -1.0),
        .u = p->time_first,
        .state = join_state(ctx, s),
    };
    rk_tensor *state = NULL, *y = rk_wkv4(ctx, &in, &state);
    s->aa = part(ctx, state, 0);
    s->bb = part(ctx, state, 1);
    s->pp = part(ctx, state, 2);
    return rk_linear(ctx, rk_mul(ctx, q[0], y), p->output, residual);
}
