/* kernel_path.c: calibrating a kernel path.
 *
 * The text is read by a session whose context is watched, as many layers at a time as fit into some
 * memory; then each head is worked out by itself. */
#include "tune/kernel_path.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "compress/kmeans.h"
#include "infer/session.h"
#include "io/pth.h"
#include "tune/ridge.h"

enum { PIECE = 64 };
static const size_t watch_bytes = (size_t)256 << 20;

/* Tensors of a layer; the last one is written on request. */
enum { U, UV, PI, Q, GAMMA, SCALE, ALPHA, STATE, BASIS, N_TENSORS };
static const char *const names[N_TENSORS] = {
    [U] = "kernel_u",         [UV] = "kernel_uv",       [PI] = "kernel_pi",
    [Q] = "kernel_Q",         [GAMMA] = "kernel_gamma", [SCALE] = "kernel_scale",
    [ALPHA] = "kernel_alpha", [STATE] = "kernel_state", [BASIS] = "dbp_R"};

typedef struct path {
    const rk_model *model;
    const rk_kernel_text *text;
    const rk_state_tuning *o;
    int64_t n_layer, heads, size, n_features;
    /* Keys and values of the layers that are watched: (layer, token, C) each; squares of receptances (layer, H). */
    int64_t first, n_watched, n_tokens;
    float *keys, *values;
    double *squares;
    float **data; /* (n_layer, N_TENSORS) */
    atomic_bool failed;
} path;

static int tensor_dims(const path *p, int i, int64_t *dims)
{
    const int64_t h = p->heads, n = p->size, m = p->n_features;
    const int64_t all[N_TENSORS][3] = {
        [U] = {h, m, n},  [UV] = {h, m, n}, [PI] = {h, m, n},    [Q] = {h, n, m},    [GAMMA] = {h},
        [SCALE] = {h, 3}, [ALPHA] = {h},    [STATE] = {h, m, m}, [BASIS] = {h, m, m}};
    int d = 0;
    for (; d < 3 && all[i][d]; d++)
        dims[d] = all[i][d];
    return d;
}

static int64_t tensor_count(const path *p, int i)
{
    int64_t dims[3], n = 1;
    for (int d = tensor_dims(p, i, dims) - 1; d >= 0; d--)
        n *= dims[d];
    return n;
}

static float *tensor(const path *p, int64_t layer, int i)
{
    return p->data[layer * N_TENSORS + i];
}

/* ---- watching ---- */

static void watch(void *user, int64_t layer, const rk_recurrence *x)
{
    path *p = user;
    const int64_t at = layer - p->first, c = p->heads * p->size,
                  rows = x->r->dims[0] * x->r->dims[1];
    if (at < 0 || at >= p->n_watched || p->n_tokens + rows > p->text->n)
        return;
    const int64_t place = (at * p->text->n + p->n_tokens) * c;
    const float *r = x->r->data;
    memcpy(p->keys + place, x->k->data, (size_t)(rows * c) * sizeof(float));
    memcpy(p->values + place, x->v->data, (size_t)(rows * c) * sizeof(float));
    for (int64_t i = 0; i < rows * c; i++)
        p->squares[at * p->heads + i % c / p->size] += (double)r[i] * (double)r[i];
    if (at == p->n_watched - 1)
        p->n_tokens += rows;
}

static rk_status read_text(path *p, rk_session *s, rk_error *err)
{
    const rk_kernel_text *t = p->text;
    rk_status st = RK_OK;
    p->n_tokens = 0;
    memset(p->squares, 0, (size_t)(p->n_watched * p->heads) * sizeof *p->squares);
    s->scheduler.ctx.watch = watch;
    s->scheduler.ctx.watch_user = p;
    for (int64_t at = 0; at < t->n && st == RK_OK; at++) {
        const int64_t left = t->ctx_len - at % t->ctx_len;
        const int64_t n = rk_min_i64(rk_min_i64(PIECE, left), t->n - at);
        if (at % t->ctx_len == 0)
            rk_session_reset(s);
        st = rk_session_eval(s, t->tokens + at, n, NULL, err);
        at += n - 1;
    }
    return st;
}

/* ---- a head ---- */

/* Rows of a head, divided by scale. */
static void gather(const path *p, const float *from, int64_t at, int64_t h, double scale, float *to)
{
    const int64_t c = p->heads * p->size;
    for (int64_t t = 0; t < p->n_tokens; t++)
        for (int64_t j = 0; j < p->size; j++)
            to[t * p->size + j] =
                (float)((double)from[(at * p->text->n + t) * c + h * p->size + j] / scale);
}

static double rms_of(const path *p, const float *x)
{
    double s = 0;
    for (int64_t i = 0; i < p->n_tokens * p->size; i++)
        s += (double)x[i] * (double)x[i];
    return fmax(sqrt(s / (double)p->n_tokens), 1e-6);
}

