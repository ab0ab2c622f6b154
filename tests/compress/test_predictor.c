/* Sparse channel mixes: what is kept, what is computed with it, how records and predictors are made. */
#include "infer/test_model_util.h"

#include "compress/predictor.h"
#include "compress/remade.h"
#include "compress/whole.h"
#include "infer/engine.h"
#include "model/records.h"
#include "tensor/sparse_mix.h"

enum { V = 97, C = 48, LAYERS = 2, TOKENS = 60, F = 150, HIDDEN = 12 };

/* ---- a mix of random tensors ---- */

typedef struct mix {
    rk_sparse_mix m;
    rk_tensor t[7];
    float *w; /* (F, C) */
} mix;

static rk_tensor *tensor(rk_tensor *t, rk_dtype dtype, int64_t a, int64_t b, int64_t c, void *data)
{
    const int64_t dims[3] = {a, b, c};
    *t = rk_tensor_over(dtype, c > 0 ? 3 : b > 0 ? 2 : 1, dims, data);
    return t;
}

static void begin(test_ctx *t, mix *x, int64_t f, int64_t c, int64_t bits, int64_t hidden,
                  bool reference)
{
    float *limits = test_alloc_f32(t, 2), *records = test_uniform(t, f * 2 * c, -0.2f, 0.2f);
    const int64_t row = (c + 7) / 8;
    float min = records[0], max = records[0];
    x->w = test_alloc_f32(t, f * c);
    limits[0] = 0.5f;
    limits[1] = 0.75f;
    for (int64_t i = 0; i < f * c; i++) {
        x->w[i] = records[i / c * 2 * c + i % c];
        min = fminf(min, x->w[i]);
        max = fmaxf(max, x->w[i]);
    }
    x->m = (rk_sparse_mix){.records = tensor(&x->t[0], RK_F32, f, 2, c, records),
                           .limits = tensor(&x->t[1], RK_F32, 2, 0, 0, limits)};
    if (bits > 0) {
        x->m.planes =
            tensor(&x->t[2], RK_U8, bits, f, row, test_alloc(t, (size_t)(bits * f * row)));
        x->m.plane_scale = tensor(&x->t[3], RK_F32, bits, f, 0, test_alloc_f32(t, bits * f));
        x->m.plane_offset = tensor(&x->t[4], RK_F32, f, 0, 0, test_alloc_f32(t, f));
        rk_planes_fill(&x->m, x->w, 0, f, reference, min, max);
    }
    if (hidden > 0) {
        x->m.fc1 = tensor(&x->t[5], RK_F32, hidden, c, 0, test_uniform(t, hidden * c, -1, 1));
        x->m.fc2 = tensor(&x->t[6], RK_F32, f, hidden, 0, test_uniform(t, f * hidden, -1, 1));
    }
}

/* What is active by the definition: a sort, and the small product in double. */
static void active_of(const mix *x, const float *in, bool *active)
{
    const rk_sparse_mix *m = &x->m;
    const int64_t f = m->records->dims[0], c = m->records->dims[2];
    const float *limits = m->limits->data;
    float z[F];
    if (m->planes)
        rk_sparse_mix_guess(&rk_kernels_ref_f32, m, in, 0, f, z);
    for (int64_t i = 0; i < f; i++) {
        int64_t before = 0;
        active[i] = !m->planes && !m->fc1;
        for (int64_t k = 0; m->planes && k < f; k++)
            before += z[k] > z[i] || (z[k] == z[i] && k < i);
        active[i] |= m->planes && before < llround((1 - (double)limits[1]) * (double)f);
        double score = 0;
        for (int64_t h = 0; m->fc1 && h < m->fc1->dims[0]; h++) {
            double sum = 0;
            for (int64_t k = 0; k < c; k++)
                sum += (double)((float *)m->fc1->data)[h * c + k] * (double)in[k];
            score += fmax(sum, 0) * (double)((float *)m->fc2->data)[i * m->fc1->dims[0] + h];
        }
        active[i] |= m->fc1 && 1 / (1 + exp(-score)) > (double)limits[0];
    }
}

