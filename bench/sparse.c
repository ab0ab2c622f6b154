/* sparse.c: what the channel mix of a token costs with a share of its records, both predictors included, as a ratio
 * to whole matrices in f16, in turns in one run. Layers follow one another, so that weights come from memory.
 *
 *   build/bench_sparse [channels layers share rounds threads]      (1024 8 0.2 31 1) */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/num.h"
#include "base/random.h"
#include "compress/predictor.h"
#include "tensor/ops.h"
#include "tensor/sparse_mix.h"

enum { ROUNDS_MAX = 1001, LAYERS_MAX = 64, HIDDEN = 64, TENSORS = 9 };

typedef struct layer {
    rk_sparse_mix mix;
    rk_weight key, value;
    rk_tensor t[TENSORS];
} layer;

static void stop(const rk_error *err)
{
    fprintf(stderr, "bench_sparse: %s\n", err->msg);
    exit(1);
}

static void *take(int64_t n, size_t size)
{
    void *at = malloc((size_t)n * size);
    if (!at)
        exit(1);
    return at;
}

static float random_of(uint64_t seed, int64_t i)
{
    return rk_rng_f32(seed, RK_RNG_TEST, 0, (uint64_t)i) - 0.5f;
}

/* f16 of random numbers times a scale. */
static rk_tensor *halves(rk_tensor *t, uint64_t seed, float scale, int n_dims, const int64_t *dims)
{
    int64_t n = 1;
    for (int d = 0; d < n_dims; d++)
        n *= dims[d];
    uint16_t *x = take(n, sizeof *x);
    for (int64_t i = 0; i < n; i++)
        x[i] = rk_f32_to_f16(scale * random_of(seed, i));
    *t = rk_tensor_over(RK_F16, n_dims, dims, x);
    return t;
}

static rk_tensor *room(rk_tensor *t, rk_dtype dtype, int n_dims, const int64_t *dims)
{
    int64_t n = 1;
    for (int d = 0; d < n_dims; d++)
        n *= dims[d];
    *t = rk_tensor_over(dtype, n_dims, dims, take(n, rk_dtype_bytes(dtype)));
    return t;
}

/* A that finds nothing is computed all the same; B keeps the share. */
static void begin(layer *l, uint64_t seed, int64_t c, int64_t f, double share)
{
    const float scale = 1 / (float)c;
    float *w = take(f * c, sizeof *w);
    l->key = rk_weight_of(halves(&l->t[0], seed, scale, 2, (int64_t[]){f, c}), RK_OUT_IN);
    l->value = rk_weight_of(halves(&l->t[1], seed + 1, scale, 2, (int64_t[]){c, f}), RK_OUT_IN);
    l->mix = (rk_sparse_mix){.records = halves(&l->t[2], seed + 2, scale, 3, (int64_t[]){f, 2, c}),
                             .limits = room(&l->t[3], RK_F32, 1, (int64_t[]){2}),
                             .planes = room(&l->t[4], RK_U8, 3, (int64_t[]){1, f, (c + 7) / 8}),
                             .plane_scale = room(&l->t[5], RK_F32, 2, (int64_t[]){1, f}),
                             .plane_offset = room(&l->t[6], RK_F32, 1, (int64_t[]){f}),
                             .fc1 = halves(&l->t[7], seed + 3, scale, 2, (int64_t[]){HIDDEN, c}),
                             .fc2 = halves(&l->t[8], seed + 4, scale, 2, (int64_t[]){f, HIDDEN})};
    ((float *)l->t[3].data)[0] = 1;
    ((float *)l->t[3].data)[1] = (float)(1 - share);
    for (int64_t i = 0; i < f; i++)
        rk_matrix_row(&(rk_tensor){.dtype = RK_F16,
                                   .n_dims = 2,
                                   .dims = {2 * f, c},
                                   .strides = {c, 1},
                                   .data = l->t[2].data},
                      RK_OUT_IN, 2 * i, w + i * c);
    rk_planes_fill(&l->mix, w, 0, f, false, 0, 0);
    free(w);
}

static void whole(rk_ctx *ctx, const layer *l, rk_tensor *x)
{
    const rk_linears_in key = {x, l->key, RK_RELU2};
    rk_tensor *k = NULL;
    rk_linears(ctx, &key, 1, &k);
    rk_linear(ctx, k, l->value, NULL);
}

static void sparse(rk_ctx *ctx, const layer *l, rk_tensor *x)
{
    rk_sparse_mix_forward(ctx, &l->mix, x, NULL);
}

typedef void mix_fn(rk_ctx *ctx, const layer *l, rk_tensor *x);

/* A token: milliseconds a layer. */
static double ms(rk_ctx *ctx, const layer *l, int64_t n, int64_t c, int64_t token, mix_fn *mix)
{
    const int64_t dims[2] = {1, c};
    rk_error err = {0};
    rk_ctx_reset(ctx);
    rk_tensor *x = rk_new(ctx, RK_F32, 2, dims);
    for (int64_t i = 0; i < c; i++)
        ((float *)x->data)[i] = random_of(7, token * c + i);
    const double from = rk_cpu_s();
    for (int64_t i = 0; i < n; i++)
        mix(ctx, &l[i], x);
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
    static layer layers[LAYERS_MAX];
    static double dense[ROUNDS_MAX], few[ROUNDS_MAX], ratio[ROUNDS_MAX];
    double args[] = {1024, 8, 0.2, 31, 1};
    for (int i = 1; i < argc && i <= (int)RK_COUNT(args); i++)
        args[i - 1] = atof(argv[i]);
    const int64_t c = (int64_t)args[0], f = c * 7 / 2 / 32 * 32;
    const int64_t n = rk_min_i64(rk_max_i64((int64_t)args[1], 1), LAYERS_MAX);
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
        begin(&layers[i], (uint64_t)(10 * i + 100), c, f, args[2]);
    for (int64_t r = 0; r < rounds; r++) {
        dense[r] = ms(&ctx, layers, n, c, r, whole);
        few[r] = ms(&ctx, layers, n, c, r, sparse);
        ratio[r] = few[r] / dense[r];
    }
    const double mid = middle(ratio, rounds);
    printf("C %d, F %d, %s, %d threads: whole f16 %.3f ms a layer, %.0f %% of the records %.3f ms: "
           "%.3f x "
           "(%.3f to %.3f in the middle half)\n",
           (int)c, (int)f, p.kernels->name, (int)args[4], middle(dense, rounds), 100 * args[2],
           middle(few, rounds), mid, ratio[rounds / 4], ratio[rounds * 3 / 4]);
    for (int64_t i = 0; i < n; i++)
        for (int k = 0; k < TENSORS; k++)
            free(layers[i].t[k].data);
    rk_ctx_deinit(&ctx);
    rk_pool_free(pool);
    return 0;
}