/* Weights of a feature's decay: softmax of |u|. */
static void decay_weights(int64_t n, const float *u, float *pi)
{
    double max = 0, sum = 0;
    for (int64_t j = 0; j < n; j++)
        max = fmax(max, fabs((double)u[j]));
    for (int64_t j = 0; j < n; j++)
        sum += exp(fabs((double)u[j]) - max);
    for (int64_t j = 0; j < n; j++)
        pi[j] = (float)(exp(fabs((double)u[j]) - max) / sum);
}

/* Support vectors of x (tokens, N), which is scaled first; returns the width of their Gaussian. */
static bool support(const path *p, float *x, double scale, float *u, double *gamma)
{
    const int64_t n = p->size;
    for (int64_t i = 0; i < p->n_tokens * n; i++)
        x[i] = (float)((double)x[i] / scale);
    const rk_kmeans k = {.n = p->n_tokens, .dim = n, .k = p->n_features, .x = x, .centres = u};
    double distance;
    if (!rk_kmeans_run(&k, 25, 0) || !rk_kmeans_distance(&k, 4, &distance))
        return false;
    *gamma = 1.0 / (2.0 * fmax(distance, 1e-12));
    return true;
}

/* The Gaussian of values gets the width of that of keys by scaling values and their support vectors. */
static void fold_width(int64_t n, double gamma, double gamma_v, float *uv, float *scale)
{
    const double c = sqrt(gamma_v / gamma);
    for (int64_t i = 0; i < n; i++)
        uv[i] = (float)((double)uv[i] * c);
    scale[2] = (float)((double)scale[2] / c);
}

static bool make_features(const path *p, int64_t at, int64_t h, float *x)
{
    const int64_t layer = p->first + at, n = p->size, m = p->n_features;
    float *u = tensor(p, layer, U) + h * m * n, *uv = tensor(p, layer, UV) + h * m * n;
    float *scale = tensor(p, layer, SCALE) + 3 * h, *gamma = tensor(p, layer, GAMMA) + h;
    const bool literal = p->o->form == RK_KERNEL_LITERAL;
    double scales[3] = {1, 1, 1}, gamma_k, gamma_v;
    gather(p, p->keys, at, h, 1, x);
    if (!literal) {
        scales[0] = rms_of(p, x);
        scales[1] = fmax(sqrt(p->squares[at * p->heads + h] / (double)p->n_tokens), 1e-6);
    }
    if (!support(p, x, scales[0], u, &gamma_k))
        return false;
    gather(p, p->values, at, h, 1, x);
    if (!literal)
        scales[2] = rms_of(p, x);
    if (!support(p, x, scales[2], uv, &gamma_v))
        return false;
    for (int i = 0; i < 3; i++)
        scale[i] = (float)scales[i];
    fold_width(m * n, gamma_k, gamma_v, uv, scale);
    *gamma = (float)(literal ? -gamma_k : gamma_k);
    for (int64_t i = 0; i < m; i++)
        decay_weights(n, u + i * n, tensor(p, layer, PI) + (h * m + i) * n);
    gather(p, p->values, at, h, 1, x);
    const rk_ridge r = {.n = p->n_tokens,
                        .dim = n,
                        .m = m,
                        .x = x,
                        .support = uv,
                        .scale = (double)scale[2],
                        .gamma = (double)*gamma};
    return rk_ridge_solve(&r, tensor(p, layer, Q) + h * n * m);
}

/* Features that are the vectors themselves. */
static void make_linear(const path *p, int64_t layer, int64_t h)
{
    const int64_t n = p->size;
    for (int64_t i = 0; i < n * n; i++) {
        const float unit = i % (n + 1) == 0 ? 1.0f : 0.0f;
        tensor(p, layer, U)[h * n * n + i] = tensor(p, layer, UV)[h * n * n + i] = unit;
        tensor(p, layer, Q)[h * n * n + i] = unit;
        tensor(p, layer, PI)[h * n * n + i] = 1.0f / (float)n;
    }
    for (int i = 0; i < 3; i++)
        tensor(p, layer, SCALE)[3 * h + i] = 1.0f;
}

static void make_head(void *arg, int64_t i, int worker)
{
    path *p = arg;
    const int64_t at = i / p->heads, h = i % p->heads, m = p->n_features;
    float *basis = tensor(p, p->first + at, BASIS) + h * m * m;
    float *x = malloc((size_t)(p->n_tokens * p->size) * sizeof *x + 1);
    (void)worker;
    for (int64_t d = 0; d < m; d++)
        basis[d * m + d] = 1.0f;
    if (p->o->form == RK_KERNEL_LINEAR)
        make_linear(p, p->first + at, h);
    else if (!x || !make_features(p, at, h, x))
        atomic_store(&p->failed, true);
    free(x);
}

/* ---- all of them ---- */

static void make_layers(path *p, rk_engine *e)
{
    rk_engine_lock(e);
    rk_pool_run_whole(rk_engine_pool(e), p->n_watched * p->heads, make_head, p);
    rk_engine_unlock(e);
}

