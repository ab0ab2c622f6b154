/* sizes.c: walking an architecture's rows of sizes: what a file shows, what a new model has. */
#include "model/sizes.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "model/pair.h"
#include "model/records.h"

/* ---- rows ---- */

/* Name, place, letter, range, default; where a file shows it; option. */
/* clang-format off */
static const rk_size_spec first[] = {
    {"n_layer", RK_SIZE(n_layer), 0, {1, RK_LAYERS_MAX}, {rk_size_constant, 6},
     {RK_FROM_LAYERS, NULL, 0, 0}, {"n-layer", "6", "layers"}},
    {"n_embd", RK_SIZE(n_embd), 'C', {1, RK_EMBD_MAX}, {rk_size_constant, 512},
     {RK_FROM_TENSOR, "emb.weight", 2, 1},
     {"n-embd", "512", "channels, a multiple of the head size"}},
};

static const rk_size_spec last[] = {
    {"n_vocab", RK_SIZE(n_vocab), 'V', {1, RK_VOCAB_MAX}, {rk_size_constant, 256},
     {RK_FROM_TENSOR, "emb.weight", 2, 0}, RK_NO_OPTION},
    {"ln_eps", RK_REAL(ln_eps), 0, {0, 1}, {rk_size_constant, RK_LN_EPS},
     {RK_FROM_META, NULL, 0, 0}, RK_NO_OPTION},
    {"ln_x_eps", RK_REAL(ln_x_eps), 0, {0, 1}, {rk_size_constant, RK_LN_X_EPS},
     {RK_FROM_META, NULL, 0, 0}, RK_NO_OPTION},
};

static const rk_size_spec clusters[] = {
    {"n_clusters", RK_SIZE(n_clusters), 'q', {0, RK_VOCAB_MAX}, {NULL, 0},
     {RK_FROM_OPTIONAL, "head_l1.weight", 2, 0}, RK_NO_OPTION},
    {"emb_rows", RK_SIZE(emb_rows), 0, {0, RK_VOCAB_MAX}, {rk_size_constant, 0},
     {RK_FROM_META, NULL, 0, 0}, RK_NO_OPTION},
};
/* clang-format on */

const rk_size_table rk_sizes_first = {first, RK_COUNT(first)};
const rk_size_table rk_sizes_last = {last, RK_COUNT(last) - 1};
const rk_size_table rk_sizes_last_x = {last, RK_COUNT(last)};
const rk_size_table rk_sizes_clusters = {clusters, RK_COUNT(clusters)};

const rk_size_spec *rk_size_at(const rk_arch *arch, int i)
{
    for (int t = 0; t < RK_SIZE_TABLES && arch->sizes[t]; t++) {
        if (i < arch->sizes[t]->n)
            return &arch->sizes[t]->rows[i];
        i -= arch->sizes[t]->n;
    }
    return NULL;
}

const rk_size_spec *rk_size_find(const rk_arch *arch, const char *name)
{
    const rk_size_spec *s;
    for (int i = 0; (s = rk_size_at(arch, i)); i++)
        if (!strcmp(s->name, name))
            return s;
    return NULL;
}

double rk_size_value(const rk_size_spec *s, const rk_hparams *hp)
{
    const void *place = (const char *)hp + s->at.offset;
    return s->at.real ? *(const double *)place : (double)*(const int64_t *)place;
}

static void put(const rk_size_spec *s, rk_hparams *hp, double value)
{
    void *place = (char *)hp + s->at.offset;
    if (s->at.real)
        *(double *)place = value;
    else
        *(int64_t *)place = (int64_t)value;
}

static bool in_range(const rk_size_spec *s, double x)
{
    const bool above = s->at.real && !s->at.with_min;
    return (above ? x > s->range.min : x >= s->range.min) && x <= s->range.max;
}

size_t rk_size_word(const rk_size_spec *s, int place, const char **word)
{
    *word = s->at.words;
    for (; *word && place > 0; place--)
        *word = strchr(*word, '|') ? strchr(*word, '|') + 1 : NULL;
    return *word ? strcspn(*word, "|") : 0;
}

