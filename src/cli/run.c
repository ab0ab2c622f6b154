/* run.c: `rwkv run`: a prompt, then the model's own text as it is made. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/num.h"
#include "cli/adapter_in.h"
#include "cli/command.h"
#include "cli/draft.h"
#include "cli/generate.h"
#include "cli/interrupt.h"
#include "cli/mem_max.h"
#include "cli/prefill.h"
#include "cli/prompt.h"
#include "cli/sampling.h"
#include "cli/saved.h"
#include "cli/state_in.h"
#include "model/model.h"
#include "text/sampler.h"
#include "text/tokenizer.h"

typedef struct run_options {
    rk_common_options common;
    const char *model, *vocab, *state_out;
    rk_state_in state_in;
    rk_adapter_in adapter;
    rk_prompt_source prompt;
    bool no_display_prompt, ignore_eos, force, json;
    int64_t n_tokens, logprobs;
    rk_draft_options draft;
    rk_sampling_options sampling;
    rk_opt_list stop;
} run_options;

#define AT(member) offsetof(run_options, member)

static const rk_option rows[] = {
    RK_OPT_GROUP("model"),
    {"model", 'm', RK_OPT_TEXT, "FILE", AT(model), 0, 0, RK_REQUIRED,
     "a model: .pth, .safetensors, .gguf or .bin"},
    RK_MODEL_OPERAND(run_options, model),
    {"vocab", 0, RK_OPT_TEXT, "NAME", AT(vocab), 0, 0, "the model's",
     "byte, world, or a vocabulary file"},
    {"tokenizer", 0, RK_OPT_TEXT, "NAME", AT(vocab), 0, 0, NULL, "the same as --vocab"},
    RK_STATE_IN_ROWS(run_options, state_in),
    RK_ADAPTER_IN_ROWS(run_options, adapter),
    {"state-out", 0, RK_OPT_TEXT, "FILE", AT(state_out), 0, 0, NULL,
     "save the recurrent state after the last token"},
    {"force", 0, RK_OPT_FLAG, NULL, AT(force), 0, 0, NULL, "overwrite the file of --state-out"},
    RK_DRAFT_ROWS(run_options, draft),
    RK_OPT_GROUP("text"),
    {"prompt", 'p', RK_OPT_TEXT, "TEXT", AT(prompt.text), 0, 0, "stdin",
     "text to continue; - is stdin; empty after --state-in: the saved text goes on"},
    {"file", 'f', RK_OPT_TEXT, "FILE", AT(prompt.file), 0, 0, NULL, "the prompt from a file"},
    {"escape", 'e', RK_OPT_FLAG, NULL, AT(prompt.escapes), 0, 0, NULL,
     "read \\n \\t \\xHH and the like in the prompt and in --stop"},
    {"no-display-prompt", 0, RK_OPT_FLAG, NULL, AT(no_display_prompt), 0, 0, NULL,
     "print the generated text only"},
    {"n-predict", 'n', RK_OPT_INT, "N", AT(n_tokens), -1, 1e12, "256",
     "tokens to generate at most; -1: until the text ends"},
    {"stop", 0, RK_OPT_LIST, "TEXT", AT(stop), 0, 0, NULL,
     "stop before this text; may be given several times"},
    {"ignore-eos", 0, RK_OPT_FLAG, NULL, AT(ignore_eos), 0, 0, NULL,
     "do not stop at tokens that end a text: 0, or those that the vocabulary names"},
    {"json", 0, RK_OPT_FLAG, NULL, AT(json), 0, 0, NULL,
     "one object on stdout: text, tokens, seed, timings"},
    {"logprobs", 0, RK_OPT_INT, "N", AT(logprobs), 0, 1000, "0",
     "with --json: log-probability of each token and of the N likeliest"},
    RK_SAMPLING_ROWS(run_options, sampling, "1", "0.85", "0", "0"),
    RK_MEM_ROWS(run_options, common),
    RK_CACHE_ROWS(run_options, common),
    RK_COMMON_ROWS(run_options, common),
};

static int run_main(int argc, char **argv);

const rk_command rk_cmd_run = {
    .name = "run",
    .summary = "generate text after a prompt",
    .usage = "-m FILE [-p TEXT] [options]",
    .options = {rows, RK_COUNT(rows)},
    .examples =
        "  rwkv run -m model.safetensors -p \"It is a truth\" -n 64 --temp 0\n"
        "  rwkv run -m large.gguf --draft small.gguf -f prompt.txt --temp 0.8 --stop \"THE END\"",
    .main = run_main,
};

/* Everything a run holds. */
typedef struct run {
    const run_options *o;
    bool seed_given;
    int64_t seed; /* given, saved, or drawn */
    rk_saved saved;
    bool goes_on; /* with the text that was saved: there is no prompt */
    rk_buf prompt;
    rk_interrupt *interrupt;
    rk_engine *engine;
    rk_model *model;
    rk_tokenizer *tokenizer;
    rk_session *session;
    rk_adapters *adapters; /* NULL: none */
    rk_sampler *sampler;
    rk_draft draft;
    int32_t *tokens;          /* of the prompt */
    int64_t n_tokens, n_read; /* in the prompt; those that the session has read */
    float *logits;
    rk_buf stops; /* the texts of --stop */
    rk_buf text;  /* generated, kept for --json */
    rk_generated made;
    double prompt_s, generate_s;
    rk_error
        full; /* what is to be said at the end of a text that fills the context; code 0: it does not */
    bool line_open; /* what stands on stdout does not end its line */
} run;

