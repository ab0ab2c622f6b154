/* class_hf.c: the model classes of Hugging Face folders that are written, and their config.json, as
 * rows: RWKV-4 and -7 of transformers, the classes that came with the files of 5 and 6, RWKV-7 of
 * fla. No released transformers has RWKV-7; the names are those of the open pull request there,
 * models/rwkv7. */
#include <math.h>
#include <string.h>

#include "base/num.h"
#include "format/save.h"
#include "io/json_line.h"

typedef enum member_kind {
    SIZE,      /* the size `text`; of two with a '|' between them the first that is not 0 */
    SIZE_FLAG, /* the same, as true or false */
    NUMBER,    /* the whole number */
    FLAG,      /* number: 0 or 1 */
    TEXT,      /* text */
    CTX_LEN,   /* tokens of a training window; the number where that is not known */
    DIVISOR,   /* of what goes into a group norm of eps 1e-5 */
    RATIO,     /* the size `text` over n_embd */
    SIZES, /* an object: sizes from `text` on to the last of the table that it is in; and where number is
                * 1 what tensors of places list, layer by layer */
    LAYERS, /* those with a mixer of the architecture's own: `text` for all, or a list */
    TYPES,  /* of a hybrid: what each layer has */
    DTYPE,  /* of the weights, in PyTorch's words */
} member_kind;

typedef struct member {
    const char *key;
    member_kind kind;
    const char *text;
    int64_t number;
} member;

typedef struct member_table {
    const member *rows;
    int n;
} member_table;

struct rk_hf_class {
    const rk_arch *arch;
    const rk_scheme *scheme;
    const char *model_type, *name;
    double (*ln_x_eps)(const rk_model *m);
    const member_table *tables[3];
};

/* ---- members ---- */

static const member common[] = {
    {"vocab_size", SIZE, "n_vocab", 0},        {"hidden_size", SIZE, "n_embd", 0},
    {"num_hidden_layers", SIZE, "n_layer", 0}, {"intermediate_size", SIZE, "dim_ffn", 0},
    {"bos_token_id", NUMBER, NULL, 0},         {"eos_token_id", NUMBER, NULL, 0},
    {"tie_word_embeddings", FLAG, NULL, 0},    {"use_cache", FLAG, NULL, 1},
    {"torch_dtype", DTYPE, NULL, 0},
};

static const member rwkv[] = {
    {"attention_hidden_size", SIZE, "n_embd", 0},
    {"layer_norm_epsilon", SIZE, "ln_eps", 0},
    {"context_length", CTX_LEN, NULL, 1024},
    {"rescale_every", NUMBER, NULL, 0},
};

static const member rwkv_heads[] = {
    {"head_size", SIZE, "head_size", 0},
    {"head_size_divisor", DIVISOR, NULL, 0},
    {"num_attention_heads", SIZE, "head_size", 0}, /* as those classes have it */
};

static const member rwkv7[] = {
    {"head_dim", SIZE, "head_size", 0},
    {"num_heads", SIZE, "n_head", 0},
    {"decay_low_rank_dim", SIZE, "rank_w", 0},
    {"a_low_rank_dim", SIZE, "rank_a", 0},
    {"v_low_rank_dim", SIZE, "rank_v", 0},
    {"gate_low_rank_dim", SIZE, "rank_g", 0},
    {"norm_eps", SIZE, "ln_eps", 0},
    {"norm_bias", FLAG, NULL, 1},
    {"max_position_embeddings", CTX_LEN, NULL, 2048},
};

static const member fla7[] = {
    {"value_dim", SIZE, "n_embd", 0},  {"hidden_ratio", RATIO, "dim_ffn", 0},
    {"hidden_act", TEXT, "sqrelu", 0}, {"norm_first", FLAG, NULL, 1},
    {"fuse_norm", FLAG, NULL, 0},
};

