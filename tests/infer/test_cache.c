/* States that grow: what their numbers are kept in, how many tokens they may hold, and streams of very
 * different lengths in one batch. */
#include "test_model_util.h"

#include "growing.h"
#include "infer/engine.h"
#include "infer/session.h"
#include "infer/speculate.h"

enum { V = 97, N = 300 };

static const rk_cache types[] = {RK_CACHE_F32, RK_CACHE_F16, RK_CACHE_Q8_0};
static const char *const type_names[] = {"f32", "f16", "q8_0"};

typedef struct fixture {
    test_ctx t;
    rk_model *model;
    rk_engine *engine;
    int32_t *tokens;
} fixture;

static rk_engine *engine(rk_engine_params p)
{
    rk_engine *e = NULL;
    rk_error err = {0};
    test_ok(rk_engine_new(&e, &p, &err), &err);
    return e;
}

static fixture begin(rk_cache type, int64_t ctx_size, int n_threads)
{
    fixture f = {.t = test_begin(7)};
    test_arch = &test_arch_growing;
    test_head_size = 32; /* whole blocks */
    f.model = test_model_make(1, 2, 64);
    f.engine =
        engine((rk_engine_params){.n_threads = n_threads, .cache = type, .ctx_size = ctx_size});
    f.tokens = test_tokens(&f.t, 2100, V);
    return f;
}

static void end(fixture *f)
{
    rk_engine_free(f->engine);
    rk_model_close(f->model);
    test_end(&f->t);
}

static rk_session *session(const fixture *f)
{
    rk_session *s = NULL;
    rk_error err = {0};
    test_ok(rk_session_new(&s, f->model, f->engine, &err), &err);
    return s;
}

static void feed(rk_session *s, const int32_t *tokens, int64_t n, float *logits)
{
    rk_error err = {0};
    test_ok(rk_session_eval(s, tokens, n, logits, &err), &err);
}

/* Scores after a prompt in pieces, several tokens and single ones. */
static void read_all(const fixture *f, rk_session *s, float *out)
{
    feed(s, f->tokens, 192, out);
    feed(s, f->tokens + 192, 64, out + V);
    feed(s, f->tokens + 256, 7, out + 2 * V);
    for (int i = 0; i < 5; i++)
        feed(s, f->tokens + 263 + i, 1, out + (ptrdiff_t)(3 + i) * V);
}

/* Rounded numbers are near those that are not; threads change no bit, nor does a copy, a state in bytes or
 * in a file. */
static void test_types(void **state)
{
    (void)state;
    static const float near[] = {0, 4e-3f, 6e-2f};
    enum { ROWS = 8 };
    test_ctx keep = test_begin(1);
    float *exact = test_alloc_f32(&keep, ROWS * V);
    for (size_t i = 0; i < RK_COUNT(types); i++) {
        fixture f = begin(types[i], 0, 1), other = begin(types[i], 0, 2);
        rk_error err = {0};
        float *x = test_alloc_f32(&f.t, ROWS * V), *y = test_alloc_f32(&f.t, ROWS * V);
        rk_session *s = session(&f), *clone = NULL, *loaded = session(&f),
                   *threads = session(&other);
        test_shape(&f.t, "%s", type_names[i]);
        read_all(&f, s, x);
        read_all(&other, threads, y);
        test_same(&f.t, "threads", x, y, ROWS * V * sizeof *x);
        if (i == 0)
            memcpy(exact, x, ROWS * V * sizeof *x);
        test_close(&f.t, "scores", exact, x, ROWS * V, near[i]);
        assert_true((i == 0) == !memcmp(exact, x, ROWS * V * sizeof *x));

        char *path = test_path(&f.t, test_temp_dir(&f.t), "state.safetensors");
        test_ok(rk_session_clone(&clone, s, &err), &err);
        test_ok(rk_session_state_save(s, path, &err), &err);
        test_ok(rk_session_state_load(loaded, path, false, &err), &err);
        feed(s, f.tokens, 20, x);
        feed(clone, f.tokens, 20, y);
        test_same(&f.t, "clone", x, y, V * sizeof *x);
        feed(loaded, f.tokens, 20, y);
        test_same(&f.t, "from a file", x, y, V * sizeof *x);
        rk_stream_undo(&s->stream);
        feed(s, f.tokens, 20, y);
        test_same(&f.t, "undone and read again", x, y, V * sizeof *x);
        rk_session_free(s);
        rk_session_free(clone);
        rk_session_free(loaded);
        rk_session_free(threads);
        end(&f);
        end(&other);
    }
    test_end(&keep);
}

