/* chat.c: `rwkv chat`: a conversation on the terminal or through a pipe.
 *
 * On a terminal a signal stops the computation and not the conversation. In a pipe it ends the program,
 * and so does a mistake in a command, as nobody is there to correct it. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/num.h"
#include "base/str.h"
#include "cli/chat.h"
#include "cli/mem_max.h"
#include "infer/speculate.h"
#include "text/chat_template.h"

#define AT(member) offsetof(chat_options, member)

static const rk_option rows[] = {
    RK_OPT_GROUP("model"),
    {"model", 'm', RK_OPT_TEXT, "FILE", AT(model), 0, 0, RK_REQUIRED,
     "a model: .pth, .safetensors, .gguf or .bin"},
    RK_MODEL_OPERAND(chat_options, model),
    {"vocab", 0, RK_OPT_TEXT, "NAME", AT(vocab), 0, 0, "the model's",
     "byte, world, or a vocabulary file"},
    {"tokenizer", 0, RK_OPT_TEXT, "NAME", AT(vocab), 0, 0, NULL, "the same as --vocab"},
    RK_STATE_IN_ROWS(chat_options, state_in),
    RK_ADAPTER_IN_ROWS(chat_options, adapter),
    RK_DRAFT_ROWS(chat_options, draft),
    RK_OPT_GROUP("talk"),
    {"template", 0, RK_OPT_TEXT, "NAME", AT(format), 0, 0, "by the model",
     "chat format: world, g1, assistant, bot, function_calling, raven, instruct, qa, chatml or r1"},
    {"system", 0, RK_OPT_TEXT, "TEXT", AT(system), 0, 0, NULL,
     "system text that the talk begins with"},
    {"user-name", 0, RK_OPT_TEXT, "NAME", AT(user_name), 0, 0, "the format's",
     "what the format calls the user"},
    {"assistant-name", 0, RK_OPT_TEXT, "NAME", AT(assistant_name), 0, 0, "the format's",
     "what it calls the model"},
    {"messages", 0, RK_OPT_TEXT, "FILE", AT(messages), 0, 0, NULL,
     "messages that the talk begins with, in JSON; where the last one asks, it is answered"},
    {"prompt", 'p', RK_OPT_TEXT, "TEXT", AT(first.text), 0, 0, NULL,
     "the first question; - is all of stdin"},
    {"file", 'f', RK_OPT_TEXT, "FILE", AT(first.file), 0, 0, NULL,
     "the first question, from a file"},
    {"escape", 'e', RK_OPT_FLAG, NULL, AT(first.escapes), 0, 0, NULL,
     "read \\n \\t \\xHH and the like in the first question and in --stop"},
    {"no-display-prompt", 0, RK_OPT_FLAG, NULL, AT(no_display_prompt), 0, 0, NULL,
     "do not show the first question"},
    {"no-history", 0, RK_OPT_FLAG, NULL, AT(no_history), 0, 0, NULL,
     "keep what is typed out of the history file"},
    RK_OPT_GROUP("answers"),
    CHAT_ANSWER_ROWS,
    {"stop", 0, RK_OPT_LIST, "TEXT", AT(stop), 0, 0, NULL,
     "stop an answer before this text too; may be given several times"},
    {"ignore-eos", 0, RK_OPT_FLAG, NULL, AT(ignore_eos), 0, 0, NULL,
     "do not stop at tokens that end a text: 0, or those that the vocabulary names"},
    {"json", 0, RK_OPT_FLAG, NULL, AT(json), 0, 0, NULL,
     "an object a line for each answer: text, tokens, seed, timings"},
    {"logprobs", 0, RK_OPT_INT, "N", AT(logprobs), 0, 1000, "0",
     "with --json: log-probability of each token and of the N likeliest"},
    RK_MEM_ROWS(chat_options, common),
    RK_CACHE_ROWS(chat_options, common),
    RK_COMMON_ROWS(chat_options, common),
};

static int chat_main(int argc, char **argv);

const rk_command rk_cmd_chat = {
    .name = "chat",
    .summary = "talk with a model",
    .usage = "-m FILE [--system TEXT] [options]",
    .options = {rows, RK_COUNT(rows)},
    .examples = "  rwkv chat -m RWKV-x070-World-0.4B.pth\n"
                "  rwkv chat -m large.gguf --draft small.gguf --temp 0 <questions.txt",
    .main = chat_main,
};

/* ---- showing ---- */

