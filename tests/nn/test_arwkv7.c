/* ARWKV-7's time mix (arXiv 2501.15570), the three forms of its gate: values worked out in double from
 * its equations, with numbers drawn as the generator below draws them; and the same for a sequence, for
 * one token after the other and for any cut between them, in every path of this machine. */
#include "test_util.h"

#include "nn/rwkv7.h"

enum { T = 5, C = 8, N = 4, H = 2, RANK = 2, LAYERS = 2 };
typedef enum gate { NONE, PLAIN, ONE_PLUS, N_GATES } gate;

typedef struct rig {
    rk_pool *pool;
    rk_ctx ctx;
    rk_dtype real;
    uint64_t s; /* of the generator */
    rk_tensor *x, *teacher[LAYERS];
    rk_rwkv7_time_mix layer[LAYERS];
} rig;

static double next(rig *g, double scale)
{
    g->s = g->s * 6364136223846793005u + 1442695040888963407u;
    return scale * (2 * ((double)(g->s >> 11) * 0x1p-53) - 1);
}

static rk_tensor *draw(rig *g, int64_t rows, int64_t cols, double base, double factor, double scale)
{
    const int64_t dims[] = {rows, cols};
    rk_tensor *t = rk_new(&g->ctx, g->real, rows == 1 ? 1 : 2, rows == 1 ? dims + 1 : dims);
    assert_non_null(t);
    for (int64_t i = 0; i < rows * cols; i++) {
        const double x = base + factor * next(g, scale);
        if (g->real == RK_F64)
            ((double *)t->data)[i] = x;
        else
            ((float *)t->data)[i] = (float)x;
    }
    return t;
}

static rk_tensor *unit(rig *g)
{
    return draw(g, 1, C, 0.5, 0.5, 1);
}

static rk_tensor *matrix(rig *g, int64_t rows, int64_t cols)
{
    return draw(g, rows, cols, 0, 1, 0.4);
}

/* v0, the vector, then its pair. */
static rk_tensor *with_pair(rig *g, rk_weight *down, rk_weight *up)
{
    rk_tensor *bias = draw(g, 1, C, 0, 1, 1);
    *down = rk_weight_of(matrix(g, C, RANK), RK_IN_OUT);
    *up = rk_weight_of(matrix(g, RANK, C), RK_IN_OUT);
    return bias;
}

static rk_weight whole(rig *g)
{
    return rk_weight_of(matrix(g, C, C), RK_OUT_IN);
}

static void draw_layer(rig *g, rk_rwkv7_time_mix *p, gate form)
{
    const int64_t head[] = {H, N};
    rk_tensor **const mixes[] = {&p->x_r, &p->x_w, &p->x_k, &p->x_v, &p->x_a, &p->x_g};
    for (int i = 0; i < 6; i++)
        *mixes[i] = unit(g);
    p->w0 = with_pair(g, &p->w1, &p->w2);
    p->a0 = with_pair(g, &p->a1, &p->a2);
    p->v0 = with_pair(g, &p->v1, &p->v2);
    p->g1 = rk_weight_of(matrix(g, C, RANK), RK_IN_OUT);
    p->g2 = rk_weight_of(matrix(g, RANK, C), RK_IN_OUT);
    p->k_k = draw(g, 1, C, 1, 1, 0.3);
    p->k_a = draw(g, 1, C, 1, 1, 0.3);
    p->r_k = rk_view(&g->ctx, matrix(g, 1, C), 2, head);
    p->receptance = whole(g);
    p->key = whole(g);
    p->value = whole(g);
    p->output = whole(g);
    if (form == NONE) {
        p->x_g = NULL;
        p->g1 = p->g2 = (rk_weight){0};
    }
}

