/* names_gguf.c: the names of llama.cpp's GGUF files of rwkv6 and rwkv7.
 *
 * Source: ggml-org/llama.cpp, convert_hf_to_gguf.py and src/llama-model.cpp. Low-rank matrices are
 * stored there as linear weights, (out, in). */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "format/scheme_forms.h"

#define SAME(canonical, gguf)                                                                      \
    {                                                                                              \
        canonical, gguf, RK_FORM_SAME, 0, NULL, false                                              \
    }
#define VECTOR(canonical, gguf)                                                                    \
    {                                                                                              \
        canonical, gguf, RK_FORM_SAME, 0, ".", false                                               \
    }
#define LATER(canonical, gguf, form, dims)                                                         \
    {                                                                                              \
        canonical, gguf, form, 0, dims, true                                                       \
    }
#define EXCHANGED(canonical, gguf)                                                                 \
    {                                                                                              \
        canonical, gguf, RK_FORM_EXCHANGED, 0, NULL, false                                         \
    }
#define PIECE(canonical, gguf, i)                                                                  \
    {                                                                                              \
        canonical, gguf, RK_FORM_PIECE, i, NULL, false                                             \
    }

#define MODEL_ROWS                                                                                 \
    SAME("emb.weight", "token_embd.weight"),                                                       \
        VECTOR("blocks.0.ln0.weight", "token_embd_norm.weight"),                                   \
        VECTOR("blocks.0.ln0.bias", "token_embd_norm.bias"),                                       \
        VECTOR("ln_out.weight", "output_norm.weight"), VECTOR("ln_out.bias", "output_norm.bias"),  \
        SAME("head.weight", "output.weight"),                                                      \
        VECTOR("blocks.%d.ln1.weight", "blk.%d.attn_norm.weight"),                                 \
        VECTOR("blocks.%d.ln1.bias", "blk.%d.attn_norm.bias"),                                     \
        VECTOR("blocks.%d.ln2.weight", "blk.%d.attn_norm_2.weight"),                               \
        VECTOR("blocks.%d.ln2.bias", "blk.%d.attn_norm_2.bias"),                                   \
        SAME("blocks.%d.att.key.weight", "blk.%d.time_mix_key.weight"),                            \
        SAME("blocks.%d.att.value.weight", "blk.%d.time_mix_value.weight"),                        \
        SAME("blocks.%d.att.receptance.weight", "blk.%d.time_mix_receptance.weight"),              \
        VECTOR("blocks.%d.att.ln_x.weight", "blk.%d.time_mix_ln.weight"),                          \
        VECTOR("blocks.%d.att.ln_x.bias", "blk.%d.time_mix_ln.bias"),                              \
        SAME("blocks.%d.ffn.key.weight", "blk.%d.channel_mix_key.weight")

#define MODEL_NUMBERS                                                                              \
    {"context_length", NULL, 1 << 20}, /* no limit */                                              \
        {"embedding_length", "n_embd", 0}, {"block_count", "n_layer", 0},                          \
        {"feed_forward_length", "dim_ffn", 0}, {"attention.head_count", NULL, 0},                  \
        {"wkv.head_size", "head_size", 0}, {"vocab_size", "n_vocab", 0},                           \
    {                                                                                              \
        "attention.layer_norm_epsilon", "ln_eps", 0                                                \
    }

static bool is_arch(const rk_file *f, const char *name)
{
    const char *arch = rk_file_meta(f, "general.architecture");
    return !strcmp(rk_file_container(f), "gguf") && arch && !strcmp(arch, name);
}

/* ---- rwkv7 ---- */

#define FUSED "blk.%d.time_mix_lerp_fused.weight"

