/* base.c: opening the model that training begins with, and knowing it again. */
#include "train/base.h"

#include <string.h>

#include "base/num.h"
#include "format/format.h"
#include "io/checksum.h"
#include "train/trained.h"

/* Refuse another size than the file's. */
static rk_status check_size(const rk_model *m, const char *path, const rk_size *given,
                            rk_error *err)
{
    const rk_size_spec *s = rk_size_find(m->arch, given->name);
    const double own = s ? rk_size_value(s, &m->hp) : 0;
    if (!s)
        return rk_fail(err, RK_ERR_ARG, "%s, an %s model, has no size '%.32s'", path, m->arch->name,
                       given->name);
    if (given->value != own)
        return rk_fail(err, RK_ERR_ARG, "%s is %.10g, but that of %s is %.10g", given->name,
                       given->value, path, own);
    return RK_OK;
}

static rk_status check_sizes(const rk_model *m, rk_train_params *p, rk_error *err)
{
    rk_status st = RK_OK;
    for (int64_t i = 0; i < p->n_sizes && st == RK_OK; i++)
        st = check_size(m, p->init_from, &p->sizes[i], err);
    if (st == RK_OK && p->arch && strcmp(p->arch, m->arch->name) != 0)
        st = rk_fail(err, RK_ERR_ARG, "arch is %s, but that of %s is %s", p->arch, p->init_from,
                     m->arch->name);
    p->arch = m->arch->name;
    return st;
}

rk_status rk_base_check_head(const rk_model *m, rk_error *err)
{
    return m->hp.n_clusters == 0
               ? RK_OK
               : rk_fail(
                     err, RK_ERR_UNSUPPORTED,
                     "%s: its head is in clusters, which losses are not computed with; expected a "
                     "whole one, which `rwkv compress dense` makes of it",
                     rk_file_name(m->file));
}

rk_status rk_base_open(rk_model **out, rk_train_params *p, rk_error *err)
{
    const rk_open_options add = {.tuned_state = rk_trained_names(p->train_only, "state") ||
                                                rk_trained_names(p->train_only, "state-pair"),
                                 .beside = p->init_state,
                                 .tuned_shift = rk_trained_names(p->train_only, "state-shift"),
                                 .tuned_basis = rk_trained_names(p->train_only, "state-basis"),
                                 .as = p->arch ? rk_arch_find(p->arch) : NULL,
                                 .sizes = p->sizes,
                                 .n_sizes = p->n_sizes};
    rk_model *m = NULL;
    rk_status st = rk_model_open_with(&m, p->init_from, &add, err);
    if (st == RK_OK)
        st = check_sizes(m, p, err);
    if (st == RK_OK && m->hp.ffn_records)
        st = rk_fail(err, RK_ERR_UNSUPPORTED,
                     "%s: its channel mix is in records, which have no gradient; expected whole "
                     "matrices, which `rwkv compress dense` makes of it",
                     p->init_from);
    if (st == RK_OK)
        st = rk_base_check_head(m, err);
    if (st == RK_OK)
        *out = m;
    else
        rk_model_close(m);
    return st;
}

rk_status rk_base_checksum(const rk_model *m, uint64_t *checksum, rk_error *err)
{
    rk_checksum *c = rk_checksum_new();
    if (!c)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for a checksum");
    for (int64_t i = 0; i < m->n_params; i++) {
        const rk_file_tensor *t = rk_file_find(m->file, m->params[i].name);
        if (!t)
            continue;
        rk_checksum_add(c, t->name, strlen(t->name));
        rk_checksum_add(c, rk_dtype_name(t->dtype), strlen(rk_dtype_name(t->dtype)));
        rk_checksum_add(c, t->dims, (size_t)t->n_dims * sizeof *t->dims);
        rk_checksum_add(c, t->data, t->bytes);
        rk_file_drop(m->file, t->data, t->bytes); /* what training reads of it will come again */
    }
    *checksum = rk_checksum_value(c);
    rk_checksum_free(c);
    return rk_file_check(m->file, err);
}

rk_status rk_base_mix(const rk_model *m, uint64_t *checksum, rk_error *err)
{
    uint64_t own = 0;
    const rk_status st = rk_base_checksum(m, &own, err);
    *checksum ^= own * 0x9e3779b97f4a7c15u;
    return st;
}
