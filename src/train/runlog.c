/* runlog.c: log.jsonl, appended line by line, cut back when a run is resumed, read for the curve.
 */
#include "train/runlog.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/num.h"
#include "io/atomic_file.h"
#include "io/json_line.h"
#include "io/json_scan.h"
#include "io/map.h"

#define LOG_NAME "log.jsonl"

enum { LINE_MAX_BYTES = 1024 };

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

/* What a line says; has_step and has_loss tell a line of the log and a line of a step. */
typedef struct parsed {
    rk_log_entry entry;
    bool has_step, has_loss;
} parsed;

/* The number at text, which is a checked JSON value with a character after it; null is NAN. */
static double number_at(const unsigned char *text)
{
    char *end = NULL;
    const double x = strtod((const char *)text, &end);
    return end == (const char *)text ? (double)NAN : x;
}

/* Is the key of n bytes this name, behind "val_" if asked? */
static bool is_key(const char *key, size_t n, const char *name, bool val)
{
    const size_t skip = val ? strlen("val_") : 0;
    return n == skip + strlen(name) && (!val || !memcmp(key, "val_", skip)) &&
           !memcmp(key + skip, name, n - skip);
}

static void take_member(parsed *l, const char *drawn, const char *key, size_t n,
                        const unsigned char *value)
{
    static const struct {
        const char *key;
        size_t offset;
    } numbers[] = {
        {"loss", offsetof(rk_log_entry, loss)},
        {"lr", offsetof(rk_log_entry, lr)},
        {"grad_norm", offsetof(rk_log_entry, grad_norm)},
        {"noise_scale", offsetof(rk_log_entry, noise_scale)},
        {"tokens_per_s", offsetof(rk_log_entry, tokens_per_s)},
        {"val_loss", offsetof(rk_log_entry, val_loss)},
        {"ema_val_loss", offsetof(rk_log_entry, ema_val_loss)},
    };
    for (size_t i = 0; i < RK_COUNT(numbers); i++)
        if (is_key(key, n, numbers[i].key, false))
            /* cppcheck-suppress invalidPointerCast; the offset is that of a double */
            *(double *)((char *)&l->entry + numbers[i].offset) = number_at(value);
    const double x = number_at(value);
    const bool whole = x >= 0.0 && x < 9e15;
    if (is_key(key, n, "step", false) && whole) {
        l->entry.step = (int64_t)x;
        l->has_step = true;
    } else if (is_key(key, n, "tokens", false) && whole) {
        l->entry.tokens = (int64_t)x;
    } else if (is_key(key, n, "skipped", false)) {
        l->entry.skipped = *value == 't';
    }
    if (is_key(key, n, drawn, false))
        l->entry.drawn = x;
    if (is_key(key, n, drawn, true))
        l->entry.val_drawn = x;
    l->has_loss = l->has_loss || is_key(key, n, "loss", false) || is_key(key, n, "loss", true);
}

/* Without a tree and so without memory: a line must not get lost because there was none. False for
 * what is no whole line of this log. */
static bool parse_line(const char *line, size_t n, const char *drawn, parsed *l)
{
    char key[LINE_MAX_BYTES];
    rk_json_scan s = {(const unsigned char *)line, (const unsigned char *)line + n, NULL};
    *l = (parsed){.entry = {.loss = (double)NAN,
                            .val_loss = (double)NAN,
                            .ema_val_loss = (double)NAN,
                            .noise_scale = (double)NAN,
                            .drawn = (double)NAN,
                            .val_drawn = (double)NAN}};
    if (n > sizeof key || line[n - 1] != '\n' || !rk_json_take(&s, '{'))
        return false;
    do {
        size_t n_key;
        if (!rk_json_string(&s, key, &n_key) || !rk_json_take(&s, ':'))
            return false;
        while (*s.p == ' ')
            s.p++;
        const unsigned char *value = s.p;
        if (!rk_json_skip(&s, 2))
            return false;
        take_member(l, drawn, key, n_key, value);
    } while (rk_json_peek_take(&s, ','));
    return rk_json_take(&s, '}') && rk_json_at_end(&s) && l->has_step;
}

bool rk_runlog_read_bytes(const void *bytes, size_t n_bytes, const char *drawn, rk_log_entry_fn *fn,
                          void *user)
{
    const char *p = bytes, *end = p + n_bytes, *line;
    size_t n;
    bool go_on = true;
    while (go_on && next_line(&p, end, &line, &n)) {
        parsed l;
        if (parse_line(line, n, drawn, &l) && l.has_loss)
            go_on = fn(user, &l.entry);
    }
    return go_on;
}

rk_status rk_runlog_read(const char *dir, const char *drawn, rk_log_entry_fn *fn, void *user,
                         rk_error *err)
{
    rk_buf path = {0};
    rk_map map = {0};
    rk_status st = log_path(&path, dir, err);
    if (st == RK_OK && has_bytes(path.data)) {
        st = rk_map_open(&map, path.data, err);
        if (st == RK_OK && !rk_runlog_read_bytes(map.data, map.size, drawn, fn, user))
            st = rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", path.data);
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
        parsed l;
        if (parse_line(line, n, "", &l) && l.entry.step <= last)
            rk_out_write(out, line, n);
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

static void put_metrics(rk_buf *b, const rk_log_entry *e, const char *prefix, const double *values)
{
    char key[64];
    for (int i = 0; i < e->n_metrics; i++) {
        snprintf(key, sizeof key, "%s%s", prefix, e->names[i]);
        rk_json_num(b, key, values[i]);
    }
}

rk_status rk_runlog_step(rk_runlog *l, const rk_log_entry *e, rk_error *err)
{
    rk_buf *b = &l->line;
    rk_buf_clear(b);
    rk_json_begin(b);
    rk_json_int(b, "step", e->step);
    rk_json_int(b, "tokens", e->tokens);
    if (e->step > 0) {
        rk_json_num(b, "loss", e->loss);
        put_metrics(b, e, "", e->metrics);
    }
    if (!isnan(e->val_loss)) {
        rk_json_num(b, "val_loss", e->val_loss);
        put_metrics(b, e, "val_", e->val_metrics);
    }
    if (!isnan(e->ema_val_loss))
        rk_json_num(b, "ema_val_loss", e->ema_val_loss);
    if (e->step == 0)
        return append(l, err);
    rk_json_num(b, "lr", e->lr);
    rk_json_num(b, "grad_norm", e->grad_norm);
    if (!isnan(e->noise_scale))
        rk_json_num(b, "noise_scale", e->noise_scale);
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
