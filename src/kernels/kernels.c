/* kernels.c: which paths this build has, which of them this CPU runs, and which is the best.
 *
 * Rows are in order of preference, the last one that runs is the best. The flags of the CPU decide;
 * a CPU that announces an instruction set and is slow in it (by clock or microcode) would get a row
 * of its own here, by model, so that the choice never depends on a measurement. */
#include "kernels/kernels.h"

#include <stdio.h>
#include <string.h>

#include "base/num.h"

extern const rk_kernels rk_kernels_avx2, rk_kernels_avx512, rk_kernels_avx512bf16, rk_kernels_neon;

typedef struct path {
    const char *name;
    const rk_kernels *kern; /* NULL: not in this build */
    bool (*runs)(void);
    bool (*preferred)(void); /* NULL: wherever it runs */
} path;

static bool runs_always(void)
{
    return true;
}

#if defined(__x86_64__)
/* The compiler's test includes whether the system saves the wide registers. */
static bool runs_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
static bool runs_avx512(void)
{
#ifdef RK_EMULATE_AVX512 /* a test build that emulates these instructions by functions */
    return true;
#else
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#endif
}

/* CPUs that multiply bf16 pairs at twice the rate of floats: those of AMD that have the
 * instruction, Zen 4 and Zen 5. On Intel's (Cooper Lake to Granite Rapids) the instruction has half
 * the rate of the plain one, so they keep the path above unless told otherwise; new CPUs join when
 * they have been measured. */
static bool prefers_avx512bf16(void)
{
    return __builtin_cpu_is("amd");
}
/* Its products of bytes take VNNI, which every CPU with the instruction has. */
static bool runs_avx512bf16(void)
{
    return runs_avx512() && __builtin_cpu_supports("avx512bf16") &&
           __builtin_cpu_supports("avx512vnni");
}
#endif

static const path paths[] = {
    {"ref", &rk_kernels_ref_f32, runs_always, NULL},
#if defined(__aarch64__)
    {"neon", &rk_kernels_neon, runs_always, NULL}, /* a part of the architecture */
#else
    {"neon", NULL, NULL, NULL},
#endif
#if defined(__x86_64__)
    {"avx2", &rk_kernels_avx2, runs_avx2, NULL},
    {"avx512", &rk_kernels_avx512, runs_avx512, NULL},
    {"avx512bf16", &rk_kernels_avx512bf16, runs_avx512bf16, prefers_avx512bf16},
#else
    {"avx2", NULL, NULL, NULL},
    {"avx512", NULL, NULL, NULL},
    {"avx512bf16", NULL, NULL, NULL},
#endif
};

const rk_kernels *rk_kernels_at(int i)
{
    for (size_t p = 0; p < RK_COUNT(paths); p++)
        if (paths[p].kern && paths[p].runs() && i-- == 0)
            return paths[p].kern;
    return NULL;
}

static rk_status fail_unknown(const char *name, rk_error *err)
{
    char list[80] = "";
    size_t used = 0;
    for (size_t p = 0; p < RK_COUNT(paths); p++) {
        const int n =
            snprintf(list + used, sizeof list - used, "%s%s", p ? ", " : "", paths[p].name);
        used += (size_t)n;
    }
    return rk_fail(err, RK_ERR_ARG, "no instruction-set path '%s'; there are %s", name, list);
}

static const rk_kernels *best(void)
{
    const rk_kernels *kern = NULL;
    for (size_t p = 0; p < RK_COUNT(paths); p++)
        if (paths[p].kern && paths[p].runs() && (!paths[p].preferred || paths[p].preferred()))
            kern = paths[p].kern;
    return kern;
}

rk_status rk_kernels_find(const rk_kernels **out, const char *name, rk_error *err)
{
    if (!name) {
        *out = best();
        return RK_OK;
    }
    for (size_t p = 0; p < RK_COUNT(paths); p++) {
        if (strcmp(paths[p].name, name) != 0)
            continue;
        if (!paths[p].kern)
            return rk_fail(err, RK_ERR_UNSUPPORTED, "path '%s' is not in this build", name);
        if (!paths[p].runs())
            return rk_fail(err, RK_ERR_UNSUPPORTED, "this CPU does not run the path '%s'", name);
        *out = paths[p].kern;
        return RK_OK;
    }
    return fail_unknown(name, err);
}
