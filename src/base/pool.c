/* pool.c: fork-join on one atomic word.
 *
 * `work` holds the number of the current job (upper half) and how many of its tasks nobody has
 * taken yet (lower half). Storing it forks; taking a task is a compare-and-swap that decrements the
 * lower half; a thread that finds nothing left adds the number of tasks it has run to `ended`, and
 * the caller returns when that reaches the number of tasks. The join therefore waits for tasks and
 * not for threads: a worker that sleeps or has lost its core takes no part and delays nobody, where
 * a barrier over all threads would stop everything for a time slice. Which task a thread gets is
 * decided by spans.h.
 *
 * Memory ordering. The caller writes the job (fn, arg, first, spans), then stores `work`. A worker
 * loads `work`, reads the job, and swaps `work`: success means that the word was unchanged, job
 * number included, and still had tasks left; then that job cannot have ended in between, so what
 * was read belongs to it, and so do the spans until the task has ended. The job's fields are
 * relaxed atomics, because a worker whose swap will fail may read them while the caller writes the
 * next ones. What tasks wrote reaches the caller through the adds to `ended`. `work`, `ended`,
 * `n_used` and `stop` are sequentially consistent because event.h requires it.
 *
 * Waiting is a bounded spin, then sleep. The spin yields the core every half microsecond: a thread
 * that waits holds no task, so it is the better one to lose its core (bench/pool.c: with two
 * threads on two cores, one of them taken by another process, a job then takes about 120 us instead
 * of 150, and 62 as before without the other process). With more threads than cores, spinning only
 * takes time from the threads that work and is cut short. A thread that loses its core inside a
 * task is another matter: a thread that sleeps meanwhile measures whether this process ran at all,
 * and crowd.h decides from that how many threads the next jobs get. Tried and dropped: OpenMP's
 * barriers, which fall to a hundredth of the speed beside a busy process; a mutex and a condition
 * variable per fork, 55 us. */
#include "pool.h"

#include <assert.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "crowd.h"
#include "event.h"
#include "num.h"
#include "spans.h"

enum { N_THREADS_MAX = 1024, CACHE_LINE = 64 };
static const int64_t tasks_max = UINT32_MAX; /* of one job: the lower half of `work` */
static const double spin_s = 50e-6, spin_short_s = 2e-6, poll_interval_s = 5e-3;
/* Seconds that a thread waited without a core being busy for it: less than loss_least_s is noise,
 * more than loss_most_s means that the program had nothing to compute (note_loss). */
static const double loss_least_s = 0.3e-3, loss_most_s = 30e-3;

typedef struct worker {
    rk_pool *pool;
    pthread_t thread;
    int index; /* the caller is 0 */
} worker;

/* Padded on purpose, see its end. NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding) */
struct rk_pool {
    int n_threads, n_started; /* threads besides the caller that run */
    double spin_s;
    atomic_int *abort;
    rk_abort_fn *poll;
    void *poll_user;
    double polled_s; /* when poll was last asked */
    worker *workers; /* (n_threads - 1) */
    atomic_bool stop;
    rk_event forked, joined, recalled;
    rk_crowd crowd;
    /* How long a thread waited for one that had no core; taken and judged by crowd.c. */
    _Atomic(double) lost_s;
    int64_t n_jobs;    /* of more than one task */
    bool always_whole; /* jobs of rk_pool_run, too, skip no task (rk_pool_set_whole) */
    /* The job. */
    _Atomic(rk_task_fn *) fn;
    _Atomic(void *) arg;
    _Atomic(int64_t) first, n; /* its tasks */
    atomic_int n_used;         /* threads that take part in this job; the others sleep */
    atomic_bool whole;         /* this job runs to its end even when it is aborted */
    rk_span *spans;            /* (n_threads) */
    /* Written by all threads: each on a line of its own. */
    _Alignas(CACHE_LINE) _Atomic(uint64_t) work;
    _Alignas(CACHE_LINE) _Atomic(int64_t) ended;
};

