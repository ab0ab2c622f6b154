/* adapter.c: kinds of adapters. */
#include "nn/adapter.h"

#include <assert.h>

static void add_pair(rk_ctx *ctx, const rk_adapter *a, rk_terms *t)
{
    (void)ctx;
    assert(t->n_pairs < RK_PAIRS_MAX);
    t->pair[t->n_pairs++] = &a->pair;
}

rk_adapter rk_lora(rk_tensor *a, rk_tensor *b, double alpha)
{
    return (rk_adapter){.apply = add_pair,
                        .pair = {.down = a,
                                 .up = b,
                                 .layout = RK_OUT_IN,
                                 .between = RK_UNARY_NONE,
                                 .scale = alpha / (double)a->dims[0]}};
}
