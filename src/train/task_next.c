/* task_next.c: next-token prediction: windows of text, cross-entropy of what follows each token. */
#include "train/task_next.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "data/dataset.h"
#include "format/format.h"
#include "io/path.h"
#include "text/chat_template.h"

enum { IDS, TARGETS, N_FIELDS, BEGINS = N_FIELDS /* where documents do not see each other */ };

typedef struct next_token {
    rk_task task; /* comes first: the one is the other */
    rk_dataset data;
    rk_window window; /* on its way into fields */
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

/* What does not count is no target. */
static void put_window(const next_token *n, void *const *fields)
{
    int32_t *targets = fields[TARGETS];
    rk_next_token_put(&n->task, n->window.ids, fields);
    for (int64_t i = 0; i < ctx_len_of(&n->task); i++)
        if (!n->window.counts[i + 1])
            targets[i] = RK_NO_TARGET;
    for (int64_t i = 0; i < ctx_len_of(&n->task) && n->window.begins; i++)
        ((int32_t *)fields[BEGINS])[i] = n->window.begins[i] && i > 0;
}

static void example(const rk_task *t, uint64_t index, void *const *fields)
{
    const next_token *n = (const next_token *)t;
    rk_dataset_window(&n->data, index, &n->window);
    put_window(n, fields);
}

static void held_out(const rk_task *t, int64_t i, void *const *fields)
{
    const next_token *n = (const next_token *)t;
    rk_dataset_val_window(&n->data, i, &n->window);
    put_window(n, fields);
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
                                    .head = rk_weight_matrix(ctx, p->model->head),
                                    .targets = p->fields[TARGETS],
                                    .l2wrap = n->l2wrap,
                                    .seed = p->share};
    return rk_cross_entropy_of(ctx, &in);
}

static void close_task(rk_task *t)
{
    next_token *n = (next_token *)t;
    rk_dataset_deinit(&n->data);
    free(n->window.ids);
    free(n->window.counts);
    free(n->window.begins);
    free(n);
}

