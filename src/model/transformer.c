/* transformer.c: stem, block and head of transformers, their softmax attention, and their sizes.
 *
 * Shapes do not show how many heads there are, nor the wavelengths of the rotary embedding: files
 * state them (RK_FROM_STATED). What the rows of q and k show follows from there. */
#include "model/transformer.h"

#include <inttypes.h>
#include <math.h>

#include "base/num.h"
#include "model/residence.h"

/* ---- sizes ---- */

static double heads_of_64(const rk_hparams *hp, double arg)
{
    return (double)rk_max_i64(1, hp->n_embd / (int64_t)arg);
}

static double embd_of_a_head(const rk_hparams *hp, double arg)
{
    (void)arg;
    return (double)(hp->n_embd / hp->n_head);
}

static double as_many_heads(const rk_hparams *hp, double arg)
{
    (void)arg;
    return (double)hp->n_head;
}

/* 8/3 n_embd, up to a multiple of arg: three matrices then have what two have with 4 n_embd. */
static double ffn_of_three(const rk_hparams *hp, double arg)
{
    const int64_t step = (int64_t)arg;
    return (double)(rk_ceil_div(rk_ceil_div(8 * hp->n_embd, 3), step) * step);
}

#define EMB "model.embed_tokens.weight"
#define LAYER0 "model.layers.0."

/* Name, place, letter, range, default; where a file shows it; option. */
/* clang-format off */
static const rk_size_spec first[] = {
    {"n_layer", RK_SIZE(n_layer), 0, {1, RK_LAYERS_MAX}, {rk_size_constant, 6},
     {RK_FROM_LAYERS, NULL, 0, 0}, {"n-layer", "6", "layers"}},
    {"n_embd", RK_SIZE(n_embd), 'C', {1, RK_EMBD_MAX}, {rk_size_constant, 512},
     {RK_FROM_TENSOR, EMB, 2, 1}, {"n-embd", "512", "channels, a multiple of the head size"}},
    {"dim_ffn", RK_SIZE(dim_ffn), 'F', {1, RK_FFN_MAX}, {ffn_of_three, 64},
     {RK_FROM_TENSOR, LAYER0 "mlp.gate_proj.weight", 2, 0}, RK_DIM_FFN_OPTION},
};

static const rk_size_spec heads[] = {
    {"n_head", RK_SIZE(n_head), 'H', {1, RK_EMBD_MAX}, {heads_of_64, 64},
     {RK_FROM_STATED, NULL, 0, 0}, {"n-head", "n-embd / 64", "heads of softmax attention"}},
    {"head_size", RK_SIZE(head_size), 'D', {1, RK_HEAD_MAX}, {embd_of_a_head, 0},
     {RK_FROM_OTHERS, NULL, 0, 0}, RK_HEAD_SIZE_OPTION},
    {"n_kv_head", RK_OWN_SIZE(RK_TF_KV_HEADS), 'G', {1, RK_EMBD_MAX}, {as_many_heads, 0},
     {RK_FROM_OTHERS, NULL, 0, 0}, {"n-kv-head", "n-head", "heads of keys and values"}},
    {"dim_q", RK_OWN_SIZE(RK_TF_DIM_Q), 'Q', {1, RK_FFN_MAX}, {NULL, 0},
     {RK_FROM_TENSOR, LAYER0 "self_attn.q_proj.weight", 2, 0}, RK_NO_OPTION},
    {"dim_kv", RK_OWN_SIZE(RK_TF_DIM_KV), 'K', {1, RK_FFN_MAX}, {NULL, 0},
     {RK_FROM_TENSOR, LAYER0 "self_attn.k_proj.weight", 2, 0}, RK_NO_OPTION},
};

