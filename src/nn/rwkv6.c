/* rwkv6.c: the time mixes of RWKV-5 and -6, which have one recurrence (arXiv 2404.05892;
 * BlinkDL/RWKV-LM, RWKV-v5). The training code divides the recurrence's output by 8 before a norm
 * with eps 1e-5; here eps is 64 times that instead, which is the same. */
#include "nn/rwkv4.h"

#include <math.h>

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

/* Which mix the parts of w1 and w2 are of: in RWKV-6, and in QRWKV6. */
static const int order6[N_MIX] = {MIX_W, MIX_K, MIX_V, MIX_R, MIX_G};
static const int order_q[N_MIX] = {MIX_R, MIX_K, MIX_V, MIX_W, MIX_G};

/* x + (prev - x) (maa_i + tanh(z w1)_i w2_i) for the five mixes, z = x + (prev - x) maa_x. */
static void mixes(rk_ctx *ctx, const rk_rwkv6_time_mix *p, const int *order, rk_tensor *x,
                  rk_tensor *prev, rk_tensor **out)
{
    rk_tensor *const base[N_MIX] = {[MIX_W] = p->maa_w,
                                    [MIX_K] = p->maa_k,
                                    [MIX_V] = p->maa_v,
                                    [MIX_R] = p->maa_r,
                                    [MIX_G] = p->maa_g};
    rk_tensor *z = rk_mix_rows(ctx, RK_MIX_PREVIOUS, x, prev, p->maa_x);
    rk_tensor *m = rk_unary_op(ctx, RK_TANH, rk_linear(ctx, z, p->maa_w1, NULL));
    const int64_t rank = p->maa_w2->dims[1], width = p->maa_w2->dims[2];
    for (int i = 0; i < N_MIX && !rk_ctx_failed(ctx); i++) {
        rk_tensor *part = rk_copy(ctx, rk_slice(ctx, m, 2, i * rank, (i + 1) * rank));
        rk_tensor *w =
            rk_linear(ctx, part, rk_weight_of(rk_index(ctx, p->maa_w2, i), RK_IN_OUT), NULL);
        w = rk_add(ctx, w, rk_view(ctx, base[order[i]], 1, &width));
        out[order[i]] = rk_lerp(ctx, x, prev, w);
    }
}

/* The products that read the mixes. Returns the decay before its two exponentials. */
enum { W, R, K, V, G, N_READS };
static rk_tensor *reads(rk_ctx *ctx, const rk_rwkv6_time_mix *p, rk_tensor *const *in,
                        rk_unary gate, rk_tensor **read)
{
    const int64_t width = rk_tensor_count(p->decay);
    const rk_linears_in all[N_READS] = {[W] = {in[MIX_W], p->decay_w1, RK_TANH},
                                        [R] = {in[MIX_R], p->receptance, RK_UNARY_NONE},
                                        [K] = {in[MIX_K], p->key, RK_UNARY_NONE},
                                        [V] = {in[MIX_V], p->value, RK_UNARY_NONE},
                                        [G] = {in[MIX_G], p->gate, gate}};
    if (rk_ctx_failed(ctx))
        return NULL;
    rk_linears(ctx, all, N_READS, read);
    rk_tensor *omega = rk_linear(ctx, read[W], p->decay_w2, NULL);
    return rk_add(ctx, omega, rk_view(ctx, p->decay, 1, &width));
}

rk_tensor *rk_rwkv6_time_mix_forward(rk_ctx *ctx, const rk_rwkv6_time_mix *p, rk_rwkv5_sizes sizes,
                                     rk_tensor *x, rk_tensor *residual, rk_tensor **shift,
                                     rk_tensor **wkv)
{
    rk_tensor *prev = rk_previous_rows(ctx, x, shift), *in[N_MIX] = {NULL};
    mixes(ctx, p, order6, x, prev, in);
    rk_tensor *read[N_READS] = {NULL};
    rk_tensor *omega = reads(ctx, p, in, RK_SILU, read);
    if (rk_ctx_failed(ctx))
        return NULL;
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

/* ---- QRWKV6 ---- */

/* A number for each of n channels. */
static rk_tensor *numbers(rk_ctx *ctx, rk_dtype real, int64_t n, double x)
{
    rk_tensor *t = rk_new_zeros(ctx, real, 1, &n);
    return x == 0.0 ? t : rk_scale(ctx, rk_unary_op(ctx, RK_EXP, t), x);
}

/* What the recurrence gives with the token itself in it: S_t^T r_t is S_(t-1)^T (w r)_t + (r . k) v, whose
 * second part is a bonus. All over the root of the head size, times the gate. */
static rk_tensor *with_itself(rk_ctx *ctx, const rk_wkv6_in *q, rk_tensor *r, rk_tensor *gate,
                              rk_tensor **wkv)
{
    rk_tensor *y = rk_wkv6(ctx, q, wkv);
    if (rk_ctx_failed(ctx))
        return NULL;
    const double scale = 1.0 / sqrt((double)r->dims[3]);
    const rk_rwkv7_output_in out = {.y = y,
                                    .r = r,
                                    .k = q->k,
                                    .v = q->v,
                                    .g = gate,
                                    .r_k = numbers(ctx, r->dtype, r->dims[2] * r->dims[3], scale),
                                    .form = {.scale = scale}};
    return rk_rwkv7_output_op(ctx, &out);
}

rk_tensor *rk_rwkv6_grouped_mix_forward(rk_ctx *ctx, const rk_rwkv6_time_mix *p,
                                        const rk_grouped_reads *own, rk_tensor *x,
                                        rk_tensor *residual, rk_tensor **shift, rk_tensor **wkv)
{
    rk_tensor *prev = rk_previous_rows(ctx, x, shift), *in[N_MIX] = {NULL}, *read[N_READS] = {NULL};
    mixes(ctx, p, order_q, x, prev, in);
    rk_tensor *omega = reads(ctx, p, in, RK_SIGMOID, read);
    rk_grouped_heads(ctx, own, &read[R], &read[K], &read[V]);
    rk_tensor *w = rk_as_heads(ctx, decay_of(ctx, omega), own->n_head);
    rk_tensor *k = rk_add(ctx, read[K], rk_scale(ctx, rk_mul(ctx, read[K], w), -1.0));
    if (rk_ctx_failed(ctx))
        return NULL;
    const int64_t width = w->dims[2] * w->dims[3];
    const rk_wkv6_in q = {.r = rk_mul(ctx, read[R], w),
                          .k = k,
                          .v = read[V],
                          .d = w,
                          .u = numbers(ctx, w->dtype, width, 0),
                          .state = *wkv};
    rk_tensor *gate = rk_as_heads(ctx, read[G], own->n_head);
    rk_tensor *z = with_itself(ctx, &q, read[R], gate, wkv);
    return rk_linear(ctx, rk_as_rows(ctx, z), p->output, residual);
}
