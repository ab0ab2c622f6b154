/* adapter_file.c: the table of formats, and what they share. */
#include "tune/adapter_file.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/num.h"
#include "base/str.h"
#include "io/path.h"
#include "tune/adapter_collect.h"
#include "tune/adapter_formats.h"

/* In the order of rk_adapter_format, of which the first is none. */
static const rk_adapter_format_row *const formats[] = {NULL, &rk_adapter_hf, &rk_adapter_plain,
                                                       &rk_adapter_gguf};

/* ---- reading ---- */

static const rk_adapter_format_row *format_of_file(const rk_file *f)
{
    return strcmp(rk_file_container(f), "gguf") == 0 ? &rk_adapter_gguf : &rk_adapter_plain;
}

/* What no format can be: nothing, or a whole model. */
static rk_status check_contents(const rk_adapter_set *s, const char *path,
                                const rk_adapter_reading *how, rk_error *err)
{
    if (s->n_parts == 0 && s->n_whole == 0)
        return rk_fail(err, RK_ERR_FORMAT, "%s: an adapter without tensors", path);
    if (how->alpha != 0 && s->alpha != 0 && how->alpha != s->alpha)
        return rk_fail(err, RK_ERR_ARG, "%s: its alpha is %g, not %g", path, s->alpha, how->alpha);
    return RK_OK;
}

/* Checks what has been read into *out; on failure there is nothing. */
static rk_status finish(rk_adapter_set **out, rk_status st, const char *path,
                        const rk_adapter_reading *how, rk_error *err)
{
    if (st == RK_OK)
        st = check_contents(*out, path, how, err);
    if (st != RK_OK) {
        rk_adapter_set_free(*out);
        *out = NULL;
    }
    return st;
}

static const rk_adapter_reading nothing_given;

rk_status rk_adapter_open_file(rk_adapter_set **out, const rk_file *f,
                               const rk_adapter_reading *how, rk_error *err)
{
    how = how ? how : &nothing_given;
    rk_status st = rk_adapter_set_new(out, err);
    if (st != RK_OK)
        return st;
    st = format_of_file(f)->read(*out, rk_file_name(f), f, how, err);
    return finish(out, st, rk_file_name(f), how, err);
}

static rk_status open_folder(rk_adapter_set **out, const char *path, const rk_adapter_reading *how,
                             rk_error *err)
{
    how = how ? how : &nothing_given;
    rk_status st = rk_adapter_set_new(out, err);
    if (st != RK_OK)
        return st;
    st = rk_adapter_hf.read(*out, path, NULL, how, err);
    return finish(out, st, path, how, err);
}

rk_status rk_adapter_open(rk_adapter_set **out, const char *path, const rk_adapter_reading *how,
                          rk_error *err)
{
    rk_file *f = NULL;
    *out = NULL;
    if (rk_path_is_folder(path))
        return open_folder(out, path, how, err);
    rk_status st = rk_file_open_single(&f, path, err);
    if (st == RK_OK)
        st = rk_adapter_open_file(out, f, how, err);
    rk_file_close(f);
    return st;
}

/* ---- what our files say beyond the formats ---- */

static const char meta_method[] = "method", meta_alpha[] = "alpha", meta_rslora[] = "rslora",
                  meta_arch[] = "arch", meta_fingerprint[] = "fingerprint";

static rk_status fail_meta(const rk_file *f, const char *key, const char *value,
                           const char *expected, rk_error *err)
{
    return rk_fail(err, RK_ERR_FORMAT, "%s: %s '%.40s' in its metadata, expected %s",
                   rk_file_name(f), key, value, expected);
}

static rk_status read_text(const rk_file *f, const char *key, char *out, size_t size, rk_error *err)
{
    const char *value = rk_file_meta(f, key);
    if (!value)
        return RK_OK;
    if (strlen(value) >= size ||
        strspn(value, "abcdefghijklmnopqrstuvwxyz0123456789.+-_") != strlen(value))
        return fail_meta(f, key, value, "a short word", err);
    memcpy(out, value, strlen(value) + 1);
    return RK_OK;
}

rk_status rk_adapter_meta_read(rk_adapter_set *s, const rk_file *f, rk_error *err)
{
    const char *fingerprint = rk_file_meta(f, meta_fingerprint),
               *alpha = rk_file_meta(f, meta_alpha);
    const char *rslora = rk_file_meta(f, meta_rslora);
    char *end = NULL;
    rk_status st = read_text(f, meta_method, s->method, sizeof s->method, err);
    if (st == RK_OK)
        st = read_text(f, meta_arch, s->arch, sizeof s->arch, err);
    if (st == RK_OK && alpha) {
        s->alpha = strtod(alpha, &end);
        if (*end || !(s->alpha > 0) || !isfinite(s->alpha))
            st = fail_meta(f, meta_alpha, alpha, "a number above 0", err);
    }
    if (st == RK_OK && fingerprint) {
        if (strlen(fingerprint) != 16 || strspn(fingerprint, "0123456789abcdef") != 16)
            st = fail_meta(f, meta_fingerprint, fingerprint, "16 hexadecimal digits", err);
        else
            s->fingerprint = strtoull(fingerprint, NULL, 16);
    }
    s->rslora = s->rslora || (rslora && !strcmp(rslora, "true"));
    return st;
}

