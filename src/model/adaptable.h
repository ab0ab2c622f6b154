/* adaptable.h: what adapters stand beside: a matrix that a model holds as a weight, or a low-rank pair in the
 * place of one, which goes by that matrix's name. */
#ifndef RK_MODEL_ADAPTABLE_H
#define RK_MODEL_ADAPTABLE_H

#include "model/model.h"

typedef struct rk_adaptable {
    char name[RK_PARAM_NAME_MAX]; /* of the matrix: "blocks.0.att.key.weight" */
    const rk_param_spec *spec;    /* its row */
    int64_t layer, in, out;
    const rk_weight *weight;
    bool pair; /* there is no matrix: what asks for one cannot stand here */
} rk_adaptable;

/* That of parameter i, which is the matrix or the first of a pair. False: there is none. */
bool rk_adaptable_at(const rk_model *m, int64_t i, rk_adaptable *out);
/* That of this name. False: there is none. */
bool rk_adaptable_named(const rk_model *m, const char *name, rk_adaptable *out);

#endif
