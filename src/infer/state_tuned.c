/* state_tuned.c: initial states in a file of their own, as state tuning leaves them: of each layer what
 * the recurrence begins with, "blocks.0.att.time_state", what stands before the first token in the time
 * mix's shift, where that is tuned, and nothing else. Other parts of a state start as they do without
 * them. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "format/scheme.h"
#include "infer/session.h"
#include "infer/tuned_file.h"

bool rk_file_is_tuned_state(const rk_file *f)
{
    const int64_t n = rk_file_count(f);
    for (int64_t i = 0; i < n; i++)
        if (!rk_state_is_tuned_name(rk_file_at(f, i)->name))
            return false;
    return n > 0;
}

bool rk_file_is_kernel_state(const rk_file *f)
{
    return rk_file_is_tuned_state(f) && rk_file_find(f, "blocks.0.att.kernel_u");
}

/* Was the model opened with this kernel path? */
static rk_status check_kernel(const rk_model *m, const rk_file *f, rk_error *err)
{
    for (int64_t i = 0; i < rk_file_count(f); i++) {
        const rk_file_tensor *a = rk_file_at(f, i);
        const rk_file_tensor *b = m->file ? rk_file_find(m->file, a->name) : NULL;
        if (!b || a->bytes != b->bytes || memcmp(a->data, b->data, a->bytes) != 0)
            return rk_fail(
                err, RK_ERR_FORMAT,
                "%s: a kernel path, which a model is opened with: the model (%s) was not",
                rk_file_name(f), m->arch->name);
    }
    return rk_file_check(f, err);
}

static bool is_state_of(const rk_file_tensor *t, const rk_state_entry *p)
{
    bool same = rk_file_is_float(t) && t->n_dims == p->n_dims;
    for (int d = 0; d < p->n_dims && same; d++)
        same = t->dims[d] == p->dims[d];
    return same;
}

static rk_status check_values(const rk_file *f, const rk_file_tensor *t, const rk_param_spec *spec,
                              const float *x, rk_error *err)
{
    for (int64_t i = 0; i < rk_file_tensor_count(t); i++) {
        if (!isfinite(x[i]))
            return rk_fail(err, RK_ERR_FORMAT, "%s: tensor '%s' holds a value that is not finite",
                           rk_file_name(f), t->name);
        if (rk_roles[spec->role].nonnegative && x[i] < 0.0f)
            return rk_fail(err, RK_ERR_FORMAT, "%s: tensor '%s' holds %g, a sum of weights",
                           rk_file_name(f), t->name, (double)x[i]);
    }
    return RK_OK;
}

/* The tensor of a part of the state. */
static rk_status find_part(const rk_file *f, const rk_state_entry *p, const rk_param_spec *spec,
                           const rk_file_tensor **out, rk_error *err)
{
    char name[RK_PARAM_NAME_MAX], shape[64];
    rk_param_name(spec, p->layer, name);
    const rk_file_tensor *t = *out = rk_file_find(f, name);
    const rk_tensor want = rk_tensor_over(RK_F32, p->n_dims, p->dims, NULL);
    if (t && is_state_of(t, p))
        return RK_OK;
    return rk_fail(err, RK_ERR_FORMAT, "%s: no tensor '%s' of %s floats", rk_file_name(f), name,
                   strchr(rk_tensor_describe(&want, shape, sizeof shape), '('));
}

static rk_status read_part(const rk_file *f, const rk_state_entry *p, const rk_param_spec *spec,
                           float *out, rk_error *err)
{
    const rk_file_tensor *t = NULL;
    rk_status st = find_part(f, p, spec, &t, err);
    if (st != RK_OK)
        return st;
    rk_file_floats(t, 0, p->count, out);
    if (p->n_dims == 3 && t->exchanged != p->spec->key_major)
        rk_tuned_transpose(out, p->dims[0], p->dims[1]);
    return check_values(f, t, spec, out, err);
}

/* Is a part that need not be tuned missing? */
static bool is_left_out(const rk_model *m, const rk_file *f, const rk_param_spec *spec)
{
    char name[RK_PARAM_NAME_MAX];
    rk_param_name(spec, rk_first_mixer(&m->hp), name);
    return spec->scope == RK_SCOPE_TUNED_SHIFT && !rk_file_find(f, name);
}

