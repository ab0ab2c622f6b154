/* medium.c: the mixes of RRWKV. A medium is computed as a token is, with the same weights, so that its rows
 * go through the products behind those of the tokens; what differs is what stands before a row and what it
 * reads, and that is in the operations of mediums (tensor/ops.h). */
#include "nn/medium.h"

static rk_tensor *matrix_rows(rk_ctx *ctx, const rk_weight *w, int64_t batch)
{
    if (!ctx->recording || rk_ctx_failed(ctx) || !w->matrix || !w->matrix->requires_grad)
        return NULL;
    const int64_t dims[] = {batch, w->matrix->dims[0], w->matrix->dims[1]};
    return rk_view(ctx, rk_for_each_row(ctx, w->matrix, batch), 3, dims);
}

rk_squeeze rk_squeeze_rows(rk_ctx *ctx, const rk_squeeze *p, int64_t batch)
{
    rk_squeeze q = *p;
    q.down_rows = matrix_rows(ctx, &p->down, batch);
    q.up_rows = matrix_rows(ctx, &p->up, batch);
    return q;
}

static rk_tensor *product(rk_ctx *ctx, rk_tensor *x, const rk_weight *w, rk_tensor *rows,
                          rk_unary after)
{
    const rk_linears_in in = {x, *w, after};
    rk_tensor *y = NULL;
    if (rows)
        return rk_unary_op(ctx, after, rk_matmul(ctx, x, rk_transpose(ctx, rows, 1, 2)));
    rk_linears(ctx, &in, 1, &y);
    return y;
}

/* The mediums' rows of x (B, T + M, C), squeezed: (B, M, C); NULL: there are none. */
static rk_tensor *squeezed(rk_ctx *ctx, const rk_squeeze *p, const rk_medium_rows *rows,
                           rk_tensor *x)
{
    if (rk_ctx_failed(ctx) || rows->n_mediums == 0)
        return NULL;
    rk_tensor *n = rk_copy(ctx, rk_slice(ctx, x, 1, rows->n_tokens, x->dims[1]));
    if (!rk_weight_is_there(&p->down))
        return n;
    rk_tensor *narrow = product(ctx, n, &p->down, p->down_rows, RK_RELU);
    return rk_mul(ctx, n, product(ctx, narrow, &p->up, p->up_rows, RK_SIGMOID));
}

/* The mean of all finished mediums for each row; NULL where nothing takes it. */
static rk_tensor *looking_back(rk_ctx *ctx, const rk_squeeze *p, const rk_medium_rows *rows,
                               const rk_tensor *mix, rk_tensor *x, rk_tensor **sum)
{
    return mix ? rk_medium_mean(ctx, rows, squeezed(ctx, p, rows, x), *sum, sum) : NULL;
}

/* x mixed with the row before, and with the mean z. */
static rk_tensor *mixed(rk_ctx *ctx, rk_tensor *x, rk_tensor *prev, rk_tensor *mix, rk_tensor *z,
                        rk_tensor *mix_z)
{
    const rk_medium_mix_in in = {prev, x, mix, z, mix_z};
    return mix_z ? rk_medium_mix(ctx, &in) : rk_mix_rows(ctx, RK_MIX_CURRENT, x, prev, mix);
}

/* What mediums say in place of y where there are some, `tau` of it. */
static rk_tensor *with_average(rk_ctx *ctx, const rk_medium_time_mix *back,
                               const rk_medium_rows *rows, const rk_wkv4_in *in, rk_tensor *y,
                               rk_tensor **average)
{
    if (!back->tau || rk_ctx_failed(ctx))
        return y;
    const rk_medium_read_in read = {.y = y,
                                    .k = in->k,
                                    .v = in->v,
                                    .w = rk_rwkv4_decay(ctx, back->decay, y->dims[0]),
                                    .state = *average};
    return rk_lerp(ctx, y, rk_medium_read(ctx, rows, &read, average), back->tau);
}

rk_tensor *rk_medium_time_mix_forward(rk_ctx *ctx, const rk_rwkv4_time_mix *p,
                                      const rk_medium_time_mix *back, const rk_squeeze *squeeze,
                                      const rk_medium_rows *rows, rk_tensor *x, rk_tensor *residual,
                                      rk_medium_state *s)
{
    rk_rwkv4_state *tokens = &s->tokens;
    rk_tensor *z = looking_back(ctx, squeeze, rows, back->mix_k, x, &s->sum), *state = NULL;
    rk_tensor *prev = rk_medium_previous(ctx, rows, x, tokens->shift, &tokens->shift);
    rk_tensor *xk = mixed(ctx, x, prev, p->time_mix_k, z, back->mix_k);
    rk_tensor *xv = mixed(ctx, x, prev, p->time_mix_v, z, back->mix_v);
    rk_tensor *xr = mixed(ctx, x, prev, p->time_mix_r, z, back->mix_r);
    enum { R, K, V, N_READS };
    const rk_linears_in reads[N_READS] = {[R] = {xr, p->receptance, RK_SIGMOID},
                                          [K] = {xk, p->key, RK_UNARY_NONE},
                                          [V] = {xv, p->value, RK_UNARY_NONE}};
    rk_tensor *q[N_READS];
    rk_linears(ctx, reads, N_READS, q);
    const rk_wkv4_in in = rk_rwkv4_recurrence(ctx, p, q[K], q[V], tokens);
    rk_tensor *y = rk_medium_wkv(ctx, rows, &in, &state);
    rk_rwkv4_take_state(ctx, state, tokens);
    y = with_average(ctx, back, rows, &in, y, &s->average);
    return rk_linear(ctx, rk_mul(ctx, q[R], y), p->output, residual);
}

rk_tensor *rk_medium_channel_mix_forward(rk_ctx *ctx, const rk_gated_channel_mix *p,
                                         const rk_medium_channel_mix *back,
                                         const rk_squeeze *squeeze, const rk_medium_rows *rows,
                                         rk_tensor *x, rk_tensor *residual, rk_tensor **shift,
                                         rk_tensor **sum)
{
    rk_tensor *z = looking_back(ctx, squeeze, rows, back->mix_k, x, sum);
    rk_tensor *prev = rk_medium_previous(ctx, rows, x, *shift, shift);
    rk_tensor *xk = mixed(ctx, x, prev, p->mix_k, z, back->mix_k);
    rk_tensor *xr = mixed(ctx, x, prev, p->mix_r, z, back->mix_r);
    return rk_gated_channel_mix_of(ctx, p, xk, xr, residual);
}