static const char *colour(const chat *c, const char *code)
{
    return c->colours ? code : "";
}

void chat_note(const chat *c, const char *text)
{
    fflush(stdout);
    if (!c->o.common.quiet && *text)
        fprintf(stderr, "%s%s%s\n", colour(c, "\x1b[2m"), text, colour(c, "\x1b[0m"));
    else if (!c->o.common.quiet)
        fputc('\n', stderr);
}

/* An error message, also with -q. */
static void complain(const chat *c, const rk_error *err)
{
    fflush(stdout);
    fprintf(stderr, "%s%s%s\n", colour(c, "\x1b[31m"), err->msg, colour(c, "\x1b[0m"));
}

static rk_status print(const char *text, size_t n, rk_error *err)
{
    errno = 0;
    if (fwrite(text, 1, n, stdout) == n)
        return RK_OK;
    return rk_fail(err, RK_ERR_IO, "stdout: %s", errno ? strerror(errno) : "writing failed");
}

/* Print an answer so that it cannot control the terminal: control characters other than
 * line feed and tab are shown as U+FFFD; in UTF-8 those are bytes below a space, 7f, and c2 80 to
 * c2 9f. */
static rk_status print_safely(const char *text, size_t n, rk_error *err)
{
    rk_status st = RK_OK;
    for (size_t i = 0; i < n && st == RK_OK; i++) {
        const unsigned char b = (unsigned char)text[i];
        const bool c1 = b == 0xc2 && i + 1 < n && (unsigned char)text[i + 1] < 0xa0;
        const bool control = c1 || b == 0x7f || (b < ' ' && b != '\n' && b != '\t');
        st = control ? print("\xef\xbf\xbd", 3, err) : print(&text[i], 1, err);
        i += c1;
    }
    return st;
}

static rk_status flush(rk_error *err)
{
    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout))
        return RK_OK;
    return rk_fail(err, RK_ERR_IO, "stdout: %s", errno ? strerror(errno) : "writing failed");
}

static rk_status show(void *user, const char *text, size_t n, rk_error *err)
{
    chat *c = user;
    if (c->o.json) {
        rk_buf_add(&c->answer, text, n);
        return c->answer.failed ? rk_fail(err, RK_ERR_NOMEM, "out of memory for text") : RK_OK;
    }
    const rk_status st = c->terminal ? print_safely(text, n, err) : print(text, n, err);
    return st == RK_OK ? flush(err) : st;
}

/* ---- computing, which Ctrl-C stops ---- */

static bool interrupted(void *user)
{
    const chat *c = user;
    return c->interrupt && rk_interrupt_came(c->interrupt);
}

/* Counts and times of a turn. */
typedef struct measure {
    int64_t n_read; /* tokens of the prefill; 0: nothing was evaluated again */
    double read_s, write_s;
    int64_t seed;
    rk_speculator_info before; /* counts before the answer */
    rk_generated made;
} measure;

static rk_status print_json(const chat *c, const measure *m, rk_error *err)
{
    json_t *timings =
        json_pack("{s:f, s:f, s:f, s:f}", "prompt_s", m->read_s, "prompt_tokens_per_s",
                  rk_command_rate(m->n_read, m->read_s), "generate_s", m->write_s, "tokens_per_s",
                  rk_command_rate(m->made.n_tokens, m->write_s));
    const rk_status st =
        rk_command_json(rk_generated_json(&m->made, &c->answer, m->n_read, m->seed, timings), err);
    return st == RK_OK ? flush(err) : st;
}

static void note_guesses(const chat *c, const measure *m)
{
    char said[RK_DRAFT_TEXT_MAX], text[RK_DRAFT_TEXT_MAX + 2];
    rk_draft_describe(&c->draft, &m->before, said);
    snprintf(text, sizeof text, "(%s)", said);
    chat_note(c, text);
}

