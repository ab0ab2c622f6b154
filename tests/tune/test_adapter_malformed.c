/* Adapters and states that are none: each ends with one sentence that names the file and what is wrong, in
 * no time and with memory in proportion to the file.
 *
 * A case is a text of tensors, "NAME SIZE SIZE; NAME:i64 SIZE": f32 unless a type stands behind the name,
 * where nan and inf are f32 with such a value in the middle. */
#include "infer/test_model_util.h"

#include "base/clock.h"
#include "infer/session.h"
#include "infer/tuned_file.h"
#include "io/gguf.h"
#include "io/safetensors.h"
#include "tune/adapter_file.h"

enum { MIB = 1024 * 1024, SLACK_MIB = 64, TENSORS_MAX = 8, L = 2, C = 48, N = 16, H = C / N };

#define A "blocks.0.att.key.lora_A 4 24"
#define B "blocks.0.att.key.lora_B 16 4"
#define LORA A "; " B
#define MISS "blocks.0.att.key.miss_block 4 16"
#define BAT "blocks.0.att.key.miss_block 4 4 4"

/* ---- files ---- */

static rk_file_tensor parse_tensor(test_ctx *t, char *text)
{
    static const struct {
        const char *type;
        rk_dtype dtype;
        float middle;
    } types[] = {{"i64", RK_I64, 0}, {"nan", RK_F32, NAN}, {"inf", RK_F32, INFINITY}};
    char *save = NULL, *name = strtok_r(text, " ", &save), *type = strchr(name, ':');
    rk_file_tensor x = {.name = name, .dtype = RK_F32};
    float middle = 0.5f;
    for (size_t i = 0; type && i < RK_COUNT(types); i++)
        if (!strcmp(type + 1, types[i].type)) {
            x.dtype = types[i].dtype;
            middle = types[i].middle;
            *type = '\0';
        }
    for (char *size; (size = strtok_r(NULL, " ", &save));)
        x.dims[x.n_dims++] = strtoll(size, NULL, 10);
    assert_true(rk_file_shape_bytes(x.dtype, x.n_dims, x.dims, &x.bytes));
    float *data = test_alloc(t, x.bytes + sizeof middle);
    memset(data, 0, x.bytes + sizeof middle);
    if (x.dtype == RK_F32)
        data[x.bytes / sizeof *data / 2] = middle;
    x.data = data;
    return x;
}

static rk_file_contents parse(test_ctx *t, const char *text)
{
    rk_file_tensor *tensors = test_alloc(t, TENSORS_MAX * sizeof *tensors);
    rk_file_contents c = {.tensors = tensors};
    char *save = NULL, *copy = test_copy(t, text, strlen(text) + 1);
    for (char *one = strtok_r(copy, ";", &save); one; one = strtok_r(NULL, ";", &save))
        tensors[c.n_tensors++] = parse_tensor(t, one + strspn(one, " "));
    return c;
}

static const char *write_tensors(test_ctx *t, const char *path, const char *text,
                                 const rk_pair *meta, int64_t n_meta)
{
    rk_file_contents c = parse(t, text);
    rk_error err = {0};
    c.meta = meta;
    c.n_meta = n_meta;
    test_ok(rk_st_write(path, &c, true, NULL, &err), &err);
    return path;
}

static const char *write_folder(test_ctx *t, const char *config, size_t config_bytes,
                                const char *tensors)
{
    const char *dir = test_temp_dir(t);
    test_write_file(test_path(t, dir, "adapter_config.json"), config, config_bytes);
    if (tensors)
        write_tensors(t, test_path(t, dir, "adapter_model.safetensors"), tensors, NULL, 0);
    return dir;
}

/* ---- refusals ---- */

/* part: of the sentence, which begins with the path. */
static void check(const char *what, const char *path, rk_status st, const rk_error *err,
                  rk_status status, const char *part)
{
    if (st != status)
        fail_msg("%s: status %d, expected %d: %s", what, (int)st, (int)status, err->msg);
    if (!strstr(err->msg, part) || strncmp(err->msg, path, strlen(path)) != 0)
        fail_msg("%s: expected '%s' in: %s", what, part, err->msg);
}

