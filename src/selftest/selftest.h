/* selftest.h: does this machine compute what it should? Asked by `rwkv selftest`, which prints the
 * answers. Seconds, no files. */
#ifndef RK_SELFTEST_H
#define RK_SELFTEST_H

#include "tensor/ctx.h"

/* One check: passed when worst is not above tolerance; NaN fails. */
typedef void rk_selftest_report_fn(void *user, const char *what, const char *detail, double worst,
                                   double tolerance);

typedef struct rk_selftest {
    const rk_kernels *kernels; /* of the path under test */
    rk_pool *pool, *one;       /* the machine's threads, and a single one */
    const atomic_int *abort;   /* may be NULL */
    rk_selftest_report_fn *report;
    void *user;
} rk_selftest;

/* A context that runs over a growing arena. */
rk_status rk_selftest_ctx(const rk_selftest *t, bool one_thread, rk_ctx *ctx, rk_error *err);

/* Optimisers and conversions, which no op reaches. */
rk_status rk_selftest_loops(const rk_selftest *t, rk_error *err);
/* Every op: path against reference, backward against differences, threads against one. */
rk_status rk_selftest_ops(const rk_selftest *t, rk_error *err);
/* The golden models: results that are known, and their gradients against differences. */
rk_status rk_selftest_models(const rk_selftest *t, rk_error *err);

#endif
