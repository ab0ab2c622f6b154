/* run_state.c: state.json. The file is one flat JSON object whose last member is the checksum of
 * every byte before that member, so it is written behind the finished text and checked before
 * parsing:
 *     {"format": 1, "step": 200, ... "--lr": "0.001", "checksum": "0123456789abcdef"}
 * Values that must come back to the bit (options, 64-bit checksums) are strings. It is read with a
 * scanner and not into a tree of jansson's, which does not survive an allocation that fails. */
#include "train/run_state.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/checksum.h"
#include "io/json_line.h"
#include "io/json_scan.h"
#include "io/map.h"

#define STATE_NAME "state.json"
#define TAIL_FORMAT ", \"checksum\": \"%016" PRIx64 "\"}\n"

enum { FORMAT = 1, TAIL_BYTES = 34 };

static const char *const bytes_keys[RK_SAVED_COUNT] = {RK_SAVED_MODEL " bytes",
                                                       RK_SAVED_OPTIM " bytes"};
static const char *const sum_keys[RK_SAVED_COUNT] = {RK_SAVED_MODEL " xxh3",
                                                     RK_SAVED_OPTIM " xxh3"};

/* ------------------------------------------------------------------------------------- writing */

/* A number that comes back to the bit. */
static void put_real(rk_buf *b, const char *key, double x)
{
    char text[32];
    snprintf(text, sizeof text, "%.17g", x);
    rk_json_str(b, key, text);
}

static void put_state(const rk_run_state *s, const rk_saved_file files[RK_SAVED_COUNT], rk_buf *b)
{
    char text[64];
    rk_json_begin(b);
    rk_json_int(b, "format", FORMAT);
    rk_json_int(b, "step", s->step);
    rk_json_int(b, "tokens", s->tokens);
    rk_json_int(b, "skipped_in_row", s->skipped_in_row);
    put_real(b, "noise grad", s->noise.grad);
    put_real(b, "noise spread", s->noise.spread);
    rk_json_str(b, "version", rk_version());
    rk_json_str(b, "numerics", s->numerics);
    for (int i = 0; i < RK_SAVED_COUNT; i++) {
        snprintf(text, sizeof text, "%016" PRIx64, files[i].checksum);
        rk_json_int(b, bytes_keys[i], (int64_t)files[i].bytes);
        rk_json_str(b, sum_keys[i], text);
    }
    if (s->base) {
        snprintf(text, sizeof text, "%016" PRIx64, s->base_checksum);
        rk_json_str(b, "base", s->base);
        rk_json_str(b, "base xxh3", text);
    }
    for (int64_t i = 0; i < s->n_options; i++) {
        snprintf(text, sizeof text, "--%s", s->options[i].key);
        rk_json_str(b, text, s->options[i].value);
    }
    if (!b->failed)
        rk_buf_printf(b, TAIL_FORMAT, rk_checksum_bytes(b->data, b->len));
}