static void begin(rig *g, rk_dtype real, const rk_kernels *kernels, gate form)
{
    const int64_t dims[] = {1, T, C};
    rk_error err = {0};
    *g = (rig){.real = real, .s = 4};
    test_ok(rk_pool_new(&g->pool, 2, NULL, NULL, NULL, &err), &err);
    const rk_ctx_params p = {.kernels = kernels, .pool = g->pool, .data_kind = RK_ARENA_GROWING};
    test_ok(rk_ctx_init(&g->ctx, &p, &err), &err);
    g->x = rk_view(&g->ctx, draw(g, T, C, 0, 1, 1), 3, dims);
    for (int l = 0; l < LAYERS; l++)
        draw_layer(g, &g->layer[l], form);
    for (int l = 0; l < LAYERS; l++)
        g->teacher[l] = rk_view(&g->ctx, draw(g, T, C, 0, 1, 1), 3, dims);
}

static void end(rig *g)
{
    rk_ctx_deinit(&g->ctx);
    rk_pool_free(g->pool);
}

static double at(const rk_tensor *t, int64_t i)
{
    return t->dtype == RK_F64 ? ((const double *)t->data)[i] : (double)((const float *)t->data)[i];
}

static rk_rwkv7_form form_of(gate form)
{
    return (rk_rwkv7_form){.scale = 1, .gate_base = form == ONE_PLUS};
}

/* The state of a layer before any token. */
static rk_rwkv7_time_mix_io fresh(rig *g)
{
    const int64_t shift[] = {1, C}, wkv[] = {1, H, N, N};
    return (rk_rwkv7_time_mix_io){.shift = rk_new_zeros(&g->ctx, g->real, 2, shift),
                                  .wkv = rk_new_zeros(&g->ctx, g->real, 4, wkv)};
}

/* Rows [lo, hi) through both layers, which get the same input; out (LAYERS, T, C) is filled in. */
static void run(rig *g, gate form, int64_t lo, int64_t hi, rk_rwkv7_time_mix_io *io, double *out)
{
    const rk_rwkv7_form f = form_of(form);
    rk_tensor *x = rk_copy(&g->ctx, rk_slice(&g->ctx, g->x, 1, lo, hi)), *v_first = NULL;
    for (int l = 0; l < LAYERS; l++) {
        io[l].v_first = v_first;
        const rk_tensor *y = rk_rwkv7_time_mix_forward(&g->ctx, &g->layer[l], x, NULL, &f, &io[l]);
        v_first = io[l].v_first;
        test_ok(rk_ctx_status(&g->ctx, NULL), &g->ctx.err);
        for (int64_t i = 0; i < (hi - lo) * C; i++)
            out[(l * T + lo) * C + i] = at(y, i);
    }
}

static const double golden[N_GATES][LAYERS][C] = {
    {{0.007061888, -0.003324520, -0.025415295, -0.007509930, 0.009878571, -0.016822555, 0.003599991,
      0.018384440},
     {-0.003926306, 0.003568590, -0.001083318, 0.018399902, -0.015444131, -0.013008888,
      -0.009714602, 0.009560822}},
    {{-0.000261649, 0.001140258, 0.004949238, -0.000065022, 0.000517714, 0.001272969, 0.002625149,
      -0.004652520},
     {-0.002177097, -0.001605015, 0.000606001, -0.001129574, -0.000648091, -0.002683028,
      0.001724483, -0.002013150}},
    {{0.006800239, -0.002184262, -0.020466057, -0.007574952, 0.010396286, -0.015549586, 0.006225140,
      0.013731920},
     {-0.006103403, 0.001963576, -0.000477316, 0.017270328, -0.016092222, -0.015691917,
      -0.007990118, 0.007547672}},
};
static const double stage1_loss[N_GATES] = {0.606106632, 0.606707585, 0.606020323};

static void test_draws(void **state)
{
    (void)state;
    rig g;
    begin(&g, RK_F64, &rk_kernels_ref_f32, PLAIN);
    assert_true(fabs(at(g.x, 0) + 0.083578562) < 1e-8);
    assert_true(fabs(at(g.layer[1].output.matrix, C * C - 1) - 0.146261804) < 1e-8);
    assert_true(fabs(at(g.teacher[1], T * C - 1) - 0.710975037) < 1e-8);
    end(&g);
}

