/* state.c: tuned states as files. */
#include "tune/state.h"

#include <stdlib.h>
#include <string.h>

#include "io/pth.h"

rk_state_tuning rk_state_tuning_defaults(void)
{
    return (rk_state_tuning){
        .features = 2.0, .basis_rate = 1e-2, .basis_kappa = 0.5, .keep_meaning = true};
}

static rk_file_tensor tensor_of(const rk_param *p)
{
    rk_file_tensor t = {.name = p->name,
                        .dtype = p->tensor.dtype,
                        .n_dims = p->tensor.n_dims,
                        .data = p->tensor.data,
                        .bytes = rk_tensor_bytes(&p->tensor)};
    memcpy(t.dims, p->tensor.dims, sizeof p->tensor.dims);
    return t;
}

rk_status rk_state_save_tuned(const rk_model *m, const char *path, rk_error *err)
{
    rk_file_tensor *tensors = calloc((size_t)m->n_params, sizeof *tensors);
    rk_file_contents c = {.tensors = tensors};
    if (!tensors)
        return rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", path);
    for (int64_t i = 0; i < m->n_params; i++)
        if (rk_roles[m->params[i].role].beside)
            tensors[c.n_tensors++] = tensor_of(&m->params[i]);
    const rk_status st =
        c.n_tensors > 0
            ? rk_pth_write(path, &c, true, err)
            : rk_fail(err, RK_ERR_ARG, "%s: the model has no initial states to write", path);
    free(tensors);
    return st;
}
