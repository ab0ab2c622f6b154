/* chat.c: `rwkv chat`: a talk on the terminal or through a pipe. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/num.h"
#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/line.h"
#include "cli/sampling.h"
#include "cli/talk.h"

enum { SETTINGS_MAX = 256 };

typedef struct chat_options {
    rk_common_options common;
    const char *model, *vocab, *state_in, *system, *user, *bot;
    int64_t n_tokens;
    int think; /* rk_think */
    bool force_base;
    rk_sampling_options sampling;
} chat_options;

#define AT(member) offsetof(chat_options, member)
/* clang-format off */
#define ANSWER_ROWS \
    {"n-predict", 'n', RK_OPT_INT, "N", AT(n_tokens), 1, 1e9, "2048", "tokens of an answer at most"}, \
    {"think", 0, RK_OPT_CHOICE, "plain|on|off", AT(think), 0, 0, "plain", \
     "for models that think first: on begins a thought, off puts an empty one before the answer"}, \
    RK_SAMPLING_ROWS(chat_options, sampling, "0.5", "0.5", "0.5")
/* clang-format on */

static const rk_option rows[] = {
    RK_OPT_GROUP("model"),
    {"model", 'm', RK_OPT_TEXT, "FILE", AT(model), 0, 0, RK_REQUIRED,
     "a model: .pth, .safetensors, .gguf or .bin"},
    {"vocab", 0, RK_OPT_TEXT, "NAME", AT(vocab), 0, 0, "the model's",
     "byte, world, or a vocabulary file"},
    {"tokenizer", 0, RK_OPT_TEXT, "NAME", AT(vocab), 0, 0, NULL, "the same as --vocab"},
    {"state-in", 0, RK_OPT_TEXT, "FILE", AT(state_in), 0, 0, NULL, "start from a saved state"},
    {"force-base", 0, RK_OPT_FLAG, NULL, AT(force_base), 0, 0, NULL,
     "take a state that another model made"},
    RK_OPT_GROUP("talk"),
    {"system", 0, RK_OPT_TEXT, "TEXT", AT(system), 0, 0, NULL, "what the talk begins with"},
    {"user", 0, RK_OPT_TEXT, "NAME", AT(user), 0, 0, "User",
     "who speaks here, in the model's format"},
    {"bot", 0, RK_OPT_TEXT, "NAME", AT(bot), 0, 0, "Assistant",
     "who answers; the old Raven models know Bob and Alice"},
    ANSWER_ROWS,
    RK_COMMON_ROWS(chat_options, common),
};

/* What /set can change. */
static const rk_option settings[] = {ANSWER_ROWS};

static int chat_main(int argc, char **argv);

const rk_command rk_cmd_chat = {
    .name = "chat",
    .summary = "talk with a model",
    .usage = "-m FILE [--system TEXT] [options]",
    .options = {rows, RK_COUNT(rows)},
    .examples = "  rwkv chat -m RWKV-x070-World-0.4B.pth\n"
                "  rwkv chat -m model.gguf --temp 0 <questions.txt",
    .main = chat_main,
};

typedef struct chat {
    chat_options o;
    rk_interrupt *interrupt; /* while something is computed; else NULL */
    rk_engine *engine;
    rk_model *model;
    rk_tokenizer *tokenizer;
    rk_session *session;
    rk_talks *talks;
    rk_line *line;
    rk_buf text;   /* of the line at hand */
    bool terminal; /* notes and colours */
    bool quits;
    int64_t n_answers;
    char *kept[SETTINGS_MAX]; /* lines that options point into */
    int n_kept;
} chat;

/* ---- showing ---- */

static const char *dim(const chat *c)
{
    return c->terminal ? "\x1b[2m" : "";
}

static const char *normal(const chat *c)
{
    return c->terminal ? "\x1b[0m" : "";
}

/* What is no part of the talk. */
static void note(const chat *c, const char *text)
{
    if (!c->o.common.quiet)
        fprintf(stderr, "%s%s%s\n", c->terminal ? dim(c) : "", text, normal(c));
}

