/* mem_max.c: a size in words, and a plan in one line. */
#include "cli/mem_max.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/num.h"
#include "infer/memory_plan.h"

/* Powers of ten, as files are told in, and of two. */
static const struct {
    const char *name;
    double factor;
} units[] = {{"", 1},     {"B", 1},         {"K", 1e3}, {"KB", 1e3}, {"KiB", 1024},      {"M", 1e6},
             {"MB", 1e6}, {"MiB", 1048576}, {"G", 1e9}, {"GB", 1e9}, {"GiB", 1073741824}};

rk_status rk_mem_max(const rk_common_options *o, size_t *bytes, rk_error *err)
{
    const char *text = o->mem_max;
    *bytes = 0;
    if (!text)
        return RK_OK;
    char *unit = NULL;
    const double x = strtod(text, &unit);
    if (unit !=
        text + strspn(text, "0123456789.")) /* strtod takes more than that: 1e3, 0x10, nan */
        unit = NULL;
    for (size_t i = 0; unit && i < RK_COUNT(units); i++)
        if (!strcasecmp(unit, units[i].name) && x * units[i].factor >= 1 &&
            x * units[i].factor < 0x1p62)
            *bytes = (size_t)(x * units[i].factor);
    return *bytes > 0 ? RK_OK
                      : rk_fail(err, RK_ERR_ARG,
                                "--mem-max: '%s' is no size such as 80M, 1.5G or 64MiB", text);
}

rk_status rk_mem_max_apply(const rk_common_options *o, rk_model *m, rk_engine *e,
                           const rk_mem_use *use, rk_error *err)
{
    rk_memory_limit limit = {.n_streams = use->n_streams, .n_states = use->n_states};
    rk_memory_plan plan;
    char text[RK_MEMORY_TEXT_MAX];
    rk_status st = rk_mem_max(o, &limit.bytes, err);
    if (st != RK_OK || limit.bytes == 0)
        return st;
    limit.more = use->more + (size_t)(use->n_rows * m->hp.n_vocab) * sizeof(float);
    st = rk_model_limit(m, e, &limit, &plan, err);
    if (st != RK_OK)
        return st;
    rk_memory_describe(m, &plan, text);
    if (!o->quiet)
        fprintf(stderr, "rwkv: memory: %.1f of %.1f MB planned: %s\n", (double)plan.total / 1e6,
                (double)limit.bytes / 1e6, text);
    if (o->verbose)
        fprintf(stderr,
                "rwkv: memory: weights %.1f MB, states %.1f, scratch %.1f, other %.1f, there "
                "already %.1f\n",
                (double)plan.weights / 1e6, (double)plan.states / 1e6, (double)plan.scratch / 1e6,
                (double)plan.more / 1e6, (double)plan.base / 1e6);
    return RK_OK;
}

rk_status rk_mem_max_alone(const rk_common_options *o, bool with, const char *option, rk_error *err)
{
    return o->mem_max && with ? rk_fail(err, RK_ERR_ARG,
                                        "--mem-max does not go with %s: what that takes in memory "
                                        "is not planned",
                                        option)
                              : RK_OK;
}
