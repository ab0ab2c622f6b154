/* trainer.c: one step of training: slices, micro-batches, gradients, clipping, update.
 *
 * The gradient of a step is the sum over `grad_slices` slices of the batch, each computed alone and
 * added in a binary tree, as a binary counter adds: after slice s its sum goes up one level for
 * each trailing 1 of s. Within a slice micro-batches continue the same sums, which changes no bit
 * (docs/numerics.md). The same forward and backward over a counting context gives the plan. */
#include "train/trainer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "base/pages.h"
#include "format/format.h"
#include "infer/engine.h"
#include "train/optim.h"
#include "train/schedule.h"

enum { WEIGHTS, MOMENT1, MOMENT2, N_ARRAYS };

struct rk_trainer {
    rk_train_params p;
    rk_engine *engine;
    rk_model *model;
    rk_ctx ctx;
    float *memory;     /* weights, m, v, gradient, then a gradient for every level of the tree */
    int64_t n_floats;  /* of one of those */
    rk_update *update; /* of the parameters that are trained */
    int64_t n_update;
    double *partial; /* of the gradient's norm */
    rk_named_array *arrays[N_ARRAYS];
    int64_t n_arrays, step;
};

/* ---- options ---- */

rk_train_params rk_train_defaults(void)
{
    return (rk_train_params){.arch = "rwkv7",
                             .n_vocab = 256,
                             .n_layer = 4,
                             .n_embd = 128,
                             .head_size = 64,
                             .ctx_len = 512,
                             .batch = 8,
                             .grad_slices = 1,
                             .steps = 1000,
                             .warmup = 10,
                             .lr = 6e-4,
                             .lr_final = -1.0,
                             .weight_decay = 0.1,
                             .beta1 = 0.9,
                             .beta2 = 0.99,
                             .eps = 1e-18,
                             .clip = 1.0,
                             .seed = 42};
}

static rk_status expect_range(const char *name, double value, double lo, double hi, rk_error *err)
{
    if (value >= lo && value <= hi)
        return RK_OK;
    return rk_fail(err, RK_ERR_ARG, "%s is %g, expected %g to %g", name, value, lo, hi);
}

static rk_status check_params(rk_train_params *p, rk_error *err)
{
    const struct {
        const char *name;
        double value, lo, hi;
    } ranges[] = {
        {"ctx_len", (double)p->ctx_len, 1, 1 << 24},
        {"batch", (double)p->batch, 1, 1 << 20},
        {"dim_ffn", (double)p->dim_ffn, 0, 1 << 20},
        {"lora_rank_w", (double)p->lora_rank_w, 0, 1 << 16},
        {"lora_rank_a", (double)p->lora_rank_a, 0, 1 << 16},
        {"lora_rank_v", (double)p->lora_rank_v, 0, 1 << 16},
        {"lora_rank_g", (double)p->lora_rank_g, 0, 1 << 16},
        {"micro_batch", (double)p->micro_batch, 0, 1 << 20},
        {"grad_slices", (double)p->grad_slices, 1, 1 << 16},
        {"steps", (double)p->steps, 1, 1e15},
        {"warmup", (double)p->warmup, 0, 1e15},
        {"lr", p->lr, 0, 1e3},
        {"lr_final", p->lr_final, -1e3, 1e3},
        {"weight_decay", p->weight_decay, 0, 1e3},
        {"beta1", p->beta1, 0, 0.999999},
        {"beta2", p->beta2, 0, 0.999999},
        {"eps", p->eps, 0, 1},
        {"clip", p->clip, 0, 1e30},
        {"l2wrap", p->l2wrap, 0, 1},
        {"dropout", p->dropout, 0, 0.99},
    };
    for (size_t i = 0; i < RK_COUNT(ranges); i++)
        if (expect_range(ranges[i].name, ranges[i].value, ranges[i].lo, ranges[i].hi, err) != RK_OK)
            return RK_ERR_ARG;
    if ((p->grad_slices & (p->grad_slices - 1)) != 0 || p->batch % p->grad_slices != 0)
        return rk_fail(
            err, RK_ERR_ARG,
            "grad_slices is %lld, expected a power of two that divides the batch of %lld",
            (long long)p->grad_slices, (long long)p->batch);
    const int64_t slice = p->batch / p->grad_slices;
    p->micro_batch = p->micro_batch ? rk_min_i64(p->micro_batch, slice) : slice;
    p->lr_final = p->lr_final < 0.0 ? p->lr / 10.0 : p->lr_final;
    return RK_OK;
}

