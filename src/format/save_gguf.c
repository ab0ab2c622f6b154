/* save_gguf.c: the metadata that llama.cpp needs, and what we keep so that converting back restores
 * the file. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "format/save.h"
#include "text/gguf_vocab.h"
#include "text/tokenizer.h"

/* Values of general.file_type, which are only informative. */
static const struct {
    rk_dtype dtype;
    uint32_t number;
} file_types[] = {{RK_F32, 0},   {RK_F16, 1},   {RK_Q4_0, 2},  {RK_Q4_1, 3},  {RK_Q8_0, 7},
                  {RK_Q5_0, 8},  {RK_Q5_1, 9},  {RK_Q2_K, 10}, {RK_Q3_K, 11}, {RK_Q4_K, 14},
                  {RK_Q5_K, 16}, {RK_Q6_K, 18}, {RK_BF16, 32}};

/* The type that holds most of the bytes. */
static rk_dtype main_type(const rk_save *s)
{
    size_t bytes[RK_DTYPE_COUNT] = {0}, n = 0;
    rk_dtype best = RK_F32;
    for (int64_t i = 0; i < s->n; i++)
        if (rk_file_shape_bytes(s->to[i].dtype, s->to[i].n_dims, s->to[i].dims, &n))
            bytes[s->to[i].dtype] += n;
    for (int t = 0; t < RK_DTYPE_COUNT; t++)
        if (bytes[t] > bytes[best])
            best = (rk_dtype)t;
    return best;
}

/* Layers that are kept and low-rank pairs are parts as well, that llama.cpp does not have. */
static void name_arch(const rk_save *s, char *name)
{
    rk_arch_full_name(s->m, s->m->arch->name, name);
    const size_t n = strlen(name);
    snprintf(name + n, RK_ARCH_NAME_MAX - n, "%s%s", rk_n_kept(&s->m->hp) > 0 ? "+hybrid" : "",
             s->m->hp.low_rank > 0 ? "+low_rank" : "");
}

static void put_sizes(rk_gguf_meta *m, const rk_save *s)
{
    const rk_arch *arch = s->m->arch;
    const rk_scheme *scheme = rk_scheme_gguf_numbers(arch);
    char name[RK_ARCH_NAME_MAX];
    name_arch(s, name);
    for (int i = 0; i < scheme->n_numbers; i++) {
        const rk_scheme_number *n = &scheme->numbers[i];
        const rk_size_spec *size = n->size ? rk_size_find(arch, n->size) : NULL;
        char key[RK_ARCH_NAME_MAX + 64];
        snprintf(key, sizeof key, "%s.%s", name, n->key);
        if (size && size->at.real)
            rk_gguf_put_f32(m, key, (float)rk_size_value(size, &s->m->hp));
        else if (size || !n->size)
            rk_gguf_put_u32(m, key, size ? (uint32_t)rk_size_value(size, &s->m->hp) : n->constant);
    }
}

/* The names of the tensors that become f32 and were of another type, or had been before. */
static void put_were(rk_gguf_meta *m, const rk_save *s, rk_dtype dtype)
{
    rk_gguf_meta names = {0};
    char key[32];
    uint64_t n = 0;
    for (int64_t i = 0; i < s->m->n_params; i++) {
        const rk_param *p = &s->m->params[i];
        const rk_file_tensor *t = rk_file_find(s->canonical, p->name);
        if (!t || !p->used || !rk_save_is_vector(p) ||
            rk_save_type_before(s->m, p, t->dtype) != dtype)
            continue;
        rk_gguf_add_string(&names, p->name, strlen(p->name));
        n++;
    }
    snprintf(key, sizeof key, RK_GGUF_WERE "%s", rk_dtype_name(dtype));
    if (n > 0) {
        rk_gguf_begin_array(m, key, RK_GGUF_STRING, n);
        rk_buf_add(&m->bytes, names.bytes.data, names.bytes.len);
    }
    m->bytes.failed = m->bytes.failed || names.bytes.failed;
    rk_buf_deinit(&names.bytes);
}

rk_dtype rk_save_type_before(const rk_model *m, const rk_param *p, rk_dtype own)
{
    static const rk_dtype dtypes[] = {RK_BF16, RK_F16};
    char key[32];
    for (size_t i = 0; i < RK_COUNT(dtypes) && own == RK_F32 && m->file; i++) {
        snprintf(key, sizeof key, RK_GGUF_WERE "%s", rk_dtype_name(dtypes[i]));
        if (rk_gguf_array_has(rk_file_raw_find(m->file, key), p->name))
            return dtypes[i];
    }
    return own;
}

/* Layer 0's v0, v1, v2 of rwkv7 are not used in the computation, and llama.cpp has others in their
 * place. */
