/* Speculation: greedy text and states share bits with one token at a time, also after going back to
 * a state; drawn text has the model's distribution, whatever the draft is. */
#include "test_model_util.h"

#include <stdatomic.h>

#include "compress/quantize.h"
#include "growing.h"
#include "infer/session.h"
#include "infer/speculate.h"

enum { V = 97, N_PROMPT = 20, N_TEXT = 60 };

typedef enum draft_kind {
    DRAFT_OTHER,  /* another seed: hardly any guess stands */
    DRAFT_NARROW, /* the model in 4 bits: some stand */
    DRAFT_SELF,   /* all stand */
    N_DRAFTS
} draft_kind;

typedef struct fixture {
    test_ctx t;
    rk_engine *engine;
    rk_model *model, *drafts[N_DRAFTS];
    const int32_t *prompt;
} fixture;

/* The same of an architecture without files: all weights with four bits. */
static rk_model *coarse(uint64_t seed, int64_t n_layer, int64_t n_embd)
{
    rk_model *m = test_model_make(seed, n_layer, n_embd);
    for (int64_t i = 0; i < m->n_params; i++) {
        float *x = m->params[i].tensor.data;
        for (int64_t e = 0; e < rk_tensor_count(&m->params[i].tensor); e++) {
            int exponent;
            const float share = frexpf(x[e], &exponent);
            x[e] = ldexpf(roundf(share * 16.0f), exponent - 4);
        }
    }
    return m;
}

static rk_model *narrowed(test_ctx *t, const rk_model *m)
{
    if (test_arch == &test_arch_growing)
        return coarse(1, 3, 64);
    rk_error err = {0};
    rk_model *out = NULL;
    const rk_quantize_options o = {.recipe = rk_recipe_find("rk4")};
    const char *path = test_path(t, test_temp_dir(t), "narrow.gguf");
    test_ok(rk_quantize(m, path, &o, &err), &err);
    test_ok(rk_model_open(&out, path, &err), &err);
    return out;
}

static fixture begin(void)
{
    fixture f = {.t = test_begin(5), .engine = test_engine(2)};
    f.model = test_model_open(&f.t, 1, 3, 64, RK_F32).model;
    f.drafts[DRAFT_OTHER] = test_model_open(&f.t, 2, 1, 32, RK_F32).model;
    f.drafts[DRAFT_NARROW] = narrowed(&f.t, f.model);
    f.drafts[DRAFT_SELF] = f.model;
    f.prompt = test_tokens(&f.t, N_PROMPT, V);
    return f;
}

static void end(fixture *f)
{
    rk_engine_free(f->engine);
    for (int i = 0; i < N_DRAFTS; i++)
        rk_model_close(f->drafts[i]);
    test_end(&f->t);
}

/* A session that has read the prompt, a sampler, and a speculator of both where there is a draft.
 */
typedef struct stream {
    rk_session *session;
    rk_sampler *sampler;
    rk_speculator *speculator;
    float logits[V];
} stream;

static stream open_stream(const fixture *f, const rk_sampler_params *p, const rk_model *draft,
                          int64_t n_max)
{
    rk_error err = {0};
    stream s = {0};
    test_ok(rk_session_new(&s.session, f->model, f->engine, &err), &err);
    test_ok(rk_sampler_new(&s.sampler, p, V, NULL, &err), &err);
    test_ok(rk_session_eval(s.session, f->prompt, N_PROMPT, s.logits, &err), &err);
    if (!draft)
        return s;
    test_ok(rk_speculator_new(&s.speculator, s.session, s.sampler, draft, n_max, &err), &err);
    test_ok(rk_speculator_read(s.speculator, f->prompt, N_PROMPT, &err), &err);
    return s;
}

static void close_stream(stream *s)
{
    rk_speculator_free(s->speculator);
    rk_sampler_free(s->sampler);
    rk_session_free(s->session);
}

