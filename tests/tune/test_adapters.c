/* Streams that compute with adapters: as the merged model does, with the bits of the model alone where an
 * adapter changes nothing, and in a batch with the bits that each has alone. */
#include "../infer/test_model_util.h"

#include "infer/session.h"
#include "tune/attach.h"
#include "tune/merge.h"
#include "tune/method.h"

enum { N_TOKENS = 45, N_SINGLE = 3, N_EMBD = 48, N_LAYER = 2 };

static const rk_arch *const archs[] = {&rk_arch_rwkv4, &rk_arch_rwkv5, &rk_arch_rwkv6,
                                       &rk_arch_rwkv7};

/* What is tuned how. */
typedef struct setting {
    const char *method;
    int64_t rank;
    int bat_blocks, miss_init;
    bool start; /* made up: beside W - scale B0 A0 */
} setting;

static const setting settings[] = {
    {"lora", 3, 0, 0, false},
    {"rslora", 5, 0, 0, true},
    {"dora", 3, 0, 0, false},
    {"miss", 5, 0, RK_MISS_ZERO, false},
    {"miss", 7, 0, RK_MISS_MINI, false},
    {"bat", 4, RK_BAT_IN, 0, false},
    {"bat", 4, RK_BAT_OUT, 0, false},
};

/* Numbers in +-range; magnitudes near the norms of rows. */
static void fill(test_ctx *t, rk_adapter_set *s, float range)
{
    for (int64_t i = 0; i < s->n_parts; i++)
        for (int q = 0; q < rk_forms[s->parts[i].form].n_tensors; q++) {
            const int64_t n = rk_part_count(&s->parts[i], q);
            const float *x = test_uniform(t, n, -range, range);
            for (int64_t e = 0; e < n; e++)
                s->parts[i].tensors[q][e] = q == 2 ? 0.8f + x[e] : x[e];
        }
}