static void refuse(const char *what, const char *path, size_t bytes, rk_status status,
                   const char *part)
{
    rk_adapter_set *s = NULL;
    rk_error err = {.msg = ""};
    const double begin = rk_now_s();
    test_cap_memory(SLACK_MIB * (size_t)MIB + 4 * bytes);
    const rk_status st = rk_adapter_open(&s, path, NULL, &err);
    test_cap_memory(0);
    if (rk_now_s() - begin > 1.0)
        fail_msg("%s took %.2f s", what, rk_now_s() - begin);
    rk_adapter_set_free(s);
    check(what, path, st, &err, status, part);
}

/* ---- configurations, beside good tensors ---- */

typedef struct config_case {
    const char *config;
    const char *tensors; /* NULL: LORA */
    rk_status status;
    const char *part;
} config_case;

#define TYPE(type) "{\"peft_type\":\"" type "\""
#define GOOD TYPE("LORA") ",\"r\":4"
#define FORMAT RK_ERR_FORMAT
#define UNKNOWN RK_ERR_UNSUPPORTED

static const config_case configs[] = {
    {"{", NULL, FORMAT, "expected a string"},
    {"[]", NULL, FORMAT, "expected '{'"},
    {"{}", NULL, FORMAT, "no peft_type"},
    {GOOD, NULL, FORMAT, "expected '}'"},
    {GOOD "} {}", NULL, FORMAT, "expected the end"},
    {TYPE("IA3") "}", NULL, UNKNOWN, "peft_type is 'IA3'"},
    {TYPE("LORA\\u0000") "}", NULL, FORMAT, "without NUL"},
    {TYPE("LORA\xff") "}", NULL, FORMAT, "expected UTF-8"},
    {TYPE("LORA\\ud800") "}", NULL, FORMAT, "low surrogate"},
    {"{\"peft_type\":5}", NULL, FORMAT, "expected a string"},
    {"{\"peft_type\":null}", NULL, FORMAT, "no peft_type"},
    {"\xff\xfe{\"", NULL, UNKNOWN, "UTF-16"},
    {GOOD ",\"x\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", NULL,
     FORMAT, "less deeply"},
    {TYPE("LORA") ",\"r\":\"4\"}", NULL, FORMAT, "expected a value"},
    {TYPE("LORA") ",\"r\":1e999}", NULL, FORMAT, "fewer digits"},
    {TYPE("LORA") ",\"r\":0}", NULL, FORMAT, "rank 0 for"},
    {TYPE("LORA") ",\"r\":-4}", NULL, FORMAT, "rank -4 for"},
    {TYPE("LORA") ",\"r\":4.5}", NULL, FORMAT, "rank 4.5 for"},
    {TYPE("LORA") ",\"r\":99999999999999999999}", NULL, FORMAT, "tensors have rank 4"},
    {TYPE("LORA") "}", NULL, FORMAT, "rank 8 for"},
    {GOOD ",\"lora_alpha\":0}", NULL, FORMAT, "alpha is 0"},
    {GOOD ",\"lora_alpha\":-3}", NULL, FORMAT, "alpha is -3"},
    {GOOD ",\"use_dora\":true}", NULL, FORMAT, "has no magnitude"},
    {GOOD "}", LORA "; blocks.0.att.key.lora_magnitude_vector 16", FORMAT, "has a magnitude"},
    {GOOD ",\"use_rslora\":\"yes\"}", NULL, FORMAT, "expected true or false"},
    {GOOD ",\"fan_in_fan_out\":true}", NULL, UNKNOWN, "fan_in_fan_out"},
    {GOOD ",\"bias\":\"all\"}", NULL, UNKNOWN, "bias is 'all'"},
    {GOOD ",\"alora_invocation_tokens\":[1]}", NULL, UNKNOWN, "alora_invocation_tokens"},
    {GOOD ",\"layer_replication\":[[0,1]]}", NULL, UNKNOWN, "layer_replication"},
    {GOOD ",\"trainable_token_indices\":{\"a\":[1]}}", NULL, UNKNOWN, "trainable_token_indices"},
    {GOOD ",\"target_parameters\":[\"x\"]}", NULL, UNKNOWN, "target_parameters"},
    {GOOD ",\"use_qalora\":true}", NULL, UNKNOWN, "use_qalora"},
    {GOOD ",\"rank_pattern\":[]}", NULL, FORMAT, "expected '{'"},
    {GOOD ",\"rank_pattern\":{\"key\":\"x\"}}", NULL, FORMAT, "expected a value"},
    {GOOD ",\"rank_pattern\":{\"att.key\":8}}", NULL, FORMAT, "rank 8 for"},
    {GOOD ",\"rank_pattern\":{\"(a+)+$\":4}}", NULL, UNKNOWN, "regular expression"},
    {GOOD ",\"alpha_pattern\":{\".*key\":-1}}", NULL, FORMAT, "alpha is -1"},
    {GOOD ",\"alpha_pattern\":{\"[\":1}}", NULL, UNKNOWN, "regular expression"},
    {GOOD ",\"init_lora_weights\":5}", NULL, FORMAT, "expected a string"},
    {GOOD ",\"init_lora_weights\":\"pissa\"}", NULL, UNKNOWN, "its start was taken"},
    {GOOD ",\"init_lora_weights\":\"pissa_niter_4\"}", NULL, UNKNOWN, "its start was taken"},
    {GOOD ",\"init_lora_weights\":\"loftq\"}", NULL, UNKNOWN, "its start was taken"},
    {TYPE("MISS") ",\"r\":4}", NULL, FORMAT, "has tensors of lora"},
    {TYPE("BONE") ",\"r\":4}", NULL, FORMAT, "has tensors of lora"},
    {GOOD "}", MISS, FORMAT, "has tensors of miss"},
    {TYPE("MISS") "}", MISS, FORMAT, "rank 64 for"},
    {TYPE("MISS") ",\"r\":4,\"init_weights\":\"bat\"}", MISS, FORMAT, "has 2 dimensions"},
    {TYPE("MISS") ",\"r\":4,\"init_weights\":true}", BAT, FORMAT, "has 3 dimensions"},
    {TYPE("MISS") ",\"r\":4,\"init_weights\":\"mini\",\"mini_r\":8}", MISS, FORMAT, "mini_r is 8"},
    {TYPE("MISS") ",\"r\":4,\"init_weights\":\"mini\"}", MISS, FORMAT, "mini_r is 1"},
};