static void spin_hint(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static int64_t tasks_left(uint64_t work)
{
    return (int64_t)(work & UINT32_MAX);
}

static bool aborted(const rk_pool *p)
{
    return p->abort && atomic_load_explicit(p->abort, memory_order_relaxed) != 0;
}

/* Ask poll whether to abort. Runs on the calling thread, between tasks. Reading the clock costs as
 * much as taking a task, so it is read only when there is a poll function. */
static void ask_poll(rk_pool *p)
{
    if (!p->poll || aborted(p))
        return;
    const double now = rk_now_s();
    if (now - p->polled_s < poll_interval_s)
        return;
    p->polled_s = now;
    if (p->poll(p->poll_user))
        atomic_store_explicit(p->abort, 1, memory_order_relaxed);
}

typedef struct job_view {
    rk_task_fn *fn;
    void *arg;
    int64_t first;
    bool skip; /* aborted: its tasks are taken and not run */
} job_view;

/* Take one task, or all that are left when an aborted job is to be skipped. Returns how many were
 * taken, 0 when none is left. `skip` is read before the exchange, which fails when the job has
 * changed since: so it belongs to the job that the tasks are taken from. */
static int64_t take(rk_pool *p, job_view *job)
{
    uint64_t work = atomic_load(&p->work);
    while (tasks_left(work) > 0) {
        job->skip = !atomic_load_explicit(&p->whole, memory_order_relaxed) && aborted(p);
        const int64_t n = job->skip ? tasks_left(work) : 1;
        job->fn = atomic_load_explicit(&p->fn, memory_order_relaxed);
        job->arg = atomic_load_explicit(&p->arg, memory_order_relaxed);
        job->first = atomic_load_explicit(&p->first, memory_order_relaxed);
        if (atomic_compare_exchange_weak(&p->work, &work, work - (uint64_t)n))
            return n;
    }
    return 0;
}

/* Run tasks until none is left, then add the number that this thread has run to `ended`. */
static void run_tasks(rk_pool *p, int index)
{
    job_view job;
    int64_t ended = 0;
    for (;;) {
        if (index == 0)
            ask_poll(p);
        const int64_t n = take(p, &job);
        if (n == 0)
            break;
        if (!job.skip)
            job.fn(job.arg, job.first + rk_spans_take(p->spans, p->n_threads, index), index);
        ended += n;
    }
    if (ended > 0) {
        atomic_fetch_add(&p->ended, ended);
        rk_event_notify(&p->joined, 1);
    }
}

static bool all_ended(const rk_pool *p)
{
    return atomic_load(&p->ended) == atomic_load_explicit(&p->n, memory_order_relaxed);
}

typedef bool condition(const rk_pool *p, int index);

static bool joined(const rk_pool *p, int unused)
{
    (void)unused;
    return all_ended(p);
}

static bool rests(const rk_pool *p, int index)
{
    return index >= atomic_load(&p->n_used) && !atomic_load(&p->stop);
}

static bool recalled(const rk_pool *p, int index)
{
    return !rests(p, index);
}

static bool work_rest_or_stop(const rk_pool *p, int index)
{
    return tasks_left(atomic_load(&p->work)) > 0 || rests(p, index) || atomic_load(&p->stop);
}

/* Note time lost to other processes for crowd.c. A very long wait does not count: the program had
 * nothing to compute then. */
static void note_loss(rk_pool *p, double lost_s)
{
    if (lost_s >= loss_least_s && lost_s <= loss_most_s)
        atomic_store_explicit(&p->lost_s, lost_s, memory_order_relaxed);
}

/* Sleep until the condition holds. Tasks that are taken and unfinished should keep a core busy:
 * wall-clock time in which no thread of this process ran is time that other processes took. */
static void sleep_until(rk_pool *p, rk_event *e, condition *holds, int index)
{
    const bool in_hands = !all_ended(p) && !rests(p, index);
    const double start = rk_now_s(), cpu = in_hands ? rk_cpu_s() : 0.0;
    while (!holds(p, index)) {
        const unsigned seen = rk_event_prepare(e);
        if (holds(p, index))
            rk_event_cancel(e);
        else
            rk_event_wait(e, seen);
    }
    if (in_hands)
        note_loss(p, rk_now_s() - start - (rk_cpu_s() - cpu));
}

/* Spin, then sleep. When the caller yields its core in the spin and another process takes it, that
 * time counts as lost, too. */
static void wait_until(rk_pool *p, rk_event *e, condition *holds, int index)
{
    enum { CHECKS_PER_YIELD = 32 };
    if (holds(p, index))
        return;
    double now = rk_now_s();
    for (const double start = now; now - start < p->spin_s;) {
        for (int i = 0; i < CHECKS_PER_YIELD; i++) {
            spin_hint();
            if (holds(p, index))
                return;
        }
        const double before = now;
        sched_yield();
        now = rk_now_s();
        if (index == 0)
            note_loss(p, now - before);
    }
    if (!holds(p, index))
        sleep_until(p, e, holds, index);
}

static void *worker_main(void *arg)
{
    const worker *w = arg;
    rk_pool *p = w->pool;
    while (!atomic_load(&p->stop)) {
        wait_until(p, &p->forked, work_rest_or_stop, w->index);
        if (rests(p, w->index))
            wait_until(p, &p->recalled, recalled, w->index);
        else
            run_tasks(p, w->index);
    }
    return NULL;
}

/* Run tasks [first, first + n) on n_used threads, the calling one included. */
static void fork_join(rk_pool *p, int n_used, int64_t first, int64_t n, rk_task_fn *fn, void *arg)
{
    const uint64_t job = atomic_load_explicit(&p->work, memory_order_relaxed) >> 32;
    rk_spans_fill(p->spans, p->n_threads, n_used, n);
    atomic_store_explicit(&p->fn, fn, memory_order_relaxed);
    atomic_store_explicit(&p->arg, arg, memory_order_relaxed);
    atomic_store_explicit(&p->first, first, memory_order_relaxed);
    atomic_store_explicit(&p->n, n, memory_order_relaxed);
    atomic_store_explicit(&p->ended, 0, memory_order_relaxed);
    if (atomic_exchange(&p->n_used, n_used) < n_used)
        rk_event_notify(&p->recalled, INT_MAX);
    atomic_store(&p->work, (job + 1) << 32 | (uint64_t)n);
    rk_event_notify(&p->forked, (int)rk_min_i64(n - 1, INT_MAX));
    run_tasks(p, 0);
    wait_until(p, &p->joined, joined, 0);
}

static int threads_to_use(rk_pool *p)
{
    const double lost = atomic_load_explicit(&p->lost_s, memory_order_relaxed);
    if (lost == 0.0 && p->crowd.n_used == p->n_threads)
        return p->n_threads;
    atomic_store_explicit(&p->lost_s, 0.0, memory_order_relaxed);
    return rk_crowd_threads(&p->crowd, rk_now_s(), lost);
}

static void run(rk_pool *p, bool whole, int64_t n, rk_task_fn *fn, void *arg)
{
    p->n_jobs += n > 1;
    atomic_store_explicit(&p->whole, whole, memory_order_relaxed);
    for (int64_t first = 0, now; first < n; first += now) {
        const int n_used = n > 1 ? threads_to_use(p) : 1;
        now = n_used > 1 ? rk_min_i64(n - first, tasks_max) : 1;
        if (n_used > 1) {
            fork_join(p, n_used, first, now, fn, arg);
            continue;
        }
        ask_poll(p);
        if (!whole && aborted(p))
            return;
        fn(arg, first, 0);
    }
}

void rk_pool_run(rk_pool *p, int64_t n, rk_task_fn *fn, void *arg)
{
    run(p, p->always_whole, n, fn, arg);
}
void rk_pool_run_whole(rk_pool *p, int64_t n, rk_task_fn *fn, void *arg)
{
    run(p, true, n, fn, arg);
}

int64_t rk_pool_n_jobs(const rk_pool *p)
{
    return p->n_jobs;
}

void rk_pool_set_whole(rk_pool *p, bool whole)
{
    p->always_whole = whole;
}

/* Workers block all signals, so that signal handlers run on the program's own threads. */
static rk_status start_workers(rk_pool *p, rk_error *err)
{
    sigset_t all, old;
    int refused = 0;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    while (p->n_started < p->n_threads - 1 && !refused) {
        worker *w = &p->workers[p->n_started];
        *w = (worker){.pool = p, .index = p->n_started + 1};
        refused = pthread_create(&w->thread, NULL, worker_main, w);
        p->n_started += !refused;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (refused)
        return rk_fail(err, RK_ERR_NOMEM, "cannot start thread %d of %d: %s", p->n_started + 2,
                       p->n_threads, strerror(refused));
    return RK_OK;
}

rk_status rk_pool_new(rk_pool **out, int n_threads, atomic_int *abort, rk_abort_fn *poll,
                      void *poll_user, rk_error *err)
{
    if (n_threads < 0 || n_threads > N_THREADS_MAX)
        return rk_fail(err, RK_ERR_ARG, "n_threads is %d, expected 0 to %d", n_threads,
                       N_THREADS_MAX);
    assert(abort || !poll);
    const int cores = rk_usable_cores();
    if (n_threads == 0)
        n_threads = (int)rk_min_i64(cores, N_THREADS_MAX);
    rk_pool *p = aligned_alloc(CACHE_LINE, sizeof *p);
    if (!p)
        return rk_fail(err, RK_ERR_NOMEM, "thread pool: out of memory");
    *p = (rk_pool){.n_threads = n_threads,
                   .n_used = n_threads,
                   .spin_s = n_threads <= cores ? spin_s : spin_short_s,
                   .abort = abort,
                   .poll = poll,
                   .poll_user = poll_user,
                   .crowd = rk_crowd_new(n_threads)};
    rk_event_init(&p->forked);
    rk_event_init(&p->joined);
    rk_event_init(&p->recalled);
    p->workers = calloc((size_t)n_threads, sizeof *p->workers);
    p->spans = aligned_alloc(_Alignof(rk_span), (size_t)n_threads * sizeof *p->spans);
    const rk_status st = p->workers && p->spans
                             ? start_workers(p, err)
                             : rk_fail(err, RK_ERR_NOMEM, "%d threads: out of memory", n_threads);
    if (st != RK_OK) {
        rk_pool_free(p);
        return st;
    }
    *out = p;
    return RK_OK;
}

void rk_pool_free(rk_pool *p)
{
    if (!p)
        return;
    atomic_store(&p->stop, true);
    rk_event_notify(&p->forked, INT_MAX);
    rk_event_notify(&p->recalled, INT_MAX);
    for (int i = 0; i < p->n_started; i++)
        pthread_join(p->workers[i].thread, NULL);
    rk_event_deinit(&p->recalled);
    rk_event_deinit(&p->joined);
    rk_event_deinit(&p->forked);
    free(p->spans);
    free(p->workers);
    free(p);
}

int rk_pool_n_threads(const rk_pool *p)
{
    return p->n_threads;
}
