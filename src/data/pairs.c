/* pairs.c: a line becomes two lines of question and answer, which are read as all such lines are. */
#include "data/pairs.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/num.h"
#include "data/bits.h"
#include "io/checksum.h"
#include "io/json_line.h"
#include "io/json_scan.h"

enum { DEPTH_MAX = 64 };

/* The members that are looked for, where they lie in the line: with their quotes or brackets. */
enum { SYSTEM, PROMPT, CHOSEN, REJECTED, MEMBERS };
static const char *const names[MEMBERS] = {"system", "prompt", "chosen", "rejected"};

typedef struct span {
    const unsigned char *at; /* NULL: the line has none */
    size_t bytes;
} span;

typedef struct reading {
    const char *file;
    int64_t number; /* of the line */
    int64_t n;      /* pairs so far */
    char *text;     /* room for any string of the file */
    rk_buf out;
} reading;

static int member_named(const char *name, size_t n)
{
    for (int m = 0; m < MEMBERS; m++)
        if (strlen(names[m]) == n && !memcmp(names[m], name, n))
            return m;
    return -1;
}

static bool take_members(reading *r, rk_json_scan *s, span *found)
{
    size_t n = 0;
    if (!rk_json_take(s, '{'))
        return false;
    if (rk_json_peek_take(s, '}'))
        return rk_json_at_end(s);
    do {
        if (!rk_json_string(s, r->text, &n) || !rk_json_take(s, ':'))
            return false;
        const int m = member_named(r->text, n);
        while (s->p < s->end && strchr(" \t\r", *s->p))
            s->p++;
        const unsigned char *const begin = s->p;
        const bool list = m >= 0 && m != SYSTEM && s->p < s->end && *s->p == '[';
        if (m < 0 || list ? !rk_json_skip(s, DEPTH_MAX) : !rk_json_string(s, NULL, &n))
            return false;
        if (m >= 0)
            found[m] = (span){begin, (size_t)(s->p - begin)};
    } while (rk_json_peek_take(s, ','));
    return rk_json_take(s, '}') && rk_json_at_end(s);
}

static bool is_list(span x)
{
    return x.at && *x.at == '[';
}

/* What stands between the brackets of a list. */
static span inside(span list)
{
    return (span){list.at + 1, list.bytes - 2};
}

/* Elements of a list that has been read before. */
static int64_t length(span list)
{
    rk_json_scan s = {list.at, list.at + list.bytes, NULL};
    int64_t n = 0;
    rk_json_take(&s, '[');
    if (rk_json_peek_take(&s, ']'))
        return 0;
    do
        n++;
    while (rk_json_skip(&s, DEPTH_MAX) && rk_json_peek_take(&s, ','));
    return n;
}

static void put_key(rk_buf *b, const char *key)
{
    rk_buf_printf(b, "%s\"%s\":", b->len && b->data[b->len - 1] != '\n' ? "," : "{", key);
}

static void put_member(rk_buf *b, const char *key, span value)
{
    put_key(b, key);
    rk_buf_add(b, value.at, value.bytes);
}

/* The messages of a list, or a text as the message of a role, behind those that are there. */
static void put_messages(rk_buf *b, const char *role, span x)
{
    if (!x.at || (is_list(x) && length(x) == 0))
        return;
    if (b->len && b->data[b->len - 1] != '[')
        rk_buf_puts(b, ",");
    if (is_list(x)) {
        rk_buf_add(b, inside(x).at, inside(x).bytes);
        return;
    }
    rk_buf_printf(b, "{\"role\":\"%s\",\"content\":", role);
    rk_buf_add(b, x.at, x.bytes);
    rk_buf_puts(b, "}");
}

/* An answer that is a list of several messages begins with the prompt. */
static bool is_whole(span answer)
{
    return is_list(answer) && length(answer) > 1;
}

static void put_conversation(rk_buf *b, const span *found, span answer)
{
    put_key(b, "messages");
    rk_buf_puts(b, "[");
    put_messages(b, "system", found[SYSTEM]);
    if (!is_whole(answer))
        put_messages(b, "user", found[PROMPT]);
    put_messages(b, "assistant", answer);
    rk_buf_puts(b, "]}\n");
}

static void put_texts(rk_buf *b, const span *found, span answer)
{
    if (found[SYSTEM].at)
        put_member(b, "system", found[SYSTEM]);
    put_member(b, "prompt", found[PROMPT]);
    put_member(b, "response", answer);
    rk_buf_puts(b, "}\n");
}