/* What a text says of a size; NAN: nothing. */
static double value_of(const rk_size_spec *s, const char *text)
{
    const char *word;
    char *end = NULL;
    size_t n;
    if (!s->at.words) {
        const double x = strtod(text, &end);
        return *text && !*end ? x : (double)NAN;
    }
    for (int i = 0; (n = rk_size_word(s, i, &word)); i++)
        if (strlen(text) == n && !memcmp(text, word, n))
            return i;
    return (double)NAN;
}

double rk_size_default(const rk_size_spec *s)
{
    assert(s->initial.rule == rk_size_constant);
    return s->initial.arg;
}

static bool is_marked(const rk_size_spec *s, double x)
{
    return s->file.from == RK_FROM_PRESENCE
               ? x > 1
               : s->file.from == RK_FROM_MARK && x != rk_size_default(s);
}

const rk_size_spec *rk_size_marked(const rk_arch *arch, const rk_hparams *hp, int i)
{
    const rk_size_spec *s;
    for (int k = 0; (s = rk_size_at(arch, k)); k++)
        if (is_marked(s, rk_size_value(s, hp)) && i-- == 0)
            return s;
    return NULL;
}

/* ---- shapes ---- */

static int64_t size_of(const rk_arch *arch, const rk_hparams *hp, char letter)
{
    const rk_size_spec *s;
    for (int i = 0; (s = rk_size_at(arch, i)); i++)
        if (s->letter == letter)
            return (int64_t)rk_size_value(s, hp);
    return letter - '0';
}

int rk_shape_dims(const rk_arch *arch, const rk_hparams *hp, const char *shape, int64_t *dims)
{
    int n = 0;
    for (const char *c = shape; *c; c++)
        dims[n++] = size_of(arch, hp, *c);
    return n;
}

/* ---- layers ---- */

int64_t rk_n_kept(const rk_hparams *hp)
{
    int64_t n = 0;
    for (int64_t l = 0; l < hp->n_layer; l++)
        n += rk_layer_in(&hp->kept, l);
    return n;
}

int64_t rk_first_mixer(const rk_hparams *hp)
{
    int64_t l = 0;
    while (l < hp->n_layer && rk_layer_in(&hp->kept, l))
        l++;
    return l;
}

/* The layer in a name that is otherwise the pattern; -1: another name. */
static int64_t layer_named(const char *pattern, const char *name)
{
    const char *mark = strstr(pattern, "%d");
    const size_t n = mark ? (size_t)(mark - pattern) : 0;
    if (!mark || strncmp(name, pattern, n) != 0)
        return -1;
    const size_t digits = strspn(name + n, "0123456789");
    return digits > 0 && digits < 5 && !strcmp(name + n + digits, mark + 2)
               ? strtoll(name + n, NULL, 10)
               : -1;
}

bool rk_file_in_any_layer(const rk_file *f, const char *pattern)
{
    for (int64_t i = 0; i < rk_file_count(f); i++)
        if (layer_named(pattern, rk_file_at(f, i)->name) >= 0)
            return true;
    return false;
}

/* The layers that the file has rows of this scope of; false: the architecture has no such rows. */
static bool layers_with(const rk_arch *arch, const rk_file *f, rk_scope scope, rk_layer_set *out)
{
    bool any = false;
    *out = (rk_layer_set){0};
    for (int i = 0; i < arch->n_params; i++) {
        const rk_param_spec *spec = &arch->params[i];
        if (spec->scope != scope)
            continue;
        any = true;
        for (int64_t t = 0; t < rk_file_count(f); t++) {
            const int64_t l = layer_named(spec->name, rk_file_at(f, t)->name);
            if (l >= 0 && l < RK_LAYERS_MAX)
                rk_layer_add(out, l);
        }
    }
    return any;
}

/* A layer is kept where nothing of a mixer is, and attention is. */
static void read_kept(const rk_arch *arch, const rk_file *f, rk_hparams *hp)
{
    rk_layer_set mixers, kept;
    hp->kept = (rk_layer_set){0};
    if (!layers_with(arch, f, RK_SCOPE_MIXER, &mixers))
        return;
    const bool shown = layers_with(arch, f, RK_SCOPE_KEPT, &kept);
    for (int64_t l = 0; l < rk_min_i64(hp->n_layer, RK_LAYERS_MAX); l++)
        if (!rk_layer_in(&mixers, l) && (!shown || rk_layer_in(&kept, l)))
            rk_layer_add(&hp->kept, l);
}