static rk_status show(void *user, const char *text, size_t n, rk_error *err)
{
    (void)user;
    errno = 0;
    if (fwrite(text, 1, n, stdout) == n && fflush(stdout) == 0)
        return RK_OK;
    return rk_fail(err, RK_ERR_IO, "stdout: %s", errno ? strerror(errno) : "writing failed");
}

/* ---- computing, which Ctrl-C ends ---- */

static bool interrupted(void *user)
{
    const chat *c = user;
    return c->interrupt && rk_interrupt_came(c->interrupt);
}

static rk_status answer(chat *c, rk_error *err)
{
    rk_sampling_options sampling = c->o.sampling;
    rk_sampler *sampler = NULL;
    rk_end end = RK_END_LENGTH;
    sampling.seed += c->n_answers++; /* another answer draws other numbers */
    rk_status st = rk_sampling_new(&sampler, &sampling, c->model->hp.n_vocab, c->tokenizer, err);
    if (c->o.think == RK_THINK_ON && st == RK_OK)
        st = show(c, "<think", 6, err);
    if (st == RK_OK)
        st = rk_talks_answer(c->talks,
                             (rk_generate_params){.n_max = c->o.n_tokens, .emit = show, .user = c},
                             sampler, &end, err);
    if (st == RK_OK)
        st = show(c, "\n", 1, err);
    if (st == RK_OK && end == RK_END_INTERRUPTED)
        note(c, "(stopped; the talk goes on from here)");
    if (st == RK_OK && end == RK_END_LENGTH)
        note(c, "(cut; /set n-predict allows more)");
    rk_sampler_free(sampler);
    return st;
}

/* A signal in the middle ends the question or the answer, not the talk. */
static rk_status compute(chat *c, const char *question, rk_error *err)
{
    rk_status st = rk_interrupt_open(&c->interrupt, err);
    if (st != RK_OK)
        return st;
    if (question)
        st = rk_talks_ask(c->talks, question, (rk_think)c->o.think, err);
    if (st == RK_OK)
        st = answer(c, err);
    else if (st == RK_ERR_ABORTED)
        note(c, "(stopped before the answer; the question is forgotten)");
    const int number = rk_interrupt_signal(c->interrupt);
    rk_interrupt *in = c->interrupt;
    c->interrupt = NULL;
    rk_interrupt_close(in);
    rk_engine_clear_abort(c->engine);
    c->quits = c->quits || number == SIGTERM;
    return st == RK_ERR_ABORTED ? RK_OK : st;
}

/* ---- commands ---- */

typedef struct chat_command {
    const char *name, *arg, *help;
    rk_status (*run)(chat *c, const char *arg, rk_error *err);
} chat_command;

static const chat_command *all_commands(void);

static rk_status run_help(chat *c, const char *arg, rk_error *err)
{
    (void)c;
    (void)arg;
    (void)err;
    for (const chat_command *k = all_commands(); k->name; k++)
        printf("  /%-6s %-12s %s\n", k->name, k->arg, k->help);
    puts("  a line that ends in \\ goes on in the next");
    return RK_OK;
}

static rk_status run_regen(chat *c, const char *arg, rk_error *err)
{
    (void)arg;
    return compute(c, NULL, err);
}

static rk_status run_undo(chat *c, const char *arg, rk_error *err)
{
    (void)arg;
    const rk_status st = rk_talks_undo(c->talks, err);
    if (st == RK_OK)
        note(c, "(the last question and its answer are taken back)");
    return st;
}

static rk_status run_fork(chat *c, const char *arg, rk_error *err)
{
    char text[80];
    char *end = NULL;
    const long i = strtol(arg, &end, 10);
    if (*arg && *end)
        return rk_fail(err, RK_ERR_ARG, "/fork '%.40s': expected the number of a talk", arg);
    const rk_status st =
        *arg ? rk_talks_switch(c->talks, i < 1 || i > RK_TALKS_MAX ? -1 : (int)i - 1, err)
             : rk_talks_fork(c->talks, err);
    if (st != RK_OK)
        return st;
    snprintf(text, sizeof text, "(talk %d of %d)", rk_talks_current(c->talks) + 1,
             rk_talks_count(c->talks));
    note(c, text);
    return RK_OK;
}

