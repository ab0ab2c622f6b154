/* Schedulers: however calls of many streams follow one another, each stream has the bits it would
 * have alone; who waits for a token waits for one piece of a prompt; a call that fails or is
 * withdrawn has changed nothing. */
#include "test_model_util.h"

#include <pthread.h>

#include "growing.h"
#include "infer/engine.h"
#include "infer/session.h"

enum { V = 97, STREAMS = 6, CALLS = 6, ROWS_MAX = 20, N_MAX = 300 };

typedef struct fixture {
    test_ctx t;
    rk_model *model;
    rk_engine *engine;
    rk_scheduler scheduler;
} fixture;

static fixture begin(uint64_t seed)
{
    fixture f = {.t = test_begin(seed), .engine = test_engine(2)};
    rk_error err = {0};
    f.model = test_model_open(&f.t, 1, 2, 48, RK_F32).model;
    test_ok(rk_scheduler_init(&f.scheduler, f.model, f.engine, &err), &err);
    return f;
}

static void end(fixture *f)
{
    rk_scheduler_deinit(&f->scheduler);
    rk_engine_free(f->engine);
    rk_model_close(f->model);
    test_end(&f->t);
}

static rk_stream stream_new(const fixture *f)
{
    rk_error err = {0};
    rk_stream s;
    test_ok(rk_stream_init(&s, f->model, rk_engine_cache(f->engine), &err), &err);
    return s;
}

static void same_state(fixture *f, const char *what, const rk_state *want, const rk_state *got)
{
    const size_t n = rk_state_bytes(want);
    void *a = test_alloc(&f->t, n), *b = test_alloc(&f->t, n);
    assert_int_equal(rk_state_bytes(got), n);
    rk_state_get(want, a);
    rk_state_get(got, b);
    test_same(&f->t, what, a, b, n);
}

static void ended_well(const rk_call *c)
{
    test_ok(c->err.code, &c->err);
    assert_int_equal(c->n_done, c->n);
}

/* ---- every order ---- */

/* What a stream reads, call after call, and the scores that it would have alone. */
typedef struct script {
    rk_call calls[CALLS];
    float *want[CALLS];
    rk_stream stream;
    rk_session *alone;
    int n_ended;
    bool waits;
} script;

typedef struct dice {
    uint64_t seed, n;
} dice;

static int64_t draw(dice *d, int64_t n)
{
    return (int64_t)rk_rng_below(d->seed, RK_RNG_TEST, 77, d->n++, (uint64_t)n);
}

/* Single tokens, short calls and prompts. */
static int64_t draw_length(dice *d)
{
    const int64_t kind = draw(d, 4);
    return kind < 2 ? 1 : kind == 2 ? 2 + draw(d, RK_SHORT_MAX - 1) : 17 + draw(d, N_MAX - 16);
}

static void write_script(fixture *f, script *s, dice *d)
{
    rk_error err = {0};
    s->stream = stream_new(f);
    test_ok(rk_session_new(&s->alone, f->model, f->engine, &err), &err);
    for (int i = 0; i < CALLS; i++) {
        const int64_t n = draw_length(d), n_rows = 1 + draw(d, rk_min_i64(n, ROWS_MAX));
        rk_call *c = &s->calls[i];
        *c = (rk_call){.stream = &s->stream,
                       .tokens = test_tokens(&f->t, n, V),
                       .n = n,
                       .n_rows = n_rows,
                       .whole = n <= RK_SHORT_MAX && draw(d, 4) == 0};
        if (draw(d, 5) == 0)
            continue; /* nobody wants the scores */
        c->logits = test_alloc_f32(&f->t, n_rows * V);
        s->want[i] = test_alloc_f32(&f->t, n_rows * V);
    }
    for (int i = 0; i < CALLS; i++) {
        const rk_call *c = &s->calls[i];
        test_ok(rk_session_eval_rows(s->alone, c->tokens, c->n, s->want[i], c->n_rows, &err), &err);
    }
}

