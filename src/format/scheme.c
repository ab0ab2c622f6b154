/* scheme.c: importing and exporting names by the rows of a scheme. */
#include "format/scheme_forms.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"

static const rk_scheme *const schemes[] = {
    &rk_scheme_gguf7,      &rk_scheme_gguf6,       &rk_scheme_gguf_qwen2,
    &rk_scheme_gguf_llama, &rk_scheme_gguf_arwkv7, &rk_scheme_gguf_rwkv6qwen2,
    &rk_scheme_rwkvcpp4,   &rk_scheme_rwkvcpp5,    &rk_scheme_rwkvcpp6,
    &rk_scheme_rwkvcpp7,   &rk_scheme_web5,        &rk_scheme_web6,
    &rk_scheme_web7,       &rk_scheme_tf,          &rk_scheme_hf};

static bool is_piece(const rk_scheme_row *row)
{
    return row->form == RK_FORM_PIECE || row->form == RK_FORM_LAST_PIECE;
}

/* ---- names ---- */

/* What %d and '*' of a pattern matched. */
typedef struct match {
    long layer; /* -1: no %d */
    const char *rest;
} match;

static bool fits(const char *pattern, const char *name, match *m)
{
    *m = (match){-1, ""};
    for (; *pattern; pattern++) {
        if (*pattern == '*') {
            m->rest = name;
            return true;
        }
        if (pattern[0] == '%' && pattern[1] == 'd') {
            char *end = NULL;
            if (!isdigit((unsigned char)*name))
                return false;
            m->layer = strtol(name, &end, 10);
            name = end;
            pattern++;
        } else if (*pattern != *name++) {
            return false;
        }
    }
    return *name == '\0';
}

static bool fill(const char *pattern, const match *m, char *name)
{
    size_t at = 0;
    for (; *pattern; pattern++) {
        const size_t room = RK_TENSOR_NAME_MAX - at;
        int n = 1;
        if (*pattern == '*')
            n = snprintf(name + at, room, "%s", m->rest);
        else if (pattern[0] == '%')
            n = snprintf(name + at, room, "%ld", m->layer), pattern++;
        else
            name[at] = *pattern;
        if (n < 0 || (size_t)n >= room)
            return false;
        at += (size_t)n;
    }
    name[at] = '\0';
    return true;
}

static const char *canonical_word(const rk_scheme_word *words, const char *part, size_t n)
{
    for (; words && words->foreign; words++)
        if (strlen(words->foreign) == n && !memcmp(words->foreign, part, n))
            return words->canonical;
    return NULL;
}

/* The name with its parts' words replaced. False: it is too long. */
static bool replace_words(const rk_scheme_word *words, const char *name, char *out)
{
    size_t at = 0;
    while (*name) {
        const size_t n = strcspn(name, ".");
        const char *word = canonical_word(words, name, n);
        const bool drop = word && !*word && at == 0;
        const int wrote = drop ? 0
                               : snprintf(out + at, RK_TENSOR_NAME_MAX - at, "%s%.*s",
                                          at ? "." : "", word && *word ? (int)strlen(word) : (int)n,
                                          word && *word ? word : name);
        if (wrote < 0 || (size_t)wrote >= RK_TENSOR_NAME_MAX - at)
            return false;
        at += (size_t)wrote;
        name += n + (name[n] == '.');
    }
    out[at] = '\0';
    return true;
}

bool rk_scheme_name(const rk_scheme *s, const char *foreign, char canonical[RK_TENSOR_NAME_MAX])
{
    char words[RK_TENSOR_NAME_MAX];
    match m;
    if (!replace_words(s->words, foreign, words))
        return false;
    for (int i = 0; i < s->n_rows; i++)
        if (fits(s->rows[i].foreign, words, &m))
            return s->rows[i].canonical && !is_piece(&s->rows[i]) &&
                   fill(s->rows[i].canonical, &m, canonical);
    memcpy(canonical, words, sizeof words);
    return true;
}

bool rk_scheme_foreign_name(const rk_scheme *s, const char *canonical,
                            char foreign[RK_TENSOR_NAME_MAX])
{
    match m;
    for (int i = 0; i < s->n_rows; i++)
        if (fits(s->rows[i].canonical, canonical, &m))
            return (s->rows[i].form == RK_FORM_SAME || s->rows[i].form == RK_FORM_RESCALED ||
                    s->rows[i].form == RK_FORM_PAIRS) &&
                   fill(s->rows[i].foreign, &m, foreign);
    return false;
}

