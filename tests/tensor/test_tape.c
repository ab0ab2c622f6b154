/* What holds for all ops together: recomputed segments, plans, errors, batches cut into pieces. */
#include "op_runs.h"

/* ------------------------------------------------------------------------------- recomputation */

/* The long class: the short one is for decoding, and its wkv7 has another order than a recorded one
 * has. */
static void test_recompute(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    const rk_op_case *c;
    for (int path = 0; rk_kernels_at(path); path++)
        for (int k = 0; (c = rk_op_case_at(k)); k++) {
            run_options o = {.c = {.real = RK_F32, .long_class = true},
                             .kind = RK_ARENA_GROWING,
                             .kernels = rk_kernels_at(path)};
            test_shape(&t, "%s, %s", c->name, o.kernels->name);
            const run_result plain = run_case(&t, c, &o);
            o.c.recompute = true;
            const run_result again = run_case(&t, c, &o);
            same_results(&t, &plain, &again, RK_F32);
            test_reset(&t);
        }
    test_end(&t);
}

/* ---------------------------------------------------------------------------------------- plans */

/* What a counting context counts is what a run takes, to the byte, and all that it needs. */
static void check_plan(test_ctx *t, const rk_op_case *c, run_options o)
{
    o.kind = RK_ARENA_COUNTING;
    const size_t planned = run_case(t, c, &o).peak;
    o.kind = RK_ARENA_GROWING;
    const run_result run = run_case(t, c, &o);
    if (planned != run.peak)
        fail_msg("%s: %zu bytes planned, %zu taken", t->shape, planned, run.peak);
    o.kind = RK_ARENA_FIXED;
    o.bytes = planned;
    const run_result fixed = run_case(t, c, &o);
    same_results(t, &run, &fixed, o.c.real);
}

static void test_plan(void **state)
{
    (void)state;
    test_ctx t = test_begin(2);
    const rk_op_case *c;
    for (int k = 0; (c = rk_op_case_at(k)); k++)
        for (unsigned how = 0; how < 16; how++) {
            const run_options o = {.c = {.real = how & 8 ? RK_F64 : RK_F32,
                                         .long_class = how & 1,
                                         .recompute = how & 2,
                                         .forward_only = how & 4},
                                   .threads = how & 8 ? 2 : 1};
            test_shape(&t, "%s, how %u", c->name, how);
            check_plan(&t, c, o);
            test_reset(&t);
        }
    test_end(&t);
}

/* ------------------------------------------------------------------------------ a small network */

/* One RWKV-7 layer between an embedding and a head: vectors are (C), matrices (C, C) or low-rank.
 */
enum { C = 24, H = 3, N = 8, V = 40, LOW = 5, STEPS = 20 };
#define SEED 0.0125
enum { EMB, LN_W, LN_B, MU_R, MU_W, MU_K, W_R, W_K, W_V, W_O, W_LOW1, W_LOW2, W0, A0, K_K, K_A };
enum { R_K = K_A + 1, LNX_W, LNX_B, HEAD, N_PARAMS };
static const int64_t param_dims[N_PARAMS][2] = {
    [EMB] = {V, C},      [LN_W] = {C},        [LN_B] = {C},   [MU_R] = {C},   [MU_W] = {C},
    [MU_K] = {C},        [W_R] = {C, C},      [W_K] = {C, C}, [W_V] = {C, C}, [W_O] = {C, C},
    [W_LOW1] = {C, LOW}, [W_LOW2] = {LOW, C}, [W0] = {C},     [A0] = {C},     [K_K] = {C},
    [K_A] = {C},         [R_K] = {C},         [LNX_W] = {C},  [LNX_B] = {C},  [HEAD] = {V, C},
};

typedef struct net {
    rk_pool *pool;
    rk_ctx ctx;
    rk_tensor p[N_PARAMS]; /* with gradients of their own */
    bool recompute;
    double seed; /* that the loss is told */
} net;

