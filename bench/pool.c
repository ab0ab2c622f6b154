/* bench/pool.c: what forking and joining costs, alone and beside a process that takes a core.
 *
 *     empty   one task that does nothing for each thread: whoever is first runs them
 *     meet    every thread is waited for in its task: the time until all have begun and ended
 *     job     32 tasks of a few microseconds each, as a small matrix-vector product has
 *
 * Microseconds, median of 21 batches and the slowest of them; warm, so workers are spinning. `meet`
 * needs a core for each thread. Beside a busy process `job` of two threads on two cores should take
 * what one thread takes; a pool that waits for threads rather than for tasks falls to a hundredth.
 */
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/pool.h"

enum { BATCHES = 21, JOB_TASKS = 32, JOB_STEPS = 2000 };

typedef struct meeting {
    int n_threads;
    atomic_int n_here;
} meeting;

static void nothing(void *arg, int64_t i, int worker)
{
    (void)arg;
    (void)i;
    (void)worker;
}

static void meet(void *arg, int64_t i, int worker)
{
    (void)i;
    (void)worker;
    meeting *m = arg;
    atomic_fetch_add(&m->n_here, 1);
    while (atomic_load(&m->n_here) % m->n_threads != 0)
        ;
}

static void work(void *arg, int64_t i, int worker)
{
    (void)worker;
    double *out = arg, x = 1;
    for (int k = 0; k < JOB_STEPS; k++)
        x = x * 0.999 + 0.001 * (double)i;
    out[i * 8] = x;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Median over batches of the microseconds of one run; *slowest is the worst batch. */
static double measure(rk_pool *p, int64_t n, rk_task_fn *fn, void *arg, int runs, double *slowest)
{
    double us[BATCHES];
    for (int b = -1; b < BATCHES; b++) { /* the first warms up */
        const double start = rk_now_s();
        for (int i = 0; i < runs; i++)
            rk_pool_run(p, n, fn, arg);
        if (b >= 0)
            us[b] = 1e6 * (rk_now_s() - start) / runs;
    }
    qsort(us, BATCHES, sizeof *us, by_value);
    *slowest = us[BATCHES - 1];
    return us[BATCHES / 2];
}

static void report(const char *beside, int n_threads)
{
    static double out[JOB_TASKS * 8];
    rk_pool *p = NULL;
    rk_error err;
    if (rk_pool_new(&p, n_threads, NULL, NULL, NULL, &err) != RK_OK) {
        fprintf(stderr, "%s\n", err.msg);
        exit(1);
    }
    double slow[3] = {0, NAN, 0}, us[3] = {0, NAN, 0};
    us[0] = measure(p, n_threads, nothing, NULL, 1000, &slow[0]);
    if (n_threads <= rk_usable_cores() && beside[0] == 'a') {
        meeting m = {.n_threads = n_threads};
        us[1] = measure(p, n_threads, meet, &m, 1000, &slow[1]);
    }
    us[2] = measure(p, JOB_TASKS, work, out, 100, &slow[2]);
    printf("%-8s %7d", beside, n_threads);
    for (int i = 0; i < 3; i++)
        printf("   %8.3f %8.3f", us[i], slow[i]);
    printf("\n");
    rk_pool_free(p);
}

int main(void)
{
    static const int threads[] = {1, 2, 4};
    printf("%d usable cores; us, median and slowest batch\n", rk_usable_cores());
    printf("%-8s %7s   %17s   %17s   %17s\n", "", "threads", "empty", "meet", "job");
    for (int i = 0; i < 3; i++)
        report("alone", threads[i]);
    fflush(stdout);
    const pid_t busy = fork();
    if (busy == 0)
        for (volatile unsigned k = 0;; k++)
            ;
    for (int i = 0; i < 3; i++)
        report("busy", threads[i]);
    kill(busy, SIGKILL);
    waitpid(busy, NULL, 0);
    return 0;
}
