/* A kernel path beside the recurrence of RWKV-7: how it is calibrated, that it starts where the base is,
 * that it cannot grow, and that with the vectors themselves as features it is the base's recurrence. */
#include "infer/test_model_util.h"

#include "infer/session.h"
#include "tune/dense.h"
#include "tune/kernel_path.h"

enum { V = 97, L = 2, C = 32, T = 40, TEXT = 300 };

/* ---- the operations ---- */

typedef struct bench {
    rk_pool *pool;
    rk_ctx ctx;
} bench;

static void begin(bench *b)
{
    rk_error err = {0};
    test_ok(rk_pool_new(&b->pool, 1, NULL, NULL, NULL, &err), &err);
    const rk_ctx_params p = {
        .kernels = rk_kernels_at(0), .pool = b->pool, .data_kind = RK_ARENA_GROWING};
    test_ok(rk_ctx_init(&b->ctx, &p, &err), &err);
}

static void end(bench *b)
{
    rk_ctx_deinit(&b->ctx);
    rk_pool_free(b->pool);
}

/* Reals of unit variance, or between lo and hi where these differ. */
static rk_tensor *random_tensor(bench *b, uint64_t seed, uint64_t what, double lo, double hi,
                                int n_dims, const int64_t *dims)
{
    rk_tensor *t = rk_new(&b->ctx, RK_F32, n_dims, dims);
    for (int64_t i = 0; i < rk_tensor_count(t); i++)
        ((float *)t->data)[i] =
            (float)(lo < hi ? lo + (hi - lo) * rk_rng_f64(seed, RK_RNG_TEST, what, (uint64_t)i)
                            : rk_rng_normal(seed, RK_RNG_TEST, what, (uint64_t)i));
    return t;
}

static rk_tensor *filled(bench *b, double x, int n_dims, const int64_t *dims)
{
    return random_tensor(b, 0, 0, x, nextafter(x, INFINITY), n_dims, dims);
}

/* What a layer of one head gives to its recurrence: na is -kk of length 1, a and w rates and decays. */
static rk_features_in vectors(bench *b, uint64_t seed, int64_t steps, int64_t n, double rate,
                              double decay)
{
    const int64_t dims[] = {1, steps, 1, n};
    rk_features_in f = {
        .r = random_tensor(b, seed, 1, 0, 0, 4, dims),
        .k = random_tensor(b, seed, 2, 0, 0, 4, dims),
        .v = random_tensor(b, seed, 3, 0, 0, 4, dims),
        .na = rk_l2norm(&b->ctx, random_tensor(b, seed, 4, 0, 0, 4, dims)),
        .a = rate ? filled(b, rate, 4, dims) : random_tensor(b, seed, 5, 0.01, 0.99, 4, dims),
        .w = decay ? filled(b, decay, 4, dims) : random_tensor(b, seed, 6, 0.55, 0.999, 4, dims),
        .removal = 1};
    return f;
}

static rk_feature_path path_of(bench *b, uint64_t seed, int64_t n, int64_t m, double gamma)
{
    const int64_t one[] = {1}, scale[] = {1, 3}, u[] = {1, m, n}, q[] = {1, n, m};
    rk_feature_path p = {.u = random_tensor(b, seed, 11, 0, 0, 3, u),
                         .uv = random_tensor(b, seed, 12, 0, 0, 3, u),
                         .gamma = filled(b, gamma, 1, one),
                         .scale = filled(b, 1, 2, scale),
                         .read = random_tensor(b, seed, 13, -0.1, 0.1, 3, q),
                         .alpha = filled(b, 1, 1, one)};
    p.pi = rk_softmax(&b->ctx, p.u);
    return p;
}

static double norm_of(const float *x, int64_t n)
{
    double s = 0;
    for (int64_t i = 0; i < n; i++)
        s += (double)x[i] * (double)x[i];
    return sqrt(s);
}

