/* forms.h: what an operation costs with two forms of its weights, in turns in one run. */
#ifndef RK_BENCH_FORMS_H
#define RK_BENCH_FORMS_H

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/num.h"
#include "base/random.h"
#include "tensor/ops.h"

enum { FORMS_ROUNDS_MAX = 1001 };

/* The operation once, its inputs made: form 0 or 1. */
typedef void forms_fn(rk_ctx *ctx, void *user, int form, rk_tensor *x);

typedef struct forms_bench {
    forms_fn *run;
    void *user;
    int64_t dims[2]; /* of x */
    bool long_class; /* of products, as prompts have it */
    int64_t rounds;
    double of[2], ratio, low,
        high; /* seconds; of the second form to the first, and the middle half */
} forms_bench;

static inline void forms_stop(const rk_error *err)
{
    fprintf(stderr, "bench: %s\n", err->msg);
    exit(1);
}

static inline void *forms_take(int64_t n, size_t size)
{
    void *at = malloc((size_t)n * size);
    if (!at)
        exit(1);
    return at;
}

static inline float forms_random(uint64_t seed, int64_t i)
{
    return rk_rng_f32(seed, RK_RNG_TEST, 0, (uint64_t)i) - 0.5f;
}

static inline double forms_seconds(const forms_bench *b, rk_ctx *ctx, int64_t round, int form)
{
    rk_error err = {0};
    rk_ctx_reset(ctx);
    ctx->long_class = b->long_class;
    rk_tensor *x = rk_new(ctx, RK_F32, 2, b->dims);
    const int64_t n = b->dims[0] * b->dims[1];
    for (int64_t i = 0; i < n; i++)
        ((float *)x->data)[i] = forms_random(7, round * n + i);
    const double from = rk_cpu_s();
    b->run(ctx, b->user, form, x);
    const double s = rk_cpu_s() - from;
    if (rk_ctx_status(ctx, &err) != RK_OK)
        forms_stop(&err);
    return s;
}

static inline int forms_compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Other work on the machine takes time from single rounds: ratios are of rounds side by side. Returns the name of
 * the instruction set. */
static inline const char *forms_run(forms_bench *b, int n_threads)
{
    static double of[2][FORMS_ROUNDS_MAX], ratio[FORMS_ROUNDS_MAX];
    rk_ctx ctx;
    rk_pool *pool = NULL;
    rk_error err = {0};
    rk_ctx_params p = {.data_kind = RK_ARENA_GROWING};
    if (rk_kernels_find(&p.kernels, NULL, &err) != RK_OK ||
        rk_pool_new(&pool, n_threads, NULL, NULL, NULL, &err) != RK_OK)
        forms_stop(&err);
    p.pool = pool;
    if (rk_ctx_init(&ctx, &p, &err) != RK_OK)
        forms_stop(&err);
    b->rounds = rk_min_i64(rk_max_i64(b->rounds, 1), FORMS_ROUNDS_MAX);
    for (int64_t r = 0; r < b->rounds; r++) {
        for (int form = 0; form < 2; form++)
            of[form][r] = forms_seconds(b, &ctx, r, form);
        ratio[r] = of[1][r] / of[0][r];
    }
    double *const lists[] = {of[0], of[1], ratio};
    for (size_t i = 0; i < RK_COUNT(lists); i++)
        qsort(lists[i], (size_t)b->rounds, sizeof *ratio, forms_compare);
    b->of[0] = of[0][b->rounds / 2];
    b->of[1] = of[1][b->rounds / 2];
    b->ratio = ratio[b->rounds / 2];
    b->low = ratio[b->rounds / 4];
    b->high = ratio[b->rounds * 3 / 4];
    rk_ctx_deinit(&ctx);
    rk_pool_free(pool);
    return p.kernels->name;
}

#endif