/* Returns how many calls ended. */
static int note_ended(fixture *f, script *scripts, const rk_call *ended)
{
    int n = 0;
    for (; ended; ended = ended->behind, n++) {
        script *s = scripts;
        while (ended->stream != &s->stream)
            s++;
        const int i = s->n_ended++;
        assert_ptr_equal(ended, &s->calls[i]);
        ended_well(ended);
        if (s->want[i])
            test_same(&f->t, "scores", s->want[i], ended->logits,
                      (size_t)(ended->n_rows * V) * sizeof(float));
        s->waits = false;
    }
    return n;
}

/* A stream's next call comes, or one that has not ended goes and comes again. */
static void disturb(fixture *f, script *s, dice *d)
{
    if (s->n_ended == CALLS)
        return;
    if (s->waits && draw(d, 6) > 0)
        return;
    if (s->waits)
        rk_scheduler_withdraw(&f->scheduler, &s->calls[s->n_ended]);
    rk_scheduler_submit(&f->scheduler, &s->calls[s->n_ended]);
    s->waits = true;
}

static void check_order(uint64_t seed)
{
    fixture f = begin(seed);
    rk_error err = {0};
    dice d = {seed, 0};
    script scripts[STREAMS] = {0};
    for (int i = 0; i < STREAMS; i++)
        write_script(&f, &scripts[i], &d);
    test_ok(
        rk_scheduler_reserve(&f.scheduler, 1 + draw(&d, STREAMS), 1 + draw(&d, RK_SHORT_MAX), &err),
        &err);
    for (int n_ended = 0; n_ended < STREAMS * CALLS;) {
        test_shape(&f.t, "%s, seed %" PRIu64 ", %d calls ended", test_arch->name, seed, n_ended);
        for (int64_t n = draw(&d, STREAMS); n >= 0; n--)
            disturb(&f, &scripts[draw(&d, STREAMS)], &d);
        n_ended += note_ended(&f, scripts, rk_scheduler_run(&f.scheduler));
    }
    for (int i = 0; i < STREAMS; i++) {
        same_state(&f, "state", scripts[i].alone->stream.state, scripts[i].stream.state);
        rk_session_free(scripts[i].alone);
        rk_stream_deinit(&scripts[i].stream);
    }
    end(&f);
}

static void test_orders(void **state)
{
    (void)state;
    const uint64_t n = test_threads_only() ? 1 : 6;
    for (uint64_t seed = 1; seed <= n; seed++)
        check_order(seed);
}

/* ---- who goes with whom ---- */

/* Calls of n_tokens each of all streams; returns how many forwards they took. */
static int count_forwards(fixture *f, int64_t n_tokens)
{
    rk_stream streams[STREAMS];
    rk_call calls[STREAMS];
    const int32_t *tokens = test_tokens(&f->t, STREAMS * n_tokens, V);
    int n_forwards = 0, n_ended = 0;
    for (int i = 0; i < STREAMS; i++) {
        streams[i] = stream_new(f);
        calls[i] = (rk_call){.stream = &streams[i], .tokens = tokens + i * n_tokens, .n = n_tokens};
        rk_scheduler_submit(&f->scheduler, &calls[i]);
    }
    for (; n_ended < STREAMS; n_forwards++)
        for (const rk_call *c = rk_scheduler_run(&f->scheduler); c; c = c->behind, n_ended++)
            ended_well(c);
    assert_null(rk_scheduler_run(&f->scheduler));
    for (int i = 0; i < STREAMS; i++)
        rk_stream_deinit(&streams[i]);
    return n_forwards;
}

static void test_together(void **state)
{
    (void)state;
    fixture f = begin(1);
    rk_error err = {0};
    assert_int_equal(count_forwards(&f, 1), STREAMS);
    test_ok(rk_scheduler_reserve(&f.scheduler, STREAMS, 1, &err), &err);
    assert_int_equal(count_forwards(&f, 1), 1);
    assert_int_equal(count_forwards(&f, 4), STREAMS);
    test_ok(rk_scheduler_reserve(&f.scheduler, STREAMS - 1, 4, &err), &err);
    assert_int_equal(count_forwards(&f, 4), 2);
    assert_int_equal(count_forwards(&f, 5), STREAMS);
    assert_int_equal(count_forwards(&f, 2 * RK_PIECE), 2 * STREAMS);
    end(&f);
}

