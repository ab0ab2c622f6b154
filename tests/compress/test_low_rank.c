/* Eigenvectors and singular values; models with low-rank pairs: what they are made of, what they compute,
 * the same for any number of threads. */
#include "infer/test_model_util.h"

#include "compress/eigen.h"
#include "compress/low_rank.h"
#include "compress/remade.h"
#include "compress/whole.h"
#include "infer/engine.h"
#include "model/pair.h"

/* ---- eigenvectors ---- */

/* V^T diag(values) V is a, V V^T is 1, values fall. */
static void check_eigen(test_ctx *t, int64_t n, const double *a)
{
    const size_t bytes = (size_t)(n * n) * sizeof(double);
    double *x = test_alloc(t, bytes), *v = test_alloc(t, bytes);
    double *values = test_alloc(t, (size_t)n * sizeof *values);
    double *alone = test_alloc(t, (size_t)n * sizeof *alone), scale = 0;
    rk_error err = {0};
    memcpy(x, a, bytes);
    test_ok(rk_eigen(n, x, values, v, &err), &err);
    memcpy(x, a, bytes);
    test_ok(rk_eigen(n, x, alone, NULL, &err), &err);
    for (int64_t i = 0; i < n; i++)
        scale = fmax(scale, fabs(values[i]));
    for (int64_t i = 0; i < n; i++) {
        assert_true(i == 0 || values[i - 1] >= values[i]);
        assert_true(fabs(alone[i] - values[i]) <= 1e-12 * scale);
        for (int64_t j = 0; j < n; j++) {
            double back = 0, product = 0;
            for (int64_t k = 0; k < n; k++) {
                back += v[k * n + i] * values[k] * v[k * n + j];
                product += v[i * n + k] * v[j * n + k];
            }
            if (fabs(back - a[i * n + j]) > 1e-12 * scale + 1e-300)
                fail_msg("%s: (%d,%d) is %g, want %g", t->shape, (int)i, (int)j, back,
                         a[i * n + j]);
            if (fabs(product - (i == j)) > 1e-12)
                fail_msg("%s: vectors %d and %d: %g", t->shape, (int)i, (int)j, product);
        }
    }
}

enum { RANDOM, ZERO, UNIT, REPEATED, RANK_ONE, WIDE, TURNED, N_KINDS };

static double element(int kind, int64_t i, int64_t j)
{
    const double lo = (double)(i < j ? i : j), hi = (double)(i < j ? j : i);
    switch (kind) {
    case RANDOM:
        return rk_rng_f64(1, RK_RNG_TEST, (uint64_t)lo, (uint64_t)hi) - 0.5;
    case UNIT:
        return i == j;
    case REPEATED:
        return i == j ? (double)(i % 2) : 0;
    case RANK_ONE:
        return (lo + 1) * (hi + 1);
    case WIDE:
        return i == j ? pow(10, -(double)i) : 0;
    case TURNED:
        return hi - lo == 1 ? 1 : 0; /* a diagonal of zeros */
    default:
        return 0;
    }
}

static void test_eigen(void **state)
{
    (void)state;
    static const int64_t sizes[] = {1, 2, 3, 5, 16, 33};
    for (size_t s = 0; s < RK_COUNT(sizes); s++)
        for (int kind = 0; kind < N_KINDS; kind++) {
            test_ctx t = test_begin(1);
            const int64_t n = sizes[s];
            double *a = test_alloc(&t, (size_t)(n * n) * sizeof *a);
            for (int64_t i = 0; i < n * n; i++)
                a[i] = element(kind, i / n, i % n);
            test_shape(&t, "kind %d of %d rows", kind, (int)n);
            check_eigen(&t, n, a);
            test_end(&t);
        }
    double bad[4] = {1, 2, 2, (double)NAN}, values[2];
    rk_error err = {0};
    assert_int_equal(rk_eigen(2, bad, values, NULL, &err), RK_ERR_NUMERIC);
}

/* ---- models ---- */

enum { C = 64, LAYERS = 2, V = 97, TOKENS = 40 };
static const rk_arch *const archs[] = {&rk_arch_rwkv4, &rk_arch_rwkv5, &rk_arch_rwkv6,
                                       &rk_arch_rwkv7};