/* ---- preparing ---- */

/* All that can be refused before the model is opened. */
static rk_status check_options(const run_options *o, rk_error *err)
{
    if (o->prompt.text && o->prompt.file)
        return rk_fail(err, RK_ERR_ARG, "a prompt by -p or by -f, not by both");
    if (o->logprobs > 0 && !o->json)
        return rk_fail(err, RK_ERR_ARG, "--logprobs needs --json, which shows them");
    size_t limit;
    rk_status st = rk_mem_max(&o->common, &limit, err);
    if (st == RK_OK)
        st = rk_mem_max_alone(&o->common, o->draft.file, "--draft", err);
    if (st == RK_OK)
        st = rk_mem_max_alone(&o->common, o->adapter.files.n > 0, "--adapter", err);
    if (st != RK_OK)
        return st;
    return o->state_out ? rk_command_try_output(o->state_out, o->force, err) : RK_OK;
}

/* The draws of the saved text go on, with its seed unless another one is given. */
static void recall_draws(run *r)
{
    const rk_saved *k = &r->saved;
    if (!k->draws || !k->counts)
        return;
    if (!r->seed_given)
        r->seed = (int64_t)k->seed;
    const rk_sampler_memory m = {(uint64_t)r->seed, k->step, k->counts};
    rk_sampler_recall(r->sampler, &m);
}

/* What stands before a text: the token that the vocabulary begins texts with, else the one that ends them. */
static int32_t first_token(const run *r)
{
    const rk_about_text *a = rk_tokenizer_about(r->tokenizer);
    return a->adds_bos ? a->bos : a->end > 0 ? a->end : 0;
}

/* Without a prompt the saved text goes on; where there is none, a new text does. */
static rk_status begin_without_prompt(run *r, rk_error *err)
{
    const rk_saved *k = &r->saved;
    const char *file = r->o->state_in.file;
    if (!file || k->begins) {
        r->tokens[r->n_tokens++] = first_token(r);
        return RK_OK;
    }
    if (!k->logits && k->next < 0)
        return rk_fail(
            err, RK_ERR_ARG,
            "%s: does not hold what comes after its last token, so there must be a prompt", file);
    if (k->logits)
        memcpy(r->logits, k->logits, (size_t)r->model->hp.n_vocab * sizeof *r->logits);
    r->goes_on = true;
    recall_draws(r);
    return RK_OK;
}

/* What a saved talk has not read yet may have marked control tokens, a prompt has none. */
static rk_status encode_apart(run *r, rk_error *err)
{
    const rk_buf *unread = &r->saved.unread, *prompt = &r->prompt;
    int32_t *ids = NULL;
    int64_t n = 0;
    rk_status st = rk_tokenizer_encode_marked_all(r->tokenizer, unread->data, unread->len,
                                                  &r->tokens, &r->n_tokens, err);
    if (st == RK_OK)
        st = rk_tokenizer_encode_all(r->tokenizer, prompt->data, prompt->len, &ids, &n, err);
    int32_t *all =
        st == RK_OK ? realloc(r->tokens, ((size_t)(r->n_tokens + n) + 1) * sizeof *all) : NULL;
    if (all) {
        if (n > 0)
            memcpy(all + r->n_tokens, ids, (size_t)n * sizeof *all);
        r->tokens = all;
        r->n_tokens += n;
    }
    free(ids);
    return st == RK_OK && !all ? rk_fail(err, RK_ERR_NOMEM, "out of memory for the prompt") : st;
}