static rk_status run_save(chat *c, const char *arg, rk_error *err)
{
    if (!*arg)
        return rk_fail(err, RK_ERR_ARG, "/save needs the name of a file");
    if (access(arg, F_OK) == 0)
        return rk_fail(err, RK_ERR_ARG, "%s exists", arg);
    return rk_talks_save(c->talks, arg, err);
}

static rk_status run_load(chat *c, const char *arg, rk_error *err)
{
    return *arg ? rk_talks_load(c->talks, arg, c->o.force_base, err)
                : rk_fail(err, RK_ERR_ARG, "/load needs the name of a file");
}

static rk_status run_system(chat *c, const char *arg, rk_error *err)
{
    const rk_status st = rk_talks_begin(c->talks, arg, err);
    if (st == RK_OK)
        note(c, *arg ? "(a new talk, with this in mind)" : "(a new talk)");
    return st;
}

static void show_settings(const chat *c)
{
    for (size_t i = 0; i < RK_COUNT(settings); i++) {
        const rk_option *o = &settings[i];
        const char *at = (const char *)&c->o + o->offset;
        if (o->type == RK_OPT_INT)
            printf("  %-18s %" PRId64 "\n", o->name, *(const int64_t *)(const void *)at);
        else if (o->type == RK_OPT_NUMBER)
            printf("  %-18s %g\n", o->name, *(const double *)(const void *)at);
        else if (o->type == RK_OPT_CHOICE) {
            static const char *const names[] = {"plain", "on", "off"};
            printf("  %-18s %s\n", o->name, names[*(const int *)(const void *)at]);
        }
    }
}

/* "temp 0.7" is read as the option --temp 0.7 is. */
static rk_status run_set(chat *c, const char *arg, rk_error *err)
{
    static const rk_option_table table = {settings, RK_COUNT(settings)};
    rk_buf name = {0};
    bool help = false;
    if (!*arg) {
        show_settings(c);
        return RK_OK;
    }
    const size_t n = strcspn(arg, " =");
    char *value = strdup(arg + n + strspn(arg + n, " ="));
    rk_buf_puts(&name, "--");
    rk_buf_add(&name, arg, n);
    rk_status st = RK_ERR_NOMEM;
    if (!value || name.failed || c->n_kept == SETTINGS_MAX)
        rk_fail(err, st, "out of memory for a setting");
    else {
        char *argv[] = {name.data, value};
        st = rk_options_parse(table, *value ? 2 : 1, argv, &c->o, &help, err);
    }
    if (st == RK_OK)
        c->kept[c->n_kept++] = value;
    else
        free(value);
    rk_buf_deinit(&name);
    return st;
}

static rk_status run_quit(chat *c, const char *arg, rk_error *err)
{
    (void)arg;
    (void)err;
    c->quits = true;
    return RK_OK;
}

static const chat_command commands[] = {
    {"help", "", "this list", run_help},
    {"regen", "", "another answer to the last question", run_regen},
    {"undo", "", "take the last question and its answer back", run_undo},
    {"fork", "[N]", "go on in a copy of this talk; or go to talk N", run_fork},
    {"save", "FILE", "save the state of this talk", run_save},
    {"load", "FILE", "go on from a saved state", run_load},
    {"system", "[TEXT]", "begin a new talk, with a system text", run_system},
    {"set", "[NAME VALUE]", "show or change how answers are drawn", run_set},
    {"quit", "", "end; so does Ctrl-D", run_quit},
    {0},
};

static const chat_command *all_commands(void)
{
    return commands;
}

static rk_status run_command(chat *c, const char *text, rk_error *err)
{
    const size_t n = strcspn(text, " \n");
    for (const chat_command *k = commands; k->name; k++)
        if (strlen(k->name) == n && !strncmp(k->name, text, n))
            return k->run(c, text + n + strspn(text + n, " \n"), err);
    return rk_fail(err, RK_ERR_ARG, "/%.*s is no command; /help lists them", (int)n, text);
}

