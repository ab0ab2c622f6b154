/* task_next.c: next-token prediction: windows of text, cross-entropy of what follows each token. */
#include "train/task_next.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/format.h"
#include "train/data.h"

enum { IDS, TARGETS, N_FIELDS };

typedef struct next_token {
    rk_task task; /* comes first: the one is the other */
    rk_dataset data;
    int32_t *window; /* (ctx_len + 1), on its way into fields */
    double l2wrap;
} next_token;

static int64_t ctx_len_of(const rk_task *t)
{
    return t->fields[IDS].dims[0];
}

void rk_next_token_put(const rk_task *t, const int32_t *window, void *const *fields)
{
    const size_t bytes = (size_t)ctx_len_of(t) * sizeof *window;
    memcpy(fields[IDS], window, bytes);
    memcpy(fields[TARGETS], window + 1, bytes);
}

static void example(const rk_task *t, uint64_t index, void *const *fields)
{
    const next_token *n = (const next_token *)t;
    rk_dataset_window(&n->data, index, n->window);
    rk_next_token_put(t, n->window, fields);
}

static void held_out(const rk_task *t, int64_t i, void *const *fields)
{
    const next_token *n = (const next_token *)t;
    rk_dataset_val_window(&n->data, i, n->window);
    rk_next_token_put(t, n->window, fields);
}

static int64_t counted(const rk_task *t, void *const *fields)
{
    const int32_t *targets = fields[TARGETS];
    int64_t n = 0;
    for (int64_t i = 0; i < t->n_losses; i++)
        n += targets[i] >= 0;
    return n;
}

/* out: hidden rows (n, T, C), so that the logits need not exist at once. */
static rk_tensor *losses(rk_ctx *ctx, const rk_task *t, const rk_pass *p)
{
    const next_token *n = (const next_token *)t;
    const rk_cross_entropy_in in = {.hidden = p->out[0],
                                    .head = p->model->head->matrix,
                                    .targets = p->fields[TARGETS],
                                    .l2wrap = n->l2wrap,
                                    .seed = p->share};
    return rk_cross_entropy_of(ctx, &in);
}

static void close_task(rk_task *t)
{
    next_token *n = (next_token *)t;
    rk_dataset_deinit(&n->data);
    free(n->window);
    free(n);
}

rk_status rk_next_token_new(rk_task **out, const rk_train_params *p, rk_error *err)
{
    next_token *n = calloc(1, sizeof *n);
    if (!n || !(n->window = calloc((size_t)p->ctx_len + 1, sizeof *n->window))) {
        free(n);
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for a window of tokens");
    }
    n->l2wrap = p->l2wrap;
    n->task = (rk_task){
        .name = "next-token",
        .fields = {{"ids", RK_I32, 1, {p->ctx_len}}, {"targets", RK_I32, 1, {p->ctx_len}}},
        .n_fields = N_FIELDS,
        .n_losses = p->ctx_len,
        .unit = "tokens",
        .loss_unit = "nats a token",
        .curve = "loss",
        .curve_unit = "nats a token",
        .example = example,
        .held_out = held_out,
        .counted = counted,
        .losses = losses,
        .close = close_task};
    snprintf(n->task.about, sizeof n->task.about, "windows of %" PRId64 " tokens", p->ctx_len);
    *out = &n->task;
    return RK_OK;
}

/* What the data say, once they are read. */
static void take_data(next_token *n, const rk_tokenizer *tok)
{
    const double bytes = rk_dataset_val_bytes_per_token(&n->data, tok);
    n->task.n_val = rk_dataset_n_val(&n->data);
    n->task.n_data = n->data.train.n + n->data.val.n;
    n->task.checksum = n->data.checksum;
    n->task.also.key = "bits_per_byte";
    n->task.also.text = "bits a byte";
    n->task.also.size = log(2.0) * bytes;
}

rk_status rk_next_token_open(rk_task **out, rk_run_params *p, const rk_model *base, rk_error *err)
{
    const rk_data_params data = {.path = p->data,
                                 .val_frac = p->val_frac,
                                 .ctx_len = p->model.ctx_len,
                                 .seed = p->model.seed};
    rk_tokenizer *tok = NULL;
    rk_task *t = NULL;
    if (!p->data)
        return rk_fail(err, RK_ERR_ARG, "--data FILE is missing");
    rk_status st = base ? rk_model_vocabulary(&tok, p->tokenizer, base, p->model.init_from, err)
                        : rk_tokenizer_new(&tok, p->tokenizer, err);
    if (st == RK_OK)
        st = rk_next_token_new(&t, &p->model, err);
    if (st == RK_OK)
        st = rk_dataset_init(&((next_token *)t)->data, &data, tok, err);
    if (st == RK_OK) {
        take_data((next_token *)t, tok);
        rk_run_set_size(p, "n_vocab",
                        (double)(base ? base->hp.n_vocab : rk_tokenizer_n_vocab(tok)));
        *out = t;
    } else {
        rk_task_close(t);
    }
    rk_tokenizer_free(tok);
    return st;
}
