/* Scores of random models of every version against those that the original authors' program
 * computed: tests/oracle/make_logits.py has the same table, makes the same weights, and stored the
 * scores. Two of the models are read from checkpoints as PyTorch wrote them. */
#include "test_sizes.h"

#include "base/str.h"

#include "format/format.h"
#include "format/scheme.h"
#include "infer/session.h"

enum { T = 24 };

typedef struct oracle_model {
    const char *name;
    const rk_arch *arch;
    rk_dtype dtype;
    bool stored; /* as a checkpoint */
    bool tuned;
    rk_size sizes[12]; /* a name NULL: no more */
} oracle_model;

static const oracle_model models[] = {
    {"rwkv4",
     &rk_arch_rwkv4,
     RK_F32,
     false,
     false,
     {{"n_embd", 40}, {"n_layer", 2}, {"dim_ffn", 160}, {"n_vocab", 41}}},
    {"rwkv4-bf16",
     &rk_arch_rwkv4,
     RK_BF16,
     false,
     false,
     {{"n_embd", 72}, {"n_layer", 3}, {"dim_ffn", 200}, {"n_vocab", 37}}},
    {"rwkv5.0-first",
     &rk_arch_rwkv5_0_first,
     RK_F32,
     false,
     false,
     {{"n_embd", 48}, {"head_size", 16}, {"n_layer", 2}, {"dim_ffn", 96}, {"n_vocab", 41}}},
    {"rwkv5.0",
     &rk_arch_rwkv5_0,
     RK_BF16,
     false,
     false,
     {{"n_embd", 63}, {"head_size", 21}, {"n_layer", 2}, {"dim_ffn", 100}, {"n_vocab", 41}}},
    {"rwkv5.1",
     &rk_arch_rwkv5_1,
     RK_F32,
     false,
     false,
     {{"n_embd", 48}, {"head_size", 24}, {"n_layer", 2}, {"dim_ffn", 160}, {"n_vocab", 37}}},
    {"rwkv5",
     &rk_arch_rwkv5,
     RK_BF16,
     false,
     false,
     {{"n_embd", 96}, {"head_size", 48}, {"n_layer", 3}, {"dim_ffn", 320}, {"n_vocab", 41}}},
    {"rwkv5-odd",
     &rk_arch_rwkv5,
     RK_F32,
     false,
     false,
     {{"n_embd", 66}, {"head_size", 33}, {"n_layer", 2}, {"dim_ffn", 90}, {"n_vocab", 43}}},
    {"rwkv6-tuned",
     &rk_arch_rwkv6,
     RK_BF16,
     true,
     true,
     {{"n_embd", 32},
      {"head_size", 16},
      {"n_layer", 2},
      {"dim_ffn", 96},
      {"n_vocab", 41},
      {"rank_m", 6},
      {"rank_w", 5}}},
    {"rwkv6",
     &rk_arch_rwkv6,
     RK_BF16,
     false,
     false,
     {{"n_embd", 128},
      {"head_size", 64},
      {"n_layer", 2},
      {"dim_ffn", 448},
      {"n_vocab", 37},
      {"rank_m", 8},
      {"rank_w", 16}}},
    {"rwkv6-odd",
     &rk_arch_rwkv6,
     RK_F32,
     false,
     false,
     {{"n_embd", 57},
      {"head_size", 19},
      {"n_layer", 3},
      {"dim_ffn", 101},
      {"n_vocab", 43},
      {"rank_m", 3},
      {"rank_w", 7}}},
    {"rwkv7",
     &rk_arch_rwkv7,
     RK_F32,
     true,
     false,
     {{"n_embd", 32},
      {"head_size", 16},
      {"n_layer", 2},
      {"dim_ffn", 128},
      {"n_vocab", 41},
      {"rank_w", 6},
      {"rank_a", 5},
      {"rank_v", 3},
      {"rank_g", 7}}},
    {"rwkv7-bf16",
     &rk_arch_rwkv7,
     RK_BF16,
     false,
     false,
     {{"n_embd", 128},
      {"head_size", 64},
      {"n_layer", 3},
      {"dim_ffn", 512},
      {"n_vocab", 37},
      {"rank_w", 8},
      {"rank_a", 8},
      {"rank_v", 8},
      {"rank_g", 16}}},
    {"rwkv7-odd",
     &rk_arch_rwkv7,
     RK_F32,
     false,
     false,
     {{"n_embd", 63},
      {"head_size", 21},
      {"n_layer", 3},
      {"dim_ffn", 131},
      {"n_vocab", 43},
      {"rank_w", 5},
      {"rank_a", 3},
      {"rank_v", 4},
      {"rank_g", 9}}},
    {"rwkv7a",
     &rk_arch_rwkv7a,
     RK_F32,
     false,
     false,
     {{"n_embd", 40},
      {"head_size", 20},
      {"n_layer", 2},
      {"dim_ffn", 160},
      {"n_vocab", 37},
      {"rank_w", 6},
      {"rank_a", 5},
      {"rank_v", 3},
      {"rank_g", 7}}},
    {"rwkv7a-bf16",
     &rk_arch_rwkv7a,
     RK_BF16,
     false,
     false,
     {{"n_embd", 64},
      {"head_size", 32},
      {"n_layer", 3},
      {"dim_ffn", 256},
      {"n_vocab", 41},
      {"rank_w", 6},
      {"rank_a", 5},
      {"rank_v", 3},
      {"rank_g", 7}}},
};

