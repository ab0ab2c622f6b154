/* rwkv7.c: time mix and channel mix of RWKV-7 (arXiv 2503.14456; BlinkDL/RWKV-LM, RWKV-v7).
 *
 * The time mix is written in three ops beside its matrix products (ops.h: prepare, wkv7, output; as
 * one: heads), which hold the equations. v_first is the first layer's value of the same token and
 * no part of the state. Where paper and code differ (order of the value residual), this follows the
 * code. What ARWKV-7 (arXiv 2501.15570) puts in the place of attention is the same with parts missing:
 * a gate, a group norm. */
#include "nn/rwkv7.h"

#include "tensor/sparse_mix.h"

#include <string.h>

#include "nn/grouped.h"

/* Products at once, of those whose weight and input are there; the others are NULL. */
static void linears_there(rk_ctx *ctx, const rk_linears_in *in, int n, rk_tensor **out)
{
    rk_linears_in there[RK_LINEARS_MAX];
    rk_tensor *got[RK_LINEARS_MAX] = {NULL};
    int count = 0, next = 0;
    for (int i = 0; i < n; i++)
        if (in[i].x && rk_weight_is_there(&in[i].w))
            there[count++] = in[i];
    rk_linears(ctx, there, count, got);
    for (int i = 0; i < n; i++)
        out[i] = in[i].x && rk_weight_is_there(&in[i].w) ? got[next++] : NULL;
}

/* What the products give, (B, T, C): receptance, key, value; inside the low-rank pairs, which are
 * replaced by what comes out of them: decay, rate, gate, value residual. */
enum { R, K, V, W, A, G, VL, N_READS };

/* x with zeros behind its elements of a dimension, for the heads that nobody reads. */
static rk_tensor *with_zeros(rk_ctx *ctx, rk_tensor *x, int dim, int64_t to)
{
    if (!x || rk_ctx_failed(ctx) || x->dims[dim] >= to)
        return x;
    int64_t dims[RK_MAX_DIMS];
    memcpy(dims, x->dims, sizeof dims);
    dims[dim] = to - x->dims[dim];
    rk_tensor *const both[] = {x, rk_new_zeros(ctx, x->dtype, x->n_dims, dims)};
    return rk_concat(ctx, both, 2, dim);
}

/* A vector of the channels of all heads that are read, for `n` heads of `size`. */
static rk_tensor *for_heads(rk_ctx *ctx, rk_tensor *x, int64_t n, int64_t size)
{
    if (!x || rk_ctx_failed(ctx) || rk_tensor_count(x) == n * size)
        return x;
    const int64_t flat = rk_tensor_count(x);
    return with_zeros(ctx, rk_view(ctx, x, 1, &flat), 0, n * size);
}

/* Between the products that read the input, (B, T, H, N) now, and the one that writes the result. */
static rk_tensor *between(rk_ctx *ctx, const rk_rwkv7_time_mix *p, rk_tensor *const *q,
                          const rk_rwkv7_form *form, rk_rwkv7_time_mix_io *io)
{
    if (rk_ctx_failed(ctx))
        return NULL;
    const int64_t n = q[K]->dims[2], size = q[K]->dims[3], n_read = q[R]->dims[2];
    const rk_rwkv7_heads_in core = {.raw = {.w0 = p->w0,
                                            .a0 = p->a0,
                                            .v0 = p->v0,
                                            .k_k = p->k_k,
                                            .k_a = p->k_a,
                                            .wl = q[W],
                                            .al = q[A],
                                            .vl = q[VL],
                                            .k = q[K],
                                            .v = q[V],
                                            .v_first = io->v_first},
                                    .r = with_zeros(ctx, q[R], 2, n),
                                    .g = with_zeros(ctx, q[G], 2, n),
                                    .r_k = for_heads(ctx, p->r_k, n, size),
                                    .ln_w = for_heads(ctx, p->ln_x_w, n, size),
                                    .ln_b = for_heads(ctx, p->ln_x_b, n, size),
                                    .state = io->wkv,
                                    .path = p->path.u ? &p->path : NULL,
                                    .path_state = &io->path,
                                    .read = io->read,
                                    .form = *form};
    rk_tensor *z = rk_rwkv7_heads(ctx, &core, &io->wkv);
    if (!io->v_first)
        io->v_first = q[V];
    return n_read < n ? rk_copy(ctx, rk_slice(ctx, z, 2, 0, n_read)) : z;
}

