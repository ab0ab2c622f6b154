/* trained.c: words that name parameters. Groups are not listed here: they are the words of the
 * parameter table's names and of its roles, so an architecture that brings a new part brings its
 * group. */
#include "train/trained.h"

#include "train/grown.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORD_MAX = 128 };

/* The part of the model that a parameter is of, in its name: "att" of blocks.0.att.key.weight, "emb"
 * of emb.weight; "embed_tokens" of model.embed_tokens.weight beside model.layers.0. */
static const char *part_of(const rk_model *m, const rk_param *p, size_t *n)
{
    const char *part, *prefix;
    const size_t layers = rk_arch_layers(m->arch, &prefix), outer = strcspn(prefix, ".") + 1;
    if (rk_arch_layer_of(m->arch, p->name, &part) < 0 && outer < layers &&
        !strncmp(part, prefix, outer))
        part += outer;
    *n = strcspn(part, ".");
    return part;
}

static bool is_in_group(const rk_model *m, const rk_param *p, const char *word)
{
    size_t n;
    const char *part = part_of(m, p, &n);
    return (strlen(word) == n && !strncmp(word, part, n)) || !strcmp(word, rk_roles[p->role].group);
}

static bool is_meant(const rk_model *m, const rk_param *p, const char *word)
{
    return fnmatch(word, p->name, 0) == 0 || (!strpbrk(word, "*?[") && is_in_group(m, p, word));
}

static void add_group(rk_buf *out, const char *word, size_t n)
{
    char padded[WORD_MAX], so_far[512];
    snprintf(padded, sizeof padded, " %.*s,", (int)n, word);
    snprintf(so_far, sizeof so_far, " %s,", out->data ? out->data : "");
    if (!strstr(so_far, padded))
        rk_buf_printf(out, "%s%.*s", out->len ? ", " : "", (int)n, word);
}

void rk_trained_groups(const rk_model *m, rk_buf *out)
{
    size_t n;
    for (int64_t i = 0; i < m->n_params; i++) {
        const char *part = part_of(m, &m->params[i], &n);
        add_group(out, part, n);
    }
    for (int64_t i = 0; i < m->n_params; i++) {
        const char *group = rk_roles[m->params[i].role].group;
        add_group(out, group, strlen(group));
    }
}

static rk_status refuse_word(const rk_model *m, const char *option, const char *word, rk_error *err)
{
    rk_buf groups = {0};
    rk_trained_groups(m, &groups);
    const rk_status st =
        rk_fail(err, RK_ERR_ARG, "%s: '%.40s' names no parameter of an %s model; its groups are %s",
                option, word, m->arch->name, groups.failed ? "unknown" : groups.data);
    rk_buf_deinit(&groups);
    return st;
}

/* Parameters none of whose elements are new: the trainer leaves the old elements of the others. */
static rk_status freeze_old(rk_model *m, rk_error *err)
{
    if (rk_grown_generations(m) < 2)
        return rk_fail(err, RK_ERR_ARG,
                       "freeze: nothing of the model is new: it has not grown (rwkv grow)");
    for (int64_t i = 0; i < m->n_params; i++)
        if (!rk_grown_is_new(m, &m->params[i]))
            m->params[i].trained = false;
    return RK_OK;
}

static void set_trained(rk_param *p, double x)
{
    p->trained = x != 0.0;
}

static void set_lr_scale(rk_param *p, double x)
{
    p->lr_scale = x;
}

/* Cut the number behind a word's = off it. */
static rk_status cut_factor(char *word, const char *option, double *x, rk_error *err)
{
    char *equals = strrchr(word, '='), *end = equals;
    if (equals) {
        *x = strtod(equals + 1, &end);
        *equals = '\0';
    }
    if (end == equals || end == equals + 1 || *end || !(*x >= 0.0 && *x <= 1e6))
        return rk_fail(err, RK_ERR_ARG, "%s: '%.40s' needs =FACTOR behind it, from 0 to 1e6",
                       option, word);
    return RK_OK;
}

