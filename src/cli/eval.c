/* eval.c: `rwkv eval`: how well a model predicts a text, ends sentences, or picks among choices.
 *
 * All three ask for log-probabilities of tokens after a context, so they share one scorer. Scores
 * are taken some rows at a time: memory does not grow with the text. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/num.h"
#include "base/str.h"
#include "cli/adapter_in.h"
#include "cli/command.h"
#include "cli/eval_task.h"
#include "cli/interrupt.h"
#include "cli/mem_max.h"
#include "cli/meter.h"
#include "cli/state_in.h"
#include "cli/task_options.h"
#include "cli/text_input.h"
#include "format/finite.h"
#include "model/model.h"
#include "text/tokenizer.h"

enum {
    PIECE = 64,        /* tokens whose scores are held at once, and up to SHORT more */
    SHORT = 16,        /* no piece is this short unless the text is: it would round otherwise */
    CTX_DEFAULT = 512, /* where the model does not say */
    LINE_MAX_BYTES = 1 << 20,
};

typedef struct eval_options {
    rk_common_options common;
    const char *model, *vocab, *ppl, *lambada, *choices, *kl_base;
    rk_state_in state_in;
    rk_adapter_in adapter;
    int64_t ctx;
    rk_eval_task task;
    bool json;
} eval_options;

#define AT(member) offsetof(eval_options, member)

static const rk_option rows[] = {
    {"model", 'm', RK_OPT_TEXT, "FILE", AT(model), 0, 0, RK_REQUIRED, "a model"},
    RK_MODEL_OPERAND(eval_options, model),
    {"vocab", 0, RK_OPT_TEXT, "NAME", AT(vocab), 0, 0, "the model's",
     "byte, world, or a vocabulary file"},
    {"tokenizer", 0, RK_OPT_TEXT, "NAME", AT(vocab), 0, 0, NULL, "the same as --vocab"},
    RK_OPT_GROUP("measure one of these"),
    {"ppl", 0, RK_OPT_TEXT, "FILE", AT(ppl), 0, 0, NULL,
     "loss and perplexity of a text; - is stdin here and below"},
    {"lambada", 0, RK_OPT_TEXT, "FILE", AT(lambada), 0, 0, NULL,
     "LAMBADA: predict the last word of each line {\"text\"}"},
    {"choices", 0, RK_OPT_TEXT, "FILE", AT(choices), 0, 0, NULL,
     "multiple choice: lines {\"question\", \"choices\", \"answer\"}"},
    {"task", 0, RK_OPT_TEXT, "NAME", AT(task.task), 0, 0, NULL,
     "a synthetic task: share of questions and of whole samples answered right"},
    RK_OPT_GROUP("with --ppl"),
    {"ctx", 0, RK_OPT_INT, "N", AT(ctx), 0, 1 << 30, "the training length, or 512",
     "tokens of a window, each from the initial state; 0: the text as one stream"},
    {"kl-base", 0, RK_OPT_TEXT, "MODEL", AT(kl_base), 0, 0, NULL,
     "add the KL divergence from this model's predictions"},
    RK_OPT_GROUP("with --task; 'rwkv data task --list' shows which task has which parameters"),
    {"n", 'n', RK_OPT_INT, "N", AT(task.n), 1, 1e9, "1000", "samples"},
    {"batch", 0, RK_OPT_INT, "N", AT(task.batch), 1, 1 << 16, "32", "samples at once"},
    {"seed", 's', RK_OPT_INT, "N", AT(task.seed), 0, 9e18, "42",
     "of the samples; training never draws the same"},
    {NULL, 0, RK_OPT_MORE, NULL, AT(task.params), 0, 0, NULL, NULL},
    RK_OPT_GROUP("state"),
    RK_STATE_IN_ROWS(eval_options, state_in),
    RK_ADAPTER_IN_ROWS(eval_options, adapter),
    {"json", 0, RK_OPT_FLAG, NULL, AT(json), 0, 0, NULL, "print one JSON object"},
    RK_MEM_ROWS(eval_options, common),
    RK_CACHE_ROWS(eval_options, common),
    RK_COMMON_ROWS(eval_options, common),
};

