/* memory.c: one piece of memory for all arrays of a trainer, end to end, so that whole gradients are
 * added with one call and huge pages serve all. */
#include "train/memory.h"

#include <stdlib.h>
#include <string.h>

#include "base/pages.h"
#include "format/scheme.h"
#include "train/ema.h"
#include "tune/state_step.h"

static bool is_held(const rk_model *m, const rk_param *p)
{
    return !m->file || p->trained || p->initial;
}

/* By gradients, and not by a rule of its own? */
static bool is_updated(const rk_param *p)
{
    return p->trained && !rk_roles[p->role].ruled;
}

/* Elements of the parameters that are held, or that have gradients. */
static int64_t count(const rk_model *m, bool trained)
{
    int64_t n = 0;
    for (int64_t i = 0; i < m->n_params; i++) {
        const rk_param *p = &m->params[i];
        if (trained ? is_updated(p) : is_held(m, p))
            n += rk_tensor_count(&p->tensor);
    }
    return n;
}

static int n_kept(const rk_train_keeps *k)
{
    return k->optimizer->n_states + k->average + k->state_moments;
}

/* What the i-th is of: an array of the optimiser, a running mean of the weights, of what goes with states. */
static bool is_moment(const rk_train_keeps *k, int i)
{
    return i == k->optimizer->n_states + k->average;
}

/* Is the i-th of what is kept there for this parameter? */
static bool is_kept(const rk_train_keeps *k, int i, const rk_param *p)
{
    if (is_moment(k, i))
        return p->role == RK_ROLE_STATE;
    return i == k->optimizer->n_states || i < rk_optimizer_n_states(k->optimizer, p);
}

static int64_t count_kept(const rk_model *m, const rk_train_keeps *k, int i)
{
    int64_t n = 0;
    for (int64_t at = 0; at < m->n_params; at++) {
        const rk_param *p = &m->params[at];
        if (is_updated(p) && is_kept(k, i, p))
            n += rk_tensor_count(&p->tensor);
    }
    return n;
}

size_t rk_train_memory_bytes(const rk_model *m, const rk_train_keeps *keeps)
{
    int64_t n = count(m, false) + count(m, true) * (1 + keeps->levels);
    for (int i = 0; i < n_kept(keeps); i++)
        n += count_kept(m, keeps, i);
    return (size_t)n * sizeof(float);
}

static rk_named_array array_of(const rk_param *p, float *data)
{
    rk_named_array a = {.name = p->name,
                        .n_dims = p->tensor.n_dims,
                        .data = data,
                        .n = rk_tensor_count(&p->tensor)};
    memcpy(a.dims, p->tensor.dims, sizeof a.dims);
    return a;
}

/* The next place among the arrays of the i-th of what is kept; NULL where a parameter has none. */
static float *take_kept(rk_train_memory *t, int i, const rk_param *p, float **next)
{
    if (!is_kept(&t->keeps, i, p))
        return NULL;
    float *at = *next;
    t->kept[i].at[t->kept[i].n++] = array_of(p, at);
    *next += rk_tensor_count(&p->tensor);
    return at;
}

/* A trained parameter, whose gradient begins at grad, and what is kept for it at the next places. */
static void lay_out_trained(rk_train_memory *t, rk_param *p, float *grad, float **next)
{
    const int n_states = t->keeps.optimizer->n_states;
    const bool hidden = rk_param_is_hidden(p);
    rk_update u = {.param = p,
                   .tensor = &p->tensor,
                   .n = rk_tensor_count(&p->tensor),
                   .rows = hidden ? rk_tensor_rows(&p->tensor) : 0,
                   .cols = hidden ? rk_tensor_cols(&p->tensor) : 0,
                   .weight = p->tensor.data,
                   .grad = grad,
                   .lr_scale = p->lr_scale,
                   .decay = rk_roles[p->role].decays};
    p->tensor.grad = u.grad;
    for (int i = 0; i < n_states; i++)
        u.state[i] = take_kept(t, i, p, &next[i]);
    if (t->keeps.average)
        u.average = take_kept(t, n_states, p, &next[n_states]);
    if (t->keeps.state_moments)
        take_kept(t, n_states + t->keeps.average, p, &next[n_states + t->keeps.average]);
    if (p->used)
        t->update[t->n_update++] = u;
}