static rk_model *pairs_of(const rk_model *m, rk_low_rank_options how, int threads)
{
    rk_model *made = NULL;
    rk_error err = {0};
    double error;
    test_ok(rk_pool_new(&how.pool, threads, NULL, NULL, NULL, &err), &err);
    test_ok(rk_low_rank_new(&made, m, &how, &error, &err), &err);
    rk_pool_free(how.pool);
    return made;
}

static const rk_tensor *matrix_of(const rk_model *m, int64_t layer, int kind)
{
    for (int64_t i = 0; i < m->n_params; i++)
        if (m->params[i].layer == layer && rk_pair_kind(m->params[i].spec) == kind)
            return &m->params[i].tensor;
    return NULL;
}

/* The squares of W - W2 W1. */
static double lost(const rk_tensor *w, const rk_low_rank *pair)
{
    const float *x = w->data, *down = pair->down->data, *up = pair->up->data;
    const int64_t rank = pair->down->dims[0];
    double sum = 0;
    for (int64_t o = 0; o < C; o++)
        for (int64_t i = 0; i < C; i++) {
            double y = 0;
            for (int64_t k = 0; k < rank; k++)
                y += (double)up[o * rank + k] * (double)down[k * C + i];
            sum += ((double)x[o * C + i] - y) * ((double)x[o * C + i] - y);
        }
    return sum;
}

static double squares(const rk_tensor *w)
{
    const float *x = w->data;
    double sum = 0;
    for (int64_t i = 0; i < rk_tensor_count(w); i++)
        sum += (double)x[i] * (double)x[i];
    return sum;
}

/* What is lost is the singular values behind the rank; nothing at full rank. */
static void check_lost(test_ctx *t, const rk_model *m, int64_t rank)
{
    rk_model *made = pairs_of(m, (rk_low_rank_options){.rank = rank}, 2);
    double s[C];
    rk_error err = {0};
    for (int64_t l = 0; l < LAYERS; l++)
        for (int k = 0; k < RK_PAIR_KINDS; k++) {
            const rk_tensor *w = matrix_of(m, l, k);
            double behind = 0;
            if (!w)
                continue;
            test_ok(rk_singular(C, C, w->data, s, NULL, &err), &err);
            for (int64_t i = rank; i < C; i++)
                behind += s[i] * s[i];
            const double found = lost(w, &made->pairs[l * RK_PAIR_KINDS + k]), all = squares(w);
            if (fabs(sqrt(found) - sqrt(behind)) > 1e-5 * sqrt(all))
                fail_msg("%s, rank %d, %s of layer %d: %g lost, want %g", t->shape, (int)rank,
                         rk_pair_name(k), (int)l, sqrt(found), sqrt(behind));
        }
    rk_remade_close(made);
}

static void eval(const rk_model *m, int64_t piece, float *logits)
{
    rk_engine *e = test_engine(2);
    rk_session *s = NULL;
    rk_error err = {0};
    int32_t tokens[TOKENS];
    for (int i = 0; i < TOKENS; i++)
        tokens[i] = i * i % V;
    test_ok(rk_session_new(&s, m, e, &err), &err);
    for (int64_t i = 0; i < TOKENS; i += piece)
        test_ok(rk_session_eval(s, tokens + i, piece, logits, &err), &err);
    rk_session_free(s);
    rk_engine_free(e);
}

/* Written, opened again. */
static rk_model *through_file(test_ctx *t, const rk_model *m, const char *name)
{
    const char *path = test_path(t, test_temp_dir(t), name);
    rk_model *read = NULL;
    rk_error err = {0};
    test_ok(rk_model_save(m, path, &(rk_save_options){.dtype = RK_F32, .overwrite = true}, &err),
            &err);
    test_ok(rk_model_open(&read, path, &err), &err);
    return read;
}

/* Full rank: the logits of the model itself, and its matrices when they are put together again. */
static void check_full(test_ctx *t, const rk_model *m)
{
    rk_model *made = pairs_of(m, (rk_low_rank_options){.rank = C}, 1), *whole = NULL;
    rk_model *read = through_file(t, made, "full.pth");
    float want[V], got[V];
    rk_error err = {0};
    rk_pool *pool = NULL;
    eval(m, TOKENS, want);
    eval(read, TOKENS, got);
    test_close(t, "logits", want, got, V, 1e-4f);
    test_ok(rk_pool_new(&pool, 2, NULL, NULL, NULL, &err), &err);
    test_ok(rk_whole_new(&whole, read, pool, &err), &err);
    for (int k = 0; k < RK_PAIR_KINDS; k++) {
        const rk_tensor *a = matrix_of(m, 1, k), *b = matrix_of(whole, 1, k);
        assert_int_equal(a != NULL, b != NULL);
        if (a)
            test_close(t, rk_pair_name(k), a->data, b->data, (int64_t)C * C, 1e-5f);
    }
    rk_pool_free(pool);
    rk_remade_close(whole);
    rk_model_close(read);
    rk_remade_close(made);
}

