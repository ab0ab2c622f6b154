/* survey.c: describes a file. A file that opens as a model provides everything. Of any other as
 * much is told as possible: the sizes in its tensors or its metadata, and each tensor that differs
 * from what a model of that kind has. */
#include "format/survey.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "format/relatives.h"
#include "format/scheme.h"

/* ---- warnings ---- */

/* Add a warning. The first one, why the model cannot be run, may be found again among those of its
 * tensors. */
static rk_status warn(rk_survey *s, const char *text, rk_error *err)
{
    if (s->n_warnings > 0 && !strcmp(s->warnings[0], text))
        return RK_OK;
    if (s->n_warnings == RK_SURVEY_WARNINGS_MAX) {
        s->more_warnings = true;
        return RK_OK;
    }
    char *copy = strdup(text);
    if (!copy)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for a warning");
    s->warnings[s->n_warnings++] = copy;
    return RK_OK;
}

static bool is_finite(const rk_tensor *t)
{
    const float *x = t->data;
    for (int64_t i = 0; i < rk_tensor_count(t); i++)
        if (!isfinite(x[i]))
            return false;
    return true;
}

/* Warn of numbers that are not finite, in what is in memory anyway: vectors, which a model has as
 * f32. */
static rk_status warn_of_numbers(rk_survey *s, rk_error *err)
{
    const rk_model *m = s->model;
    rk_status st = RK_OK;
    for (int64_t i = 0; i < m->n_params && st == RK_OK; i++) {
        const rk_param *p = &m->params[i];
        char text[160];
        if (!p->used || rk_tensor_rows(&p->tensor) != 1 || p->tensor.dtype != RK_F32 ||
            is_finite(&p->tensor))
            continue;
        snprintf(text, sizeof text, "tensor '%.80s' holds numbers that are not finite", p->name);
        st = warn(s, text, err);
    }
    return st;
}

/* Tensors that are missing, of another shape or type, or too many. */
static rk_status warn_of_tensors(rk_survey *s, rk_error *err)
{
    const rk_model *m = s->skeleton;
    rk_status st = RK_OK;
    for (int64_t i = 0; i < m->n_params && st == RK_OK && !s->more_warnings; i++) {
        rk_error why;
        if (rk_model_check_param(m, &m->params[i], &why) != RK_OK)
            st = warn(s, why.msg, err);
    }
    for (int64_t i = 0; i < rk_file_count(m->file) && st == RK_OK && !s->more_warnings; i++) {
        char text[160];
        if (rk_model_knows(m, rk_file_at(m->file, i)->name))
            continue;
        snprintf(text, sizeof text, "tensor '%.80s' is none of an %s model's",
                 rk_file_at(m->file, i)->name, m->arch->name);
        st = warn(s, text, err);
    }
    return st;
}

/* ---- sizes ---- */

/* Bytes of all tensors, of the table named only those of one row. */
static int64_t tensor_bytes(const rk_file *f, const char *table)
{
    int64_t bytes = 0;
    for (int64_t i = 0; i < rk_file_count(f); i++) {
        const rk_file_tensor *t = rk_file_at(f, i);
        const bool row = !strcmp(t->name, table) && t->n_dims == 2 && t->dims[0] > 0;
        bytes += row ? (int64_t)t->bytes / t->dims[0] : (int64_t)t->bytes;
    }
    return bytes;
}

static void count_params(rk_survey *s)
{
    s->info.n_params = 0;
    for (int64_t i = 0; i < rk_file_count(s->file); i++)
        s->info.n_params += rk_file_tensor_count(rk_file_at(s->file, i));
}

static int64_t meta_number(const rk_survey *s, const char *key)
{
    char name[128];
    snprintf(name, sizeof name, "%s.%s", s->arch, key);
    const char *value = rk_file_meta(s->file, name);
    const int64_t x = value ? strtoll(value, NULL, 10) : 0;
    return x > 0 && x < INT32_MAX ? x : 0;
}

/* Sizes of a related model, from its metadata. Its state: a matrix per head, and rows for the token
 * shift as the metadata say; a transformer has no state of fixed size, but a growing cache. */