/* A split at a multiple of 64 changes no bit. */
static void test_splits(void **state)
{
    (void)state;
    for (size_t i = 0; i < RK_COUNT(types); i++) {
        fixture f = begin(types[i], 0, 2);
        float *whole = test_alloc_f32(&f.t, V), *pieces = test_alloc_f32(&f.t, V);
        for (int64_t cut = 64; cut < N - 16; cut += 64) {
            rk_session *a = session(&f), *b = session(&f);
            test_shape(&f.t, "%s, cut at %" PRId64, type_names[i], cut);
            feed(a, f.tokens, N, whole);
            feed(b, f.tokens, cut, NULL);
            feed(b, f.tokens + cut, N - cut, pieces);
            test_same(&f.t, "scores", whole, pieces, V * sizeof *whole);
            feed(a, f.tokens, 1, whole);
            feed(b, f.tokens, 1, pieces);
            test_same(&f.t, "the next token's", whole, pieces, V * sizeof *whole);
            rk_session_free(a);
            rk_session_free(b);
        }
        end(&f);
    }
}

static void refuses(rk_session *s, const int32_t *tokens, int64_t n, const char *sentence)
{
    rk_error err = {0};
    const int64_t before = rk_state_n_tokens(s->stream.state);
    assert_int_equal(rk_session_eval(s, tokens, n, NULL, &err), RK_ERR_FULL);
    assert_non_null(strstr(err.msg, sentence));
    assert_int_equal(rk_state_n_tokens(s->stream.state), before);
}

/* A context of 100 tokens. */
static void test_limit(void **state)
{
    (void)state;
    fixture f = begin(RK_CACHE_F16, 100, 1);
    rk_error err = {0};
    rk_session *s = session(&f), *clone = NULL, *empty = session(&f);
    refuses(s, f.tokens, 101, "it holds 100 tokens (--ctx-size), 0 are read, and 101 more");
    feed(s, f.tokens, 99, NULL);
    refuses(s, f.tokens, 2, "99 are read, and 2 more do not fit");
    feed(s, f.tokens, 1, NULL);
    refuses(s, f.tokens, 1, "100 are read, and 1 more do not fit");
    test_ok(rk_session_clone(&clone, s, &err), &err);
    refuses(clone, f.tokens, 1, "100 are read");
    rk_session *const both[] = {empty, clone};
    assert_int_equal(rk_session_eval_batch(both, 2, f.tokens, NULL, &err), RK_ERR_FULL);
    assert_int_equal(rk_state_n_tokens(empty->stream.state), 0);
    rk_session_reset(s);
    feed(s, f.tokens, 100, NULL);
    rk_session_free(s);
    rk_session_free(clone);
    rk_session_free(empty);
    end(&f);
}

/* A draft proposes no more than fits, so text ends at the same token with it as without. */
static void test_limit_with_draft(void **state)
{
    enum { PROMPT = 40, SIZE = 75 };
    (void)state;
    fixture f = begin(RK_CACHE_F16, SIZE, 2);
    rk_error err = {0};
    rk_session *s = session(&f);
    rk_sampler_params greedy = rk_sampler_defaults();
    rk_sampler *sampler = NULL;
    rk_speculator *sp = NULL;
    float *logits = test_alloc_f32(&f.t, V);
    int n = 0;
    greedy.temp = 0;
    feed(s, f.tokens, PROMPT, logits);
    test_ok(rk_sampler_new(&sampler, &greedy, V, NULL, &err), &err);
    test_ok(rk_speculator_new(&sp, s, sampler, f.model, 7, &err), &err);
    rk_speculator_always(sp);
    test_ok(rk_speculator_read(sp, f.tokens, PROMPT, &err), &err);
    for (rk_status st = RK_OK; st == RK_OK; n += st == RK_OK) {
        int32_t token = 0;
        test_ok(rk_speculator_next(sp, logits, &token, &err), &err);
        st = rk_speculator_feed(sp, token, logits, &err);
    }
    assert_int_equal(n, SIZE - PROMPT);
    assert_non_null(strstr(err.msg, "it holds 75 tokens (--ctx-size), 75 are read"));
    test_ok(rk_speculator_settle(sp, &err), &err);
    assert_int_equal(rk_state_n_tokens(s->stream.state), SIZE);
    rk_speculator_free(sp);
    rk_sampler_free(sampler);
    rk_session_free(s);
    end(&f);
}

/* Who keeps nothing of its tokens needs no limit and no type; who keeps heads of another size than blocks
 * have cannot have blocks. */
static void test_who_it_concerns(void **state)
{
    (void)state;
    rk_error err = {0};
    rk_session *s = NULL;
    fixture f = begin(RK_CACHE_Q8_0, 10, 1);
    rk_model_close(f.model);
    test_head_size = 16;
    f.model = test_model_make(1, 2, 64);
    assert_int_equal(rk_session_new(&s, f.model, f.engine, &err), RK_ERR_UNSUPPORTED);
    assert_non_null(
        strstr(err.msg, "a cache of q8_0 needs heads of a multiple of 32, the model's are of 16"));
    rk_model_close(f.model);
    test_arch = &rk_arch_rwkv7;
    f.model = test_model_make(1, 2, 64);
    s = session(&f);
    feed(s, f.tokens, 40, NULL);
    assert_true(rk_state_room(s->stream.state) == INT64_MAX);
    rk_session_free(s);
    end(&f);
}

