/* adapter.c: kinds of adapters. */
#include "nn/adapter.h"

#include "tensor/ops.h"

/* ---- LoRA, DoRA ---- */

rk_adapter rk_lora(rk_tensor *a, rk_tensor *b, double scale)
{
    return (rk_adapter){
        .down = a, .up = b, .rank = a->dims[0], .layout = RK_OUT_IN, .scale = scale};
}

/* One over the norms, which are constants of the step: nothing of it goes on the tape. The magnitudes are
 * apart, so that their gradients add up row by row as those of all parameters do. */
static rk_tensor *over_norms(rk_ctx *ctx, const rk_adapter *a, const rk_weight *w)
{
    const bool recording = ctx->recording;
    rk_gain_in all = {.x = a->tensors[0], .squares = a->tensors[1], .b = a->up, .scale = a->scale};
    ctx->recording = false;
    all.aw = rk_linear(ctx, a->down, rk_weight_of(w->matrix, w->layout), NULL);
    all.aa = rk_matmul(ctx, a->down, rk_transpose(ctx, a->down, 0, 1));
    rk_tensor *gain = rk_gain(ctx, &all);
    ctx->recording = recording;
    return gain;
}

rk_adapter rk_dora(rk_tensor *a, rk_tensor *b, double scale, const rk_dora_tensors *t)
{
    rk_adapter dora = rk_lora(a, b, scale);
    dora.gain = over_norms;
    dora.magnitude = t->magnitude;
    dora.tensors[0] = t->ones;
    dora.tensors[1] = t->squares;
    return dora;
}

static rk_tensor *given_gain(rk_ctx *ctx, const rk_adapter *a, const rk_weight *w)
{
    (void)ctx;
    (void)w;
    return a->tensors[0];
}

void rk_adapter_set_gain(rk_adapter *a, rk_tensor *gain)
{
    a->gain = given_gain;
    a->tensors[0] = gain;
}

/* ---- MiSS ---- */

rk_adapter rk_miss(rk_tensor *d)
{
    return (rk_adapter){.up = d, .rank = d->dims[0], .layout = RK_IN_OUT, .scale = 1.0};
}

/* ---- Bat ---- */

static int64_t outputs_of(const rk_weight *w)
{
    return w->matrix->dims[w->layout == RK_OUT_IN ? 0 : 1];
}

/* Block b of each row of x (..., G r) times B_b^T, (rows, G r). */
static rk_tensor *by_blocks(rk_ctx *ctx, rk_tensor *x, rk_tensor *b)
{
    const int64_t rows = rk_tensor_rows(x), width = rk_tensor_cols(x);
    const int64_t apart[3] = {rows, b->dims[0], b->dims[1]}, flat[2] = {rows, width};
    rk_tensor *blocks = rk_transpose(ctx, rk_view(ctx, x, 3, apart), 0, 1);
    rk_tensor *z = rk_matmul(ctx, blocks, rk_transpose(ctx, b, 1, 2));
    return rk_view(ctx, rk_copy(ctx, rk_transpose(ctx, z, 0, 1)), 2, flat);
}

/* sum_b (W_ab B_b + B_b) x_b = (W z)_a + sum_b z_b, with z_b = B_b x_b. */
static rk_tensor *bat_in(rk_ctx *ctx, const rk_adapter *a, const rk_weight *w, rk_tensor *x)
{
    rk_tensor *z = x ? by_blocks(ctx, x, a->tensors[0]) : NULL;
    if (!z)
        return NULL;
    rk_tensor *sums = rk_repeat(ctx, rk_fold(ctx, z, a->rank), outputs_of(w));
    rk_tensor *y = rk_linear(ctx, z, rk_weight_of(w->matrix, w->layout), sums);
    int64_t dims[RK_MAX_DIMS];
    for (int d = 0; d < x->n_dims; d++)
        dims[d] = d + 1 < x->n_dims ? x->dims[d] : outputs_of(w);
    return rk_view(ctx, y, x->n_dims, dims);
}

rk_adapter rk_bat_in(rk_tensor *b)
{
    return (rk_adapter){.added = bat_in, .rank = b->dims[1], .tensors = {b}};
}

/* W B by blocks, (out, in): the rows of block a of W, cut into pieces of r, times B_a. */
static rk_tensor *bat_out(rk_ctx *ctx, const rk_adapter *a, const rk_weight *w, rk_tensor *x)
{
    rk_tensor *b = a->tensors[0], *reals = rk_as_reals(ctx, w->matrix);
    if (!reals)
        return NULL;
    const int64_t r = a->rank, out = reals->dims[0], in = reals->dims[1];
    const int64_t pieces[3] = {out / r, in, r}, rows[2] = {out, r}, whole[2] = {out, in};
    rk_tensor *moved = rk_matmul(ctx, rk_view(ctx, reals, 3, pieces), b);
    rk_tensor *delta =
        rk_add(ctx, rk_view(ctx, moved, 2, whole), rk_repeat(ctx, rk_view(ctx, b, 2, rows), in));
    return rk_linear(ctx, x, rk_weight_of(delta, RK_OUT_IN), NULL);
}

rk_adapter rk_bat_out(rk_tensor *b)
{
    return (rk_adapter){.added = bat_out, .rank = b->dims[1], .tensors = {b}};
}

/* ---- a whole matrix ---- */

static rk_tensor *dense(rk_ctx *ctx, const rk_adapter *a, const rk_weight *w, rk_tensor *x)
{
    (void)w;
    return rk_linear(ctx, x, rk_weight_of(a->tensors[0], RK_OUT_IN), NULL);
}

rk_adapter rk_dense(rk_tensor *delta)
{
    return (rk_adapter){.added = dense, .tensors = {delta}};
}
