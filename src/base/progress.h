/* progress.h: how long work tells how far it is. */
#ifndef RK_BASE_PROGRESS_H
#define RK_BASE_PROGRESS_H

#include <stdint.h>

/* Called now and then, on the thread that does the work; done of all, in units that the callee
 * names. */
typedef void rk_progress_fn(void *user, int64_t done, int64_t all);

#endif
