/* Adapters beside low-rank pairs: as the model whose pairs they were put into computes, with the bits of the model
 * alone where they change nothing, in batches with the bits that each stream has alone; what asks for a matrix
 * is refused. */
#include "../infer/test_model_util.h"

#include "infer/session.h"
#include "model/adaptable.h"
#include "model/pair.h"
#include "tune/merge_model.h"
#include "tune/method.h"

enum { N_TOKENS = 45, N_SINGLE = 3, N_EMBD = 48, N_LAYER = 2, RANK = 6, SCORES = 1 + N_SINGLE };

static const rk_arch *const archs[] = {&rk_arch_rwkv4, &rk_arch_rwkv5, &rk_arch_rwkv6,
                                       &rk_arch_rwkv7, &rk_arch_rrwkv};

/* What is tuned how; start: beside what stands there less a product of its own. */
typedef struct setting {
    const char *method;
    int64_t rank;
    int miss_init;
    bool start;
} setting;

static const setting settings[] = {{"lora", 3, 0, false},
                                   {"rslora", 5, 0, true},
                                   {"miss", 5, RK_MISS_ZERO, false},
                                   {"miss", 7, RK_MISS_MINI, false}};

static rk_model *model_of(const rk_arch *arch, bool is_enhanced)
{
    const rk_size sizes[] = {{"n_vocab", 97},        {"n_layer", N_LAYER},
                             {"n_embd", N_EMBD},     {"n_head", 3},
                             {"head_size", 16},      {"low_rank", RANK},
                             {"medium_interval", 5}, {"low_rank_form", is_enhanced}};
    rk_hparams hp = test_hparams(arch, sizes, RK_COUNT(sizes));
    return test_model_noisy(arch, &hp, 0.4f);
}

/* Opened from a file, as models are. */
static rk_model *open_model(test_ctx *t, const rk_arch *arch, bool is_enhanced, rk_dtype dtype)
{
    rk_model *made = model_of(arch, is_enhanced), *m = NULL;
    const char *path = test_path(t, test_temp_dir(t), "pairs.safetensors");
    rk_error err = {0};
    test_ok(rk_model_save(made, path, &(rk_save_options){.dtype = dtype, .overwrite = true}, &err),
            &err);
    rk_model_close(made);
    test_ok(rk_model_open(&m, path, &err), &err);
    return m;
}

static rk_status make(rk_adapter_set **out, const rk_model *m, const setting *s,
                      const char *targets, rk_error *err)
{
    rk_tune_options o = rk_tune_defaults();
    o.method = s->method;
    o.rank = s->rank;
    o.miss_init = s->miss_init;
    o.mini_width = 16;
    o.targets = targets;
    return rk_tune_make(out, m, &o, err);
}

static int64_t n_beside_pairs(const rk_adapter_set *s, const rk_model *m)
{
    int64_t n = 0;
    for (int64_t i = 0; i < s->n_parts; i++) {
        rk_adaptable a = {0};
        assert_true(rk_adaptable_named(m, s->parts[i].name, &a));
        n += a.pair;
    }
    return n;
}

static rk_adapter_set *set_of(test_ctx *t, const rk_model *m, const setting *s, float range)
{
    rk_adapter_set *set = NULL;
    rk_error err = {0};
    test_ok(make(&set, m, s, NULL, &err), &err);
    assert_true(n_beside_pairs(set, m) >= 3 * N_LAYER);
    assert_true(set->n_parts > n_beside_pairs(set, m));
    for (int64_t i = 0; i < set->n_parts; i++) {
        rk_adapter_part *p = &set->parts[i];
        if (s->start)
            test_ok(rk_part_make_start(p, &err), &err);
        for (int q = 0; q < rk_forms[p->form].n_tensors; q++) {
            const int64_t n = rk_part_count(p, q);
            memcpy(p->tensors[q], test_uniform(t, n, -range, range), (size_t)n * sizeof(float));
            if (s->start)
                memcpy(p->start[q], test_uniform(t, n, -range, range), (size_t)n * sizeof(float));
        }
    }
    return set;
}

static rk_adapters *applied(const rk_model *m, const rk_adapter_set *s, double scale)
{
    rk_adapters *a = NULL;
    rk_error err = {0};
    test_ok(rk_adapters_apply(&a, m, &(rk_adapter_use){s, scale}, 1, RK_F32, &err), &err);
    return a;
}

