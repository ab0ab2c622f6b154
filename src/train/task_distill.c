/* task_distill.c: what a student is told by its teacher, which runs beside it on the same tokens.
 *
 * Both tasks have the windows of next-token and another loss. The teacher computes without a tape, block by
 * block in scopes, so it costs no memory that grows with depth.
 *
 * Alignment goes through the layers with the teacher: its block runs with a first mixer that also shows
 * its input and its result, and the student's mixer gets the same input. So layers learn apart from each
 * other; what the first one hands to the others, RWKV-7's v_first, is passed on without a gradient. Layers
 * that are kept have nothing to learn. */
#include "train/task_distill.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "infer/engine.h"
#include "train/base.h"
#include "train/examples.h"
#include "train/task_next.h"

typedef struct distill {
    rk_task task;          /* comes first: the one is the other */
    rk_task *inner;        /* whose windows they are, */
    rk_run_params windows; /* of the options that they were opened with and refer to */
    rk_model *teacher;
    double kl_weight, ce_weight;
    bool adaptive;
    int ids, targets; /* their fields */
    char *frozen;     /* words of what is frozen, where layers are kept in alignment */
} distill;

/* ---- the teacher beside the student ---- */

static rk_tensor **first_state(rk_ctx *ctx, const rk_model *m, int64_t batch)
{
    rk_tensor **state = rk_arena_alloc(&ctx->meta, (size_t)m->state.n_parts * sizeof *state);
    if (state)
        rk_model_new_state(ctx, m, RK_F32, batch, state);
    else
        rk_ctx_fail(ctx, RK_ERR_NOMEM, "out of memory for a state's description");
    return state;
}

/* ---- the divergence of the next token ---- */

static rk_tensor *divergence(rk_ctx *ctx, const rk_task *t, const rk_pass *p)
{
    const distill *d = (const distill *)t;
    rk_tensor *ids = p->fields[d->ids];
    rk_divergence_in in = {.hidden = p->out[0],
                           .head = rk_weight_matrix(ctx, p->model->head),
                           .targets = p->fields[d->targets],
                           .kl_weight = d->kl_weight,
                           .ce_weight = d->ce_weight,
                           .adaptive = d->adaptive,
                           .seed = p->share};
    const rk_aside was = rk_step_aside(ctx);
    rk_forward f = {.in = {ids}, .state = first_state(ctx, d->teacher, ids->dims[0])};
    in.teacher_hidden = f.state ? rk_model_forward(ctx, d->teacher, &f) : NULL;
    in.teacher_head = rk_weight_matrix(ctx, d->teacher->head);
    rk_come_back(ctx, was);
    return rk_ctx_failed(ctx) ? NULL : rk_divergence(ctx, &in);
}

/* ---- alignment ---- */

/* The teacher, whose first mixers also leave what they read and what they give. */
typedef struct shown {
    rk_model model; /* comes first: mixers are given it */
    rk_arch arch;
    rk_mixer_fn *mixer;
    rk_tensor *read, *gives;
    rk_block_io io;
    int64_t layer;
} shown;

static rk_tensor *showing(rk_ctx *ctx, const rk_model *m, int64_t layer, rk_tensor *x,
                          rk_tensor *residual, rk_block_io *io)
{
    shown *s = (shown *)(uintptr_t)m;
    s->read = x;
    s->gives = s->mixer(ctx, m, layer, x, NULL, io);
    return rk_add(ctx, residual, s->gives);
}

/* A block of the teacher's: in, out x; out what its mixer read and gave. */
static void run_block(rk_ctx *ctx, void *user, rk_tensor *const *in, rk_tensor **out)
{
    shown *s = user;
    rk_block_io io = s->io;
    io.x = in[0];
    ctx->layer = s->layer;
    s->arch.block(ctx, &s->model, s->layer, 0.0, &io);
    s->io.carry[0] = io.carry[0];
    out[0] = io.x;
    out[1] = s->read;
    out[2] = s->gives;
}

