/* run_folder.c: checkpoints have their step in their names; the step of the model is that at which
 * the log says that the run was done or interrupted. Times of files would not do: copying changes
 * them. */
#define _GNU_SOURCE /* memrchr() */
#include "io/run_folder.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/num.h"
#include "io/json_scan.h"
#include "io/path.h"

enum { LINE_MAX_BYTES = 4096 };

/* ---- the log ---- */

typedef struct log_line {
    int64_t step;
    bool wrote_model;
} log_line;

static bool is_text(const char *text, size_t n, const char *expected)
{
    return n == strlen(expected) && !memcmp(text, expected, n);
}

/* {"step":N,"status":"interrupted",...}; false: another line. */
static bool read_line(const unsigned char *begin, size_t n, log_line *l)
{
    char text[LINE_MAX_BYTES];
    rk_json_scan s = {begin, begin + n, NULL};
    *l = (log_line){.step = -1};
    if (n > sizeof text || !rk_json_take(&s, '{'))
        return false;
    do {
        uint64_t step = 0;
        if (!rk_json_string(&s, text, &n) || !rk_json_take(&s, ':'))
            return false;
        if (is_text(text, n, "step")) {
            if (!rk_json_uint(&s, &step) || step > INT64_MAX)
                return false;
            l->step = (int64_t)step;
        } else if (is_text(text, n, "status")) {
            if (!rk_json_string(&s, text, &n))
                return false;
            l->wrote_model = is_text(text, n, "done") || is_text(text, n, "interrupted");
        } else if (!rk_json_skip(&s, 2))
            return false;
    } while (rk_json_peek_take(&s, ','));
    return l->step >= 0;
}

/* From the end, where what is looked for is as a rule; -1: no such line. */
static int64_t last_model_step(const rk_map *log)
{
    const unsigned char *end = log->data + log->size;
    while (end > log->data) {
        const unsigned char *newline = memrchr(log->data, '\n', (size_t)(end - log->data - 1));
        const unsigned char *const begin = newline ? newline + 1 : log->data;
        log_line l;
        if (read_line(begin, (size_t)(end - begin), &l) && l.wrote_model)
            return l.step;
        end = begin;
    }
    return -1;
}

/* A folder without a log is no run's, or its owner has tidied up: the model counts. */
static int64_t model_step(const char *folder)
{
    rk_map log = {.fd = -1};
    int64_t step = INT64_MAX;
    char *path = rk_path_join(folder, "log.jsonl");
    if (path && access(path, F_OK) == 0 && rk_map_open(&log, path, NULL) == RK_OK)
        step = last_model_step(&log);
    rk_map_close(&log);
    free(path);
    return step;
}

/* ---- checkpoints ---- */

int64_t rk_run_folder_later(const char *folder, bool has_model)
{
    int64_t newest = -1;
    DIR *d = opendir(folder);
    for (const struct dirent *e; d && (e = readdir(d));) {
        long long step = -1;
        int end = 0;
        if (sscanf(e->d_name, "checkpoint-%18lld%n", &step, &end) == 1 && !e->d_name[end])
            newest = rk_max_i64(newest, (int64_t)step);
    }
    if (d)
        closedir(d);
    return newest >= 0 && has_model && model_step(folder) >= newest ? -1 : newest;
}

/* ---- weights ---- */

/* The tensors of `part` that f does not have yet. */
static rk_status add_rest(rk_file *f, const rk_file *trained, const rk_file *part, rk_error *err)
{
    rk_status st = RK_OK;
    for (int64_t i = 0; i < rk_file_count(part) && st == RK_OK; i++)
        if (!rk_file_find(trained, rk_file_at(part, i)->name))
            st = rk_file_add(f, rk_file_at(part, i), err);
    return st;
}

static rk_status add_all(rk_file *f, const rk_file *trained, rk_error *err)
{
    rk_status st = RK_OK;
    for (int64_t i = 0; i < rk_file_meta_count(trained) && st == RK_OK; i++) {
        const rk_pair pair = rk_file_meta_at(trained, i);
        st = rk_file_add_meta(f, pair.key, pair.value, err);
    }
    for (int64_t i = 0; i < rk_file_count(trained) && st == RK_OK; i++)
        st = rk_file_add(f, rk_file_at(trained, i), err);
    return st;
}

/* Takes both over, also when it fails. */
static rk_status join(rk_file **out, rk_file *trained, rk_file *rest, rk_error *err)
{
    rk_file *f = NULL;
    rk_status st = rk_file_new(&f, rk_file_container(trained), rk_file_name(trained), err);
    if (st == RK_OK)
        st = add_all(f, trained, err);
    if (st == RK_OK)
        st = add_rest(f, trained, rest, err);
    if (st == RK_OK)
        st = rk_file_finish(f, err);
    rk_file **const parts[] = {&trained, &rest};
    for (size_t i = 0; i < RK_COUNT(parts) && st == RK_OK; i++) {
        st = rk_file_own(f, *parts[i], err);
        if (st == RK_OK)
            *parts[i] = NULL;
    }
    rk_file_close(trained);
    rk_file_close(rest);
    if (st == RK_OK)
        *out = f;
    else
        rk_file_close(f);
    return st;
}

static bool holds_all(const rk_file *trained, const rk_file *model)
{
    for (int64_t i = 0; i < rk_file_count(model); i++)
        if (!rk_file_find(trained, rk_file_at(model, i)->name))
            return false;
    return true;
}

/* `trained` with the rest of the weights, if it does not hold all of them. Takes it over. */
static rk_status complete(rk_file **out, rk_file *trained, const char *model_path, rk_error *err)
{
    rk_file *model = NULL;
    rk_status st = rk_file_open_single(&model, model_path, err);
    if (st != RK_OK) {
        rk_file_close(trained);
        return st;
    }
    if (holds_all(trained, model)) {
        rk_file_close(model);
        *out = trained;
        return RK_OK;
    }
    if (!strcmp(rk_file_container(model), rk_file_container(trained)))
        return join(out, trained, model, err);
    st = rk_fail(err, RK_ERR_UNSUPPORTED,
                 "%s: later than %s, and holds only the weights that are trained; 'rwkv train "
                 "--resume' writes the model",
                 rk_file_name(trained), model_path);
    rk_file_close(trained);
    rk_file_close(model);
    return st;
}

rk_status rk_run_folder_open(rk_file **out, const char *folder, int64_t step,
                             const char *model_path, rk_error *err)
{
    rk_file *trained = NULL;
    char name[64];
    snprintf(name, sizeof name, "checkpoint-%" PRId64 "/model.safetensors", step);
    char *path = rk_path_join(folder, name);
    const rk_status st = path ? rk_file_open_single(&trained, path, err)
                              : rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", folder);
    free(path);
    if (st != RK_OK)
        return st;
    if (model_path)
        return complete(out, trained, model_path, err);
    *out = trained;
    return RK_OK;
}
