/* Memory plans: RWKV-Lite's own formulas on shapes alone, what is chosen for which room, and what a process
 * then takes. */
#include "infer/test_model_util.h"

#include <sys/wait.h>

#include "base/memory.h"
#include "infer/memory_plan.h"
#include "infer/test_lite_model.h"
#include "model/pair.h"

/* ---- shapes of RWKV-5.2 ---- */

static const struct shape {
    int64_t layers, embd, ffn;
    double vanilla, pairs; /* MB, by the paper's accounting */
    double lite[3];        /* with .15, .2 and .3 of the records */
    double ratio;          /* of vanilla to .2, 0.1 around it */
    double bytes;          /* with .2 of the records, all of it in bytes with ranges */
} shapes[] = {
    {12, 768, 2688, 385.6, 332.6, {70.4, 75.4, 85.3}, 5.1, 40},
    {24, 1024, 3584, 923.4, 734.9, {212.1, 229.7, 265.0}, 4.0, 122},
    {24, 2048, 7168, 3155.5, 2401.0, {778.4, 848.9, 989.8}, 3.7, 449},
    {32, 2560, 8960, 6126.0, 4554.0, {1576.0, 1722.8, 2016.4}, 3.6, 911},
};
static const double rhos[] = {0.15, 0.2, 0.3};

static rk_model *shape_of(const struct shape *s, bool pairs)
{
    const rk_size sizes[] = {{"n_vocab", 65536},
                             {"n_layer", (double)s->layers},
                             {"n_embd", (double)s->embd},
                             {"dim_ffn", (double)s->ffn},
                             {"low_rank", pairs ? (double)s->embd / 8 : 0},
                             {"low_rank_form", RK_PAIR_ENHANCED}};
    rk_hparams hp;
    rk_model *m = NULL;
    rk_error err = {0};
    test_ok(rk_sizes_make(&rk_arch_rwkv5, sizes, RK_COUNT(sizes), &hp, &err), &err);
    test_ok(rk_model_new(&m, &rk_arch_rwkv5, &hp, &err), &err);
    return m;
}

/* The same with records, predictors and clusters. */
static rk_model *lite_of(const struct shape *s)
{
    rk_model *m = NULL, *pairs = shape_of(s, true);
    rk_hparams hp = pairs->hp;
    rk_error err = {0};
    rk_model_close(pairs);
    hp.n_clusters = 200;
    hp.ffn_records = hp.plane_bits = 1;
    hp.plane_bytes = hp.n_embd / 8;
    hp.predictor_size = 64;
    test_ok(rk_model_new(&m, &rk_arch_rwkv5, &hp, &err), &err);
    return m;
}

/* Rows of records, embeddings and head that the paper counts, without the tables of caches. */
static double lite_mb(const rk_model *m, rk_dtype type, double rho)
{
    rk_memory_parts p;
    rk_memory_parts_of(m, type, false, &p);
    return ((double)p.blocks + (double)p.rest + (double)p.clusters + rho * (double)p.records +
            1000 * (double)p.emb_row + 0.13 * (double)p.head) /
           1e6;
}

static double held_mb(const rk_model *m)
{
    rk_memory_parts parts;
    rk_memory_parts_of(m, RK_F16, false, &parts);
    return (double)rk_memory_held(m, &parts, &(rk_hold){.layers = m->hp.n_layer}) / 1e6;
}

static void within(const test_ctx *t, const char *what, double want, double got, double share)
{
    if (!(fabs(got - want) <= share * want))
        fail_msg("%s, %s: %.2f, expected %.2f within %.1f %%", t->shape, what, got, want,
                 100 * share);
}

