/* curve.h: a picture of a run: what its task shows, in training and validation, over steps. */
#ifndef RK_TRAIN_CURVE_H
#define RK_TRAIN_CURVE_H

#include "base/error.h"

typedef struct rk_curve {
    const char *title;
    const char *drawn, *unit; /* "loss" or the name of a metric in the log, and what it is in */
} rk_curve;

/* Draw DIR/log.jsonl as DIR/curve.svg, replacing it as a whole. A log without a step draws nothing.
 */
rk_status rk_curve_write(const char *dir, const rk_curve *curve, rk_error *err);

#endif