static int32_t draw(stream *s)
{
    rk_error err = {0};
    int32_t token = -1;
    if (s->speculator)
        test_ok(rk_speculator_next(s->speculator, s->logits, &token, &err), &err);
    else
        test_ok(rk_sampler_next(s->sampler, s->logits, &token, &err), &err);
    return token;
}

static void feed(stream *s, int32_t token)
{
    rk_error err = {0};
    if (s->speculator)
        test_ok(rk_speculator_feed(s->speculator, token, s->logits, &err), &err);
    else
        test_ok(rk_session_eval(s->session, &token, 1, s->logits, &err), &err);
}

static void same_state(fixture *f, const stream *a, const stream *b)
{
    rk_error err = {0};
    const size_t n = rk_session_state_bytes(a->session);
    void *x = test_alloc(&f->t, n), *y = test_alloc(&f->t, n);
    assert_int_equal(rk_session_state_bytes(b->session), n);
    test_ok(rk_session_state_get(a->session, x, n, &err), &err);
    test_ok(rk_session_state_get(b->session, y, n, &err), &err);
    test_same(&f->t, "state", x, y, n);
}

static rk_sampler_params greedy(void)
{
    rk_sampler_params p = rk_sampler_defaults();
    p.temp = 0.0f;
    return p;
}

static rk_speculator_info info_of(const stream *s)
{
    rk_speculator_info info;
    rk_speculator_get_info(s->speculator, &info);
    return info;
}

/* ---- bits ---- */

/* Texts of some lengths, so that they end anywhere in a pass. */
static void check_greedy(fixture *f, draft_kind kind, int64_t n_max, bool always)
{
    const rk_sampler_params p = greedy();
    rk_error err = {0};
    stream plain = open_stream(f, &p, NULL, 0);
    stream fast = open_stream(f, &p, f->drafts[kind], n_max);
    if (always)
        rk_speculator_always(fast.speculator);
    for (int i = 0; i < N_TEXT; i++) {
        test_shape(&f->t, "draft %d, %d guesses, token %d", (int)kind, (int)n_max, i);
        const int32_t want = draw(&plain), got = draw(&fast);
        assert_int_equal(want, got);
        /* sometimes a token that nobody drew */
        const int32_t token = i % 17 == 16 ? (want + 1) % V : want;
        feed(&plain, token);
        feed(&fast, token);
        test_same(&f->t, "scores", plain.logits, fast.logits, sizeof plain.logits);
        if (i % 23 == 22 || i == N_TEXT - 1) {
            test_ok(rk_speculator_settle(fast.speculator, &err), &err);
            same_state(f, &plain, &fast);
        }
    }
    const rk_speculator_info info = info_of(&fast);
    assert_int_equal(info.n_tokens, N_TEXT);
    if (kind == DRAFT_SELF)
        assert_int_equal(info.n_accepted, info.n_judged);
    if (always && kind == DRAFT_SELF && n_max == 15)
        assert_true(info.n_passes <= N_TEXT / 5);
    if (always)
        assert_true(info.n_judged > N_TEXT / 3);
    close_stream(&plain);
    close_stream(&fast);
}

static void test_greedy(void **state)
{
    (void)state;
    static const int64_t n_max[] = {1, 4, 15};
    fixture f = begin();
    for (draft_kind kind = 0; kind < N_DRAFTS; kind++)
        for (size_t i = 0; i < RK_COUNT(n_max); i++) {
            check_greedy(&f, kind, n_max[i], true);
            check_greedy(&f, kind, n_max[i], false);
        }
    end(&f);
}

/* ---- states kept ---- */

typedef struct kept {
    void *plain;
    size_t plain_bytes;
    rk_speculator_state *fast;
    float logits[V];
} kept;

static kept kept_new(const stream *fast)
{
    rk_error err = {0};
    kept k = {0};
    test_ok(rk_speculator_state_new(&k.fast, fast->speculator, &err), &err);
    return k;
}

