/* command.c: what commands share: help pages, failing, an engine, JSON output. */
#include "cli/command.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/num.h"
#include "format/scheme.h"
#include "io/atomic_file.h"
#include "io/path.h"
#include "io/text_mark.h"
#include "text/tokenizer.h"

rk_option_table rk_command_rows(const rk_command *c, rk_option_room *room)
{
    if (!c->more)
        return c->options;
    room->n = 0;
    for (size_t i = 0; i < c->options.n; i++)
        if (c->options.rows[i].type == RK_OPT_MORE)
            c->more(room, c->options.rows[i].offset);
        else
            room->rows[room->n++] = c->options.rows[i];
    return (rk_option_table){room->rows, room->n};
}

const char *rk_command_word(const rk_command *c)
{
    const char *blank = strrchr(c->name, ' ');
    return blank ? blank + 1 : c->name;
}

const rk_command *rk_command_find(const rk_command *const *commands, const char *word)
{
    for (size_t i = 0; commands[i]; i++)
        if (!strcmp(rk_command_word(commands[i]), word))
            return commands[i];
    return NULL;
}

static void put_commands(const rk_command *c, rk_buf *b)
{
    rk_buf_puts(b, "\ncommands:\n");
    for (size_t i = 0; c->commands[i]; i++)
        rk_buf_printf(b, "  %-10s %s\n", rk_command_word(c->commands[i]), c->commands[i]->summary);
    rk_buf_printf(b, "\nrwkv help %s COMMAND shows the options of one\n", c->name);
}

int rk_command_help(const rk_command *c)
{
    rk_option_room room;
    rk_buf b = {0};
    rk_buf_printf(&b, "rwkv %s: %s\n\nusage: rwkv %s %s\n", c->name, c->summary, c->name, c->usage);
    if (c->commands)
        put_commands(c, &b);
    if (c->main)
        rk_options_help(rk_command_rows(c, &room), &b);
    rk_buf_printf(&b, "\nexamples:\n%s\n", c->examples);
    rk_error err = {0};
    if (b.failed)
        rk_fail(&err, RK_ERR_NOMEM, "out of memory");
    else
        fputs(b.data, stdout);
    rk_buf_deinit(&b);
    return err.code ? rk_command_fail(&err) : 0;
}

bool rk_command_options(const rk_command *c, int argc, char **argv, void *into, int *status)
{
    rk_option_room room;
    rk_error err = {0};
    bool help = false;
    if (rk_options_parse(rk_command_rows(c, &room), argc, argv, into, &help, &err) != RK_OK) {
        fprintf(stderr, "rwkv %s: %s; see 'rwkv help %s'\n", c->name, err.msg, c->name);
        *status = rk_exit_status(err.code);
        return false;
    }
    if (help)
        *status = rk_command_help(c);
    return !help;
}

bool rk_command_reader_left(void)
{
    struct pollfd p = {.fd = STDOUT_FILENO};
    return ferror(stdout) && poll(&p, 1, 0) == 1 && (p.revents & POLLERR);
}

rk_status rk_command_print(const char *text, size_t n, rk_error *err)
{
    errno = 0;
    if (fwrite(text, 1, n, stdout) == n && fflush(stdout) == 0)
        return RK_OK;
    return rk_fail(err, RK_ERR_IO, "stdout: %s", errno ? strerror(errno) : "writing failed");
}

int rk_command_fail(const rk_error *err)
{
    if (rk_command_reader_left())
        return 128 + SIGPIPE;
    fflush(stdout);
    fprintf(stderr, "rwkv: %s\n", err->msg);
    return rk_exit_status(err->code);
}

static void print_log(void *user, rk_log_level level, const char *line)
{
    const rk_common_options *o = user;
    const rk_log_level lowest = o->quiet ? RK_LOG_ERROR : o->verbose ? RK_LOG_DEBUG : RK_LOG_WARN;
    if (level >= lowest)
        fprintf(stderr, "rwkv: %s\n", line);
}

rk_log rk_command_log(const rk_common_options *o)
{
    return (rk_log){.fn = print_log, .user = (void *)o, .level = RK_LOG_DEBUG};
}

rk_status rk_command_engine(rk_engine **out, const rk_common_options *o, rk_abort_fn *abort,
                            void *abort_user, rk_error *err)
{
    if (o->act && strcasecmp(o->act, "q8") != 0 && strcasecmp(o->act, "f32") != 0)
        return rk_fail(err, RK_ERR_ARG, "--act '%s': expected q8 or f32", o->act);
    const rk_engine_params p = {.n_threads = (int)o->n_threads,
                                .path = o->path,
                                .act =
                                    o->act && !strcasecmp(o->act, "f32") ? RK_ACT_F32 : RK_ACT_8BIT,
                                .log = print_log,
                                .log_user = (void *)o,
                                .abort = abort,
                                .abort_user = abort_user,
                                .cache = (rk_cache)o->cache,
                                .ctx_size = o->ctx_size};
    return rk_engine_new(out, &p, err);
}

