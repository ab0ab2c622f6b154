/* ops.c: every op, asked three questions about each of its cases.
 *
 * Does the path's f32 give what the reference gives in double, results and gradients, in both
 * classes and without a tape? Do all threads give the bits of one? Does the gradient in double
 * point where differences say? Ops reach nearly every kernel, so kernels are checked as they are
 * used, cut into pieces. An op is answered for by its worst case. */
#include <math.h>
#include <string.h>

#include "base/num.h"
#include "selftest/op_cases.h"
#include "selftest/selftest.h"

enum { SEED = 1 };

static const double path_tolerance = 2e-5, gradient_tolerance = 1e-6;

/* ---- comparing ---- */

/* Largest distance of n reals, relative to the largest of the wanted ones or 1. */
static double distance(const double *want, const float *got, int64_t n)
{
    double worst = 0.0, scale = 1.0;
    for (int64_t i = 0; i < n; i++) {
        const double d = fabs((double)got[i] - want[i]);
        scale = fmax(scale, fabs(want[i]));
        if (!(d <= worst))
            worst = isnan(d) ? (double)INFINITY : d;
    }
    return worst / scale;
}

/* Results and gradients of the path against those in double. */
static double path_error(const rk_case_run *path, const rk_case_run *truth)
{
    double worst = 0.0;
    for (int i = 0; i < truth->n_out; i++)
        worst = fmax(worst, distance(truth->out[i]->data, path->out[i]->data,
                                     rk_tensor_count(truth->out[i])));
    for (int i = 0; i < truth->n_in; i++)
        if (truth->in[i]->grad && path->in[i]->grad)
            worst = fmax(worst, distance(truth->in[i]->grad, path->in[i]->grad,
                                         rk_tensor_count(truth->in[i])));
    return worst;
}

/* 0 when all bits are the same, else 1. */
static double bit_error(const rk_case_run *a, const rk_case_run *b)
{
    bool same = true;
    for (int i = 0; i < a->n_out; i++)
        same = same && !memcmp(a->out[i]->data, b->out[i]->data, rk_tensor_bytes(a->out[i]));
    for (int i = 0; i < a->n_in; i++)
        if (a->in[i]->grad)
            same = same && !memcmp(a->in[i]->grad, b->in[i]->grad, rk_tensor_bytes(a->in[i]));
    return same ? 0.0 : 1.0;
}

/* ---- the cases of one op ---- */

/* The worst answer to a question, and whose it is. */
typedef struct worst_case {
    double error;
    const rk_op_case *c;
} worst_case;

static void note(worst_case *w, const rk_op_case *c, double error)
{
    if (!w->c || !(error <= w->error))
        *w = (worst_case){error, c};
}

typedef struct op_check {
    rk_ctx path, one, truth; /* all threads, one thread, double */
    worst_case reference, threads, gradient;
} op_check;

static rk_status run_on(rk_ctx *ctx, const rk_op_case *c, const rk_case_options *o, rk_case_run *r,
                        rk_error *err)
{
    rk_op_case_run(ctx, c, o, r);
    return rk_ctx_status(ctx, err);
}

/* The long class, the short one, and the short one without a tape, which is decoding. */
static rk_status check_path(op_check *k, const rk_op_case *c, rk_error *err)
{
    static const rk_case_options how[] = {{.long_class = true}, {0}, {.forward_only = true}};
    rk_case_run truth, path, one;
    rk_status st = RK_OK;
    for (size_t i = 0; i < RK_COUNT(how) && st == RK_OK; i++) {
        rk_case_options o = how[i];
        o.seed = SEED;
        o.real = RK_F64;
        st = run_on(&k->truth, c, &o, &truth, err);
        o.real = RK_F32;
        if (st == RK_OK)
            st = run_on(&k->path, c, &o, &path, err);
        if (st == RK_OK)
            st = run_on(&k->one, c, &o, &one, err);
        if (st != RK_OK)
            return st;
        note(&k->reference, c, path_error(&path, &truth));
        note(&k->threads, c, bit_error(&path, &one));
    }
    return st;
}

static rk_status check_case(op_check *k, const rk_op_case *c, rk_error *err)
{
    unsigned reals = 0;
    for (int i = 0; i < rk_op_case_inputs(c); i++)
        reals |= (unsigned)rk_op_case_is_real(c, i) << i;
    const rk_status st = check_path(k, c, err);
    if (st != RK_OK)
        return st;
    note(&k->gradient, c, rk_op_case_gradient_error(&k->truth, c, SEED, reals, 0));
    return rk_ctx_status(&k->truth, err);
}

static void report(const rk_selftest *t, const rk_op *op, const char *question, const worst_case *w,
                   double tolerance)
{
    if (w->c)
        t->report(t->user, w->error <= tolerance ? op->name : w->c->name, question, w->error,
                  tolerance);
}

static rk_status check_op(const rk_selftest *t, op_check *k, const rk_op *op, rk_error *err)
{
    const rk_op_case *c;
    rk_status st = RK_OK;
    k->reference = k->threads = k->gradient = (worst_case){0};
    for (int i = 0; (c = rk_op_case_at(i)) && st == RK_OK; i++)
        if (c->op == op)
            st = check_case(k, c, err);
    if (st != RK_OK)
        return st;
    report(t, op, "path against reference", &k->reference, path_tolerance);
    report(t, op, "threads against one", &k->threads, 0.0);
    report(t, op, "gradient against differences", &k->gradient, gradient_tolerance);
    return RK_OK;
}

/* ---- all of them ---- */

rk_status rk_selftest_ctx(const rk_selftest *t, bool one_thread, rk_ctx *ctx, rk_error *err)
{
    const rk_ctx_params p = {.kernels = t->kernels,
                             .pool = one_thread ? t->one : t->pool,
                             .abort = t->abort,
                             .data_kind = RK_ARENA_GROWING};
    return rk_ctx_init(ctx, &p, err);
}

rk_status rk_selftest_ops(const rk_selftest *t, rk_error *err)
{
    op_check k = {0};
    rk_ctx *const ctx[] = {&k.path, &k.one, &k.truth};
    const rk_op *op;
    rk_status st = RK_OK;
    int n_made = 0;
    for (; n_made < (int)RK_COUNT(ctx) && st == RK_OK; n_made += st == RK_OK)
        st = rk_selftest_ctx(t, ctx[n_made] == &k.one, ctx[n_made], err);
    for (int i = 0; (op = rk_op_at(i)) && st == RK_OK; i++)
        st = check_op(t, &k, op, err);
    while (n_made > 0)
        rk_ctx_deinit(ctx[--n_made]);
    return st;
}
