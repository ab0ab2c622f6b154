/* adapter_gguf.c: LoRA for llama.cpp (src/llama-adapter.cpp there). It computes them for the large matrices
 * alone, and its scale is alpha / r with one alpha for all.
 *
 * rwkv6: our GGUF files say that nothing is rescaled, so a LoRA goes with them as it is. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "io/gguf.h"
#include "tune/adapter_collect.h"
#include "tune/adapter_formats.h"
#include "tune/merge.h"

static const char key_arch[] = "general.architecture", key_type[] = "general.type",
                  key_kind[] = "adapter.type", key_alpha[] = "adapter.lora.alpha";

/* NULL: not one that llama.cpp has adapters for. */
static const rk_scheme *scheme_of(const char *arch)
{
    const rk_arch *a = rk_arch_find(arch);
    return a ? rk_scheme_gguf_of_arch(a) : NULL;
}

/* ---- reading ---- */

static rk_status expect(const rk_file *f, const char *key, const char *value, rk_error *err)
{
    const char *found = rk_file_meta(f, key);
    if (found && !strcmp(found, value))
        return RK_OK;
    return rk_fail(err, RK_ERR_FORMAT, "%s: %s is '%.32s', expected %s", rk_file_name(f), key,
                   found ? found : "", value);
}

typedef struct reading {
    const rk_scheme *scheme;
    double alpha;
} reading;

static rk_status settle(void *user, rk_adapter_part *p, const char *module, rk_error *err)
{
    const reading *r = user;
    (void)module;
    (void)err;
    p->scale = r->alpha != 0 ? r->alpha / (double)p->rank : 1;
    p->paired = rk_scheme_reorders(r->scheme, p->name);
    return RK_OK;
}

static rk_status read_alpha(const rk_file *f, double *alpha, rk_error *err)
{
    const char *text = rk_file_meta(f, key_alpha);
    *alpha = text ? strtod(text, NULL) : 0;
    if (isfinite(*alpha) && *alpha >= 0)
        return RK_OK;
    return rk_fail(err, RK_ERR_FORMAT, "%s: %s is '%.32s', expected a number of at least 0",
                   rk_file_name(f), key_alpha, text);
}

static rk_status read_gguf(rk_adapter_set *s, const char *path, const rk_file *f,
                           const rk_adapter_reading *how, rk_error *err)
{
    const char *arch = rk_file_meta(f, key_arch);
    reading r = {0};
    (void)how;
    rk_status st = expect(f, key_type, "adapter", err);
    if (st == RK_OK)
        st = expect(f, key_kind, "lora", err);
    if (st == RK_OK && (!arch || !scheme_of(arch)))
        st = rk_fail(err, RK_ERR_UNSUPPORTED,
                     "%s: an adapter for '%.32s', expected one of rwkv6, rwkv7, qwen2 or "
                     "llama",
                     path, arch ? arch : "");
    if (st == RK_OK)
        st = read_alpha(f, &r.alpha, err);
    if (st != RK_OK)
        return st;
    r.scheme = scheme_of(arch);
    const rk_adapter_collecting collecting = {.gguf = r.scheme, .settle = settle, .user = &r};
    s->alpha = r.alpha;
    snprintf(s->arch, sizeof s->arch, "%s", arch);
    snprintf(s->method, sizeof s->method, "lora");
    return rk_adapter_collect(s, f, &collecting, err);
}

/* ---- writing ---- */

/* What a set is that does not say: rwkv6 has matrices that rwkv7 lacks. */
static const char *arch_of(const rk_adapter_set *s)
{
    char module[RK_PARAM_NAME_MAX];
    for (int64_t i = 0; i < s->n_parts && !s->arch[0]; i++) {
        rk_part_module(&s->parts[i], module, sizeof module);
        if (rk_ends_with(module, ".att.gate") || rk_ends_with(module, ".ffn.receptance"))
            return rk_arch_rwkv6.name;
    }
    return s->arch;
}

static rk_status check_set(const rk_adapter_set *s, const char *path, rk_error *err)
{
    const char *arch = arch_of(s);
    if (!*arch)
        return rk_fail(
            err, RK_ERR_ARG,
            "%s: the adapter does not say which architecture it is for; -m names its model", path);
    if (!scheme_of(arch))
        return rk_fail(
            err, RK_ERR_UNSUPPORTED,
            "%s: llama.cpp has no adapters for %s, only for rwkv6, rwkv7, qwen2 and llama", path,
            arch);
    if (s->n_whole > 0)
        return rk_fail(
            err, RK_ERR_UNSUPPORTED,
            "%s: llama.cpp's adapters have no place for '%s', which the adapter replaces", path,
            s->whole[0].name);
    return s->n_parts > 0 ? RK_OK
                          : rk_fail(err, RK_ERR_UNSUPPORTED, "%s: no matrix is adapted", path);
}

