/* The optimisers against plain double arithmetic, group by group; the gradient's norm. */
#include "test_util.h"

#include <float.h>

#include "infer/engine.h"
#include "train/grown.h"

enum { GROUPS = 3 };
static const int64_t sizes[GROUPS] = {7, 16384 + 5, 40};

typedef struct fixture {
    rk_engine *engine;
    rk_ctx ctx;
    rk_update u[GROUPS];
    double *weight[GROUPS], *m[GROUPS], *v[GROUPS]; /* the reference's */
} fixture;

/* Without decay, with decay, with twice the rate. */
static void begin(test_ctx *t, fixture *f, int n_threads)
{
    rk_error err = {0};
    test_ok(rk_engine_new(&f->engine, &(rk_engine_params){.n_threads = n_threads}, &err), &err);
    const rk_ctx_params p = {.kernels = rk_engine_kernels(f->engine),
                             .pool = rk_engine_pool(f->engine),
                             .data_kind = RK_ARENA_GROWING};
    test_ok(rk_ctx_init(&f->ctx, &p, &err), &err);
    for (int g = 0; g < GROUPS; g++) {
        const int64_t n = sizes[g];
        f->u[g] = (rk_update){
            .n = n,
            .weight = test_uniform(t, n, -1, 1),
            .grad = test_uniform(t, n, -1, 1),
            .state = {test_uniform(t, n, -0.1f, 0.1f), test_uniform(t, n, 0.001f, 0.1f)},
            .lr_scale = g == 2 ? 2.0 : 1.0,
            .decay = g == 1};
        f->weight[g] = test_alloc_f64(t, n);
        f->m[g] = test_alloc_f64(t, n);
        f->v[g] = test_alloc_f64(t, n);
        for (int64_t i = 0; i < n; i++) {
            f->weight[g][i] = (double)f->u[g].weight[i];
            f->m[g][i] = (double)f->u[g].state[0][i];
            f->v[g][i] = (double)f->u[g].state[1][i];
        }
    }
}

static void end(fixture *f)
{
    rk_ctx_deinit(&f->ctx);
    rk_engine_free(f->engine);
}

static void expect_within(double tol, const char *what, const double *want, const float *got,
                          int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (!test_is_close(want[i], (double)got[i], tol))
            fail_msg("%s [%" PRId64 "]: want %.9g, got %.9g", what, i, want[i], (double)got[i]);
}

static void expect(const char *what, const double *want, const float *got, int64_t n)
{
    expect_within(2e-6, what, want, got, n);
}

static void adamw_reference(fixture *f, const rk_adamw *a)
{
    for (int g = 0; g < GROUPS; g++)
        for (int64_t i = 0; i < sizes[g]; i++) {
            const double grad = (double)f->u[g].grad[i] * a->grad_scale;
            const double lr = a->lr * (g == 2 ? 2.0 : 1.0), decay = g == 1 ? a->weight_decay : 0.0;
            double *m = &f->m[g][i], *v = &f->v[g][i], *w = &f->weight[g][i];
            *m = a->beta1 * *m + (1.0 - a->beta1) * grad;
            *v = a->beta2 * *v + (1.0 - a->beta2) * grad * grad;
            *w -= lr * (*m / a->correct1 / (sqrt(*v / a->correct2) + a->eps) + decay * *w);
        }
}

static void update(const char *name, fixture *f, const rk_optim_step *s)
{
    rk_optimizer_find(name)->update(&f->ctx, f->u, GROUPS, s);
}

static void test_adamw(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    fixture f;
    begin(&t, &f, 2);
    const rk_train_params p = {.beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8, .weight_decay = 0.1};
    for (int step = 1; step <= 3; step++) {
        const rk_adamw a = {.lr = 1e-2,
                            .beta1 = 0.9,
                            .beta2 = 0.99,
                            .eps = 1e-8,
                            .weight_decay = 0.1,
                            .correct1 = 1.0 - pow(0.9, step),
                            .correct2 = 1.0 - pow(0.99, step),
                            .grad_scale = 0.3};
        adamw_reference(&f, &a);
        update("adamw", &f, &(rk_optim_step){&p, 1e-2, 0.3, step});
    }
    for (int g = 0; g < GROUPS; g++) {
        expect("weight", f.weight[g], f.u[g].weight, sizes[g]);
        expect("m", f.m[g], f.u[g].state[0], sizes[g]);
        expect("v", f.v[g], f.u[g].state[1], sizes[g]);
    }
    end(&f);
    test_end(&t);
}

