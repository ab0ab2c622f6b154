/* progress.h: how far a long work has come: one line that is rewritten on a terminal, a plain line
 * every ten seconds elsewhere. */
#ifndef RK_TRAIN_PROGRESS_H
#define RK_TRAIN_PROGRESS_H

#include <stdio.h>

#include "base/error.h"

typedef struct rk_progress {
    FILE *out; /* NULL: silent */
    bool terminal;
    int64_t first, steps; /* steps done when the program began, and at the end of the run */
    int64_t tokens_of_step;
    double began_s, shown_s; /* on the clock of rk_now_s */
    double loss;             /* running mean, so that the figure can be read */
    bool line_open;          /* the terminal's cursor is behind a bar */
} rk_progress;

void rk_progress_init(rk_progress *p, FILE *out, int64_t first, int64_t steps,
                      int64_t tokens_of_step);
/* After each step. */
void rk_progress_step(rk_progress *p, int64_t step, double loss);
/* A line of its own, above the bar. */
void rk_progress_note(rk_progress *p, const char *fmt, ...) RK_PRINTF(2, 3);
/* Leave the last bar where it is. */
void rk_progress_end(rk_progress *p);

#endif
