/* observer.h: a small model whose states tell those of a larger one, its teacher.
 *
 * Of layer l and head h of the teacher the state S is told from the heads of the observer's layer
 * m = floor(l L'/L):
 *     S^ = P (sum_h' omega_h' S'_m,h') O + E
 * with P, O (N, N) that begin as unit matrices, omega (H') as 1/H', E (N, N) as 0. The maps are trained
 * beside the observer's weights and lie in a file beside its model. */
#ifndef RK_TUNE_OBSERVER_H
#define RK_TUNE_OBSERVER_H

#include "tune/state.h"

/* The maps, each a tensor of all layers and heads of the teacher. */
typedef enum rk_observer_map {
    RK_OBSERVER_LEFT,     /* P (L, H, N, N) */
    RK_OBSERVER_RIGHT,    /* O (L, H, N, N) */
    RK_OBSERVER_MIX,      /* omega (L, H, H') */
    RK_OBSERVER_CONSTANT, /* E (L, H, N, N) */
    RK_OBSERVER_MAPS
} rk_observer_map;

/* Of the states of a teacher and of its observer. */
typedef struct rk_observer {
    int64_t layers, heads, size; /* L, H, N */
    int64_t own_layers, own_heads;
    int part; /* of a layer's state, which is a matrix */
} rk_observer;

/* Errors  RK_ERR_UNSUPPORTED: the states are no matrices; RK_ERR_ARG: heads of two sizes, or two
 *         architectures. */
rk_status rk_observer_of(rk_observer *o, const rk_model *teacher, const rk_model *own,
                         rk_error *err);
/* The layer of the observer that tells layer l. */
static inline int64_t rk_observer_layer(const rk_observer *o, int64_t l)
{
    return l * o->own_layers / o->layers;
}
/* Put the maps behind the observer's parameters, with what they begin with. Errors  RK_ERR_NOMEM. */
rk_status rk_observer_attach(const rk_observer *o, rk_model *own, rk_error *err);
/* The parameter of a map; NULL where it is not attached. */
rk_param *rk_observer_param(const rk_model *own, rk_observer_map map);

/* Write the maps as they are now into folder dir, observer.safetensors, with the teacher's fingerprint.
 * Errors  those of rk_st_write. */
rk_status rk_observer_save(const rk_model *own, uint64_t teacher, const char *dir, rk_error *err);
/* The state of the teacher that the observer of folder dir tells after these tokens, as a file of a tuned
 * state (rk_state_of_tokens).
 * Errors  RK_ERR_ARG: the observer of another teacher; RK_ERR_FORMAT: a map that is missing, of another
 *         shape or not finite; those of opening its model, of sessions, of writing. */
rk_status rk_observer_state(const char *dir, const rk_model *teacher, rk_engine *e,
                            const int32_t *tokens, int64_t n, const char *path, rk_error *err);

#endif