static const rk_scheme_row rows7[] = {
    MODEL_ROWS,
    SAME("blocks.%d.att.output.weight", "blk.%d.time_mix_output.weight"),
    SAME("blocks.%d.ffn.value.weight", "blk.%d.channel_mix_value.weight"),
    PIECE("blocks.%d.att.x_r", FUSED, 0),
    PIECE("blocks.%d.att.x_w", FUSED, 1),
    PIECE("blocks.%d.att.x_k", FUSED, 2),
    PIECE("blocks.%d.att.x_v", FUSED, 3),
    PIECE("blocks.%d.att.x_a", FUSED, 4),
    PIECE("blocks.%d.att.x_g", FUSED, 5),
    VECTOR("blocks.%d.att.w0", "blk.%d.time_mix_w0.weight"),
    EXCHANGED("blocks.%d.att.w1", "blk.%d.time_mix_w1.weight"),
    EXCHANGED("blocks.%d.att.w2", "blk.%d.time_mix_w2.weight"),
    VECTOR("blocks.%d.att.a0", "blk.%d.time_mix_a0.weight"),
    EXCHANGED("blocks.%d.att.a1", "blk.%d.time_mix_a1.weight"),
    EXCHANGED("blocks.%d.att.a2", "blk.%d.time_mix_a2.weight"),
    LATER("blocks.%d.att.v0", "blk.%d.time_mix_v0.weight", RK_FORM_SAME, "."),
    LATER("blocks.%d.att.v1", "blk.%d.time_mix_v1.weight", RK_FORM_EXCHANGED, NULL),
    LATER("blocks.%d.att.v2", "blk.%d.time_mix_v2.weight", RK_FORM_EXCHANGED, NULL),
    EXCHANGED("blocks.%d.att.g1", "blk.%d.time_mix_g1.weight"),
    EXCHANGED("blocks.%d.att.g2", "blk.%d.time_mix_g2.weight"),
    VECTOR("blocks.%d.att.k_k", "blk.%d.time_mix_k_k.weight"),
    VECTOR("blocks.%d.att.k_a", "blk.%d.time_mix_k_a.weight"),
    {"blocks.%d.att.r_k", "blk.%d.time_mix_r_k.weight", RK_FORM_HEADS, 0, ".", false},
    VECTOR("blocks.%d.ffn.x_k", "blk.%d.channel_mix_lerp_k.weight"),
};

static const rk_scheme_number numbers7[] = {
    MODEL_NUMBERS,
    {"attention.decay_lora_rank", "rank_w", 0},
    {"attention.iclr_lora_rank", "rank_a", 0},
    {"attention.value_residual_mix_lora_rank", "rank_v", 0},
    {"attention.gate_lora_rank", "rank_g", 0},
};

static bool detect7(const rk_file *f)
{
    return is_arch(f, "rwkv7");
}

rk_status rk_gguf_add_dummies(rk_file *foreign, const rk_file *canonical, const char *mixer,
                              rk_error *err)
{
    rk_status st = RK_OK;
    for (int i = 0; i < 3 && st == RK_OK; i++) {
        char name[RK_TENSOR_NAME_MAX], gguf[RK_TENSOR_NAME_MAX];
        snprintf(name, sizeof name, "%sa%d", mixer, i);
        snprintf(gguf, sizeof gguf, "blk.0.time_mix_v%d.weight", i);
        const rk_file_tensor *a = rk_file_find(canonical, name);
        if (!a)
            return rk_fail(err, RK_ERR_FORMAT, "%s: no tensor '%s'", rk_file_name(canonical), name);
        const rk_scheme_row as = {.canonical = name,
                                  .foreign = gguf,
                                  .form = i ? RK_FORM_EXCHANGED : RK_FORM_SAME,
                                  .dims = i ? NULL : "."};
        st = rk_scheme_add_row(foreign, a, &as, err);
    }
    return st;
}

static rk_status add_dummies(rk_file *foreign, const rk_file *canonical, rk_error *err)
{
    return rk_gguf_add_dummies(foreign, canonical, "blocks.0.att.", err);
}

bool rk_gguf_has_dummies(const rk_file *f)
{
    return rk_file_raw_find(f, RK_GGUF_UNUSED) != NULL;
}

/* The last dimension of a tensor; 0 when there is none of this name. */
static int64_t last_dim(const rk_file *f, const char *name)
{
    const rk_file_tensor *t = rk_file_find(f, name);
    return t && t->n_dims > 0 ? t->dims[t->n_dims - 1] : 0;
}

