/* merge_model.c: adapters and models as files: a plan for saving (format.h) that changes matrices on their
 * way. Whole parameters become the model's, as a trainer's would. What stands beside low-rank pairs makes these
 * wider before (merge_pairs.h). */
#include "tune/merge_model.h"

#include <stdlib.h>
#include <string.h>

#include "compress/in_memory.h"
#include "compress/remade.h"
#include "tune/merge.h"
#include "tune/merge_pairs.h"

typedef struct merge_job {
    const rk_model *m;
    const rk_merge *how;
    rk_pool *pool;
    rk_part_use *uses; /* (n_uses) room for those of one matrix */
} merge_job;

/* The parts for a matrix; returns their number. */
static int64_t parts_for(const merge_job *j, const rk_param *p)
{
    int64_t n = 0;
    for (int64_t i = 0; i < j->how->n_uses; i++) {
        const rk_adapter_part *part = rk_adapter_set_find(j->how->uses[i].set, p->name);
        if (part)
            j->uses[n++] = (rk_part_use){part, j->how->uses[i].scale};
    }
    return n;
}

/* Was it quantised in training? */
static bool was_quantised(const merge_job *j, const rk_param *p)
{
    const bool outer = p->role == RK_ROLE_EMB || p->role == RK_ROLE_HEAD;
    return j->how->quant && p->used && (rk_param_is_hidden(p) || (j->how->quant_all && outer));
}

static bool changes(void *user, const rk_param *p)
{
    const merge_job *j = user;
    return was_quantised(j, p) || (p->used && rk_roles[p->role].weight && parts_for(j, p) > 0);
}

/* ---- a matrix (out, in) ---- */

/* What training saw: W less the start values, in the type's values. The parts lose their start. */
static rk_status quantise(const merge_job *j, const rk_param *p, rk_adapter_part *trained,
                          int64_t n, float *w, rk_error *err)
{
    const int inputs = rk_param_inputs(p);
    rk_status st = RK_OK;
    for (int64_t i = 0; i < n && st == RK_OK; i++) {
        trained[i] = *j->uses[i].part;
        if (trained[i].start[0]) {
            rk_adapter_part start = trained[i];
            memcpy(start.tensors, start.start, sizeof start.start);
            start.start[0] = start.start[1] = trained[i].start[0] = trained[i].start[1] = NULL;
            st = rk_part_merge(&start, -j->uses[i].scale, w, j->pool, err);
        }
        j->uses[i].part = &trained[i];
    }
    return st == RK_OK ? rk_quantised_values(j->how->quant, p->tensor.dims[1 - inputs],
                                             p->tensor.dims[inputs], w, j->pool, err)
                       : st;
}

static rk_status put_in(const merge_job *j, const rk_param *p, int64_t n, float *w, rk_error *err)
{
    rk_adapter_part *trained = calloc((size_t)n + 1, sizeof *trained);
    rk_status st = trained ? RK_OK : rk_fail(err, RK_ERR_NOMEM, "out of memory to merge");
    if (st == RK_OK && was_quantised(j, p))
        st = quantise(j, p, trained, n, w, err);
    if (st == RK_OK && n > 0)
        st = rk_parts_merge(j->uses, n, w, j->pool, err);
    free(trained);
    return st;
}

static rk_status take_out(const merge_job *j, const rk_param *p, float *w, rk_error *err)
{
    rk_error why = {0};
    const rk_part_use *use = &j->uses[0];
    const rk_status st = rk_part_unmerge(use->part, use->scale, w, j->pool, &why);
    return st == RK_ERR_NUMERIC
               ? rk_fail(err, RK_ERR_FORMAT,
                         "%s: the adapter cannot be taken out: I + B of one of its blocks has no "
                         "inverse",
                         p->name)
           : st != RK_OK ? rk_fail(err, st, "%s", why.msg)
                         : RK_OK;
}

static rk_status change_rows(const merge_job *j, const rk_param *p, float *w, rk_error *err)
{
    const int64_t n = parts_for(j, p);
    return j->how->take_out ? take_out(j, p, w, err) : put_in(j, p, n, w, err);
}

