/* rwkv7.h: what RWKV-7 and RWKV-7a share. */
#ifndef RK_MODEL_RWKV7_H
#define RK_MODEL_RWKV7_H

#include "model/lm.h"
#include "model/pair.h"
#include "model/records.h"
#include "nn/rwkv7.h"

typedef struct rk_rwkv7_layer {
    rk_lm_layer norms;
    rk_rwkv7_time_mix att;
    rk_rwkv7_channel_mix ffn;
    rk_tensor *time_state; /* (H, N value, N key), may be NULL: the state that streams begin with */
    rk_tensor *path_state; /* (H, M, M), of a kernel path */
    rk_tensor *ts_state;   /* (C), may be NULL: what stands before the first token in the shift */
} rk_rwkv7_layer;

/* Places in rk_hparams.own. */
enum {
    RK_RWKV7_RANK_W,
    RK_RWKV7_RANK_A,
    RK_RWKV7_RANK_V,
    RK_RWKV7_RANK_G,
    RK_RWKV7_REMOVAL,
    RK_RWKV7_OWN
};
extern const rk_size_table rk_rwkv7_sizes;

/* Parts of a state: shift, recurrence, shift of the channel mix; behind them that of a kernel path. */
/* clang-format off */
#define RK_RWKV7_STATE \
    {.name = "att.shift", .shape = "C", .tuned = offsetof(rk_rwkv7_layer, ts_state)}, \
    {.name = "att.wkv", .shape = "HNN", .kind = RK_STATE_MATRIX, \
     .tuned = offsetof(rk_rwkv7_layer, time_state)}, \
    {.name = "ffn.shift", .shape = "C"}
/* clang-format on */
enum { RK_RWKV7_N_STATE = 3, RK_RWKV7_PATH = RK_RWKV7_N_STATE };
extern const rk_state_spec rk_rwkv7_state[RK_RWKV7_N_STATE];
enum { RK_RWKV7_N_CARRY = 1 };
extern const rk_io_spec rk_rwkv7_carry[RK_RWKV7_N_CARRY];
/* Places in rk_block_io.given: tokens (B, T) and their embedding after ln0 (B, T, C), which only
 * DeepEmbed reads. */
enum { RK_RWKV7_IDS, RK_RWKV7_EMB };
rk_mixer_fn rk_rwkv7_att, rk_rwkv7_ffn;

#endif
