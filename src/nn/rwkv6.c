/* rwkv6.c: the time mixes of RWKV-5 and -6, which have one recurrence (arXiv 2404.05892;
 * BlinkDL/RWKV-LM, RWKV-v5). The training code divides the recurrence's output by 8 before a norm
 * with eps 1e-5; here eps is 64 times that instead, which is the same. */
#include "nn/rwkv4.h"

/* (B, T, C) as (B, T, H, N). */
static rk_tensor *heads(rk_ctx *ctx, rk_rwkv5_sizes s, rk_tensor *x)
{
    if (rk_ctx_failed(ctx))
        return NULL;
    const int64_t dims[] = {x->dims[0], x->dims[1], s.n_head, s.head_size};
    return rk_view(ctx, x, 4, dims);
}

/* e^-e^x */
static rk_tensor *decay_of(rk_ctx *ctx, rk_tensor *x)
{
    return rk_unary_op(ctx, RK_EXP, rk_scale(ctx, rk_unary_op(ctx, RK_EXP, x), -1.0));
}

/* residual + W_o (groupnorm(y) * g); g NULL: no gate. */
static rk_tensor *output(rk_ctx *ctx, rk_rwkv5_sizes s, rk_tensor *y, rk_tensor *ln_w,
                         rk_tensor *ln_b, rk_tensor *g, rk_weight w, rk_tensor *residual)
{
    if (rk_ctx_failed(ctx))
        return NULL;
    const int64_t dims[] = {y->dims[0], y->dims[1], s.n_head * s.head_size};
    rk_tensor *z = rk_norm(ctx, rk_view(ctx, y, 3, dims), ln_w, ln_b, s.n_head, s.ln_x_eps);
    if (g)
        z = rk_mul(ctx, z, g);
    return rk_linear(ctx, z, w, residual);
}

/* ---- RWKV-5 ---- */

/* (B, H) or (B, H N) as (B, H, N). */
static rk_tensor *per_channel(rk_ctx *ctx, rk_rwkv5_sizes s, rk_tensor *x)
{
    if (rk_ctx_failed(ctx))
        return NULL;
    const int64_t batch = x->dims[0], all[] = {batch, s.n_head, s.head_size};
    if (x->dims[1] == s.n_head * s.head_size)
        return rk_view(ctx, x, 3, all);
    const int64_t column[] = {batch, s.n_head, 1}, row[] = {batch, 1, s.head_size};
    rk_tensor *zeros = rk_new_zeros(ctx, x->dtype, 3, row);
    /* e^0 is 1 everywhere. */
    return rk_matmul(ctx, rk_view(ctx, x, 3, column), rk_unary_op(ctx, RK_EXP, zeros));
}

rk_tensor *rk_rwkv5_time_mix_forward(rk_ctx *ctx, const rk_rwkv5_time_mix *p, rk_rwkv5_sizes sizes,
                                     rk_tensor *x, rk_tensor *residual, rk_tensor **shift,
                                     rk_tensor **wkv)
{
    const bool gated = rk_weight_is_there(&p->gate);
    rk_tensor *prev = rk_previous_rows(ctx, x, shift), *q[4] = {NULL};
    rk_tensor *xk = rk_mix_rows(ctx, RK_MIX_CURRENT, x, prev, p->time_mix_k);
    rk_tensor *xv = rk_mix_rows(ctx, RK_MIX_CURRENT, x, prev, p->time_mix_v);
    rk_tensor *xr = rk_mix_rows(ctx, RK_MIX_CURRENT, x, prev, p->time_mix_r);
    rk_tensor *xg = gated ? rk_mix_rows(ctx, RK_MIX_CURRENT, x, prev, p->time_mix_g) : NULL;
    const rk_linears_in reads[] = {{xr, p->receptance, RK_UNARY_NONE},
                                   {xk, p->key, RK_UNARY_NONE},
                                   {xv, p->value, RK_UNARY_NONE},
                                   {xg, p->gate, RK_SILU}};
    rk_linears(ctx, reads, gated ? 4 : 3, q);
    rk_wkv6_in in = {
        .r = heads(ctx, sizes, q[0]),
        .k = heads(ctx, sizes, q[1]),
        .v = heads(ctx, sizes, q[2]),
        .state = *wkv,
    };
    if (rk_ctx_failed(ctx))
        return NULL;
    rk_tensor *u = rk_for_each_row(ctx, p->time_faaaa ? p->time_faaaa : p->time_first, x->dims[0]);
    rk_tensor *decay = rk_for_each_row(ctx, p->time_decay, x->dims[0]);
    in.u = per_channel(ctx, sizes, p->time_faaaa ? u : rk_unary_op(ctx, RK_EXP, u));
    in.d = per_channel(ctx, sizes, decay_of(ctx, decay));
    rk_tensor *y = rk_wkv6(ctx, &in, wkv);
    return output(ctx, sizes, y, p->ln_x_w, p->ln_x_b, q[3], p->output, residual);
}