static rk_status model_of(rk_model **out, const rk_train_params *p, rk_error *err)
{
    const rk_arch *arch = rk_arch_find(p->arch);
    rk_hparams hp = {.n_vocab = p->n_vocab,
                     .n_embd = p->n_embd,
                     .n_layer = p->n_layer,
                     .head_size = p->head_size,
                     .dim_ffn = p->dim_ffn,
                     .rank_w = p->lora_rank_w,
                     .rank_a = p->lora_rank_a,
                     .rank_v = p->lora_rank_v,
                     .rank_g = p->lora_rank_g};
    if (!arch)
        return rk_fail(err, RK_ERR_ARG, "no architecture '%s'", p->arch);
    if (expect_range("n_layer", (double)p->n_layer, 1, 1024, err) != RK_OK ||
        expect_range("n_embd", (double)p->n_embd, 1, 1 << 16, err) != RK_OK ||
        expect_range("n_vocab", (double)p->n_vocab, 1, 1 << 24, err) != RK_OK)
        return RK_ERR_ARG;
    const rk_status st = arch->default_hparams(&hp, err);
    return st == RK_OK ? rk_model_new(out, arch, &hp, err) : st;
}

static int levels_of(const rk_train_params *p)
{
    int levels = 0;
    while ((int64_t)1 << levels < p->grad_slices)
        levels++;
    return levels;
}

static int64_t floats_of(const rk_model *m)
{
    int64_t n = 0;
    for (int64_t i = 0; i < m->n_params; i++)
        n += rk_tensor_count(&m->params[i].tensor);
    return n;
}

/* Weights, moments, gradients. */
static size_t memory_bytes(const rk_train_params *p, int64_t n_floats)
{
    return (size_t)n_floats * sizeof(float) * (size_t)(N_ARRAYS + 1 + levels_of(p));
}

/* ---- forward and backward of n sequences ---- */

/* ids and targets of rows (n, T + 1), or tensors without data while planning. */
static void split_tokens(rk_ctx *ctx, const int32_t *tokens, int64_t n, int64_t t, rk_tensor **ids,
                         rk_tensor **targets)
{
    const int64_t dims[] = {n, t};
    *ids = rk_new(ctx, RK_I32, 2, dims);
    *targets = rk_new(ctx, RK_I32, 2, dims);
    for (int64_t b = 0; b < n && tokens && *targets; b++) {
        const int32_t *row = tokens + b * (t + 1);
        memcpy((int32_t *)(*ids)->data + b * t, row, (size_t)t * sizeof *row);
        memcpy((int32_t *)(*targets)->data + b * t, row + 1, (size_t)t * sizeof *row);
        if (row[t] < 0) /* a loss would leave it out; what stands before it is looked up */
            rk_ctx_fail(ctx, RK_ERR_ARG, "token %d at the end of a sequence, expected 0 or more",
                        row[t]);
    }
}

static rk_tensor **first_state(rk_ctx *ctx, const rk_model *m, int64_t batch)
{
    const int n = rk_model_n_state(m);
    rk_tensor **state = rk_arena_alloc(&ctx->meta, (size_t)n * sizeof(rk_tensor *));
    if (!state) {
        rk_ctx_fail(ctx, RK_ERR_NOMEM, "out of memory for a state's description");
        return NULL;
    }
    rk_model_new_state(ctx, m, RK_F32, batch, state);
    return state;
}

/* What a loss counts in the mean over the batch. */
static double loss_share(const rk_train_params *p)
{
    return 1.0 / ((double)p->batch * (double)p->ctx_len);
}

/* Losses (n, T) of the sequences, nats a token. */
static rk_tensor *losses(rk_ctx *ctx, const rk_model *m, const rk_train_params *p,
                         const int32_t *tokens, int64_t n)
{
    rk_tensor *ids, *targets;
    ctx->long_class = true;
    ctx->round_bf16 = p->bf16;
    ctx->seed = p->seed;
    split_tokens(ctx, tokens, n, p->ctx_len, &ids, &targets);
    rk_forward f = {ids, first_state(ctx, m, n), p->dropout, p->checkpoint_blocks};
    if (rk_ctx_failed(ctx))
        return NULL;
    return rk_cross_entropy_seeded(ctx, m->arch->forward(ctx, m, &f), m->head, targets, p->l2wrap,
                                   loss_share(p));
}

