/* Files of transformers: what config.json and a GGUF file's keys state is taken, in the words of
 * transformers 4 and 5; what is not computed here, or does not fit, ends with one sentence. */
#include "infer/test_model_util.h"

#include "format/config_tf.h"
#include "io/gguf.h"

enum { N_LAYER = 2, N_EMBD = 32, TENSORS_MAX = 64 };

#define CONFIG                                                                                     \
    "\"hidden_size\": 32, \"num_hidden_layers\": 2, \"intermediate_size\": 128, \"vocab_size\": "  \
    "97, "                                                                                         \
    "\"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"hidden_act\": \"silu\", "           \
    "\"tie_word_embeddings\": false"
#define ROPE(x) "\"rope_parameters\": {\"rope_theta\": 5e5, " x "}"

/* ---- folders ---- */

/* A model of 4 heads of 8, 2 of keys, in memory. */
static rk_model *small_model(const rk_arch *arch, int tied)
{
    const rk_size sizes[] = {{"n_vocab", 97}, {"n_layer", N_LAYER}, {"n_embd", N_EMBD},
                             {"n_head", 4},   {"n_kv_head", 2},     {"dim_ffn", 128},
                             {"tied", tied}};
    rk_hparams hp = test_hparams(arch, sizes, RK_COUNT(sizes));
    rk_model *m = NULL;
    rk_error err = {0};
    test_ok(rk_model_new(&m, arch, &hp, &err), &err);
    test_model_memory(m);
    test_ok(rk_model_init(m, 7, NULL, &err), &err);
    return m;
}

/* Its tensors without metadata, less those whose names hold `without` (NULL: none). */
static void write_tensors(const rk_model *m, const char *path, const char *without)
{
    rk_file_tensor tensors[TENSORS_MAX];
    rk_file_contents c = {.tensors = tensors};
    rk_error err = {0};
    for (int64_t i = 0; i < m->n_params; i++) {
        const rk_tensor *t = &m->params[i].tensor;
        if (without && strstr(m->params[i].name, without))
            continue;
        assert_true(c.n_tensors < TENSORS_MAX);
        rk_file_tensor *to = &tensors[c.n_tensors++];
        *to = (rk_file_tensor){.name = m->params[i].name,
                               .dtype = RK_F32,
                               .n_dims = t->n_dims,
                               .data = t->data,
                               .bytes = rk_tensor_bytes(t)};
        memcpy(to->dims, t->dims, sizeof t->dims);
    }
    test_ok(rk_st_write(path, &c, true, NULL, &err), &err);
}

static void write_config(test_ctx *t, const char *dir, const char *text)
{
    test_write_file(test_path(t, dir, "config.json"), text, strlen(text));
}

/* A sentence that names the file and what is wrong, and no model. */
static void expect_refusal(const char *path, const char *which, const char *says)
{
    rk_model *m = NULL;
    rk_error err = {0};
    const rk_status st = rk_model_open(&m, path, &err);
    if ((st != RK_ERR_FORMAT && st != RK_ERR_UNSUPPORTED) || m || !strstr(err.msg, says))
        fail_msg("%s: status %d, '%s', expected '%s'", which, (int)st, err.msg, says);
}

/* ---- what is taken ---- */

static double size_of(const rk_model *m, const char *name)
{
    return rk_size_value(rk_size_find(m->arch, name), &m->hp);
}

