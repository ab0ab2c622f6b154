/* task_dpo.c: both answers of a pair are rows of one forward, of the model and of the reference, which runs
 * without a tape. An example has one loss, so that a step is a mean over pairs. */
#include "train/task_dpo.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "data/order.h"
#include "data/pairs.h"
#include "format/format.h"
#include "text/chat_template.h"
#include "train/base.h"
#include "train/examples.h"

enum { IDS, TARGETS, N_FIELDS };
enum { MARGIN, ACCURACY, N_METRICS };
enum { HOLD_OUT = 0x64706f }; /* makes the order in which pairs are held out another than epochs' */

typedef struct dpo {
    rk_task task; /* comes first: the one is the other */
    rk_pairs pairs;
    rk_model *reference;
    rk_preference_how how;
    uint64_t seed;
    int64_t n_train;
} dpo;

/* ---- examples ---- */

/* Pairs [0, n_val) of an order that the seed gives are held out. */
static int64_t pair_at(const dpo *d, uint64_t i)
{
    return (int64_t)rk_order_permute(d->seed ^ HOLD_OUT, 0, (uint64_t)d->pairs.n, i);
}

static void put_pair(const dpo *d, int64_t pair, void *const *fields)
{
    rk_pairs_get(&d->pairs, pair, d->task.fields[IDS].dims[1], fields[IDS], fields[TARGETS]);
}

static void example(const rk_task *t, uint64_t index, void *const *fields)
{
    const dpo *d = (const dpo *)t;
    const uint64_t n = (uint64_t)d->n_train;
    const uint64_t i = rk_order_permute(d->seed, index / n, n, index % n);
    put_pair(d, pair_at(d, (uint64_t)t->n_val + i), fields);
}

static void held_out(const rk_task *t, int64_t i, void *const *fields)
{
    const dpo *d = (const dpo *)t;
    put_pair(d, pair_at(d, (uint64_t)i), fields);
}

/* ---- the loss ---- */

/* Losses of each token of both answers, (n, 2, T). */
static rk_tensor *token_losses(rk_ctx *ctx, const rk_model *m, const rk_pass *p)
{
    const int64_t *all = p->fields[IDS]->dims, rows[] = {2 * all[0], all[2]};
    rk_forward f = {.in = {rk_view(ctx, p->fields[IDS], 2, rows)},
                    .dropout = p->dropout,
                    .recompute = p->recompute && ctx->recording,
                    .drop_rows = true};
    rk_tensor *targets = rk_view(ctx, p->fields[TARGETS], 2, rows);
    f.state = rk_arena_alloc(&ctx->meta, (size_t)m->state.n_parts * sizeof *f.state);
    if (!f.state || rk_ctx_failed(ctx)) {
        rk_ctx_fail(ctx, RK_ERR_NOMEM, "out of memory for a state's description");
        return NULL;
    }
    rk_model_new_state(ctx, m, RK_F32, rows[0], f.state);
    rk_tensor *hidden = rk_model_forward(ctx, m, &f);
    rk_tensor *losses =
        hidden ? rk_cross_entropy(ctx, hidden, rk_weight_matrix(ctx, m->head), targets, 0.0) : NULL;
    return losses ? rk_view(ctx, losses, 3, all) : NULL;
}

static rk_tensor *reference_losses(rk_ctx *ctx, const dpo *d, const rk_pass *p)
{
    const rk_aside was = rk_step_aside(ctx);
    rk_tensor *losses = token_losses(ctx, d->reference, p);
    rk_come_back(ctx, was);
    return losses;
}

static void add_metrics(const dpo *d, const rk_pass *p, const rk_tensor *own,
                        const rk_tensor *reference)
{
    for (int64_t i = 0; p->metrics && i < own->dims[0]; i++) {
        const double margin = rk_preference_margin(own, reference, i);
        p->metrics[MARGIN] += d->how.beta * margin;
        p->metrics[ACCURACY] += margin > 0.0 ? 1.0 : 0.0;
    }
}

static rk_tensor *losses(rk_ctx *ctx, const rk_task *t, const rk_pass *p)
{
    const dpo *d = (const dpo *)t;
    rk_tensor *reference = reference_losses(ctx, d, p);
    rk_tensor *own = token_losses(ctx, p->model, p);
    if (rk_ctx_failed(ctx))
        return NULL;
    if (!ctx->planning)
        add_metrics(d, p, own, reference);
    return rk_preference(ctx, own, reference, &d->how);
}

/* ---- opening ---- */

static void close_task(rk_task *t)
{
    dpo *d = (dpo *)t;
    rk_pairs_deinit(&d->pairs);
    rk_model_close(d->reference);
    free(d);
}