static int eval_main(int argc, char **argv);

const rk_command rk_cmd_eval = {
    .name = "eval",
    .summary = "measure loss and perplexity, LAMBADA, multiple choice, or a synthetic task",
    .usage = "-m FILE (--ppl TEXT [--ctx N] [--kl-base MODEL] | --lambada FILE | --choices FILE | "
             "--task NAME) [--json]",
    .options = {rows, RK_COUNT(rows)},
    .more = rk_task_rows,
    .examples = "  rwkv eval -m small.gguf --ppl book.txt --kl-base model.safetensors\n"
                "  rwkv eval -m run --task mqar --seq-len 128 --pairs 8 --json",
    .main = eval_main,
};

/* ---- streams ---- */

/* A model with a session, and the state that every text begins with (NULL: the model's own). */
typedef struct stream {
    rk_model *model;
    rk_session *session;
    rk_adapters *adapters; /* NULL: none */
    float *first, *logits;
    size_t state_bytes;
} stream;

typedef struct eval {
    const eval_options *o;
    rk_engine *engine;
    rk_tokenizer *tokenizer;
    rk_text_input text;
    rk_meter meter;
    int64_t n_done, n_all; /* tokens of --ppl, for the meter; n_all 0: it counts the file's bytes */
    stream model, base;    /* base.model NULL: no --kl-base */
    /* results */
    double nats, kl;
    int64_t n_tokens, n_bytes, n_same_top, n_right, n_asked;
    int64_t n_line; /* of the file of questions, at hand */
} eval;

static rk_status open_stream(eval *e, stream *s, rk_error *err)
{
    const rk_status st = rk_session_new(&s->session, s->model, e->engine, err);
    if (st != RK_OK)
        return st;
    s->logits = malloc((size_t)(PIECE + SHORT) * (size_t)s->model->hp.n_vocab * sizeof(float));
    return s->logits ? RK_OK
                     : rk_fail(err, RK_ERR_NOMEM, "out of memory for %d rows of %lld scores",
                               PIECE + SHORT, (long long)s->model->hp.n_vocab);
}

static void close_stream(stream *s)
{
    rk_session_free(s->session);
    rk_adapters_free(s->adapters);
    rk_model_close(s->model);
    free(s->first);
    free(s->logits);
}

static rk_status load_state(const eval_options *o, stream *s, rk_error *err)
{
    rk_status st = rk_state_in_load(s->session, &o->state_in, err);
    if (st != RK_OK)
        return st;
    s->state_bytes = rk_session_state_bytes(s->session);
    s->first = malloc(s->state_bytes);
    if (!s->first)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for a state");
    return rk_session_state_get(s->session, s->first, s->state_bytes, err);
}

static rk_status rewind_stream(stream *s, rk_error *err)
{
    rk_session_reset(s->session);
    return s->first ? rk_session_state_set(s->session, s->first, s->state_bytes, err) : RK_OK;
}

