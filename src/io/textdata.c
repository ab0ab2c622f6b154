/* textdata.c: documents point into the mapped .txt files and into one block of decoded text for
 * each .jsonl file, which is no larger than the file. A .jsonl file is read with a scanner and not
 * into a tree, so a line costs no memory beyond its text. */
#include "io/textdata.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "io/json_scan.h"
#include "io/map.h"
#include "io/text_mark.h"

enum {
    LINE_BYTES_MAX = 256 * 1024 * 1024,
    DEPTH_MAX = 64, /* of the values that are passed over */
};

typedef struct source {
    rk_map map;
    size_t mark; /* bytes of a byte order mark in front */
    char *texts; /* decoded from .jsonl */
    size_t texts_used;
} source;

struct rk_textdata {
    source *sources;
    int64_t n_sources;
    rk_document *docs;
    size_t n_docs, n_docs_max;
    size_t n_bytes;
};

/* One line of a .jsonl file while it is read. */
typedef struct line {
    const char *file;
    int64_t number; /* from 1 */
    const unsigned char *begin;
    rk_json_scan scan;
} line;

static rk_status add_document(rk_textdata *d, const char *name, const char *text, size_t n,
                              rk_error *err)
{
    if (d->n_docs == d->n_docs_max) {
        const size_t max = d->n_docs_max ? 2 * d->n_docs_max : 16;
        rk_document *grown = realloc(d->docs, max * sizeof *grown);
        if (!grown)
            return rk_fail(err, RK_ERR_NOMEM, "%s: no memory for %zu documents", name, max);
        d->docs = grown;
        d->n_docs_max = max;
    }
    d->docs[d->n_docs++] = (rk_document){text, n};
    d->n_bytes += n;
    return RK_OK;
}

static rk_status fail_line(const line *l, rk_error *err)
{
    const long column = (long)(l->scan.p - l->begin) + 1;
    return rk_fail(err, RK_ERR_FORMAT, "%s: line %" PRId64 ", byte %ld: expected %s", l->file,
                   l->number, column, l->scan.expected);
}

/* A member of the line's object: its key is read into room and, for "text", replaced by the value.
 */
static rk_status read_member(line *l, char *room, size_t *text_bytes, bool *seen, rk_error *err)
{
    size_t n;
    char key[8];
    const rk_json_scan at_key = l->scan;
    if (!rk_json_string(&l->scan, NULL, &n))
        return fail_line(l, err);
    bool is_text = n == strlen("text");
    if (is_text) {
        l->scan = at_key;
        rk_json_string(&l->scan, key, &n);
        is_text = memcmp(key, "text", n) == 0;
    }
    if (!rk_json_take(&l->scan, ':'))
        return fail_line(l, err);
    if (is_text && *seen)
        return rk_fail(err, RK_ERR_FORMAT, "%s: line %" PRId64 ": 'text' occurs twice", l->file,
                       l->number);
    *seen = *seen || is_text;
    const bool ok =
        is_text ? rk_json_string(&l->scan, room, text_bytes) : rk_json_skip(&l->scan, DEPTH_MAX);
    return ok ? RK_OK : fail_line(l, err);
}

/* The line's object; its text goes to room, which has as many bytes as the line. */
static rk_status read_object(line *l, char *room, size_t *text_bytes, rk_error *err)
{
    bool seen = false;
    if (!rk_json_take(&l->scan, '{'))
        return fail_line(l, err);
    if (!rk_json_peek_take(&l->scan, '}')) {
        do {
            const rk_status st = read_member(l, room, text_bytes, &seen, err);
            if (st != RK_OK)
                return st;
        } while (rk_json_peek_take(&l->scan, ','));
        if (!rk_json_take(&l->scan, '}'))
            return fail_line(l, err);
    }
    if (!rk_json_at_end(&l->scan))
        return fail_line(l, err);
    if (!seen)
        return rk_fail(err, RK_ERR_FORMAT, "%s: line %" PRId64 ": expected a member 'text'",
                       l->file, l->number);
    return RK_OK;
}

static rk_status read_line(rk_textdata *d, source *s, line *l, rk_error *err)
{
    size_t n = 0;
    char *room = s->texts + s->texts_used;
    if (l->scan.end - l->scan.p > LINE_BYTES_MAX)
        return rk_fail(err, RK_ERR_FORMAT, "%s: line %" PRId64 " is longer than %d bytes", l->file,
                       l->number, LINE_BYTES_MAX);
    if (rk_json_at_end(&l->scan))
        return RK_OK;
    const rk_status st = read_object(l, room, &n, err);
    if (st != RK_OK)
        return st;
    s->texts_used += n;
    return add_document(d, l->file, room, n, err);
}

