/* forward.c: runs a model's stem, blocks and head.
 *
 * A block is a segment: with a tape that is to be short it is recomputed in the backward pass, and
 * without a tape, or below the lowest parameter that is trained, it runs in a scope. Either way what it leaves are its results alone: the residual
 * stream, its state, and what the first block with a mixer of the architecture's carries to the others. */
#include <assert.h>
#include <string.h>

#include "model/model.h"
#include "model/residence.h"

/* A block's inputs and results as the arrays that segments take. */
enum {
    IN_MAX = 1 + RK_CARRY_MAX + RK_IO_MAX + RK_STATE_MAX,
    OUT_MAX = 1 + RK_STATE_MAX + RK_CARRY_MAX
};

typedef struct block_job {
    const rk_model *m;
    int64_t layer;
    double dropout;
    bool drop_rows; /* rk_forward.drop_rows */
} block_job;

/* Does state i leave the block as it came? One that lies with its stream has grown there. */
static bool is_dropped(const block_job *j, int i, const rk_tensor *before)
{
    return j->drop_rows && j->m->arch->state[i].kind == RK_STATE_TOKENS && before &&
           !rk_tensor_is_streams(before);
}

/* Results that are not state: one block carries, those behind it pass on what it left. */
static int n_carried(const block_job *j)
{
    return j->layer == rk_first_mixer(&j->m->hp) ? j->m->arch->n_carry : 0;
}

/* The place of part i of a layer's state in a forward; -1: its block has none. */
static int place_of(const rk_model *m, int64_t layer, int i)
{
    return m->arch->state[i].in == RK_IN_STEM ? -1 : rk_state_part_at(m, layer, i);
}

void rk_block_take_state(const rk_model *m, int64_t layer, rk_tensor *const *state, rk_block_io *io)
{
    for (int i = 0; i < m->arch->n_state; i++) {
        const int place = place_of(m, layer, i);
        io->state[i] = place < 0 ? NULL : state[place];
    }
}

static void leave_state(const rk_model *m, int64_t layer, const rk_block_io *io, rk_tensor **state)
{
    for (int i = 0; i < m->arch->n_state; i++) {
        const int place = place_of(m, layer, i);
        if (place >= 0)
            state[place] = io->state[i];
    }
}

static int pack_inputs(const rk_block_io *io, int n_state, rk_tensor **in)
{
    int n = 0;
    in[n++] = io->x;
    for (int i = 0; i < RK_CARRY_MAX; i++)
        in[n++] = io->carry[i];
    for (int i = 0; i < RK_IO_MAX; i++)
        in[n++] = io->given[i];
    for (int i = 0; i < n_state; i++)
        in[n++] = io->state[i];
    return n;
}

static rk_block_io unpack_inputs(rk_tensor *const *in, int n_state)
{
    rk_block_io io = {.x = *in++};
    for (int i = 0; i < RK_CARRY_MAX; i++)
        io.carry[i] = *in++;
    for (int i = 0; i < RK_IO_MAX; i++)
        io.given[i] = *in++;
    for (int i = 0; i < n_state; i++)
        io.state[i] = *in++;
    return io;
}

/* The segment. What is carried may be a view, and results are tensors of their own. */
static void run_block(rk_ctx *ctx, void *user, rk_tensor *const *in, rk_tensor **out)
{
    const block_job *j = user;
    const rk_arch *arch = j->m->arch;
    rk_block_io io = unpack_inputs(in, arch->n_state);
    const rk_block_io before = io;
    ctx->layer = j->layer;
    arch->block(ctx, j->m, j->layer, j->dropout, &io);
    *out++ = io.x;
    for (int i = 0; i < arch->n_state; i++)
        if (before.state[i])
            *out++ =
                is_dropped(j, i, before.state[i]) ? rk_copy(ctx, before.state[i]) : io.state[i];
    for (int i = 0; i < n_carried(j); i++)
        *out++ = rk_copy(ctx, io.carry[i]);
}

/* Room for a tensor that is carried beside x. */
static rk_tensor *new_carried(rk_ctx *ctx, const rk_model *m, const rk_io_spec *spec,
                              const rk_tensor *x)
{
    assert(!strncmp(spec->shape, "BT", 2));
    int64_t dims[RK_MAX_DIMS] = {x->dims[0], x->dims[1]};
    return rk_new(ctx, x->dtype, 2 + rk_shape_dims(m->arch, &m->hp, spec->shape + 2, dims + 2),
                  dims);
}

/* Room for the state behind a block that read state t: one that grows has a row more for each token. */
static rk_tensor *new_state(rk_ctx *ctx, const block_job *j, int i, const rk_tensor *t,
                            const rk_tensor *x)
{
    int64_t dims[RK_MAX_DIMS];
    if (j->m->arch->state[i].kind != RK_STATE_TOKENS || !t || rk_tensor_is_streams(t) ||
        is_dropped(j, i, t))
        return rk_new_state_like(ctx, t);
    memcpy(dims, t->dims, sizeof dims);
    dims[1] += x->dims[1];
    return rk_new(ctx, t->dtype, t->n_dims, dims);
}

/* Room for the results; returns their number, 0 after a failure. Without a tape nobody reads a
 * block's input again, so that its result takes its place; but the stem's may be given to all. */