/* ---- the loop ---- */

/* A mistake in a command is told and the talk goes on; in a pipe it ends the program. */
static rk_status handle(chat *c, rk_error *err)
{
    const char *text = c->text.data ? c->text.data : "";
    if (!text[strspn(text, " \t\n")])
        return RK_OK;
    if (*text != '/')
        return compute(c, text, err);
    const rk_status st = run_command(c, text + 1, err);
    if (st == RK_OK || !c->terminal || st == RK_ERR_NOMEM)
        return st;
    note(c, err->msg);
    return RK_OK;
}

static rk_status loop(chat *c, rk_error *err)
{
    bool end = false;
    rk_status st = RK_OK;
    while (st == RK_OK && !c->quits) {
        st = rk_line_read(c->line, c->terminal ? "\1\x1b[1m\1> \1\x1b[0m\1" : "> ", &c->text, &end,
                          err);
        if (end)
            break;
        if (st == RK_OK)
            st = handle(c, err);
    }
    return st;
}

/* The engine's threads are made while signals are blocked, so that they never take one. */
static rk_status open_engine(chat *c, rk_error *err)
{
    rk_status st = rk_interrupt_open(&c->interrupt, err);
    if (st != RK_OK)
        return st;
    st = rk_command_engine(&c->engine, &c->o.common, interrupted, c, err);
    rk_interrupt_close(c->interrupt);
    c->interrupt = NULL;
    return st;
}

static rk_status open_all(chat *c, rk_error *err)
{
    rk_status st = open_engine(c, err);
    if (st == RK_OK)
        st = rk_model_open(&c->model, c->o.model, err);
    if (st == RK_OK)
        st = rk_command_tokenizer(&c->tokenizer, c->o.vocab, c->model, err);
    if (st == RK_OK)
        st = rk_session_new(&c->session, c->model, c->engine, err);
    if (st == RK_OK)
        st = rk_talks_new(&c->talks,
                          &(rk_talk_params){.session = c->session,
                                            .model = c->model,
                                            .tokenizer = c->tokenizer,
                                            .user = c->o.user,
                                            .bot = c->o.bot},
                          err);
    if (st == RK_OK)
        st = rk_line_new(&c->line, err);
    if (st == RK_OK && c->o.state_in)
        st = rk_talks_load(c->talks, c->o.state_in, c->o.force_base, err);
    else if (st == RK_OK && c->o.system)
        st = rk_talks_begin(c->talks, c->o.system, err);
    return st;
}

static void close_all(chat *c)
{
    rk_line_free(c->line);
    rk_talks_free(c->talks);
    rk_session_free(c->session);
    rk_tokenizer_free(c->tokenizer);
    rk_model_close(c->model);
    rk_engine_free(c->engine);
    rk_buf_deinit(&c->text);
    for (int i = 0; i < c->n_kept; i++)
        free(c->kept[i]);
}

static rk_status work(chat *c, rk_error *err)
{
    rk_status st = rk_sampling_draw_seed(&c->o.sampling, err);
    if (st == RK_OK)
        st = open_all(c, err);
    if (st != RK_OK)
        return st;
    c->terminal = rk_line_is_terminal(c->line) && isatty(STDOUT_FILENO);
    if (c->terminal)
        note(c, "/help lists commands, Ctrl-C stops an answer, Ctrl-D ends");
    st = loop(c, err);
    return st == RK_OK ? rk_file_check(c->model->file, err) : st;
}

static int chat_main(int argc, char **argv)
{
    chat c = {.o = {.n_tokens = 2048,
                    .user = "User",
                    .bot = "Assistant",
                    .sampling = rk_sampling_defaults()}};
    int status = 0;
    rk_error err = {0};
    c.o.sampling.top_p = c.o.sampling.presence_penalty = c.o.sampling.frequency_penalty = 0.5;
    if (!rk_command_options(&rk_cmd_chat, argc, argv, &c.o, &status))
        return status;
    const rk_status st = work(&c, &err);
    close_all(&c);
    return st == RK_OK ? 0 : rk_command_fail(&err);
}