static void test_taken(void **state)
{
    (void)state;
    static const struct {
        const char *more;
        double theta, eps;
    } cases[] = {
        {"\"rope_theta\": 250000.0, \"rope_scaling\": null, \"rms_norm_eps\": 1e-5", 250000, 1e-5},
        {ROPE("\"rope_type\": \"default\"") ", \"rms_norm_eps\": 1e-06, \"head_dim\": 8", 5e5,
         1e-6},
        {"\"rope_scaling\": {\"type\": \"default\"}", 10000, 1e-6},
        {"\"layer_types\": [\"full_attention\", \"full_attention\"], \"sliding_window\": 4096, "
         "\"use_sliding_window\": false, \"dtype\": \"float32\"",
         10000, 1e-6},
        {"\"attention_bias\": false, \"mlp_bias\": false, \"pretraining_tp\": 1", 10000, 1e-6},
    };
    test_ctx t = test_begin(1);
    rk_model *from = small_model(&rk_arch_llama, 0);
    const char *dir = test_temp_dir(&t);
    write_tensors(from, test_path(&t, dir, "model.safetensors"), NULL);
    for (size_t i = 0; i < RK_COUNT(cases); i++) {
        char text[1024];
        rk_model *m = NULL;
        rk_error err = {0};
        snprintf(text, sizeof text, "{\"model_type\": \"llama\", " CONFIG ", %s}", cases[i].more);
        write_config(&t, dir, text);
        test_ok(rk_model_open(&m, dir, &err), &err);
        assert_true(size_of(m, "rope_theta") == cases[i].theta);
        assert_true(size_of(m, "rms_eps") == cases[i].eps);
        assert_int_equal(size_of(m, "n_kv_head"), 2);
        assert_int_equal(size_of(m, "head_size"), 8);
        rk_model_close(m);
    }
    rk_model_close(from);
    test_end(&t);
}

/* ---- malformed configs ---- */

static const struct {
    const char *more, *says; /* the last of equal members counts */
} bad_configs[] = {
    {"\"num_attention_heads\": 3", "n_head is 3, which does not divide the 32 rows"},
    {"\"num_attention_heads\": 0", "n_head '0', expected a whole number between 1"},
    {"\"num_attention_heads\": -4", "n_head '-4', expected"},
    {"\"num_attention_heads\": 1e9", "n_head '1000000000', expected"},
    {"\"num_attention_heads\": 2.5", "n_head '2.5', expected"},
    {"\"num_attention_heads\": 16, \"num_key_value_heads\": 8", "a head size of 2"},
    {"\"num_attention_heads\": 32", "a head size of 1, expected an even one"},
    {"\"num_attention_heads\": 1", "'model.layers.0.self_attn.k_proj.weight' has 16 rows"},
    {"\"num_attention_heads\": \"4\"", "expected a number"},
    {"\"num_attention_heads\": [4]", "expected a number"},
    {"\"num_key_value_heads\": 4", "num_key_value_heads is 4, but its tensors show 2"},
    {"\"head_dim\": 16", "head_dim is 16, but its tensors show 8"},
    {"\"hidden_size\": 64", "hidden_size is 64, but its tensors show 32"},
    {"\"intermediate_size\": 64", "intermediate_size is 64"},
    {"\"vocab_size\": 96", "vocab_size is 96"},
    {"\"num_hidden_layers\": 3", "num_hidden_layers is 3, but its tensors show 2"},
    {"\"rope_scaling\": {\"type\": \"linear\", \"factor\": 2.0}", "type is linear"},
    {"\"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 32}", "rope_type is llama3"},
    {"\"rope_scaling\": {\"factor\": 4, \"type\": \"yarn\"}", "type is yarn"},
    {"\"rope_scaling\": \"yarn\"", "expected '{'"},
    {ROPE("\"rope_type\": \"dynamic\""), "rope_type is dynamic"},
    {ROPE("\"rope_type\": \"default\", \"partial_rotary_factor\": 0.5"), "partial_rotary_factor"},
    {"\"rope_parameters\": {\"full_attention\": {\"rope_theta\": 1e6}}", "full_attention is set"},
    {"\"partial_rotary_factor\": 0.25", "partial_rotary_factor is another number"},
    {"\"rope_theta\": 0", "rope_theta '0', expected a number between"},
    {"\"rope_theta\": true", "expected a number"},
    {"\"rope_interleaved\": true", "rope_interleaved is true"},
    {"\"use_sliding_window\": true", "use_sliding_window is true"},
    {"\"use_sliding_window\": 1", "expected true or false"},
    {"\"layer_types\": [\"full_attention\", \"sliding_attention\"]", "sliding_attention"},
    {"\"layer_types\": \"full_attention\"", "expected '['"},
    {"\"hidden_act\": \"gelu\"", "hidden_act is gelu, which is not computed here, expected silu"},
    {"\"attention_bias\": true", "attention_bias is true, but the tensors beside it have no"},
    {"\"mlp_bias\": true", "mlp_bias is true"},
    {"\"model_type\": \"mistral\"", "model_type is 'mistral', but the tensors"},
    {"\"model_type\": \"qwen2\"", "those of a llama model"},
    {"\"model_type\": \"ll\\u0000\"", "text without NUL"},
    {"\"quantization_config\": {\"bits\": 4}", "quantization_config is set"},
    {"\"tie_word_embeddings\": true", "'lm_head.weight' is not the table of embeddings"},
    {"\"rms_norm_eps\": 0", "rms_eps '0', expected"},
    {"\"rms_norm_eps\": 1e400", "expected a number"},
};

