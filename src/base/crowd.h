/* crowd.h: how many threads to use while other processes want the cores, too.
 *
 * A thread that loses its core in the middle of a task makes all others wait for a time slice, and
 * the last of t threads contributes at most a t-th of the speed. So where more than half of that
 * contribution is lost, one thread fewer is used for a while: on two cores beside one busy process,
 * one thread alone is faster than two of which one waits half of the time. Then the thread is tried
 * again; the pause doubles each time the trial fails. */
#ifndef RK_BASE_CROWD_H
#define RK_BASE_CROWD_H

typedef struct rk_crowd {
    int n_threads, n_used;
    double began_s, lost_s; /* the period that is being measured, and how much of it was lost */
    double rest_s;          /* length of the last pause of a thread */
    double until_s;         /* end of the pause, or of the trial after it */
} rk_crowd;

rk_crowd rk_crowd_new(int n_threads);
/* How many threads to use from now on. lost_s: how long threads have waited for one that had no
 * core, since the last call. There is nothing to ask while all are used and nothing is lost. */
int rk_crowd_threads(rk_crowd *c, double now_s, double lost_s);

#endif
