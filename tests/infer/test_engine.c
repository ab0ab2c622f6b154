/* Engines: arguments, the log, and stopping within 50 ms without a trace. */
#include "test_model_util.h"

#include <pthread.h>

#include "base/clock.h"
#include "infer/engine.h"

static void test_params(void **state)
{
    (void)state;
    rk_engine *e = NULL;
    rk_error err = {0};
    assert_int_equal(rk_engine_new(&e, &(rk_engine_params){.n_threads = -1}, &err), RK_ERR_ARG);
    assert_int_equal(rk_engine_new(&e, &(rk_engine_params){.n_threads = 1025}, &err), RK_ERR_ARG);
    assert_int_equal(rk_engine_new(&e, &(rk_engine_params){.path = "mmx"}, &err), RK_ERR_ARG);
    assert_null(e);
    test_ok(rk_engine_new(&e, &(rk_engine_params){.n_threads = 3, .path = "ref"}, &err), &err);
    assert_int_equal(rk_engine_n_threads(e), 3);
    assert_string_equal(rk_engine_path(e), "ref");
    rk_engine_free(e);
    rk_engine_free(NULL);
}

static void *abort_soon(void *arg)
{
    test_sleep_ms(30);
    rk_engine_abort(arg);
    return NULL;
}

static void check_abort(int64_t n_layer, int64_t n_embd)
{
    test_ctx t = test_begin(3);
    rk_error err = {0};
    const test_model m = test_model_open(&t, 1, n_layer, n_embd, RK_F32);
    rk_engine *e = test_engine(2);
    rk_session *s = NULL, *fresh = NULL;
    rk_model_info info;
    pthread_t thread;
    enum { N = 1000000 }; /* minutes of work */
    int32_t *tokens = test_tokens(&t, N, 97);
    float logits[97] = {0};
    rk_model_get_info(m.model, &info);
    const size_t bytes = (size_t)info.state_bytes;
    test_ok(rk_session_new(&s, m.model, e, &err), &err);
    test_ok(rk_session_new(&fresh, m.model, e, &err), &err);
    const double began = rk_now_s();
    assert_int_equal(pthread_create(&thread, NULL, abort_soon, e), 0);
    assert_int_equal(rk_session_eval(s, tokens, N, logits, &err), RK_ERR_ABORTED);
    const double took = rk_now_s() - began;
    pthread_join(thread, NULL);
    print_message("stopped after %.0f ms, asked after 30\n", took * 1e3);
    assert_true(took < 0.030 + 0.050 + 0.050); /* the last is the machine's noise */

    void *a = test_alloc(&t, bytes), *b = test_alloc(&t, bytes);
    test_ok(rk_session_state_get(s, a, bytes, &err), &err);
    test_ok(rk_session_state_get(fresh, b, bytes, &err), &err);
    test_same(&t, "state", b, a, bytes);
    for (int i = 0; i < 97; i++)
        assert_true(logits[i] == 0.0f);
    assert_int_equal(rk_session_eval(s, tokens, 1, logits, &err), RK_ERR_ABORTED);
    rk_engine_clear_abort(e);
    test_ok(rk_session_eval(s, tokens, 1, logits, &err), &err);
    rk_session_free(s);
    rk_session_free(fresh);
    rk_engine_free(e);
    rk_model_close(m.model);
    test_end(&t);
}

/* In the first chunk of a large model, and of a small one after many chunks. */
static void test_abort(void **state)
{
    (void)state;
    check_abort(4, 256);
    check_abort(1, 32);
}

static bool after_three(void *user)
{
    return ++*(int *)user > 3;
}

/* The callback is asked on the calling thread. */
static void test_abort_callback(void **state)
{
    (void)state;
    test_ctx t = test_begin(3);
    rk_error err = {0};
    int asked = 0;
    const test_model m = test_model_open(&t, 1, 4, 256, RK_F32);
    rk_engine *e = NULL;
    rk_session *s = NULL;
    enum { N = 20000 };
    int32_t *tokens = test_tokens(&t, N, 97);
    const rk_engine_params p = {.n_threads = 2, .abort = after_three, .abort_user = &asked};
    test_ok(rk_engine_new(&e, &p, &err), &err);
    test_ok(rk_session_new(&s, m.model, e, &err), &err);
    assert_int_equal(rk_session_eval(s, tokens, N, NULL, &err), RK_ERR_ABORTED);
    assert_int_equal(asked, 4);
    rk_session_free(s);
    rk_engine_free(e);
    rk_model_close(m.model);
    test_end(&t);
}

typedef struct turn {
    rk_session *s;
    const int32_t *tokens;
    float *logits;
} turn;

static void *take_turns(void *arg)
{
    const turn *w = arg;
    for (int i = 0; i < 400; i++)
        if (rk_session_eval(w->s, w->tokens + i % 40, 1, w->logits, NULL) != RK_OK)
            return arg;
    return NULL;
}

/* Two threads, two sessions, one engine: each gets what it would get alone. */
static void test_turns(void **state)
{
    (void)state;
    test_ctx t = test_begin(3);
    rk_error err = {0};
    const test_model m = test_model_open(&t, 1, 2, 32, RK_BF16);
    rk_engine *e = test_engine(2);
    pthread_t threads[2];
    turn w[3];
    const int32_t *tokens = test_tokens(&t, 40, 97);
    for (int i = 0; i < 3; i++) {
        w[i] = (turn){NULL, tokens, test_alloc_f32(&t, 97)};
        test_ok(rk_session_new(&w[i].s, m.model, e, &err), &err);
    }
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, take_turns, &w[i]), 0);
    for (int i = 0; i < 2; i++) {
        void *failed = NULL;
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    assert_null(take_turns(&w[2]));
    test_same(&t, "first", w[2].logits, w[0].logits, 97 * sizeof(float));
    test_same(&t, "second", w[2].logits, w[1].logits, 97 * sizeof(float));
    for (int i = 0; i < 3; i++)
        rk_session_free(w[i].s);
    rk_engine_free(e);
    rk_model_close(m.model);
    test_end(&t);
}

typedef struct queue {
    rk_engine *e;
    atomic_bool asks;
    int n_served;
} queue;

static void *stand_in_line(void *arg)
{
    queue *q = arg;
    atomic_store(&q->asks, true);
    rk_engine_lock(q->e);
    q->n_served++;
    rk_engine_unlock(q->e);
    return NULL;
}

/* Who holds the engine and asks for it again at once comes behind who has waited. The other thread
 * is given some time to get from saying that it asks to asking, and may need more. */
static void test_turn_order(void **state)
{
    (void)state;
    enum { TIMES = 20 };
    int n_first = 0;
    rk_engine *e = test_engine(1);
    for (int i = 0; i < TIMES; i++) {
        queue q = {.e = e};
        pthread_t thread;
        rk_engine_lock(e);
        assert_int_equal(pthread_create(&thread, NULL, stand_in_line, &q), 0);
        while (!atomic_load(&q.asks))
            test_sleep_ms(1);
        test_sleep_ms(3);
        rk_engine_unlock(e);
        rk_engine_lock(e);
        n_first += q.n_served == 1;
        q.n_served++;
        rk_engine_unlock(e);
        pthread_join(thread, NULL);
    }
    print_message("%d of %d times who had waited came first\n", n_first, TIMES);
    assert_true(n_first > TIMES / 2);
    rk_engine_free(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_params), cmocka_unit_test(test_abort),
                                       cmocka_unit_test(test_abort_callback),
                                       cmocka_unit_test(test_turns),
                                       cmocka_unit_test(test_turn_order)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