static void keep(fixture *f, kept *k, const stream *plain, const stream *fast)
{
    rk_error err = {0};
    k->plain_bytes = rk_session_state_bytes(plain->session);
    k->plain = test_alloc(&f->t, k->plain_bytes);
    test_ok(rk_session_state_get(plain->session, k->plain, k->plain_bytes, &err), &err);
    test_ok(rk_speculator_state_get(fast->speculator, k->fast, &err), &err);
    memcpy(k->logits, plain->logits, sizeof k->logits);
}

static void go_back(const kept *k, stream *plain, stream *fast)
{
    rk_error err = {0};
    test_ok(rk_session_state_set(plain->session, k->plain, k->plain_bytes, &err), &err);
    test_ok(rk_speculator_state_set(fast->speculator, k->fast, &err), &err);
    memcpy(plain->logits, k->logits, sizeof k->logits);
    memcpy(fast->logits, k->logits, sizeof k->logits);
}

/* States are kept anywhere in a pass, and gone back to from anywhere in another. The plain stream
 * is fed what the other one draws. */
static void check_going_back(fixture *f, const rk_sampler_params *p, draft_kind kind, bool always)
{
    rk_error err = {0};
    stream plain = open_stream(f, p, NULL, 0);
    stream fast = open_stream(f, p, f->drafts[kind], 6);
    kept k = kept_new(&fast);
    if (always)
        rk_speculator_always(fast.speculator);
    keep(f, &k, &plain, &fast);
    for (int i = 0; i < N_TEXT; i++) {
        test_shape(&f->t, "temp %g, draft %d, token %d", (double)p->temp, (int)kind, i);
        const int32_t token = i % 17 == 16 ? i % V : draw(&fast);
        if (i % 7 == 3)
            keep(f, &k, &plain, &fast);
        feed(&plain, token);
        feed(&fast, token);
        test_same(&f->t, "scores", plain.logits, fast.logits, sizeof plain.logits);
        if (i % 11 == 10)
            go_back(&k, &plain, &fast);
        if (i % 5 == 4) {
            test_ok(rk_speculator_settle(fast.speculator, &err), &err);
            same_state(f, &plain, &fast);
        }
    }
    const rk_speculator_info info = info_of(&fast);
    if (kind == DRAFT_SELF) /* it would not be so if the draft stayed where it was */
        assert_int_equal(info.n_accepted, info.n_judged);
    rk_speculator_state_free(k.fast);
    close_stream(&plain);
    close_stream(&fast);
}

static void test_going_back(void **state)
{
    (void)state;
    const rk_sampler_params params[] = {greedy(), rk_sampler_defaults()};
    fixture f = begin();
    for (draft_kind kind = 0; kind < N_DRAFTS; kind++)
        for (size_t i = 0; i < RK_COUNT(params); i++) {
            check_going_back(&f, &params[i], kind, true);
            check_going_back(&f, &params[i], kind, false);
        }
    end(&f);
}

/* The session begins anew in the midst of a pass, and with it the draft. */
static void test_anew(void **state)
{
    (void)state;
    const rk_sampler_params p = greedy();
    fixture f = begin();
    stream plain = open_stream(&f, &p, NULL, 0);
    stream fast = open_stream(&f, &p, f.drafts[DRAFT_SELF], 4);
    rk_speculator_always(fast.speculator);
    for (int i = 0; i < N_TEXT; i++) {
        test_shape(&f.t, "token %d", i);
        if (i % 7 == 0) {
            rk_session_reset(plain.session);
            rk_session_reset(fast.session);
            rk_speculator_reset(fast.speculator);
        }
        const int32_t token = i % 7 == 0 ? i : draw(&fast);
        feed(&plain, token);
        feed(&fast, token);
        test_same(&f.t, "scores", plain.logits, fast.logits, sizeof plain.logits);
    }
    const rk_speculator_info info = info_of(&fast);
    assert_true(info.n_judged > 0);
    assert_int_equal(info.n_accepted, info.n_judged);
    close_stream(&plain);
    close_stream(&fast);
    end(&f);
}

/* Text is read after passes whose draft tokens were all accepted: the draft, which has not evaluated
 * the last of them, catches up on it before. */