static void test_svd(void **state)
{
    (void)state;
    for (size_t a = 0; a < RK_COUNT(archs); a++) {
        test_ctx t = test_begin(1);
        test_arch = archs[a];
        test_model f = test_model_open(&t, 3, LAYERS, C, RK_F32);
        test_shape(&t, "%s", test_arch->name);
        check_lost(&t, f.model, 1);
        check_lost(&t, f.model, 8);
        check_lost(&t, f.model, C);
        check_full(&t, f.model);
        rk_model_close(f.model);
        test_end(&t);
    }
    test_arch = &rk_arch_rwkv7;
}

static void test_threads(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    test_model f = test_model_open(&t, 3, LAYERS, C, RK_F32);
    rk_model *one = pairs_of(f.model, (rk_low_rank_options){.share = 0.7}, 1);
    rk_model *three = pairs_of(f.model, (rk_low_rank_options){.share = 0.7}, 3);
    assert_true(one->hp.low_rank > 1 && one->hp.low_rank < C);
    for (int64_t i = 0; i < one->n_params; i++)
        if (one->params[i].trained)
            assert_memory_equal(one->params[i].tensor.data, three->params[i].tensor.data,
                                rk_tensor_bytes(&one->params[i].tensor));
    /* The least rank: one less keeps less of some matrix. */
    for (int k = 0; k < RK_PAIR_KINDS; k++) {
        const int64_t rank = one->hp.pair_rank[k];
        bool needed = rank == 0;
        for (int64_t l = 0; l < LAYERS && !needed; l++) {
            double s[C], all = 0, sum = 0;
            rk_error err = {0};
            test_ok(rk_singular(C, C, matrix_of(f.model, l, k)->data, s, NULL, &err), &err);
            for (int64_t i = 0; i < C; i++)
                all += s[i];
            for (int64_t i = 0; i < rank - 1; i++)
                sum += s[i];
            needed = sum < 0.7 * all;
            assert_true(sum + s[rank - 1] >= 0.7 * all);
        }
        assert_true(needed);
    }
    rk_remade_close(three);
    rk_remade_close(one);
    rk_model_close(f.model);
    test_end(&t);
}

/* ---- enhanced ---- */

static rk_model *enhanced(test_ctx *t, const rk_arch *arch)
{
    const rk_size sizes[] = {{"n_vocab", V},    {"n_layer", LAYERS}, {"n_embd", C},
                             {"head_size", 16}, {"low_rank", 12},    {"low_rank_form", 1}};
    rk_hparams hp = test_hparams(arch, sizes, RK_COUNT(sizes));
    rk_model *m = test_model_noisy(arch, &hp, 0.2f);
    rk_model *read = through_file(t, m, "enhanced.safetensors");
    assert_int_equal(read->hp.pair_form, RK_PAIR_ENHANCED);
    rk_model_close(m);
    return read;
}

/* In every shape: a prompt at once, in pieces, token by token; and it is no matrix. */
static void test_enhanced(void **state)
{
    (void)state;
    for (size_t a = 0; a < RK_COUNT(archs); a++) {
        test_ctx t = test_begin(1);
        rk_model *m = enhanced(&t, archs[a]), *whole = NULL;
        float want[V], got[V];
        rk_error err = {0};
        test_shape(&t, "%s", archs[a]->name);
        eval(m, TOKENS, want);
        eval(m, 8, got);
        test_close(&t, "pieces", want, got, V, 1e-4f);
        eval(m, 1, got);
        test_close(&t, "tokens", want, got, V, 1e-4f);
        assert_int_equal(rk_whole_new(&whole, m, NULL, &err), RK_ERR_UNSUPPORTED);
        assert_non_null(strstr(err.msg, "enhanced"));
        rk_model_close(m);
        test_end(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_eigen), cmocka_unit_test(test_svd),
                                       cmocka_unit_test(test_threads),
                                       cmocka_unit_test(test_enhanced)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
