/* clock.h: seconds. */
#ifndef RK_BASE_CLOCK_H
#define RK_BASE_CLOCK_H

/* On a clock that never goes back. */
double rk_now_s(void);
/* That all threads of this process together have spent on cores. */
double rk_cpu_s(void);

#endif
