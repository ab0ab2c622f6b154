/* remade.c: a model that shares a host's file and holds new tensors of its own. */
#include "compress/remade.h"

#include <stdlib.h>

#include "format/scheme.h"
#include "model/pair.h"
#include "model/records.h"

/* Does the host's file hold this tensor of m? It may hold a pair of another rank. */
static bool is_hosts(const rk_model *host, const rk_param *p)
{
    const rk_file_tensor *t = rk_file_find(host->file, p->name);
    int kind;
    return t && (!rk_pair_is_part(p->spec, &kind) ||
                 rk_file_tensor_count(t) == rk_tensor_count(&p->tensor));
}

/* Is it made anew? What nobody uses, as RWKV-7's value residual of the first layer, is not made where it is not there. */
static bool is_own(const rk_model *host, const rk_param *p)
{
    return p->used && !is_hosts(host, p);
}

/* Memory for the tensors of m that are its own. */
static rk_status take_memory(rk_model *m, const rk_model *host, rk_error *err)
{
    size_t n = 0;
    for (int64_t i = 0; i < m->n_params; i++)
        n += is_own(host, &m->params[i]) ? (size_t)rk_tensor_count(&m->params[i].tensor) : 0;
    float *at = m->owned = malloc(n * sizeof *at + 1);
    if (!at)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for %zu numbers of a model", n);
    for (int64_t i = 0; i < m->n_params; i++) {
        rk_param *p = &m->params[i];
        if (!is_own(host, p))
            continue;
        p->tensor.data = at;
        p->trained = true; /* its values are these */
        at += rk_tensor_count(&p->tensor);
    }
    return RK_OK;
}

rk_status rk_remade_new(rk_model **out, const rk_model *host, const rk_hparams *hp, rk_error *err)
{
    rk_hparams settled = *hp;
    rk_status st = rk_pair_settle(host->arch, &settled, NULL, err);
    if (st == RK_OK)
        st = rk_records_settle(host->arch, &settled, NULL, err);
    if (st == RK_OK)
        st = rk_model_new(out, host->arch, &settled, err);
    if (st != RK_OK)
        return st;
    (*out)->ctx_len = host->ctx_len;
    (*out)->file = host->file;
    st = take_memory(*out, host, err);
    if (st != RK_OK) {
        rk_remade_close(*out);
        *out = NULL;
    }
    return st;
}

void rk_remade_close(rk_model *m)
{
    if (m)
        m->file = NULL; /* the host's */
    rk_model_close(m);
}

/* What a new tensor was made of: that of a pair, of a matrix, of records, in the same layer; of a head. */
static bool is_made_of(const rk_param *p, const rk_param *from)
{
    int kind = rk_pair_kind(p->spec), from_kind = rk_pair_kind(from->spec);
    rk_pair_is_part(p->spec, &kind);
    rk_pair_is_part(from->spec, &from_kind);
    const bool of_pair = kind >= 0 && kind == from_kind;
    const bool of_head = rk_roles[p->role].head && rk_roles[from->role].head;
    const bool of_mix = (rk_records_is_part(p->spec) || rk_records_place_of(p->spec)) &&
                        (from->role == RK_ROLE_RECORDS || rk_records_place_of(from->spec));
    return p->layer == from->layer && (of_pair || of_mix || of_head);
}

rk_dtype rk_remade_type(const rk_model *host, const rk_param *p, rk_dtype own)
{
    const rk_file_tensor *t = rk_file_find(host->file, p->name);
    if (t && t->dtype == RK_U8 && own != RK_U8) /* bytes with ranges that became numbers again */
        return RK_F16;
    if (t)
        return t->dtype;
    if (rk_tensor_rows(&p->tensor) == 1 || !rk_roles[p->role].any_type)
        return own;
    for (int64_t i = 0; i < host->n_params; i++) {
        const rk_param *from = &host->params[i];
        if (!from->tensor.data || !is_made_of(p, from))
            continue;
        const rk_dtype dtype = from->tensor.dtype;
        return rk_dtype_is_quantised(dtype) ? RK_F16 : dtype == RK_F64 ? RK_F32 : dtype;
    }
    return own;
}