static void test_read_between(void **state)
{
    (void)state;
    enum { N_GUESSES = 3, N_READ = 2 };
    const rk_sampler_params p = greedy();
    rk_error err = {0};
    fixture f = begin();
    stream s = open_stream(&f, &p, f.drafts[DRAFT_SELF], N_GUESSES);
    rk_speculator_always(s.speculator);
    for (int round = 0; round < N_PROMPT / N_READ; round++) {
        const int32_t *text = f.prompt + round * N_READ;
        for (int i = 0; i < 1 + N_GUESSES; i++)
            feed(&s, draw(&s));
        test_ok(rk_speculator_settle(s.speculator, &err), &err);
        test_ok(rk_session_eval(s.session, text, N_READ, s.logits, &err), &err);
        test_ok(rk_speculator_read(s.speculator, text, N_READ, &err), &err);
    }
    const rk_speculator_info info = info_of(&s);
    assert_int_equal(info.n_judged, N_GUESSES * N_PROMPT / N_READ);
    assert_int_equal(info.n_accepted, info.n_judged);
    close_stream(&s);
    end(&f);
}

/* A bias that only the second sampler has: guesses follow it. */
static void test_sampler_set(void **state)
{
    (void)state;
    const rk_sampler_params p = rk_sampler_defaults();
    rk_error err = {0};
    fixture f = begin();
    rk_sampler *biased = NULL;
    stream s = open_stream(&f, &p, f.drafts[DRAFT_OTHER], 4);
    rk_speculator_always(s.speculator);
    for (int i = 0; i < 8; i++)
        feed(&s, draw(&s));
    test_ok(rk_speculator_settle(s.speculator, &err), &err);
    test_ok(rk_sampler_new(&biased, &p, V, NULL, &err), &err);
    test_ok(rk_sampler_bias(biased, 7, 1000.0f, &err), &err);
    test_ok(rk_speculator_sampler_set(s.speculator, biased, &err), &err);
    rk_sampler_free(s.sampler);
    s.sampler = biased;
    const rk_speculator_info before = info_of(&s);
    for (int i = 0; i < 20; i++) {
        const int32_t token = draw(&s);
        assert_int_equal(token, 7);
        feed(&s, token);
    }
    const rk_speculator_info after = info_of(&s);
    assert_true(after.n_judged > before.n_judged);
    assert_int_equal(after.n_accepted - before.n_accepted, after.n_judged - before.n_judged);
    close_stream(&s);
    end(&f);
}

/* ---- aborts ---- */

/* A call that is stopped has fed nothing, whether its guesses or its pass were; the next goes on.
 */
static void stop_once(fixture *f, const stream *plain, stream *fast, int32_t token, bool in_pass)
{
    static const atomic_int stop = 1;
    rk_error err = {0};
    const atomic_int *const own = fast->session->scheduler.ctx.abort;
    if (in_pass)
        fast->session->scheduler.ctx.abort = &stop;
    else
        rk_engine_abort(f->engine);
    const rk_status st = rk_speculator_feed(fast->speculator, token, fast->logits, &err);
    fast->session->scheduler.ctx.abort = own;
    rk_engine_clear_abort(f->engine);
    assert_int_equal(st, RK_ERR_ABORTED);
    if (token % 2 == 0)
        return;
    test_ok(rk_speculator_settle(fast->speculator, &err), &err);
    same_state(f, plain, fast);
}

static void test_abort(void **state)
{
    (void)state;
    const rk_sampler_params p = greedy();
    rk_error err = {0};
    fixture f = begin();
    stream plain = open_stream(&f, &p, NULL, 0);
    stream fast = open_stream(&f, &p, f.drafts[DRAFT_NARROW], 3);
    int n_stopped = 0;
    rk_speculator_always(fast.speculator);
    for (int i = 0; i < N_TEXT; i++) {
        const int32_t want = draw(&plain), token = draw(&fast);
        test_shape(&f.t, "token %d", i);
        assert_int_equal(want, token);
        /* nobody's guess in between, so that a pass has to come */
        const int32_t given = i % 3 == 0 ? (token + 2 + i) % V : token;
        if (i % 3 == 0)
            stop_once(&f, &plain, &fast, given, ++n_stopped % 3 == 0);
        feed(&plain, given);
        feed(&fast, given);
        test_same(&f.t, "scores", plain.logits, fast.logits, sizeof plain.logits);
    }
    /* Settling is not stopped. */
    rk_engine_abort(f.engine);
    test_ok(rk_speculator_settle(fast.speculator, &err), &err);
    same_state(&f, &plain, &fast);
    close_stream(&plain);
    close_stream(&fast);
    end(&f);
}