/* Before signals are taken over: a text that is typed is interrupted as always. */
static rk_status open_text(eval *e, rk_error *err)
{
    const eval_options *o = e->o;
    const char *file = o->ppl ? o->ppl : o->lambada ? o->lambada : o->choices;
    if (!o->ppl + !o->lambada + !o->choices + !o->task.task != 3)
        return rk_fail(err, RK_ERR_ARG, "give one of --ppl, --lambada, --choices and --task");
    if (!o->ppl && (o->kl_base || o->ctx >= 0))
        return rk_fail(err, RK_ERR_ARG, "%s goes with --ppl only",
                       o->kl_base ? "--kl-base" : "--ctx");
    if (o->task.task && (o->state_in.file || o->vocab || o->adapter.files.n > 0))
        return rk_fail(err, RK_ERR_ARG, "%s does not go with --task",
                       o->vocab           ? "--vocab"
                       : o->state_in.file ? "--state-in"
                                          : "--adapter");
    size_t limit;
    rk_status st = rk_mem_max(&o->common, &limit, err);
    if (st == RK_OK)
        st = rk_mem_max_alone(&o->common, o->kl_base, "--kl-base", err);
    if (st == RK_OK)
        st = rk_mem_max_alone(&o->common, o->adapter.files.n > 0, "--adapter", err);
    if (st == RK_OK)
        st = rk_mem_max_alone(&o->common, o->task.task, "--task", err);
    if (st != RK_OK)
        return st;
    const char *of_task = o->task.params.n > 0 ? o->task.params.at[0].name
                          : o->task.n >= 0     ? "n"
                          : o->task.batch >= 0 ? "batch"
                          : o->task.seed >= 0  ? "seed"
                                               : NULL;
    if (!o->task.task && of_task)
        return rk_fail(err, RK_ERR_ARG, "--%s goes with --task only", of_task);
    return o->task.task ? RK_OK : rk_text_input_open(&e->text, file, o->common.quiet, err);
}

static rk_status open_all(eval *e, rk_interrupt *interrupt, rk_error *err)
{
    const eval_options *o = e->o;
    rk_status st = rk_command_engine(&e->engine, &o->common, rk_interrupt_came, interrupt, err);
    if (st == RK_OK)
        st = rk_state_in_model(&e->model.model, &o->common, o->model, &o->state_in, err);
    if (st == RK_OK)
        st = rk_command_tokenizer(&e->tokenizer, &o->common, o->vocab, e->model.model, o->model,
                                  err);
    if (st == RK_OK)
        st = rk_mem_max_apply(&o->common, e->model.model, e->engine,
                              &(rk_mem_use){1, 1, PIECE + SHORT, 0}, err);
    if (st == RK_OK)
        st = open_stream(e, &e->model, err);
    if (st == RK_OK)
        st = rk_adapter_in_use(&e->model.adapters, &o->adapter, e->model.model, e->model.session,
                               o->state_in.force_base, err);
    if (st == RK_OK && o->state_in.file)
        st = load_state(o, &e->model, err);
    if (st == RK_OK && o->kl_base)
        st = rk_state_in_model(&e->base.model, &o->common, o->kl_base, &o->state_in, err);
    if (st == RK_OK && o->kl_base)
        st = open_stream(e, &e->base, err);
    if (st == RK_OK && o->kl_base && o->state_in.file)
        st = load_state(o, &e->base, err);
    if (st == RK_OK && o->kl_base && e->base.model->hp.n_vocab != e->model.model->hp.n_vocab)
        st = rk_fail(err, RK_ERR_ARG, "%s has %lld tokens, %s has %lld", o->kl_base,
                     (long long)e->base.model->hp.n_vocab, o->model,
                     (long long)e->model.model->hp.n_vocab);
    return st;
}

static void close_all(eval *e)
{
    close_stream(&e->model);
    close_stream(&e->base);
    rk_tokenizer_free(e->tokenizer);
    rk_engine_free(e->engine);
    rk_text_input_close(&e->text);
}

/* ---- scoring ---- */

static int64_t argmax(const float *x, int64_t n)
{
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++)
        if (x[i] > x[best])
            best = i;
    return best;
}

/* log of the sum of e^x. */
static double log_sum(const float *x, int64_t n)
{
    const int64_t best = argmax(x, n);
    double sum = 1.0; /* the largest, e^0 */
    for (int64_t i = 0; i < n; i++)
        if (i != best)
            sum += exp((double)x[i] - (double)x[best]);
    return (double)x[best] + log(sum);
}

/* KL(p || q) of two rows of scores. */
static double divergence(const float *p, const float *q, int64_t n)
{
    const double lp = log_sum(p, n), lq = log_sum(q, n);
    double kl = 0.0;
    for (int64_t i = 0; i < n; i++) {
        const double a = (double)p[i] - lp;
        kl += exp(a) * (a - ((double)q[i] - lq));
    }
    return kl;
}

