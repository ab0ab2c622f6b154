/* rwkv7a.c: RWKV-7a, RWKV-7 with DeepEmbed in its channel mix (BlinkDL/RWKV-LM,
 * RWKV-v7/rwkv_v7a_demo.py).
 *
 * The demo adds s_emb_x @ embedding to every row of s_emb when it loads a model. Here that is done
 * for the rows that are looked up: the tables stay in the file's pages, training needs the two
 * apart anyway, and the product is a twelfth of a layer's work or less (32 * 32 C of 12 C C). */
#include <stddef.h>

#include "base/num.h"
#include "model/records.h"
#include "model/rwkv7.h"

#define LAYER(f) RK_SCOPE_LAYER, offsetof(rk_rwkv7_layer, f)

/* No trainer of RWKV-7a has been published, so the initial values are chosen here: with s0 = 1 and
 * s1 = 0 it begins as the RWKV-7 beside it. */
static const rk_param_spec params[] = {
    {"blocks.%d.ffn.s_emb.weight", "VS", RK_ROLE_EMB, LAYER(ffn.s_emb), rk_init_uniform, 1e-4, 1},
    {"blocks.%d.ffn.s_emb_x.weight", "SC", RK_ROLE_EMB_MAP, LAYER(ffn.s_emb_x), rk_init_orthogonal,
     1, 1},
    {"blocks.%d.ffn.s0", "F", RK_ROLE_VECTOR, LAYER(ffn.s0), rk_init_constant, 1, 1},
    {"blocks.%d.ffn.s1", "Cs", RK_ROLE_LOW_RANK, LAYER(ffn.s1), rk_init_constant, 0, 1},
    {"blocks.%d.ffn.s2", "sF", RK_ROLE_LOW_RANK, LAYER(ffn.s2), rk_init_orthogonal_tall, 0.1, 1},
};

enum { RANK_MAX = 1024 };

static bool detect(const rk_file *f)
{
    return rk_file_find(f, "blocks.0.att.r_k") && rk_file_find(f, "blocks.0.ffn.s_emb.weight");
}

enum { RANK_S = RK_RWKV7_OWN, DIM_S };

/* Name, place, letter, range, default; where a file shows it; option. */
/* clang-format off */
static const rk_size_spec own[] = {
    {"rank_s", RK_OWN_SIZE(RANK_S), 's', {1, RANK_MAX}, {rk_size_constant, 32},
     {RK_FROM_TENSOR, "blocks.0.ffn.s1", 2, 1}, RK_NO_OPTION},
    {"dim_s", RK_OWN_SIZE(DIM_S), 'S', {1, RANK_MAX * RANK_MAX}, {NULL, 0},
     {RK_FROM_OTHERS, NULL, 0, 0}, RK_NO_OPTION},
};
/* clang-format on */
static const rk_size_table own_sizes = {own, RK_COUNT(own)};

static rk_status settle(const rk_arch *arch, rk_hparams *hp, const rk_file *file, rk_error *err)
{
    hp->own[DIM_S].n = hp->own[RANK_S].n * hp->own[RANK_S].n;
    return rk_settle_heads(arch, hp, file, err);
}

/* Blocks see the tokens and their embeddings. */
static void stem(rk_ctx *ctx, const rk_model *m, const rk_forward *f, rk_block_io *io)
{
    rk_lm_stem(ctx, m, f, io);
    io->given[RK_RWKV7_IDS] = f->in[0];
    io->given[RK_RWKV7_EMB] = io->x;
}

const rk_arch rk_arch_rwkv7a = {
    .name = "rwkv7a",
    .base = &rk_arch_rwkv7,
    .params = params,
    .n_params = RK_COUNT(params),
    .state = rk_rwkv7_state,
    .n_state = RK_RWKV7_N_STATE,
    .layer_bytes = sizeof(rk_rwkv7_layer),
    .detect = detect,
    .sizes = {&rk_sizes_first, &rk_rwkv7_sizes, &own_sizes, &rk_sizes_pairs, &rk_sizes_clusters,
              &rk_sizes_records, &rk_sizes_last_x},
    .settle = settle,
    .carry = rk_rwkv7_carry,
    .n_carry = RK_RWKV7_N_CARRY,
    RK_LM_PARTS,
    .stem = stem,
    .time_mix = rk_rwkv7_att,
    .channel_mix = rk_rwkv7_ffn,
};
