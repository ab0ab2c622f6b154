/* adapter_in.c: words of --adapter. */
#include "cli/adapter_in.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* "A:0.5": a colon and a number behind it, unless a file bears the whole name. */
static rk_status take_word(const char *word, char *path, size_t size, double *scale, rk_error *err)
{
    const char *colon = strrchr(word, ':');
    char *end = NULL;
    size_t n = strlen(word);
    *scale = 1.0;
    if (colon && colon > word && !strchr(colon, '/') && access(word, F_OK) != 0) {
        *scale = strtod(colon + 1, &end);
        n = (size_t)(colon - word);
        if (end == colon + 1 || *end || !isfinite(*scale))
            return rk_fail(err, RK_ERR_ARG, "--adapter: '%.80s' ends with no factor, as FILE:0.5",
                           word);
    }
    if (n >= size)
        return rk_fail(err, RK_ERR_ARG, "--adapter: names of more than %d bytes",
                       RK_ADAPTER_TEXT_MAX);
    snprintf(path, size, "%.*s", (int)n, word);
    return RK_OK;
}

rk_status rk_adapter_in_sources(const rk_adapter_in *o, rk_adapter_source *sources, char *text,
                                rk_error *err)
{
    size_t used = 0;
    rk_status st = RK_OK;
    for (int i = 0; i < o->files.n && st == RK_OK; i++) {
        sources[i] = (rk_adapter_source){.path = text + used, .alpha = o->alpha};
        st = take_word(o->files.at[i], text + used, RK_ADAPTER_TEXT_MAX - used, &sources[i].scale,
                       err);
        used += st == RK_OK ? strlen(text + used) + 1 : 0;
    }
    return st;
}

rk_status rk_adapter_in_use(rk_adapters **out, const rk_adapter_in *o, const rk_model *m,
                            rk_session *s, bool force, rk_error *err)
{
    rk_adapter_source sources[RK_OPT_LIST_MAX];
    char text[RK_ADAPTER_TEXT_MAX];
    *out = NULL;
    if (o->files.n == 0)
        return RK_OK;
    rk_status st = rk_adapter_in_sources(o, sources, text, err);
    if (st == RK_OK)
        st = rk_adapters_open(out, m, sources, o->files.n, force, err);
    return st == RK_OK ? rk_session_adapt(s, *out, err) : st;
}
