/* lm.c: stem, block and head of language models. */
#include "model/lm.h"

#include "model/residence.h"

const rk_io_spec rk_lm_inputs[RK_LM_N_INPUTS] = {{"ids", "BT", true}};
const rk_io_spec rk_lm_outputs[RK_LM_N_OUTPUTS] = {{"hidden", "BTC", false}};

void rk_lm_stem(rk_ctx *ctx, const rk_model *m, const rk_forward *f, rk_block_io *io)
{
    const rk_lm_top *p = m->top;
    rk_tensor *emb = rk_model_embed(ctx, m, p->emb, f->in[0]);
    io->x = p->ln0_w ? rk_norm(ctx, emb, p->ln0_w, p->ln0_b, 1, m->hp.ln_eps) : emb;
}

void rk_lm_block(rk_ctx *ctx, const rk_model *m, int64_t layer, double dropout, rk_block_io *io)
{
    const void *at = rk_model_layer(m, layer);
    const rk_lm_layer *p = at;
    const uint64_t drop = 2 * (uint64_t)layer;
    rk_tensor *x = io->x, *ln;
    ln = rk_norm(ctx, x, p->ln1_w, p->ln1_b, 1, m->hp.ln_eps);
    x = m->arch->time_mix(ctx, m, layer, ln, x, io);
    x = rk_dropout(ctx, x, dropout, drop + 1);
    ln = rk_norm(ctx, x, p->ln2_w, p->ln2_b, 1, m->hp.ln_eps);
    x = m->arch->channel_mix(ctx, m, layer, ln, x, io);
    io->x = rk_dropout(ctx, x, dropout, drop + 2);
}

void rk_lm_head(rk_ctx *ctx, const rk_model *m, rk_tensor *x, rk_forward *f)
{
    const rk_lm_top *p = m->top;
    f->out[0] = rk_norm(ctx, x, p->ln_out_w, p->ln_out_b, 1, m->hp.ln_eps);
}