static void test_configs(void **state)
{
    (void)state;
    test_ctx t = test_begin(2);
    rk_model *from = small_model(&rk_arch_llama, 0);
    const char *dir = test_temp_dir(&t);
    write_tensors(from, test_path(&t, dir, "model.safetensors"), NULL);
    for (size_t i = 0; i < RK_COUNT(bad_configs); i++) {
        char text[1024];
        snprintf(text, sizeof text, "{\"model_type\": \"llama\", " CONFIG ", %s}",
                 bad_configs[i].more);
        write_config(&t, dir, text);
        if (!strcmp(bad_configs[i].says, "a head size of 2")) { /* which is one */
            rk_model *m = NULL;
            rk_error err = {0};
            test_ok(rk_model_open(&m, dir, &err), &err);
            rk_model_close(m);
            continue;
        }
        expect_refusal(dir, bad_configs[i].more, bad_configs[i].says);
    }
    rk_model_close(from);
    test_end(&t);
}

static void test_texts(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"", "the file is empty"},
        {"[]", "expected '{'"},
        {"{\"model_type\": \"llama\"", "expected '}'"},
        {"{\"model_type\": \"llama\",}", "expected"},
        {"{" CONFIG "} {}", "expected"},
        {"{\"model_type\": \"llama\"}", "nothing says its n_head, which no tensor shows"},
        {"{\"model_type\": \"\xff\"}", "expected"},
        {"{\"architectures\": [[[[[[[[[[", "expected"},
    };
    test_ctx t = test_begin(3);
    rk_model *from = small_model(&rk_arch_llama, 0);
    const char *dir = test_temp_dir(&t);
    write_tensors(from, test_path(&t, dir, "model.safetensors"), NULL);
    expect_refusal(dir, "no config.json", "nothing says its n_head");
    for (size_t i = 0; i < RK_COUNT(cases); i++) {
        write_config(&t, dir, cases[i].text);
        expect_refusal(dir, cases[i].text, cases[i].says);
    }
    rk_model_close(from);
    test_end(&t);
}

/* ---- tensors and indexes ---- */

static void test_tensors(void **state)
{
    (void)state;
    static const struct {
        const char *without, *says;
    } cases[] = {
        {"lm_head", "tie_word_embeddings is false, but there is no 'lm_head.weight'"},
        {"layers.1.self_attn.k_proj.bias", "no tensor 'model.layers.1.self_attn.k_proj.bias'"},
        {"layers.0.self_attn.k_proj.weight", "no tensor 'model.layers.0.self_attn.k_proj.weight'"},
        {"layers.1.mlp.up_proj", "no tensor 'model.layers.1.mlp.up_proj.weight'"},
        {"model.norm", "no tensor 'model.norm.weight'"},
        {"embed_tokens", "no tensor 'model.embed_tokens.weight'"},
        {"q_proj.bias", "model_type is 'qwen2', but the tensors"},
    };
    test_ctx t = test_begin(4);
    rk_model *from = small_model(&rk_arch_qwen2, 0);
    const char *dir = test_temp_dir(&t);
    write_config(&t, dir, "{\"model_type\": \"qwen2\", " CONFIG "}");
    for (size_t i = 0; i < RK_COUNT(cases); i++) {
        write_tensors(from, test_path(&t, dir, "model.safetensors"), cases[i].without);
        expect_refusal(dir, cases[i].without, cases[i].says);
    }
    write_config(&t, dir, "{\"model_type\": \"qwen2\", \"attention_bias\": false, " CONFIG "}");
    write_tensors(from, test_path(&t, dir, "model.safetensors"), NULL);
    expect_refusal(dir, "attention_bias",
                   "attention_bias is false, but the tensors beside it have");
    rk_model_close(from);
    test_end(&t);
}

