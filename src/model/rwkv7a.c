/* rwkv7a.c: RWKV-7a, RWKV-7 with DeepEmbed in its channel mix (BlinkDL/RWKV-LM,
 * RWKV-v7/rwkv_v7a_demo.py).
 *
 * The demo adds s_emb_x @ embedding to every row of s_emb when it loads a model. Here that is done
 * for the rows that are looked up: the tables stay in the file's pages, training needs the two
 * apart anyway, and the product is a twelfth of a layer's work or less (32 * 32 C of 12 C C). */
#include <stddef.h>

#include "base/num.h"
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

enum { RANK = 32, RANK_MAX = 1024 };

static bool detect(const rk_file *f)
{
    return rk_file_find(f, "blocks.0.att.r_k") && rk_file_find(f, "blocks.0.ffn.s_emb.weight");
}

static void set_rank(rk_hparams *hp, int64_t rank)
{
    hp->rank_s = rank;
    hp->dim_s = rank * rank;
}

static rk_status read_hparams(const rk_file *f, rk_hparams *hp, rk_error *err)
{
    const rk_status st = rk_arch_rwkv7.read_hparams(f, hp, err);
    if (st != RK_OK)
        return st;
    const rk_file_tensor *s1 = rk_need_tensor(f, "rwkv7a", "blocks.0.ffn.s1", 2, err);
    if (!s1)
        return RK_ERR_FORMAT;
    if (s1->dims[1] < 1 || s1->dims[1] > RANK_MAX)
        return rk_fail(err, RK_ERR_FORMAT, "%s: a size of %lld in '%s', expected 1 to %d",
                       rk_file_name(f), (long long)s1->dims[1], s1->name, RANK_MAX);
    set_rank(hp, s1->dims[1]);
    return RK_OK;
}

static rk_status default_hparams(rk_hparams *hp, rk_error *err)
{
    set_rank(hp, hp->rank_s ? hp->rank_s : RANK);
    return rk_arch_rwkv7.default_hparams(hp, err);
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
    .read_hparams = read_hparams,
    .default_hparams = default_hparams,
    .carry = rk_rwkv7_carry,
    .n_carry = RK_RWKV7_N_CARRY,
    RK_LM_PARTS,
    .stem = stem,
    .time_mix = rk_rwkv7_att,
    .channel_mix = rk_rwkv7_ffn,
};
