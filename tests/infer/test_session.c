/* Sessions: what shares bits, what agrees to rounding, and what a state survives. */
#include "test_model_util.h"

#include "compress/quantize.h"
#include "growing.h"
#include "infer/engine.h"
#include "infer/session.h"
#include "model/pack.h"

enum { V = 97, N = 300 };

/* How the weights are narrowed; NULL: they are f32. Inputs of weights in blocks are rounded to 8
 * bits, and numbers that differ in their last place may be rounded to different sides, which is far
 * more than a last place. */
static const char *recipe;
static float rounding(void)
{
    return recipe ? 0.1f : 1e-3f;
}

typedef struct fixture {
    test_ctx t;
    test_model m;
    rk_engine *engine;
    int32_t *tokens;
} fixture;

/* The fixture's model by the recipe. */
static void narrow(fixture *f)
{
    rk_error err = {0};
    const rk_quantize_options o = {.recipe = rk_recipe_find(recipe)};
    char *path = test_path(&f->t, test_temp_dir(&f->t), "narrow.gguf");
    test_ok(rk_quantize(f->m.model, path, &o, &err), &err);
    rk_model_close(f->m.model);
    f->m.path = path;
    test_ok(rk_model_open(&f->m.model, path, &err), &err);
}

static fixture begin(int n_threads)
{
    fixture f = {.t = test_begin(7)};
    f.m = test_model_open(&f.t, 1, 3, recipe ? 64 : 48, RK_F32);
    if (recipe)
        narrow(&f);
    f.engine = test_engine(n_threads);
    f.tokens = test_tokens(&f.t, N, V);
    return f;
}

static void end(fixture *f)
{
    rk_engine_free(f->engine);
    rk_model_close(f->m.model);
    test_end(&f->t);
}

static rk_session *session(fixture *f)
{
    rk_session *s = NULL;
    rk_error err = {0};
    test_ok(rk_session_new(&s, f->m.model, f->engine, &err), &err);
    return s;
}

static void feed(rk_session *s, const int32_t *tokens, int64_t n, float *logits)
{
    rk_error err = {0};
    test_ok(rk_session_eval(s, tokens, n, logits, &err), &err);
}

static float *state_of(fixture *f, const rk_session *s)
{
    rk_error err = {0};
    const size_t bytes = rk_session_state_bytes(s);
    float *state = test_alloc(&f->t, bytes);
    test_ok(rk_session_state_get(s, state, bytes, &err), &err);
    return state;
}

static void same_state(fixture *f, const char *what, const rk_session *a, const rk_session *b)
{
    const size_t bytes = rk_session_state_bytes(a);
    assert_int_equal(rk_session_state_bytes(b), bytes);
    test_same(&f->t, what, state_of(f, a), state_of(f, b), bytes);
}

/* One call, one with all scores, and one token at a time. */
static void test_shapes_agree(void **state)
{
    (void)state;
    fixture f = begin(2);
    rk_error err = {0};
    const int64_t lengths[] = {1, 2, 15, 16, 17, 64, 255, 256, 257, N};
    float *last = test_alloc_f32(&f.t, V), *all = test_alloc_f32(&f.t, N * V);
    float *single = test_alloc_f32(&f.t, N * V);
    rk_session *steps = session(&f);
    for (int64_t i = 0; i < N; i++)
        feed(steps, f.tokens + i, 1, single + i * V);
    for (size_t l = 0; l < RK_COUNT(lengths); l++) {
        const int64_t n = lengths[l];
        rk_session *a = session(&f), *b = session(&f);
        test_shape(&f.t, "%" PRId64 " tokens", n);
        feed(a, f.tokens, n, last);
        test_ok(rk_session_eval_all(b, f.tokens, n, all, &err), &err);
        test_same(&f.t, "last of all", all + (n - 1) * V, last, V * sizeof *last);
        same_state(&f, "state of all", a, b);
        test_close(&f.t, "one at a time", single, all, n * V, rounding());
        if (n <= 16)
            test_same(&f.t, "short class", single, all, (size_t)(n * V) * sizeof *all);
        rk_session_free(a);
        rk_session_free(b);
    }
    rk_session_free(steps);
    end(&f);
}

