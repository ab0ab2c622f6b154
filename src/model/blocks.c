/* blocks.c: the frame of RWKV language models, with blocks recomputed in the backward pass if asked
 * for. */
#include "model/blocks.h"

#include <stdio.h>
#include <string.h>

#include "base/num.h"

/* ---- forward ---- */

typedef struct block_job {
    const rk_model *m;
    rk_block_fn *fn;
    int64_t layer;
    double dropout;
    unsigned uses; /* rk_lm_uses */
} block_job;

/* A block whose results are tensors of their own: what block 0 carries, which may be a view, is
 * copied, and the blocks behind it hand it round. */
static void block_results(rk_ctx *ctx, void *user, rk_tensor *const *in, rk_tensor **out)
{
    const block_job *j = user;
    const int n_state = j->m->arch->n_state;
    rk_tensor *io[RK_BLOCK_IO];
    memcpy(io, in, sizeof(rk_tensor *) * (size_t)(RK_BLOCK_STATE + n_state));
    j->fn(ctx, j->m, j->layer, j->dropout, io);
    out[0] = io[RK_BLOCK_X];
    memcpy(out + 1, io + RK_BLOCK_STATE, (size_t)n_state * sizeof *out);
    if (j->uses & RK_LM_CARRIES && j->layer == 0)
        out[1 + n_state] = rk_copy(ctx, io[RK_BLOCK_CARRY]);
}

static void recomputed_block(rk_ctx *ctx, block_job *j, rk_tensor **io)
{
    const int n_state = j->m->arch->n_state;
    const bool first = j->uses & RK_LM_CARRIES && j->layer == 0;
    rk_tensor *out[RK_BLOCK_IO], *in[RK_BLOCK_IO];
    memcpy(in, io, sizeof in);
    /* Without a tape nobody reads a block's input again, but for the first one's. */
    const bool in_place = !ctx->recording && j->layer > 0;
    out[0] = in_place ? io[RK_BLOCK_X] : rk_new_like(ctx, io[RK_BLOCK_X]);
    for (int i = 0; i < n_state; i++)
        out[1 + i] = rk_new_state_like(ctx, io[RK_BLOCK_STATE + i]);
    if (first && io[RK_BLOCK_X]) {
        const rk_hparams *hp = &j->m->hp;
        const rk_tensor *x = io[RK_BLOCK_X];
        const int64_t dims[] = {x->dims[0], x->dims[1], hp->n_head, hp->head_size};
        out[1 + n_state] = rk_new(ctx, x->dtype, 4, dims);
    }
    if (rk_ctx_failed(ctx))
        return;
    rk_recompute(ctx, block_results, j, in, RK_BLOCK_STATE + n_state, out, 1 + n_state + first);
    io[RK_BLOCK_X] = out[0];
    memcpy(io + RK_BLOCK_STATE, out + 1, (size_t)n_state * sizeof *io);
    if (first)
        io[RK_BLOCK_CARRY] = out[1 + n_state];
}

rk_tensor *rk_lm_forward(rk_ctx *ctx, const rk_model *m, const rk_forward *f, rk_block_fn *fn,
                         unsigned uses)
{
    const rk_lm_top *p = m->top;
    const int n_state = m->arch->n_state;
    block_job *jobs = rk_arena_alloc(&ctx->meta, (size_t)m->hp.n_layer * sizeof *jobs);
    rk_tensor *io[RK_BLOCK_IO] = {NULL}, *x;
    if (!jobs) {
        rk_ctx_fail(ctx, RK_ERR_NOMEM, "out of memory for the layers' descriptions");
        return NULL;
    }
    x = rk_norm(ctx, rk_embedding(ctx, p->emb, f->ids), p->ln0_w, p->ln0_b, 1, m->hp.ln_eps);
    if (uses & RK_LM_SEES_TOKENS) {
        io[RK_BLOCK_IDS] = f->ids;
        io[RK_BLOCK_EMB] = x;
    }
    io[RK_BLOCK_X] = rk_dropout(ctx, x, f->dropout, 0);
    for (int64_t l = 0; l < m->hp.n_layer && !rk_ctx_failed(ctx); l++) {
        rk_tensor **s = f->state + l * n_state;
        jobs[l] = (block_job){m, fn, l, f->dropout, uses};
        memcpy(io + RK_BLOCK_STATE, s, (size_t)n_state * sizeof *s);
        if (f->checkpoint_blocks)
            recomputed_block(ctx, &jobs[l], io);
        else
            fn(ctx, m, l, f->dropout, io);
        memcpy(s, io + RK_BLOCK_STATE, (size_t)n_state * sizeof *s);
    }
    return rk_norm(ctx, io[RK_BLOCK_X], p->ln_out_w, p->ln_out_b, 1, m->hp.ln_eps);
}