/* x, read and given of a block; one that hands something on runs outside of a scope. */
static void next_block(rk_ctx *ctx, shown *s, rk_tensor **x)
{
    rk_tensor *in[] = {*x}, *out[3] = {NULL};
    if (rk_ctx_failed(ctx))
        return;
    if (s->layer == rk_first_mixer(&s->model.hp) && s->arch.n_carry > 0) {
        run_block(ctx, s, in, out);
    } else {
        for (int i = 0; i < 3; i++)
            out[i] = rk_new_like(ctx, *x);
        if (!rk_ctx_failed(ctx))
            rk_scoped(ctx, run_block, s, in, 1, out, 3);
    }
    *x = out[0];
    s->read = out[1];
    s->gives = out[2];
}

/* The student's mixer on what the teacher's read, as a segment: in read, given, v_first or NULL, the parts of
 * the state; out the distances, and of the first layer what it hands on. */
typedef struct pupil {
    const rk_model *m;
    int64_t layer;
} pupil;

static void run_mixer(rk_ctx *ctx, void *user, rk_tensor *const *in, rk_tensor **out)
{
    const pupil *p = user;
    const rk_arch *arch = p->m->arch;
    const rk_hparams *hp = &p->m->hp;
    rk_block_io io = {.carry = {in[2]}};
    for (int i = 0; i < arch->n_state; i++)
        io.state[i] = in[3 + i];
    ctx->layer = p->layer;
    rk_tensor *s = arch->time_mix(ctx, p->m, p->layer, in[0], NULL, &io);
    const double width = (double)hp->n_embd, layers = (double)(hp->n_layer - rk_n_kept(hp));
    out[0] = rk_distance(ctx, s, in[1], 1.0 / (layers * sqrt(width)));
    if (p->layer == rk_first_mixer(hp) && arch->n_carry > 0)
        out[1] = io.carry[0];
}

/* Distances of a layer; *v_first is left by the first one, without a gradient. */
static rk_tensor *align_layer(rk_ctx *ctx, const rk_pass *p, const shown *s, rk_tensor **state,
                              rk_tensor **v_first)
{
    rk_tensor *in[3 + RK_STATE_MAX] = {s->read, s->gives, *v_first}, *out[2] = {NULL};
    const rk_arch *arch = p->model->arch;
    pupil *who = rk_arena_alloc(&ctx->meta, sizeof *who);
    if (!who || rk_ctx_failed(ctx)) {
        rk_ctx_fail(ctx, RK_ERR_NOMEM, "out of memory for a layer's description");
        return NULL;
    }
    *who = (pupil){p->model, s->layer};
    rk_block_io io = {.x = NULL};
    rk_block_take_state(p->model, s->layer, state, &io);
    memcpy(in + 3, io.state, (size_t)arch->n_state * sizeof *io.state);
    if (p->recompute && ctx->recording && *v_first) {
        out[0] = rk_new(ctx, RK_F32, 2, s->read->dims);
        if (!rk_ctx_failed(ctx))
            rk_recompute(ctx, run_mixer, who, in, 3 + arch->n_state, out, 1);
        return out[0];
    }
    run_mixer(ctx, who, in, out);
    if (out[1]) {
        const rk_aside was = rk_step_aside(ctx);
        *v_first = rk_copy(ctx, out[1]);
        rk_come_back(ctx, was);
    }
    return out[0];
}

/* 1 where a token counts, else 0. */
static rk_tensor *counts(rk_ctx *ctx, const rk_tensor *targets)
{
    rk_tensor *t = rk_new(ctx, RK_F32, 2, targets->dims);
    for (int64_t i = 0; t && t->data && i < rk_tensor_count(t); i++)
        ((float *)t->data)[i] = ((const int32_t *)targets->data)[i] >= 0 ? 1.0f : 0.0f;
    return t;
}

