/* rwkv7.c: RWKV-7 "Goose" (arXiv 2503.14456; BlinkDL/RWKV-LM, RWKV-v7, x070).
 *
 * A block is x += time_mix(LN1(x)); x += channel_mix(LN2(x)), with the mixers of nn/rwkv7.h. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/init.h"
#include "nn/rwkv7.h"

typedef struct rwkv7_top {
    rk_tensor *emb, *ln0_w, *ln0_b, *ln_out_w, *ln_out_b, *head;
} rwkv7_top;

typedef struct rwkv7_layer {
    rk_tensor *ln1_w, *ln1_b, *ln2_w, *ln2_b;
    rk_rwkv7_time_mix att;
    rk_rwkv7_channel_mix ffn;
} rwkv7_layer;

#define TOP(f) RK_SCOPE_MODEL, offsetof(rwkv7_top, f)
#define LAYER(f) RK_SCOPE_LAYER, offsetof(rwkv7_layer, f)
#define LATER(f) RK_SCOPE_LATER, offsetof(rwkv7_layer, f)

/* Name, shape, place, initial value and its argument, factor of the learning rate. The values are
 * those of RWKV-LM's RWKV-v7/train_temp: the constructor's, with the second pass over `.weight`s.
 */
static const rk_param_spec params[] = {
    {"emb.weight", "VC", TOP(emb), rk_init_uniform, 1e-4, 1},
    {"blocks.0.ln0.weight", "C", TOP(ln0_w), rk_init_constant, 1, 1},
    {"blocks.0.ln0.bias", "C", TOP(ln0_b), rk_init_constant, 0, 1},
    {"blocks.%d.ln1.weight", "C", LAYER(ln1_w), rk_init_constant, 1, 1},
    {"blocks.%d.ln1.bias", "C", LAYER(ln1_b), rk_init_constant, 0, 1},
    {"blocks.%d.ln2.weight", "C", LAYER(ln2_w), rk_init_constant, 1, 1},
    {"blocks.%d.ln2.bias", "C", LAYER(ln2_b), rk_init_constant, 0, 1},
    {"blocks.%d.att.x_r", "11C", LAYER(att.x_r), rk_init_mix, 0.2, 1},
    {"blocks.%d.att.x_w", "11C", LAYER(att.x_w), rk_init_mix, 0.9, 1},
    {"blocks.%d.att.x_k", "11C", LAYER(att.x_k), rk_init_mix, 0.7, 1},
    {"blocks.%d.att.x_v", "11C", LAYER(att.x_v), rk_init_mix, 0.7, 1},
    {"blocks.%d.att.x_a", "11C", LAYER(att.x_a), rk_init_mix, 0.9, 1},
    {"blocks.%d.att.x_g", "11C", LAYER(att.x_g), rk_init_mix, 0.2, 1},
    {"blocks.%d.att.w0", "11C", LAYER(att.w0), rk_init_w0, 0, 2},
    {"blocks.%d.att.w1", "Cw", LAYER(att.w1), rk_init_constant, 0, 1},
    {"blocks.%d.att.w2", "wC", LAYER(att.w2), rk_init_orthogonal_tall, 0.1, 1},
    {"blocks.%d.att.a0", "11C", LAYER(att.a0), rk_init_a0, 0, 1},
    {"blocks.%d.att.a1", "Ca", LAYER(att.a1), rk_init_constant, 0, 1},
    {"blocks.%d.att.a2", "aC", LAYER(att.a2), rk_init_orthogonal_tall, 0.1, 1},
    {"blocks.%d.att.v0", "11C", LATER(att.v0), rk_init_slope, 0.73, 1},
    {"blocks.%d.att.v1", "Cv", LATER(att.v1), rk_init_constant, 0, 1},
    {"blocks.%d.att.v2", "vC", LATER(att.v2), rk_init_orthogonal_tall, 0.1, 1},
    {"blocks.%d.att.g1", "Cg", LAYER(att.g1), rk_init_constant, 0, 1},
    {"blocks.%d.att.g2", "gC", LAYER(att.g2), rk_init_orthogonal_tall, 0.1, 1},
    {"blocks.%d.att.k_k", "11C", LAYER(att.k_k), rk_init_k_k, 0.71, 1},
    {"blocks.%d.att.k_a", "11C", LAYER(att.k_a), rk_init_constant, 1.02, 1},
    {"blocks.%d.att.r_k", "HN", LAYER(att.r_k), rk_init_constant, -0.04, 1},
    {"blocks.%d.att.receptance.weight", "CC", LAYER(att.receptance), rk_init_orthogonal, 1, 1},
    {"blocks.%d.att.key.weight", "CC", LAYER(att.key), rk_init_orthogonal, 0.1, 1},
    {"blocks.%d.att.value.weight", "CC", LAYER(att.value), rk_init_orthogonal, 1, 1},
    {"blocks.%d.att.output.weight", "CC", LAYER(att.output), rk_init_constant, 0, 1},
    {"blocks.%d.att.ln_x.weight", "C", LAYER(att.ln_x_w), rk_init_ln_x, 0.7, 1},
    {"blocks.%d.att.ln_x.bias", "C", LAYER(att.ln_x_b), rk_init_constant, 0, 1},
    {"blocks.%d.ffn.x_k", "11C", LAYER(ffn.x_k), rk_init_mix_ffn, 4, 1},
    {"blocks.%d.ffn.key.weight", "FC", LAYER(ffn.key), rk_init_orthogonal, 1, 1},
    {"blocks.%d.ffn.value.weight", "CF", LAYER(ffn.value), rk_init_constant, 0, 1},
    {"ln_out.weight", "C", TOP(ln_out_w), rk_init_constant, 1, 1},
    {"ln_out.bias", "C", TOP(ln_out_b), rk_init_constant, 0, 1},
    {"head.weight", "VC", TOP(head), rk_init_orthogonal_tall, 0.5, 1},
};