/* The mean over tokens and layers of |teacher - student| / sqrt(C). */
static double distance(rig *g, const double *out)
{
    double sum = 0;
    for (int l = 0; l < LAYERS; l++) {
        rk_tensor *student = rk_new_like(&g->ctx, g->teacher[l]);
        memcpy(student->data, out + l * T * C, rk_tensor_bytes(student));
        const rk_tensor *rows =
            rk_distance(&g->ctx, student, g->teacher[l], 1 / (LAYERS * sqrt(C)));
        for (int64_t t = 0; t < T; t++)
            sum += at(rows, t) / T;
    }
    return sum;
}

static void test_golden(void **state)
{
    (void)state;
    for (gate form = NONE; form < N_GATES; form++) {
        double out[LAYERS * T * C];
        rig g;
        begin(&g, RK_F64, &rk_kernels_ref_f32, form);
        rk_rwkv7_time_mix_io io[LAYERS] = {fresh(&g), fresh(&g)};
        run(&g, form, 0, T, io, out);
        for (int l = 0; l < LAYERS; l++)
            for (int64_t c = 0; c < C; c++)
                if (fabs(out[(l * T + T - 1) * C + c] - golden[form][l][c]) > 1e-6)
                    fail_msg("gate %d, layer %d, channel %d: %.9f, want %.9f", (int)form, l, (int)c,
                             out[(l * T + T - 1) * C + c], golden[form][l][c]);
        assert_true(fabs(distance(&g, out) - stage1_loss[form]) < 1e-6);
        end(&g);
    }
}

/* Each cut of the tokens into up to three pieces against the whole: bit b of `cuts` is a cut behind
 * token b. */
static void check_cuts(rk_dtype real, const rk_kernels *kernels, gate form, double tolerance)
{
    double whole_out[LAYERS * T * C], out[LAYERS * T * C];
    for (unsigned cuts = 0; cuts < 1u << (T - 1); cuts++) {
        rig g;
        begin(&g, real, kernels, form);
        rk_rwkv7_time_mix_io io[LAYERS] = {fresh(&g), fresh(&g)};
        int64_t lo = 0;
        for (int64_t t = 0; t < T; t++)
            if (t == T - 1 || cuts >> t & 1) {
                run(&g, form, lo, t + 1, io, cuts ? out : whole_out);
                lo = t + 1;
            }
        for (int i = 0; cuts && i < LAYERS * T * C; i++)
            if (!(fabs(out[i] - whole_out[i]) <= tolerance))
                fail_msg("gate %d, cuts %x, %s: element %d is %g, want %g", (int)form, cuts,
                         kernels->name, i, out[i], whole_out[i]);
        end(&g);
    }
}

static void test_cuts(void **state)
{
    (void)state;
    for (gate form = NONE; form < N_GATES; form++) {
        check_cuts(RK_F64, &rk_kernels_ref_f32, form, 1e-14);
        for (int p = 0; rk_kernels_at(p); p++)
            check_cuts(RK_F32, rk_kernels_at(p), form,
                       0); /* all in the short class: the same bits */
    }
}

/* A gate of 1 plus nothing is no gate. */
static void test_gate_at_rest(void **state)
{
    (void)state;
    double with[LAYERS * T * C], without[LAYERS * T * C];
    for (int once = 0; once < 2; once++) {
        rig g;
        begin(&g, RK_F64, &rk_kernels_ref_f32, once ? ONE_PLUS : NONE);
        rk_rwkv7_time_mix_io io[LAYERS] = {fresh(&g), fresh(&g)};
        for (int l = 0; once && l < LAYERS; l++)
            memset(g.layer[l].g2.matrix->data, 0, rk_tensor_bytes(g.layer[l].g2.matrix));
        run(&g, once ? ONE_PLUS : NONE, 0, T, io, once ? with : without);
        end(&g);
    }
    assert_memory_equal(with, without, sizeof with);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_draws), cmocka_unit_test(test_golden),
                                       cmocka_unit_test(test_cuts),
                                       cmocka_unit_test(test_gate_at_rest)};
    return cmocka_run_group_tests_name("arwkv7", tests, NULL, NULL);
}
