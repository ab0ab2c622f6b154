/* The channel mix that asks states against known values, worked out in double from its equations
 * (docs/meta-state.md); what more parameter tokens and more heads leave as it was; a token at a time gives the
 * bits of several, before and after the token, one stream or two; causality; and what routing leaves out. */
#include "nn/test_layer.h"

#include <math.h>
#include <string.h>

#include "nn/meta.h"

enum { C = 8, T = 6, H = 2, N = 4, F = 12 };

static double *reals(const rk_tensor *t)
{
    return t->data;
}

static double logistic(double x)
{
    return 1 / (1 + exp(-x));
}

/* What is drawn, in its order. */
typedef struct layer {
    rk_tensor *x, *w, *kh, *a, *k, *v;
    rk_meta_mix mix;
    rk_wkv7_in wkv;
    rk_tensor *state, *shift;
} layer;

static layer draw_layer(rig *g)
{
    layer l = {.x = draw(g, 0, 1, DIMS(1, T, C))};
    l.w = draw(g, 0, 2, DIMS(1, T, H, N));
    for (int i = 0; i < T * C; i++)
        reals(l.w)[i] = exp(-exp(-0.5) * logistic(reals(l.w)[i]));
    l.kh = rk_l2norm(&g->ctx, draw(g, 0, 1, DIMS(1, T, H, N)));
    l.a = draw(g, 0, 2, DIMS(1, T, H, N));
    for (int i = 0; i < T * C; i++)
        reals(l.a)[i] = logistic(reals(l.a)[i]);
    l.k = draw(g, 0, 1, DIMS(1, T, H, N));
    l.v = draw(g, 0, 1, DIMS(1, T, H, N));
    l.mix.x_k = draw(g, 0.5, 0.5, DIMS(C));
    l.mix.key = rk_weight_of(draw(g, 0, 0.4, DIMS(F, C)), RK_OUT_IN);
    const rk_tensor *values = draw(g, 0, 0.4, DIMS(F, C)); /* a row a parameter token */
    rk_tensor *value = rk_new(&g->ctx, RK_F64, DIMS(C, F));
    for (int i = 0; i < F * C; i++)
        reals(value)[i % C * F + i / C] = reals(values)[i];
    l.mix.value = rk_weight_of(value, RK_OUT_IN);
    l.mix.gamma = draw(g, 0, 0.5, DIMS(N));
    l.wkv = (rk_wkv7_in){.r = l.k,
                         .w = l.w,
                         .k = l.k,
                         .v = l.v,
                         .a = rk_scale(&g->ctx, l.kh, -1),
                         .b = rk_mul(&g->ctx, l.kh, l.a)};
    l.state = rk_new_zeros(&g->ctx, RK_F64, DIMS(1, H, N, N));
    l.shift = rk_new_zeros(&g->ctx, RK_F64, DIMS(1, C));
    l.wkv.state = l.state;
    return l;
}

static const rk_self_state_form first_head = {.n_heads = 1, .heads = {0}, .norm = true};

static const double *forward(rig *g, const layer *l, const rk_meta_mix *mix,
                             const rk_self_state_form *asks)
{
    rk_error err = {0};
    rk_meta_mix_io io = {.shift = l->shift, .state = l->state, .wkv = &l->wkv, .asks = asks};
    rk_tensor *zero = rk_new_zeros(&g->ctx, RK_F64, DIMS(1, T, C));
    rk_tensor *o = rk_meta_mix_forward(&g->ctx, mix, l->x, zero, &io);
    test_ok(rk_ctx_status(&g->ctx, &err), &err);
    return reals(o);
}

static const double x_0[] = {0.536419374,  0.834232251,  0.382790931,  -0.270978845,
                             -0.585460596, -0.119674135, -0.942479256, 0.549718416};
static const double gamma_0[] = {0.213878330, 0.261317033, -0.244883211, 0.069554449};
static const double s_5[] = {0.228774676, 0.462053129, 0.159952857, 0.325177294};
static const double eh_0[] = {-0.465071197, -1.321576519, -1.418388312, -0.145728672};
static const double eh_5[] = {1.549925318, 0.913632483, 0.192948224, -0.851675191};
static const double o_0[] = {0.020219375,  -0.008253366, 0.019078121, -0.005050484,
                             -0.003020007, -0.000448204, 0.018170246, -0.010104638};
static const double o_5[] = {-0.005112833, 0.022392496, 0.073018187,  0.012951776,
                             0.009445757,  0.062249310, -0.058582991, -0.015674101};
static const double plain_5[] = {0.008435426,  0.021306756, 0.031574512,  0.004096858,
                                 -0.002381177, 0.027960144, -0.018512010, -0.020486852};

