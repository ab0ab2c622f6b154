/* loops.c: the kernels that no op reaches: optimisers and conversions. */
#include <math.h>
#include <string.h>

#include "base/random.h"
#include "selftest/selftest.h"

enum { N = 1003 }; /* odd: every loop has a tail */

/* The same numbers for the path and, in double, for the reference. */
typedef struct both {
    float f[N];
    double d[N];
} both;

static void draw(both *x, uint64_t step, double low, double high)
{
    for (int i = 0; i < N; i++) {
        x->f[i] = (float)(low + (high - low) * rk_rng_f64(2, RK_RNG_TEST, step, (uint64_t)i));
        x->d[i] = (double)x->f[i];
    }
}

static double distance(const both *x)
{
    double worst = 0.0;
    for (int i = 0; i < N; i++) {
        const double d = fabs((double)x->f[i] - x->d[i]) / fmax(1.0, fabs(x->d[i]));
        if (!(d <= worst))
            worst = isnan(d) ? (double)INFINITY : d;
    }
    return worst;
}

typedef struct optim_arrays {
    both g, m, v, p;
} optim_arrays;

static void draw_all(optim_arrays *a)
{
    draw(&a->g, 0, -1, 1);
    draw(&a->m, 1, -1, 1);
    draw(&a->v, 2, 0.1, 1);
    draw(&a->p, 3, -1, 1);
}

static double check_adamw(const rk_kernels *k, optim_arrays *a)
{
    const rk_adamw o = {.lr = 1e-2,
                        .beta1 = 0.9,
                        .beta2 = 0.99,
                        .eps = 1e-18,
                        .weight_decay = 0.1,
                        .correct1 = 0.271,
                        .correct2 = 0.029701,
                        .grad_scale = 0.5};
    draw_all(a);
    k->adamw(N, &o, a->g.f, a->m.f, a->v.f, a->p.f);
    rk_kernels_ref_f64.adamw(N, &o, a->g.d, a->m.d, a->v.d, a->p.d);
    return fmax(distance(&a->p), fmax(distance(&a->m), distance(&a->v)));
}

static double check_sgd(const rk_kernels *k, optim_arrays *a)
{
    draw_all(a);
    k->sgd(N, 1e-2, 0.9, 0.1, 0.5, a->g.f, a->v.f, a->p.f);
    rk_kernels_ref_f64.sgd(N, 1e-2, 0.9, 0.1, 0.5, a->g.d, a->v.d, a->p.d);
    return fmax(distance(&a->p), distance(&a->v));
}

/* To 16 bits and back: the bits of the scalar definitions. */
static double check_convert(const rk_kernels *k, optim_arrays *a, rk_dtype to)
{
    uint16_t narrow[N];
    draw(&a->p, 4, -70000, 70000);
    k->narrow(N, a->p.f, narrow, to);
    k->widen(N, narrow, to, a->m.f);
    for (int i = 0; i < N; i++) {
        const float x = a->p.f[i];
        const float want =
            to == RK_BF16 ? rk_bf16_to_f32(rk_f32_to_bf16(x)) : rk_f16_to_f32(rk_f32_to_f16(x));
        /* Of bits, on purpose. NOLINTNEXTLINE(bugprone-suspicious-memory-comparison) */
        if (memcmp(&want, &a->m.f[i], sizeof want) != 0)
            return 1.0;
    }
    return 0.0;
}

rk_status rk_selftest_loops(const rk_selftest *t, rk_error *err)
{
    rk_arena arena;
    const rk_status st = rk_arena_init(&arena, RK_ARENA_FIXED, sizeof(optim_arrays), err);
    if (st != RK_OK)
        return st;
    optim_arrays *a = rk_arena_alloc(&arena, sizeof *a);
    t->report(t->user, "AdamW", "path against reference", check_adamw(t->kernels, a), 1e-6);
    t->report(t->user, "SGD", "path against reference", check_sgd(t->kernels, a), 1e-6);
    t->report(t->user, "bf16", "bits of the definition", check_convert(t->kernels, a, RK_BF16),
              0.0);
    t->report(t->user, "f16", "bits of the definition", check_convert(t->kernels, a, RK_F16), 0.0);
    rk_arena_deinit(&arena);
    return RK_OK;
}