int rk_adapter_meta(const rk_adapter_set *s, bool stacked, rk_pair *pairs,
                    char (*text)[RK_ADAPTER_TEXT_MAX])
{
    int n = 0;
    pairs[n++] = (rk_pair){"format", "pt"};
    if (s->method[0])
        pairs[n++] = (rk_pair){meta_method, s->method};
    if (s->alpha != 0) {
        snprintf(text[n], RK_ADAPTER_TEXT_MAX, "%.17g", s->alpha);
        pairs[n] = (rk_pair){meta_alpha, text[n]};
        n++;
    }
    if (s->rslora)
        pairs[n++] = (rk_pair){meta_rslora, "true"};
    if (s->arch[0])
        pairs[n++] = (rk_pair){meta_arch, s->arch};
    if (s->fingerprint) {
        snprintf(text[n], RK_ADAPTER_TEXT_MAX, "%016" PRIx64, s->fingerprint);
        pairs[n] = (rk_pair){meta_fingerprint, text[n]};
        n++;
    }
    if (stacked)
        pairs[n++] = (rk_pair){"start", "stacked"};
    return n;
}

/* ---- starts in files of their own ---- */

static rk_status collect_start(rk_adapter_set *s, const char *path, rk_error *err)
{
    const rk_adapter_collecting how = {.starts = true};
    rk_file *f = NULL;
    if (rk_path_is_folder(path))
        return rk_adapter_hf.read(s, path, NULL, &(rk_adapter_reading){0}, err);
    rk_status st = rk_file_open_single(&f, path, err);
    if (st == RK_OK)
        st = rk_adapter_collect(s, f, &how, err);
    rk_file_close(f);
    return st;
}

rk_status rk_adapter_start_read(rk_adapter_set *s, const char *beside,
                                const rk_adapter_reading *how, bool *found, rk_error *err)
{
    const char *path = how->start ? how->start : beside;
    rk_adapter_set *from = NULL;
    *found = how->start || access(beside, F_OK) == 0;
    if (!*found)
        return RK_OK;
    rk_status st = rk_adapter_set_new(&from, err);
    if (st == RK_OK)
        st = collect_start(from, path, err);
    if (st == RK_OK)
        st = rk_adapter_take_start(s, from, path, err);
    rk_adapter_set_free(from);
    return st;
}

/* ---- writing ---- */

rk_status rk_adapter_put(rk_file *f, const char *name, int n_dims, const int64_t *dims,
                         const float *data, rk_error *err)
{
    rk_file_tensor t = {.name = name, .dtype = RK_F32, .n_dims = n_dims, .data = data};
    memcpy(t.dims, dims, (size_t)n_dims * sizeof *dims);
    rk_file_shape_bytes(RK_F32, n_dims, dims, &t.bytes);
    return rk_file_add(f, &t, err);
}

rk_status rk_adapter_put_whole(rk_file *f, const rk_adapter_set *s, const char *prefix,
                               rk_error *err)
{
    char name[RK_TENSOR_NAME_MAX];
    rk_status st = RK_OK;
    for (int64_t i = 0; i < s->n_whole && st == RK_OK; i++) {
        const rk_adapter_whole *w = &s->whole[i];
        snprintf(name, sizeof name, "%s%s", prefix, w->name);
        st = rk_adapter_put(f, name, w->n_dims, w->dims, w->data, err);
    }
    return st;
}

rk_file_tensor *rk_adapter_rows(const rk_file *f)
{
    rk_file_tensor *rows = calloc((size_t)rk_file_count(f) + 1, sizeof *rows);
    for (int64_t i = 0; rows && i < rk_file_count(f); i++)
        rows[i] = *rk_file_at(f, i);
    return rows;
}

static const rk_adapter_format_row *format_of_path(const char *path)
{
    for (size_t i = 0; i < RK_COUNT(formats); i++)
        for (const char *const *e = formats[i] ? formats[i]->endings : NULL; e && *e; e++)
            if (rk_ends_with(path, *e))
                return formats[i];
    return &rk_adapter_hf;
}

rk_status rk_adapter_save(const rk_adapter_set *s, const char *path, const rk_adapter_writing *how,
                          rk_error *err)
{
    const rk_adapter_format_row *row =
        how->format == RK_ADAPTER_BY_ENDING ? format_of_path(path) : formats[how->format];
    for (int64_t i = 0; i < s->n_parts; i++)
        if (s->parts[i].paired)
            return rk_fail(
                err, RK_ERR_ARG,
                "%s: the rows of '%s' lie in llama.cpp's order; -m names the model, whose "
                "heads say how",
                path, s->parts[i].name);
    return row->write(s, path, how, err);
}
