/* trainer_rig.h: small trainers of every architecture, with weights that hide nothing. */
#ifndef RK_TEST_TRAINER_RIG_H
#define RK_TEST_TRAINER_RIG_H

#include "test_util.h"

#include "base/str.h"

#include "model/model.h"
#include "train/task_next.h"
#include "train/trainer.h"

enum { N_VOCAB = 31, CTX_LEN = 24, BATCH = 8, STEPS = 3 };

/* The architecture under test; main goes through all of them where that says something. */
static const rk_arch *arch = &rk_arch_rwkv7;

/* rwkv4 has no head_size to choose. */
static const rk_size small_sizes[] = {
    {"n_vocab", N_VOCAB}, {"n_layer", 2}, {"n_embd", 32}, {"head_size", 16}};

/* Blocks that end inside a window. */
static const rk_size small_blocks[] = {
    {"n_vocab", N_VOCAB}, {"n_layer", 2}, {"n_embd", 32}, {"medium_interval", 5}};

static inline rk_train_params small(void)
{
    rk_train_params p = rk_train_defaults();
    p.arch = arch->name;
    p.sizes = arch == &rk_arch_rrwkv ? small_blocks : small_sizes;
    p.n_sizes = RK_COUNT(small_sizes) - (arch == &rk_arch_rwkv4);
    p.ctx_len = CTX_LEN;
    p.batch = BATCH;
    p.steps = 10;
    p.warmup = 2;
    p.lr = 1e-2;
    return p;
}

/* Batches for STEPS steps. The last id does not occur. */
static inline const int32_t *batches(test_ctx *t)
{
    return test_tokens(t, (int64_t)STEPS * BATCH * (CTX_LEN + 1), N_VOCAB - 1);
}
static inline const int32_t *batch_of(const int32_t *data, int64_t step)
{
    return data + step * BATCH * (CTX_LEN + 1);
}

typedef struct fixture {
    rk_engine *engine;
    rk_trainer *trainer;
} fixture;

/* The arrays of a set and their number: 0 weights, from 1 on what the optimiser keeps, running means. */
static inline int64_t arrays_of(const rk_trainer *trainer, int which, const rk_named_array **out)
{
    rk_run_arrays a;
    rk_trainer_arrays(trainer, &a);
    const rk_array_set set = which == 0 ? a.weights : a.states[which - 1];
    *out = set.at;
    return set.n;
}

/* Initial matrices are full of zeros that hide gradients, so noise goes on every weight. */
static inline void shake(rk_trainer *trainer)
{
    const rk_named_array *w;
    const int64_t n = arrays_of(trainer, 0, &w);
    for (int64_t i = 0; i < n; i++)
        for (int64_t e = 0; e < w[i].n; e++)
            w[i].data[e] += 0.2f * (rk_rng_f32(1, RK_RNG_TEST, (uint64_t)i, (uint64_t)e) - 0.5f);
}

static inline fixture begin_with(const rk_train_params *p, const rk_engine_params *ep)
{
    fixture f = {NULL, NULL};
    rk_error err = {0};
    test_ok(rk_engine_new(&f.engine, ep, &err), &err);
    test_ok(rk_trainer_new(&f.trainer, p, f.engine, &err), &err);
    shake(f.trainer);
    return f;
}
static inline fixture begin(const rk_train_params *p, int n_threads)
{
    return begin_with(p, &(rk_engine_params){.n_threads = n_threads});
}
static inline void end(fixture *f)
{
    rk_trainer_free(f->trainer);
    rk_engine_free(f->engine);
}

static inline rk_step_info step(rk_trainer *trainer, const int32_t *tokens)
{
    rk_step_info info;
    rk_error err = {0};
    test_ok(rk_trainer_step(trainer, tokens, &info, &err), &err);
    return info;
}

typedef struct floats {
    float *x;
    int64_t n;
} floats;

/* A copy of sets [first, last] end to end. */
static inline floats copy_of(test_ctx *t, rk_trainer *trainer, int first, int last)
{
    floats all = {NULL, 0};
    const rk_named_array *a;
    for (int which = first; which <= last; which++)
        for (int64_t i = 0, n = arrays_of(trainer, which, &a); i < n; i++)
            all.n += a[i].n;
    float *at = all.x = test_alloc_f32(t, all.n);
    for (int which = first; which <= last; which++)
        for (int64_t i = 0, n = arrays_of(trainer, which, &a); i < n; at += a[i++].n)
            memcpy(at, a[i].data, (size_t)a[i].n * sizeof *at);
    return all;
}
static inline void expect_same(const test_ctx *t, floats want, floats got)
{
    assert_int_equal(want.n, got.n);
    test_same(t, "weights and moments", want.x, got.x, (size_t)want.n * sizeof *want.x);
}
static inline bool differ(floats a, floats b)
{
    return memcmp(a.x, b.x, (size_t)a.n * sizeof *a.x) != 0;
}

static inline const rk_named_array *array_named(rk_trainer *trainer, int which, const char *name)
{
    const rk_named_array *a;
    const int64_t n = arrays_of(trainer, which, &a);
    for (int64_t i = 0; i < n; i++)
        if (!strcmp(a[i].name, name))
            return &a[i];
    fail_msg("no array %s", name);
    return NULL;
}

/* How many sets of arrays a trainer has: weights, and what is kept for them. */
static inline int n_sets(const rk_trainer *trainer)
{
    rk_run_arrays a;
    rk_trainer_arrays(trainer, &a);
    return 1 + a.n_states;
}

/* Weights and all that is kept for them after STEPS steps. */
static inline floats trained(test_ctx *t, const rk_train_params *p, int n_threads,
                             const int32_t *data)
{
    fixture f = begin(p, n_threads);
    for (int64_t s = 0; s < STEPS; s++)
        step(f.trainer, batch_of(data, s));
    const floats all = copy_of(t, f.trainer, 0, n_sets(f.trainer) - 1);
    end(&f);
    return all;
}

/* Recipes: optimisers, schedules, running means. */
enum { ADAMW, SGD, MUON, N_RECIPES };
static inline rk_train_params recipe(int which)
{
    rk_train_params p = small();
    p.dropout = 0.1;
    p.optimizer = which == SGD ? "sgd" : which == ADAMW ? "adamw" : "muon";
    p.schedule = which == SGD ? "linear" : which == ADAMW ? "cosine" : "wsd";
    p.bf16 = which == MUON;
    p.ema = which == ADAMW ? 0.0 : 0.9;
    return p;
}

/* Let the architecture under test be the one at *i, and go on; false: there is none. Under the thread sanitizer
 * there is RWKV-7 alone. At the end it is RWKV-7 again. */
static inline bool next_arch(int *i)
{
    while (rk_archs[*i] && test_threads_only() && rk_archs[*i] != &rk_arch_rwkv7)
        ++*i;
    arch = rk_archs[*i] ? rk_archs[*i] : &rk_arch_rwkv7;
    return rk_archs[(*i)++] != NULL;
}

#endif