/* An abort before or during an update waits for its end. */
static void test_whole(void **state)
{
    (void)state;
    const rk_train_params p = {.eps = 1e-8};
    const rk_adamw a = {
        .lr = 1e-2, .eps = 1e-8, .correct1 = 1.0, .correct2 = 1.0, .grad_scale = 1.0};
    for (int n_threads = 1; n_threads <= 2; n_threads++) {
        test_ctx t = test_begin(4);
        fixture f;
        begin(&t, &f, n_threads);
        f.ctx.abort = rk_engine_abort_flag(f.engine);
        rk_engine_abort(f.engine);
        adamw_reference(&f, &a);
        update("adamw", &f, &(rk_optim_step){&p, 1e-2, 1.0, 1});
        for (int g = 0; g < GROUPS; g++)
            expect("weight", f.weight[g], f.u[g].weight, sizes[g]);
        end(&f);
        test_end(&t);
    }
}

static void test_sgd(void **state)
{
    (void)state;
    test_ctx t = test_begin(2);
    fixture f;
    begin(&t, &f, 2);
    const rk_train_params p = {.momentum = 0.9, .weight_decay = 0.1};
    for (int step = 0; step < 3; step++) {
        for (int g = 0; g < GROUPS; g++)
            for (int64_t i = 0; i < sizes[g]; i++) {
                double *m = &f.m[g][i], *w = &f.weight[g][i];
                *m = 0.9 * *m + 0.5 * (double)f.u[g].grad[i];
                *w -= 1e-2 * (g == 2 ? 2.0 : 1.0) * (*m + (g == 1 ? 0.1 : 0.0) * *w);
            }
        update("sgd", &f, &(rk_optim_step){&p, 1e-2, 0.5, step + 1});
    }
    for (int g = 0; g < GROUPS; g++) {
        expect("weight", f.weight[g], f.u[g].weight, sizes[g]);
        expect("m", f.m[g], f.u[g].state[0], sizes[g]);
        expect("v, which it does not use", f.v[g], f.u[g].state[1], sizes[g]);
    }
    end(&f);
    test_end(&t);
}

/* Elements that were there from the start, some that are two updates old, and some that are frozen, of which only
 * gradients are cleared. */
static void test_spans(void **state)
{
    (void)state;
    enum { NEW = 7, FROZEN = 16384 };
    static const rk_update_span spans[] = {
        {NEW, 0, false}, {FROZEN, 5, false}, {16384 + 5, 0, true}};
    static const char *const names[] = {"adamw", "sgd"};
    const rk_train_params p = {
        .beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8, .momentum = 0.9, .weight_decay = 0.1};
    for (size_t i = 0; i < RK_COUNT(names); i++) {
        test_ctx t = test_begin(1), t7 = test_begin(1), t2 = test_begin(1);
        fixture f, at7, at2;
        begin(&t, &f, 2);
        begin(&t7, &at7, 2);
        begin(&t2, &at2, 2);
        rk_update *u = &f.u[1];
        const float *before = test_copy_f32(&t, u->weight, u->n);
        u->spans = spans;
        u->n_spans = RK_COUNT(spans);
        rk_grown_clear(f.u, GROUPS);
        assert_true(u->grad[FROZEN] == 0 && u->grad[FROZEN - 1] != 0);
        update(names[i], &f, &(rk_optim_step){&p, 1e-2, 1.0, 7});
        update(names[i], &at7, &(rk_optim_step){&p, 1e-2, 1.0, 7});
        update(names[i], &at2, &(rk_optim_step){&p, 1e-2, 1.0, 2});
        test_same(&t, "old", at7.u[1].weight, u->weight, NEW * sizeof *before);
        test_same(&t, "new", at2.u[1].weight + NEW, u->weight + NEW,
                  (size_t)(FROZEN - NEW) * sizeof *before);
        test_same(&t, "frozen", before + FROZEN, u->weight + FROZEN,
                  (size_t)(u->n - FROZEN) * sizeof *before);
        test_same(&t, "others", at7.u[0].weight, f.u[0].weight, sizeof(float) * (size_t)f.u[0].n);
        end(&f);
        end(&at7);
        end(&at2);
        test_end(&t);
        test_end(&t7);
        test_end(&t2);
    }
}

/* ---- muon ---- */