/* Of transformers 4, which 5 reads as well. The ids of tokens are those of the vocabulary. */
static const member tf[] = {
    {"num_attention_heads", SIZE, "n_head", 0},
    {"num_key_value_heads", SIZE, "n_kv_head", 0},
    {"head_dim", SIZE, "head_size", 0},
    {"hidden_act", TEXT, "silu", 0},
    {"rms_norm_eps", SIZE, "rms_eps", 0},
    {"rope_theta", SIZE, "rope_theta", 0},
    {"max_position_embeddings", SIZE, "n_positions", 0},
    {"vocab_size", SIZE, "n_vocab", 0},
    {"hidden_size", SIZE, "n_embd", 0},
    {"num_hidden_layers", SIZE, "n_layer", 0},
    {"intermediate_size", SIZE, "dim_ffn", 0},
    {"tie_word_embeddings", SIZE_FLAG, "tied", 0},
    {"use_cache", FLAG, NULL, 1},
    {"torch_dtype", DTYPE, NULL, 0},
};

static const member arwkv7[] = {
    {"num_attention_heads", SIZE, "n_attention_head|n_wkv_head", 0},
    {"num_key_value_heads", SIZE, "n_attention_kv_head|n_wkv_head", 0},
    {"head_size", SIZE, "head_size", 0},
    {"head_size_divisor", NUMBER, NULL, 8},
    {"wkv_version", NUMBER, NULL, 7},
    {"wkv_has_gate", SIZE_FLAG, "wkv_gate_mode", 0},
    {"wkv_has_group_norm", SIZE_FLAG, "wkv_has_group_norm", 0},
    {"wkv_use_vfirst", FLAG, NULL, 1},
    {"wkv_layers", LAYERS, "full", 0},
    {"layer_types", TYPES, NULL, 0},
};

static const member rwkv6qwen2[] = {
    {"attention_bias", FLAG, NULL, 1},
    {"attention_output_bias", FLAG, NULL, 0},
    {"lora_rank_tokenshift", SIZE, "rank_m", 0},
    {"lora_rank_decay", SIZE, "rank_w", 0},
    {"layer_types", TYPES, NULL, 0},
};

static const member rwkv7qwen2[] = {
    {"attention_bias", FLAG, NULL, 1},
    {"attention_output_bias", FLAG, NULL, 0},
    {"lora_rank_decay", SIZE, "rank_w", 0},
    {"lora_rank_iclr", SIZE, "rank_a", 0},
    {"lora_rank_value_residual_mix", SIZE, "rank_v", 0},
    {"lora_rank_gate", SIZE, "rank_g", 0},
    {"balance_state", SIZE_FLAG, "balance_state", 0},
    {"groupnorm_att", SIZE_FLAG, "wkv_has_group_norm", 0},
    {"layer_types", TYPES, NULL, 0},
};

static const member wuneng[] = {{"wuneng", SIZES, "state_heads", 0}};
static const member meta7[] = {
    {"head_dim", SIZE, "head_size", 0},     {"num_heads", SIZE, "n_head", 0},
    {"norm_eps", SIZE, "ln_eps", 0},        {"max_position_embeddings", CTX_LEN, NULL, 2048},
    {"meta_state", SIZES, "meta_extra", 1},
};
static const member rrwkv[] = {{"rrwkv", SIZES, "medium_interval", 0}};
static const member_table rrwkv_table = {rrwkv, RK_COUNT(rrwkv)};
static const member_table meta7_table = {meta7, RK_COUNT(meta7)};
static const member_table wuneng_table = {wuneng, RK_COUNT(wuneng)};

static const member_table arwkv7_table = {arwkv7, RK_COUNT(arwkv7)},
                          rwkv6qwen2_table = {rwkv6qwen2, RK_COUNT(rwkv6qwen2)},
                          rwkv7qwen2_table = {rwkv7qwen2, RK_COUNT(rwkv7qwen2)};

static const member_table common_table = {common, RK_COUNT(common)},
                          rwkv_table = {rwkv, RK_COUNT(rwkv)},
                          heads_table = {rwkv_heads, RK_COUNT(rwkv_heads)},
                          rwkv7_table = {rwkv7, RK_COUNT(rwkv7)},
                          fla7_table = {fla7, RK_COUNT(fla7)}, tf_table = {tf, RK_COUNT(tf)};

/* Versions 5 and 6 divide by head_size_divisor what a group norm of eps 1e-5 takes. */
static int64_t divisor(const rk_model *m)
{
    return rk_max_i64(1, lround(sqrt(m->hp.ln_x_eps / 1e-5)));
}