static void test_formula(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    for (size_t i = 0; i < RK_COUNT(shapes); i++) {
        rk_model *dense = shape_of(&shapes[i], false), *pairs = shape_of(&shapes[i], true);
        test_shape(&t, "width %" PRId64, shapes[i].embd);
        within(&t, "whole", shapes[i].vanilla, held_mb(dense), 0.005);
        within(&t, "low-rank pairs", shapes[i].pairs, held_mb(pairs), 0.005);
        rk_model *lite = lite_of(&shapes[i]);
        for (size_t k = 0; k < RK_COUNT(rhos); k++)
            within(&t, "lite", shapes[i].lite[k], lite_mb(lite, RK_F16, rhos[k]), 0.005);
        assert_true(fabs(held_mb(dense) / lite_mb(lite, RK_F16, 0.2) - shapes[i].ratio) <= 0.1);
        /* The paper's figures are rounded to a megabyte, and hold the vectors of ranges. */
        within(&t, "bytes", shapes[i].bytes, lite_mb(lite, RK_RANGED, 0.2), 0.025);
        rk_model_close(dense);
        rk_model_close(pairs);
        rk_model_close(lite);
    }
    test_end(&t);
}

/* ---- choosing ---- */

/* More room holds no less, and never more than there is; below the least nothing does. */
static void test_choice(void **state)
{
    (void)state;
    test_ctx t = test_begin(2);
    test_n_vocab = 3000;
    test_model m = test_model_open(&t, 5, 6, 256, RK_F16);
    test_n_vocab = 97;
    rk_memory_parts parts;
    rk_memory_plan p = {0};
    rk_memory_parts_of(m.model, RK_F16, false, &parts);
    const size_t all = rk_memory_held(m.model, &parts, &(rk_hold){.layers = 6});
    assert_false(rk_memory_choose(m.model, &parts, 0, &p));
    const size_t least = p.weights;
    size_t before = 0;
    int64_t layers = 0;
    assert_true(least < all / 2);
    assert_false(rk_memory_choose(m.model, &parts, least - 1, &p));
    for (size_t room = least; room < all; room += all / 97) {
        assert_true(rk_memory_choose(m.model, &parts, room, &p));
        assert_true(p.weights <= room && !p.whole && p.hold.layers >= layers);
        assert_true(p.weights >= before || p.hold.emb_rows > 16);
        before = p.weights;
        layers = p.hold.layers;
    }
    assert_true(rk_memory_choose(m.model, &parts, all, &p));
    assert_true(p.whole && p.weights == all);
    rk_model_close(m.model);
    test_end(&t);
}

/* ---- what a process takes ---- */

typedef struct taken {
    rk_status st;
    rk_memory_plan plan;
    rk_memory bare, end;
    rk_error err;
    double sum; /* of the last scores */
} taken;

/* Reads a long prompt and some tokens under a limit; `over` above what the process takes without a model, 0:
 * none. */
static void serve(const char *path, size_t over, taken *x)
{
    enum { N = 700, STEPS = 20 };
    rk_engine *e = test_engine(1);
    rk_model *m = NULL;
    rk_session *s = NULL;
    test_ctx t = test_begin(9);
    rk_memory_now(&x->bare);
    x->st = rk_model_open(&m, path, &x->err);
    const rk_memory_limit limit = {.bytes = x->bare.resident + over, .n_streams = 1};
    if (x->st == RK_OK && over > 0)
        x->st = rk_model_limit(m, e, &limit, &x->plan, &x->err);
    if (x->st == RK_OK)
        x->st = rk_session_new(&s, m, e, &x->err);
    const int64_t v = x->st == RK_OK ? m->hp.n_vocab : 1;
    const int32_t *tokens = test_tokens(&t, N, v);
    float *logits = test_alloc(&t, (size_t)v * sizeof *logits);
    if (x->st == RK_OK)
        x->st = rk_session_eval(s, tokens, N - STEPS, logits, &x->err);
    for (int i = N - STEPS; i < N && x->st == RK_OK; i++)
        x->st = rk_session_eval(s, tokens + i, 1, logits, &x->err);
    for (int64_t i = 0; i < v && x->st == RK_OK; i++)
        x->sum += (double)logits[i] * (double)(i % 7 + 1);
    rk_memory_now(&x->end);
    rk_session_free(s);
    rk_model_close(m);
    rk_engine_free(e);
    test_end(&t);
}

/* In a process of its own: the peak is that of this work alone. */
static taken serve_apart(const char *path, size_t over)
{
    int ends[2], status = 0;
    taken x = {0};
    assert_int_equal(pipe(ends), 0);
    const pid_t pid = fork();
    if (pid == 0) {
        serve(path, over, &x);
        _exit(write(ends[1], &x, sizeof x) == (ssize_t)sizeof x ? 0 : 1);
    }
    assert_int_equal(read(ends[0], &x, sizeof x), sizeof x);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    close(ends[0]);
    close(ends[1]);
    return x;
}

