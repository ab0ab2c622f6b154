/* packed.c: NAME.json, written line by line and read with a scanner. */
#include "data/packed.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/num.h"
#include "base/str.h"
#include "io/checksum.h"
#include "io/json_line.h"
#include "io/json_scan.h"
#include "io/map.h"

#define FORMAT "rwkv-packed"
enum { DEPTH_MAX = 64, SUM_DIGITS = 16 };

char *rk_packed_sister(const char *path, const char *ending)
{
    const int n = (int)(strlen(path) - (rk_ends_with(path, ".bin") ? strlen(".bin") : 0));
    const size_t bytes = (size_t)n + strlen(ending) + 1;
    char *sister = malloc(bytes);
    if (sister)
        snprintf(sister, bytes, "%.*s%s", n, path, ending);
    return sister;
}

rk_status rk_packed_tokenizer_checksum(const rk_tokenizer *t, uint64_t *sum, rk_error *err)
{
    rk_checksum *c = rk_checksum_new();
    if (!c)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for a checksum of the vocabulary");
    for (int32_t id = 0; id < rk_tokenizer_n_vocab(t); id++) {
        size_t n;
        const char *bytes = rk_tokenizer_bytes(t, id, &n);
        const uint64_t head[2] = {(uint64_t)id, n};
        if (n > 0) {
            rk_checksum_add(c, head, sizeof head);
            rk_checksum_add(c, bytes, n);
        }
    }
    *sum = rk_checksum_value(c);
    rk_checksum_free(c);
    return RK_OK;
}

uint64_t rk_packed_checksum(const rk_packed_about *a)
{
    const uint64_t sums[3] = {
        rk_checksum_bytes(a->bin.at, (size_t)a->bin.n * sizeof *a->bin.at),
        rk_checksum_bytes(a->idx.at, (size_t)a->idx.n * sizeof *a->idx.at),
        rk_checksum_bytes(a->mask.at, (size_t)a->mask.n * sizeof *a->mask.at)};
    return rk_checksum_bytes(sums, sizeof sums);
}

bool rk_piece_sums_add(rk_piece_sums *s, uint64_t sum)
{
    if (s->n == s->max) {
        const int64_t max = rk_max_i64(16, 2 * s->max);
        uint64_t *at = realloc(s->at, (size_t)max * sizeof *at);
        if (!at)
            return false;
        s->at = at;
        s->max = max;
    }
    s->at[s->n++] = sum;
    return true;
}

void rk_packed_about_deinit(rk_packed_about *a)
{
    free(a->bin.at);
    free(a->idx.at);
    free(a->mask.at);
    *a = (rk_packed_about){0};
}

/* ---- writing ---- */

static void put_sums(rk_buf *out, const char *key, const rk_piece_sums *s)
{
    rk_buf_printf(out, ",\n \"%s\": [", key);
    for (int64_t i = 0; i < s->n; i++)
        rk_buf_printf(out, "%s\"%016" PRIx64 "\"", i ? ", " : "", s->at[i]);
    rk_buf_puts(out, "]");
}

void rk_packed_about_put(rk_buf *out, const rk_packed_about *a)
{
    rk_buf_puts(out, "{\"format\": \"" FORMAT "\", \"version\": 1,\n \"tokenizer\": ");
    rk_json_quote(out, a->tokenizer, strlen(a->tokenizer));
    if (*a->task) {
        rk_buf_puts(out, ", \"task\": ");
        rk_json_quote(out, a->task, strlen(a->task));
    }
    rk_buf_printf(out, ", \"tokenizer_checksum\": \"%016" PRIx64 "\", \"n_vocab\": %" PRId64 ",\n",
                  a->tokenizer_checksum, a->n_vocab);
    rk_buf_printf(out,
                  " \"dtype\": \"%s\", \"documents\": %" PRId64 ", \"tokens\": %" PRId64
                  ", \"counted\": %" PRId64 ",\n \"piece_bytes\": %d",
                  rk_id_kinds[a->type].name, a->n_docs, a->n_tokens, a->n_counted, RK_PACKED_PIECE);
    put_sums(out, "bin", &a->bin);
    put_sums(out, "idx", &a->idx);
    put_sums(out, "mask", &a->mask);
    rk_buf_puts(out, "}\n");
}

/* ---- reading ---- */

typedef struct reading {
    const char *name;
    const unsigned char *begin;
    rk_json_scan scan;
    rk_packed_about *about;
    bool ours;
} reading;

static bool expect(reading *r, const char *expected)
{
    r->scan.expected = expected;
    return false;
}

/* A string of fewer than max bytes, with a NUL. */
static bool take_text(reading *r, char *out, size_t max)
{
    size_t n;
    const rk_json_scan begin = r->scan;
    if (!rk_json_string(&r->scan, NULL, &n))
        return false;
    const rk_json_scan after = r->scan;
    r->scan = begin;
    if (n >= max)
        return expect(r, "a shorter string");
    rk_json_string(&r->scan, out, &n);
    out[n] = '\0';
    r->scan = after;
    return true;
}

static bool take_count(reading *r, int64_t *out)
{
    uint64_t x;
    if (!rk_json_uint(&r->scan, &x))
        return false;
    if (x > INT64_MAX)
        return expect(r, "a count below 2^63");
    *out = (int64_t)x;
    return true;
}

