/* beside.h: what a token costs in decoding with models of several kinds, in turns in one run. The first kind is
 * what the others are compared with. */
#ifndef RK_BENCH_BESIDE_H
#define RK_BENCH_BESIDE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/num.h"
#include "base/random.h"
#include "infer/session.h"
#include "model/model.h"

enum { BESIDE_VOCAB = 256, BESIDE_ROUNDS_MAX = 101, BESIDE_SIZES_MAX = 8 };

typedef struct beside_kind {
    const char *name;
    const rk_arch *arch;
    rk_size own[2];   /* what the kind has beside layers and channels; a name NULL: no more */
    int64_t n_before; /* tokens read before the first round */
    rk_model *model;
    rk_session *session;
    double of[BESIDE_ROUNDS_MAX];
} beside_kind;

/* layers, channels, tokens of a round, rounds, threads */
enum { BESIDE_LAYERS, BESIDE_CHANNELS, BESIDE_TOKENS, BESIDE_ROUNDS, BESIDE_THREADS, BESIDE_ARGS };

static inline void beside_stop(const rk_error *err)
{
    fprintf(stderr, "bench: %s\n", err->msg);
    exit(1);
}

/* Random values: matrices in bf16; vectors, in f32, what a new model has. */
static inline void beside_fill(rk_model *m, rk_error *err)
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
            beside_stop(err);
        for (int64_t e = 0; half && e < n; e++)
            ((uint16_t *)t->data)[e] = rk_f32_to_bf16(
                width * (rk_rng_f32(1, RK_RNG_TEST, (uint64_t)i, (uint64_t)e) - 0.5f));
        t->dtype = half ? RK_BF16 : RK_F32;
    }
}

static inline double beside_seconds(beside_kind *k, int64_t tokens)
{
    rk_error err = {0};
    float logits[BESIDE_VOCAB];
    const double from = rk_cpu_s();
    for (int64_t i = 0; i < tokens; i++)
        if (rk_session_eval(k->session, &(int32_t){(int32_t)(i % BESIDE_VOCAB)}, 1, logits, &err) !=
            RK_OK)
            beside_stop(&err);
    return (rk_cpu_s() - from) / (double)tokens;
}

static inline void beside_read_before(beside_kind *k)
{
    rk_error err = {0};
    int32_t *tokens = calloc((size_t)k->n_before + 1, sizeof *tokens);
    if (!tokens ||
        (k->n_before > 0 && rk_session_eval(k->session, tokens, k->n_before, NULL, &err) != RK_OK))
        beside_stop(&err);
    free(tokens);
}

static inline void beside_begin(beside_kind *k, const int64_t *args, rk_engine *e)
{
    rk_error err = {0};
    rk_hparams hp;
    int64_t n = 3;
    rk_size sizes[BESIDE_SIZES_MAX] = {{"n_vocab", BESIDE_VOCAB},
                                       {"n_layer", (double)args[BESIDE_LAYERS]},
                                       {"n_embd", (double)args[BESIDE_CHANNELS]}};
    for (size_t i = 0; i < RK_COUNT(k->own) && k->own[i].name; i++)
        sizes[n++] = k->own[i];
    if (rk_sizes_make(k->arch, sizes, n, &hp, &err) != RK_OK ||
        rk_model_new(&k->model, k->arch, &hp, &err) != RK_OK)
        beside_stop(&err);
    beside_fill(k->model, &err);
    if (rk_session_new(&k->session, k->model, e, &err) != RK_OK)
        beside_stop(&err);
    beside_read_before(k);
    beside_seconds(k, args[BESIDE_TOKENS]); /* warm */
}

static inline int beside_compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Other work on the machine takes time from single rounds: ratios are of rounds side by side. */
static inline void beside_report(const beside_kind *kinds, int n, int64_t rounds)
{
    for (int k = n - 1; k >= 0; k--) {
        double ratio[BESIDE_ROUNDS_MAX];
        for (int64_t r = 0; r < rounds; r++)
            ratio[r] = kinds[k].of[r] / kinds[0].of[r];
        qsort(ratio, (size_t)rounds, sizeof *ratio, beside_compare);
        printf("%-24s %.3f x the time of %s (%.3f to %.3f in the middle half)\n", kinds[k].name,
               ratio[rounds / 2], kinds[0].name, ratio[rounds / 4], ratio[rounds * 3 / 4]);
    }
}

static inline void beside_run(beside_kind *kinds, int n, const int64_t *args)
{
    const int64_t rounds = rk_min_i64(rk_max_i64(args[BESIDE_ROUNDS], 1), BESIDE_ROUNDS_MAX);
    rk_engine *e = NULL;
    rk_error err = {0};
    if (rk_engine_new(&e, &(rk_engine_params){.n_threads = (int)args[BESIDE_THREADS]}, &err) !=
        RK_OK)
        beside_stop(&err);
    for (int k = 0; k < n; k++)
        beside_begin(&kinds[k], args, e);
    for (int64_t r = 0; r < rounds; r++)
        for (int k = 0; k < n; k++)
            kinds[k].of[r] = beside_seconds(&kinds[k], args[BESIDE_TOKENS]);
    beside_report(kinds, n, rounds);
    for (int k = 0; k < n; k++) {
        rk_session_free(kinds[k].session);
        rk_model_close(kinds[k].model);
    }
    rk_engine_free(e);
}

/* Those that the command line gives, in order; the others stay. */
static inline void beside_args(int argc, char **argv, int64_t *args)
{
    for (int i = 1; i < argc && i <= BESIDE_ARGS; i++)
        args[i - 1] = atoll(argv[i]);
}

#endif
