/* Adapters in and out of matrices, and as lora, against the formulas of adapter_set.h in doubles. */
#include "test_util.h"

#include "base/pool.h"
#include "tune/merge.h"

typedef struct sizes {
    rk_adapter_form form;
    int64_t out, in, rank, width; /* width 0: out */
    bool start;
} sizes;

static const sizes cases[] = {
    {RK_PART_LORA, 7, 12, 3, 0, false},    {RK_PART_LORA, 12, 7, 1, 0, true},
    {RK_PART_DORA, 9, 11, 4, 0, false},    {RK_PART_MISS, 10, 12, 4, 0, false},
    {RK_PART_MISS, 10, 13, 4, 0, false},   {RK_PART_MISS, 10, 15, 4, 0, false},
    {RK_PART_MISS, 12, 5, 8, 0, false},    {RK_PART_MISS, 12, 15, 4, 3, false},
    {RK_PART_BAT_IN, 8, 12, 4, 0, false},  {RK_PART_BAT_IN, 12, 8, 4, 0, false},
    {RK_PART_BAT_OUT, 8, 12, 4, 0, false}, {RK_PART_BAT_OUT, 12, 8, 2, 0, false},
};

/* A set of one part of uniform numbers. */
static rk_adapter_set *random_set(test_ctx *t, const sizes *s, float range)
{
    rk_error err = {0};
    rk_adapter_set *set = NULL;
    rk_adapter_part *p = NULL;
    test_shape(t, "%s of rank %" PRId64 " for %" PRId64 " by %" PRId64, rk_forms[s->form].name,
               s->rank, s->out, s->in);
    test_ok(rk_adapter_set_new(&set, &err), &err);
    const rk_adapter_part like = {.name = "blocks.0.att.key.weight",
                                  .form = s->form,
                                  .in = s->in,
                                  .out = s->out,
                                  .rank = s->rank,
                                  .width = s->width ? s->width : s->out,
                                  .scale = 0.75};
    test_ok(rk_adapter_set_add(set, &like, &p, &err), &err);
    if (s->start)
        test_ok(rk_part_make_start(p, &err), &err);
    for (int i = 0; i < rk_forms[s->form].n_tensors + 2; i++) {
        float *x = i < 2 ? p->start[i] : p->tensors[i - 2];
        const int64_t n = x ? rk_part_count(p, i < 2 ? i : i - 2) : 0;
        for (int64_t k = 0; k < n; k++)
            x[k] = range * test_uniform(t, 1, -1, 1)[0];
    }
    return set;
}

/* y += scale B (A x) */
static void add_pair(const rk_adapter_part *p, double scale, const float *a, const float *b,
                     const double *x, double *y)
{
    for (int64_t k = 0; k < p->rank; k++) {
        double s = 0.0;
        for (int64_t i = 0; i < p->in; i++)
            s += (double)a[k * p->in + i] * x[i];
        for (int64_t o = 0; o < p->out; o++)
            y[o] += scale * (double)b[o * p->rank + k] * s;
    }
}

static void multiply(const rk_adapter_part *p, const float *w, const double *x, double *y)
{
    for (int64_t o = 0; o < p->out; o++) {
        y[o] = 0.0;
        for (int64_t i = 0; i < p->in; i++)
            y[o] += (double)w[o * p->in + i] * x[i];
    }
}

static void apply_dora(test_ctx *t, const rk_adapter_part *p, const float *w, const double *x,
                       double *y)
{
    double *unit = test_alloc_f64(t, p->in), *row = test_alloc_f64(t, p->out);
    double *norms = test_alloc_f64(t, p->out);
    memset(norms, 0, (size_t)p->out * sizeof *norms);
    for (int64_t i = 0; i < p->in; i++) { /* column i of W + scale B A */
        memset(unit, 0, (size_t)p->in * sizeof *unit);
        unit[i] = 1.0;
        multiply(p, w, unit, row);
        add_pair(p, p->scale, p->tensors[0], p->tensors[1], unit, row);
        for (int64_t o = 0; o < p->out; o++)
            norms[o] += row[o] * row[o];
    }
    add_pair(p, p->scale, p->tensors[0], p->tensors[1], x, y);
    for (int64_t o = 0; o < p->out; o++)
        y[o] *= (double)p->tensors[2][o] / sqrt(norms[o]);
}

static void apply_miss(const rk_adapter_part *p, const double *x, double *y)
{
    for (int64_t k = 0; k < p->rank; k++) {
        double s = 0.0;
        for (int64_t i = k; i < p->in; i += p->rank)
            s += x[i];
        for (int64_t o = 0; o < p->out; o++)
            y[o] += s * (double)p->tensors[0][k * p->width + o % p->width];
    }
}