static void forward_backward(rk_ctx *ctx, const rk_model *m, const rk_train_params *p,
                             const int32_t *tokens, int64_t n, double *loss_sum)
{
    ctx->recording = true;
    rk_tensor *nll = losses(ctx, m, p, tokens, n);
    if (nll && tokens)
        for (int64_t i = 0; i < rk_tensor_count(nll); i++)
            *loss_sum += (double)((const float *)nll->data)[i];
    if (nll)
        rk_backward(ctx, nll, loss_share(p));
    ctx->recording = false;
}

/* ---- the plan ---- */

static void require_gradients(rk_model *m)
{
    for (int64_t i = 0; i < m->n_params; i++) {
        m->params[i].tensor.requires_grad = m->params[i].used;
        m->params[i].tensor.has_grad = true;
    }
}

/* Bytes of the arena of a step. The model needs no data. */
static rk_status plan_step(rk_model *m, const rk_train_params *p, rk_engine *e, size_t *bytes,
                           rk_error *err)
{
    rk_ctx ctx;
    const rk_ctx_params cp = {
        .kernels = rk_engine_kernels(e), .pool = rk_engine_pool(e), .data_kind = RK_ARENA_COUNTING};
    rk_status st = rk_ctx_init(&ctx, &cp, err);
    if (st != RK_OK)
        return st;
    require_gradients(m);
    forward_backward(&ctx, m, p, NULL, p->micro_batch, NULL);
    st = rk_ctx_status(&ctx, err);
    *bytes = ctx.data.peak;
    rk_ctx_deinit(&ctx);
    return st;
}

rk_status rk_trainer_plan(const rk_train_params *params, rk_engine *e, size_t *bytes, rk_error *err)
{
    rk_train_params p = *params;
    rk_model *m = NULL;
    rk_status st = check_params(&p, err);
    if (st == RK_OK)
        st = model_of(&m, &p, err);
    if (st == RK_OK)
        st = plan_step(m, &p, e, bytes, err);
    if (st == RK_OK)
        *bytes += memory_bytes(&p, floats_of(m));
    rk_model_close(m);
    return st;
}

/* ---- making one ---- */

/* Give every parameter its place in the memory, and list them for updates and checkpoints. */
static void lay_out(rk_trainer *t)
{
    float *at = t->memory;
    for (int64_t i = 0; i < t->model->n_params; i++) {
        rk_param *p = &t->model->params[i];
        const int64_t n = rk_tensor_count(&p->tensor);
        p->tensor.data = at;
        p->tensor.grad = at + N_ARRAYS * t->n_floats;
        for (int which = 0; which < N_ARRAYS; which++) {
            rk_named_array *a = &t->arrays[which][t->n_arrays];
            *a = (rk_named_array){p->name, {0}, p->tensor.n_dims, at + which * t->n_floats, n};
            memcpy(a->dims, p->tensor.dims, sizeof a->dims);
        }
        t->n_arrays++;
        if (p->used)
            t->update[t->n_update++] = (rk_update){.n = n,
                                                   .weight = at,
                                                   .m = at + MOMENT1 * t->n_floats,
                                                   .v = at + MOMENT2 * t->n_floats,
                                                   .grad = p->tensor.grad,
                                                   .lr_scale = p->spec->lr_scale,
                                                   .decay = rk_param_decays(p)};
        at += n;
    }
}

static rk_status allocate(rk_trainer *t, rk_error *err)
{
    const size_t n = (size_t)t->model->n_params;
    t->n_floats = floats_of(t->model);
    /* A model has parameters. NOLINTNEXTLINE(clang-analyzer-optin.portability.UnixAPI) */
    t->memory = calloc(1, memory_bytes(&t->p, t->n_floats));
    t->update = calloc(n, sizeof *t->update);
    bool ok = t->memory && t->update;
    for (int i = 0; i < N_ARRAYS; i++) {
        t->arrays[i] = calloc(n, sizeof *t->arrays[i]);
        ok = ok && t->arrays[i];
    }
    if (!ok)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory: %zu bytes for weights and moments",
                       memory_bytes(&t->p, t->n_floats));
    rk_pages_huge(t->memory, memory_bytes(&t->p, t->n_floats));
    lay_out(t);
    t->partial = calloc((size_t)rk_optim_norm_parts(t->update, t->n_update), sizeof *t->partial);
    return t->partial ? RK_OK : rk_fail(err, RK_ERR_NOMEM, "out of memory for the norm's parts");
}

