/* meta7.c: what a token costs in decoding with Meta-State's channel mix, as a ratio to RWKV-7 of the same size, in
 * turns in one run.
 *
 *   build/bench_meta7 [layers channels tokens rounds threads]      (6 768 64 15 2) */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/num.h"
#include "base/random.h"
#include "infer/session.h"
#include "model/model.h"

enum { VOCAB = 256, ROUNDS_MAX = 101, KINDS = 3 };

typedef struct kind {
    const char *name;
    const rk_arch *arch;
    double meta_heads; /* 0: none to give */
    rk_model *model;
    rk_session *session;
    double of[ROUNDS_MAX];
} kind;

static void stop(const rk_error *err)
{
    fprintf(stderr, "bench_meta7: %s\n", err->msg);
    exit(1);
}

/* Random values: matrices in bf16, vectors in f32, heads as they are listed. */
static void fill(rk_model *m, rk_error *err)
{
    size_t bytes = 0;
    for (int64_t i = 0; i < m->n_params; i++)
        bytes += (size_t)rk_tensor_count(&m->params[i].tensor) * sizeof(float);
    char *at = m->owned = malloc(bytes);
    if (!at)
        exit(1);
    for (int64_t i = 0; i < m->n_params; i++) {
        rk_tensor *t = &m->params[i].tensor;
        const int64_t n = rk_tensor_count(t);
        const float width = 1.0f / (float)rk_tensor_cols(t);
        const bool half = rk_roles[m->params[i].role].any_type;
        t->data = at;
        at += (size_t)n * sizeof(float);
        if (!half && rk_param_init(m, i, 1, t->data, NULL, err) != RK_OK)
            stop(err);
        for (int64_t e = 0; half && e < n; e++)
            ((uint16_t *)t->data)[e] = rk_f32_to_bf16(
                width * (rk_rng_f32(1, RK_RNG_TEST, (uint64_t)i, (uint64_t)e) - 0.5f));
        t->dtype = half ? RK_BF16 : RK_F32;
    }
}

static void begin(kind *k, int64_t layers, int64_t channels, rk_engine *e)
{
    rk_error err = {0};
    rk_hparams hp;
    const rk_size sizes[] = {{"n_vocab", VOCAB},
                             {"n_layer", (double)layers},
                             {"n_embd", (double)channels},
                             {"meta_heads", k->meta_heads}};
    if (rk_sizes_make(k->arch, sizes, k->meta_heads > 0 ? 4 : 3, &hp, &err) != RK_OK ||
        rk_model_new(&k->model, k->arch, &hp, &err) != RK_OK)
        stop(&err);
    fill(k->model, &err);
    if (rk_session_new(&k->session, k->model, e, &err) != RK_OK)
        stop(&err);
}

static double seconds(kind *k, int64_t tokens)
{
    rk_error err = {0};
    float logits[VOCAB];
    const double from = rk_cpu_s();
    for (int64_t i = 0; i < tokens; i++)
        if (rk_session_eval(k->session, &(int32_t){(int32_t)(i % VOCAB)}, 1, logits, &err) != RK_OK)
            stop(&err);
    return (rk_cpu_s() - from) / (double)tokens;
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    int64_t args[] = {6, 768, 64, 15, 2};
    for (int i = 1; i < argc && i <= (int)RK_COUNT(args); i++)
        args[i - 1] = atoll(argv[i]);
    const int64_t rounds = rk_min_i64(rk_max_i64(args[3], 1), ROUNDS_MAX);
    const double heads = (double)rk_max_i64(args[1] / 64, 1);
    kind kinds[KINDS] = {{.name = "rwkv7", .arch = &rk_arch_rwkv7},
                         {.name = "meta7, H/4", .arch = &rk_arch_meta7},
                         {.name = "meta7, all heads", .arch = &rk_arch_meta7}};
    rk_engine *e = NULL;
    rk_error err = {0};
    kinds[1].meta_heads = (double)rk_max_i64((int64_t)heads / 4, 1);
    kinds[2].meta_heads = heads;
    if (rk_engine_new(&e, &(rk_engine_params){.n_threads = (int)args[4]}, &err) != RK_OK)
        stop(&err);
    for (int k = 0; k < KINDS; k++) {
        begin(&kinds[k], args[0], args[1], e);
        seconds(&kinds[k], args[2]); /* warm */
    }
    for (int64_t r = 0; r < rounds; r++)
        for (int k = 0; k < KINDS; k++)
            kinds[k].of[r] = seconds(&kinds[k], args[2]);
    /* Other work on the machine takes time from single rounds: ratios are of rounds side by side. */
    for (int k = KINDS - 1; k >= 0; k--) {
        double ratio[ROUNDS_MAX];
        for (int64_t r = 0; r < rounds; r++)
            ratio[r] = kinds[k].of[r] / kinds[0].of[r];
        qsort(ratio, (size_t)rounds, sizeof *ratio, compare);
        printf("%-18s %.3f x the time of rwkv7 (%.3f to %.3f in the middle half)\n", kinds[k].name,
               ratio[rounds / 2], ratio[rounds / 4], ratio[rounds * 3 / 4]);
    }
    for (int k = 0; k < KINDS; k++) {
        rk_session_free(kinds[k].session);
        rk_model_close(kinds[k].model);
    }
    rk_engine_free(e);
    return 0;
}