/* factor (F); NULL: none. */
static void dense(const mix *x, const float *in, const float *factor, const bool *active,
                  float *out)
{
    const int64_t f = x->m.records->dims[0], c = x->m.records->dims[2];
    const float *r = x->m.records->data;
    double sum[C] = {0};
    for (int64_t i = 0; i < f; i++) {
        double z = 0;
        for (int64_t k = 0; k < c; k++)
            z += (double)x->w[i * c + k] * (double)in[k];
        const double square = z * z * (factor ? (double)factor[i] : 1);
        for (int64_t k = 0; k < c && active[i] && z > 0; k++)
            sum[k] += square * (double)r[(i * 2 + 1) * c + k];
    }
    for (int64_t k = 0; k < c; k++)
        out[k] = (float)sum[k];
}

static void run(const mix *x, const rk_kernels *kern, int threads, int64_t rows, bool is_long,
                const float *in, const float *factor, float *out)
{
    rk_ctx ctx;
    rk_pool *pool = NULL;
    rk_error err = {0};
    const int64_t dims[2] = {rows, x->m.records->dims[2]};
    rk_tensor t = rk_tensor_over(RK_F32, 2, dims, (float *)(uintptr_t)in);
    test_ok(rk_pool_new(&pool, threads, NULL, NULL, NULL, &err), &err);
    test_ok(
        rk_ctx_init(&ctx,
                    &(rk_ctx_params){.kernels = kern, .pool = pool, .data_kind = RK_ARENA_GROWING},
                    &err),
        &err);
    ctx.long_class = is_long;
    const int64_t factors[2] = {rows, x->m.records->dims[0]};
    rk_tensor of_rows = rk_tensor_over(RK_F32, 2, factors, (float *)(uintptr_t)factor);
    const rk_tensor *y = rk_sparse_mix_forward(&ctx, &x->m, &t, factor ? &of_rows : NULL);
    test_ok(rk_ctx_status(&ctx, &err), &err);
    memcpy(out, y->data, rk_tensor_bytes(y));
    rk_ctx_deinit(&ctx);
    rk_pool_free(pool);
}

/* Any mask: the dense product with masked neurons; rows, threads and neighbours change no bit of a class. */
static void check_mix(test_ctx *t, const mix *x, const rk_kernels *kern, bool has_factor)
{
    enum { ROWS = 19 };
    const int64_t c = x->m.records->dims[2], f = x->m.records->dims[0];
    const float *in = test_uniform(t, ROWS * c, -1, 1);
    const float *factor = has_factor ? test_uniform(t, ROWS * f, -1, 2) : NULL;
    float *want = test_alloc_f32(t, ROWS * c), *got = test_alloc_f32(t, ROWS * c);
    float *again = test_alloc_f32(t, ROWS * c);
    for (int64_t r = 0; r < ROWS; r++) {
        bool active[F];
        active_of(x, in + r * c, active);
        dense(x, in + r * c, factor ? factor + r * f : NULL, active, want + r * c);
    }
    for (int is_long = 0; is_long < 2; is_long++) {
        run(x, kern, 1, ROWS, is_long, in, factor, got);
        test_close(t, is_long ? "long" : "short", want, got, ROWS * c, 2e-5f);
        run(x, kern, 3, ROWS, is_long, in, factor, again);
        test_same(t, "three threads", got, again, (size_t)(ROWS * c) * sizeof *got);
        for (int64_t r = 0; r < ROWS; r += 3) {
            run(x, kern, 2, 1, is_long, in + r * c, factor ? factor + r * f : NULL, again);
            test_same(t, "a row alone", got + r * c, again, (size_t)c * sizeof *got);
        }
    }
}