/* A split at a multiple of 64 whose pieces are longer than 16 changes no bit. */
static void test_splits(void **state)
{
    (void)state;
    fixture f = begin(1);
    float *whole = test_alloc_f32(&f.t, V), *pieces = test_alloc_f32(&f.t, V);
    for (int64_t cut = 64; cut < N - 16; cut += 64) {
        rk_session *a = session(&f), *b = session(&f);
        test_shape(&f.t, "cut at %" PRId64, cut);
        feed(a, f.tokens, N, whole);
        feed(b, f.tokens, cut, NULL);
        feed(b, f.tokens + cut, N - cut, pieces);
        test_same(&f.t, "scores", whole, pieces, V * sizeof *whole);
        same_state(&f, "state", a, b);
        rk_session_free(a);
        rk_session_free(b);
    }
    end(&f);
}

static void test_threads(void **state)
{
    (void)state;
    test_ctx keep = test_begin(1);
    float *want = test_alloc_f32(&keep, (N + 8) * V), *got = test_alloc_f32(&keep, (N + 8) * V);
    for (int n_threads = 1; n_threads <= 4; n_threads *= 2) {
        fixture f = begin(n_threads);
        rk_error err = {0};
        rk_session *s = session(&f);
        float *out = n_threads == 1 ? want : got;
        test_ok(rk_session_eval_all(s, f.tokens, N, out, &err), &err);
        test_ok(rk_session_eval_all(s, f.tokens, 8, out + N * V, &err), &err);
        test_shape(&keep, "%d threads", n_threads);
        test_same(&keep, "scores", want, out, (N + 8) * V * sizeof *out);
        rk_session_free(s);
        end(&f);
    }
    test_end(&keep);
}

enum { STREAMS = 21 };

/* Each stream of a batch has its own past, and the bits it would have alone. */
static void test_batch(void **state)
{
    (void)state;
    fixture f = begin(2);
    rk_error err = {0};
    rk_session *together[STREAMS], *alone[STREAMS];
    float *batch = test_alloc_f32(&f.t, STREAMS * V), *solo = test_alloc_f32(&f.t, V);
    for (int i = 0; i < STREAMS; i++) {
        together[i] = session(&f);
        feed(together[i], f.tokens + i, 1 + i, NULL);
        test_ok(rk_session_clone(&alone[i], together[i], &err), &err);
    }
    for (int n = 1; n <= STREAMS; n += 4) {
        test_ok(rk_session_eval_batch(together, n, f.tokens + n, batch, &err), &err);
        for (int i = 0; i < n; i++) {
            test_shape(&f.t, "stream %d of %d", i, n);
            feed(alone[i], f.tokens + n + i, 1, solo);
            test_same(&f.t, "scores", solo, batch + (int64_t)i * V, V * sizeof *solo);
            same_state(&f, "state", alone[i], together[i]);
        }
    }
    rk_session *const twice[] = {together[0], together[0]};
    assert_int_equal(rk_session_eval_batch(twice, 2, f.tokens, batch, &err), RK_ERR_ARG);
    for (int i = 0; i < STREAMS; i++) {
        rk_session_free(together[i]);
        rk_session_free(alone[i]);
    }
    end(&f);
}

static void test_reset_and_clone(void **state)
{
    (void)state;
    fixture f = begin(1);
    rk_error err = {0};
    rk_session *s = session(&f), *fresh = session(&f), *c = NULL;
    float *a = test_alloc_f32(&f.t, V), *b = test_alloc_f32(&f.t, V);
    feed(s, f.tokens, 40, NULL);
    test_ok(rk_session_clone(&c, s, &err), &err);
    feed(s, f.tokens + 40, 20, a);
    feed(c, f.tokens + 40, 20, b);
    test_same(&f.t, "clone", a, b, V * sizeof *a);
    rk_session_reset(s);
    same_state(&f, "reset", fresh, s);
    feed(s, f.tokens, 40, a);
    feed(fresh, f.tokens, 40, b);
    test_same(&f.t, "after reset", b, a, V * sizeof *a);
    rk_session_free(s);
    rk_session_free(c);
    rk_session_free(fresh);
    end(&f);
}