static void test_index(void **state)
{
    (void)state;
    static const struct {
        const char *index, *says;
    } cases[] = {
        {"{\"weight_map\": {\"model.norm.weight\": \"model-00002.safetensors\"}}", "model-00002"},
        {"{\"weight_map\": {\"model.norm.weight\": \"model-00001.safetensors\"}}", "tensor"},
        {"{\"weight_map\": {\"model.norm.weight\": 1}}", "expected"},
        {"{\"weight_map\": []}", "expected"},
        {"{}", "expected"},
    };
    test_ctx t = test_begin(5);
    rk_model *from = small_model(&rk_arch_qwen2, 0);
    const char *dir = test_temp_dir(&t),
               *index = test_path(&t, dir, "model.safetensors.index.json");
    rk_error err = {0};
    write_config(&t, dir, "{\"model_type\": \"qwen2\", " CONFIG "}");
    write_tensors(from, test_path(&t, dir, "model-00001.safetensors"), NULL);
    for (size_t i = 0; i < RK_COUNT(cases); i++) {
        rk_model *m = NULL;
        test_write_file(index, cases[i].index, strlen(cases[i].index));
        if (rk_model_open(&m, dir, &err) == RK_OK || !strstr(err.msg, cases[i].says))
            fail_msg("%s: '%s'", cases[i].index, err.msg);
    }
    rk_model_close(from);
    test_end(&t);
}

/* ---- GGUF ---- */

/* A key beside those of a file that is read, in place of one of them where that has its name. */
typedef struct gguf_change {
    const char *key, *text; /* text NULL: a number, 0: without the key */
    uint32_t number;
    const char *says;
} gguf_change;

static void put_number(rk_gguf_meta *m, const gguf_change *c, const char *key, uint32_t value)
{
    char name[64];
    const bool changed = !strcmp(c->key, key);
    snprintf(name, sizeof name, "llama.%s", key);
    if (!changed || c->number > 0)
        rk_gguf_put_u32(m, name, changed ? c->number : value);
}