static void note_end(const chat *c, const measure *m)
{
    char text[160];
    if (m->made.end == RK_END_INTERRUPTED && c->terminal)
        chat_note(c, "(stopped; the talk goes on from here)");
    if (m->made.end == RK_END_LENGTH)
        chat_note(c, "(cut; /set n-predict allows more)");
    snprintf(text, sizeof text,
             "(read %" PRId64 " tokens, %.1f a second; generated %" PRId64
             ", %.1f a second; seed %" PRId64 ")",
             m->n_read, rk_command_rate(m->n_read, m->read_s), m->made.n_tokens,
             rk_command_rate(m->made.n_tokens, m->write_s), m->seed);
    if (c->o.common.verbose)
        chat_note(c, text);
    if (c->o.common.verbose && c->draft.speculator)
        note_guesses(c, m);
    if (c->terminal)
        chat_note(c, "");
}

/* Replace the sampler by a new one; after a failure the old one stays. */
static rk_status renew_sampler(chat *c, const rk_sampling_options *o, rk_error *err)
{
    rk_sampler *made = NULL, *before = c->sampler;
    rk_status st = rk_sampling_new(&made, o, c->model->hp.n_vocab, c->tokenizer, err);
    if (st == RK_OK && c->draft.speculator)
        st = rk_speculator_sampler_set(c->draft.speculator, made, err);
    if (st == RK_OK)
        c->sampler = made;
    rk_sampler_free(st == RK_OK ? before : made);
    return st;
}

/* Each answer is sampled with a seed of its own. One that fills the context is an answer, and an error, too. */
static rk_status answer(chat *c, measure *m, rk_error *err)
{
    const rk_generate_params g = {.n_max = c->o.n_tokens,
                                  .n_logprobs = c->o.logprobs,
                                  .ignore_eos = c->o.ignore_eos,
                                  .stop = c->o.stop.at,
                                  .n_stop = c->o.stop.n,
                                  .emit = show,
                                  .user = c};
    const char *thought = rk_chat_shown_thought(&c->format, (rk_think)c->o.think);
    rk_sampling_options sampling = c->o.sampling;
    m->seed = sampling.seed += rk_talks_n_answers(c->talks);
    rk_buf_clear(&c->answer);
    if (c->draft.speculator)
        rk_speculator_get_info(c->draft.speculator, &m->before);
    rk_status st = renew_sampler(c, &sampling, err);
    if (st == RK_OK)
        st = show(c, thought, strlen(thought), err);
    const double begun = rk_now_s();
    if (st == RK_OK)
        st = rk_talks_answer(c->talks, &g, c->sampler, &m->made, err);
    m->write_s = rk_now_s() - begun;
    if (st != RK_OK && st != RK_ERR_FULL)
        return st;
    rk_error later = {0};
    if ((c->o.json ? print_json(c, m, &later) : show(c, "\n", 1, &later)) != RK_OK)
        return rk_fail(err, later.code, "%s", later.msg);
    note_end(c, m);
    return st;
}

static rk_status ask(chat *c, measure *m, const rk_buf *message, rk_error *err)
{
    const int64_t before = rk_talks_n_read(c->talks);
    const double begun = rk_now_s();
    c->meter = rk_meter_begin("reading the question", "tokens", 1.0, c->o.common.quiet);
    const rk_status st = rk_talks_ask(c->talks, message, (rk_think)c->o.think, err);
    rk_meter_end(&c->meter);
    m->n_read = rk_talks_n_read(c->talks) - before;
    m->read_s = rk_now_s() - begun;
    return st;
}

static void show_keys(void *user)
{
    (void)user;
    rk_line_show_keys();
}

rk_status chat_compute(chat *c, const rk_buf *message, rk_error *err)
{
    measure m = {0};
    rk_status st = rk_interrupt_open(&c->interrupt, err);
    if (st != RK_OK)
        return st;
    rk_line_hide_keys(c->line);
    rk_interrupt_at_end(c->interrupt, show_keys, NULL);
    if (message)
        st = ask(c, &m, message, err);
    const bool asked = message && st == RK_OK;
    if (st == RK_OK)
        st = answer(c, &m, err);
    else if (st == RK_ERR_ABORTED)
        chat_note(c, "(stopped before the answer; the question is forgotten)");
    if (asked && st != RK_OK && st != RK_ERR_FULL)
        rk_talks_undo(c->talks, NULL); /* remove a question that could not be answered */
    const int number = rk_interrupt_signal(c->interrupt);
    rk_interrupt *in = c->interrupt;
    c->interrupt = NULL;
    rk_interrupt_close(in);
    rk_line_show_keys();
    rk_engine_clear_abort(c->engine);
    rk_generated_deinit(&m.made);
    if (number && (number != SIGINT || !c->terminal))
        c->signal = number;
    return st == RK_ERR_ABORTED ? RK_OK : st;
}