static void test_arguments(void **state)
{
    (void)state;
    fixture f = begin(1);
    rk_error err = {0};
    rk_session *s = session(&f), *untouched = session(&f);
    float *logits = test_alloc_f32(&f.t, V);
    memset(logits, 0x55, V * sizeof *logits);
    float *before = test_copy_f32(&f.t, logits, V);
    feed(s, f.tokens, 5, NULL);
    feed(untouched, f.tokens, 5, NULL);
    f.tokens[290] = V;
    assert_int_equal(rk_session_eval(s, f.tokens, N, logits, &err), RK_ERR_ARG);
    assert_non_null(strstr(err.msg, "token 291 of 300 is 97, expected 0 to 96"));
    f.tokens[290] = -1;
    assert_int_equal(rk_session_eval(s, f.tokens, N, logits, &err), RK_ERR_ARG);
    assert_int_equal(rk_session_eval(s, f.tokens, 0, logits, &err), RK_ERR_ARG);
    assert_int_equal(rk_session_state_get(s, logits, 4, &err), RK_ERR_ARG);
    assert_int_equal(rk_session_state_set(s, logits, 4, &err), RK_ERR_ARG);
    same_state(&f, "state", untouched, s);
    test_same(&f.t, "scores", before, logits, V * sizeof *logits);
    rk_session_free(s);
    rk_session_free(untouched);
    end(&f);
}

/* ---- states in buffers and files ---- */

static void test_state_round_trip(void **state)
{
    (void)state;
    fixture f = begin(1);
    rk_error err = {0};
    char *path = test_path(&f.t, test_temp_dir(&f.t), "state.safetensors");
    rk_session *s = session(&f), *by_buffer = session(&f), *by_file = session(&f);
    float *a = test_alloc_f32(&f.t, V), *b = test_alloc_f32(&f.t, V);
    feed(s, f.tokens, 77, NULL);
    test_ok(rk_session_state_set(by_buffer, state_of(&f, s), rk_session_state_bytes(s), &err),
            &err);
    test_ok(rk_session_state_save(s, path, &err), &err);
    test_ok(rk_session_state_load(by_file, path, false, &err), &err);
    same_state(&f, "buffer", s, by_buffer);
    same_state(&f, "file", s, by_file);
    feed(s, f.tokens + 77, 9, a);
    feed(by_file, f.tokens + 77, 9, b);
    test_same(&f.t, "goes on", a, b, V * sizeof *a);
    rk_session_free(s);
    rk_session_free(by_buffer);
    rk_session_free(by_file);
    end(&f);
}

/* Loading a file of another model is refused, forced where shapes fit, and never half done. */
static void test_state_refused(void **state)
{
    (void)state;
    fixture f = begin(1);
    rk_error err = {0};
    const char *dir = test_temp_dir(&f.t);
    const test_model others[] = {
        test_model_open(&f.t, 2, 3, 48, RK_F32), test_model_open(&f.t, 1, 3, 32, RK_F32),
        test_model_open(&f.t, 1, 2, 48, RK_F32), test_model_open(&f.t, 1, 3, 48, RK_BF16)};
    static const bool taken[] = {false, false, false, true}, forced[] = {true, false, false, true};
    rk_session *s = session(&f), *fresh = session(&f);
    for (size_t i = 0; i < RK_COUNT(others); i++) {
        rk_session *o = NULL;
        char *path = test_path(&f.t, dir, "other.safetensors");
        test_shape(&f.t, "model %zu", i);
        test_ok(rk_session_new(&o, others[i].model, f.engine, &err), &err);
        feed(o, f.tokens, 20, NULL);
        test_ok(rk_session_state_save(o, path, &err), &err);
        assert_int_equal(rk_session_state_load(s, path, false, &err),
                         taken[i] ? RK_OK : RK_ERR_FORMAT);
        if (!taken[i])
            same_state(&f, "unchanged", fresh, s);
        assert_int_equal(rk_session_state_load(s, path, true, &err),
                         forced[i] ? RK_OK : RK_ERR_FORMAT);
        rk_session_reset(s);
        rk_session_free(o);
        rk_model_close(others[i].model);
    }
    rk_session_free(s);
    rk_session_free(fresh);
    end(&f);
}

/* "blocks.2.ffn.shift": the last part of the state that is of constant size. */
static const char *last_part(fixture *f)
{
    const rk_state_layout *l = &f->m.model->state;
    const rk_state_entry *p = &l->parts[l->n_parts - 1];
    while (rk_state_grows(p))
        p--;
    char *name = test_alloc(&f->t, 64);
    snprintf(name, 64, "blocks.%d.%s", (int)p->layer, p->spec->name);
    return name;
}