static void put_unused(rk_gguf_meta *m, const rk_save *s)
{
    char key[RK_TENSOR_NAME_MAX + 32];
    uint32_t n = 0;
    for (int64_t i = 0; i < rk_file_count(s->canonical); i++) {
        const rk_file_tensor *t = rk_file_at(s->canonical, i);
        const rk_param *p = rk_save_param(s, t);
        if (!p || p->used || t->exchanged ||
            (t->dtype != RK_F32 && t->dtype != RK_BF16 && t->dtype != RK_F16))
            continue;
        snprintf(key, sizeof key, RK_GGUF_UNUSED ".%s.%s", t->name, rk_dtype_name(t->dtype));
        rk_gguf_begin_array(m, key, t->dtype == RK_F32 ? RK_GGUF_F32 : RK_GGUF_U16,
                            (uint64_t)rk_file_tensor_count(t));
        rk_buf_add(&m->bytes, t->data, t->bytes);
        n++;
    }
    if (s->exported && s->scheme->has_dummies)
        rk_gguf_put_u32(m, RK_GGUF_UNUSED, n);
}

/* Write the vocabulary that the model came with, or the one that the caller gives. */
static void put_vocab(rk_gguf_meta *m, const rk_save *s)
{
    bool copied = false;
    const rk_file *f = s->o->tokenizer ? NULL : s->m->file;
    for (int64_t i = 0; f && i < rk_file_raw_count(f); i++) {
        const rk_file_raw *raw = rk_file_raw_at(f, i);
        if (strncmp(raw->key, "tokenizer.", strlen("tokenizer.")) != 0)
            continue;
        rk_gguf_put_raw(m, raw);
        copied = true;
    }
    if (copied)
        return;
    if (!s->o->tokenizer) {
        rk_gguf_put_string(m, "tokenizer.ggml.model", "no_vocab");
        return;
    }
    rk_gguf_put_vocab(m, s->o->tokenizer, s->m->hp.n_vocab);
    if (rk_tokenizer_has_merges(s->o->tokenizer))
        return; /* which says where texts end */
    rk_gguf_put_u32(m, "tokenizer.ggml.bos_token_id", 0);
    rk_gguf_put_u32(m, "tokenizer.ggml.eos_token_id", 0);
    if (s->m->hp.n_vocab == 65536) { /* the blank line of the World vocabulary ends a turn */
        rk_gguf_put_u32(m, "tokenizer.ggml.eot_token_id", 261);
        rk_gguf_put_string(m, "tokenizer.chat_template", "rwkv-world");
    }
}

static const char *name_of_model(const rk_save *s)
{
    const char *name = s->m->file ? rk_file_meta(s->m->file, "general.name") : NULL;
    return name ? name : s->m->arch->name;
}

/* Is it a size that stands under a key of llama.cpp's? */
static bool has_number(const rk_arch *arch, const char *size)
{
    const rk_scheme *scheme = rk_scheme_gguf_of_arch(arch);
    const rk_size_spec *spec = rk_size_find(arch, size);
    for (int i = 0; scheme && spec && spec->file.from == RK_FROM_STATED && i < scheme->n_numbers;
         i++)
        if (scheme->numbers[i].size && !strcmp(scheme->numbers[i].size, size))
            return true;
    return false;
}

static void put_all(rk_gguf_meta *m, const rk_save *s)
{
    char text[RK_SAVE_PAIRS_MAX][RK_SAVE_TEXT_MAX];
    rk_pair pairs[RK_SAVE_PAIRS_MAX];
    const rk_dtype type = main_type(s);
    const int n = rk_save_pairs(s, pairs, text);
    char arch[RK_ARCH_NAME_MAX];
    name_arch(s, arch);
    rk_gguf_put_string(m, "general.architecture", arch);
    rk_gguf_put_string(m, "general.name", name_of_model(s));
    for (size_t i = 0; i < RK_COUNT(file_types); i++)
        if (file_types[i].dtype == type)
            rk_gguf_put_u32(m, "general.file_type", file_types[i].number);
    if (rk_dtype_is_blocks(type))
        rk_gguf_put_u32(m, "general.quantization_version", 2);
    put_sizes(m, s);
    for (int i = 0; i < n; i++)
        if (!has_number(s->m->arch, pairs[i].key))
            rk_gguf_put_string(m, pairs[i].key, pairs[i].value);
    for (int64_t i = 0; i < s->o->n_meta; i++)
        rk_gguf_put_string(m, s->o->meta[i].key, s->o->meta[i].value);
    put_were(m, s, RK_BF16);
    put_were(m, s, RK_F16);
    put_unused(m, s);
    put_vocab(m, s);
}

rk_status rk_save_gguf(rk_save *s, rk_error *err)
{
    rk_gguf_meta meta = {0};
    const rk_file_contents c = {s->to, s->n, NULL, 0, rk_save_source, s};
    put_all(&meta, s);
    const rk_status st = rk_gguf_write(s->path, &c, &meta, s->o->overwrite, err);
    rk_buf_deinit(&meta.bytes);
    return st;
}

rk_status rk_model_tokenizer(rk_tokenizer **out, const rk_model *m, rk_error *err)
{
    *out = NULL;
    return m->file ? rk_gguf_get_vocab(out, m->file, err) : RK_OK;
}
