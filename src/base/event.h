/* event.h: sleeping until another thread has changed something (an event count).
 *
 *     waiter:  const unsigned seen = rk_event_prepare(e);     notifier:  change what is awaited;
 *              if (still nothing to do) rk_event_wait(e, seen);          rk_event_notify(e, n);
 *              else                     rk_event_cancel(e);
 *
 * No wake-up is lost provided that the awaited change and the waiter's look at it are sequentially
 * consistent atomics: either the waiter, having announced itself, sees the change, or the notifier
 * sees the waiter. Without waiters a notification is one load. A wait may end without a reason. */
#ifndef RK_BASE_EVENT_H
#define RK_BASE_EVENT_H

#include <limits.h>
#include <stdatomic.h>
#ifndef __linux__
#include <pthread.h>
#endif

typedef struct rk_event {
    atomic_uint count; /* of notifications that found somebody waiting */
    atomic_int n_waiting;
#ifndef __linux__
    pthread_mutex_t mutex;
    pthread_cond_t changed;
#endif
} rk_event;

void rk_event_init(rk_event *e);
void rk_event_deinit(rk_event *e);
unsigned rk_event_prepare(rk_event *e);
void rk_event_cancel(rk_event *e);
void rk_event_wait(rk_event *e, unsigned seen);
/* Wake up to n waiters; INT_MAX wakes all. */
void rk_event_notify(rk_event *e, int n);

#endif