static const rk_size_spec last[] = {
    {"n_vocab", RK_SIZE(n_vocab), 'V', {1, RK_VOCAB_MAX}, {rk_size_constant, 256},
     {RK_FROM_TENSOR, EMB, 2, 0}, RK_NO_OPTION},
    {"tied", RK_SIZE(tied), 0, {0, 1}, {rk_size_constant, 0},
     {RK_FROM_ABSENCE, "lm_head.weight", 0, 0},
     {"tied", "0", "1: the head is the table of embeddings"}},
    {"n_positions", RK_OWN_SIZE(RK_TF_POSITIONS), 0, {1, INT32_MAX}, {rk_size_constant, 32768},
     {RK_FROM_META, NULL, 0, 0}, RK_NO_OPTION},
};
/* clang-format on */

const rk_size_table rk_tf_sizes_first = {first, RK_COUNT(first)};
const rk_size_table rk_tf_sizes_heads = {heads, RK_COUNT(heads)};
const rk_size_table rk_tf_sizes_last = {last, RK_COUNT(last)};

rk_tf_heads rk_tf_heads_of(const rk_hparams *hp)
{
    return (rk_tf_heads){hp->n_head, hp->own[RK_TF_KV_HEADS].n, hp->head_size,
                         hp->own[RK_TF_THETA].x};
}

rk_status rk_tf_settle_file(rk_tf_heads *h, int64_t dim_q, int64_t dim_kv, int64_t layer,
                            const rk_file *file, rk_error *err)
{
    h->size = dim_q / h->n;
    if (h->size < 1 || h->size * h->n != dim_q || h->size > RK_HEAD_MAX)
        return rk_fail(err, RK_ERR_FORMAT,
                       "%s: n_head is %" PRId64 ", which does not divide the %" PRId64
                       " rows of 'model.layers.%" PRId64
                       ".self_attn.q_proj.weight' into heads of 2 to %d",
                       rk_file_name(file), h->n, dim_q, layer, RK_HEAD_MAX);
    h->n_kv = dim_kv / h->size;
    if (h->n_kv * h->size != dim_kv)
        return rk_fail(err, RK_ERR_FORMAT,
                       "%s: 'model.layers.%" PRId64 ".self_attn.k_proj.weight' has %" PRId64
                       " rows, no multiple of the head size, %" PRId64,
                       rk_file_name(file), layer, dim_kv, h->size);
    return RK_OK;
}

rk_status rk_tf_check_heads(const rk_tf_heads *h, const char *where, rk_status code, rk_error *err)
{
    if (h->n_kv < 1 || h->n % h->n_kv != 0)
        return rk_fail(err, code, "%s: n_head is %" PRId64 ", no multiple of n_kv_head, %" PRId64,
                       where, h->n, h->n_kv);
    if (h->size < 2 || h->size % 2 != 0)
        return rk_fail(err, code,
                       "%s: a head size of %" PRId64
                       ", expected an even one: a rotary embedding turns pairs",
                       where, h->size);
    return RK_OK;
}

/* A file shows the rows of q and k and states the heads of q; a new model is given the heads. */
rk_status rk_tf_settle(const rk_arch *arch, rk_hparams *hp, const rk_file *file, rk_error *err)
{
    rk_tf_heads h = rk_tf_heads_of(hp);
    const rk_status st =
        file ? rk_tf_settle_file(&h, hp->own[RK_TF_DIM_Q].n, hp->own[RK_TF_DIM_KV].n, 0, file, err)
             : RK_OK;
    if (st != RK_OK)
        return st;
    hp->head_size = h.size;
    hp->own[RK_TF_KV_HEADS].n = h.n_kv;
    hp->own[RK_TF_DIM_Q].n = h.n * h.size;
    hp->own[RK_TF_DIM_KV].n = h.n_kv * h.size;
    return rk_tf_check_heads(&h, file ? rk_file_name(file) : arch->name,
                             file ? RK_ERR_FORMAT : RK_ERR_ARG, err);
}

/* ---- forward ---- */

const rk_io_spec rk_tf_inputs[1] = {{"ids", "BT", true}};
const rk_io_spec rk_tf_outputs[1] = {{"hidden", "BTC", false}};

