/* about_text.c: the pages that lie beside a tokenizer.json.
 *
 * tokenizer_config.json names tokens by their text, or as an object with "content"; the other two by
 * their ids, eos_token_id also as a list: generation_config.json of Qwen2.5-Instruct has two. config.json
 * is asked last: of models that were tuned for talks it often has the base model's. */
#include "text/about_text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/num.h"
#include "io/map.h"
#include "io/path.h"
#include "text/json_object.h"

enum { PAGE_BYTES_MAX = 16 << 20 };

void rk_about_text_init(rk_about_text *a)
{
    *a = (rk_about_text){.bos = -1, .eos = -1, .end = -1};
}

void rk_about_text_deinit(rk_about_text *a)
{
    rk_buf_deinit(&a->chat_template);
}

bool rk_about_text_stops(const rk_about_text *a, int32_t id)
{
    bool found = false;
    for (int i = 0; i < a->n_stops; i++)
        found = found || a->stops[i] == id;
    return found;
}

void rk_about_text_stop(rk_about_text *a, int32_t id)
{
    if (id >= 0 && a->n_stops < RK_STOPS_MAX && !rk_about_text_stops(a, id))
        a->stops[a->n_stops++] = id;
}

/* Of DeepSeek-R1, cut where an "e" would belong to the escape before it. */
#define R1_END                                                                                     \
    "<\xef\xbd\x9c"                                                                                \
    "end\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>"

void rk_about_text_find_end(rk_about_text *a, const rk_bpe *b)
{
    static const char *const known[] = {"<|endoftext|>", "<|end_of_text|>", R1_END};
    a->end = a->eos;
    for (size_t i = 0; i < RK_COUNT(known); i++) {
        const int32_t id = rk_bpe_added(b, known[i], strlen(known[i]));
        if (id >= 0) {
            a->end = id;
            return;
        }
    }
}

/* ---- pages ---- */

typedef struct page {
    rk_json_in in;
    rk_about_text *about;
    const rk_bpe *bpe;
    int64_t n_ids;
} page;

static rk_status take_id(page *p, rk_json_scan *s, int32_t *id)
{
    uint64_t x = 0;
    if (!rk_json_uint(s, &x))
        return rk_json_syntax(&p->in, s);
    *id = (int32_t)x;
    return x < (uint64_t)p->n_ids
               ? RK_OK
               : RK_JSON_REFUSE(&p->in, RK_ERR_FORMAT,
                                "%s: it names the token %" PRIu64 ", the vocabulary has %" PRId64,
                                p->in.name, x, p->n_ids);
}

static rk_status take_stop(void *user, rk_json_scan *s)
{
    page *p = user;
    int32_t id = -1;
    const rk_status st = take_id(p, s, &id);
    if (st == RK_OK)
        rk_about_text_stop(p->about, id);
    return st;
}

/* A token by its text. One that is no added token is not meant to be found in a text: none. */
static rk_status take_token(page *p, rk_json_scan s, int32_t *id)
{
    static const char *const keys[] = {"content"};
    rk_json_members m = {.at = {s}};
    rk_status st = RK_OK;
    if (rk_json_begins(s, '{'))
        st = rk_json_find_members(&p->in, &s, "a token", keys, 1, &m);
    if (st == RK_OK && m.at[0].p)
        st = rk_json_take_string(&p->in, &m.at[0]);
    if (st == RK_OK && m.at[0].p)
        *id = rk_bpe_added(p->bpe, p->in.string, p->in.n);
    return st;
}

static rk_status take_template(page *p, rk_json_scan s)
{
    if (!rk_json_begins(s, '"') || p->about->chat_template.len > 0)
        return RK_OK; /* a list of several is for tools and the like: the first would be a guess */
    const rk_status st = rk_json_take_string(&p->in, &s);
    if (st == RK_OK)
        rk_buf_add(&p->about->chat_template, p->in.string, p->in.n);
    return st;
}

static bool is_said(rk_json_scan s)
{
    return s.p && !rk_json_value_is(s, "null");
}

