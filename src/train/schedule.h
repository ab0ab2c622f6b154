/* schedule.h: the learning rate of a step. */
#ifndef RK_TRAIN_SCHEDULE_H
#define RK_TRAIN_SCHEDULE_H

#include <stdint.h>

typedef struct rk_schedule {
    double lr, lr_final;
    int64_t warmup, steps;
} rk_schedule;

/* The rate for the step before which `done` steps were made, done in [0, steps). */
double rk_schedule_lr(const rk_schedule *s, int64_t done);

#endif