static void test_configs(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    for (size_t i = 0; i < RK_COUNT(configs); i++) {
        const config_case *c = &configs[i];
        const char *dir =
            write_folder(&t, c->config, strlen(c->config), c->tensors ? c->tensors : LORA);
        refuse(c->config, dir, strlen(c->config), c->status, c->part);
        test_reset(&t);
    }
    const size_t large = 2 * (size_t)MIB;
    char *spaces = test_alloc(&t, large);
    memset(spaces, ' ', large);
    refuse("a large config", write_folder(&t, spaces, large, LORA), large, FORMAT,
           "expected at most");
    test_end(&t);
}

/* ---- tensors, in a file of their own ---- */

static const config_case files[] = {
    {NULL, A, FORMAT, "without its B"},
    {NULL, B, FORMAT, "without its A"},
    {NULL, "blocks.0.att.key.lora_magnitude_vector 16", FORMAT, "without its A"},
    {NULL, "blocks.0.att.key.lora_A 8 24; " B, FORMAT, "its other half rank 4"},
    {NULL, "blocks.0.att.key.lora_A 0 24; blocks.0.att.key.lora_B 16 0", FORMAT,
     "expected floats (rank"},
    {NULL, "blocks.0.att.key.lora_A 4 0; " B, FORMAT, "expected floats (rank"},
    {NULL, "blocks.0.att.key.lora_A 96; " B, FORMAT, "expected floats (rank"},
    {NULL, "blocks.0.att.key.lora_A 1 4 24; " B, FORMAT, "expected floats (rank"},
    {NULL, "blocks.0.att.key.lora_A:i64 4 24; " B, FORMAT, "of i64"},
    {NULL, "blocks.0.att.key.lora_A:nan 4 24; " B, FORMAT, "not finite"},
    {NULL, A "; blocks.0.att.key.lora_B:inf 16 4", FORMAT, "not finite"},
    {NULL, LORA "; blocks.0.att.key.lora_magnitude_vector 15", FORMAT, "a float for each output"},
    {NULL, "blocks.0.att.key.disha 64", FORMAT, "(rank, outputs) or"},
    {NULL, "blocks.0.att.key.disha 2 2 4 4", FORMAT, "(rank, outputs) or"},
    {NULL, "blocks.0.att.key.disha 4 4 2", FORMAT, "(rank, outputs) or"},
    {NULL, "blocks.0.att.key.disha 0 16", FORMAT, "(rank, outputs) or"},
    {NULL, "blocks.0.att.key.disha:nan 4 16", FORMAT, "not finite"},
    {NULL, LORA "; blocks.0.att.key.disha 4 16", FORMAT, "has two adapters"},
    {NULL, "blocks.0.att.key.disha 4 16; blocks.0.att.key.bone 4 16", FORMAT, "are the same of"},
    {NULL, "model.blocks.0.att.key.disha 4 16; blocks.0.att.key.disha 4 16", FORMAT,
     "are the same of"},
    {NULL, "../../etc/passwd.lora_A 4 24", FORMAT, "no name of a parameter"},
    {NULL, "blocks.0.att/../key.disha 4 16", FORMAT, "no name of a parameter"},
    {NULL, "blocks..key.disha 4 16", FORMAT, "no name of a parameter"},
    {NULL, ".disha 4 16", FORMAT, "no name of a parameter"},
    {NULL,
     "blocks.0.att.a_name_that_is_longer_than_any_that_a_parameter_of_a_model_has_here.disha 4 16",
     FORMAT, "no name of a parameter"},
    {NULL, "blocks.0.att.key.lokr_w1 4 4", UNKNOWN, "a kind of adapter"},
    {NULL, "base_model.model.blocks.0.att.key.oft_r 4 4", UNKNOWN, "a kind of adapter"},
    {NULL, "blocks.0.att.key.ia3_l 4", UNKNOWN, "a kind of adapter"},
    {NULL, "emb.lora_embedding_A 4 24", UNKNOWN, "a kind of adapter"},
    {NULL, "emb.weight 97 24; blocks.0.att.key.weight 24 24", FORMAT,
     "a model, expected an adapter"},
    {NULL, "", FORMAT, "without tensors"},
    {NULL, LORA "; blocks.0.att.key.init_lora_A 4 24", FORMAT, "without its B"},
    {NULL, LORA "; blocks.0.att.key.init_lora_A 2 24; blocks.0.att.key.init_lora_B 16 2", FORMAT,
     "no LoRA of its shape"},
    {NULL, "blocks.0.att.key.init_lora_A 4 24; blocks.0.att.key.init_lora_B 16 4", FORMAT,
     "no LoRA of its shape"},
    {NULL, LORA "; blocks.0.ln1.weight 1 1 1 1 1 24", FORMAT, "at most 5 dimensions"},
    {NULL, LORA "; blocks.0.ln1.weight:i64 24", FORMAT, "of i64"},
    {NULL, LORA "; blocks.0.ln1.weight:inf 24", FORMAT, "not finite"},
};