/* ---- RWKV-6 ---- */

enum { MIX_W, MIX_K, MIX_V, MIX_R, MIX_G, N_MIX };

/* x + (prev - x) (maa_i + tanh(z w1)_i w2_i) for the five mixes, z = x + (prev - x) maa_x. */
static void mixes(rk_ctx *ctx, const rk_rwkv6_time_mix *p, rk_tensor *x, rk_tensor *prev,
                  rk_tensor **out)
{
    rk_tensor *const base[N_MIX] = {p->maa_w, p->maa_k, p->maa_v, p->maa_r, p->maa_g};
    rk_tensor *z = rk_mix_rows(ctx, RK_MIX_PREVIOUS, x, prev, p->maa_x);
    rk_tensor *m = rk_unary_op(ctx, RK_TANH, rk_linear(ctx, z, p->maa_w1, NULL));
    const int64_t rank = p->maa_w2->dims[1], width = p->maa_w2->dims[2];
    for (int i = 0; i < N_MIX && !rk_ctx_failed(ctx); i++) {
        rk_tensor *part = rk_copy(ctx, rk_slice(ctx, m, 2, i * rank, (i + 1) * rank));
        rk_tensor *w =
            rk_linear(ctx, part, rk_weight_of(rk_index(ctx, p->maa_w2, i), RK_IN_OUT), NULL);
        w = rk_add(ctx, w, rk_view(ctx, base[i], 1, &width));
        out[i] = rk_lerp(ctx, x, prev, w);
    }
}

rk_tensor *rk_rwkv6_time_mix_forward(rk_ctx *ctx, const rk_rwkv6_time_mix *p, rk_rwkv5_sizes sizes,
                                     rk_tensor *x, rk_tensor *residual, rk_tensor **shift,
                                     rk_tensor **wkv)
{
    rk_tensor *prev = rk_previous_rows(ctx, x, shift), *in[N_MIX] = {NULL};
    mixes(ctx, p, x, prev, in);
    if (rk_ctx_failed(ctx))
        return NULL;
    enum { W, R, K, V, G, N_READS };
    const int64_t width = rk_tensor_count(p->decay);
    const rk_linears_in reads[N_READS] = {[W] = {in[MIX_W], p->decay_w1, RK_TANH},
                                          [R] = {in[MIX_R], p->receptance, RK_UNARY_NONE},
                                          [K] = {in[MIX_K], p->key, RK_UNARY_NONE},
                                          [V] = {in[MIX_V], p->value, RK_UNARY_NONE},
                                          [G] = {in[MIX_G], p->gate, RK_SILU}};
    rk_tensor *read[N_READS] = {NULL};
    rk_linears(ctx, reads, N_READS, read);
    rk_tensor *omega = rk_linear(ctx, read[W], p->decay_w2, NULL);
    omega = rk_add(ctx, omega, rk_view(ctx, p->decay, 1, &width));
    const rk_wkv6_in q = {
        .r = heads(ctx, sizes, read[R]),
        .k = heads(ctx, sizes, read[K]),
        .v = heads(ctx, sizes, read[V]),
        .d = heads(ctx, sizes, decay_of(ctx, omega)),
        .u = p->faaaa,
        .state = *wkv,
    };
    rk_tensor *y = rk_wkv6(ctx, &q, wkv);
    return output(ctx, sizes, y, p->ln_x_w, p->ln_x_b, read[G], p->output, residual);
}
