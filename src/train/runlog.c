/* runlog.c: log.jsonl, appended line by line, cut back when a run is resumed, read for the curve.
 */
#include "train/runlog.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "io/atomic_file.h"
#include "io/json_line.h"
#include "io/map.h"

#define LOG_NAME "log.jsonl"

struct rk_runlog {
    rk_line_log *lines;
    rk_buf line;
};

static rk_status log_path(rk_buf *b, const char *dir, rk_error *err)
{
    rk_buf_printf(b, "%s/" LOG_NAME, dir);
    return b->failed ? rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", dir) : RK_OK;
}

/* An empty log cannot be mapped and has no lines, just as one that is not there. */
static bool has_bytes(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && info.st_size > 0;
}

/* ------------------------------------------------------------------------------------- reading */

/* The next line, newline included when it has one; false at the end. */
static bool next_line(const char **p, const char *end, const char **line, size_t *n)
{
    if (*p == end)
        return false;
    const char *newline = memchr(*p, '\n', (size_t)(end - *p));
    *line = *p;
    *p = newline ? newline + 1 : end;
    *n = (size_t)(*p - *line);
    return true;
}

/* The line's object when it is whole and says which step it is of, else NULL. */
static json_t *parse_line(const char *line, size_t n, int64_t *step)
{
    json_t *o = json_loadb(line, n, 0, NULL);
    const json_t *s = json_object_get(o, "step");
    if (!json_is_integer(s)) {
        json_decref(o);
        return NULL;
    }
    *step = json_integer_value(s);
    return o;
}

static double number_or_nan(const json_t *o, const char *key)
{
    const json_t *x = json_object_get(o, key);
    return json_is_number(x) ? json_number_value(x) : (double)NAN;
}

static rk_log_entry entry_of(const json_t *o, int64_t step)
{
    return (rk_log_entry){.step = step,
                          .tokens = json_integer_value(json_object_get(o, "tokens")),
                          .loss = number_or_nan(o, "loss"),
                          .lr = number_or_nan(o, "lr"),
                          .grad_norm = number_or_nan(o, "grad_norm"),
                          .tokens_per_s = number_or_nan(o, "tokens_per_s"),
                          .val_loss = number_or_nan(o, "val_loss"),
                          .skipped = json_is_true(json_object_get(o, "skipped"))};
}

static rk_status read_map(const rk_map *m, rk_log_entry_fn *fn, void *user, rk_error *err)
{
    const char *p = (const char *)m->data, *end = p + m->size, *line;
    size_t n;
    bool go_on = true;
    while (go_on && next_line(&p, end, &line, &n)) {
        int64_t step = 0;
        json_t *o = parse_line(line, n, &step);
        if (o && json_object_get(o, "loss")) {
            const rk_log_entry e = entry_of(o, step);
            go_on = fn(user, &e);
        }
        json_decref(o);
    }
    return go_on ? RK_OK : rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", m->name);
}

rk_status rk_runlog_read(const char *dir, rk_log_entry_fn *fn, void *user, rk_error *err)
{
    rk_buf path = {0};
    rk_map map = {0};
    rk_status st = log_path(&path, dir, err);
    if (st == RK_OK && has_bytes(path.data)) {
        st = rk_map_open(&map, path.data, err);
        if (st == RK_OK)
            st = read_map(&map, fn, user, err);
        rk_map_close(&map);
    }
    rk_buf_deinit(&path);
    return st;
}

/* ----------------------------------------------------------------------------------- appending */

static rk_status copy_until(const rk_map *m, const char *path, int64_t last, rk_error *err)
{
    rk_out *out = NULL;
    const rk_status st = rk_out_open(&out, path, true, err);
    if (st != RK_OK)
        return st;
    const char *p = (const char *)m->data, *end = p + m->size, *line;
    size_t n;
    while (next_line(&p, end, &line, &n)) {
        int64_t step = 0;
        json_t *o = parse_line(line, n, &step);
        if (o && step <= last && line[n - 1] == '\n')
            rk_out_write(out, line, n);
        json_decref(o);
    }
    return rk_out_commit(out, err);
}

static rk_status drop_after(const char *path, int64_t last, rk_error *err)
{
    rk_map map = {0};
    rk_status st = rk_map_open(&map, path, err);
    if (st == RK_OK)
        st = copy_until(&map, path, last, err);
    rk_map_close(&map);
    return st;
}

rk_status rk_runlog_open(rk_runlog **out, const char *dir, int64_t step, rk_error *err)
{
    rk_buf path = {0};
    rk_runlog *l = calloc(1, sizeof *l);
    rk_status st = l ? log_path(&path, dir, err) : rk_fail(err, RK_ERR_NOMEM, "out of memory");
    if (st == RK_OK && has_bytes(path.data))
        st = drop_after(path.data, step, err);
    if (st == RK_OK)
        st = rk_line_log_open(&l->lines, path.data, err);
    rk_buf_deinit(&path);
    if (st == RK_OK)
        *out = l;
    else
        rk_runlog_close(l);
    return st;
}

static rk_status append(rk_runlog *l, rk_error *err)
{
    rk_json_end(&l->line);
    if (l->line.failed)
        return rk_fail(err, RK_ERR_NOMEM, LOG_NAME ": out of memory");
    return rk_line_log_append(l->lines, l->line.data, l->line.len, err);
}

rk_status rk_runlog_step(rk_runlog *l, const rk_log_entry *e, rk_error *err)
{
    rk_buf *b = &l->line;
    rk_buf_clear(b);
    rk_json_begin(b);
    rk_json_int(b, "step", e->step);
    rk_json_int(b, "tokens", e->tokens);
    rk_json_num(b, "loss", e->loss);
    if (!isnan(e->val_loss))
        rk_json_num(b, "val_loss", e->val_loss);
    rk_json_num(b, "lr", e->lr);
    rk_json_num(b, "grad_norm", e->grad_norm);
    if (e->skipped)
        rk_json_bool(b, "skipped", true);
    rk_json_num(b, "tokens_per_s", e->tokens_per_s);
    return append(l, err);
}

rk_status rk_runlog_status(rk_runlog *l, int64_t step, const char *status, const char *numerics,
                           rk_error *err)
{
    rk_buf *b = &l->line;
    rk_buf_clear(b);
    rk_json_begin(b);
    rk_json_int(b, "step", step);
    rk_json_str(b, "status", status);
    rk_json_str(b, "numerics", numerics);
    return append(l, err);
}

rk_status rk_runlog_sync(rk_runlog *l, rk_error *err)
{
    return rk_line_log_sync(l->lines, err);
}

void rk_runlog_close(rk_runlog *l)
{
    if (!l)
        return;
    rk_line_log_close(l->lines);
    rk_buf_deinit(&l->line);
    free(l);
}