/* Call set for what each word of a list means, with x, or where that is NULL with the word's factor. */
static rk_status mark(rk_model *m, const char *option, const char *words, const double *x,
                      void (*set)(rk_param *p, double x), rk_error *err)
{
    char word[WORD_MAX];
    for (const char *at = words; *at; at += strspn(at, ",")) {
        const size_t n = strcspn(at, ",");
        double value = x ? *x : 0.0;
        int64_t found = 0;
        snprintf(word, sizeof word, "%.*s", (int)n, at);
        if (!strcmp(option, "freeze") && !strcmp(word, RK_GROWN_OLD)) {
            const rk_status st = freeze_old(m, err);
            if (st != RK_OK)
                return st;
            at += n;
            continue;
        }
        if (!x && cut_factor(word, option, &value, err) != RK_OK)
            return RK_ERR_ARG;
        for (int64_t i = 0; i < m->n_params; i++)
            if (is_meant(m, &m->params[i], word)) {
                set(&m->params[i], value);
                found++;
            }
        if (found == 0)
            return refuse_word(m, option, word, err);
        at += n;
    }
    return RK_OK;
}

rk_status rk_lr_scales_set(rk_model *m, const rk_train_params *p, rk_error *err)
{
    for (int64_t i = 0; i < m->n_params; i++)
        m->params[i].lr_scale = m->params[i].spec->lr_scale;
    return p->lr_scale ? mark(m, "lr_scale", p->lr_scale, NULL, set_lr_scale, err) : RK_OK;
}

/* What is trained will be f32 in memory of the trainer's; what a file has in blocks cannot be. */
static rk_status leave_file(const rk_model *m, rk_param *p, rk_error *err)
{
    const rk_file_tensor *t = rk_file_find(m->file, p->name);
    if (!p->used || (rk_roles[p->role].constant && !rk_roles[p->role].ruled)) {
        p->trained = false; /* a file may lack what is not used, or hold another shape */
        return RK_OK;
    }
    if (t && t->dtype == RK_U8)
        return rk_fail(
            err, RK_ERR_ARG,
            "%s: tensor '%s' is of bytes with ranges and cannot be trained; freeze it, or "
            "'rwkv compress dense' first",
            rk_file_name(m->file), p->name);
    if (t && rk_dtype_is_blocks(t->dtype))
        return rk_fail(err, RK_ERR_ARG,
                       "%s: tensor '%s' is %s and cannot be trained; freeze it, or 'rwkv convert "
                       "--type f32' first",
                       rk_file_name(m->file), p->name, rk_dtype_name(t->dtype));
    p->tensor = rk_tensor_over(RK_F32, p->tensor.n_dims, p->tensor.dims, NULL);
    return RK_OK;
}

bool rk_trained_names(const char *words, const char *group)
{
    const size_t n = strlen(group);
    for (const char *at = words ? words : ""; *at; at += strspn(at, ",")) {
        const size_t len = strcspn(at, ",");
        if (len == n && !strncmp(at, group, n))
            return true;
        at += len;
    }
    return false;
}

/* Is there a parameter that an update would change? */
static bool trains_any(const rk_model *m)
{
    for (int64_t i = 0; i < m->n_params; i++)
        if (m->params[i].trained && m->params[i].used)
            return true;
    return false;
}

rk_status rk_trained_set(rk_model *m, const rk_train_params *p, rk_error *err)
{
    const bool all = !p->train_only || !*p->train_only;
    rk_status st = RK_OK;
    for (int64_t i = 0; i < m->n_params; i++)
        m->params[i].trained = all;
    if (!all)
        st = mark(m, "train_only", p->train_only, &(double){1.0}, set_trained, err);
    if (st == RK_OK && p->freeze)
        st = mark(m, "freeze", p->freeze, &(double){0.0}, set_trained, err);
    for (int64_t i = 0; m->file && i < m->n_params && st == RK_OK; i++)
        if (m->params[i].trained)
            st = leave_file(m, &m->params[i], err);
    if (st == RK_OK && !trains_any(m))
        st = rk_fail(err, RK_ERR_ARG, "freeze: no parameter is left to train");
    return st;
}

int64_t rk_trained_count(const rk_model *m, bool trained)
{
    int64_t n = 0;
    for (int64_t i = 0; i < m->n_params; i++)
        if (m->params[i].trained == trained && (trained || m->params[i].used))
            n += rk_tensor_count(&m->params[i].tensor);
    return n;
}