static rk_status read_jsonl(rk_textdata *d, source *s, rk_error *err)
{
    const unsigned char *p = s->map.data + s->mark, *const end = s->map.data + s->map.size;
    s->texts = malloc(s->map.size);
    if (!s->texts)
        return rk_fail(err, RK_ERR_NOMEM, "%s: no memory for its %zu bytes", s->map.name,
                       s->map.size);
    for (int64_t number = 1; p < end; number++) {
        const unsigned char *newline = memchr(p, '\n', (size_t)(end - p));
        const unsigned char *stop = newline ? newline : end;
        line l = {s->map.name, number, p, {.p = p, .end = stop}};
        const rk_status st = read_line(d, s, &l, err);
        if (st != RK_OK)
            return st;
        p = newline ? newline + 1 : end;
    }
    return RK_OK;
}

static rk_status read_txt(rk_textdata *d, source *s, rk_error *err)
{
    return add_document(d, s->map.name, (const char *)s->map.data + s->mark, s->map.size - s->mark,
                        err);
}

typedef rk_status read_fn(rk_textdata *d, source *s, rk_error *err);

/* By the name's ending; NULL for others. */
static read_fn *reader_of(const char *name)
{
    static const struct {
        const char *ending;
        read_fn *read;
    } kinds[] = {{".txt", read_txt}, {".jsonl", read_jsonl}};
    const size_t n = strlen(name);
    for (size_t i = 0; i < RK_COUNT(kinds); i++) {
        const size_t m = strlen(kinds[i].ending);
        if (n > m && strcmp(name + n - m, kinds[i].ending) == 0)
            return kinds[i].read;
    }
    return NULL;
}

/* data NULL: map the file. */
static rk_status read_source(rk_textdata *d, const char *name, const void *data, size_t bytes,
                             rk_error *err)
{
    source *s = &d->sources[d->n_sources];
    read_fn *read = reader_of(name);
    if (!read)
        return rk_fail(err, RK_ERR_ARG, "%s: expected a name that ends in .txt or .jsonl", name);
    const rk_status st =
        data ? rk_map_memory(&s->map, data, bytes, name, err) : rk_map_open(&s->map, name, err);
    if (st != RK_OK)
        return st;
    d->n_sources++;
    const rk_status begun = rk_text_begin(s->map.data, s->map.size, name, &s->mark, err);
    return begun == RK_OK ? read(d, s, err) : begun;
}

static rk_textdata *textdata_new(int64_t n_sources)
{
    rk_textdata *d = calloc(1, sizeof *d);
    if (d)
        d->sources = calloc((size_t)n_sources, sizeof *d->sources);
    if (d && !d->sources) {
        free(d);
        return NULL;
    }
    return d;
}

/* data NULL: paths of files; otherwise the bytes of one. */
static rk_status open_all(rk_textdata **out, const char *const *names, int64_t n, const void *data,
                          size_t bytes, rk_error *err)
{
    if (n < 1)
        return rk_fail(err, RK_ERR_ARG, "no text files were given");
    rk_textdata *d = textdata_new(n);
    if (!d)
        return rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", names[0]);
    rk_status st = RK_OK;
    for (int64_t i = 0; i < n && st == RK_OK; i++)
        st = read_source(d, names[i], data, bytes, err);
    if (st == RK_OK && d->n_docs == 0)
        st = rk_fail(err, RK_ERR_FORMAT, "%s: holds no document", names[0]);
    if (st == RK_OK)
        *out = d;
    else
        rk_textdata_close(d);
    return st;
}

rk_status rk_textdata_open(rk_textdata **out, const char *const *paths, int64_t n_paths,
                           rk_error *err)
{
    return open_all(out, paths, n_paths, NULL, 0, err);
}

rk_status rk_textdata_open_memory(rk_textdata **out, const void *data, size_t bytes,
                                  const char *name, rk_error *err)
{
    if (bytes == 0)
        return rk_fail(err, RK_ERR_FORMAT, "%s: no bytes", name);
    return open_all(out, &name, 1, data, bytes, err);
}

void rk_textdata_close(rk_textdata *d)
{
    if (!d)
        return;
    for (int64_t i = 0; i < d->n_sources; i++) {
        rk_map_close(&d->sources[i].map);
        free(d->sources[i].texts);
    }
    free(d->sources);
    free(d->docs);
    free(d);
}

int64_t rk_textdata_count(const rk_textdata *d)
{
    return (int64_t)d->n_docs;
}

rk_document rk_textdata_at(const rk_textdata *d, int64_t i)
{
    return d->docs[i];
}

size_t rk_textdata_bytes(const rk_textdata *d)
{
    return d->n_bytes;
}

rk_status rk_textdata_check(const rk_textdata *d, rk_error *err)
{
    rk_status st = RK_OK;
    for (int64_t i = 0; i < d->n_sources && st == RK_OK; i++)
        st = rk_map_check(&d->sources[i].map, err);
    return st;
}
