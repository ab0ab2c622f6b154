/* state.c: a model's state from the rows of its architecture, and what it begins with. */
#include "model/state.h"

#include <stdlib.h>
#include <string.h>

#include "model/model.h"
#include "nn/shift.h"

/* ---- layout ---- */

static bool has_part(const rk_model *m, const rk_state_spec *spec, int64_t layer)
{
    if (spec->in == RK_IN_STEM)
        return layer == 0;
    return spec->in == RK_IN_ALL || (spec->in == RK_IN_KEPT) == rk_layer_in(&m->hp.kept, layer);
}

static void describe(rk_state_entry *p, const rk_model *m, const rk_state_spec *spec, int64_t layer)
{
    *p = (rk_state_entry){.spec = spec, .layer = layer, .count = 1};
    p->n_dims = rk_shape_dims(m->arch, &m->hp, p->spec->shape, p->dims);
    for (int d = 0; d < p->n_dims; d++)
        p->count *= p->dims[d];
}

int rk_state_dims(const rk_state_entry *p, int64_t batch, int64_t n_tokens, int64_t *dims)
{
    int n = 0;
    dims[n++] = batch;
    if (rk_state_grows(p))
        dims[n++] = n_tokens;
    memcpy(dims + n, p->dims, (size_t)p->n_dims * sizeof *dims);
    return n + p->n_dims;
}

rk_status rk_state_layout_init(rk_state_layout *l, const rk_model *m, rk_error *err)
{
    const int each = m->arch->n_state, n = (int)m->hp.n_layer * each;
    *l = (rk_state_layout){.parts = calloc((size_t)n, sizeof *l->parts),
                           .places = calloc((size_t)n, sizeof *l->places)};
    if (!l->parts || !l->places)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for a state of %d tensors", n);
    for (int i = 0; i < n; i++) {
        const rk_state_spec *spec = &m->arch->state[i % each];
        l->places[i] = -1;
        if (!has_part(m, spec, i / each))
            continue;
        rk_state_entry *p = &l->parts[l->n_parts];
        l->places[i] = l->n_parts++;
        describe(p, m, spec, i / each);
        int64_t *const total = rk_state_grows(p) ? &l->token_count : &l->count;
        p->at = *total;
        *total += p->count;
    }
    return RK_OK;
}

void rk_state_layout_deinit(rk_state_layout *l)
{
    free(l->parts);
    free(l->places);
}

int rk_state_part_at(const rk_model *m, int64_t layer, int i)
{
    return m->state.places[layer * m->arch->n_state + i];
}

/* ---- the beginning ---- */

const rk_param_spec *rk_state_tuned_param(const rk_arch *arch, const rk_state_spec *spec)
{
    for (; arch && spec->tuned; arch = arch->base)
        for (int i = 0; i < arch->n_params; i++)
            if (rk_param_is_tuned(&arch->params[i]) && arch->params[i].field == spec->tuned)
                return &arch->params[i];
    return NULL;
}

/* Is it the name of this row in any layer? */
static bool is_named_by(const char *name, const rk_param_spec *spec)
{
    const char *mark = strstr(spec->name, "%d");
    const size_t n = mark ? (size_t)(mark - spec->name) : 0;
    const size_t digits =
        mark && !strncmp(name, spec->name, n) ? strspn(name + n, "0123456789") : 0;
    return digits > 0 && !strcmp(name + n + digits, mark + 2);
}

bool rk_state_is_tuned_name(const char *name)
{
    for (int a = 0; rk_archs[a]; a++)
        for (int i = 0; i < rk_archs[a]->n_params; i++) {
            const rk_param_spec *spec = &rk_archs[a]->params[i];
            if (rk_roles[spec->role].beside && is_named_by(name, spec))
                return true;
        }
    return false;
}

/* The parameter that a part begins with; NULL when that is a number. */
static rk_tensor *tuned_state(const rk_model *m, const rk_state_entry *p)
{
    const char *layer = rk_model_layer(m, p->layer);
    rk_tensor *t = NULL;
    if (p->spec->tuned)
        memcpy(&t, layer + p->spec->tuned, sizeof t);
    return t;
}

