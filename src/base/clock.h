/* clock.h: seconds on a clock that never goes back. */
#ifndef RK_BASE_CLOCK_H
#define RK_BASE_CLOCK_H

double rk_now_s(void);

#endif