static rk_adapter_set *set_of(test_ctx *t, const rk_model *m, const setting *s, float range)
{
    rk_tune_options o = rk_tune_defaults();
    rk_adapter_set *set = NULL;
    rk_error err = {0};
    o.method = s->method;
    o.rank = s->rank;
    o.bat_blocks = s->bat_blocks;
    o.miss_init = s->miss_init;
    o.mini_width = 16;
    test_ok(rk_tune_make(&set, m, &o, &err), &err);
    assert_true(set->n_parts >= 6 * N_LAYER);
    fill(t, set, range);
    for (int64_t i = 0; i < set->n_parts && s->start; i++) {
        rk_adapter_part *p = &set->parts[i];
        test_ok(rk_part_make_start(p, &err), &err);
        for (int q = 0; q < 2; q++)
            memcpy(p->start[q], test_uniform(t, rk_part_count(p, q), -range, range),
                   (size_t)rk_part_count(p, q) * sizeof(float));
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

/* Scores after a prompt of the long class and after each of some single tokens, (1 + N_SINGLE, V). */
static float *scores(test_ctx *t, const rk_model *m, rk_engine *e, const rk_adapters *a,
                     const int32_t *tokens)
{
    const int64_t n_vocab = m->hp.n_vocab;
    float *out = test_alloc_f32(t, (1 + N_SINGLE) * n_vocab);
    rk_session *s = NULL;
    rk_error err = {0};
    test_ok(rk_session_new(&s, m, e, &err), &err);
    test_ok(rk_session_adapt(s, a, &err), &err);
    test_ok(rk_session_eval(s, tokens, N_TOKENS, out, &err), &err);
    for (int i = 0; i < N_SINGLE; i++)
        test_ok(rk_session_eval(s, tokens + i, 1, out + (1 + i) * n_vocab, &err), &err);
    rk_session_free(s);
    return out;
}

/* Put the set into the model's matrices, which get memory of the test's. */
static void merge(test_ctx *t, rk_model *m, const rk_adapter_set *s, double scale)
{
    for (int64_t i = 0; i < s->n_parts; i++) {
        const rk_adapter_part *part = &s->parts[i];
        rk_param *p = rk_model_param(m, part->name);
        const rk_weight *w = rk_param_weight(m, p);
        const int64_t dims[2] = {part->out, part->in};
        float *x = test_alloc_f32(t, part->out * part->in);
        rk_error err = {0};
        for (int64_t o = 0; o < part->out; o++)
            rk_matrix_row(w->matrix, w->layout, o, x + o * part->in);
        test_ok(rk_part_merge(part, scale, x, NULL, &err), &err);
        p->tensor = rk_tensor_over(RK_F32, 2, dims, x);
    }
}

static float distance(const float *x, const float *y, int64_t n)
{
    float most = 0;
    for (int64_t i = 0; i < n; i++)
        most = fmaxf(most, fabsf(x[i] - y[i]));
    return most;
}

static void test_as_merged(void **state)
{
    (void)state;
    rk_engine *e = test_engine(2);
    for (size_t a = 0; a < RK_COUNT(archs); a++)
        for (size_t k = 0; k < RK_COUNT(settings); k++)
            for (int half = 0; half < 2; half++) {
                test_ctx t = test_begin(21 + a);
                const double scale = half ? 0.5 : 1.0;
                test_arch = archs[a];
                test_model plain = test_model_open(&t, 3, N_LAYER, N_EMBD, RK_F32);
                test_model merged = test_model_open(&t, 3, N_LAYER, N_EMBD, RK_F32);
                const int32_t *tokens = test_tokens(&t, N_TOKENS, plain.model->hp.n_vocab);
                rk_adapter_set *s = set_of(&t, plain.model, &settings[k], 0.2f);
                rk_adapters *ad = applied(plain.model, s, scale);
                merge(&t, merged.model, s, scale);
                const float *got = scores(&t, plain.model, e, ad, tokens);
                const float *want = scores(&t, merged.model, e, NULL, tokens);
                const float *base = scores(&t, plain.model, e, NULL, tokens);
                test_shape(&t, "%s, %s of rank %d, times %g", test_arch->name, settings[k].method,
                           (int)settings[k].rank, scale);
                test_close(&t, "scores", want, got, (1 + N_SINGLE) * plain.model->hp.n_vocab,
                           2e-4f);
                assert_true(distance(want, base, plain.model->hp.n_vocab) > 1e-2f);
                rk_adapters_free(ad);
                rk_adapter_set_free(s);
                rk_model_close(plain.model);
                rk_model_close(merged.model);
                test_end(&t);
            }
    rk_engine_free(e);
}

/* Adapters as they begin change no bit. */
static void test_zero(void **state)
{
    static const setting zero[] = {{"lora", 3, 0, 0, false},
                                   {"miss", 5, 0, RK_MISS_ZERO, false},
                                   {"miss", 5, 0, RK_MISS_MINI, false},
                                   {"bat", 4, RK_BAT_IN, 0, false},
                                   {"bat", 4, RK_BAT_OUT, 0, false}};
    (void)state;
    rk_engine *e = test_engine(2);
    for (size_t a = 0; a < RK_COUNT(archs); a++)
        for (size_t k = 0; k < RK_COUNT(zero); k++) {
            test_ctx t = test_begin(5 + a);
            test_arch = archs[a];
            test_model m = test_model_open(&t, 3, N_LAYER, N_EMBD, RK_BF16);
            const int32_t *tokens = test_tokens(&t, N_TOKENS, m.model->hp.n_vocab);
            rk_adapter_set *s = set_of(&t, m.model, &zero[k], 0.0f);
            for (int64_t i = 0; i < s->n_parts && s->parts[i].form == RK_PART_LORA; i++)
                for (int64_t n = 0; n < rk_part_count(&s->parts[i], 0); n++)
                    s->parts[i].tensors[0][n] = 0.1f * (float)(n % 7 - 3);
            rk_adapters *ad = applied(m.model, s, 1.0);
            test_shape(&t, "%s, %s", test_arch->name, zero[k].method);
            test_same(&t, "scores", scores(&t, m.model, e, NULL, tokens),
                      scores(&t, m.model, e, ad, tokens),
                      (size_t)((1 + N_SINGLE) * m.model->hp.n_vocab) * sizeof(float));
            rk_adapters_free(ad);
            rk_adapter_set_free(s);
            rk_model_close(m.model);
            test_end(&t);
        }
    rk_engine_free(e);
}

/* --------------------------------------------------------------------------------------- batches */

enum { N_STREAMS = 6 };

static void feed(rk_session **s, const int32_t *tokens, float *out, int64_t n_vocab)
{
    rk_error err = {0};
    for (int i = 0; i < N_SINGLE; i++)
        test_ok(rk_session_eval_batch(s, N_STREAMS, tokens + i * N_STREAMS,
                                      out + i * N_STREAMS * n_vocab, &err),
                &err);
}

/* The same streams one by one, each with the adapters that it has in the batch; ad[i] may be NULL. */
static void check_alone(test_ctx *t, const rk_model *m, rk_engine *e, rk_adapters *const *ad,
                        const int32_t *tokens, const float *batch)
{
    const int64_t n_vocab = m->hp.n_vocab;
    float *one = test_alloc_f32(t, n_vocab);
    for (int s = 0; s < N_STREAMS; s++) {
        rk_session *alone = NULL;
        rk_error err = {0};
        test_ok(rk_session_new(&alone, m, e, &err), &err);
        test_ok(rk_session_adapt(alone, ad[s], &err), &err);
        for (int i = 0; i < N_SINGLE; i++) {
            test_ok(rk_session_eval(alone, tokens + i * N_STREAMS + s, 1, one, &err), &err);
            test_shape(t, "%s, stream %d, token %d", m->arch->name, s, i);
            test_same(t, "scores", one, batch + (i * N_STREAMS + s) * n_vocab,
                      (size_t)n_vocab * sizeof *one);
        }
        rk_session_free(alone);
    }
}

static void test_batch(void **state)
{
    (void)state;
    rk_engine *e = test_engine(2);
    for (size_t a = 0; a < RK_COUNT(archs); a++) {
        test_ctx t = test_begin(31 + a);
        test_arch = archs[a];
        test_model m = test_model_open(&t, 3, N_LAYER, N_EMBD, RK_BF16);
        const int32_t *tokens = test_tokens(&t, N_STREAMS * N_SINGLE, m.model->hp.n_vocab);
        float *out = test_alloc_f32(&t, (int64_t)N_STREAMS * N_SINGLE * m.model->hp.n_vocab);
        rk_adapter_set *sets[4];
        rk_adapters *own[4], *ad[N_STREAMS] = {NULL};
        rk_session *s[N_STREAMS];
        rk_error err = {0};
        for (int i = 0; i < 4; i++) {
            sets[i] = set_of(&t, m.model, &settings[i == 3 ? 5 : i], 0.2f);
            own[i] = applied(m.model, sets[i], 1.0);
        }
        ad[0] = own[0]; /* two neighbours alike, one alone, some with others */
        ad[1] = own[0];
        ad[3] = own[1];
        ad[4] = own[2];
        ad[5] = own[3];
        for (int i = 0; i < N_STREAMS; i++) {
            test_ok(rk_session_new(&s[i], m.model, e, &err), &err);
            test_ok(rk_session_adapt(s[i], ad[i], &err), &err);
        }
        feed(s, tokens, out, m.model->hp.n_vocab);
        check_alone(&t, m.model, e, ad, tokens, out);
        for (int i = 0; i < N_STREAMS; i++)
            rk_session_free(s[i]);
        for (int i = 0; i < 4; i++) {
            rk_adapters_free(own[i]);
            rk_adapter_set_free(sets[i]);
        }
        rk_model_close(m.model);
        test_end(&t);
    }
    rk_engine_free(e);
}

/* Forks and joins of a token. */
static int64_t jobs_of_a_token(const rk_model *m, rk_engine *e, const rk_adapters *a, float *out)
{
    rk_session *s = NULL;
    rk_error err = {0};
    test_ok(rk_session_new(&s, m, e, &err), &err);
    test_ok(rk_session_adapt(s, a, &err), &err);
    test_ok(rk_session_eval(s, &(int32_t){3}, 1, out, &err), &err);
    const int64_t before = rk_pool_n_jobs(rk_engine_pool(e));
    test_ok(rk_session_eval(s, &(int32_t){5}, 1, out, &err), &err);
    rk_session_free(s);
    return rk_pool_n_jobs(rk_engine_pool(e)) - before;
}

/* In decoding both steps of an adapter belong to the tasks of its matrix: no more jobs than without. */
static void test_jobs(void **state)
{
    static const setting joined[] = {{"lora", 3, 0, 0, false}, {"miss", 5, 0, RK_MISS_ZERO, false}};
    (void)state;
    rk_engine *e = test_engine(2);
    for (size_t a = 0; a < RK_COUNT(archs); a++)
        for (size_t k = 0; k < RK_COUNT(joined); k++) {
            test_ctx t = test_begin(51 + a);
            test_arch = archs[a];
            test_model m = test_model_open(&t, 3, N_LAYER, 4 * N_EMBD, RK_BF16);
            float *out = test_alloc_f32(&t, m.model->hp.n_vocab);
            rk_adapter_set *s = set_of(&t, m.model, &joined[k], 0.2f);
            rk_adapters *ad = applied(m.model, s, 1.0);
            test_shape(&t, "%s, %s", test_arch->name, joined[k].method);
            assert_int_equal(jobs_of_a_token(m.model, e, ad, out),
                             jobs_of_a_token(m.model, e, NULL, out));
            rk_adapters_free(ad);
            rk_adapter_set_free(s);
            rk_model_close(m.model);
            test_end(&t);
        }
    rk_engine_free(e);
}

/* Exchanged while a session runs; a clone has the same; another model's are refused. */
static void test_exchange(void **state)
{
    (void)state;
    test_ctx t = test_begin(41);
    rk_engine *e = test_engine(1);
    test_arch = &rk_arch_rwkv7;
    test_model m = test_model_open(&t, 3, N_LAYER, N_EMBD, RK_F32);
    test_model other = test_model_open(&t, 4, N_LAYER, N_EMBD, RK_F32);
    const int64_t n_vocab = m.model->hp.n_vocab;
    rk_adapter_set *s = set_of(&t, m.model, &settings[0], 0.2f);
    rk_adapters *a = applied(m.model, s, 1.0);
    rk_session *one = NULL, *copy = NULL, *foreign = NULL;
    float *x = test_alloc_f32(&t, n_vocab), *y = test_alloc_f32(&t, n_vocab);
    rk_error err = {0};
    test_ok(rk_session_new(&one, m.model, e, &err), &err);
    test_ok(rk_session_adapt(one, a, &err), &err);
    test_ok(rk_session_clone(&copy, one, &err), &err);
    test_ok(rk_session_eval(one, &(int32_t){5}, 1, x, &err), &err);
    test_ok(rk_session_eval(copy, &(int32_t){5}, 1, y, &err), &err);
    test_same(&t, "clone", x, y, (size_t)n_vocab * sizeof *x);
    test_ok(rk_session_adapt(one, NULL, &err), &err);
    test_ok(rk_session_eval(one, &(int32_t){6}, 1, x, &err), &err);
    test_ok(rk_session_eval(copy, &(int32_t){6}, 1, y, &err), &err);
    assert_true(memcmp(x, y, (size_t)n_vocab * sizeof *x) != 0);
    test_ok(rk_session_new(&foreign, other.model, e, &err), &err);
    assert_int_equal(rk_session_adapt(foreign, a, &err), RK_ERR_ARG);
    rk_session_free(one);
    rk_session_free(copy);
    rk_session_free(foreign);
    rk_adapters_free(a);
    rk_adapter_set_free(s);
    rk_model_close(m.model);
    rk_model_close(other.model);
    rk_engine_free(e);
    test_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_as_merged), cmocka_unit_test(test_zero),
        cmocka_unit_test(test_batch),     cmocka_unit_test(test_jobs),
        cmocka_unit_test(test_exchange),
    };
    return cmocka_run_group_tests_name("adapters", tests, NULL, NULL);
}