static void test_known_values(void **state)
{
    (void)state;
    rig g;
    rig_init(&g, 2, 2, &rk_kernels_ref_f32);
    const layer l = draw_layer(&g);
    rk_tensor *after = NULL;
    test_close_f64(&g.t, "x", x_0, reals(l.x), C, 1e-8);
    test_close_f64(&g.t, "gamma", gamma_0, reals(l.mix.gamma), N, 1e-8);
    rk_wkv7(&g.ctx, &l.wkv, &after);
    test_close_f64(&g.t, "S", s_5, reals(after), N, 1e-6);

    /* (z - x) / gamma is what the state answers, normalised. */
    rk_tensor *shift = l.shift;
    rk_tensor *z = rk_index(&g.ctx, rk_shift_mix(&g.ctx, l.x, l.shift, &l.mix.x_k, 1, &shift), 0);
    const rk_self_state_in ask = {
        .x = z, .gamma = l.mix.gamma, .state = l.state, .wkv = &l.wkv, .form = first_head};
    const rk_tensor *e = rk_self_state(&g.ctx, &ask);
    for (int t = 0; t < T; t += T - 1) {
        double eh[N];
        for (int i = 0; i < N; i++)
            eh[i] = (reals(e)[t * C + i] - reals(z)[t * C + i]) / gamma_0[i];
        test_close_f64(&g.t, t ? "eh 5" : "eh 0", t ? eh_5 : eh_0, eh, N, 1e-6);
    }
    const double *o = forward(&g, &l, &l.mix, &first_head);
    test_close_f64(&g.t, "o 0", o_0, o, C, 1e-6);
    test_close_f64(&g.t, "o 5", o_5, o + 5 * C, C, 1e-6);
    rk_meta_mix plain = l.mix;
    plain.gamma = rk_new_zeros(&g.ctx, RK_F64, DIMS(N));
    o = forward(&g, &l, &plain, &first_head);
    test_close_f64(&g.t, "o 5, gamma 0", plain_5, o + 5 * C, C, 1e-6);
    plain.gamma = NULL;
    test_same(&g.t, "no gamma", forward(&g, &l, &plain, &first_head), o, T * C * sizeof *o);
    rig_deinit(&g);
}

/* Four more parameter tokens that give nothing, and a second head whose gamma is 0. */
static void test_growth(void **state)
{
    (void)state;
    rig g;
    rig_init(&g, 2, 2, &rk_kernels_ref_f32);
    const layer l = draw_layer(&g);
    const double *o = forward(&g, &l, &l.mix, &first_head);
    rk_meta_mix more = l.mix;
    rk_tensor *keys[] = {l.mix.key.matrix, draw(&g, 0, 0.4, DIMS(4, C))};
    rk_tensor *values[] = {l.mix.value.matrix, rk_new_zeros(&g.ctx, RK_F64, DIMS(C, 4))};
    more.key.matrix = rk_concat(&g.ctx, keys, 2, 0);
    more.value.matrix = rk_concat(&g.ctx, values, 2, 1);
    test_same(&g.t, "more tokens", o, forward(&g, &l, &more, &first_head), T * C * sizeof *o);
    const rk_self_state_form both = {.n_heads = 2, .heads = {0, 1}, .norm = true};
    rk_tensor *gammas[] = {l.mix.gamma, rk_new_zeros(&g.ctx, RK_F64, DIMS(N))};
    more.gamma = rk_concat(&g.ctx, gammas, 2, 0);
    test_same(&g.t, "more heads", o, forward(&g, &l, &more, &both), T * C * sizeof *o);
    rig_deinit(&g);
}

/* What a token sees does not depend on those behind it. */
static void test_causal(void **state)
{
    (void)state;
    rig g;
    rig_init(&g, 2, 2, &rk_kernels_ref_f32);
    const layer l = draw_layer(&g);
    enum { CHANGED = 3 };
    for (int before = 0; before < 2; before++) {
        rk_self_state_form asks = first_head;
        asks.before = before;
        const double *o = forward(&g, &l, &l.mix, &asks);
        rk_tensor *const parts[] = {l.x, l.w, l.k, l.v, l.wkv.a, l.wkv.b};
        for (size_t i = 0; i < RK_COUNT(parts); i++)
            reals(parts[i])[CHANGED * C + 1] *= 0.5;
        const double *p = forward(&g, &l, &l.mix, &asks);
        test_same(&g.t, "before", o, p, CHANGED * C * sizeof *o);
        assert_true(memcmp(o + CHANGED * C, p + CHANGED * C, C * sizeof *o) != 0);
    }
    rig_deinit(&g);
}

