/* meta.c: the channel mix of Meta-State. */
#include "nn/meta.h"

#include "tensor/sparse_mix.h"

rk_tensor *rk_meta_mix_forward(rk_ctx *ctx, const rk_meta_mix *p, rk_tensor *x, rk_tensor *residual,
                               rk_meta_mix_io *io)
{
    rk_tensor *mixed = rk_shift_mix(ctx, x, io->shift, &p->x_k, 1, &io->shift);
    rk_tensor *z = rk_index(ctx, mixed, 0), *k = NULL;
    if (p->gamma && !rk_ctx_failed(ctx)) {
        const rk_self_state_in in = {
            .x = z, .gamma = p->gamma, .state = io->state, .wkv = io->wkv, .form = *io->asks};
        z = rk_self_state(ctx, &in);
    }
    if (p->key.records) /* which are not routed */
        return rk_add(ctx, residual, rk_sparse_mix_forward(ctx, p->key.records, z, NULL));
    const rk_linears_in key = {z, p->key, io->route ? RK_UNARY_NONE : RK_RELU2};
    rk_linears(ctx, &key, 1, &k);
    if (io->route)
        k = rk_route(ctx, k, io->route);
    return rk_linear(ctx, k, p->value, residual);
}
