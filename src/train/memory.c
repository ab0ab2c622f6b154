/* memory.c: one piece of memory for all arrays of a trainer, end to end, so that whole gradients are
 * added with one call and huge pages serve all. */
#include "train/memory.h"

#include <stdlib.h>
#include <string.h>

#include "base/pages.h"
#include "format/scheme.h"

static bool is_held(const rk_model *m, const rk_param *p)
{
    return !m->file || p->trained;
}

static int64_t count(const rk_model *m, bool trained)
{
    int64_t n = 0;
    for (int64_t i = 0; i < m->n_params; i++) {
        const rk_param *p = &m->params[i];
        if (trained ? p->trained : is_held(m, p))
            n += rk_tensor_count(&p->tensor);
    }
    return n;
}

size_t rk_train_memory_bytes(const rk_model *m, const rk_optimizer *o, int levels)
{
    const size_t n_of_trained = (size_t)(o->n_states + 1 + levels);
    return ((size_t)count(m, false) + (size_t)count(m, true) * n_of_trained) * sizeof(float);
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

/* A trained parameter, whose gradient and states begin at float `at` of theirs. */
static void lay_out_trained(rk_train_memory *t, rk_param *p, int64_t at)
{
    rk_update u = {.param = p,
                   .tensor = &p->tensor,
                   .n = rk_tensor_count(&p->tensor),
                   .weight = p->tensor.data,
                   .grad = t->grad + at,
                   .lr_scale = p->spec->lr_scale,
                   .decay = rk_roles[p->role].decays};
    p->tensor.grad = u.grad;
    for (int s = 0; s < t->optimizer->n_states; s++) {
        u.state[s] = t->floats + t->n_weights + s * t->n_trained + at;
        t->states[s][t->n_state_arrays] = array_of(p, u.state[s]);
    }
    t->n_state_arrays++;
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
    float *weight = t->floats;
    int64_t trained = 0;
    t->grad = t->floats + t->n_weights + t->optimizer->n_states * t->n_trained;
    for (int64_t i = 0; i < m->n_params; i++) {
        rk_param *p = &m->params[i];
        if (!is_held(m, p))
            continue;
        p->tensor.data = weight;
        if (m->file)
            take_values(rk_file_find(m->file, p->name), &p->tensor, weight);
        t->weights[t->n_weight_arrays++] = array_of(p, weight);
        weight += rk_tensor_count(&p->tensor);
        if (p->trained) {
            lay_out_trained(t, p, trained);
            trained += rk_tensor_count(&p->tensor);
        }
    }
}

rk_status rk_train_memory_init(rk_train_memory *t, rk_model *m, const rk_optimizer *o, int levels,
                               rk_error *err)
{
    const size_t n = (size_t)m->n_params, bytes = rk_train_memory_bytes(m, o, levels);
    *t = (rk_train_memory){
        .optimizer = o, .n_weights = count(m, false), .n_trained = count(m, true)};
    /* A model has parameters. NOLINTNEXTLINE(clang-analyzer-optin.portability.UnixAPI) */
    t->floats = calloc(1, bytes);
    t->update = calloc(n, sizeof *t->update);
    t->weights = calloc(n, sizeof *t->weights);
    bool ok = t->floats && t->update && t->weights;
    for (int s = 0; s < o->n_states; s++) {
        t->states[s] = calloc(n, sizeof *t->states[s]);
        ok = ok && t->states[s];
    }
    if (!ok) {
        rk_train_memory_deinit(t);
        return rk_fail(err, RK_ERR_NOMEM, "out of memory: %zu bytes for weights and moments",
                       bytes);
    }
    rk_pages_huge(t->floats, bytes);
    lay_out(t, m);
    return RK_OK;
}

void rk_train_memory_deinit(rk_train_memory *t)
{
    for (int s = 0; s < RK_OPTIM_STATES_MAX; s++)
        free(t->states[s]);
    free(t->weights);
    free(t->update);
    free(t->floats);
    *t = (rk_train_memory){0};
}