/* What its elements start at where no parameter says it. */
static double initial_of(const rk_model *m, const rk_state_spec *s)
{
    return s->zero_if_tuned && m->hp.tuned_state ? 0.0 : s->initial;
}

/* t (H, value, key) into a state (H, key, value). */
static void copy_transposed(const rk_tensor *t, float *state)
{
    const int64_t n = t->dims[2];
    const float *x = t->data;
    for (int64_t row = 0; row < t->dims[0] * n; row++)
        for (int64_t key = 0; key < n; key++)
            state[row / n * n * n + key * n + row % n] = x[row * n + key];
}

void rk_model_initial_state(const rk_model *m, float *state)
{
    for (int i = 0; i < m->state.n_parts; i++) {
        const rk_state_entry *p = &m->state.parts[i];
        const rk_tensor *tuned = tuned_state(m, p);
        float *x = state + p->at;
        if (rk_state_grows(p))
            continue;
        if (tuned && p->spec->key_major)
            copy_transposed(tuned, x);
        else if (tuned)
            memcpy(x, tuned->data, (size_t)p->count * sizeof *x);
        else
            for (int64_t e = 0; e < p->count; e++)
                x[e] = (float)initial_of(m, p->spec);
    }
}

static rk_tensor *filled(rk_ctx *ctx, rk_dtype real, int n_dims, const int64_t *dims, double x)
{
    rk_tensor *t = rk_new_zeros(ctx, real, n_dims, dims);
    for (int64_t e = 0; x != 0 && t && t->data && e < rk_tensor_count(t); e++)
        if (real == RK_F64)
            ((double *)t->data)[e] = x;
        else
            ((float *)t->data)[e] = (float)x;
    return t;
}

/* A factor of the pair of a layer for each row of a batch, (B, H, N, rank). */
static rk_tensor *factor_rows(rk_ctx *ctx, rk_tensor *factor, int64_t batch)
{
    const int64_t dims[] = {batch, factor->dims[0], factor->dims[1], factor->dims[2]};
    return rk_view(ctx, rk_for_each_row(ctx, factor, batch), 4, dims);
}

/* With U V^T of the layer, where the part is what pairs are for. */
static rk_tensor *with_pair(rk_ctx *ctx, const rk_model *m, const rk_state_entry *p, int64_t batch,
                            rk_tensor *state)
{
    const rk_param_spec *spec = rk_state_tuned_param(m->arch, p->spec);
    if (!m->state_pairs || rk_ctx_failed(ctx) || spec->role != RK_ROLE_STATE)
        return state;
    const int64_t at = m->state_pairs[p->layer];
    rk_tensor *u = factor_rows(ctx, &m->params[at].tensor, batch);
    rk_tensor *v = factor_rows(ctx, &m->params[at + 1].tensor, batch);
    return rk_ctx_failed(ctx) ? NULL
                              : rk_add(ctx, state, rk_matmul(ctx, u, rk_transpose(ctx, v, 2, 3)));
}

void rk_model_new_state(rk_ctx *ctx, const rk_model *m, rk_dtype real, int64_t batch,
                        rk_tensor **state)
{
    for (int i = 0; i < m->state.n_parts; i++) {
        const rk_state_entry *p = &m->state.parts[i];
        int64_t dims[RK_MAX_DIMS];
        rk_tensor *tuned = tuned_state(m, p);
        const int n = rk_state_dims(p, batch, 0, dims);
        if (!tuned) {
            state[i] = filled(ctx, real, n, dims, initial_of(m, p->spec));
            continue;
        }
        state[i] = rk_view(ctx, rk_for_each_row(ctx, tuned, batch), n, dims);
        state[i] = with_pair(ctx, m, p, batch, state[i]);
        if (p->spec->key_major)
            state[i] = rk_copy(ctx, rk_transpose(ctx, state[i], 2, 3));
    }
}