static void transpose(int64_t rows, int64_t cols, const float *x, float *out)
{
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < cols; c++)
            out[c * rows + r] = x[r * cols + c];
}

/* x has the parameter's shape, which is (in, out) in low-rank pairs. */
static rk_status change(void *user, const rk_param *p, float *x, rk_error *err)
{
    const merge_job *j = user;
    const int64_t rows = p->tensor.dims[0], cols = p->tensor.dims[1];
    if (rk_param_inputs(p) == 1)
        return change_rows(j, p, x, err);
    float *w = malloc((size_t)(rows * cols) * sizeof *w);
    if (!w)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory to merge %s", p->name);
    transpose(rows, cols, x, w);
    const rk_status st = change_rows(j, p, w, err);
    transpose(cols, rows, w, x);
    free(w);
    return st;
}

/* ---- types, whole parameters ---- */

/* As in rk_save_options; a parameter of a set has the type of the one that it replaces, but where a wider pair's
 * rows are no whole blocks of it. */
static rk_dtype type_of(void *user, const rk_param *p, rk_dtype own)
{
    const merge_job *j = user;
    const rk_file_tensor *t = j->m->file ? rk_file_find(j->m->file, p->name) : NULL;
    if (j->how->keep_types && t && p->role == RK_ROLE_FACTOR &&
        rk_tensor_cols(&p->tensor) % rk_dtype_block(t->dtype) != 0)
        return RK_F16;
    if (j->how->keep_types)
        return t ? t->dtype : own;
    return rk_tensor_rows(&p->tensor) == 1 ? RK_F32 : j->how->dtype;
}

static rk_status replace(rk_model *m, const rk_adapter_whole *w, rk_error *err)
{
    for (int64_t i = 0; i < m->n_params; i++) {
        rk_param *p = &m->params[i];
        if (!p->used || strcmp(p->name, w->name) != 0)
            continue;
        p->tensor = rk_tensor_over(RK_F32, p->tensor.n_dims, p->tensor.dims, w->data);
        p->trained = true;
        return RK_OK;
    }
    return rk_fail(err, RK_ERR_ARG, "%s: the model was opened without it", w->name);
}

static rk_status replace_all(rk_model *m, const rk_merge *how, rk_error *err)
{
    rk_status st = RK_OK;
    for (int64_t i = 0; i < how->n_uses; i++) {
        const rk_adapter_set *s = how->uses[i].set;
        if (s->n_whole > 0 && how->take_out)
            return rk_fail(err, RK_ERR_UNSUPPORTED,
                           "%s took the place of the model's own, which is in no file here: the "
                           "adapter cannot be taken out",
                           s->whole[0].name);
        for (int64_t k = 0; k < s->n_whole && st == RK_OK; k++)
            st = replace(m, &s->whole[k], err);
    }
    return st;
}

static rk_status check_quant(const rk_merge *how, rk_error *err)
{
    rk_dtype type;
    return how->quant ? rk_quant_find(how->quant, &type, err) : RK_OK;
}

static rk_status merge(rk_model *m, const char *path, const rk_merge *how, const rk_save_options *o,
                       rk_error *err)
{
    merge_job j = {.m = m,
                   .how = how,
                   .pool = o->pool,
                   .uses = calloc((size_t)how->n_uses + 1, sizeof *j.uses)};
    const rk_save_plan plan = {.type = type_of, .changes = changes, .change = change, .user = &j};
    rk_save_options with = *o;
    with.plan = &plan;
    rk_status st = j.uses ? check_quant(how, err) : rk_fail(err, RK_ERR_NOMEM, "out of memory");
    if (st == RK_OK)
        st = replace_all(m, how, err);
    if (st == RK_OK)
        st = rk_model_save(m, path, &with, err);
    free(j.uses);
    return st;
}

rk_status rk_model_merge(rk_model *m, const char *path, const rk_merge *how,
                         const rk_save_options *o, rk_error *err)
{
    rk_model *wider = NULL;
    rk_status st = rk_merge_pairs(&wider, m, how, err);
    if (st == RK_OK)
        st = merge(wider ? wider : m, path, how, o, err);
    rk_remade_close(wider);
    return st;
}
