/* test_sizes.h: sizes for models of several architectures, and models in memory. */
#ifndef RK_TEST_SIZES_H
#define RK_TEST_SIZES_H

#include "test_util.h"

#include "model/model.h"

/* Those of the sizes that the architecture can be given, the others by default; bit l of kept: layer l is
 * kept as it was in a transformer. */
static inline rk_hparams test_hparams_kept(const rk_arch *arch, const rk_size *sizes, size_t n,
                                           unsigned kept)
{
    const rk_layer_set set = {{kept}};
    rk_size given[32];
    rk_hparams hp;
    rk_error err = {0};
    int64_t n_given = 0;
    assert_true(n <= RK_COUNT(given));
    for (size_t i = 0; i < n; i++) {
        const rk_size_spec *s = rk_size_find(arch, sizes[i].name);
        if (s && s->initial.rule)
            given[n_given++] = sizes[i];
    }
    test_ok(rk_sizes_make_kept(arch, given, n_given, &set, &hp, &err), &err);
    return hp;
}

static inline rk_hparams test_hparams(const rk_arch *arch, const rk_size *sizes, size_t n)
{
    return test_hparams_kept(arch, sizes, n, 0);
}

/* Memory for all parameters of a new model, floats that are 0; it goes with the model. Returns how many. */
static inline int64_t test_model_memory(rk_model *m)
{
    int64_t n = 0;
    for (int64_t i = 0; i < m->n_params; i++)
        n += rk_tensor_count(&m->params[i].tensor);
    /* A model has parameters. NOLINTNEXTLINE(clang-analyzer-optin.portability.UnixAPI) */
    float *at = m->owned = calloc((size_t)n, sizeof *at);
    assert_non_null(at);
    for (int64_t i = 0; i < m->n_params; i++) {
        m->params[i].tensor.data = at;
        at += rk_tensor_count(&m->params[i].tensor);
    }
    return n;
}

/* A new model of initial values and noise up to half of `noise`, so that no part of it is zero. */
static inline rk_model *test_model_noisy(const rk_arch *arch, const rk_hparams *hp, float noise)
{
    rk_model *m = NULL;
    rk_error err = {0};
    test_ok(rk_model_new(&m, arch, hp, &err), &err);
    const int64_t n = test_model_memory(m);
    test_ok(rk_model_init(m, 5, NULL, &err), &err);
    for (int64_t i = 0; i < n; i++)
        ((float *)m->owned)[i] += noise * (rk_rng_f32(5, RK_RNG_TEST, 0, (uint64_t)i) - 0.5f);
    return m;
}

#endif
