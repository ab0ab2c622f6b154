/* adapter_plain.c: what RWKV-PEFT writes: tensors under the model's names, with what is trained of the
 * model itself beside them. A .pth file has no place for more, so alpha is given by whoever merges it, and
 * the start of PiSSA, whose scale is 1 there, lies in a file of its own, init_pissa.pth. The same tensors
 * in a .safetensors file take both along. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "io/path.h"
#include "io/pth.h"
#include "io/safetensors.h"
#include "tune/adapter_collect.h"
#include "tune/adapter_formats.h"

static const char start_name[] = "init_pissa.pth";

/* ---- reading ---- */

static bool is_lora(const rk_adapter_part *p)
{
    return p->form == RK_PART_LORA || p->form == RK_PART_DORA;
}

static bool has_start(const rk_adapter_set *s)
{
    return s->n_parts > 0 && s->parts[0].start[0];
}

/* What the files themselves do not scale by: 1 for PiSSA, 0 for LoRA of unknown alpha. */
static double plain_scale(const rk_adapter_set *s, const rk_adapter_part *p)
{
    if (!is_lora(p))
        return 1;
    if (s->alpha == 0)
        return p->start[0] ? 1 : 0;
    return s->alpha / (s->rslora ? sqrt((double)p->rank) : (double)p->rank);
}

/* A whole model is no adapter, though nothing in it contradicts that. */
static rk_status refuse_model(const rk_adapter_set *s, const char *path, rk_error *err)
{
    for (int64_t i = 0; i < s->n_whole && s->n_parts == 0; i++)
        if (!strcmp(s->whole[i].name, "emb.weight"))
            return rk_fail(err, RK_ERR_FORMAT, "%s: a model, expected an adapter", path);
    return RK_OK;
}

static rk_status start_beside(rk_adapter_set *s, const char *path, const rk_adapter_reading *how,
                              rk_error *err)
{
    bool found = false;
    char *folder = rk_path_parent(path), *beside = folder ? rk_path_join(folder, start_name) : NULL;
    const rk_status st = beside ? rk_adapter_start_read(s, beside, how, &found, err)
                                : rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", path);
    free(folder);
    free(beside);
    return st;
}

static rk_status read_plain(rk_adapter_set *s, const char *path, const rk_file *f,
                            const rk_adapter_reading *how, rk_error *err)
{
    const rk_adapter_collecting collecting = {.blocks = RK_PART_BAT_IN, .whole = true};
    rk_status st = rk_adapter_collect(s, f, &collecting, err);
    if (st == RK_OK)
        st = rk_adapter_meta_read(s, f, err);
    if (st == RK_OK)
        st = refuse_model(s, path, err);
    if (st == RK_OK && s->n_parts > 0 && s->parts[0].form == RK_PART_LORA && !has_start(s))
        st = start_beside(s, path, how, err);
    if (s->alpha == 0 && !has_start(s))
        s->alpha = how->alpha;
    for (int64_t i = 0; i < s->n_parts; i++)
        s->parts[i].scale = plain_scale(s, &s->parts[i]);
    return st;
}

/* ---- writing ---- */

/* Tensor i of a part under its name here, with `kind` in place of the form's own. */
static rk_status put_tensor(rk_file *f, const rk_adapter_part *p, int i, const char *kind,
                            rk_error *err)
{
    char name[RK_TENSOR_NAME_MAX];
    int64_t dims[RK_MAX_DIMS];
    const int n = rk_part_dims(p, i, dims);
    rk_part_module(p, name, sizeof name);
    snprintf(name + strlen(name), sizeof name - strlen(name), ".%s", kind);
    return rk_adapter_put(f, name, n, dims, p->tensors[i], err);
}

/* A and B of a pair, B as whoever reads the file scales it. */
static rk_status put_lora(rk_file *f, const rk_adapter_part *p, float *const pair[2],
                          const char *const kinds[2], double times, rk_error *err)
{
    rk_adapter_part scaled = *p;
    const int64_t n = rk_part_count(p, 1);
    float *b = pair[1];
    if (times != 1) {
        b = rk_file_alloc(f, (size_t)n * sizeof *b, err);
        for (int64_t i = 0; b && i < n; i++)
            b[i] = (float)((double)pair[1][i] * times);
    }
    if (!b)
        return RK_ERR_NOMEM;
    scaled.tensors[0] = pair[0];
    scaled.tensors[1] = b;
    const rk_status st = put_tensor(f, &scaled, 0, kinds[0], err);
    return st == RK_OK ? put_tensor(f, &scaled, 1, kinds[1], err) : st;
}