void rk_tf_stem(rk_ctx *ctx, const rk_model *m, const rk_forward *f, rk_block_io *io)
{
    const rk_tf_top *p = m->top;
    io->x = rk_model_embed(ctx, m, p->emb ? p->emb : p->head.matrix, f->in[0]);
}

void rk_tf_block(rk_ctx *ctx, const rk_model *m, int64_t layer, double dropout, rk_block_io *io)
{
    const void *at = rk_model_layer(m, layer);
    const rk_tf_layer *p = at;
    const uint64_t drop = 2 * (uint64_t)layer;
    rk_tensor *x = io->x, *n;
    n = rk_rms_norm(ctx, x, p->norm1, m->hp.ln_eps);
    x = m->arch->time_mix(ctx, m, layer, n, x, io);
    x = rk_dropout(ctx, x, dropout, drop + 1);
    n = rk_rms_norm(ctx, x, p->norm2, m->hp.ln_eps);
    x = m->arch->channel_mix(ctx, m, layer, n, x, io);
    io->x = rk_dropout(ctx, x, dropout, drop + 2);
}

void rk_tf_head(rk_ctx *ctx, const rk_model *m, rk_tensor *x, rk_forward *f)
{
    const rk_tf_top *p = m->top;
    f->out[0] = rk_rms_norm(ctx, x, p->norm, m->hp.ln_eps);
}

rk_tensor *rk_tf_mlp(rk_ctx *ctx, const rk_model *m, int64_t layer, rk_tensor *x,
                     rk_tensor *residual, rk_block_io *io)
{
    const void *at = rk_model_layer(m, layer);
    const rk_tf_layer *p = at;
    (void)io;
    return rk_swiglu_mix_forward(ctx, &p->mlp, x, residual);
}

/* (B, T, n N) as (B, T, n, N). */
static rk_tensor *split(rk_ctx *ctx, rk_tensor *x, int64_t n_heads)
{
    if (!x)
        return NULL;
    const int64_t dims[] = {x->dims[0], x->dims[1], n_heads, x->dims[2] / n_heads};
    return rk_view(ctx, x, 4, dims);
}

rk_attention_in rk_tf_attention_of(rk_ctx *ctx, const rk_tf_heads *h,
                                   const rk_tf_attention_layer *p, rk_tensor *x, rk_tensor *keys,
                                   rk_tensor *values)
{
    enum { Q, K, V, N_READS };
    const rk_linears_in reads[N_READS] = {[Q] = {x, p->q, RK_UNARY_NONE},
                                          [K] = {x, p->k, RK_UNARY_NONE},
                                          [V] = {x, p->v, RK_UNARY_NONE}};
    rk_tensor *r[N_READS] = {NULL};
    rk_linears(ctx, reads, N_READS, r);
    return (rk_attention_in){.q = split(ctx, r[Q], h->n),
                             .k = split(ctx, r[K], h->n_kv),
                             .v = split(ctx, r[V], h->n_kv),
                             .q_bias = p->q_bias,
                             .k_bias = p->k_bias,
                             .v_bias = p->v_bias,
                             .keys = keys,
                             .values = values,
                             .theta = h->theta,
                             .scale = 1.0 / sqrt((double)h->size)};
}

rk_tensor *rk_tf_attention(rk_ctx *ctx, const rk_tf_heads *h, const rk_tf_attention_layer *p,
                           rk_tensor *x, rk_tensor *residual, rk_tensor **keys, rk_tensor **values)
{
    const rk_attention_in in = rk_tf_attention_of(ctx, h, p, x, *keys, *values);
    rk_tensor *y = rk_attention(ctx, &in, keys, values);
    if (!y)
        return NULL;
    const int64_t dims[] = {y->dims[0], y->dims[1], h->n * h->size};
    return rk_linear(ctx, rk_view(ctx, y, 3, dims), p->o, residual);
}