static void test_mixes(void **state)
{
    static const struct {
        int64_t bits, hidden;
        float theta, p;
    } rows[] = {{1, 0, 0.5f, 0.8f}, {2, 0, 0.5f, 0.5f},   {4, HIDDEN, 0.7f, 0.9f},
                {0, HIDDEN, 0, 0},  {0, HIDDEN, 0.5f, 1}, {0, 0, 0.5f, 0.5f},
                {1, HIDDEN, 1, 1},  {1, HIDDEN, 0.6f, 0}};
    (void)state;
    const rk_kernels *kern;
    for (int path = 0; (kern = rk_kernels_at(path)); path++)
        for (size_t i = 0; i < RK_COUNT(rows); i++) {
            test_ctx t = test_begin(i);
            mix x;
            begin(&t, &x, F, i % 2 ? C : C - 5, rows[i].bits, rows[i].hidden, i % 3 == 0);
            ((float *)x.m.limits->data)[0] = rows[i].theta;
            ((float *)x.m.limits->data)[1] = rows[i].p;
            test_shape(&t, "%s, row %zu", kern->name, i);
            check_mix(&t, &x, kern, false);
            check_mix(&t, &x, kern, true);
            test_end(&t);
        }
}

/* Equal guesses: the first ones. */
static void test_ties(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    mix x;
    float guess[F];
    int32_t list[F];
    begin(&t, &x, F, C, 1, 0, false);
    for (int i = 0; i < F; i++)
        guess[i] = i % 3 ? 1.0f : -1.0f;
    ((float *)x.m.limits->data)[1] = 0.9f;
    assert_int_equal(rk_sparse_mix_kept(&x.m), 15);
    assert_int_equal(rk_sparse_mix_select(&x.m, guess, NULL, list), 15);
    for (int i = 0; i < 15; i++)
        assert_int_equal(list[i], i / 2 * 3 + i % 2 + 1);
    test_end(&t);
}

/* ---- recall of normal weights ---- */

static float normal(uint64_t seed, uint64_t i)
{
    const double u = (double)rk_rng_f32(seed, RK_RNG_TEST, 1, i);
    const double v = (double)rk_rng_f32(seed, RK_RNG_TEST, 2, i);
    return (float)(sqrt(-2 * log(u + 1e-9)) * cos(6.283185307179586 * v));
}

/* Share of the `share` largest of z among the `kept` largest of guess. */
static double recall_of(mix *x, const float *z, const float *guess, double share, double kept)
{
    static int32_t top[2048], list[2048];
    float *limits = x->m.limits->data;
    int64_t hits = 0;
    limits[1] = (float)(1 - share);
    const int64_t n = rk_sparse_mix_select(&x->m, z, NULL, top);
    limits[1] = (float)(1 - kept);
    const int64_t m = rk_sparse_mix_select(&x->m, guess, NULL, list);
    for (int64_t i = 0, k = 0; i < n; i++) { /* both rise */
        while (k < m && list[k] < top[i])
            k++;
        hits += k < m && list[k] == top[i];
    }
    return (double)hits / (double)n;
}

/* z~ is the product with the weights that the planes stand for, one by one. */
static void test_guess(void **state)
{
    enum { INPUTS = 53, NEURONS = 150 };
    (void)state;
    for (int64_t bits = 1; bits <= 4; bits *= 2) {
        test_ctx t = test_begin((uint64_t)bits);
        mix x;
        float z[NEURONS], want[NEURONS];
        begin(&t, &x, NEURONS, INPUTS, bits, 0, bits == 2);
        const float *in = test_uniform(&t, INPUTS, 0, 1); /* whose sum is far from 0 */
        const float *scale = x.m.plane_scale->data, *offset = x.m.plane_offset->data;
        const uint8_t *planes = x.m.planes->data;
        const int64_t row = x.m.planes->dims[2];
        for (int64_t i = 0; i < NEURONS; i++) {
            double sum = 0;
            for (int64_t k = 0; k < INPUTS; k++) {
                double w = (double)offset[i];
                for (int64_t b = 0; b < bits; b++) {
                    const bool set = planes[(b * NEURONS + i) * row + k / 8] >> k % 8 & 1;
                    w += set ? (double)scale[b * NEURONS + i] : -(double)scale[b * NEURONS + i];
                }
                sum += w * (double)in[k];
            }
            want[i] = (float)sum;
        }
        for (int path = 0; rk_kernels_at(path); path++) {
            rk_sparse_mix_guess(rk_kernels_at(path), &x.m, in, 0, NEURONS, z);
            test_close(&t, "z~", want, z, NEURONS, 1e-4f);
        }
        test_end(&t);
    }
}