rk_status rk_next_token_new(rk_task **out, const rk_train_params *p, rk_error *err)
{
    next_token *n = calloc(1, sizeof *n);
    if (n) {
        n->window.ids = calloc((size_t)p->ctx_len + 1, sizeof *n->window.ids);
        n->window.counts = calloc((size_t)p->ctx_len + 1, sizeof *n->window.counts);
    }
    if (!n || !n->window.ids || !n->window.counts) {
        if (n)
            close_task(&n->task);
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

/* Documents of a window begin with the state of a new text. */
static rk_status keep_apart(next_token *n, rk_error *err)
{
    const int64_t ctx_len = ctx_len_of(&n->task);
    n->window.begins = calloc((size_t)ctx_len + 1, sizeof *n->window.begins);
    if (!n->window.begins)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for a window of tokens");
    n->task.fields[BEGINS] = (rk_field){"begins", RK_I32, 1, {ctx_len}};
    n->task.n_fields = BEGINS + 1;
    return RK_OK;
}

/* What the data say, once they are read. tok NULL: what tokens stand for is not known. */
static void take_data(next_token *n, const rk_tokenizer *tok)
{
    n->task.n_val = n->data.n_val;
    n->task.n_data = n->data.n_tokens;
    n->task.checksum = n->data.checksum;
    if (!tok)
        return;
    n->task.also.key = "bits_per_byte";
    n->task.also.text = "bits a byte";
    n->task.also.size = log(2.0) * rk_dataset_val_bytes_per_token(&n->data, tok);
}

/* The tokens that data are read with. */
typedef struct vocabulary {
    rk_tokenizer *tok; /* NULL: packed data that do not say */
    int64_t n_vocab;
} vocabulary;

/* The file that packed data name, where it was then, or beside the data now. */
static rk_status open_named(rk_tokenizer **out, const char *name, const char *data, rk_error *err)
{
    const bool built_in = !strcmp(name, "byte") || !strcmp(name, "world");
    if (built_in || access(name, F_OK) == 0)
        return rk_tokenizer_new(out, name, err);
    const char *slash = strrchr(name, '/');
    char *folder = rk_path_parent(data);
    char *path = folder ? rk_path_join(folder, slash ? slash + 1 : name) : NULL;
    rk_status st;
    if (!path)
        st = rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", data);
    else if (access(path, F_OK) != 0)
        st = rk_fail(err, RK_ERR_ARG,
                     "%s: the vocabulary %s that it was packed with is not there; --tokenizer says "
                     "where it is",
                     data, name);
    else
        st = rk_tokenizer_new(out, path, err);
    free(folder);
    free(path);
    return st;
}

/* Of a new model: what is asked for, or what the data were packed with. */
static rk_status find_vocabulary(vocabulary *v, rk_run_params *p, rk_error *err)
{
    rk_packed_about about;
    bool packed, text;
    rk_status st = rk_data_vocabulary(&about, &packed, &text, &p->data, err);
    if (st != RK_OK)
        return st;
    if (p->tokenizer || !packed) {
        if (!p->tokenizer && !text && p->data.n_paths > 0)
            st = rk_fail(err, RK_ERR_ARG,
                         "%s: holds tokens and does not say of which vocabulary; --tokenizer does",
                         p->data.paths[0]);
        p->tokenizer = p->tokenizer ? p->tokenizer : rk_run_defaults().tokenizer;
        st = st == RK_OK ? rk_tokenizer_new(&v->tok, p->tokenizer, err) : st;
    } else if (*about.tokenizer) {
        st = open_named(&v->tok, about.tokenizer, p->data.paths[0], err);
        snprintf(p->tokenizer_room, sizeof p->tokenizer_room, "%s", about.tokenizer);
        p->tokenizer = p->tokenizer_room;
    }
    v->n_vocab = v->tok ? rk_tokenizer_n_vocab(v->tok) : about.n_vocab;
    rk_packed_about_deinit(&about);
    return st;
}

/* Tokens need no vocabulary, and models of synthetic tasks have none. */
static rk_status open_vocabulary(vocabulary *v, const rk_run_params *p, const rk_model *base,
                                 rk_error *err)
{
    const char *path = p->model.init_from;
    rk_packed_about about;
    bool packed, text;
    rk_status st = rk_data_vocabulary(&about, &packed, &text, &p->data, err);
    if (st != RK_OK)
        return st;
    rk_packed_about_deinit(&about);
    if (!text && !p->tokenizer && !rk_vocabulary_of_size(v->n_vocab))
        return rk_model_own_vocabulary(&v->tok, base, path, err);
    return rk_model_vocabulary(&v->tok, p->tokenizer, base, path, err);
}

/* Of a model to begin with. Which conversations it knows its template tells, or its name may. */
static rk_status vocabulary_of(vocabulary *v, rk_run_params *p, const rk_model *base, rk_error *err)
{
    v->n_vocab = base->hp.n_vocab;
    const rk_status st = open_vocabulary(v, p, base, err);
    if (st == RK_OK && v->tok && !p->data.chat_format)
        p->data.chat_format = rk_chat_template_name(v->tok);
    if (!p->data.chat_format)
        p->data.chat_format = rk_chat_format_guess(p->model.init_from, v->n_vocab)->name;
    return st;
}

rk_status rk_next_token_open(rk_task **out, rk_run_params *p, const rk_model *base, rk_error *err)
{
    const rk_data_params data = {.options = &p->data,
                                 .val_frac = p->val_frac,
                                 .ctx_len = p->model.ctx_len,
                                 .seed = p->model.seed};
    vocabulary v = {0};
    rk_task *t = NULL;
    if (p->data.n_paths == 0)
        return rk_fail(err, RK_ERR_ARG, "--data FILE is missing");
    rk_status st = base ? vocabulary_of(&v, p, base, err) : find_vocabulary(&v, p, err);
    if (st == RK_OK)
        st = rk_next_token_new(&t, &p->model, err);
    if (st == RK_OK && p->data.boundary == RK_BOUNDARY_RESET)
        st = keep_apart((next_token *)t, err);
    if (st == RK_OK)
        st = rk_dataset_init(&((next_token *)t)->data, &data, v.tok, v.n_vocab, err);
    if (st == RK_OK) {
        take_data((next_token *)t, v.tok);
        rk_run_set_size(p, "n_vocab", (double)v.n_vocab);
        *out = t;
    } else {
        rk_task_close(t);
    }
    rk_tokenizer_free(v.tok);
    return st;
}