/* Scores after a prompt of the long class and after each of some single tokens, (SCORES, V). */
static float *scores(test_ctx *t, const rk_model *m, int n_threads, const rk_adapters *a,
                     const int32_t *tokens)
{
    const int64_t v = m->hp.n_vocab;
    float *out = test_alloc_f32(t, SCORES * v);
    rk_engine *e = test_engine(n_threads);
    rk_session *s = NULL;
    rk_error err = {0};
    test_ok(rk_session_new(&s, m, e, &err), &err);
    test_ok(rk_session_adapt(s, a, &err), &err);
    test_ok(rk_session_eval(s, tokens, N_TOKENS, out, &err), &err);
    for (int i = 0; i < N_SINGLE; i++)
        test_ok(rk_session_eval(s, tokens + i, 1, out + (1 + i) * v, &err), &err);
    rk_session_free(s);
    rk_engine_free(e);
    return out;
}

static float distance(const float *x, const float *y, int64_t n)
{
    float most = 0;
    for (int64_t i = 0; i < n; i++)
        most = fmaxf(most, fabsf(x[i] - y[i]));
    return most;
}

/* The model with two sets in it, in a file. */
static rk_model *merged(test_ctx *t, rk_model *m, const rk_adapter_use *uses, int64_t n)
{
    const char *path = test_path(t, test_temp_dir(t), "merged.safetensors");
    const rk_merge how = {.uses = uses, .n_uses = n, .keep_types = true};
    rk_model *out = NULL;
    rk_error err = {0};
    test_ok(rk_model_merge(m, path, &how, &(rk_save_options){.overwrite = true}, &err), &err);
    test_ok(rk_model_open(&out, path, &err), &err);
    return out;
}

static void test_as_merged_pairs(void **state)
{
    (void)state;
    for (size_t a = 0; a < RK_COUNT(archs); a++)
        for (size_t k = 0; k < RK_COUNT(settings); k++) {
            test_ctx t = test_begin(21 + a);
            const double scale = k % 2 ? 0.5 : 1.0;
            rk_model *m = open_model(&t, archs[a], false, RK_F32);
            const int64_t v = m->hp.n_vocab;
            const int32_t *tokens = test_tokens(&t, N_TOKENS, v);
            rk_adapter_set *s = set_of(&t, m, &settings[k], 0.2f);
            rk_adapters *ad = applied(m, s, scale);
            const float *got = scores(&t, m, 2, ad, tokens), *base = scores(&t, m, 2, NULL, tokens);
            test_shape(&t, "%s, %s of rank %d", archs[a]->name, settings[k].method,
                       (int)settings[k].rank);
            test_same(&t, "one thread", got, scores(&t, m, 1, ad, tokens),
                      (size_t)(SCORES * v) * sizeof *got);
            rk_adapters_free(ad);
            rk_model *with = merged(&t, m, &(rk_adapter_use){s, scale}, 1);
            assert_int_equal(with->hp.low_rank,
                             RANK + settings[k].rank * (settings[k].start ? 2 : 1));
            test_close(&t, "scores", scores(&t, with, 2, NULL, tokens), got, SCORES * v, 5e-4f);
            assert_true(distance(got, base, v) > 1e-2f);
            rk_adapter_set_free(s);
            rk_model_close(with);
            rk_model_close(m);
            test_end(&t);
        }
}