/* Restore layer 0's v0 (1, 1, C), v1 (C, rank) or v2 (rank, C) from an array of the metadata. */
static rk_status restore(rk_file *out, const rk_file *foreign, const char *name, rk_dtype dtype,
                         rk_error *err)
{
    enum { HEAD = 16 }; /* type, type of the elements, their number */
    char key[RK_TENSOR_NAME_MAX + 32];
    snprintf(key, sizeof key, RK_GGUF_UNUSED ".%s.%s", name, rk_dtype_name(dtype));
    const rk_file_raw *raw = rk_file_raw_find(foreign, key);
    const int64_t c = last_dim(foreign, "output_norm.weight");
    if (!raw || raw->bytes < HEAD || c < 1)
        return RK_OK;
    rk_file_tensor t = {.name = name, .dtype = dtype, .bytes = raw->bytes - HEAD};
    const int64_t rest = (int64_t)(t.bytes / rk_dtype_bytes(dtype)) / c;
    const char which = name[strlen(name) - 1];
    const int64_t dims[3] = {which == '1'   ? c
                             : which == '2' ? rest
                                            : 1,
                             which == '1' ? rest : c, c};
    t.n_dims = which == '0' ? 3 : 2;
    memcpy(t.dims, dims, sizeof dims);
    if (which == '0')
        t.dims[1] = 1;
    void *data = rk_file_alloc(out, t.bytes, err);
    if (!data)
        return RK_ERR_NOMEM;
    memcpy(data, raw->data + HEAD, t.bytes);
    t.data = data;
    return rk_file_add(out, &t, err);
}

rk_status rk_gguf_restore_unused(rk_file *out, const rk_file *foreign, const char *mixer,
                                 rk_error *err)
{
    static const rk_dtype dtypes[] = {RK_F32, RK_BF16, RK_F16};
    rk_status st = RK_OK;
    for (int i = 0; i < 3 && rk_gguf_has_dummies(foreign); i++) {
        char name[RK_TENSOR_NAME_MAX];
        snprintf(name, sizeof name, "%sv%d", mixer, i);
        for (size_t d = 0; d < RK_COUNT(dtypes) && st == RK_OK; d++)
            st = restore(out, foreign, name, dtypes[d], err);
    }
    return st;
}

static rk_status restore_unused(rk_file *out, const rk_file *foreign, rk_error *err)
{
    return rk_gguf_restore_unused(out, foreign, "blocks.0.att.", err);
}

const rk_scheme rk_scheme_gguf7 = {
    .name = "gguf",
    .detect = detect7,
    .rows = rows7,
    .n_rows = RK_COUNT(rows7),
    .has_dummies = rk_gguf_has_dummies,
    .finish = restore_unused,
    .complete = add_dummies,
    .numbers = numbers7,
    .n_numbers = RK_COUNT(numbers7),
};

/* ---- rwkv6 ---- */

