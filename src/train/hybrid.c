/* hybrid.c: layers are lists of numbers and ranges; or chosen where alignment has come least far. Layers
 * give outputs of very different lengths, so a distance is compared with the length of what the teacher's
 * layer gives, as models of this kind weight their layers in alignment (OpenMOSE/RWKVInside, hxa079). */
#include "train/hybrid.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "train/task_distill.h"

static rk_status refuse(const char *layers, rk_error *err)
{
    return rk_fail(err, RK_ERR_ARG,
                   "--layers is '%.40s', expected all, a list of layers that are converted such as "
                   "0-3,5, or auto:N",
                   layers);
}

/* A number of at most four digits; *at moves behind it. -1: there is none. */
static int64_t take_number(const char **at)
{
    const size_t n = strspn(*at, "0123456789");
    const int64_t x = n > 0 && n < 5 ? strtoll(*at, NULL, 10) : -1;
    *at += n;
    return x;
}

/* Add the layers of a list. */
static rk_status parse_list(const char *layers, int64_t n_layer, rk_layer_set *set, rk_error *err)
{
    for (const char *at = layers;; at++) {
        const int64_t first = take_number(&at);
        int64_t last = first;
        if (*at == '-') {
            at++;
            last = take_number(&at);
        }
        if (first < 0 || last < first || (*at && *at != ','))
            return refuse(layers, err);
        if (last >= n_layer)
            return rk_fail(err, RK_ERR_ARG,
                           "--layers names layer %" PRId64 " of %" PRId64
                           ", which are counted from 0",
                           last, n_layer);
        for (int64_t l = first; l <= last; l++)
            rk_layer_add(set, l);
        if (!*at)
            return RK_OK;
    }
}

rk_status rk_hybrid_parse(const char *layers, int64_t n_layer, rk_layer_set *kept, int64_t *n_auto,
                          rk_error *err)
{
    static const char automatic[] = "auto:";
    const size_t n = sizeof automatic - 1;
    rk_layer_set converted = {0};
    *kept = (rk_layer_set){0};
    *n_auto = 0;
    if (!strcmp(layers, "all"))
        return RK_OK;
    if (!strncmp(layers, automatic, n)) {
        const char *at = layers + n;
        *n_auto = take_number(&at);
        if (*n_auto < 1 || *at)
            return refuse(layers, err);
        if (*n_auto >= n_layer)
            return rk_fail(err, RK_ERR_ARG,
                           "--layers auto:%" PRId64 " leaves no layer of %" PRId64 " to convert",
                           *n_auto, n_layer);
        return RK_OK;
    }
    const rk_status st = parse_list(layers, n_layer, &converted, err);
    for (int64_t l = 0; l < n_layer && st == RK_OK; l++)
        if (!rk_layer_in(&converted, l))
            rk_layer_add(kept, l);
    return st;
}

/* The worst layer of those that are not kept; -1: there is none. */
static int64_t worst_layer(const rk_alignment *a, int64_t n_layer, const rk_layer_set *kept)
{
    int64_t worst = -1;
    for (int64_t l = 0; l < n_layer; l++)
        if (!rk_layer_in(kept, l) && (worst < 0 || a[l].distance > a[worst].distance))
            worst = l;
    return worst;
}

static rk_status pick(const rk_alignment *a, int64_t n_layer, int64_t n, FILE *out,
                      rk_layer_set *kept, rk_error *err)
{
    for (int64_t i = 0; i < n; i++) {
        const int64_t l = worst_layer(a, n_layer, kept);
        if (l < 0)
            return rk_fail(err, RK_ERR_ARG, "the student has no %" PRId64 " layers to choose from",
                           n);
        rk_layer_add(kept, l);
        if (out)
            fprintf(out, "layer %" PRId64 " keeps attention: its mixer's distance is %.3f\n", l,
                    a[l].distance);
    }
    return RK_OK;
}

rk_status rk_hybrid_choose(const rk_run_params *p, const rk_run_env *env, const rk_model *student,
                           int64_t n, rk_layer_set *kept, rk_error *err)
{
    rk_run_params q = *p;
    rk_task *task = NULL;
    q.task = "align";
    rk_alignment *a = calloc((size_t)student->hp.n_layer, sizeof *a);
    rk_status st = a ? rk_distill_open(&task, &q, student, err)
                     : rk_fail(err, RK_ERR_NOMEM, "out of memory for the layers' alignment");
    if (st == RK_OK)
        st = rk_distill_alignment(task, student, env->engine, a, err);
    *kept = student->hp.kept;
    if (st == RK_OK)
        st = pick(a, student->hp.n_layer, n, env->out, kept, err);
    rk_task_close(task);
    free(a);
    return st;
}