static void net_init(test_ctx *t, net *m, const rk_kernels *kernels, bool long_class)
{
    rk_error err;
    *m = (net){0};
    test_ok(rk_pool_new(&m->pool, 2, NULL, NULL, NULL, &err), &err);
    const rk_ctx_params p = {.kernels = kernels, .pool = m->pool, .data_kind = RK_ARENA_GROWING};
    test_ok(rk_ctx_init(&m->ctx, &p, &err), &err);
    m->ctx.long_class = long_class;
    for (int i = 0; i < N_PARAMS; i++) {
        const int n_dims = param_dims[i][1] ? 2 : 1;
        rk_tensor *w = &m->p[i];
        *w = rk_tensor_over(RK_F32, n_dims, param_dims[i], NULL);
        const int64_t n = rk_tensor_count(w);
        w->data = test_uniform(t, n, -0.5f, 0.5f);
        w->grad = test_alloc_f32(t, n);
        w->requires_grad = w->has_grad = true;
        memset(w->grad, 0, rk_tensor_bytes(w));
    }
}

static void net_deinit(net *m)
{
    rk_ctx_deinit(&m->ctx);
    rk_pool_free(m->pool);
}

static rk_tensor *zeros(rk_ctx *ctx, int n_dims, const int64_t *dims)
{
    return rk_new_zeros(ctx, RK_F32, n_dims, dims);
}

static rk_tensor *heads(rk_ctx *ctx, rk_tensor *x)
{
    if (rk_ctx_failed(ctx))
        return NULL;
    return rk_view(ctx, x, 4, (const int64_t[]){x->dims[0], x->dims[1], H, N});
}

/* in: x (B,T,C); out: x after the layer, and the recurrence's state. A segment. */
static void layer(rk_ctx *ctx, void *user, rk_tensor *const *in, rk_tensor **out)
{
    rk_tensor *p = ((net *)user)->p, *x = in[0], *last;
    const int64_t b = x->dims[0];
    rk_tensor *const mu[] = {&p[MU_R], &p[MU_W], &p[MU_K]};
    rk_tensor *mixed = rk_shift_mix(ctx, rk_norm(ctx, x, &p[LN_W], &p[LN_B], 1, 1e-5),
                                    zeros(ctx, 2, (const int64_t[]){b, C}), mu, 3, &last);
    rk_tensor *xr = rk_index(ctx, mixed, 0), *xw = rk_index(ctx, mixed, 1);
    rk_tensor *xk = rk_index(ctx, mixed, 2);
    rk_tensor *low =
        rk_unary_op(ctx, RK_TANH, rk_linear(ctx, xw, rk_weight_of(&p[W_LOW1], RK_IN_OUT), NULL));
    rk_tensor *wide = heads(ctx, rk_linear(ctx, low, rk_weight_of(&p[W_LOW2], RK_IN_OUT), NULL));
    rk_tensor *r = heads(ctx, rk_linear(ctx, xr, rk_weight_of(&p[W_R], RK_OUT_IN), NULL));
    const rk_rwkv7_prepare_in pre = {
        .w0 = &p[W0],
        .a0 = &p[A0],
        .k_k = &p[K_K],
        .k_a = &p[K_A],
        .wl = wide,
        .al = wide,
        .k = heads(ctx, rk_linear(ctx, xk, rk_weight_of(&p[W_K], RK_OUT_IN), NULL)),
        .v = heads(ctx, rk_linear(ctx, xk, rk_weight_of(&p[W_V], RK_OUT_IN), NULL))};
    const rk_rwkv7_prepare_out o = rk_rwkv7_prepare_op(ctx, &pre);
    const rk_wkv7_in wkv = {.r = r,
                            .w = o.w,
                            .k = o.k,
                            .v = o.v,
                            .a = o.a,
                            .b = o.b,
                            .state = zeros(ctx, 4, (const int64_t[]){b, H, N, N})};
    const rk_rwkv7_output_in post = {.y = rk_wkv7(ctx, &wkv, &out[1]),
                                     .r = r,
                                     .k = o.k,
                                     .v = o.v,
                                     .g = wide,
                                     .r_k = &p[R_K],
                                     .ln_w = &p[LNX_W],
                                     .ln_b = &p[LNX_B],
                                     .form = {.eps = 64e-5}};
    rk_tensor *y = rk_rwkv7_output_op(ctx, &post);
    if (!rk_ctx_failed(ctx))
        out[0] = rk_linear(ctx, rk_view(ctx, y, 3, x->dims), rk_weight_of(&p[W_O], RK_OUT_IN), x);
}