static rk_status calibrate(path *p, rk_engine *e, rk_error *err)
{
    const size_t layer_bytes = 2 * (size_t)(p->text->n * p->heads * p->size) * sizeof(float);
    const int64_t at_once =
        rk_min_i64(p->n_layer, rk_max_i64(1, (int64_t)(watch_bytes / layer_bytes)));
    rk_session *s = NULL;
    p->keys = malloc((size_t)at_once * layer_bytes / 2);
    p->values = malloc((size_t)at_once * layer_bytes / 2);
    p->squares = calloc((size_t)(at_once * p->heads), sizeof *p->squares);
    rk_status st = p->keys && p->values && p->squares
                       ? rk_session_new(&s, p->model, e, err)
                       : rk_fail(err, RK_ERR_NOMEM, "out of memory to calibrate a kernel path");
    for (; p->first < p->n_layer && st == RK_OK; p->first += at_once) {
        p->n_watched = rk_min_i64(at_once, p->n_layer - p->first);
        st = read_text(p, s, err);
        if (st == RK_OK)
            make_layers(p, e);
    }
    rk_session_free(s);
    if (st == RK_OK && atomic_load(&p->failed))
        st = rk_fail(err, RK_ERR_NUMERIC,
                     "keys and values of the text make no features: not finite, or no memory");
    return st;
}

static rk_status write_file(const path *p, bool basis, const char *file, rk_error *err)
{
    const size_t n = (size_t)(p->n_layer * N_TENSORS);
    rk_file_tensor *tensors = calloc(n, sizeof *tensors);
    char(*text)[RK_PARAM_NAME_MAX] = calloc(n, sizeof *text);
    rk_file_contents c = {.tensors = tensors};
    rk_status st = tensors && text ? RK_OK : rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", file);
    for (int64_t l = 0; l < p->n_layer && st == RK_OK; l++)
        for (int i = 0; i < (basis ? N_TENSORS : BASIS); i++) {
            rk_file_tensor *t = &tensors[c.n_tensors];
            char *name = text[c.n_tensors++];
            snprintf(name, RK_PARAM_NAME_MAX, "blocks.%lld.att.%s", (long long)l, names[i]);
            *t = (rk_file_tensor){.name = name,
                                  .dtype = RK_F32,
                                  .n_dims = tensor_dims(p, i, t->dims),
                                  .data = tensor(p, l, i),
                                  .bytes = (size_t)tensor_count(p, i) * sizeof(float)};
            tensor_dims(p, i, t->dims);
        }
    if (st == RK_OK)
        st = rk_pth_write(file, &c, true, err);
    free(tensors);
    free(text);
    return st;
}

static rk_status allocate(path *p, rk_error *err)
{
    p->data = calloc((size_t)(p->n_layer * N_TENSORS), sizeof *p->data);
    bool ok = p->data != NULL;
    for (int64_t i = 0; i < p->n_layer * N_TENSORS && ok; i++)
        ok = (p->data[i] =
                  calloc((size_t)tensor_count(p, (int)(i % N_TENSORS)), sizeof **p->data)) != NULL;
    return ok ? RK_OK : rk_fail(err, RK_ERR_NOMEM, "out of memory for a kernel path");
}

static void release(path *p)
{
    for (int64_t i = 0; p->data && i < p->n_layer * N_TENSORS; i++)
        free(p->data[i]);
    free(p->data);
    free(p->keys);
    free(p->values);
    free(p->squares);
}

static rk_status check(const path *p, rk_error *err)
{
    if (p->model->arch != &rk_arch_rwkv7)
        return rk_fail(err, RK_ERR_UNSUPPORTED,
                       "a kernel path stands beside the recurrence of an rwkv7 model, not of %s",
                       p->model->arch->name);
    if (p->o->form != RK_KERNEL_LINEAR && p->text->n < p->n_features)
        return rk_fail(err, RK_ERR_ARG,
                       "a kernel path of %lld features needs a text of so many tokens or more to "
                       "calibrate on, found %lld",
                       (long long)p->n_features, (long long)p->text->n);
    return RK_OK;
}

rk_status rk_kernel_path_write(const rk_model *m, rk_engine *e, const rk_kernel_text *text,
                               const rk_state_tuning *o, bool basis, const char *file,
                               rk_error *err)
{
    const double ratio = o->form == RK_KERNEL_LINEAR ? 1.0 : o->features;
    path p = {.model = m,
              .text = text,
              .o = o,
              .n_layer = m->hp.n_layer,
              .heads = m->hp.n_head,
              .size = m->hp.head_size,
              .n_features = (int64_t)lround(ratio * (double)m->hp.head_size)};
    rk_status st = check(&p, err);
    if (st == RK_OK)
        st = allocate(&p, err);
    if (st == RK_OK)
        st = calibrate(&p, e, err);
    if (st == RK_OK)
        st = write_file(&p, basis, file, err);
    release(&p);
    return st;
}