static rk_status check_members(const reading *r, const span *found, rk_error *err)
{
    for (int m = CHOSEN; m < MEMBERS; m++)
        if (is_list(found[m]) && length(found[m]) == 0)
            return rk_fail(err, RK_ERR_FORMAT, "%s: line %" PRId64 ": \"%s\" has no message",
                           r->file, r->number, names[m]);
    const bool whole = is_whole(found[CHOSEN]) && is_whole(found[REJECTED]);
    for (int m = whole ? CHOSEN : PROMPT; m < MEMBERS; m++)
        if (!found[m].at)
            return rk_fail(err, RK_ERR_FORMAT,
                           "%s: line %" PRId64
                           ": no \"%s\", expected \"prompt\", \"chosen\" and \"rejected\"",
                           r->file, r->number, names[m]);
    if (found[CHOSEN].bytes == found[REJECTED].bytes &&
        !memcmp(found[CHOSEN].at, found[REJECTED].at, found[CHOSEN].bytes))
        return rk_fail(err, RK_ERR_FORMAT,
                       "%s: line %" PRId64 ": what is chosen is what is rejected", r->file,
                       r->number);
    return RK_OK;
}

static rk_status read_line(reading *r, const unsigned char *line, size_t bytes, rk_error *err)
{
    rk_json_scan s = {line, line + bytes, NULL};
    span found[MEMBERS] = {{NULL, 0}};
    if (rk_json_at_end(&s)) {
        rk_buf_puts(&r->out, "\n\n"); /* so that lines keep their numbers */
        return RK_OK;
    }
    s = (rk_json_scan){line, line + bytes, NULL};
    if (!take_members(r, &s, found))
        return rk_fail(err, RK_ERR_FORMAT, "%s: line %" PRId64 ", byte %zu: expected %s", r->file,
                       r->number, (size_t)(s.p - line), s.expected ? s.expected : "JSON");
    const rk_status st = check_members(r, found, err);
    const bool texts =
        !is_list(found[PROMPT]) && !is_list(found[CHOSEN]) && !is_list(found[REJECTED]);
    for (int m = CHOSEN; m < MEMBERS && st == RK_OK; m++)
        (texts ? put_texts : put_conversation)(&r->out, found, found[m]);
    r->n += st == RK_OK;
    return st;
}

/* The file's pairs as lines of question and answer. */
static rk_status read_lines(reading *r, const rk_text_file *f, rk_error *err)
{
    const unsigned char *at = f->map.data + f->begin, *const end = f->map.data + f->map.size;
    rk_status st = RK_OK;
    for (; at < end && st == RK_OK; r->number++) {
        const unsigned char *const stop = memchr(at, '\n', (size_t)(end - at));
        const size_t n = (size_t)((stop ? stop : end) - at);
        st = read_line(r, at, n, err);
        at += n + (stop != NULL);
    }
    if (st == RK_OK && r->out.failed)
        st = rk_fail(err, RK_ERR_NOMEM, "%s: out of memory for its lines", r->file);
    if (st == RK_OK && r->n == 0)
        st = rk_fail(err, RK_ERR_FORMAT, "%s: holds no pair of answers", r->file);
    return st;
}

static rk_status encode(rk_pairs *p, const rk_buf *lines, const char *path, const rk_text_how *how,
                        rk_error *err)
{
    rk_text_file f;
    rk_text_how two = *how;
    two.pairs = true;
    rk_status st = rk_text_file_open_memory(&f, lines->data, lines->len, path, err);
    if (st != RK_OK)
        return st;
    st = rk_text_file_encode(&f, &two, &p->list, err);
    rk_text_file_close(&f);
    return st;
}

static rk_status read_text(rk_pairs *p, const rk_text_file *f, const char *name,
                           const rk_text_how *how, rk_error *err)
{
    reading r = {.file = name, .number = 1, .text = malloc(f->map.size + 1)};
    rk_status st =
        r.text ? read_lines(&r, f, err) : rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", name);
    if (st == RK_OK)
        st = encode(p, &r.out, name, how, err);
    rk_buf_deinit(&r.out);
    free(r.text);
    return st;
}

static rk_status check_name(const char *path, rk_error *err)
{
    static const char ending[] = ".jsonl";
    const size_t n = strlen(path), e = sizeof ending - 1;
    return n >= e && !strcmp(path + n - e, ending)
               ? RK_OK
               : rk_fail(err, RK_ERR_ARG,
                         "%s: pairs of answers are read from a file whose name ends in .jsonl",
                         path);
}

static rk_status read_file(rk_pairs *p, const char *path, const rk_text_how *how, rk_error *err)
{
    rk_text_file f;
    rk_status st = check_name(path, err);
    if (st == RK_OK)
        st = rk_text_file_open(&f, path, err);
    if (st != RK_OK)
        return st;
    st = read_text(p, &f, path, how, err);
    rk_text_file_close(&f);
    return st;
}

static int64_t begin_of(const rk_pairs *p, int64_t doc)
{
    return doc > 0 ? p->list.ends[doc - 1] : 0;
}

