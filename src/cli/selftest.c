/* selftest.c: `rwkv selftest`: does this machine compute what it should? Seconds, no files. */
#include "cli/selftest.h"

#include <math.h>

#include "base/clock.h"
#include "base/num.h"
#include "base/random.h"
#include "cli/command.h"
#include "cli/interrupt.h"
#include "infer/engine.h"
#include "model/golden.h"

typedef struct selftest_options {
    rk_common_options common;
} selftest_options;

static const rk_option rows[] = {
    RK_COMMON_ROWS(selftest_options, common),
};

static int selftest_main(int argc, char **argv);

const rk_command rk_cmd_selftest = {
    .name = "selftest",
    .summary = "prove that this machine computes what it should",
    .usage = "[--path NAME] [-t N]",
    .options = {rows, RK_COUNT(rows)},
    .examples = "  rwkv selftest\n"
                "  rwkv selftest --path ref -q",
    .main = selftest_main,
};

void rk_selftest_check(rk_selftest *t, const char *what, const char *detail, double worst,
                       double tolerance)
{
    const bool ok = worst <= tolerance;
    t->n_checks++;
    t->n_failed += !ok;
    if (!ok || !t->quiet)
        printf("%-4s  %-26s %-30s %.1e, at most %.0e\n", ok ? "ok" : "FAIL", what, detail, worst,
               tolerance);
}

rk_status rk_selftest_ctx(const rk_selftest *t, bool one_thread, rk_ctx *ctx, rk_error *err)
{
    const rk_ctx_params p = {.kernels = t->kernels,
                             .pool = one_thread ? t->one : t->pool,
                             .abort = t->abort,
                             .data_kind = RK_ARENA_GROWING};
    return rk_ctx_init(ctx, &p, err);
}

/* ---- the golden model ---- */

static rk_status check_golden(rk_selftest *t, const rk_golden *g, rk_ctx *ctx, rk_dtype real,
                              bool long_class, rk_error *err)
{
    const bool f64 = real == RK_F64;
    char what[48];
    snprintf(what, sizeof what, "golden %s, %s", rk_golden_name(g),
             f64          ? "f64"
             : long_class ? "long class"
                          : "short class");
    rk_golden_error e;
    rk_model *m = NULL;
    rk_status st = rk_golden_model(&m, g, real, err);
    rk_ctx_reset(ctx);
    ctx->long_class = long_class;
    if (st == RK_OK)
        st = rk_golden_compare(ctx, g, m, &e, err);
    rk_model_close(m);
    if (st != RK_OK)
        return st;
    rk_selftest_check(t, what, "weights", e.weights, f64 ? 1e-8 : 1e-4);
    rk_selftest_check(t, what, "logits", e.logits, f64 ? 1e-6 : 1e-5);
    rk_selftest_check(t, what, "loss", e.loss, f64 ? 1e-8 : 1e-5);
    rk_selftest_check(t, what, "state", e.state, f64 ? 1e-7 : 1e-5);
    rk_selftest_check(t, what, "gradients", e.grads, f64 ? 1e-8 : 1e-5);
    return RK_OK;
}

/* Direction of the differences, for element e of parameter i. */
static double direction_at(int64_t i, int64_t e)
{
    return 2.0 * rk_rng_f64(3, RK_RNG_TEST, (uint64_t)i, (uint64_t)e) - 1.0;
}

static double loss_at(rk_ctx *ctx, rk_model *m, double h)
{
    rk_tensor *logits, *state[RK_GOLDEN_STATE];
    for (int64_t i = 0; i < m->n_params; i++)
        for (int64_t e = 0; e < rk_tensor_count(&m->params[i].tensor); e++)
            ((double *)m->params[i].tensor.data)[e] += h * direction_at(i, e);
    ctx->recording = false;
    const rk_tensor *loss = rk_golden_loss(ctx, m, &logits, state);
    return loss ? *(const double *)loss->data : (double)NAN;
}

static double slope(rk_ctx *ctx, rk_model *m)
{
    double sum = 0.0;
    for (int64_t i = 0; i < m->n_params; i++) {
        rk_tensor *t = &m->params[i].tensor;
        const double *grad = rk_grad(ctx, t);
        for (int64_t e = 0; grad && e < rk_tensor_count(t); e++)
            sum += grad[e] * direction_at(i, e);
    }
    return sum;
}

