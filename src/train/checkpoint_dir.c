/* checkpoint_dir.c: which entries of a folder are the run's, and what may become of them.
 *
 * People keep files in run folders, and link checkpoints from elsewhere. So everything is asked of
 * the entry itself (lstat): a link is never followed, and one foreign file in a folder is enough to
 * leave it alone. */
#include "train/checkpoint_dir.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/num.h"
#include "io/atomic_file.h"
#include "io/path.h"
#include "train/run_state.h"

#define PREFIX "checkpoint-"

enum { KEPT = 2, DAMAGED_MAX = 1000 };

char *rk_checkpoint_dir_path(const char *dir, int64_t step)
{
    char name[40];
    snprintf(name, sizeof name, PREFIX "%" PRId64, step);
    return rk_path_join(dir, name);
}

/* The number behind "checkpoint-", or -1 for every other name. */
static int64_t step_of_name(const char *name)
{
    const size_t n = strlen(PREFIX);
    if (strncmp(name, PREFIX, n) != 0 || name[n] < '0' || name[n] > '9')
        return -1;
    char *end = NULL;
    errno = 0;
    const long long step = strtoll(name + n, &end, 10);
    return *end || errno ? -1 : (int64_t)step;
}

static int compare_falling(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x < y) - (x > y);
}

static bool list_add(rk_step_list *l, int64_t step)
{
    if (l->n == l->max) {
        const int64_t max = 2 * l->max + 8;
        int64_t *at = realloc(l->at, (size_t)max * sizeof *at);
        if (!at)
            return false;
        l->at = at;
        l->max = max;
    }
    l->at[l->n++] = step;
    return true;
}

rk_status rk_checkpoint_dir_list(const char *dir, rk_step_list *l, rk_error *err)
{
    *l = (rk_step_list){0};
    DIR *d = opendir(dir);
    if (!d)
        return rk_fail(err, RK_ERR_IO, "%s: %s", dir, strerror(errno));
    rk_status st = RK_OK;
    for (const struct dirent *e; st == RK_OK && (e = readdir(d));) {
        const int64_t step = step_of_name(e->d_name);
        if (step >= 0 && !list_add(l, step))
            st = rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", dir);
    }
    closedir(d);
    if (l->n > 0)
        qsort(l->at, (size_t)l->n, sizeof *l->at, compare_falling);
    return st;
}

/* ---- whose is it? ---- */

static bool is_there(const char *path)
{
    struct stat info;
    return lstat(path, &info) == 0;
}

/* Is an entry of a checkpoint's folder a plain file under one of its names? */
static bool is_saved_file(const char *dir, const char *name)
{
    static const char *const names[] = {RK_SAVED_MODEL, RK_SAVED_OPTIM, "state.json"};
    struct stat info;
    bool known = false;
    for (size_t i = 0; i < RK_COUNT(names); i++)
        known = known || !strcmp(names[i], name);
    char *path = known ? rk_path_join(dir, name) : NULL;
    const bool plain = path && lstat(path, &info) == 0 && S_ISREG(info.st_mode);
    free(path);
    return plain;
}

/* A real folder with nothing in it but a checkpoint's files, whole or not. */
static bool is_own(const char *path)
{
    struct stat info;
    if (lstat(path, &info) != 0 || !S_ISDIR(info.st_mode))
        return false;
    DIR *d = opendir(path);
    bool own = d != NULL;
    int n = 0;
    for (const struct dirent *e; own && (e = readdir(d));) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
            continue;
        own = is_saved_file(path, e->d_name);
        n++;
    }
    if (d)
        closedir(d);
    return own && n > 0;
}

/* The same, and its state.json says that it is of this step. */
static bool is_own_of(const char *path, int64_t step)
{
    rk_saved_state *state = NULL;
    const bool own = is_own(path) && rk_saved_state_read(&state, path, NULL) == RK_OK;
    const bool same = own && state->step == step;
    rk_saved_state_free(state);
    return same;
}

bool rk_checkpoint_dir_holds_any(const char *dir)
{
    rk_step_list l;
    bool any = false;
    if (rk_checkpoint_dir_list(dir, &l, NULL) != RK_OK)
        return false;
    for (int64_t i = 0; i < l.n && !any; i++) {
        char *path = rk_checkpoint_dir_path(dir, l.at[i]);
        any = path && is_own_of(path, l.at[i]);
        free(path);
    }
    free(l.at);
    return any;
}

/* ---- what may become of it ---- */

static rk_status in_the_way(const char *path, rk_error *err)
{
    return rk_fail(err, RK_ERR_ARG,
                   "%s: is in the way of a checkpoint and was not made by this run; move it away",
                   path);
}

rk_status rk_checkpoint_dir_check(const char *path, int64_t step, rk_error *err)
{
    return !is_there(path) || is_own_of(path, step) ? RK_OK : in_the_way(path, err);
}

void rk_checkpoint_dir_trim(const char *dir, int64_t step, const rk_log *log)
{
    rk_step_list l;
    rk_error why = {0};
    rk_status st = rk_checkpoint_dir_list(dir, &l, &why);
    int kept = 0;
    for (int64_t i = 0; i < l.n && st == RK_OK; i++) {
        char *path = rk_checkpoint_dir_path(dir, l.at[i]);
        const bool own = path && l.at[i] <= step && is_own_of(path, l.at[i]);
        if (own && kept++ >= KEPT && rk_dir_remove(path, &why) != RK_OK)
            rk_log_line(log, RK_LOG_WARN, "an older checkpoint stays: %s", why.msg);
        free(path);
    }
    if (st != RK_OK)
        rk_log_line(log, RK_LOG_WARN, "older checkpoints stay: %s", why.msg);
    free(l.at);
}

/* PATH.damaged, or PATH.damaged-2 and so on. */
static rk_status set_aside(const char *path, const rk_log *log, rk_error *err)
{
    rk_buf name = {0};
    for (int i = 1; i <= DAMAGED_MAX; i++) {
        rk_buf_deinit(&name);
        name = (rk_buf){0};
        rk_buf_printf(&name, "%s.damaged", path);
        if (i > 1)
            rk_buf_printf(&name, "-%d", i);
        if (name.failed || !is_there(name.data))
            break;
    }
    rk_status st = RK_OK;
    if (name.failed)
        st = rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", path);
    else if (rename(path, name.data) != 0)
        st = rk_fail(err, RK_ERR_IO, "%s: cannot rename it to %s: %s", path, name.data,
                     strerror(errno));
    else
        rk_log_line(log, RK_LOG_WARN, "%s is damaged; it is %s now", path, name.data);
    rk_buf_deinit(&name);
    return st;
}

/* Will the run write a checkpoint of this step, unless it is interrupted? */
static bool is_needed(const rk_save_steps *s, int64_t step)
{
    return step == s->last || (step < s->last && step % s->every == 0);
}

rk_status rk_checkpoint_dir_clear(const char *dir, const rk_save_steps *s, bool resumed,
                                  const rk_log *log, rk_error *err)
{
    rk_step_list l;
    rk_status st = rk_checkpoint_dir_list(dir, &l, err);
    for (int64_t i = 0; i < l.n && l.at[i] > s->done && st == RK_OK; i++) {
        char *path = rk_checkpoint_dir_path(dir, l.at[i]);
        if (!path)
            st = rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", dir);
        else if (resumed && is_own(path))
            st = set_aside(path, log, err);
        else if (is_needed(s, l.at[i]))
            st = in_the_way(path, err);
        free(path);
    }
    free(l.at);
    return st;
}