/* ---- weights ---- */

/* value = base + scale u, by how a name ends; scale / sqrt(columns) where by_columns says so. The
 * first row that fits counts; low-rank factors end in a digit. */
static const struct {
    const char *end;
    double base, scale;
    bool by_columns;
} ranges[] = {
    {"emb.weight", 0, 1, false},
    {"ln_x.weight", 1, 0.3, false},
    {"ln0.weight", 1, 0.3, false},
    {"ln1.weight", 1, 0.3, false},
    {"ln2.weight", 1, 0.3, false},
    {"ln_out.weight", 1, 0.3, false},
    {".bias", 0, 0.2, false},
    {".weight", 0, 1.5, true},
    {"time_decay", -2, 3, false},
    {"time_first", -0.5, 1, false},
    {"time_faaaa", 0.2, 0.5, false},
    {"time_state", 0, 0.5, false},
    {".w0", -2, 3, false},
    {".a0", 0, 0.5, false},
    {".v0", 0.5, 0.5, false},
    {".s0", 1, 0.5, false},
    {"k_k", 0.7, 0.2, false},
    {"k_a", 1, 0.3, false},
    {"r_k", 0, 0.3, false},
    {"1", 0, 0.5, false},
    {"2", 0, 0.5, false},
    {"", 0.5, 0.5, false},
};

static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static void fill(const rk_param *p, rk_dtype dtype)
{
    const double columns = (double)rk_tensor_cols(&p->tensor);
    uint64_t seed = 0xcbf29ce484222325u; /* FNV-1a of the name */
    size_t row = 0;
    for (const char *c = p->name; *c; c++)
        seed = (seed ^ (unsigned char)*c) * 0x100000001b3u;
    while (!rk_ends_with(p->name, ranges[row].end))
        row++;
    const double scale = ranges[row].scale / (ranges[row].by_columns ? sqrt(columns) : 1.0);
    for (int64_t i = 0; i < rk_tensor_count(&p->tensor); i++) {
        const uint64_t draw = mix(seed + (uint64_t)(i + 1) * 0x9e3779b97f4a7c15u) >> 40;
        const double u = (double)draw / 8388608.0 - 1.0;
        const float x = (float)(ranges[row].base + scale * u);
        ((float *)p->tensor.data)[i] = dtype == RK_BF16 ? rk_bf16_to_f32(rk_f32_to_bf16(x)) : x;
    }
}

