/* meter.h: how far long work is, on stderr: on a terminal a line that is written over and in the
 * end wiped out, in a log a line every half minute. */
#ifndef RK_CLI_METER_H
#define RK_CLI_METER_H

#include "base/progress.h"
#include <stdbool.h>

typedef struct rk_meter {
    const char *what; /* "reading the prompt"; borrowed */
    const char *unit; /* "tokens"; borrowed */
    double per;       /* units of `done` that make one of the unit shown: 1e6 for MB */
    double begun, shown;
    bool quiet, terminal, visible;
} rk_meter;

/* unit counts what rk_meter_show is told, divided by per. quiet: nothing is ever shown. */
rk_meter rk_meter_begin(const char *what, const char *unit, double per, bool quiet);
/* Say "WHAT: 1280 of 20000 UNIT, 350 UNIT/s, 53 s left"; rarely, and not in the first second. */
void rk_meter_show(rk_meter *m, int64_t done, int64_t all);
/* The same as a rk_progress_fn: takes the rk_meter. */
void rk_meter_progress(void *meter, int64_t done, int64_t all);
/* Wipe out what is shown. A zeroed meter is fine. */
void rk_meter_end(rk_meter *m);

#endif
