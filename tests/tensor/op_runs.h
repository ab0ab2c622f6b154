/* op_runs.h: runs of the cases that `rwkv selftest` has too (selftest/op_cases.h), each in a context
 * of its own, whose results outlive it. Include it once. */
#ifndef RK_TEST_OP_RUNS_H
#define RK_TEST_OP_RUNS_H

#include "test_util.h"

#include "selftest/op_cases.h"

typedef struct run_options {
    rk_case_options c;
    const rk_kernels *kernels; /* NULL: the reference */
    int threads;               /* 0: 1 */
    rk_arena_kind kind;
    size_t bytes; /* of a fixed arena */
} run_options;

typedef struct run_result {
    int n_in, n_out;
    bool has_op;
    size_t peak;
    int64_t count[RK_CASE_OUT], count_in[RK_CASE_IN]; /* elements */
    void *out[RK_CASE_OUT];                           /* as the run's type */
    void *grad[RK_CASE_IN]; /* NULL where none was asked for or reached it */
} run_result;

static inline void open_ctx(rk_ctx *ctx, rk_pool **pool, const run_options *o)
{
    rk_error err = {0};
    test_ok(rk_pool_new(pool, o->threads ? o->threads : 1, NULL, NULL, NULL, &err), &err);
    const rk_ctx_params p = {.kernels = o->kernels ? o->kernels : &rk_kernels_ref_f32,
                             .pool = *pool,
                             .data_kind = o->kind,
                             .data_bytes = o->bytes};
    test_ok(rk_ctx_init(ctx, &p, &err), &err);
}

static inline void keep_results(test_ctx *t, const rk_ctx *ctx, const rk_case_run *run,
                                run_result *r)
{
    *r = (run_result){run->n_in, run->n_out, run->has_op, ctx->data.peak, {0}, {0}, {0}, {0}};
    if (ctx->planning)
        return;
    for (int q = 0; q < run->n_out; q++) {
        r->count[q] = rk_tensor_count(run->out[q]);
        r->out[q] = test_copy(t, run->out[q]->data, rk_tensor_bytes(run->out[q]));
    }
    for (int i = 0; i < run->n_in; i++) {
        r->count_in[i] = rk_tensor_count(run->in[i]);
        if (run->in[i]->grad)
            r->grad[i] = test_copy(t, run->in[i]->grad, rk_tensor_bytes(run->in[i]));
    }
}

/* Fails the test when the run fails. */
static inline run_result run_case(test_ctx *t, const rk_op_case *c, const run_options *o)
{
    run_result r;
    rk_pool *pool = NULL;
    rk_ctx ctx;
    rk_error err = {0};
    rk_case_run run;
    rk_case_options options = o->c;
    options.seed = t->seed;
    open_ctx(&ctx, &pool, o);
    rk_op_case_run(&ctx, c, &options, &run);
    test_ok(rk_ctx_status(&ctx, &err), &err);
    keep_results(t, &ctx, &run, &r);
    rk_ctx_deinit(&ctx);
    rk_pool_free(pool);
    return r;
}

/* Outputs and gradients of two runs of one type, bit for bit. */
static inline void same_results(const test_ctx *t, const run_result *want, const run_result *got,
                                rk_dtype real)
{
    const size_t bytes = rk_dtype_bytes(real);
    assert_int_equal(want->n_out, got->n_out);
    for (int q = 0; q < want->n_out; q++)
        test_same(t, "output", want->out[q], got->out[q], (size_t)want->count[q] * bytes);
    for (int i = 0; i < want->n_in; i++) {
        assert_int_equal(!want->grad[i], !got->grad[i]);
        if (want->grad[i])
            test_same(t, "gradient", want->grad[i], got->grad[i],
                      (size_t)want->count_in[i] * bytes);
    }
}

#endif
