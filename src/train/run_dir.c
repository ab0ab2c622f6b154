/* run_dir.c: a folder has one owner at a time, known by a lock on the folder itself: it needs no
 * file, and the system takes it back from a process that is killed. */
#define _DEFAULT_SOURCE /* flock() */
#include "train/run_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/num.h"
#include "io/atomic_file.h"

/* config.json is the first file of a run, the others tell of runs that lost it. */
static bool holds_run(int dir)
{
    static const char *const names[] = {"config.json", "log.jsonl", "model.safetensors"};
    struct stat info;
    for (size_t i = 0; i < RK_COUNT(names); i++)
        if (fstatat(dir, names[i], &info, 0) == 0)
            return true;
    return false;
}

rk_status rk_run_dir_check(const char *dir, bool resume, rk_error *err)
{
    const int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return RK_OK;
    if (fd < 0)
        return rk_fail(err, errno == ENOTDIR ? RK_ERR_ARG : RK_ERR_IO, "%s: %s", dir,
                       strerror(errno));
    const bool taken = holds_run(fd);
    close(fd);
    if (taken && !resume)
        return rk_fail(err, RK_ERR_ARG, "%s: holds a run already; --resume continues it", dir);
    return RK_OK;
}

rk_status rk_run_dir_enter(const char *dir, int *lock, rk_error *err)
{
    if (mkdir(dir, 0777) != 0 && errno != EEXIST)
        return rk_fail(err, RK_ERR_IO, "%s: cannot make the folder: %s", dir, strerror(errno));
    *lock = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*lock < 0)
        return rk_fail(err, RK_ERR_IO, "%s: %s", dir, strerror(errno));
    if (flock(*lock, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
        return rk_fail(err, RK_ERR_IO, "%s: another process is training in this folder", dir);
    return rk_dir_remove_leftovers(dir, err);
}

static json_t *options_json(const rk_run_options *o)
{
    json_t *json = json_object();
    for (int64_t i = 0; i < o->n; i++)
        if (json_object_set_new(json, o->pairs[i].key, json_string(o->pairs[i].value)) != 0) {
            json_decref(json);
            return NULL;
        }
    return json;
}

static char *config_text(const rk_run_params *p, const rk_run_options *o, int64_t n_params,
                         const char *numerics)
{
    const rk_train_params *m = &p->model;
    json_t *json = json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:s, s:s, s:o}",
                             "model_type", m->arch, "n_vocab", (json_int_t)m->n_vocab, "n_embd",
                             (json_int_t)m->n_embd, "n_layer", (json_int_t)m->n_layer, "head_size",
                             (json_int_t)m->head_size, "ctx_len", (json_int_t)m->ctx_len,
                             "n_params", (json_int_t)n_params, "tokenizer", p->tokenizer, "version",
                             rk_version(), "numerics", numerics, "options", options_json(o));
    char *text = json ? json_dumps(json, JSON_INDENT(2)) : NULL;
    json_decref(json);
    return text;
}

rk_status rk_run_dir_write_config(const rk_run_params *p, const rk_run_options *o, int64_t n_params,
                                  const char *numerics, rk_error *err)
{
    rk_buf path = {0};
    rk_out *out = NULL;
    char *text = config_text(p, o, n_params, numerics);
    rk_buf_printf(&path, "%s/config.json", p->dir);
    rk_status st = text && !path.failed ? rk_out_open(&out, path.data, true, err)
                                        : rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", p->dir);
    if (st == RK_OK) {
        rk_out_write(out, text, strlen(text));
        rk_out_write(out, "\n", 1);
        st = rk_out_commit(out, err);
    }
    rk_buf_deinit(&path);
    free(text);
    return st;
}