/* state (count): the initial one. */
static rk_status read_parts(const rk_model *m, const rk_file *f, float *state, rk_error *err)
{
    rk_status st = RK_OK;
    int64_t n = 0;
    for (int i = 0; i < m->state.n_parts && st == RK_OK; i++) {
        const rk_state_entry *p = &m->state.parts[i];
        const rk_param_spec *spec = rk_state_tuned_param(m->arch, p->spec);
        if (p->spec->zero_if_tuned)
            memset(state + p->at, 0, (size_t)p->count * sizeof *state);
        if (!spec || is_left_out(m, f, spec))
            continue;
        st = read_part(f, p, spec, state + p->at, err);
        n++;
    }
    if (st == RK_OK && n != rk_file_count(f))
        st = rk_fail(err, RK_ERR_FORMAT,
                     "%s: %" PRId64 " tensors of initial states, the model (%s) takes %" PRId64,
                     rk_file_name(f), rk_file_count(f), m->arch->name, n);
    return st == RK_OK ? rk_file_check(f, err) : st;
}

rk_status rk_session_tuned_read(rk_session *s, const rk_file *f, rk_error *err)
{
    const rk_model *m = s->scheduler.model;
    const size_t bytes = rk_state_layout_bytes(&m->state, 0);
    float *state = malloc(bytes);
    if (!state)
        return rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", rk_file_name(f));
    rk_model_initial_state(m, state);
    rk_status st =
        rk_file_is_kernel_state(f) ? check_kernel(m, f, err) : read_parts(m, f, state, err);
    if (st == RK_OK)
        st = rk_state_set(s->stream.state, state, bytes, err);
    free(state);
    return st;
}

/* A part of the state as a parameter of the model's, (H, value, key) where it is a matrix. */
static rk_status put_part(rk_model *m, const rk_state_entry *e, const rk_param_spec *spec,
                          const float *state, rk_error *err)
{
    char name[RK_PARAM_NAME_MAX];
    rk_param_name(spec, e->layer, name);
    rk_param *p = rk_model_param(m, name);
    float *x = malloc((size_t)e->count * sizeof *x);
    if (!p || !x) {
        free(x);
        return p ? rk_fail(err, RK_ERR_NOMEM, "out of memory for '%s'", name)
                 : rk_fail(err, RK_ERR_ARG, "the model was opened without '%s'", name);
    }
    memcpy(x, state + e->at, (size_t)e->count * sizeof *x);
    if (e->n_dims == 3 && e->spec->key_major)
        rk_tuned_transpose(x, e->dims[0], e->dims[1]);
    free(p->owned);
    p->owned = x;
    p->trained = true;
    p->tensor = rk_tensor_over(RK_F32, p->tensor.n_dims, p->tensor.dims, x);
    return RK_OK;
}

rk_status rk_model_tuned_read(rk_model *m, const rk_file *f, rk_error *err)
{
    float *state = malloc(rk_state_layout_bytes(&m->state, 0));
    rk_status st = state ? read_parts(m, f, state, err)
                         : rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", rk_file_name(f));
    for (int i = 0; i < m->state.n_parts && st == RK_OK; i++) {
        const rk_state_entry *e = &m->state.parts[i];
        const rk_param_spec *spec = rk_state_tuned_param(m->arch, e->spec);
        if (spec && !is_left_out(m, f, spec))
            st = put_part(m, e, spec, state, err);
    }
    free(state);
    return st;
}

rk_status rk_session_tuned_load(rk_session *s, const char *path, rk_tuned_layout layout,
                                rk_error *err)
{
    rk_file *f = NULL;
    rk_status st = rk_tuned_file_open(&f, path, layout, s->scheduler.model, err);
    if (st == RK_OK && !rk_file_is_tuned_state(f))
        st = rk_fail(
            err, RK_ERR_FORMAT,
            "%s: tensor '%s' is no initial state; expected blocks.N.att.time_state of every "
            "layer, and nothing else",
            path, rk_file_count(f) ? rk_file_at(f, 0)->name : "");
    if (st == RK_OK)
        st = rk_session_tuned_read(s, f, err);
    rk_file_close(f);
    return st;
}