/* What is summed over the tokens that are scored. */
typedef struct score {
    double nats;
    int64_t n_tokens, n_top; /* n_top: tokens that were the likeliest */
} score;

/* Row i of the scores has seen tokens[i]; it predicts tokens[i + 1]. */
static void add_rows(eval *e, const int32_t *next, int64_t n, score *out)
{
    const int64_t v = e->model.model->hp.n_vocab;
    for (int64_t i = 0; i < n; i++) {
        const float *row = e->model.logits + i * v;
        out->nats -= rk_logprob(row, v, next[i]);
        out->n_top += argmax(row, v) == next[i];
        out->n_tokens++;
        if (!e->base.model)
            continue;
        const float *base = e->base.logits + i * v;
        e->kl += divergence(base, row, v);
        e->n_same_top += argmax(base, v) == argmax(row, v);
    }
}

/* Go on with tokens[0, n] and score tokens from `from` >= 1 on; the last token is only predicted.
 */
static rk_status score_tokens(eval *e, const int32_t *tokens, int64_t n, int64_t from, score *out,
                              rk_error *err)
{
    rk_status st = RK_OK;
    for (int64_t at = 0, piece; at < n && st == RK_OK; at += piece) {
        piece = n - at <= PIECE + SHORT ? n - at : PIECE;
        st = rk_session_eval_all(e->model.session, tokens + at, piece, e->model.logits, err);
        if (st == RK_OK && e->base.model)
            st = rk_session_eval_all(e->base.session, tokens + at, piece, e->base.logits, err);
        const int64_t skip = rk_min_i64(rk_max_i64(from - 1 - at, 0), piece);
        if (st == RK_OK && skip == 0)
            add_rows(e, tokens + at + 1, piece, out);
        else if (st == RK_OK && skip < piece) {
            const size_t row = (size_t)e->model.model->hp.n_vocab;
            memmove(e->model.logits, e->model.logits + (size_t)skip * row,
                    (size_t)(piece - skip) * row * sizeof(float));
            add_rows(e, tokens + at + 1 + skip, piece - skip, out);
        }
        if (e->n_all > 0)
            rk_meter_show(&e->meter, e->n_done += piece, e->n_all);
    }
    return st;
}

/* Tokens of a text from its beginning on: what begins texts stands before them, or a given state. */
static rk_status encode_text(const eval *e, const char *text, size_t n_bytes, int32_t **ids,
                             int64_t *n, rk_error *err)
{
    const rk_status st = rk_tokenizer_encode_all(e->tokenizer, text, n_bytes, ids, n, err);
    return st == RK_OK && !e->o->state_in.file ? rk_tokenizer_begin_text(e->tokenizer, ids, n, err)
                                               : st;
}

/* ---- --ppl ---- */

static int64_t window_of(const eval *e, int64_t n)
{
    const int64_t recorded = e->model.model->ctx_len;
    const int64_t ctx = e->o->ctx >= 0 ? e->o->ctx : recorded > 0 ? recorded : CTX_DEFAULT;
    return ctx == 0 ? n : ctx;
}

/* Windows of `ctx` tokens, the first of which is not scored: where something begins texts, it stands
 * in that one's place, as in llama.cpp's windows. */
static rk_status measure_windows(eval *e, int32_t *ids, int64_t n, rk_error *err)
{
    const int64_t ctx = window_of(e, n);
    const bool begins = rk_tokenizer_about(e->tokenizer)->adds_bos && !e->o->state_in.file;
    score all = {0};
    rk_status st = RK_OK;
    e->meter = rk_meter_begin(e->text.name, "tokens", 1.0, e->o->common.quiet);
    e->n_all = n;
    for (int64_t at = 0; at + 1 < n && st == RK_OK; at += ctx) {
        const int64_t end = rk_min_i64(at + ctx, n);
        st = rewind_stream(&e->model, err);
        if (st == RK_OK && e->base.model)
            st = rewind_stream(&e->base, err);
        if (begins)
            ids[at] = rk_tokenizer_about(e->tokenizer)->bos;
        if (st == RK_OK)
            st = score_tokens(e, ids + at, end - at - 1, 1, &all, err);
        for (int64_t i = at + 1; i < end; i++) {
            size_t bytes = 0;
            rk_tokenizer_bytes(e->tokenizer, ids[i], &bytes);
            e->n_bytes += (int64_t)bytes;
        }
    }
    rk_meter_end(&e->meter);
    e->nats = all.nats;
    e->n_tokens = all.n_tokens;
    return st;
}

