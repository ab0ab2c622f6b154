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

rk_tensor *rk_rwkv4_decay(rk_ctx *ctx, rk_tensor *decay, int64_t batch)
{
    return rk_scale(ctx, rk_unary_op(ctx, RK_EXP, rk_for_each_row(ctx, decay, batch)), -1.0);
}

rk_wkv4_in rk_rwkv4_recurrence(rk_ctx *ctx, const rk_rwkv4_time_mix *p, rk_tensor *k, rk_tensor *v,
                               const rk_rwkv4_state *s)
{
    return (rk_wkv4_in){.k = k,
                        .v = v,
                        .w = rk_rwkv4_decay(ctx, p->time_decay, k ? k->dims[0] : 1),
                        .u = p->time_first,
                        .state = join_state(ctx, s)};
}

void rk_rwkv4_take_state(rk_ctx *ctx, rk_tensor *state, rk_rwkv4_state *s)
{
    s->aa = part(ctx, state, 0);
    s->bb = part(ctx, state, 1);
    s->pp = part(ctx, state, 2);
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
    const rk_wkv4_in in = rk_rwkv4_recurrence(ctx, p, q[1], q[2], s);
    rk_tensor *state = NULL, *y = rk_wkv4(ctx, &in, &state);
    rk_rwkv4_take_state(ctx, state, s);
    return rk_linear(ctx, rk_mul(ctx, q[0], y), p->output, residual);
}