static rk_status read_tokenizer_config(page *p, rk_json_scan s)
{
    static const char *const keys[] = {"bos_token", "eos_token", "add_bos_token", "chat_template"};
    rk_json_members m;
    rk_status st = rk_json_find_members(&p->in, &s, "the file", keys, RK_COUNT(keys), &m);
    if (st == RK_OK && is_said(m.at[0]))
        st = take_token(p, m.at[0], &p->about->bos);
    if (st == RK_OK && is_said(m.at[1]))
        st = take_token(p, m.at[1], &p->about->eos);
    if (st == RK_OK && m.at[2].p && rk_json_value_is(m.at[2], "true"))
        p->about->adds_bos = p->about->bos >= 0;
    if (st == RK_OK && is_said(m.at[3]))
        st = take_template(p, m.at[3]);
    rk_about_text_stop(p->about, p->about->eos);
    return st;
}

/* "eos_token_id": a number or a list, "bos_token_id". */
static rk_status read_ids(page *p, rk_json_scan s)
{
    static const char *const keys[] = {"bos_token_id", "eos_token_id"};
    rk_json_members m;
    rk_status st = rk_json_find_members(&p->in, &s, "the file", keys, RK_COUNT(keys), &m);
    if (st == RK_OK && is_said(m.at[0]) && p->about->bos < 0 && !rk_json_begins(m.at[0], '['))
        st = take_id(p, &m.at[0], &p->about->bos);
    if (st == RK_OK && is_said(m.at[1]))
        st = rk_json_begins(m.at[1], '[') ? rk_json_each(&p->in, &m.at[1], take_stop, p)
                                          : take_stop(p, &m.at[1]);
    if (st == RK_OK && p->about->eos < 0 && p->about->n_stops > 0)
        p->about->eos = p->about->stops[0];
    return st;
}

/* In the file's own text; what is there already stays. */
static rk_status read_jinja(page *p, rk_json_scan s)
{
    if (p->about->chat_template.len == 0)
        rk_buf_add(&p->about->chat_template, s.p, (size_t)(s.end - s.p));
    return RK_OK;
}

static const struct {
    const char *name;
    rk_status (*read)(page *p, rk_json_scan s);
} pages[] = {{"chat_template.jinja", read_jinja},
             {"tokenizer_config.json", read_tokenizer_config},
             {"generation_config.json", read_ids},
             {"config.json", read_ids}};

static rk_status read_page(page *p, size_t i, const char *path, rk_error *err)
{
    rk_map map;
    rk_status st = rk_map_open(&map, path, err);
    if (st != RK_OK)
        return st;
    p->in = (rk_json_in){.name = path, .begin = map.data, .err = err};
    p->in.string = map.size <= PAGE_BYTES_MAX ? malloc(map.size + 1) : NULL;
    if (map.size > PAGE_BYTES_MAX)
        st = rk_fail(err, RK_ERR_FORMAT, "%s: %zu bytes, expected at most %d", path, map.size,
                     PAGE_BYTES_MAX);
    else if (!p->in.string)
        st = rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", path);
    else
        st = pages[i].read(p, (rk_json_scan){.p = map.data, .end = map.data + map.size});
    free(p->in.string);
    rk_map_close(&map);
    return st;
}

rk_status rk_about_text_folder(rk_about_text *a, const rk_bpe *b, int64_t n_ids, const char *folder,
                               rk_error *err)
{
    page p = {.about = a, .bpe = b, .n_ids = n_ids};
    rk_status st = RK_OK;
    for (size_t i = 0; i < RK_COUNT(pages) && st == RK_OK; i++) {
        /* the page of last resort */
        if (i + 1 == RK_COUNT(pages) && a->n_stops > 0)
            break;
        char *path = rk_path_join(folder, pages[i].name);
        if (!path)
            st = rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", folder);
        else if (access(path, F_OK) == 0)
            st = read_page(&p, i, path, err);
        free(path);
    }
    if (st == RK_OK && a->chat_template.failed)
        st = rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", folder);
    return st;
}
