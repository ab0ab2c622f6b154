/* optim.c: optimisers over parameter groups. Updates are element-wise, so they are cut into pieces
 * of any kind; the norm is a sum, so its pieces are fixed. An abort does not cut an update in two.
 */
#include "train/optim.h"

#include <math.h>

#include "base/num.h"

enum { PIECE = 16384 };

typedef struct piece_job {
    const rk_kernels *kern;
    const rk_update *u;
    rk_adamw adamw;
    double lr, momentum, weight_decay, grad_scale;
    double *partial;
} piece_job;

static void adamw_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const piece_job *j = arg;
    const rk_update *u = j->u;
    (void)worker;
    j->kern->adamw(hi - lo, &j->adamw, u->grad + lo, u->m + lo, u->v + lo, u->weight + lo);
}

void rk_optim_adamw(rk_ctx *ctx, const rk_update *u, int64_t n, const rk_adamw *a)
{
    for (int64_t i = 0; i < n; i++) {
        piece_job j = {.kern = ctx->kernels, .u = &u[i], .adamw = *a};
        j.adamw.lr = a->lr * u[i].lr_scale;
        j.adamw.weight_decay = u[i].decay ? a->weight_decay : 0.0;
        rk_parallel_whole(ctx, u[i].n, PIECE, adamw_piece, &j);
    }
}

static void sgd_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const piece_job *j = arg;
    const rk_update *u = j->u;
    (void)worker;
    j->kern->sgd(hi - lo, j->lr, j->momentum, j->weight_decay, j->grad_scale, u->grad + lo,
                 u->m + lo, u->weight + lo);
}

void rk_optim_sgd(rk_ctx *ctx, const rk_update *u, int64_t n, double lr, double momentum,
                  double weight_decay, double grad_scale)
{
    for (int64_t i = 0; i < n; i++) {
        piece_job j = {.kern = ctx->kernels,
                       .u = &u[i],
                       .lr = lr * u[i].lr_scale,
                       .momentum = momentum,
                       .weight_decay = u[i].decay ? weight_decay : 0.0,
                       .grad_scale = grad_scale};
        rk_parallel_whole(ctx, u[i].n, PIECE, sgd_piece, &j);
    }
}

static void square_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const piece_job *j = arg;
    (void)worker;
    j->partial[lo / PIECE] = j->kern->sum_squares(hi - lo, j->u->grad + lo);
}

int64_t rk_optim_norm_parts(const rk_update *u, int64_t n)
{
    int64_t most = 0;
    for (int64_t i = 0; i < n; i++)
        most = rk_max_i64(most, rk_ceil_div(u[i].n, PIECE));
    return most;
}

double rk_optim_grad_norm(rk_ctx *ctx, const rk_update *u, int64_t n, double *partial, int64_t *at)
{
    double total = 0.0;
    if (at)
        *at = -1;
    for (int64_t i = 0; i < n; i++) {
        piece_job j = {.kern = ctx->kernels, .u = &u[i], .partial = partial};
        double sum = 0.0;
        rk_parallel(ctx, u[i].n, PIECE, square_piece, &j);
        for (int64_t p = 0; p < rk_ceil_div(u[i].n, PIECE); p++)
            sum += partial[p];
        if (at && *at < 0 && !isfinite(sum))
            *at = i;
        total += sum;
    }
    return sqrt(total);
}