static void test_state_not_finite(void **state)
{
    (void)state;
    fixture f = begin(1);
    rk_error err = {0};
    if (f.m.model->state.count == 0) { /* all of it comes with tokens */
        end(&f);
        return;
    }
    char *path = test_path(&f.t, test_temp_dir(&f.t), "nan.safetensors");
    rk_session *s = session(&f), *fresh = session(&f);
    float *bad = state_of(&f, s);
    const size_t bytes = rk_session_state_bytes(s);
    bad[bytes / sizeof *bad - 1] = NAN;
    test_ok(rk_session_state_set(s, bad, bytes, &err), &err);
    test_ok(rk_session_state_save(s, path, &err), &err);
    rk_session_reset(s);
    assert_int_equal(rk_session_state_load(s, path, true, &err), RK_ERR_FORMAT);
    assert_non_null(strstr(err.msg, last_part(&f)));
    same_state(&f, "unchanged", fresh, s);
    rk_session_free(s);
    rk_session_free(fresh);
    end(&f);
}

/* Inputs in 8 bits against inputs in f32 with the same weights: near, and not the same where there
 * are blocks at all (rk4 may spend the whole of a small model on 16 bits). */
static void test_activations(void **state)
{
    (void)state;
    fixture f = begin(2);
    rk_error err = {0};
    rk_engine *exact = NULL;
    rk_session *a = session(&f), *b = NULL;
    float *rounded = test_alloc_f32(&f.t, V), *plain = test_alloc_f32(&f.t, V);
    double distance = 0, size = 0;
    test_ok(rk_engine_new(&exact, &(rk_engine_params){.n_threads = 2, .act = RK_ACT_F32}, &err),
            &err);
    test_ok(rk_session_new(&b, f.m.model, exact, &err), &err);
    feed(a, f.tokens, 40, rounded);
    feed(b, f.tokens, 40, plain);
    for (int i = 0; i < V; i++) {
        distance += pow((double)rounded[i] - (double)plain[i], 2);
        size += pow((double)plain[i], 2);
    }
    const bool spent = !strcmp(recipe, "rk4") && distance == 0;
    if (!(distance < 0.01 * size) || (distance == 0 && !spent))
        fail_msg("squared distance %g of %g", distance, size);
    rk_session_free(a);
    rk_session_free(b);
    rk_engine_free(exact);
    end(&f);
}

static rk_dtype low_rank_in_8_bits(void *user, const rk_param *p, rk_dtype own)
{
    (void)user;
    return rk_param_is_low_rank(p) && p->tensor.n_dims == 2 &&
                   p->tensor.dims[rk_param_inputs(p)] % 32 == 0
               ? RK_Q8_0
               : own;
}

/* Low-rank matrices in floats beside blocks are taken as if the file had them in Q8_0. */
static void test_low_rank(void **state)
{
    (void)state;
    if (strcmp(recipe, "q8_0") != 0 || !strstr("rwkv6 rwkv7", test_arch->name))
        skip();
    fixture f = begin(2), in_8_bits = {.t = f.t, .engine = f.engine, .tokens = f.tokens};
    rk_error err = {0};
    float *a = test_alloc_f32(&f.t, V), *b = test_alloc_f32(&f.t, V);
    const rk_save_plan plan = {.type = low_rank_in_8_bits};
    char *path = test_path(&f.t, test_temp_dir(&f.t), "low_rank.gguf");
    test_ok(rk_model_save(f.m.model, path, &(rk_save_options){.plan = &plan}, &err), &err);
    test_ok(rk_model_open(&in_8_bits.m.model, path, &err), &err);
    assert_true(rk_model_lean_bytes_per_token(in_8_bits.m.model) <
                rk_model_bytes_per_token(f.m.model));
    rk_session *s = session(&f), *t = session(&in_8_bits);
    assert_int_equal(rk_model_bytes_per_token(in_8_bits.m.model),
                     rk_model_bytes_per_token(f.m.model));
    feed(s, f.tokens, 1, a);
    feed(t, f.tokens, 1, b);
    test_same(&f.t, "scores", a, b, V * sizeof *a);
    rk_session_free(s);
    rk_session_free(t);
    rk_model_close(in_8_bits.m.model);
    end(&f);
}

/* Pack a model as if the inputs of ffn.value had this share of zeros; returns how many matrices are
 * in columns. */