rk_status rk_trainer_new(rk_trainer **out, const rk_train_params *p, rk_engine *e, rk_error *err)
{
    size_t bytes = 0;
    rk_trainer *t = calloc(1, sizeof *t);
    if (!t)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for a trainer");
    t->p = *p;
    t->engine = e;
    rk_status st = check_params(&t->p, err);
    if (st == RK_OK)
        st = model_of(&t->model, &t->p, err);
    if (st == RK_OK)
        st = plan_step(t->model, &t->p, e, &bytes, err);
    if (st == RK_OK)
        st = allocate(t, err);
    if (st == RK_OK)
        st = rk_model_init(t->model, t->p.seed, rk_engine_abort_flag(e), err);
    if (st == RK_OK) {
        const rk_ctx_params cp = {rk_engine_kernels(e),
                                  rk_engine_pool(e),
                                  rk_engine_abort_flag(e),
                                  RK_ARENA_FIXED,
                                  bytes,
                                  NULL};
        st = rk_ctx_init(&t->ctx, &cp, err);
    }
    if (st != RK_OK) {
        rk_trainer_free(t);
        return st;
    }
    t->model->ctx_len = t->p.ctx_len;
    *out = t;
    return RK_OK;
}

void rk_trainer_free(rk_trainer *t)
{
    if (!t)
        return;
    rk_ctx_deinit(&t->ctx);
    for (int i = 0; i < N_ARRAYS; i++)
        free(t->arrays[i]);
    free(t->partial);
    free(t->update);
    free(t->memory);
    rk_model_close(t->model);
    free(t);
}

/* ---- steps ---- */

/* Run one micro-batch that begins at sequence `first` of the batch. */
static rk_status micro_step(rk_trainer *t, const int32_t *tokens, int64_t first, int64_t n,
                            double *loss_sum, rk_error *err)
{
    rk_ctx_reset(&t->ctx);
    t->ctx.step = (uint64_t)t->step;
    t->ctx.first_row = first;
    forward_backward(&t->ctx, t->model, &t->p, tokens + first * (t->p.ctx_len + 1), n, loss_sum);
    return rk_ctx_status(&t->ctx, err);
}

static void add_floats(rk_trainer *t, const float *x, float *y)
{
    t->ctx.kernels->axpy(t->n_floats, 1.0, x, y);
}

/* The first micro-batch of a slice begins the gradients; what it does not reach is zero in the end.
 */
static void begin_gradients(rk_trainer *t)
{
    for (int64_t i = 0; i < t->model->n_params; i++)
        rk_grad_forget(&t->model->params[i].tensor);
}

static void end_gradients(rk_trainer *t)
{
    for (int64_t i = 0; i < t->model->n_params; i++)
        rk_grad(&t->ctx, &t->model->params[i].tensor);
}

/* The gradient of the whole batch, in the first gradient's place. */
static rk_status gradient(rk_trainer *t, const int32_t *tokens, double *loss_sum, rk_error *err)
{
    const int64_t slice = t->p.batch / t->p.grad_slices;
    float *grad = t->memory + N_ARRAYS * t->n_floats;
    for (int64_t s = 0; s < t->p.grad_slices; s++) {
        float *level = grad + t->n_floats;
        begin_gradients(t);
        for (int64_t b = 0; b < slice; b += t->p.micro_batch) {
            const int64_t n = rk_min_i64(t->p.micro_batch, slice - b);
            const rk_status st = micro_step(t, tokens, s * slice + b, n, loss_sum, err);
            if (st != RK_OK)
                return st;
        }
        end_gradients(t);
        for (int64_t bits = s; bits & 1; bits >>= 1, level += t->n_floats)
            add_floats(t, level, grad);
        if (s + 1 < t->p.grad_slices)
            memcpy(level, grad, (size_t)t->n_floats * sizeof *grad);
    }
    return RK_OK;
}

