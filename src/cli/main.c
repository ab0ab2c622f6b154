/* main.c: finds the command in the table and runs it. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "cli/command.h"
#include "cli/pages.h"
#include "cli/suggest.h"
#include "io/map.h"

/* A new command is one file and one line here; the overview walks the table. Ends with NULL. */
static const rk_command *const commands[] = {
    &rk_cmd_run,  &rk_cmd_chat,   &rk_cmd_train,    &rk_cmd_convert, &rk_cmd_quantize, &rk_cmd_info,
    &rk_cmd_eval, &rk_cmd_logits, &rk_cmd_tokenize, &rk_cmd_bench,   &rk_cmd_selftest, NULL,
};

static const rk_command *find_command(const char *name)
{
    for (size_t i = 0; commands[i]; i++)
        if (!strcmp(commands[i]->name, name))
            return commands[i];
    return NULL;
}

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

static int unknown_command(const char *name)
{
    rk_suggestion s = {.word = name};
    for (size_t i = 0; commands[i]; i++)
        rk_suggest(&s, commands[i]->name);
    rk_suggest(&s, "help");
    rk_suggest(&s, "version");
    rk_suggest(&s, "completion");
    fprintf(stderr, "rwkv: unknown command '%s'%s%s%s; 'rwkv help' lists them\n", name,
            s.name ? " (did you mean " : "", s.name ? s.name : "", s.name ? "?)" : "");
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
    const rk_command *c = find_command(argv[0]);
    return c ? rk_command_help(c) : unknown_command(argv[0]);
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
    const rk_command *c = find_command(name);
    return c ? c->main(argc - 2, argv + 2) : unknown_command(name);
}

/* A mapped file that was cut is said; any other bus error happens again and ends the program. */
static void on_bus_error(int number, siginfo_t *info, void *context)
{
    (void)context;
    if (rk_map_report_fault(info->si_addr, "rwkv"))
        _exit(1);
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
