/* mlp_learn.c: steps of Adam over all rows at once, by packed products, whose bits do not depend on threads. */
#include "compress/mlp_learn.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "base/random.h"
#include "kernels/gemm.h"

typedef struct work {
    const rk_mlp_lesson *l;
    const rk_kernels *kern;
    rk_pool *pool;
    float weight;          /* of active ones */
    float *hidden, *back;  /* (n, h): of the hidden layer, and its gradient */
    float *d;              /* (n, f): scores, then their gradient */
    float *grad, *moments; /* of both matrices; (2, both) */
    float *fc1, *fc2;      /* where the matrices lie */
    void *gemm;
} work;

static rk_matrix by_rows(const float *x, int64_t width)
{
    return (rk_matrix){x, RK_F32, width, 1};
}
static rk_matrix by_columns(const float *x, int64_t width)
{
    return (rk_matrix){x, RK_F32, 1, width};
}

static void product(const work *w, int64_t m, int64_t n, int64_t k, rk_matrix a, rk_matrix b,
                    float *c)
{
    rk_gemm(w->kern, w->pool, w->gemm, (rk_gemm_shape){m, n, k}, a, b, c, n, false, false);
}

static size_t most_scratch(const rk_mlp_lesson *l, const rk_kernels *kern, int threads)
{
    const rk_gemm_shape all[] = {{l->n, l->h, l->c},
                                 {l->n, l->f, l->h},
                                 {l->f, l->h, l->n},
                                 {l->n, l->h, l->f},
                                 {l->h, l->c, l->n}};
    size_t most = 0;
    for (size_t i = 0; i < RK_COUNT(all); i++) {
        const size_t bytes = rk_gemm_scratch(kern, threads, all[i]);
        most = bytes > most ? bytes : most;
    }
    return rk_align_up(most + 64, 64);
}

/* ---- forward ---- */

static void relu_row(void *arg, int64_t i, int worker)
{
    const work *w = arg;
    float *x = w->hidden + i * w->l->h;
    (void)worker;
    for (int64_t k = 0; k < w->l->h; k++)
        x[k] = fmaxf(x[k], 0);
}

static void forward(work *w)
{
    const rk_mlp_lesson *l = w->l;
    product(w, l->n, l->h, l->c, by_rows(l->x, l->c), by_columns(w->fc1, l->c), w->hidden);
    rk_pool_run_whole(w->pool, l->n, relu_row, w);
    product(w, l->n, l->f, l->h, by_rows(w->hidden, l->h), by_columns(w->fc2, l->h), w->d);
}

/* ---- a step ---- */

/* The gradient of the scores, of the mean over rows. */
static void score_row(void *arg, int64_t i, int worker)
{
    const work *w = arg;
    const int64_t f = w->l->f;
    float *d = w->d + i * f;
    const float *z = w->l->z + i * f, each = 1.0f / (float)w->l->n;
    (void)worker;
    w->kern->unary(RK_SIGMOID, f, d, d);
    for (int64_t k = 0; k < f; k++)
        d[k] = each * (z[k] > 0 ? w->weight * (d[k] - 1) : d[k]);
}

static void back_row(void *arg, int64_t i, int worker)
{
    const work *w = arg;
    const int64_t h = w->l->h;
    (void)worker;
    for (int64_t k = 0; k < h; k++)
        if (!(w->hidden[i * h + k] > 0))
            w->back[i * h + k] = 0;
}

static void step(work *w, int64_t t)
{
    const rk_mlp_lesson *l = w->l;
    const int64_t first = l->h * l->c, all = first + l->f * l->h;
    const rk_adamw adam = {.lr = 5e-3,
                           .beta1 = 0.9,
                           .beta2 = 0.999,
                           .eps = 1e-8,
                           .correct1 = 1 - pow(0.9, (double)t),
                           .correct2 = 1 - pow(0.999, (double)t),
                           .grad_scale = 1};
    forward(w);
    rk_pool_run_whole(w->pool, l->n, score_row, w);
    product(w, l->f, l->h, l->n, by_columns(w->d, l->f), by_rows(w->hidden, l->h), w->grad + first);
    product(w, l->n, l->h, l->f, by_rows(w->d, l->f), by_rows(w->fc2, l->h), w->back);
    rk_pool_run_whole(w->pool, l->n, back_row, w);
    product(w, l->h, l->c, l->n, by_columns(w->back, l->h), by_rows(l->x, l->c), w->grad);
    w->kern->adamw(all, &adam, w->grad, w->moments, w->moments + all, w->fc1);
}

/* ---- all of it ---- */

static void begin(const rk_mlp_lesson *l, float *x, int64_t rows, int64_t cols, int64_t index)
{
    const float most = sqrtf(6.0f / (float)(rows + cols));
    for (int64_t i = 0; i < rows * cols; i++)
        x[i] = most * (2 * rk_rng_f32(l->seed, RK_RNG_INIT, (uint64_t)index, (uint64_t)i) - 1);
}

static float weight_of(const rk_mlp_lesson *l)
{
    int64_t active = 0;
    for (int64_t i = 0; i < l->n * l->f; i++)
        active += l->z[i] > 0;
    return active > 0 ? (float)(l->n * l->f - active) / (float)active : 1;
}

rk_status rk_mlp_learn(const rk_mlp_lesson *l, const rk_kernels *kern, rk_pool *pool, rk_error *err)
{
    const size_t both = (size_t)(l->h * (l->c + l->f));
    const size_t scratch = most_scratch(l, kern, rk_pool_n_threads(pool));
    work w = {.l = l, .kern = kern, .pool = pool};
    w.gemm = aligned_alloc(64, scratch);
    w.hidden = malloc((size_t)(2 * l->n * l->h) * sizeof *w.hidden);
    w.d = malloc((size_t)(l->n * l->f) * sizeof *w.d);
    w.grad = calloc(4 * both, sizeof *w.grad); /* gradient, moments, the matrices themselves */
    const bool ok = w.gemm && w.hidden && w.d && w.grad;
    if (ok) {
        w.back = w.hidden + l->n * l->h;
        w.moments = w.grad + both;
        w.fc1 = w.grad + 3 * both;
        w.fc2 = w.fc1 + l->h * l->c;
        w.weight = weight_of(l);
        begin(l, w.fc1, l->h, l->c, l->index);
        begin(l, w.fc2, l->f, l->h, l->index + 1);
        for (int64_t t = 1; t <= l->steps; t++)
            step(&w, t);
        memcpy(l->fc1, w.fc1, (size_t)(l->h * l->c) * sizeof *w.fc1);
        memcpy(l->fc2, w.fc2, (size_t)(l->f * l->h) * sizeof *w.fc2);
    }
    free(w.grad);
    free(w.d);
    free(w.hidden);
    free(w.gemm);
    return ok ? RK_OK
              : rk_fail(err, RK_ERR_NOMEM, "out of memory for a predictor of %" PRId64 " tokens",
                        l->n);
}

rk_status rk_mlp_scores(const rk_mlp_lesson *l, const rk_kernels *kern, rk_pool *pool,
                        float *hidden, float *scores, rk_error *err)
{
    work w = {.l = l, .kern = kern, .pool = pool, .hidden = hidden, .d = scores};
    w.fc1 = l->fc1;
    w.fc2 = l->fc2;
    w.gemm = aligned_alloc(64, most_scratch(l, kern, rk_pool_n_threads(pool)));
    if (!w.gemm)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for a predictor");
    forward(&w);
    free(w.gemm);
    return RK_OK;
}