static void begin_teacher(rk_ctx *ctx, const distill *d, rk_tensor *ids, shown *s, rk_tensor **x)
{
    const rk_forward f = {.in = {ids}};
    *s = (shown){
        .model = *d->teacher, .arch = *d->teacher->arch, .mixer = d->teacher->arch->time_mix};
    s->arch.time_mix = showing;
    s->model.arch = &s->arch;
    s->arch.stem(ctx, &s->model, &f, &s->io);
    *x = s->io.x;
}

/* Goes through the layers, and calls fn for each that is not kept with the distances of its rows and with
 * what the teacher's mixer gives. */
typedef void layer_fn(rk_ctx *ctx, void *user, int64_t layer, rk_tensor *distance,
                      rk_tensor *gives);

static void for_layers(rk_ctx *ctx, const distill *d, const rk_pass *p, layer_fn *fn, void *user)
{
    rk_tensor *ids = p->fields[d->ids], *x = NULL, *v_first = NULL;
    shown s;
    rk_tensor **own = first_state(ctx, p->model, ids->dims[0]);
    const rk_aside was = rk_step_aside(ctx);
    rk_tensor **others = first_state(ctx, d->teacher, ids->dims[0]);
    begin_teacher(ctx, d, ids, &s, &x);
    rk_come_back(ctx, was);
    for (int64_t l = 0; l < p->model->hp.n_layer && !rk_ctx_failed(ctx); l++) {
        rk_step_aside(ctx);
        s.layer = l;
        rk_block_take_state(d->teacher, l, others, &s.io);
        next_block(ctx, &s, &x);
        rk_come_back(ctx, was);
        if (!rk_layer_in(&p->model->hp.kept, l))
            fn(ctx, user, l, align_layer(ctx, p, &s, own, &v_first), s.gives);
    }
}

static void add_distance(rk_ctx *ctx, void *user, int64_t layer, rk_tensor *distance,
                         rk_tensor *gives)
{
    rk_tensor **sum = user;
    (void)layer;
    (void)gives;
    *sum = *sum ? rk_add(ctx, *sum, distance) : distance;
}

static rk_tensor *alignment(rk_ctx *ctx, const rk_task *t, const rk_pass *p)
{
    const distill *d = (const distill *)t;
    rk_tensor *sum = NULL;
    for_layers(ctx, d, p, add_distance, &sum);
    return rk_mul(ctx, sum, counts(ctx, p->fields[d->targets]));
}

/* ---- alignment, layer by layer ---- */

typedef struct measure {
    const rk_tensor *targets;
    double *distances, *lengths; /* (n_layer) sums */
} measure;

static double sum_of_counted(const measure *m, const rk_tensor *rows)
{
    double sum = 0;
    for (int64_t i = 0; rows && i < rk_tensor_count(rows); i++)
        if (((const int32_t *)m->targets->data)[i] >= 0)
            sum += (double)((const float *)rows->data)[i];
    return sum;
}

static void add_layer(rk_ctx *ctx, void *user, int64_t layer, rk_tensor *distance, rk_tensor *gives)
{
    const measure *m = user;
    rk_tensor *nothing = gives ? rk_new_zeros(ctx, gives->dtype, gives->n_dims, gives->dims) : NULL;
    const double scale = 1.0; /* the distances have one of their own */
    const rk_tensor *length = rk_distance(ctx, gives, nothing, scale);
    if (rk_ctx_failed(ctx))
        return;
    m->distances[layer] += sum_of_counted(m, distance);
    m->lengths[layer] += sum_of_counted(m, length);
}

static rk_status measure_window(rk_ctx *ctx, const rk_task *t, const rk_model *student,
                                const rk_batch *b, measure *m, rk_error *err)
{
    const distill *d = (const distill *)t;
    rk_tensor *fields[RK_TASK_FIELDS_MAX];
    rk_ctx_reset(ctx);
    ctx->long_class = true;
    rk_batch_tensors(ctx, b, t, 0, 1, fields);
    const rk_pass p = {.model = student, .fields = fields};
    m->targets = fields[d->targets];
    if (!rk_ctx_failed(ctx))
        for_layers(ctx, d, &p, add_layer, m);
    return rk_ctx_status(ctx, err);
}