/* ---- in f32: one token after another, on every path ---- */

enum { BATCH = 2, STEPS = 7, WIDE = 24, HEADS = 3, SIZE = 8 };

static rk_tensor *noise(rig *g, double base, double scale, int n_dims, const int64_t *dims)
{
    rk_tensor *x = rk_new(&g->ctx, RK_F32, n_dims, dims);
    assert_non_null(x);
    for (int64_t i = 0; i < rk_tensor_count(x); i++)
        ((float *)x->data)[i] = (float)next(g, base, scale);
    return x;
}

/* Rows b of the batch and t of the tokens, of all of them. */
static rk_tensor *piece(rig *g, rk_tensor *x, int64_t b0, int64_t b1, int64_t t0, int64_t t1)
{
    return rk_copy(&g->ctx, rk_slice(&g->ctx, rk_slice(&g->ctx, x, 0, b0, b1), 1, t0, t1));
}

static rk_wkv7_in piece_of(rig *g, const rk_wkv7_in *in, int64_t b0, int64_t b1, int64_t t0,
                           int64_t t1)
{
    return (rk_wkv7_in){.r = piece(g, in->r, b0, b1, t0, t1),
                        .w = piece(g, in->w, b0, b1, t0, t1),
                        .k = piece(g, in->k, b0, b1, t0, t1),
                        .v = piece(g, in->v, b0, b1, t0, t1),
                        .a = piece(g, in->a, b0, b1, t0, t1),
                        .b = piece(g, in->b, b0, b1, t0, t1)};
}

static void one_by_one(rig *g, rk_self_state_in all, const rk_wkv7_in *wkv, int64_t b0, int64_t b1)
{
    rk_error err = {0};
    const rk_tensor *want = rk_self_state(&g->ctx, &all);
    rk_tensor *s = rk_copy(&g->ctx, rk_slice(&g->ctx, wkv->state, 0, b0, b1)), *x = all.x;
    for (int64_t t = 0; t < STEPS; t++) {
        rk_wkv7_in now = piece_of(g, wkv, b0, b1, t, t + 1);
        rk_tensor *found = now.state = s;
        rk_wkv7(&g->ctx, &now, &s);
        all.x = piece(g, x, b0, b1, t, t + 1);
        all.state = all.form.before ? found : s;
        all.wkv = NULL;
        const rk_tensor *z = rk_self_state(&g->ctx, &all);
        test_ok(rk_ctx_status(&g->ctx, &err), &err);
        for (int64_t b = b0; b < b1; b++)
            test_same(&g->t, "one token", (const float *)want->data + (b * STEPS + t) * WIDE,
                      (const float *)z->data + (b - b0) * WIDE, WIDE * sizeof(float));
    }
}

static void test_steps(void **state)
{
    (void)state;
    const rk_kernels *kernels;
    for (int k = 0; (kernels = rk_kernels_at(k)); k++)
        for (int way = 0; way < 4; way++) {
            rig g;
            rig_init(&g, 2, 2, kernels);
            test_shape(&g.t, "%s, way %d", kernels->name, way);
            const int64_t heads[] = {BATCH, STEPS, HEADS, SIZE};
            const rk_wkv7_in wkv = {.r = noise(&g, 0, 1, 4, heads),
                                    .w = noise(&g, 0.7, 0.2, 4, heads),
                                    .k = noise(&g, 0, 1, 4, heads),
                                    .v = noise(&g, 0, 1, 4, heads),
                                    .a = noise(&g, 0, 0.4, 4, heads),
                                    .b = noise(&g, 0, 0.4, 4, heads),
                                    .state = noise(&g, 0, 1, DIMS(BATCH, HEADS, SIZE, SIZE))};
            const rk_self_state_in in = {
                .x = noise(&g, 0, 1, DIMS(BATCH, STEPS, WIDE)),
                .gamma = noise(&g, 0, 1, DIMS(2 * SIZE)),
                .state = wkv.state,
                .wkv = &wkv,
                .form = {.n_heads = 2, .heads = {2, 1}, .norm = way & 1, .before = way & 2}};
            one_by_one(&g, in, &wkv, 0, BATCH);
            one_by_one(&g, in, &wkv, 1, BATCH);
            rig_deinit(&g);
        }
}

