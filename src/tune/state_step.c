/* state_step.c: sums over a tenth of the positions of a step, drawn by seed, step and number of the row, so
 * that they are the same for any size of micro-batches; rows are added in order. */
#include "tune/state_step.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "base/random.h"
#include "tune/decorrelate.h"
#include "tune/dense.h"

static const double share = 0.1, keep = 0.99, ridge = 1e-2, correlated = 1e-4;

/* What is summed of a layer. */
typedef struct layer {
    rk_tensor *state, *path_state, *basis; /* those that are trained; NULL: not */
    const rk_tensor *u, *gamma, *scale;    /* of the features */
    float *moment;                         /* (H, N, N) */
    double *sums;                          /* (H, D, D): of r r^T, or of features of r and k */
    int64_t n, n_seen;                     /* vectors summed of each head; rows of this step */
} layer;

struct rk_state_step {
    rk_model *model;
    rk_state_tuning o;
    uint64_t seed;
    int64_t step, heads, dim; /* D */
    layer *layers;
    double *sums, *work; /* all layers'; (3 D, D) */
    bool watches;
};

int64_t rk_state_step_moments(const rk_model *m)
{
    int64_t n = 0;
    for (int64_t i = 0; i < m->n_params; i++)
        if (m->params[i].trained && m->params[i].role == RK_ROLE_STATE)
            n += rk_tensor_count(&m->params[i].tensor);
    return n;
}

/* ---- making one ---- */

static bool is_called(const rk_param *p, const char *end)
{
    const size_t n = strlen(p->name), m = strlen(end);
    return n > m && !strcmp(p->name + n - m, end);
}

static void find_tensor(layer *l, rk_param *p)
{
    if (is_called(p, ".kernel_u"))
        l->u = &p->tensor;
    if (is_called(p, ".kernel_gamma"))
        l->gamma = &p->tensor;
    if (is_called(p, ".kernel_scale"))
        l->scale = &p->tensor;
    if (p->trained && p->role == RK_ROLE_STATE)
        l->state = &p->tensor;
    if (p->trained && is_called(p, ".kernel_state"))
        l->path_state = &p->tensor;
    if (p->trained && p->role == RK_ROLE_BASIS)
        l->basis = &p->tensor;
}

static rk_status find_tensors(rk_state_step *s, float *moments, rk_error *err)
{
    for (int64_t i = 0; i < s->model->n_params; i++) {
        rk_param *p = &s->model->params[i];
        if (!rk_param_of_model(p->spec))
            find_tensor(&s->layers[p->layer], p);
    }
    for (int64_t l = 0; l < s->model->hp.n_layer; l++) {
        const rk_tensor *t = s->layers[l].state, *basis = s->layers[l].basis;
        if (s->o.precondition && t && t->n_dims != 3)
            return rk_fail(err, RK_ERR_UNSUPPORTED,
                           "precondition: the states of %s are no matrices of keys",
                           s->model->arch->name);
        if (basis)
            s->dim = basis->dims[1];
        else if (s->o.precondition && t) {
            s->layers[l].moment = moments;
            moments += rk_tensor_count(t);
            s->dim = t->dims[2];
        }
        s->watches = s->watches || basis || s->layers[l].moment;
    }
    return RK_OK;
}

static rk_status allocate(rk_state_step *s, rk_error *err)
{
    const int64_t square = s->dim * s->dim, n = s->heads * square;
    if (!s->watches)
        return RK_OK;
    s->sums = calloc((size_t)(s->model->hp.n_layer * n), sizeof *s->sums);
    s->work = calloc((size_t)(3 * square), sizeof *s->work);
    if (!s->sums || !s->work)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for what states are tuned by");
    for (int64_t l = 0; l < s->model->hp.n_layer; l++)
        s->layers[l].sums = s->sums + l * n;
    return RK_OK;
}

rk_status rk_state_step_new(rk_state_step **out, rk_model *m, const rk_state_tuning *o,
                            uint64_t seed, float *moments, rk_error *err)
{
    rk_state_step *s = calloc(1, sizeof *s);
    if (!s)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for what states are tuned by");
    s->model = m;
    s->o = *o;
    s->seed = seed;
    s->heads = m->hp.n_head;
    s->layers = calloc((size_t)m->hp.n_layer, sizeof *s->layers);
    rk_status st = s->layers ? find_tensors(s, moments, err)
                             : rk_fail(err, RK_ERR_NOMEM, "out of memory for a step's layers");
    if (st == RK_OK)
        st = allocate(s, err);
    if (st == RK_OK)
        *out = s;
    else
        rk_state_step_free(s);
    return st;
}

void rk_state_step_free(rk_state_step *s)
{
    if (!s)
        return;
    free(s->layers);
    free(s->sums);
    free(s->work);
    free(s);
}

/* ---- watching ---- */

void rk_state_step_begin(rk_state_step *s, int64_t step)
{
    s->step = step;
    for (int64_t l = 0; l < s->model->hp.n_layer; l++)
        s->layers[l].n = s->layers[l].n_seen = 0;
    if (s->sums)
        memset(s->sums, 0,
               (size_t)(s->model->hp.n_layer * s->heads * s->dim * s->dim) * sizeof *s->sums);
}

/* sums (D, D) += factor x x^T. */
static void add_square(int64_t d, double factor, const float *x, double *sums)
{
    for (int64_t i = 0; i < d; i++)
        for (int64_t j = 0; j < d; j++)
            sums[i * d + j] += factor * (double)x[i] * (double)x[j];
}

