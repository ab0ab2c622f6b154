/* adaptable.c: matrices and pairs under one set of names. */
#include "model/adaptable.h"

#include <stdio.h>
#include <string.h>

#include "model/pair.h"

static void of_matrix(const rk_model *m, const rk_param *p, rk_adaptable *out)
{
    const int inputs = rk_param_inputs(p);
    *out = (rk_adaptable){.spec = p->spec,
                          .layer = p->layer,
                          .in = p->tensor.dims[inputs],
                          .out = p->tensor.dims[1 - inputs],
                          .weight = rk_param_weight(m, p)};
    snprintf(out->name, sizeof out->name, "%s", p->name);
}

/* The weight lies where the matrix's would. */
static void of_pair(const rk_model *m, const rk_param *p, int kind, rk_adaptable *out)
{
    const rk_param matrix = {.spec = rk_pair_matrix(m->arch, kind), .layer = p->layer};
    const rk_weight *w = rk_param_weight(m, &matrix);
    *out = (rk_adaptable){.spec = matrix.spec,
                          .layer = p->layer,
                          .in = w->low_rank->down->dims[1],
                          .out = w->low_rank->up->dims[0],
                          .weight = w,
                          .pair = true};
    rk_param_name(matrix.spec, p->layer, out->name);
}

bool rk_adaptable_at(const rk_model *m, int64_t i, rk_adaptable *out)
{
    const rk_param *p = &m->params[i];
    int kind;
    if (!p->used)
        return false;
    if (rk_roles[p->spec->role].weight) {
        of_matrix(m, p, out);
        return true;
    }
    if (!rk_pair_is_part(p->spec, &kind) || p->spec != rk_pair_spec(kind, RK_PAIR_DOWN))
        return false;
    of_pair(m, p, kind, out);
    return true;
}

bool rk_adaptable_named(const rk_model *m, const char *name, rk_adaptable *out)
{
    for (int64_t i = 0; i < m->n_params; i++)
        if (rk_adaptable_at(m, i, out) && !strcmp(out->name, name))
            return true;
    return false;
}
