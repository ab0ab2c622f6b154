/* rwkv7.c: time mix and channel mix of RWKV-7 (arXiv 2503.14456; BlinkDL/RWKV-LM, RWKV-v7).
 *
 * The time mix is written in three ops beside its matrix products (ops.h: prepare, wkv7, output),
 * which hold the equations. v_first is the first layer's value of the same token and no part of the
 * state. Where paper and code differ (order of the value residual), this follows the code. */
#include "nn/rwkv7.h"

rk_tensor *rk_low_rank(rk_ctx *ctx, rk_tensor *x, rk_tensor *down, rk_low_rank_inner inner,
                       rk_tensor *up)
{
    rk_tensor *h = rk_linear(ctx, x, down, RK_IN_OUT, NULL);
    if (inner != RK_LOW_RANK_PLAIN)
        h = rk_unary_op(ctx, inner == RK_LOW_RANK_TANH ? RK_TANH : RK_SIGMOID, h);
    return rk_linear(ctx, h, up, RK_IN_OUT, NULL);
}

/* (B, T, C) as (B, T, H, N), sizes as r_k (H, N) has them. */
static rk_tensor *heads(rk_ctx *ctx, const rk_rwkv7_time_mix *p, rk_tensor *x)
{
    if (!x)
        return NULL;
    const int64_t dims[] = {x->dims[0], x->dims[1], p->r_k->dims[0], p->r_k->dims[1]};
    return rk_view(ctx, x, 4, dims);
}

rk_tensor *rk_rwkv7_time_mix_forward(rk_ctx *ctx, const rk_rwkv7_time_mix *p, rk_tensor *x,
                                     rk_tensor *residual, double eps, rk_rwkv7_time_mix_io *io)
{
    enum { XR, XW, XK, XV, XA, XG, N_MIX };
    rk_tensor *const mu[N_MIX] = {p->x_r, p->x_w, p->x_k, p->x_v, p->x_a, p->x_g};
    rk_tensor *mixed = rk_shift_mix(ctx, x, io->shift, mu, N_MIX, &io->shift), *in[N_MIX];
    for (int q = 0; q < N_MIX; q++)
        in[q] = rk_index(ctx, mixed, q);

    rk_tensor *r = heads(ctx, p, rk_linear(ctx, in[XR], p->receptance, RK_OUT_IN, NULL));
    rk_tensor *w = heads(ctx, p, rk_low_rank(ctx, in[XW], p->w1, RK_LOW_RANK_TANH, p->w2));
    rk_tensor *k = heads(ctx, p, rk_linear(ctx, in[XK], p->key, RK_OUT_IN, NULL));
    rk_tensor *v = heads(ctx, p, rk_linear(ctx, in[XV], p->value, RK_OUT_IN, NULL));
    rk_tensor *a = heads(ctx, p, rk_low_rank(ctx, in[XA], p->a1, RK_LOW_RANK_PLAIN, p->a2));
    rk_tensor *g = heads(ctx, p, rk_low_rank(ctx, in[XG], p->g1, RK_LOW_RANK_SIGMOID, p->g2));
    rk_tensor *vl = NULL;
    if (io->v_first)
        vl = heads(ctx, p, rk_low_rank(ctx, in[XV], p->v1, RK_LOW_RANK_PLAIN, p->v2));
    const rk_rwkv7_prepare_in raw = {.w0 = p->w0,
                                     .a0 = p->a0,
                                     .v0 = p->v0,
                                     .k_k = p->k_k,
                                     .k_a = p->k_a,
                                     .wl = w,
                                     .al = a,
                                     .vl = vl,
                                     .k = k,
                                     .v = v,
                                     .v_first = io->v_first};
    const rk_rwkv7_prepare_out q = rk_rwkv7_prepare_op(ctx, &raw);
    if (!io->v_first)
        io->v_first = v;

    const rk_wkv7_in wkv = {r, q.w, q.k, q.v, q.a, q.b, io->wkv};
    rk_tensor *y = rk_wkv7(ctx, &wkv, &io->wkv);
    const rk_rwkv7_output_in out = {y, r, q.k, q.v, g, p->r_k, p->ln_x_w, p->ln_x_b, eps};
    rk_tensor *z = rk_rwkv7_output_op(ctx, &out);
    return z ? rk_linear(ctx, rk_view(ctx, z, 3, x->dims), p->output, RK_OUT_IN, residual) : NULL;
}

/* s0 + x s1 M s2. */
static rk_tensor *deep_embed(rk_ctx *ctx, const rk_rwkv7_channel_mix *p, rk_tensor *ids,
                             rk_tensor *emb, rk_tensor *x)
{
    rk_tensor *m = rk_linear(ctx, emb, p->s_emb_x, RK_OUT_IN, rk_embedding(ctx, p->s_emb, ids));
    rk_tensor *q = rk_row_matmul(ctx, rk_linear(ctx, x, p->s1, RK_IN_OUT, NULL), m);
    return rk_add(ctx, rk_linear(ctx, q, p->s2, RK_IN_OUT, NULL), p->s0);
}

rk_tensor *rk_rwkv7_channel_mix_forward(rk_ctx *ctx, const rk_rwkv7_channel_mix *p, rk_tensor *ids,
                                        rk_tensor *emb, rk_tensor *x, rk_tensor *residual,
                                        rk_tensor **shift)
{
    rk_tensor *mixed = rk_shift_mix(ctx, x, *shift, &p->x_k, 1, shift);
    rk_tensor *k = rk_linear(ctx, rk_index(ctx, mixed, 0), p->key, RK_OUT_IN, NULL);
    k = rk_unary_op(ctx, RK_RELU2, k);
    if (p->s_emb)
        k = rk_mul(ctx, k, deep_embed(ctx, p, ids, emb, x));
    return rk_linear(ctx, k, p->value, RK_OUT_IN, residual);
}