/* The file's values of a parameter, row-major. */
static void take_values(const rk_file_tensor *t, const rk_tensor *p, float *to)
{
    const int64_t n = rk_tensor_count(p), cols = rk_tensor_cols(p), rows = n / cols;
    if (!t->exchanged)
        rk_file_floats(t, 0, n, to);
    else /* low-rank matrices, which are small */
        for (int64_t i = 0; i < n; i++)
            rk_file_floats(t, i % cols * rows + i / cols, 1, &to[i]);
}

static void lay_out(rk_train_memory *t, rk_model *m)
{
    float *weight = t->floats, *at = t->floats + t->n_weights, *next[RK_RUN_STATES_MAX] = {NULL};
    for (int i = 0; i < t->n_kept; at += t->kept[i++].n_floats)
        next[i] = at;
    t->grad = at;
    if (t->keeps.state_moments)
        t->state_moments = next[t->n_kept - 1];
    for (int64_t i = 0; i < m->n_params; i++) {
        rk_param *p = &m->params[i];
        if (!is_held(m, p))
            continue;
        p->tensor.data = weight;
        t->weights[t->n_weight_arrays++] = array_of(p, weight);
        weight += rk_tensor_count(&p->tensor);
        if (is_updated(p)) {
            lay_out_trained(t, p, at, next);
            at += rk_tensor_count(&p->tensor);
        }
    }
}

/* The values of what is held of a model that was opened from a file. */
static rk_status begin_values(rk_model *m, uint64_t seed, rk_error *err)
{
    rk_status st = RK_OK;
    for (int64_t i = 0; m->file && i < m->n_params && st == RK_OK; i++) {
        const rk_param *p = &m->params[i];
        const rk_file_tensor *t = rk_file_find(m->file, p->name);
        if (p->trained && t)
            take_values(t, &p->tensor, p->tensor.data);
        else if (is_held(m, p))
            st = rk_param_init(m, i, seed, p->tensor.data, NULL, err);
    }
    return st;
}

rk_status rk_train_memory_init(rk_train_memory *t, rk_model *m, const rk_train_keeps *keeps,
                               uint64_t seed, rk_error *err)
{
    const size_t n = (size_t)m->n_params, bytes = rk_train_memory_bytes(m, keeps);
    *t = (rk_train_memory){.keeps = *keeps,
                           .n_kept = n_kept(keeps),
                           .n_weights = count(m, false),
                           .n_trained = count(m, true)};
    /* A model has parameters. NOLINTNEXTLINE(clang-analyzer-optin.portability.UnixAPI) */
    t->floats = calloc(1, bytes);
    t->update = calloc(n, sizeof *t->update);
    t->weights = calloc(n, sizeof *t->weights);
    bool ok = t->floats && t->update && t->weights;
    for (int i = 0; i < t->n_kept; i++) {
        t->kept[i].n_floats = count_kept(m, keeps, i);
        t->kept[i].at = calloc(n, sizeof *t->kept[i].at);
        ok = ok && t->kept[i].at;
    }
    if (!ok) {
        rk_train_memory_deinit(t);
        return rk_fail(err, RK_ERR_NOMEM, "out of memory: %zu bytes for weights and moments",
                       bytes);
    }
    rk_pages_huge(t->floats, bytes);
    lay_out(t, m);
    const rk_status st = begin_values(m, seed, err);
    if (st != RK_OK)
        rk_train_memory_deinit(t);
    return st;
}

void rk_train_memory_deinit(rk_train_memory *t)
{
    for (int i = 0; i < t->n_kept; i++)
        free(t->kept[i].at);
    free(t->weights);
    free(t->update);
    free(t->floats);
    *t = (rk_train_memory){0};
}

void rk_train_memory_arrays(const rk_train_memory *t, rk_run_arrays *out)
{
    const rk_optimizer *o = t->keeps.optimizer;
    *out =
        (rk_run_arrays){.weights = {NULL, t->weights, t->n_weight_arrays}, .n_states = t->n_kept};
    for (int i = 0; i < t->n_kept; i++)
        out->states[i] = (rk_array_set){i < o->n_states           ? o->states[i]
                                        : is_moment(&t->keeps, i) ? RK_STATE_MOMENTS_NAME
                                                                  : RK_EMA_NAME,
                                        t->kept[i].at, t->kept[i].n};
}