static void say_where(const rk_trainer *t, int64_t at)
{
    for (int64_t i = 0; i < t->model->n_params; i++)
        if (t->model->params[i].tensor.data == (void *)t->update[at].weight)
            rk_log_line(rk_engine_log(t->engine), RK_LOG_WARN,
                        "step %lld: the gradient of %s is not finite", (long long)t->step + 1,
                        t->model->params[i].name);
}

static rk_status locked_step(rk_trainer *t, const int32_t *tokens, rk_step_info *info,
                             rk_error *err)
{
    const rk_schedule schedule = {t->p.lr, t->p.lr_final, t->p.warmup, t->p.steps};
    double loss_sum = 0.0;
    int64_t at = -1;
    rk_status st = gradient(t, tokens, &loss_sum, err);
    if (st != RK_OK)
        return st;
    const double norm = rk_optim_grad_norm(&t->ctx, t->update, t->n_update, t->partial, &at);
    st = rk_ctx_status(&t->ctx, err);
    if (st != RK_OK)
        return st;
    const double updates = (double)(t->step + 1);
    const rk_adamw a = {
        .lr = rk_schedule_lr(&schedule, t->step),
        .beta1 = t->p.beta1,
        .beta2 = t->p.beta2,
        .eps = t->p.eps,
        .weight_decay = t->p.weight_decay,
        .correct1 = 1.0 - pow(t->p.beta1, updates),
        .correct2 = 1.0 - pow(t->p.beta2, updates),
        .grad_scale = t->p.clip > 0.0 ? fmin(1.0, t->p.clip / (norm + 1e-6)) : 1.0,
    };
    const double mean = loss_sum / ((double)t->p.batch * (double)t->p.ctx_len);
    const bool skipped = at >= 0 || !isfinite(norm) || !isfinite(mean);
    if (at >= 0)
        say_where(t, at);
    if (!skipped)
        rk_optim_adamw(&t->ctx, t->update, t->n_update, &a);
    t->step++;
    *info = (rk_step_info){t->step, mean, norm, a.lr, skipped};
    return RK_OK;
}

rk_status rk_trainer_step(rk_trainer *t, const int32_t *tokens, rk_step_info *info, rk_error *err)
{
    rk_step_info unused;
    rk_engine_lock(t->engine);
    const rk_status st = locked_step(t, tokens, info ? info : &unused, err);
    rk_engine_unlock(t->engine);
    return st;
}

rk_status rk_trainer_loss(rk_trainer *t, const int32_t *tokens, int64_t n, double *loss,
                          rk_error *err)
{
    double sum = 0.0;
    rk_status st = RK_OK;
    if (n < 1)
        return rk_fail(err, RK_ERR_ARG, "%lld sequences, expected at least 1", (long long)n);
    rk_engine_lock(t->engine);
    for (int64_t b = 0; b < n && st == RK_OK; b += t->p.micro_batch) {
        rk_ctx_reset(&t->ctx);
        const rk_tensor *nll = losses(&t->ctx, t->model, &t->p, tokens + b * (t->p.ctx_len + 1),
                                      rk_min_i64(t->p.micro_batch, n - b));
        for (int64_t i = 0; nll && i < rk_tensor_count(nll); i++)
            sum += (double)((const float *)nll->data)[i];
        st = rk_ctx_status(&t->ctx, err);
    }
    rk_engine_unlock(t->engine);
    *loss = sum / ((double)n * (double)t->p.ctx_len);
    return st;
}

/* ---- for the loop around it ---- */

rk_status rk_trainer_save_model(const rk_trainer *t, const char *path, rk_error *err)
{
    return rk_model_save(t->model, path, &(rk_save_options){.dtype = RK_F32, .overwrite = true},
                         err);
}

int64_t rk_trainer_arrays(rk_trainer *t, int which, const rk_named_array **out)
{
    *out = t->arrays[which];
    return t->n_arrays;
}

void rk_trainer_set_step(rk_trainer *t, int64_t step)
{
    t->step = step;
}
int64_t rk_trainer_step_count(const rk_trainer *t)
{
    return t->step;
}

int64_t rk_trainer_products(const rk_trainer *t)
{
    int64_t head = 0;
    const int64_t body = rk_model_products(t->model, &head);
    return body + head;
}