static int new_results(rk_ctx *ctx, const block_job *j, const rk_block_io *io, rk_tensor **out)
{
    const rk_arch *arch = j->m->arch;
    const bool in_place = !ctx->recording && j->layer > 0;
    int n = 0;
    if (rk_ctx_failed(ctx))
        return 0;
    out[n++] = in_place ? io->x : rk_new_like(ctx, io->x);
    for (int i = 0; i < arch->n_state; i++)
        if (io->state[i])
            out[n++] = new_state(ctx, j, i, io->state[i], io->x);
    for (int i = 0; i < n_carried(j); i++)
        out[n++] = new_carried(ctx, j->m, &arch->carry[i], io->x);
    return rk_ctx_failed(ctx) ? 0 : n;
}

static void block_as_segment(rk_ctx *ctx, block_job *j, rk_block_io *io)
{
    const rk_arch *arch = j->m->arch;
    rk_tensor *in[IN_MAX], *out[OUT_MAX];
    const int n_out = new_results(ctx, j, io, out);
    const int n_in = pack_inputs(io, arch->n_state, in);
    if (n_out == 0)
        return;
    if (ctx->recording)
        rk_recompute(ctx, run_block, j, in, n_in, out, n_out);
    else
        rk_scoped(ctx, run_block, j, in, n_in, out, n_out);
    rk_tensor *const *left = out;
    io->x = *left++;
    for (int i = 0; i < arch->n_state; i++)
        if (io->state[i])
            io->state[i] = *left++;
    for (int i = 0; i < n_carried(j); i++)
        io->carry[i] = *left++;
}

/* Does no gradient end in this block or go through it? */
static bool is_below_tape(const rk_model *m, int64_t layer, const rk_block_io *io)
{
    bool below = io->x && !io->x->requires_grad;
    for (int i = 0; below && i < m->arch->n_state; i++)
        below = !io->state[i] || !io->state[i]->requires_grad;
    for (int64_t i = 0; below && i < m->n_params; i++) {
        const rk_param *p = &m->params[i];
        below = !p->tensor.requires_grad || p->layer != layer || rk_param_of_model(p->spec);
    }
    return below;
}

/* A block in a training step that is not trained, and does what it does in one that is: it drops. */
static void block_below_tape(rk_ctx *ctx, block_job *j, rk_block_io *io)
{
    const bool recomputed = ctx->recomputed;
    ctx->recording = false;
    ctx->recomputed = true;
    block_as_segment(ctx, j, io);
    ctx->recording = true;
    ctx->recomputed = recomputed;
}

/* What is handed on, without a gradient; a copy, because recording goes on. */
static void detach(rk_ctx *ctx, const rk_model *m, rk_block_io *io)
{
    const bool recording = ctx->recording;
    ctx->recording = false;
    for (int i = 0; i < m->arch->n_carry; i++)
        io->carry[i] = io->carry[i] ? rk_copy(ctx, io->carry[i]) : NULL;
    ctx->recording = recording;
}

static bool check_inputs(rk_ctx *ctx, const rk_arch *arch, const rk_forward *f)
{
    for (int i = 0; i < arch->n_inputs && !rk_ctx_failed(ctx); i++) {
        const rk_io_spec *spec = &arch->inputs[i];
        const rk_tensor *t = f->in[i];
        if (!t || (t->dtype == RK_I32) != spec->ids || t->n_dims != (int)strlen(spec->shape))
            rk_ctx_fail(ctx, RK_ERR_ARG, "%s: input '%s' is missing or not %s (%s)", arch->name,
                        spec->name, spec->ids ? "i32" : "real", spec->shape);
    }
    return !rk_ctx_failed(ctx);
}

rk_tensor *rk_model_forward(rk_ctx *ctx, const rk_model *m, rk_forward *f)
{
    const rk_arch *arch = m->arch;
    rk_block_io io = {.x = NULL};
    if (!check_inputs(ctx, arch, f))
        return NULL;
    /* The tape refers to them. */
    block_job *jobs = rk_arena_alloc(&ctx->meta, (size_t)m->hp.n_layer * sizeof *jobs);
    if (!jobs) {
        rk_ctx_fail(ctx, RK_ERR_NOMEM, "out of memory for the layers' descriptions");
        return NULL;
    }
    arch->stem(ctx, m, f, &io);
    io.x = rk_dropout(ctx, io.x, f->dropout, 0);
    for (int64_t l = 0; l < m->hp.n_layer && !rk_ctx_failed(ctx); l++) {
        jobs[l] = (block_job){m, l, f->dropout, f->drop_rows};
        rk_residence_enter(ctx, m, l);
        rk_block_take_state(m, l, f->state, &io);
        if (ctx->recording && is_below_tape(m, l, &io))
            block_below_tape(ctx, &jobs[l], &io);
        else if (f->recompute || !ctx->recording)
            block_as_segment(ctx, &jobs[l], &io);
        else {
            ctx->layer = l;
            arch->block(ctx, m, l, f->dropout, &io);
        }
        if (f->detached && ctx->recording && l == rk_first_mixer(&m->hp))
            detach(ctx, m, &io);
        leave_state(m, l, &io, f->state);
        rk_residence_leave(ctx, m, l);
    }
    arch->head(ctx, m, io.x, f);
    return rk_ctx_failed(ctx) ? NULL : f->out[0];
}