static rk_status measure_windows(rk_ctx *ctx, const rk_task *t, const rk_model *student, measure *m,
                                 rk_error *err)
{
    enum { WINDOWS_MAX = 64 };
    rk_batch b;
    rk_status st = rk_batch_init(&b, t, 1, err);
    for (int64_t i = 0; i < rk_min_i64(t->n_val, WINDOWS_MAX) && st == RK_OK; i++) {
        void *at[RK_TASK_FIELDS_MAX];
        rk_batch_at(&b, t, 0, at);
        t->held_out(t, i, at);
        st = measure_window(ctx, t, student, &b, m, err);
    }
    rk_batch_deinit(&b);
    return st;
}

rk_status rk_distill_alignment(const rk_task *t, const rk_model *student, rk_engine *e,
                               rk_alignment *layers, rk_error *err)
{
    const int64_t n = student->hp.n_layer;
    const double scale = sqrt((double)student->hp.n_embd) * (double)(n - rk_n_kept(&student->hp));
    rk_ctx ctx;
    const rk_ctx_params cp = {.kernels = rk_engine_kernels(e),
                              .pool = rk_engine_pool(e),
                              .abort = rk_engine_abort_flag(e),
                              .data_kind = RK_ARENA_GROWING};
    if (t->n_val == 0)
        return rk_fail(err, RK_ERR_ARG,
                       "alignment is measured on held-out text, and there is none");
    double *sums = calloc((size_t)(2 * n), sizeof *sums);
    measure m = {NULL, sums, sums + n};
    rk_status st = sums ? rk_ctx_init(&ctx, &cp, err)
                        : rk_fail(err, RK_ERR_NOMEM, "out of memory for the layers' alignment");
    if (st == RK_OK) {
        rk_engine_lock(e);
        st = measure_windows(&ctx, t, student, &m, err);
        rk_engine_unlock(e);
        rk_ctx_deinit(&ctx);
    }
    for (int64_t l = 0; l < n && st == RK_OK; l++)
        layers[l].distance = m.lengths[l] > 0 ? scale * m.distances[l] / m.lengths[l] : 0;
    free(sums);
    return st;
}

/* ---- the tasks ---- */

static void example(const rk_task *t, uint64_t index, void *const *fields)
{
    const rk_task *inner = ((const distill *)t)->inner;
    inner->example(inner, index, fields);
}

static void held_out(const rk_task *t, int64_t i, void *const *fields)
{
    const rk_task *inner = ((const distill *)t)->inner;
    inner->held_out(inner, i, fields);
}

static int64_t counted(const rk_task *t, void *const *fields)
{
    const rk_task *inner = ((const distill *)t)->inner;
    return inner->counted(inner, fields);
}

static void close_task(rk_task *t)
{
    distill *d = (distill *)t;
    rk_task_close(d->inner);
    rk_model_close(d->teacher);
    free(d->frozen);
    free(d);
}

static bool is_made_of_mixers(const rk_arch *arch)
{
    return arch->time_mix && arch->channel_mix;
}

static rk_status check_teacher(const distill *d, const rk_run_params *p, const rk_model *base,
                               bool align, rk_error *err)
{
    const rk_hparams *t = &d->teacher->hp, *s = base ? &base->hp : NULL;
    if (!s)
        return rk_fail(err, RK_ERR_ARG, "the task %s needs a model to begin with: --init-from",
                       p->task);
    if (t->n_vocab < s->n_vocab)
        return rk_fail(err, RK_ERR_ARG,
                       "%s: a teacher of %" PRId64 " tokens, but the student has %" PRId64,
                       p->distill.teacher, t->n_vocab, s->n_vocab);
    if (!align)
        return RK_OK;
    if (t->n_layer != s->n_layer || t->n_embd != s->n_embd)
        return rk_fail(err, RK_ERR_ARG,
                       "%s: %" PRId64 " layers of %" PRId64
                       " channels, but the student has %" PRId64 " of %" PRId64
                       ": their layers cannot be aligned",
                       p->distill.teacher, t->n_layer, t->n_embd, s->n_layer, s->n_embd);
    return is_made_of_mixers(d->teacher->arch) && is_made_of_mixers(base->arch)
               ? RK_OK
               : rk_fail(err, RK_ERR_UNSUPPORTED, "%s: its blocks are not made of two mixers",
                         p->distill.teacher);
}