/* ---- reading ---- */

int64_t rk_count_layers(const rk_arch *arch, const rk_file *f)
{
    const char *rest;
    int64_t n = 0;
    for (int64_t i = 0; i < rk_file_count(f); i++)
        n = rk_max_i64(n, rk_arch_layer_of(arch, rk_file_at(f, i)->name, &rest) + 1);
    return n;
}

static rk_status read_layers(const rk_arch *arch, const rk_file *f, double *value, rk_error *err)
{
    const char *prefix;
    const size_t n = rk_arch_layers(arch, &prefix);
    *value = (double)rk_count_layers(arch, f);
    return *value >= 1 ? RK_OK
                       : rk_fail(err, RK_ERR_FORMAT, "%s: no tensor '%.*s0...'", rk_file_name(f),
                                 (int)n, prefix);
}

/* An empty tensor may claim any size beside its 0, so every dimension is looked at. */
static rk_status check_dims(const rk_file *f, const rk_file_tensor *t, const rk_size_spec *s,
                            rk_error *err)
{
    for (int d = 0; d < t->n_dims; d++) {
        const int64_t max = d == s->file.axis ? (int64_t)s->range.max : INT32_MAX;
        if (t->dims[d] < 1 || t->dims[d] > max)
            return rk_fail(err, RK_ERR_FORMAT,
                           "%s: a size of %" PRId64 " in '%s', expected 1 to %" PRId64,
                           rk_file_name(f), t->dims[d], t->name, max);
    }
    return RK_OK;
}

/* The tensor that shows a size, in the first layer from `lowest` on that has one; name is what it is
 * called, or would be. */
static const rk_file_tensor *shown_by(const rk_file *f, const rk_size_spec *s, int64_t lowest,
                                      int64_t n_layer, char *name)
{
    const rk_param_spec named = {.name = s->file.tensor};
    const int64_t end = strstr(named.name, "%d") ? rk_min_i64(n_layer, RK_LAYERS_MAX) : lowest + 1;
    const rk_file_tensor *t = NULL;
    for (int64_t l = lowest; l < end && !t; l++) {
        rk_param_name(&named, l, name);
        t = rk_file_find(f, name);
    }
    if (!t)
        rk_param_name(&named, lowest, name);
    return t;
}

static rk_status read_tensor(const rk_arch *arch, const rk_file *f, const rk_size_spec *s,
                             const rk_hparams *hp, double *value, rk_error *err)
{
    const int64_t mixer = rk_first_mixer(hp);
    char name[RK_PARAM_NAME_MAX];
    const rk_file_tensor *t =
        shown_by(f, s, s->file.from == RK_FROM_LATER ? mixer + 1 : 0, hp->n_layer, name);
    const rk_file_tensor *records = t ? NULL : rk_records_shows(arch, f, s->file.tensor);
    const int n_dims = records ? 3 : s->file.n_dims;
    *value = s->file.from == RK_FROM_LATER ? 1 : 0;
    t = records ? records : t;
    if (!t && (s->file.from == RK_FROM_OPTIONAL ||
               (s->file.from == RK_FROM_LATER && hp->n_layer - rk_n_kept(hp) < 2)))
        return RK_OK;
    if (!t)
        return rk_fail(err, RK_ERR_FORMAT, "%s: no tensor '%s', which an %s model has",
                       rk_file_name(f), name, arch->name);
    if (t->n_dims != (n_dims ? n_dims : rk_max_i64(t->n_dims, 1)))
        return rk_fail(err, RK_ERR_FORMAT, "%s: tensor '%s' has %d dimensions, expected %d",
                       rk_file_name(f), t->name, t->n_dims, n_dims ? n_dims : 1);
    *value = (double)t->dims[s->file.axis];
    return check_dims(f, t, s, err);
}

/* Is there a tensor that a size is about? */
static bool is_present(const rk_file *f, const rk_size_spec *s, const rk_hparams *hp)
{
    char name[RK_PARAM_NAME_MAX];
    return shown_by(f, s, 0, hp->n_layer, name) != NULL;
}

