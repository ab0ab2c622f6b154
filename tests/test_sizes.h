/* test_sizes.h: sizes for models of several architectures. */
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

#endif
