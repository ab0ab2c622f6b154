/* event.c: an event count on Linux's futex, which costs the notifier no system call while nobody
 * sleeps; elsewhere on a mutex and a condition variable. */
#define _DEFAULT_SOURCE /* syscall() */
#include "event.h"

unsigned rk_event_prepare(rk_event *e)
{
    atomic_fetch_add(&e->n_waiting, 1);
    return atomic_load(&e->count);
}

void rk_event_cancel(rk_event *e)
{
    atomic_fetch_sub(&e->n_waiting, 1);
}

#ifdef __linux__
#include <linux/futex.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

static void futex(atomic_uint *word, int op, unsigned value)
{
    syscall(SYS_futex, word, op | FUTEX_PRIVATE_FLAG, value, NULL, NULL, 0);
}

void rk_event_init(rk_event *e)
{
    atomic_init(&e->count, 0);
    atomic_init(&e->n_waiting, 0);
}

void rk_event_deinit(rk_event *e)
{
    (void)e;
}

void rk_event_wait(rk_event *e, unsigned seen)
{
    futex(&e->count, FUTEX_WAIT, seen);
    atomic_fetch_sub(&e->n_waiting, 1);
}

void rk_event_notify(rk_event *e, int n)
{
    if (atomic_load(&e->n_waiting) == 0)
        return;
    atomic_fetch_add(&e->count, 1);
    futex(&e->count, FUTEX_WAKE, (unsigned)n);
}
#else
void rk_event_init(rk_event *e)
{
    atomic_init(&e->count, 0);
    atomic_init(&e->n_waiting, 0);
    pthread_mutex_init(&e->mutex, NULL);
    pthread_cond_init(&e->changed, NULL);
}

void rk_event_deinit(rk_event *e)
{
    pthread_cond_destroy(&e->changed);
    pthread_mutex_destroy(&e->mutex);
}

void rk_event_wait(rk_event *e, unsigned seen)
{
    pthread_mutex_lock(&e->mutex);
    while (atomic_load(&e->count) == seen)
        pthread_cond_wait(&e->changed, &e->mutex);
    pthread_mutex_unlock(&e->mutex);
    atomic_fetch_sub(&e->n_waiting, 1);
}

/* All wake whatever n says: a waiter that finds nothing to do sleeps again. */
void rk_event_notify(rk_event *e, int n)
{
    (void)n;
    if (atomic_load(&e->n_waiting) == 0)
        return;
    pthread_mutex_lock(&e->mutex);
    atomic_fetch_add(&e->count, 1);
    pthread_cond_broadcast(&e->changed);
    pthread_mutex_unlock(&e->mutex);
}
#endif
