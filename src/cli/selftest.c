/* selftest.c: `rwkv selftest`: asks selftest/ and prints the answers. */
#include "selftest/selftest.h"

#include "base/clock.h"
#include "base/num.h"
#include "cli/command.h"
#include "cli/interrupt.h"
#include "infer/engine.h"

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

/* What is said of the checks, and how many there were. */
typedef struct tally {
    bool quiet; /* print failures only */
    int n_checks, n_failed;
} tally;

static void report(void *user, const char *what, const char *detail, double worst, double tolerance)
{
    tally *t = user;
    const bool ok = worst <= tolerance;
    t->n_checks++;
    t->n_failed += !ok;
    if (!ok || !t->quiet)
        printf("%-4s  %-26s %-30s %.1e, at most %.0e\n", ok ? "ok" : "FAIL", what, detail, worst,
               tolerance);
}

static rk_status check_all(const rk_selftest *t, rk_error *err)
{
    rk_status st = rk_selftest_loops(t, err);
    if (st == RK_OK)
        st = rk_selftest_ops(t, err);
    if (st == RK_OK)
        st = rk_selftest_models(t, err);
    return st;
}

static rk_status work(const selftest_options *o, rk_interrupt *interrupt, tally *t, rk_error *err)
{
    rk_engine *e = NULL;
    rk_pool *one = NULL;
    const double began = rk_now_s();
    rk_status st = rk_command_engine(&e, &o->common, rk_interrupt_came, interrupt, err);
    if (st == RK_OK)
        st = rk_pool_new(&one, 1, NULL, NULL, NULL, err);
    if (st == RK_OK) {
        const rk_selftest checks = {.kernels = rk_engine_kernels(e),
                                    .pool = rk_engine_pool(e),
                                    .one = one,
                                    .abort = rk_engine_abort_flag(e),
                                    .report = report,
                                    .user = t};
        t->quiet = o->common.quiet;
        if (!t->quiet)
            printf("rwkv %s, path %s, %d threads\n", rk_version(), rk_engine_path(e),
                   rk_engine_n_threads(e));
        st = check_all(&checks, err);
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
    tally t = {0};
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
