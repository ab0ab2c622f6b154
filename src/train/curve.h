/* curve.h: a picture of a run: loss and validation loss over steps. */
#ifndef RK_TRAIN_CURVE_H
#define RK_TRAIN_CURVE_H

#include "base/error.h"

/* Draw DIR/log.jsonl as DIR/curve.svg, replacing it as a whole. A log without a step draws nothing.
 */
rk_status rk_curve_write(const char *dir, const char *title, rk_error *err);

#endif
