/* Initial values against values of the reference trainer (C 768, L 12, N 64), worked out apart; and
 * matrices that are orthogonal. */
#include "test_sizes.h"

#include "model/init.h"

enum { C = 768, L = 12, N = 64 };
static const rk_hparams hp = {.n_embd = C, .n_layer = L, .head_size = N, .n_head = C / N};

static const float *vector(rk_init_fn *init, double arg, int64_t layer)
{
    static float x[C];
    rk_error err = {0};
    const rk_init p = {.hp = &hp, .layer = layer, .rows = 1, .cols = C, .x = x, .arg = arg};
    test_ok(init(&p, &err), &err);
    return x;
}

static void test_known_values(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        rk_init_fn *init;
        double arg;
        int64_t layer, n;
        double value;
    } rows[] = {
        {"w0", rk_init_w0, 0, 0, 0, -8.0},
        {"w0", rk_init_w0, 0, 0, 63, -2.5071708},
        {"w0", rk_init_w0, 0, 0, 64, -7.4993481},
        {"w0", rk_init_w0, 0, 0, 767, 3.0},
        {"w0", rk_init_w0, 0, 11, 63, -2.9595199},
        {"w0", rk_init_w0, 0, 11, 64, -7.9582246},
        {"x_r", rk_init_maa, 0.2, 0, 0, 1.0},
        {"x_r", rk_init_maa, 0.2, 0, 1, 0.7351940},
        {"x_r", rk_init_maa, 0.2, 0, 384, 0.1294494},
        {"x_r", rk_init_maa, 0.2, 0, 767, 2.6055e-4},
        {"ffn.x_k", rk_init_maa_ffn, 4, 0, 0, 1.0},
        {"ffn.x_k", rk_init_maa_ffn, 4, 0, 192, 0.75},
        {"ffn.x_k", rk_init_maa_ffn, 4, 0, 767, 1.0 / 768.0},
        {"ffn.x_k", rk_init_maa_ffn, 4, 6, 384, 0.04239672}, /* 1 - 2^-(1/16) */
        {"a0", rk_init_a0, 0, 0, 0, -0.19 - 0.3 - 0.2},      /* zz = -1, lin = -1/2 */
        {"a0", rk_init_a0, 0, 5, 767, -0.19 + 0.3 + 0.2},    /* zz = 1, lin = 1/2 */
        {"v0", rk_init_slope, 0.73, 3, 0, 0.93},             /* 0.73 + 0.2 */
        {"v0", rk_init_slope, 0.73, 3, 767, 0.53},           /* 0.73 - 0.2 */
        {"k_k", rk_init_k_k, 0.71, 3, 0, 0.76},              /* 0.71 + 0.05 */
        {"k_k", rk_init_k_k, 0.71, 3, 767, 0.66},            /* 0.71 - 0.05 */
        {"ln_x", rk_init_ln_x, 0.7, 11, 5, 1.0},             /* 1^0.7 */
        {"ln_x", rk_init_ln_x, 0.7, 5, 5, 0.61557221},       /* (1/2)^0.7 */
        {"k_a", rk_init_constant, 1.02, 7, 9, 1.02},
        {"maa_k", rk_init_maa, 1, 6, 192, 0.5},                  /* 1 - (1/4)^(1/2) */
        {"maa_v", rk_init_maa_v, 1, 6, 192, 0.5 - 0.3 * 6 / 11}, /* less 0.3 r01 */
        {"mix_k", rk_init_share, 1, 6, 192, 0.5},
        {"mix_v", rk_init_share_v, 1, 6, 192, 0.5 + 0.3 * 6 / 11},
        {"decay6", rk_init_decay6, 0, 5, 0, -6},
        {"decay6", rk_init_decay6, 0, 5, 767, -1},
        {"decay6", rk_init_decay6, 0, 11, 59, -5.97041448}, /* -6 + 5 (1/13)^2 */
        {"decay4", rk_init_decay4, 0, 11, 59, -4.95266317},
        {"first4", rk_init_first4, 0, 4, 1, -1.20397280 + 0.5},
        {"faaaa", rk_init_faaaa, 0, 11, 0, 1.0},
        {"faaaa", rk_init_faaaa, 0, 11, 59, 1 - 1.0 / 13 - 0.1},
    };
    for (size_t i = 0; i < RK_COUNT(rows); i++) {
        const double got = (double)vector(rows[i].init, rows[i].arg, rows[i].layer)[rows[i].n];
        if (!test_is_close(rows[i].value, got, 1e-7))
            fail_msg("%s of layer %d [%d]: want %.9g, got %.9g", rows[i].name, (int)rows[i].layer,
                     (int)rows[i].n, rows[i].value, got);
    }
}

/* Every element of every parameter gets a value, whatever its shape; equal ones are equal by
 * intent.
 */
