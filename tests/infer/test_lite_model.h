/* test_lite_model.h: a file of random weights with all parts of RWKV-Lite. */
#ifndef RK_TEST_LITE_MODEL_H
#define RK_TEST_LITE_MODEL_H

#include "infer/test_model_util.h"

static inline float test_lite_value(const rk_param *p, int64_t i, int64_t k, int64_t n_clusters)
{
    if (!strcmp(p->name, "head_clusters"))
        return (float)(k % n_clusters);
    const float u = 2 * rk_rng_f32(5, RK_RNG_TEST, (uint64_t)i, (uint64_t)k) - 1;
    if (strstr(p->name, ".limits"))
        return 0.6f + 0.1f * (float)k;
    return rk_tensor_rows(&p->tensor) > 1 ? u * sqrtf(3.0f / (float)rk_tensor_cols(&p->tensor)) : u;
}

static inline void test_lite_fill(rk_param *p, int64_t i, int64_t n_clusters)
{
    const int64_t n = rk_tensor_count(&p->tensor);
    float *at = p->tensor.data;
    if (p->role == RK_ROLE_PLANES) {
        p->tensor.dtype = RK_U8;
        for (int64_t k = 0; k < n; k++)
            ((unsigned char *)at)[k] = (unsigned char)(k * 89 + i);
        return;
    }
    for (int64_t k = 0; k < n; k++)
        at[k] = test_lite_value(p, i, k, n_clusters);
}

/* A hierarchical head, a channel mix in records with both predictors, low-rank pairs; in f16. */
static inline void test_lite_write(const char *path, const rk_arch *arch, int64_t n_vocab,
                                   int64_t n_layer, int64_t n_embd, int64_t n_clusters)
{
    const rk_size sizes[] = {{"n_vocab", (double)n_vocab},
                             {"n_layer", (double)n_layer},
                             {"n_embd", (double)n_embd},
                             {"head_size", 16},
                             {"low_rank", 4}};
    rk_hparams hp = test_hparams(arch, sizes, RK_COUNT(sizes));
    rk_model *m = NULL;
    rk_error err = {0};
    hp.n_clusters = n_clusters;
    hp.ffn_records = hp.plane_bits = 1;
    hp.plane_bytes = n_embd / 8;
    hp.predictor_size = 8;
    test_ok(rk_model_new(&m, arch, &hp, &err), &err);
    test_model_memory(m);
    for (int64_t i = 0; i < m->n_params; i++)
        test_lite_fill(&m->params[i], i, n_clusters);
    test_ok(rk_model_save(m, path, &(rk_save_options){.dtype = RK_F16}, &err), &err);
    rk_model_close(m);
}

#endif
