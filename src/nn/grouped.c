/* grouped.c: from the projections of grouped-query attention to the heads of a recurrence. */
#include "nn/grouped.h"

rk_tensor *rk_as_heads(rk_ctx *ctx, rk_tensor *x, int64_t n)
{
    if (!x)
        return NULL;
    const int64_t dims[] = {x->dims[0], x->dims[1], n, x->dims[2] / n};
    return rk_view(ctx, x, 4, dims);
}

rk_tensor *rk_as_rows(rk_ctx *ctx, rk_tensor *x)
{
    if (!x)
        return NULL;
    const int64_t dims[] = {x->dims[0], x->dims[1], x->dims[2] * x->dims[3]};
    return rk_view(ctx, x, 3, dims);
}

static rk_tensor *with_bias(rk_ctx *ctx, rk_tensor *x, rk_tensor *bias)
{
    if (!x || !bias)
        return x;
    const int64_t n = rk_tensor_count(bias);
    return rk_add(ctx, x, rk_view(ctx, bias, 1, &n));
}

/* Each head of x (B, T, G, N) `times` times, one beside the other: (B, T, G times, N). */
static rk_tensor *repeat_heads(rk_ctx *ctx, rk_tensor *x, int64_t times)
{
    if (!x || times == 1)
        return x;
    const int64_t dims[] = {x->dims[0], x->dims[1], x->dims[2] * times, x->dims[3]};
    return rk_view(ctx, rk_repeat(ctx, x, times * x->dims[3]), 4, dims);
}

static rk_tensor *turned(rk_ctx *ctx, const rk_grouped_reads *p, rk_tensor *x)
{
    return p->positions ? rk_rotary(ctx, x, p->positions, p->theta) : x;
}

void rk_grouped_heads(rk_ctx *ctx, const rk_grouped_reads *p, rk_tensor **r, rk_tensor **k,
                      rk_tensor **v)
{
    const int64_t times = p->n_head / p->n_kv_head;
    *r = turned(ctx, p, rk_as_heads(ctx, with_bias(ctx, *r, p->q_bias), p->n_head));
    rk_tensor *key = turned(ctx, p, rk_as_heads(ctx, with_bias(ctx, *k, p->k_bias), p->n_kv_head));
    *k = repeat_heads(ctx, key, times);
    *v = repeat_heads(ctx, rk_as_heads(ctx, with_bias(ctx, *v, p->v_bias), p->n_kv_head), times);
}