enum { ATT_SHIFT, ATT_WKV, FFN_SHIFT, N_STATE };
static const rk_state_spec state[N_STATE] = {
    [ATT_SHIFT] = {"att.shift", "C"},
    [ATT_WKV] = {"att.wkv", "HNN"},
    [FFN_SHIFT] = {"ffn.shift", "C"},
};

/* ---- sizes ---- */

static bool detect(const rk_file *f)
{
    return rk_file_find(f, "blocks.0.att.r_k") != NULL;
}

static const rk_file_tensor *need(const rk_file *f, const char *name, int n_dims, rk_error *err)
{
    const rk_file_tensor *t = rk_file_find(f, name);
    if (!t)
        rk_fail(err, RK_ERR_FORMAT, "%s: no tensor '%s', which an rwkv7 model has", rk_file_name(f),
                name);
    else if (t->n_dims != n_dims)
        rk_fail(err, RK_ERR_FORMAT, "%s: tensor '%s' has %d dimensions, expected %d", rk_file_name(f),
                name, t->n_dims, n_dims);
    return t && t->n_dims == n_dims ? t : NULL;
}

/* One more than the largest N of a name "blocks.N.": layers need not come in order. */
static int64_t count_layers(const rk_file *f)
{
    int64_t n = 0;
    for (int64_t i = 0; i < rk_file_count(f); i++) {
        int layer = 0;
        if (sscanf(rk_file_at(f, i)->name, "blocks.%6d.", &layer) == 1 && layer >= n)
            n = (int64_t)layer + 1;
    }
    return n;
}

/* An empty tensor may claim any size beside its 0, so every size is looked at. */
static rk_status check_sizes(const rk_file *f, const rk_hparams *hp, rk_error *err)
{
    const int64_t sizes[] = {hp->n_vocab, hp->n_embd, hp->n_layer, hp->n_head, hp->head_size,
                             hp->dim_ffn, hp->rank_w, hp->rank_a,  hp->rank_v, hp->rank_g};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (sizes[i] < 1 || sizes[i] > INT32_MAX)
            return rk_fail(err, RK_ERR_FORMAT, "%s: a size of %lld, expected 1 to %d",
                           rk_file_name(f), (long long)sizes[i], INT32_MAX);
    if (hp->n_head * hp->head_size != hp->n_embd)
        return rk_fail(err, RK_ERR_FORMAT,
                       "%s: tensor 'blocks.0.att.r_k' has %lld x %lld elements, n_embd is %lld",
                       rk_file_name(f), (long long)hp->n_head, (long long)hp->head_size,
                       (long long)hp->n_embd);
    return RK_OK;
}