rk_tensor *rk_rwkv7_time_mix_forward(rk_ctx *ctx, const rk_rwkv7_time_mix *p, rk_tensor *x,
                                     rk_tensor *residual, const rk_rwkv7_form *form,
                                     rk_rwkv7_time_mix_io *io)
{
    enum { XR, XW, XK, XV, XA, XG, N_MIX };
    rk_tensor *const mu[N_MIX] = {p->x_r, p->x_w, p->x_k, p->x_v, p->x_a, p->x_g};
    const int n_mix = p->x_g ? N_MIX : XG;
    rk_tensor *mixed = rk_shift_mix(ctx, x, io->shift, mu, n_mix, &io->shift), *in[N_MIX] = {NULL};
    for (int i = 0; i < n_mix; i++)
        in[i] = rk_index(ctx, mixed, i);

    /* All products that read the mixes at once, then the second factors of the low-rank pairs. */
    const rk_linears_in reads[N_READS] = {
        [R] = {in[XR], p->receptance, RK_UNARY_NONE},
        [K] = {in[XK], p->key, RK_UNARY_NONE},
        [V] = {in[XV], p->value, RK_UNARY_NONE},
        [W] = {in[XW], p->w1, RK_TANH},
        [A] = {in[XA], p->a1, RK_UNARY_NONE},
        [G] = {in[XG], p->g1, RK_SIGMOID},
        [VL] = {io->v_first ? in[XV] : NULL, p->v1, RK_UNARY_NONE},
    };
    rk_tensor *q[N_READS];
    linears_there(ctx, reads, N_READS, q);
    const rk_linears_in ups[] = {
        {q[W], p->w2, RK_UNARY_NONE},
        {q[A], p->a2, RK_UNARY_NONE},
        {q[G], p->g2, RK_UNARY_NONE},
        {q[VL], p->v2, RK_UNARY_NONE},
    };
    linears_there(ctx, ups, N_READS - W, q + W);
    for (int i = 0; i < N_READS; i++)
        if (q[i])
            q[i] = rk_as_heads(ctx, q[i], q[i]->dims[2] / p->r_k->dims[1]);
    rk_tensor *z = between(ctx, p, q, form, io);
    return rk_linear(ctx, rk_as_rows(ctx, z), p->output, residual);
}

rk_tensor *rk_rwkv7_grouped_mix_forward(rk_ctx *ctx, const rk_rwkv7_time_mix *p,
                                        const rk_grouped_reads *own, rk_tensor *x,
                                        rk_tensor *residual, const rk_rwkv7_form *form,
                                        rk_rwkv7_time_mix_io *io)
{
    const rk_linears_in reads[N_READS] = {
        [R] = {x, p->receptance, RK_UNARY_NONE},
        [K] = {x, p->key, RK_UNARY_NONE},
        [V] = {x, p->value, RK_UNARY_NONE},
        [W] = {x, p->w1, RK_TANH},
        [A] = {x, p->a1, RK_UNARY_NONE},
        [G] = {x, p->g1, RK_SIGMOID},
        [VL] = {io->v_first ? x : NULL, p->v1, RK_UNARY_NONE},
    };
    const rk_linears_in whole_gate = {x, own->gate, RK_SIGMOID};
    rk_tensor *q[N_READS];
    linears_there(ctx, reads, N_READS, q);
    rk_grouped_heads(ctx, own, &q[R], &q[K], &q[V]);
    const rk_linears_in ups[] = {
        {q[W], p->w2, RK_UNARY_NONE},
        {q[A], p->a2, RK_UNARY_NONE},
        {q[G], p->g2, RK_UNARY_NONE},
        {q[VL], p->v2, RK_UNARY_NONE},
    };
    linears_there(ctx, ups, N_READS - W, q + W);
    if (rk_weight_is_there(&own->gate))
        linears_there(ctx, &whole_gate, 1, &q[G]);
    for (int i = W; i < N_READS; i++)
        q[i] = rk_as_heads(ctx, q[i], own->n_head);
    rk_tensor *z = between(ctx, p, q, form, io);
    return rk_linear(ctx, rk_as_rows(ctx, z), p->output, residual);
}

/* s0 + x s1 M s2. */
static rk_tensor *deep_embed(rk_ctx *ctx, const rk_rwkv7_channel_mix *p, rk_tensor *ids,
                             rk_tensor *emb, rk_tensor *x)
{
    rk_tensor *m = rk_linear(ctx, emb, p->s_emb_x, rk_embedding(ctx, p->s_emb, ids));
    rk_tensor *q = rk_row_matmul(ctx, rk_linear(ctx, x, p->s1, NULL), m);
    return rk_add(ctx, rk_linear(ctx, q, p->s2, NULL), p->s0);
}

rk_tensor *rk_rwkv7_channel_mix_forward(rk_ctx *ctx, const rk_rwkv7_channel_mix *p, rk_tensor *ids,
                                        rk_tensor *emb, rk_tensor *x, rk_tensor *residual,
                                        rk_tensor **shift)
{
    rk_tensor *mixed = rk_shift_mix(ctx, x, *shift, &p->x_k, 1, shift),
              *xk = rk_index(ctx, mixed, 0);
    rk_tensor *factor = p->s_emb ? deep_embed(ctx, p, ids, emb, x) : NULL;
    if (p->key.records)
        return rk_add(ctx, residual, rk_sparse_mix_forward(ctx, p->key.records, xk, factor));
    const rk_linears_in key = {xk, p->key, RK_RELU2};
    rk_tensor *k = NULL;
    rk_linears(ctx, &key, 1, &k);
    if (factor)
        k = rk_mul(ctx, k, factor);
    return rk_linear(ctx, k, p->value, residual);
}
