/* models.c: the golden models (golden.h) on this machine: f64, f32 in both classes, gradients. */
#include <math.h>
#include <stdio.h>

#include "base/random.h"
#include "selftest/golden.h"
#include "selftest/selftest.h"

static rk_status check_golden(const rk_selftest *t, const rk_golden *g, rk_ctx *ctx, rk_dtype real,
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
    t->report(t->user, what, "weights", e.weights, f64 ? 1e-8 : 1e-4);
    t->report(t->user, what, "logits", e.logits, f64 ? 1e-6 : 1e-5);
    t->report(t->user, what, "loss", e.loss, f64 ? 1e-8 : 1e-5);
    t->report(t->user, what, "state", e.state, f64 ? 1e-7 : 1e-5);
    t->report(t->user, what, "gradients", e.grads, f64 ? 1e-8 : 1e-5);
    return RK_OK;
}

/* Direction of the differences for element e of parameter i. */
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
static rk_status check_gradient(const rk_selftest *t, const rk_golden *g, rk_ctx *ctx,
                                rk_error *err)
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
        t->report(t->user, rk_golden_name(g), "gradient against differences",
                  fabs(found - want) / fmax(1.0, fabs(want)), 1e-6);
        st = rk_ctx_status(ctx, err);
    }
    rk_model_close(m);
    return st;
}

static rk_status check_model(const rk_selftest *t, const rk_golden *g, rk_error *err)
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

rk_status rk_selftest_models(const rk_selftest *t, rk_error *err)
{
    rk_status st = RK_OK;
    for (int i = 0; rk_golden_at(i) && st == RK_OK; i++)
        st = check_model(t, rk_golden_at(i), err);
    return st;
}
