/* What state tuning does around updates: the rule that decorrelates features, its change of basis, and that
 * runs with it give the same bits for any size of micro-batches. */
#include "infer/test_model_util.h"

#include "train/task_next.h"
#include "train/trained.h"
#include "train/trainer.h"
#include "tune/decorrelate.h"
#include "tune/kernel_path.h"
#include "tune/state_step.h"

/* ---- the rule ---- */

enum { D = 64, BATCH = 128, HELD_OUT = 4096 };

/* A = I + G / sqrt(D) with rows of length 1. */
static void mixing(double *a)
{
    for (int i = 0; i < D; i++) {
        double square = 0;
        for (int j = 0; j < D; j++) {
            const double g = rk_rng_normal(1, RK_RNG_TEST, 0, (uint64_t)(i * D + j));
            a[i * D + j] = (i == j) + g / sqrt(D);
            square += a[i * D + j] * a[i * D + j];
        }
        for (int j = 0; j < D; j++)
            a[i * D + j] /= sqrt(square);
    }
}

/* x = M n for some matrix. */
static void multiply(const double *m, const double *n, double *x)
{
    for (int i = 0; i < D; i++) {
        x[i] = 0;
        for (int j = 0; j < D; j++)
            x[i] += m[i * D + j] * n[j];
    }
}

/* Sums of x x^T over vectors x = R A n, the step-th batch of n_vectors. */
static void add_up(const double *a, const float *r, int step, int n_vectors, double *sums)
{
    static double ra[D * D], n[D], x[D];
    memset(ra, 0, sizeof ra);
    for (int i = 0; i < D; i++)
        for (int k = 0; k < D; k++)
            for (int j = 0; j < D; j++)
                ra[i * D + j] += (double)r[i * D + k] * a[k * D + j];
    memset(sums, 0, (size_t)(D * D) * sizeof *sums);
    for (int v = 0; v < n_vectors; v++) {
        for (int j = 0; j < D; j++)
            n[j] = rk_rng_normal(2, RK_RNG_TEST, (uint64_t)step, (uint64_t)(v * D + j));
        multiply(ra, n, x);
        for (int i = 0; i < D; i++)
            for (int j = 0; j < D; j++)
                sums[i * D + j] += x[i] * x[j];
    }
}

/* The mean square of normalised correlations, and the mean variance. */
static double correlation(const double *sums, int n, double *variance)
{
    double square = 0;
    *variance = 0;
    for (int i = 0; i < D; i++) {
        *variance += sums[i * (D + 1)] / n / D;
        for (int j = 0; j < D; j++)
            square += i == j ? 0
                             : sums[i * D + j] * sums[i * D + j] /
                                   (sums[i * (D + 1)] * sums[j * (D + 1)]);
    }
    return square / (D * D);
}

static double run_rule(double kappa, double *variance)
{
    static double a[D * D], sums[D * D], work[2 * D * D];
    static float r[D * D];
    const rk_decorrelation d = {.m = D, .rate = 1e-2, .kappa = kappa};
    mixing(a);
    for (int i = 0; i < D * D; i++)
        r[i] = i % (D + 1) == 0;
    add_up(a, r, -1, HELD_OUT, sums);
    const double before = correlation(sums, HELD_OUT, variance);
    for (int step = 0; step < 500; step++) {
        add_up(a, r, step, BATCH, sums);
        assert_true(rk_decorrelate(&d, sums, BATCH, work, r));
    }
    add_up(a, r, -1, HELD_OUT, sums);
    return correlation(sums, HELD_OUT, variance) / before;
}

static void test_rule(void **state)
{
    (void)state;
    double variance;
    assert_true(run_rule(0.5, &variance) <= 0.10);
    assert_true(variance >= 0.85 && variance <= 1.05);
    assert_true(run_rule(0.01, &variance) <= 0.05);
    assert_true(variance < 0.8); /* correlations alone shrink with the signal */
}

