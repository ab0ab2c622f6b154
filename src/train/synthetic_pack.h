/* synthetic_pack.h: samples of a synthetic task as packed files (data/packed.h), a document each. */
#ifndef RK_TRAIN_SYNTHETIC_PACK_H
#define RK_TRAIN_SYNTHETIC_PACK_H

#include "base/pool.h"
#include "base/progress.h"
#include "train/synthetic/synthetic.h"

typedef struct rk_syn_pack {
    const char *out; /* ends in ".bin" */
    uint64_t seed;
    rk_syn_stream stream;
    int64_t first, n; /* samples */
    bool overwrite;
    rk_progress_fn *progress; /* samples written; may be NULL */
    int (*signal)(
        void *user); /* the signal that asks to stop, 0 while there is none; may be NULL */
    void *progress_user, *signal_user;
} rk_syn_pack;

/* Where each answer is the token that follows (rk_generator.next), OUT.bin has samples of n_tokens + 1
 * tokens and OUT.mask says which of them are asked for. Elsewhere it has n_tokens, and OUT.targets.bin
 * what is asked for at each of them, where its OUT.targets.mask says so. A call that was stopped is gone
 * on with by the same call; *signal is the one that stopped this one, 0 when all is written.
 * Errors  those of rk_packed_writer_open. */
rk_status rk_synthetic_pack(const rk_synthetic *s, const rk_syn_pack *how, rk_pool *pool,
                            int *signal, rk_error *err);

#endif
