/* tuning_start.c: what tuned states begin with, where that is more than zeros. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/num.h"
#include "format/format.h"
#include "io/path.h"
#include "train/base.h"
#include "train/checkpoint_dir.h"
#include "train/run_dir.h"
#include "train/tuning.h"
#include "tune/kernel_path.h"
#include "tune/observer.h"

static int field_named(const rk_task *t, const char *name)
{
    for (int i = 0; i < t->n_fields; i++)
        if (!strcmp(t->fields[i].name, name))
            return i;
    return -1;
}

/* The first examples of the task, one after the other. */
static rk_status make_text(const rk_task *t, int32_t **tokens, rk_kernel_text *text, rk_error *err)
{
    const int field = field_named(t, "ids");
    const int64_t len = field < 0 ? 0 : t->fields[field].dims[0];
    const int64_t n = len > 0 ? rk_ceil_div(RK_KERNEL_TOKENS, len) : 0;
    rk_batch batch;
    if (n == 0)
        return rk_fail(err, RK_ERR_ARG, "task %s has no tokens to calibrate a kernel path on",
                       t->name);
    rk_status st = rk_batch_init(&batch, t, n, err);
    *tokens = malloc((size_t)(n * len) * sizeof **tokens);
    if (st == RK_OK && !*tokens)
        st = rk_fail(err, RK_ERR_NOMEM, "out of memory for a text to calibrate on");
    for (int64_t i = 0; i < n && st == RK_OK; i++) {
        void *at[RK_TASK_FIELDS_MAX];
        rk_batch_at(&batch, t, i, at);
        t->example(t, (uint64_t)i, at);
        memcpy(*tokens + i * len, at[field], (size_t)len * sizeof **tokens);
    }
    *text = (rk_kernel_text){*tokens, n * len, len};
    rk_batch_deinit(&batch);
    return st;
}

static rk_status make_path(const rk_model *m, const rk_task *task, const rk_run_params *p,
                           rk_engine *e, bool basis, const char *path, rk_error *err)
{
    int32_t *tokens = NULL;
    rk_kernel_text text;
    rk_status st = make_text(task, &tokens, &text, err);
    if (st == RK_OK)
        st = rk_kernel_path_write(m, e, &text, &p->tune.state, basis, path, err);
    free(tokens);
    return st;
}

static rk_status make_state(const rk_model *m, const rk_run_params *p, rk_engine *e,
                            const char *path, rk_error *err)
{
    rk_tokenizer *t = NULL;
    const char *text = p->tune.state.prompt;
    int32_t *tokens = malloc((strlen(text) + 1) * sizeof *tokens);
    int64_t n = 0;
    rk_status st = tokens ? rk_model_vocabulary(&t, p->tokenizer, m, p->model.init_from, err)
                          : rk_fail(err, RK_ERR_NOMEM, "out of memory for a prompt");
    if (st == RK_OK)
        n = rk_tokenizer_encode(t, text, strlen(text), tokens, (int64_t)strlen(text) + 1);
    if (st == RK_OK && n == 0)
        st = rk_fail(err, RK_ERR_ARG, "--state-prompt has no tokens");
    if (st == RK_OK)
        st = p->tune.state.observer
                 ? rk_observer_state(p->tune.state.observer, m, e, tokens, n, path, err)
                 : rk_state_of_tokens(m, e, tokens, n, path, err);
    rk_tokenizer_free(t);
    free(tokens);
    return st;
}

/* The folder is made here, so that what is made first can lie in it. */
static rk_status enter(const rk_run_params *p, rk_error *err)
{
    int lock = -1;
    const rk_status st = rk_run_dir_enter(p->dir, p->resume, &lock, err);
    if (lock >= 0)
        close(lock);
    return st;
}

static rk_status open_again(rk_model **m, rk_run_params *p, const char *path, rk_error *err)
{
    rk_model *again = NULL;
    const rk_status st = rk_base_open(&again,
                                      &(rk_train_params){.init_from = p->model.init_from,
                                                         .init_state = path,
                                                         .train_only = p->model.train_only},
                                      err);
    if (st != RK_OK)
        return st;
    rk_model_close(*m);
    *m = again;
    p->model.arch = again->arch->name;
    return RK_OK;
}

rk_status rk_tuning_start(rk_model **m, const rk_task *task, rk_run_params *p, rk_engine *e,
                          rk_error *err)
{
    const char *words = p->model.train_only ? p->model.train_only : "";
    const bool kernel = p->tune.method && strstr(words, "state-kernel");
    if (p->tune.state.observer && !p->tune.state.prompt)
        return rk_fail(err, RK_ERR_ARG,
                       "--state-observer reads a --state-prompt, which is missing");
    if (!p->tune.method || (!kernel && !p->tune.state.prompt))
        return RK_OK;
    if (kernel && p->tune.state.prompt)
        return rk_fail(err, RK_ERR_ARG, "--state-prompt goes with the method state alone");
    char *path = rk_path_join(p->dir, "start.pth");
    p->folder_made = access(p->dir, F_OK) != 0;
    rk_status st = path ? enter(p, err) : rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", p->dir);
    const bool made =
        st == RK_OK && p->resume && rk_checkpoint_dir_holds_any(p->dir) && access(path, R_OK) == 0;
    if (st == RK_OK && !made)
        p->start_made = strdup(path);
    if (st == RK_OK && !made)
        st = kernel ? make_path(*m, task, p, e, strstr(words, "state-basis") != NULL, path, err)
                    : make_state(*m, p, e, path, err);
    if (st == RK_OK)
        st = open_again(m, p, path, err);
    free(path);
    return st;
}
