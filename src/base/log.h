/* log.h: log lines for a callback, with a level and a user pointer. */
#ifndef RK_BASE_LOG_H
#define RK_BASE_LOG_H

#include "error.h"

typedef struct rk_log {
    rk_log_fn *fn; /* NULL: silent */
    void *user;
    rk_log_level level; /* lines below it are dropped */
} rk_log;

void rk_log_line(const rk_log *log, rk_log_level level, const char *fmt, ...) RK_PRINTF(3, 4);

#endif