/* The table of rwkv-lite.md, 4.5: one bit and two of one range find about the same; levels of each neuron find
 * more with two. */
static void test_recall(void **state)
{
    enum { NEURONS = 2048, INPUTS = 256, TOKENS_SEEN = 50 };
    static const struct {
        int64_t bits;
        bool reference;
        double share, kept, want, more; /* want: at least want - 0.03, at most want + 0.03 + more */
    } rows[] = {{1, true, 0.06, 0.10, 0.65, 0},  {1, true, 0.06, 0.20, 0.86, 0},
                {1, true, 0.10, 0.15, 0.69, 0},  {1, true, 0.25, 0.20, 0.58, 0},
                {2, true, 0.06, 0.10, 0.67, 0},  {2, true, 0.15, 0.20, 0.71, 0},
                {4, true, 0.06, 0.10, 0.99, 0},  {4, true, 0.25, 0.20, 0.78, 0},
                {1, false, 0.06, 0.10, 0.65, 0}, {2, false, 0.06, 0.10, 0.85, 0.15}};
    (void)state;
    test_ctx t = test_begin(3);
    mix x;
    float *in = test_alloc_f32(&t, INPUTS), *z = test_alloc_f32(&t, NEURONS);
    float *guess = test_alloc_f32(&t, NEURONS);
    for (size_t i = 0; i < RK_COUNT(rows); i++) {
        double sum = 0;
        begin(&t, &x, NEURONS, INPUTS, rows[i].bits, 0, false);
        float min = 0, max = 0;
        for (int64_t k = 0; k < NEURONS * INPUTS; k++) {
            x.w[k] = normal(5, (uint64_t)k);
            min = fminf(min, x.w[k]);
            max = fmaxf(max, x.w[k]);
        }
        rk_planes_fill(&x.m, x.w, 0, NEURONS, rows[i].reference, min, max);
        const rk_kernels *kern = rk_kernels_at(0);
        for (int path = 0; rk_kernels_at(path); path++)
            kern = rk_kernels_at(path);
        for (int token = 0; token < TOKENS_SEEN; token++) {
            for (int k = 0; k < INPUTS; k++)
                in[k] = normal(7, (uint64_t)(token * INPUTS + k));
            kern->gemv_dot(1, NEURONS, INPUTS, in, INPUTS, x.w, RK_F32, INPUTS, z, NEURONS, false);
            rk_sparse_mix_guess(kern, &x.m, in, 0, NEURONS, guess);
            sum += recall_of(&x, z, guess, rows[i].share, rows[i].kept) / TOKENS_SEEN;
        }
        if (sum < rows[i].want - 0.03 || sum > rows[i].want + 0.03 + rows[i].more)
            fail_msg("%d bits, %g of %g: %g found, want %g", (int)rows[i].bits, rows[i].kept,
                     rows[i].share, sum, rows[i].want);
    }
    test_end(&t);
}

/* ---- models ---- */

static const int32_t *text(void)
{
    static int32_t tokens[TOKENS];
    for (int i = 0; i < TOKENS; i++)
        tokens[i] = i * i % V;
    return tokens;
}

static rk_model *records_of(const rk_model *m, int threads, int64_t bits, const double *p,
                            double share, rk_predictor_facts *facts)
{
    rk_engine *e = test_engine(threads);
    rk_model *made = NULL;
    rk_error err = {0};
    test_ok(rk_predictor_new(&made, m, e,
                             &(rk_predictor_options){.tokens = text(),
                                                     .n_tokens = TOKENS,
                                                     .ctx_len = 25,
                                                     .hidden = HIDDEN,
                                                     .steps = 30,
                                                     .bits = bits,
                                                     .theta = 0.7,
                                                     .p = p,
                                                     .share = share},
                             facts, &err),
            &err);
    rk_engine_free(e);
    return made;
}