static double divided_eps(const rk_model *m)
{
    const double d = (double)divisor(m);
    return 1e-5 * d * d;
}

/* Version 7 has head_dim times the eps of the other norms. */
static double head_eps(const rk_model *m)
{
    return (double)m->hp.head_size * m->hp.ln_eps;
}

/* ---- classes ---- */

static const rk_hf_class classes[] = {
    {&rk_arch_rwkv4,
     &rk_scheme_hf_classes,
     "rwkv",
     "RwkvForCausalLM",
     divided_eps,
     {&rwkv_table, &common_table}},
    {&rk_arch_rwkv5_0,
     &rk_scheme_hf_classes,
     "rwkv5",
     "Rwkv5ForCausalLM",
     divided_eps,
     {&rwkv_table, &heads_table, &common_table}},
    {&rk_arch_rwkv5_1,
     &rk_scheme_hf_classes,
     "rwkv5",
     "Rwkv5ForCausalLM",
     divided_eps,
     {&rwkv_table, &heads_table, &common_table}},
    {&rk_arch_rwkv5,
     &rk_scheme_hf_classes,
     "rwkv5",
     "Rwkv5ForCausalLM",
     divided_eps,
     {&rwkv_table, &heads_table, &common_table}},
    {&rk_arch_rwkv6,
     &rk_scheme_hf_classes,
     "rwkv6",
     "Rwkv6ForCausalLM",
     divided_eps,
     {&rwkv_table, &heads_table, &common_table}},
    {&rk_arch_rwkv7,
     &rk_scheme_transformers7,
     "rwkv7",
     "Rwkv7ForCausalLM",
     head_eps,
     {&rwkv7_table, &common_table}},
    {&rk_arch_rwkv7,
     &rk_scheme_fla7,
     "rwkv7",
     "RWKV7ForCausalLM",
     head_eps,
     {&rwkv7_table, &fla7_table, &common_table}},
    {&rk_arch_arwkv7,
     &rk_scheme_tf,
     "rwkv_hybrid",
     "RwkvHybridForCausalLM",
     NULL,
     {&tf_table, &arwkv7_table}},
    {&rk_arch_rwkv6qwen2,
     &rk_scheme_tf,
     "rwkv6qwen2",
     "RWKV6Qwen2ForCausalLM",
     NULL,
     {&tf_table, &rwkv6qwen2_table}},
    {&rk_arch_rwkv7qwen2,
     &rk_scheme_tf,
     "rwkv7qwen2",
     "RWKV7Qwen2ForCausalLM",
     NULL,
     {&tf_table, &rwkv7qwen2_table}},
    {&rk_arch_wuneng,
     &rk_scheme_tf,
     "wuneng",
     "WuNengForCausalLM",
     NULL,
     {&tf_table, &wuneng_table}},
    {&rk_arch_meta7, NULL, "meta7", "Meta7ForCausalLM", NULL, {&meta7_table, &common_table}},
    {&rk_arch_rrwkv,
     NULL,
     "rrwkv",
     "RrwkvForCausalLM",
     NULL,
     {&rwkv_table, &rrwkv_table, &common_table}},
    {&rk_arch_qwen2, &rk_scheme_tf, "qwen2", "Qwen2ForCausalLM", NULL, {&tf_table}},
    {&rk_arch_llama, &rk_scheme_tf, "llama", "LlamaForCausalLM", NULL, {&tf_table}},
};

const rk_hf_class *rk_hf_class_of(const rk_arch *arch, bool fla)
{
    for (size_t i = 0; i < RK_COUNT(classes); i++)
        if (classes[i].arch == arch && (classes[i].scheme == &rk_scheme_fla7) == fla)
            return &classes[i];
    return NULL;
}

const rk_scheme *rk_hf_class_scheme(const rk_hf_class *c)
{
    return c->scheme;
}

double rk_hf_class_implies(const rk_hf_class *c, const rk_model *m, const rk_size_spec *size)
{
    return c->ln_x_eps && size->at.offset == offsetof(rk_hparams, ln_x_eps) ? c->ln_x_eps(m)
                                                                            : rk_size_default(size);
}

