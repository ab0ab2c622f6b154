/* run_state.c: state.json. The file is one JSON object whose last member is the checksum of every
 * byte before that member, so it is written behind the finished text and checked before parsing:
 *     {"format":1, ... ,"checksum":"0123456789abcdef"}
 * Numbers that must come back to the bit (options) and 64-bit checksums are strings. */
#include "train/run_state.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "io/checksum.h"
#include "io/map.h"

#define STATE_NAME "state.json"
#define TAIL_FORMAT ",\"checksum\":\"%016" PRIx64 "\"}\n"

enum { FORMAT = 1, TAIL_BYTES = 32 };

static const char *const file_names[RK_SAVED_COUNT] = {RK_SAVED_MODEL, RK_SAVED_OPTIM};

/* ------------------------------------------------------------------------------------- writing */

static json_t *options_json(const rk_run_state *s)
{
    json_t *o = json_object();
    for (int64_t i = 0; i < s->n_options; i++)
        if (json_object_set_new(o, s->options[i].key, json_string(s->options[i].value)) != 0) {
            json_decref(o);
            return NULL;
        }
    return o;
}

static json_t *files_json(const rk_saved_file files[RK_SAVED_COUNT])
{
    json_t *o = json_object();
    for (int i = 0; i < RK_SAVED_COUNT; i++) {
        char sum[20];
        snprintf(sum, sizeof sum, "%016" PRIx64, files[i].checksum);
        json_t *f = json_pack("{s:I, s:s}", "bytes", (json_int_t)files[i].bytes, "xxh3", sum);
        if (json_object_set_new(o, file_names[i], f) != 0) {
            json_decref(o);
            return NULL;
        }
    }
    return o;
}

/* The whole text; false when memory is out. */
static bool state_text(const rk_run_state *s, const rk_saved_file files[RK_SAVED_COUNT], rk_buf *b)
{
    json_t *json = json_pack("{s:i, s:I, s:I, s:s, s:s, s:o, s:o}", "format", FORMAT, "step",
                             (json_int_t)s->step, "skipped_in_row", (json_int_t)s->skipped_in_row,
                             "version", rk_version(), "numerics", s->numerics, "options",
                             options_json(s), "files", files_json(files));
    char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
    if (!text)
        return false;
    rk_buf_add(b, text, strlen(text) - 1);
    free(text);
    if (!b->failed)
        rk_buf_printf(b, TAIL_FORMAT, rk_checksum_bytes(b->data, b->len));
    return !b->failed;
}

rk_status rk_run_state_write(const char *dir, const rk_run_state *s,
                             const rk_saved_file files[RK_SAVED_COUNT], rk_error *err)
{
    rk_buf path = {0}, text = {0};
    rk_out *out = NULL;
    rk_buf_printf(&path, "%s/" STATE_NAME, dir);
    rk_status st = RK_OK;
    if (path.failed || !state_text(s, files, &text))
        st = rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", dir);
    if (st == RK_OK)
        st = rk_out_open(&out, path.data, false, err);
    if (st == RK_OK) {
        rk_out_write(out, text.data, text.len);
        st = rk_out_commit(out, err);
    }
    rk_buf_deinit(&path);
    rk_buf_deinit(&text);
    return st;
}

/* ------------------------------------------------------------------------------------- reading */

static rk_status check_tail(const rk_map *m, rk_error *err)
{
    char tail[TAIL_BYTES + 1];
    if (m->size <= TAIL_BYTES)
        return rk_fail(err, RK_ERR_FORMAT, "%s: %zu bytes are too few", m->name, m->size);
    const size_t body = m->size - TAIL_BYTES;
    snprintf(tail, sizeof tail, TAIL_FORMAT, rk_checksum_bytes(m->data, body));
    if (memcmp(m->data + body, tail, TAIL_BYTES) != 0)
        return rk_fail(err, RK_ERR_FORMAT, "%s: it does not end with its own checksum", m->name);
    return RK_OK;
}

static bool read_checksum(const char *hex, uint64_t *out)
{
    char *end = NULL;
    *out = strtoull(hex, &end, 16);
    return *hex && !*end;
}

static rk_status read_members(rk_saved_state *s, const char *name, rk_error *err)
{
    int format = 0;
    json_int_t step = -1, skipped = 0;
    json_t *files = NULL, *options = NULL;
    if (json_unpack(s->json, "{s:i, s:I, s:I, s:s, s:o, s:o}", "format", &format, "step", &step,
                    "skipped_in_row", &skipped, "numerics", &s->numerics, "options", &options,
                    "files", &files) != 0 ||
        !json_is_object(options))
        return rk_fail(err, RK_ERR_FORMAT, "%s: is no state of a training run", name);
    if (format != FORMAT)
        return rk_fail(err, RK_ERR_UNSUPPORTED, "%s: format %d, expected %d", name, format, FORMAT);
    s->step = step;
    s->skipped_in_row = skipped;
    for (int i = 0; i < RK_SAVED_COUNT; i++) {
        json_int_t bytes = 0;
        const char *sum = "";
        if (json_unpack(files, "{s:{s:I, s:s}}", file_names[i], "bytes", &bytes, "xxh3", &sum) ||
            bytes < 0 || !read_checksum(sum, &s->files[i].checksum))
            return rk_fail(err, RK_ERR_FORMAT, "%s: says nothing about %s", name, file_names[i]);
        s->files[i].bytes = (uint64_t)bytes;
    }
    return RK_OK;
}

static rk_status read_map(rk_saved_state *s, const rk_map *m, rk_error *err)
{
    const rk_status st = check_tail(m, err);
    if (st != RK_OK)
        return st;
    json_error_t why;
    s->json = json_loadb((const char *)m->data, m->size, JSON_REJECT_DUPLICATES, &why);
    if (!s->json)
        return rk_fail(err, RK_ERR_FORMAT, "%s: line %d: %s", m->name, why.line, why.text);
    return read_members(s, m->name, err);
}

rk_status rk_saved_state_read(rk_saved_state **out, const char *dir, rk_error *err)
{
    rk_buf path = {0};
    rk_map map = {0};
    rk_saved_state *s = calloc(1, sizeof *s);
    rk_buf_printf(&path, "%s/" STATE_NAME, dir);
    rk_status st = s && !path.failed ? rk_map_open(&map, path.data, err)
                                     : rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", dir);
    if (st == RK_OK) {
        st = read_map(s, &map, err);
        rk_map_close(&map);
    }
    rk_buf_deinit(&path);
    if (st == RK_OK)
        *out = s;
    else
        rk_saved_state_free(s);
    return st;
}

void rk_saved_state_free(rk_saved_state *s)
{
    if (!s)
        return;
    json_decref(s->json);
    free(s);
}

const char *rk_saved_state_option(const rk_saved_state *s, const char *name)
{
    return json_string_value(json_object_get(json_object_get(s->json, "options"), name));
}
