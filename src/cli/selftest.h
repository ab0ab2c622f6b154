/* selftest.h: what the checks of `rwkv selftest` share. */
#ifndef RK_CLI_SELFTEST_H
#define RK_CLI_SELFTEST_H

#include "tensor/ctx.h"

typedef struct rk_selftest {
    const rk_kernels *kernels; /* of the path under test */
    rk_pool *pool, *one;       /* the machine's threads, and a single one */
    const atomic_int *abort;
    bool quiet; /* print failures only */
    int n_checks, n_failed;
} rk_selftest;

/* Print a line and count: fails when worst is above tolerance or NaN. */
void rk_selftest_check(rk_selftest *t, const char *what, const char *detail, double worst,
                       double tolerance);
/* A context that runs over a growing arena. */
rk_status rk_selftest_ctx(const rk_selftest *t, bool one_thread, rk_ctx *ctx, rk_error *err);

/* Every op: path against reference, backward against differences, threads against one. */
rk_status rk_selftest_ops(rk_selftest *t, rk_error *err);
/* Optimisers and conversions, which no op reaches. */
rk_status rk_selftest_loops(rk_selftest *t, rk_error *err);

#endif