/* Both as one text. */
static rk_status encode_together(run *r, rk_error *err)
{
    rk_buf text = {0};
    rk_buf_add(&text, r->saved.unread.data, r->saved.unread.len);
    rk_buf_add(&text, r->prompt.data, r->prompt.len);
    const rk_status st = text.failed ? rk_fail(err, RK_ERR_NOMEM, "out of memory for the prompt")
                                     : rk_tokenizer_encode_all(r->tokenizer, text.data, text.len,
                                                               &r->tokens, &r->n_tokens, err);
    rk_buf_deinit(&text);
    return st;
}

/* As tokens: what a saved talk has not read yet, then the prompt. */
static rk_status encode_prompt(run *r, rk_error *err)
{
    r->logits = calloc((size_t)r->model->hp.n_vocab, sizeof *r->logits);
    if (!r->logits)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for the scores of %lld tokens",
                       (long long)r->model->hp.n_vocab);
    const rk_status st =
        rk_tokenizer_has_merges(r->tokenizer) ? encode_apart(r, err) : encode_together(r, err);
    if (st == RK_OK && r->n_tokens == 0)
        return begin_without_prompt(r, err);
    return st == RK_OK && !r->o->state_in.file
               ? rk_tokenizer_begin_text(r->tokenizer, &r->tokens, &r->n_tokens, err)
               : st;
}

static bool interrupted(void *user)
{
    const run *r = user;
    return r->interrupt && rk_interrupt_came(r->interrupt);
}

/* The engine's threads are made while signals are blocked, so that they never take one. After that
 * a signal ends the program as always until the prompt is there: there is nothing to save. */
static rk_status open_engine(run *r, rk_error *err)
{
    rk_status st = rk_interrupt_open(&r->interrupt, err);
    if (st != RK_OK)
        return st;
    st = rk_command_engine(&r->engine, &r->o->common, interrupted, r, err);
    rk_interrupt_pass(r->interrupt);
    r->interrupt = NULL;
    return st;
}

static rk_status open_all(run *r, rk_error *err)
{
    const run_options *o = r->o;
    rk_status st = open_engine(r, err);
    if (st == RK_OK)
        st = rk_state_in_model(&r->model, &o->common, o->model, &o->state_in, err);
    if (st == RK_OK)
        st = rk_command_tokenizer(&r->tokenizer, &o->common, o->vocab, r->model, o->model, err);
    if (st == RK_OK)
        st = rk_sampling_new(&r->sampler, &o->sampling, r->model->hp.n_vocab, r->tokenizer, err);
    if (st == RK_OK)
        st = rk_mem_max_apply(&o->common, r->model, r->engine,
                              &(rk_mem_use){1, o->state_out != NULL, 6, 0}, err);
    if (st == RK_OK)
        st = rk_session_new(&r->session, r->model, r->engine, err);
    if (st == RK_OK)
        st = rk_adapter_in_use(&r->adapters, &o->adapter, r->model, r->session,
                               o->state_in.force_base, err);
    if (st == RK_OK && o->state_in.file)
        st = rk_saved_load(&r->saved, r->session, o->state_in.file,
                           rk_state_in_reading(&o->state_in), err);
    if (st == RK_OK)
        st = rk_draft_open(&r->draft, &o->draft, r->session, r->sampler, err);
    return st;
}

static void close_all(run *r)
{
    rk_generated_deinit(&r->made);
    rk_draft_close(&r->draft);
    rk_session_free(r->session);
    rk_adapters_free(r->adapters);
    rk_sampler_free(r->sampler);
    rk_tokenizer_free(r->tokenizer);
    rk_model_close(r->model);
    rk_engine_free(r->engine);
    rk_interrupt_close(r->interrupt);
    free(r->tokens);
    free(r->logits);
    rk_saved_deinit(&r->saved);
    rk_buf_deinit(&r->prompt);
    rk_buf_deinit(&r->stops);
    rk_buf_deinit(&r->text);
}

/* ---- running ---- */

static rk_status print(run *r, const char *text, size_t n, rk_error *err)
{
    if (n > 0)
        r->line_open = text[n - 1] != '\n';
    return rk_command_print(text, n, err);
}

static rk_status emit(void *user, const char *text, size_t n, rk_error *err)
{
    run *r = user;
    if (!r->o->json)
        return print(r, text, n, err);
    rk_buf_add(&r->text, text, n);
    return r->text.failed ? rk_fail(err, RK_ERR_NOMEM, "out of memory for text") : RK_OK;
}

static rk_status show_prompt(run *r, rk_error *err)
{
    if (r->o->json || r->o->no_display_prompt || r->prompt.len == 0)
        return RK_OK;
    return print(r, r->prompt.data, r->prompt.len, err);
}

/* The token that the saved text would have gone on with, alone as then; one that ended it is left
 * out. */
