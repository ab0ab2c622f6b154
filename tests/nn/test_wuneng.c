/* State heads and middle heads against known values, worked out in double from their equations; the same
 * results however the tokens are cut; gradients against central differences. */
#include "nn/test_layer.h"

#include "nn/wuneng.h"

enum { C = 8, T = 6, D = 8, H = 2, N = 4, RANK = 2, TAPS = 2 };

static rk_weight matrix(rig *g, rk_layout layout, int64_t rows, int64_t cols)
{
    return rk_weight_of(draw(g, 0, 0.4, DIMS(rows, cols)), layout);
}

/* The mixer of one layer: what is drawn, in its order. */
typedef struct mixer {
    rk_tensor *x;
    rk_weight q, k, v, o;
    rk_state_heads state;
    rk_tensor *hop, *join[2], *up, *bias; /* join: of concat and of gate */
    rk_weight state_out, mid_out;
} mixer;

static const int32_t pairs[H][2] = {{0, 0}, {1, 1}};

static mixer draw_mixer(rig *g)
{
    mixer m = {.x = draw(g, 0, 1, DIMS(1, T, C))};
    m.q = matrix(g, RK_OUT_IN, C, C);
    m.k = matrix(g, RK_OUT_IN, N, C);
    m.v = matrix(g, RK_OUT_IN, N, C);
    m.o = matrix(g, RK_OUT_IN, C, C);
    rk_state_heads *s = &m.state;
    rk_tensor **const mu[] = {&s->x_r, &s->x_w, &s->x_k, &s->x_v, &s->x_a};
    for (size_t i = 0; i < RK_COUNT(mu); i++)
        *mu[i] = draw(g, 0.5, 0.5, DIMS(C));
    s->receptance = matrix(g, RK_OUT_IN, D, C);
    s->key = matrix(g, RK_OUT_IN, D, C);
    s->value = matrix(g, RK_OUT_IN, D, C);
    s->w0 = draw(g, 0, 1, DIMS(D));
    s->w1 = matrix(g, RK_IN_OUT, C, RANK);
    s->w2 = matrix(g, RK_IN_OUT, RANK, D);
    s->a0 = draw(g, 0, 1, DIMS(D));
    s->a1 = matrix(g, RK_IN_OUT, C, RANK);
    s->a2 = matrix(g, RK_IN_OUT, RANK, D);
    s->k_k = draw(g, 1, 0.3, DIMS(D));
    s->k_a = draw(g, 1, 0.3, DIMS(D));
    s->taps = draw(g, 0, 0.3, DIMS(TAPS, D));
    for (int i = 0; i < D; i++)
        ((double *)s->taps->data)[i] += 1;
    s->ln_x_w = draw(g, 1, 0.3, DIMS(D));
    s->ln_x_b = draw(g, 0, 0.1, DIMS(D));
    m.hop = draw(g, 0, 0.4, DIMS(H, N, N));
    m.join[0] = draw(g, 0, 0.4, DIMS(H, N, N + N));
    m.up = draw(g, 0, 0.4, DIMS(H, N, N));
    m.join[1] = draw(g, 0, 0.4, DIMS(H, N, N + N));
    m.bias = draw(g, 0, 0.4, DIMS(H, N));
    m.state_out = matrix(g, RK_OUT_IN, C, D);
    m.mid_out = matrix(g, RK_OUT_IN, C, C);
    return m;
}

static rk_state_heads_io first_state(rig *g)
{
    return (rk_state_heads_io){.n_head = H,
                               .head_size = N,
                               .removal = 1,
                               .shift = rk_new_zeros(&g->ctx, RK_F64, DIMS(1, C)),
                               .wkv = rk_new_zeros(&g->ctx, RK_F64, DIMS(1, H, N, N)),
                               .history = rk_new_zeros(&g->ctx, RK_F64, DIMS(1, TAPS - 1, D))};
}

static const double x_0[] = {-0.153581658, 0.018814886, 0.296718788, -0.234273219,
                             0.590895499,  0.001022566, 0.107870723, -0.869161376};
static const double r_0[] = {0.082696398,  0.039432179, -0.050667865, 0.063251274,
                             -0.049569657, 0.245137705, -0.031276853, -0.191394938};
static const double r_5[] = {-0.458583851, -1.358452746, 1.042340585,  0.845759635,
                             2.047381412,  0.028280786,  -1.037233662, -0.762669960};
static const double two_hops[] = {0.157804272, -0.070037700, 0.689327984,  -0.796401900,
                                  0.188481905, -0.313691576, -0.066521620, 0.304385706};
static const double s_5[] = {-0.015812728, 0.010624701, -0.021192049, 0.008393421};

static void test_state_heads(void **state)
{
    (void)state;
    rig g;
    rig_init(&g, 1, 1, &rk_kernels_ref_f32);
    const mixer m = draw_mixer(&g);
    test_close_f64(&g.t, "x[0]", x_0, m.x->data, C, 1e-8);
    rk_state_heads_io io = first_state(&g);
    const rk_tensor *r = rk_state_heads_forward(&g.ctx, &m.state, m.x, &io);
    assert_non_null(r);
    test_close_f64(&g.t, "R[0]", r_0, r->data, D, 1e-6);
    test_close_f64(&g.t, "R[5]", r_5, (const double *)r->data + 5 * D, D, 1e-6);
    test_close_f64(&g.t, "S_5[0]", s_5, io.wkv->data, N, 1e-6);
    rig_deinit(&g);
}

