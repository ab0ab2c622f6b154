/* command.h: what a command of the program is, and what commands share.
 *
 * A command is one file that defines `const rk_command rk_cmd_NAME` and one line in main.c. Its
 * main usually reads:
 *
 *     static int greet_main(int argc, char **argv)
 *     {
 *         greet_options o = {.n = 1};
 *         int status = 0;
 *         rk_error err = {0};
 *         if (!rk_command_options(&rk_cmd_greet, argc, argv, &o, &status))
 *             return status;
 *         if (greet(&o, &err) != RK_OK)
 *             return rk_command_fail(&err);
 *         return 0;
 *     }
 *
 * Exit statuses: 0 done; 2 the input is at fault; 1 the environment is; 128 + signal interrupted.
 */
#ifndef RK_CLI_COMMAND_H
#define RK_CLI_COMMAND_H

#include <jansson.h>

#include "base/log.h"
#include "cli/options.h"
#include "format/format.h"

/* Options that are not known when the program is written, because other tables say what there is. */
typedef struct rk_option_room {
    rk_option rows[RK_OPTIONS_MAX];
    size_t n;
    char text[256]; /* for what rows point to */
} rk_option_room;
typedef void rk_more_options_fn(rk_option_room *room, size_t offset);

typedef struct rk_command {
    const char *name;
    const char *summary; /* one line for the overview, lower case, no full stop */
    const char *usage;   /* what follows the name: "-m MODEL [-p TEXT]" */
    rk_option_table options;
    rk_more_options_fn *more; /* the rows in the place of the one of type MORE; NULL: it has none */
    const char *examples;     /* two real calls, a line each, two spaces in front */
    int (*main)(int argc, char **argv); /* argv[0] is the first word after the command's name */
    /* A command that is a name for several, "data" for "data info" and others, has them here. It may have
     * options and a main of its own beside them, as "tune", or neither. Ends with NULL. */
    const struct rk_command *const *commands;
} rk_command;

extern const rk_command rk_cmd_run, rk_cmd_merge, rk_cmd_unmerge, rk_cmd_chat, rk_cmd_train,
    rk_cmd_convert, rk_cmd_quantize, rk_cmd_logits, rk_cmd_reach, rk_cmd_info, rk_cmd_eval,
    rk_cmd_tokenize, rk_cmd_bench, rk_cmd_selftest, rk_cmd_data, rk_cmd_data_pack, rk_cmd_data_info,
    rk_cmd_data_task, rk_cmd_tune, rk_cmd_tune_observer, rk_cmd_tune_test_time, rk_cmd_adapter,
    rk_cmd_adapter_info, rk_cmd_adapter_convert, rk_cmd_distill, rk_cmd_graft, rk_cmd_grow,
    rk_cmd_compress, rk_cmd_compress_svd, rk_cmd_compress_dense, rk_cmd_compress_head,
    rk_cmd_compress_predictor, rk_cmd_compress_int8, rk_cmd_compress_all;

/* The last word of a command's name: "info" of "data info". */
const char *rk_command_word(const rk_command *c);
/* The one of a table that is called word, or NULL. */
const rk_command *rk_command_find(const rk_command *const *commands, const char *word);
/* The command's rows with the further ones in their place; room holds them. */
rk_option_table rk_command_rows(const rk_command *c, rk_option_room *room);
/* Parse the command's options. False: the command ends with *status, because help was asked for or
 * the options are wrong; what is to be said has been printed. */
bool rk_command_options(const rk_command *c, int argc, char **argv, void *into, int *status);
/* Print the help page; returns the exit status. */
int rk_command_help(const rk_command *c);

/* Print "rwkv: sentence" on stderr and return the exit status that goes with err. Where stdout is a
 * pipe that its reader has closed nothing is printed, and the status is that of SIGPIPE. */
int rk_command_fail(const rk_error *err);
/* Is stdout a pipe whose other end is closed, and did writing to it fail? */
bool rk_command_reader_left(void);
/* Write to stdout, at once. RK_ERR_IO with the system's reason. */
rk_status rk_command_print(const char *text, size_t n, rk_error *err);

/* Log lines on stderr as -v and -q say. The options must outlive it. */
rk_log rk_command_log(const rk_common_options *o);
/* A new engine as -t and --path say, whose log lines go to rk_command_log. abort may be NULL. */
rk_status rk_command_engine(rk_engine **out, const rk_common_options *o, rk_abort_fn *abort,
                            void *abort_user, rk_error *err);

/* Say on stderr that a byte order mark in front of the text file at path is passed over, where
 * there is one and unless -q is given. NULL and what is no file are fine. */
void rk_command_note_mark(const rk_common_options *o, const char *path);

/* The model at path, with a word on byte order marks in the JSON files beside it. */
rk_status rk_command_model(rk_model **out, const rk_common_options *o, const char *path,
                           rk_error *err);
/* The same word, where something else opens the model; NULL is fine. */
void rk_command_note_model(const rk_common_options *o, const char *path);

/* The tokenizer of --vocab, by name or NULL: rk_model_vocabulary, with a word on a byte order mark. */
rk_status rk_command_tokenizer(rk_tokenizer **out, const rk_common_options *o, const char *name,
                               const rk_model *m, const char *path, rk_error *err);
/* The vocabulary that goes into a .gguf file of a model that was opened from this path, when --vocab says
 * name (may be NULL). *out is NULL where the model's file has its own and where none is known. */
rk_status rk_command_gguf_vocab(rk_tokenizer **out, const rk_common_options *o, const rk_model *m,
                                const char *from, const char *name, rk_error *err);

/* Say of a .gguf file that was written that llama.cpp cannot open it, where it has no such models. */
void rk_command_note_gguf(const rk_common_options *o, const rk_model *m, const char *path);

/* RK_ERR_ARG: out is the file in, which is read while out is written. */
rk_status rk_command_refuse_same(const char *in, const char *out, rk_error *err);

/* Can path be written? Asked before long work, so that its result is not lost: the file is begun
 * beside it and removed again. A device or a pipe is taken at its word.
 * Errors  those of rk_out_open; RK_ERR_ARG: it exists, and overwrite is not set. */
rk_status rk_command_try_output(const char *path, bool overwrite, rk_error *err);

/* n in so many seconds; 0 where there were none. */
double rk_command_rate(int64_t n, double seconds);
/* Print the object of --json on stdout, one line, and give it back; NULL means memory ran out while
 * it was built. */
rk_status rk_command_json(json_t *object, rk_error *err);

#endif