/* Two sets of which one leaves a layer out: its pair gets zeros there. */
static void test_some_layers(void **state)
{
    (void)state;
    test_ctx t = test_begin(3);
    rk_model *m = open_model(&t, &rk_arch_rwkv6, false, RK_F32);
    const int64_t v = m->hp.n_vocab;
    const int32_t *tokens = test_tokens(&t, N_TOKENS, v);
    rk_adapter_set *all = set_of(&t, m, &settings[0], 0.2f), *one = NULL;
    rk_adapters *ad = NULL;
    rk_error err = {0};
    test_ok(make(&one, m, &settings[2], "blocks.1.att.key", &err), &err);
    assert_int_equal(one->n_parts, 1);
    const int64_t n = rk_part_count(&one->parts[0], 0);
    memcpy(one->parts[0].tensors[0], test_uniform(&t, n, -0.2f, 0.2f), (size_t)n * sizeof(float));
    const rk_adapter_use uses[] = {{all, 1.0}, {one, -0.7}};
    test_ok(rk_adapters_apply(&ad, m, uses, 2, RK_F32, &err), &err);
    const float *got = scores(&t, m, 2, ad, tokens);
    rk_adapters_free(ad);
    rk_model *with = merged(&t, m, uses, 2);
    for (int k = 0; k < RK_PAIR_KINDS; k++)
        assert_int_equal(with->hp.pair_rank[k],
                         m->hp.pair_rank[k] + 3 + (!strcmp(rk_pair_name(k), "key") ? 5 : 0));
    test_close(&t, "scores", scores(&t, with, 2, NULL, tokens), got, SCORES * v, 5e-4f);
    rk_adapter_set_free(all);
    rk_adapter_set_free(one);
    rk_model_close(with);
    rk_model_close(m);
    test_end(&t);
}

/* Adapters as they begin change no bit, of enhanced pairs either. */
static void test_zero_beside_pairs(void **state)
{
    (void)state;
    for (size_t a = 0; a < RK_COUNT(archs); a++)
        for (size_t k = 0; k < RK_COUNT(settings); k++) {
            test_ctx t = test_begin(5 + a);
            rk_model *m = open_model(&t, archs[a], k % 2, RK_BF16);
            const int32_t *tokens = test_tokens(&t, N_TOKENS, m->hp.n_vocab);
            setting s = settings[k];
            s.start = false;
            rk_adapter_set *set = set_of(&t, m, &s, 0.0f);
            rk_adapters *ad = applied(m, set, 1.0);
            test_shape(&t, "%s, %s", archs[a]->name, s.method);
            test_same(&t, "scores", scores(&t, m, 2, NULL, tokens), scores(&t, m, 2, ad, tokens),
                      (size_t)(SCORES * m->hp.n_vocab) * sizeof(float));
            rk_adapters_free(ad);
            rk_adapter_set_free(set);
            rk_model_close(m);
            test_end(&t);
        }
}

enum { N_STREAMS = 5 };

/* Streams with different adapters and with none in one batch: each as alone. */
static void test_batch_beside_pairs(void **state)
{
    static const int of[N_STREAMS] = {0, 0, -1, 1, 2};
    (void)state;
    rk_engine *e = test_engine(2);
    for (size_t a = 0; a < RK_COUNT(archs); a++) {
        test_ctx t = test_begin(31 + a);
        rk_model *m = open_model(&t, archs[a], a % 2, RK_BF16);
        const int64_t v = m->hp.n_vocab;
        const int32_t *tokens = test_tokens(&t, N_STREAMS * N_SINGLE, v);
        float *out = test_alloc_f32(&t, (int64_t)N_STREAMS * N_SINGLE * v);
        float *one = test_alloc_f32(&t, v);
        rk_adapter_set *sets[3];
        rk_adapters *ad[3];
        rk_session *s[N_STREAMS], *alone = NULL;
        rk_error err = {0};
        for (int i = 0; i < 3; i++) {
            sets[i] = set_of(&t, m, &settings[i], 0.2f);
            ad[i] = applied(m, sets[i], 1.0);
        }
        for (int i = 0; i < N_STREAMS; i++) {
            test_ok(rk_session_new(&s[i], m, e, &err), &err);
            test_ok(rk_session_adapt(s[i], of[i] < 0 ? NULL : ad[of[i]], &err), &err);
        }
        for (int i = 0; i < N_SINGLE; i++)
            test_ok(rk_session_eval_batch(s, N_STREAMS, tokens + i * N_STREAMS,
                                          out + i * N_STREAMS * v, &err),
                    &err);
        for (int i = 0; i < N_STREAMS; i++) {
            rk_session_free(s[i]);
            test_ok(rk_session_new(&alone, m, e, &err), &err);
            test_ok(rk_session_adapt(alone, of[i] < 0 ? NULL : ad[of[i]], &err), &err);
            for (int k = 0; k < N_SINGLE; k++) {
                test_shape(&t, "%s, stream %d, token %d", archs[a]->name, i, k);
                test_ok(rk_session_eval(alone, tokens + k * N_STREAMS + i, 1, one, &err), &err);
                test_same(&t, "scores", one, out + (k * N_STREAMS + i) * v,
                          (size_t)v * sizeof *one);
            }
            rk_session_free(alone);
        }
        for (int i = 0; i < 3; i++) {
            rk_adapters_free(ad[i]);
            rk_adapter_set_free(sets[i]);
        }
        rk_model_close(m);
        test_end(&t);
    }
    rk_engine_free(e);
}