typedef struct net_out {
    rk_tensor *x, *state, *loss; /* (B,T,C), (B,H,N,N), (B,T) */
} net_out;

/* Tokens and targets (B,T), borrowed until the context is reset. */
static net_out net_forward(net *m, int64_t b, const int32_t *tokens, const int32_t *targets)
{
    rk_ctx *ctx = &m->ctx;
    const int64_t dims[] = {b, STEPS};
    rk_tensor *ids = rk_new(ctx, RK_I32, 2, dims), *next = rk_new(ctx, RK_I32, 2, dims);
    memcpy(ids->data, tokens, rk_tensor_bytes(ids));
    memcpy(next->data, targets, rk_tensor_bytes(next));
    rk_tensor *x = rk_embedding(ctx, &m->p[EMB], ids), *out[2] = {0};
    if (m->recompute) {
        out[0] = rk_new_like(ctx, x);
        out[1] = rk_new(ctx, RK_F32, 4, (const int64_t[]){b, H, N, N});
        rk_recompute(ctx, layer, m, &x, 1, out, 2);
    } else {
        layer(ctx, m, &x, out);
    }
    return (net_out){
        out[0], out[1],
        rk_cross_entropy_of(ctx, &(rk_cross_entropy_in){out[0], &m->p[HEAD], next, .l2wrap = 1e-4,
                                                        .seed = m->seed})};
}

/* Gradients of `streams` streams, `piece` at a time, added up in the parameters. */
static void net_backward(net *m, int64_t streams, int64_t piece, const int32_t *tokens,
                         const int32_t *targets)
{
    rk_error err;
    m->ctx.recording = true;
    for (int64_t b = 0; b < streams; b += piece) {
        const net_out o = net_forward(m, piece, tokens + b * STEPS, targets + b * STEPS);
        rk_backward(&m->ctx, rk_sum(&m->ctx, o.loss), SEED);
        test_ok(rk_ctx_status(&m->ctx, &err), &err);
        rk_ctx_reset(&m->ctx);
    }
}

/* ------------------------------------------------------------------------- batches and streams */

enum { STREAMS = 4 };

static void check_pieces(test_ctx *t, const rk_kernels *kernels, int64_t piece, bool recompute)
{
    net whole, cut;
    t->n_arrays = 0;
    net_init(t, &whole, kernels, true);
    t->n_arrays = 0;
    net_init(t, &cut, kernels, true);
    const int32_t *tokens = test_tokens(t, (int64_t)STREAMS * STEPS, V);
    const int32_t *targets = test_tokens(t, (int64_t)STREAMS * STEPS, V);
    cut.recompute = recompute;
    cut.seed = SEED;
    net_backward(&whole, STREAMS, STREAMS, tokens, targets);
    net_backward(&cut, STREAMS, piece, tokens, targets);
    for (int i = 0; i < N_PARAMS; i++) {
        const float *g = whole.p[i].grad;
        test_same(t, "gradient", g, cut.p[i].grad, rk_tensor_bytes(&whole.p[i]));
        assert_true(isfinite(g[C - 1]) && g[C - 1] != 0.0f);
    }
    net_deinit(&whole);
    net_deinit(&cut);
    test_reset(t);
}

static void test_micro_batches(void **state)
{
    (void)state;
    test_ctx t = test_begin(3);
    for (int path = 0; rk_kernels_at(path); path++)
        for (int64_t piece = 1; piece <= STREAMS; piece *= 2)
            for (int recompute = 0; recompute < 2; recompute++) {
                test_shape(&t, "%s, %" PRId64 " streams a piece, recompute %d",
                           rk_kernels_at(path)->name, piece, recompute);
                check_pieces(&t, rk_kernels_at(path), piece, recompute);
            }
    test_end(&t);
}