static rk_status read_meta(const rk_file *f, const rk_size_spec *s, const rk_hparams *hp,
                           double *value, rk_error *err)
{
    const char *text = rk_file_meta(f, s->name);
    const bool marks = s->file.from == RK_FROM_MARK || s->file.from == RK_FROM_PRESENCE;
    if (!text && marks && rk_file_find(f, s->name))
        return rk_fail(
            err, RK_ERR_FORMAT,
            "%s: tensor '%s' says that there is metadata of this name, and there is none",
            rk_file_name(f), s->name);
    if (!text && s->file.from == RK_FROM_STATED)
        return rk_fail(err, RK_ERR_FORMAT,
                       "%s: nothing says its %s, which no tensor shows: expected metadata of this "
                       "name, or a config.json beside it",
                       rk_file_name(f), s->name);
    *value = text                               ? value_of(s, text)
             : s->file.from == RK_FROM_PRESENCE ? is_present(f, s, hp)
                                                : rk_size_default(s);
    if (in_range(s, *value) && (s->at.real || *value == floor(*value)))
        return RK_OK;
    if (s->at.words)
        return rk_fail(err, RK_ERR_FORMAT, "%s: %s '%.32s', expected one of %s", rk_file_name(f),
                       s->name, text ? text : "", s->at.words);
    return rk_fail(err, RK_ERR_FORMAT, "%s: %s '%.32s', expected a %snumber between %g and %g",
                   rk_file_name(f), s->name, text ? text : "", s->at.real ? "" : "whole ",
                   s->range.min, s->range.max);
}

static rk_status read_size(const rk_arch *arch, const rk_file *f, const rk_size_spec *s,
                           rk_hparams *hp, rk_error *err)
{
    double value = 0;
    rk_status st = RK_OK;
    switch (s->file.from) {
    case RK_FROM_LAYERS:
        st = read_layers(arch, f, &value, err);
        break;
    case RK_FROM_TENSOR:
    case RK_FROM_LATER:
    case RK_FROM_OPTIONAL:
        st = read_tensor(arch, f, s, hp, &value, err);
        break;
    case RK_FROM_ABSENCE:
        value = is_present(f, s, hp) ? 0 : 1;
        break;
    case RK_FROM_META:
    case RK_FROM_PRESENCE:
    case RK_FROM_MARK:
    case RK_FROM_STATED:
        st = read_meta(f, s, hp, &value, err);
        break;
    case RK_FROM_OTHERS:
        break;
    }
    if (st != RK_OK)
        return st;
    put(s, hp, value);
    if (s->file.from == RK_FROM_LAYERS)
        read_kept(arch, f, hp);
    return RK_OK;
}

/* Does the file hold the first parameter of this scope in the first layer that may have it? */
static bool has_tuned(const rk_arch *arch, rk_scope scope, const rk_file *f, const rk_hparams *hp)
{
    char name[RK_PARAM_NAME_MAX];
    for (int i = 0; i < arch->n_params; i++) {
        if (arch->params[i].scope != scope)
            continue;
        rk_param_name(&arch->params[i], rk_first_mixer(hp), name);
        return rk_file_find(f, name) != NULL;
    }
    return arch->base && has_tuned(arch->base, scope, f, hp);
}

rk_status rk_sizes_read(const rk_arch *arch, const rk_file *f, rk_hparams *hp, rk_error *err)
{
    const rk_size_spec *s;
    rk_status st = RK_OK;
    *hp = (rk_hparams){0};
    for (int i = 0; st == RK_OK && (s = rk_size_at(arch, i)); i++)
        st = read_size(arch, f, s, hp, err);
    hp->tuned_state = has_tuned(arch, RK_SCOPE_TUNED, f, hp);
    hp->tuned_shift = has_tuned(arch, RK_SCOPE_TUNED_SHIFT, f, hp);
    hp->tuned_basis = has_tuned(arch, RK_SCOPE_TUNED_BASIS, f, hp);
    return st == RK_OK ? arch->settle(arch, hp, f, err) : st;
}

/* ---- making ---- */

static const rk_size *find_given(const rk_size *given, int64_t n, const char *name)
{
    for (int64_t i = 0; i < n; i++)
        if (!strcmp(given[i].name, name))
            return &given[i];
    return NULL;
}

