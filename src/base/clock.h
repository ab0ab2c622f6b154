/* clock.h: time in seconds. */
#ifndef RK_BASE_CLOCK_H
#define RK_BASE_CLOCK_H

/* Seconds on a monotonic clock. */
double rk_now_s(void);
/* CPU seconds of all threads of this process together. */
double rk_cpu_s(void);

#endif
