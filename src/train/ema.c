/* ema.c: exponential running means of the weights, element by element. */
#include "train/ema.h"

#include <math.h>
#include <string.h>

enum { PIECE = 16384 };

typedef struct piece_job {
    const rk_update *u;
    float by;
} piece_job;

static void piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const piece_job *j = arg;
    const float *weight = j->u->weight;
    float *mean = j->u->average;
    (void)worker;
    for (int64_t i = lo; i < hi; i++)
        mean[i] += j->by * (weight[i] - mean[i]);
}

void rk_ema_begin(const rk_update *u, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        memcpy(u[i].average, u[i].weight, (size_t)u[i].n * sizeof(float));
}

void rk_ema_update(rk_ctx *ctx, const rk_update *u, int64_t n, double decay, int64_t count)
{
    const double d = fmin(decay, (double)count / (double)(count + 9));
    for (int64_t i = 0; i < n; i++) {
        piece_job j = {&u[i], (float)(1.0 - d)};
        rk_parallel_whole(ctx, u[i].n, PIECE, piece, &j);
    }
}

void rk_ema_show(const rk_update *u, int64_t n, bool on)
{
    for (int64_t i = 0; i < n; i++)
        u[i].tensor->data = on ? u[i].average : u[i].weight;
}