static void test_files(void **state)
{
    (void)state;
    test_ctx t = test_begin(2);
    for (size_t i = 0; i < RK_COUNT(files); i++) {
        const char *path = test_path(&t, test_temp_dir(&t), "a.safetensors");
        write_tensors(&t, path, files[i].tensors, NULL, 0);
        refuse(files[i].tensors, path, test_file_bytes(path), files[i].status, files[i].part);
        test_reset(&t);
    }
    test_end(&t);
}

/* ---- what our own metadata say, and files that are cut or another's ---- */

static void test_meta(void **state)
{
    (void)state;
    static const struct {
        rk_pair pair;
        const char *part;
    } cases[] = {{{"alpha", "x"}, "expected a number above 0"},
                 {{"alpha", "-1"}, "expected a number above 0"},
                 {{"alpha", "nan"}, "expected a number above 0"},
                 {{"fingerprint", "0123"}, "16 hexadecimal digits"},
                 {{"method", "a method with many words"}, "expected a short word"},
                 {{"arch", "\x1b[2J"}, "expected a short word"}};
    test_ctx t = test_begin(3);
    for (size_t i = 0; i < RK_COUNT(cases); i++) {
        const char *path = test_path(&t, test_temp_dir(&t), "a.safetensors");
        write_tensors(&t, path, LORA, &cases[i].pair, 1);
        refuse(cases[i].pair.key, path, 0, FORMAT, cases[i].part);
    }
    static const rk_pair stacked = {"start", "stacked"};
    const char *dir =
        write_folder(&t, TYPE("LORA") ",\"r\":3}", strlen(TYPE("LORA") ",\"r\":3}"), NULL);
    write_tensors(&t, test_path(&t, dir, "adapter_model.safetensors"),
                  "blocks.0.att.key.lora_A 3 24; blocks.0.att.key.lora_B 16 3", &stacked, 1);
    refuse("an odd rank", dir, 0, FORMAT, "a trained pair beside its start");
    test_end(&t);
}