/* Beside three prompts of 32 pieces, single tokens wait for one piece each, and the prompts go on
 * in turn. */
static void test_waiting(void **state)
{
    (void)state;
    enum { PROMPTS = 3, PIECES = 32, N = PIECES * RK_PIECE };
    fixture f = begin(2);
    rk_stream streams[PROMPTS + 1];
    rk_call prompts[PROMPTS], single;
    const int32_t *tokens = test_tokens(&f.t, N, V);
    for (int i = 0; i <= PROMPTS; i++)
        streams[i] = stream_new(&f);
    for (int i = 0; i < PROMPTS; i++) {
        prompts[i] = (rk_call){.stream = &streams[i], .tokens = tokens, .n = N};
        rk_scheduler_submit(&f.scheduler, &prompts[i]);
    }
    for (int i = 0; i < PROMPTS * PIECES; i++) {
        test_shape(&f.t, "piece %d", i);
        single = (rk_call){.stream = &streams[PROMPTS], .tokens = tokens + i, .n = 1};
        const rk_call *ended = rk_scheduler_run(&f.scheduler); /* what is under way */
        assert_int_equal(ended != NULL, i >= PROMPTS * (PIECES - 1));
        rk_scheduler_submit(&f.scheduler, &single);
        ended = rk_scheduler_run(&f.scheduler);
        assert_ptr_equal(ended, &single);
        ended_well(&single);
        for (int k = 1; k < PROMPTS; k++)
            assert_in_range(prompts[k - 1].n_done - prompts[k].n_done, 0, RK_PIECE);
    }
    for (int i = 0; i <= PROMPTS; i++)
        rk_stream_deinit(&streams[i]);
    end(&f);
}

/* ---- threads ---- */

/* A prompt of many pieces on a thread of its own, whose pieces are counted as they begin. */
typedef struct prompt {
    rk_session *session;
    const rk_tensor *first; /* a weight that each forward meets once */
    const int32_t *tokens;
    atomic_int n_begun;
} prompt;

enum { PROMPT_PIECES = 32, PROMPT_TOKENS = PROMPT_PIECES * RK_PIECE };

static void count_begun(void *user, const rk_tensor *w, const rk_tensor *x)
{
    prompt *p = user;
    (void)x;
    if (w->data == p->first->data)
        atomic_fetch_add(&p->n_begun, 1);
}

static void *read_prompt(void *arg)
{
    prompt *p = arg;
    return rk_session_eval(p->session, p->tokens, PROMPT_TOKENS, NULL, NULL) == RK_OK ? NULL : arg;
}

static const rk_tensor *weight(const rk_model *m, const char *name)
{
    for (int64_t i = 0; i < m->n_params; i++)
        if (!strcmp(m->params[i].name, name))
            return &m->params[i].tensor;
    fail_msg("no parameter %s", name);
    return NULL;
}

/* While a prompt is read, another stream gets its token after the piece that is under way. A thread
 * may lose its core between looking and asking, so a few tokens may seem to have waited longer. */
static void test_engine_in_turns(void **state)
{
    (void)state;
    fixture f = begin(3);
    rk_error err = {0};
    rk_session *other = NULL;
    prompt p = {.first = weight(f.model, "blocks.0.att.output.weight"),
                .tokens = test_tokens(&f.t, PROMPT_TOKENS, V)};
    pthread_t thread;
    void *failed = NULL;
    int n_tokens = 0, n_late = 0;
    test_ok(rk_session_new(&p.session, f.model, f.engine, &err), &err);
    test_ok(rk_session_new(&other, f.model, f.engine, &err), &err);
    p.session->scheduler.ctx.observe = count_begun;
    p.session->scheduler.ctx.observe_user = &p;
    assert_int_equal(pthread_create(&thread, NULL, read_prompt, &p), 0);
    while (atomic_load(&p.n_begun) == 0)
        ;
    while (atomic_load(&p.n_begun) < PROMPT_PIECES) {
        const int before = atomic_load(&p.n_begun);
        test_ok(rk_session_eval(other, p.tokens, 1, NULL, &err), &err);
        /* one more may have begun since this token was done */
        n_late += atomic_load(&p.n_begun) > before + 2;
        n_tokens++;
    }
    pthread_join(thread, &failed);
    assert_null(failed);
    print_message("%d tokens beside %d pieces, %d late\n", n_tokens, PROMPT_PIECES, n_late);
    assert_true(n_tokens >= PROMPT_PIECES / 4);
    assert_true(n_late <= n_tokens / 4);
    rk_session_free(p.session);
    rk_session_free(other);
    end(&f);
}