/* Has each answer a token that something stands before? */
static rk_status check_answers(const rk_pairs *p, const char *path, rk_error *err)
{
    for (int64_t d = 0; d < p->list.n_docs; d++) {
        bool any = false;
        for (int64_t i = begin_of(p, d) + 1; i < p->list.ends[d] && !any; i++)
            any = rk_bits_at(p->list.counts, i);
        if (!any)
            return rk_fail(err, RK_ERR_FORMAT, "%s: pair %" PRId64 ": \"%s\" is empty", path,
                           d / RK_PAIR_ANSWERS + 1, names[CHOSEN + d % RK_PAIR_ANSWERS]);
    }
    return RK_OK;
}

static rk_status add_checksum(rk_pairs *p, rk_error *err)
{
    const rk_token_list *l = &p->list;
    rk_checksum *c = rk_checksum_new();
    if (!c)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for a checksum");
    rk_checksum_add(c, l->ids, (size_t)l->n * rk_id_kinds[l->type].bytes);
    rk_checksum_add(c, l->ends, (size_t)l->n_docs * sizeof *l->ends);
    for (int64_t i = 0; i < l->n; i++) {
        const unsigned char bit = rk_bits_at(l->counts, i);
        rk_checksum_add(c, &bit, 1);
    }
    p->checksum = rk_checksum_value(c);
    rk_checksum_free(c);
    return RK_OK;
}

static void begin(rk_pairs *p)
{
    *p = (rk_pairs){.n = 0};
    rk_token_list_init(&p->list, RK_ID_I32);
}

/* After the last file, whose name is this. */
static rk_status finish(rk_pairs *p, const char *name, rk_status st, rk_error *err)
{
    p->n = p->list.n_docs / RK_PAIR_ANSWERS;
    if (st == RK_OK)
        st = check_answers(p, name, err);
    if (st == RK_OK)
        st = add_checksum(p, err);
    if (st != RK_OK)
        rk_pairs_deinit(p);
    return st;
}

rk_status rk_pairs_read(rk_pairs *p, const char *const *paths, int n_paths, const rk_text_how *how,
                        rk_error *err)
{
    rk_status st = RK_OK;
    begin(p);
    for (int i = 0; i < n_paths && st == RK_OK; i++)
        st = read_file(p, paths[i], how, err);
    return finish(p, paths[n_paths - 1], st, err);
}

rk_status rk_pairs_read_memory(rk_pairs *p, const void *data, size_t bytes, const char *name,
                               const rk_text_how *how, rk_error *err)
{
    rk_text_file f;
    begin(p);
    rk_status st = rk_text_file_open_memory(&f, data, bytes, name, err);
    if (st == RK_OK) {
        st = read_text(p, &f, name, how, err);
        rk_text_file_close(&f);
    }
    return finish(p, name, st, err);
}

void rk_pairs_deinit(rk_pairs *p)
{
    rk_token_list_deinit(&p->list);
    *p = (rk_pairs){.n = 0};
}

/* Tokens before the first that counts. */
static int64_t prompt_of(const rk_pairs *p, int64_t doc)
{
    int64_t i = begin_of(p, doc);
    while (i < p->list.ends[doc] && !rk_bits_at(p->list.counts, i))
        i++;
    return i - begin_of(p, doc);
}

static void put_row(const rk_pairs *p, int64_t doc, int64_t skip, int64_t n, int32_t *ids,
                    int32_t *targets)
{
    const int64_t first = begin_of(p, doc) + skip, left = p->list.ends[doc] - first;
    for (int64_t i = 0; i < n; i++) {
        ids[i] = i < left ? (int32_t)rk_ids_at(p->list.type, p->list.ids, first + i) : 0;
        targets[i] = i + 1 < left && rk_bits_at(p->list.counts, first + i + 1)
                         ? (int32_t)rk_ids_at(p->list.type, p->list.ids, first + i + 1)
                         : -1;
    }
}

void rk_pairs_get(const rk_pairs *p, int64_t i, int64_t n, int32_t *ids, int32_t *targets)
{
    const int64_t doc = RK_PAIR_ANSWERS * i;
    int64_t skip = 0, prompt = INT64_MAX;
    for (int64_t d = doc; d < doc + RK_PAIR_ANSWERS; d++) {
        skip = rk_max_i64(skip, p->list.ends[d] - begin_of(p, d) - (n + 1));
        prompt = rk_min_i64(prompt, prompt_of(p, d));
    }
    skip = rk_min_i64(skip, rk_max_i64(prompt - 1, 0)); /* something stands before an answer */
    for (int64_t a = 0; a < RK_PAIR_ANSWERS; a++)
        put_row(p, doc + a, skip, n, ids + a * n, targets + a * n);
}
