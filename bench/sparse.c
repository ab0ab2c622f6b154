/* sparse.c: what the channel mix of a token costs with a share of its records, both predictors included, as a ratio
 * to whole matrices in f16, in turns in one run. Layers follow one another, so that weights come from memory.
 *
 *   build/bench_sparse [channels layers share rounds threads]      (1024 8 0.2 31 1) */
#include "compress/predictor.h"
#include "forms.h"
#include "tensor/sparse_mix.h"

enum { LAYERS_MAX = 64, HIDDEN = 64, TENSORS = 9 };

typedef struct layer {
    rk_sparse_mix mix;
    rk_weight key, value;
    rk_tensor t[TENSORS];
} layer;

typedef struct layers {
    int64_t n;
    layer of[LAYERS_MAX];
} layers;

/* f16 of random numbers times a scale. */
static rk_tensor *halves(rk_tensor *t, uint64_t seed, float scale, int n_dims, const int64_t *dims)
{
    int64_t n = 1;
    for (int d = 0; d < n_dims; d++)
        n *= dims[d];
    uint16_t *x = forms_take(n, sizeof *x);
    for (int64_t i = 0; i < n; i++)
        x[i] = rk_f32_to_f16(scale * forms_random(seed, i));
    *t = rk_tensor_over(RK_F16, n_dims, dims, x);
    return t;
}

static rk_tensor *room(rk_tensor *t, rk_dtype dtype, int n_dims, const int64_t *dims)
{
    int64_t n = 1;
    for (int d = 0; d < n_dims; d++)
        n *= dims[d];
    *t = rk_tensor_over(dtype, n_dims, dims, forms_take(n, rk_dtype_bytes(dtype)));
    return t;
}

/* A that finds nothing is computed all the same; B keeps the share. */
static void begin(layer *l, uint64_t seed, int64_t c, int64_t f, double share)
{
    const float scale = 1 / (float)c;
    float *w = forms_take(f * c, sizeof *w);
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

static void mixes(rk_ctx *ctx, void *user, int form, rk_tensor *x)
{
    const layers *l = user;
    for (int64_t i = 0; i < l->n; i++)
        (form ? sparse : whole)(ctx, &l->of[i], x);
}

int main(int argc, char **argv)
{
    static layers l;
    double args[] = {1024, 8, 0.2, 31, 1};
    for (int i = 1; i < argc && i <= (int)RK_COUNT(args); i++)
        args[i - 1] = atof(argv[i]);
    const int64_t c = (int64_t)args[0], f = c * 7 / 2 / 32 * 32;
    l.n = rk_min_i64(rk_max_i64((int64_t)args[1], 1), LAYERS_MAX);
    for (int64_t i = 0; i < l.n; i++)
        begin(&l.of[i], (uint64_t)(10 * i + 100), c, f, args[2]);
    forms_bench b = {.run = mixes, .user = &l, .dims = {1, c}, .rounds = (int64_t)args[3]};
    const char *kernels = forms_run(&b, (int)args[4]);
    printf("C %d, F %d, %s, %d threads: whole f16 %.3f ms a layer, %.0f %% of the records %.3f ms: "
           "%.3f x (%.3f to %.3f in the middle half)\n",
           (int)c, (int)f, kernels, (int)args[4], 1e3 * b.of[0] / (double)l.n, 100 * args[2],
           1e3 * b.of[1] / (double)l.n, b.ratio, b.low, b.high);
    for (int64_t i = 0; i < l.n; i++)
        for (int k = 0; k < TENSORS; k++)
            free(l.of[i].t[k].data);
    return 0;
}
