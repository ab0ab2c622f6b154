/* save_plain.c: a file whose architecture is none of ours, converted to another container
 * unchanged: names stay, and so do all metadata of a GGUF file. safetensors has text only, so each
 * value is stored as the hexadecimal digits of its bytes, and restored from them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "format/relatives.h"
#include "format/save.h"
#include "io/gguf.h"
#include "io/pth.h"
#include "io/safetensors.h"

static const char digits[] = "0123456789abcdef";

/* ---- metadata ---- */

/* RK_GGUF_KEPT KEY: the bytes of a value. */
static rk_status put_kept(rk_buf *b, rk_pair *pair, const rk_file_raw *raw)
{
    rk_buf_printf(b, RK_GGUF_KEPT "%s", raw->key);
    rk_buf_add(b, "", 1);
    const size_t key_bytes = b->len;
    for (size_t i = 0; i < raw->bytes; i++) {
        const char two[2] = {digits[raw->data[i] >> 4], digits[raw->data[i] & 15]};
        rk_buf_add(b, two, sizeof two);
    }
    *pair = (rk_pair){b->data, b->failed ? NULL : b->data + key_bytes};
    return b->failed ? RK_ERR_NOMEM : RK_OK;
}

static int value_of(char c)
{
    const char *p = c ? strchr(digits, c) : NULL;
    return p ? (int)(p - digits) : -1;
}

/* Restore a value that put_kept has stored. */
static rk_status put_restored(rk_gguf_meta *m, const rk_file *f, const rk_pair *pair, rk_error *err)
{
    const size_t n = strlen(pair->value);
    unsigned char *data = malloc(n / 2 + 1);
    bool ok = data && n >= 8 && n % 2 == 0;
    for (size_t i = 0; ok && i < n / 2; i++) {
        const int high = value_of(pair->value[2 * i]), low = value_of(pair->value[2 * i + 1]);
        ok = high >= 0 && low >= 0;
        data[i] = (unsigned char)((unsigned)(high & 15) << 4 | (unsigned)(low & 15));
    }
    if (ok)
        rk_gguf_put_raw(m, &(rk_file_raw){pair->key + strlen(RK_GGUF_KEPT), data, n / 2});
    const bool memory = data != NULL;
    free(data);
    if (!memory)
        return rk_fail(err, RK_ERR_NOMEM, "%s: out of memory for its metadata", rk_file_name(f));
    return ok ? RK_OK
              : rk_fail(err, RK_ERR_FORMAT, "%s: '%.80s' holds no value in hexadecimal digits",
                        rk_file_name(f), pair->key);
}

/* ---- containers ---- */

static rk_status save_gguf(rk_save *s, const rk_file *f, rk_error *err)
{
    const rk_file_contents c = {s->to, s->n, NULL, 0, rk_save_source, s};
    rk_gguf_meta meta = {0};
    rk_status st = RK_OK;
    for (int64_t i = 0; i < rk_file_raw_count(f); i++)
        if (strcmp(rk_file_raw_at(f, i)->key, "general.alignment") != 0)
            rk_gguf_put_raw(&meta, rk_file_raw_at(f, i));
    for (int64_t i = 0; i < rk_file_meta_count(f) && st == RK_OK; i++) {
        const rk_pair pair = rk_file_meta_at(f, i);
        const size_t n = strlen(RK_GGUF_KEPT);
        if (!strncmp(pair.key, RK_GGUF_KEPT, n) && strcmp(pair.key + n, "general.alignment") != 0)
            st = put_restored(&meta, f, &pair, err);
    }
    if (st == RK_OK && meta.n_pairs == 0 && !meta.bytes.failed)
        st = rk_fail(err, RK_ERR_UNSUPPORTED,
                     "%s: %s does not say what a .gguf file must: its metadata", s->path,
                     rk_file_name(f));
    if (st == RK_OK)
        st = rk_gguf_write(s->path, &c, &meta, s->o->overwrite, err);
    rk_buf_deinit(&meta.bytes);
    return st;
}

/* Text values as they are, for readers; and all values, so that they can be restored. */
static rk_status save_safetensors(rk_save *s, const rk_file *f, rk_error *err)
{
    const size_t n_meta = (size_t)rk_file_meta_count(f), n_raw = (size_t)rk_file_raw_count(f);
    rk_pair *pairs = calloc(n_meta + n_raw + 1, sizeof *pairs);
    rk_buf *kept = calloc(n_raw + 1, sizeof *kept);
    rk_status st = pairs && kept ? RK_OK : RK_ERR_NOMEM;
    for (size_t i = 0; i < n_meta && st == RK_OK; i++)
        pairs[i] = rk_file_meta_at(f, (int64_t)i);
    for (size_t i = 0; i < n_raw && st == RK_OK; i++)
        st = put_kept(&kept[i], &pairs[n_meta + i], rk_file_raw_at(f, (int64_t)i));
    if (st != RK_OK)
        rk_fail(err, st, "%s: out of memory for its metadata", s->path);
    const rk_file_contents c = {s->to, s->n, pairs, (int64_t)(n_meta + n_raw), rk_save_source, s};
    if (st == RK_OK)
        st = rk_st_write(s->path, &c, s->o->overwrite, NULL, err);
    for (size_t i = 0; kept && i < n_raw; i++)
        rk_buf_deinit(&kept[i]);
    free(kept);
    free(pairs);
    return st;
}

static rk_status save_pth(rk_save *s, const rk_file *f, rk_error *err)
{
    const rk_file_contents c = {s->to, s->n, NULL, 0, rk_save_source, s};
    if (rk_file_meta_count(f) > 0)
        return rk_fail(err, RK_ERR_UNSUPPORTED,
                       "%s: a .pth file cannot hold the metadata of %s; a .safetensors file can",
                       s->path, rk_file_name(f));
    return rk_pth_write(s->path, &c, s->o->overwrite, err);
}

/* ---- saving ---- */

static bool is_matrix(const rk_file_tensor *t)
{
    return t->n_dims >= 2 && t->dims[t->n_dims - 1] > 1 && t->dims[t->n_dims - 2] > 1;
}

static rk_dtype type_of(const rk_save_options *o, const rk_file_tensor *t)
{
    if (o->keep_types || (!rk_file_is_float(t) && !rk_dtype_is_blocks(t->dtype)))
        return t->dtype;
    return is_matrix(t) ? o->dtype : RK_F32;
}

rk_status rk_file_save(const rk_file *f, const char *path, const rk_save_options *o, rk_error *err)
{
    rk_save s = {.o = o, .path = path, .from = f, .n = rk_file_count(f)};
    s.to = calloc((size_t)s.n + 1, sizeof *s.to);
    if (!s.to)
        return rk_fail(err, RK_ERR_NOMEM, "%s: out of memory for its table of tensors", path);
    for (int64_t i = 0; i < s.n; i++) {
        s.to[i] = *rk_file_at(f, i);
        s.to[i].exchanged = false;
        s.to[i].dtype = type_of(o, &s.to[i]);
    }
    const rk_save_container as = rk_save_container_used(&s);
    const rk_status st =
        o->names != RK_SAVE_OWN
            ? rk_fail(err, RK_ERR_UNSUPPORTED, "%s: there are no Hugging Face folders of it", path)
        : as == RK_SAVE_GGUF ? save_gguf(&s, f, err)
        : as == RK_SAVE_PTH  ? save_pth(&s, f, err)
                             : save_safetensors(&s, f, err);
    free(s.to);
    return st;
}