static rk_status read_hparams(const rk_file *f, rk_hparams *hp, rk_error *err)
{
    static const struct {
        const char *name;
        size_t rows, cols; /* offsets of the sizes in rk_hparams that its dimensions give */
    } sources[] = {
        {"emb.weight", offsetof(rk_hparams, n_vocab), offsetof(rk_hparams, n_embd)},
        {"blocks.0.att.r_k", offsetof(rk_hparams, n_head), offsetof(rk_hparams, head_size)},
        {"blocks.0.ffn.key.weight", offsetof(rk_hparams, dim_ffn), offsetof(rk_hparams, n_embd)},
        {"blocks.0.att.w1", offsetof(rk_hparams, n_embd), offsetof(rk_hparams, rank_w)},
        {"blocks.0.att.a1", offsetof(rk_hparams, n_embd), offsetof(rk_hparams, rank_a)},
        {"blocks.0.att.g1", offsetof(rk_hparams, n_embd), offsetof(rk_hparams, rank_g)},
        {"blocks.1.att.v1", offsetof(rk_hparams, n_embd), offsetof(rk_hparams, rank_v)},
    };
    *hp = (rk_hparams){.n_layer = count_layers(f), .ln_eps = 1e-5, .ln_x_eps = 64e-5};
    for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
        if (i == 6 && hp->n_layer < 2)
            break; /* one layer: there is no value residual */
        const rk_file_tensor *t = need(f, sources[i].name, 2, err);
        if (!t)
            return RK_ERR_FORMAT;
        memcpy((char *)hp + sources[i].rows, &t->dims[0], sizeof t->dims[0]);
        memcpy((char *)hp + sources[i].cols, &t->dims[1], sizeof t->dims[1]);
    }
    if (hp->n_layer < 2)
        hp->rank_v = 1;
    return check_sizes(f, hp, err);
}

/* max(32, 32 round(x / 32)), halves to even, as the trainer of RWKV-LM computes ranks. */
static int64_t rank_of(double x)
{
    const int64_t r = 32 * (int64_t)nearbyint(x / 32.0);
    return r < 32 ? 32 : r;
}

static rk_status default_hparams(rk_hparams *hp, rk_error *err)
{
    if (hp->head_size == 0)
        hp->head_size = 64;
    if (hp->n_vocab < 1 || hp->n_embd < 1 || hp->n_layer < 1 || hp->head_size < 1)
        return rk_fail(err, RK_ERR_ARG,
                       "n_vocab, n_embd, n_layer and head_size must be positive, got %lld, %lld, "
                       "%lld and %lld",
                       (long long)hp->n_vocab, (long long)hp->n_embd, (long long)hp->n_layer,
                       (long long)hp->head_size);
    if (hp->n_embd % hp->head_size != 0)
        return rk_fail(err, RK_ERR_ARG, "n_embd %lld is not a multiple of head_size %lld",
                       (long long)hp->n_embd, (long long)hp->head_size);
    const double root = sqrt((double)hp->n_embd);
    hp->n_head = hp->n_embd / hp->head_size;
    hp->dim_ffn = hp->dim_ffn ? hp->dim_ffn : 4 * hp->n_embd;
    hp->rank_w = hp->rank_w ? hp->rank_w : rank_of(2.5 * root);
    hp->rank_a = hp->rank_a ? hp->rank_a : rank_of(2.5 * root);
    hp->rank_v = hp->rank_v ? hp->rank_v : rank_of(1.7 * root);
    hp->rank_g = hp->rank_g ? hp->rank_g : rank_of(5.0 * root);
    hp->ln_eps = 1e-5;
    hp->ln_x_eps = 64e-5;
    return RK_OK;
}

/* ---- forward ---- */

typedef struct block_job {
    const rk_model *m;
    int64_t layer;
    double dropout;
} block_job;

/* What a block takes and leaves: x, v_first, its state. */
enum { X, VF, STATE, N_BLOCK = STATE + N_STATE };