/* ---- calls that do not succeed ---- */

static void test_abort(void **state)
{
    (void)state;
    fixture f = begin(4);
    rk_error err = {0};
    const int64_t lengths[] = {1, 5, 200, 2};
    enum { N = RK_COUNT(lengths), WHOLE = N - 1 };
    rk_stream streams[N], fresh = stream_new(&f);
    rk_call calls[N];
    const int32_t *tokens = test_tokens(&f.t, 200, V);
    test_ok(rk_scheduler_reserve(&f.scheduler, N, RK_SHORT_MAX, &err), &err);
    for (int i = 0; i < N; i++) {
        streams[i] = stream_new(&f);
        calls[i] = (rk_call){
            .stream = &streams[i], .tokens = tokens, .n = lengths[i], .whole = i == WHOLE};
        rk_scheduler_submit(&f.scheduler, &calls[i]);
    }
    assert_int_equal(rk_scheduler_run(&f.scheduler) != NULL, true);
    assert_null(rk_scheduler_run(&f.scheduler)); /* the first piece of the prompt */
    rk_engine_abort(f.engine);
    for (int i = 0; i < N - 1; i++)
        assert_non_null(rk_scheduler_run(&f.scheduler));
    assert_null(rk_scheduler_run(&f.scheduler));
    rk_engine_clear_abort(f.engine);
    for (int i = 0; i < N; i++) {
        const bool well = i == 0 || i == WHOLE;
        test_shape(&f.t, "call %d", i);
        assert_int_equal(calls[i].err.code, well ? RK_OK : RK_ERR_ABORTED);
        if (!well)
            same_state(&f, "state", fresh.state, streams[i].state);
        rk_stream_deinit(&streams[i]);
    }
    rk_stream_deinit(&fresh);
    end(&f);
}

/* A prompt that leaves after its first piece. */
static void test_withdraw(void **state)
{
    (void)state;
    fixture f = begin(5);
    rk_stream s = stream_new(&f), fresh = stream_new(&f);
    const int32_t *tokens = test_tokens(&f.t, 200, V);
    rk_call c = {.stream = &s, .tokens = tokens, .n = 200};
    rk_scheduler_submit(&f.scheduler, &c);
    assert_null(rk_scheduler_run(&f.scheduler));
    assert_int_equal(c.n_done, RK_PIECE);
    rk_scheduler_withdraw(&f.scheduler, &c);
    assert_null(rk_scheduler_run(&f.scheduler));
    same_state(&f, "state", fresh.state, s.state);
    rk_stream_deinit(&s);
    rk_stream_deinit(&fresh);
    end(&f);
}

int main(void)
{
    const struct CMUnitTest each[] = {cmocka_unit_test(test_orders), cmocka_unit_test(test_abort),
                                      cmocka_unit_test(test_withdraw)};
    const struct CMUnitTest once[] = {cmocka_unit_test(test_together),
                                      cmocka_unit_test(test_waiting),
                                      cmocka_unit_test(test_engine_in_turns)};
    int failed = cmocka_run_group_tests(once, NULL, NULL);
    for (int i = 0; test_choose_arch(i); i++) {
        if (test_threads_only() && test_arch != &rk_arch_rwkv7 && test_arch != &test_arch_growing)
            continue;
        failed += cmocka_run_group_tests_name(test_arch_name(), each, NULL, NULL);
    }
    return failed;
}