static void eval(const rk_model *m, int64_t piece, int threads, float *logits)
{
    rk_engine *e = test_engine(threads);
    rk_session *s = NULL;
    rk_error err = {0};
    test_ok(rk_session_new(&s, m, e, &err), &err);
    for (int64_t i = 0; i < TOKENS; i += piece)
        test_ok(rk_session_eval_all(s, text() + i, piece, logits + i * V, &err), &err);
    rk_session_free(s);
    rk_engine_free(e);
}

static rk_dtype type_of(void *user, const rk_param *p, rk_dtype own)
{
    return rk_remade_type(user, p, own);
}

static rk_model *reopened(test_ctx *t, const rk_model *m, const char *name, const rk_model *host,
                          rk_model *made_of)
{
    const rk_save_plan plan = {.type = type_of, .user = made_of};
    const char *path = test_path(t, test_temp_dir(t), name);
    rk_model *read = NULL;
    rk_error err = {0};
    test_ok(rk_model_save(m, path, &(rk_save_options){.plan = &plan}, &err), &err);
    test_ok(rk_model_open(&read, path, &err), &err);
    assert_true(read->fingerprint == host->fingerprint); /* states of one fit the other */
    return read;
}

static void check_same(const rk_model *a, const rk_model *b)
{
    for (int64_t i = 0; i < a->n_params; i++)
        if (a->params[i].trained)
            assert_memory_equal(a->params[i].tensor.data, b->params[i].tensor.data,
                                rk_tensor_bytes(&a->params[i].tensor));
}

/* The matrices that the records were made of. */
static void check_whole(test_ctx *t, rk_model *read, const rk_model *host)
{
    rk_model *whole = NULL;
    rk_pool *pool = NULL;
    rk_error err = {0};
    test_ok(rk_pool_new(&pool, 2, NULL, NULL, NULL, &err), &err);
    test_ok(rk_whole_new(&whole, read, pool, &err), &err);
    rk_model *again = reopened(t, whole, "whole.safetensors", host, read);
    assert_int_equal(again->n_params, host->n_params);
    for (int64_t i = 0; i < host->n_params; i++) {
        const rk_tensor *a = &host->params[i].tensor, *b = &again->params[i].tensor;
        assert_string_equal(host->params[i].name, again->params[i].name);
        assert_int_equal(a->dtype, b->dtype);
        if (host->params[i].used)
            assert_memory_equal(a->data, b->data, rk_tensor_bytes(a));
    }
    rk_model_close(again);
    rk_remade_close(whole);
    rk_pool_free(pool);
}

