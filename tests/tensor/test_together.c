/* What is computed at once has the bits of what it puts together: products of several matrices, and
 * an RWKV-7 time mix head by head. */
#include "test_util.h"

#include "kernels/blocks.h"
#include "tensor/ops.h"

typedef struct rig {
    test_ctx t;
    rk_pool *pool;
    rk_ctx ctx;
} rig;

static void rig_init(rig *g, int n_threads, const rk_kernels *kernels)
{
    rk_error err;
    g->t = test_begin(11);
    test_ok(rk_pool_new(&g->pool, n_threads, NULL, NULL, NULL, &err), &err);
    const rk_ctx_params p = {
        .kernels = kernels, .pool = g->pool, .data_kind = RK_ARENA_GROWING, .dot8 = rk_dot8_best()};
    test_ok(rk_ctx_init(&g->ctx, &p, &err), &err);
}

static void rig_deinit(rig *g)
{
    rk_ctx_deinit(&g->ctx);
    rk_pool_free(g->pool);
    test_end(&g->t);
}

static rk_tensor *draw(rig *g, int n_dims, const int64_t *dims)
{
    rk_tensor *t = rk_new(&g->ctx, RK_F32, n_dims, dims);
    assert_non_null(t);
    memcpy(t->data, test_uniform(&g->t, rk_tensor_count(t), -1, 1), rk_tensor_bytes(t));
    return t;
}
#define DRAW(g, ...)                                                                               \
    draw(g, (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]){__VA_ARGS__})

static void same(rig *g, const char *what, const rk_tensor *a, const rk_tensor *b)
{
    assert_non_null(a);
    assert_non_null(b);
    test_same(&g->t, what, a->data, b->data, rk_tensor_bytes(a));
}

/* (out, in) in blocks, packed where there is a form for that. */
static rk_tensor *in_blocks(rig *g, rk_dtype d, int64_t out, int64_t in, rk_dot8_matrix *packed)
{
    const size_t bytes = (size_t)(out * in / rk_dtype_block(d)) * rk_dtype_bytes(d);
    const int64_t dims[] = {out, in}, groups = rk_dot8_groups(out);
    rk_tensor *t = rk_arena_alloc(&g->ctx.meta, sizeof *t);
    unsigned char *to = rk_ctx_alloc(&g->ctx, (size_t)groups * rk_dot8_group_bytes(d, in));
    uint8_t *blocks = rk_ctx_alloc(&g->ctx, bytes);
    rk_blocks_narrow(d, out * in, test_uniform(&g->t, out * in, -1, 1), NULL, blocks);
    *packed = (rk_dot8_matrix){d, out, in, to, false};
    rk_dot8_pack(packed, blocks, 0, groups, to);
    *t = rk_tensor_over(d, 2, dims, blocks);
    t->packed = packed;
    return t;
}

enum { N_MATRICES = 5 };

static void test_linears(void **state)
{
    (void)state;
    for (int p = 0; rk_kernels_at(p); p++)
        for (int64_t rows = 1; rows <= 5; rows += 4) {
            rig g;
            rk_dot8_matrix packed[2];
            rig_init(&g, 2, rk_kernels_at(p));
            rk_tensor *x = DRAW(&g, 1, rows, 96), *z = DRAW(&g, 1, rows, 64);
            rk_tensor *plain = in_blocks(&g, RK_Q5_0, 40, 96, &packed[1]);
            plain->packed = NULL; /* its inputs stay f32 */
            const rk_linears_in in[N_MATRICES] = {
                {x, rk_weight_of(DRAW(&g, 70, 96), RK_OUT_IN), RK_TANH},
                {x, rk_weight_of(in_blocks(&g, RK_Q4_0, 130, 96, &packed[0]), RK_OUT_IN), RK_TANH},
                {z, rk_weight_of(DRAW(&g, 64, 200), RK_IN_OUT), RK_RELU2},
                {x, rk_weight_of(plain, RK_OUT_IN), RK_SIGMOID},
                {z, rk_weight_of(rk_transpose(&g.ctx, DRAW(&g, 33, 64), 0, 1), RK_IN_OUT),
                 RK_UNARY_NONE},
            };
            rk_tensor *together[N_MATRICES];
            rk_linears(&g.ctx, in, N_MATRICES, together);
            test_ok(rk_ctx_status(&g.ctx, NULL), &g.ctx.err);
            for (int i = 0; i < N_MATRICES; i++) {
                rk_tensor *y = rk_linear(&g.ctx, in[i].x, in[i].w, NULL);
                if (in[i].after != RK_UNARY_NONE)
                    y = rk_unary_op(&g.ctx, in[i].after, y);
                test_shape(&g.t, "%s, %d rows, matrix %d", rk_kernels_at(p)->name, (int)rows, i);
                same(&g, "products at once", y, together[i]);
            }
            rig_deinit(&g);
        }
}