static void test_linear(void **state)
{
    (void)state;
    enum { N = 16, STEPS = 256 };
    const int64_t square[] = {1, 1, N, N}, q[] = {1, N, N};
    bench b;
    begin(&b);
    rk_feature_path path = path_of(&b, 1, N, N, 0);
    path.read = rk_new_zeros(&b.ctx, RK_F32, 3, q);
    for (int i = 0; i < N; i++)
        ((float *)path.read->data)[i * (N + 1)] = 1;
    rk_features_in f = vectors(&b, 2, STEPS, N, 0, 0);
    f.path = &path;
    const rk_wkv7_in own = {.r = f.r,
                            .w = f.w,
                            .k = f.k,
                            .v = f.v,
                            .a = f.na,
                            .b = rk_scale(&b.ctx, rk_mul(&b.ctx, f.na, f.a), -1),
                            .state = random_tensor(&b, 3, 7, 0, 0, 4, square)};
    rk_wkv7_in beside = rk_features_of(&b.ctx, &f);
    beside.state = own.state;
    rk_tensor *after = NULL;
    const float *x = rk_wkv7(&b.ctx, &own, &after)->data;
    const float *y = rk_features_back_op(&b.ctx, &path, rk_wkv7(&b.ctx, &beside, &after))->data;
    const double size = norm_of(x, STEPS * N) / sqrt(STEPS * N);
    for (int i = 0; i < STEPS * N; i++)
        assert_true(fabs((double)x[i] - (double)y[i]) <= 1e-5 * size);
    end(&b);
}

/* The state stays within what it was and what was put into it, also where nothing decays and all is
 * removed. */
static void check_stable(uint64_t seed, double rate, double decay)
{
    enum { N = 8, M = 32, STEPS = 4096, PIECE = 256 };
    const int64_t square[] = {1, 1, M, M};
    bench b;
    begin(&b);
    rk_feature_path path = path_of(&b, seed, N, M, 0.1);
    rk_tensor *s = random_tensor(&b, seed, 7, 0, 0, 4, square), *next = NULL;
    double bound = norm_of(s->data, M * M);
    for (int at = 0; at < STEPS; at += PIECE) {
        rk_features_in f = vectors(&b, seed + 100 + (uint64_t)at, PIECE, N, rate, decay);
        f.path = &path;
        rk_wkv7_in in = rk_features_of(&b.ctx, &f);
        in.state = s;
        const rk_tensor *y = rk_wkv7(&b.ctx, &in, &next);
        for (int t = 0; t < PIECE; t++)
            bound +=
                norm_of((float *)in.v->data + t * M, M) * norm_of((float *)in.k->data + t * M, M);
        assert_true(isfinite(norm_of(y->data, PIECE * M)));
        assert_true(norm_of(next->data, M * M) <= bound * (1 + 1e-5));
        s = next;
    }
    end(&b);
}

static void test_stable(void **state)
{
    (void)state;
    check_stable(1, 0, 0);
    check_stable(2, 1, 1);
}

/* Is x I + sign a positive definite? */
static bool is_definite(int64_t m, const double *a, double x, double sign)
{
    double *f = calloc((size_t)(m * m), sizeof *f);
    for (int64_t i = 0; i < m * m; i++)
        f[i] = sign * a[i] + (i % (m + 1) == 0 ? x : 0);
    const bool definite = rk_dense_factor(m, f);
    free(f);
    return definite;
}

/* What a step does to the key side has eigenvalues from -1 to 1. */
static void test_eigenvalues(void **state)
{
    (void)state;
    enum { N = 8, M = 16, DRAWS = 1000 };
    bench b;
    begin(&b);
    rk_feature_path path = path_of(&b, 1, N, M, 0.1);
    rk_features_in f = vectors(&b, 2, DRAWS, N, 0, 0);
    f.path = &path;
    const rk_wkv7_in in = rk_features_of(&b.ctx, &f);
    for (int t = 0; t < DRAWS; t++) {
        const float *w = (float *)in.w->data + t * M, *k = (float *)in.a->data + t * M;
        const float *r = (float *)in.b->data + t * M;
        double a[M * M];
        for (int i = 0; i < M; i++)
            for (int j = 0; j < M; j++)
                a[i * M + j] = (i == j ? (double)w[i] : 0) +
                               ((double)k[i] * (double)r[j] + (double)k[j] * (double)r[i]) / 2;
        assert_true(is_definite(M, a, 1 + 1e-6, 1) && is_definite(M, a, 1 + 1e-6, -1));
    }
    end(&b);
}

/* ---- models ---- */

static float *scores(test_ctx *t, const rk_model *m)
{
    rk_engine *e = test_engine(2);
    rk_session *s = NULL;
    rk_error err = {0};
    float *out = test_alloc_f32(t, (int64_t)T * V);
    int32_t tokens[T];
    for (int i = 0; i < T; i++)
        tokens[i] = (i * 37 + 11) % V;
    test_ok(rk_session_new(&s, m, e, &err), &err);
    test_ok(rk_session_eval_all(s, tokens, T, out, &err), &err);
    rk_session_free(s);
    rk_engine_free(e);
    return out;
}