static void block(rk_ctx *ctx, void *user, rk_tensor *const *in, rk_tensor **out)
{
    const block_job *j = user;
    const rk_hparams *hp = &j->m->hp;
    const rwkv7_layer *p = (const rwkv7_layer *)j->m->layers + j->layer;
    const uint64_t drop = 2 * (uint64_t)j->layer;
    rk_rwkv7_time_mix_io io = {in[STATE + ATT_SHIFT], in[STATE + ATT_WKV], in[VF]};
    rk_tensor *x = in[X], *ffn_shift = in[STATE + FFN_SHIFT], *ln;

    ln = rk_norm(ctx, x, p->ln1_w, p->ln1_b, 1, hp->ln_eps);
    x = rk_rwkv7_time_mix_forward(ctx, &p->att, ln, x, hp->ln_x_eps, &io);
    x = rk_dropout(ctx, x, j->dropout, drop + 1);
    ln = rk_norm(ctx, x, p->ln2_w, p->ln2_b, 1, hp->ln_eps);
    x = rk_rwkv7_channel_mix_forward(ctx, &p->ffn, ln, x, &ffn_shift);
    out[X] = rk_dropout(ctx, x, j->dropout, drop + 2);
    out[VF] = io.v_first;
    out[STATE + ATT_SHIFT] = io.shift;
    out[STATE + ATT_WKV] = io.wkv;
    out[STATE + FFN_SHIFT] = ffn_shift;
}

/* The same, recomputed in the backward pass. Its results must be tensors of its own: layer 0's
 * value, which is a view, is copied, and the layers above hand v_first round it. */
static void block_results(rk_ctx *ctx, void *user, rk_tensor *const *in, rk_tensor **out)
{
    rk_tensor *all[N_BLOCK];
    const block_job *j = user;
    block(ctx, user, in, all);
    out[0] = all[X];
    memcpy(out + 1, all + STATE, N_STATE * sizeof *all);
    if (j->layer == 0)
        out[1 + N_STATE] = rk_copy(ctx, all[VF]);
}

static void recomputed_block(rk_ctx *ctx, block_job *j, rk_tensor **io)
{
    const bool first = j->layer == 0;
    rk_tensor *out[1 + N_STATE + 1];
    rk_tensor *in[N_BLOCK];
    memcpy(in, io, sizeof in);
    out[0] = rk_new_like(ctx, io[X]);
    for (int i = 0; i < N_STATE; i++)
        out[1 + i] = rk_new_like(ctx, io[STATE + i]);
    if (first && io[X]) {
        const rk_hparams *hp = &j->m->hp;
        const int64_t dims[] = {io[X]->dims[0], io[X]->dims[1], hp->n_head, hp->head_size};
        out[1 + N_STATE] = rk_new(ctx, io[X]->dtype, 4, dims);
    }
    if (rk_ctx_failed(ctx))
        return;
    rk_recompute(ctx, block_results, j, in, N_BLOCK, out, 1 + N_STATE + (first ? 1 : 0));
    io[X] = out[0];
    memcpy(io + STATE, out + 1, N_STATE * sizeof *io);
    if (first)
        io[VF] = out[1 + N_STATE];
}

static rk_tensor *forward(rk_ctx *ctx, const rk_model *m, const rk_forward *f)
{
    const rwkv7_top *p = m->top;
    const bool recompute = f->checkpoint_blocks;
    block_job *jobs = rk_arena_alloc(&ctx->meta, (size_t)m->hp.n_layer * sizeof *jobs);
    rk_tensor *io[N_BLOCK] = {NULL};
    if (!jobs) {
        rk_ctx_fail(ctx, RK_ERR_NOMEM, "out of memory for the layers' descriptions");
        return NULL;
    }
    io[X] = rk_norm(ctx, rk_embedding(ctx, p->emb, f->ids), p->ln0_w, p->ln0_b, 1, m->hp.ln_eps);
    io[X] = rk_dropout(ctx, io[X], f->dropout, 0);
    for (int64_t l = 0; l < m->hp.n_layer && !rk_ctx_failed(ctx); l++) {
        rk_tensor **s = f->state + l * N_STATE;
        jobs[l] = (block_job){m, l, f->dropout};
        memcpy(io + STATE, s, N_STATE * sizeof *s);
        if (recompute)
            recomputed_block(ctx, &jobs[l], io);
        else
            block(ctx, &jobs[l], io, io);
        memcpy(s, io + STATE, N_STATE * sizeof *s);
    }
    return rk_norm(ctx, io[X], p->ln_out_w, p->ln_out_b, 1, m->hp.ln_eps);
}

const rk_arch rk_arch_rwkv7 = {
    .name = "rwkv7",
    .params = params,
    .n_params = sizeof params / sizeof *params,
    .state = state,
    .n_state = N_STATE,
    .top_bytes = sizeof(rwkv7_top),
    .layer_bytes = sizeof(rwkv7_layer),
    .detect = detect,
    .read_hparams = read_hparams,
    .default_hparams = default_hparams,
    .forward = forward,
};