/* What a matrix makes of features stays when they get another basis. */
static void test_change_of_basis(void **state)
{
    (void)state;
    static double a[D * D], sums[D * D], work[2 * D * D], z[D], x[D];
    static float r[D * D];
    double s[D], before = 0, after = 0;
    const rk_decorrelation d = {.m = D, .rate = 5e-2, .kappa = 0.5};
    mixing(a);
    for (int i = 0; i < D * D; i++)
        r[i] = (float)a[i];
    for (int i = 0; i < D; i++) {
        z[i] = rk_rng_normal(3, RK_RNG_TEST, 0, (uint64_t)i);
        s[i] = rk_rng_normal(3, RK_RNG_TEST, 1, (uint64_t)i);
    }
    for (int i = 0; i < D; i++)
        for (int j = 0; j < D; j++)
            before += s[i] * (double)r[i * D + j] * z[j];
    add_up(a, r, 0, BATCH, sums);
    assert_true(rk_decorrelate(&d, sums, BATCH, work, r));
    for (int j = 0; j < D; j++) {
        x[j] = 0;
        for (int i = 0; i < D; i++)
            x[j] += s[i] * sums[i * D + j];
    }
    for (int i = 0; i < D; i++)
        for (int j = 0; j < D; j++)
            after += x[i] * (double)r[i * D + j] * z[j];
    assert_true(fabs(before - after) <= 1e-5 * fabs(before));
    /* Small correlations change nothing. */
    const rk_decorrelation still = {.m = D, .rate = 1e-2, .kappa = 0.5, .least = 1};
    add_up(a, r, 1, BATCH, sums);
    assert_false(rk_decorrelate(&still, sums, BATCH, work, r));
}

/* ---- in runs ---- */

enum { V = 97, L = 2, C = 32, T = 24, ROWS = 4, STEPS = 3 };

typedef struct run {
    float *weights;
    int64_t n;
    double square; /* of the states */
} run;

static run train(test_ctx *t, const char *base, const char *beside, const char *only,
                 const rk_state_tuning *o, int64_t micro_batch)
{
    rk_train_params p = rk_train_defaults();
    rk_model *m = NULL;
    rk_task *task = NULL;
    rk_trainer *trainer = NULL;
    rk_run_arrays arrays;
    rk_error err = {0};
    rk_engine *e = test_engine(2);
    int32_t tokens[ROWS * (T + 1)];
    p.arch = NULL;
    p.init_from = base;
    p.init_state = beside;
    p.train_only = only;
    p.ctx_len = T;
    p.batch = ROWS;
    p.micro_batch = micro_batch;
    p.warmup = 0;
    p.lr = 0.1;
    p.weight_decay = 0.0;
    for (int i = 0; i < ROWS * (T + 1); i++)
        tokens[i] = (i * i + 3) % V;
    test_ok(rk_train_model(&m, &p, &err), &err);
    test_ok(rk_next_token_new(&task, &p, &err), &err);
    test_ok(rk_trainer_open(&trainer, &(rk_training){m, task, &p, o}, e, &err), &err);
    for (int i = 0; i < STEPS; i++)
        test_ok(rk_trainer_step(trainer, tokens, NULL, &err), &err);
    rk_trainer_arrays(trainer, &arrays);
    run r = {.n = 0};
    for (int64_t i = 0; i < arrays.weights.n; i++)
        r.n += arrays.weights.at[i].n;
    r.weights = test_alloc_f32(t, r.n);
    float *at = r.weights;
    for (int64_t i = 0; i < arrays.weights.n; at += arrays.weights.at[i++].n)
        memcpy(at, arrays.weights.at[i].data, (size_t)arrays.weights.at[i].n * sizeof *at);
    for (int64_t i = 0; i < r.n; i++)
        r.square += (double)r.weights[i] * (double)r.weights[i];
    rk_trainer_free(trainer);
    rk_task_close(task);
    rk_model_close(m);
    rk_engine_free(e);
    return r;
}