/* Tokens that nobody drew fill the line, so that the next pass has no room for draft tokens. When it
 * is stopped, the draft stays where it is. */
static void test_abort_full(void **state)
{
    (void)state;
    static const atomic_int stop = 1;
    const rk_sampler_params p = greedy();
    rk_error err = {0};
    fixture f = begin();
    stream s = open_stream(&f, &p, f.drafts[DRAFT_SELF], 3);
    const atomic_int *const own = s.session->scheduler.ctx.abort;
    rk_speculator_always(s.speculator);
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < RK_SHORT_MAX - 1; i++)
            feed(&s, (draw(&s) + 1 + i + round) % V);
        const rk_speculator_info before = info_of(&s);
        s.session->scheduler.ctx.abort = &stop;
        assert_int_equal(rk_speculator_feed(s.speculator, round, s.logits, &err), RK_ERR_ABORTED);
        s.session->scheduler.ctx.abort = own;
        feed(&s, round);
        for (int i = 0; i < 8; i++)
            feed(&s, draw(&s));
        const rk_speculator_info after = info_of(&s);
        assert_int_equal(after.n_guessed - before.n_guessed, 6);
        assert_int_equal(after.n_accepted - before.n_accepted, 6);
        test_ok(rk_speculator_settle(s.speculator, &err), &err);
    }
    close_stream(&s);
    end(&f);
}

/* ---- distributions ---- */

static void add_probabilities(const float *logits, double weight, double *p)
{
    for (int32_t i = 0; i < V; i++)
        p[i] += weight * exp(rk_logprob(logits, V, i));
}

/* What the first and the second token after `begin` are drawn from. */
static void exact(const fixture *f, int32_t begin_token, double *first, double *second)
{
    const rk_sampler_params p = greedy();
    stream s = open_stream(f, &p, NULL, 0);
    feed(&s, begin_token);
    add_probabilities(s.logits, 1.0, first);
    for (int32_t i = 0; i < V; i++) {
        rk_session *after = NULL;
        rk_error err = {0};
        test_ok(rk_session_clone(&after, s.session, &err), &err);
        test_ok(rk_session_eval(after, &i, 1, s.logits, &err), &err);
        add_probabilities(s.logits, first[i], second);
        rk_session_free(after);
    }
    close_stream(&s);
}

/* Five standard deviations above the mean; rare tokens count together. */
static void check_counts(const fixture *f, const double *p, const double *observed, int n_draws)
{
    double chi2 = 0.0, rare_p = 0.0, rare = 0.0;
    int freedom = 0;
    for (int i = 0; i < V; i++) {
        const double expected = p[i] * n_draws;
        if (expected < 8) {
            rare_p += expected;
            rare += observed[i];
            continue;
        }
        chi2 += pow(observed[i] - expected, 2) / expected;
        freedom++;
    }
    if (rare_p > 8) {
        chi2 += pow(rare - rare_p, 2) / rare_p;
        freedom++;
    }
    print_message("%s: chi-square %.1f with %d cells\n", f->t.shape, chi2, freedom);
    if (chi2 > freedom + 5 * sqrt(2.0 * freedom))
        fail_msg("chi-square %g with %d cells; %s", chi2, freedom, f->t.shape);
}