bool rk_scheme_reorders(const rk_scheme *s, const char *canonical)
{
    match m;
    for (int i = 0; i < s->n_rows; i++)
        if (fits(s->rows[i].canonical, canonical, &m))
            return s->rows[i].form == RK_FORM_PAIRS;
    return false;
}

/* ---- import ---- */

static rk_status add_as(rk_file *out, const rk_file_tensor *from, const char *name,
                        const rk_scheme_row *row, long layer, rk_error *err)
{
    rk_file_tensor t = *from;
    const rk_status st = row ? rk_form_import(out, &t, row, layer, err) : RK_OK;
    t.name = name;
    return st == RK_OK ? rk_file_add(out, &t, err) : st;
}

/* A stack is several canonical tensors, so a name may fit several rows of the same foreign name. */
static rk_status import_tensor(rk_file *out, const rk_file *f, const rk_scheme *s,
                               const rk_file_tensor *t, rk_error *err)
{
    char words[RK_TENSOR_NAME_MAX], name[RK_TENSOR_NAME_MAX];
    const char *foreign = NULL;
    rk_status st = RK_OK;
    match m;
    if (!replace_words(s->words, t->name, words))
        return rk_fail(err, RK_ERR_FORMAT, "%s: tensor '%.80s...': its name is too long",
                       rk_file_name(out), t->name);
    for (int i = 0; i < s->n_rows && st == RK_OK; i++) {
        const rk_scheme_row *row = &s->rows[i];
        if ((foreign && strcmp(row->foreign, foreign) != 0) || !fits(row->foreign, words, &m))
            continue;
        foreign = row->foreign;
        if (row->form == RK_FORM_LAST_PIECE && t->n_dims > 0 && t->dims[0] == row->piece)
            break;
        if (row->only_later && m.layer == 0 && s->has_dummies && s->has_dummies(f))
            break;
        if (row->canonical && !fill(row->canonical, &m, name))
            st = rk_fail(err, RK_ERR_FORMAT, "%s: tensor '%.80s': its name is too long",
                         rk_file_name(out), t->name);
        else if (row->canonical)
            st = add_as(out, t, name, row, m.layer, err);
        if (!is_piece(row))
            break;
    }
    return foreign || st != RK_OK ? st : add_as(out, t, words, NULL, -1, err);
}

static rk_status import_all(rk_file *out, const rk_file *f, const rk_scheme *s, rk_error *err)
{
    rk_status st = RK_OK;
    for (int64_t i = 0; i < rk_file_meta_count(f) && st == RK_OK; i++) {
        const rk_pair pair = rk_file_meta_at(f, i);
        st = rk_file_add_meta(out, pair.key, pair.value, err);
    }
    for (int64_t i = 0; i < rk_file_raw_count(f) && st == RK_OK; i++)
        st = rk_file_add_raw(out, rk_file_raw_at(f, i), err);
    if (st == RK_OK && s->begin)
        st = s->begin(out, f, err);
    for (int64_t i = 0; i < rk_file_count(f) && st == RK_OK; i++)
        st = import_tensor(out, f, s, rk_file_at(f, i), err);
    if (st == RK_OK && s->finish)
        st = s->finish(out, f, err);
    return st == RK_OK ? rk_file_finish(out, err) : st;
}

static const rk_scheme *scheme_of(const rk_file *f)
{
    for (size_t i = 0; i < RK_COUNT(schemes); i++)
        if (schemes[i]->detect(f))
            return schemes[i];
    return NULL;
}

rk_status rk_scheme_import(rk_file **f, rk_error *err)
{
    const rk_scheme *s = scheme_of(*f);
    rk_file *out = NULL;
    if (!s)
        return RK_OK;
    rk_status st = rk_file_new(&out, rk_file_container(*f), rk_file_name(*f), err);
    if (st == RK_OK)
        st = import_all(out, *f, s, err);
    if (st == RK_OK)
        st = rk_file_own(out, *f, err);
    if (st != RK_OK) {
        rk_file_close(out);
        rk_file_close(*f);
        out = NULL;
    }
    *f = out;
    return st;
}

/* ---- export ---- */