static rk_status measure_text(eval *e, rk_error *err)
{
    int32_t *ids = NULL;
    int64_t n = 0;
    rk_status st = encode_text(e, e->text.text, e->text.n, &ids, &n, err);
    if (st == RK_OK)
        st = measure_windows(e, ids, n, err);
    if (st == RK_OK && e->n_tokens == 0)
        st = rk_fail(err, RK_ERR_ARG, "%s: %lld tokens in windows of %lld leave none to score",
                     e->text.name, (long long)n, (long long)window_of(e, n));
    free(ids);
    return st;
}

/* ---- lines of questions ---- */

/* Score `answer` after `context`, each encoded on its own. */
static rk_status score_after(eval *e, const char *context, size_t n_context, const char *answer,
                             score *out, rk_error *err)
{
    int32_t *a = NULL, *b = NULL;
    int64_t n_a = 0, n_b = 0;
    rk_status st = encode_text(e, context, n_context, &a, &n_a, err);
    if (st == RK_OK)
        st = rk_tokenizer_encode_all(e->tokenizer, answer, strlen(answer), &b, &n_b, err);
    int32_t *all = st == RK_OK ? realloc(a, (size_t)(n_a + n_b + 1) * sizeof *all) : NULL;
    if (st == RK_OK && !all)
        st = rk_fail(err, RK_ERR_NOMEM, "out of memory for %lld tokens", (long long)(n_a + n_b));
    if (st == RK_OK && (n_a < 1 || n_b < 1))
        st = rk_fail(err, RK_ERR_FORMAT, "%s, line %lld: an empty context or answer", e->text.name,
                     (long long)e->n_line);
    a = all ? all : a;
    if (st == RK_OK) {
        memcpy(all + n_a, b, (size_t)n_b * sizeof *b);
        st = rewind_stream(&e->model, err);
    }
    if (st == RK_OK)
        st = score_tokens(e, all, n_a + n_b - 1, n_a, out, err);
    free(a);
    free(b);
    return st;
}

static rk_status ask_last_word(eval *e, const json_t *line, rk_error *err)
{
    const char *text = json_string_value(json_object_get(line, "text"));
    const char *last = text ? strrchr(text, ' ') : NULL;
    score s = {0};
    if (!last || last == text)
        return rk_fail(err, RK_ERR_FORMAT, "%s, line %lld: no \"text\" of two words", e->text.name,
                       (long long)e->n_line);
    const rk_status st = score_after(e, text, (size_t)(last - text), last, &s, err);
    e->nats += s.nats;
    e->n_tokens += s.n_tokens;
    e->n_bytes += (int64_t)strlen(last);
    e->n_right += st == RK_OK && s.n_top == s.n_tokens;
    return st;
}

/* The answer is a number from 0 on, or one of the choices. */
static bool is_answer(const json_t *answer, size_t i, const char *choice)
{
    return json_is_integer(answer)
               ? json_integer_value(answer) == (json_int_t)i
               : json_is_string(answer) && !strcmp(json_string_value(answer), choice);
}

