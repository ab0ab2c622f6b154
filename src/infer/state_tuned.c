/* state_tuned.c: initial states in a file of their own, as state tuning leaves them: a matrix of
 * each layer, "blocks.0.att.time_state", and nothing else. What is not a matrix of the state starts
 * as it does without them. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "format/scheme.h"
#include "infer/session.h"

static void tuned_name(int64_t layer, char name[RK_PARAM_NAME_MAX])
{
    snprintf(name, RK_PARAM_NAME_MAX, "blocks.%" PRId64 ".att.time_state", layer);
}

bool rk_file_is_tuned_state(const rk_file *f)
{
    const int64_t n = rk_file_count(f);
    char name[RK_PARAM_NAME_MAX];
    for (int64_t i = 0; i < n; i++) {
        tuned_name(i, name);
        if (!rk_file_find(f, name))
            return false;
    }
    return n > 0;
}

static bool is_state_of(const rk_file_tensor *t, const rk_state_entry *p)
{
    bool same = rk_file_is_float(t) && t->n_dims == p->n_dims;
    for (int d = 0; d < p->n_dims && same; d++)
        same = t->dims[d] == p->dims[d];
    return same;
}

/* x (H, N, N): the last two dimensions are exchanged. */
static void transpose_heads(float *x, int64_t n_head, int64_t n)
{
    for (int64_t h = 0; h < n_head; h++, x += n * n)
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < i; j++) {
                const float above = x[j * n + i];
                x[j * n + i] = x[i * n + j];
                x[i * n + j] = above;
            }
}

static rk_status read_matrix(const rk_file *f, const rk_state_entry *p, rk_tuned_layout layout,
                             float *out, rk_error *err)
{
    char name[RK_PARAM_NAME_MAX];
    tuned_name(p->layer, name);
    const rk_file_tensor *t = rk_file_find(f, name);
    if (!t || !is_state_of(t, p))
        return rk_fail(err, RK_ERR_FORMAT,
                       "%s: no tensor '%s' of %" PRId64 " by %" PRId64 " by %" PRId64 " floats",
                       rk_file_name(f), name, p->dims[0], p->dims[1], p->dims[2]);
    rk_file_floats(t, 0, p->count, out);
    for (int64_t i = 0; i < p->count; i++)
        if (!isfinite(out[i]))
            return rk_fail(err, RK_ERR_FORMAT, "%s: tensor '%s' holds a value that is not finite",
                           rk_file_name(f), name);
    const bool key_major =
        (layout == RK_TUNED_KEY_VALUE) != t->exchanged; /* as it lies in memory */
    if (key_major != p->spec->key_major)
        transpose_heads(out, p->dims[0], p->dims[1]);
    return RK_OK;
}

/* state (count): the initial one. */
static rk_status read_matrices(const rk_model *m, const rk_file *f, rk_tuned_layout layout,
                               float *state, rk_error *err)
{
    rk_status st = RK_OK;
    int64_t n = 0;
    for (int i = 0; i < m->state.n_parts && st == RK_OK; i++) {
        const rk_state_entry *p = &m->state.parts[i];
        if (p->spec->kind != RK_STATE_MATRIX)
            continue;
        st = read_matrix(f, p, layout, state + p->at, err);
        n++;
    }
    if (st == RK_OK && n != rk_file_count(f))
        st = rk_fail(err, RK_ERR_FORMAT,
                     "%s: initial states of %" PRId64 " layers, the model (%s) takes %" PRId64,
                     rk_file_name(f), rk_file_count(f), m->arch->name, n);
    return st == RK_OK ? rk_file_check(f, err) : st;
}

rk_status rk_session_tuned_read(rk_session *s, const rk_file *f, rk_tuned_layout layout,
                                rk_error *err)
{
    const rk_model *m = s->scheduler.model;
    const size_t bytes = rk_state_layout_bytes(&m->state, 0);
    float *state = malloc(bytes);
    if (!state)
        return rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", rk_file_name(f));
    rk_model_initial_state(m, state);
    rk_status st = read_matrices(m, f, layout, state, err);
    if (st == RK_OK)
        st = rk_state_set(s->stream.state, state, bytes, err);
    free(state);
    return st;
}

rk_status rk_session_tuned_load(rk_session *s, const char *path, rk_tuned_layout layout,
                                rk_error *err)
{
    rk_file *f = NULL;
    rk_status st = rk_file_open(&f, path, err);
    if (st == RK_OK && !rk_file_is_tuned_state(f))
        st = rk_fail(
            err, RK_ERR_FORMAT,
            "%s: tensor '%s' is no initial state; expected blocks.N.att.time_state of every "
            "layer, and nothing else",
            path, rk_file_count(f) ? rk_file_at(f, 0)->name : "");
    if (st == RK_OK)
        st = rk_session_tuned_read(s, f, layout, err);
    rk_file_close(f);
    return st;
}