static rk_status feed_next(run *r, rk_error *err)
{
    const int32_t next = r->saved.next;
    if (next < 0 || (!r->o->ignore_eos && rk_tokenizer_ends(r->tokenizer, next)))
        return RK_OK;
    return rk_session_eval(r->session, &next, 1, NULL, err);
}

static rk_status feed_prompt(run *r, rk_error *err)
{
    rk_meter meter = rk_meter_begin("reading the prompt", "tokens", 1.0, r->o->common.quiet);
    const double began = rk_now_s();
    rk_status st = feed_next(r, err);
    if (st == RK_OK)
        st = rk_prefill(r->session, r->draft.speculator, r->tokens, r->n_tokens, r->logits, &meter,
                        &r->n_read, err);
    r->prompt_s = rk_now_s() - began;
    rk_meter_end(&meter);
    return st;
}

/* The prompt is shown before it is computed, so that something is seen while it is; unless a meter
 * takes its place on the terminal meanwhile. */
static rk_status read_prompt(run *r, rk_error *err)
{
    const bool metered =
        r->n_tokens > RK_PREFILL_PIECE && isatty(STDERR_FILENO) && !r->o->common.quiet;
    if (r->goes_on)
        return RK_OK;
    rk_status st = metered ? RK_OK : show_prompt(r, err);
    if (st == RK_OK)
        st = feed_prompt(r, err);
    if (st == RK_OK && metered)
        st = show_prompt(r, err);
    return st;
}

static rk_status generate(run *r, rk_error *err)
{
    const rk_generate_params p = {.tokenizer = r->tokenizer,
                                  .n_vocab = r->model->hp.n_vocab,
                                  .n_max = r->o->n_tokens,
                                  .n_logprobs = r->o->logprobs,
                                  .ignore_eos = r->o->ignore_eos,
                                  .feed_last = r->o->state_out != NULL,
                                  .keep_unshown = r->o->state_out != NULL,
                                  .from = r->goes_on ? &r->saved : NULL,
                                  .stop = r->o->stop.at,
                                  .n_stop = r->o->stop.n,
                                  .speculator = r->draft.speculator,
                                  .emit = emit,
                                  .user = r};
    const double began = rk_now_s();
    const rk_status st = rk_generate(&r->made, &p, r->session, r->sampler, r->logits, err);
    r->generate_s = rk_now_s() - began;
    if (st == RK_ERR_FULL)
        r->full = *err;
    return st == RK_ERR_FULL ? RK_OK : st;
}

static void print_draft(const run *r)
{
    char text[RK_DRAFT_TEXT_MAX];
    rk_draft_describe(&r->draft, &(rk_speculator_info){0}, text);
    fprintf(stderr, "%s\n", text);
}

/* Do stdout and stderr end in the same place, so that lines of one meet those of the other? */
static bool share_a_place(void)
{
    struct stat out, err;
    return isatty(STDOUT_FILENO) ||
           (fstat(STDOUT_FILENO, &out) == 0 && fstat(STDERR_FILENO, &err) == 0 &&
            out.st_dev == err.st_dev && out.st_ino == err.st_ino);
}

/* What is said on stderr, and a shell's prompt, begins a line of its own. */
static void end_line(const run *r)
{
    fflush(stdout);
    if (r->line_open && share_a_place())
        fputc('\n', isatty(STDOUT_FILENO) ? stdout : stderr);
    fflush(stdout);
}

static void print_timings(const run *r)
{
    const int64_t n = r->made.n_tokens;
    if (r->o->common.quiet)
        return;
    fputs("prompt ", stderr);
    if (r->n_read < r->n_tokens)
        fprintf(stderr, "%" PRId64 " of ", r->n_read);
    fprintf(stderr,
            "%" PRId64 " tokens, %.1f tokens/s; text %" PRId64
            " tokens, %.1f tokens/s; ended by %s\n",
            r->n_tokens, rk_command_rate(r->n_read, r->prompt_s), n,
            rk_command_rate(n, r->generate_s), rk_end_name(r->made.end));
    if (r->draft.speculator && r->o->common.verbose)
        print_draft(r);
}

static rk_status print_json(const run *r, rk_error *err)
{
    json_t *timings =
        json_pack("{s:f, s:f, s:f, s:f}", "prompt_s", r->prompt_s, "prompt_tokens_per_s",
                  rk_command_rate(r->n_read, r->prompt_s), "generate_s", r->generate_s,
                  "tokens_per_s", rk_command_rate(r->made.n_tokens, r->generate_s));
    return rk_command_json(rk_generated_json(&r->made, &r->text, r->n_read, r->seed, timings), err);
}

