/* chat_commands.c: the commands of `rwkv chat` that begin with a slash, a table of them. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/num.h"
#include "cli/chat.h"
#include "cli/suggest.h"

/* What /set can change. */
static const rk_option settings[] = {CHAT_ANSWER_ROWS};

typedef struct slash_command {
    const char *name, *arg, *help;
    rk_status (*run)(chat *c, const char *arg, rk_error *err);
} slash_command;

static const slash_command *all_commands(void);

static rk_status run_help(chat *c, const char *arg, rk_error *err)
{
    (void)c;
    (void)arg;
    (void)err;
    for (const slash_command *k = all_commands(); k->name; k++)
        fprintf(stderr, "  /%-6s %-12s %s\n", k->name, k->arg, k->help);
    fputs("  a line that ends in \\ goes on in the next; so do lines between \"\"\" and \"\"\"\n",
          stderr);
    return RK_OK;
}

static rk_status run_regen(chat *c, const char *arg, rk_error *err)
{
    (void)arg;
    return chat_compute(c, NULL, err);
}

static rk_status run_undo(chat *c, const char *arg, rk_error *err)
{
    (void)arg;
    const rk_status st = rk_talks_undo(c->talks, err);
    if (st == RK_OK)
        chat_note(c, "(the last question and its answer are taken back)");
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
        *arg ? rk_talks_switch(c->talks, i < 1 ? -1 : i - 1, err) : rk_talks_fork(c->talks, err);
    if (st != RK_OK)
        return st;
    snprintf(text, sizeof text, "(talk %d of %d)", rk_talks_current(c->talks) + 1,
             rk_talks_count(c->talks));
    chat_note(c, text);
    return RK_OK;
}

/* A typed path; ~ is the home folder, as in a shell. */
static rk_status put_path(rk_buf *out, const char *typed, const char *command, rk_error *err)
{
    const char *home = getenv("HOME");
    const bool at_home = typed[0] == '~' && (typed[1] == '/' || !typed[1]) && home;
    if (!*typed)
        return rk_fail(err, RK_ERR_ARG, "/%s needs the name of a file", command);
    rk_buf_puts(out, at_home ? home : "");
    rk_buf_puts(out, at_home ? typed + 1 : typed);
    return out->failed ? rk_fail(err, RK_ERR_NOMEM, "out of memory for a path") : RK_OK;
}

static rk_status run_save(chat *c, const char *arg, rk_error *err)
{
    static const char force[] = "--force";
    const size_t n = strcspn(arg, " \t");
    const bool overwrite = n == strlen(force) && !strncmp(arg, force, n);
    rk_buf path = {0};
    rk_status st = put_path(&path, overwrite ? arg + n + strspn(arg + n, " \t") : arg, "save", err);
    if (st == RK_OK && !overwrite && access(path.data, F_OK) == 0)
        st = rk_fail(err, RK_ERR_ARG, "%s exists; /save --force FILE overwrites it", path.data);
    if (st == RK_OK)
        st = rk_talks_save(c->talks, path.data, overwrite, err);
    if (st == RK_OK)
        chat_note(c, "(saved)");
    rk_buf_deinit(&path);
    return st;
}

static rk_status run_load(chat *c, const char *arg, rk_error *err)
{
    rk_buf path = {0};
    rk_status st = put_path(&path, arg, "load", err);
    if (st == RK_OK)
        st = rk_talks_load(c->talks, path.data, rk_state_in_reading(&c->o.state_in), err);
    if (st == RK_OK)
        chat_note(c, "(loaded; this talk goes on from there)");
    rk_buf_deinit(&path);
    return st;
}

static rk_status run_system(chat *c, const char *arg, rk_error *err)
{
    const rk_status st = rk_talks_begin(c->talks, arg, err);
    if (st == RK_OK)
        chat_note(c, *arg ? "(a new talk, with this in mind)" : "(a new talk)");
    return st;
}

static rk_status run_tool(chat *c, const char *arg, rk_error *err)
{
    rk_buf message = {0};
    rk_status st = rk_messages_put_output(&message, &c->format, arg, strlen(arg), err);
    if (st == RK_OK)
        st = chat_compute(c, &message, err);
    rk_buf_deinit(&message);
    return st;
}

static void show_settings(const chat *c)
{
    for (size_t i = 0; i < RK_COUNT(settings); i++) {
        const rk_option *o = &settings[i];
        const char *at = (const char *)&c->o + o->offset;
        if (o->type == RK_OPT_INT)
            fprintf(stderr, "  %-18s %" PRId64 "\n", o->name, *(const int64_t *)(const void *)at);
        else if (o->type == RK_OPT_NUMBER || o->type == RK_OPT_ABOVE)
            fprintf(stderr, "  %-18s %g\n", o->name, *(const double *)(const void *)at);
        else if (o->type == RK_OPT_CHOICE) {
            static const char *const names[] = {"plain", "on", "off"};
            fprintf(stderr, "  %-18s %s\n", o->name, names[*(const int *)(const void *)at]);
        }
    }
}