static void test_containers(void **state)
{
    (void)state;
    test_ctx t = test_begin(4);
    const char *dir = test_temp_dir(&t), *good = test_path(&t, dir, "good.safetensors");
    const char *cut = test_path(&t, dir, "cut.safetensors"), *text = test_path(&t, dir, "text.pth");
    size_t n = 0;
    refuse("an empty folder", dir, 0, FORMAT, "no adapter in this folder");
    refuse("no file", test_path(&t, dir, "none"), 0, RK_ERR_IO, "No such file");
    refuse("no tensors", write_folder(&t, GOOD "}", strlen(GOOD "}"), NULL), 0, RK_ERR_IO,
           "No such file");
    const char *bytes = test_read_file(&t, write_tensors(&t, good, LORA, NULL, 0), &n);
    test_write_file(cut, bytes, n - 1);
    refuse("a cut file", cut, n, FORMAT, "");
    test_write_file(text, "an adapter", 10);
    refuse("text", text, 10, FORMAT, "");
    test_write_file(text, "", 0);
    refuse("nothing", text, 0, FORMAT, "");
    test_end(&t);
}

static void test_gguf(void **state)
{
    (void)state;
    static const struct {
        const char *arch, *type, *kind, *tensors;
        float alpha;
        rk_status status;
        const char *part;
    } cases[] = {
        {"rwkv7", NULL, "lora", LORA, 1, FORMAT, "general.type is ''"},
        {"rwkv7", "model", "lora", LORA, 1, FORMAT, "expected adapter"},
        {"rwkv7", "adapter", "lokr", LORA, 1, FORMAT, "expected lora"},
        {"gpt2", "adapter", "lora", LORA, 1, UNKNOWN, "'gpt2', expected one of rwkv6"},
        {"llama", "adapter", "lora", "blk.0.attn_q.weight.lora_a 4 24", 1, FORMAT, "without its B"},
        {"rwkv7", "adapter", "lora", LORA, 1, FORMAT, "no name of a parameter"},
        {"rwkv7", "adapter", "lora", "blk.0.time_mix_key.weight.lora_a 4 24", 1, FORMAT,
         "without its B"},
        {"rwkv7", "adapter", "lora", "blk.0.attn_norm.weight 24", 1, UNKNOWN,
         "no part of an adapter"},
        {"rwkv7", "adapter", "lora", "blk.0.time_mix_lerp_fused.weight.lora_a 4 24", 1, FORMAT,
         "no name of a parameter"},
        {"rwkv7", "adapter", "lora", "blk.0.time_mix_key.weight.lora_a 4 24", -1, FORMAT,
         "at least 0"},
        {"rwkv7", "adapter", "lora", "blk.0.time_mix_key.weight.lora_a 4 24", NAN, FORMAT,
         "at least 0"},
    };
    test_ctx t = test_begin(5);
    for (size_t i = 0; i < RK_COUNT(cases); i++) {
        const char *path = test_path(&t, test_temp_dir(&t), "a.gguf");
        const rk_file_contents c = parse(&t, cases[i].tensors);
        rk_gguf_meta meta = {0};
        rk_error err = {0};
        rk_gguf_put_string(&meta, "general.architecture", cases[i].arch);
        if (cases[i].type)
            rk_gguf_put_string(&meta, "general.type", cases[i].type);
        rk_gguf_put_string(&meta, "adapter.type", cases[i].kind);
        rk_gguf_put_f32(&meta, "adapter.lora.alpha", cases[i].alpha);
        test_ok(rk_gguf_write(path, &c, &meta, false, &err), &err);
        rk_buf_deinit(&meta.bytes);
        refuse(cases[i].tensors, path, 0, cases[i].status, cases[i].part);
        test_reset(&t);
    }
    test_end(&t);
}