/* Greedy texts have no draws to go on with. */
static rk_status take_draws(const run *r, rk_saved *k, rk_error *err)
{
    if (r->o->sampling.temp == 0.0)
        return RK_OK;
    k->counts = malloc((size_t)r->model->hp.n_vocab * sizeof *k->counts);
    if (!k->counts)
        return rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", r->o->state_out);
    rk_sampler_memory m = {.counts = k->counts};
    rk_sampler_remember(r->sampler, &m);
    k->draws = true;
    k->seed = m.seed;
    k->step = m.step;
    return RK_OK;
}

/* After all of a prompt there is a text to go on with; within it there is not. */
static rk_status write_state(const run *r, rk_error *err)
{
    rk_saved k = {.next = -1};
    rk_status st = RK_OK;
    if (r->n_read == r->n_tokens) {
        k.unshown = r->made.unshown;
        k.next = r->made.unfed;
        k.logits = k.next < 0 ? r->logits : NULL;
        st = take_draws(r, &k, err);
    }
    if (st == RK_OK)
        st = rk_saved_write(&k, r->session, r->o->state_out, true, err);
    free(k.counts);
    return st;
}

/* Of a prompt that was not read to its end the state of what was read is worth keeping. */
static rk_status save_state(const run *r, rk_error *err)
{
    if (r->n_read == 0 && !r->goes_on) {
        fprintf(stderr, "rwkv: %s is not written: no token was read\n", r->o->state_out);
        return RK_OK;
    }
    const rk_status st = write_state(r, err);
    if (st == RK_OK && r->n_read < r->n_tokens)
        fprintf(stderr, "rwkv: %s holds the first %" PRId64 " of the prompt's %" PRId64 " tokens\n",
                r->o->state_out, r->n_read, r->n_tokens);
    return st;
}

/* The model's file is asked at the end whether it is still the one that was opened. */
static rk_status finish(const run *r, rk_error *err)
{
    rk_status st = rk_file_check(r->model->file, err);
    end_line(r);
    if (st == RK_OK && r->o->state_out)
        st = save_state(r, err);
    print_timings(r);
    if (st == RK_OK && r->o->json)
        st = print_json(r, err);
    return st;
}

static rk_status work(run *r, rk_error *err)
{
    r->seed = r->o->sampling.seed;
    rk_status st = open_all(r, err);
    if (st == RK_OK)
        st = rk_prompt_read(&r->o->prompt, &r->prompt, err);
    if (st == RK_OK)
        st = encode_prompt(r, err);
    if (st == RK_OK) /* not before: reading a prompt from a terminal is interrupted as always */
        st = rk_interrupt_open(&r->interrupt, err);
    if (st == RK_OK && r->o->sampling.temp > 0.0 && !r->o->common.quiet)
        fprintf(stderr, "seed %" PRId64 "\n", r->seed);
    if (st == RK_OK)
        st = read_prompt(r, err);
    if (st == RK_OK)
        st = generate(r, err);
    else if (st == RK_ERR_ABORTED) {
        r->made = (rk_generated){.end = RK_END_INTERRUPTED, .unfed = -1};
        st = RK_OK;
    }
    if (st == RK_OK)
        st = finish(r, err);
    return st == RK_OK && r->full.code ? rk_fail(err, r->full.code, "%s", r->full.msg) : st;
}

static int run_main(int argc, char **argv)
{
    run_options o = {
        .n_tokens = 256, .draft = {.n_max = RK_DRAFT_GUESSES}, .sampling = rk_sampling_defaults()};
    int status = 0;
    rk_error err = {0};
    if (!rk_command_options(&rk_cmd_run, argc, argv, &o, &status))
        return status;
    run r = {.o = &o, .seed_given = o.sampling.seed >= 0, .saved = {.next = -1}};
    o.prompt.quiet = o.common.quiet;
    rk_status st = rk_prompt_stops(&o.stop, o.prompt.escapes, &r.stops, &err);
    if (st == RK_OK)
        st = check_options(&o, &err);
    if (st == RK_OK)
        st = rk_state_in_settle(&o.state_in, &o.adapter, &err);
    if (st == RK_OK)
        st = rk_sampling_draw_seed(&o.sampling, &err);
    if (st == RK_OK)
        st = work(&r, &err);
    const int signal = r.interrupt ? rk_interrupt_signal(r.interrupt) : 0;
    if (st != RK_OK)
        end_line(&r); /* the sentence begins a line of its own */
    close_all(&r);
    if (st != RK_OK)
        return rk_command_fail(&err);
    return signal ? 128 + signal : 0;
}