rk_status rk_run_state_write(const char *dir, const rk_run_state *s,
                             const rk_saved_file files[RK_SAVED_COUNT], rk_error *err)
{
    rk_buf path = {0}, text = {0};
    rk_out *out = NULL;
    rk_buf_printf(&path, "%s/" STATE_NAME, dir);
    put_state(s, files, &text);
    rk_status st = path.failed || text.failed ? rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", dir)
                                              : rk_out_open(&out, path.data, false, err);
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

/* One string at *text, which is moved behind it and its NUL. A decoded string is shorter than its
 * source by two quotes, so there is room for both. */
static bool take_string(rk_json_scan *s, char **text, const char **out)
{
    size_t n;
    if (!rk_json_string(s, *text, &n))
        return false;
    *out = *text;
    (*text)[n] = '\0';
    *text += n + 1;
    return true;
}

/* A string, or a number as it is written. */
static bool take_value(rk_json_scan *s, char **text, const char **out)
{
    while (s->p < s->end && *s->p == ' ')
        s->p++;
    if (s->p < s->end && *s->p == '"')
        return take_string(s, text, out);
    const unsigned char *from = s->p;
    if (!rk_json_skip(s, 0))
        return false;
    const size_t n = (size_t)(s->p - from);
    memcpy(*text, from, n);
    *out = *text;
    (*text)[n] = '\0';
    *text += n + 1;
    return true;
}

static bool take_members(rk_saved_state *state, const rk_map *m)
{
    rk_json_scan s = {m->data, m->data + m->size, NULL};
    char *text = state->text;
    if (!rk_json_take(&s, '{'))
        return false;
    do {
        rk_pair *pair = &state->members[state->n_members];
        if (state->n_members == RK_SAVED_MEMBERS_MAX || !take_string(&s, &text, &pair->key) ||
            !rk_json_take(&s, ':') || !take_value(&s, &text, &pair->value))
            return false;
        state->n_members++;
    } while (rk_json_peek_take(&s, ','));
    return rk_json_take(&s, '}') && rk_json_at_end(&s);
}

static const char *find_member(const rk_saved_state *s, const char *key)
{
    for (int64_t i = 0; i < s->n_members; i++)
        if (!strcmp(s->members[i].key, key))
            return s->members[i].value;
    return NULL;
}

static bool get_number(const rk_saved_state *s, const char *key, int base, uint64_t *out)
{
    const char *text = find_member(s, key);
    char *end = NULL;
    if (!text || !*text)
        return false;
    *out = strtoull(text, &end, base);
    return !*end;
}

/* 0 where earlier versions did not say it. */
static double get_real(const rk_saved_state *s, const char *key)
{
    const char *text = find_member(s, key);
    return text ? strtod(text, NULL) : 0.0;
}

static bool get_members(rk_saved_state *s)
{
    uint64_t step, skipped, tokens;
    s->numerics = find_member(s, "numerics");
    if (!s->numerics || !get_number(s, "step", 10, &step) || step > INT64_MAX ||
        !get_number(s, "skipped_in_row", 10, &skipped) || skipped > INT64_MAX)
        return false;
    s->base = find_member(s, "base");
    if (s->base && !get_number(s, "base xxh3", 16, &s->base_checksum))
        return false;
    s->step = (int64_t)step;
    s->tokens = get_number(s, "tokens", 10, &tokens) && tokens <= INT64_MAX ? (int64_t)tokens : 0;
    s->skipped_in_row = (int64_t)skipped;
    s->noise = (rk_noise){get_real(s, "noise grad"), get_real(s, "noise spread")};
    for (int i = 0; i < RK_SAVED_COUNT; i++)
        if (!get_number(s, bytes_keys[i], 10, &s->files[i].bytes) ||
            !get_number(s, sum_keys[i], 16, &s->files[i].checksum))
            return false;
    return true;
}

static rk_status parse_map(rk_saved_state *s, const rk_map *m, rk_error *err)
{
    uint64_t format;
    s->text = malloc(m->size);
    if (!s->text)
        return rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", m->name);
    if (!take_members(s, m) || !get_number(s, "format", 10, &format))
        return rk_fail(err, RK_ERR_FORMAT, "%s: is no state of a training run", m->name);
    if (format != FORMAT)
        return rk_fail(err, RK_ERR_UNSUPPORTED, "%s: format %" PRIu64 ", expected %d", m->name,
                       format, FORMAT);
    if (!get_members(s))
        return rk_fail(err, RK_ERR_FORMAT, "%s: a member is missing", m->name);
    return RK_OK;
}

rk_status rk_saved_state_read_map(rk_saved_state **out, const rk_map *m, rk_error *err)
{
    rk_saved_state *s = calloc(1, sizeof *s);
    rk_status st =
        s ? check_tail(m, err) : rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", m->name);
    if (st == RK_OK)
        st = parse_map(s, m, err);
    if (st == RK_OK)
        *out = s;
    else
        rk_saved_state_free(s);
    return st;
}

rk_status rk_saved_state_read(rk_saved_state **out, const char *dir, rk_error *err)
{
    rk_buf path = {0};
    rk_map map = {0};
    rk_buf_printf(&path, "%s/" STATE_NAME, dir);
    rk_status st = path.failed ? rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", dir)
                               : rk_map_open(&map, path.data, err);
    if (st == RK_OK) {
        st = rk_saved_state_read_map(out, &map, err);
        rk_map_close(&map);
    }
    rk_buf_deinit(&path);
    return st;
}

void rk_saved_state_free(rk_saved_state *s)
{
    if (!s)
        return;
    free(s->text);
    free(s);
}

const char *rk_saved_state_option(const rk_saved_state *s, const char *name)
{
    char key[64];
    snprintf(key, sizeof key, "--%s", name);
    return find_member(s, key);
}
