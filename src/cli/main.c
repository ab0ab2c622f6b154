/* main.c: finds the command in the table and runs it. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/num.h"
#include "cli/command.h"
#include "cli/line.h"
#include "cli/pages.h"
#include "cli/suggest.h"
#include "io/map.h"

/* A new command is one file and one line here; the overview walks the table. Ends with NULL. */
static const rk_command *const commands[] = {
    /* clang-format off */
    &rk_cmd_run,
    &rk_cmd_chat,
    &rk_cmd_train,
    &rk_cmd_tune,
    &rk_cmd_distill,
    &rk_cmd_graft,
    &rk_cmd_grow,
    &rk_cmd_merge,
    &rk_cmd_unmerge,
    &rk_cmd_adapter,
    &rk_cmd_data,
    &rk_cmd_convert,
    &rk_cmd_quantize,
    &rk_cmd_compress,
    &rk_cmd_info,
    &rk_cmd_eval,
    &rk_cmd_logits,
    &rk_cmd_reach,
    &rk_cmd_tokenize,
    &rk_cmd_bench,
    &rk_cmd_selftest,
    NULL,
    /* clang-format on */
};

static void print_overview(FILE *f)
{
    fputs("rwkv: run and train RWKV models\n\nusage: rwkv COMMAND [options]\n\ncommands:\n", f);
    for (size_t i = 0; commands[i]; i++)
        fprintf(f, "  %-10s %s\n", commands[i]->name, commands[i]->summary);
    fputs("  help       show the options of a command: rwkv help COMMAND\n\n"
          "rwkv version shows the version and the instruction-set path in use;\n"
          "rwkv completion bash (or zsh) prints completion for the shell.\n",
          f);
}

/* Versions and numerics=PATH: results share bits within a version and a path. */
static int print_version(void)
{
    rk_engine *e = NULL;
    rk_error err = {0};
    if (rk_engine_new(&e, &(rk_engine_params){.n_threads = 1}, &err) != RK_OK)
        return rk_command_fail(&err);
    printf("rwkv %s numerics=%s\n", rk_version(), rk_engine_path(e));
    rk_engine_free(e);
    return 0;
}

/* of: the command whose commands there are, NULL: the program. */
static int unknown_command(const rk_command *of, const char *word)
{
    static const char *const also[] = {"help", "version", "completion"};
    const rk_command *const *list = of ? of->commands : commands;
    rk_suggestion s = {.word = word};
    for (size_t i = 0; list[i]; i++)
        rk_suggest(&s, rk_command_word(list[i]));
    for (size_t i = 0; !of && i < RK_COUNT(also); i++)
        rk_suggest(&s, also[i]);
    fprintf(stderr, "rwkv%s%s: unknown %s '%s'%s%s%s; 'rwkv help%s%s' lists them\n", of ? " " : "",
            of ? of->name : "", word[0] == '-' && of ? "option" : "command", word,
            s.name ? " (did you mean " : "", s.name ? s.name : "", s.name ? "?)" : "",
            of ? " " : "", of ? of->name : "");
    return 2;
}

static bool is_one_of(const char *word, const char *const *words)
{
    while (*words && strcmp(*words, word) != 0)
        words++;
    return *words != NULL;
}

static const char *const help_words[] = {"help", "--help", "-h", NULL};
static const char *const version_words[] = {"version", "--version", "-V", NULL};

static int print_help(int argc, char **argv)
{
    if (argc == 0 || is_one_of(argv[0], help_words) || is_one_of(argv[0], version_words)) {
        print_overview(stdout);
        return 0;
    }
    const rk_command *c = rk_command_find(commands, argv[0]);
    if (!c)
        return unknown_command(NULL, argv[0]);
    if (!c->commands || argc < 2)
        return rk_command_help(c);
    const rk_command *one = rk_command_find(c->commands, argv[1]);
    return one ? rk_command_help(one) : unknown_command(c, argv[1]);
}

/* `rwkv completion bash`: what the shell is to be told; `man` is the manual page. */
static int print_page(int argc, char **argv)
{
    rk_buf b = {0};
    rk_error err = {0};
    const rk_page *page = rk_pages;
    while (page->name && (argc != 1 || strcmp(page->name, argv[0]) != 0))
        page++;
    if (!page->name) {
        rk_fail(&err, RK_ERR_ARG, "rwkv completion SHELL: expected bash or zsh");
        return rk_command_fail(&err);
    }
    page->put(commands, &b);
    if (b.failed)
        rk_fail(&err, RK_ERR_NOMEM, "out of memory");
    else
        fputs(b.data, stdout);
    rk_buf_deinit(&b);
    return err.code ? rk_command_fail(&err) : 0;
}

/* A command of several: the next word says which. */
static int run_command(const rk_command *c, int argc, char **argv)
{
    const rk_command *one = c->commands && argc > 0 ? rk_command_find(c->commands, argv[0]) : NULL;
    if (one)
        return run_command(one, argc - 1, argv + 1);
    if (c->main)
        return c->main(argc, argv);
    if (argc > 0 && is_one_of(argv[0], help_words))
        return rk_command_help(c);
    if (argc == 0) {
        fprintf(stderr, "rwkv %s: which one? 'rwkv help %s' lists its commands\n", c->name,
                c->name);
        return 2;
    }
    return unknown_command(c, argv[0]);
}

static int run(int argc, char **argv)
{
    if (argc < 2) {
        print_overview(stderr);
        return 2;
    }
    const char *name = argv[1];
    if (is_one_of(name, help_words))
        return print_help(argc - 2, argv + 2);
    if (is_one_of(name, version_words))
        return print_version();
    if (!strcmp(name, "completion"))
        return print_page(argc - 2, argv + 2);
    const rk_command *c = rk_command_find(commands, name);
    return c ? run_command(c, argc - 2, argv + 2) : unknown_command(NULL, name);
}

/* A mapped file that was cut is said; any other bus error happens again and ends the program. */
static void on_bus_error(int number, siginfo_t *info, void *context)
{
    (void)context;
    if (rk_map_report_fault(info->si_addr, "rwkv")) {
        rk_line_give_back();
        _exit(1);
    }
    signal(number, SIG_DFL);
}

/* Writing to a closed pipe or past the largest file allowed fails with a reason instead of a
 * signal, so that what was begun is removed. */
static void settle_signals(void)
{
    struct sigaction bus = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO};
    sigemptyset(&bus.sa_mask);
    sigaction(SIGBUS, &bus, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
}

/* A result that did not reach the disk is a failure, so stdout is flushed and asked. Whoever closes
 * the other end of a pipe wants no more and needs no sentence: `rwkv ... | head`. */
int main(int argc, char **argv)
{
    settle_signals();
    const int status = run(argc, argv);
    errno = 0;
    const bool failed = fflush(stdout) || ferror(stdout);
    if (failed && rk_command_reader_left())
        return 128 + SIGPIPE;
    if (failed && status == 0) {
        fprintf(stderr, "rwkv: stdout: %s\n", errno ? strerror(errno) : "writing failed");
        return 1;
    }
    return status;
}