/* ---- recorded: results and gradients of a group and of one after the other ---- */

enum { N_RECORDED = 4, N_TENSORS = N_RECORDED + 2 };

/* Two inputs, one of them shared, and what is multiplied with them; the last one is frozen. */
static void recorded(rig *g, rk_dtype real, rk_tensor **all)
{
    const int64_t dims[N_TENSORS][2] = {{33, 96}, {33, 64}, {70, 96}, {96, 40}, {50, 64}, {20, 96}};
    for (int i = 0; i < N_TENSORS; i++) {
        const int64_t n = dims[i][0] * dims[i][1];
        all[i] = rk_new(&g->ctx, real, 2, dims[i]);
        assert_non_null(all[i]);
        memcpy(all[i]->data,
               real == RK_F64 ? (void *)test_uniform_f64(&g->t, n, -1, 1)
                              : (void *)test_uniform(&g->t, n, -1, 1),
               rk_tensor_bytes(all[i]));
        all[i]->requires_grad = i < N_TENSORS - 1;
    }
}

static void run_recorded(rig *g, bool at_once, rk_tensor *const *all, rk_tensor **out)
{
    const rk_linears_in in[N_RECORDED] = {{all[0], rk_weight_of(all[2], RK_OUT_IN), RK_RELU2},
                                          {all[0], rk_weight_of(all[3], RK_IN_OUT), RK_UNARY_NONE},
                                          {all[1], rk_weight_of(all[4], RK_OUT_IN), RK_SILU},
                                          {all[0], rk_weight_of(all[5], RK_OUT_IN), RK_TANH}};
    rk_tensor *sum = NULL;
    for (int i = 0; i < N_RECORDED && !at_once; i++) {
        out[i] = rk_linear(&g->ctx, in[i].x, in[i].w, NULL);
        if (in[i].after != RK_UNARY_NONE)
            out[i] = rk_unary_op(&g->ctx, in[i].after, out[i]);
    }
    if (at_once)
        rk_linears(&g->ctx, in, N_RECORDED, out);
    for (int i = 0; i < N_RECORDED; i++) {
        rk_tensor *one = rk_sum(&g->ctx, rk_unary_op(&g->ctx, RK_SIGMOID, out[i]));
        sum = sum ? rk_add(&g->ctx, sum, one) : one;
    }
    rk_backward(&g->ctx, sum, 1.5);
    test_ok(rk_ctx_status(&g->ctx, NULL), &g->ctx.err);
}

static void test_recorded(void **state)
{
    (void)state;
    for (int p = 0; rk_kernels_at(p); p++)
        for (int how = 0; how < 8; how++) {
            rig g[2];
            rk_tensor *all[2][N_TENSORS], *out[2][N_RECORDED];
            for (int i = 0; i < 2; i++) {
                rig_init(&g[i], 1 + i, rk_kernels_at(p));
                g[i].ctx.recording = true;
                g[i].ctx.long_class = how & 1;
                g[i].ctx.round_bf16 = how & 2;
                recorded(&g[i], how & 4 ? RK_F64 : RK_F32, all[i]);
                run_recorded(&g[i], i == 1, all[i], out[i]);
            }
            test_shape(&g[0].t, "%s, how %d", rk_kernels_at(p)->name, how);
            for (int i = 0; i < N_RECORDED; i++)
                same(&g[0], "recorded products", out[0][i], out[1][i]);
            for (int i = 0; i < N_TENSORS; i++) {
                assert_int_equal(all[1][i]->grad != NULL, all[1][i]->requires_grad);
                if (all[1][i]->requires_grad)
                    test_same(&g[0].t, "gradient", all[0][i]->grad, all[1][i]->grad,
                              rk_tensor_bytes(all[0][i]));
            }
            rig_deinit(&g[1]);
            rig_deinit(&g[0]);
        }
}