/* Check new options now rather than at the next answer: make a sampler of them. */
static rk_status try_setting(const chat *c, const chat_options *o, rk_error *err)
{
    rk_sampler *tried = NULL;
    const rk_status st =
        rk_sampling_new(&tried, &o->sampling, c->model->hp.n_vocab, c->tokenizer, err);
    rk_sampler_free(tried);
    return st;
}

/* Set an option by name and value. Takes value over; it is kept where an option points to it. */
static rk_status put_setting(chat *c, char *name, char *value, rk_error *err)
{
    static const rk_option_table table = {settings, RK_COUNT(settings)};
    chat_options o = c->o;
    char *argv[] = {name, value};
    bool help = false;
    rk_status st = rk_options_parse(table, *value ? 2 : 1, argv, &o, &help, err);
    if (st == RK_OK && help)
        show_settings(c);
    if (st == RK_OK)
        st = try_setting(c, &o, err);
    const bool keeps = st == RK_OK && o.sampling.logit_bias.n > c->o.sampling.logit_bias.n;
    if (st == RK_OK)
        c->o = o;
    if (keeps)
        c->kept[c->n_kept++] = value; /* there is room: the list of biases has as many */
    else
        free(value);
    return st;
}

/* "temp 0.7" is parsed as the option --temp 0.7. */
static rk_status run_set(chat *c, const char *arg, rk_error *err)
{
    rk_buf name = {0};
    if (!*arg) {
        show_settings(c);
        return RK_OK;
    }
    const size_t dashes = strspn(arg, "-"), n = strcspn(arg, " =");
    char *value = strdup(arg + n + strspn(arg + n, " ="));
    rk_buf_puts(&name, "--");
    rk_buf_add(&name, arg + rk_min_i64((int64_t)dashes, (int64_t)n), n - (dashes < n ? dashes : n));
    rk_status st = RK_OK;
    if (value && !name.failed)
        st = put_setting(c, name.data, value, err);
    else {
        free(value);
        st = rk_fail(err, RK_ERR_NOMEM, "out of memory for a setting");
    }
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

static const slash_command commands[] = {
    {"help", "", "this list", run_help},
    {"regen", "", "another answer to the last question", run_regen},
    {"undo", "", "take the last question and its answer back", run_undo},
    {"fork", "[N]", "go on in a copy of this talk; or go to talk N", run_fork},
    {"save", "FILE", "save this talk; --force FILE overwrites one that is there", run_save},
    {"load", "FILE", "go on from a saved talk", run_load},
    {"system", "[TEXT]", "begin a new talk, with a system text", run_system},
    {"tool", "TEXT", "what a tool has returned, for the model to go on with", run_tool},
    {"set", "[NAME VALUE]", "show or change how answers are drawn", run_set},
    {"quit", "", "end; so does Ctrl-D", run_quit},
    {0},
};

static const slash_command *all_commands(void)
{
    return commands;
}

static rk_status fail_unknown(const char *text, size_t n, rk_error *err)
{
    char name[41];
    snprintf(name, sizeof name, "%.*s", (int)rk_min_i64((int64_t)n, 40), text);
    rk_suggestion s = {.word = name};
    for (const slash_command *k = commands; k->name; k++)
        rk_suggest(&s, k->name);
    return rk_fail(err, RK_ERR_ARG, "/%s is no command%s%s%s; /help lists them", name,
                   s.name ? " (did you mean /" : "", s.name ? s.name : "", s.name ? "?)" : "");
}

rk_status chat_command(chat *c, const char *text, rk_error *err)
{
    const size_t n = strcspn(text, " \t\n");
    for (const slash_command *k = commands; k->name; k++)
        if (strlen(k->name) == n && !strncmp(k->name, text, n))
            return k->run(c, text + n + strspn(text + n, " \t\n"), err);
    return fail_unknown(text, n, err);
}

/* "/COMMAND", "/set NAME". */
rk_status chat_put_words(chat *c, rk_error *err)
{
    bool ok = true;
    char word[64];
    for (const slash_command *k = commands; k->name && ok; k++) {
        snprintf(word, sizeof word, "/%s", k->name);
        ok = (c->words[c->n_words++] = strdup(word)) != NULL;
    }
    for (size_t i = 0; i < RK_COUNT(settings) && ok && c->n_words < CHAT_WORDS_MAX; i++) {
        if (settings[i].type == RK_OPT_HEADING)
            continue;
        snprintf(word, sizeof word, "/set %s", settings[i].name);
        ok = (c->words[c->n_words++] = strdup(word)) != NULL;
    }
    rk_line_set_words(c->line, (const char *const *)c->words);
    return ok ? RK_OK : rk_fail(err, RK_ERR_NOMEM, "out of memory");
}