/* Write the model as a file and open it. */
static rk_model *generated(test_ctx *t, const oracle_model *o)
{
    const char *path = test_path(t, test_temp_dir(t), "model.safetensors");
    rk_hparams hp;
    rk_model *m = NULL, *out = NULL;
    rk_error err = {0};
    int64_t n_sizes = 0;
    while (o->sizes[n_sizes].name)
        n_sizes++;
    test_ok(rk_sizes_make(o->arch, o->sizes, n_sizes, &hp, &err), &err);
    hp.tuned_state = o->tuned;
    test_ok(rk_model_new(&m, o->arch, &hp, &err), &err);
    test_model_memory(m);
    for (int64_t i = 0; i < m->n_params; i++)
        fill(&m->params[i], o->dtype);
    test_ok(rk_model_save(m, path, &(rk_save_options){.dtype = o->dtype}, &err), &err);
    rk_model_close(m);
    test_ok(rk_model_open(&out, path, &err), &err);
    return out;
}

static rk_model *stored(const oracle_model *o)
{
    char path[512];
    rk_model *m = NULL;
    rk_error err = {0};
    snprintf(path, sizeof path, "%s/tests/data/oracle/%s.pth", RK_SOURCE_DIR, o->name);
    test_ok(rk_model_open(&m, path, &err), &err);
    return m;
}

/* ---- scores ---- */

/* Largest distance from the scores that are known, as a share of their root mean square. */
static double distance(const float *want, const float *got, int64_t n)
{
    double square = 0.0, worst = 0.0;
    for (int64_t i = 0; i < n; i++) {
        const double d = fabs((double)got[i] - (double)want[i]);
        square += (double)want[i] * (double)want[i];
        worst = d <= worst ? worst : isnan(d) ? (double)INFINITY : d;
    }
    return worst / sqrt(square / (double)n);
}

static void compare(test_ctx *t, const oracle_model *o, const rk_model *m, const float *want)
{
    const int64_t v = m->hp.n_vocab;
    rk_engine *e = NULL;
    rk_session *whole = NULL, *single = NULL;
    rk_error err = {0};
    int32_t tokens[T];
    float *a = test_alloc_f32(t, T * v), *b = test_alloc_f32(t, T * v);
    test_ok(rk_engine_new(&e, &(rk_engine_params){.n_threads = 1}, &err), &err);
    test_ok(rk_session_new(&whole, m, e, &err), &err);
    test_ok(rk_session_new(&single, m, e, &err), &err);
    for (int i = 0; i < T; i++)
        tokens[i] = (int32_t)((7 * i * i + 3 * i + 1) % v);
    test_ok(rk_session_eval_all(whole, tokens, T, a, &err), &err);
    for (int i = 0; i < T; i++)
        test_ok(rk_session_eval(single, tokens + i, 1, b + i * v, &err), &err);
    const double da = distance(want, a, T * v), db = distance(want, b, T * v);
    print_message("%s: sequence %.1e, single tokens %.1e of the rms\n", o->name, da, db);
    if (!(da <= 1e-4 && db <= 1e-4))
        fail_msg("%s: sequence %g, single tokens %g of the rms, expected at most 1e-4", o->name, da,
                 db);
    rk_session_free(whole);
    rk_session_free(single);
    rk_engine_free(e);
}

static void test_scores(void **state)
{
    (void)state;
    rk_file *f = NULL;
    rk_error err = {0};
    test_ok(rk_file_open(&f, RK_SOURCE_DIR "/tests/data/oracle/logits.safetensors", &err), &err);
    assert_int_equal(rk_file_count(f), RK_COUNT(models));
    for (size_t i = 0; i < RK_COUNT(models); i++) {
        const oracle_model *o = &models[i];
        const rk_file_tensor *known = rk_file_find(f, o->name);
        test_ctx t = test_begin(1);
        assert_non_null(known);
        rk_model *m = o->stored ? stored(o) : generated(&t, o);
        assert_int_equal(rk_file_tensor_count(known), T * m->hp.n_vocab);
        float *want = test_alloc_f32(&t, T * m->hp.n_vocab);
        rk_file_floats(known, 0, T * m->hp.n_vocab, want);
        assert_string_equal(m->arch->name, o->arch->name);
        compare(&t, o, m, want);
        rk_model_close(m);
        test_end(&t);
    }
    rk_file_close(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_scores)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