static void test_two_hops(void **state)
{
    (void)state;
    rig g;
    rig_init(&g, 1, 1, &rk_kernels_ref_f32);
    mixer m = draw_mixer(&g);
    m.state.hop = m.hop;
    rk_state_heads_io io = first_state(&g);
    const rk_tensor *r = rk_state_heads_forward(&g.ctx, &m.state, m.x, &io);
    assert_non_null(r);
    test_close_f64(&g.t, "R[5]", two_hops, (const double *)r->data + 5 * D, D, 1e-6);
    rig_deinit(&g);
}

/* Tokens 0 to 2 and 3 to 5, and one by one, with the state carried. */
static void test_cut(void **state)
{
    static const int64_t cuts[][T + 1] = {{0, 3, 6}, {0, 1, 2, 3, 4, 5, 6}, {0, 1, 6}};
    (void)state;
    rig g;
    rig_init(&g, 1, 1, &rk_kernels_ref_f32);
    const mixer m = draw_mixer(&g);
    rk_state_heads_io io = first_state(&g);
    const rk_tensor *whole = rk_state_heads_forward(&g.ctx, &m.state, m.x, &io);
    for (size_t i = 0; i < RK_COUNT(cuts); i++) {
        rk_state_heads_io part = first_state(&g);
        for (int q = 0; q < T && cuts[i][q + 1]; q++) {
            const int64_t lo = cuts[i][q], hi = cuts[i][q + 1];
            rk_tensor *x = rk_copy(&g.ctx, rk_slice(&g.ctx, m.x, 1, lo, hi));
            const rk_tensor *r = rk_state_heads_forward(&g.ctx, &m.state, x, &part);
            assert_non_null(r);
            test_shape(&g.t, "cut %d, tokens from %d", (int)i, (int)lo);
            test_close_f64(&g.t, "R", (const double *)whole->data + lo * D, r->data, (hi - lo) * D,
                           1e-12);
        }
        test_close_f64(&g.t, "history", io.history->data, part.history->data, D, 1e-12);
    }
    rig_deinit(&g);
}

static const double a_5[] = {0.134344326, -0.018319122, -0.259403174, -0.132184613,
                             0.128399437, 0.005966228,  -0.262824098, -0.100324938};
static const double y_5[][C] = {
    [RK_MIDDLE_GATE] = {0.253049220, 0.490640838, -0.786951238, -0.615804949, -0.780950895,
                        -0.661117475, -0.767340146, 0.303655829},
    [RK_MIDDLE_CONCAT] = {0.731497560, 0.409288574, -1.136782332, -0.884568591, -1.397192702,
                          -0.421976656, -0.716429314, -0.335195926},
    [RK_MIDDLE_ADD] = {0.286555184, 0.464015896, -0.628362193, -0.728148314, -0.925453453,
                       -0.729947684, -1.080322630, 0.368176615}};

static rk_tensor *split(rig *g, rk_tensor *x)
{
    const int64_t dims[] = {1, T, x->dims[2] / N, N};
    return rk_view(&g->ctx, x, 4, dims);
}

static rk_tensor *attend(rig *g, const mixer *m)
{
    const rk_attention_in in = {.q = split(g, rk_linear(&g->ctx, m->x, m->q, NULL)),
                                .k = split(g, rk_linear(&g->ctx, m->x, m->k, NULL)),
                                .v = split(g, rk_linear(&g->ctx, m->x, m->v, NULL)),
                                .keys = rk_new_zeros(&g->ctx, RK_F64, DIMS(1, 0, 1, N)),
                                .values = rk_new_zeros(&g->ctx, RK_F64, DIMS(1, 0, 1, N)),
                                .theta = 10000,
                                .scale = 0.5};
    rk_tensor *keys, *values;
    return rk_attention(&g->ctx, &in, &keys, &values);
}

/* W_o A + W_s R + W_m M in each mode. */
static void test_middle_heads(void **state)
{
    (void)state;
    rig g;
    rig_init(&g, 1, 1, &rk_kernels_ref_f32);
    const mixer m = draw_mixer(&g);
    rk_state_heads_io io = first_state(&g);
    rk_tensor *a = attend(&g, &m), *r = rk_state_heads_forward(&g.ctx, &m.state, m.x, &io);
    assert_non_null(a);
    test_close_f64(&g.t, "A[5]", a_5, (const double *)a->data + 5 * D, D, 1e-6);
    for (rk_middle_mode mode = RK_MIDDLE_GATE; mode <= RK_MIDDLE_ADD; mode++) {
        const rk_middle_heads p = {.join = mode == RK_MIDDLE_ADD ? NULL
                                                                 : m.join[mode == RK_MIDDLE_GATE],
                                   .up = m.up,
                                   .bias = m.bias,
                                   .pairs = pairs};
        rk_tensor *mid = rk_middle_heads_forward(&g.ctx, &p, mode, a, split(&g, r));
        rk_tensor *y = rk_linear(&g.ctx, rk_view(&g.ctx, a, 3, m.x->dims), m.o, NULL);
        y = rk_linear(&g.ctx, r, m.state_out, y);
        y = rk_linear(&g.ctx, mid, m.mid_out, y);
        assert_non_null(y);
        test_shape(&g.t, "mode %d", (int)mode);
        test_close_f64(&g.t, "y[5]", y_5[mode], (const double *)y->data + 5 * C, C, 1e-6);
    }
    rig_deinit(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_state_heads), cmocka_unit_test(test_two_hops),
        cmocka_unit_test(test_middle_heads), cmocka_unit_test(test_cut)};
    return cmocka_run_group_tests_name("wuneng", tests, NULL, NULL);
}