/* ---- sizes ---- */

const rk_file_tensor *rk_need_tensor(const rk_file *f, const char *arch, const char *name,
                                     int n_dims, rk_error *err)
{
    const rk_file_tensor *t = rk_file_find(f, name);
    if (!t)
        rk_fail(err, RK_ERR_FORMAT, "%s: no tensor '%s', which an %s model has", rk_file_name(f),
                name, arch);
    else if (t->n_dims != n_dims)
        rk_fail(err, RK_ERR_FORMAT, "%s: tensor '%s' has %d dimensions, expected %d",
                rk_file_name(f), name, t->n_dims, n_dims);
    return t && t->n_dims == n_dims ? t : NULL;
}

int64_t rk_count_layers(const rk_file *f)
{
    int64_t n = 0;
    for (int64_t i = 0; i < rk_file_count(f); i++) {
        int layer = 0;
        if (sscanf(rk_file_at(f, i)->name, "blocks.%6d.", &layer) == 1 && layer >= n)
            n = (int64_t)layer + 1;
    }
    return n;
}

rk_status rk_read_sizes(const rk_file *f, const char *arch, const rk_size_source *sources, int n,
                        rk_hparams *hp, rk_error *err)
{
    *hp = (rk_hparams){.n_layer = rk_count_layers(f), .ln_eps = RK_LN_EPS, .ln_x_eps = RK_LN_X_EPS};
    hp->tuned_state = rk_file_find(f, "blocks.0.att.time_state") != NULL;
    if (hp->n_layer < 1)
        return rk_fail(err, RK_ERR_FORMAT, "%s: no tensor 'blocks.0...'", rk_file_name(f));
    for (int i = 0; i < n; i++) {
        const rk_file_tensor *t = rk_need_tensor(f, arch, sources[i].name, sources[i].n_dims, err);
        if (!t)
            return RK_ERR_FORMAT;
        for (int d = 0; d < t->n_dims; d++) {
            /* An empty tensor may claim any size beside its 0, so every size is looked at. */
            if (t->dims[d] < 1 || t->dims[d] > INT32_MAX)
                return rk_fail(err, RK_ERR_FORMAT, "%s: a size of %lld in '%s', expected 1 to %d",
                               rk_file_name(f), (long long)t->dims[d], t->name, INT32_MAX);
            if (sources[i].sizes[d] != RK_HP_ANY)
                memcpy((char *)hp + sources[i].sizes[d], &t->dims[d], sizeof t->dims[d]);
        }
    }
    return RK_OK;
}

int64_t rk_dim_ffn_35(int64_t n_embd)
{
    return rk_max_i64(n_embd * 7 / 2 / 32 * 32, 32);
}

rk_status rk_check_new_sizes(rk_hparams *hp, rk_error *err)
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
    hp->n_head = hp->n_embd / hp->head_size;
    hp->ln_eps = RK_LN_EPS;
    hp->ln_x_eps = RK_LN_X_EPS;
    return RK_OK;
}
