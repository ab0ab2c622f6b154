/* crowd.h: how many threads to use while other processes want the cores too.
 *
 * A thread that loses its core with a task in its hands makes all others wait for a time slice, and
 * the last of t threads adds a t-th of the speed at most. So where more than half of that is lost,
 * one thread fewer is used for a while: beside one busy process and on two cores, one thread alone
 * is faster than two of which one waits half of the time. Then the thread is tried again, and the
 * while is longer each time it is too early. */
#ifndef RK_BASE_CROWD_H
#define RK_BASE_CROWD_H

typedef struct rk_crowd {
    int n_threads, n_used;
    double began_s, lost_s; /* the stretch that is looked at, and how much of it was lost */
    double rest_s;          /* for how long a thread rested the last time */
    double until_s;         /* n_used stays as it is, or is on trial, until then */
} rk_crowd;

rk_crowd rk_crowd_new(int n_threads);
/* How many threads to use from now on. lost_s: how long threads have waited for one that had no
 * core, since the last call. There is nothing to ask while all are used and nothing is lost. */
int rk_crowd_threads(rk_crowd *c, double now_s, double lost_s);

#endif