static void test_models(void **state)
{
    static const rk_arch *const archs[] = {&rk_arch_rwkv4,  &rk_arch_rwkv5,        &rk_arch_rwkv6,
                                           &rk_arch_rwkv7,  &rk_arch_rwkv7_kernel, &rk_arch_rrwkv,
                                           &rk_arch_rwkv7a, &rk_arch_meta7};
    static const double all[LAYERS] = {0}, some[LAYERS] = {0.5, 0.6};
    (void)state;
    for (size_t a = 0; a < RK_COUNT(archs); a++) {
        test_ctx t = test_begin(1);
        rk_predictor_facts one[LAYERS], three[LAYERS];
        test_arch = archs[a];
        test_model f = test_model_open(&t, 3, LAYERS, C, a % 2 ? RK_F16 : RK_F32);
        float *want = test_alloc_f32(&t, TOKENS * V), *got = test_alloc_f32(&t, TOKENS * V);
        test_shape(&t, "%s", test_arch->name);
        eval(f.model, TOKENS, 1, want);
        /* All neurons: the model itself. */
        rk_model *made = records_of(f.model, 1, 1, all, 0, one);
        rk_model *read = reopened(&t, made, "all.safetensors", f.model, f.model);
        for (int64_t piece = 1; piece <= TOKENS; piece += TOKENS - 1) {
            eval(read, piece, 1, got);
            test_close(&t, "all neurons", want, got, TOKENS * V, 2e-5f);
        }
        check_whole(&t, read, f.model);
        rk_model_close(read);
        rk_remade_close(made);
        /* Some: alike on any number of threads, token by token to rounding. */
        made = records_of(f.model, 1, 2, a % 2 ? some : NULL, 0, one);
        rk_model *again = records_of(f.model, 3, 2, a % 2 ? some : NULL, 0, three);
        check_same(made, again);
        assert_memory_equal(one, three, sizeof one);
        for (int l = 0; l < LAYERS; l++)
            if (!(one[l].recall >= fmax(one[l].recall_a, one[l].recall_b) && one[l].recall > 0.5 &&
                  one[l].weighted >= one[l].recall && one[l].active > 0.2 && one[l].kept <= 1))
                fail_msg("%s: layer %d: found %g, %g, both %g, weighted %g of %g", t.shape, l,
                         one[l].recall_a, one[l].recall_b, one[l].recall, one[l].weighted,
                         one[l].active);
        read = reopened(&t, made, "some.safetensors", f.model, f.model);
        eval(read, TOKENS, 1, want);
        eval(read, TOKENS, 3, got);
        test_same(&t, "three threads", want, got, TOKENS * V * sizeof *got);
        eval(read, 1, 2, got);
        test_close(&t, "token by token", want, got, TOKENS * V, 1e-4f);
        test_batch_alone(&t, read);
        rk_model_close(read);
        rk_remade_close(again);
        rk_remade_close(made);
        rk_model_close(f.model);
        test_end(&t);
    }
    test_arch = &rk_arch_rwkv7;
}

/* A share that is asked for is not exceeded by more than single neurons. */
/* An RWKV-4 as one with mediums that say nothing: its tokens' neurons, and none of the mediums'. */
static void test_mediums(void **state)
{
    static const double some[LAYERS] = {0.5, 0.6};
    (void)state;
    test_ctx t = test_begin(1);
    rk_predictor_facts four[LAYERS], with[LAYERS];
    rk_model *m = NULL;
    rk_error err = {0};
    test_arch = &rk_arch_rwkv4;
    test_model f = test_model_open(&t, 3, LAYERS, C, RK_F32);
    test_ok(rk_model_open_with(&m, f.path,
                               &(rk_open_options){.as = &rk_arch_rrwkv,
                                                  .sizes = &(rk_size){"medium_interval", 5},
                                                  .n_sizes = 1},
                               &err),
            &err);
    rk_remade_close(records_of(f.model, 1, 1, some, 0, four));
    rk_remade_close(records_of(m, 1, 1, some, 0, with));
    for (int l = 0; l < LAYERS; l++) /* A begins with other numbers */
        if (four[l].active != with[l].active || four[l].recall_b != with[l].recall_b)
            fail_msg("layer %d: %g active, %g found, with mediums %g and %g", l, four[l].active,
                     four[l].recall_b, with[l].active, with[l].recall_b);
    rk_model_close(m);
    rk_model_close(f.model);
    test_end(&t);
}

static void test_share(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    rk_predictor_facts facts[LAYERS];
    test_model f = test_model_open(&t, 3, LAYERS, C, RK_F32);
    for (int64_t bits = 0; bits < 2; bits++) {
        rk_remade_close(records_of(f.model, 2, bits, NULL, 0.2, facts));
        for (int l = 0; l < LAYERS; l++)
            if (facts[l].kept > 0.2001 || facts[l].kept < (bits ? 0.19 : 0.05))
                fail_msg("layer %d: %g of the neurons are kept, want 0.2", l, facts[l].kept);
    }
    rk_model_close(f.model);
    test_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mixes),  cmocka_unit_test(test_ties),
        cmocka_unit_test(test_guess),  cmocka_unit_test(test_recall),
        cmocka_unit_test(test_models), cmocka_unit_test(test_mediums),
        cmocka_unit_test(test_share)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