/* The adapter as LoRA beside W itself. */
static rk_status as_lora(rk_adapter_set **out, const rk_adapter_set *s, const char *path,
                         rk_error *err)
{
    for (int64_t i = 0; i < s->n_parts; i++) {
        const rk_adapter_part *p = &s->parts[i];
        if (p->form != RK_PART_LORA && p->form != RK_PART_MISS)
            return rk_fail(err, RK_ERR_UNSUPPORTED, "%s: llama.cpp cannot compute %s of '%s'", path,
                           rk_forms[p->form].name, p->name);
        if (p->in == 0 || p->out == 0)
            return rk_fail(err, RK_ERR_ARG,
                           "%s: the adapter does not show the sizes of '%s'; -m names its model",
                           path, p->name);
        if (p->scale == 0)
            return rk_fail(err, RK_ERR_ARG,
                           "%s: the alpha of its LoRA is not known; --alpha says it", path);
    }
    return rk_adapter_set_to_lora(out, s, err);
}

/* The alpha that all parts have; 0, which stands for a scale of 1, where they differ: B has then been
 * multiplied by the scale. */
static double settle_alpha(rk_adapter_set *s)
{
    const double alpha = s->parts[0].scale * (double)s->parts[0].rank;
    bool same = true;
    for (int64_t i = 0; i < s->n_parts && same; i++)
        same = fabs(s->parts[i].scale * (double)s->parts[i].rank - alpha) <= 1e-12 * fabs(alpha);
    for (int64_t i = 0; i < s->n_parts && !same; i++)
        for (int64_t k = 0; k < rk_part_count(&s->parts[i], 1); k++)
            s->parts[i].tensors[1][k] =
                (float)((double)s->parts[i].tensors[1][k] * s->parts[i].scale);
    return same ? alpha : 0;
}

/* Rows of B in the order of the matrix's, which llama.cpp has in another one for a llama model's q and k. */
static rk_status order_rows(rk_adapter_part *p, const rk_scheme *scheme, int64_t head_size,
                            const char *path, rk_error *err)
{
    if (!rk_scheme_reorders(scheme, p->name))
        return RK_OK;
    if (head_size == 0)
        return rk_fail(err, RK_ERR_ARG,
                       "%s: llama.cpp has the rows of '%s' in another order, which the size of its "
                       "heads says; -m names its model",
                       path, p->name);
    return rk_part_move_pairs(p, head_size, false, err);
}

static rk_status put_part(rk_file *f, const rk_adapter_part *p, const rk_scheme *scheme,
                          rk_error *err)
{
    static const char *const kinds[] = {"lora_a", "lora_b"};
    char matrix[RK_TENSOR_NAME_MAX], name[RK_TENSOR_NAME_MAX + 8];
    int64_t dims[RK_MAX_DIMS];
    rk_status st = RK_OK;
    if (!rk_scheme_foreign_name(scheme, p->name, matrix) || !strcmp(matrix, "token_embd.weight"))
        return rk_fail(err, RK_ERR_UNSUPPORTED, "%s: llama.cpp computes no adapter of '%s'",
                       rk_file_name(f), p->name);
    for (int i = 0; i < 2 && st == RK_OK; i++) {
        snprintf(name, sizeof name, "%s.%s", matrix, kinds[i]);
        const int n = rk_part_dims(p, i, dims);
        st = rk_adapter_put(f, name, n, dims, p->tensors[i], err);
    }
    return st;
}

static rk_status write_file(const rk_file *f, const char *arch, double alpha, const char *path,
                            bool overwrite, rk_error *err)
{
    rk_gguf_meta meta = {0};
    rk_file_tensor *rows = rk_adapter_rows(f);
    const rk_file_contents c = {rows, rk_file_count(f), NULL, 0, NULL, NULL};
    rk_gguf_put_string(&meta, key_arch, arch);
    rk_gguf_put_string(&meta, key_type, "adapter");
    rk_gguf_put_string(&meta, key_kind, "lora");
    rk_gguf_put_f32(&meta, key_alpha, (float)alpha);
    const rk_status st = rows ? rk_gguf_write(path, &c, &meta, overwrite, err)
                              : rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", path);
    free(rows);
    rk_buf_deinit(&meta.bytes);
    return st;
}

static rk_status write_gguf(const rk_adapter_set *s, const char *path,
                            const rk_adapter_writing *how, rk_error *err)
{
    rk_adapter_set *lora = NULL;
    rk_file *f = NULL;
    rk_status st = check_set(s, path, err);
    if (st == RK_OK)
        st = as_lora(&lora, s, path, err);
    if (st == RK_OK)
        st = rk_file_new(&f, "gguf", path, err);
    const double alpha = st == RK_OK ? settle_alpha(lora) : 0;
    for (int64_t i = 0; i < s->n_parts && st == RK_OK; i++) {
        st = order_rows(&lora->parts[i], scheme_of(arch_of(s)), s->head_size, path, err);
        if (st == RK_OK)
            st = put_part(f, &lora->parts[i], scheme_of(arch_of(s)), err);
    }
    if (st == RK_OK)
        st = write_file(f, arch_of(s), alpha, path, how->overwrite, err);
    rk_file_close(f);
    rk_adapter_set_free(lora);
    return st;
}

static const char *const endings[] = {".gguf", NULL};

const rk_adapter_format_row rk_adapter_gguf = {
    .name = "gguf", .endings = endings, .read = read_gguf, .write = write_gguf};