/* Nothing says how mixers that are kept should change. */
static rk_status freeze_kept(distill *d, rk_run_params *p, const rk_model *m, rk_error *err)
{
    rk_buf words = {0};
    const char *const given = p->model.freeze ? p->model.freeze : "";
    rk_buf_puts(&words, given);
    for (int64_t l = 0; l < m->hp.n_layer; l++)
        if (rk_layer_in(&m->hp.kept, l))
            rk_buf_printf(&words, "%smodel.layers.%" PRId64 ".self_attn.*", words.len ? "," : "",
                          l);
    if (rk_n_kept(&m->hp) == 0 || words.failed) {
        rk_buf_deinit(&words);
        return words.failed ? rk_fail(err, RK_ERR_NOMEM, "out of memory for a task") : RK_OK;
    }
    p->model.freeze = d->frozen = words.data;
    return RK_OK;
}

/* Windows are of the teacher's tokens: its file or folder brings the vocabulary. */
static rk_status open_windows(distill *d, rk_run_params *p, rk_error *err)
{
    d->windows = *p;
    d->windows.model.init_from = p->distill.teacher;
    const rk_status st = rk_next_token_open(&d->inner, &d->windows, d->teacher, err);
    p->data.chat_format = d->windows.data.chat_format;
    return st;
}

/* The windows' own, but for what is learned. */
static void describe(distill *d, bool align)
{
    rk_task *t = &d->task;
    *t = *d->inner;
    t->name = align ? "align" : "distill";
    t->loss_unit = align ? "of the distance a token" : "nats of divergence a token";
    t->curve_unit = t->loss_unit;
    t->also.key = NULL;
    t->also.size = 0.0;
    t->example = example;
    t->held_out = held_out;
    t->counted = counted;
    t->losses = align ? alignment : divergence;
    t->runs_model = align;
    t->close = close_task;
    for (int i = 0; i < t->n_fields; i++) {
        d->ids = !strcmp(t->fields[i].name, "ids") ? i : d->ids;
        d->targets = !strcmp(t->fields[i].name, "targets") ? i : d->targets;
    }
}

rk_status rk_distill_open(rk_task **out, rk_run_params *p, const rk_model *base, rk_error *err)
{
    const bool align = !strcmp(p->task, "align");
    if (!p->distill.teacher)
        return rk_fail(err, RK_ERR_ARG, "the task %s needs a teacher: rwkv distill --teacher MODEL",
                       p->task);
    distill *d = calloc(1, sizeof *d);
    if (!d)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for a task");
    d->kl_weight = p->distill.kl_weight;
    d->ce_weight = p->distill.ce_weight;
    d->adaptive = p->distill.adaptive;
    rk_status st = rk_model_open(&d->teacher, p->distill.teacher, err);
    if (st == RK_OK)
        st = rk_base_check_head(d->teacher, err);
    if (st == RK_OK)
        st = check_teacher(d, p, base, align, err);
    if (st == RK_OK)
        st = open_windows(d, p, err);
    if (st == RK_OK && align)
        st = freeze_kept(d, p, base, err);
    if (st == RK_OK) {
        describe(d, align);
        d->task.detached = p->distill.detached && !align;
        st = rk_base_mix(d->teacher, &d->task.checksum, err);
    }
    if (st == RK_OK)
        *out = &d->task;
    else
        close_task(&d->task);
    return st;
}
