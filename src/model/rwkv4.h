/* rwkv4.h: what an architecture built on RWKV-4's shares with it. */
#ifndef RK_MODEL_RWKV4_H
#define RK_MODEL_RWKV4_H

#include "model/lm.h"
#include "nn/rwkv4.h"

typedef struct rk_rwkv4_layer {
    rk_lm_layer norms;
    rk_rwkv4_time_mix att;
    rk_gated_channel_mix ffn;
    /* What streams begin with, at pp = 0; may be NULL. (C) each: aa, bb, and the row before the first. */
    rk_tensor *time_state, *time_state_sum, *ts_state;
} rk_rwkv4_layer;

/* Parts of a layer's state, first in an architecture's. */
enum {
    RK_RWKV4_ATT_SHIFT,
    RK_RWKV4_AA,
    RK_RWKV4_BB,
    RK_RWKV4_PP,
    RK_RWKV4_FFN_SHIFT,
    RK_RWKV4_N_STATE
};
/* clang-format off */
#define RK_RWKV4_STATE                                                                              \
    [RK_RWKV4_ATT_SHIFT] = {.name = "att.shift", .shape = "C", .tuned = offsetof(rk_rwkv4_layer, ts_state)}, \
    [RK_RWKV4_AA] = {.name = "att.aa", .shape = "C", .tuned = offsetof(rk_rwkv4_layer, time_state)}, \
    [RK_RWKV4_BB] = {.name = "att.bb", .shape = "C", .tuned = offsetof(rk_rwkv4_layer, time_state_sum)}, \
    [RK_RWKV4_PP] = {.name = "att.pp", .shape = "C", .initial = -1e30, /* no -inf: differences */   \
                     .zero_if_tuned = true},                                                        \
    [RK_RWKV4_FFN_SHIFT] = {.name = "ffn.shift", .shape = "C"}
/* clang-format on */

/* Of channels that are on their own: one head, which rk_rwkv4_settle makes as wide as the model. */
extern const rk_size_table rk_rwkv4_sizes;
rk_settle_fn rk_rwkv4_settle;

#endif