/* All parameters at once, along a random direction. */
static rk_status check_gradient(rk_selftest *t, const rk_golden *g, rk_ctx *ctx, rk_error *err)
{
    const double h = 1e-5;
    rk_golden_error e;
    rk_model *m = NULL;
    rk_status st = rk_golden_model(&m, g, RK_F64, err);
    rk_ctx_reset(ctx);
    if (st == RK_OK)
        st = rk_golden_compare(ctx, g, m, &e, err); /* leaves the gradients */
    if (st == RK_OK) {
        const double want = slope(ctx, m), after = loss_at(ctx, m, h),
                     before = loss_at(ctx, m, -2 * h);
        const double found = (after - before) / (2.0 * h);
        rk_selftest_check(t, rk_golden_name(g), "gradient against differences",
                          fabs(found - want) / fmax(1.0, fabs(want)), 1e-6);
        st = rk_ctx_status(ctx, err);
    }
    rk_model_close(m);
    return st;
}

static rk_status check_model(rk_selftest *t, const rk_golden *g, rk_error *err)
{
    rk_ctx ctx;
    rk_status st = rk_selftest_ctx(t, false, &ctx, err);
    if (st != RK_OK)
        return st;
    st = check_golden(t, g, &ctx, RK_F64, true, err);
    if (st == RK_OK)
        st = check_golden(t, g, &ctx, RK_F32, true, err);
    if (st == RK_OK)
        st = check_golden(t, g, &ctx, RK_F32, false, err);
    if (st == RK_OK)
        st = check_gradient(t, g, &ctx, err);
    rk_ctx_deinit(&ctx);
    return st;
}

/* ---- the command ---- */

static rk_status check_all(rk_selftest *t, rk_error *err)
{
    rk_status st = rk_selftest_loops(t, err);
    if (st == RK_OK)
        st = rk_selftest_ops(t, err);
    for (int i = 0; rk_golden_at(i) && st == RK_OK; i++)
        st = check_model(t, rk_golden_at(i), err);
    return st;
}

static rk_status work(const selftest_options *o, rk_interrupt *interrupt, rk_selftest *t,
                      rk_error *err)
{
    rk_engine *e = NULL;
    rk_pool *one = NULL;
    const double began = rk_now_s();
    rk_status st = rk_command_engine(&e, &o->common, rk_interrupt_came, interrupt, err);
    if (st == RK_OK)
        st = rk_pool_new(&one, 1, NULL, NULL, NULL, err);
    if (st == RK_OK) {
        *t = (rk_selftest){rk_engine_kernels(e),
                           rk_engine_pool(e),
                           one,
                           rk_engine_abort_flag(e),
                           o->common.quiet,
                           0,
                           0};
        if (!t->quiet)
            printf("rwkv %s, path %s, %d threads\n", rk_version(), rk_engine_path(e),
                   rk_engine_n_threads(e));
        st = check_all(t, err);
    }
    if (st == RK_OK)
        printf("%d of %d checks passed in %.1f s\n", t->n_checks - t->n_failed, t->n_checks,
               rk_now_s() - began);
    rk_pool_free(one);
    rk_engine_free(e);
    return st;
}

static int selftest_main(int argc, char **argv)
{
    selftest_options o = {0};
    rk_selftest t = {0};
    rk_interrupt *interrupt = NULL;
    int status = 0;
    rk_error err = {0};
    if (!rk_command_options(&rk_cmd_selftest, argc, argv, &o, &status))
        return status;
    rk_status st = rk_interrupt_open(&interrupt, &err);
    if (st == RK_OK)
        st = work(&o, interrupt, &t, &err);
    const int signal = interrupt ? rk_interrupt_signal(interrupt) : 0;
    rk_interrupt_close(interrupt);
    if (st == RK_ERR_ABORTED && signal)
        return 128 + signal;
    if (st != RK_OK)
        return rk_command_fail(&err);
    return t.n_failed ? 1 : 0;
}