static void same(test_ctx *t, const char *what, run a, run b)
{
    assert_int_equal(a.n, b.n);
    test_same(t, what, a.weights, b.weights, (size_t)a.n * sizeof(float));
}

static bool differ(run a, run b)
{
    return memcmp(a.weights, b.weights, (size_t)a.n * sizeof(float)) != 0;
}

/* Second moments of receptances and decay each change what is learned, and neither depends on how a batch is
 * cut. */
static void test_gradients(void **state)
{
    (void)state;
    static const rk_arch *const archs[] = {&rk_arch_rwkv7, &rk_arch_rwkv6};
    for (size_t i = 0; i < RK_COUNT(archs); i++) {
        test_ctx t = test_begin(3);
        test_arch = archs[i];
        const test_model base = test_model_open(&t, 1, L, C, RK_F32);
        rk_state_tuning o = rk_state_tuning_defaults();
        const run plain = train(&t, base.path, NULL, "state", &o, 0);
        o.decay = 1.0;
        assert_true(train(&t, base.path, NULL, "state", &o, 0).square < plain.square);
        o.decay = 0.0;
        o.precondition = 1;
        const run whole = train(&t, base.path, NULL, "state", &o, 0);
        same(&t, "micro-batches", whole, train(&t, base.path, NULL, "state", &o, 1));
        assert_true(differ(whole, plain));
        rk_model_close(base.model);
        test_end(&t);
    }
}

/* The state of RWKV-4 is no matrix of keys. */
static void test_refused(void **state)
{
    (void)state;
    test_ctx t = test_begin(3);
    test_arch = &rk_arch_rwkv4;
    const test_model base = test_model_open(&t, 1, L, C, RK_F32);
    rk_train_params p = {.init_from = base.path, .train_only = "state"};
    rk_state_tuning o = rk_state_tuning_defaults();
    rk_model *m = NULL;
    rk_error err = {0};
    o.precondition = 1;
    test_ok(rk_train_model(&m, &p, &err), &err);
    test_ok(rk_trained_set(m, &p, &err), &err);
    rk_state_step *step = NULL;
    assert_int_equal(rk_state_step_new(&step, m, &o, 1, NULL, &err), RK_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "rwkv4 are no matrices"));
    rk_model_close(m);
    rk_model_close(base.model);
    test_end(&t);
}

/* A kernel path learns its gain and its state; in a basis of its own that moves, too. */
static void test_paths(void **state)
{
    (void)state;
    test_ctx t = test_begin(4);
    test_arch = &rk_arch_rwkv7;
    const test_model base = test_model_open(&t, 1, L, C, RK_F32);
    const char *path = test_path(&t, test_temp_dir(&t), "kernel.pth");
    const rk_state_tuning o = rk_state_tuning_defaults();
    rk_engine *e = test_engine(2);
    rk_error err = {0};
    int32_t tokens[200];
    for (int i = 0; i < 200; i++)
        tokens[i] = (i * i + 3) % V;
    test_ok(rk_kernel_path_write(base.model, e, &(rk_kernel_text){tokens, 200, 50}, &o, true, path,
                                 &err),
            &err);
    const run kernel = train(&t, base.path, path, "state-kernel", &o, 0);
    const run dbp = train(&t, base.path, path, "state-kernel,state-basis", &o, 0);
    same(&t, "micro-batches", kernel, train(&t, base.path, path, "state-kernel", &o, 1));
    same(&t, "a basis and micro-batches", dbp,
         train(&t, base.path, path, "state-kernel,state-basis", &o, 1));
    assert_true(dbp.n > kernel.n);
    rk_state_tuning other = o; /* S'_0 follows the basis, or not */
    other.keep_meaning = false;
    assert_true(differ(dbp, train(&t, base.path, path, "state-kernel,state-basis", &other, 0)));
    rk_engine_free(e);
    rk_model_close(base.model);
    test_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rule),      cmocka_unit_test(test_change_of_basis),
        cmocka_unit_test(test_gradients), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_paths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