/* x (rows, cols) = a x + b (x x^T) x + c (x x^T)^2 x, as it stands, whatever the shape. */
static void newton_schulz(test_ctx *t, int64_t rows, int64_t cols, double *x)
{
    double *gram = test_alloc_f64(t, rows * rows), *poly = test_alloc_f64(t, rows * rows);
    double *was = test_alloc_f64(t, rows * cols);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < rows; j++) {
            gram[i * rows + j] = 0.0;
            for (int64_t k = 0; k < cols; k++)
                gram[i * rows + j] += x[i * cols + k] * x[j * cols + k];
        }
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < rows; j++) {
            double square = 0.0;
            for (int64_t k = 0; k < rows; k++)
                square += gram[i * rows + k] * gram[k * rows + j];
            poly[i * rows + j] =
                -4.7750 * gram[i * rows + j] + 2.0315 * square + (i == j ? 3.4445 : 0.0);
        }
    memcpy(was, x, (size_t)(rows * cols) * sizeof *x);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++) {
            x[i * cols + j] = 0.0;
            for (int64_t k = 0; k < rows; k++)
                x[i * cols + j] += poly[i * rows + k] * was[k * cols + j];
        }
}

typedef struct matrix {
    int64_t rows, cols;
    double *weight, *m; /* the reference's */
} matrix;

static void muon_reference(test_ctx *t, const matrix *a, const float *grad, double lr, double decay)
{
    const int64_t n = a->rows * a->cols;
    double *x = test_alloc_f64(t, n), norm = 0.0;
    for (int64_t i = 0; i < n; i++) {
        a->m[i] = 0.95 * a->m[i] + 0.5 * (double)grad[i];
        x[i] = 0.5 * (double)grad[i] + 0.95 * a->m[i];
        norm += x[i] * x[i];
    }
    for (int64_t i = 0; i < n; i++)
        x[i] /= sqrt(norm);
    for (int i = 0; i < 5; i++)
        newton_schulz(t, a->rows, a->cols, x);
    const double size = 0.2 * sqrt((double)rk_max_i64(a->rows, a->cols));
    for (int64_t i = 0; i < n; i++)
        a->weight[i] -= lr * (size * x[i] + decay * a->weight[i]);
}

/* The fixture's second group as a matrix of this shape. */
static matrix begin_matrix(test_ctx *t, fixture *f, int64_t rows, int64_t cols)
{
    const int64_t n = rows * cols;
    const matrix a = {rows, cols, test_alloc_f64(t, n), test_alloc_f64(t, n)};
    f->u[1] = (rk_update){.n = n,
                          .rows = rows,
                          .cols = cols,
                          .weight = test_uniform(t, n, -1, 1),
                          .grad = test_uniform(t, n, -1, 1),
                          .state = {test_uniform(t, n, -0.1f, 0.1f)},
                          .lr_scale = 2.0,
                          .decay = true};
    for (int64_t i = 0; i < n; i++) {
        a.weight[i] = (double)f->u[1].weight[i];
        a.m[i] = (double)f->u[1].state[0][i];
    }
    return a;
}

/* Matrices against the definition, what is none against AdamW, with one thread and two. */
static void test_muon(void **state)
{
    (void)state;
    static const int64_t shapes[][2] = {{24, 24}, {17, 40}, {40, 17}, {1, 9}, {9, 1}, {150, 130}};
    const rk_train_params p = {.beta1 = 0.9,
                               .beta2 = 0.99,
                               .eps = 1e-8,
                               .weight_decay = 0.1,
                               .lr = 1e-2,
                               .muon_lr = 3e-2,
                               .muon_momentum = 0.95};
    const rk_optim_step step = {&p, 0.5e-2, 0.5, 1}; /* half of the peak */
    const rk_adamw plain = {.lr = 0.5e-2,
                            .beta1 = 0.9,
                            .beta2 = 0.99,
                            .eps = 1e-8,
                            .weight_decay = 0.1,
                            .correct1 = 0.1,
                            .correct2 = 0.01,
                            .grad_scale = 0.5};
    for (size_t i = 0; i < RK_COUNT(shapes); i++)
        for (int n_threads = 1; n_threads <= 2; n_threads++) {
            test_ctx t = test_begin(5);
            fixture f;
            begin(&t, &f, n_threads);
            test_shape(&t, "%d x %d, %d threads", (int)shapes[i][0], (int)shapes[i][1], n_threads);
            adamw_reference(&f, &plain);
            const matrix a = begin_matrix(&t, &f, shapes[i][0], shapes[i][1]);
            muon_reference(&t, &a, f.u[1].grad, 2.0 * 1.5e-2, 0.1);
            update("muon", &f, &step);
            expect("momentum", a.m, f.u[1].state[0], f.u[1].n);
            expect_within(2e-5, "matrix", a.weight, f.u[1].weight, f.u[1].n);
            for (int g = 0; g < GROUPS; g += 2)
                expect("weight", f.weight[g], f.u[g].weight, sizes[g]);
            end(&f);
            test_end(&t);
        }
}

/* Singular values of an update of orthogonal rows: all alike, however unlike those of the gradient. A
 * gradient of zeros moves nothing but the decay. */