/* The file that is written: where its start goes, and by what readers will scale. */
typedef struct plain {
    const rk_adapter_set *s;
    const char *path;
    bool pth;
    rk_file *main, *start; /* the same but for a .pth file */
} plain;

static double times_of(const plain *w, const rk_adapter_part *p)
{
    rk_adapter_set as_read = *w->s;
    if (w->pth) {
        as_read.rslora = false;
        as_read.alpha = p->start[0] ? 0 : as_read.alpha;
    }
    const double scale = plain_scale(&as_read, p);
    return scale == 0 ? 1 : p->scale / scale;
}

static rk_status put_part(const plain *w, const rk_adapter_part *p, rk_error *err)
{
    static const char *const kinds[] = {"lora_A", "lora_B"};
    static const char *const start_kinds[] = {"init_lora_A", "init_lora_B"};
    if (p->form == RK_PART_BAT_OUT ||
        (p->form == RK_PART_MISS && p->out != 0 && p->width != p->out))
        return rk_fail(err, RK_ERR_UNSUPPORTED,
                       "%s: such a file cannot say that '%s' has %s; a Hugging Face folder can",
                       w->path, p->name,
                       p->form == RK_PART_MISS ? "MiSS's form mini" : "Bat per output block");
    if (!is_lora(p))
        return put_tensor(w->main, p, 0, "disha", err);
    const double times = times_of(w, p);
    rk_status st = put_lora(w->main, p, p->tensors, kinds, times, err);
    if (st == RK_OK && p->form == RK_PART_DORA)
        st = put_tensor(w->main, p, 2, "lora_magnitude_vector", err);
    return st == RK_OK && p->start[0] ? put_lora(w->start, p, p->start, start_kinds, times, err)
                                      : st;
}

static rk_status write_file(const plain *w, const rk_file *f, const char *path, bool overwrite,
                            rk_error *err)
{
    char text[RK_ADAPTER_PAIRS_MAX][RK_ADAPTER_TEXT_MAX];
    rk_pair pairs[RK_ADAPTER_PAIRS_MAX];
    rk_file_tensor *rows = rk_adapter_rows(f);
    const int n = rk_adapter_meta(w->s, false, pairs, text);
    const rk_file_contents c = {rows, rk_file_count(f), pairs, n, NULL, NULL};
    rk_status st = RK_ERR_NOMEM;
    if (!rows)
        return rk_fail(err, st, "%s: out of memory", path);
    st = w->pth ? rk_pth_write(path, &c, overwrite, err)
                : rk_st_write(path, &c, overwrite, NULL, err);
    free(rows);
    return st;
}

/* The start's file is written first: one that is missing would not be noticed. */
static rk_status write_start(const plain *w, bool overwrite, rk_error *err)
{
    rk_status st = RK_OK;
    char *folder = rk_path_parent(w->path),
         *beside = folder ? rk_path_join(folder, start_name) : NULL;
    if (!beside)
        st = rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", w->path);
    else if (rk_file_count(w->start) > 0)
        st = write_file(w, w->start, beside, overwrite, err);
    else if (access(beside, F_OK) == 0 && w->s->n_parts > 0 && w->s->parts[0].form == RK_PART_LORA)
        st = rk_fail(err, RK_ERR_ARG, "%s: %s beside it would be taken for its start", w->path,
                     start_name);
    free(folder);
    free(beside);
    return st;
}

static rk_status build(plain *w, rk_error *err)
{
    rk_status st = rk_file_new(&w->main, "pth", w->path, err);
    if (st == RK_OK && w->pth)
        st = rk_file_new(&w->start, "pth", start_name, err);
    else
        w->start = w->main;
    for (int64_t i = 0; i < w->s->n_parts && st == RK_OK; i++)
        st = put_part(w, &w->s->parts[i], err);
    if (st == RK_OK)
        st = rk_adapter_put_whole(w->main, w->s, "", err);
    return st;
}

static rk_status write_plain(const rk_adapter_set *s, const char *path,
                             const rk_adapter_writing *how, rk_error *err)
{
    plain w = {.s = s, .path = path, .pth = !rk_ends_with(path, ".safetensors")};
    rk_status st = build(&w, err);
    if (st == RK_OK && w.pth)
        st = write_start(&w, how->overwrite, err);
    if (st == RK_OK)
        st = write_file(&w, w.main, path, how->overwrite, err);
    if (w.start != w.main)
        rk_file_close(w.start);
    rk_file_close(w.main);
    return st;
}

static const char *const endings[] = {".pth", ".pt", ".safetensors", NULL};

const rk_adapter_format_row rk_adapter_plain = {
    .name = "rwkv-peft", .endings = endings, .read = read_plain, .write = write_plain};