static rk_status ask_choice(eval *e, const json_t *line, rk_error *err)
{
    const char *question = json_string_value(json_object_get(line, "question"));
    const json_t *choices = json_object_get(line, "choices");
    const json_t *answer = json_object_get(line, "answer");
    double best = (double)INFINITY;
    bool right = false, known = false;
    rk_status st = RK_OK;
    if (!question || json_array_size(choices) < 2)
        return rk_fail(err, RK_ERR_FORMAT, "%s, line %lld: no \"question\" with two \"choices\"",
                       e->text.name, (long long)e->n_line);
    for (size_t i = 0; i < json_array_size(choices) && st == RK_OK; i++) {
        const char *choice = json_string_value(json_array_get(choices, i));
        score s = {0};
        st = choice ? score_after(e, question, strlen(question), choice, &s, err)
                    : rk_fail(err, RK_ERR_FORMAT, "%s, line %lld: a choice that is no text",
                              e->text.name, (long long)e->n_line);
        const bool it = choice && is_answer(answer, i, choice);
        known = known || it;
        if (st == RK_OK && s.nats < best) {
            best = s.nats;
            right = it;
        }
        if (it) {
            e->nats += s.nats;
            e->n_tokens += s.n_tokens;
            e->n_bytes += (int64_t)strlen(choice);
        }
    }
    if (st == RK_OK && !known)
        st = rk_fail(err, RK_ERR_FORMAT, "%s, line %lld: an \"answer\" that is none of the choices",
                     e->text.name, (long long)e->n_line);
    e->n_right += right;
    return st;
}

static bool is_blank(const char *p, size_t n)
{
    while (n > 0 && rk_is_blank(*p))
        p++, n--;
    return n == 0;
}

typedef rk_status ask_fn(eval *e, const json_t *line, rk_error *err);

static rk_status ask_lines(eval *e, ask_fn *ask, rk_error *err)
{
    const char *p = e->text.text, *end = p + e->text.n;
    rk_status st = RK_OK;
    e->meter = rk_meter_begin(e->text.name, "kB", 1e3, e->o->common.quiet);
    for (e->n_line = 1; p < end && st == RK_OK; e->n_line++) {
        const char *eol = memchr(p, '\n', (size_t)(end - p));
        const size_t n = (size_t)((eol ? eol : end) - p);
        json_error_t why;
        const bool blank = is_blank(p, n);
        json_t *line = !blank && n <= LINE_MAX_BYTES ? json_loadb(p, n, 0, &why) : NULL;
        if (!blank && !json_is_object(line))
            st = rk_fail(err, RK_ERR_FORMAT, "%s, line %lld: no JSON object of at most %d bytes",
                         e->text.name, (long long)e->n_line, LINE_MAX_BYTES);
        else if (!blank) {
            st = ask(e, line, err);
            e->n_asked++;
        }
        json_decref(line);
        p += n + 1;
        rk_meter_show(&e->meter, p - e->text.text, (int64_t)e->text.n);
    }
    rk_meter_end(&e->meter);
    if (st == RK_OK && e->n_asked == 0)
        st = rk_fail(err, RK_ERR_FORMAT, "%s: no lines", e->text.name);
    return st;
}

/* ---- the report ---- */

/* JSON has no infinities: what is too large for a double is null. */
static json_t *number(double x)
{
    return isfinite(x) ? json_real(x) : json_null();
}

/* A loss that is not finite means a broken model; name the tensor. */
static rk_status check_loss(const eval *e, rk_error *err)
{
    const bool model_fails = !isfinite(e->nats);
    const char *file = model_fails ? e->o->model : e->o->kl_base;
    if (!model_fails && isfinite(e->kl))
        return RK_OK;
    const rk_model *m = model_fails ? e->model.model : e->base.model;
    const char *tensor = rk_file_find_nonfinite(m->file);
    if (tensor)
        return rk_fail(err, RK_ERR_FORMAT,
                       "%s: tensor '%.80s' holds a number that is not finite, so there is no loss",
                       file, tensor);
    return rk_fail(err, RK_ERR_NUMERIC, "%s: its loss on %s is not finite, though its weights are",
                   file, e->text.name);
}