/* Blocks of W, a of the outputs and b of the inputs: + (W_ab B + B) x_b. */
static void apply_bat(test_ctx *t, const rk_adapter_part *p, const float *w, const double *x,
                      double *y)
{
    const int64_t r = p->rank;
    double *z = test_alloc_f64(t, r);
    for (int64_t a = 0; a < p->out / r; a++)
        for (int64_t b = 0; b < p->in / r; b++) {
            const float *block = p->tensors[0] + (p->form == RK_PART_BAT_IN ? b : a) * r * r;
            for (int64_t k = 0; k < r; k++) {
                z[k] = 0.0;
                for (int64_t j = 0; j < r; j++)
                    z[k] += (double)block[k * r + j] * x[b * r + j];
            }
            for (int64_t k = 0; k < r; k++) {
                for (int64_t j = 0; j < r; j++)
                    y[a * r + k] += (double)w[(a * r + k) * p->in + b * r + j] * z[j];
                y[a * r + k] += z[k];
            }
        }
}

/* What the model computes with the adapter beside w. */
static double *adapted(test_ctx *t, const rk_adapter_part *p, const float *w, const double *x)
{
    double *y = test_alloc_f64(t, p->out);
    multiply(p, w, x, y);
    switch (p->form) {
    case RK_PART_LORA:
        add_pair(p, p->scale, p->tensors[0], p->tensors[1], x, y);
        if (p->start[0])
            add_pair(p, -p->scale, p->start[0], p->start[1], x, y);
        break;
    case RK_PART_DORA:
        apply_dora(t, p, w, x, y);
        break;
    case RK_PART_MISS:
        apply_miss(p, x, y);
        break;
    default:
        apply_bat(t, p, w, x, y);
    }
    return y;
}

static double largest(const double *x, int64_t n)
{
    double max = 0.0;
    for (int64_t i = 0; i < n; i++)
        max = fmax(max, fabs(x[i]));
    return max;
}

static void expect_near(const test_ctx *t, const double *want, const double *got, int64_t n,
                        double tol)
{
    const double scale = largest(want, n);
    for (int64_t i = 0; i < n; i++)
        if (!(fabs(want[i] - got[i]) <= tol * scale))
            fail_msg("[%" PRId64 "]: want %.9g, got %.9g; %s", i, want[i], got[i], t->shape);
}

/* Merged and beside, the outputs are the same; half an adapter lies half way. */
static void test_merged(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    for (size_t c = 0; c < RK_COUNT(cases); c++) {
        rk_error err = {0};
        rk_adapter_set *set = random_set(&t, &cases[c], 1.0f);
        const rk_adapter_part *p = &set->parts[0];
        const int64_t n = p->out * p->in;
        const float *w = test_uniform(&t, n, -1, 1);
        const double *x = test_uniform_f64(&t, p->in, -1, 1);
        const double *beside = adapted(&t, p, w, x);
        double *plain = test_alloc_f64(&t, p->out), *got = test_alloc_f64(&t, p->out);
        multiply(p, w, x, plain);
        for (int i = 0; i < 2; i++) {
            const double scale = i == 0 ? 1.0 : 0.5;
            float *merged = test_copy_f32(&t, w, n);
            double *want = test_alloc_f64(&t, p->out);
            test_ok(rk_part_merge(p, scale, merged, NULL, &err), &err);
            multiply(p, merged, x, got);
            for (int64_t o = 0; o < p->out; o++)
                want[o] = plain[o] + scale * (beside[o] - plain[o]);
            expect_near(&t, want, got, p->out, 1e-6);
        }
        rk_adapter_set_free(set);
        test_reset(&t);
    }
    test_end(&t);
}

static double distance(const float *a, const float *b, int64_t n)
{
    double sum = 0.0, norm = 0.0;
    for (int64_t i = 0; i < n; i++) {
        sum += pow((double)a[i] - (double)b[i], 2);
        norm += pow((double)a[i], 2);
    }
    return sqrt(sum / norm);
}