static void test_all_filled(void **state)
{
    (void)state;
    test_ctx t = test_begin(6);
    for (int a = 0; rk_archs[a]; a++) {
        static const rk_size sizes[] = {
            {"n_vocab", 11}, {"n_embd", 32}, {"n_layer", 2}, {"head_size", 16}};
        rk_hparams small = test_hparams(rk_archs[a], sizes, RK_COUNT(sizes));
        rk_model *m = NULL;
        rk_error err = {0};
        small.tuned_state = true;
        test_ok(rk_model_new(&m, rk_archs[a], &small, &err), &err);
        for (int64_t i = 0; i < m->n_params; i++) {
            rk_tensor *x = &m->params[i].tensor;
            x->data = test_alloc_f32(&t, rk_tensor_count(x));
            memset(x->data, 0xff, rk_tensor_bytes(x)); /* NaN */
        }
        test_ok(rk_model_init(m, 9, NULL, &err), &err);
        for (int64_t i = 0; i < m->n_params; i++) {
            const rk_param *p = &m->params[i];
            const float *x = p->tensor.data;
            for (int64_t e = 0; e < rk_tensor_count(&p->tensor); e++)
                if (!isfinite(x[e]) ||
                    (p->spec->init == rk_init_uniform && (x[e] == 0 || (e && x[e] == x[e - 1]))))
                    fail_msg("%s of %s [%" PRId64 "] is %g", p->name, rk_archs[a]->name, e,
                             (double)x[e]);
        }
        rk_model_close(m);
    }
    test_end(&t);
}

/* One layer, one channel and heads of one: no formula divides by zero. */
static void test_smallest(void **state)
{
    (void)state;
    static const rk_hparams one = {.n_embd = 1, .n_layer = 1, .head_size = 1, .n_head = 1};
    rk_init_fn *const all[] = {rk_init_maa,   rk_init_maa_ffn, rk_init_w0,        rk_init_a0,
                               rk_init_slope, rk_init_k_k,     rk_init_orthogonal};
    for (size_t i = 0; i < RK_COUNT(all); i++) {
        float x = NAN;
        rk_error err = {0};
        const rk_init p = {.hp = &one, .rows = 1, .cols = 1, .x = &x, .arg = 0.5};
        test_ok(all[i](&p, &err), &err);
        assert_true(fabsf(x) < INFINITY);
    }
}

static void test_uniform_range(void **state)
{
    (void)state;
    const float *x = vector(rk_init_uniform, 1e-4, 0);
    double mean = 0.0, square = 0.0;
    for (int i = 0; i < C; i++) {
        assert_true(fabsf(x[i]) <= 1e-4f);
        mean += (double)x[i] / C;
        square += (double)x[i] * (double)x[i] / C;
    }
    assert_true(fabs(mean) < 1e-5);
    assert_true(fabs(square - 1e-8 / 3.0) < 4e-10);
}

/* The shorter side's vectors: products of two are 0, of one with itself gain^2. */
static void test_orthogonal(void **state)
{
    (void)state;
    static const int64_t shapes[][2] = {{1, 1},   {5, 5}, {48, 48}, {12, 40},
                                        {40, 12}, {1, 9}, {9, 1}};
    test_ctx t = test_begin(1);
    for (size_t s = 0; s < RK_COUNT(shapes); s++)
        for (int tall = 0; tall < 2; tall++) {
            const int64_t rows = shapes[s][0], cols = shapes[s][1];
            const bool wide = cols >= rows;
            const int64_t n = wide ? rows : cols, len = wide ? cols : rows;
            const int64_t across = wide ? cols : 1, along = wide ? 1 : cols;
            float *x = test_alloc_f32(&t, rows * cols);
            rk_error err = {0};
            const rk_init p = {
                .hp = &hp, .index = 3, .seed = 7, .rows = rows, .cols = cols, .x = x, .arg = 0.5};
            test_ok((tall ? rk_init_orthogonal_tall : rk_init_orthogonal)(&p, &err), &err);
            const double square = 0.25 * (tall && rows > cols ? (double)rows / (double)cols : 1.0);
            for (int64_t a = 0; a < n; a++)
                for (int64_t b = 0; b < n; b++) {
                    double dot = 0.0;
                    for (int64_t i = 0; i < len; i++)
                        dot +=
                            (double)x[a * across + i * along] * (double)x[b * across + i * along];
                    assert_true(fabs(dot - (a == b ? square : 0.0)) < 3e-7);
                }
        }
    test_end(&t);
}

/* Draws are keyed by seed and parameter: equal keys give equal matrices, others do not. */
/* A matrix whose work takes seconds stops when it is asked to. */
static void test_abort(void **state)
{
    (void)state;
    test_ctx t = test_begin(4);
    const atomic_int abort = 1;
    rk_error err = {0};
    const rk_init p = {.hp = &hp,
                       .rows = 2000,
                       .cols = 400,
                       .x = test_alloc_f32(&t, 2000 * 400),
                       .arg = 1,
                       .abort = &abort};
    assert_int_equal(rk_init_orthogonal(&p, &err), RK_ERR_ABORTED);
    test_end(&t);
}

static void test_keys(void **state)
{
    (void)state;
    float x[3][16];
    const struct {
        uint64_t seed;
        int64_t index;
    } keys[] = {{1, 2}, {2, 2}, {1, 3}};
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < 3; i++) {
            float was[16];
            rk_error err = {0};
            const rk_init p = {.hp = &hp,
                               .index = keys[i].index,
                               .seed = keys[i].seed,
                               .rows = 4,
                               .cols = 4,
                               .x = x[i],
                               .arg = 1};
            memcpy(was, x[i], sizeof was);
            test_ok(rk_init_orthogonal(&p, &err), &err);
            assert_true(pass == 0 || !memcmp(was, x[i], sizeof was));
        }
    assert_true(memcmp(x[0], x[1], sizeof x[0]) && memcmp(x[0], x[2], sizeof x[0]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_values), cmocka_unit_test(test_all_filled),
        cmocka_unit_test(test_smallest),     cmocka_unit_test(test_uniform_range),
        cmocka_unit_test(test_orthogonal),   cmocka_unit_test(test_abort),
        cmocka_unit_test(test_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
