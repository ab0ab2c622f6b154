/* ranges.c: what a product with a square matrix of bytes with ranges costs, as a ratio to the same in f16, in turns
 * in one run. Matrices follow one another, so that weights come from memory.
 *
 *   build/bench_ranges [channels tokens MiB rounds threads]      (1024 1 256 31 1)
 *
 * MiB of the f16 matrices; tokens of a call: up to 16 are the short class of forwards, more the long one. */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/num.h"
#include "base/random.h"
#include "kernels/ranges.h"
#include "tensor/ops.h"

enum { ROUNDS_MAX = 1001, MATRICES_MAX = 1024 };

typedef struct pair {
    rk_tensor half, bytes;
    rk_ranges ranges;
} pair;

static void stop(const rk_error *err)
{
    fprintf(stderr, "bench_ranges: %s\n", err->msg);
    exit(1);
}

static void *take(int64_t n, size_t size)
{
    void *at = malloc((size_t)n * size);
    if (!at)
        exit(1);
    return at;
}

/* The same numbers in both types. */
static void begin(pair *p, uint64_t seed, int64_t c)
{
    const int64_t dims[2] = {c, c};
    float *w = take(c * c, sizeof *w), *side = take(4 * c, sizeof *side);
    uint16_t *half = take(c * c, sizeof *half);
    uint8_t *q = take(c * c, 1);
    for (int64_t i = 0; i < c * c; i++) {
        w[i] = (rk_rng_f32(seed, RK_RNG_TEST, 0, (uint64_t)i) - 0.5f) / (float)c;
        half[i] = rk_f32_to_f16(w[i]);
    }
    rk_ranges_narrow(c, c, w, side, side + c, side + 2 * c, side + 3 * c, q);
    p->ranges = (rk_ranges){side, side + c, side + 2 * c, side + 3 * c};
    p->half = rk_tensor_over(RK_F16, 2, dims, half);
    p->bytes = rk_tensor_over(RK_RANGED, 2, dims, q);
    p->bytes.ranges = &p->ranges;
    free(w);
}

/* Milliseconds a matrix. */
static double ms(rk_ctx *ctx, pair *p, int64_t n, int64_t c, int64_t tokens, bool bytes)
{
    const int64_t dims[2] = {tokens, c};
    rk_error err = {0};
    rk_ctx_reset(ctx);
    ctx->long_class = tokens > 16;
    rk_tensor *x = rk_new(ctx, RK_F32, 2, dims);
    for (int64_t i = 0; i < tokens * c; i++)
        ((float *)x->data)[i] = rk_rng_f32(7, RK_RNG_TEST, 0, (uint64_t)i) - 0.5f;
    const double from = rk_cpu_s();
    for (int64_t i = 0; i < n; i++)
        rk_linear(ctx, x, rk_weight_of(bytes ? &p[i].bytes : &p[i].half, RK_OUT_IN), NULL);
    const double s = rk_cpu_s() - from;
    if (rk_ctx_status(ctx, &err) != RK_OK)
        stop(&err);
    return 1e3 * s / (double)n;
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double middle(double *x, int64_t n)
{
    qsort(x, (size_t)n, sizeof *x, compare);
    return x[n / 2];
}

int main(int argc, char **argv)
{
    static pair pairs[MATRICES_MAX];
    static double half[ROUNDS_MAX], bytes[ROUNDS_MAX], ratio[ROUNDS_MAX];
    double args[] = {1024, 1, 256, 31, 1};
    for (int i = 1; i < argc && i <= (int)RK_COUNT(args); i++)
        args[i - 1] = atof(argv[i]);
    const int64_t c = (int64_t)args[0], tokens = (int64_t)args[1];
    const int64_t n =
        rk_min_i64(rk_max_i64((int64_t)(args[2] * 524288) / (c * c), 1), MATRICES_MAX);
    const int64_t rounds = rk_min_i64(rk_max_i64((int64_t)args[3], 1), ROUNDS_MAX);
    rk_ctx ctx;
    rk_pool *pool = NULL;
    rk_error err = {0};
    rk_ctx_params p = {.data_kind = RK_ARENA_GROWING};
    if (rk_kernels_find(&p.kernels, NULL, &err) != RK_OK ||
        rk_pool_new(&pool, (int)args[4], NULL, NULL, NULL, &err) != RK_OK)
        stop(&err);
    p.pool = pool;
    if (rk_ctx_init(&ctx, &p, &err) != RK_OK)
        stop(&err);
    for (int64_t i = 0; i < n; i++)
        begin(&pairs[i], (uint64_t)i + 1, c);
    for (int64_t r = 0; r < rounds; r++) {
        half[r] = ms(&ctx, pairs, n, c, tokens, false);
        bytes[r] = ms(&ctx, pairs, n, c, tokens, true);
        ratio[r] = bytes[r] / half[r];
    }
    const double mid = middle(ratio, rounds);
    printf(
        "C %d, %d tokens, %s, %d threads: f16 %.4f ms a matrix, bytes with ranges %.4f ms: %.3f x "
        "(%.3f to %.3f in the middle half)\n",
        (int)c, (int)tokens, p.kernels->name, (int)args[4], middle(half, rounds),
        middle(bytes, rounds), mid, ratio[rounds / 4], ratio[rounds * 3 / 4]);
    for (int64_t i = 0; i < n; i++) {
        free(pairs[i].half.data);
        free(pairs[i].bytes.data);
        free((void *)(uintptr_t)pairs[i].ranges.mx);
    }
    rk_ctx_deinit(&ctx);
    rk_pool_free(pool);
    return 0;
}