static void test_unmerged(void **state)
{
    (void)state;
    test_ctx t = test_begin(2);
    for (size_t c = 0; c < RK_COUNT(cases); c++) {
        rk_error err = {0};
        rk_adapter_set *set = random_set(&t, &cases[c], 0.05f);
        const rk_adapter_part *p = &set->parts[0];
        const int64_t n = p->out * p->in;
        const bool bat = p->form == RK_PART_BAT_IN || p->form == RK_PART_BAT_OUT;
        const float *w = test_uniform(&t, n, -1, 1);
        float *back = test_copy_f32(&t, w, n);
        test_ok(rk_part_merge(p, 0.8, back, NULL, &err), &err);
        assert_true(distance(w, back, n) > 1e-3);
        if (p->form == RK_PART_DORA) {
            assert_int_equal(rk_part_unmerge(p, 0.8, back, NULL, &err), RK_ERR_UNSUPPORTED);
        } else {
            test_ok(rk_part_unmerge(p, 0.8, back, NULL, &err), &err);
            assert_true(distance(w, back, n) < (bat ? 1e-5 : 1e-6));
        }
        rk_adapter_set_free(set);
        test_reset(&t);
    }
    test_end(&t);
}

/* I + B without an inverse: nothing is divided by. */
static void test_singular(void **state)
{
    (void)state;
    test_ctx t = test_begin(3);
    rk_error err = {0};
    const sizes s = {RK_PART_BAT_IN, 4, 4, 2, 0, false};
    rk_adapter_set *set = random_set(&t, &s, 0.0f);
    float *w = test_uniform(&t, 16, -1, 1);
    set->parts[0].tensors[0][4] = set->parts[0].tensors[0][7] = -1.0f;
    assert_int_equal(rk_part_unmerge(&set->parts[0], 1.0, w, NULL, &err), RK_ERR_NUMERIC);
    rk_adapter_set_free(set);
    test_end(&t);
}

static void test_threads(void **state)
{
    (void)state;
    test_ctx t = test_begin(4);
    rk_error err = {0};
    rk_pool *pool = NULL;
    test_ok(rk_pool_new(&pool, 3, NULL, NULL, NULL, &err), &err);
    for (size_t c = 0; c < RK_COUNT(cases); c++) {
        rk_adapter_set *set = random_set(&t, &cases[c], 1.0f);
        const rk_adapter_part *p = &set->parts[0];
        const int64_t n = p->out * p->in;
        float *one = test_uniform(&t, n, -1, 1), *three = test_copy_f32(&t, one, n);
        test_ok(rk_part_merge(p, 1.0, one, NULL, &err), &err);
        test_ok(rk_part_merge(p, 1.0, three, pool, &err), &err);
        test_same(&t, "merged", one, three, (size_t)n * sizeof *one);
        rk_adapter_set_free(set);
        test_reset(&t);
    }
    rk_pool_free(pool);
    test_end(&t);
}

/* The same outputs on the original matrix, and a configuration that says the same scale. */
static void test_as_lora(void **state)
{
    (void)state;
    test_ctx t = test_begin(5);
    for (size_t c = 0; c < 2 * RK_COUNT(cases); c++) {
        rk_error err = {0};
        rk_adapter_set *set = random_set(&t, &cases[c / 2], 1.0f), *lora = NULL;
        rk_adapter_part *p = &set->parts[0];
        rk_adapter_whole *whole = NULL;
        const int64_t dims[] = {3};
        set->rslora = c % 2 == 1;
        set->alpha = p->scale * (set->rslora ? sqrt((double)p->rank) : (double)p->rank);
        set->fingerprint = 77;
        test_ok(rk_adapter_set_add_whole(set, "ln_out.weight", 1, dims, &whole, &err), &err);
        whole->data[2] = 5.0f;
        if (p->form != RK_PART_LORA && p->form != RK_PART_MISS) {
            assert_int_equal(rk_adapter_set_to_lora(&lora, set, &err), RK_ERR_UNSUPPORTED);
            assert_null(lora);
        } else {
            test_ok(rk_adapter_set_to_lora(&lora, set, &err), &err);
            const rk_adapter_part *q = &lora->parts[0];
            const float *w = test_uniform(&t, p->out * p->in, -1, 1);
            const double *x = test_uniform_f64(&t, p->in, -1, 1);
            assert_int_equal(q->form, RK_PART_LORA);
            assert_null(q->start[0]);
            assert_int_equal(q->rank, p->start[0] ? 2 * p->rank : p->rank);
            expect_near(&t, adapted(&t, p, w, x), adapted(&t, q, w, x), p->out, 1e-12);
            const double r = lora->rslora ? sqrt((double)q->rank) : (double)q->rank;
            assert_true(fabs(lora->alpha / r - q->scale) < 1e-12);
            assert_string_equal(lora->method, "lora");
            assert_true(lora->fingerprint == 77 && lora->whole[0].data[2] == 5.0f);
        }
        rk_adapter_set_free(lora);
        rk_adapter_set_free(set);
        test_reset(&t);
    }
    test_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_merged),   cmocka_unit_test(test_unmerged),
        cmocka_unit_test(test_singular), cmocka_unit_test(test_threads),
        cmocka_unit_test(test_as_lora),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
