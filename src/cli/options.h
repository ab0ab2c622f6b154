/* options.h: the options of a command as rows of a table; parsing, ranges and help walk the rows.
 *
 *     typedef struct greet_options { rk_common_options common; const char *name; int64_t n; } ...;
 *     static const rk_option rows[] = {
 *         {"name", 'm', RK_OPT_TEXT, "NAME", offsetof(greet_options, name), 0, 0, RK_REQUIRED,
 * "who"},
 *         {"times", 'n', RK_OPT_INT, "N", offsetof(greet_options, n), 1, 100, "1", "how often"},
 *         RK_COMMON_ROWS(greet_options, common),
 *     };
 *
 * The command fills its struct with the defaults, parsing overwrites what was given. Values are
 * `--times 3`, `--times=3`, `-n 3` or `-n3`; the word after an option is its value whatever it
 * begins with, so `-p -` and `--bias -1` need no quoting. getopt_long is not used: it prints its
 * own messages, keeps its place in globals and knows neither ranges nor help. */
#ifndef RK_CLI_OPTIONS_H
#define RK_CLI_OPTIONS_H

#include <stdio.h>

#include "base/buf.h"
#include "base/error.h"

typedef enum rk_opt_type {
    RK_OPT_HEADING, /* no option: help is a heading of the help page, the rest is unused */
    RK_OPT_FLAG,    /* bool, takes no value */
    RK_OPT_INT,     /* int64_t */
    RK_OPT_NUMBER,  /* double, finite */
    RK_OPT_ABOVE,   /* double, finite, above min */
    RK_OPT_TEXT,    /* const char *, points into argv */
    RK_OPT_LIST,    /* rk_opt_list: may be given several times */
    RK_OPT_OPERAND, /* const char *, a word of its own; rows take such words in order */
    RK_OPT_WORDS,   /* rk_opt_words: all words of their own that no row before it takes */
    RK_OPT_MORE,    /* no option: the further rows of the command stand here (rk_command.more) */
    RK_OPT_NAMED,   /* rk_opt_named: a number under the option's name */
    RK_OPT_NAMED_INT,
    RK_OPT_NAMED_CHOICE, /* the position of the value in arg, as of a CHOICE */
    RK_OPT_CHOICE,       /* int: the position of the value in arg, which reads "f32|bf16", in
                        any case */
} rk_opt_type;

/* The values of a RK_OPT_LIST in the order given. */
enum { RK_OPT_LIST_MAX = 64 };
typedef struct rk_opt_list {
    const char *at[RK_OPT_LIST_MAX];
    int n;
} rk_opt_list;

/* The words of a RK_OPT_WORDS; at is to be freed. */
typedef struct rk_opt_words {
    const char **at;
    int n, max;
} rk_opt_words;

/* The values of RK_OPT_NAMED and its kin, each name once. */
enum { RK_OPT_NAMED_MAX = 32 };
typedef struct rk_opt_named {
    struct {
        const char *name;
        double value;
    } at[RK_OPT_NAMED_MAX];
    int n;
} rk_opt_named;

typedef struct rk_option {
    const char *name; /* "ctx-len" for --ctx-len */
    char letter;      /* 't' for -t; 0: none */
    rk_opt_type type;
    const char *arg;   /* name of the value in the help, choices of a CHOICE; NULL for a FLAG */
    size_t offset;     /* of the member in the command's struct */
    double min, max;   /* of INT, NUMBER and ABOVE; equal: any value */
    const char *shown; /* default as the help shows it; RK_REQUIRED; NULL: nothing to say */
    const char *help;
} rk_option;

/* As `shown` of a TEXT, OPERAND or WORDS: parsing fails when it was not given. */
#define RK_REQUIRED "required"

/* Options that every command has. */
typedef struct rk_common_options {
    int64_t n_threads;   /* 0: usable cores */
    const char *path;    /* NULL: best here */
    const char *act;     /* NULL: q8 */
    int cache;           /* rk_cache; of commands with RK_CACHE_ROWS, as the next one */
    int64_t ctx_size;    /* 0: no limit */
    const char *mem_max; /* of commands with RK_MEM_ROWS; NULL: no limit */
    bool verbose, quiet;
} rk_common_options;

/* Rows as macros: types, members and initialisers bear no parentheses, and the formatter takes the
 * braces for blocks.
 * NOLINTBEGIN(bugprone-macro-parentheses) */
/* clang-format off */
#define RK_OPT_GROUP(title) {NULL, 0, RK_OPT_HEADING, NULL, 0, 0, 0, NULL, title}
/* So that `rwkv run FILE` is `rwkv run -m FILE`; member: that of -m. */
#define RK_MODEL_OPERAND(type, member) \
    {NULL, 0, RK_OPT_OPERAND, "FILE", offsetof(type, member), 0, 0, NULL, "the same as -m FILE"}
#define RK_COMMON_ROWS(type, member) \
    RK_OPT_GROUP("everywhere"), \
    {"threads", 't', RK_OPT_INT, "N", offsetof(type, member.n_threads), 1, 1024, "usable cores", \
     "threads that compute; no result depends on it"}, \
    {"path", 0, RK_OPT_TEXT, "NAME", offsetof(type, member.path), 0, 0, "best here", \
     "instruction-set path: ref, avx2, avx512, avx512bf16, neon"}, \
    {"act", 0, RK_OPT_TEXT, "TYPE", offsetof(type, member.act), 0, 0, "q8", \
     "activations that quantised weights are multiplied with: q8 (8 bits), f32"}, \
    {"verbose", 'v', RK_OPT_FLAG, NULL, offsetof(type, member.verbose), 0, 0, NULL, \
     "say more on stderr"}, \
    {"quiet", 'q', RK_OPT_FLAG, NULL, offsetof(type, member.quiet), 0, 0, NULL, \
     "say only what went wrong"}
/* How a model with attention keeps what it has read. */
#define RK_CACHE_ROWS(type, member) \
    RK_OPT_GROUP("models with attention"), \
    {"cache-type", 0, RK_OPT_CHOICE, "f16|f32|q8_0", offsetof(type, member.cache), 0, 0, "f16", \
     "numbers that keys and values of the text are kept in"}, \
    {"ctx-size", 'c', RK_OPT_INT, "N", offsetof(type, member.ctx_size), 1, 1e12, "no limit", \
     "tokens of a text at most; a longer one ends with an error"}
/* clang-format on */
/* NOLINTEND(bugprone-macro-parentheses) */

enum { RK_OPTIONS_MAX = 192 }; /* of a command */
typedef struct rk_option_table {
    const rk_option *rows;
    size_t n;
} rk_option_table;

/* Put the options of argv[0..argc) (the command's name is not among them) into the struct `into`.
 * *help is set when -h or --help was met; nothing after it is looked at then. A value that is
 * refused is not put there.
 * Errors  RK_ERR_ARG: unknown (with the nearest known one), malformed, out of range, missing; names
 *         the option. */
rk_status rk_options_parse(rk_option_table table, int argc, char *const *argv, void *into,
                           bool *help, rk_error *err);
/* Is it a word without the name of an option? */
bool rk_option_is_word(const rk_option *o);
bool rk_option_has_choices(const rk_option *o);
/* Append " (default 10; 1 to 1024)", whichever parts there are. */
void rk_option_facts(const rk_option *o, rk_buf *out);
/* The table as the lines of a help page. */
void rk_options_help(rk_option_table table, rk_buf *out);

#endif