static void test_streams(void **state)
{
    (void)state;
    test_ctx t = test_begin(4);
    for (int path = 0; rk_kernels_at(path); path++)
        for (int long_class = 0; long_class < 2; long_class++) {
            net m;
            net_init(&t, &m, rk_kernels_at(path), long_class);
            const int32_t *tokens = test_tokens(&t, (int64_t)STREAMS * STEPS, V);
            const net_out all = net_forward(&m, STREAMS, tokens, tokens);
            for (int64_t b = 0; b < STREAMS; b++) {
                const int32_t *own = tokens + b * STEPS;
                const net_out one = net_forward(&m, 1, own, own);
                test_shape(&t, "%s, long %d, stream %" PRId64, rk_kernels_at(path)->name,
                           long_class, b);
                test_same(&t, "x", (float *)all.x->data + b * STEPS * C, one.x->data,
                          rk_tensor_bytes(one.x));
                test_same(&t, "state", (float *)all.state->data + b * H * N * N, one.state->data,
                          rk_tensor_bytes(one.state));
                test_same(&t, "loss", (float *)all.loss->data + b * STEPS, one.loss->data,
                          rk_tensor_bytes(one.loss));
            }
            net_deinit(&m);
            test_reset(&t);
        }
    test_end(&t);
}

/* Parameters that a recomputed segment uses get their gradients when its inputs need none. */
static void test_recompute_frozen_input(void **state)
{
    (void)state;
    test_ctx t = test_begin(5);
    net plain, again;
    net_init(&t, &plain, &rk_kernels_ref_f32, true);
    t.n_arrays = 0;
    net_init(&t, &again, &rk_kernels_ref_f32, true);
    const int32_t *tokens = test_tokens(&t, STEPS, V);
    again.recompute = true;
    plain.p[EMB].requires_grad = again.p[EMB].requires_grad = false;
    net_backward(&plain, 1, 1, tokens, tokens);
    net_backward(&again, 1, 1, tokens, tokens);
    for (int i = 0; i < N_PARAMS; i++)
        test_same(&t, "gradient", plain.p[i].grad, again.p[i].grad, rk_tensor_bytes(&plain.p[i]));
    net_deinit(&plain);
    net_deinit(&again);
    test_end(&t);
}

/* ---------------------------------------------------------------------------------------- tape */

/* Scratch, and all that a segment made but its results, is given back at once, and the results are
 * those of the segment run plainly; the seed is a factor of all gradients; the tape is empty afterwards. */
static void test_memory_and_seed(void **state)
{
    (void)state;
    test_ctx t = test_begin(6);
    net once, twice;
    net_init(&t, &once, &rk_kernels_ref_f32, true);
    t.n_arrays = 0;
    net_init(&t, &twice, &rk_kernels_ref_f32, true);
    const int64_t dims[] = {2, STEPS, C};
    rk_ctx *ctx = &once.ctx;
    rk_tensor *x = rk_new_zeros(ctx, RK_F32, 3, dims), *out[2] = {0};
    out[0] = rk_new_like(ctx, x);
    out[1] = rk_new(ctx, RK_F32, 4, (const int64_t[]){2, H, N, N});
    const size_t before = ctx->data.used;
    rk_recompute(ctx, layer, &once, &x, 1, out, 2);
    assert_int_equal(ctx->data.used, before);
    rk_tensor *plain[2];
    layer(ctx, &once, &x, plain);
    for (int i = 0; i < 2; i++) {
        test_same(&t, "recomputed result", plain[i]->data, out[i]->data, rk_tensor_bytes(out[i]));
        memset(out[i]->data, 0, rk_tensor_bytes(out[i]));
    }
    const size_t more = ctx->data.used;
    rk_scoped(ctx, layer, &once, &x, 1, out, 2);
    assert_int_equal(ctx->data.used, more);
    for (int i = 0; i < 2; i++)
        test_same(&t, "scoped result", plain[i]->data, out[i]->data, rk_tensor_bytes(out[i]));
    rk_linear(ctx, x, rk_weight_of(&once.p[W_R], RK_OUT_IN), NULL);
    assert_int_equal(ctx->data.used, more + rk_align_up(rk_tensor_bytes(x), RK_ARENA_ALIGN));
    for (int i = 0; i < 2; i++) {
        net *m = i ? &twice : &once;
        rk_ctx_reset(&m->ctx);
        m->ctx.recording = true;
        rk_tensor *sum = rk_sum(
            &m->ctx, rk_linear(&m->ctx, &m->p[EMB], rk_weight_of(&m->p[W_K], RK_OUT_IN), NULL));
        rk_backward(&m->ctx, sum, i ? 2.0 : 1.0);
        assert_false(rk_ctx_failed(&m->ctx));
        assert_null(m->ctx.tape);
    }
    for (int64_t i = 0; i < (int64_t)V * C; i++) {
        const float g = ((const float *)once.p[EMB].grad)[i] * 2.0f;
        test_same(&t, "gradient", &g, (const float *)twice.p[EMB].grad + i, sizeof g);
    }
    net_deinit(&once);
    net_deinit(&twice);
    test_end(&t);
}

