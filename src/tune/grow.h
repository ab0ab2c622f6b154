/* grow.h: larger models that compute what they computed: more parameter tokens, heads, asked heads and layers of
 * an RWKV-7 or a Meta-State model (model/meta7.c), and smaller ones that are what they were before. */
#ifndef RK_TUNE_GROW_H
#define RK_TUNE_GROW_H

#include "model/meta7.h"

/* What the keys of new parameter tokens begin as. */
typedef enum rk_grow_start {
    RK_GROW_RANDOM, /* as in a new model */
    RK_GROW_COPY,   /* as keys that are there, with noise */
    RK_GROW_ZERO,   /* which never learn: refused */
} rk_grow_start;

typedef struct rk_growth {
    int64_t tokens, heads, meta_heads, layers; /* how many more */
    int64_t at; /* layers that stand before the new ones, at least one; -1: all */
    rk_grow_start start;
    uint64_t seed;
} rk_growth;

/* Where the layers of a model came from: (n_layer), -1 where a layer is new. */
typedef struct rk_grow_map {
    int64_t *from;
    const rk_model *small, *big;
} rk_grow_map;

/* A meta7 model whose values are its own, f32; small may be closed afterwards. New tokens, heads and layers lead
 * nowhere yet and gamma of new asked heads is 0, so that it computes what small does.
 * Errors  RK_ERR_UNSUPPORTED: small is of another architecture, or in blocks; RK_ERR_ARG: nothing to add, a
 *         place for layers that is none, keys that would not learn, more than a model can have; RK_ERR_NOMEM. */
rk_status rk_grow_new(rk_model **out, const rk_model *small, const rk_growth *how, rk_error *err);
/* The model that big was in an earlier generation, with the values that its parts have now: of architecture rwkv7
 * where it was that.
 * Errors  RK_ERR_ARG: there is no such generation before the last; those above. */
rk_status rk_grow_back(rk_model **out, const rk_model *big, int64_t generation, rk_error *err);

/* Which layers of small those of big began as; from is to be freed.
 * Errors  RK_ERR_NOMEM. */
rk_status rk_grow_map_init(rk_grow_map *map, const rk_model *small, const rk_model *big,
                           rk_error *err);
/* The parameter of small that one of big began as, NULL: it is new. */
const rk_param *rk_grow_source(const rk_grow_map *map, const rk_param *big);
/* Values of small's parameter (all of them) to their places in big's. */
void rk_grow_put(const rk_grow_map *map, const rk_param *small, const float *values,
                 const rk_param *big, float *to);
/* The values of a parameter as f32, to be freed. Errors  RK_ERR_UNSUPPORTED: it is in blocks; RK_ERR_NOMEM. */
rk_status rk_grow_values(const rk_model *m, const rk_param *p, float **out, rk_error *err);

#endif
