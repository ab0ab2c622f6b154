/* pool.h: a fork-join thread pool.
 *
 * Tasks are indices. Each thread works through a span of its own and then takes tasks of the other
 * spans (spans.h), so a thread that loses its core delays only the task it is running; where that
 * happens all the time, fewer threads are used for a while (crowd.h). Workers spin a bounded time
 * after a join, because the next fork follows within microseconds while a model runs, and then
 * sleep in the kernel. What a task computes must depend on its index alone, never on the worker:
 * then the number of threads changes no bit. */
#ifndef RK_BASE_POOL_H
#define RK_BASE_POOL_H

#include <stdatomic.h>

#include "error.h"

typedef struct rk_pool rk_pool;
/* i: index of the task. worker in [0, n_threads): selects scratch memory that belongs to a thread.
 */
typedef void rk_task_fn(void *arg, int64_t i, int worker);

/* n_threads 0: usable cores under affinity mask and cgroup quota. The caller is one of them.
 * abort (may be NULL): while it is non-zero, tasks that have not begun are skipped. It is also set
 * by the pool when poll(user) returns true, which the calling thread asks between its tasks, every
 * 5 ms at most. poll may be NULL, and needs abort.
 * Errors  RK_ERR_ARG: n_threads outside 0..1024; RK_ERR_NOMEM: no memory, or a thread is refused.
 */
rk_status rk_pool_new(rk_pool **out, int n_threads, atomic_int *abort, rk_abort_fn *poll,
                      void *poll_user, rk_error *err);
void rk_pool_free(rk_pool *p);
int rk_pool_n_threads(const rk_pool *p);
/* Run fn(arg, i, worker) for i in [0, n), return when all have ended (or were skipped: look at
 * *abort). What the caller wrote before is seen by the tasks, what they wrote by the caller after.
 * One caller at a time; not from inside a task of the same pool. Inline for one task or thread. */
void rk_pool_run(rk_pool *p, int64_t n, rk_task_fn *fn, void *arg);
/* The same, but no task is skipped: for short jobs that must not end half done. */
void rk_pool_run_whole(rk_pool *p, int64_t n, rk_task_fn *fn, void *arg);
/* Whether rk_pool_run, too, skips no task from now on. Between runs only. */
void rk_pool_set_whole(rk_pool *p, bool whole);
/* How many jobs of more than one task have been run: each costs a fork and a join. For tests. */
int64_t rk_pool_n_jobs(const rk_pool *p);
/* Usable cores of this process. */
int rk_usable_cores(void);

#endif
