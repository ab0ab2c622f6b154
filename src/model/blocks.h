/* blocks.h: what all RWKV language models share: embedding, ln0, blocks, ln_out, head.
 *
 * An architecture brings one function, a block. It works in place on io: the residual stream, what
 * the first block hands to all others (or nothing), and the block's state; beside them it sees the
 * tokens. */
#ifndef RK_MODEL_BLOCKS_H
#define RK_MODEL_BLOCKS_H

#include "model/init.h"

typedef struct rk_lm_top {
    rk_tensor *emb, *ln0_w, *ln0_b, *ln_out_w, *ln_out_b, *head;
} rk_lm_top;

/* Rows of a parameter table: before the blocks' and behind them. */
#define RK_LM_TOP(f) RK_SCOPE_MODEL, offsetof(rk_lm_top, f)
#define RK_LM_FIRST_PARAMS                                                                         \
    {"emb.weight", "VC", RK_ROLE_EMB, RK_LM_TOP(emb), rk_init_uniform, 1e-4, 1},                   \
        {"blocks.0.ln0.weight", "C", RK_ROLE_VECTOR, RK_LM_TOP(ln0_w), rk_init_constant, 1, 1},    \
    {                                                                                              \
        "blocks.0.ln0.bias", "C", RK_ROLE_VECTOR, RK_LM_TOP(ln0_b), rk_init_constant, 0, 1         \
    }
#define RK_LM_LAST_PARAMS                                                                          \
    {"ln_out.weight", "C", RK_ROLE_VECTOR, RK_LM_TOP(ln_out_w), rk_init_constant, 1, 1},           \
        {"ln_out.bias", "C", RK_ROLE_VECTOR, RK_LM_TOP(ln_out_b), rk_init_constant, 0, 1},         \
    {                                                                                              \
        "head.weight", "VC", RK_ROLE_HEAD, RK_LM_TOP(head), rk_init_orthogonal_tall, 0.5, 1        \
    }

/* Places in io. IDS (B, T) and EMB, the embedding after ln0 (B, T, C), are there with
 * RK_LM_SEES_TOKENS and only read. */
enum {
    RK_BLOCK_X,
    RK_BLOCK_CARRY,
    RK_BLOCK_IDS,
    RK_BLOCK_EMB,
    RK_BLOCK_STATE,
    RK_BLOCK_IO = RK_BLOCK_STATE + RK_STATE_MAX
};

typedef void rk_block_fn(rk_ctx *ctx, const rk_model *m, int64_t layer, double dropout,
                         rk_tensor **io);

/* What blocks hand on and see beside the residual stream. */
typedef enum rk_lm_uses {
    RK_LM_CARRIES = 1, /* block 0 leaves (B, T, H, N) in io[RK_BLOCK_CARRY] for those behind it */
    RK_LM_SEES_TOKENS = 2,
} rk_lm_uses;
/* Hidden rows (B, T, C) after the last norm; uses: a sum of rk_lm_uses. */
rk_tensor *rk_lm_forward(rk_ctx *ctx, const rk_model *m, const rk_forward *f, rk_block_fn *block,
                         unsigned uses);

/* ---- reading sizes from a file ---- */

/* A tensor of n_dims dimensions; NULL and the sentence when there is none. */
const rk_file_tensor *rk_need_tensor(const rk_file *f, const char *arch, const char *name,
                                     int n_dims, rk_error *err);
/* One more than the largest N of a name "blocks.N.": layers need not come in order. */
int64_t rk_count_layers(const rk_file *f);
/* A tensor whose dimensions are sizes: offsets in rk_hparams, in order; (size_t)-1: any. */
typedef struct rk_size_source {
    const char *name;
    int n_dims;
    size_t sizes[3];
} rk_size_source;
#define RK_HP(field) offsetof(rk_hparams, field)
#define RK_HP_ANY ((size_t)-1)
/* Fill hp from the sources; n_layer is counted and every size is checked against [1, 2^31).
 * Errors  RK_ERR_FORMAT: file, tensor, what was found. */
rk_status rk_read_sizes(const rk_file *f, const char *arch, const rk_size_source *sources, int n,
                        rk_hparams *hp, rk_error *err);
int64_t rk_dim_ffn_35(int64_t n_embd); /* 3.5 n_embd, down to a multiple of 32, at least 32 */
/* Refuse sizes that are not positive or do not divide; n_head follows from head_size. */
rk_status rk_check_new_sizes(rk_hparams *hp, rk_error *err);

#endif