static rk_status compute_question(chat *c, const rk_buf *said, rk_error *err)
{
    rk_buf message = {0};
    rk_chat_put_message(&message, &c->format, RK_CHAT_USER, said->data, said->len);
    const rk_status st = message.failed ? rk_fail(err, RK_ERR_NOMEM, "out of memory for a question")
                                        : chat_compute(c, &message, err);
    rk_buf_deinit(&message);
    return st;
}

/* ---- the loop ---- */

/* Remove white space at the end of a line. */
static void trim_end(rk_buf *b)
{
    while (b->len > 0 && rk_is_blank(b->data[b->len - 1]))
        b->data[--b->len] = '\0';
}

/* On a terminal no failure ends the conversation, unless stdout itself has failed. */
static rk_status handle(chat *c, rk_error *err)
{
    trim_end(&c->text);
    if (c->text.len == 0)
        return RK_OK;
    const char *text = c->text.data;
    const rk_status st =
        *text == '/' ? chat_command(c, text + 1, err) : compute_question(c, &c->text, err);
    if (st == RK_OK || !c->terminal || ferror(stdout))
        return st;
    if (*text != '/')
        putchar('\n'); /* part of an answer may stand on the line */
    complain(c, err);
    return RK_OK;
}

static const char *prompt(const chat *c)
{
    return c->colours ? "\1\x1b[1;32m\1> \1\x1b[0m\1" : "> ";
}

static rk_status loop(chat *c, rk_error *err)
{
    rk_status st = RK_OK;
    while (st == RK_OK && !c->quits && !c->signal) {
        rk_line_end end = RK_LINE_MORE;
        st = rk_line_read(c->line, prompt(c), &c->text, &end, err);
        c->signal = end == RK_LINE_INTERRUPTED ? SIGINT : c->signal;
        if (end != RK_LINE_MORE)
            break;
        if (st == RK_OK)
            st = handle(c, err);
    }
    return st;
}

/* The question of -p or -f. */
static rk_status ask_first(chat *c, rk_error *err)
{
    if (!c->o.first.text && !c->o.first.file)
        return RK_OK;
    rk_status st = rk_prompt_read(&c->o.first, &c->text, err);
    if (st == RK_OK && c->terminal && !c->o.json && !c->o.no_display_prompt)
        fprintf(stdout, "%s> %s%s\n", colour(c, "\x1b[1;32m"), colour(c, "\x1b[0m"),
                c->text.data ? c->text.data : "");
    if (st == RK_OK && c->text.len > 0)
        st = compute_question(c, &c->text, err);
    return st;
}

/* Evaluate --messages, and answer where the last one asks. */
static rk_status begin_with_messages(chat *c, rk_error *err)
{
    rk_buf text = {0};
    if (!c->messages)
        return RK_OK;
    rk_chat_format f = c->format;
    if (c->o.system || c->o.state_in.file) /* the talk has begun */
        f.begin = f.system = NULL;
    rk_status st = rk_messages_put(&text, c->messages, &f, err);
    if (st == RK_OK)
        st = rk_messages_ask(c->messages) ? chat_compute(c, &text, err)
                                          : rk_talks_add(c->talks, &text, err);
    rk_buf_deinit(&text);
    return st;
}

/* ---- opening and closing ---- */

static rk_status make_engine(chat *c, rk_error *err)
{
    rk_status st = rk_interrupt_open(&c->interrupt, err);
    if (st != RK_OK)
        return st;
    st = rk_command_engine(&c->engine, &c->o.common, interrupted, c, err);
    rk_interrupt_pass(c->interrupt);
    c->interrupt = NULL;
    return st;
}

/* The engine's threads are made while signals are blocked, so that they never take one. */
static rk_status open_engine(chat *c, rk_error *err)
{
    sigset_t before, editors; /* signals that the line editor needs on the main thread */
    sigemptyset(&editors);
    sigaddset(&editors, SIGWINCH);
    sigaddset(&editors, SIGTSTP);
    sigaddset(&editors, SIGCONT);
    pthread_sigmask(SIG_BLOCK, &editors, &before);
    const rk_status st = make_engine(c, err);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return st;
}

