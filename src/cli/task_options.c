/* task_options.c: options from the tables of generators. */
#include "cli/task_options.h"

#include <assert.h>
#include <string.h>

#include "train/task.h"

static bool has(const rk_option_room *room, const char *name)
{
    for (size_t i = 0; i < room->n; i++)
        if (room->rows[i].name && !strcmp(room->rows[i].name, name))
            return true;
    return false;
}

static rk_option row_of(const rk_syn_param *p, size_t offset)
{
    const rk_opt_type type = p->choices ? RK_OPT_NAMED_CHOICE
                             : p->real  ? RK_OPT_NAMED
                                        : RK_OPT_NAMED_INT;
    const char *arg = p->choices ? p->choices : p->real ? "X" : "N";
    return (rk_option){p->name, 0, type, arg, offset, 0, 0, NULL, p->help};
}

void rk_task_rows(rk_option_room *room, size_t offset)
{
    for (int k = 0; k < rk_n_task_kinds; k++) {
        const rk_generator *gen = rk_task_kinds[k].generator;
        for (int i = 0; gen && i < gen->n_params; i++)
            if (!has(room, gen->params[i].name)) {
                assert(room->n < RK_OPTIONS_MAX);
                room->rows[room->n++] = row_of(&gen->params[i], offset);
            }
    }
}

rk_status rk_task_params(const rk_opt_named *given, rk_size *params, int64_t *n, rk_error *err)
{
    if (given->n > RK_SYN_PARAMS_MAX)
        return rk_fail(err, RK_ERR_ARG, "%d parameters of tasks, but no task has more than %d",
                       given->n, RK_SYN_PARAMS_MAX);
    *n = given->n;
    for (int i = 0; i < given->n; i++)
        params[i] = (rk_size){given->at[i].name, given->at[i].value};
    return RK_OK;
}

rk_status rk_task_generator(rk_synthetic *out, const char *name, const rk_opt_named *given,
                            rk_error *err)
{
    const rk_task_kind *kind = NULL;
    rk_size params[RK_SYN_PARAMS_MAX];
    int64_t n = 0;
    rk_status st = rk_task_choose(&kind, name, err);
    if (st == RK_OK && !kind->generator)
        st = rk_fail(err, RK_ERR_ARG,
                     "the task %s has no samples of its own: it learns from --data", name);
    if (st == RK_OK)
        st = rk_task_params(given, params, &n, err);
    return st == RK_OK ? rk_synthetic_init(out, kind->name, kind->generator, params, n, err) : st;
}