/* What needs no gradient gets none because another product of the group needs one. */
static void test_partly_recorded(void **state)
{
    (void)state;
    rig g;
    rk_tensor *all[N_TENSORS], *out[2];
    rig_init(&g, 1, rk_kernels_at(0));
    g.ctx.recording = true;
    recorded(&g, RK_F32, all);
    all[0]->requires_grad = all[2]->requires_grad = false;
    const rk_linears_in in[] = {{all[0], rk_weight_of(all[2], RK_OUT_IN), RK_TANH},
                                {all[0], rk_weight_of(all[3], RK_IN_OUT), RK_TANH}};
    rk_linears(&g.ctx, in, 2, out);
    test_ok(rk_ctx_status(&g.ctx, NULL), &g.ctx.err);
    assert_false(out[0]->requires_grad);
    assert_true(out[1]->requires_grad);
    rk_backward(&g.ctx, rk_sum(&g.ctx, out[1]), 1.0);
    test_ok(rk_ctx_status(&g.ctx, NULL), &g.ctx.err);
    assert_non_null(all[3]->grad);
    assert_null(out[0]->grad);
    rig_deinit(&g);
}

/* First layer and another, one step and several, two streams. */
static void test_heads(void **state)
{
    (void)state;
    for (int p = 0; rk_kernels_at(p); p++)
        for (int i = 0; i < 12; i++) {
            const int64_t steps = i / 2 % 2 ? 5 : 1, h = 3, n = 20;
            const bool first = i % 2 == 0;
            const int form = i / 4; /* whole, without a norm, with nothing that may be missing */
            rig g;
            rig_init(&g, 2, rk_kernels_at(p));
            rk_rwkv7_heads_in in = {
                .raw = {.w0 = DRAW(&g, h * n),
                        .a0 = DRAW(&g, h * n),
                        .v0 = DRAW(&g, h * n),
                        .k_k = DRAW(&g, h * n),
                        .k_a = DRAW(&g, h * n),
                        .wl = DRAW(&g, 2, steps, h, n),
                        .al = DRAW(&g, 2, steps, h, n),
                        .vl = first ? NULL : DRAW(&g, 2, steps, h, n),
                        .k = DRAW(&g, 2, steps, h, n),
                        .v = DRAW(&g, 2, steps, h, n),
                        .v_first = first ? NULL : DRAW(&g, 2, steps, h, n)},
                .r = DRAW(&g, 2, steps, h, n),
                .g = form < 2 ? DRAW(&g, 2, steps, h, n) : NULL,
                .r_k = form < 2 ? DRAW(&g, h * n) : NULL,
                .ln_w = form < 1 ? DRAW(&g, h * n) : NULL,
                .ln_b = form < 1 ? DRAW(&g, h * n) : NULL,
                .state = DRAW(&g, 2, h, n, n),
                .form = {.eps = 1e-3, .scale = 0.25, .gate_base = form},
            };
            if (form == 2)
                in.raw.k_k = in.raw.k_a = NULL;
            rk_tensor *after = NULL, *state_out = NULL;
            rk_tensor *z = rk_rwkv7_heads(&g.ctx, &in, &after);
            const rk_rwkv7_prepare_out q = rk_rwkv7_prepare_op(&g.ctx, &in.raw);
            const rk_wkv7_in wkv = {
                .r = in.r, .w = q.w, .k = q.k, .v = q.v, .a = q.a, .b = q.b, .state = in.state};
            rk_tensor *y = rk_wkv7(&g.ctx, &wkv, &state_out);
            const rk_rwkv7_output_in out = {y,      in.r,    q.k,     q.v,    in.g,
                                            in.r_k, in.ln_w, in.ln_b, in.form};
            test_ok(rk_ctx_status(&g.ctx, NULL), &g.ctx.err);
            test_shape(&g.t, "%s, %d steps, first %d, form %d", rk_kernels_at(p)->name, (int)steps,
                       first, form);
            same(&g, "heads", rk_rwkv7_output_op(&g.ctx, &out), z);
            same(&g, "state", state_out, after);
            rig_deinit(&g);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_linears), cmocka_unit_test(test_recorded),
        cmocka_unit_test(test_partly_recorded), cmocka_unit_test(test_heads)};
    return cmocka_run_group_tests_name("together", tests, NULL, NULL);
}
