/* state_pairs.c: low-rank states as parameters. Training multiplies U and V row by row of a batch
 * (model/state.c), so that a gradient is a sum over rows whatever the size of micro-batches. */
#include "tune/state_pairs.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/random.h"

static const double deviation = 0.02;

static const rk_param_spec spec = {.name = "blocks.%d.att.time_state_",
                                   .role = RK_ROLE_STATE_PAIR,
                                   .scope = RK_SCOPE_LAYER,
                                   .lr_scale = 1};

static const rk_param *whole_state(const rk_model *m, int64_t layer)
{
    for (int64_t i = 0; i < m->n_params; i++)
        if (m->params[i].role == RK_ROLE_STATE && m->params[i].layer == layer)
            return &m->params[i];
    return NULL;
}

/* U of a layer, or its V. */
static rk_status make_factor(rk_param *p, const rk_tensor *whole, int64_t layer, bool is_u,
                             int64_t rank, uint64_t seed, rk_error *err)
{
    const int64_t dims[] = {whole->dims[0], whole->dims[1], rank}, n = dims[0] * dims[1] * rank;
    float *x = calloc((size_t)n, sizeof *x);
    *p = (rk_param){.spec = &spec, .layer = layer, .initial = x, .owned = x};
    snprintf(p->name, sizeof p->name, "blocks.%lld.att.time_state_%c", (long long)layer,
             is_u ? 'u' : 'v');
    p->tensor = rk_tensor_over(RK_F32, 3, dims, NULL);
    for (int64_t i = 0; x && is_u && i < n; i++)
        x[i] =
            (float)(deviation * rk_rng_normal(seed, RK_RNG_ADAPTER, (uint64_t)layer, (uint64_t)i));
    return x ? RK_OK : rk_fail(err, RK_ERR_NOMEM, "out of memory for states of low rank");
}

/* Two parameters for each layer that has a state; *n counts them, and first[l] is the place of a layer's U
 * among them. */
static rk_status make_factors(rk_param *added, int64_t *n, int64_t *first, const rk_model *m,
                              int64_t rank, uint64_t seed, rk_error *err)
{
    rk_status st = RK_OK;
    for (int64_t l = 0; l < m->hp.n_layer && st == RK_OK; l++) {
        const rk_param *whole = whole_state(m, l);
        if (rk_layer_in(&m->hp.kept, l))
            continue;
        if (!whole || whole->tensor.n_dims != 3)
            return rk_fail(err, RK_ERR_UNSUPPORTED, "state rank: the states of %s are no matrices",
                           m->arch->name);
        if (rank > whole->tensor.dims[1])
            return rk_fail(err, RK_ERR_ARG,
                           "state rank is %lld, the matrices of states have %lld rows",
                           (long long)rank, (long long)whole->tensor.dims[1]);
        first[l] = *n;
        st = make_factor(&added[(*n)++], &whole->tensor, l, true, rank, seed, err);
        if (st == RK_OK)
            st = make_factor(&added[(*n)++], &whole->tensor, l, false, rank, seed, err);
    }
    return st;
}

rk_status rk_state_pairs_attach(rk_model *m, int64_t rank, uint64_t seed, rk_error *err)
{
    const int64_t before = m->n_params, layers = m->hp.n_layer;
    int64_t n = 0;
    rk_param *added = calloc((size_t)(2 * layers), sizeof *added);
    int64_t *pairs = calloc((size_t)layers, sizeof *pairs);
    rk_status st = added && pairs ? make_factors(added, &n, pairs, m, rank, seed, err)
                                  : rk_fail(err, RK_ERR_NOMEM, "out of memory for a state's rank");
    if (st == RK_OK)
        st = rk_model_add_params(m, added, n, err);
    for (int64_t l = 0; st == RK_OK && l < layers; l++)
        pairs[l] += before;
    if (st == RK_OK)
        m->state_pairs = pairs;
    for (int64_t i = 0; st != RK_OK && added && i < n; i++)
        free(added[i].owned);
    if (st != RK_OK)
        free(pairs);
    free(added);
    return st;
}

void rk_state_pairs_sum(const rk_model *m, int64_t layer, const rk_tensor *s0, float *to)
{
    const rk_tensor *u = &m->params[m->state_pairs[layer]].tensor;
    const rk_tensor *v = &m->params[m->state_pairs[layer] + 1].tensor;
    const int64_t n = u->dims[1], rank = u->dims[2], count = rk_tensor_count(s0);
    for (int64_t i = 0; i < count; i++) {
        const int64_t head = i / (n * n), row = head * n + i / n % n, col = head * n + i % n;
        double sum = (double)((const float *)s0->data)[i];
        for (int64_t k = 0; k < rank; k++)
            sum += (double)((const float *)u->data)[row * rank + k] *
                   (double)((const float *)v->data)[col * rank + k];
        to[i] = (float)sum;
    }
}
