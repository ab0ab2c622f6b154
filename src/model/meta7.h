/* meta7.h: what those who make Meta-State models of others know of them. */
#ifndef RK_MODEL_META7_H
#define RK_MODEL_META7_H

#include "model/rwkv7.h"

/* Places in rk_hparams.own. */
enum {
    RK_META7_HEADS = RK_RWKV7_OWN, /* that are asked */
    RK_META7_EXTRA,                /* whose readings nobody uses but who asks */
    RK_META7_CHANNELS,             /* of gamma */
    RK_META7_DIM,                  /* channels of all heads, */
    RK_META7_READ,                 /* of those that the time mix reads */
    RK_META7_STATES,               /* heads of the state */
    RK_META7_LISTED,               /* of them, that a tensor lists: all or none */
    RK_META7_GENERATIONS,          /* rows of what the model was before it grew */
    RK_META7_NORM,
    RK_META7_TIME,
    RK_META7_ROUTE_K,
    RK_META7_ROUTE_BLOCK,
    RK_META7_ROUTE_GATE,
    RK_META7_ROUTE_BALANCE,
    RK_META7_ADOPTED, /* 1: made of a model of another architecture, and to begin as it */
    RK_META7_OWN
};

/* A row of a layer's generations: 0 before the layer was there. */
enum { RK_META7_BORN_TOKENS, RK_META7_BORN_HEADS, RK_META7_BORN_META, RK_META7_BORN };

/* The i-th head that is asked where nothing says which: the first ones, in which memory is longest, and
 * behind them those that are there for nothing else. */
int64_t rk_meta7_usual_head(const rk_hparams *hp, int64_t i);
/* Sizes that follow from the others, in models of any origin, and whether they fit each other; where and code are
 * of the error. */
rk_status rk_meta7_settle(rk_hparams *hp, const char *where, rk_status code, rk_error *err);

#endif
