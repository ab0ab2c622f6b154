/* graft.h: WuNeng's heads (model/wuneng.c) beside those of a trained transformer, and more of them beside
 * those that are there. What is made computes what the host did, bit for bit: the new outputs are zero. */
#ifndef RK_TUNE_GRAFT_H
#define RK_TUNE_GRAFT_H

#include "model/model.h"

enum { RK_GRAFT_SIZES_MAX = 48 };

typedef struct rk_graft {
    const rk_size *sizes; /* (n_sizes) of what is added: "state_heads", "middle_mode" */
    int64_t n_sizes;
    /* An RWKV-7 model of the same width and size of heads, whose heads the state heads begin as: all of
     * them, or the first ones. Options that it has are on. NULL: initial values. */
    const rk_model *from;
    double out_scale; /* of its output projection: 0 keeps the host's logits */
    uint64_t seed;
    const rk_layer_set
        *kept; /* layers that get no heads; NULL: none, or those of a host with heads */
} rk_graft;

/* The host's tensors stay its own, which outlives the model. Closed by rk_graft_close.
 * Errors  RK_ERR_UNSUPPORTED: the host is of another architecture, or has no file; RK_ERR_ARG: sizes, or
 *         fewer heads than there are; RK_ERR_NOMEM. */
rk_status rk_graft_new(rk_model **out, const rk_model *host, const rk_graft *how, rk_error *err);
void rk_graft_close(rk_model *m);

#endif