/* Set the dimensions of t according to `dims`: '1' and '.', which takes what is left. */
static void set_dims(rk_file_tensor *t, const char *dims)
{
    const int64_t count = rk_file_tensor_count(t);
    if (!dims)
        return;
    t->n_dims = 0;
    for (; *dims; dims++)
        t->dims[t->n_dims++] = *dims == '1' ? 1 : count;
}

/* The stack whose first piece is row's, gathered from the canonical tensors that follow. */
static rk_status stack_pieces(rk_file *out, const rk_file *from, const rk_scheme *s, int first,
                              long layer, rk_file_tensor *t, rk_error *err)
{
    const rk_scheme_row *rows = s->rows;
    const match m = {layer, ""};
    char name[RK_TENSOR_NAME_MAX];
    int n = first;
    while (n < s->n_rows && is_piece(&rows[n]) && !strcmp(rows[n].foreign, rows[first].foreign))
        n++;
    if (rows[n - 1].form == RK_FORM_LAST_PIECE &&
        !(fill(rows[n - 1].canonical, &m, name) && rk_file_find(from, name)))
        n--;
    const int pieces = n - first;
    char *data = rk_file_alloc(out, t->bytes * (size_t)pieces, err);
    for (int i = 0; i < pieces && data; i++) {
        const rk_file_tensor *piece =
            fill(rows[first + i].canonical, &m, name) ? rk_file_find(from, name) : NULL;
        if (!piece || piece->dtype != t->dtype || piece->bytes != t->bytes)
            return rk_fail(err, RK_ERR_FORMAT, "%s: tensor '%.80s' is missing or unlike '%.80s'",
                           rk_file_name(from), name, t->name);
        memcpy(data + (size_t)i * t->bytes, piece->data, t->bytes);
    }
    const int64_t c = rk_file_tensor_count(t);
    t->data = data;
    t->bytes *= (size_t)pieces;
    t->n_dims = 4;
    memcpy(t->dims, (const int64_t[]){pieces, 1, 1, c}, 4 * sizeof *t->dims);
    return data ? RK_OK : RK_ERR_NOMEM;
}

rk_status rk_scheme_add_row(rk_file *out, const rk_file_tensor *t, const rk_scheme_row *row,
                            rk_error *err)
{
    rk_file_tensor x = *t;
    rk_status st = rk_form_export(out, &x, row, err);
    set_dims(&x, row->dims);
    x.name = row->foreign;
    x.origin = t->origin ? t->origin : t->name;
    return st == RK_OK ? rk_file_add(out, &x, err) : st;
}

static rk_status export_tensor(rk_file *out, const rk_file *from, const rk_scheme *s,
                               const rk_file_tensor *t, rk_error *err)
{
    char name[RK_TENSOR_NAME_MAX];
    match m;
    for (int i = 0; i < s->n_rows; i++) {
        rk_scheme_row row = s->rows[i];
        if (!fits(row.canonical, t->name, &m) || !fill(row.foreign, &m, name))
            continue;
        if ((m.layer == 0 && row.only_later) || (is_piece(&row) && row.piece > 0))
            return RK_OK; /* the first piece brings them all */
        rk_file_tensor x = *t;
        rk_status st = RK_OK;
        if (is_piece(&row))
            st = stack_pieces(out, from, s, i, m.layer, &x, err);
        row.foreign = name;
        return st == RK_OK ? rk_scheme_add_row(out, &x, &row, err) : st;
    }
    return rk_fail(err, RK_ERR_UNSUPPORTED, "%s: tensor '%.80s' has no name in %s files",
                   rk_file_name(from), t->name, s->name);
}

rk_status rk_scheme_export(rk_file **out, const rk_file *canonical, const rk_scheme *scheme,
                           rk_error *err)
{
    rk_file *f = NULL;
    rk_status st = rk_file_new(&f, scheme->name, rk_file_name(canonical), err);
    const char *head_size = rk_file_meta(canonical, RK_FORM_HEAD_SIZE);
    if (st == RK_OK && head_size)
        st = rk_file_add_meta(f, RK_FORM_HEAD_SIZE, head_size, err);
    for (int64_t i = 0; i < rk_file_count(canonical) && st == RK_OK; i++)
        st = export_tensor(f, canonical, scheme, rk_file_at(canonical, i), err);
    if (st == RK_OK && scheme->complete)
        st = scheme->complete(f, canonical, err);
    if (st == RK_OK)
        st = rk_file_finish(f, err);
    if (st == RK_OK)
        *out = f;
    else
        rk_file_close(f);
    return st;
}