/* Of three blocks the best two, and of the one behind them, a generation of its own, that one. */
static void test_route(void **state)
{
    (void)state;
    rig g;
    rig_init(&g, 2, 2, &rk_kernels_ref_f32);
    rk_tensor *p = rk_new(&g.ctx, RK_F64, DIMS(2, 8));
    const double scores[] = {1, 2, 3, 3, -4, 1, -9, 1, /* of the second row: equal ones */
                             1, 1, 1, 1, 1,  1, 2,  2};
    const double want[] = {1, 4, 9, 9, 0, 0, 0, 1, 1, 1, 1, 1, 0, 0, 4, 4};
    memcpy(p->data, scores, sizeof scores);
    const rk_route_form form = {.block = 2, .best = 2, .n_generations = 2, .ends = {6, 8}};
    const rk_tensor *k = rk_route(&g.ctx, p, &form);
    assert_non_null(k);
    test_close_f64(&g.t, "chosen", want, k->data, RK_COUNT(want), 0);
    rig_deinit(&g);
}

/* n sum_b f_b P_b of each sequence, from its definition; f as the scores p0 have chosen. */
static double balance(const double *p0, const double *p)
{
    enum { LEN = 3, BLOCKS = 3, WIDTH = 2 };
    double loss = 0;
    for (int s = 0; s < 2; s++) {
        double f[BLOCKS] = {0}, mean[BLOCKS] = {0};
        for (int t = 0; t < LEN; t++) {
            const int64_t row = (s * LEN + t) * BLOCKS * WIDTH;
            double was[BLOCKS], e[BLOCKS], sum = 0;
            int best = 0;
            for (int b = 0; b < BLOCKS; b++) {
                was[b] = p0[row + 2 * b] + p0[row + 2 * b + 1];
                best = was[b] > was[best] ? b : best;
                sum += e[b] = exp((p[row + 2 * b] + p[row + 2 * b + 1]) / WIDTH);
            }
            f[best] += 1.0 / LEN;
            for (int b = 0; b < BLOCKS; b++)
                mean[b] += e[b] / sum / LEN;
        }
        for (int b = 0; b < BLOCKS; b++)
            loss += BLOCKS * f[b] * mean[b] / 2;
    }
    return loss;
}

/* Where nothing is asked of the outputs the gradient is the balance's: twice as large for weight 2, as if the
 * mean of its value over the sequences had joined a loss of which each position has its share. */
static void test_balance(void **state)
{
    (void)state;
    enum { COUNT = 2 * 3 * 6 };
    rig g;
    rig_init(&g, 2, 2, &rk_kernels_ref_f32);
    rk_tensor *p = rk_new(&g.ctx, RK_F64, DIMS(2, 3, 6));
    for (int i = 0; i < COUNT; i++)
        ((double *)p->data)[i] = sin(3.0 * i);
    p->requires_grad = true;
    const rk_route_form form = {
        .block = 2, .best = 1, .n_generations = 1, .ends = {6}, .balance = 2.0};
    g.ctx.recording = true;
    rk_tensor *y = rk_scale(&g.ctx, rk_route(&g.ctx, p, &form), 0.0);
    assert_non_null(y);
    rk_backward(&g.ctx, y, 1.0 / 6);
    const double *got = rk_grad(&g.ctx, p);
    double p0[COUNT], at[COUNT], want[COUNT];
    memcpy(p0, p->data, sizeof p0);
    for (int i = 0; i < COUNT; i++) {
        memcpy(at, p0, sizeof at);
        at[i] = p0[i] + 1e-5;
        want[i] = balance(p0, at);
        at[i] = p0[i] - 1e-5;
        want[i] = 2.0 * (want[i] - balance(p0, at)) / 2e-5;
    }
    test_close_f64(&g.t, "balance", want, got, COUNT, 1e-7);
    rig_deinit(&g);
}

/* Heads that are not there, or asked twice, are a sentence. */
static void test_refused(void **state)
{
    (void)state;
    static const rk_self_state_form wrong[] = {
        {.n_heads = 1, .heads = {H}},         {.n_heads = 1, .heads = {-1}},
        {.n_heads = 2, .heads = {1, 1}},      {.n_heads = 0},
        {.n_heads = RK_SELF_STATE_HEADS + 1},
    };
    for (size_t i = 0; i < RK_COUNT(wrong); i++) {
        rig g;
        rk_error err = {0};
        rig_init(&g, 2, 2, &rk_kernels_ref_f32);
        const layer l = draw_layer(&g);
        const rk_self_state_in in = {
            .x = l.x, .gamma = l.mix.gamma, .state = l.state, .wkv = &l.wkv, .form = wrong[i]};
        assert_null(rk_self_state(&g.ctx, &in));
        assert_int_equal(rk_ctx_status(&g.ctx, &err), RK_ERR_ARG);
        rig_deinit(&g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_values), cmocka_unit_test(test_growth),
        cmocka_unit_test(test_causal),       cmocka_unit_test(test_steps),
        cmocka_unit_test(test_route),        cmocka_unit_test(test_balance),
        cmocka_unit_test(test_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