static rk_status read_pairs(dpo *d, rk_run_params *p, const rk_model *base, rk_error *err)
{
    rk_tokenizer *tok = NULL;
    rk_chat_format chat;
    rk_buf room = {0};
    rk_status st = rk_model_vocabulary(&tok, p->tokenizer, base, p->model.init_from, err);
    rk_text_how how = {.tokenizer = tok, .ends = p->data.boundary != RK_BOUNDARY_NONE};
    if (st == RK_OK && !p->data.chat_format)
        p->data.chat_format = rk_chat_template_name(tok);
    if (!p->data.chat_format)
        p->data.chat_format = rk_chat_format_guess(p->model.init_from, base->hp.n_vocab)->name;
    if (st == RK_OK)
        st = rk_chat_template_choose(&how.chat, &chat, &room, p->data.chat_format, tok, err);
    if (st == RK_OK)
        st = rk_pairs_read(&d->pairs, p->data.paths, p->data.n_paths, &how, err);
    rk_buf_deinit(&room);
    rk_tokenizer_free(tok);
    return st;
}

static rk_status open_reference(dpo *d, const rk_run_params *p, const rk_model *base, rk_error *err)
{
    const char *path = p->distill.reference ? p->distill.reference : p->model.init_from;
    rk_status st = rk_model_open(&d->reference, path, err);
    if (st == RK_OK)
        st = rk_base_check_head(d->reference, err);
    if (st != RK_OK || d->reference->hp.n_vocab == base->hp.n_vocab)
        return st;
    return rk_fail(err, RK_ERR_ARG,
                   "%s: a reference of %" PRId64 " tokens, but the model has %" PRId64, path,
                   d->reference->hp.n_vocab, base->hp.n_vocab);
}

static rk_status split(dpo *d, const rk_run_params *p, rk_error *err)
{
    d->task.n_val = (int64_t)((double)d->pairs.n * p->val_frac + 0.5);
    if (p->val_frac > 0.0 && d->task.n_val == 0 && d->pairs.n > 1)
        d->task.n_val = 1;
    d->n_train = d->pairs.n - d->task.n_val;
    return d->n_train > 0 ? RK_OK
                          : rk_fail(err, RK_ERR_ARG,
                                    "%s: %" PRId64 " pairs, of which %" PRId64
                                    " are held out: none is left to train on; --val-frac 0 goes "
                                    "without validation",
                                    p->data.paths[0], d->pairs.n, d->task.n_val);
}

static void describe(dpo *d, int64_t n)
{
    const rk_task windows = {.name = "dpo",
                             .fields = {[IDS] = {"ids", RK_I32, 2, {RK_PAIR_ANSWERS, n}},
                                        [TARGETS] = {"targets", RK_I32, 2, {RK_PAIR_ANSWERS, n}}},
                             .n_fields = N_FIELDS,
                             .n_rows = RK_PAIR_ANSWERS,
                             .n_losses = 1,
                             .n_val = d->task.n_val,
                             .n_data = d->pairs.n,
                             .checksum = d->pairs.checksum,
                             .unit = "pairs",
                             .loss_unit = "a pair",
                             .metrics = {[MARGIN] = "margin", [ACCURACY] = "accuracy"},
                             .n_metrics = N_METRICS,
                             .curve = "loss",
                             .curve_unit = "loss of a pair",
                             .example = example,
                             .held_out = held_out,
                             .runs_model = true,
                             .losses = losses,
                             .close = close_task};
    d->task = windows;
    snprintf(d->task.about, sizeof d->task.about, "pairs of up to %" PRId64 " tokens", n);
}

rk_status rk_dpo_open(rk_task **out, rk_run_params *p, const rk_model *base, rk_error *err)
{
    if (!base)
        return rk_fail(err, RK_ERR_ARG, "the task dpo needs a model to begin with: -m MODEL");
    if (p->data.n_paths == 0)
        return rk_fail(err, RK_ERR_ARG, "--data FILE is missing");
    dpo *d = calloc(1, sizeof *d);
    if (!d)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for a task");
    d->how = (rk_preference_how){p->distill.beta, p->distill.smoothing, p->distill.hinge != 0};
    d->seed = p->model.seed;
    rk_status st = open_reference(d, p, base, err);
    if (st == RK_OK)
        st = read_pairs(d, p, base, err);
    if (st == RK_OK)
        st = split(d, p, err);
    if (st == RK_OK) {
        describe(d, p->model.ctx_len);
        st = rk_base_mix(d->reference, &d->task.checksum, err);
    }
    if (st == RK_OK)
        *out = &d->task;
    else
        close_task(&d->task);
    return st;
}