/* ---- config.json ---- */

/* The size of this name, or of the first of two that is not 0. */
static const rk_size_spec *size_named(const rk_model *m, const char *name)
{
    char first[RK_SAVE_TEXT_MAX];
    const size_t n = strcspn(name, "|");
    if (!name[n] || n >= sizeof first)
        return rk_size_find(m->arch, name);
    memcpy(first, name, n);
    first[n] = '\0';
    const rk_size_spec *s = rk_size_find(m->arch, first);
    return s && rk_size_value(s, &m->hp) != 0 ? s : rk_size_find(m->arch, name + n + 1);
}

static void put_size(rk_buf *b, const char *key, const rk_model *m, const char *name)
{
    const rk_size_spec *s = size_named(m, name);
    const char *word;
    const size_t n = s ? rk_size_word(s, (int)rk_size_value(s, &m->hp), &word) : 0;
    char text[RK_SAVE_TEXT_MAX];
    if (n > 0 && n < sizeof text) {
        memcpy(text, word, n);
        text[n] = '\0';
        rk_json_str(b, key, text);
    } else if (s && s->at.real)
        rk_json_num(b, key, rk_size_value(s, &m->hp));
    else if (s)
        rk_json_int(b, key, (int64_t)rk_size_value(s, &m->hp));
}

static void put_ratio(rk_buf *b, const char *key, const rk_model *m, const char *name)
{
    const rk_size_spec *s = rk_size_find(m->arch, name);
    if (s)
        rk_json_num(b, key, rk_size_value(s, &m->hp) / (double)m->hp.n_embd);
}

static void put_key(rk_buf *b, const char *key)
{
    rk_buf_puts(b, ",");
    rk_json_quote(b, key, strlen(key));
    rk_buf_puts(b, ":");
}

static void put_layers(rk_buf *b, const char *key, const rk_model *m, const char *all)
{
    if (rk_n_kept(&m->hp) == 0) {
        rk_json_str(b, key, all);
        return;
    }
    const char *between = "[";
    put_key(b, key);
    for (int64_t l = 0; l < m->hp.n_layer; l++)
        if (!rk_layer_in(&m->hp.kept, l)) {
            rk_buf_printf(b, "%s%d", between, (int)l);
            between = ",";
        }
    rk_buf_puts(b, "]");
}

static void put_types(rk_buf *b, const char *key, const rk_model *m)
{
    if (rk_n_kept(&m->hp) == 0)
        return;
    put_key(b, key);
    for (int64_t l = 0; l < m->hp.n_layer; l++)
        rk_buf_printf(b, "%s\"%s_attention\"", l ? "," : "[",
                      rk_layer_in(&m->hp.kept, l) ? "full" : "linear");
    rk_buf_puts(b, "]");
}

/* The numbers of each layer's tensor of this row, in as many brackets as it has dimensions. */
static void put_places(rk_buf *b, const char *key, const rk_param_spec *spec, const rk_model *m)
{
    const char *between = "[";
    put_key(b, key);
    for (int64_t i = 0; i < m->n_params; i++) {
        const rk_tensor *t = &m->params[i].tensor;
        if (m->params[i].spec != spec || !t->data || t->dtype != RK_F32)
            continue;
        const int64_t cols = rk_tensor_cols(t), n = rk_tensor_count(t);
        rk_buf_printf(b, "%s%s", between, t->n_dims > 1 ? "[" : "");
        for (int64_t e = 0; e < n; e++)
            rk_buf_printf(b, "%s%g%s",
                          e % cols ? ","
                          : e      ? ",["
                                   : "[",
                          (double)((const float *)t->data)[e], e % cols == cols - 1 ? "]" : "");
        rk_buf_puts(b, t->n_dims > 1 ? "]" : "");
        between = ",";
    }
    rk_buf_puts(b, *between == '[' ? "[]" : "]");
}