/* Sampling options that were not given take the chat format's advice. */
static void take_advice(double *value, double advice)
{
    if (isnan(*value))
        *value = advice;
}

static rk_status rename_roles(chat *c, rk_error *err)
{
    rk_status st = RK_OK;
    if (c->o.user_name)
        st = rk_chat_format_rename(&c->format, RK_CHAT_USER, c->o.user_name, err);
    if (st == RK_OK && c->o.assistant_name)
        st = rk_chat_format_rename(&c->format, RK_CHAT_ASSISTANT, c->o.assistant_name, err);
    return st;
}

/* The chat format of --template, else that of the vocabulary's template, else one with tools where there are
 * any, else by the model. */
static rk_status find_format(chat *c, rk_error *err)
{
    const rk_chat_format *f = rk_chat_format_guess(c->o.model, c->model->hp.n_vocab);
    const bool tools = c->messages && rk_messages_have_tools(c->messages);
    bool found = false;
    rk_status st = RK_OK;
    if (!c->o.format)
        st = rk_chat_template_format(&c->format, &found, &c->system, c->tokenizer, err);
    if (st != RK_OK || found)
        return st;
    if (c->o.format || tools)
        st = rk_chat_format_find(&f, c->o.format ? c->o.format : RK_CHAT_WITH_TOOLS, err);
    if (st != RK_OK)
        return st;
    c->format = *f;
    return rk_chat_template_fill(&c->format, &c->system, c->tokenizer, err);
}

static rk_status choose_format(chat *c, rk_error *err)
{
    rk_sampling_options *s = &c->o.sampling;
    const rk_chat_format *f = &c->format;
    const rk_status st = find_format(c, err);
    if (st != RK_OK)
        return st;
    c->o.think = c->o.think < 0 ? (int)f->think : c->o.think;
    take_advice(&s->temp, f->temp);
    take_advice(&s->top_p, f->top_p);
    take_advice(&s->presence_penalty, f->presence_penalty);
    take_advice(&s->frequency_penalty, f->frequency_penalty);
    return rename_roles(c, err);
}

/* The sampler is made here to check --logit-bias before the first answer. */
static rk_status open_model(chat *c, rk_error *err)
{
    rk_status st = open_engine(c, err);
    if (st == RK_OK)
        st = rk_state_in_model(&c->model, &c->o.common, c->o.model, &c->o.state_in, err);
    if (st == RK_OK)
        st = rk_command_tokenizer(&c->tokenizer, &c->o.common, c->o.vocab, c->model, c->o.model,
                                  err);
    if (st == RK_OK)
        st = choose_format(c, err);
    if (st == RK_OK)
        st = renew_sampler(c, &c->o.sampling, err);
    if (st == RK_OK)
        st = rk_mem_max_apply(&c->o.common, c->model, c->engine,
                              &(rk_mem_use){1, RK_TALK_STATES_LEAST, 8 + RK_TALK_STATES_LEAST, 0},
                              err);
    if (st == RK_OK)
        st = rk_session_new(&c->session, c->model, c->engine, err);
    if (st == RK_OK)
        st = rk_adapter_in_use(&c->adapters, &c->o.adapter, c->model, c->session,
                               c->o.state_in.force_base, err);
    if (st == RK_OK)
        st = rk_draft_open(&c->draft, &c->o.draft, c->session, c->sampler, err);
    return st;
}

static rk_status open_talk(chat *c, rk_error *err)
{
    const rk_talk_params p = {.session = c->session,
                              .speculator = c->draft.speculator,
                              .model = c->model,
                              .tokenizer = c->tokenizer,
                              .format = &c->format,
                              .meter = &c->meter,
                              .few_turns = c->o.common.mem_max != NULL};
    rk_status st = rk_talks_new(&c->talks, &p, err);
    if (st == RK_OK && !c->messages &&
        !c->o.state_in.file) /* which have a beginning of their own */
        st = rk_talks_begin(c->talks, c->o.system ? c->o.system : "", err);
    else if (st == RK_OK && c->o.system)
        st = rk_talks_begin(c->talks, c->o.system, err);
    if (st == RK_OK && c->o.state_in.file)
        st = rk_talks_load(c->talks, c->o.state_in.file, rk_state_in_reading(&c->o.state_in), err);
    if (st == RK_OK)
        st = rk_line_new(&c->line, !c->o.no_history, err);
    if (st == RK_OK)
        st = chat_put_words(c, err);
    return st;
}