static const rk_scheme_row rows6[] = {
    MODEL_ROWS,
    {"blocks.%d.att.output.weight", "blk.%d.time_mix_output.weight", RK_FORM_RESCALED, 0, NULL,
     false},
    {"blocks.%d.ffn.value.weight", "blk.%d.channel_mix_value.weight", RK_FORM_RESCALED, 0, NULL,
     false},
    SAME("blocks.%d.att.gate.weight", "blk.%d.time_mix_gate.weight"),
    VECTOR("blocks.%d.att.time_maa_x", "blk.%d.time_mix_lerp_x.weight"),
    PIECE("blocks.%d.att.time_maa_w", FUSED, 0),
    PIECE("blocks.%d.att.time_maa_k", FUSED, 1),
    PIECE("blocks.%d.att.time_maa_v", FUSED, 2),
    PIECE("blocks.%d.att.time_maa_r", FUSED, 3),
    PIECE("blocks.%d.att.time_maa_g", FUSED, 4),
    EXCHANGED("blocks.%d.att.time_maa_w1", "blk.%d.time_mix_w1.weight"),
    EXCHANGED("blocks.%d.att.time_maa_w2", "blk.%d.time_mix_w2.weight"),
    SAME("blocks.%d.att.time_faaaa", "blk.%d.time_mix_first.weight"),
    VECTOR("blocks.%d.att.time_decay", "blk.%d.time_mix_decay.weight"),
    EXCHANGED("blocks.%d.att.time_decay_w1", "blk.%d.time_mix_decay_w1.weight"),
    EXCHANGED("blocks.%d.att.time_decay_w2", "blk.%d.time_mix_decay_w2.weight"),
    VECTOR("blocks.%d.ffn.time_maa_k", "blk.%d.channel_mix_lerp_k.weight"),
    VECTOR("blocks.%d.ffn.time_maa_r", "blk.%d.channel_mix_lerp_r.weight"),
    SAME("blocks.%d.ffn.receptance.weight", "blk.%d.channel_mix_receptance.weight"),
    /* older files keep the five mixes apart */
    VECTOR("blocks.%d.att.time_maa_w", "blk.%d.time_mix_lerp_w.weight"),
    VECTOR("blocks.%d.att.time_maa_k", "blk.%d.time_mix_lerp_k.weight"),
    VECTOR("blocks.%d.att.time_maa_v", "blk.%d.time_mix_lerp_v.weight"),
    VECTOR("blocks.%d.att.time_maa_r", "blk.%d.time_mix_lerp_r.weight"),
    VECTOR("blocks.%d.att.time_maa_g", "blk.%d.time_mix_lerp_g.weight"),
};

static const rk_scheme_number numbers6[] = {
    MODEL_NUMBERS,
    {"rescale_every_n_layers", NULL, 0},
    {"time_mix_extra_dim", "rank_m", 0},
    {"time_decay_extra_dim", "rank_w", 0},
};

static bool detect6(const rk_file *f)
{
    return is_arch(f, "rwkv6");
}

const rk_scheme rk_scheme_gguf6 = {
    .name = "gguf",
    .detect = detect6,
    .rows = rows6,
    .n_rows = RK_COUNT(rows6),
    .numbers = numbers6,
    .n_numbers = RK_COUNT(numbers6),
};

/* ---- writing ---- */

void rk_arch_full_name(const rk_model *m, const char *plain, char *name)
{
    const rk_size_spec *s;
    int n = snprintf(name, RK_ARCH_NAME_MAX, "%s", plain);
    for (int i = 0; (s = rk_size_marked(m->arch, &m->hp, i)); i++) {
        n += snprintf(name + n, (size_t)(RK_ARCH_NAME_MAX - n), "+%s", s->name);
        assert(n < RK_ARCH_NAME_MAX); /* names of tables */
    }
}

const rk_scheme *rk_scheme_gguf_of_arch(const rk_arch *arch)
{
    static const struct {
        const rk_arch *arch;
        const rk_scheme *scheme;
    } all[] = {{&rk_arch_rwkv7, &rk_scheme_gguf7},
               {&rk_arch_rwkv6, &rk_scheme_gguf6},
               {&rk_arch_arwkv7, &rk_scheme_gguf_arwkv7},
               {&rk_arch_rwkv6qwen2, &rk_scheme_gguf_rwkv6qwen2},
               {&rk_arch_qwen2, &rk_scheme_gguf_qwen2},
               {&rk_arch_llama, &rk_scheme_gguf_llama}};
    for (size_t i = 0; i < RK_COUNT(all); i++)
        if (all[i].arch == arch)
            return all[i].scheme;
    return NULL;
}

const rk_scheme *rk_scheme_gguf_of(const rk_model *m)
{
    return rk_size_marked(m->arch, &m->hp, 0) || rk_n_kept(&m->hp) > 0 || m->hp.low_rank > 0
               ? NULL
               : rk_scheme_gguf_of_arch(m->arch);
}

const rk_scheme *rk_scheme_gguf_numbers(const rk_arch *arch)
{
    const rk_scheme *s = rk_scheme_gguf_of_arch(arch);
    return s ? s : &rk_scheme_gguf7;
}