static char *write_path(test_ctx *t, const rk_model *m, rk_kernel_form form, bool basis,
                        int n_threads)
{
    static int n;
    char name[32];
    snprintf(name, sizeof name, "kernel-%d.pth", n++);
    char *path = test_path(t, test_temp_dir(t), name);
    rk_engine *e = test_engine(n_threads);
    rk_state_tuning o = rk_state_tuning_defaults();
    rk_error err = {0};
    int32_t tokens[TEXT];
    for (int i = 0; i < TEXT; i++)
        tokens[i] = i * i % V;
    o.form = form;
    test_ok(rk_kernel_path_write(m, e, &(rk_kernel_text){tokens, TEXT, 64}, &o, basis, path, &err),
            &err);
    rk_engine_free(e);
    return path;
}

static rk_model *open_beside(const char *base, const char *path)
{
    rk_model *m = NULL;
    rk_error err = {0};
    test_ok(rk_model_open_with(&m, base, &(rk_open_options){.beside = path}, &err), &err);
    assert_ptr_equal(m->arch, &rk_arch_rwkv7_kernel);
    return m;
}

/* Gains of 0 leave every bit of the scores, in each form and basis; gains of 1 do not. */
static void test_start(void **state)
{
    (void)state;
    test_ctx t = test_begin(3);
    test_arch = &rk_arch_rwkv7;
    const test_model base = test_model_open(&t, 1, L, C, RK_F32);
    const float *want = scores(&t, base.model);
    for (int way = 0; way < 4; way++) {
        const rk_kernel_form form = way < 3 ? (rk_kernel_form)way : RK_KERNEL_GAUSS;
        rk_model *m = open_beside(base.path, write_path(&t, base.model, form, way == 3, 2));
        test_same(&t, "gain 0", want, scores(&t, m), (size_t)T * V * sizeof *want);
        for (int64_t i = 0; i < m->n_params; i++)
            if (strstr(m->params[i].name, "kernel_alpha"))
                for (int64_t h = 0; h < m->hp.n_head; h++)
                    ((float *)m->params[i].tensor.data)[h] = 1;
        const float *other = scores(&t, m);
        assert_memory_not_equal(want, other, (size_t)T * V * sizeof *want);
        assert_true(isfinite(norm_of(other, (int64_t)T * V)));
        rk_model_close(m);
    }
    rk_model_close(base.model);
    test_end(&t);
}

/* The same bytes for any number of threads; a file of another model is refused. */
static void test_file(void **state)
{
    (void)state;
    test_ctx t = test_begin(4);
    const test_model base = test_model_open(&t, 1, L, C, RK_F32);
    const char *one = write_path(&t, base.model, RK_KERNEL_GAUSS, true, 1);
    const char *two = write_path(&t, base.model, RK_KERNEL_GAUSS, true, 3);
    const rk_open_options beside = {.beside = one};
    rk_file *a = NULL, *b = NULL;
    rk_model *m = NULL, *merged = NULL;
    rk_error err = {0};
    test_ok(rk_file_open(&a, one, &err), &err);
    test_ok(rk_file_open(&b, two, &err), &err);
    assert_int_equal(rk_file_count(a), L * 9);
    for (int64_t i = 0; i < rk_file_count(a); i++)
        test_same(&t, rk_file_at(a, i)->name, rk_file_at(a, i)->data, rk_file_at(b, i)->data,
                  rk_file_at(a, i)->bytes);
    rk_file_close(a);
    rk_file_close(b);

    /* A merged model holds the path; a model of other sizes does not take it. */
    const char *path = test_path(&t, test_temp_dir(&t), "merged.safetensors");
    m = open_beside(base.path, one);
    test_ok(rk_model_save(m, path, &(rk_save_options){.dtype = RK_F32}, &err), &err);
    test_ok(rk_model_open(&merged, path, &err), &err);
    const float *want = scores(&t, m);
    test_same(&t, "merged", want, scores(&t, merged), (size_t)T * V * sizeof *want);
    rk_model_close(merged);
    rk_model_close(m);
    rk_model_close(base.model);
    const test_model wide = test_model_open(&t, 1, L, 2 * C, RK_F32);
    assert_int_equal(rk_model_open_with(&m, wide.path, &beside, &err), RK_ERR_FORMAT);
    assert_non_null(strstr(err.msg, "kernel_"));
    rk_model_close(wide.model);
    test_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_linear), cmocka_unit_test(test_stable),
                                       cmocka_unit_test(test_eigenvalues),
                                       cmocka_unit_test(test_start), cmocka_unit_test(test_file)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