static void close_all(chat *c)
{
    for (int i = 0; i < c->n_words; i++)
        free(c->words[i]);
    rk_line_free(c->line);
    rk_talks_free(c->talks);
    rk_messages_free(c->messages);
    rk_draft_close(&c->draft);
    rk_sampler_free(c->sampler);
    rk_session_free(c->session);
    rk_adapters_free(c->adapters);
    rk_tokenizer_free(c->tokenizer);
    rk_model_close(c->model);
    rk_engine_free(c->engine);
    rk_buf_deinit(&c->text);
    rk_buf_deinit(&c->answer);
    rk_buf_deinit(&c->stops);
    rk_buf_deinit(&c->system);
    for (int i = 0; i < c->n_kept; i++)
        free(c->kept[i]);
}

static bool wants_colours(void)
{
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
    return !(no && *no) && term && strcmp(term, "dumb") != 0;
}

static void greet(const chat *c)
{
    char text[200];
    rk_model_info info;
    rk_model_get_info(c->model, &info);
    snprintf(text, sizeof text, "%s, %.1f million parameters; chat format %s", info.arch,
             (double)info.n_params / 1e6, c->format.name);
    chat_note(c, text);
    chat_note(c, "/help lists commands, Ctrl-C stops an answer, Ctrl-D ends\n");
}

static rk_status check_options(const chat_options *o, rk_error *err)
{
    if (o->logprobs > 0 && !o->json)
        return rk_fail(err, RK_ERR_ARG, "--logprobs needs --json, which shows them");
    if (o->system && o->state_in.file)
        return rk_fail(err, RK_ERR_ARG, "a talk begins with --system or with a state, not both");
    size_t limit;
    rk_status st = rk_mem_max(&o->common, &limit, err);
    if (st == RK_OK)
        st = rk_mem_max_alone(&o->common, o->draft.file, "--draft", err);
    if (st == RK_OK)
        st = rk_mem_max_alone(&o->common, o->adapter.files.n > 0, "--adapter", err);
    return st;
}

static rk_status work(chat *c, rk_error *err)
{
    rk_status st = rk_state_in_settle(&c->o.state_in, &c->o.adapter, err);
    if (st == RK_OK)
        st = check_options(&c->o, err);
    if (st == RK_OK)
        st = rk_prompt_stops(&c->o.stop, c->o.first.escapes, &c->stops, err);
    if (st == RK_OK && c->o.messages)
        st = rk_messages_open(&c->messages, c->o.messages, c->o.common.quiet, err);
    if (st == RK_OK)
        st = rk_sampling_draw_seed(&c->o.sampling, err);
    if (st == RK_OK)
        st = open_model(c, err);
    if (st == RK_OK)
        st = open_talk(c, err);
    if (st != RK_OK)
        return st;
    c->terminal = rk_line_is_terminal(c->line) && isatty(STDOUT_FILENO) != 0;
    c->colours = c->terminal && wants_colours();
    if (c->terminal)
        greet(c);
    st = begin_with_messages(c, err);
    if (st == RK_OK)
        st = ask_first(c, err);
    if (st == RK_OK)
        st = loop(c, err);
    return st == RK_OK ? rk_file_check(c->model->file, err) : st;
}

static int chat_main(int argc, char **argv)
{
    chat c = {.o = {.n_tokens = 2048,
                    .think = -1,
                    .draft = {.n_max = RK_DRAFT_GUESSES},
                    .sampling = rk_sampling_defaults()}};
    rk_sampling_options *s = &c.o.sampling;
    int status = 0;
    rk_error err = {0};
    s->temp = s->top_p = s->presence_penalty = s->frequency_penalty = (double)NAN;
    if (!rk_command_options(&rk_cmd_chat, argc, argv, &c.o, &status))
        return status;
    c.o.first.quiet = c.o.common.quiet;
    const rk_status st = work(&c, &err);
    close_all(&c);
    if (st != RK_OK)
        return rk_command_fail(&err);
    return c.signal ? 128 + c.signal : 0;
}