/* A summand's gradient may begin in the memory of the sum's: x, or a copy or view of it, is both
 * input and summand of two linears in turn, and is used once more beside them. */
static void run_residuals(net *m, const int32_t *tokens, bool copied, bool viewed)
{
    rk_ctx *ctx = &m->ctx;
    const int64_t dims[] = {1, STEPS};
    rk_tensor *ids = rk_new(ctx, RK_I32, 2, dims);
    ctx->recording = true;
    memcpy(ids->data, tokens, rk_tensor_bytes(ids));
    rk_tensor *x = rk_embedding(ctx, &m->p[EMB], ids), *first = x;
    for (int i = 0; i < 2; i++) {
        rk_tensor *add = copied ? rk_copy(ctx, x) : viewed ? rk_view(ctx, x, 3, x->dims) : x;
        x = rk_linear(ctx, x, rk_weight_of(&m->p[W_K], RK_OUT_IN), add);
    }
    rk_backward(ctx, rk_sum(ctx, rk_mul(ctx, x, first)), 1.0);
    assert_false(rk_ctx_failed(ctx));
}

static void test_residuals(void **state)
{
    (void)state;
    test_ctx t = test_begin(7);
    net m[3];
    const int32_t *tokens = test_tokens(&t, STEPS, V);
    for (int i = 0; i < 3; i++) {
        t.n_arrays = 1;
        net_init(&t, &m[i], &rk_kernels_ref_f32, true);
        run_residuals(&m[i], tokens, i == 0, i == 1);
        test_close(&t, "gradient of x", m[0].p[EMB].grad, m[i].p[EMB].grad, (int64_t)V * C, 1e-4f);
        test_close(&t, "gradient of w", m[0].p[W_K].grad, m[i].p[W_K].grad, (int64_t)C * C, 1e-4f);
    }
    for (int i = 0; i < 3; i++)
        net_deinit(&m[i]);
    test_end(&t);
}

/* A gradient that is not the one announced is refused. */
static void test_other_seed(void **state)
{
    (void)state;
    test_ctx t = test_begin(8);
    net m;
    net_init(&t, &m, &rk_kernels_ref_f32, true);
    const int32_t *tokens = test_tokens(&t, STEPS, V);
    m.ctx.recording = true;
    m.seed = SEED;
    const net_out o = net_forward(&m, 1, tokens, tokens);
    rk_backward(&m.ctx, o.loss, 2.0 * SEED);
    assert_int_equal(m.ctx.err.code, RK_ERR_ARG);
    net_deinit(&m);
    test_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recompute),
        cmocka_unit_test(test_plan),
        cmocka_unit_test(test_micro_batches),
        cmocka_unit_test(test_streams),
        cmocka_unit_test(test_recompute_frozen_input),
        cmocka_unit_test(test_memory_and_seed),
        cmocka_unit_test(test_residuals),
        cmocka_unit_test(test_other_seed),
    };
    return cmocka_run_group_tests_name("tape", tests, NULL, NULL);
}