/* A sanitizer takes memory of its own. */
static bool is_sanitized(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return true;
#else
    const char *sanitize =
        getenv("RK_SANITIZE"); /* of a build by clang; ctest sets it to nothing */
    return sanitize && *sanitize;
#endif
}

/* The peak stays below the limit; planned, and taken, above a bare process. */
static void check_peak(const test_ctx *t, const taken *x, size_t over, double share)
{
    const double planned = (double)(x->plan.total - x->bare.resident) / 1e6;
    const double took = (double)(x->end.peak - x->bare.resident) / 1e6;
    assert_true(x->plan.total <= x->bare.resident + over);
    if (is_sanitized())
        return;
    if (took * 1e6 > (double)over)
        fail_msg("%s: %.2f MB above bare", t->shape, took);
    within(t, "peak", planned, took, share);
}

/* What a refusal names as the least does work, with the same scores. */
static void check_least(test_ctx *t, const char *path, double sum)
{
    const taken none = serve_apart(path, 1000000);
    assert_int_equal(none.st, RK_ERR_ARG);
    assert_non_null(strstr(none.err.msg, "the least that works is"));
    const double least = atof(strstr(none.err.msg, "works is") + strlen("works is")) * 1e6;
    const size_t over = (size_t)least - none.bare.resident + 200000;
    const taken some = serve_apart(path, over);
    test_ok(some.st, &some.err);
    test_shape(t, "%s, the least", path);
    assert_true(some.sum == sum);
    check_peak(t, &some, over, 0.2);
}

/* In a process of its own, too: what it leaves free in its heap, others would use. */
static void make_apart(const char *plain, const char *blocks, const char *lite)
{
    int status = 0;
    const pid_t pid = fork();
    if (pid == 0) {
        rk_error err = {0};
        test_n_vocab = 16384;
        rk_model *m = test_model_make(5, 8, 384);
        test_ok(rk_model_save(m, plain, &(rk_save_options){.dtype = RK_F16}, &err), &err);
        test_ok(rk_model_save(m, blocks, &(rk_save_options){.dtype = RK_Q8_0}, &err), &err);
        rk_model_close(m);
        test_lite_write(lite, &rk_arch_rwkv7, 16384, 8, 384, 64);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void test_process(void **state)
{
    (void)state;
    static const size_t overs[] = {60000000, 44000000, 32000000, 28000000};
    test_ctx t = test_begin(3);
    const char *dir = test_temp_dir(&t), *plain = test_path(&t, dir, "plain.safetensors");
    const char *blocks = test_path(&t, dir, "blocks.gguf");
    const char *lite = test_path(&t, dir, "lite.safetensors");
    make_apart(plain, blocks, lite);
    const taken whole = serve_apart(plain, 0), packed = serve_apart(blocks, 0);
    test_ok(whole.st, &whole.err);
    test_ok(packed.st, &packed.err);
    for (size_t i = 0; i < RK_COUNT(overs); i++) {
        const taken x = serve_apart(plain, overs[i]);
        test_ok(x.st, &x.err);
        test_shape(&t, "%.1f MB, %" PRId64 " blocks held", (double)overs[i] / 1e6,
                   x.plan.hold.layers);
        assert_true(x.sum == whole.sum);
        check_peak(&t, &x, overs[i], 0.1);
    }
    const taken all = serve_apart(lite, 0), some = serve_apart(lite, overs[2]);
    test_ok(some.st, &some.err);
    test_shape(&t, "lite, %" PRId64 " records held", some.plan.hold.records);
    assert_true(some.plan.hold.head_at_once > 0 && some.plan.hold.records > 0);
    assert_true(some.sum == all.sum);
    check_peak(&t, &some, overs[2], 0.15); /* how much the system maps around clusters varies */
    check_least(&t, plain, whole.sum);
    check_least(&t, blocks, packed.sum);
    test_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_process), /* first, while the process is small */
        cmocka_unit_test(test_formula),
        cmocka_unit_test(test_choice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