/* The features of a key or a receptance of head h, of mean square 1 where their length is 1. */
static void add_features(const rk_state_step *s, const layer *l, int64_t h, int which,
                         const float *x)
{
    const int64_t m = s->dim, n = l->u->dims[2];
    float *p = (float *)s->work, *z = p + m;
    const rk_feature_vector f = {.size = n,
                                 .n_features = m,
                                 .x = x,
                                 .u = (const float *)l->u->data + h * m * n,
                                 .basis = (const float *)l->basis->data + h * m * m,
                                 .gamma = (double)((const float *)l->gamma->data)[h],
                                 .scale = (double)((const float *)l->scale->data)[3 * h + which]};
    rk_kernels_ref_f32.feature_vector(&f, p, z);
    add_square(m, (double)m, z, l->sums + h * m * m);
}

static void add_row(const rk_state_step *s, layer *l, const rk_recurrence *x, int64_t row)
{
    const int64_t n = x->r->dims[3];
    for (int64_t h = 0; h < s->heads; h++) {
        const int64_t at = (row * s->heads + h) * n;
        const float *r = (const float *)x->r->data + at, *k = (const float *)x->k->data + at;
        if (l->basis) {
            add_features(s, l, h, 1, r);
            add_features(s, l, h, 0, k);
        } else
            add_square(n, 1.0, r, l->sums + h * n * n);
    }
    l->n += l->basis ? 2 : 1;
}

static void watch(void *user, int64_t at, const rk_recurrence *x)
{
    rk_state_step *s = user;
    layer *l = &s->layers[at];
    const int64_t rows = x->r->dims[0] * x->r->dims[1];
    if ((!l->basis && !l->moment) || x->r->dtype != RK_F32)
        return;
    for (int64_t row = 0; row < rows; row++, l->n_seen++)
        if (rk_rng_f64(s->seed, RK_RNG_POSITIONS, (uint64_t)s->step, (uint64_t)l->n_seen) < share)
            add_row(s, l, x, row);
}

void rk_state_step_watch(rk_state_step *s, rk_ctx *ctx, bool on)
{
    ctx->watch = on && s->watches ? watch : NULL;
    ctx->watch_user = s;
}

/* ---- before the update ---- */

static void add_decay(const rk_state_step *s, rk_tensor *t)
{
    const float *x = t ? t->data : NULL;
    float *g = t ? t->grad : NULL;
    for (int64_t i = 0; x && g && i < rk_tensor_count(t); i++)
        g[i] = (float)((double)g[i] + s->o.decay * (double)x[i]);
}

/* The running mean of r r^T of a head, with this step's. */
static void add_moment(const rk_state_step *s, const layer *l, int64_t h, float *moment)
{
    const int64_t n = s->dim;
    const double *sums = l->sums + h * n * n;
    double before = 0;
    for (int64_t i = 0; i < n; i++)
        before += (double)moment[i * (n + 1)];
    for (int64_t i = 0; i < n * n && l->n > 0; i++) {
        const double mean = sums[i] / (double)l->n;
        moment[i] = (float)(before > 0 ? keep * (double)moment[i] + (1 - keep) * mean : mean);
    }
}

/* Rows of g (value, key) times (moment + delta I)^-1. */
static void precondition(const rk_state_step *s, const float *moment, float *g)
{
    const int64_t n = s->dim;
    double *a = s->work, *row = a + n * n, trace = 0;
    for (int64_t i = 0; i < n; i++)
        trace += (double)moment[i * (n + 1)];
    for (int64_t i = 0; i < n * n; i++)
        a[i] = (double)moment[i] + (i % (n + 1) == 0 ? ridge * trace / (double)n : 0.0);
    if (!rk_dense_factor(n, a))
        return; /* nothing was read yet */
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j < n; j++)
            row[j] = (double)g[i * n + j];
        rk_dense_solve(n, a, row);
        for (int64_t j = 0; j < n; j++)
            g[i * n + j] = (float)row[j];
    }
}

void rk_state_step_gradient(rk_state_step *s)
{
    for (int64_t at = 0; at < s->model->hp.n_layer; at++) {
        const layer *l = &s->layers[at];
        if (s->o.decay > 0.0) {
            add_decay(s, l->state);
            add_decay(s, l->path_state);
        }
        for (int64_t h = 0; l->moment && h < s->heads; h++) {
            float *moment = l->moment + h * s->dim * s->dim;
            add_moment(s, l, h, moment);
            precondition(s, moment, (float *)l->state->grad + h * s->dim * s->dim);
        }
    }
}

/* ---- behind the update ---- */

/* x (m, m) <- x a. */
static void express_in(int64_t m, const double *a, double *row, float *x)
{
    for (int64_t i = 0; i < m; i++) {
        memset(row, 0, (size_t)m * sizeof *row);
        for (int64_t k = 0; k < m; k++)
            for (int64_t j = 0; j < m; j++)
                row[j] += (double)x[i * m + k] * a[k * m + j];
        for (int64_t j = 0; j < m; j++)
            x[i * m + j] = (float)row[j];
    }
}

void rk_state_step_update(rk_state_step *s)
{
    const int64_t m = s->dim;
    const rk_decorrelation d = {
        .m = m, .rate = s->o.basis_rate, .kappa = s->o.basis_kappa, .least = correlated};
    for (int64_t at = 0; at < s->model->hp.n_layer; at++) {
        const layer *l = &s->layers[at];
        for (int64_t h = 0; l->basis && h < s->heads; h++) {
            double *sums = l->sums + h * m * m;
            float *basis = (float *)l->basis->data + h * m * m;
            if (rk_decorrelate(&d, sums, l->n, s->work, basis) && s->o.keep_meaning &&
                l->path_state)
                express_in(m, sums, s->work, (float *)l->path_state->data + h * m * m);
        }
    }
}
