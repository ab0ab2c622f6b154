/* shift.c: token shift and the channel mix that RWKV-4, -5 and -6 share. */
#include "nn/shift.h"

#include "tensor/sparse_mix.h"

rk_tensor *rk_previous_rows(rk_ctx *ctx, rk_tensor *x, rk_tensor **shift)
{
    if (rk_ctx_failed(ctx))
        return NULL;
    rk_tensor *prev = rk_previous(ctx, x, *shift);
    *shift = rk_copy(ctx, rk_index(ctx, rk_transpose(ctx, x, 0, 1), x->dims[1] - 1));
    return prev;
}

rk_tensor *rk_for_each_row(rk_ctx *ctx, rk_tensor *param, int64_t batch)
{
    if (rk_ctx_failed(ctx))
        return NULL;
    const int64_t n = rk_tensor_count(param), dims[] = {batch, n};
    return rk_add(ctx, rk_new_zeros(ctx, param->dtype, 2, dims), rk_view(ctx, param, 1, &n));
}

rk_tensor *rk_mix_rows(rk_ctx *ctx, rk_mix_of of, rk_tensor *x, rk_tensor *prev, rk_tensor *mix)
{
    if (rk_ctx_failed(ctx))
        return NULL;
    const int64_t flat = rk_tensor_count(mix);
    rk_tensor *w = rk_view(ctx, mix, 1, &flat);
    return of == RK_MIX_CURRENT ? rk_lerp(ctx, prev, x, w) : rk_lerp(ctx, x, prev, w);
}

rk_tensor *rk_gated_channel_mix_of(rk_ctx *ctx, const rk_gated_channel_mix *p, rk_tensor *xk,
                                   rk_tensor *xr, rk_tensor *residual)
{
    enum { K, R, N_READS };
    if (p->key.records) {
        rk_tensor *gate;
        rk_linears(ctx, &(rk_linears_in){xr, p->receptance, RK_SIGMOID}, 1, &gate);
        rk_tensor *mix = rk_sparse_mix_forward(ctx, p->key.records, xk, NULL);
        return rk_add(ctx, residual, rk_mul(ctx, gate, mix));
    }
    const rk_linears_in reads[N_READS] = {
        [K] = {xk, p->key, RK_RELU2}, [R] = {xr, p->receptance, RK_SIGMOID}};
    rk_tensor *read[N_READS];
    rk_linears(ctx, reads, N_READS, read);
    rk_tensor *v = rk_linear(ctx, read[K], p->value, NULL);
    return rk_add(ctx, residual, rk_mul(ctx, read[R], v));
}

rk_tensor *rk_gated_channel_mix_forward(rk_ctx *ctx, const rk_gated_channel_mix *p, rk_mix_of of,
                                        rk_tensor *x, rk_tensor *residual, rk_tensor **shift)
{
    rk_tensor *prev = rk_previous_rows(ctx, x, shift);
    rk_tensor *xk = rk_mix_rows(ctx, of, x, prev, p->mix_k);
    rk_tensor *xr = rk_mix_rows(ctx, of, x, prev, p->mix_r);
    return rk_gated_channel_mix_of(ctx, p, xk, xr, residual);
}