static void check_distribution(fixture *f, draft_kind kind)
{
    enum { DRAWS = 4000, BEGIN = 11 };
    double first[V] = {0}, second[V] = {0}, n_first[V] = {0}, n_second[V] = {0};
    rk_sampler_params p = rk_sampler_defaults();
    rk_error err = {0};
    rk_model_info info;
    rk_model_get_info(f->model, &info);
    const size_t n = (size_t)info.state_bytes;
    void *state = test_alloc(&f->t, n);
    p.top_p = 1.0f;
    p.seed = 3;
    exact(f, BEGIN, first, second);
    stream s = open_stream(f, &p, f->drafts[kind], 2);
    rk_speculator_always(s.speculator);
    test_ok(rk_session_state_get(s.session, state, n, &err), &err);
    for (int i = 0; i < DRAWS; i++) {
        feed(&s, BEGIN);
        const int32_t a = draw(&s);
        feed(&s, a);
        const int32_t b = draw(&s);
        n_first[a]++;
        n_second[b]++;
        test_ok(rk_speculator_settle(s.speculator, &err), &err);
        test_ok(rk_session_state_set(s.session, state, n, &err), &err);
    }
    const rk_speculator_info said = info_of(&s);
    print_message("draft %d: %.0f %% of guesses stand\n", (int)kind,
                  100.0 * (double)said.n_accepted / (double)said.n_judged);
    test_shape(&f->t, "draft %d, first token", (int)kind);
    check_counts(f, first, n_first, DRAWS);
    test_shape(&f->t, "draft %d, second token", (int)kind);
    check_counts(f, second, n_second, DRAWS);
    close_stream(&s);
}

static void test_distribution(void **state)
{
    (void)state;
    fixture f = begin();
    for (draft_kind kind = 0; kind < N_DRAFTS; kind++)
        check_distribution(&f, kind);
    end(&f);
}

/* ---- refusals ---- */

static void test_refused(void **state)
{
    (void)state;
    const rk_sampler_params p = greedy();
    rk_error err = {0};
    rk_speculator *sp = NULL;
    fixture f = begin();
    stream s = open_stream(&f, &p, NULL, 0);
    test_n_vocab = 50;
    rk_model *small = test_model_open(&f.t, 1, 1, 32, RK_F32).model;
    test_n_vocab = V;
    assert_int_equal(rk_speculator_new(&sp, s.session, s.sampler, small, 4, &err), RK_ERR_ARG);
    assert_string_equal(err.msg,
                        "the draft has 50 tokens and the model 97, expected the same vocabulary");
    for (int64_t n = 0; n <= 16; n += 16)
        assert_int_equal(rk_speculator_new(&sp, s.session, s.sampler, f.model, n, &err),
                         RK_ERR_ARG);
    assert_null(sp);
    test_ok(rk_speculator_new(&sp, s.session, s.sampler, f.model, 4, &err), &err);
    assert_int_equal(rk_speculator_feed(sp, V, NULL, &err), RK_ERR_ARG);
    assert_int_equal(rk_speculator_feed(sp, -1, NULL, &err), RK_ERR_ARG);
    test_ok(rk_speculator_feed(sp, 3, NULL, &err), &err);
    rk_speculator_free(sp);
    rk_model_close(small);
    close_stream(&s);
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_greedy),
                                       cmocka_unit_test(test_going_back),
                                       cmocka_unit_test(test_abort)};
    const struct CMUnitTest once[] = {
        cmocka_unit_test(test_anew),         cmocka_unit_test(test_read_between),
        cmocka_unit_test(test_abort_full),   cmocka_unit_test(test_sampler_set),
        cmocka_unit_test(test_distribution), cmocka_unit_test(test_refused)};
    /* Thousands of draws on one thread tell the thread sanitizer nothing. */
    int failed = test_threads_only() ? 0 : cmocka_run_group_tests(once, NULL, NULL);
    for (int i = 0; test_choose_arch(i); i++) {
        if (test_threads_only() && test_arch != &rk_arch_rwkv7 && test_arch != &test_arch_growing)
            continue;
        failed += cmocka_run_group_tests_name(test_arch_name(), tests, NULL, NULL);
    }
    return failed;
}