static void read_relative(rk_survey *s)
{
    rk_model_info *i = &s->info;
    const rk_file_tensor *emb = rk_file_find(s->file, "token_embd.weight");
    i->n_embd = meta_number(s, "embedding_length");
    i->n_layer = meta_number(s, "block_count");
    i->dim_ffn = meta_number(s, "feed_forward_length");
    i->head_size = meta_number(s, "wkv.head_size");
    i->n_head = i->head_size ? i->n_embd / i->head_size : meta_number(s, "attention.head_count");
    i->n_vocab = emb && emb->n_dims == 2 ? emb->dims[0] : 0;
    const int64_t row = i->head_size + meta_number(s, "token_shift_count");
    i->state_bytes = i->head_size ? i->n_layer * i->n_embd * row * (int64_t)sizeof(float) : 0;
    s->bytes_per_token = tensor_bytes(s->file, "token_embd.weight") + 2 * i->state_bytes;
}

static void take_arch(rk_survey *s, const char *arch)
{
    snprintf(s->arch, sizeof s->arch, "%s", arch);
}

/* ---- opening ---- */

static rk_status look_at_model(rk_survey *s, rk_error *err)
{
    s->file = s->model->file;
    take_arch(s, s->model->arch->name);
    rk_model_get_info(s->model, &s->info);
    s->bytes_per_token = rk_model_bytes_per_token(s->model);
    return warn_of_numbers(s, err);
}

/* What rk_model_for_file makes of the file under canonical names; that it makes nothing is no
 * error. */
static rk_status make_skeleton(rk_survey *s, const char *path, rk_error *err)
{
    rk_file *f = NULL;
    rk_error why;
    rk_status st = rk_file_open(&f, path, &why);
    if (st == RK_OK)
        st = rk_scheme_import(&f, &why);
    if (st == RK_OK)
        st = rk_model_for_file(&s->skeleton, f, NULL, &why);
    return st == RK_ERR_NOMEM ? rk_fail(err, st, "%s", why.msg) : RK_OK;
}

/* The name of the table of embeddings, where a token needs one row of it only. */
static const char *table_of(const rk_model *m)
{
    for (int64_t i = 0; i < m->n_params; i++)
        if (rk_param_is_table(&m->params[i]) && !rk_param_is_product(&m->params[i]))
            return m->params[i].name;
    return "";
}

static rk_status look_at_skeleton(rk_survey *s, rk_error *err)
{
    rk_model_get_info(s->skeleton, &s->info);
    s->file = s->skeleton->file;
    take_arch(s, s->skeleton->arch->name);
    s->bytes_per_token = tensor_bytes(s->file, table_of(s->skeleton)) + 2 * s->info.state_bytes;
    return warn_of_tensors(s, err);
}

static rk_status look_at_file(rk_survey *s, const char *path, rk_error *err)
{
    const rk_status st = rk_file_open(&s->owned, path, err);
    if (st != RK_OK)
        return st;
    s->file = s->owned;
    const char *relative = rk_relative_arch(s->file);
    take_arch(s, relative ? relative : "unknown");
    if (relative)
        read_relative(s);
    return RK_OK;
}

rk_status rk_survey_open(rk_survey *s, const char *path, rk_error *err)
{
    rk_error why;
    *s = (rk_survey){0};
    rk_status st = rk_model_open(&s->model, path, &why);
    if (st == RK_OK)
        return look_at_model(s, err);
    if (st != RK_ERR_FORMAT && st != RK_ERR_UNSUPPORTED) {
        *err = why;
        return st;
    }
    st = warn(s, why.msg, err);
    if (st == RK_OK)
        st = make_skeleton(s, path, err);
    if (st == RK_OK)
        st = s->skeleton ? look_at_skeleton(s, err) : look_at_file(s, path, err);
    if (st == RK_OK)
        count_params(s);
    return st;
}

void rk_survey_close(rk_survey *s)
{
    for (int i = 0; i < s->n_warnings; i++)
        free(s->warnings[i]);
    rk_model_close(s->model);
    rk_model_close(s->skeleton);
    rk_file_close(s->owned);
    *s = (rk_survey){0};
}
