/* The pool runs every task once, whatever the number of threads and whoever is late; it stops soon
 * when asked to; it says when a thread cannot be had. Built for the thread sanitizer as well. */
#define _GNU_SOURCE /* RTLD_NEXT */
#include "test_util.h"

#include <dlfcn.h>
#include <pthread.h>

#include "base/clock.h"
#include "base/pool.h"
#include "base/spans.h"

/* What is linked statically cannot be stood before: the programs of the cross build, whose stand-in
 * for cmocka tells them, and clang's thread sanitizer. */
#if defined(RK_TEST_CROSS_CMOCKA_H)
#define CAN_REFUSE 0
#elif defined(__clang__)
#define CAN_REFUSE (!__has_feature(thread_sanitizer))
#else
#define CAN_REFUSE 1
#endif

#if CAN_REFUSE
/* Stands before the system's: refuses all threads but the first so many, to see what happens then.
 * The one mutable global that a test cannot do without. */
static atomic_int threads_allowed = INT32_MAX;
int pthread_create(pthread_t *restrict thread, const pthread_attr_t *restrict attr,
                   void *(*start)(void *), void *restrict arg)
{
    typedef int create_fn(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    create_fn *create;
    void *symbol = dlsym(RTLD_NEXT, "pthread_create");
    memcpy(&create, &symbol, sizeof create); /* ISO C has no cast from object to function */
    return atomic_fetch_sub(&threads_allowed, 1) > 0 ? create(thread, attr, start, arg) : EAGAIN;
}
#endif

static rk_pool *pool_new(int n_threads, atomic_int *abort, rk_abort_fn *poll, void *user)
{
    rk_pool *p = NULL;
    rk_error err;
    test_ok(rk_pool_new(&p, n_threads, abort, poll, user, &err), &err);
    return p;
}

/* Tasks write plain memory: a missing happens-before is a race the sanitizer sees. */
typedef struct job {
    int n_threads;
    int64_t n;
    int *runs; /* (n) */
    atomic_int bad_worker;
} job;

static void count_run(void *arg, int64_t i, int worker)
{
    job *j = arg;
    j->runs[i]++;
    if (worker < 0 || worker >= j->n_threads)
        atomic_store(&j->bad_worker, 1);
}

static void check_runs(const job *j, int want)
{
    for (int64_t i = 0; i < j->n; i++)
        if (j->runs[i] != want)
            fail_msg("%d threads, n %" PRId64 ": task %" PRId64 " ran %d times, want %d",
                     j->n_threads, j->n, i, j->runs[i], want);
    assert_int_equal(j->bad_worker, 0);
}

static void test_every_task_once(void **state)
{
    (void)state;
    static const int64_t sizes[] = {0, 1, 2, 3, 15, 16, 17, 1000};
    test_ctx t = test_begin(1);
    for (int n_threads = 1; n_threads <= 16; n_threads++) {
        rk_pool *p = pool_new(n_threads, NULL, NULL, NULL);
        assert_int_equal(rk_pool_n_threads(p), n_threads);
        for (size_t s = 0; s < RK_COUNT(sizes); s++) {
            job j = {.n_threads = n_threads, .n = sizes[s]};
            j.runs = test_alloc(&t, (size_t)j.n * sizeof *j.runs);
            memset(j.runs, 0, (size_t)j.n * sizeof *j.runs);
            for (int round = 1; round <= 5; round++) {
                rk_pool_run(p, j.n, count_run, &j);
                check_runs(&j, round);
            }
            test_reset(&t);
        }
        rk_pool_free(p);
    }
    test_end(&t);
}

enum { SPANS_MAX = 16 };

typedef struct spans_job {
    job of_tasks;
    rk_span spans[SPANS_MAX];
    int64_t last[SPANS_MAX]; /* task of each worker */
    atomic_int jumps;        /* tasks that were not the one behind the worker's last */
} spans_job;

static void run_in_span(void *arg, int64_t unused, int worker)
{
    spans_job *j = arg;
    (void)unused;
    const int64_t i = rk_spans_take(j->spans, j->of_tasks.n_threads, worker);
    atomic_fetch_add(&j->jumps, i != j->last[worker] + 1);
    j->last[worker] = i;
    count_run(&j->of_tasks, i, worker);
}

/* Spans hold every task once, and a thread alone goes through them in order. */
static void test_spans(void **state)
{
    (void)state;
    static const int64_t sizes[] = {1, 2, 15, 16, 17, 1000};
    test_ctx t = test_begin(1);
    for (int n_threads = 1; n_threads <= SPANS_MAX; n_threads++) {
        rk_pool *p = pool_new(n_threads, NULL, NULL, NULL);
        for (size_t s = 0; s < RK_COUNT(sizes); s++) {
            spans_job *j = test_alloc(&t, sizeof *j + 64);
            j = (spans_job *)(void *)((char *)j + (64 - (uintptr_t)j % 64));
            *j = (spans_job){.of_tasks = {.n_threads = n_threads, .n = sizes[s]}};
            j->of_tasks.runs = test_alloc(&t, (size_t)sizes[s] * sizeof *j->of_tasks.runs);
            memset(j->of_tasks.runs, 0, (size_t)sizes[s] * sizeof *j->of_tasks.runs);
            for (int i = 0; i < n_threads; i++)
                j->last[i] = -1;
            rk_spans_fill(j->spans, n_threads, (n_threads + 1) / 2, sizes[s]); /* some stay empty */
            rk_pool_run(p, sizes[s], run_in_span, j);
            check_runs(&j->of_tasks, 1);
            if (n_threads == 1)
                assert_int_equal(j->jumps, 0);
            test_reset(&t);
        }
        rk_pool_free(p);
    }
    test_end(&t);
}

/* Thousands of short jobs, with pauses long enough for the workers to fall asleep. */
static void test_short_jobs(void **state)
{
    (void)state;
    for (int n_threads = 2; n_threads <= 4; n_threads++) {
        int runs[8] = {0};
        job j = {.n_threads = n_threads, .runs = runs};
        rk_pool *p = pool_new(n_threads, NULL, NULL, NULL);
        int64_t want = 0, got = 0;
        for (int round = 0; round < 5000; round++) {
            j.n = 2 + round % 7;
            want += j.n;
            rk_pool_run(p, j.n, count_run, &j);
            if (round % 500 == 0)
                test_sleep_ms(1);
        }
        for (int i = 0; i < 8; i++)
            got += runs[i];
        assert_int_equal(got, want);
        assert_int_equal(j.bad_worker, 0);
        rk_pool_free(p);
    }
}

/* One task in eight takes a while: the caller sleeps until it has ended. */
static void late_task(void *arg, int64_t i, int worker)
{
    if (i % 8 == 1)
        test_sleep_ms(5);
    count_run(arg, i, worker);
}

static void test_stragglers(void **state)
{
    (void)state;
    for (int n_threads = 2; n_threads <= 8; n_threads *= 2) {
        int runs[20] = {0};
        job j = {.n_threads = n_threads, .n = 20, .runs = runs};
        rk_pool *p = pool_new(n_threads, NULL, NULL, NULL);
        for (int round = 1; round <= 20; round++) {
            rk_pool_run(p, j.n, late_task, &j);
            check_runs(&j, round);
        }
        rk_pool_free(p);
    }
}

/* ------------------------------------------------------------------------------------ same bits */

enum { ROWS = 37, COLUMNS = 101 };
typedef struct sums {
    const float *x; /* (ROWS, COLUMNS) */
    float *out;     /* (ROWS) */
} sums;

static void sum_row(void *arg, int64_t i, int worker)
{
    (void)worker;
    const sums *s = arg;
    float sum = 0;
    for (int64_t k = 0; k < COLUMNS; k++)
        sum += s->x[i * COLUMNS + k];
    s->out[i] = sum;
}

static void test_same_bits(void **state)
{
    (void)state;
    test_ctx t = test_begin(2);
    const float *x = test_uniform(&t, ROWS * COLUMNS, -1, 1);
    float *want = test_alloc_f32(&t, ROWS), *got = test_alloc_f32(&t, ROWS);
    for (int64_t i = 0; i < ROWS; i++)
        sum_row(&(sums){x, want}, i, 0);
    for (int n_threads = 1; n_threads <= 16; n_threads++) {
        test_shape(&t, "%d threads", n_threads);
        rk_pool *p = pool_new(n_threads, NULL, NULL, NULL);
        memset(got, 0, ROWS * sizeof *got);
        rk_pool_run(p, ROWS, sum_row, &(sums){x, got});
        test_same(&t, "sums", want, got, ROWS * sizeof *got);
        rk_pool_free(p);
    }
    test_end(&t);
}

/* ------------------------------------------------------------------------------- several pools */

/* A task that runs jobs of a pool of its own. */
typedef struct outer {
    rk_pool *inner[4];
    int runs[4][16];
} outer;

static void run_inner(void *arg, int64_t i, int worker)
{
    (void)worker;
    outer *o = arg;
    job j = {.n_threads = 2, .n = 16, .runs = o->runs[i]};
    for (int round = 1; round <= 20; round++)
        rk_pool_run(o->inner[i], j.n, count_run, &j);
    check_runs(&j, 20);
}

static void test_pools_in_tasks(void **state)
{
    (void)state;
    outer o = {0};
    rk_pool *p = pool_new(4, NULL, NULL, NULL);
    for (int i = 0; i < 4; i++)
        o.inner[i] = pool_new(2, NULL, NULL, NULL);
    rk_pool_run(p, 4, run_inner, &o);
    for (int i = 0; i < 4; i++) {
        job j = {.n = 16, .runs = o.runs[i]};
        check_runs(&j, 20);
        rk_pool_free(o.inner[i]);
    }
    rk_pool_free(p);
}

/* ------------------------------------------------------------------------------------ stopping */

typedef struct stop_job {
    atomic_int abort;
    atomic_int n_run, n_polled, bad_thread;
    pthread_t caller;
    int64_t abort_at; /* the task that sets the flag; -1: none */
    int task_ms;
} stop_job;

static void stop_task(void *arg, int64_t i, int worker)
{
    (void)worker;
    stop_job *j = arg;
    atomic_fetch_add(&j->n_run, 1);
    if (i == j->abort_at)
        atomic_store(&j->abort, 1);
    if (j->task_ms)
        test_sleep_ms(j->task_ms);
}

static void test_abort_skips(void **state)
{
    (void)state;
    for (int n_threads = 1; n_threads <= 4; n_threads++) {
        stop_job j = {.abort = 1, .abort_at = 10};
        rk_pool *p = pool_new(n_threads, &j.abort, NULL, NULL);
        rk_pool_run(p, INT64_C(1) << 40, stop_task, &j); /* more than one round, none of it run */
        assert_int_equal(j.n_run, 0);
        j.abort = 0;
        j.task_ms = 1;
        rk_pool_run(p, 100000, stop_task, &j);
        assert_in_range(j.n_run, 11, 1000);
        j.abort = j.n_run = j.task_ms = 0;
        j.abort_at = -1;
        rk_pool_run(p, 1000, stop_task, &j); /* the pool is as good as new */
        assert_int_equal(j.n_run, 1000);
        rk_pool_free(p);
    }
}

static bool poll_third(void *user)
{
    stop_job *j = user;
    if (!pthread_equal(pthread_self(), j->caller))
        atomic_store(&j->bad_thread, 1);
    return atomic_fetch_add(&j->n_polled, 1) >= 2;
}

/* The third question is answered with yes: at most every 5 ms one, then stop. A generous bound for
 * busy machines; undisturbed it is 10 to 15 ms. */
static void test_poll(void **state)
{
    (void)state;
    for (int n_threads = 1; n_threads <= 4; n_threads++) {
        stop_job j = {.caller = pthread_self(), .abort_at = -1, .task_ms = 1};
        rk_pool *p = pool_new(n_threads, &j.abort, poll_third, &j);
        const double start = rk_now_s();
        rk_pool_run(p, 100000, stop_task, &j);
        const double took = rk_now_s() - start;
        assert_true(took >= 0.009 && took < 1);
        assert_int_equal(j.n_polled, 3);
        assert_int_equal(j.abort, 1);
        assert_int_equal(j.bad_thread, 0);
        rk_pool_free(p);
    }
}

static void *abort_later(void *arg)
{
    stop_job *j = arg;
    test_sleep_ms(20);
    atomic_store(&j->abort, 1);
    return NULL;
}

static void test_abort_from_elsewhere(void **state)
{
    (void)state;
    for (int n_threads = 1; n_threads <= 4; n_threads++) {
        stop_job j = {.abort_at = -1, .task_ms = 1};
        pthread_t other;
        rk_pool *p = pool_new(n_threads, &j.abort, NULL, NULL);
        assert_int_equal(pthread_create(&other, NULL, abort_later, &j), 0);
        const double start = rk_now_s();
        rk_pool_run(p, 100000, stop_task, &j);
        assert_true(rk_now_s() - start < 1);
        pthread_join(other, NULL);
        rk_pool_free(p);
    }
}

/* ------------------------------------------------------------------------------------ creating */

static void test_refused_thread(void **state)
{
    (void)state;
#if CAN_REFUSE
    rk_error err;
    rk_pool *p = NULL;
    for (int allowed = 0; allowed < 4; allowed++) {
        char want[64];
        atomic_store(&threads_allowed, allowed);
        const rk_status st = rk_pool_new(&p, 5, NULL, NULL, NULL, &err);
        atomic_store(&threads_allowed, INT32_MAX);
        assert_int_equal(st, RK_ERR_NOMEM);
        assert_null(p);
        snprintf(want, sizeof want, "cannot start thread %d of 5: ", allowed + 2);
        assert_ptr_equal(strstr(err.msg, want), err.msg);
    }
#else
    skip();
#endif
}

static void test_arguments(void **state)
{
    (void)state;
    rk_error err;
    rk_pool *p = NULL;
    assert_int_equal(rk_pool_new(&p, -1, NULL, NULL, NULL, &err), RK_ERR_ARG);
    assert_int_equal(rk_pool_new(&p, 1025, NULL, NULL, NULL, &err), RK_ERR_ARG);
    assert_string_equal(err.msg, "n_threads is 1025, expected 0 to 1024");
    p = pool_new(0, NULL, NULL, NULL);
    assert_int_equal(rk_pool_n_threads(p), rk_usable_cores());
    rk_pool_free(p);
    rk_pool_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_task_once),
        cmocka_unit_test(test_spans),
        cmocka_unit_test(test_short_jobs),
        cmocka_unit_test(test_stragglers),
        cmocka_unit_test(test_same_bits),
        cmocka_unit_test(test_pools_in_tasks),
        cmocka_unit_test(test_abort_skips),
        cmocka_unit_test(test_poll),
        cmocka_unit_test(test_abort_from_elsewhere),
        cmocka_unit_test(test_refused_thread),
        cmocka_unit_test(test_arguments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