static void test_muon_evens(void **state)
{
    (void)state;
    enum { N = 12 };
    test_ctx t = test_begin(6);
    fixture f;
    begin(&t, &f, 1);
    const rk_train_params p = {.lr = 1.0, .muon_lr = -1.0, .muon_momentum = 0.95};
    begin_matrix(&t, &f, N, N);
    for (int64_t i = 0; i < f.u[1].n; i++) {
        f.u[1].weight[i] = f.u[1].state[0][i] = 0.0f;
        f.u[1].grad[i] = i % (N + 1) == 0 ? (float)(1 + i / N) : 0.0f; /* 1 to 12 */
    }
    f.u[1].lr_scale = 1.0;
    rk_optimizer_find("muon")->update(&f.ctx, &f.u[1], 1, &(rk_optim_step){&p, 1.0, 1.0, 1});
    for (int64_t i = 0; i < f.u[1].n; i++) {
        const double got = -(double)f.u[1].weight[i] / (0.2 * sqrt(N));
        if (i % (N + 1) ? got != 0.0 : got < 0.6 || got > 1.3)
            fail_msg("[%d] %g", (int)i, got);
        f.u[1].grad[i] = f.u[1].state[0][i] = 0.0f;
    }
    const float was = f.u[1].weight[0];
    rk_optimizer_find("muon")->update(&f.ctx, &f.u[1], 1, &(rk_optim_step){&p, 1.0, 1.0, 2});
    assert_true(f.u[1].weight[0] == was);
    end(&f);
    test_end(&t);
}

/* Pieces are cut by the shape alone: any number of threads gives the same bits. */
static void test_norm(void **state)
{
    (void)state;
    double first = 0.0;
    for (int n_threads = 1; n_threads <= 4; n_threads *= 2) {
        test_ctx t = test_begin(3);
        fixture f;
        int64_t at = 0;
        double want = 0.0;
        begin(&t, &f, n_threads);
        assert_int_equal(rk_optim_norm_parts(f.u, GROUPS), 2);
        double *partial = test_alloc_f64(&t, 2);
        for (int g = 0; g < GROUPS; g++)
            for (int64_t i = 0; i < sizes[g]; i++)
                want += (double)f.u[g].grad[i] * (double)f.u[g].grad[i];
        const double got = rk_optim_grad_norm(&f.ctx, f.u, GROUPS, partial, &at);
        assert_int_equal(at, -1);
        assert_true(test_is_close(sqrt(want), got, 1e-12));
        assert_true(n_threads == 1 || got == first);
        first = got;

        f.u[1].grad[16384] = NAN; /* in the second piece of the second group */
        f.u[2].grad[0] = INFINITY;
        assert_false(fabs(rk_optim_grad_norm(&f.ctx, f.u, GROUPS, partial, &at)) <= DBL_MAX);
        assert_int_equal(at, 1);
        assert_false(fabs(rk_optim_grad_norm(&f.ctx, f.u, GROUPS, partial, NULL)) <= DBL_MAX);
        end(&f);
        test_end(&t);
    }
}

/* An option of one optimiser is not quietly passed over by another. */
static void test_options(void **state)
{
    (void)state;
    rk_error err = {0};
    rk_train_params p = rk_train_defaults();
    test_ok(rk_optim_check(&p, &err), &err);
    p.momentum = 0.5;
    assert_int_equal(rk_optim_check(&p, &err), RK_ERR_ARG);
    assert_string_equal(err.msg, "momentum is an option of sgd, not of adamw");
    p.optimizer = "sgd";
    test_ok(rk_optim_check(&p, &err), &err);
    p.eps = 1e-8;
    assert_int_equal(rk_optim_check(&p, &err), RK_ERR_ARG);
    assert_string_equal(err.msg, "eps is an option of adamw, not of sgd");
    p.optimizer = "muon";
    assert_int_equal(rk_optim_check(&p, &err), RK_ERR_ARG);
    assert_string_equal(err.msg, "momentum is an option of sgd, not of muon");
    p.momentum = 0.9;
    p.muon_lr = 1.0;
    test_ok(rk_optim_check(&p, &err), &err);
    p.optimizer = "frob";
    assert_int_equal(rk_optim_check(&p, &err), RK_ERR_ARG);
    assert_string_equal(err.msg, "no optimizer 'frob'; there are adamw, sgd, muon");
    assert_null(rk_optimizer_find("none"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_adamw),      cmocka_unit_test(test_whole),
        cmocka_unit_test(test_sgd),        cmocka_unit_test(test_spans),
        cmocka_unit_test(test_norm),       cmocka_unit_test(test_muon),
        cmocka_unit_test(test_muon_evens), cmocka_unit_test(test_options)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