void rk_command_note_mark(const rk_common_options *o, const char *path)
{
    char head[4] = {0};
    struct stat info;
    size_t mark = 0;
    const bool reads = path && !o->quiet && stat(path, &info) == 0 && S_ISREG(info.st_mode);
    FILE *f = reads ? fopen(path, "rb") : NULL;
    const size_t n = f ? fread(head, 1, sizeof head, f) : 0;
    if (f)
        fclose(f);
    if (rk_text_begin(head, n, path, &mark, NULL) == RK_OK && mark > 0)
        fprintf(stderr, "rwkv: %s: the byte order mark in front is passed over\n", path);
}

void rk_command_note_model(const rk_common_options *o, const char *path)
{
    static const char *const names[] = {"config.json", "model.safetensors.index.json",
                                        "pytorch_model.bin.index.json", "tokenizer.json"};
    char *folder = !path ? NULL : rk_path_is_folder(path) ? strdup(path) : rk_path_parent(path);
    for (size_t i = 0; i < RK_COUNT(names) && folder; i++) {
        char *file = rk_path_join(folder, names[i]);
        rk_command_note_mark(o, file);
        free(file);
    }
    free(folder);
}

rk_status rk_command_model(rk_model **out, const rk_common_options *o, const char *path,
                           rk_error *err)
{
    rk_command_note_model(o, path);
    return rk_model_open(out, path, err);
}

rk_status rk_command_tokenizer(rk_tokenizer **out, const rk_common_options *o, const char *name,
                               const rk_model *m, const char *path, rk_error *err)
{
    rk_command_note_mark(o, name);
    return rk_model_vocabulary(out, name, m, path, err);
}

rk_status rk_command_gguf_vocab(rk_tokenizer **out, const rk_common_options *o, const rk_model *m,
                                const char *from, const char *name, rk_error *err)
{
    rk_status st = RK_OK;
    *out = NULL;
    if (!name && m->file && rk_file_raw_find(m->file, "tokenizer.ggml.model"))
        return RK_OK;
    if (!name)
        st = rk_model_own_vocabulary(out, m, from, err);
    rk_tokenizer_free(*out); /* opened again below, with its size checked */
    const bool own = *out != NULL;
    *out = NULL;
    if (st != RK_OK || (!name && !own && !rk_vocabulary_of_size(m->hp.n_vocab)))
        return st;
    return rk_command_tokenizer(out, o, name, m, from, err);
}

void rk_command_note_gguf(const rk_common_options *o, const rk_model *m, const char *path)
{
    rk_save_container as;
    if (!o->quiet && rk_save_container_of(path, &as, NULL) == RK_OK && as == RK_SAVE_GGUF &&
        !rk_scheme_gguf_of(m))
        fprintf(stderr, "%s: llama.cpp has no such models: only rwkv opens this file\n", path);
}

rk_status rk_command_try_output(const char *path, bool overwrite, rk_error *err)
{
    struct stat info;
    rk_out *out = NULL;
    const bool there = stat(path, &info) == 0;
    if (there && !S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode))
        return RK_OK;
    if (there && S_ISREG(info.st_mode) && !overwrite)
        return rk_fail(err, RK_ERR_ARG, "%s: exists already; --force overwrites it", path);
    const rk_status st = rk_out_open(&out, path, overwrite, err);
    rk_out_abort(out);
    return st;
}

rk_status rk_command_refuse_same(const char *in, const char *out, rk_error *err)
{
    struct stat a, b;
    const bool same =
        stat(in, &a) == 0 && stat(out, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
    return same ? rk_fail(err, RK_ERR_ARG, "%s: is the model that is read; expected another file",
                          out)
                : RK_OK;
}

double rk_command_rate(int64_t n, double seconds)
{
    return seconds > 0.0 ? (double)n / seconds : 0.0;
}

rk_status rk_command_json(json_t *object, rk_error *err)
{
    char *text = object ? json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(object);
    if (!text)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for the JSON output");
    errno = 0;
    const bool written = puts(text) >= 0;
    free(text);
    return written
               ? RK_OK
               : rk_fail(err, RK_ERR_IO, "stdout: %s", errno ? strerror(errno) : "writing failed");
}