static int pack(fixture *f, rk_model *m, double share)
{
    rk_error err = {0};
    double *zeros = test_alloc(&f->t, (size_t)m->n_params * sizeof *zeros);
    int n = 0;
    for (int64_t i = 0; i < m->n_params; i++)
        zeros[i] = share;
    assert_true(rk_model_pack_begin(m));
    rk_engine_lock(f->engine);
    test_ok(rk_model_pack(m, NULL, rk_engine_pool(f->engine), &err), &err);
    test_ok(rk_model_pack(m, zeros, rk_engine_pool(f->engine), &err), &err);
    rk_engine_unlock(f->engine);
    rk_model_pack_end(m, true);
    for (int64_t i = 0; i < m->n_params; i++)
        n += m->params[i].tensor.packed && m->params[i].tensor.packed->columns;
    return n;
}

/* A prompt, a few tokens at once and steps: all scores. */
static float *read_all_ways(fixture *f, const rk_model *m)
{
    enum { LONG = 40, SHORT = 3, STEPS = 5 };
    rk_error err = {0};
    rk_session *s = NULL;
    float *scores = test_alloc_f32(&f->t, V * (LONG + SHORT + STEPS));
    test_ok(rk_session_new(&s, m, f->engine, &err), &err);
    test_ok(rk_session_eval_all(s, f->tokens, LONG, scores, &err), &err);
    test_ok(rk_session_eval_all(s, f->tokens + LONG, SHORT, scores + LONG * V, &err), &err);
    for (int i = LONG + SHORT; i < LONG + SHORT + STEPS; i++)
        feed(s, f->tokens + i, 1, scores + (ptrdiff_t)i * V);
    rk_session_free(s);
    return scores;
}

/* Has the model matrices whose inputs may be zero? */
static bool has_zeros_in(const rk_model *m)
{
    for (int64_t i = 0; i < m->n_params; i++)
        if (rk_roles[m->params[i].role].zeros_in)
            return true;
    return false;
}

/* Whether weights that meet zeros are read changes no bit. */
static void test_columns(void **state)
{
    (void)state;
    fixture f = begin(2);
    rk_error err = {0};
    rk_model *other = NULL;
    test_ok(rk_model_open(&other, f.m.path, &err), &err);
    const rk_hparams *hp = &f.m.model->hp;
    const int n_columns = pack(&f, f.m.model, 1.0);
    if (!has_zeros_in(f.m.model))
        assert_int_equal(n_columns, 0);
    else if (!strcmp(recipe, "q8_0") && rk_dot8_has_columns(RK_Q8_0, hp->n_embd, hp->dim_ffn))
        assert_int_equal(n_columns, hp->n_layer);
    assert_int_equal(pack(&f, other, 0.0), 0);
    test_same(&f.t, "scores", read_all_ways(&f, other), read_all_ways(&f, f.m.model),
              48 * V * sizeof(float));
    rk_model_close(other);
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes_agree),     cmocka_unit_test(test_splits),
        cmocka_unit_test(test_threads),          cmocka_unit_test(test_batch),
        cmocka_unit_test(test_reset_and_clone),  cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_state_round_trip), cmocka_unit_test(test_state_refused),
        cmocka_unit_test(test_state_not_finite),
    };
    const struct CMUnitTest in_blocks[] = {
        cmocka_unit_test(test_shapes_agree), cmocka_unit_test(test_splits),
        cmocka_unit_test(test_threads),      cmocka_unit_test(test_batch),
        cmocka_unit_test(test_activations),  cmocka_unit_test(test_columns),
        cmocka_unit_test(test_low_rank),
    };
    static const char *const recipes[] = {"rk4", "q8_0"};
    int failed = 0;
    for (int i = 0; test_choose_arch(i); i++) {
        if (test_threads_only() && test_arch != &rk_arch_rwkv7 && test_arch != &test_arch_growing)
            continue;
        recipe = NULL;
        failed += cmocka_run_group_tests_name(test_arch_name(), tests, NULL, NULL);
        for (size_t f = 0; f < RK_COUNT(recipes) && test_arch != &test_arch_growing; f++) {
            recipe = recipes[f];
            failed += cmocka_run_group_tests_name(test_arch_name(), in_blocks, NULL, NULL);
        }
    }
    return failed;
}
