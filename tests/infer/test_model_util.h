/* test_model_util.h: a small random model for tests of what runs models. */
#ifndef RK_TEST_MODEL_UTIL_H
#define RK_TEST_MODEL_UTIL_H

#include "test_util.h"

#include "format/format.h"
#include "test_sizes.h"

/* The architecture of the models; tests may go through all of them. */
static const rk_arch *test_arch = &rk_arch_rwkv7;
static unsigned test_kept; /* bit l: layer l is kept as in a transformer */
static bool test_tuned;    /* with the states that streams begin with */
static int64_t test_n_vocab = 97, test_head_size = 16;

typedef struct test_model {
    rk_model *model;
    char *path; /* of its file, until test_end; NULL: it has none */
} test_model;

/* Random weights in memory. */
static inline rk_model *test_model_make(uint64_t seed, int64_t n_layer, int64_t n_embd)
{
    const rk_size sizes[] = {{"n_vocab", (double)test_n_vocab},
                             {"n_layer", (double)n_layer},
                             {"n_embd", (double)n_embd},
                             /* where it does not follow */
                             {"n_head", (double)(n_embd / test_head_size)},
                             {"head_size", (double)test_head_size},
                             {"n_attention_head", 2},
                             {"n_attention_kv_head", 2},
                             {"attention_head_size", 16},
                             {"medium_interval", 5}};
    rk_hparams hp = test_hparams_kept(test_arch, sizes, RK_COUNT(sizes), test_kept);
    rk_model *m = NULL;
    rk_error err = {0};
    hp.tuned_state = test_tuned;
    test_ok(rk_model_new(&m, test_arch, &hp, &err), &err);
    test_model_memory(m);
    for (int64_t i = 0; i < m->n_params; i++) {
        const rk_tensor *p = &m->params[i].tensor;
        float *at = p->data;
        const bool vector = rk_tensor_rows(p) == 1;
        const float scale = vector ? 0.5f : 1.5f / sqrtf((float)rk_tensor_cols(p));
        if (rk_roles[m->params[i].role]
                .constant) { /* of a form that random numbers need not have */
            test_ok(rk_param_init(m, i, seed, at, NULL, &err), &err);
            continue;
        }
        for (int64_t e = 0; e < rk_tensor_count(p); e++)
            *at++ = (vector ? 0.5f : 0.0f) +
                    scale * (2.0f * rk_rng_f32(seed, RK_RNG_TEST, (uint64_t)i, (uint64_t)e) - 1.0f);
    }
    return m;
}

/* Write a model of random weights into a temporary folder and open it. seed changes its vectors and
 * with them its fingerprint. An architecture of the tests' own has no files: its models stay where
 * they were made, f32. */
static inline test_model test_model_open(test_ctx *t, uint64_t seed, int64_t n_layer,
                                         int64_t n_embd, rk_dtype dtype)
{
    rk_model *m = test_model_make(seed, n_layer, n_embd);
    rk_error err = {0};
    if (rk_arch_find(test_arch->name) != test_arch) {
        m->fingerprint = seed;
        return (test_model){m, NULL};
    }
    test_model out = {NULL, test_path(t, test_temp_dir(t), "model.safetensors")};
    test_ok(rk_model_save(m, out.path, &(rk_save_options){.dtype = dtype}, &err), &err);
    rk_model_close(m);
    test_ok(rk_model_open(&out.model, out.path, &err), &err);
    return out;
}

static inline rk_engine *test_engine(int n_threads)
{
    rk_engine *e = NULL;
    rk_error err = {0};
    test_ok(rk_engine_new(&e, &(rk_engine_params){.n_threads = n_threads}, &err), &err);
    return e;
}

/* Several streams in one call: the bits that each has alone. */
static inline void test_batch_alone(test_ctx *t, const rk_model *m)
{
    enum { STREAMS = 3 };
    rk_engine *e = test_engine(2);
    rk_session *s[STREAMS], *alone;
    const size_t v = (size_t)m->hp.n_vocab;
    float *together = test_alloc_f32(t, STREAMS * m->hp.n_vocab);
    float *own = test_alloc_f32(t, m->hp.n_vocab);
    const int32_t tokens[STREAMS] = {5, 60, 5};
    rk_error err = {0};
    for (int i = 0; i < STREAMS; i++)
        test_ok(rk_session_new(&s[i], m, e, &err), &err);
    test_ok(rk_session_eval_batch(s, STREAMS, tokens, together, &err), &err);
    for (int i = 0; i < STREAMS; i++) {
        test_ok(rk_session_new(&alone, m, e, &err), &err);
        test_ok(rk_session_eval(alone, &tokens[i], 1, own, &err), &err);
        assert_memory_equal(own, together + (size_t)i * v, v * sizeof *own);
        rk_session_free(alone);
        rk_session_free(s[i]);
    }
    rk_engine_free(e);
}

#endif