/* ---- in training ---- */

/* The loss's gradient of a key matrix, with recomputation; or, while planning, only its memory. */
static size_t train(test_ctx *t, bool drop_rows, bool planning, float *grad)
{
    enum { B = 2, T = 40 };
    const int64_t dims[] = {B, T};
    rk_pool *pool = NULL;
    rk_ctx ctx;
    rk_error err = {0};
    rk_tensor *state[2 * RK_STATE_MAX];
    rk_model *m = test_model_make(1, 2, 64);
    test_ok(rk_pool_new(&pool, 2, NULL, NULL, NULL, &err), &err);
    const rk_ctx_params p = {.kernels = rk_kernels_at(0),
                             .pool = pool,
                             .data_kind = planning ? RK_ARENA_COUNTING : RK_ARENA_GROWING};
    test_ok(rk_ctx_init(&ctx, &p, &err), &err);
    ctx.recording = ctx.long_class = true;
    rk_model_new_state(&ctx, m, RK_F32, B, state);
    rk_forward f = {.in = {rk_new(&ctx, RK_I32, 2, dims)},
                    .state = state,
                    .recompute = true,
                    .drop_rows = drop_rows};
    if (!planning)
        memcpy(f.in[0]->data, test_tokens(t, B * T, V), B * T * sizeof(int32_t));
    rk_param *key = NULL;
    for (int64_t i = 0; i < m->n_params; i++)
        if (strstr(m->params[i].name, "blocks.1.soft.key"))
            key = &m->params[i];
    assert_non_null(key);
    key->tensor.requires_grad = true;
    rk_grad(&ctx, &key->tensor);
    rk_backward(&ctx, rk_sum(&ctx, rk_model_forward(&ctx, m, &f)), 1.0);
    test_ok(rk_ctx_status(&ctx, &err), &err);
    if (grad)
        memcpy(grad, key->tensor.grad, rk_tensor_bytes(&key->tensor));
    const size_t bytes = ctx.data.peak;
    rk_ctx_deinit(&ctx);
    rk_pool_free(pool);
    rk_model_close(m);
    return bytes;
}

/* Rows that nobody reads take no memory between the passes, and change no bit. */
static void test_training(void **state)
{
    (void)state;
    test_ctx t = test_begin(3);
    float *kept = test_alloc_f32(&t, 64 * 64), *dropped = test_alloc_f32(&t, 64 * 64);
    double sum = 0;
    test_arch = &test_arch_growing;
    test_head_size = 16;
    train(&t, false, false, kept);
    t.n_arrays = 0; /* the same tokens */
    train(&t, true, false, dropped);
    test_same(&t, "gradient", kept, dropped, 64 * 64 * sizeof *kept);
    for (int i = 0; i < 64 * 64; i++)
        sum += fabs((double)kept[i]);
    assert_true(sum > 0);
    const size_t rows = 2 * 2 * 40 * 64 * sizeof(float); /* keys and values of a layer */
    assert_true(train(&t, false, true, NULL) >= train(&t, true, true, NULL) + rows);
    test_end(&t);
}

/* 64 streams that have read 1 to 2,000 tokens read on together, with the bits that each has alone. */
static void test_many_lengths(void **state)
{
    (void)state;
    enum { STREAMS = 64, STEPS = 2 };
    fixture f = begin(RK_CACHE_F16, 0, 2);
    rk_error err = {0};
    rk_session *together[STREAMS], *alone[STREAMS];
    float *batch = test_alloc_f32(&f.t, STREAMS * V), *solo = test_alloc_f32(&f.t, V);
    for (int i = 0; i < STREAMS; i++) {
        const int64_t n = 1 + i * i * 2000 / (STREAMS * STREAMS - 2 * STREAMS + 1);
        together[i] = session(&f);
        feed(together[i], f.tokens + i, n < 2000 ? n : 2000, NULL);
        test_ok(rk_session_clone(&alone[i], together[i], &err), &err);
    }
    for (int step = 0; step < STEPS; step++) {
        test_ok(rk_session_eval_batch(together, STREAMS, f.tokens + step, batch, &err), &err);
        for (int i = 0; i < STREAMS; i++) {
            test_shape(&f.t, "step %d, stream %d", step, i);
            feed(alone[i], f.tokens + step + i, 1, solo);
            test_same(&f.t, "scores", solo, batch + (ptrdiff_t)i * V, V * sizeof *solo);
        }
    }
    for (int i = 0; i < STREAMS; i++) {
        rk_session_free(together[i]);
        rk_session_free(alone[i]);
    }
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_types),        cmocka_unit_test(test_splits),
        cmocka_unit_test(test_limit),        cmocka_unit_test(test_limit_with_draft),
        cmocka_unit_test(test_training),     cmocka_unit_test(test_who_it_concerns),
        cmocka_unit_test(test_many_lengths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
