/* state.c: tuned states as files. */
#include "tune/state.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "infer/session.h"
#include "io/pth.h"
#include "tune/state_pairs.h"

rk_state_tuning rk_state_tuning_defaults(void)
{
    return (rk_state_tuning){
        .features = 2.0, .basis_rate = 1e-2, .basis_kappa = 0.5, .keep_meaning = true};
}

/* With what pairs of low rank add to it, in room of the caller's. */
static rk_file_tensor tensor_of(const rk_model *m, const rk_param *p, float *room)
{
    rk_file_tensor t = {.name = p->name,
                        .dtype = p->tensor.dtype,
                        .n_dims = p->tensor.n_dims,
                        .data = p->tensor.data,
                        .bytes = rk_tensor_bytes(&p->tensor)};
    memcpy(t.dims, p->tensor.dims, sizeof p->tensor.dims);
    if (m->state_pairs && p->role == RK_ROLE_STATE) {
        rk_state_pairs_sum(m, p->layer, &p->tensor, room);
        t.data = room;
    }
    return t;
}

static int64_t count_states(const rk_model *m)
{
    int64_t n = 0;
    for (int64_t i = 0; i < m->n_params; i++)
        n += rk_roles[m->params[i].role].beside ? rk_tensor_count(&m->params[i].tensor) : 0;
    return n;
}

rk_status rk_state_save_tuned(const rk_model *m, const char *path, rk_error *err)
{
    rk_file_tensor *tensors = calloc((size_t)m->n_params, sizeof *tensors);
    float *room = malloc((size_t)(count_states(m) + 1) * sizeof *room), *at = room;
    rk_file_contents c = {.tensors = tensors};
    rk_status st = tensors && room ? RK_OK : rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", path);
    for (int64_t i = 0; i < m->n_params && st == RK_OK; i++) {
        if (!rk_roles[m->params[i].role].beside)
            continue;
        tensors[c.n_tensors++] = tensor_of(m, &m->params[i], at);
        at += rk_tensor_count(&m->params[i].tensor);
    }
    if (st == RK_OK && c.n_tensors == 0)
        st = rk_fail(err, RK_ERR_ARG, "%s: the model has no initial states to write", path);
    if (st == RK_OK)
        st = rk_pth_write(path, &c, true, err);
    free(tensors);
    free(room);
    return st;
}

/* ---- from a prompt ---- */

/* Part p of a state into x, value-major; of RWKV-4 at pp = 0, which follows aa and bb. */
static rk_status copy_part(const rk_state_entry *p, const float *state, const float *pp, float *x,
                           rk_error *err)
{
    const int64_t n = p->n_dims == 3 ? p->dims[1] : 1;
    for (int64_t i = 0; i < p->count; i++) {
        const int64_t head = i / (n * n), row = i / n % n, col = i % n;
        const int64_t at = p->spec->key_major ? (head * n + col) * n + row : i;
        x[i] = pp ? state[i] * expf(pp[i]) : state[at];
        if (!isfinite(x[i]))
            return rk_fail(err, RK_ERR_NUMERIC,
                           "the state that the prompt leaves is not finite: %s of layer %lld",
                           p->spec->name, (long long)p->layer);
    }
    return RK_OK;
}

/* The exponents that a layer's sums stand at; NULL where states are matrices. */
static const float *exponents_of(const rk_model *m, int64_t layer, const float *state)
{
    for (int i = 0; i < m->state.n_parts; i++)
        if (m->state.parts[i].layer == layer && m->state.parts[i].spec->zero_if_tuned)
            return state + m->state.parts[i].at;
    return NULL;
}

typedef struct state_file {
    rk_file_tensor *tensors;
    char (*names)[RK_PARAM_NAME_MAX];
    float *x; /* (state) */
    int64_t n;
} state_file;

static rk_status add_part(state_file *f, const rk_model *m, const rk_state_entry *p,
                          const float *state, rk_error *err)
{
    const rk_param_spec *spec = rk_state_tuned_param(m->arch, p->spec);
    if (!spec || spec->scope != RK_SCOPE_TUNED)
        return RK_OK;
    rk_param_name(spec, p->layer, f->names[f->n]);
    rk_file_tensor *t = &f->tensors[f->n];
    *t = (rk_file_tensor){.name = f->names[f->n],
                          .dtype = RK_F32,
                          .n_dims = p->n_dims,
                          .data = f->x + p->at,
                          .bytes = (size_t)p->count * sizeof(float)};
    memcpy(t->dims, p->dims, sizeof p->dims);
    f->n++;
    return copy_part(p, state + p->at, exponents_of(m, p->layer, state), f->x + p->at, err);
}

rk_status rk_state_write(const rk_model *m, const float *state, const char *path, rk_error *err)
{
    const size_t n = (size_t)m->state.n_parts;
    state_file f = {.tensors = calloc(n, sizeof *f.tensors),
                    .names = calloc(n, sizeof *f.names),
                    .x = malloc(rk_state_layout_bytes(&m->state, 0))};
    rk_status st =
        f.tensors && f.names && f.x ? RK_OK : rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", path);
    for (int i = 0; i < m->state.n_parts && st == RK_OK; i++)
        st = add_part(&f, m, &m->state.parts[i], state, err);
    const rk_file_contents c = {.tensors = f.tensors, .n_tensors = f.n};
    if (st == RK_OK)
        st = rk_pth_write(path, &c, true, err);
    free(f.tensors);
    free(f.names);
    free(f.x);
    return st;
}

rk_status rk_state_of_tokens(const rk_model *m, rk_engine *e, const int32_t *tokens, int64_t n,
                             const char *path, rk_error *err)
{
    const size_t bytes = rk_state_layout_bytes(&m->state, 0);
    rk_session *s = NULL;
    float *state = malloc(bytes);
    rk_status st = state ? rk_session_new(&s, m, e, err)
                         : rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", path);
    if (st == RK_OK)
        st = rk_session_eval(s, tokens, n, NULL, err);
    if (st == RK_OK)
        st = rk_session_state_get(s, state, bytes, err);
    if (st == RK_OK)
        st = rk_state_write(m, state, path, err);
    rk_session_free(s);
    free(state);
    return st;
}