static rk_status report(const eval *e, json_t **out, rk_error *err)
{
    const double n = (double)e->n_tokens, loss = e->nats / n;
    const rk_status st = check_loss(e, err);
    if (st != RK_OK)
        return st;
    json_t *o = json_pack("{s:f, s:o, s:I}", "loss", loss, "ppl", number(exp(loss)), "n_tokens",
                          (json_int_t)e->n_tokens);
    bool ok = o != NULL;
    if (ok && e->n_bytes > 0)
        ok = json_object_set_new(o, "bits_per_byte",
                                 json_real(e->nats / log(2.0) / (double)e->n_bytes)) == 0;
    if (ok && e->n_asked > 0)
        ok = json_object_set_new(o, "accuracy",
                                 json_real((double)e->n_right / (double)e->n_asked)) == 0 &&
             json_object_set_new(o, "n_questions", json_integer(e->n_asked)) == 0;
    if (ok && e->base.model)
        ok = json_object_set_new(o, "kl", json_real(e->kl / n)) == 0 &&
             json_object_set_new(o, "same_top", json_real((double)e->n_same_top / n)) == 0;
    if (ok) {
        *out = o;
        return RK_OK;
    }
    json_decref(o);
    return rk_fail(err, RK_ERR_NOMEM, "out of memory for the results");
}

static void print_report(json_t *o)
{
    for (void *i = json_object_iter(o); i; i = json_object_iter_next(o, i)) {
        const json_t *value = json_object_iter_value(i);
        if (json_is_null(value))
            printf("%-14s larger than a number can be\n", json_object_iter_key(i));
        else if (json_is_string(value))
            printf("%-14s %s\n", json_object_iter_key(i), json_string_value(value));
        else if (json_is_integer(value))
            printf("%-14s %lld\n", json_object_iter_key(i), (long long)json_integer_value(value));
        else
            printf("%-14s %.6g\n", json_object_iter_key(i), json_real_value(value));
    }
}

static rk_status measure(eval *e, rk_interrupt *interrupt, json_t **result, rk_error *err)
{
    const eval_options *o = e->o;
    rk_status st = open_all(e, interrupt, err);
    if (st == RK_OK)
        st = o->ppl ? measure_text(e, err)
                    : ask_lines(e, o->lambada ? ask_last_word : ask_choice, err);
    if (st == RK_OK)
        st = rk_file_check(e->model.model->file, err);
    if (st == RK_OK)
        st = report(e, result, err);
    return st;
}

static int eval_main(int argc, char **argv)
{
    eval_options o = {.ctx = -1, .task = {.n = -1, .batch = -1, .seed = -1}};
    eval e = {.o = &o};
    rk_interrupt *interrupt = NULL;
    json_t *result = NULL;
    int status = 0;
    rk_error err = {0};
    if (!rk_command_options(&rk_cmd_eval, argc, argv, &o, &status))
        return status;
    rk_status st = rk_state_in_settle(&o.state_in, &o.adapter, &err);
    if (st == RK_OK)
        st = open_text(&e, &err);
    if (st == RK_OK)
        st = rk_interrupt_open(&interrupt, &err);
    o.task.model = o.model;
    o.task.n = o.task.n >= 0 ? o.task.n : 1000;
    o.task.batch = o.task.batch >= 0 ? o.task.batch : 32;
    o.task.seed = o.task.seed >= 0 ? o.task.seed : 42;
    if (st == RK_OK)
        st = o.task.task ? rk_eval_task_run(&o.task, &o.common, interrupt, &result, &err)
                         : measure(&e, interrupt, &result, &err);
    close_all(&e);
    const int signal = interrupt ? rk_interrupt_signal(interrupt) : 0;
    rk_interrupt_close(interrupt);
    if (st == RK_OK && o.json)
        st = rk_command_json(result, &err);
    else if (st == RK_OK)
        print_report(result);
    if (!o.json)
        json_decref(result);
    if (st == RK_ERR_ABORTED && signal)
        return 128 + signal;
    return st == RK_OK ? 0 : rk_command_fail(&err);
}