/* ---- adapters of another model ---- */

static void test_bases(void **state)
{
    (void)state;
    static const struct {
        const char *tensors;
        rk_pair pair; /* metadata; no key: none */
        rk_status status;
        const char *part;
    } cases[] = {
        {"blocks.0.att.key.lora_A 4 48; blocks.0.att.key.lora_B 48 4",
         {0},
         RK_ERR_ARG,
         "does not say the alpha"},
        {"blocks.0.att.key.disha 4 64", {0}, FORMAT, "64 outputs, but the model's has"},
        {"blocks.0.att.key.disha 6 8 8", {0}, RK_OK, ""},
        {"blocks.0.att.key.disha 4 8 8", {0}, FORMAT, "32 inputs"},
        {"blocks.9.att.key.disha 4 48", {0}, FORMAT, "no matrix of this rwkv7 model"},
        {"blocks.0.ln1.disha 4 48", {0}, FORMAT, "no matrix of this rwkv7 model"},
        {"blocks.0.att.key.disha 4 48; blocks.0.ln1.weight 47", {0}, FORMAT, "of 47 numbers"},
        {"blocks.0.att.key.disha 4 48; blocks.0.gate.weight 48", {0}, FORMAT, "of 48 numbers"},
        {"blocks.0.att.key.disha 4 48",
         {"fingerprint", "0123456789abcdef"},
         FORMAT,
         "made for another model"},
    };
    test_ctx t = test_begin(6);
    test_arch = &rk_arch_rwkv7;
    const test_model m = test_model_open(&t, 1, L, C, RK_F32);
    for (size_t i = 0; i < RK_COUNT(cases); i++) {
        const char *path = test_path(&t, test_temp_dir(&t), "a.safetensors");
        rk_adapter_set *s = NULL;
        rk_error err = {.msg = ""};
        write_tensors(&t, path, cases[i].tensors, &cases[i].pair, cases[i].pair.key != NULL);
        test_ok(rk_adapter_open(&s, path, NULL, &err), &err);
        const rk_status st = rk_adapter_set_check(s, m.model, path, false, &err);
        if (cases[i].status != RK_OK)
            check(cases[i].tensors, path, st, &err, cases[i].status, cases[i].part);
        else
            test_ok(st, &err);
        rk_adapter_set_free(s);
    }
    rk_model_close(m.model);
    test_end(&t);
}