static void expect(rk_status want, const char *sentence, rk_status got, const rk_error *err)
{
    if (got != want || !strstr(err->msg, sentence))
        fail_msg("status %d, '%s', expected %d, '%s'", (int)got, err->msg, (int)want, sentence);
}

/* A set that was made for whole matrices, beside pairs. */
static void check_made_for_whole(test_ctx *t, const rk_model *m, const char *method)
{
    test_arch = m->arch;
    test_model whole = test_model_open(t, 3, N_LAYER, N_EMBD, RK_F32);
    rk_adapter_set *s = NULL;
    rk_error err = {0};
    test_ok(make(&s, whole.model, &(setting){method, 4, 0, false}, NULL, &err), &err);
    expect(RK_ERR_UNSUPPORTED, "which is a low-rank pair in this model",
           rk_adapter_set_check(s, m, "a.safetensors", true, &err), &err);
    rk_adapter_set_free(s);
    rk_model_close(whole.model);
}

static void test_asks_for_matrix(void **state)
{
    static const char *const methods[] = {"dora", "bat", "pissa", "olora", "lora-ga"};
    (void)state;
    test_ctx t = test_begin(9);
    rk_model *m = open_model(&t, &rk_arch_rwkv5, false, RK_F32);
    rk_error err = {0};
    for (size_t i = 0; i < RK_COUNT(methods); i++) {
        const setting s = {methods[i], 4, 0, false};
        rk_adapter_set *set = NULL;
        expect(RK_ERR_UNSUPPORTED, "asks for the matrix 'blocks.0.att.key.weight'",
               make(&set, m, &s, "att.key", &err), &err);
        test_ok(make(&set, m, &s, NULL, &err), &err); /* beside whole matrices alone */
        assert_int_equal(n_beside_pairs(set, m), 0);
        assert_true(set->n_parts >= 3 * N_LAYER);
        rk_adapter_set_free(set);
    }
    check_made_for_whole(&t, m, "dora");
    check_made_for_whole(&t, m, "bat");
    rk_model_close(m);
    test_end(&t);
}

/* What no pair can hold. */
static void test_merge_refused(void **state)
{
    (void)state;
    test_ctx t = test_begin(9);
    rk_model *m = open_model(&t, &rk_arch_rwkv5, false, RK_F32);
    rk_model *of_squares = open_model(&t, &rk_arch_rwkv5, true, RK_F32);
    const char *path = test_path(&t, test_temp_dir(&t), "none.pth");
    rk_adapter_set *wide = set_of(&t, m, &(setting){"lora", N_EMBD, 0, false}, 0.1f);
    const rk_adapter_use use = {wide, 1.0};
    rk_error err = {0};
    rk_merge how = {.uses = &use, .n_uses = 1, .keep_types = true};
    expect(RK_ERR_UNSUPPORTED, "would be a pair of rank 54, expected n_embd 48 at most",
           rk_model_merge(m, path, &how, &(rk_save_options){0}, &err), &err);
    expect(RK_ERR_UNSUPPORTED, "is an enhanced pair",
           rk_model_merge(of_squares, path, &how, &(rk_save_options){0}, &err), &err);
    how.take_out = true;
    expect(RK_ERR_UNSUPPORTED, "cannot be taken out",
           rk_model_merge(m, path, &how, &(rk_save_options){0}, &err), &err);
    assert_int_not_equal(access(path, F_OK), 0);
    rk_adapter_set_free(wide);
    rk_model_close(of_squares);
    rk_model_close(m);
    test_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_as_merged_pairs),   cmocka_unit_test(test_some_layers),
        cmocka_unit_test(test_zero_beside_pairs), cmocka_unit_test(test_batch_beside_pairs),
        cmocka_unit_test(test_asks_for_matrix),   cmocka_unit_test(test_merge_refused),
    };
    return cmocka_run_group_tests_name("adapters beside pairs", tests, NULL, NULL);
}
