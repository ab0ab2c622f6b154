/* run_dir.c: a folder has one owner at a time, known by a lock on the folder itself: it needs no
 * file, and the system takes it back from a process that is killed. */
#define _DEFAULT_SOURCE /* flock() */
#include "train/run_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/num.h"
#include "format/config_hf.h"
#include "io/atomic_file.h"
#include "io/json_line.h"
#include "train/checkpoint_dir.h"

/* What a run writes, but for its checkpoints. config.json is the first file of a run, the others tell of runs that
 * lost it; those behind N_RESULTS are made before a run enters its folder. */
static const char *const written[] = {"config.json",
                                      "log.jsonl",
                                      "curve.svg",
                                      "model.safetensors",
                                      "model.gguf",
                                      "model-ema.safetensors",
                                      "model-ema.gguf",
                                      "adapter_config.json",
                                      "adapter_model.safetensors",
                                      "state.pth",
                                      "observer.safetensors",
                                      "test-time.json",
                                      RK_RUN_START,
                                      "start.pth",
                                      "checkpoint-"};
enum { N_RESULTS = RK_COUNT(written) - 3, N_FILES = RK_COUNT(written) - 1 };

static bool holds_any(int dir, size_t n)
{
    struct stat info;
    for (size_t i = 0; i < n; i++)
        if (fstatat(dir, written[i], &info, 0) == 0)
            return true;
    return false;
}

/* Does the folder hold one of the first n names, or a checkpoint? */
static rk_status check(const char *dir, size_t n, bool resume, rk_error *err)
{
    if (!*dir)
        return rk_fail(err, RK_ERR_ARG, "the run folder's name is empty");
    const int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return RK_OK;
    if (fd < 0)
        return rk_fail(err, errno == ENOTDIR ? RK_ERR_ARG : RK_ERR_IO, "%s: %s", dir,
                       strerror(errno));
    const bool taken = holds_any(fd, n) || rk_checkpoint_dir_holds_any(dir);
    close(fd);
    if (taken && !resume)
        return rk_fail(err, RK_ERR_ARG, "%s: holds a run already; --resume continues it", dir);
    return RK_OK;
}

rk_status rk_run_dir_check(const char *dir, bool resume, rk_error *err)
{
    return check(dir, N_FILES, resume, err);
}

/* Cut path at each of its slashes in turn, and last not at all, and make the folder it then names.
 */
static rk_status make_folders(char *path, rk_error *err)
{
    for (size_t n = strcspn(path + 1, "/") + 1;; n += strcspn(path + n + 1, "/") + 1) {
        const char cut = path[n];
        path[n] = '\0';
        if (mkdir(path, 0777) != 0 && errno != EEXIST)
            return rk_fail(err, RK_ERR_IO, "%s: cannot make the folder: %s", path, strerror(errno));
        path[n] = cut;
        if (!cut)
            return RK_OK;
    }
}

static rk_status make_folder(const char *dir, rk_error *err)
{
    char *path = strdup(dir);
    if (!path)
        return rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", dir);
    const rk_status st = make_folders(path, err);
    free(path);
    return st;
}

rk_status rk_run_dir_enter(const char *dir, bool resume, int *lock, rk_error *err)
{
    rk_status st = check(dir, N_RESULTS, resume, err);
    if (st == RK_OK)
        st = make_folder(dir, err);
    if (st != RK_OK)
        return st;
    *lock = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*lock < 0)
        return rk_fail(err, RK_ERR_IO, "%s: %s", dir, strerror(errno));
    if (flock(*lock, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
        return rk_fail(err, RK_ERR_IO, "%s: another process is training in this folder", dir);
    return rk_dir_remove_leftovers(dir, written, RK_COUNT(written), err);
}

void rk_run_dir_abandon(const char *dir, const char *file, bool made_folder)
{
    rk_error ignored;
    if (check(dir, N_RESULTS, false, &ignored) != RK_OK)
        return;
    if (file)
        unlink(file);
    if (made_folder)
        rmdir(dir);
}

/* What transformers opens the folder by, where the names of the tensors are those that it knows. */
static void put_class(const rk_model *m, rk_buf *b)
{
    const rk_hf_class *c = rk_hf_class_of(m->arch, false);
    if (c && rk_hf_class_scheme(c) == &rk_scheme_tf)
        rk_hf_put_members(b, c, m, RK_F32);
    else
        rk_json_str(b, "model_type", m->arch->name);
}

static bool has_member(const rk_buf *b, const char *key)
{
    char text[64];
    snprintf(text, sizeof text, "\"%s\":", key);
    return b->data && strstr(b->data, text);
}

static void put_sizes(const rk_model *m, rk_buf *b)
{
    const rk_size_spec *s;
    for (int i = 0; (s = rk_size_at(m->arch, i)); i++)
        if (has_member(b, s->name))
            continue;
        else if (s->at.real)
            rk_json_num(b, s->name, rk_size_value(s, &m->hp));
        else
            rk_json_int(b, s->name, (int64_t)rk_size_value(s, &m->hp));
}

/* Of a forward pass: the matrix products, the head's among them. A training step takes three times as
 * many. */
static int64_t flops_per_token(const rk_model *m)
{
    int64_t head = 0;
    const int64_t body = rk_model_products(m, &head);
    return 2 * (body + head);
}

static void put_config(const rk_run_params *p, const rk_model *m, const rk_run_options *o,
                       int64_t n_params, const char *numerics, rk_buf *b)
{
    rk_json_begin(b);
    put_class(m, b);
    put_sizes(m, b);
    rk_json_int(b, "ctx_len", p->model.ctx_len);
    rk_json_int(b, "n_params", n_params);
    rk_json_int(b, "flops_per_token", flops_per_token(m));
    rk_json_str(b, "tokenizer", p->tokenizer ? p->tokenizer : RK_TOKENIZER_OF_MODEL);
    rk_json_str(b, "version", rk_version());
    rk_json_str(b, "numerics", numerics);
    for (int64_t i = 0; i < o->n; i++) {
        char key[RK_RUN_VALUE_MAX];
        snprintf(key, sizeof key, "--%s", o->pairs[i].key);
        rk_json_str(b, key, o->pairs[i].value);
    }
    rk_json_end(b);
    rk_buf_puts(b, "\n");
}

rk_status rk_run_dir_write_config(const rk_run_params *p, const rk_model *m,
                                  const rk_run_options *o, int64_t n_params, const char *numerics,
                                  rk_error *err)
{
    rk_buf path = {0}, text = {0};
    rk_out *out = NULL;
    rk_buf_printf(&path, "%s/config.json", p->dir);
    put_config(p, m, o, n_params, numerics, &text);
    rk_status st = path.failed || text.failed
                       ? rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", p->dir)
                       : rk_out_open(&out, path.data, true, err);
    if (st == RK_OK) {
        rk_out_write(out, text.data, text.len);
        st = rk_out_commit(out, err);
    }
    rk_buf_deinit(&path);
    rk_buf_deinit(&text);
    return st;
}