static const char *write_gguf(test_ctx *t, const rk_model *from, const gguf_change *c)
{
    static const float one[8] = {1};
    const char *dir = test_temp_dir(t), *path = test_path(t, dir, "m.gguf"), *st = NULL;
    rk_file_tensor tensors[TENSORS_MAX];
    rk_file *f = NULL;
    rk_gguf_meta meta = {0};
    rk_error err = {0};
    st = test_path(t, dir, "good.gguf");
    test_ok(rk_model_save(from, st, &(rk_save_options){.dtype = RK_F32}, &err), &err);
    test_ok(rk_file_open(&f, st, &err), &err);
    rk_file_contents contents = {.tensors = tensors, .n_tensors = rk_file_count(f)};
    for (int64_t i = 0; i < contents.n_tensors; i++)
        tensors[i] = *rk_file_at(f, i);
    if (!strcmp(c->key, "rope_freqs"))
        tensors[contents.n_tensors++] = (rk_file_tensor){
            .name = "rope_freqs.weight", .n_dims = 1, .dims = {4}, .data = one, .bytes = 16};
    rk_gguf_put_string(&meta, "general.architecture", "llama");
    put_number(&meta, c, "attention.head_count", 4);
    put_number(&meta, c, "attention.head_count_kv", 2);
    put_number(&meta, c, "embedding_length", N_EMBD);
    put_number(&meta, c, "block_count", N_LAYER);
    if (strcmp(c->key, "attention.layer_norm_rms_epsilon") != 0)
        rk_gguf_put_f32(&meta, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    if (c->text) {
        char name[64];
        snprintf(name, sizeof name, "llama.%s", c->key);
        rk_gguf_put_string(&meta, name, c->text);
    } else if (strstr(c->key, "length") && strcmp(c->key, "embedding_length") != 0) {
        put_number(&meta, c, c->key, 0);
    } else if (!strcmp(c->key, "expert_count") || !strcmp(c->key, "attention.sliding_window")) {
        put_number(&meta, c, c->key, 0);
    }
    test_ok(rk_gguf_write(path, &contents, &meta, true, &err), &err);
    rk_buf_deinit(&meta.bytes);
    rk_file_close(f);
    return path;
}

static void test_gguf(void **state)
{
    (void)state;
    static const gguf_change cases[] = {
        {"rope.scaling.type", "yarn", 0, "rope.scaling.type is 'yarn'"},
        {"rope.scaling.factor", "4", 0, "rope.scaling.factor is '4'"},
        {"rope_freqs", NULL, 0, "'rope_freqs.weight'"},
        {"attention.sliding_window", NULL, 4096, "attention.sliding_window is '4096'"},
        {"expert_count", NULL, 8, "expert_count is '8'"},
        {"attention.head_count", NULL, 0, "nothing says how many heads"},
        {"attention.head_count", NULL, 3, "rows of heads of an even size"},
        {"attention.head_count_kv", NULL, 4, "head_count_kv is 4, but its tensors show 2"},
        {"attention.key_length", NULL, 16, "key_length is 16, but its tensors show 8"},
        {"feed_forward_length", NULL, 100, "feed_forward_length is 100"},
        {"block_count", NULL, 3, "block_count is 3"},
        {"attention.layer_norm_rms_epsilon", NULL, 0, "nothing says its rms_eps"},
    };
    test_ctx t = test_begin(6);
    rk_model *from = small_model(&rk_arch_llama, 1), *m = NULL;
    const gguf_change none = {"", NULL, 0, ""};
    rk_error err = {0};
    test_ok(rk_model_open(&m, write_gguf(&t, from, &none), &err), &err);
    assert_true(size_of(m, "rms_eps") == 1e-5 && size_of(m, "rope_theta") == 10000);
    for (int64_t i = 0; i < m->n_params; i++) { /* rows of q and k are where they were */
        const rk_tensor *want = &from->params[i].tensor, *got = &m->params[i].tensor;
        assert_memory_equal(want->data, got->data, rk_tensor_bytes(want));
    }
    rk_model_close(m);
    for (size_t i = 0; i < RK_COUNT(cases); i++)
        expect_refusal(write_gguf(&t, from, &cases[i]), cases[i].key, cases[i].says);
    rk_model_close(from);
    test_end(&t);
}

/* ---- the seeds of the fuzz target ---- */

static void test_seeds(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        rk_status status;
    } seeds[] = {{"qwen2_v4.json", RK_OK},
                 {"qwen2_v5.json", RK_OK},
                 {"smollm2.json", RK_OK},
                 {"llama3_scaling.json", RK_ERR_UNSUPPORTED},
                 {"sliding.json", RK_ERR_UNSUPPORTED},
                 {"cut.json", RK_ERR_FORMAT}};
    test_ctx t = test_begin(7);
    for (size_t i = 0; i < RK_COUNT(seeds); i++) {
        char name[64];
        size_t n = 0;
        rk_tf_config c;
        rk_error err = {0};
        snprintf(name, sizeof name, "tests/data/config_tf/%s", seeds[i].name);
        const char *text = test_read_file(&t, test_source(&t, name), &n);
        assert_int_equal(rk_tf_config_read(&c, text, n, name, &err), seeds[i].status);
    }
    test_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_taken), cmocka_unit_test(test_configs),
                                       cmocka_unit_test(test_texts), cmocka_unit_test(test_tensors),
                                       cmocka_unit_test(test_index), cmocka_unit_test(test_gguf),
                                       cmocka_unit_test(test_seeds)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