static int count_words(const char *words)
{
    int n = 1;
    for (; *words; words++)
        n += *words == '|';
    return n;
}

static rk_status check_given(const rk_arch *arch, const rk_size *given, rk_error *err)
{
    const rk_size_spec *s = rk_size_find(arch, given->name);
    const double x = given->value;
    if (!s || !s->initial.rule)
        return rk_fail(err, RK_ERR_ARG, "an %s model has no size '%.32s' to choose", arch->name,
                       given->name);
    if (!in_range(s, x))
        return rk_fail(err, RK_ERR_ARG, "%s is %.10g, expected %.10g to %.10g", s->name, x,
                       s->range.min, s->range.max);
    if (!s->at.real && x != (double)(int64_t)x)
        return rk_fail(err, RK_ERR_ARG, "%s is %.10g, expected a whole number", s->name, x);
    if (s->at.words && x >= (double)count_words(s->at.words))
        return rk_fail(err, RK_ERR_ARG, "%s is %.10g, expected the place of one of %s from 0 on",
                       s->name, x, s->at.words);
    return RK_OK;
}

rk_status rk_size_give(const rk_arch *arch, const rk_size *given, rk_hparams *hp, rk_error *err)
{
    const rk_status st = check_given(arch, given, err);
    if (st == RK_OK)
        put(rk_size_find(arch, given->name), hp, given->value);
    return st;
}

rk_status rk_sizes_make_kept(const rk_arch *arch, const rk_size *given, int64_t n,
                             const rk_layer_set *kept, rk_hparams *hp, rk_error *err)
{
    const rk_size_spec *s;
    *hp = (rk_hparams){.kept = *kept};
    for (int64_t i = 0; i < n; i++)
        if (check_given(arch, &given[i], err) != RK_OK)
            return RK_ERR_ARG;
    for (int i = 0; (s = rk_size_at(arch, i)); i++) {
        const rk_size *g = find_given(given, n, s->name);
        if (s->initial.rule)
            put(s, hp, g ? g->value : s->initial.rule(hp, s->initial.arg));
    }
    return arch->settle(arch, hp, NULL, err);
}

rk_status rk_sizes_make(const rk_arch *arch, const rk_size *given, int64_t n, rk_hparams *hp,
                        rk_error *err)
{
    return rk_sizes_make_kept(arch, given, n, &(rk_layer_set){0}, hp, err);
}

/* ---- what follows, and rules ---- */

/* The tensor that shows the number of heads. */
static const char *heads_tensor(const rk_arch *arch)
{
    const rk_size_spec *s;
    for (int i = 0; (s = rk_size_at(arch, i)); i++)
        if (s->at.offset == offsetof(rk_hparams, n_head) && s->file.tensor)
            return s->file.tensor;
    return "";
}

rk_status rk_settle_heads(const rk_arch *arch, rk_hparams *hp, const rk_file *file, rk_error *err)
{
    if (hp->n_head == 0)
        hp->n_head = hp->n_embd / hp->head_size;
    if (hp->head_size == 0)
        hp->head_size = hp->n_embd / hp->n_head;
    if (hp->n_head * hp->head_size == hp->n_embd) {
        const rk_status st = rk_pair_settle(arch, hp, file, err);
        return st == RK_OK ? rk_records_settle(arch, hp, file, err) : st;
    }
    if (file)
        return rk_fail(
            err, RK_ERR_FORMAT,
            "%s: tensor '%s' shows %" PRId64 " heads of %" PRId64 " channels, n_embd is %" PRId64,
            rk_file_name(file), heads_tensor(arch), hp->n_head, hp->head_size, hp->n_embd);
    return rk_fail(err, RK_ERR_ARG, "n_embd %" PRId64 " is not a multiple of head_size %" PRId64,
                   hp->n_embd, hp->head_size);
}

double rk_size_constant(const rk_hparams *hp, double arg)
{
    (void)hp;
    return arg;
}

double rk_size_of_embd(const rk_hparams *hp, double arg)
{
    return arg * (double)hp->n_embd;
}

double rk_size_ffn_35(const rk_hparams *hp, double arg)
{
    (void)arg;
    return (double)rk_max_i64(hp->n_embd * 7 / 2 / 32 * 32, 32);
}
