/* runlog.h: log.jsonl of a run folder: one object a line, {"step": ...} first in each.
 *
 * A line of a step has step, tokens, loss, the task's metrics, lr, grad_norm, val_loss and val_METRIC
 * where they were measured, ema_val_loss likewise where there are running means of the weights, noise_scale
 * where there are slices to tell it from, skipped where no update was made, tokens_per_s. The line of
 * step 0, before the first update, has what was measured alone. Lines with "status" (started, resumed, interrupted,
 * failed, done) tell where the program began and ended, and on which instruction-set path. */
#ifndef RK_TRAIN_RUNLOG_H
#define RK_TRAIN_RUNLOG_H

#include "base/error.h"

typedef struct rk_log_entry {
    int64_t step, tokens;
    double loss, lr, grad_norm, tokens_per_s;
    double noise_scale;            /* of the gradient; NAN: not told */
    double val_loss, ema_val_loss; /* NAN: not measured at this step */
    bool skipped;
    /* Of the task, as they are written: val_metrics count where val_loss does. */
    const char *const *names;
    const double *metrics, *val_metrics;
    int n_metrics;
    double drawn, val_drawn; /* the one that was asked for, as it is read; NAN: it is not there */
} rk_log_entry;

typedef struct rk_runlog rk_runlog;
/* Open DIR/log.jsonl for appending after `step` steps: lines of later steps are what a killed run
 * wrote after its last checkpoint, and are dropped first, the file being replaced as a whole. */
rk_status rk_runlog_open(rk_runlog **out, const char *dir, int64_t step, rk_error *err);
rk_status rk_runlog_step(rk_runlog *l, const rk_log_entry *e, rk_error *err);
rk_status rk_runlog_status(rk_runlog *l, int64_t step, const char *status, const char *numerics,
                           rk_error *err);
/* Make the lines so far durable: before a checkpoint, so that none is older than the other. */
rk_status rk_runlog_sync(rk_runlog *l, rk_error *err);
void rk_runlog_close(rk_runlog *l);

/* Call fn with each line of a step in DIR/log.jsonl, drawn being "loss" or a metric's name; it
 * returns false to stop, which is RK_ERR_NOMEM. Lines that are none are passed over; a log that is not
 * there has none. */
typedef bool rk_log_entry_fn(void *user, const rk_log_entry *e);
rk_status rk_runlog_read(const char *dir, const char *drawn, rk_log_entry_fn *fn, void *user,
                         rk_error *err);
/* The same with the bytes of a log; false when fn stopped it. */
bool rk_runlog_read_bytes(const void *bytes, size_t n, const char *drawn, rk_log_entry_fn *fn,
                          void *user);

#endif
