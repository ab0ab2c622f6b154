/* What a student is compared with its teacher by: values worked out in double (arXiv 2501.15570 and its
 * code), logits held in blocks, gradients computed at once. */
#include "test_util.h"

#include "tensor/ops.h"

typedef struct rig {
    rk_pool *pool;
    rk_ctx ctx;
} rig;

static void begin(rig *g)
{
    rk_error err = {0};
    test_ok(rk_pool_new(&g->pool, 2, NULL, NULL, NULL, &err), &err);
    const rk_ctx_params p = {
        .kernels = rk_kernels_at(0), .pool = g->pool, .data_kind = RK_ARENA_GROWING};
    test_ok(rk_ctx_init(&g->ctx, &p, &err), &err);
}

static void end(rig *g)
{
    rk_ctx_deinit(&g->ctx);
    rk_pool_free(g->pool);
}

static rk_tensor *given(rig *g, int64_t rows, int64_t cols, const double *x)
{
    const int64_t dims[] = {rows, cols};
    rk_tensor *t = rk_new(&g->ctx, RK_F64, 2, dims);
    memcpy(t->data, x, rk_tensor_bytes(t));
    return t;
}

/* Logits are the hidden rows of a head that is the unit matrix. */
static const double unit[] = {1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1};
static const double teacher[] = {2, 0.5, -1, 0, 0, 1, 1, 3};
static const double student[] = {1, 1, -1, 0.5, 0.5, 0.5, 0, 2};
static const double divergence[] = {0.249115888, 0.072653639};

static rk_tensor *compared(rig *g, const double *theirs, int32_t first, int32_t second,
                           double ce_weight, bool adaptive)
{
    const int64_t rows = 2;
    rk_tensor *targets = rk_new(&g->ctx, RK_I32, 1, &rows);
    ((int32_t *)targets->data)[0] = first;
    ((int32_t *)targets->data)[1] = second;
    rk_divergence_in in = {.hidden = given(g, 2, 4, student),
                           .head = given(g, 4, 4, unit),
                           .teacher_hidden = given(g, 2, 4, theirs),
                           .teacher_head = given(g, 4, 4, unit),
                           .targets = targets,
                           .kl_weight = 1,
                           .ce_weight = ce_weight,
                           .adaptive = adaptive};
    return rk_divergence(&g->ctx, &in);
}

static rk_tensor *golden(rig *g, int32_t first, int32_t second, double ce_weight)
{
    return compared(g, teacher, first, second, ce_weight, false);
}

static void test_golden(void **state)
{
    (void)state;
    rig g;
    begin(&g);
    const double *both = golden(&g, 0, 1, 0)->data;
    for (int i = 0; i < 2; i++)
        assert_true(fabs(both[i] - divergence[i]) < 1e-8);
    assert_true(fabs((both[0] + both[1]) / 2 - 0.160884683) < 1e-6);
    const double *masked = golden(&g, RK_NO_TARGET, 1, 0)->data;
    assert_true(masked[0] == 0.0 && fabs(masked[1] - 0.072653566) < 1e-6);
    /* -log p_S of token 0 is the sum of e^x less 1 */
    const double lse = log(2 * exp(1) + exp(-1) + exp(0.5));
    const double *with_ce = golden(&g, 0, 1, 2)->data;
    assert_true(fabs(with_ce[0] - (divergence[0] + 2 * (lse - 1))) < 1e-8);
    end(&g);
}

/* Both directions: of equally likely tokens the first ones are taken; nothing is larger than 1e3. */
static void test_both_ways(void **state)
{
    (void)state;
    static const double both[] = {0.255537335, 0.088909397}, even[] = {0, 0, 0, 0, 0, 1, 1, 3},
                        far[] = {0, 0, 0, 90, 1e6, 0, 0, 0};
    rig g;
    begin(&g);
    const double *got = compared(&g, teacher, 0, 1, 0, true)->data;
    for (int i = 0; i < 2; i++)
        assert_true(fabs(got[i] - both[i]) < 1e-8);
    assert_true(fabs(((double *)compared(&g, even, 0, 1, 0, true)->data)[0] - 0.207838447) < 1e-8);
    const double lse = log(2 * exp(1) + exp(-1) + exp(0.5));
    got = compared(&g, teacher, 0, RK_NO_TARGET, 2, true)->data;
    assert_true(fabs(got[0] - (both[0] + 2 * (lse - 1))) < 1e-8 && got[1] == 0.0);
    got = compared(&g, far, 0, 1, 0, true)->data;
    for (int i = 0; i < 2; i++)
        assert_true(got[i] > 0 && got[i] <= 1e3);
    end(&g);
}