static bool take_sum(reading *r, uint64_t *out)
{
    char text[SUM_DIGITS + 1];
    const rk_json_scan begin = r->scan;
    if (!take_text(r, text, sizeof text))
        return false;
    if (strspn(text, "0123456789abcdef") == SUM_DIGITS) {
        *out = strtoull(text, NULL, 16);
        return true;
    }
    r->scan = begin;
    return expect(r, "a checksum of 16 hexadecimal digits");
}

static bool take_sums(reading *r, rk_piece_sums *s)
{
    s->n = 0;
    if (!rk_json_take(&r->scan, '['))
        return false;
    if (rk_json_peek_take(&r->scan, ']'))
        return true;
    do {
        uint64_t sum;
        if (!take_sum(r, &sum))
            return false;
        if (!rk_piece_sums_add(s, sum))
            return expect(r, "memory for the checksums");
    } while (rk_json_peek_take(&r->scan, ','));
    return rk_json_take(&r->scan, ']');
}

static bool take_type(reading *r)
{
    char name[8];
    if (!take_text(r, name, sizeof name))
        return false;
    for (int t = 0; t < RK_ID_TYPES; t++)
        if (!strcmp(name, rk_id_kinds[t].name)) {
            r->about->type = (rk_id_type)t;
            return true;
        }
    return expect(r, "a type of ids such as u16");
}

static bool take_format(reading *r)
{
    char name[32];
    if (!take_text(r, name, sizeof name))
        return false;
    r->ours = !strcmp(name, FORMAT);
    return true;
}

static bool take_version(reading *r)
{
    int64_t version;
    if (!take_count(r, &version))
        return false;
    return version == 1 || expect(r, "version 1");
}

static bool take_piece(reading *r)
{
    int64_t bytes;
    if (!take_count(r, &bytes))
        return false;
    return bytes == RK_PACKED_PIECE || expect(r, "pieces of 16777216 bytes");
}

static bool take_tokenizer(reading *r)
{
    return take_text(r, r->about->tokenizer, sizeof r->about->tokenizer);
}

static bool take_task(reading *r)
{
    return take_text(r, r->about->task, sizeof r->about->task);
}
static bool take_tokenizer_checksum(reading *r)
{
    return take_sum(r, &r->about->tokenizer_checksum);
}
static bool take_n_vocab(reading *r)
{
    return take_count(r, &r->about->n_vocab);
}
static bool take_documents(reading *r)
{
    return take_count(r, &r->about->n_docs);
}
static bool take_tokens(reading *r)
{
    return take_count(r, &r->about->n_tokens);
}
static bool take_counted(reading *r)
{
    return take_count(r, &r->about->n_counted);
}
static bool take_bin(reading *r)
{
    return take_sums(r, &r->about->bin);
}
static bool take_idx(reading *r)
{
    return take_sums(r, &r->about->idx);
}
static bool take_mask(reading *r)
{
    return take_sums(r, &r->about->mask);
}

static const struct {
    const char *key;
    bool (*take)(reading *r);
} members[] = {
    {"format", take_format},
    {"version", take_version},
    {"tokenizer", take_tokenizer},
    {"task", take_task},
    {"tokenizer_checksum", take_tokenizer_checksum},
    {"n_vocab", take_n_vocab},
    {"dtype", take_type},
    {"documents", take_documents},
    {"tokens", take_tokens},
    {"counted", take_counted},
    {"piece_bytes", take_piece},
    {"bin", take_bin},
    {"idx", take_idx},
    {"mask", take_mask},
};

static bool take_member(reading *r)
{
    char key[32];
    if (!take_text(r, key, sizeof key) || !rk_json_take(&r->scan, ':'))
        return false;
    for (size_t i = 0; i < RK_COUNT(members); i++)
        if (!strcmp(key, members[i].key))
            return members[i].take(r);
    return rk_json_skip(&r->scan, DEPTH_MAX);
}

/* The format comes first, so that the object of another program is known at once. */
static bool take_object(reading *r)
{
    if (!rk_json_take(&r->scan, '{'))
        return false;
    do {
        if (!take_member(r))
            return false;
        if (!r->ours)
            return true;
    } while (rk_json_peek_take(&r->scan, ','));
    return rk_json_take(&r->scan, '}') && rk_json_at_end(&r->scan);
}

rk_status rk_packed_about_parse(rk_packed_about *a, const void *text, size_t n, const char *name,
                                bool *found, rk_error *err)
{
    reading r = {.name = name,
                 .begin = text,
                 .scan = {.p = text, .end = (const unsigned char *)text + n},
                 .about = a};
    *a = (rk_packed_about){0};
    const bool whole = take_object(&r);
    *found = r.ours && whole;
    if (*found)
        return RK_OK;
    rk_packed_about_deinit(a);
    if (!r.ours)
        return RK_OK;
    return rk_fail(err, RK_ERR_FORMAT, "%s: byte %td: expected %s", name, r.scan.p - r.begin + 1,
                   r.scan.expected);
}

rk_status rk_packed_about_read(rk_packed_about *a, const char *path, bool *found, rk_error *err)
{
    rk_map map;
    *a = (rk_packed_about){0};
    *found = false;
    if (access(path, F_OK) != 0)
        return RK_OK;
    rk_status st = rk_map_open(&map, path, err);
    if (st != RK_OK)
        return st;
    st = rk_packed_about_parse(a, map.data, map.size, path, found, err);
    rk_map_close(&map);
    return st;
}