/* ---- states ---- */

#define STATE(layer) "blocks." #layer ".att.time_state"

static void refuse_state(test_ctx *t, rk_session *s, const char *path, rk_tuned_layout layout,
                         rk_status status, const char *part)
{
    const size_t bytes = rk_session_state_bytes(s);
    char *before = test_alloc(t, bytes), *after = test_alloc(t, bytes);
    rk_error err = {.msg = ""};
    test_ok(rk_session_state_get(s, before, bytes, &err), &err);
    check(path, path, rk_session_tuned_load(s, path, layout, &err), &err, status, part);
    test_ok(rk_session_state_get(s, after, bytes, &err), &err);
    test_same(t, "the state", before, after, bytes);
}

static void test_states(void **state)
{
    (void)state;
    static const struct {
        const char *tensors, *part;
    } cases[] = {
        {STATE(0) " 3 16 16", "no tensor 'blocks.1"},
        {STATE(0) " 3 16 16; " STATE(1) " 3 16 16; " STATE(2) " 3 16 16",
         "tensors of initial states"},
        {STATE(0) " 3 16 16; " STATE(1) " 3 16 8", "no tensor 'blocks.1"},
        {STATE(0) " 3 16 16; " STATE(1) " 48 16", "no tensor 'blocks.1"},
        {STATE(0) " 3 16 16; " STATE(1) ":i64 3 16 16", "no tensor 'blocks.1"},
        {STATE(0) " 3 16 16; " STATE(1) ":nan 3 16 16", "not finite"},
        {STATE(0) " 3 16 16; blocks.1.att.time_States 3 16 16", "no initial state"},
        {STATE(0) " 3 16 16; " STATE(99999999999999999999) " 3 16 16", "no tensor 'blocks.1"},
    };
    test_ctx t = test_begin(7);
    test_arch = &rk_arch_rwkv7;
    const test_model m = test_model_open(&t, 1, L, C, RK_F32);
    rk_engine *e = test_engine(1);
    rk_session *s = NULL;
    rk_error err = {0};
    test_ok(rk_session_new(&s, m.model, e, &err), &err);
    for (size_t i = 0; i < RK_COUNT(cases); i++) {
        const char *path = test_path(&t, test_temp_dir(&t), "a.state");
        write_tensors(&t, path, cases[i].tensors, NULL, 0);
        for (int layout = RK_TUNED_VALUE_KEY; layout <= RK_TUNED_BY_NAME; layout++)
            refuse_state(&t, s, path, (rk_tuned_layout)layout, FORMAT, cases[i].part);
    }
    const size_t n = (size_t)L * (2 * C + H * N * N);
    float *flat = test_alloc(&t, (n + 1) * sizeof *flat);
    const char *path = test_path(&t, test_temp_dir(&t), "a.bin");
    memset(flat, 0, (n + 1) * sizeof *flat);
    test_write_file(path, flat, (n + 1) * sizeof *flat);
    refuse_state(&t, s, path, RK_TUNED_RWKV_CPP, FORMAT, "the states of the model are");
    test_write_file(path, "", 0);
    refuse_state(&t, s, path, RK_TUNED_RWKV_CPP, FORMAT, "");
    flat[C] = 1;
    test_write_file(path, flat, n * sizeof *flat);
    refuse_state(&t, s, path, RK_TUNED_RWKV_CPP, FORMAT, "in the middle of a text");
    flat[C] = 0;
    flat[2 * C] = NAN;
    test_write_file(path, flat, n * sizeof *flat);
    refuse_state(&t, s, path, RK_TUNED_RWKV_CPP, FORMAT, "not finite");
    rk_session_free(s);
    rk_engine_free(e);
    rk_model_close(m.model);
    test_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_configs), cmocka_unit_test(test_files),
        cmocka_unit_test(test_meta),    cmocka_unit_test(test_containers),
        cmocka_unit_test(test_gguf),    cmocka_unit_test(test_bases),
        cmocka_unit_test(test_states),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