/* Pairs of answers: log-probabilities of each of its tokens, less those of the reference. */
static void test_preference(void **state)
{
    (void)state;
    static const double own[] = {1, 0.5, 0.25, 0.75, 1.5, 0},
                        before[] = {1.25, 0.75, 0.5, 0.5, 1, 0.125};
    static const rk_preference_how hows[] = {{0.3, 0, false}, {0.3, 0.1, false}, {0.3, 0.1, true}};
    static const double want[] = {0.508017603, 0.549267603, 0.5875};
    const int64_t dims[] = {1, 2, 3};
    rig g;
    begin(&g);
    rk_tensor *policy = rk_view(&g.ctx, given(&g, 2, 3, own), 3, dims),
              *reference = rk_view(&g.ctx, given(&g, 2, 3, before), 3, dims);
    assert_true(rk_preference_margin(policy, reference, 0) == 1.375);
    for (size_t i = 0; i < RK_COUNT(hows); i++) {
        const double *got = rk_preference(&g.ctx, policy, reference, &hows[i])->data;
        assert_true(fabs(*got - want[i]) < 1e-8);
    }
    end(&g);
}

/* A head of more tokens than the student's counts as if it had as many. */
enum { ROWS = 70, V = 5000, C = 8, D = 6 };

static rk_tensor *drawn(test_ctx *t, rk_ctx *ctx, int64_t rows, int64_t cols)
{
    const int64_t dims[] = {rows, cols};
    rk_tensor *x = rk_new(ctx, RK_F32, 2, dims);
    memcpy(x->data, test_uniform(t, rows * cols, -1, 1), rk_tensor_bytes(x));
    x->requires_grad = true;
    return x;
}

/* Losses, and the gradients of the student's two, announced or not. */
static void run(test_ctx *t, int64_t extra, double seed, float *loss, float *dh, float *dhead)
{
    const int64_t rows = ROWS;
    rig g;
    begin(&g);
    g.ctx.recording = true;
    rk_tensor *h = drawn(t, &g.ctx, ROWS, C), *head = drawn(t, &g.ctx, V, C);
    rk_tensor *th = drawn(t, &g.ctx, ROWS, D), *thead = drawn(t, &g.ctx, V + 100, D);
    rk_tensor *targets = rk_new(&g.ctx, RK_I32, 1, &rows);
    for (int i = 0; i < ROWS; i++)
        ((int32_t *)targets->data)[i] = i % 5 == 3 ? RK_NO_TARGET : i * 71 % V;
    th->requires_grad = thead->requires_grad = false;
    const rk_divergence_in in = {.hidden = h,
                                 .head = head,
                                 .teacher_hidden = th,
                                 .teacher_head = extra ? thead : rk_slice(&g.ctx, thead, 0, 0, V),
                                 .targets = targets,
                                 .kl_weight = 0.75,
                                 .ce_weight = 0.25,
                                 .seed = seed};
    rk_tensor *l = rk_divergence(&g.ctx, &in);
    test_ok(rk_ctx_status(&g.ctx, NULL), &g.ctx.err);
    rk_backward(&g.ctx, l, 0.125);
    test_ok(rk_ctx_status(&g.ctx, NULL), &g.ctx.err);
    memcpy(loss, l->data, rk_tensor_bytes(l));
    memcpy(dh, rk_grad(&g.ctx, h), rk_tensor_bytes(h));
    memcpy(dhead, rk_grad(&g.ctx, head), rk_tensor_bytes(head));
    end(&g);
}

static void test_announced(void **state)
{
    (void)state;
    static float loss[3][ROWS], dh[3][ROWS * C], dhead[3][V * C];
    for (int i = 0; i < 3; i++) {
        test_ctx t = test_begin(11);
        run(&t, i != 2, i == 1 ? 0.125 : 0, loss[i], dh[i], dhead[i]);
        test_end(&t);
        assert_memory_equal(loss[0], loss[i], sizeof loss[0]);
        assert_memory_equal(dh[0], dh[i], sizeof dh[0]);
        assert_memory_equal(dhead[0], dhead[i], sizeof dhead[0]);
    }
}

/* Where student and teacher agree there is no slope, and none is made up. */
static void test_no_distance(void **state)
{
    (void)state;
    const double x[] = {1, 2, -3, 0.5, 0, 4}, y[] = {1, 2, -3, 0.5, 3, 0};
    rig g;
    begin(&g);
    g.ctx.recording = true;
    rk_tensor *s = given(&g, 2, 3, x);
    s->requires_grad = true;
    rk_tensor *d = rk_distance(&g.ctx, s, given(&g, 2, 3, y), 2);
    const double *length = d->data;
    assert_true(length[0] == 0.0 && fabs(length[1] - 10) < 1e-12);
    rk_backward(&g.ctx, d, 0.5);
    const double *slope = rk_grad(&g.ctx, s);
    const double want[] = {0, 0, 0, 0, -0.6, 0.8};
    for (int i = 0; i < 6; i++)
        assert_true(fabs(slope[i] - want[i]) < 1e-12);
    end(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden), cmocka_unit_test(test_both_ways),
        cmocka_unit_test(test_preference), cmocka_unit_test(test_announced),
        cmocka_unit_test(test_no_distance)};
    return cmocka_run_group_tests_name("distill", tests, NULL, NULL);
}
