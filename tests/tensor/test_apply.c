/* An op of the test's own, which op_list.h does not name, goes through rk_apply as the others do:
 * shape rule, plan, forward, tape, backward. */
#include "test_util.h"

#include "tensor/op.h"

typedef struct rig {
    test_ctx t;
    rk_pool *pool;
    rk_ctx ctx;
} rig;

static void rig_init(rig *g, rk_arena_kind kind)
{
    rk_error err;
    g->t = test_begin(1);
    test_ok(rk_pool_new(&g->pool, 1, NULL, NULL, NULL, &err), &err);
    const rk_ctx_params p = {.kernels = &rk_kernels_ref_f32, .pool = g->pool, .data_kind = kind};
    test_ok(rk_ctx_init(&g->ctx, &p, &err), &err);
    g->ctx.recording = true;
}

static void rig_deinit(rig *g)
{
    rk_ctx_deinit(&g->ctx);
    rk_pool_free(g->pool);
    test_end(&g->t);
}

/* ---- y = x^3 + offset, f32 ---- */

enum { SIZE = 5 };

typedef struct cube_attr {
    float offset;
    int *n_forward, *n_backward; /* calls */
} cube_attr;

static void cube_shape(rk_ctx *ctx, rk_node *n)
{
    if (!rk_expect_plain(ctx, n))
        return;
    n->n_out = 1;
    n->saved_bytes = rk_tensor_bytes(n->in[0]);
    n->out[0] = rk_new_like(ctx, n->in[0]);
}

static void cube_forward(rk_ctx *ctx, rk_node *n)
{
    const cube_attr *a = n->attr;
    const float *x = n->in[0]->data;
    float *y = n->out[0]->data, *slope = n->saved;
    (void)ctx;
    for (int64_t i = 0; i < rk_tensor_count(n->in[0]); i++) {
        y[i] = x[i] * x[i] * x[i] + a->offset;
        if (slope)
            slope[i] = 3.0f * x[i] * x[i];
    }
    ++*a->n_forward;
}

static void cube_backward(rk_ctx *ctx, rk_node *n)
{
    const cube_attr *a = n->attr;
    const float *dy = rk_grad(ctx, n->out[0]), *slope = n->saved;
    float *dx = rk_grad(ctx, n->in[0]);
    for (int64_t i = 0; dx && i < rk_tensor_count(n->in[0]); i++)
        dx[i] += slope[i] * dy[i];
    ++*a->n_backward;
}

static const rk_op cube_op = {
    .name = "cube",
    .shape = cube_shape,
    .on[RK_CPU] = {cube_forward, cube_backward},
    .attr_bytes = sizeof(cube_attr),
};
static const rk_op one_way_op = {
    .name = "one_way",
    .shape = cube_shape,
    .on[RK_CPU] = {cube_forward, NULL},
    .attr_bytes = sizeof(cube_attr),
};
static const rk_op no_way_op = {.name = "no_way", .shape = cube_shape};

static rk_tensor *apply(rk_ctx *ctx, const rk_op *op, rk_tensor *x, int *calls)
{
    const cube_attr attr = {1.0f, &calls[0], &calls[1]};
    rk_node n = {.op = op, .n_in = 1, .in = {x}, .attr = &attr};
    return rk_apply1(ctx, &n);
}

static rk_tensor *input(rig *g)
{
    static const float values[SIZE] = {-1.5f, 0.0f, 0.5f, 1.0f, 2.0f};
    rk_tensor *x = rk_new(&g->ctx, RK_F32, 1, (const int64_t[]){SIZE});
    assert_non_null(x);
    if (x->data)
        memcpy(x->data, values, sizeof values);
    x->requires_grad = true;
    return x;
}

/* Its attributes are the caller's until rk_apply returns; the tape has a copy. */
static void test_own_op(void **state)
{
    static const float want_y[SIZE] = {-2.375f, 1.0f, 1.125f, 2.0f, 9.0f};
    static const float want_dx[SIZE] = {13.5f, 0.0f, 1.5f, 6.0f, 24.0f};
    (void)state;
    rig g;
    int calls[2] = {0};
    rig_init(&g, RK_ARENA_GROWING);
    rk_tensor *x = input(&g), *y = apply(&g.ctx, &cube_op, x, calls);
    rk_backward(&g.ctx, rk_sum(&g.ctx, rk_scale(&g.ctx, y, 2.0)), 1.0);
    test_ok(rk_ctx_status(&g.ctx, NULL), &g.ctx.err);
    test_same(&g.t, "y", want_y, y->data, sizeof want_y);
    test_same(&g.t, "dx", want_dx, x->grad, sizeof want_dx);
    assert_int_equal(calls[0], 1);
    assert_int_equal(calls[1], 1);
    rig_deinit(&g);
}

static void test_plan(void **state)
{
    (void)state;
    rig g;
    int calls[2] = {0};
    rig_init(&g, RK_ARENA_COUNTING);
    rk_tensor *y = apply(&g.ctx, &cube_op, input(&g), calls);
    rk_backward(&g.ctx, rk_sum(&g.ctx, y), 1.0);
    test_ok(rk_ctx_status(&g.ctx, NULL), &g.ctx.err);
    assert_true(g.ctx.data.peak > 0);
    assert_int_equal(calls[0] + calls[1], 0);
    rig_deinit(&g);
}

/* Functions that a row lacks are missed before anything is computed, and only when needed. */
static void test_missing(void **state)
{
    (void)state;
    rig g;
    int calls[2] = {0};
    rig_init(&g, RK_ARENA_GROWING);
    rk_tensor *x = input(&g);
    assert_null(apply(&g.ctx, &one_way_op, x, calls));
    assert_int_equal(g.ctx.err.code, RK_ERR_UNSUPPORTED);
    assert_string_equal(g.ctx.err.msg, "one_way: no gradient on cpu");
    rk_ctx_reset(&g.ctx);
    x = input(&g);
    x->requires_grad = false;
    assert_non_null(apply(&g.ctx, &one_way_op, x, calls));
    assert_int_equal(calls[0], 1);
    assert_null(apply(&g.ctx, &no_way_op, x, calls));
    assert_string_equal(g.ctx.err.msg, "no_way: no forward on cpu");
    rig_deinit(&g);
}

/* ---- the list ---- */

static void test_all_listed(void **state)
{
    (void)state;
    int n = 0;
    for (const rk_op *op; (op = rk_op_at(n)); n++) {
        assert_non_null(op->name);
        assert_non_null(op->shape);
        assert_non_null(op->on[RK_CPU].forward);
        for (int i = 0; i < n; i++)
            assert_string_not_equal(rk_op_at(i)->name, op->name);
    }
    assert_true(n > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_own_op),
        cmocka_unit_test(test_plan),
        cmocka_unit_test(test_missing),
        cmocka_unit_test(test_all_listed),
    };
    return cmocka_run_group_tests_name("apply", tests, NULL, NULL);
}
