/* test_layer.h: what tests of layers against known values share: a context, and the generator of the specifications. */
#ifndef RK_TEST_LAYER_H
#define RK_TEST_LAYER_H

#include "test_util.h"

#include "tensor/ops.h"

typedef struct rig {
    test_ctx t;
    rk_pool *pool;
    rk_ctx ctx;
    uint64_t lcg;
} rig;

/* seed: of the generator. */
static inline void rig_init(rig *g, uint64_t seed, int n_threads, const rk_kernels *kernels)
{
    rk_error err = {0};
    *g = (rig){.t = test_begin(1), .lcg = seed};
    test_ok(rk_pool_new(&g->pool, n_threads, NULL, NULL, NULL, &err), &err);
    const rk_ctx_params p = {.kernels = kernels, .pool = g->pool, .data_kind = RK_ARENA_GROWING};
    test_ok(rk_ctx_init(&g->ctx, &p, &err), &err);
}

static inline void rig_deinit(rig *g)
{
    rk_ctx_deinit(&g->ctx);
    rk_pool_free(g->pool);
    test_end(&g->t);
}

/* A number of dimensions and the dimensions. */
#define DIMS(...)                                                                                  \
    (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (const int64_t[])                   \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }

/* base + scale (2u - 1), u the next number of the generator. */
static inline double next(rig *g, double base, double scale)
{
    g->lcg = g->lcg * 6364136223846793005u + 1442695040888963407u;
    return base + scale * (2 * (double)(g->lcg >> 11) * 0x1p-53 - 1);
}
static inline rk_tensor *draw(rig *g, double base, double scale, int n_dims, const int64_t *dims)
{
    rk_tensor *x = rk_new(&g->ctx, RK_F64, n_dims, dims);
    assert_non_null(x);
    for (int64_t i = 0; i < rk_tensor_count(x); i++)
        ((double *)x->data)[i] = next(g, base, scale);
    return x;
}

#endif