/* The row of places that ends with this; NULL: the model has none. */
static const rk_param_spec *places_of(const rk_model *m, const char *ending)
{
    const size_t n = strlen(ending);
    for (int64_t i = 0; i < m->n_params; i++) {
        const rk_param_spec *spec = m->params[i].spec;
        if (spec->role == RK_ROLE_PLACES && strlen(spec->name) > n &&
            !strcmp(spec->name + strlen(spec->name) - n, ending))
            return spec;
    }
    return NULL;
}

/* What the model's file says of its generations, if that is numbers. */
static void put_trained(rk_buf *b, const rk_model *m)
{
    const char *text = m->file ? rk_file_meta(m->file, RK_TRAINED_TOKENS) : NULL;
    if (!text || !*text || text[strspn(text, "0123456789,")])
        return;
    put_key(b, RK_TRAINED_TOKENS);
    rk_buf_printf(b, "[%s]", text);
}

/* Those that can be given, but for ranks, which shapes show. */
static void put_sizes(rk_buf *b, const member *r, const rk_model *m)
{
    const rk_size_spec *s;
    int i = 0;
    while ((s = rk_size_at(m->arch, i)) && strcmp(s->name, r->text) != 0)
        i++;
    put_key(b, r->key);
    rk_json_begin(b);
    for (; (s = rk_size_at(m->arch, i)); i++) {
        const rk_param_spec *listed = r->number == 1 ? places_of(m, s->name) : NULL;
        if (listed)
            put_places(b, s->name, listed, m);
        else if (s->initial.rule)
            put_size(b, s->name, m, s->name);
    }
    if (r->number == 0)
        put_layers(b, "layers", m, "all");
    else
        put_trained(b, m);
    rk_json_end(b);
}

static void put_member(rk_buf *b, const member *r, const rk_model *m, rk_dtype dtype)
{
    switch (r->kind) {
    case SIZE:
        put_size(b, r->key, m, r->text);
        break;
    case SIZE_FLAG:
        rk_json_bool(b, r->key, rk_size_value(rk_size_find(m->arch, r->text), &m->hp) != 0);
        break;
    case NUMBER:
        rk_json_int(b, r->key, r->number);
        break;
    case FLAG:
        rk_json_bool(b, r->key, r->number != 0);
        break;
    case TEXT:
        rk_json_str(b, r->key, r->text);
        break;
    case LAYERS:
        put_layers(b, r->key, m, r->text);
        break;
    case TYPES:
        put_types(b, r->key, m);
        break;
    case SIZES:
        put_sizes(b, r, m);
        break;
    case CTX_LEN:
        rk_json_int(b, r->key, m->ctx_len > 0 ? m->ctx_len : r->number);
        break;
    case DIVISOR:
        rk_json_int(b, r->key, divisor(m));
        break;
    case RATIO:
        put_ratio(b, r->key, m, r->text);
        break;
    case DTYPE:
        rk_json_str(b, r->key,
                    dtype == RK_BF16  ? "bfloat16"
                    : dtype == RK_F16 ? "float16"
                                      : "float32");
        break;
    }
}

static void put_table(rk_buf *b, const member_table *t, const rk_model *m, rk_dtype dtype)
{
    for (int i = 0; t && i < t->n; i++)
        put_member(b, &t->rows[i], m, dtype);
}

void rk_hf_put_members(rk_buf *b, const rk_hf_class *c, const rk_model *m, rk_dtype dtype)
{
    const rk_size_spec *s;
    char type[RK_ARCH_NAME_MAX];
    rk_arch_full_name(m, c->model_type, type);
    rk_json_str(b, "model_type", type);
    rk_buf_puts(b, ",\"architectures\":[");
    rk_json_quote(b, c->name, strlen(c->name));
    rk_buf_puts(b, "]");
    for (size_t i = 0; i < RK_COUNT(c->tables); i++)
        put_table(b, c->tables[i], m, dtype);
    for (int i = 0; (s = rk_size_marked(m->arch, &m->hp, i)); i++)
        put_size(b, s->name, m, s->name);
}

void rk_hf_put_config(rk_buf *b, const rk_hf_class *c, const rk_model *m, rk_dtype dtype)
{
    rk_json_begin(b);
    rk_hf_put_members(b, c, m, dtype);
    rk_json_end(b);
    rk_buf_puts(b, "\n");
}
